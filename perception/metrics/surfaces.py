"""Intersection over union of drivable area and lane lines, summed frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from data.types import U8, UNKNOWN

LANE_KERNEL = 8  # px at 1280 x 720
LANE_SIZE = (640, 360)
LANE_PROTOCOL = (
    "lane labels dilated with an 8x8 kernel at the image's size, then labels and prediction "
    "taken at 640x360 by nearest neighbour, unknown pixels ignored"
)


def dilate_lane(lane: U8) -> U8:
    """Widen lane labels (1 line, 0 none, 255 unknown) by the protocol's 8 x 8 kernel.

    A pixel that becomes a line stops being unknown.
    """
    wide = cv2.dilate((lane == 1).astype(np.uint8), np.ones((LANE_KERNEL, LANE_KERNEL), np.uint8))
    return np.where(wide == 1, 1, lane).astype(np.uint8)


def lane_view(mask: U8) -> U8:
    """A label or prediction at the protocol's 640 x 360, by nearest neighbour."""
    return np.asarray(cv2.resize(mask, LANE_SIZE, interpolation=cv2.INTER_NEAREST), np.uint8)


@dataclass(frozen=True)
class Overlap:
    """Pixel counts of one surface; add them over frames."""

    intersection: int = 0
    union: int = 0
    frames: int = 0

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.intersection + other.intersection,
            self.union + other.union,
            self.frames + other.frames,
        )

    @property
    def iou(self) -> float:
        """NaN when neither label nor prediction has a pixel."""
        return self.intersection / self.union if self.union else float("nan")


def overlap(truth: U8, predicted: U8) -> Overlap:
    """Count one frame. ``truth`` (h, w): 1, 0 or 255 unknown; ``predicted`` (h, w): nonzero yes."""
    known = truth != UNKNOWN
    t, p = (truth == 1) & known, (predicted > 0) & known
    return Overlap(int((t & p).sum()), int((t | p).sum()), 1)
