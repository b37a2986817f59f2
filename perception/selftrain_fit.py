"""Thresholds of pseudo-labels, fitted to a labelled set as if it had no labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.datasets import Dataset
from data.errors import InputError
from data.taxonomy import CLASSES
from data.types import F32, I64, U8, UNKNOWN, Sample
from perception.box_fusion import Fused
from perception.boxes import iou, within
from perception.metrics.surfaces import dilate_lane
from perception.selftrain import (
    FLOOR,
    NEVER,
    VIEWS,
    Infer,
    Seen,
    Thresholds,
    View,
    look,
)

_MATCH_IOU = 0.5
_MIN_OBJECTS = 20  # labelled objects of a class below which its precision is anyone's guess
_WRONG = 2  # boxes taken to be wrong before any is met
_DOUBT = 0.15  # least share of the boxes to ignore that are objects
_BINS = 100  # of probability
# a sure pixel is right so often: (of the surface, of what is none)
_PIXELS = {"drivable": (0.9, 0.98), "lane": (0.6, 0.99)}


@dataclass(frozen=True, eq=False)
class Judged:
    """Boxes found in many pictures beside their labels.

    Attributes:
        class_id, score, agreement: (n,) of each box whose truth is known; right: (n,) bool.
        objects: (5,) int64 labelled objects.
        pixels: surface -> (bins, 2) int64, pixels by probability, of what is none and of it.
    """

    class_id: I64
    score: F32
    agreement: F32
    right: NDArray[np.bool_]
    objects: I64
    pixels: dict[str, I64]


def match(boxes: Fused, truth: Sample) -> I64:
    """(n,) int64: 1 right, 0 wrong, -1 not to be judged (unlabelled class or ignored area).

    By falling score, each box takes the free label of its class that it overlaps most, by IoU of
    at least 0.5.
    """
    out = np.zeros(len(boxes), np.int64)
    taken = np.zeros(len(truth.xyxy), bool)
    labels = truth.xyxy.astype(np.float64)
    for i, (box, c) in enumerate(zip(boxes.xyxy.astype(np.float64), boxes.class_id, strict=True)):
        if not truth.labelled_classes[c]:
            out[i] = -1
            continue
        same = truth.class_id == c
        near = np.where(same & ~truth.ignore & ~taken, iou(box, labels), 0.0)
        if len(near) and near.max() >= _MATCH_IOU:
            taken[int(near.argmax())] = True
            out[i] = 1
        elif within(box, labels[same & truth.ignore]).max(initial=0) >= _MATCH_IOU:
            out[i] = -1
    return out


def _count_pixels(p: F32, truth: U8) -> I64:
    known = truth != UNKNOWN
    place = np.minimum((p[known] * _BINS).astype(np.int64), _BINS - 1)
    flat = np.bincount(place * 2 + (truth[known] == 1), minlength=2 * _BINS)
    return flat.reshape(_BINS, 2).astype(np.int64)


def judge(pairs: Iterable[tuple[Seen, Sample]]) -> Judged:
    """Compare what was seen with the labels, picture by picture."""
    rows: list[tuple[Fused, I64]] = []
    pixels = {k: np.zeros((_BINS, 2), np.int64) for k in ("drivable", "lane")}
    objects = np.zeros(len(CLASSES), np.int64)
    for s, t in pairs:
        rows.append((s.boxes, match(s.boxes, t)))
        objects += np.bincount(t.class_id[~t.ignore], minlength=len(CLASSES))
        if t.drivable is not None:
            pixels["drivable"] += _count_pixels(s.drivable, t.drivable)
        if t.lane is not None:
            pixels["lane"] += _count_pixels(s.lane, dilate_lane(t.lane))

    def joined(name: str) -> NDArray:
        parts = [getattr(b, name)[m >= 0] for b, m in rows]
        return np.concatenate(parts) if parts else np.zeros(0)

    right = np.concatenate([m[m >= 0] for _, m in rows]) == 1 if rows else np.zeros(0, bool)
    return Judged(
        joined("class_id"), joined("score"), joined("agreement"), right, objects, pixels
    )  # fmt: skip


def _lowest(score: NDArray, right: NDArray[np.bool_], precision: float) -> float:
    """The lowest score at which the boxes from it on still have the precision; NEVER for none.

    Two wrong ones are added: on half of the frames, thresholds that rest on a few boxes without
    them gave signs labels of which the other half called 0.5 right where 0.8 was asked for.
    """
    order = np.argsort(-score, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1 + _WRONG, len(order) + 1 + _WRONG)
    good = np.flatnonzero(share >= precision)
    return float(score[order][good[-1]]) if len(good) else NEVER


def fit_boxes(j: Judged, class_id: int, precision: float, agreement: float) -> tuple[float, float]:
    """(low, high) scores of a class: boxes from ``high`` on that enough views agree on are right as
    often as ``precision`` says and become labels, others from ``low`` on areas to ignore, of which
    at least 15 % are objects. Of a class with under 20 labelled objects no box becomes a label,
    and all that are found from twice the floor on are to be ignored."""
    of = j.class_id == class_id
    if j.objects[class_id] < _MIN_OBJECTS:
        return 2 * FLOOR, NEVER
    sure = of & (j.agreement >= agreement)
    high = _lowest(j.score[sure], j.right[sure], precision)
    doubtful = of & ~(sure & (j.score >= high))
    low = _lowest(j.score[doubtful], j.right[doubtful], _DOUBT)
    return (min(low, high), high) if low != NEVER else (min(2 * FLOOR, high), high)


def fit_surface(counts: I64, yes: float, no: float) -> tuple[float, float]:
    """(low, high) probabilities: of the pixels from ``high`` on the share ``yes`` belongs to the
    surface, of those below ``low`` the share ``no`` does not; (0.3, 0.7) without labels."""
    if not counts.sum():
        return 0.3, 0.7
    above, below = counts[::-1].cumsum(0)[::-1], counts.cumsum(0)
    good = np.flatnonzero(above[:, 1] >= yes * np.maximum(above.sum(1), 1))
    high = float(good[0]) / _BINS if len(good) else 0.99
    bad = np.flatnonzero(below[:, 0] >= no * np.maximum(below.sum(1), 1))
    low = float(bad[-1] + 1) / _BINS if len(bad) else 0.01
    if low > high:  # nothing is in doubt
        low = high = min(max(0.5, high), low)
    return round(low, 2), round(high, 2)


def fit(j: Judged, precision: float = 0.8, agreement: float = 0.5) -> Thresholds:
    """Thresholds at which labels are right as often as ``precision`` says."""
    pairs = [fit_boxes(j, c, precision, agreement) for c in range(len(CLASSES))]
    return Thresholds(
        tuple(round(p[1], 3) for p in pairs),
        tuple(round(p[0], 3) for p in pairs),
        agreement,
        fit_surface(j.pixels["drivable"], *_PIXELS["drivable"]),
        fit_surface(j.pixels["lane"], *_PIXELS["lane"]),
    )


def choose_thresholds(
    dataset: Dataset,
    model: Infer,
    precision: float = 0.8,
    views: Sequence[View] = VIEWS,
    agreement: float = 0.5,
    report: Callable[[int], None] = lambda _: None,
) -> Thresholds:
    """Fit thresholds to a labelled set, whose labels the model must not have learnt.

    Raises:
        InputError: the set has no boxes to fit to.
    """
    if "detection" not in dataset.tasks:
        raise InputError(f"--fit {dataset.root}: has no boxes to fit thresholds to")

    def pairs() -> Iterator[tuple[Seen, Sample]]:
        for i in range(len(dataset)):
            truth = dataset.load(i)
            yield look(truth.image, model, views), truth
            report(i + 1)

    return fit(judge(pairs()), precision, agreement)
