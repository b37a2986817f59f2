"""Inner loop of ``pair_fit``, compiled by numba. Import inside the function that needs it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Array = NDArray[Any]


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
    gone = turned @ shift
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
    road, other = np.sort(size[on_road]), np.sort(size[~on_road])
    road_px = other_px = least_px
    if len(road):
        road_px = max(least_px, road[int(road_share * (len(road) - 1))] * 2)
    if len(other):
        other_px = max(least_px, other[int(other_share * (len(other) - 1))] * 2)
    for i in range(len(error)):
        scale[i] = road_px if on_road[i] else other_px
        far = size[i] / scale[i]
        weight = (focal_px / scale[i]) ** 2 / (1 + far * far / 2)
        for a in range(2):
            for j in range(4):
                pull[j] += weight * slope[i, a, j] * error[i, a]
                for k in range(4):
                    normal[j, k] += weight * slope[i, a, j] * slope[i, a, k]
