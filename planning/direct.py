"""The way down the cost to go, pulled taut and made smooth: most roads need no search.

Of all ways around the obstacles the cheapest one over blocks of cells is laid out, cut straight
where nothing is in between, and let settle as an elastic band, coarsely and then finely. It is
taken only if every pose of it passes the exact check, no steering is sharper than the limit,
and it costs no more than a search would be content with.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from planning.cost_to_go import estimate, penalty
from planning.elastic import poses_along, settled
from planning.footprint import Body, Field, touches_between
from planning.lattice import Rules

F64 = NDArray[np.float64]

_STEP_BINS = 1.5  # bins of the search between coarse points
_REACH = (1.35, 0.9)  # turning radii, coarse and fine: wiggles shorter than this are ironed out
_ROUNDS, _PULL, _TETHER = (6, 2), (0.03, 0.01), 0.1
_ROOM_SHARE, _MOST_ROOM = 0.6, 0.5  # of ``Rules.soft_m`` wanted beside the body; half widths
_LEAST = 12  # points worth it
_SLACK = 0.25  # of a block: so exact are costs to go
_HOPELESS = 1.5  # times the limit: not ironed out by finer steps
_SPARE = 0.95  # of the wanted step: points drift apart a little


@compiled
def _downhill(to_go: F64, side: float, start: F64, goal: F64) -> F64:
    """(n, 2) from start to goal over centres of blocks, always the steepest way down."""
    at = np.array([int(start[1] / side) + 1, int(start[0] / side) + 1])
    end = np.array([int(goal[1] / side) + 1, int(goal[0] / side) + 1])
    out = np.empty((to_go.size + 2, 2))
    out[0, 0], out[0, 1] = start[0], start[1]
    n = 1
    while (at != end).any():
        best, r, c = 0.0, 0, 0
        here = to_go[at[0], at[1]]
        for i in range(-1, 2):
            for j in range(-1, 2):
                drop = here - to_go[at[0] + i, at[1] + j]
                if i != 0 and j != 0:
                    drop *= math.sqrt(0.5)
                if drop > best:
                    best, r, c = drop, i, j
        if best == 0.0:
            return out[:0].copy()
        at[0] += r
        at[1] += c
        out[n, 0], out[n, 1] = (at[1] - 0.5) * side, (at[0] - 0.5) * side
        n += 1
    out[n, 0], out[n, 1] = goal[0], goal[1]
    return out[: n + 1].copy()


@compiled
def _cheap(field: Field, rules: Rules, disc_m: float, a: F64, b: F64, limit: float) -> bool:
    """Whether a disc drives straight from a to b for at most ``limit``."""
    n = int(math.hypot(b[0] - a[0], b[1] - a[1]) / field.cell_m) + 1
    step = math.hypot(b[0] - a[0], b[1] - a[1]) / n
    total = 0.0
    for i in range(n):
        t = (i + 0.5) / n
        # the centre of a block that reaches over the border may lie outside
        r = min(int((a[1] + t * (b[1] - a[1])) / field.cell_m), field.near_m.shape[0] - 1)
        c = min(int((a[0] + t * (b[0] - a[0])) / field.cell_m), field.near_m.shape[1] - 1)
        near = field.near_m[r, c]
        if near < disc_m:
            return False
        more = penalty(near - 0.5 * field.cell_m - disc_m, rules.soft_m, rules.soft_weight)
        total += step * (1.0 + more + field.extra[r, c])
        if total > limit:
            return False
    return True


@compiled
def _taut(field: Field, rules: Rules, disc_m: float, to_go: F64, points: F64) -> F64:
    """The corners of a way down that stay when straights take the place of what costs more."""
    n = len(points)
    left = np.empty(n)
    for k in range(n):
        left[k] = estimate(to_go, rules.block_m, points[k, 0], points[k, 1])
    left[-1] = 0.0
    out = np.empty((n, 2))
    out[0, 0], out[0, 1] = points[0, 0], points[0, 1]
    used, i = 1, 0
    while i < n - 1:
        j = n - 1
        while j > i + 1 and not _cheap(
            field, rules, disc_m, points[i], points[j], left[i] - left[j] + _SLACK * rules.block_m
        ):
            j = i + max(1, (j - i) * 3 // 4)
        out[used, 0], out[used, 1] = points[j, 0], points[j, 1]
        used, i = used + 1, j
    return out[:used].copy()


@compiled
def _spaced(points: F64, step: float, start: F64, goal: F64) -> F64:
    """Points along a line at most ``step`` apart; the second and the last but one as headed."""
    n = len(points)
    s = np.zeros(n)
    for i in range(1, n):
        d = math.hypot(points[i, 0] - points[i - 1, 0], points[i, 1] - points[i - 1, 1])
        s[i] = s[i - 1] + d
    m = math.ceil(s[-1] / step) + 1
    if m < _LEAST:
        return np.empty((0, 2))
    out = np.empty((m, 2))
    k, ds = 0, s[-1] / (m - 1)
    for i in range(m):
        while k < n - 2 and s[k + 1] < i * ds:
            k += 1
        t = (i * ds - s[k]) / max(s[k + 1] - s[k], 1e-9)
        for axis in range(2):
            out[i, axis] = points[k, axis] + t * (points[k + 1, axis] - points[k, axis])
    out[0, 0], out[0, 1] = start[0], start[1]
    out[-1, 0], out[-1, 1] = goal[0], goal[1]
    out[1, 0], out[1, 1] = start[0] + ds * math.cos(start[2]), start[1] + ds * math.sin(start[2])
    out[-2, 0], out[-2, 1] = goal[0] - ds * math.cos(goal[2]), goal[1] - ds * math.sin(goal[2])
    return out


@compiled
def _cost(field: Field, body: Body, rules: Rules, poses: F64, step_m: float) -> float:
    """Cost of driving (n, 3) poses as the search counts it; inf where the body touches, or two are
    further apart than ``step_m``."""
    total = 0.0
    for i in range(len(poses)):
        near = touches_between(field, body, poses, i)
        if near < 0:
            return math.inf
        if i > 0:
            x, y = poses[i, 0], poses[i, 1]
            step = math.hypot(x - poses[i - 1, 0], y - poses[i - 1, 1])
            if step > step_m:
                return math.inf
            more = field.extra[int(y / field.cell_m), int(x / field.cell_m)]
            clear = near - 0.5 * field.cell_m - body.half_width_m
            more += penalty(clear, rules.soft_m, rules.soft_weight)
            total += (1.0 + more) * step
    return total


@compiled
def direct_way(field: Field, body: Body, rules: Rules, disc_m: float, to_go: F64, start: F64,
               goal: F64, step_m: float, limit_1pm: float) -> F64:  # fmt: skip
    """(n, 5) x, y, yaw, direction and curvature of a proved way, none where this finds none.

    Args:
        disc_m, to_go: of ``cost_to_go``.
        start, goal: (3,) poses; the way begins and ends at them.
        step_m: greatest distance between poses.
        limit_1pm: greatest curvature.
    """
    none = np.empty((0, 5))
    way = _downhill(to_go, rules.block_m, start, goal)
    if len(way) == 0:
        return none
    way = _taut(field, rules, disc_m, to_go, way)
    want_m = min(_ROOM_SHARE * rules.soft_m, _MOST_ROOM * body.half_width_m)
    poses, curvature = none, np.empty(0)
    for fine in range(2):
        way = _spaced(way, _SPARE * step_m if fine else _STEP_BINS * rules.bin_m, start, goal)
        if len(way) == 0:
            return none
        held = np.zeros(len(way), np.bool_)
        held[:2], held[-2:] = True, True
        step = math.hypot(way[1, 0] - way[0, 0], way[1, 1] - way[0, 1])
        drift = step > 0.0  # not just True: numba would compile all again for a constant
        way = settled(
            field, body, way, held, 1.0, _REACH[fine] / rules.curvature / step, _PULL[fine],
            _TETHER, drift, want_m, _ROUNDS[fine],
        )  # fmt: skip
        poses, curvature = poses_along(way, start, goal, 1.0)
        if np.abs(curvature).max() > limit_1pm * (1.0 if fine else _HOPELESS):
            return none
    good = rules.greed * estimate(to_go, rules.block_m, start[0], start[1])
    if not _cost(field, body, rules, poses, step_m) <= good:
        return none
    out = np.empty((len(poses), 5))
    for i in range(len(poses)):
        for k in range(3):
            out[i, k] = poses[i, k]
        out[i, 3] = 1.0
        out[i, 4] = (curvature[max(i - 1, 0)] + curvature[min(i, len(curvature) - 1)]) / 2
    return out
