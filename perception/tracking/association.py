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

from data.compiled import run
from perception.tracking import kernels
from perception.tracking.config import TrackerConfig
from perception.tracking.motion import BoxState, measurement_variance

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_FORBIDDEN = 1e4


def touching(a_xyxy: F64, b_xyxy: F64, buffer_px: F64 | None = None) -> tuple[I64, I64, F64]:
    """Pairs (rows, columns) of overlapping boxes of (n, 4) and (m, 4), and their IoU (k,).

    ``buffer_px`` (n, 2): before comparing, both boxes of a pair are widened to the left and
    right by its first number and to the top and bottom by its second.
    """
    buffer_px = np.zeros((0, 2)) if buffer_px is None else buffer_px
    rows, cols, overlap = run(kernels.pairs, a_xyxy, b_xyxy, buffer_px)
    return rows, cols, overlap


def candidates(
    box: BoxState, class_id: I64, xyxy: F64, found: F64, found_class: I64, config: TrackerConfig
) -> tuple[I64, I64, F64, F64]:
    """Pairs (predictions, detections) that may be one object: their overlap (k,) and cost (k,).

    Predictions ``box`` of n tracks and detections ``xyxy`` (m, 4), as states ``found`` (m, 4), of
    the same class that touch when widened, within the gate and of like height.
    """
    noise = measurement_variance(box.mean, config.boxes)
    noise[:, 2:] += np.square(config.gate_log_size_std)
    rows, cols, overlap, cost = run(
        kernels.candidates, box.mean, box.cov, class_id, xyxy, found, found_class, noise,
        config.widening, config.max_widening_sizes, config.gate, config.max_log_height_change,
        config.gate_weight,
    )  # fmt: skip
    return rows, cols, overlap, cost


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
