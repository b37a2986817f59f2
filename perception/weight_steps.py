"""Steps of 8-bit weights with which every processor adds up the same sums.

A processor that has no instruction for dot products of bytes (x86 without VNNI) multiplies unsigned
activations by signed weights, adds the products of two neighbours in 16 bits and cuts what does not
fit (``vpmaddubsw``): 255 * 127 fits once, not twice. An INT8 file whose weights use the whole range
so answers worse there than where it was made, and nothing tells. Weights in 7 bits never run over,
at twice the rounding error. Here only those channels get a coarser step that have two large
neighbours of one sign, and only as much as they need.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.types import F64

LEVELS = 127  # of symmetric 8 bits, on either side of zero


def whole_range_steps(weight: NDArray) -> F64:
    """(o,): a step for each output channel of weights (o, i, h, w), for symmetric 8 bits."""
    return _steps(np.abs(weight.astype(np.float64)).reshape(len(weight), -1).max(axis=1))


def portable_steps(weight: NDArray, groups: int) -> F64:
    """The same, so that the sum of two neighbours' products with bytes stays below 2**15.

    Neighbours are weights one after the other in rows, columns and then channels, the order in
    which ONNX Runtime's kernels read them. Depthwise filters, summed in 32 bits, keep the range.

    Args:
        weight: (o, i / groups, h, w).
    """
    if weight.shape[1] == 1 and groups == len(weight):
        return whole_range_steps(weight)
    row = weight.astype(np.float64).transpose(0, 2, 3, 1).reshape(len(weight), -1)
    row = np.pad(row, ((0, 0), (0, 1)))  # each has a neighbour
    # each rounds up by half a step at most, so that 127 steps are at most 128: 128 * 255 < 2**15
    largest = [(side[:, 1:] + side[:, :-1]).max(axis=1) for side in (row.clip(0), (-row).clip(0))]
    return _steps(np.maximum(*largest))


def _steps(largest: F64) -> F64:
    return np.where(largest > 0, largest, float(LEVELS)) / LEVELS
