"""How the ground of a scene looks: its colours, its grain, and both under a light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.synthetic.flat import LAYERS
from data.synthetic.looks import Look
from data.synthetic.textures import NOISES, ground_noise
from data.types import U8

Bgr = tuple[float, float, float]

ASPHALTS = ("asphalt", "worn", "patch")


@dataclass(frozen=True, eq=False)
class GroundStyle:
    """noise: pyramid of a tile of asphalt; road, verge: its contrast on the road and beside it;
    colours: BGR 0..1 by layer, 'verge' included."""

    noise: U8
    road: float
    verge: float
    colours: dict[str, Bgr]


def random_style(rng: np.random.Generator) -> GroundStyle:
    """Asphalt from dark to pale, verge from grass to dust, paint fresh or worn."""
    grey = float(rng.uniform(0.34, 0.56))
    warm = float(rng.uniform(-0.02, 0.02))
    asphalt = (grey - warm, grey, grey + warm)
    grass = ((0.14, 0.30, 0.22), (0.18, 0.34, 0.32), (0.26, 0.36, 0.42), (0.12, 0.24, 0.16))
    pave = float(rng.uniform(0.42, 0.62))
    fresh = float(rng.uniform(0.62, 0.95))
    colours = {
        "verge": grass[int(rng.integers(4))],
        "asphalt": asphalt,
        "worn": _times(asphalt, float(rng.uniform(0.86, 1.05))),
        "patch": _times(asphalt, float(rng.uniform(0.68, 1.08))),
        "tar": _times(asphalt, 0.55),
        "pavement": (pave * 0.95, pave, pave * 1.02),
        "kerb": (pave * 1.05, pave * 1.08, pave * 1.08),
        "white": (fresh, fresh, fresh * 0.98),
        "yellow": (0.10 * fresh, 0.62 * fresh, 0.86 * fresh),
    }
    noise, grain = ground_noise(int(rng.integers(NOISES))), float(rng.uniform(0.6, 1.4))
    return GroundStyle(noise, grain, grain * float(rng.uniform(1.8, 3.0)), colours)


def _times(colour: Bgr, factor: float) -> Bgr:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def lit_tones(style: GroundStyle, look: Look) -> U8:
    """(layers + 1, 4) uint8: each layer's BGR under the look's light, the verge's last, and 255
    on asphalt."""
    light = np.array(look.ambient) + np.array(look.sun) * np.sin(look.sun_elevation_rad)
    if look.lamps > 0.8:  # the headlamps' beam dims the rest
        light = np.array((0.80, 0.92, 1.0)) * (0.75 + 2.5 * light.mean())
    light *= 1 - 0.35 * look.wet
    out = np.zeros((len(LAYERS) + 1, 4), np.uint8)
    for i, name in enumerate((*LAYERS, "verge")):
        if name in style.colours:
            out[i, :3] = 255 * np.clip(np.array(style.colours[name]) * light, 0, 1)
        out[i, 3] = 255 * (name in ASPHALTS)
    return out
