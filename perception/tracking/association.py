"""Which detection belongs to which track: overlap, gates, and the best assignment.

Overlap is that of boxes widened by a buffer (Yang et al., "Hard to Track Objects with Irregular
Motions and Similar Appearances? Make It Easier by Buffering the Matching Space", WACV 2023), here
not a fixed share of the box but as wide as the prediction is unsure: plain IoU for a well known
track at a high frame rate, generous for a new track seen twice a second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_FORBIDDEN = 1e4


def pairwise_iou(a_xyxy: F64, b_xyxy: F64, buffer_px: F64 | None = None) -> F64:
    """(n, m) intersection over union of (n, 4) and (m, 4) boxes.

    ``buffer_px`` (n, 2): before comparing, both boxes of a pair are widened to the left and
    right by its first number and to the top and bottom by its second.
    """
    grow = np.zeros((len(a_xyxy), 2)) if buffer_px is None else buffer_px
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    overlap = np.maximum(high - low + 2 * grow[:, None], 0).prod(axis=2)
    area_a = (a_xyxy[:, 2:] - a_xyxy[:, :2] + 2 * grow).prod(axis=1)
    area_b = (b_xyxy[None, :, 2:] - b_xyxy[None, :, :2] + 2 * grow[:, None]).prod(axis=2)
    return overlap / np.maximum(area_a[:, None] + area_b - overlap, 1e-9)


def mahalanobis_squared(mean: F64, variance: F64, measured: F64) -> F64:
    """(n, m) squared distance of (m, k) from (n, k), in standard deviations ``variance`` (n, k)."""
    delta = measured[None] - mean[:, None]
    return np.einsum("nmk,nk->nm", delta * delta, 1 / variance)


def assign(cost: F64, allowed: Bool) -> tuple[I64, I64]:
    """Pairs (rows, columns) of least total ``cost`` (n, m), as many allowed ones as possible.

    Kuhn's Hungarian method by ``scipy.optimize.linear_sum_assignment``.
    """
    rows, cols = np.flatnonzero(allowed.any(axis=1)), np.flatnonzero(allowed.any(axis=0))
    if not len(rows):
        return rows, cols
    part = np.ix_(rows, cols)
    i, j = linear_sum_assignment(np.where(allowed[part], cost[part], _FORBIDDEN))
    rows, cols = rows[i], cols[j]
    good = allowed[rows, cols]
    return rows[good], cols[good]
