"""Boxes xyxy, (..., 4) px with pixel edges at whole numbers: areas, overlaps, suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.types import F32, F64, I64


def _product(size: NDArray) -> NDArray:
    """Widths times heights (...) of sizes (..., 2); several times faster than ``np.prod``."""
    return np.asarray(size[..., 0] * size[..., 1])


def area(boxes: NDArray) -> NDArray:
    """Areas (...) of boxes (..., 4)."""
    return _product(boxes[..., 2:] - boxes[..., :2])


def intersection(a: NDArray, b: NDArray, grow_px: NDArray | float = 0.0) -> NDArray:
    """Common areas (...) of boxes whose shapes broadcast: one with many, or one by one.

    ``grow_px`` is by how much wider and higher both boxes of a pair are taken than they are, about
    their middles: a number, or (..., 2) of width and height.
    """
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    return _product(np.maximum(high - low + grow_px, 0))


def iou(a: NDArray, b: NDArray, grow_px: NDArray | float = 0.0) -> F64:
    """Intersection over union (...), arguments as in ``intersection``; 0 for two empty boxes."""
    common = intersection(a, b, grow_px)
    both = [_product(box[..., 2:] - box[..., :2] + grow_px) for box in (a, b)]
    return np.asarray(common / np.maximum(both[0] + both[1] - common, 1e-9), np.float64)


def within(box: NDArray, areas: NDArray) -> F64:
    """Share of a box (4,) that lies within each of some areas (n, 4)."""
    return np.asarray(intersection(box, areas) / area(box), np.float64)


def clip_to(xyxy: F32, image_size: tuple[int, int]) -> tuple[F32, NDArray[np.bool_]]:
    """Boxes (n, 4) clipped to an image of (width, height) px, and which of them were finite and
    are still wider and higher than a pixel, (n,) bool."""
    limit = np.array([*image_size, *image_size], np.float32)
    clipped = np.clip(xyxy, np.float32(0), limit)
    big = (clipped[:, 2] - clipped[:, 0] > 1.0) & (clipped[:, 3] - clipped[:, 1] > 1.0)
    return clipped, big & np.isfinite(xyxy).all(1)


def suppress(xyxy: NDArray, score: NDArray, class_id: I64, max_iou: float) -> I64:
    """Greedy non-maximum suppression, class by class.

    Boxes (n, 4) are taken by falling score (n,), equal ones in their order; one is dropped that
    overlaps a taken one of its class (n,) by more than ``max_iou``.

    Returns:
        Which are taken, best first.
    """
    left = np.argsort(-score, kind="stable")
    taken = []
    while len(left):
        best, left = left[0], left[1:]
        taken.append(best)
        twice = (class_id[left] == class_id[best]) & (iou(xyxy[best], xyxy[left]) > max_iou)
        left = left[~twice]
    return np.array(taken, np.int64)
