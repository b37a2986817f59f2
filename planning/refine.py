"""A found way made shorter: cut short by Dubins or Reeds-Shepp curves, and laid out in poses.

A way is (n, 2): curvature (1/m) and signed length (m) of arcs that follow one another.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from planning.cost_to_go import penalty
from planning.curves import PARTS
from planning.footprint import Body, Field, room
from planning.lattice import Rules, join

F64 = NDArray[np.float64]


@compiled
def advance(pose: F64, curvature: float, length: float) -> None:
    """Move a pose (x, y, yaw) along an arc."""
    half = curvature * length / 2
    chord = length if abs(half) < 1e-9 else length * math.sin(half) / half
    pose[0] += chord * math.cos(pose[2] + half)
    pose[1] += chord * math.sin(pose[2] + half)
    pose[2] += 2 * half


@compiled
def _pieces(way: F64, step: float) -> F64:
    """The same way in arcs of at most ``step``; joints without length left out."""
    n = 0
    for i in range(len(way)):
        n += math.ceil(abs(way[i, 1]) / step - 1e-9)
    out = np.empty((n, 2))
    n = 0
    for i in range(len(way)):
        k = math.ceil(abs(way[i, 1]) / step - 1e-9)
        for _ in range(k):
            out[n, 0], out[n, 1] = way[i, 0], way[i, 1] / k
            n += 1
    return out


@compiled
def _knots(field: Field, body: Body, rules: Rules, start: F64, pieces: F64) -> tuple[F64, F64]:
    """Poses between the pieces, and the cost of the way up to them as ``join`` counts it."""
    n = len(pieces)
    poses, cost = np.empty((n + 1, 3)), np.zeros(n + 1)
    for k in range(3):
        poses[0, k] = start[k]
    for i in range(n):
        for k in range(3):
            poses[i + 1, k] = poses[i, k]
        advance(poses[i + 1], pieces[i, 0], pieces[i, 1])
        x, y, yaw = poses[i + 1]
        near = room(field, body, x, y, math.cos(yaw), math.sin(yaw))
        clear = near - 0.5 * field.cell_m - body.half_width_m
        r = min(max(int(y / field.cell_m), 0), field.extra.shape[0] - 1)
        c = min(max(int(x / field.cell_m), 0), field.extra.shape[1] - 1)
        more = penalty(clear, rules.soft_m, rules.soft_weight) + field.extra[r, c]
        more += rules.reverse_weight if pieces[i, 1] < 0 else 1.0
        cost[i + 1] = cost[i] + more * abs(pieces[i, 1])
        if i > 0 and pieces[i, 1] * pieces[i - 1, 1] < 0:
            cost[i + 1] += rules.gear_m
    return poses, cost


@compiled
def cut_short(field: Field, body: Body, rules: Rules, start: F64, way: F64,
              step: float) -> F64:  # fmt: skip
    """Replace stretches of a way by cheaper curves, the longest that fit first.

    Args:
        step: between places at which curves may begin and end.
    """
    pieces = _pieces(way, step)
    n = len(pieces)
    poses, cost = _knots(field, body, rules, start, pieces)
    out = np.empty((PARTS * n + 1, 2))
    curve = np.empty((PARTS, 2))
    used, i = 0, 0
    while i < n:
        j, done = n, False
        while j > i + 1:
            limit = cost[j] - cost[i] - 1e-3
            # no curve is shorter than the straight line
            apart = math.hypot(poses[j, 0] - poses[i, 0], poses[j, 1] - poses[i, 1])
            if apart < limit and join(field, body, rules, poses[i], poses[j], limit, curve) < limit:
                for p in range(PARTS):
                    if abs(curve[p, 1]) > 1e-9:
                        out[used, 0], out[used, 1] = curve[p, 0], curve[p, 1]
                        used += 1
                i, done = j, True
                break
            j = i + max(1, (j - i) * 2 // 3)
        if not done:
            out[used, 0], out[used, 1] = pieces[i, 0], pieces[i, 1]
            used, i = used + 1, i + 1
    return out[:used].copy()


@compiled
def lay_out(start: F64, way: F64, step: float) -> F64:
    """Poses along a way: (n, 5) x, y, yaw, direction, curvature, evenly spaced between changes
    of direction, at most ``step`` apart. A pose has the direction in which it is reached.
    """
    total = 1
    i = 0
    while i < len(way):
        j, length = i, 0.0
        while j < len(way) and way[j, 1] * way[i, 1] > 0:
            length += abs(way[j, 1])
            j += 1
        total += math.ceil(length / step - 1e-9)
        i = max(j, i + 1)
    out = np.empty((total, 5))
    pose = start.copy()
    out[0, 0], out[0, 1], out[0, 2], out[0, 3], out[0, 4] = pose[0], pose[1], pose[2], 1.0, 0.0
    n, i = 1, 0
    while i < len(way):
        j, length = i, 0.0
        while j < len(way) and way[j, 1] * way[i, 1] > 0:
            length += abs(way[j, 1])
            j += 1
        count = math.ceil(length / step - 1e-9)
        sign = 1.0 if way[i, 1] > 0 else -1.0
        ds, left = (length / count if count else 0.0), abs(way[i, 1])
        for _ in range(count):
            todo = ds
            while todo > left and i < j - 1:
                advance(pose, way[i, 0], sign * left)
                todo -= left
                i += 1
                left = abs(way[i, 1])
            advance(pose, way[i, 0], sign * todo)
            left -= todo
            out[n, 0], out[n, 1], out[n, 2], out[n, 3] = pose[0], pose[1], pose[2], sign
            out[n, 4] = way[i, 0]
            n += 1
        i = max(j, i + 1)
    if total > 1:
        out[0, 3], out[0, 4] = out[1, 3], way[0, 0]
    return out
