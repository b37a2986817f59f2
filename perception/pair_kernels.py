"""Inner loop of ``pair_fit``, compiled by numba. Import inside the function that needs it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Array = NDArray[Any]


@compiled
def _times(a: Array, b: Array) -> Array:
    """``a @ b`` of (3, 3) matrices; numba's own calls BLAS, which takes longer to compile and, for
    so few numbers, to run."""
    out = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                out[i, j] += a[i, k] * b[k, j]
    return out


@compiled
def solved(matrix: Array, right: Array, out: Array) -> bool:
    """Solve ``matrix @ out = right`` into ``out`` (n,) by Cholesky's decomposition; False where the
    matrix (n, n) is not symmetric and positive definite."""
    n = len(right)
    low = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            left = matrix[i, j]
            for k in range(j):
                left -= low[i, k] * low[j, k]
            if i == j and not left > 0:
                return False
            low[i, j] = left**0.5 if i == j else left / low[j, j]
        out[i] = right[i]
        for k in range(i):
            out[i] -= low[i, k] * out[k]
        out[i] /= low[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            out[i] -= low[k, i] * out[k]
        out[i] /= low[i, i]
    return True


@compiled
def _rotation(axis: Array, angle: float) -> Array:
    """(3, 3) right-handed about a unit vector."""
    x, y, z = axis
    c, s = np.cos(angle), np.sin(angle)
    d = 1 - c
    out = np.empty((3, 3))
    out[0, 0], out[0, 1], out[0, 2] = c + x * x * d, x * y * d - z * s, x * z * d + y * s
    out[1, 0], out[1, 1], out[1, 2] = y * x * d + z * s, c + y * y * d, y * z * d - x * s
    out[2, 0], out[2, 1], out[2, 2] = z * x * d - y * s, z * y * d + x * s, c + z * z * d
    return out


@compiled
def turned_by(axes: Array, motion: Array) -> Array:
    """(3, 3) from the first camera's axes to those of the second, its ``axes`` (3, 3) ahead, left
    and up as rows."""
    about_up, about_left = _rotation(axes[2], -motion[1]), _rotation(axes[1], -motion[2])
    return _times(_times(about_left, _rotation(axes[0], -motion[3])), about_up)


@compiled
def shifted_by(axes: Array, forward_m: float, motion: Array) -> Array:
    """(3,) m, in the first camera's axes: the way of the camera itself."""
    way, yaw = motion[0], motion[1]
    across = way * yaw / 2 + forward_m * yaw
    return way * axes[0] + across * axes[1]


@compiled
def moved(
    point: Array, on_road: Array, axes: Array, height_m: float, turned: Array, shift: Array,
    ok: Array,
) -> None:  # fmt: skip
    """Turn rays (n, 3) into where their points lie seen from the second camera, in place; ``ok``
    (n,) is False of those out of sight, which then lie straight ahead."""
    for i in range(len(point)):
        p = point[i].copy()
        down = -(p[0] * axes[2, 0] + p[1] * axes[2, 1] + p[2] * axes[2, 2])
        road = on_road[i] and down > 1e-4
        if road:
            p *= height_m / down
            p -= shift
        for a in range(3):
            point[i, a] = turned[a, 0] * p[0] + turned[a, 1] * p[1] + turned[a, 2] * p[2]
        ok[i] = point[i, 2] > 0.1 and (road or not on_road[i])
        if not ok[i]:
            point[i, 0], point[i, 1], point[i, 2] = 0.0, 0.0, 1.0


@compiled
def linearised(
    first: Array, second: Array, on_road: Array, axes: Array, height_m: float, forward_m: float,
    turned: Array, shift: Array, error: Array, slope: Array,
) -> None:  # fmt: skip
    """Misfits ``error`` (n, 2) of points seen at rays ``second`` (n, 3), and their slope (n, 2, 4)
    by way, yaw, pitch and roll; flat coordinates, focal length 1.

    Of points not of the road only the misfit across the direction from the focus of expansion
    counts. Points that the motion takes out of sight have no slope, and a misfit of 1.

    Args:
        axes: (3, 3) ahead, left and up as rows, in axes of the camera.
        turned: (3, 3) from the first camera's axes to the second's; shift: (3,) its way.
    """
    gone = np.zeros(3)
    for a in range(3):
        for b in range(3):
            gone[a] += turned[a, b] * shift[b]
    for i in range(len(first)):
        p = first[i]
        down = -(p[0] * axes[2, 0] + p[1] * axes[2, 1] + p[2] * axes[2, 2])
        road = on_road[i] and down > 1e-4
        depth = height_m / down if road else 1.0
        q = np.zeros(3)
        for a in range(3):
            for b in range(3):
                q[a] += turned[a, b] * (p[b] * depth - (shift[b] if road else 0.0))
        error[i], slope[i] = 1.0, 0.0
        if q[2] < 0.1 or (on_road[i] and not road):
            continue
        u, v = q[0] / q[2], q[1] / q[2]
        error[i, 0], error[i, 1] = second[i, 0] - u, second[i, 1] - v
        for k in range(3):  # turning about up (yaw), left (pitch) and ahead (roll)
            x, y, z = axes[2 - k, 0], axes[2 - k, 1], axes[2 - k, 2]
            slope[i, 0, k + 1] = u * v * x - (1 + u * u) * y + v * z
            slope[i, 1, k + 1] = (1 + v * v) * x - u * v * y - u * z
        if road:
            near = 1.0 / q[2]
            slope[i, 0, 0] = near * (u * axes[0, 2] - axes[0, 0])
            slope[i, 1, 0] = near * (v * axes[0, 2] - axes[0, 1])
            slope[i, 0, 1] += forward_m * near * (u * axes[1, 2] - axes[1, 0])
            slope[i, 1, 1] += forward_m * near * (v * axes[1, 2] - axes[1, 1])
            continue
        off_u, off_v = u * gone[2] - gone[0], v * gone[2] - gone[1]
        length = (off_u * off_u + off_v * off_v) ** 0.5
        if length > 1e-12:
            n_u, n_v = -off_v / length, off_u / length
            across = n_u * error[i, 0] + n_v * error[i, 1]
            error[i, 0], error[i, 1] = n_u * across, n_v * across
            for k in range(4):
                along = n_u * slope[i, 0, k] + n_v * slope[i, 1, k]
                slope[i, 0, k], slope[i, 1, k] = n_u * along, n_v * along


@compiled
def ranked(values: Array, kinds: Array, kind: bool, share: float, found: Array) -> int:
    """Copy those of ``values`` (n,) that are of a kind to the front of ``found`` (n,), in part
    sorted: at the place returned is the one that stands a ``share`` of the way through them in
    order; -1 if there is none. By Hoare's selection: numba's sorting and masks take a second more
    to compile."""
    count = 0
    for i in range(len(values)):
        if kinds[i] == kind:
            found[count] = values[i]
            count += 1
    place, low, high = int(share * (count - 1)) if count else -1, 0, count - 1
    while low < high:
        middle, i, j = found[(low + high) // 2], low, high
        while i <= j:
            while found[i] < middle:
                i += 1
            while middle < found[j]:
                j -= 1
            if i <= j:
                found[i], found[j] = found[j], found[i]
                i, j = i + 1, j - 1
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return place


@compiled
def weighed(
    error: Array, slope: Array, on_road: Array, focal_px: float, least_px: float,
    road_share: float, other_share: float, size: Array, scale: Array, normal: Array, pull: Array,
) -> None:  # fmt: skip
    """Adds up ``normal`` (4, 4) and ``pull`` (4,) by Cauchy's weights.

    ``size`` (n,) px: misfits; ``scale`` (n,) px: twice that of the given share of the points of the
    same kind, and no less than ``least_px``.
    """
    for i in range(len(error)):
        size[i] = focal_px * (error[i, 0] ** 2 + error[i, 1] ** 2) ** 0.5
    limits = np.full(2, least_px)
    for kind in range(2):  # ``scale`` is free until then
        place = ranked(size, on_road, kind == 1, road_share if kind else other_share, scale)
        if place >= 0:
            limits[kind] = max(least_px, scale[place] * 2)
    for i in range(len(error)):
        scale[i] = limits[1] if on_road[i] else limits[0]
        far = size[i] / scale[i]
        weight = (focal_px / scale[i]) ** 2 / (1 + far * far / 2)
        for a in range(2):
            for j in range(4):
                pull[j] += weight * slope[i, a, j] * error[i, a]
                for k in range(4):
                    normal[j, k] += weight * slope[i, a, j] * slope[i, a, k]


@compiled
def fitted(
    first: Array, second: Array, on_road: Array, axes: Array, height_m: float, forward_m: float,
    focal_px: float, least_px: float, road_share: float, other_share: float, prior: Array,
    rounds: int, done: float, most_rad: float, x: Array, slope: Array, size: Array, scale: Array,
    normal: Array,
) -> None:  # fmt: skip
    """Gauss-Newton from ``x`` (4,) on, in place, until a step is shorter than ``done``, turning no
    further than ``most_rad`` at once; leaves ``slope``, ``size``, ``scale`` and ``normal`` of the
    last round, see ``linearised`` and ``weighed``. ``prior``: (4,) weights of no motion. ``x`` is
    NaN where the points are no numbers."""
    error, pull, step = np.zeros((len(first), 2)), np.empty(4), np.empty(4)
    for _ in range(rounds):
        turned, shift = turned_by(axes, x), shifted_by(axes, forward_m, x)
        linearised(first, second, on_road, axes, height_m, forward_m, turned, shift, error, slope)
        normal[:] = 0.0
        for k in range(4):
            normal[k, k] = prior[k]
            pull[k] = -prior[k] * x[k] if k else 0.0
        weighed(
            error, slope, on_road, focal_px, least_px, road_share, other_share, size, scale,
            normal, pull,
        )  # fmt: skip
        known = np.isfinite(normal).all() and np.isfinite(pull).all()
        if not (known and solved(normal, pull, step)):
            x[:] = np.nan
            break
        longest = 0.0
        for k in range(4):
            if k:
                step[k] = min(max(step[k], -most_rad), most_rad)
                longest = max(longest, abs(step[k]))
            x[k] += step[k]
        if longest < done and abs(step[0]) < done * height_m:
            break
