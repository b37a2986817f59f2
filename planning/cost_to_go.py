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

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

UNITS = 64  # whole-number cost of a step to the next cell at no extra cost
_MOST = 60.0  # most that a metre may cost more
_ROOT_HALF = math.sqrt(0.5)


@compiled
def penalty(clear_m: float, soft_m: float, weight: float) -> float:
    """Cost added per metre at ``clear_m`` of room: ``weight`` at 0, none from ``soft_m`` on."""
    if clear_m >= soft_m:
        return 0.0
    share = 1.0 - max(clear_m, 0.0) / soft_m
    return weight * share * share


@compiled
def _step_costs(field: Field, block: int, disc_m: float, soft_m: float, weight: float, i: int,
                scratch: F32, out: NDArray[np.int32]) -> None:  # fmt: skip
    """Units per straight step of each block of cells of the ``i``-th row of blocks; 0 cannot be
    passed. ``scratch``: (2, columns of cells)."""
    cols = field.near_m.shape[1]
    low, high = i * block, min((i + 1) * block, field.near_m.shape[0])
    # the axle may be off the cell's centre, the nearest obstacle's side nearer than its centre
    need = disc_m - (_ROOT_HALF - 0.5) * field.cell_m - 1e-6
    most, spare, other = field.near_m[low], scratch[0], scratch[1]
    for r in range(low + 1, high):  # into an array not read: several columns at once
        row = field.near_m[r]
        for c in range(cols):
            spare[c] = most[c] if most[c] > row[c] else row[c]
        most, spare, other = spare, other, spare
    for j in range(len(out)):
        first, end = j * block, min((j + 1) * block, cols)
        near = most[first]
        for c in range(first + 1, end):
            near = most[c] if most[c] > near else near
        out[j] = 0
        if near >= need:
            least = field.extra[low, first]
            for r in range(low, high):
                for c in range(first, end):
                    value = field.extra[r, c]
                    least = value if value < least else least
            more = least + penalty(near - 0.5 * field.cell_m - disc_m, soft_m, weight)
            out[j] = int(UNITS * (1.0 + min(more, _MOST)))


@compiled
def _octile(rows: int, cols: int) -> int:
    """Units to a block so many rows and columns away, at no extra cost."""
    few, many = min(abs(rows), abs(cols)), max(abs(rows), abs(cols))
    return UNITS * (many - few) + int(2 * UNITS * _ROOT_HALF) * few


@compiled
def _spread(field: Field, block: int, disc_m: float, soft_m: float, weight: float, first: int,
            last: int, cost: NDArray[np.int32]) -> None:  # fmt: skip
    """Fill in ``cost`` (rows, cols), -1 where there is none: units to the block ``first``.

    ``last``: the block a way is wanted from, 0 for all. Blocks are flat indices, with the border.
    """
    rows, cols = cost.shape
    step, known = np.zeros((rows, cols), np.int32), np.zeros(rows, np.bool_)
    known[0] = known[-1] = True
    scratch = np.empty((2, field.near_m.shape[1]), np.float32)
    units, settled, best = step.ravel(), cost.ravel(), np.full(rows * cols, 2**30, np.int32)
    buckets = 1  # more than keys in the queue lie apart
    while buckets <= UNITS * (1.0 + min(weight + field.most_extra, _MOST)) * (3.0 if last else 1.5):
        buckets *= 2
    mask = buckets - 1  # a power of two, less one: so no number need be divided
    last_row, last_col = last // cols, last % cols
    head = np.full(buckets, -1, np.int32)
    link, entry = np.empty(8 * rows * cols + 1, np.int32), np.empty(8 * rows * cols + 1, np.int32)
    now = _octile(first // cols - last_row, first % cols - last_col) if last else 0
    head[now & mask], link[0], entry[0], n, waiting = 0, -1, first, 1, 1
    best[first] = 0
    down = np.array([0, 0, 1, -1, 1, 1, -1, -1])
    right = np.array([1, -1, 0, 0, 1, -1, 1, -1])
    while waiting > 0:
        at = head[now & mask]
        if at < 0:
            now += 1
            continue
        head[now & mask] = link[at]
        waiting -= 1
        node = entry[at]
        if settled[node] >= 0:
            continue
        settled[node] = best[node]
        if node == last:
            break
        row_of, col_of = node // cols, node % cols  # once: dividing takes long
        for i in range(row_of - 1, row_of + 2):
            if not known[i]:  # row by row, when first looked at
                row = step[i, 1:-1]
                _step_costs(field, block, disc_m, soft_m, weight, i - 1, scratch, row)
                known[i] = True
        for k in range(8):
            to = node + down[k] * cols + right[k]
            if units[to] == 0 or settled[to] >= 0:
                continue
            length = units[node] + units[to]
            new = best[node] + (length // 2 if k < 4 else int(length * _ROOT_HALF))
            if new < best[to]:
                best[to] = key = new
                if last:
                    key += _octile(row_of + down[k] - last_row, col_of + right[k] - last_col)
                link[n], entry[n], head[key & mask] = head[key & mask], to, n
                n += 1
                waiting += 1


@compiled
def cost_to_go(field: Field, block: int, disc_m: float, soft_m: float, weight: float, x: float,
               y: float, from_x: float, from_y: float) -> F64:  # fmt: skip
    """Cost in metres from each block of cells to the point (x, y); inf where there is no way.

    Dijkstra over eight neighbours with buckets of whole-number cost (Dial 1969). Given a point
    (from_x, from_y), and not NaN, A*: only blocks that may lie on the cheapest way from there
    are looked at, the others stay inf. Returns an array with a border of inf: entry
    (i + 1, j + 1) is of the block of cells (i, j).
    """
    rows, cols = -(-field.near_m.shape[0] // block) + 2, -(-field.near_m.shape[1] // block) + 2
    side = block * field.cell_m
    first, last = (int(y / side) + 1) * cols + int(x / side) + 1, 0
    if not math.isnan(from_x):
        last = (int(from_y / side) + 1) * cols + int(from_x / side) + 1
    cost = np.full((rows, cols), -1, np.int32)
    _spread(field, block, disc_m, soft_m, weight, first, last, cost)
    out = np.full((rows, cols), np.inf)
    for i in range(rows):
        for j in range(cols):
            if cost[i, j] >= 0:
                out[i, j] = cost[i, j] * side / UNITS
    return out


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
