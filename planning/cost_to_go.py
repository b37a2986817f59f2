"""Cost of the way to the goal over a coarse grid: what hybrid A* takes for its estimate.

A cell can be passed when the vehicle's inscribed disc about the rear axle may fit somewhere in
it: where no way is found here, there is none for the vehicle either.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from planning.footprint import Field

F64 = NDArray[np.float64]

UNITS = 64  # whole-number cost of a step to the next cell at no extra cost
_ROOT_HALF = math.sqrt(0.5)


@compiled
def penalty(clear_m: float, soft_m: float, weight: float) -> float:
    """Cost added per metre at ``clear_m`` of room: ``weight`` at 0, none from ``soft_m`` on."""
    if clear_m >= soft_m:
        return 0.0
    share = 1.0 - max(clear_m, 0.0) / soft_m
    return weight * share * share


@compiled
def _step_costs(field: Field, block: int, disc_m: float, soft_m: float,
                weight: float) -> NDArray[np.int32]:  # fmt: skip
    """Units per straight step of each block of cells, with a border; 0 cannot be passed."""
    rows, cols = field.near_m.shape
    out = np.zeros((-(-rows // block) + 2, -(-cols // block) + 2), np.int32)
    # the axle may be off the cell's centre, the nearest obstacle's side nearer than its centre
    need = disc_m - (_ROOT_HALF - 0.5) * field.cell_m - 1e-6
    for i in range(out.shape[0] - 2):
        for j in range(out.shape[1] - 2):
            near, least = 0.0, 1e18
            for r in range(i * block, min((i + 1) * block, rows)):
                for c in range(j * block, min((j + 1) * block, cols)):
                    near = max(near, field.near_m[r, c])
                    least = min(least, field.extra[r, c])
            if near >= need:
                more = least + penalty(near - 0.5 * field.cell_m - disc_m, soft_m, weight)
                out[i + 1, j + 1] = int(UNITS * (1.0 + min(more, 60.0)))
    return out


@compiled
def cost_to_go(field: Field, block: int, disc_m: float, soft_m: float, weight: float, x: float,
               y: float) -> F64:  # fmt: skip
    """Cost in metres from each block of cells to the point (x, y); inf where there is no way.

    Dijkstra over eight neighbours with buckets of whole-number cost (Dial 1969). Returns an
    array with a border of inf: entry (i + 1, j + 1) is of the block of cells (i, j).
    """
    step = _step_costs(field, block, disc_m, soft_m, weight)
    rows, cols = step.shape
    flat = step.ravel()
    side = block * field.cell_m
    first = (int(y / side) + 1) * cols + int(x / side) + 1
    cost = np.full(rows * cols, -1, np.int32)
    best = np.full(rows * cols, 2**30, np.int32)
    buckets = 1
    while buckets <= flat.max() * 1.5:
        buckets *= 2
    head = np.full(buckets, -1, np.int32)
    link, entry = np.empty(8 * rows * cols + 1, np.int32), np.empty(8 * rows * cols + 1, np.int32)
    head[0], link[0], entry[0], n, waiting, now = 0, -1, first, 1, 1, 0
    best[first] = 0
    moves = np.array([1, -1, cols, -cols, cols + 1, cols - 1, -cols + 1, -cols - 1])
    while waiting > 0:
        at = head[now % buckets]
        if at < 0:
            now += 1
            continue
        head[now % buckets] = link[at]
        waiting -= 1
        node = entry[at]
        if cost[node] >= 0:
            continue
        cost[node] = now
        for k in range(8):
            to = node + moves[k]
            if flat[to] == 0 or cost[to] >= 0:
                continue
            length = flat[node] + flat[to]
            new = now + (length // 2 if k < 4 else int(length * _ROOT_HALF))
            if new < best[to]:
                best[to] = new
                link[n], entry[n], head[new % buckets] = head[new % buckets], to, n
                n += 1
                waiting += 1
    out = np.full(rows * cols, np.inf)
    for i in range(rows * cols):
        if cost[i] >= 0:
            out[i] = cost[i] * side / UNITS
    return out.reshape(rows, cols)


@compiled
def estimate(cost: F64, side: float, x: float, y: float) -> float:
    """Cost to go at (x, y), between the four blocks around; inf where its own has none."""
    rows, cols = cost.shape
    i, j = int(y / side) + 1, int(x / side) + 1
    if not (0 < i < rows - 1 and 0 < j < cols - 1) or cost[i, j] == np.inf:
        return math.inf
    fy, fx = y / side + 0.5, x / side + 0.5
    i, j = int(fy), int(fx)
    fy, fx = fy - i, fx - j
    total, weight = 0.0, 0.0
    for a in range(2):
        for b in range(2):
            value = cost[i + a, j + b]
            if value != np.inf:
                w = (fy if a else 1 - fy) * (fx if b else 1 - fx)
                total += w * value
                weight += w
    return total / weight
