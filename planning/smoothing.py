"""Cell paths to smooth, evenly spaced curves that still avoid what cannot be driven."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from data.types import CostGrid

F64 = NDArray[np.float64]

# Weights of the curve's bending, from stiff to yielding: the stiffest that clears everything
# is taken. With points every 0.5 m, 2000 irons out wiggles shorter than about 20 m.
STIFFNESS = (2000.0, 500.0, 100.0, 20.0, 4.0)


_DECIMETRE_M = 0.1


@dataclass(frozen=True, eq=False)
class Curve:
    """Points of the rear axle, (n,) each: x, y, yaw, curvature, and arc length from the start."""

    x_m: F64
    y_m: F64
    yaw_rad: F64
    curvature_1pm: F64
    s_m: F64

    def __len__(self) -> int:
        return len(self.x_m)

    def cut(self, n: int) -> Curve:
        """The first ``n`` points."""
        return Curve(
            self.x_m[:n], self.y_m[:n], self.yaw_rad[:n], self.curvature_1pm[:n], self.s_m[:n]
        )

    def until(self, s_m: float) -> Curve:
        """The points up to a station, with one at it unless the last is within a decimetre."""
        n = int(np.searchsorted(self.s_m, max(s_m, 0.0) + 1e-9))
        if n == 0 or n == len(self) or s_m - self.s_m[n - 1] < _DECIMETRE_M:
            return self.cut(n)
        arrays = (self.x_m, self.y_m, self.yaw_rad, self.curvature_1pm, self.s_m)
        return Curve(*(np.append(a[:n], np.interp(s_m, self.s_m, a)) for a in arrays))


def resample(xy_m: F64, step_m: float) -> F64:
    """Points every ``step_m`` of arc length along a polyline; a last shorter bit is left out."""
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy_m, axis=0).T))])
    at = np.arange(0.0, s[-1] + 1e-9, step_m)
    return np.column_stack([np.interp(at, s, xy_m[:, 0]), np.interp(at, s, xy_m[:, 1])])


def curve_of(xy_m: F64) -> Curve:
    """Heading and curvature by central differences; the start keeps the vehicle's heading."""
    x, y = xy_m[:, 0], xy_m[:, 1]
    step = np.hypot(np.diff(x), np.diff(y))
    s = np.concatenate([[0.0], np.cumsum(step)])
    if len(x) < 3:
        zero = np.zeros(len(x))
        return Curve(x, y, zero, zero, s)
    step = np.diff(s)
    share = _shares(step)
    yaw = np.arctan2(_slope(y, step, share), _slope(x, step, share))
    if np.abs(np.diff(yaw)).max() >= math.pi:
        yaw = np.unwrap(yaw)
    yaw[0] = 0.0
    return Curve(x, y, yaw, _slope(yaw, step, share), s)


def _shares(step: F64) -> tuple[F64, F64, F64]:
    """Weights of the point before, the point and the point behind in its derivative (the parabola
    through three points), for the (n - 1,) distances between n points."""
    before, behind = step[:-1], step[1:]
    both = before + behind
    return (
        -behind / (before * both),
        (behind - before) / (before * behind),
        before / (behind * both),
    )


def _slope(value: F64, step: F64, shares: tuple[F64, F64, F64]) -> F64:
    """Derivative by arc length, as ``numpy.gradient`` does, of which three are taken here."""
    a, b, c = shares
    out = np.empty_like(value)
    out[1:-1] = a * value[:-2] + b * value[1:-1] + c * value[2:]
    out[0] = (value[1] - value[0]) / step[0]
    out[-1] = (value[-1] - value[-2]) / step[-1]
    return out


def bend(xy_m: F64, stiffness: float, weight: F64, step_m: float) -> F64:
    """Penalised least squares (Whittaker 1923): near the points, with small second differences.

    The first two points are held at (0, 0) and (step, 0): the rear axle now, heading along x.

    Args:
        xy_m: (n, 2), evenly spaced, n >= 4; weight: (n,) pull of each point.
    """
    n = len(xy_m)
    w = weight.copy()
    w[:2] = 1e7
    target = xy_m.copy()
    target[:2] = ((0.0, 0.0), (step_m, 0.0))
    # Upper bands of diag(w) + stiffness * D'D, D the (n-2, n) second difference.
    bands = np.zeros((3, n))
    for a, ca in enumerate((1.0, -2.0, 1.0)):
        for b, cb in enumerate((1.0, -2.0, 1.0)):
            if b >= a:
                bands[2 - (b - a), b : n - 2 + b] += stiffness * ca * cb
    bands[2] += w
    out = np.asarray(solveh_banded(bands, target * w[:, None], check_finite=False))
    out[:2] = target[:2]  # exactly, not by weight alone
    return out


def first_blocked(grid: CostGrid, curve: Curve) -> int:
    """Index of the first point on a cell that cannot be driven; len(curve) if there is none."""
    xy_m = np.column_stack([curve.x_m, curve.y_m])
    r, c = np.floor((xy_m - grid.origin_m) / grid.resolution_m).astype(np.int64).T
    rows, cols = grid.cost.shape
    inside = (r >= 0) & (r < rows) & (c >= 0) & (c < cols)
    ok = inside.copy()
    ok[inside] = np.isfinite(grid.cost[r[inside], c[inside]])
    bad = np.flatnonzero(~ok[1:]) + 1  # the rear axle itself is where it is
    return int(bad[0]) if len(bad) else len(xy_m)


def moved(curve: Curve, along_m: float, turn_rad: float) -> Curve:
    """The part of a curve that lies ahead, seen from a vehicle that drove ``along_m`` and turned
    by ``turn_rad`` on an arc."""
    half = turn_rad / 2
    x0, y0 = along_m * math.cos(half), along_m * math.sin(half)
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    dx, dy = curve.x_m - x0, curve.y_m - y0
    keep = np.flatnonzero(dx * cos + dy * sin >= -0.5)
    first = int(keep[0]) if len(keep) else len(curve)
    x, y = (dx * cos + dy * sin)[first:], (dy * cos - dx * sin)[first:]
    s = curve.s_m[first:] - (curve.s_m[first] if first < len(curve) else 0.0)
    return Curve(x, y, curve.yaw_rad[first:] - turn_rad, curve.curvature_1pm[first:], s)


_FADE_M = 9.0  # about the old curve's end
_LEAD_IN_M = 5.0
Proof = Callable[[Curve], int]


def sharp_from(curve: Curve, max_curvature_1pm: float) -> int:
    """Index of the first point that cannot be steered; len(curve) if there is none."""
    sharp = np.flatnonzero(np.abs(curve.curvature_1pm) > max_curvature_1pm)
    return int(sharp[0]) if len(sharp) else len(curve)


def smooth_path(cells_m: F64, step_m: float, blind_m: float, proof: Proof) -> tuple[Curve, Curve]:
    """Smooth a path of cell centres (n, 2) into a curve from (0, 0) along +x.

    Of ``STIFFNESS`` the first is taken of which ``proof``, which tells the first point that
    fails, lets all points pass; when it lets none, the longest part that passes. Points on the
    unseen ground before ``blind_m`` hardly pull, and those just behind it little, so that the way
    into the lane's middle is a gentle one.

    Returns:
        The curve that passes, and the whole curve it is a part of.
    """
    line = resample(np.vstack([[(0.0, 0.0)], cells_m]), step_m)
    best = whole = curve_of(line[:1])
    if len(line) < 4:
        return best, whole
    weight = np.clip((line[:, 0] - blind_m + 2.0) / 10.0, 0.02, 1.0)
    for stiffness in STIFFNESS:
        curve = curve_of(resample(bend(line, stiffness, weight, step_m), step_m))
        n = proof(curve)
        if n == len(curve):
            return curve, curve
        if n > len(best):
            best, whole = curve.cut(n), curve
    return best, whole


def blend(new: Curve, old: Curve, share: float, step_m: float, proof: Proof) -> Curve:
    """Pull a curve towards the last frame's at equal x by ``share``, to calm flicker.

    Differences beyond 0.4 m near and 2 m at 40 m are news, not noise, and count less and less:
    far away a small angle moves a path by much. The new curve is kept as it is where ``proof``
    does not let the blended one pass.
    """
    if len(new) < 4 or len(old) < 4 or (np.diff(old.x_m) <= 0).any():
        return new
    end = float(old.x_m[-1])
    slope = (old.y_m[-1] - old.y_m[-3]) / (old.x_m[-1] - old.x_m[-3])
    goes_on = old.y_m[-1] + slope * (new.x_m - end)
    was = np.where(new.x_m <= end, np.interp(new.x_m, old.x_m, old.y_m), goes_on)
    gap = was - new.y_m
    t = np.clip((new.x_m - end + _FADE_M / 3) / _FADE_M, 0.0, 1.0)
    gap *= 1 - t * t * (3 - 2 * t)  # no kink where the old curve ends
    t = np.clip(new.x_m / _LEAD_IN_M, 0.0, 1.0)
    gap *= t * t * (3 - 2 * t)  # the vehicle is where it is, however the old curve went
    news_m = 0.4 + 0.04 * new.x_m
    pull = share * gap / (1 + (gap / news_m) ** 4)
    mixed = curve_of(resample(np.column_stack([new.x_m, new.y_m + pull]), step_m))
    return mixed if proof(mixed) == len(mixed) else new
