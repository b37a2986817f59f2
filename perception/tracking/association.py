"""Which detection belongs to which track: overlap, gates, and the best assignment.

Overlap is that of boxes widened by a buffer (Yang et al., "Hard to Track Objects with Irregular
Motions and Similar Appearances? Make It Easier by Buffering the Matching Space", WACV 2023), here
not a fixed share of the box but as wide as the prediction is unsure: plain IoU for a well known
track at a high frame rate, generous for a new track seen twice a second.

Only pairs of boxes that touch are looked at, as flat lists: a crowded frame stays fast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from perception.boxes import iou

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_FORBIDDEN = 1e4


def touching(a_xyxy: F64, b_xyxy: F64, buffer_px: F64 | None = None) -> tuple[I64, I64, F64]:
    """Pairs (rows, columns) of overlapping boxes of (n, 4) and (m, 4), and their IoU (k,).

    ``buffer_px`` (n, 2): before comparing, both boxes of a pair are widened to the left and
    right by its first number and to the top and bottom by its second.
    """
    x1, y1, x2, y2 = a_xyxy.T
    gu, gv = (0.0, 0.0) if buffer_px is None else buffer_px.T
    left, top, right, bottom = np.ascontiguousarray(b_xyxy.T)
    hit = (x1 - 2 * gu)[:, None] < right
    hit &= (x2 + 2 * gu)[:, None] > left
    hit &= (y1 - 2 * gv)[:, None] < bottom
    hit &= (y2 + 2 * gv)[:, None] > top
    rows, cols = np.nonzero(hit)
    grow = 0.0 if buffer_px is None else 2 * buffer_px[rows]
    return rows, cols, iou(a_xyxy[rows], b_xyxy[cols], grow)


def mahalanobis_squared(mean: F64, variance: F64, measured: F64) -> F64:
    """(k,) squared distance of (k, d) from (k, d), in standard deviations ``variance`` (k, d)."""
    delta = measured - mean
    return np.asarray((delta * delta / variance).sum(axis=1), np.float64)


def assign(rows: I64, cols: I64, cost: F64) -> I64:
    """Which of the pairs (rows, columns) (k,) to take: as many as possible, then least cost (k,).

    Pairs without a rival are taken as they are; for the others Kuhn's Hungarian method by
    ``scipy.optimize.linear_sum_assignment``.
    """
    if not len(rows):
        return rows
    rival = (np.bincount(rows)[rows] > 1) | (np.bincount(cols)[cols] > 1)
    if not rival.any():
        return np.arange(len(rows))
    open_pairs = np.flatnonzero(rival)
    _, i = np.unique(rows[open_pairs], return_inverse=True)
    _, j = np.unique(cols[open_pairs], return_inverse=True)
    table = np.full((i.max() + 1, j.max() + 1), _FORBIDDEN)
    index = np.full(table.shape, -1)
    table[i, j], index[i, j] = cost[open_pairs], open_pairs
    chosen = index[linear_sum_assignment(table)]
    return np.sort(np.concatenate([np.flatnonzero(~rival), chosen[chosen >= 0]]))
