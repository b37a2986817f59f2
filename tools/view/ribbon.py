"""The planned path as a ribbon of the vehicle's width on the road."""

from __future__ import annotations

import cv2
import numpy as np

from data.camera import Camera
from data.compiled import run
from data.types import F64, U8, Plan, PlanStatus
from tools.view.draw import PATH, SLOW, STOP, in_rows

_SPACING_M = 0.25
_MAX_PIECES = 240
_ALPHA = 0.5
_FAR_PX = 30_000.0  # beyond any picture, within what OpenCV's fixed point can draw
_SHIFT = 4  # fractional bits of drawn coordinates
_STOPPED_MPS = 0.3
_PIECE_PX = 4.0  # of the edges, at least


def speed_table() -> U8:
    """(256, 3) BGR by speed over cruising speed, 0 at entry 1, 1 at entry 255.

    Blue over violet to red: the way round by green would vanish on the drivable area.
    """
    ratio = (np.arange(256) - 1) / 254
    knots = np.array([STOP, SLOW, PATH, PATH], np.float64)
    bands = [np.interp(ratio, (0.0, 0.45, 0.9, 1.0), knots[:, k]) for k in range(3)]
    return np.stack(bands, 1).round().astype(np.uint8)


_TABLE = speed_table()


def ribbon_edges_m(plan: Plan, width_m: float) -> F64:
    """(n, 5) left edge's x and y, right edge's in vehicle m, and speed, evenly spaced along the
    path; n is 0 where it has no length."""
    from tools.view.ribbon_kernels import edges

    path = np.stack([plan.x_m, plan.y_m, plan.yaw_rad, plan.speed_mps], 1)
    return np.asarray(run(edges, path, width_m / 2, _SPACING_M, _MAX_PIECES))


def project_ground(camera: Camera, points_m: F64) -> F64:
    """Project ground points (n, 2) to pixels (n, 2); NaN behind the camera or out of its view.

    A distortion polynomial folds back far outside the picture, so points well beyond the
    picture's corners are left out.
    """
    points = np.column_stack([points_m, np.zeros(len(points_m))])
    pixels = camera.pixels_from_vehicle(points)
    if camera.distortion.size and len(points):
        w, h = camera.width_px - 1.0, camera.height_px - 1.0
        corners = np.array([[[0.0, 0.0]], [[w, 0.0]], [[0.0, h]], [[w, h]]])
        rays = cv2.undistortPoints(corners, camera.matrix, camera.distortion).reshape(-1, 2)
        limit = 1.2 * np.hypot(*rays.T).max()
        pose = camera.vehicle_from_camera
        seen = (points - pose[:3, 3]) @ pose[:3, :3]
        with np.errstate(divide="ignore", invalid="ignore"):
            outside = np.hypot(seen[:, 0], seen[:, 1]) > limit * seen[:, 2]
        pixels[outside] = np.nan
    return np.clip(pixels, -_FAR_PX, _FAR_PX)


def draw_ribbon(
    image: U8, camera: Camera, plan: Plan, width_m: float, cruise_mps: float | None = None
) -> None:
    """Draw the path into ``image`` (h, w, 3) in place, coloured by speed over cruising speed.

    A path that ends standing is closed by a stop line.
    """
    from tools.view.ribbon_kernels import paint_ribbon, spaced

    edges_m = ribbon_edges_m(plan, width_m)
    if not len(edges_m):
        return
    edges = project_ground(camera, edges_m[:, :4].reshape(-1, 2)).reshape(-1, 4)
    keep = run(spaced, edges, _PIECE_PX)
    fast = max(cruise_mps or float(edges_m[:, 4].max()), 1e-3)
    edges, speed = edges[keep], edges_m[keep, 4]
    level = (1 + 254 * np.clip(speed / fast, 0, 1)).astype(int)
    fixed, runs = np.empty((2, len(edges), 2), np.int32), np.empty((len(edges), 2), np.int64)
    count = run(paint_ribbon, in_rows(image), edges, level, _TABLE, _ALPHA, _SHIFT, fixed, runs)
    thickness = max(1, round(image.shape[0] / 400))
    for first, last in runs[:count].tolist():  # both edges as thin lines
        lines, colour = list(fixed[:, first : last + 1]), _TABLE[level[first]].tolist()
        cv2.polylines(image, lines, False, colour, thickness, cv2.LINE_AA, _SHIFT)
    if count and speed[-1] < _STOPPED_MPS and np.isfinite(edges[-1]).all():
        _stop_line(image, edges[-1, :2], edges[-1, 2:])


def _stop_line(image: U8, left: F64, right: F64) -> None:
    overhang = 0.12 * (right - left)
    a, b = (np.stack([left - overhang, right + overhang]) * (1 << _SHIFT)).round().astype(np.int32)
    thickness = max(2, round(image.shape[0] / 180))
    cv2.line(image, a.tolist(), b.tolist(), STOP, thickness, cv2.LINE_AA, _SHIFT)


def compile_kernels() -> None:
    """Compile or load the inner loops."""
    ahead, still = np.linspace(1, 20, 3), np.zeros(3)
    plan = Plan(PlanStatus.OK, "", ahead, still, still, still + 1, still, still)
    draw_ribbon(np.zeros((90, 160, 3), np.uint8), Camera.assumed(160, 90), plan, 1.8)
