"""Where detections go wrong: kinds of errors, confusions, and recall by size and distance.

Kinds of errors after Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection
Errors", ECCV 2020: of a detection that is not right at IoU 0.5,

    localisation  overlaps a label of its class by 0.1 to 0.5
    class         overlaps a label of another class by 0.5 or more
    duplicate     overlaps a label of its class by 0.5 or more that is taken already
    background    overlaps no label by more than 0.1
    both          what is left: wrong class and badly placed
    missed        a label that nothing was matched to and no localisation or class error is about

tried in this order. A kind's cost is what AP50 would gain if its errors were mended: a badly placed
or named box made right where its label is free, any other false one removed, a missed label no
longer asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.taxonomy import CLASSES
from data.types import F32, F64, I64
from perception.boxes import iou
from perception.metrics.bootstrap import DRAWS, Interval, draw_weights, interval
from perception.metrics.coco import by_score, weighted_ap
from perception.metrics.detection import ClassTable
from perception.metrics.frames import FrameRecord

ERRORS = ("localisation", "class", "duplicate", "background", "both", "missed")
RIGHT, NEITHER = -1, -2
MIN_IOU, MIN_TOUCH = 0.5, 0.1
HEIGHTS_PX = (0, 16, 32, 64, 128, float("inf"))
DISTANCES_M = (0, 10, 20, 30, 50, 80)
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Best:
    """The score at which a class has its best F1 at IoU 0.5; infinite where nothing is right."""

    score: float
    f1: float
    precision: float
    recall: float


def precision_recall(table: ClassTable, overlap: int = 0) -> tuple[F64, F64, F32]:
    """Precision, recall and score (n,) after each detection that counts, at ``OVERLAPS[overlap]``,
    equal scores taken together."""
    bit = np.uint16(1 << overlap)
    counts = (table.out & bit) == 0
    right, score = (table.hit[counts] & bit) > 0, table.score[counts]
    last = np.append(np.diff(score) != 0, True) if len(score) else np.zeros(0, bool)
    found = np.cumsum(right)[last]
    precision = found / np.maximum(np.flatnonzero(last) + 1, 1)
    return precision, found / max(int(table.positives.sum()), 1), score[last]


def best_f1(table: ClassTable) -> Best:
    """The best point of the precision-recall curve."""
    precision, recall, score = precision_recall(table)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    if not len(f1) or f1.max() <= 0:
        return Best(float("inf"), 0.0, 0.0, 0.0)
    at = int(np.argmax(f1))
    return Best(float(score[at]), float(f1[at]), float(precision[at]), float(recall[at]))


def best_scores(record: FrameRecord) -> dict[int, Best]:
    """The best point of every labelled class, by its number."""
    return {k: best_f1(record.table(k)) for k in record.classes}


def kept_at(record: FrameRecord, best: dict[int, Best]) -> Bool:
    """(d,) which detections reach their class's score."""
    least = np.full(len(CLASSES), np.inf)
    for kind, point in best.items():
        least[kind] = point.score
    return np.asarray(record.found_score >= least[record.found_kind].astype(np.float32))


def _all_iou(a: F32, b: F32) -> F64:
    """(n, m) intersection over union of boxes (n, 4) and (m, 4)."""
    return iou(a.astype(np.float64)[:, None], b.astype(np.float64)[None])


@dataclass(frozen=True, eq=False)
class Errors:
    """What became of each detection and label.

    Attributes:
        kind: (d,) int64 number in ``ERRORS``, ``RIGHT``, or ``NEITHER`` (also what was not kept).
        target: (d,) int64, the label that the detection is about, -1 none.
        missed, found: (n,) bool of the labels.
    """

    kind: I64
    target: I64
    missed: Bool
    found: Bool


def _by_frame(frame: I64, rows: I64, frames: int) -> list[I64]:
    """The rows of each frame."""
    order = rows[np.argsort(frame[rows], kind="stable")]
    ends = np.cumsum(np.bincount(frame[rows], minlength=frames))
    return np.split(order, ends[:-1])


def find_errors(record: FrameRecord, kept: Bool) -> Errors:
    """The kind of every error among the ``kept`` detections."""
    counts = kept & ((record.found_out & 1) == 0)
    kind = np.where(counts, 0, NEITHER).astype(np.int64)
    hit = counts & ((record.found_hit & 1) > 0)
    kind[hit] = RIGHT
    target = np.where(hit, record.found_partner, -1)
    found = np.zeros(len(record.label_frame), bool)
    found[record.found_partner[hit]] = True
    frames = max(len(record), 1)
    wrong = _by_frame(record.found_frame, np.flatnonzero(counts & ~hit), frames)
    real = _by_frame(record.label_frame, np.flatnonzero(~record.label_ignore), frames)
    for d, n in zip(wrong, real):
        kind[d], target[d] = _judge(record, d, n)
    about = target[(kind == ERRORS.index("localisation")) | (kind == ERRORS.index("class"))]
    missed = ~found & ~record.label_ignore
    missed[about] = False
    return Errors(kind, target, missed, found)


def _judge(record: FrameRecord, d: I64, n: I64) -> tuple[I64, I64]:
    """Kind and target of the wrong detections ``d`` beside the labels ``n`` of their frame."""
    kind, target = np.full(len(d), ERRORS.index("background")), np.full(len(d), -1)
    if not len(d) or not len(n):
        return kind, target
    over = _all_iou(record.found_xyxy[d], record.label_xyxy[n])
    same = record.found_kind[d][:, None] == record.label_kind[n][None]
    own, other = np.where(same, over, 0), np.where(same, 0, over)
    rows = np.arange(len(d))
    best_own, best_other = own.argmax(axis=1), other.argmax(axis=1)
    own_iou, other_iou = own[rows, best_own], other[rows, best_other]
    kind = np.select(
        [
            (own_iou >= MIN_TOUCH) & (own_iou < MIN_IOU),
            other_iou >= MIN_IOU,
            own_iou >= MIN_IOU,
            over.max(axis=1) <= MIN_TOUCH,
        ],
        [0, 1, 2, 3],
        4,
    )
    return kind, np.where(
        kind == 1, n[best_other], np.where((kind == 0) | (kind == 2), n[best_own], -1)
    )


def error_costs(record: FrameRecord) -> dict[str, dict[str, float]]:
    """Class name -> kind of error -> what AP50 gains once it is mended, over all detections."""
    errors = find_errors(record, np.ones(len(record.found_frame), bool))
    costs: dict[str, dict[str, float]] = {CLASSES[k]: {} for k in record.classes}
    before = {k: _ap50(record, k, record.found_kind, errors.kind, record.label_ignore)
              for k in record.classes}  # fmt: skip
    for number, name in enumerate(ERRORS):
        kind, class_id, ignore = _mended(record, errors, number)
        for k in record.classes:
            after = _ap50(record, k, class_id, kind, ignore)
            costs[CLASSES[k]][name] = after - before[k]
    return costs


def _mended(record: FrameRecord, errors: Errors, number: int) -> tuple[I64, I64, Bool]:
    """Kinds, classes and ignored labels once the errors of a kind are mended."""
    kind, class_id, ignore = errors.kind.copy(), record.found_kind.copy(), record.label_ignore
    if ERRORS[number] == "missed":
        return kind, class_id, ignore | errors.missed
    own = np.flatnonzero(kind == number)
    kind[own] = NEITHER
    if ERRORS[number] in ("localisation", "class"):
        own = own[by_score(record.found_score[own])]
        own = own[~errors.found[errors.target[own]]]
        _, first = np.unique(errors.target[own], return_index=True)  # the surest for each label
        kind[own[first]] = RIGHT
        class_id[own[first]] = record.label_kind[errors.target[own[first]]]
    return kind, class_id, ignore


def _ap50(record: FrameRecord, k: int, class_id: I64, kind: I64, ignore: Bool) -> float:
    own = np.flatnonzero(class_id == k)
    # frames first, then scores: the order that AP is defined by
    own = own[np.argsort(record.found_frame[own], kind="stable")]
    own = own[by_score(record.found_score[own])]
    hit = (kind[own] == RIGHT).astype(np.uint16)
    out = (kind[own] == NEITHER).astype(np.uint16)
    counted = (record.label_kind == k) & ~ignore
    positives = np.bincount(record.label_frame[counted], minlength=len(record))
    once = np.ones((1, len(record)), np.int32)
    return float(weighted_ap(record.found_frame[own], hit, out, once, positives)[0][0, 0])


def confusion_matrix(record: FrameRecord, kept: Bool) -> I64:
    """(c + 1, c + 1) int64: label's class (row) and detection's (column) of the labelled classes.

    The last column counts misses, the last row false alarms. Right ones are those of AP50; what
    is left pairs with the free labels of other classes, the surest first, at IoU 0.5.
    """
    classes = record.classes
    at = {k: i for i, k in enumerate(classes)}
    none = len(classes)
    out = np.zeros((none + 1, none + 1), np.int64)
    errors = find_errors(record, kept)
    for k, i in at.items():
        out[i, i] = int((errors.found & (record.label_kind == k)).sum())
    free = ~errors.found & ~record.label_ignore
    frames = max(len(record), 1)
    wrong = _by_frame(record.found_frame, np.flatnonzero(errors.kind >= 0), frames)
    left = _by_frame(record.label_frame, np.flatnonzero(free), frames)
    for d, n in zip(wrong, left):
        d = d[by_score(record.found_score[d])]
        for row, det in zip(_all_iou(record.found_xyxy[d], record.label_xyxy[n]), d):
            row = np.where(free[n], row, 0)
            best = int(row.argmax()) if len(row) else -1
            column = at[int(record.found_kind[det])]
            if best >= 0 and row[best] >= MIN_IOU:
                free[n[best]] = False
                out[at[int(record.label_kind[n[best]])], column] += 1
            else:
                out[none, column] += 1
    for k, i in at.items():
        out[i, none] = int((free & (record.label_kind == k)).sum())
    return out


@dataclass(frozen=True)
class Share:
    """Found labels of a bin of sizes or distances."""

    low: float
    high: float
    labels: int
    recall: Interval


def recall_by(
    record: FrameRecord, found: Bool, value: F64, edges: tuple[float, ...], draws: int = DRAWS,
    seed: int = 0, drive: I64 | None = None,
) -> dict[str, list[Share]]:  # fmt: skip
    """Class name -> recall of its labels (found or not, (n,) bool) in bins of ``value`` (n,), with
    intervals; labels to ignore and NaN values take no part."""
    out: dict[str, list[Share]] = {}
    weights = list(draw_weights(len(record), draws, seed, drive)) if len(record) else []
    for k in record.classes:
        own = (record.label_kind == k) & ~record.label_ignore & np.isfinite(value)
        out[CLASSES[k]] = []
        for low, high in pairwise(edges):
            mine = own & (value >= low) & (value < high)
            every, right = (
                np.bincount(record.label_frame[m], minlength=len(record)).astype(np.float64)
                for m in (mine, mine & found)
            )
            with np.errstate(invalid="ignore", divide="ignore"):
                drawn = [(w @ right) / (w @ every) for w in weights]
                whole = float(right.sum() / every.sum()) if every.sum() else float("nan")
            values = np.concatenate([np.zeros(0), *drawn])
            share = Share(low, high, int(mine.sum()), interval(whole, values))
            out[CLASSES[k]].append(share)
    return out


@dataclass(frozen=True, eq=False)
class Reliability:
    """Detections of a class in ten bins of score: mean score, share of right ones, how many."""

    score: F64
    right: F64
    count: I64

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al., 2017): mean gap, by the number in each bin; NaN
        without detections."""
        total = int(self.count.sum())
        gaps = np.nansum(np.abs(self.score - self.right) * self.count)
        return float(gaps / total) if total else float("nan")


def reliability(table: ClassTable, bins: int = 10) -> Reliability:
    """How often detections of a score are right at IoU 0.5; NaN in empty bins."""
    counts = (table.out & 1) == 0
    score = table.score[counts].astype(np.float64)
    right = (table.hit[counts] & 1).astype(np.float64)
    at = np.minimum((score * bins).astype(np.int64), bins - 1)
    n = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(at, score, bins) / n
        share = np.bincount(at, right, bins) / n
    return Reliability(mean, share, n)
