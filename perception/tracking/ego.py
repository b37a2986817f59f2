"""The own motion as the tracked boxes tell it, to guess how an object just found will move.

An object that stands drifts through the picture as the own car's speed and turning say: its log
height grows by speed / distance, its centre leaves the vanishing point at the same rate, and
turning moves everything sideways alike. Speed and yaw rate are fitted to all tracked objects at
once, each trusted as little as it may itself move - the turning only where the pictures
themselves do not show it (``own_motion``); so where most traffic stands they are the own
car's, and in a stream of traffic those relative to the stream. Either is the best guess for a
newcomer: seen twice a second, a row of parked cars cannot be told apart without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.compiled import run
from perception.tracking import kernels
from perception.tracking.ground import LOG_HEIGHTS
from perception.tracking.motion import BoxState

if TYPE_CHECKING:
    from perception.own_motion import Turn

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_ROUNDS = 4
_MAX_GROWTH_PS = 2.0
_VOTERS = 40
_SEEN_TURN_VARIANCE = 1e-5  # of turning seen in the pictures, rad^2 / s^2
_FIT = 12.0  # greatest squared misfit of a vote, of three numbers in standard deviations


@dataclass(frozen=True)
class EgoConfig:
    """How the own motion changes and how much others tell of it.

    Attributes:
        first_speed_mps, first_turn_radps: spread of the own motion at first.
        speed_drift: m / s^1.5, how fast the own speed may change.
        turn_drift: rad / s^1.5, how fast the own yaw rate may change.
        speed_time_s, turn_time_s: time constants of their decay to nothing while no object
            tells of them.
        others_speed_mps: (along the view, across, up) spread of the objects' own speeds.
        max_turn_radps: faster turning within one frame is not looked for.
        shift_share: a shift of the whole picture is believed when at least this share of the
            tracks (and one) fits better by it.
        shift_doubt, shift_doubt_radps: votes that a shift needs beyond that, by the logarithm of
            its turning in the latter unit.
    """

    first_speed_mps: float = 10.0
    first_turn_radps: float = 0.2
    speed_drift: float = 5.0
    turn_drift: float = 0.15
    speed_time_s: float = 4.0
    turn_time_s: float = 1.0
    others_speed_mps: tuple[float, float, float] = (7.0, 0.75, 0.4)
    max_turn_radps: float = 0.8
    shift_share: float = 0.2
    shift_doubt: float = 0.1
    shift_doubt_radps: float = 0.05


@dataclass(frozen=True)
class EgoGuess:
    """Own speed, how fast the picture turns (positive: to the right), and their variances.

    ``pitch_radps``: how fast the camera nods (positive: nose down), where the pictures show it.
    """

    speed_mps: float
    turn_radps: float
    speed_variance: float
    turn_variance: float
    pitch_radps: float = 0.0

    @classmethod
    def unknown(cls, config: EgoConfig) -> EgoGuess:
        return cls(0.0, 0.0, config.first_speed_mps**2, config.first_turn_radps**2)


def _inverse_distance(mean: F64, class_id: I64, focal_px: float) -> F64:
    """(n,) 1 / m from the height in the picture and the usual height of the class."""
    return np.exp(mean[:, 3] - LOG_HEIGHTS[class_id]) / focal_px


def _from_vanishing_point(mean: F64, camera: Camera) -> F64:
    return mean[:, :2] - (float(camera.matrix[0, 2]), camera.horizon_row_px)


def rates(mean: F64, class_id: I64, ego: EgoGuess, camera: Camera | None) -> F64:
    """(n, 4) rates of the boxes ``mean`` (n, 4) of objects that stand; 0 without a camera."""
    out = np.zeros_like(mean)
    if camera is None or not len(mean):
        return out
    focal_px = float(camera.matrix[0, 0])
    growth = ego.speed_mps * _inverse_distance(mean, class_id, focal_px)
    growth = np.minimum(growth, _MAX_GROWTH_PS)
    out[:, :2] = _from_vanishing_point(mean, camera) * growth[:, None]
    out[:, 0] += ego.turn_radps * focal_px
    out[:, 1] -= ego.pitch_radps * focal_px
    out[:, 2:] = growth[:, None]
    return out


def fitted(
    box: BoxState,
    class_id: I64,
    ego: EgoGuess,
    dt_s: float,
    camera: Camera,
    config: EgoConfig,
    turn: Turn | None = None,
) -> EgoGuess:
    """The own motion after ``dt_s`` from tracks seen at least twice: robust least squares.

    Each track gives three equations, for the rates of its log height and of its centre; misfits
    count less by Cauchy's weights. ``turn`` is what the pictures show of it, else fitted too.
    """
    if dt_s <= 0:
        return ego
    focal_px, centre_u = float(camera.matrix[0, 0]), float(camera.matrix[0, 2])
    fade = np.exp(-dt_s / config.turn_time_s)
    speed_0 = ego.speed_mps * np.exp(-dt_s / config.speed_time_s)
    trust_speed = 1 / (ego.speed_variance + config.speed_drift**2 * dt_s)
    pitch, turn_0 = float(ego.pitch_radps * fade), ego.turn_radps * fade
    trust_turn = 1 / (ego.turn_variance + config.turn_drift**2 * dt_s)
    if turn is not None:
        pitch, turn_0, trust_turn = turn.pitch_radps, turn.yaw_radps, 1 / _SEEN_TURN_VARIANCE
    fit = run(
        kernels.own_motion, box.mean, box.rate, box.cov, LOG_HEIGHTS[class_id], focal_px, centre_u,
        camera.horizon_row_px, pitch * focal_px, *config.others_speed_mps,
        speed_0, trust_speed, turn_0, trust_turn, _ROUNDS,
    )  # fmt: skip
    speed, yaw, speed_variance, turn_variance = fit
    return EgoGuess(speed, yaw, speed_variance, turn_variance, pitch)


def common_shift(
    box: BoxState,
    class_id: I64,
    found: F64,
    found_class: I64,
    noise: F64,
    reach_px: float,
    config: EgoConfig,
) -> float:
    """How far (px, to the right) all predicted boxes lie beside the detections that fit them.

    Turning moves everything alike, and a row of parked cars each taken for its neighbour looks
    like one that stands. Each pair of a prediction and a detection of like size and height in the
    picture proposes its own shift; the one under which most predictions find a detection wins,
    where it wins clearly over none.

    Args:
        box, class_id: predictions; found: (m, 4) detections as (centre u, v, log width, log
            height), found_class: (m,); noise: (n, 4) variance of a detection of each prediction.
        reach_px: shift of the fastest turning.
    """
    few = np.argsort(-box.mean[:, 3], kind="stable")[:_VOTERS]
    best = np.argsort(-found[:, 3], kind="stable")[:_VOTERS]
    if min(len(few), len(best)) < 2:
        return 0.0
    variance = (box.cov[..., 0] + noise)[few]
    doubt_px = config.shift_doubt_radps * reach_px / config.max_turn_radps
    return float(
        run(
            kernels.shift, box.mean[few], variance, class_id[few], found[best], found_class[best],
            reach_px, _FIT, config.shift_share, config.shift_doubt, doubt_px,
        )
    )  # fmt: skip
