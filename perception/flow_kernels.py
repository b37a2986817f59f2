"""Inner loops of ``flow``, compiled by numba. Import inside the function that needs them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Array = NDArray[Any]


@compiled
def strongest(
    strength: Array, grey: Array, cell: int, border: int, reach: int, least: float, bent: float,
    xy: Array, value: Array,
) -> int:  # fmt: skip
    """The strongest corner of each cell of a grid that has one; returns their number.

    Args:
        strength: (h, w) float32, less eigenvalues; grey: (h, w) uint8, the picture.
        cell: side in px; border: px along the picture's edge without corners.
        reach: px about a corner in which its gradients are summed.
        least: of a corner's strength; bent: least product of its two eigenvalues over the square
            of their sum.
        xy: (cells, 2) float32 px, value: (cells,) float32; filled from the front.
    """
    height, width = grey.shape
    low, share, count = np.float32(least), np.float32(bent), 0
    for row in range(height // cell):
        for col in range(width // cell):
            y, x = row * cell, col * cell
            for v in range(row * cell, (row + 1) * cell):
                for u in range(col * cell, (col + 1) * cell):
                    if strength[v, u] > strength[y, x]:
                        y, x = v, u
            if not strength[y, x] >= low:
                continue
            if min(x, y) < border or x >= width - border or y >= height - border:
                continue
            uu = vv = uv = 0
            for v in range(y - reach, y + reach + 1):
                for u in range(x - reach, x + reach + 1):
                    du = int(grey[v, u + 1]) - int(grey[v, u - 1])
                    dv = int(grey[v + 1, u]) - int(grey[v - 1, u])
                    uu, vv, uv = uu + du * du, vv + dv * dv, uv + du * dv
            a, b, c = np.float32(uu), np.float32(vv), np.float32(uv)
            if a * b - c * c > share * ((a + b) * (a + b)):
                xy[count, 0], xy[count, 1], value[count] = x, y, strength[y, x]
                count += 1
    return count


@compiled
def sorted_out(
    xy: Array, boxes: Array, drivable: Array, lane: Array, small: float, map_scale: Array,
    inner: int, least: float, horizon: tuple[float, float], below: int, kind: Array,
) -> None:  # fmt: skip
    """Which corners lie on the road, ``kind`` (n,) uint8 1, which stand above it, 2, or neither.

    Args:
        xy: (n, 2) float32 px of the small picture; boxes: (m, 4) float32 px of it, of objects,
            whose corners are neither.
        drivable, lane: (h, w) float32 maps.
        small: px of the small picture for one of the original; map_scale: (2,) float32 of a map.
        inner: px about a corner that must be road as well; least: probability of road.
        horizon: row and slope; below: px under it where the road begins to tell distances.
    """
    rows, cols = drivable.shape
    half, share, scale = np.float32(0.5), np.float32(least), np.float32(small)
    row, slope = np.float32(horizon[0]), np.float32(horizon[1])
    sides = ((0, 0), (inner, 0), (-inner, 0), (0, inner), (0, -inner))
    for i in range(len(xy)):
        x, y = xy[i]
        kind[i] = 0
        hidden = False
        for k in range(len(boxes)):
            across = boxes[k, 0] < x and x < boxes[k, 2]
            hidden |= across and boxes[k, 1] < y and y < boxes[k, 3]
        if hidden:
            continue
        road = True
        for du, dv in sides:
            u = int((x + np.float32(du) + half) / scale * map_scale[0])
            v = int((y + np.float32(dv) + half) / scale * map_scale[1])
            u, v = min(max(u, 0), cols - 1), min(max(v, 0), rows - 1)
            a, b = drivable[v, u], lane[v, u]
            road &= (a >= share or b >= share) and a == a and b == b
        down = y - (row + slope * x)
        if road and down > below:
            kind[i] = 1
        elif down < 2 * below:
            kind[i] = 2
