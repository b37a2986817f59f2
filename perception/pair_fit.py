"""The motion of a car between two pictures, from points of the road and beside it.

Points of the road lie at a known distance, as the camera's height and pitch are known or assumed:
how they move tells the way in metres. Points beside and above it lie at unknown distances, but
move straight away from where the car heads once turning is taken off: across that direction they
tell the turning alone. Both kinds are fitted at once, by Gauss-Newton with Cauchy's weights, to a
car that drives along its own x axis and turns about its rear axle, whose camera nods and rolls
besides.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.compiled import run
from data.types import Detections, Surfaces
from perception.flow import FlowConfig, Points, look_at, points_to_follow

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

_ROUNDS = 8
_DONE = 2e-5  # rad and share of the camera's height: a smaller step ends the fit
_MAX_STEP_RAD = 0.1


@dataclass(frozen=True)
class PairConfig:
    """What is believed of two pictures.

    Attributes:
        pixel_std_px: error of a followed point at best.
        max_pixel_px: points of a kind tell nothing where less than their share is off by less.
        min_points, min_share: least number of points beside the road that fit, and share of those
            followed; min_road_points, min_road_share: on the road, where what passes fast is
            often lost.
        least_distance_m: what stands beside the road is not nearer, but for a few points;
            usual_distance_m: half of what is passed visibly is not.
        max_speed_mps, max_turn_radps: faster is not believed.
        nod_std_radps: spread of nodding and rolling.
    """

    pixel_std_px: float = 0.12
    max_pixel_px: float = 0.5
    min_points: int = 10
    min_share: float = 0.5
    min_road_points: int = 6
    min_road_share: float = 0.35
    least_distance_m: float = 1.0
    usual_distance_m: float = 3.0
    max_speed_mps: float = 70.0
    max_turn_radps: float = 1.5
    nod_std_radps: float = 0.15


@dataclass(frozen=True, eq=False)
class PairFit:
    """The motion between two pictures.

    Attributes:
        motion: (4,) way in m along the x axis of the first picture's vehicle, and turning since
            in rad: yaw to the left, pitch nose down, roll right side down.
        cov: (4, 4) of them, without what an assumed camera adds.
        on_road: whether points of the road fitted; the way is unknown otherwise.
        dip_rad: angle below the horizon of the points that the way was taken from.
    """

    motion: F64
    cov: F64
    on_road: bool
    dip_rad: float


@dataclass(frozen=True, eq=False)
class Geometry:
    """A camera on its vehicle, in axes of the camera.

    Attributes:
        axes: (3, 3) unit vectors ahead, left and up as rows.
        height_m, forward_m: of the camera above the ground and ahead of the rear axle.
    """

    axes: F64
    height_m: float
    forward_m: float

    @classmethod
    def of(cls, camera: Camera) -> Geometry:
        pose = camera.vehicle_from_camera
        return cls(np.ascontiguousarray(pose[:3, :3]), camera.height_m, float(pose[0, 3]))

    def shift(self, motion: F64) -> F64:
        """(3,) m, in the first camera's axes: the way of the camera itself."""
        from perception.pair_kernels import shifted_by

        return np.asarray(run(shifted_by, self.axes, self.forward_m, motion))

    def turned(self, motion: F64) -> F64:
        """(3, 3) from the first camera's axes to those of the second."""
        from perception.pair_kernels import turned_by

        return np.asarray(run(turned_by, self.axes, motion))


def rays(xy: F32, camera: Camera) -> F64:
    """(n, 3) in camera axes, z = 1, of (n, 2) px."""
    if camera.distortion.size and len(xy):
        flat = np.asarray(
            cv2.undistortPoints(xy[:, None].astype(np.float64), camera.matrix, camera.distortion)
        ).reshape(-1, 2)
    else:
        flat = (xy - camera.matrix[:2, 2]) / camera.matrix[[0, 1], [0, 1]]
    out = np.ones((len(xy), 3))
    out[:, :2] = flat
    return out


def predicted_px(points: Points, motion: F64, camera: Camera) -> F32:
    """(n, 2) where points should lie after ``motion``; those not of the road as if far away."""
    if not len(points):
        return points.xy
    from perception.pair_kernels import moved

    g = Geometry.of(camera)
    point, ok = rays(points.xy, camera), np.empty(len(points), np.bool_)
    run(moved, point, points.on_road, g.axes, g.height_m, g.turned(motion), g.shift(motion), ok)
    if camera.distortion.size:
        zero = np.zeros(3)
        px = cv2.projectPoints(point, zero, zero, camera.matrix, camera.distortion)[0]
        px = np.asarray(px).reshape(-1, 2)
    else:
        focal, centre = camera.matrix[[0, 1], [0, 1]], camera.matrix[:2, 2]
        px = point[:, :2] / point[:, 2:] * focal + centre
    return np.where(ok[:, None], px, points.xy).astype(np.float32)


def fit_pair(
    points: Points, found: F32, expected: F64, dt_s: float, camera: Camera, config: PairConfig
) -> PairFit | None:
    """The motion under which points lie at ``found`` (n, 2) px; None where they show none.

    Args:
        camera: for pictures of the size that the points are of.
        expected: (4,) the motion to begin with, as in ``PairFit``.
    """
    from perception.pair_kernels import fitted

    c, n = config, len(points)
    if n < c.min_road_points:
        return None
    g, focal = Geometry.of(camera), float(camera.matrix[0, 0])
    first, second, on_road = rays(points.xy, camera), rays(found, camera), points.on_road
    nod = c.nod_std_radps * dt_s
    prior = np.array([1e3, c.max_turn_radps * dt_s, nod, nod]) ** -2.0
    slope, size, scale, normal = (np.zeros(s) for s in ((n, 2, 4), n, n, (4, 4)))
    x = np.array(expected, np.float64)
    run(fitted, first, second, on_road, g.axes, g.height_m, g.forward_m, focal, c.pixel_std_px,
        c.min_road_share * 0.9, c.min_share * 0.9, prior, _ROUNDS, _DONE, _MAX_STEP_RAD, x, slope,
        size, scale, normal)  # fmt: skip
    fits = (size <= 2 * scale) & (scale <= 2 * c.max_pixel_px)
    other_ok = _enough(fits[~on_road], c.min_points, c.min_share)
    road_ok = _enough(fits[on_road], c.min_road_points, c.min_road_share)
    # where there is enough beside the road, it must agree
    road_ok = road_ok and (other_ok or int((~on_road).sum()) < c.min_points)
    believed = np.isfinite(x).all() and abs(x[1]) <= c.max_turn_radps * dt_s
    if not believed or not (road_ok or other_ok):
        return None
    other, road = fits & ~on_road, fits & on_road
    road_ok = road_ok and abs(x[0]) <= c.max_speed_mps * dt_s
    road_ok = road_ok and not _too_near(x, first[other], second[other], g, 1.5 / focal, c)
    lever = np.square(slope[road, :, 0]).sum(axis=1)
    dip = -(first[road] @ g.axes[2]) / np.linalg.norm(first[road], axis=1)
    dip_rad = float(lever @ dip / lever.sum()) if road.any() else 0.0
    return PairFit(x, np.asarray(np.linalg.inv(normal), np.float64), road_ok, dip_rad)


def compile_kernels() -> None:
    """Compile or load the inner loops, the corners' too."""
    flow, some = FlowConfig(), np.ones((8, 8), np.float32)
    look, surfaces = look_at(np.zeros((64, 64, 3), np.uint8), flow), Surfaces(some, some, (1, 1))
    points_to_follow(look, (30.0, 0.0), Detections.empty(), surfaces, flow)
    points = Points(np.array([[30, 50]] * 20, np.float32), np.arange(20) < 10)
    camera = Camera.assumed(64, 64)
    predicted_px(points, np.zeros(4), camera)
    fit_pair(points, points.xy, np.zeros(4), 0.1, camera, PairConfig())


def _enough(fits: Bool, least: int, share: float) -> bool:
    return bool(fits.sum() >= least and fits.mean() >= share)


def _too_near(x: F64, first: F64, second: F64, g: Geometry, slack: float, c: PairConfig) -> bool:
    """Whether the way is too short for what passes by: houses and trees would stand within arm's
    length. So it is where the marks of the road were not followed, and what seems to stand on
    the road is a reflection, the bonnet or the length of a line."""
    if not len(first):
        return False
    turn = g.turned(x)
    turned, away = first @ turn.T, turn @ g.axes[0]
    turned = turned[:, :2] / turned[:, 2:]
    off = turned - away[:2] / away[2]
    length = np.linalg.norm(off, axis=1)
    outwards = ((second[:, :2] - turned) * off).sum(axis=1) / np.maximum(length, 1e-9)
    # a point at depth z goes outwards by length * way / z
    near = outwards - slack > length * abs(x[0]) / c.least_distance_m
    if near.sum() >= 3 and near.mean() > 0.1:
        return True
    # drops on the pane and reflections stand still with all else passing
    passing = outwards > slack / 3
    depth_m = length[passing] * abs(x[0]) / outwards[passing]
    return bool(
        passing.sum() >= c.min_points
        and passing.mean() > 0.25
        and np.median(depth_m) < c.usual_distance_m
    )
