"""A* over a grid of costs (Hart, Nilsson and Raphael 1968), eight neighbours a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GridPath:
    """A path over cells.

    Attributes:
        rows, cols: (n,) int64 from start to goal, both included.
        cost: sum over steps of length_m times the mean cost of the two cells.
        expanded: cells taken from the queue.
    """

    rows: I64
    cols: I64
    cost: float
    expanded: int


def astar(
    cost: NDArray[np.float32],
    start: tuple[int, int],
    goal: tuple[int, int],
    resolution_m: float = 1.0,
    max_expanded: int | None = None,
) -> GridPath | None:
    """Least-cost path from ``start`` to ``goal`` (row, col), or None where there is none.

    Args:
        cost: (rows, cols), at least 0 per metre; inf or NaN cannot be driven.
        resolution_m: side of a cell.
        max_expanded: give up after that many cells; None: all of them.

    The heuristic is the octile distance times the least cost of any cell: no step can be
    cheaper, so it never overestimates and the path is optimal.

    Raises:
        ValueError: start or goal lies outside the grid, or a cost is negative.
    """
    from data.compiled import run
    from planning.kernels import search

    rows, cols = cost.shape
    for name, (r, c) in (("start", start), ("goal", goal)):
        if not (0 <= r < rows and 0 <= c < cols):
            raise ValueError(f"{name} ({r}, {c}): expected inside a {rows} x {cols} grid")
    least = float(np.fmin.reduce(cost, axis=None))
    if least < 0:
        raise ValueError(f"cost: expected at least 0, given {least}")
    if not (np.isfinite(cost[start]) and np.isfinite(cost[goal])):
        return None
    grid = np.ascontiguousarray(cost, dtype=np.float64)
    limit = rows * cols if max_expanded is None else max_expanded
    first, last = start[0] * cols + start[1], goal[0] * cols + goal[1]
    parent, total, expanded = run(search, grid, first, last, resolution_m, least, limit)
    if not np.isfinite(total):
        return None
    index = _walk_back(parent, first, last)
    return GridPath(index // cols, index % cols, float(total), int(expanded))


def _walk_back(parent: NDArray[np.int32], first: int, last: int) -> I64:
    """Flat indices from ``first`` to ``last`` along the parents."""
    cells = [last]
    while cells[-1] != first:
        cells.append(int(parent[cells[-1]]))
    return np.array(cells[::-1], np.int64)
