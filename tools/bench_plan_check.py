"""Judging driven paths, apart from the planner's own kernels: hits, steering, length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from planning.vehicle import Vehicle

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

FINE_M = 0.05
_CURVATURE_SLACK = 1.001  # rounding of differences


@dataclass(frozen=True)
class Judgement:
    """Of one path.

    Attributes:
        hits: poses at which the true rectangle touches an occupied cell or leaves the map.
        tight_share: share of the length steered more sharply than the vehicle can.
        length_m, clearance_m: of the path; to the nearest occupied cell, capped at 5 m.
        max_curvature_1pm: greatest change of heading per metre between poses.
    """

    hits: int
    tight_share: float
    length_m: float
    clearance_m: float
    max_curvature_1pm: float


def refined(poses: F64) -> F64:
    """(n, 3) poses at most ``FINE_M`` apart between (m, 4) poses, on the arc between each two."""
    out = [poses[0, :3]]
    for a, b in pairwise(poses):
        chord = math.hypot(b[0] - a[0], b[1] - a[1])
        turn = math.remainder(b[2] - a[2], 2 * math.pi)
        n = max(1, math.ceil(chord / FINE_M))
        t = np.arange(1, n + 1) / n
        if abs(turn) < 1e-6 or abs(turn) > 1.0:
            xy = a[:2] + t[:, None] * (b[:2] - a[:2])
        else:  # chords of an arc through both ends
            part = np.sin(t * turn / 2) / math.sin(turn / 2) * chord
            way = math.atan2(b[1] - a[1], b[0] - a[0]) - (1 - t) * turn / 2
            xy = a[:2] + np.column_stack([part * np.cos(way), part * np.sin(way)])
        out.extend(np.column_stack([xy, a[2] + t * turn]))
    return np.array(out).reshape(-1, 3)


def hits(occupied: Mask, cell_m: float, poses: F64, vehicle: Vehicle) -> Mask:
    """(n,) whether the rectangle at each pose overlaps a cell's square: separating axes."""
    return gaps(occupied, cell_m, poses, vehicle, 0.0)[0]


def gaps(
    occupied: Mask, cell_m: float, poses: F64, vehicle: Vehicle, reach_m: float
) -> tuple[Mask, float]:
    """Which poses touch, and the least distance to a cell within ``reach_m`` (else that)."""
    rows, cols = occupied.shape
    length = (vehicle.front_m + vehicle.rear_m) / 2
    width, half = vehicle.half_width_m, cell_m / 2
    out, least = np.zeros(len(poses), np.bool_), reach_m
    for i, (px, py, yaw) in enumerate(poses):
        c, s = math.cos(yaw), math.sin(yaw)
        x = px + (vehicle.front_m - vehicle.rear_m) / 2 * c
        y = py + (vehicle.front_m - vehicle.rear_m) / 2 * s
        ex, ey = abs(c) * length + abs(s) * width, abs(s) * length + abs(c) * width
        if x < ex or y < ey or x > cols * cell_m - ex or y > rows * cell_m - ey:
            out[i] = True
            continue
        r0, r1 = max(0, int((y - ey - least) / cell_m)), int((y + ey + least) / cell_m) + 1
        c0, c1 = max(0, int((x - ex - least) / cell_m)), int((x + ex + least) / cell_m) + 1
        r, k = np.nonzero(occupied[r0:r1, c0:c1])
        if not len(r):
            continue
        dx, dy = (k + c0 + 0.5) * cell_m - x, (r + r0 + 0.5) * cell_m - y
        u, v = dx * c + dy * s, dy * c - dx * s
        grow = half * (abs(c) + abs(s))
        apart = (np.abs(dx) >= ex + half) | (np.abs(dy) >= ey + half)
        apart |= (np.abs(u) >= length + grow) | (np.abs(v) >= width + grow)
        if not apart.all():
            out[i], least = True, 0.0
        elif reach_m > 0:
            least = min(least, _distance(dx, dy, c, s, length, width, half))
    return out, least


def _distance(
    dx: F64, dy: F64, c: float, s: float, length: float, width: float, half: float
) -> float:
    """Least distance between a rectangle at the origin and squares about (dx, dy)."""
    best = math.inf
    for a in (-1, 1):
        for b in (-1, 1):
            px, py = a * length * c - b * width * s, a * length * s + b * width * c
            ox, oy = np.abs(px - dx) - half, np.abs(py - dy) - half
            gap = np.hypot(np.maximum(ox, 0), np.maximum(oy, 0))
            qx, qy = dx + a * half, dy + b * half
            ou, ov = np.abs(qx * c + qy * s) - length, np.abs(qy * c - qx * s) - width
            gap = np.minimum(gap, np.hypot(np.maximum(ou, 0), np.maximum(ov, 0)))
            best = min(best, float(gap.min()))
    return best


def judge(
    occupied: Mask, cell_m: float, poses: F64, vehicle: Vehicle, with_changes: bool = True
) -> Judgement:
    """Judge (n, 4) poses: x, y, yaw, direction in which each is reached.

    Args:
        with_changes: whether the poses at which the direction changes are among them; where
            not, steering is not judged on the steps about a change.
    """
    step = np.hypot(*np.diff(poses[:, :2], axis=0).T)
    turn = np.diff(poses[:, 2])
    turn = np.abs(turn - 2 * math.pi * np.round(turn / (2 * math.pi)))
    curvature = turn / np.maximum(step, 1e-9)
    tight = curvature > vehicle.max_curvature_1pm * _CURVATURE_SLACK
    touch, least = gaps(occupied, cell_m, refined(poses), vehicle, 5.0)
    if not with_changes:
        changes = np.flatnonzero(np.diff(poses[1:, 3]) != 0)
        for at in (changes, changes + 1):
            tight[at], curvature[at] = False, 0.0
    total = float(step.sum())
    share = float(step[tight].sum()) / max(total, 1e-9)
    return Judgement(int(touch.sum()), share, total, least, float(curvature.max(initial=0.0)))


def as_driven(points: F64, spacing_m: float = 0.25) -> F64:
    """(n, 4) poses of a vehicle whose rear axle follows (m, 2) points, heading along them."""
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    keep = np.concatenate([[True], np.diff(s) > 1e-9])
    at = np.linspace(0, s[-1], max(2, math.ceil(s[-1] / spacing_m) + 1))
    xy = np.column_stack([np.interp(at, s[keep], points[keep, i]) for i in (0, 1)])
    d = np.gradient(xy, axis=0)
    yaw = np.arctan2(d[:, 1], d[:, 0])
    return np.column_stack([xy, yaw, np.ones(len(xy))])
