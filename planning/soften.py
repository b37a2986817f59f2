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
from planning.elastic import poses_along, settled
from planning.footprint import Body, Field, clearance, touches_between

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

LENGTHS_M = (5.0, 2.5, 1.2)  # wiggles shorter than this are ironed out, from stiff to yielding
_ROUNDS = 5  # of pushing off and ironing
_TRIES = 4  # each with the places held that failed before
_LEAST = 12  # points of a stretch worth smoothing


@compiled
def touching(field: Field, body: Body, poses: F64) -> Mask:
    """(n,) whether the body touches something at, or shortly before, (n, 3) poses of a curve."""
    out = np.zeros(len(poses), np.bool_)
    for i in range(len(poses)):
        out[i] = touches_between(field, body, poses, i) < 0
    return out


def _filled(poses: F64, most_m: float) -> F64:
    """(n, 5) poses driven in one direction, with others on the arcs between two that are further
    apart than ``most_m``."""
    ahead = np.diff(poses[:, :2], axis=0)
    turn, gap_m = np.diff(poses[:, 2]), np.hypot(*ahead.T)
    parts = np.where(gap_m > most_m, np.ceil(gap_m * np.hypot(1.0, turn / 2) / most_m), 1)
    i = np.repeat(np.arange(len(parts)), parts.astype(int))
    t = ((np.arange(len(i)) - np.searchsorted(i, i) + 1) / parts[i])[:, None]
    out = (1 - t) * poses[i] + t * poses[i + 1]
    across = ahead[i, ::-1] * (-1.0, 1.0)  # to the left of the way, which bulges to the right
    out[:, :2] -= t * (1 - t) / 2 * turn[i, None] * across
    out[:, 3] = poses[i + 1, 3]
    return np.concatenate([poses[:1], out])


def _stretch(
    field: Field, body: Body, poses: F64, limit_1pm: float, want_m: float, most_m: float
) -> F64:
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
            reach = length_m / step_m
            moved = run(
                settled, field, body, points, held, way, reach, 0.0, 1.0, False, want_m, _ROUNDS
            )
            new, curvature = run(poses_along, moved, poses[0, :3], poses[-1, :3], way)
            bad = run(touching, field, body, new)
            bad[1:] |= np.abs(curvature) > limit_1pm
            if not bad.any():
                break
            near = round(reach)
            for i in np.flatnonzero(bad):
                held[max(0, i - near) : i + near + 1] = True
        if bad.any():
            continue
        around = np.concatenate([curvature[:1], curvature, curvature[-1:]])
        out = np.column_stack([new, poses[:, 3], (around[:-1] + around[1:]) / 2])
        out = _filled(out, most_m)
        new = np.ascontiguousarray(out[:, :3])
        clear = run(clearance, field, body, new, want_m / 2) >= least - 1e-3
        if clear and not run(touching, field, body, new).any():
            return out
    return poses


def soften(
    field: Field, body: Body, poses: F64, limit_1pm: float, want_m: float, most_m: float
) -> F64:
    """Smooth the stretches between changes of direction; start, goal and changes stay in place.

    Args:
        poses: (n, 5) as of ``refine.lay_out``.
        limit_1pm: greatest curvature.
        want_m: room wanted beside the body, kept where there is no more.
        most_m: greatest distance between poses; where smoothing stretches a way, there are more.
    """
    if len(poses) < _LEAST:
        return poses
    parts = [poses[:1]]
    cuts = np.flatnonzero(np.diff(poses[1:, 3]) != 0) + 1
    edges = [0, *cuts.tolist(), len(poses) - 1]
    for a, b in pairwise(edges):
        part = poses[a : b + 1]
        if len(part) >= _LEAST:
            part = _stretch(field, body, part, limit_1pm, want_m, most_m)
        parts.append(part[1:])
        if a == 0:
            parts[0] = part[:1]
    return np.concatenate(parts)
