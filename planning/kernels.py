"""Inner loops, compiled by numba. Import inside the function that needs them: it takes a while."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Array = NDArray[Any]

_SQRT2 = 2.0**0.5
_EDGE_REACH_M = 8.0
_SURE_M = 15.0


@compiled
def push(key: Array, item: Array, size: int, new_key: float, new_item: int) -> None:
    """Add to a binary heap of ``size`` entries; the arrays have room for one more."""
    hole = size
    while hole > 0:
        up = (hole - 1) // 2
        if key[up] <= new_key:
            break
        key[hole], item[hole] = key[up], item[up]
        hole = up
    key[hole], item[hole] = new_key, new_item


@compiled
def pop(key: Array, item: Array, size: int) -> int:
    """Take the least item off a heap of ``size`` entries."""
    top = item[0]
    size -= 1
    last_key, last_item, hole = key[size], item[size], 0
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        if child + 1 < size and key[child + 1] < key[child]:
            child += 1
        if last_key <= key[child]:
            break
        key[hole], item[hole] = key[child], item[child]
        hole = child
    key[hole], item[hole] = last_key, last_item
    return top  # type: ignore[no-any-return]


@compiled
def search(
    cost: Array, start: int, goal: int, resolution: float, least: float, max_expanded: int
) -> tuple[Array, float, int]:
    """A* between two flat indices: parents, cost to the goal (inf: none), cells expanded."""
    rows, cols = cost.shape
    flat = cost.ravel()
    best = np.full(rows * cols, np.inf)
    parent = np.full(rows * cols, -1, np.int32)
    closed = np.zeros(rows * cols, np.bool_)
    # Every cell is pushed at most once from each neighbour.
    key, item = np.empty(8 * rows * cols + 1), np.empty(8 * rows * cols + 1, np.int32)
    goal_r, goal_c = goal // cols, goal % cols
    best[start] = 0.0
    key[0], item[0], size, expanded = 0.0, start, 1, 0
    while size > 0 and expanded < max_expanded:
        node = pop(key, item, size)
        size -= 1
        if closed[node]:
            continue
        closed[node] = True
        expanded += 1
        if node == goal:
            return parent, best[goal], expanded
        r, c = node // cols, node % cols
        for nr in range(max(r - 1, 0), min(r + 2, rows)):
            for nc in range(max(c - 1, 0), min(c + 2, cols)):
                to = nr * cols + nc
                if closed[to] or not np.isfinite(flat[to]):
                    continue
                step = resolution * (_SQRT2 if nr != r and nc != c else 1.0)
                g = best[node] + step * 0.5 * (flat[node] + flat[to])
                if g >= best[to]:
                    continue
                best[to], parent[to] = g, node
                a, b = abs(nr - goal_r), abs(nc - goal_c)
                h = least * resolution * (max(a, b) + (_SQRT2 - 1.0) * min(a, b))
                push(key, item, size, g + h, to)
                size += 1
    return parent, np.inf, expanded


@compiled
def usual_gap(mask: Array, most: float, resolution: float) -> float:
    """Median distance over the rows from the first column to the first set cell, where that is
    nearer than ``most``; NaN if fewer than three rows of ten have one."""
    near, n = np.empty(len(mask)), 0  # ascending
    for r in range(len(mask)):
        for c in range(mask.shape[1]):
            if not mask[r, c]:
                continue
            away = (c + 0.5) * resolution
            if away < most:
                k = n
                while k > 0 and near[k - 1] > away:
                    near[k] = near[k - 1]
                    k -= 1
                near[k] = away
                n += 1
            break
    if n == 0 or n < 0.3 * len(mask):
        return np.nan
    return (near[(n - 1) // 2] + near[n // 2]) / 2


@compiled
def _look(
    line: Array, edge: Array, r: int, y: float, resolution: float, origin_y: float, sign: int
) -> tuple[float, float]:
    """Distances from ``y`` to the nearest line and the nearest edge on one side; -1 for none."""
    c = int(np.floor((y - origin_y) / resolution))
    to_line = -1.0
    for j in range(int(_EDGE_REACH_M / resolution)):
        cc = c + sign * j
        if cc < 0 or cc >= line.shape[1]:
            break
        away = abs(origin_y + (cc + 0.5) * resolution - y)
        if to_line < 0 and line[r, cc]:
            to_line = away
        if edge[r, cc]:  # on an edge itself there is no telling to which side it lies
            return to_line, away if j > 0 else -1.0
    return to_line, -1.0


@compiled
def _keep_off(error: float, left: float, right: float, keep: float) -> float:
    """Change a lateral step so that it keeps ``keep`` from the edges, or between them."""
    near_left = left >= 0 and left - error < keep
    near_right = right >= 0 and right + error < keep
    if near_left and near_right:
        return (left - right) / 2
    if near_left:
        return left - keep
    if near_right:
        return keep - right
    return error


@compiled
def _lane_error(left: float, right: float, width: float, fit_left: bool, fit_right: bool) -> float:
    """Lateral way to the middle of a lane of which one line or both are seen."""
    if fit_left and fit_right:
        return (left - right) / 2
    return left - width / 2 if fit_left else width / 2 - right


@compiled
def _edge_error(
    wide: float, share: float, same_road: bool, left: float, right: float, room_left: float,
    room_right: float,
) -> float:  # fmt: skip
    """Lateral way that keeps the share of the road's width, or the room to an edge seen alone."""
    if same_road:
        return share * wide - right
    if wide < 0 and right >= 0 and abs(right - room_right) < 0.4:
        return room_right - right
    if wide < 0 and left >= 0 and abs(left - room_left) < 0.4:
        return left - room_left
    return 0.0


@compiled
def march(
    line: Array, edge: Array, first_row: int, y: float, width: float, resolution: float,
    origin_y: float, edge_keep: float,
) -> tuple[Array, float]:  # fmt: skip
    """Lane centre per row from ``first_row`` on, and the lane's width; see ``corridor.trace``."""
    rows, cols = line.shape
    centre = np.zeros(rows)
    slope, road_width, share = 0.0, 0.0, 0.5
    room_left, room_right = -1.0, -1.0  # kept to an edge that is seen alone
    for r in range(first_row, rows):
        y += slope * resolution
        centre[r] = y
        if not origin_y + resolution < y < origin_y + (cols - 1) * resolution:
            continue
        left, left_edge = _look(line, edge, r, y, resolution, origin_y, 1)
        right, right_edge = _look(line, edge, r, y, resolution, origin_y, -1)
        fit_left = left >= 0 and abs(left - width / 2) < 0.8
        fit_right = right >= 0 and abs(right - width / 2) < 0.8
        wide = left_edge + right_edge if left_edge >= 0 and right_edge >= 0 else -1.0
        if wide > 0 and road_width == 0:
            road_width, share = wide, right_edge / wide
        same_road = wide > 0 and abs(wide - road_width) < 0.3 + 0.2 * road_width
        lines = fit_left or fit_right
        if lines:
            error = _lane_error(left, right, width, fit_left, fit_right)
        else:
            error = _edge_error(
                wide, share, same_road, left_edge, right_edge, room_left, room_right
            )
        if fit_left and fit_right:
            width = min(max(width + 0.05 * (left + right - width), 2.4), 4.5)
        if wide > 0 or lines or abs(left_edge - room_left) >= 0.4:
            room_left = left_edge
        if wide > 0 or lines or abs(right_edge - room_right) >= 0.4:
            room_right = right_edge
        if same_road:
            road_width += 0.1 * (wide - road_width)
            if lines:
                share += 0.1 * (right_edge / wide - share)
        # far away an edge of the picture is metres of ground: a lane does not jump with it
        most = 0.6 * min(1.0, _SURE_M / ((r + 0.5) * resolution))
        error = min(max(_keep_off(error, left_edge, right_edge, edge_keep), -most), most)
        y += 0.2 * error
        slope = min(max(slope + 0.01 * error / resolution, -1.0), 1.0)
        centre[r] = y
    return centre, width
