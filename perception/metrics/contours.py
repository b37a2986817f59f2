"""Boundary F1 of a surface and point F1 of lane lines, as counts of one frame.

Boundary F1 after Csurka et al., "What is a good evaluation measure for semantic segmentation?",
BMVC 2013: a boundary pixel is right when the other mask has one within 0.75 % of the image's
diagonal; the F1 of each image, averaged. Lane-point F1 after the TuSimple benchmark: the middles
of the lines in every tenth row of 720, right within 20 px of 1280.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from data.types import F64, I64, U8
from perception.metrics.surfaces import LANE_SIZE, UNKNOWN, dilate_lane, lane_view, overlap

BOUNDARY_SHARE = 0.0075  # of the image's diagonal
ROW_STEP_PX = 5  # at 640 x 360
POINT_PX = 10.0  # the same
BOUNDARY_PROTOCOL = (
    "F1 of boundary pixels within 0.75 % of the image's diagonal, mean over images (Csurka et al. "
    "2013); what borders on unknown pixels or the image's edge is no boundary"
)
CLASS_BOUNDARY_PROTOCOL = (
    "F1 of each class's boundary pixels within 0.75 % of the image's diagonal (Csurka et al. "
    "2013), mean over the classes with a boundary in an image's label or prediction, then over "
    "images; what borders on unknown pixels or the image's edge is no boundary"
)
POINT_PROTOCOL = (
    "middles of the runs of line pixels in every 5th row at 640x360, labels dilated as for IoU, "
    "paired one to one within 10 px of the same row (20 px at 1280); runs whose middle is unknown "
    "are left out; F1 of the sums over all frames"
)
COUNTS = ("intersection", "union", "found", "found_right", "labelled", "labelled_found")


def boundary(mask: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of ``mask`` with a known 4-neighbour outside of it; (h, w) bool."""
    out = np.zeros(mask.shape, bool)
    edge = mask & known
    gap = ~mask & known
    out[1:] |= edge[1:] & gap[:-1]
    out[:-1] |= edge[:-1] & gap[1:]
    out[:, 1:] |= edge[:, 1:] & gap[:, :-1]
    out[:, :-1] |= edge[:, :-1] & gap[:, 1:]
    return out


def _near(points: NDArray[np.bool_], others: NDArray[np.bool_], limit_px: float) -> int:
    """How many of ``points`` have one of ``others`` within ``limit_px``."""
    if not points.any() or not others.any():
        return 0
    away = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return int((np.asarray(away)[points] <= limit_px).sum())


def boundary_counts(truth: U8, predicted: U8) -> tuple[int, int, int, int]:
    """Predicted boundary pixels and the right ones, labelled ones and those found.

    ``truth`` (h, w): 1, 0 or 255 unknown; ``predicted`` (h, w): nonzero where the surface is.
    """
    known = truth != UNKNOWN
    limit_px = BOUNDARY_SHARE * math.hypot(*truth.shape)
    ours, theirs = boundary(predicted > 0, known), boundary(truth == 1, known)
    return (
        int(ours.sum()), _near(ours, theirs, limit_px),
        int(theirs.sum()), _near(theirs, ours, limit_px),
    )  # fmt: skip


def class_boundary_counts(truth: U8, predicted: U8, classes: int) -> I64:
    """(classes, 4) int64 ``boundary_counts`` of each class; ``truth`` (h, w): class or 255
    unknown, ``predicted`` (h, w): class."""
    unknown = truth == UNKNOWN
    rows = []
    for k in range(classes):
        own = np.where(unknown, UNKNOWN, truth == k).astype(np.uint8)
        rows.append(boundary_counts(own, (predicted == k).astype(np.uint8)))
    return np.array(rows, np.int64).reshape(classes, 4)


def row_points(row: NDArray[np.bool_]) -> F64:
    """(n,) middles of the runs of true pixels of a row, px from the left edge's pixel centre."""
    edges = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0))
    return (edges[::2] + edges[1::2] - 1) / 2


def paired(a: F64, b: F64, limit_px: float) -> int:
    """The most pairs, one to one, of two ascending lists that lie within ``limit_px``."""
    i = j = count = 0
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= limit_px:
            i, j, count = i + 1, j + 1, count + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return count


def point_counts(truth: U8, predicted: U8) -> tuple[int, int, int, int]:
    """The same counts of lane points, masks at 640 x 360 as ``lane_view`` gives them."""
    found = right = labelled = 0
    for v in range(ROW_STEP_PX // 2, truth.shape[0], ROW_STEP_PX):
        points = row_points(predicted[v] > 0)
        points = points[truth[v, points.astype(int)] != UNKNOWN]
        wanted = row_points(truth[v] == 1)
        found, labelled = found + len(points), labelled + len(wanted)
        right += paired(points, wanted, POINT_PX)
    return found, right, labelled, right


def drivable_counts(truth: U8, predicted: U8) -> I64:
    """(6,) int64 ``COUNTS`` of a frame."""
    area = overlap(truth, predicted)
    return np.array([area.intersection, area.union, *boundary_counts(truth, predicted)], np.int64)


def lane_counts(truth: U8, predicted: U8) -> I64:
    """(6,) int64 ``COUNTS`` of a frame, by the protocols of ``LANE_PROTOCOL`` and points."""
    label, mask = lane_view(dilate_lane(truth)), lane_view(predicted)
    assert label.shape == LANE_SIZE[::-1]
    area = overlap(label, mask)
    return np.array([area.intersection, area.union, *point_counts(label, mask)], np.int64)
