"""The own motion from the pictures: speed and yaw rate on the road, and how the camera turned.

Corners of one picture are followed into the next (``flow``), the motion between the two is fitted
to them (``pair_fit``), and a Kalman filter smooths speed and yaw rate over time. Pairs of pictures
that show no such motion - cuts, noise, a road without marks - are unknown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from data.camera import Camera
from data.types import U8, Detections, EgoMotion, Surfaces
from perception.flow import FlowConfig, Look, Points, follow, look_at, points_to_follow
from perception.pair_fit import PairConfig, fit_pair, predicted_px

_AGREED = 2  # measurements that make a number known


@dataclass(frozen=True)
class OwnMotionConfig:
    """How the own motion changes, and what a camera adds to its errors.

    Attributes:
        flow: which points are followed; pair: what is believed of two pictures.
        max_gap_s: pictures further apart are not compared; older estimates are unknown.
        tried_mps: as long as the speed is unknown, the road's points are looked for where one of
            these would bring them, each in turn: marks that pass fast are not found otherwise.
        max_speed_std_mps, max_speed_std_share: a speed of two pictures less certain than both
            is not used.
        max_turn_std_radps: nor is a turning less certain than this: points that hardly move tell
            little of it, and no more is seen of them while a wrong speed is tried.
        speed_drift_mps: m / s^1.5, yaw_drift_radps: rad / s^1.5, how fast each may change.
        gate: standard deviations beyond which a pair of pictures is not believed, unless
            ``retries`` in a row say so.
        height_share, focal_share: errors of an assumed camera's height and focal length;
            sure_share: of a calibrated one's height and lens.
        sure_pitch_std_rad: of a calibrated camera against the road, as the car nods.
    """

    flow: FlowConfig = field(default_factory=FlowConfig)
    pair: PairConfig = field(default_factory=PairConfig)
    max_gap_s: float = 0.7
    tried_mps: tuple[float, ...] = (0.0, 24.0, 12.0)
    max_speed_std_mps: float = 0.7
    max_speed_std_share: float = 0.2
    max_turn_std_radps: float = 0.03
    speed_drift_mps: float = 2.0
    yaw_drift_radps: float = 0.25
    gate: float = 4.0
    retries: int = 3
    height_share: float = 0.12
    focal_share: float = 0.1
    sure_share: float = 0.02
    sure_pitch_std_rad: float = 0.004


@dataclass(frozen=True, eq=False)
class Turn:
    """How the camera turned between two pictures: yaw to the left and pitch nose down, rad/s."""

    yaw_radps: float
    pitch_radps: float


class OwnMotion:
    """Estimates the own motion over the pictures of one drive, each compared with the last.

    Attributes:
        turn: of the camera since the last picture; None where unknown.
    """

    def __init__(self, config: OwnMotionConfig | None = None) -> None:
        self.config = config or OwnMotionConfig()
        self.turn: Turn | None = None
        self._grey: U8 | None = None
        self._points = _no_points()
        self._seen_ns = 0  # when that picture was taken
        self._speed = _Filtered()
        self._yaw = _Filtered()
        self._t_ns = 0  # of the filters
        self._tries = -1
        self._system_share = 0.0  # of the speed, what the camera's errors make of it

    def update(
        self,
        image: U8 | Look,
        t_ns: int,
        camera: Camera,
        objects: Detections,
        surfaces: Surfaces,
    ) -> EgoMotion | None:
        """Take in the next picture, (h, w, 3) uint8 BGR or the look at it, with what was found.

        Returns:
            Speed and yaw rate now, with standard deviations and ``estimated`` set; NaN for what
            is unknown, None where both are.
        """
        look = image if isinstance(image, Look) else self.look_at(image)
        grey = look.grey
        last, points, dt_s = self._grey, self._points, (t_ns - self._seen_ns) / 1e9
        small = camera.scaled_to(grey.shape[1], grey.shape[0]).shifted(look.shift_px)
        self.turn = None
        self._predict(t_ns)
        if last is not None and last.shape == grey.shape and 0 < dt_s <= self.config.max_gap_s:
            self._compare(last, grey, points, dt_s, small)
        self._grey, self._seen_ns = grey, t_ns
        line = _horizon(small)
        self._points = points_to_follow(look, line, objects, surfaces, self.config.flow)
        return self._estimate()

    def look_at(self, image: U8) -> Look:
        """What can be made ready of a picture ahead, in another thread."""
        return look_at(image, self.config.flow)

    def coast(self, t_ns: int) -> EgoMotion | None:
        """The estimate at a time without a picture to look at."""
        self.turn = None
        self._predict(t_ns)
        return self._estimate()

    def _predict(self, t_ns: int) -> None:
        c, dt_s = self.config, max(0.0, (t_ns - self._t_ns) / 1e9)
        self._t_ns = t_ns
        self._speed = self._speed.predicted(dt_s, c.speed_drift_mps, c.max_gap_s)
        self._yaw = self._yaw.predicted(dt_s, c.yaw_drift_radps, c.max_gap_s)

    def _compare(self, last: U8, grey: U8, points: Points, dt_s: float, camera: Camera) -> None:
        c = self.config
        expected = np.zeros(4)
        speeds = c.tried_mps
        self._tries = 0 if self._speed.agreed else (self._tries + 1) % len(speeds)
        expected[0] = (self._speed.mean if self._speed.agreed else speeds[self._tries]) * dt_s
        if self._yaw.known:
            expected[1] = self._yaw.mean * dt_s
        found, ok = follow(last, grey, points.xy, predicted_px(points, expected, camera))
        seen = Points(points.xy[ok], points.on_road[ok])
        fit = fit_pair(seen, found[ok], expected, dt_s, camera, c.pair)
        if fit is None:
            return
        speed, yaw, pitch, _ = (float(v) / dt_s for v in fit.motion)
        speed_var, yaw_var = (float(v) / dt_s**2 for v in np.diag(fit.cov)[:2])
        if yaw_var <= c.max_turn_std_radps**2:
            self.turn = Turn(yaw, pitch)
            self._yaw = self._yaw.updated(yaw, yaw_var, c.gate, c.retries)
        limit = max(c.max_speed_std_mps, c.max_speed_std_share * abs(speed))
        if fit.on_road and speed_var <= limit**2:
            self._speed = self._speed.updated(speed, speed_var, c.gate, c.retries)
            self._system_share = _system_share(camera, fit.dip_rad, c)

    def _estimate(self) -> EgoMotion | None:
        speed, yaw, c = self._speed, self._yaw, self.config
        if not speed.known and not yaw.known:
            return None
        speed_std = math.hypot(math.sqrt(speed.var), self._system_share * speed.mean)
        turn_std = math.hypot(math.sqrt(yaw.var), c.sure_share * yaw.mean)
        nan = math.nan
        return EgoMotion(
            speed.mean if speed.known else nan, yaw.mean if yaw.known else nan,
            speed_std if speed.known else nan, turn_std if yaw.known else nan, estimated=True,
        )  # fmt: skip


@dataclass(frozen=True)
class _Filtered:
    """One number that wanders, as a Kalman filter knows it.

    ``since_s`` since it was last measured; ``agreed``: measurements in a row that agree, up to
    those that make it ``known``; ``denied``: those in a row that were beyond belief.
    """

    mean: float = 0.0
    var: float = 0.0
    since_s: float = 0.0
    agreed: int = 0
    denied: int = 0

    @property
    def known(self) -> bool:
        return self.agreed >= _AGREED

    def predicted(self, dt_s: float, drift: float, max_gap_s: float) -> _Filtered:
        since_s = self.since_s + dt_s
        if not self.agreed or since_s > max_gap_s:
            return _Filtered()
        return replace(self, var=self.var + drift * drift * dt_s, since_s=since_s)

    def updated(self, value: float, var: float, gate: float, retries: int) -> _Filtered:
        off = value - self.mean
        if not self.agreed:
            return _Filtered(value, var, agreed=1)
        if off * off > gate * gate * (self.var + var):
            if not self.known or self.denied + 1 >= retries:
                return _Filtered(value, var, agreed=1)
            return replace(self, denied=self.denied + 1)
        gain, agreed = self.var / (self.var + var), min(self.agreed + 1, _AGREED)
        return _Filtered(self.mean + gain * off, (1 - gain) * self.var, agreed=agreed)


def _no_points() -> Points:
    return Points(np.zeros((0, 2), np.float32), np.zeros(0, np.bool_))


def _horizon(camera: Camera) -> tuple[float, float]:
    """(row at column 0, slope) of the horizon in the camera's picture; the lens taken as free of
    distortion."""
    down = camera.vehicle_from_camera[2, :3]  # a pixel's ray rises by down . ray
    fx, fy = camera.matrix[0, 0], camera.matrix[1, 1]
    cx, cy = camera.matrix[0, 2], camera.matrix[1, 2]
    slope = -down[0] * fy / (down[1] * fx)
    return float(cy - fy * down[2] / down[1] - slope * cx), float(slope)


def _system_share(camera: Camera, dip_rad: float, c: OwnMotionConfig) -> float:
    """Share by which all speeds may be wrong alike."""
    if camera.angle_std_rad is None:
        lens, pitch = c.sure_share, c.sure_pitch_std_rad
    else:
        lens = math.hypot(c.height_share, c.focal_share)
        pitch = math.hypot(camera.angle_std_rad[0], c.sure_pitch_std_rad)
    # a point at the angle a below the horizon moves by speed * a^2 / height
    return math.hypot(lens, 2 * pitch / max(dip_rad, 0.02))
