"""Where the tracked objects stand on the ground and how they move: a Kalman filter per track.

Two things are measured in a box. Its foot, cast to the ground plane, gives the place, badly so
far away, where a little pitching of the car moves the place by metres. Its height in the picture
times the distance stays the same while an object of constant size comes closer: hence steady
growth gives the speed along the line of sight whatever the pitch. The state is (x, y, vx, vy) in
the vehicle frame and s, the log height the object would have at 1 m; a loose prior of s by class
steadies the distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.compiled import run
from data.taxonomy import CLASSES
from perception.tracking import kernels

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_STATE = 5
_STEP_M = 0.01

# height (m) and the spread of its logarithm of the classes that stand on the ground
_HEIGHTS: dict[str, tuple[float, float]] = {
    "vehicle": (1.65, 0.3),
    "person": (1.7, 0.15),
    "two_wheeler": (1.5, 0.25),
}
_STANDS = np.array([name in _HEIGHTS for name in CLASSES])
LOG_HEIGHTS = np.array([math.log(_HEIGHTS.get(name, (1.0, 1.0))[0]) for name in CLASSES])
_LOG_HEIGHT_STD = np.array([_HEIGHTS.get(name, (1.0, 1.0))[1] for name in CLASSES])


@dataclass(frozen=True)
class GroundConfig:
    """Noise of places on the ground.

    Attributes:
        foot_std_px, foot_std_heights: error of a box's foot, in px and as a share of the box's
            height, added.
        pitch_std_deg: pitching of the car about the camera's calibration.
        slope_std_deg: error of calibration and slope of the road, which no time averages away:
            added to what is reported, not filtered.
        body_std_m: how far the middle of what is seen of a body lies from its own; added too.
        log_height_std: error of a detected log height, beside that of its edges in px.
        hidden_foot_heights: error of the foot of a box cut by the picture's lower border, as a
            share of its height.
        border_px: a box edge nearer than this to the picture's border is cut by it;
        side_share: the same for the left and right border, as a share of the picture's width.
        max_relative_std: a foot whose distance is known worse than this share of it gives no
            place.
        speed_std_mps: (forward, left) spread of the unknown relative speed of a new track.
        acceleration: m / s^1.5, (forward, left) root spectral density of the acceleration.
        height_drift: 1 / s^0.5, slow change of the visible height.
        foot_correlation_s, height_correlation_s: as ``BoxMotionConfig.correlation_s``.
        gate: an error of more standard deviations than this counts for accordingly less.
    """

    foot_std_px: float = 1.5
    foot_std_heights: float = 0.02
    pitch_std_deg: float = 0.3
    slope_std_deg: float = 0.5
    body_std_m: float = 0.3
    log_height_std: float = 0.03
    hidden_foot_heights: float = 0.25
    border_px: float = 2.0
    side_share: float = 0.008
    max_relative_std: float = 0.5
    speed_std_mps: tuple[float, float] = (12.0, 4.0)
    acceleration: tuple[float, float] = (3.0, 2.0)
    height_drift: float = 0.02
    foot_correlation_s: float = 0.5
    height_correlation_s: float = 0.2
    gate: float = 3.0


@dataclass(frozen=True, eq=False)
class GroundState:
    """mean (n, 5) and cov (n, 5, 5) of (x, y, vx, vy, s); NaN where no place is known."""

    mean: F64
    cov: F64

    def select(self, keep: Bool | I64) -> GroundState:
        return GroundState(self.mean[keep], self.cov[keep])

    def append(self, other: GroundState) -> GroundState:
        return GroundState(
            np.concatenate([self.mean, other.mean]), np.concatenate([self.cov, other.cov])
        )

    @classmethod
    def unknown(cls, n: int) -> GroundState:
        return cls(np.full((n, _STATE), np.nan), np.full((n, _STATE, _STATE), np.nan))


@dataclass(frozen=True, eq=False)
class _Measured:
    """Foot on the ground (k, 2) m with cov (k, 2, 2), log height (k,) with variance (k,)."""

    foot_m: F64
    foot_cov: F64
    log_height: F64
    log_height_var: F64
    has_foot: Bool


def _measure(xyxy: F64, class_id: I64, camera: Camera, config: GroundConfig) -> _Measured:
    """What boxes (k, 4) tell of places and sizes."""
    height = xyxy[:, 3] - xyxy[:, 1]
    edge, side = config.border_px, max(config.border_px, config.side_share * camera.width_px)
    right, bottom = camera.width_px - 1 - side, camera.height_px - 1 - edge
    cut_side = (xyxy[:, 0] <= side) | (xyxy[:, 2] >= right)
    cut_top, cut_bottom = xyxy[:, 1] <= edge, xyxy[:, 3] >= bottom
    pixel = config.foot_std_px + config.foot_std_heights * height
    # the middle of what a border leaves of an object wanders while the object stands
    std_u = np.where(cut_side, xyxy[:, 2] - xyxy[:, 0], pixel)
    pitch_px = float(camera.matrix[1, 1]) * math.radians(config.pitch_std_deg)
    std_v = np.where(cut_bottom, config.hidden_foot_heights * height, np.hypot(pixel, pitch_px))

    foot = np.stack([(xyxy[:, 0] + xyxy[:, 2]) / 2, np.minimum(xyxy[:, 3], bottom + edge)], axis=1)
    k = len(foot)
    steps = np.array([[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
    places = camera.ground_from_pixels((foot + steps).reshape(-1, 2)).reshape(3, k, 2)
    place = places[0]
    du, dv = (places[1] - place) * std_u[:, None], (places[2] - place) * std_v[:, None]
    cov = du[:, :, None] * du[:, None, :] + dv[:, :, None] * dv[:, None, :]
    distance = np.hypot(*(place - camera.vehicle_from_camera[:2, 3]).T)
    with np.errstate(invalid="ignore"):
        sure = np.sqrt(cov[:, 0, 0] + cov[:, 1, 1]) <= config.max_relative_std * distance
    has_foot = _STANDS[class_id] & (sure | (cut_bottom & np.isfinite(distance)))
    variance = config.log_height_std**2 + 2 * (config.foot_std_px / height) ** 2
    variance = np.where(cut_top | cut_bottom, kernels.NO_INFORMATION, variance)
    return _Measured(place, cov, np.log(height), variance, has_foot)


def start(xyxy: F64, class_id: I64, camera: Camera | None, config: GroundConfig) -> GroundState:
    """Places of boxes (k, 4) px seen for the first time; NaN where the foot shows none."""
    state = GroundState.unknown(len(xyxy))
    if camera is None or not len(xyxy):
        return state
    seen = _measure(xyxy, class_id, camera, config)
    new = np.flatnonzero(seen.has_foot)
    mean, cov = np.zeros((len(new), _STATE)), np.zeros((len(new), _STATE, _STATE))
    mean[:, :2], cov[:, :2, :2] = seen.foot_m[new], seen.foot_cov[new]
    cov[:, 2, 2], cov[:, 3, 3] = np.square(config.speed_std_mps)
    kind = class_id[new]
    mean[:, 4] = LOG_HEIGHTS[kind] + math.log(float(camera.matrix[1, 1]))
    cov[:, 4, 4] = _LOG_HEIGHT_STD[kind] ** 2
    state.mean[new], state.cov[new] = _correct(mean, cov, seen, new, camera, config, None)
    return state


def predict(state: GroundState, dt_s: float, config: GroundConfig) -> GroundState:
    """The places ``dt_s`` later."""
    noise = *config.acceleration, config.height_drift
    return GroundState(*run(kernels.moved, state.mean, state.cov, dt_s, *noise))


def turned(state: GroundState, old: Camera, new: Camera) -> GroundState:
    """The places where the assumed camera ``old`` turns out to be ``new``: the same pixels, seen by
    the new one, and velocities as the ground about them is stretched; NaN where it shows none."""
    steps = np.array([[0.0, 0.0], [_STEP_M, 0.0], [0.0, _STEP_M]])
    known = np.flatnonzero(np.isfinite(state.mean[:, 0]))
    mean, cov = state.mean[known], state.cov[known]
    near = (mean[None, :, :2] + steps[:, None]).reshape(-1, 2)
    pixels = old.pixels_from_vehicle(np.column_stack([near, np.zeros(len(near))]))
    at, ahead, aside = new.ground_from_pixels(pixels).reshape(3, -1, 2)
    stretch = np.zeros((len(known), _STATE, _STATE))
    stretch[:, :2, 0] = stretch[:, 2:4, 2] = (ahead - at) / _STEP_M
    stretch[:, :2, 1] = stretch[:, 2:4, 3] = (aside - at) / _STEP_M
    stretch[:, 4, 4] = 1.0
    out = GroundState.unknown(len(state.mean))
    with np.errstate(invalid="ignore"):
        moved = (stretch @ mean[..., None])[..., 0]
        moved[:, 4] += np.log(_depth(at, new) / _depth(mean[:, :2], old))
        out.cov[known] = stretch @ cov @ stretch.transpose(0, 2, 1)
    moved[:, :2] = at
    out.mean[known] = moved
    lost = ~(np.isfinite(out.mean).all(axis=1) & np.isfinite(out.cov).all(axis=(1, 2)))
    out.mean[lost], out.cov[lost] = np.nan, np.nan
    return out


def _depth_axis(camera: Camera) -> F64:
    """(3,): the depth of a place along the optical axis is axis[0] x + axis[1] y + axis[2]."""
    pose = camera.vehicle_from_camera
    return np.array([pose[0, 2], pose[1, 2], -float(pose[:3, 2] @ pose[:3, 3])])


def _depth(place_m: F64, camera: Camera) -> F64:
    """Depth (k,) of places (k, 2) along the optical axis, at least 1 m."""
    axis = _depth_axis(camera)
    return np.maximum(place_m @ axis[:2] + axis[2], 1.0)


def update(
    state: GroundState,
    rows: I64,
    xyxy: F64,
    class_id: I64,
    elapsed_s: F64,
    camera: Camera,
    config: GroundConfig,
) -> GroundState:
    """Correct tracks ``rows`` (k,) by boxes (k, 4) px, ``elapsed_s`` (k,) after their last."""
    seen = _measure(xyxy, class_id, camera, config)
    known = np.isfinite(state.mean[rows, 0])
    mean, cov = state.mean.copy(), state.cov.copy()
    old, at = rows[known], np.flatnonzero(known)
    if len(old):
        mean[old], cov[old] = _correct(mean[old], cov[old], seen, at, camera, config, elapsed_s[at])
    new = np.flatnonzero(~known & seen.has_foot)
    if len(new):
        fresh = start(xyxy[new], class_id[new], camera, config)
        mean[rows[new]], cov[rows[new]] = fresh.mean, fresh.cov
    return GroundState(mean, cov)


def reported_covariance(state: GroundState, camera: Camera | None, config: GroundConfig) -> F64:
    """(n, 4, 4) covariance of (x, y, vx, vy) with what filtering cannot remove."""
    cov = state.cov[:, :4, :4].copy()
    if camera is not None and np.isfinite(state.mean[:, 0]).any():
        ray = state.mean[:, :2] - camera.vehicle_from_camera[:2, 3]
        slope = math.radians(config.slope_std_deg) / max(camera.height_m, 0.1)
        off = ray * (slope * np.hypot(ray[:, 0], ray[:, 1]))[:, None]
        cov[:, :2, :2] += off[:, :, None] * off[:, None, :] + np.eye(2) * config.body_std_m**2
    return cov


def _correct(
    mean: F64,
    cov: F64,
    seen: _Measured,
    at: I64,
    camera: Camera,
    config: GroundConfig,
    elapsed_s: F64 | None,
) -> tuple[F64, F64]:
    """Kalman update of (k, 5) by the measurements ``at`` (k,), ``elapsed_s`` (k,) after the last.

    Without ``elapsed_s`` the foot is already in the mean and only the height is used.
    """
    foot, foot_cov, variance = seen.foot_m[at], seen.foot_cov[at], seen.log_height_var[at]
    foot[~seen.has_foot[at]] = np.nan
    if elapsed_s is None:
        foot[:], elapsed_s = np.nan, np.zeros(len(at))
    else:
        elapsed = np.maximum(elapsed_s, 1e-3)
        foot_cov *= np.maximum(1.0, config.foot_correlation_s / elapsed)[:, None, None]
        variance *= np.maximum(1.0, config.height_correlation_s / elapsed)
    measured = foot, foot_cov, seen.log_height[at], variance, elapsed_s
    return run(kernels.placed, mean, cov, _depth_axis(camera), *measured, config.gate)  # type: ignore[no-any-return]
