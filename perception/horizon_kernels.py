"""Inner loop of ``horizon``, compiled by numba. Import inside the function that needs it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Array = NDArray[Any]


@compiled
def count_votes(
    grid: Array, point: Array, normal: Array, near: Array, rise_px: float, off: float,
    votes: Array,
) -> None:  # fmt: skip
    """How many lane pixels' lines run through each place of a grid, all float32.

    Args:
        grid: (m, 2) px; point, normal: (n, 2) px of the lane pixels and unit normals of their
            lines; near: (n,) what each counts.
        rise_px: pixels that lie less than this below a place do not count there.
        off: sine of the angle between a line and the place by which a vote falls to a quarter.
        votes: (m,) the result.
    """
    one, least, slack = np.float32(1.0), np.float32(rise_px), np.float32(off)
    for i in range(len(grid)):
        total = np.float32(0.0)
        for k in range(len(point)):
            du, dv = grid[i, 0] - point[k, 0], grid[i, 1] - point[k, 1]
            if dv > -least:
                continue
            length = max(np.sqrt(du * du + dv * dv), one)
            share = (du * normal[k, 0] + dv * normal[k, 1]) / (length * slack)
            fall = one + share * share
            total += near[k] / (fall * fall)
        votes[i] = total
