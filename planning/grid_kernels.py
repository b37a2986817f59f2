"""Inner loops of the cost grid, compiled by numba. Import inside the function that needs them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from data.types import Cell

Array = NDArray[Any]

_UNKNOWN, _ROAD, _LINE = Cell.UNKNOWN, Cell.ROAD, Cell.LANE_LINE
_BESIDE, _NONE = 127, 128 * 128  # cells, the most whose squares add up in 16 bits; beyond them
_AT_ONCE = 32  # cells
_MANY = 16  # cells looked at together
_LOOK = 8  # steps between looks at how far away anything still is


@compiled
def sample(values: Array, top: float, u: Array, v: Array, seen: Array) -> Array:
    """Bilinear samples of a map whose first row is ``top``, replicated beyond its borders: float32
    as ``seen``, NaN where that is false."""
    rows, cols = values.shape
    out = np.full(seen.shape, np.nan, np.float32)
    last_r, last_c = np.float32(rows - 1), np.float32(cols - 1)
    for i in range(seen.shape[0]):
        for j in range(seen.shape[1]):
            if not seen[i, j]:
                continue
            x = min(max(u[i, j], np.float32(0)), last_c)
            y = min(max(v[i, j] - np.float32(top), np.float32(0)), last_r)
            a, b = np.uint32(y), np.uint32(x)
            fy, fx = y - np.float32(a), x - np.float32(b)
            below, right = min(a + 1, rows - 1), min(b + 1, cols - 1)
            near = values[a, b] + fx * (values[a, right] - values[a, b])
            far = values[below, b] + fx * (values[below, right] - values[below, b])
            out[i, j] = near + fy * (far - near)
    return out


@compiled
def sample_nearest(values: Array, u: Array, v: Array, seen: Array) -> Array:
    """Whether the nearest pixel of a uint8 map is set: bool as ``seen``, False where not seen."""
    last_r, last_c = values.shape[0] - 1, values.shape[1] - 1
    out = np.zeros(seen.shape, np.bool_)
    for i in range(seen.shape[0]):
        for j in range(seen.shape[1]):
            if seen[i, j]:
                r = min(max(int(v[i, j] + np.float32(0.5)), 0), last_r)
                c = min(max(int(u[i, j] + np.float32(0.5)), 0), last_c)
                out[i, j] = values[r, c] != 0
    return out


@compiled
def add_evidence(
    held: Array, forget: float, along: float, turn: float, forget_per_m: float, probability: Array,
    std_m: Array, blur_m: float, offset: float, most: float, bound: float, resolution: float,
    origin_y: float,
) -> Array:  # fmt: skip
    """Log-odds carried along by the own motion, and a frame's evidence; see ``fusion.fused``."""
    rows, cols = probability.shape
    out = np.empty((rows, cols), np.float32)
    # in float32, as all that it works on: what is known of the ground is far less exact
    step_c, step_r = np.float32(np.cos(turn)), np.float32(-np.sin(turn))
    lost_m = np.float32(forget_per_m * resolution)
    age = np.float32(forget)
    least, most_odds, limit = np.float32(-most), np.float32(most), np.float32(bound)
    low = np.float32(1 / (1 + np.exp(most - offset)))
    high = np.float32(1 / (1 + np.exp(-most - offset)))
    one = np.float32(1)
    sharp = np.float32(1 / (blur_m * blur_m))
    first_y = origin_y / resolution + 0.5
    for i in range(rows):
        x = i + 0.5
        # where this row's first cell was, in cells of the held grid
        from_r = x * np.cos(turn) - first_y * np.sin(turn)
        from_c = x * np.sin(turn) + first_y * np.cos(turn)
        row = np.float32(from_r + along * np.cos(turn / 2) / resolution - 0.5)
        col = np.float32(from_c + (along * np.sin(turn / 2) - origin_y) / resolution - 0.5)
        for j in range(cols):
            odds = np.float32(0)
            doubt = one + sharp * std_m[i, j] * std_m[i, j]
            if forget >= 0:
                r, c = row + np.float32(j) * step_r, col + np.float32(j) * step_c
                if 0 <= r < rows - 1 and 0 <= c < cols - 1:
                    a, b = np.uint32(r), np.uint32(c)
                    fr, fc = r - np.float32(a), c - np.float32(b)
                    near = held[a, b] + fc * (held[a, b + 1] - held[a, b])
                    far = held[a + 1, b] + fc * (held[a + 1, b + 1] - held[a + 1, b])
                    odds = near + fr * (far - near)
                    if odds != 0:
                        way = np.float32(x) + np.float32(abs(j + first_y))
                        odds /= one + age * doubt + lost_m * way
            p = probability[i, j]
            if p <= low:
                odds += least * (one / doubt)
            elif p >= high:
                odds += most_odds * (one / doubt)
            elif p == p:
                odds += (np.log(p / (one - p)) - np.float32(offset)) * (one / doubt)
            out[i, j] = min(max(odds, -limit), limit)
    return out


@compiled
def fill_wedge(
    kind: Array, seen: Array, first: int, reach: int, last: int, own_from: int, own_end: int
) -> Array:
    """Kinds with the ground before the first seen road filled; see ``costmap._filled``."""
    rows, cols = kind.shape
    out = kind.copy()
    to_road, to_seen = np.full(cols, rows), np.full(cols, rows)
    for i in range(rows - 1, -1, -1):
        for j in range(cols):
            if kind[i, j] == _ROAD:
                to_road[j] = i
            if seen[i, j]:
                to_seen[j] = i
    for j in range(cols):
        begins = to_road[j] <= max(to_seen[j], first) + reach and to_road[j] < last
        for i in range(rows if begins else first):
            own = i < first and own_from <= j < own_end
            if own or (begins and i < to_road[j]):
                out[i, j] = _ROAD
            elif i < first and not (begins and kind[i, j] == _ROAD):
                out[i, j] = _UNKNOWN
    return out


@compiled
def _from_above(shut: Array) -> Array:
    """(rows, cols) float32, cells to the nearest shut one of the own column in this row or one
    before; infinite where there is none."""
    rows, cols = shut.shape
    one = np.float32(1)
    out = np.empty((rows, cols), np.float32)
    far = np.full(cols, np.inf, np.float32)
    for i in range(rows):
        for j in range(cols):
            far[j] = np.float32(0) if shut[i, j] else far[j] + one
            out[i, j] = far[j]
    return out


@compiled
def _along_column(above: Array, below: Array) -> None:
    """Cells to the nearest shut one of each column for a row, into ``below``: given those for the
    row after it (infinite for the last one), and the row's ``_from_above``."""
    one = np.float32(1)
    for j in range(len(above)):
        there = below[j] + one
        below[j] = there if there < above[j] else above[j]


@compiled
def _squares(along: Array, out: Array) -> None:
    """Cells squared as int16; ``_NONE`` for more than ``_BESIDE``."""
    for k in range(len(along)):
        g = along[k]
        out[k] = np.int16(g * g) if g <= _BESIDE else np.int16(_NONE)


@compiled
def _beside(square: Array, most: int, padded: Array, least: Array) -> None:
    """Squared cells to the nearest shut one for a row, exact up to ``most``; into ``least``.

    The least over the row of the squares along it and across (Saito and Toriwaki, "New algorithms
    for Euclidean distance transformation of an n-dimensional digitized picture", 1994), in loops
    of which a processor does many steps at once: all int16, and longer by up to ``_AT_ONCE``.

    Args:
        square: (n,) from each cell to the nearest one of its column.
        padded, least: (n + 2 most + _AT_ONCE), scratch, and (n + _AT_ONCE).
    """
    n, longer = len(square), -(-len(square) // _AT_ONCE) * _AT_ONCE
    padded[: 2 * most + longer] = _NONE
    for k in range(n):
        padded[most + k] = square[k]
    for k in range(longer):
        least[k] = padded[most + k]
    farthest = np.int16(_NONE)
    for d in range(1, most + 1):
        across = np.int16(d * d)
        if d % _LOOK == 0:
            farthest = np.int16(0)
            for k in range(n):
                farthest = least[k] if least[k] > farthest else farthest
        if across >= farthest:
            break  # nothing across is nearer than what was found
        left, right = padded[most - d : most - d + longer], padded[most + d : most + d + longer]
        for k in range(longer):
            a, b, best = left[k], right[k], least[k]
            there = np.int16((a if a < b else b) + across)
            least[k] = there if there < best else best


@compiled
def near_squared(shut: Array, most: int) -> Array:
    """(rows, cols) int16, squared cells to the nearest cell that is shut: exact up to ``most``
    cells (127 or less), more than that beyond."""
    above = _from_above(shut)
    rows, cols = shut.shape
    along = np.full(cols, np.inf, np.float32)
    out, square = np.empty((rows, cols), np.int16), np.empty(cols, np.int16)
    least = np.empty(cols + _AT_ONCE, np.int16)
    padded = np.empty(cols + 2 * most + _AT_ONCE, np.int16)
    for i in range(rows - 1, -1, -1):
        _along_column(above[i], along)
        _squares(along, square)
        _beside(square, most, padded, least)
        for j in range(cols):
            out[i, j] = least[j]
    return out


@compiled
def _lowest(own: Array, at: Array, begins: Array, high: Array, out: Array) -> None:
    """Squared distances of a stretch of a row into ``out``, by the lower envelope of parabolas
    (Meijster, Roerdink and Hesselink, "A general algorithm for computing distance transforms in
    linear time", 2000): where nothing is near it takes less time than ``_beside``.

    ``own``: cells to the nearest shut one of each column; ``at``, ``begins``, ``high``: scratch.
    """
    cols, count = len(own), 0
    for u in range(cols):
        g = own[u]
        if not g < np.inf:
            continue
        h = np.float64(g) * np.float64(g) + u * u
        while count > 0 and h - high[count - 1] <= begins[count - 1] * (2 * (u - at[count - 1])):
            count -= 1
        begins[count] = (h - high[count - 1]) / (2 * (u - at[count - 1])) if count > 0 else -1.0
        at[count], high[count] = u, h
        count += 1
    if count == 0:
        out[:] = np.inf
    for k in range(count):
        first = max(int(np.ceil(begins[k])), 0) if k > 0 else 0
        end = min(int(np.ceil(begins[k + 1])), cols) if k + 1 < count else cols
        s, square = at[k], own[at[k]] * own[at[k]]
        for u in range(first, end):
            d = np.float32(u - s)
            out[u] = square + d * d


@compiled
def _same_until(row: Array, j: int) -> int:
    """End of the cells of a row from ``j`` on that are all shut, or all free."""
    cols, first = len(row), row[j]
    every = _MANY if first else 0
    while j + _MANY <= cols:  # many at once, the indices unsigned: none is negative
        count = 0
        for k in range(np.uint64(j), np.uint64(j + _MANY)):
            count += row[k]
        if count != every:
            break
        j += _MANY
    while j < cols and row[j] == first:
        j += 1
    return j


@compiled
def distance_m(shut: Array, resolution: float, never_m: float, inset: float) -> Array:
    """(rows, cols) float32 m from each cell's centre to that of the nearest that is shut, less
    ``inset`` cells (a half: to its near side), exact; ``never_m`` where none is.

    Along the columns, then along the rows, a stretch of free cells at a time: nothing beyond the
    shut cells that end it is nearer.
    """
    rows, cols = shut.shape
    above = _from_above(shut)
    along = np.full(cols, np.inf, np.float32)
    out = np.zeros((rows, cols), np.float32)
    at, begins, high = np.empty(cols, np.int64), np.empty(cols), np.empty(cols)
    squared, square = np.empty(cols, np.float32), np.empty(cols, np.int16)
    least = np.empty(cols + _AT_ONCE, np.int16)
    padded = np.empty(cols + 2 * _BESIDE + _AT_ONCE, np.int16)
    step, less, never = np.float32(resolution), np.float32(inset), np.float32(never_m)
    for i in range(rows - 1, -1, -1):
        _along_column(above[i], along)
        _squares(along, square)
        row, end = shut[i], 0
        while end < cols:
            first, end = end, _same_until(row, end)
            if not row[first]:
                a, b = max(first - 1, 0), min(end + 1, cols)
                far = np.int16(0)
                for u in range(a, b):
                    far = max(far, square[u])
                most = int(np.sqrt(far))
                if first > 0 and end < cols:
                    most = min(most, (end - first + 1) // 2)
                if most <= _BESIDE:
                    _beside(square[a:b], most, padded, least)
                    for u in range(a, b):
                        squared[u] = least[u - a]
                else:
                    _lowest(along[a:b], at, begins, high, squared[a:b])
                for u in range(first, end):
                    m = max(step * (np.sqrt(squared[u]) - less), np.float32(0))
                    out[i, u] = min(m, never)
    return out


@compiled
def costs(
    kind: Array, line: Array, clearance_m: Array, centre_m: Array, half_m: float, need_m: float,
    start_end: int, start_from: int, start_to: int, resolution: float, origin_y: float,
    weights: tuple[float, ...],
) -> Array:  # fmt: skip
    """(rows, cols) float32 cost of a metre; see ``costmap._costs``.

    ``weights``: of ``CostConfig`` edge_m, edge_weight, line_m, line_weight, crossing_weight,
    centre_weight, outside_weight, tight_weight. Rows before ``start_end`` and columns from
    ``start_from`` to ``start_to`` may be tighter than the vehicle.
    """
    edge_m, edge, line_m, beside, crossing, centre, outside, tight = weights
    rows, cols = kind.shape
    to_line = near_squared(line != 0, int(line_m / resolution + 1.5))
    out = np.full((rows, cols), np.inf, np.float32)
    for i in range(rows):
        for j in range(cols):
            k = kind[i, j]
            fits = clearance_m[i, j] >= need_m
            near = i < start_end and start_from <= j < start_to
            if (k != _ROAD and k != _LINE) or not (fits or near):
                continue
            cost = 1.0
            part = 1.0 - (clearance_m[i, j] - need_m) / edge_m
            if part > 0:
                cost += edge * min(part, 1.0) ** 2
            part = 1.0 - max(np.sqrt(to_line[i, j]) - 0.5, 0.0) * resolution / line_m
            if part > 0:
                cost += beside * part**2
            if k == _LINE:
                cost += crossing
            off = abs(origin_y + (j + 0.5) * resolution - centre_m[i])
            cost += centre * min((off / half_m) ** 2, 2.0)
            cost += outside * min(max(off - half_m, 0.0), 1.0)
            if not fits:
                cost += tight
            out[i, j] = cost
    return out


@compiled
def in_lane(
    cost: Array, centre_m: Array, half_m: float, end_row: int, resolution: float, origin_y: float
) -> Array:  # fmt: skip
    """(rows, cols) bool: cells of finite cost within ``half_m`` of each row's ``centre_m``, before
    row ``end_row``."""
    out = np.zeros(cost.shape, np.bool_)
    for i in range(min(end_row, len(cost))):
        for j in range(cost.shape[1]):
            off = abs(origin_y + (j + 0.5) * resolution - centre_m[i])
            out[i, j] = cost[i, j] < np.inf and off <= half_m
    return out


@compiled
def dearer_beside(
    cost: Array, middle_m: Array, weight: float, resolution: float, origin_y: float
) -> None:
    """Add ``weight`` to the costs of the first rows, in place, a metre and more beside each row's
    ``middle_m``; less nearer to it, nothing within 0.3 m."""
    for i in range(len(middle_m)):
        for j in range(cost.shape[1]):
            off = abs(origin_y + (j + 0.5) * resolution - middle_m[i])
            cost[i, j] += np.float32(weight * min(max(off - 0.3, 0.0), 1.0))
