"""Drivable ground over time: log-odds of each cell, carried along by the own motion.

Each frame adds its evidence to what is left of the frames before (Moravec and Elfes, "High
Resolution Maps from Wide Angle Sonar", 1985; Thrun, Burgard and Fox, "Probabilistic Robotics",
2005, chapter 9). What was seen is forgotten with time, and with the way and the turning since,
which are never known exactly. Only the ground is fused: what moves on it comes from the tracks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from planning.grid import GridSpec

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class FusionConfig:
    """Attributes:
    forget_s: time constant with which what was seen is forgotten.
    forget_m: the same of the way driven since.
    forget_arc_m: the same of the way that a cell moved sideways as the vehicle turned.
    max_gap_s: frames further apart are not fused; 0: each stands alone.
    blur_m: standard deviation of a cell's place at which its evidence counts half.
    most_odds, held_odds: bounds of one frame's evidence and of what is held, in log-odds.
    known_odds: a cell out of view with less is unknown.
    """

    forget_s: float = 0.5
    forget_m: float = 30.0
    forget_arc_m: float = 2.0
    max_gap_s: float = 0.5
    blur_m: float = 1.0
    most_odds: float = 3.0
    held_odds: float = 3.0
    known_odds: float = 0.5


@dataclass(frozen=True)
class Way:
    """Own motion since the last frame: time, way along the arc, and turning to the left."""

    dt_s: float
    along_m: float
    turn_rad: float


@dataclass(frozen=True, eq=False)
class Fused:
    """What is known of the ground at ``t_ns``: ``odds`` (rows, cols) float32, log-odds of being
    drivable, 0 for nothing known; ``frames`` that lie in it without a break."""

    odds: F32
    t_ns: int
    frames: int = 1


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one frame tells of the ground.

    Attributes:
        probability: (rows, cols) float32 of being drivable, NaN where the frame tells nothing.
        std_m: (rows, cols) float32 of each cell's place, see ``ground.GroundView``.
        threshold: probability that speaks neither for nor against.
    """

    probability: F32
    std_m: F32
    threshold: float


def fused(
    last: Fused | None, way: Way | None, told: Evidence, spec: GridSpec, t_ns: int,
    config: FusionConfig,
) -> Fused:  # fmt: skip
    """Add a frame to what is left of the ones before.

    A cell whose place is doubtful counts less, and is forgotten sooner: the next frame sees it
    elsewhere. Without ``last``, its ``way`` or with too long a break the frame stands alone; its
    log-odds then have the sign that the probability has against the threshold.
    """
    from planning.grid_kernels import add_evidence

    if last is None or way is None or not 0 < way.dt_s <= config.max_gap_s or (
        last.odds.shape != told.probability.shape
    ):  # fmt: skip
        last, way, forget = Fused(np.zeros((1, 1), np.float32), t_ns, 0), Way(0.0, 0.0, 0.0), -1.0
    else:
        forget = way.dt_s / config.forget_s + abs(way.along_m) / config.forget_m
    odds = run(
        add_evidence, last.odds, forget, way.along_m, way.turn_rad,
        abs(way.turn_rad) / config.forget_arc_m, told.probability, told.std_m, config.blur_m,
        math.log(told.threshold / (1 - told.threshold)), config.most_odds, config.held_odds,
        spec.resolution_m, spec.origin_m[1],
    )  # fmt: skip
    return Fused(np.asarray(odds), t_ns, last.frames + 1)
