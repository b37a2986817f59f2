"""Inner loops of drawing, compiled by numba. Import inside the function that needs them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Array = NDArray[Any]


@compiled
def look_up_where(image: Array, mask: Array, table: Array) -> None:
    """Replace each channel of ``image`` (h, w, 3) by its entry of ``table`` (256, 3), all uint8,
    where ``mask`` (h, w) is not 0."""
    for v in range(image.shape[0]):
        for u in range(image.shape[1]):
            if mask[v, u]:
                for k in range(3):
                    image[v, u, k] = table[image[v, u, k], k]


@compiled
def fill_quads(mask: Array, quads: Array, levels: Array) -> None:
    """Set ``mask`` (h, w) uint8 to ``levels`` (n,) at the pixels whose centres lie in convex
    ``quads`` (n, 4, 2) px, later ones over earlier; what lies outside is cut off."""
    rows, columns = mask.shape
    for q in range(len(quads)):
        low, high = quads[q, :, 1].min(), quads[q, :, 1].max()
        for v in range(max(int(np.ceil(low)), 0), min(int(np.floor(high)), rows - 1) + 1):
            first, last = np.inf, -np.inf
            for k in range(4):
                a, b = quads[q, k], quads[q, (k + 1) % 4]
                if (a[1] <= v) != (b[1] <= v):
                    u = a[0] + (v - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
                    first, last = min(first, u), max(last, u)
            if first <= last:
                for u in range(
                    max(int(np.ceil(first)), 0), min(int(np.floor(last)), columns - 1) + 1
                ):
                    mask[v, u] = levels[q]


@compiled
def blend_where(image: Array, mask: Array, colours: Array, share: float) -> None:
    """Mix ``share`` of the colours (256, 3) that ``mask`` (h, w) names into ``image`` (h, w, 3),
    all uint8, where it is not 0."""
    theirs = int(256 * share + 0.5)
    for v in range(image.shape[0]):
        for u in range(image.shape[1]):
            level = mask[v, u]
            if level:
                for k in range(3):
                    mixed = image[v, u, k] * (256 - theirs) + colours[level, k] * theirs
                    image[v, u, k] = (mixed + 128) >> 8


@compiled
def to_yuv420(rows: Array, luma: Array, blue: Array, red: Array) -> None:
    """A picture's ``rows`` (h, 3 w) BGR as Y (h, w), and U and V (h / 2, w / 2) of the mean of the
    four pixels that share them: BT.601 in limited range, all uint8; sides are even.

    Of factors of 8 bits a processor does most at once; they err by half a level at most.
    """
    columns = rows.shape[1] // 3
    for i in range(len(rows) // 2):
        for k in range(2):
            row, out = rows[2 * i + k], luma[2 * i + k]
            for u in range(columns):
                b, g, r = np.int32(row[3 * u]), np.int32(row[3 * u + 1]), np.int32(row[3 * u + 2])
                out[u] = np.uint8((25 * b + 129 * g + 66 * r + (16 << 8) + 128) >> 8)
        a, c = rows[2 * i], rows[2 * i + 1]
        for u in range(columns // 2):
            b = np.int32(a[6 * u]) + a[6 * u + 3] + c[6 * u] + c[6 * u + 3]
            g = np.int32(a[6 * u + 1]) + a[6 * u + 4] + c[6 * u + 1] + c[6 * u + 4]
            r = np.int32(a[6 * u + 2]) + a[6 * u + 5] + c[6 * u + 2] + c[6 * u + 5]
            blue[i, u] = np.uint8((112 * b - 74 * g - 38 * r + (128 << 10) + 512) >> 10)
            red[i, u] = np.uint8((112 * r - 94 * g - 18 * b + (128 << 10) + 512) >> 10)
