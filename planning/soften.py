"""Ways of arcs and straights made smooth, further from obstacles, and still drivable.

The points of the way are moved so that their third differences are small (penalised least
squares, Whittaker 1923), while points whose body is near an obstacle are pushed off it. The
stiffest result is taken that passes the exact check and keeps to the steering limit. Places
where it does not are held as they were found; where all fails, the whole way is.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled, run
from planning.footprint import Body, Field, clearance, corner_hits, far_enough, room

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

LENGTHS_M = (5.0, 2.5, 1.2)  # wiggles shorter than this are ironed out, from stiff to yielding
_ROUNDS = 5  # of pushing off and ironing
_TRIES = 4  # each with the places held that failed before
_LEAST = 12  # points of a stretch worth smoothing
_PUSH_WEIGHT = 4.0
_TETHER, _HELD = 1.0, 1e9


@compiled
def _near_at(field: Field, x: float, y: float) -> float:
    """Distance to the nearest obstacle's centre, between the four cells around."""
    rows, cols = field.near_m.shape
    fx = min(max(x / field.cell_m - 0.5, 0.0), cols - 1.001)
    fy = min(max(y / field.cell_m - 0.5, 0.0), rows - 1.001)
    c, r = int(fx), int(fy)
    fx, fy = fx - c, fy - r
    low = field.near_m[r, c] * (1 - fx) + field.near_m[r, c + 1] * fx
    high = field.near_m[r + 1, c] * (1 - fx) + field.near_m[r + 1, c + 1] * fx
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
def touching(field: Field, body: Body, poses: F64) -> Mask:
    """(n,) whether the body touches something at, or shortly before, (n, 3) poses of a curve."""
    far = far_enough(field, body)
    out = np.zeros(len(poses), np.bool_)
    for i in range(len(poses)):
        x, y, yaw = poses[i, 0], poses[i, 1], poses[i, 2]
        here = room(field, body, x, y, math.cos(yaw), math.sin(yaw))
        if here < 0:
            out[i] = True
        elif i > 0 and here < far:
            p = poses[i - 1]
            turn = (yaw - p[2]) * ((x - p[0]) * math.cos(yaw) + (y - p[1]) * math.sin(yaw))
            if abs(turn) > 1e-9 and corner_hits(
                field, body, p[0], p[1], math.cos(p[2]), math.sin(p[2]), x, y, math.cos(yaw),
                math.sin(yaw), turn,
            ):  # fmt: skip
                out[i] = True
    return out


@compiled
def _solve(bands: F64, sides: F64) -> None:
    """Solve a symmetric positive system in place: (n, 4) lower bands, (n, 2) right sides.

    Cholesky factors L D L' without filling in; both arrays are overwritten.
    """
    n = len(bands)
    for i in range(n):
        first, diagonal, x, y = max(0, i - 3), bands[i, 0], sides[i, 0], sides[i, 1]
        for j in range(first, i):
            value = bands[i, i - j]  # column d holds entry (i, i - d)
            for k in range(first, j):
                value -= bands[i, i - k] * bands[j, j - k] * bands[k, 0]
            value /= bands[j, 0]
            bands[i, i - j] = value
            diagonal -= value * value * bands[j, 0]
            x -= value * sides[j, 0]
            y -= value * sides[j, 1]
        bands[i, 0], sides[i, 0], sides[i, 1] = diagonal, x, y
    for i in range(n - 1, -1, -1):
        x, y = sides[i, 0] / bands[i, 0], sides[i, 1] / bands[i, 0]
        for j in range(i + 1, min(n, i + 4)):
            x -= bands[j, j - i] * sides[j, 0]
            y -= bands[j, j - i] * sides[j, 1]
        sides[i, 0], sides[i, 1] = x, y


@compiled
def _ironed(field: Field, body: Body, points: F64, held: Mask, way: float, reach: float,
            want_m: float) -> F64:  # fmt: skip
    """Smooth points but those ``held``; ``reach`` in steps between points."""
    n = len(points)
    c = (-1.0, 3.0, -3.0, 1.0)
    stiff = (reach / 2) ** 6 * _TETHER
    smooth = np.zeros((n, 4))  # lower bands of D'D, D the (n - 3, n) third difference
    for row in range(n - 3):
        for a in range(4):
            for b in range(a + 1):
                smooth[row + a, a - b] += stiff * c[a] * c[b]
    now, push, system = points.copy(), np.zeros((n, 3)), np.empty((n, 4))
    for _ in range(_ROUNDS):
        _push(field, body, now, way, want_m, push)
        system[:] = smooth
        for i in range(n):
            weight = _PUSH_WEIGHT * push[i, 2]
            if held[i]:
                system[i, 0] += _HELD
                for k in range(2):
                    now[i, k] = _HELD * points[i, k]
            else:
                system[i, 0] += _TETHER + weight
                for k in range(2):
                    now[i, k] = _TETHER * points[i, k] + weight * (now[i, k] + push[i, k])
        _solve(system, now)
        for i in range(n):
            if held[i]:
                now[i, 0], now[i, 1] = points[i, 0], points[i, 1]
    return now


def _poses_of(points: F64, first: F64, last: F64, way: float) -> tuple[F64, F64]:
    """(n, 3) poses along points from one pose to another, and the curvature of each step."""
    d = np.diff(points, axis=0)
    step = np.hypot(d[:, 0], d[:, 1])
    heading = np.unwrap(np.arctan2(d[:, 1] * way, d[:, 0] * way))
    heading += first[2] - math.remainder(first[2] - heading[0], 2 * math.pi) - heading[0]
    weight = step[:-1] / (step[:-1] + step[1:])
    yaw = np.empty(len(points))
    yaw[1:-1] = heading[:-1] + weight * np.diff(heading)
    yaw[0] = first[2]
    yaw[-1] = yaw[-2] + math.remainder(last[2] - yaw[-2], 2 * math.pi)
    return np.column_stack([points, yaw]), np.diff(yaw) / (step * way)


def _stretch(field: Field, body: Body, poses: F64, limit_1pm: float, want_m: float) -> F64:
    """Smooth (n, 5) poses driven in one direction; see ``soften``."""
    n, way = len(poses), float(poses[-1, 3])
    step_m = float(np.hypot(*(poses[1, :2] - poses[0, :2])))
    points = poses[:, :2].copy()
    for at, to, sign in ((0, 1, way), (n - 1, n - 2, -way)):  # leave and arrive as headed
        yaw = poses[at, 2]
        points[to] = points[at] + sign * step_m * np.array([math.cos(yaw), math.sin(yaw)])
    least = run(clearance, field, body, poses[:, :3], want_m / 2)
    for length_m in LENGTHS_M:
        held = np.zeros(n, np.bool_)
        held[[0, 1, -2, -1]] = True
        for _ in range(_TRIES):
            moved = run(_ironed, field, body, points, held, way, length_m / step_m, want_m)
            new, curvature = _poses_of(moved, poses[0], poses[-1], way)
            bad = run(touching, field, body, new)
            bad[1:] |= np.abs(curvature) > limit_1pm
            if not bad.any():
                break
            reach = round(length_m / step_m)
            for i in np.flatnonzero(bad):
                held[max(0, i - reach) : i + reach + 1] = True
        if not bad.any() and run(clearance, field, body, new, want_m / 2) >= least - 1e-3:
            out = poses.copy()
            out[:, :3] = new
            around = np.concatenate([curvature[:1], curvature, curvature[-1:]])
            out[:, 4] = (around[:-1] + around[1:]) / 2
            return out
    return poses


def soften(field: Field, body: Body, poses: F64, limit_1pm: float, want_m: float) -> F64:
    """Smooth the stretches between changes of direction; start, goal and changes stay in place.

    Args:
        poses: (n, 5) as of ``refine.lay_out``.
        limit_1pm: greatest curvature.
        want_m: room wanted beside the body, kept where there is no more.
    """
    if len(poses) < _LEAST:
        return poses
    out = poses.copy()
    cuts = np.flatnonzero(np.diff(poses[1:, 3]) != 0) + 1
    edges = [0, *cuts.tolist(), len(poses) - 1]
    for a, b in pairwise(edges):
        if b - a + 1 >= _LEAST:
            smooth = _stretch(field, body, poses[a : b + 1], limit_1pm, want_m)
            out[a if a == 0 else a + 1 : b + 1] = smooth[0 if a == 0 else 1 :]
    return out
