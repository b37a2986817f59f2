"""Labels from a rendering: boxes of what is visible, surfaces and lines as masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.synthetic.ground import fill
from data.synthetic.paint import SUBPIXEL_BITS
from data.synthetic.renderer import Rendered
from data.synthetic.scenes import Scene

U8 = NDArray[np.uint8]

MIN_VISIBLE_PX = 12  # at 640 x 384; scaled with the area
MIN_VISIBLE_SHARE = 0.25
LANE_WIDEN_PX = 2.6  # outline drawn around the paint, at 1280 px width


@dataclass(frozen=True, eq=False)
class Boxes:
    """xyxy (n, 4) float32 px, class_id (n,), object_id (n,) int64, sorted by object_id."""

    xyxy: NDArray[np.float32]
    class_id: NDArray[np.int64]
    object_id: NDArray[np.int64]


def visible_boxes(scene: Scene, seen: Rendered) -> Boxes:
    """Boxes around the visible pixels of every object that is seen well enough.

    Dropped: fewer than about ``MIN_VISIBLE_PX`` pixels, or less than ``MIN_VISIBLE_SHARE`` of
    what would be seen with nothing in front. A box runs from the left edge of its first pixel to
    the right edge of its last, in coordinates whose whole numbers are pixel edges.
    """
    h, w = seen.object_id.shape
    flat = seen.object_id.ravel()
    where = np.flatnonzero(flat)
    ids = flat[where]
    row, col = np.divmod(where, w)
    n = len(scene.things) + 1
    count = np.bincount(ids, minlength=n)
    low, high = np.full((2, n), 1 << 30), np.full((2, n), -1)
    for axis, value in enumerate((col, row)):
        np.minimum.at(low[axis], ids, value)
        np.maximum.at(high[axis], ids, value)
    least = MIN_VISIBLE_PX * max(1.0, w * h / (640 * 384))
    rows, classes, kept = [], [], []
    for thing in scene.things:
        i = thing.object_id
        whole = seen.area_px.get(i, 0.0) * thing.fill
        if count[i] < least or count[i] < MIN_VISIBLE_SHARE * whole:
            continue
        rows.append((low[0, i], low[1, i], high[0, i] + 1, high[1, i] + 1))
        classes.append(thing.class_id)
        kept.append(i)
    return Boxes(
        np.array(rows, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(kept, np.int64),
    )


def surface_masks(seen: Rendered) -> tuple[U8, U8]:
    """Drivable and lane masks (h, w) uint8 1/0, where nothing stands in front."""
    h, w = seen.object_id.shape
    drivable, lane = np.zeros((2, h, w), np.uint8)
    fill(drivable, seen.polygons["drivable"], 1)
    thick = max(1, round(LANE_WIDEN_PX * w / 1280))
    for ring in seen.polygons["lane"]:
        cv2.fillPoly(lane, [ring], 1, cv2.LINE_8, SUBPIXEL_BITS)
        cv2.polylines(lane, [ring], True, 1, thick, cv2.LINE_8, SUBPIXEL_BITS)
    for mask in (drivable, lane):
        mask[~seen.free] = 0
    ground = np.isfinite(seen.depth_m)
    lane[~ground] = 0
    return drivable, lane
