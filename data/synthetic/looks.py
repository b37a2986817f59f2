"""Time of day, weather and lens: everything that changes how the same scene looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Bgr = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """Light, weather and sensor.

    Attributes:
        ambient, sun: light on a white surface (BGR) from the sky and straight from the sun.
        sun_azimuth_rad (world, left of x), sun_elevation_rad.
        sky_top, sky_low, cloud_bgr: colours of the sky (0..1); cloud: share covered, 0..1.
        haze: colour of far things; visibility_m: distance at which 63 % is haze.
        wet: mirror strength of the road, 0..1; rain: drops in the air and on the glass, 0..1.
        lamps: strength of lamps and their bloom, 0 by day, 1 by night.
        gain, gamma: exposure; tint: white balance error (BGR).
        noise: deviation of sensor noise, 0..255; blur_px: lens blur at 1280 px width.
        seed: of what chance decides later, such as where drops lie on the glass.
    """

    name: str
    ambient: Bgr
    sun: Bgr
    sun_azimuth_rad: float
    sun_elevation_rad: float
    sky_top: Bgr
    sky_low: Bgr
    cloud_bgr: Bgr
    cloud: float
    haze: Bgr
    visibility_m: float
    wet: float = 0.0
    rain: float = 0.0
    lamps: float = 0.0
    gain: float = 1.0
    gamma: float = 1.0
    tint: Bgr = (1.0, 1.0, 1.0)
    noise: float = 2.5
    blur_px: float = 0.8
    seed: int = 0

    @property
    def sun_direction(self) -> np.ndarray:
        """(3,) world unit vector towards the sun."""
        c = np.cos(self.sun_elevation_rad)
        return np.array(
            [
                c * np.cos(self.sun_azimuth_rad),
                c * np.sin(self.sun_azimuth_rad),
                np.sin(self.sun_elevation_rad),
            ]
        )


LOOKS: tuple[str, ...] = ("clear", "cloudy", "overcast", "dusk", "night", "rain")
_SHARES = (0.34, 0.2, 0.12, 0.12, 0.14, 0.08)  # near those of BDD100K


def make_look(name: str, rng: np.random.Generator, vary: float = 1.0) -> Look:
    """A named look; ``vary`` 0 gives the standard one, 1 a wide spread of exposure and lens."""
    light, low, high = _light(name, rng)
    spread = rng.normal(0, 1, 6) * vary
    tint = np.clip(1 + 0.045 * spread[:3] * np.array([1, 0.3, 1]), 0.8, 1.2)
    return Look(
        name=name,
        sun_azimuth_rad=float(rng.uniform(-np.pi, np.pi)) if vary else 1.9,
        sun_elevation_rad=float(rng.uniform(low, high)) if vary else (low + high) / 2,
        gain=float(np.clip(1 + 0.16 * spread[3], 0.6, 1.5)),
        gamma=float(np.clip(1 + 0.16 * spread[4], 0.65, 1.5)),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        noise=float((4.5 if name == "night" else 1.8) * (1 + vary * rng.uniform(-0.5, 0.8))),
        blur_px=float(np.clip(0.85 + 0.35 * abs(spread[5]), 0.6, 2.2)),
        seed=int(rng.integers(1 << 30)),
        **light,
    )


def random_look(rng: np.random.Generator) -> Look:
    """A look drawn with about the shares of a real data set."""
    return make_look(str(rng.choice(LOOKS, p=_SHARES)), rng)


def _light(name: str, rng: np.random.Generator) -> tuple[dict[str, Any], float, float]:
    """Light and weather of a look, and the range of the sun's elevation."""
    if name == "clear":
        k = rng.uniform(0.85, 1.1)
        return {
            "ambient": (0.64 * k, 0.58 * k, 0.54 * k), "sun": (0.56 * k, 0.62 * k, 0.66 * k),
            "sky_top": (0.80, 0.56, 0.34), "sky_low": (0.90, 0.84, 0.76),
            "cloud_bgr": (0.98, 0.97, 0.96),
            "cloud": rng.uniform(0.25, 0.55), "haze": (0.84, 0.79, 0.73), "visibility_m": 1100.0,
        }, 0.5, 1.1  # fmt: skip
    if name == "cloudy":
        return {
            "ambient": (0.66, 0.64, 0.62), "sun": (0.24, 0.26, 0.27), "sky_top": (0.76, 0.66, 0.56),
            "sky_low": (0.90, 0.89, 0.87), "cloud_bgr": (0.88, 0.87, 0.86), "cloud": 0.75,
            "haze": (0.82, 0.81, 0.79), "visibility_m": 600.0,
        }, 0.5, 1.0  # fmt: skip
    if name == "overcast":
        return {
            "ambient": (0.72, 0.70, 0.68), "sun": (0.03, 0.03, 0.03), "sky_top": (0.80, 0.78, 0.76),
            "sky_low": (0.88, 0.87, 0.86), "cloud_bgr": (0.74, 0.73, 0.72), "cloud": 0.6,
            "haze": (0.80, 0.79, 0.78), "visibility_m": rng.uniform(120.0, 450.0),
            "wet": rng.uniform(0, 0.3),
        }, 0.6, 1.0  # fmt: skip
    if name == "dusk":
        return {
            "ambient": (0.40, 0.34, 0.32), "sun": (0.10, 0.16, 0.24), "sky_top": (0.56, 0.42, 0.34),
            "sky_low": (0.50, 0.66, 0.92), "cloud_bgr": (0.52, 0.52, 0.66), "cloud": 0.5,
            "haze": (0.48, 0.50, 0.58), "visibility_m": 500.0, "lamps": 0.55,
        }, 0.08, 0.22  # fmt: skip
    return _poor_light(name, rng)


def _poor_light(
    name: str, rng: np.random.Generator
) -> tuple[dict[str, Any], float, float]:  # fmt: skip
    """The same for rain and night."""
    if name == "rain":
        k = rng.uniform(0.7, 1.0)
        return {
            "ambient": (0.58 * k, 0.55 * k, 0.52 * k), "sun": (0.02, 0.02, 0.02),
            "sky_top": (0.66, 0.64, 0.62), "sky_low": (0.74, 0.73, 0.72),
            "cloud_bgr": (0.72, 0.71, 0.70),
            "cloud": 0.85, "haze": (0.66, 0.65, 0.64), "visibility_m": rng.uniform(90.0, 260.0),
            "wet": 0.8,
            "rain": rng.uniform(0.3, 1.0), "lamps": 0.45,
        }, 0.6, 1.0  # fmt: skip
    if name == "night":
        k = rng.uniform(0.55, 1.5)  # from a dark road to a lit street
        return {
            "ambient": (0.14 * k, 0.15 * k, 0.17 * k), "sun": (0.0, 0.0, 0.0),
            "sky_top": (0.07 * k, 0.05 * k, 0.045 * k), "sky_low": (0.15 * k, 0.14 * k, 0.16 * k),
            "cloud_bgr": (0.14 * k, 0.13 * k, 0.14 * k), "cloud": 0.3,
            "haze": (0.08 * k, 0.08 * k, 0.09 * k), "visibility_m": 700.0, "lamps": 1.0,
            "wet": float(rng.choice([0.0, 0.6], p=[0.75, 0.25])),
        }, 0.6, 1.0  # fmt: skip
    raise ValueError(f"look: expected one of {', '.join(LOOKS)}, given {name}")
