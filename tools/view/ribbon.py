"""The planned path as a ribbon of the vehicle's width on the road."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.compiled import run
from data.types import F64, U8, Plan
from tools.view.draw import PATH, SLOW, STOP, in_rows, spaced

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


def ribbon_edges_m(plan: Plan, width_m: float) -> tuple[F64, F64, F64]:
    """Left and right edge (n, 2) in vehicle m and speed (n,), evenly spaced along the path."""
    good = np.isfinite(np.stack([plan.x_m, plan.y_m, plan.yaw_rad, plan.speed_mps])).all(0)
    x, y, speed = plan.x_m[good], plan.y_m[good], plan.speed_mps[good]
    yaw = plan.yaw_rad[good]
    if len(yaw) > 1 and np.abs(np.diff(yaw)).max() > np.pi:
        yaw = np.unwrap(yaw)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])[: len(x)]
    if len(x) < 2 or along[-1] <= 0:
        empty = np.zeros((0, 2))
        return empty, empty, np.zeros(0)
    pieces = int(np.clip(np.ceil(along[-1] / _SPACING_M), 1, _MAX_PIECES))
    at = np.linspace(0.0, along[-1], pieces + 1)
    yaw_at = np.interp(at, along, yaw)
    centre = np.stack([np.interp(at, along, x), np.interp(at, along, y)], 1)
    left = np.stack([-np.sin(yaw_at), np.cos(yaw_at)], 1) * (width_m / 2)
    return centre + left, centre - left, np.interp(at, along, speed)


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

    Every piece is filled into one mask before blending, so pieces that overlap in tight curves
    leave no marks. A path that ends standing is closed by a stop line.
    """
    from tools.view.kernels import blend_where, fill_quads

    left_m, right_m, speed = ribbon_edges_m(plan, width_m)
    if not len(speed):
        return
    left, right = np.split(project_ground(camera, np.concatenate([left_m, right_m])), 2)
    fast = max(cruise_mps or float(speed.max()), 1e-3)
    steps = np.maximum(*(np.hypot(*np.diff(edge, axis=0).T) for edge in (left, right)))
    keep = spaced(steps, _PIECE_PX)
    left, right, speed = left[keep], right[keep], speed[keep]
    whole = np.asarray(np.isfinite(np.hstack([left, right])).all(axis=1))
    value = (1 + 254 * np.clip(speed / fast, 0, 1)).astype(int)
    quads = np.stack([left[:-1], left[1:], right[1:], right[:-1]], 1)  # (n - 1, 4, 2)
    height, width = image.shape[:2]
    inside = np.asarray(((quads.max(1) >= 0) & (quads.min(1) < (width, height))).all(axis=1))
    shown = whole[:-1] & whole[1:] & inside
    if not shown.any():
        return
    drawn = quads[shown].reshape(-1, 2)
    first = np.floor(drawn.min(0)).clip(0).astype(int)
    end = (np.ceil(drawn.max(0)) + 1).clip(first, (width, height)).astype(int)
    mask = np.zeros(end[::-1] - first[::-1], np.uint8)
    run(fill_quads, mask, np.ascontiguousarray(quads[shown] - first), value[:-1][shown])
    run(blend_where, in_rows(image), mask, int(first[1]), int(first[0]), _TABLE, _ALPHA)
    _outline(image, left, right, shown, value)
    if speed[-1] < _STOPPED_MPS and whole[-1]:
        _stop_line(image, left[-1], right[-1])


def _fixed(points: F64) -> NDArray[np.int32]:
    return (points * (1 << _SHIFT)).round().astype(np.int32)


def _outline(
    image: U8, left: F64, right: F64, shown: NDArray[np.bool_], value: NDArray[np.int_]
) -> None:
    """Both edges as thin lines: runs of one colour step are drawn together."""
    thickness = max(1, round(image.shape[0] / 400))
    level = np.where(shown, value[:-1] // 16, -1)
    cuts = np.flatnonzero(level[1:] != level[:-1]) + 1
    edges = [_fixed(np.nan_to_num(e)) for e in (left, right)]
    for first, end in pairwise([0, *cuts.tolist(), len(level)]):
        if level[first] >= 0:
            lines = [e[first : end + 1] for e in edges]
            colour = _TABLE[value[first]].tolist()
            cv2.polylines(image, lines, False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _stop_line(image: U8, left: F64, right: F64) -> None:
    overhang = 0.12 * (right - left)
    a, b = _fixed(np.stack([left - overhang, right + overhang]))
    thickness = max(2, round(image.shape[0] / 180))
    cv2.line(image, a.tolist(), b.tolist(), STOP, thickness, cv2.LINE_AA, _SHIFT)
