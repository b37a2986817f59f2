"""Pedestrians and two-wheelers with their riders. Origin on the ground below the body."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data.synthetic.mesh import Mesh, ball, box, disc, loft, merge, tube

Bgr = tuple[float, float, float]
WALK_PHASES = 8
STRIDE_M = 1.45  # two steps

SKIN: tuple[Bgr, ...] = ((0.48, 0.58, 0.78), (0.30, 0.40, 0.58), (0.14, 0.20, 0.32))
CLOTHES: tuple[Bgr, ...] = (
    (0.06, 0.05, 0.05), (0.28, 0.18, 0.10), (0.15, 0.12, 0.55), (0.70, 0.70, 0.72),
    (0.30, 0.32, 0.30), (0.10, 0.42, 0.62), (0.20, 0.30, 0.14), (0.48, 0.36, 0.52),
)  # fmt: skip
TROUSERS: tuple[Bgr, ...] = (
    (0.08, 0.07, 0.07), (0.30, 0.20, 0.13), (0.20, 0.24, 0.28), (0.42, 0.46, 0.50),
)  # fmt: skip
# slots of the meshes that take a colour from the instance
SKIN_SLOT, TOP_SLOT, TROUSERS_SLOT, HAIR_SLOT = 1, 2, 3, 4
DYED: Bgr = (1.0, 1.0, 1.0)
HEIGHT_M = 1.72  # of the meshes
PEDALS, TURN_M = 8, 5.0  # steps of a turn of the pedals, and how far one takes a bicycle
HAIR: tuple[Bgr, ...] = ((0.03, 0.03, 0.04), (0.06, 0.10, 0.16), (0.25, 0.42, 0.52))


@dataclass(frozen=True)
class Outfit:
    """Colours and height of one person."""

    skin: Bgr
    top: Bgr
    trousers: Bgr
    hair: Bgr
    height_m: float

    @property
    def dye(self) -> tuple[Bgr, ...]:
        """Colours of the meshes' slots from 1 on."""
        return self.skin, self.top, self.trousers, self.hair

    @property
    def scale(self) -> float:
        return self.height_m / HEIGHT_M


def random_outfit(rng: np.random.Generator) -> Outfit:
    def pick(colours: tuple[Bgr, ...]) -> Bgr:
        return colours[int(rng.integers(len(colours)))]

    height = float(np.clip(rng.normal(1.72, 0.09), 1.5, 1.95))
    return Outfit(pick(SKIN), pick(CLOTHES), pick(TROUSERS), pick(HAIR), height)


def _oval(
    x: float, z: float, half_x: float, half_y: float, sides: int = 8
) -> NDArray[np.float64]:  # fmt: skip
    t = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    return np.column_stack([x + half_x * np.cos(t), half_y * np.sin(t), np.full(sides, z)])


def _torso(hip: float, shoulder: float, lean: float, fine: bool) -> list[Mesh]:
    """Trunk, neck and head; ``lean`` is how far the shoulders are ahead of the hips."""
    sides, layers = (8, 5) if fine else (5, 3)
    levels = ((0.0, 0.115, 0.17), (0.35, 0.11, 0.165), (0.75, 0.13, 0.215), (1.0, 0.08, 0.15))
    rings = [_oval(lean * t, hip + (shoulder - hip) * t, a, b, sides) for t, a, b in levels]
    top = np.array([lean, 0.0, shoulder])
    head = top + np.array([0.03, 0.0, 0.175])
    hair = head + np.array([-0.022, 0, 0.04])
    return [
        loft(rings, DYED).dyed(TOP_SLOT),
        tube(top - [0, 0, 0.03], head, 0.055, DYED, sides - 2).dyed(SKIN_SLOT),
        ball(head, (0.105, 0.085, 0.13), DYED, sides, layers).dyed(SKIN_SLOT),
        ball(hair, (0.105, 0.094, 0.11), DYED, sides, layers).dyed(HAIR_SLOT),
    ]


def _limb(
    joints: list[tuple[float, float, float]], radii: list[float], slot: int, fine: bool
) -> list[Mesh]:  # fmt: skip
    pairs = zip(joints[:-1], joints[1:], radii[:-1], radii[1:], strict=True)
    sides = 6 if fine else 4
    return [tube(a, b, (ra, rb), DYED, sides).dyed(slot) for a, b, ra, rb in pairs]


@lru_cache(maxsize=32)
def pedestrian(step: int, fine: bool = True) -> Mesh:
    """A person ``HEIGHT_M`` tall heading along x, at one of ``WALK_PHASES`` of two steps, or
    standing at ``WALK_PHASES``."""
    walking, phase = step < WALK_PHASES, step / WALK_PHASES
    swing = 0.48 * math.sin(2 * math.pi * phase) if walking else 0.06
    hip, shoulder = 0.90, 1.45
    parts = _torso(hip, shoulder, 0.03, fine)
    for side, sign in ((0.09, 1.0), (-0.09, -1.0)):
        thigh = sign * swing
        lag = math.cos(2 * math.pi * phase) * sign if walking else 0.0
        shin = thigh - 0.55 * max(lag, 0.0) - 0.06  # the knee bends as the leg swings forward
        knee = (0.44 * math.sin(thigh), side, hip - 0.44 * math.cos(thigh))
        foot_z = max(knee[2] - 0.44 * math.cos(shin), 0.07)
        foot = (knee[0] + 0.44 * math.sin(shin), side, foot_z)
        start = (0.0, side, hip + 0.03)
        parts += _limb([start, knee, foot], [0.095, 0.07, 0.05], TROUSERS_SLOT, fine)
        parts.append(_shoe(foot, 0.0))
        arm = -thigh * 0.8
        y = side / 0.09 * 0.235
        elbow = (0.03 + 0.29 * math.sin(arm), y, shoulder - 0.03 - 0.29 * math.cos(arm))
        hand = (elbow[0] + 0.25 * math.sin(arm + 0.35), y * 0.98,
                elbow[2] - 0.25 * math.cos(arm + 0.35))  # fmt: skip
        shoulder_at = (0.03, y * 0.9, shoulder - 0.03)
        parts += _limb([shoulder_at, elbow, hand], [0.058, 0.05, 0.038], TOP_SLOT, fine)
        if fine:
            parts.append(ball(hand, (0.045, 0.035, 0.06), DYED, 6, 3).dyed(SKIN_SLOT))
    return replace(merge(parts), far=pedestrian(step, False) if fine else None)


def _shoe(foot: tuple[float, float, float], above_m: float) -> Mesh:
    low = np.array(foot) - [0.07, 0.045, 0.07 - above_m]
    return box(low, np.array(foot) + [0.15, 0.045, above_m], (0.06, 0.06, 0.07))


@lru_cache(maxsize=1)
def bicycle() -> Mesh:
    """Frame (slot 1), wheels, saddle and bars, 1.7 m long."""
    r, base = 0.34, 0.52
    parts: list[Mesh] = []
    for x in (-base, base):
        hub = (x, 0.0, r)
        parts.append(disc(hub, r, (0.04, 0.04, 0.04), 1, 18, inner_m=r * 0.87))
        parts.append(disc(hub, r * 0.87, (0.35, 0.35, 0.35), 1, 18, inner_m=r * 0.83))
        parts.append(disc(hub, 0.05, (0.2, 0.2, 0.2), 1, 8))
    crank, seat, head = (-0.05, 0.0, 0.30), (-0.22, 0.0, 0.82), (0.36, 0.0, 0.84)
    for a, b in ((crank, seat), (crank, head), (seat, head), (crank, (-base, 0, r)),
                 (seat, (-base, 0, r)), (head, (base, 0, r))):  # fmt: skip
        parts.append(tube(a, b, 0.022, DYED, 5).dyed(1))
    parts.append(box((-0.35, -0.07, 0.86), (-0.1, 0.07, 0.93), (0.05, 0.05, 0.05)))
    parts.append(tube((0.36, 0.0, 0.84), (0.38, 0.0, 1.0), 0.02, (0.1, 0.1, 0.1)))
    parts.append(tube((0.38, -0.29, 1.0), (0.38, 0.29, 1.0), 0.022, (0.08, 0.08, 0.08), 5))
    parts.append(box((-0.60, -0.03, 0.66), (-0.57, 0.03, 0.72), (0.1, 0.08, 0.8), glow=1.0))
    return merge(parts)


@lru_cache(maxsize=1)
def motorcycle() -> Mesh:
    """Tank (slot 1), engine, fork, fat tyres and lamps, 2.1 m long."""
    r, base = 0.32, 0.70
    parts: list[Mesh] = []
    for x in (-base, base):
        for y in (-0.06, 0.06):
            parts.append(disc((x, y, r), r, (0.04, 0.04, 0.04), 1, 16, inner_m=r * 0.55))
        t = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        rim = np.column_stack([x + r * np.cos(t), np.zeros(16), r + r * np.sin(t)])
        tyre = [rim - [0, 0.07, 0], rim + np.array([0, 0.07, 0])]
        parts.append(loft(tyre, (0.05, 0.05, 0.05), caps=False))
        parts.append(disc((x, 0, r), r * 0.55, (0.4, 0.4, 0.4), 1, 12))
    parts += [
        box((-0.32, -0.17, 0.25), (0.32, 0.17, 0.62), (0.16, 0.16, 0.17)),
        loft([_oval(0.15, 0.62, 0.3, 0.16), _oval(0.15, 0.88, 0.22, 0.13)], DYED, 0.25).dyed(1),
        box((-0.85, -0.14, 0.70), (-0.1, 0.14, 0.82), (0.05, 0.05, 0.05)),
        box((-0.95, -0.10, 0.62), (-0.70, 0.10, 0.80), DYED, 0.2).dyed(1),
        box((-0.97, -0.09, 0.66), (-0.95, 0.09, 0.76), (0.08, 0.06, 0.7), glow=1.2),
        box((0.62, -0.12, 0.80), (0.70, 0.12, 1.0), (0.85, 0.88, 0.88), glow=2.5),
        tube((base, 0.09, r), (0.5, 0.09, 1.0), 0.03, (0.3, 0.3, 0.3)),
        tube((base, -0.09, r), (0.5, -0.09, 1.0), 0.03, (0.3, 0.3, 0.3)),
        tube((0.45, -0.38, 1.05), (0.45, 0.38, 1.05), 0.025, (0.08, 0.08, 0.08), 5),
        tube((-0.8, -0.18, 0.35), (0.2, -0.18, 0.3), 0.06, (0.45, 0.45, 0.45)),
    ]
    return merge(parts)


@lru_cache(maxsize=4 * PEDALS)
def rider(helmet: bool, pedal: int, fine: bool = True) -> Mesh:
    """A person on a bicycle or motorcycle, at one of ``PEDALS`` of a turn."""
    hip = np.array([-0.22, 0.0, 0.95])
    lean, shoulder = (0.30, 1.40) if helmet else (0.26, 1.46)
    parts = [merge(_torso(float(hip[2]) - 0.05, shoulder, lean, fine)).moved(-0.22, 0, 0)]
    for sign in (-1.0, 1.0):
        turn = 2 * math.pi * pedal / PEDALS + (math.pi if sign > 0 else 0.0)
        foot = (-0.05 + 0.16 * math.cos(turn), sign * 0.13, 0.30 + 0.16 * math.sin(turn))
        knee = (0.16 + 0.05 * math.cos(turn), sign * 0.13, 0.66 + 0.09 * math.sin(turn))
        start = (float(hip[0]), sign * 0.1, float(hip[2]))
        parts += _limb([start, knee, foot], [0.095, 0.072, 0.05], TROUSERS_SLOT, fine)
        parts.append(_shoe(foot, 0.02))
        hand = (0.38, sign * 0.27, 1.03)
        elbow = (0.18, sign * 0.27, 1.13)
        top = (-0.22 + lean, sign * 0.2, shoulder - 0.03)
        parts += _limb([top, elbow, hand], [0.06, 0.05, 0.04], TOP_SLOT, fine)
    if helmet:
        head = (-0.22 + lean + 0.03, 0.0, shoulder + 0.22)
        parts.append(ball(head, (0.15, 0.13, 0.16), (0.08, 0.08, 0.08), 8, 5))
    return replace(merge(parts), far=rider(helmet, pedal, False) if fine else None)
