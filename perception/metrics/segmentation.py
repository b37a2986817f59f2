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

    @property
    def iou(self) -> F64:
        """(k,) intersection over union; NaN for a class that neither side has."""
        hits = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    @property
    def pixel_accuracy(self) -> float:
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")


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
    iou = total.iou
    seen = np.isfinite(iou)
    return {
        "miou": float(iou[seen].mean()) if seen.any() else float("nan"),
        "pixel_accuracy": total.pixel_accuracy,
        "frames": total.frames,
        "iou": {n: float(v) for n, v in zip(names, iou, strict=True)},
    }


def score_frames(
    dataset: Dataset,
    predict: Callable[[Sample], U8],
    report: Callable[[int], None] = lambda _: None,
) -> tuple[list[tuple[int, Confusion]], int, list[str]]:
    """Count ``predict`` (a sample to its classes (h, w) uint8) on each frame of a set.

    Returns:
        Index and counts of each frame with labels, the number of frames that could be read, and
        a line for each image or label that could not and was left unscored.

    Raises:
        InputError: an image or label cannot be read and the set is read strictly.
    """
    classes = len(dataset.segmentation_names)
    frames: list[tuple[int, Confusion]] = []
    problems: list[str] = []
    images = 0
    for i, sample in readable(dataset, problems):
        images += 1
        if sample.segmentation is not None:
            frames.append((i, confusion(sample.segmentation, predict(sample), classes)))
        report(i + 1)
    return frames, images, problems


def score_segmentation(dataset: Dataset, predict: Callable[[Sample], U8]) -> dict[str, Any]:
    """``figures`` of ``predict`` on a whole set; arguments and errors as in ``score_frames``."""
    names = dataset.segmentation_names
    frames, _, _ = score_frames(dataset, predict)
    return figures(sum((f for _, f in frames), Confusion.empty(len(names))), names)
