"""Image-space probability maps laid on the metric grid through a camera.

The look-up from cells to map pixels depends only on camera, grid and map size: it is made once
(``ground_view``) and used for every frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.compiled import run
from data.types import Surfaces
from planning.grid import GridSpec

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Beyond this a map row covers so much ground that neither an edge nor a distance can be told.
# Of the reduced surface maps (quarter size) it is about 1 m for a row of the full picture.
MAX_ROW_SPAN_M = 4.0
_NOD_RAD = 0.004  # standard deviation of the pitch as a vehicle nods, whatever is calibrated


@dataclass(frozen=True)
class Band:
    """Grid rows from ``first_row`` to before ``end_row`` whose cells cover about ``width_px`` x
    ``height_px`` of a surface map, seen in its rows from ``top_px`` to before ``end_px``.

    Thin lines are widened by a cell's size before sampling, or the near ones would fall between
    the samples.
    """

    first_row: int
    end_row: int
    width_px: int
    height_px: int
    top_px: int
    end_px: int


@dataclass(frozen=True, eq=False)
class GroundView:
    """Where each grid cell is seen in a surface map.

    Attributes:
        u_px, v_px: (rows, cols) float32 map pixel of each cell's centre.
        seen: (rows, cols) bool; False where out of the picture or too near the horizon.
        bands: all grid rows of which something is seen.
        far_m: x beyond which nothing straight ahead is seen.
        std_m: (rows, cols) float32, standard deviation of where a cell's ground lies along the
            view: by the camera's pitch, d^2 / height for each radian, and by the map's pixels.
    """

    u_px: F32
    v_px: F32
    seen: Mask
    bands: tuple[Band, ...]
    far_m: float
    std_m: F32


def _odd_levels(size_px: F64) -> NDArray[np.int64]:
    """Round sizes up to 1, 3, 7, 15, ... so that few different widenings are needed."""
    level = np.ceil(np.log2(np.maximum(np.nan_to_num(size_px, nan=1.0), 1.0) + 1))
    return np.asarray(2 ** np.clip(level, 1, 5) - 1, dtype=np.int64)


def _bands(du_px: F64, dv_px: F64, v_px: F32, seen: Mask) -> tuple[Band, ...]:
    """Group rows by the map pixels a cell covers at the middle column."""
    ku, kv = _odd_levels(du_px), _odd_levels(dv_px)
    cuts = np.flatnonzero((np.diff(ku) != 0) | (np.diff(kv) != 0)) + 1
    found = []
    for a, b in pairwise([0, *cuts.tolist(), len(ku)]):
        rows = v_px[a:b][seen[a:b]]
        if len(rows):
            top, end = int(rows.min()), int(rows.max()) + 1
            found.append(Band(a, b, int(ku[a]), int(kv[a]), top, end))
    return tuple(found)


def ground_view(
    camera: Camera,
    spec: GridSpec,
    map_shape: tuple[int, int],
    scale: tuple[float, float],
    max_row_span_m: float = MAX_ROW_SPAN_M,
) -> GroundView:
    """Build the look-up for maps of ``map_shape`` (h, w) at ``scale`` (see ``Surfaces``).

    A cell is seen when it projects into the map, casts back to where it is (a distorted lens
    folds points from outside its field of view into the picture), and one map row there spans
    at most ``max_row_span_m`` of ground.
    """
    x, y = np.meshgrid(spec.x_m, spec.y_m, indexing="ij")
    flat = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)]).T
    shape = (spec.rows, spec.cols)
    pixels = camera.pixels_from_vehicle(flat)
    with np.errstate(invalid="ignore"):
        returns = _returns(camera, pixels, flat).reshape(shape)
        u = ((pixels[:, 0] + 0.5) * scale[0] - 0.5).reshape(shape)
        v = ((pixels[:, 1] + 0.5) * scale[1] - 0.5).reshape(shape)
        dv = np.abs(np.asarray(np.gradient(v, axis=0), dtype=np.float64))
        du = np.abs(np.asarray(np.gradient(u, axis=1), dtype=np.float64))
        span_m = spec.resolution_m / dv
        seen = returns & (span_m <= max_row_span_m)
        seen &= (u > -0.5) & (u < map_shape[1] - 0.5) & (v > -0.5) & (v < map_shape[0] - 0.5)
    mid = spec.cols // 2
    ahead = np.flatnonzero(seen[:, mid - 1 : mid + 1].any(axis=1))
    far_m = float((ahead[-1] + 1) * spec.resolution_m) if len(ahead) else 0.0
    std_m = _std_m(camera, x, y, span_m)
    u32 = np.nan_to_num(u, nan=-9.0).clip(-9, 1e4).astype(np.float32)
    v32 = np.nan_to_num(v, nan=-9.0).clip(-9, 1e4).astype(np.float32)
    return GroundView(u32, v32, seen, _bands(du[:, mid], dv[:, mid], v32, seen), far_m, std_m)


def _returns(camera: Camera, pixels: F64, flat_m: F64) -> Mask:
    """(n,) whether the pixels of (n, 3) points of the ground are cast back to where those are: all
    that are shown by a lens without distortion."""
    if not camera.distortion.size:
        return np.asarray(np.isfinite(pixels[:, 0]))
    back = camera.ground_from_pixels(np.nan_to_num(pixels, nan=-1e6, posinf=-1e6))
    error = np.hypot(*(back - flat_m[:, :2]).T)
    return np.asarray(error < 0.05 + 0.01 * flat_m[:, 0])


def _std_m(camera: Camera, x: F64, y: F64, span_m: F64) -> F32:
    """See ``GroundView.std_m``; ``span_m``: ground that one row of the map covers."""
    pitch = math.hypot(camera.angle_std_rad[0] if camera.angle_std_rad else 0.0, _NOD_RAD)
    at = camera.vehicle_from_camera[:2, 3]
    nod_m = ((x - at[0]) ** 2 + (y - at[1]) ** 2) * (pitch / camera.height_m)
    std_m = np.sqrt(nod_m**2 + span_m**2 / 12)
    return np.nan_to_num(std_m, nan=1e3).clip(0, 1e3).astype(np.float32)


def project(view: GroundView, values: F32) -> F32:
    """Sample a (h, w) float32 map at every cell: (rows, cols) float32, NaN where not seen."""
    return _sampled(values, 0, view.u_px, view.v_px, view.seen)


def _sampled(values: F32, top: int, u_px: F32, v_px: F32, seen: Mask) -> F32:
    from planning.grid_kernels import sample

    return np.asarray(run(sample, np.ascontiguousarray(values), top, u_px, v_px, seen))


def project_thin(view: GroundView, values: F32) -> F32:
    """As ``project``, but each cell gets the greatest value it covers, so thin lines survive."""
    out = np.full(view.u_px.shape, np.nan, np.float32)
    for band in view.bands:
        # only the part of the map that the band covers
        top = max(band.top_px - band.height_px - 1, 0)
        wide = values[top : band.end_px + band.height_px + 1]
        if band.width_px > 1 or band.height_px > 1:
            wide = np.asarray(cv2.dilate(wide, np.ones((band.height_px, band.width_px), np.uint8)))
        rows = slice(band.first_row, band.end_row)
        out[rows] = _sampled(wide, top, view.u_px[rows], view.v_px[rows], view.seen[rows])
    return out


def hidden_by_boxes(view: GroundView, xyxy: F32, surfaces: Surfaces) -> Mask:
    """Cells whose ground lies behind a box: (rows, cols) bool.

    ``xyxy`` is (n, 4) px of the original image. A box is taken in a little at its sides, where
    road shows past the rounded outline of what it holds.
    """
    from planning.grid_kernels import sample_nearest

    map_h, map_w = surfaces.drivable.shape
    hidden = np.zeros((map_h, map_w), np.uint8)
    left, top, right, bottom = xyxy[np.isfinite(xyxy).all(axis=1)].T
    inset, (sx, sy) = 0.05 * (right - left), surfaces.scale
    cuts = np.ceil((left + inset) * sx), np.floor(top * sy)
    ends = np.floor((right - inset) * sx) + 1, np.floor(bottom * sy)
    limits = (map_w, map_h) * 2
    corners = np.column_stack([*cuts, *ends]).clip(0, limits).astype(np.int64)
    for a, c, b, d in corners.tolist():
        hidden[c:d, a:b] = 1
    if not hidden.any():
        return np.zeros(view.seen.shape, np.bool_)
    return np.asarray(run(sample_nearest, hidden, view.u_px, view.v_px, view.seen))
