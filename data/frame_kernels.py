"""Inner loops of ``frame_quality``, compiled by numba. Import them inside functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Array = NDArray[Any]


@compiled
def pick(image: Array, down: int, across: int, small: Array) -> None:
    """Every few pixels of ``image`` (h, w, 3), from the middle of the first few on."""
    for v in range(small.shape[0]):
        for u in range(small.shape[1]):
            for k in range(3):
                small[v, u, k] = image[down // 2 + v * down, across // 2 + u * across, k]


@compiled
def exposure(small: Array, black: float, white: float) -> tuple[float, float]:
    """Shares of pixels whose brightest channel is at most ``black``, and whose darkest is
    ``white`` or more."""
    dark = light = 0
    for v in range(small.shape[0]):
        for u in range(small.shape[1]):
            b, g, r = small[v, u]
            dark += max(b, g, r) <= black
            light += min(b, g, r) >= white
    pixels = small.shape[0] * small.shape[1]
    return dark / pixels, light / pixels


@compiled
def texture(small: Array, side: int, flat_std: float, slack: int) -> tuple[float, float]:
    """Share of pixels that are neutral grey within ``slack`` of 128 in flat blocks, and share of
    blocks that are flat.

    Blocks are ``side`` px a side, a picture smaller than one is a block; a block's even slope does
    not count as texture.
    """
    height, width = small.shape[:2]
    whole = height >= side and width >= side
    rows, cols = (height // side, width // side) if whole else (1, 1)
    tall, wide = (side, side) if whole else (height, width)
    count, middle = tall * wide, (side - 1) / 2
    along = 0.0  # squares of the slope's steps over a block
    for k in range(side):
        along += side * (k - middle) ** 2
    flats, greys = 0, 0
    for r in range(rows):
        for c in range(cols):
            total, squares, neutral = np.int64(0), np.int64(0), 0
            down = across = 0.0
            for i in range(tall):
                for j in range(wide):
                    b, g, r_ = small[r * side + i, c * side + j]
                    level = np.int64(g)
                    total += level
                    squares += level * level
                    down += (i - middle) * level
                    across += (j - middle) * level
                    neutral += max(b, g, r_) <= 128 + slack and min(b, g, r_) >= 128 - slack
            rest = squares / count - (total / count) ** 2
            if whole:
                rest -= (down * down + across * across) / along / count
            if rest < flat_std * flat_std:
                flats += 1
                greys += neutral
    return greys / (rows * cols * count), flats / (rows * cols)


@compiled
def changed(last: Array, small: Array, side: int, level: float) -> bool:
    """Whether two pictures differ by ``level`` or more in the mean of a channel over any block."""
    height, width = small.shape[:2]
    total = np.int64(0)
    for v in range(height):
        for u in range(width):
            total += abs(np.int64(small[v, u, 1]) - np.int64(last[v, u, 1]))
    if total > 2 * level * height * width:  # most frames of a drive end here
        return True
    whole = height >= side and width >= side
    rows, cols = (height // side, width // side) if whole else (1, 1)
    tall, wide = (side, side) if whole else (height, width)
    for r in range(rows):
        for c in range(cols):
            for k in range(3):
                total = np.int64(0)
                for v in range(r * side, r * side + tall):
                    for u in range(c * side, c * side + wide):
                        total += abs(np.int64(small[v, u, k]) - np.int64(last[v, u, k]))
                if total >= level * tall * wide:
                    return True
    return False


@compiled
def contrasts(
    image: Array, first: int, every: int, most: int, step: int, span: int
) -> tuple[float, float]:
    """Mean difference of green pixels ``span`` apart, and of neighbours, along some rows, of each
    ``step``-th column."""
    height, width = image.shape[:2]
    columns = (width + step - 1) // step
    rows = min(most, (height - first + every - 1) // every)
    far, near = np.int64(0), np.int64(0)
    for i in range(rows):
        line = image[first + i * every]
        for u in range(columns - 1):
            here = np.int64(line[u * step, 1])
            near += abs(np.int64(line[(u + 1) * step, 1]) - here)
            if u + span < columns:
                far += abs(np.int64(line[(u + span) * step, 1]) - here)
    return far / (rows * (columns - span)), near / (rows * (columns - 1))
