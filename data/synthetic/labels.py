"""Boxes from a rendering: around what is visible of every object that is seen well enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.synthetic.renderer import Rendered
from data.types import I64

MIN_VISIBLE_PX = 12  # at 640 x 384; scaled with the area
MIN_VISIBLE_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Boxes:
    """xyxy (n, 4) float32 px; object_id (n,) int64, ascending; visible (n,) float64, the share of
    the object's own pixels within the image that nothing hides."""

    xyxy: NDArray[np.float32]
    object_id: I64
    visible: NDArray[np.float64]


def visible_boxes(seen: Rendered) -> Boxes:
    """Boxes of the objects in a picture.

    Dropped: fewer than about ``MIN_VISIBLE_PX`` visible pixels, or less than
    ``MIN_VISIBLE_SHARE`` of what would be seen with nothing in front. A box runs from the left
    edge of its first pixel to the right edge of its last, in coordinates whose whole numbers are
    pixel edges.
    """
    h, w = seen.object_id.shape
    count, left, right, top, bottom = seen.seen.T
    visible = count / np.maximum(seen.area_px, 1)
    least = MIN_VISIBLE_PX * max(1.0, w * h / (640 * 384))
    keep = np.flatnonzero((count >= least) & (visible >= MIN_VISIBLE_SHARE))
    xyxy = np.stack([left, top, right + 1, bottom + 1], 1)[keep].astype(np.float32)
    return Boxes(xyxy, keep, visible[keep])
