"""COCO's detection figures from match tables: one matching, then any weighting of the frames.

The matching and the figures are those of COCO's reference tool (Lin et al., "Microsoft COCO: Common
Objects in Context", 2014; pycocotools): detections by falling score, at most 100 for an image and
class, each takes the free label it overlaps most; crowds and labels out of the area range
are matched last and cost nothing. What is kept of a detection is one bit for each overlap
threshold, right or neither. From these the figures of any sample of the frames follow without
matching again, which makes bootstrap intervals cheap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled, run
from data.types import F32, F64, I64

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100  # of an image and class
AREAS_PX2 = np.array([[0, 1e10], [0, 32.0**2], [32.0**2, 96.0**2], [96.0**2, 1e10]])
STATISTICS = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip
Bits = NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Labels:
    """Labelled boxes of all frames.

    Attributes:
        frame, kind: (n,) int64 number of the frame and of the class.
        xywh: (n, 4) float64 px; ignore: (n,) bool, areas that cost nothing.
    """

    frame: I64
    kind: I64
    xywh: F64
    ignore: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True, eq=False)
class Found:
    """Detected boxes of all frames; fields as in ``Labels``, score (n,) float32."""

    frame: I64
    kind: I64
    xywh: F64
    score: F32

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, keep: I64 | NDArray[np.bool_]) -> Found:
        return Found(self.frame[keep], self.kind[keep], self.xywh[keep], self.score[keep])


@dataclass(frozen=True, eq=False)
class Matched:
    """Detections that take part, sorted by class, frame and falling score, and what became of them.

    Attributes:
        found: the boxes; given: (n,) int64, their places in the detections given.
        rank: (n,) int64 within image and class, from 0.
        hit, out: (4, n) uint16 for the area ranges: bit t is set where the box is right at
            ``OVERLAPS[t]``, or counts as neither right nor wrong.
        partner: (n,) int64, the label matched at the lowest overlap (ignored ones too), -1 none.
    """

    found: Found
    given: I64
    rank: I64
    hit: Bits
    out: Bits
    partner: I64


@compiled
def _overlaps(found, labels, crowd):  # type: ignore[no-untyped-def]
    """(n, m) intersection over union of boxes xywh, over the found box alone beside a crowd."""
    iou = np.zeros((len(found), len(labels)))
    for i in range(len(found)):
        dx, dy, dw, dh = found[i]
        for j in range(len(labels)):
            gx, gy, gw, gh = labels[j]
            w = min(dw + dx, gw + gx) - max(dx, gx)
            h = min(dh + dy, gh + gy) - max(dy, gy)
            if w > 0 and h > 0:
                both = w * h
                iou[i, j] = both / (dw * dh if crowd[j] else dw * dh + gw * gh - both)
    return iou


@compiled
def _best_free(row, order, ignored, crowd, taken, least):  # type: ignore[no-untyped-def]
    """The label that a detection of overlaps ``row`` takes, -1 none."""
    best, at = min(least, 1 - 1e-10), -1
    for j in order:
        if taken[j] and not crowd[j]:
            continue
        if at >= 0 and not ignored[at] and ignored[j]:
            break  # a label that counts goes before any that is ignored
        if row[j] >= best:
            best, at = row[j], j
    return at


@compiled
def _match(  # type: ignore[no-untyped-def]
    groups, found_xywh, label_xywh, label_index, crowds, areas, overlaps, hit, out, partner
):
    hit[:], partner[:] = 0, -1
    every = (1 << len(overlaps)) - 1
    for i in range(len(found_xywh)):  # what nothing is matched to, in all of the overlaps
        size = found_xywh[i, 2] * found_xywh[i, 3]
        for a in range(len(areas)):
            out[a, i] = every if size < areas[a, 0] or size > areas[a, 1] else 0
    for d0, d1, g0, g1 in groups:
        if g0 == g1:
            continue
        found, labels, crowd = found_xywh[d0:d1], label_xywh[g0:g1], crowds[g0:g1]
        iou = _overlaps(found, labels, crowd)
        label_size = labels[:, 2] * labels[:, 3]
        taken = np.empty(len(labels), np.bool_)
        for a in range(len(areas)):
            low, high = areas[a]
            ignored = crowd | (label_size < low) | (label_size > high)
            order = np.append(np.flatnonzero(~ignored), np.flatnonzero(ignored))
            for t in range(len(overlaps)):
                taken[:] = False
                for i in range(len(found)):
                    at = _best_free(iou[i], order, ignored, crowd, taken, overlaps[t])
                    if at < 0:
                        continue
                    taken[at] = True
                    if ignored[at]:
                        out[a, d0 + i] |= 1 << t
                    else:
                        hit[a, d0 + i] |= 1 << t
                        out[a, d0 + i] &= every - (1 << t)
                    if a == 0 and t == 0:
                        partner[d0 + i] = label_index[g0 + at]


def _group_ends(frame: I64, kind: I64, frames: int) -> tuple[I64, I64, I64]:
    """Keys, begins and ends of runs of equal class and frame in sorted boxes."""
    key = kind * frames + frame
    begin = np.flatnonzero(np.diff(key, prepend=-1))
    return key[begin], begin, np.append(begin[1:], len(key)).astype(np.int64)


def match(labels: Labels, found: Found) -> Matched:
    """Match detections to labels, in every frame and class at all overlaps and area ranges."""
    frames = int(max(labels.frame.max(initial=0), found.frame.max(initial=0))) + 1
    given = np.lexsort((-found.score, found.frame, found.kind))
    _, begin, end = _group_ends(found.frame[given], found.kind[given], frames)
    rank = np.arange(len(given)) - np.repeat(begin, end - begin)
    given, rank = given[rank < MAX_DETECTIONS], rank[rank < MAX_DETECTIONS]
    kept = found.select(given)
    order = np.lexsort((labels.frame, labels.kind))
    keys, begin, end = _group_ends(kept.frame, kept.kind, frames)
    theirs, g_begin, g_end = _group_ends(labels.frame[order], labels.kind[order], frames)
    groups = np.zeros((len(keys), 4), np.int64)
    groups[:, 0], groups[:, 1] = begin, end
    at = np.searchsorted(theirs, keys)
    same = at < len(theirs)
    same[same] = theirs[at[same]] == keys[same]
    groups[same, 2], groups[same, 3] = g_begin[at[same]], g_end[at[same]]
    n = len(kept)
    hit, out = np.zeros((len(AREAS_PX2), n), np.uint16), np.zeros((len(AREAS_PX2), n), np.uint16)
    partner = np.full(n, -1, np.int64)
    run(
        _match, groups, np.ascontiguousarray(kept.xywh, np.float64),
        np.ascontiguousarray(labels.xywh[order], np.float64), order, labels.ignore[order],
        AREAS_PX2, OVERLAPS, hit, out, partner,
    )  # fmt: skip
    return Matched(kept, given, rank, hit, out, partner)


@compiled
def _weighted_ap(frame, places, is_out, begin, weights, positives, recalls, ap, recall):  # type: ignore[no-untyped-def]
    total = np.empty(len(frame), np.int64)
    rec, prec = np.empty(len(frame)), np.empty(len(frame))
    for b in range(len(weights)):
        w, npos = weights[b], positives[b]
        if npos == 0:
            ap[b, :] = np.nan
            recall[b, :] = np.nan
            continue
        sum_w = 0
        for i in range(len(frame)):
            sum_w += w[frame[i]]
            total[i] = sum_w
        for t in range(len(begin) - 1):
            m, tp, dropped = 0, 0, 0
            for j in range(begin[t], begin[t + 1]):
                i = places[j]
                wi = w[frame[i]]
                if wi == 0:
                    continue
                if is_out[j]:
                    dropped += wi
                else:
                    tp += wi
                    rec[m] = tp / npos
                    prec[m] = tp / (total[i] - dropped + 2.220446049250313e-16)
                    m += 1
            for j in range(m - 2, -1, -1):
                prec[j] = max(prec[j], prec[j + 1])
            k, area = 0, 0.0
            for r in recalls:
                while k < m and rec[k] < r:
                    k += 1
                if k == m:
                    break
                area += prec[k]
            ap[b, t] = area / len(recalls)
            recall[b, t] = tp / npos


def weighted_ap(
    frame: I64, hit: Bits, out: Bits, weights: NDArray[np.int32], positives: I64
) -> tuple[F64, F64]:
    """Average precision and final recall of a class when frame f counts ``weights[b, f]`` times.

    It is what the reference gives for a set with frame f that many times over, as long as no two
    scores of a frame are equal: those stay side by side here, frame after frame there.

    Args:
        frame: (n,) of the detections by falling score; hit, out: (n,) bits as in ``Matched``.
        weights: (draws, frames) int32; positives: (frames,) labels to be found in each.

    Returns:
        (draws, 10) float64 each, at ``OVERLAPS``; NaN for draws without a label.
    """
    places, is_out, begin = [], [], [0]
    for t in range(len(OVERLAPS)):
        bit = np.uint16(1 << t)
        at = np.flatnonzero((hit | out) & bit)
        places.append(at)
        is_out.append((out[at] & bit) > 0)
        begin.append(begin[-1] + len(at))
    ap, recall = np.zeros((len(weights), 10)), np.zeros((len(weights), 10))
    run(
        _weighted_ap, frame, np.concatenate(places), np.concatenate(is_out), np.array(begin),
        np.ascontiguousarray(weights), weights.astype(np.int64) @ positives, RECALLS, ap, recall,
    )  # fmt: skip
    return ap, recall


KERNELS = (_match, _weighted_ap)


def compile_kernels() -> None:
    """Compile the matching and the figures, or load them, ahead of their first use."""
    one, box = np.zeros(1, np.int64), np.array([[0.0, 0.0, 9.0, 9.0]])
    labels = Labels(one, one, box, np.zeros(1, np.bool_))
    twelve_statistics(labels, match(labels, Found(one, one, box, np.ones(1, np.float32))))


def by_score(score: F32) -> I64:
    """Order of falling score; equal ones stay in the order of the frames, as in the reference."""
    return np.argsort(-score, kind="stable")


def _mean(rows: list[F64]) -> float:
    """Mean over classes with labels; NaN without any."""
    return float(np.mean(np.concatenate(rows))) if rows else float("nan")


def twelve_statistics(labels: Labels, matched: Matched) -> dict[str, float]:
    """COCO's twelve figures over all classes with labels; NaN where there are none."""
    frames = int(max(labels.frame.max(initial=0), matched.found.frame.max(initial=0))) + 1
    once = np.ones((1, frames), np.int32)
    size = labels.xywh[:, 2] * labels.xywh[:, 3]
    ap: list[list[F64]] = [[] for _ in AREAS_PX2]
    ar: dict[int, list[F64]] = {1: [], 10: []}
    ar_area: list[list[F64]] = [[] for _ in AREAS_PX2]
    for kind in np.unique(labels.kind):
        own = np.flatnonzero(matched.found.kind == kind)
        own = own[by_score(matched.found.score[own])]
        for a, (low, high) in enumerate(AREAS_PX2):
            counted = (labels.kind == kind) & ~labels.ignore & (size >= low) & (size <= high)
            if not counted.any():
                continue
            positives = np.bincount(labels.frame[counted], minlength=frames)
            for most in (1, 10, MAX_DETECTIONS) if a == 0 else (MAX_DETECTIONS,):
                few = own[matched.rank[own] < most]
                hit, out = matched.hit[a, few], matched.out[a, few]
                p, r = weighted_ap(matched.found.frame[few], hit, out, once, positives)
                if most == MAX_DETECTIONS:
                    ap[a].append(p[0])
                    ar_area[a].append(r[0])
                else:
                    ar[most].append(r[0])
    at = [_mean([row[k : k + 1] for row in ap[0]]) for k in (0, 5)]
    precision, recall = [_mean(rows) for rows in ap], [_mean(rows) for rows in ar_area]
    values = [precision[0], *at, *precision[1:], _mean(ar[1]), _mean(ar[10]), *recall]
    return dict(zip(STATISTICS, values, strict=True))
