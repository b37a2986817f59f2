"""Fitting a detector's calibration on labelled drives: score to probability, width to width.

Platt, "Probabilistic Outputs for Support Vector Machines", 1999, with the Newton steps of Lin, Lin
and Weng, "A Note on Platt's Probabilistic Outputs for Support Vector Machines", Machine Learning
68 (2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception.metrics.tracking import (
    F64,
    I64,
    MATCH_IOU,
    Bool,
    Boxes,
    Truth,
    match_boxes,
    without_ignored,
)
from perception.tracking.calibration import ClassMap, log_odds

MIN_RIGHT = 30  # right detections that a width needs
WIDTH_IOU = 0.3  # a box of wrong width overlaps less than a right one
_STEPS = 50
_WIDTH_GAIN = 0.25  # a width map is kept when it lessens the error on other drives by this share


@dataclass(frozen=True, eq=False)
class Judged:
    """Detections of a class on all drives, those that are neither right nor wrong left out.

    Attributes:
        drive: (n,) int64 number of the drive; score: (n,) float64; right: (n,) bool.
        xyxy: (n, 4) float64 px; label_xyxy: (n, 4), NaN where not right.
    """

    drive: I64
    score: F64
    right: Bool
    xyxy: F64
    label_xyxy: F64


def judged(drives: Sequence[tuple[Truth, Boxes, F64]], min_iou: float = MATCH_IOU) -> Judged:
    """Match detections (boxes with their rows' numbers as ids, scores) to the labels of a drive.

    Right is what a label of its own overlaps by ``min_iou``; hidden labels and ignored areas
    are left out as the protocol says.
    """
    parts = []
    for number, (truth, found, score) in enumerate(drives):
        labels, kept = without_ignored(truth, found)
        i, j = match_boxes(labels, kept, min_iou)
        label = np.full((len(kept), 4), np.nan)
        label[j] = labels.xyxy[i]
        n = np.full(len(kept), number)
        parts.append((n, score[kept.track_id], np.isfinite(label[:, 0]), kept.xyxy, label))
    drive, scores, right, xyxy, labels_xyxy = (np.concatenate(p) for p in zip(*parts))
    return Judged(drive.astype(np.int64), scores, right, xyxy, labels_xyxy)


def fit_platt(x: F64, right: Bool) -> tuple[float, float]:
    """Slope and offset of the log-odds of being right over ``x`` (n,), by regularised targets.

    Raises:
        ValueError: there is no right or no wrong detection.
    """
    yes, no = int(right.sum()), int((~right).sum())
    if not yes or not no:
        raise ValueError(f"expected right and wrong detections, given {yes} and {no}")
    target = np.where(right, (yes + 1) / (yes + 2), 1 / (no + 2))
    design = np.stack([x, np.ones_like(x)], axis=1)
    weights = np.array([0.0, np.log((yes + 1) / (no + 1))])
    loss = log_loss(design @ weights, target)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -50, 50)))
        slope = design.T @ (p - target)
        curve = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, slope)
        size = 1.0
        while size > 1e-6 and log_loss(design @ (weights - size * step), target) > loss:
            size /= 2
        weights = weights - size * step
        loss = log_loss(design @ weights, target)
        if np.abs(size * step).max() < 1e-10:
            break
    return float(weights[0]), float(weights[1])


def log_loss(odds: F64, target: F64) -> float:
    """Mean of the negative log-likelihood."""
    return float((np.logaddexp(0, odds) - target * odds).mean())


def _aspect_and_growth(boxes: F64, labels: F64) -> tuple[F64, F64]:
    size, true = boxes[:, 2:] - boxes[:, :2], labels[:, 2:] - labels[:, :2]
    return np.log(size[:, 0] / size[:, 1]), np.log(true[:, 0] / size[:, 0])


def _least_absolute(aspect: F64, growth: F64) -> F64:
    """(2,) offset and slope of the line of least absolute error, by reweighting."""
    design = np.stack([np.ones_like(aspect), aspect], axis=1)
    line: F64 = np.zeros(2)
    weight: F64 = np.ones(len(aspect))
    for _ in range(20):
        fit = np.linalg.lstsq(design * weight[:, None], growth * weight, rcond=None)[0]
        line = np.asarray(fit, np.float64)
        weight = 1 / np.sqrt(np.maximum(np.abs(growth - design @ line), 0.02))
    return line


def fit_width(data: Judged, width_px: float) -> tuple[float, float]:
    """Offset and slope of the width's correction; (0, 0) unless it holds on drives left out."""
    whole = data.right & (data.xyxy[:, 0] > 5) & (data.xyxy[:, 2] < width_px - 5)
    aspect, growth = _aspect_and_growth(data.xyxy[whole], data.label_xyxy[whole])
    drive = data.drive[whole]
    drives = np.unique(drive)
    if whole.sum() < MIN_RIGHT or len(drives) < 2:
        return 0.0, 0.0
    left = 0.0
    for d in drives:
        line = _least_absolute(aspect[drive != d], growth[drive != d])
        own = drive == d
        left += float(np.abs(growth[own] - line[0] - line[1] * aspect[own]).sum())
    if left > (1 - _WIDTH_GAIN) * float(np.abs(growth).sum()):
        return 0.0, 0.0
    line = _least_absolute(aspect, growth)
    return float(line[0]), float(line[1])


def fit_class(
    drives: Sequence[tuple[Truth, Boxes, F64]], unit_scores: bool, width_px: float
) -> tuple[ClassMap, dict[str, float | int]]:
    """The map of a class and how it fits: counts and log losses, also on drives left out.

    The width is fitted first; what is right is judged by the corrected boxes.

    Raises:
        ValueError: there is no right or no wrong detection.
    """
    width = fit_width(judged(drives, WIDTH_IOU), width_px)
    corrected = []
    for truth, found, score in drives:
        xyxy = ClassMap(1.0, 0.0, *width).boxes(found.xyxy, width_px)
        corrected.append((truth, Boxes(found.frame, found.track_id, xyxy), score))
    data = judged(corrected)
    x = log_odds(data.score) if unit_scores else data.score
    slope, offset = fit_platt(x, data.right)
    target = data.right.astype(np.float64)
    base = float(np.clip(target.mean(), 1e-9, 1 - 1e-9))
    out = np.zeros(len(x))
    for d in np.unique(data.drive):
        own = data.drive == d
        try:
            a, b = fit_platt(x[~own], data.right[~own])
        except ValueError:
            a, b = slope, offset
        out[own] = a * x[own] + b
    figures: dict[str, float | int] = {
        "detections": len(x),
        "right": int(data.right.sum()),
        "log_loss": log_loss(slope * x + offset, target),
        "log_loss_left_out": log_loss(out, target),
        "log_loss_of_base_rate": log_loss(np.full(len(x), np.log(base / (1 - base))), target),
    }
    return ClassMap(slope, offset, *width), figures
