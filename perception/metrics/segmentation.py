"""Pixel-wise classification: one confusion matrix over all frames, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.datasets import Dataset
from data.datasets.base import readable
from data.types import F64, I64, U8, UNKNOWN, Sample

PROTOCOL = (
    "IoU of each class from one confusion matrix over all labelled pixels of the split, at the "
    "image's own size; miou is the mean over classes that occur in labels or predictions"
)


@dataclass(frozen=True, eq=False)
class Confusion:
    """Pixels by labelled class (row) and predicted class (column), (k, k) int64; add them over
    frames."""

    counts: I64
    frames: int = 0

    @classmethod
    def empty(cls, classes: int) -> Confusion:
        return cls(np.zeros((classes, classes), np.int64))

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.counts + other.counts, self.frames + other.frames)


def class_figures(counts: I64 | F64, names: Sequence[str]) -> dict[str, F64]:
    """Figures of many confusion matrices (n, k, k) at once, (n,) each: ``miou``,
    ``pixel_accuracy`` and ``iou.NAME``; NaN where not defined."""
    hits = np.diagonal(counts, axis1=1, axis2=2).astype(np.float64)
    union = counts.sum(1) + counts.sum(2) - hits
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = hits / union
        seen = union > 0
        mean = np.where(seen, iou, 0).sum(1) / seen.sum(1)
        accuracy = hits.sum(1) / counts.sum((1, 2))
    each = {f"iou.{n}": iou[:, k] for k, n in enumerate(names)}
    return {"miou": mean, "pixel_accuracy": accuracy, **each}


def confusion(truth: U8, predicted: U8, classes: int) -> Confusion:
    """Count one frame. ``truth`` (h, w): class or 255 unknown; ``predicted`` (h, w): class.

    Raises:
        ValueError: sizes differ, or a predicted value is no class.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"prediction of {predicted.shape} beside a label of {truth.shape}")
    known = truth != UNKNOWN
    told = predicted[known]
    if told.size and told.max() >= classes:
        raise ValueError(f"predicted class {told.max()}, expected below {classes}")
    pairs = truth[known].astype(np.int64) * classes + told
    counts = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    return Confusion(counts.astype(np.int64), 1)


def figures(total: Confusion, names: Sequence[str]) -> dict[str, Any]:
    """``{"miou", "pixel_accuracy", "frames", "iou": {class: IoU}}`` of a whole split."""
    found = {k: float(v[0]) for k, v in class_figures(total.counts[None], names).items()}
    mean = {k: found[k] for k in ("miou", "pixel_accuracy")}
    return {**mean, "frames": total.frames, "iou": {n: found[f"iou.{n}"] for n in names}}


def score_segmentation(dataset: Dataset, predict: Callable[[Sample], U8]) -> dict[str, Any]:
    """``figures`` of ``predict`` (a sample to its classes (h, w) uint8) on a whole set; images and
    labels that cannot be read are left out.

    Raises:
        InputError: an image or label cannot be read and the set is read strictly.
    """
    names = dataset.segmentation_names
    total = Confusion.empty(len(names))
    for _, sample in readable(dataset, []):
        if sample.segmentation is not None:
            total += confusion(sample.segmentation, predict(sample), len(names))
    return figures(total, names)
