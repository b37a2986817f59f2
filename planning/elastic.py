"""A way held like an elastic band: stiff, taut, pushed off what is near its body.

Quinlan and Khatib, "Elastic bands: connecting path planning and control", 1993, with third
differences for the stiffness (penalised least squares, Whittaker 1923), so that straights and
steady turns cost nothing. Compiled kernels; nothing here proves that the result can be driven.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from planning.footprint import Body, Field

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

_PUSH_WEIGHT = 4.0
_HELD = 1e9


@compiled
def _near_at(field: Field, x: float, y: float) -> float:
    """Distance to the nearest obstacle's centre, between the four cells around."""
    rows, cols = field.near_m.shape
    fx = max(min(x / field.cell_m - 0.5, cols - 1.001), 0.0)
    fy = max(min(y / field.cell_m - 0.5, rows - 1.001), 0.0)
    c, r = int(fx), int(fy)
    fx, fy = fx - c, fy - r
    right, below = min(c + 1, cols - 1), min(r + 1, rows - 1)  # a field may be a cell wide
    low = field.near_m[r, c] * (1 - fx) + field.near_m[r, right] * fx
    high = field.near_m[below, c] * (1 - fx) + field.near_m[below, right] * fx
    return float(low * (1 - fy) + high * fy)


@compiled
def _push(field: Field, body: Body, points: F64, way: float, want_m: float, out: F64) -> None:
    """(n, 3) into ``out``: the move that would clear each point's body, and 1 where there is one.

    ``way`` is 1 or -1, the direction in which the points are driven.
    """
    cell, n = field.cell_m, len(points)
    for i in range(n):
        a, b = max(i - 1, 0), min(i + 1, n - 1)
        dx, dy = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
        norm = max(math.hypot(dx, dy), 1e-9) * way
        dx, dy = dx / norm, dy / norm
        worst, wx, wy = 1e9, 0.0, 0.0
        for k in range(-1, 2):
            ahead = body.middle_m + k * 2 / 3 * body.half_length_m
            x, y = points[i, 0] + ahead * dx, points[i, 1] + ahead * dy
            near = _near_at(field, x, y)
            if near < worst:
                worst, wx, wy = near, x, y
        out[i, 0], out[i, 1], out[i, 2] = 0.0, 0.0, 0.0
        lack = want_m - (worst - 0.5 * cell - body.half_width_m)
        if lack > 0:
            gx = _near_at(field, wx + cell, wy) - _near_at(field, wx - cell, wy)
            gy = _near_at(field, wx, wy + cell) - _near_at(field, wx, wy - cell)
            across = -gx * dy + gy * dx  # only sideways: along the way nothing is gained
            norm = max(math.hypot(gx, gy), 1e-9)
            move = min(lack, 0.5) * across / norm
            out[i, 0], out[i, 1], out[i, 2] = -dy * move, dx * move, 1.0


@compiled
def _solve(bands: F64, sides: F64) -> None:
    """Solve a symmetric positive system in place: (n, 4) lower bands, column d with the entries
    (i, i - d), none left of the first column; (n, 2) right sides.

    Cholesky factors L D L' without filling in; both arrays are overwritten.
    """
    n = len(bands)
    d1 = d2 = d3 = 1.0  # of D, and x, y solved so far: one, two, three rows before
    x1 = x2 = x3 = y1 = y2 = y3 = 0.0
    a1 = a2 = b1 = 0.0  # of L, one and two to the left of the diagonal
    for i in range(n):
        c = bands[i, 3]
        b = bands[i, 2] - c * a2
        a = bands[i, 1] - c * b1 - b * a1
        d = bands[i, 0]
        c, cd, b, bd, a, ad = c / d3, c, b / d2, b, a / d1, a
        d -= a * ad + b * bd + c * cd
        x = sides[i, 0] - a * x1 - b * x2 - c * x3
        y = sides[i, 1] - a * y1 - b * y2 - c * y3
        bands[i, 0], bands[i, 1], bands[i, 2], bands[i, 3] = d, a, b, c
        sides[i, 0], sides[i, 1] = x, y
        d3, d2, d1, x3, x2, x1, y3, y2, y1 = d2, d1, d, x2, x1, x, y2, y1, y
        a2, a1, b1 = a1, a, b
    # now of the rows one, two, three further: x, y, and a, b, c that reach back to this row
    x1 = x2 = x3 = y1 = y2 = y3 = a = b1 = b = c1 = c2 = c = 0.0
    for i in range(n - 1, -1, -1):
        d = bands[i, 0]
        x = sides[i, 0] / d - a * x1 - b * x2 - c * x3
        y = sides[i, 1] / d - a * y1 - b * y2 - c * y3
        sides[i, 0], sides[i, 1] = x, y
        x3, x2, x1, y3, y2, y1 = x2, x1, x, y2, y1, y
        a, b, b1, c, c2, c1 = bands[i, 1], b1, bands[i, 2], c2, c1, bands[i, 3]


@compiled
def settled(field: Field, body: Body, points: F64, held: Mask, way: float, reach: float,
            pull: float, tether: float, drift: bool, want_m: float,
            rounds: int) -> F64:  # fmt: skip
    """Where (n, 2) points come to lie; those ``held`` (n,) stay.

    Args:
        way: 1 or -1, the direction in which they are driven.
        reach: wiggles shorter than so many steps between points are ironed out.
        pull: of the points on their neighbours: what is taut is short.
        tether: of a point to where it was given, or, with ``drift``, to where it came in the
            round before.
        want_m: room wanted beside the body.
    """
    n = len(points)
    c = (-1.0, 3.0, -3.0, 1.0)
    stiff, tight = (reach / 2) ** 6, pull * reach**2
    smooth = np.zeros((n, 4))  # lower bands of D'D, D the third and the first differences
    for row in range(n - 3):
        for a in range(4):
            for b in range(a + 1):
                smooth[row + a, a - b] += stiff * c[a] * c[b]
    for row in range(n - 1):
        smooth[row, 0] += tight
        smooth[row + 1, 0] += tight
        smooth[row + 1, 1] -= tight
    now, push, system = points.copy(), np.zeros((n, 3)), np.empty((n, 4))
    for _ in range(rounds):
        _push(field, body, now, way, want_m, push)
        for i in range(n):
            for k in range(4):
                system[i, k] = smooth[i, k]
            weight = _PUSH_WEIGHT * push[i, 2]
            system[i, 0] += _HELD if held[i] else tether + weight
            for k in range(2):
                if held[i]:
                    now[i, k] = _HELD * points[i, k]
                else:
                    home = now[i, k] if drift else points[i, k]
                    now[i, k] = tether * home + weight * (now[i, k] + push[i, k])
        _solve(system, now)
        for i in range(n):
            if held[i]:
                now[i, 0], now[i, 1] = points[i, 0], points[i, 1]
    return now


@compiled
def poses_along(points: F64, first: F64, last: F64, way: float) -> tuple[F64, F64]:
    """(n, 3) poses along (n, 2) points from one pose to another, and the curvature (n - 1,) of
    each step; headings turn on without a jump from ``first``."""
    n = len(points)
    poses, curvature, step = np.empty((n, 3)), np.empty(n - 1), np.empty(n - 1)
    heading, turn = first[2], 0.0
    for i in range(n - 1):
        dx, dy = points[i + 1, 0] - points[i, 0], points[i + 1, 1] - points[i, 1]
        step[i] = math.hypot(dx, dy)
        new = math.atan2(dy * way, dx * way)
        turn = new - heading
        turn -= 2 * math.pi * np.round(turn / (2 * math.pi))
        if i > 0:
            poses[i, 2] = heading + turn * step[i - 1] / (step[i - 1] + step[i])
        heading += turn
    for i in range(n):
        poses[i, 0], poses[i, 1] = points[i, 0], points[i, 1]
    poses[0, 2] = first[2]
    turn = last[2] - poses[n - 2, 2]
    poses[n - 1, 2] = poses[n - 2, 2] + turn - 2 * math.pi * np.round(turn / (2 * math.pi))
    for i in range(n - 1):
        curvature[i] = (poses[i + 1, 2] - poses[i, 2]) / (step[i] * way)
    return poses, curvature
