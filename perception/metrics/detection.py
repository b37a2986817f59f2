"""Detection figures of a labelled set, class by class, as COCO's reference tool gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.taxonomy import CLASSES
from data.types import F32, F64, I64, Detections, Sample
from perception.metrics.coco import Bits, Found, Labels, Matched, by_score, match, weighted_ap

FIGURES = ("AP50", "AP", "AR100")


@dataclass(frozen=True, eq=False)
class BoxTruth:
    """The boxes of a labelled image without its pixels; fields as in ``Sample``."""

    name: str
    width_px: int
    height_px: int
    xyxy: F32
    class_id: I64
    ignore: NDArray[np.bool_]
    labelled_classes: NDArray[np.bool_]

    @classmethod
    def of(cls, s: Sample) -> BoxTruth:
        height, width = s.image.shape[:2]
        return cls(s.name, width, height, s.xyxy, s.class_id, s.ignore, s.labelled_classes)


def label_table(truths: Sequence[BoxTruth]) -> Labels:
    """The boxes of the classes that were labelled in each image."""
    keep = [t.labelled_classes[t.class_id] for t in truths]
    xyxy = _joined([t.xyxy[k] for t, k in zip(truths, keep)], (0, 4), np.float64)
    return Labels(
        np.repeat(np.arange(len(truths)), [int(k.sum()) for k in keep]),
        _joined([t.class_id[k] for t, k in zip(truths, keep)], (0,), np.int64),
        np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]]),
        _joined([t.ignore[k] for t, k in zip(truths, keep)], (0,), np.bool_),
    )


def found_table(truths: Sequence[BoxTruth], detections: Sequence[Detections]) -> Found:
    """The detections of the classes that were labelled in each image.

    Raises:
        ValueError: lengths differ, or a prediction is not finite.
    """
    if len(truths) != len(detections):
        raise ValueError(f"{len(truths)} labelled images but {len(detections)} predictions")
    for i, d in enumerate(detections):
        if not (np.isfinite(d.xyxy).all() and np.isfinite(d.score).all()):
            raise ValueError(f"image {i}: boxes and scores must be finite")
    # nobody looked for the other classes in such an image
    keep = [t.labelled_classes[d.class_id] for t, d in zip(truths, detections)]
    parts = [d.select(k) for d, k in zip(detections, keep)]
    xyxy = _joined([p.xyxy for p in parts], (0, 4), np.float32)
    return Found(
        np.repeat(np.arange(len(truths)), [len(p) for p in parts]),
        _joined([p.class_id for p in parts], (0,), np.int64),
        np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]]).astype(np.float64),
        _joined([p.score for p in parts], (0,), np.float32),
    )


def _joined(parts: list[np.ndarray], empty: tuple[int, ...], kind: type) -> np.ndarray:
    return np.concatenate([np.zeros(empty, kind), *parts]).astype(kind)


@dataclass(frozen=True, eq=False)
class ClassTable:
    """The detections of a class by falling score, with their bits, and where its labels are.

    Attributes:
        frame: (n,) int64; score: (n,) float32; hit, out: (n,) bits as in ``Matched``.
        positives: (frames,) int64, labels to be found in each frame.
    """

    frame: I64
    score: F32
    hit: Bits
    out: Bits
    positives: I64

    def figures(self, weights: NDArray[np.int32]) -> dict[str, F64]:
        """AP50, AP and AR100, (draws,) each, when frame f counts ``weights[b, f]`` times; NaN
        for draws without a label."""
        ap, recall = weighted_ap(self.frame, self.hit, self.out, weights, self.positives)
        values = (ap[:, 0], ap.mean(axis=1), recall.mean(axis=1))
        return dict(zip(FIGURES, values, strict=True))


def class_table(labels: Labels, matched: Matched, kind: int, frames: int) -> ClassTable:
    """The part of a class."""
    own = np.flatnonzero(matched.found.kind == kind)
    own = own[by_score(matched.found.score[own])]
    counted = (labels.kind == kind) & ~labels.ignore
    positives = np.bincount(labels.frame[counted], minlength=frames)
    found = matched.found
    return ClassTable(
        found.frame[own], found.score[own], matched.hit[0, own], matched.out[0, own], positives
    )


def evaluate_detections(
    truths: Sequence[BoxTruth], detections: Sequence[Detections]
) -> dict[str, dict[str, float]]:
    """AP50, AP (0.50:0.95), AR100 and the number of ground truths for each labelled class.

    Labels marked ``ignore`` are treated as COCO crowds. A class without ground truth has NaN.

    Raises:
        ValueError: lengths differ, or a prediction is not finite.
    """
    found = found_table(truths, detections)
    none = np.zeros(len(CLASSES), bool)
    labelled = np.any([none, *(t.labelled_classes for t in truths)], axis=0)
    labels = label_table(truths)
    matched = match(labels, found)
    once = np.ones((1, len(truths)), np.int32)
    scores: dict[str, dict[str, float]] = {}
    for c, name in enumerate(CLASSES):
        if labelled[c]:
            table = class_table(labels, matched, c, len(truths))
            figures = {k: float(v[0]) for k, v in table.figures(once).items()}
            scores[name] = {**figures, "ground_truths": int(table.positives.sum())}
    return scores
