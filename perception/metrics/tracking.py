"""Tracking metrics: HOTA, CLEAR MOT and identity scores of one drive or of many.

HOTA, DetA, AssA, LocA: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object
Tracking", IJCV 129 (2021). MOTA, MOTP, switches, fragmentations: Bernardin and Stiefelhagen,
"Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics", EURASIP JIVP 2008.
IDF1: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
Tracking", ECCVW 2016. Where the papers leave a choice (ties, frames without objects), the one of
their reference code, TrackEval, is taken, so that figures agree.

All pairs of labelled and found boxes of a drive's frames lie in one flat list. Only where boxes
compete for a partner is an assignment solved; everywhere else the list itself is the matching.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from perception.boxes import area, intersection

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

ALPHAS: F64 = np.arange(0.05, 0.99, 0.05)
MATCH_IOU = 0.5  # of the CLEAR and identity scores, and of the ignore rules
_EPS = float(np.finfo(np.float64).eps)
_CONTINUED = 1000.0  # CLEAR: keeping last frame's partner outweighs any overlap


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of one class over a drive, sorted by frame.

    Attributes:
        frame: (n,) int64; track_id: (n,) int64, unique in a frame; xyxy: (n, 4) float64 px.
    """

    frame: I64
    track_id: I64
    xyxy: F64

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, keep: Bool | I64) -> Boxes:
        return Boxes(self.frame[keep], self.track_id[keep], self.xyxy[keep])

    @classmethod
    def empty(cls) -> Boxes:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)))


@dataclass(frozen=True, eq=False)
class Truth:
    """Labels of one class of a drive.

    Attributes:
        boxes: all boxes that a found one may be matched to.
        counted: (n,) bool, those that should be found; the others cost nothing if missed.
        absorbs: (n,) bool, those that make a found box matched to them vanish (hidden objects,
            or a class so like this one that taking it for this one is no fault).
        areas: where unmatched found boxes are neither right nor wrong; ids are not used.
        min_height_px: unmatched found boxes no taller than this are dropped.
    """

    boxes: Boxes
    counted: Bool
    absorbs: Bool
    areas: Boxes = field(default_factory=Boxes.empty)
    min_height_px: float = -np.inf


def _alphas() -> F64:
    return np.zeros(len(ALPHAS))


@dataclass(frozen=True, eq=False)
class TrackCounts:
    """Sums from which all scores follow; those of several drives or classes are added.

    Attributes:
        tp, fn, fp: (19,) matches, misses and false alarms at each localisation threshold.
        association, association_recall, association_precision, overlap: (19,) sums over matches.
        clear_tp ... overlap_sum: CLEAR matches, misses, false alarms, identity switches,
            fragmentations, labelled tracks found in more than 80 %, between, and less than 20 %
            of their frames, sum of IoU.
        id_tp, id_fn, id_fp: identity matches, misses and false alarms.
    """

    tp: F64 = field(default_factory=_alphas)
    fn: F64 = field(default_factory=_alphas)
    fp: F64 = field(default_factory=_alphas)
    association: F64 = field(default_factory=_alphas)
    association_recall: F64 = field(default_factory=_alphas)
    association_precision: F64 = field(default_factory=_alphas)
    overlap: F64 = field(default_factory=_alphas)
    clear_tp: int = 0
    clear_fn: int = 0
    clear_fp: int = 0
    switches: int = 0
    fragmentations: int = 0
    mostly_tracked: int = 0
    partly_tracked: int = 0
    mostly_lost: int = 0
    overlap_sum: float = 0.0
    id_tp: int = 0
    id_fn: int = 0
    id_fp: int = 0

    def __add__(self, other: TrackCounts) -> TrackCounts:
        names = (f.name for f in fields(self))
        return TrackCounts(**{n: getattr(self, n) + getattr(other, n) for n in names})

    def curves(self) -> dict[str, F64]:
        """(19,) values at the thresholds ``ALPHAS`` of HOTA and its parts."""
        matched = np.maximum(1, self.tp)
        detection = self.tp / np.maximum(1, self.tp + self.fn + self.fp)
        association = self.association / matched
        return {
            "HOTA": np.sqrt(detection * association),
            "DetA": detection,
            "AssA": association,
            "DetRe": self.tp / np.maximum(1, self.tp + self.fn),
            "DetPr": self.tp / np.maximum(1, self.tp + self.fp),
            "AssRe": self.association_recall / matched,
            "AssPr": self.association_precision / matched,
            "LocA": np.maximum(1e-10, self.overlap) / np.maximum(1e-10, self.tp),
        }

    def scores(self) -> dict[str, float]:
        """HOTA and its parts (means over the thresholds), CLEAR and identity scores, counts.

        Shares are in [0, 1]; MOTA may be negative. Without labels all shares are NaN.
        """
        labels, found = self.clear_tp + self.clear_fn, self.clear_tp + self.clear_fp
        out = {name: float(values.mean()) for name, values in self.curves().items()}
        out["MOTA"] = (self.clear_tp - self.clear_fp - self.switches) / max(1, labels)
        out["MOTP"] = self.overlap_sum / max(1, self.clear_tp)
        out["IDF1"] = self.id_tp / max(1.0, self.id_tp + 0.5 * (self.id_fp + self.id_fn))
        out["IDR"] = self.id_tp / max(1, self.id_tp + self.id_fn)
        out["IDP"] = self.id_tp / max(1, self.id_tp + self.id_fp)
        if not labels:
            out = dict.fromkeys(out, float("nan"))
        return out | {
            "switches": self.switches,
            "fragmentations": self.fragmentations,
            "mostly_tracked": self.mostly_tracked,
            "partly_tracked": self.partly_tracked,
            "mostly_lost": self.mostly_lost,
            "misses": self.clear_fn,
            "false_alarms": self.clear_fp,
            "found": found,
            "ground_truths": labels,
        }


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Overlapping boxes of the same frame: rows i, j of two lists, their IoU; sorted by frame."""

    i: I64
    j: I64
    iou: F64

    def select(self, keep: Bool | I64) -> _Pairs:
        return _Pairs(self.i[keep], self.j[keep], self.iou[keep])


def _in_same_frame(a: I64, b: I64) -> tuple[I64, I64]:
    """Rows (i, j) of all pairs of equal numbers of two sorted lists."""
    start = np.searchsorted(b, a, "left")
    count = np.searchsorted(b, a, "right") - start
    i = np.repeat(np.arange(len(a)), count)
    return i, np.arange(len(i)) + np.repeat(start - np.cumsum(count) + count, count)


def _overlapping(a: Boxes, b: Boxes) -> _Pairs:
    i, j = _in_same_frame(a.frame, b.frame)
    left, right = a.xyxy[i], b.xyxy[j]
    common, area_a, area_b = intersection(left, right), area(left), area(right)
    union = area_a + area_b - common
    keep = (common > 0) & (area_a > _EPS) & (area_b > _EPS) & (union > _EPS)
    return _Pairs(i[keep], j[keep], common[keep] / union[keep])


def _rivals(pairs: _Pairs) -> Bool:
    """(k,) bool: pairs of which a box is in another pair too."""
    if not len(pairs.i):
        return np.zeros(0, np.bool_)
    return (np.bincount(pairs.i)[pairs.i] > 1) | (np.bincount(pairs.j)[pairs.j] > 1)


def _ranks(numbers: I64) -> list[int]:
    """Each number's place among them all; for the few of a frame faster than ``np.unique``."""
    listed = numbers.tolist()
    rank = {number: k for k, number in enumerate(sorted(set(listed)))}
    return [rank[number] for number in listed]


def _heaviest(pairs: _Pairs, weight: F64) -> I64:
    """Rows of ``pairs`` that form the matching of greatest total ``weight`` (k,) > 0."""
    i, j = _ranks(pairs.i), _ranks(pairs.j)
    table = np.zeros((max(i) + 1, max(j) + 1))
    index = np.full(table.shape, -1)
    table[i, j], index[i, j] = weight, np.arange(len(weight))
    chosen = index[linear_sum_assignment(table, maximize=True)]
    return np.sort(chosen[chosen >= 0])


def _matched(pairs: _Pairs, frame: I64, weight: Callable[[slice, Bool], F64]) -> Bool:
    """(k,) bool: the pairs of the best one-to-one matching in every frame.

    ``frame`` (k,) is that of each pair. ``weight(part, before)`` gives the weights of a frame's
    pairs; ``before`` are the pairs chosen so far, a list that earlier frames filled in order.
    """
    rival = _rivals(pairs)
    chosen = ~rival
    for f in np.unique(frame[rival]):
        low, high = np.searchsorted(frame, [f, f + 1])
        open_rows = low + np.flatnonzero(rival[low:high])
        best = _heaviest(pairs.select(open_rows), weight(slice(low, high), chosen)[open_rows - low])
        chosen[open_rows[best]] = True
    return chosen


def match_boxes(labels: Boxes, found: Boxes, min_iou: float) -> tuple[I64, I64]:
    """Rows of labels and found boxes matched in every frame by greatest total overlap."""
    pairs = _overlapping(labels, found)
    pairs = pairs.select(pairs.iou >= min_iou - _EPS)
    best = _matched(pairs, labels.frame[pairs.i], lambda part, _: pairs.iou[part])
    return pairs.i[best], pairs.j[best]


def without_ignored(truth: Truth, found: Boxes) -> tuple[Boxes, Boxes]:
    """The labels that count, and the found boxes that are right or wrong by them.

    A found box is dropped when it is matched (IoU at least 0.5, greatest total overlap) to a
    label that absorbs it, or is unmatched and too small or lies by more than half in an area.
    """
    label, hit = match_boxes(truth.boxes, found, MATCH_IOU)
    free, drop = np.ones(len(found), np.bool_), np.zeros(len(found), np.bool_)
    free[hit] = False
    drop[hit[truth.absorbs[label]]] = True
    drop |= free & (found.xyxy[:, 3] - found.xyxy[:, 1] <= truth.min_height_px + _EPS)
    i, j = _in_same_frame(found.frame, truth.areas.frame)
    common = intersection(found.xyxy[i], truth.areas.xyxy[j])
    whole = area(found.xyxy[i])
    inside = (whole > _EPS) & (common > (0.5 + _EPS) * whole)
    drop[i[inside]] |= free[i[inside]]
    return truth.boxes.select(truth.counted), found.select(~drop)


def _compact(ids: I64) -> tuple[I64, int]:
    """Ids as 0 ... n-1, and n."""
    names, index = np.unique(ids, return_inverse=True)
    return index.astype(np.int64), len(names)


def score_drive(truth: Truth, found: Boxes) -> TrackCounts:
    """Score the tracks of one class on one drive.

    Args:
        truth, found: sorted by frame; frames need not be consecutive, and a frame without boxes
            changes no score.
    """
    labels, found = without_ignored(truth, found)
    pairs = _overlapping(labels, found)
    label_id, labels_n = _compact(labels.track_id)
    found_id, found_n = _compact(found.track_id)
    shape = (labels_n, found_n)
    ids = (label_id, found_id)
    return TrackCounts(
        **_hota(pairs, labels, found, ids, shape),
        **_clear(pairs, labels, found, ids, labels_n),
        **_identity(pairs, ids, shape),
    )


def _table(rows: I64, cols: I64, shape: tuple[int, int], weight: F64 | None = None) -> F64:
    """Sums of ``weight`` (1 without) by row and column."""
    flat = np.bincount(rows * shape[1] + cols, weight, shape[0] * shape[1])
    return flat.astype(np.float64).reshape(shape)


def _hota(
    pairs: _Pairs, labels: Boxes, found: Boxes, ids: tuple[I64, I64], shape: tuple[int, int]
) -> dict[str, Any]:
    gt, tr = ids[0][pairs.i], ids[1][pairs.j]
    label_sum = np.bincount(pairs.i, pairs.iou, len(labels))[pairs.i]
    found_sum = np.bincount(pairs.j, pairs.iou, len(found))[pairs.j]
    shared = _table(gt, tr, shape, pairs.iou / (label_sum + found_sum - pairs.iou))
    label_n, found_n = (np.bincount(k, minlength=n) for k, n in zip(ids, shape))
    alignment = shared / (label_n[:, None] + found_n - shared)
    weight = alignment[gt, tr] * pairs.iou
    hit = pairs.select(_matched(pairs, labels.frame[pairs.i], lambda part, _: weight[part]))

    good = hit.iou[:, None] >= ALPHAS - _EPS
    tp = good.sum(axis=0).astype(np.float64)
    out = {"tp": tp, "fn": len(labels) - tp, "fp": len(found) - tp}
    out["overlap"] = (good * hit.iou[:, None]).sum(axis=0)
    couples, at = np.unique(ids[0][hit.i] * shape[1] + ids[1][hit.j], return_inverse=True)
    a, b = label_n[couples // max(1, shape[1])], found_n[couples % max(1, shape[1])]
    count = np.zeros((len(couples), len(ALPHAS)))
    np.add.at(count, at, good)
    a, b = a[:, None], b[:, None]
    out["association"] = (count * count / np.maximum(1, a + b - count)).sum(axis=0)
    out["association_recall"] = (count * count / np.maximum(1, a)).sum(axis=0)
    out["association_precision"] = (count * count / np.maximum(1, b)).sum(axis=0)
    return out


def _clear(
    pairs: _Pairs, labels: Boxes, found: Boxes, ids: tuple[I64, I64], labels_n: int
) -> dict[str, Any]:
    pairs = pairs.select(pairs.iou >= MATCH_IOU - _EPS)
    # frames without labels or without found boxes are passed over: they end no match
    common = np.intersect1d(labels.frame, found.frame)
    frame = np.searchsorted(common, labels.frame[pairs.i])
    gt, tr = ids[0][pairs.i], ids[1][pairs.j]

    def weight(part: slice, chosen: Bool) -> F64:
        low, high = np.searchsorted(frame, [frame[part.start] - 1, frame[part.start]])
        before = low + np.flatnonzero(chosen[low:high])
        partner = dict(zip(gt[before].tolist(), tr[before].tolist()))
        kept = [partner.get(g) == t for g, t in zip(gt[part].tolist(), tr[part].tolist())]
        return pairs.iou[part] + _CONTINUED * np.array(kept)

    hit = np.flatnonzero(_matched(pairs, frame, weight))
    hit = hit[np.argsort(gt[hit], kind="stable")]
    g, t, at = gt[hit], tr[hit], frame[hit]
    same = g[1:] == g[:-1]
    seen, matched = np.bincount(ids[0], minlength=labels_n), np.bincount(g, minlength=labels_n)
    share = matched / np.maximum(1, seen)
    tracked, lost = int((share > 0.8).sum()), int((share < 0.2).sum())
    return {
        "clear_tp": len(hit),
        "clear_fn": len(labels) - len(hit),
        "clear_fp": len(found) - len(hit),
        "switches": int((same & (t[1:] != t[:-1])).sum()),
        "fragmentations": int((same & (at[1:] != at[:-1] + 1)).sum()),
        "mostly_tracked": tracked,
        "partly_tracked": labels_n - tracked - lost,
        "mostly_lost": lost,
        "overlap_sum": float(pairs.iou[hit].sum()),
    }


def _identity(pairs: _Pairs, ids: tuple[I64, I64], shape: tuple[int, int]) -> dict[str, Any]:
    pairs = pairs.select(pairs.iou >= MATCH_IOU)
    together = _table(ids[0][pairs.i], ids[1][pairs.j], shape)
    matched = int(together[linear_sum_assignment(together, maximize=True)].sum())
    return {"id_tp": matched, "id_fn": len(ids[0]) - matched, "id_fp": len(ids[1]) - matched}
