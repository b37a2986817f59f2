"""Inner loop of ``flow``, compiled by numba. Import inside the function that needs it."""

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
