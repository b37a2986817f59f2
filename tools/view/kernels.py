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
def _mix(row: Array, added: Array, keep: int) -> None:
    """A stretch of a row; apart, as a processor then does many numbers at once."""
    for j in range(len(row)):
        row[j] = np.uint8(
            (np.uint32(row[j]) * np.uint32(keep) + np.uint32(added[j])) >> np.uint32(8)
        )


@compiled
def _may_turn(first: Array, second: Array, half: float, columns: Array) -> int:
    """Into ``columns`` those of two rows of a map behind which a line between them may pass
    ``half``: some of the four values there exceed it and some do not. Returns how many."""
    count, before = 0, (first[0] > half) + (second[0] > half)
    for c in range(len(first) - 1):  # kept only where it may turn: no branch to guess
        after = (first[c + 1] > half) + (second[c + 1] > half)
        columns[count] = c
        count += (before + after) % 4 != 0
        before = after
    return count


@compiled
def _passes_at(here: float, next: float, c: int, scale_x: float, width: int) -> int:
    """The pixel behind the place where the line between two cells' middles is zero."""
    step = here - next
    turn = c + (here / step if step == step else 0.5)
    return int(min(max(np.ceil((turn + 0.5) / scale_x - 0.5), 0.0), float(width)))


@compiled
def tint_above(
    rows: Array, values: Array, half: float, scale_x: float, scale_y: float, colour: Array,
    share: float, inside: Array,
) -> tuple[int, int]:  # fmt: skip
    """Mix ``share`` of a ``colour`` (3,) into a picture in place where a map scaled up to it
    exceeds ``half``.

    Args:
        rows: (h, 3 w) uint8.
        values: (rows, cols) float32; of the picture's pixel (u, v) it is the bilinear sample at
            ((u + 0.5) * scale_x - 0.5, (v + 0.5) * scale_y - 0.5). NaN is less than all.
        inside: (h, w) uint8, set to 255 there; of no size where it is not wanted.

    Returns:
        The first row with some, and the end of them; the same twice where there is none.
    """
    top = end = 0
    map_rows, cols = values.shape
    width = rows.shape[1] // 3
    theirs = int(256 * share + 0.5)
    added = np.empty(3 * width, np.uint16)
    for u in range(width):
        for k in range(3):
            added[3 * u + k] = colour[k] * theirs + 128
    columns = np.empty(cols + 1, np.int64)
    some = np.zeros(map_rows, np.bool_)
    for r in range(map_rows):
        found = 0
        for c in range(cols):
            found += values[r, c] > half
        some[r] = found > 0
    last, count = -1, 0
    for v in range(len(rows)):
        y = min(max((v + 0.5) * scale_y - 0.5, 0.0), map_rows - 1.0)
        r = int(y)
        below = min(r + 1, map_rows - 1)
        if not (some[r] or some[below]):
            continue
        first, second, part = values[r], values[below], y - r
        if r != last:
            last, count = r, _may_turn(first, second, half, columns)
            columns[count] = cols - 1
        begins = 0 if first[0] + part * (second[0] - first[0]) - half > 0 else -1
        for c in columns[: count + 1]:
            here = first[c] + part * (second[c] - first[c]) - half
            ahead, at = 0.0, width
            if c + 1 < cols:
                ahead = first[c + 1] + part * (second[c + 1] - first[c + 1]) - half
                if (here > 0) == (ahead > 0):
                    continue
                at = _passes_at(here, ahead, c, scale_x, width)
            if ahead > 0:
                begins = at
            elif begins >= 0:
                _mix(rows[v, 3 * begins : 3 * at], added[3 * begins : 3 * at], 256 - theirs)
                if inside.size:
                    inside[v, begins:at] = 255
                if at > begins:
                    top, end = (v if end == 0 else top), v + 1
                begins = -1
    return top, end


@compiled
def _raise_to(line: Array, row: Array) -> None:
    """The higher of both; apart, as a processor then does many at once."""
    for c in range(len(line)):
        line[c] = max(line[c], row[c])


@compiled
def paint_cells(
    image: Array, rank: Array, colours: Array, left: float, top: float, step: float
) -> None:
    """Colour ``image`` (h, w, 3) by a grid seen from above, in place where there is grid.

    Args:
        rank: (rows, cols) uint8 above 0, row 0 at the bottom and column 0 at the right: of a
            pixel's cells the highest shows, so that thin lines stay.
        colours: (256, 3) uint8 of ranks.
        left, top: px of the grid's upper left corner; ``step``: px of a cell's side.
    """
    rows, cols = rank.shape
    height, width = image.shape[:2]
    first, end = np.zeros(width, np.int64), np.zeros(width, np.int64)
    for u in range(width):
        if u + 0.5 >= left:
            first[u] = max(int(np.floor((u - left) / step + 1e-9)), 0)
            end[u] = min(max(int(np.ceil((u + 1 - left) / step - 1e-9)), first[u] + 1), cols)
    line = np.empty(cols, np.uint8)
    for v in range(height):
        if v + 0.5 < top:
            continue
        first_r = max(int(np.floor((v - top) / step + 1e-9)), 0)
        end_r = min(max(int(np.ceil((v + 1 - top) / step - 1e-9)), first_r + 1), rows)
        line[:] = 0
        for r in range(first_r, end_r):
            _raise_to(line, rank[rows - 1 - r])
        for u in range(width):
            best = 0
            for c in range(first[u], end[u]):
                best = max(best, line[cols - 1 - c])
            if best > 0:
                for k in range(3):
                    image[v, u, k] = colours[best, k]


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
