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
def mix(row: Array, added: Array, keep: int) -> None:
    """Mix a colour into a stretch of a row of uint8: ``keep`` of 256 of it and ``added``, uint16;
    apart, and in 16 bits, as a processor then does most numbers at once."""
    for j in range(len(row)):
        mixed = np.uint16(np.uint16(row[j]) * np.uint16(keep) + added[j])
        row[j] = np.uint8(mixed >> np.uint16(8))


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
def _rows_with_some(values: Array, half: float) -> Array:
    """(rows,) whether a map exceeds ``half`` somewhere in a row."""
    some = np.zeros(len(values), np.bool_)
    for r in range(len(values)):
        found = 0
        for c in range(values.shape[1]):
            found += values[r, c] > half
        some[r] = found > 0
    return some


@compiled
def _runs(
    first: Array, second: Array, part: float, half: float, turns: Array, turning: int,
    scale_x: float, width: int, runs: Array,
) -> int:  # fmt: skip
    """Into ``runs`` (n, 2) the stretches, begin and end, in which a row of the picture lies above
    ``half``: ``part`` of the way between two rows of a map that may turn behind the first
    ``turning`` of ``turns``. Returns how many."""
    count = 0
    begins = 0 if first[0] + part * (second[0] - first[0]) - half > 0 else -1
    for i in range(turning):
        c = turns[i]
        here = first[c] + part * (second[c] - first[c]) - half
        ahead = first[c + 1] + part * (second[c + 1] - first[c + 1]) - half
        if (here > 0) == (ahead > 0):
            continue
        at = _passes_at(here, ahead, c, scale_x, width)
        if ahead > 0:
            begins = at
        else:
            if at > begins >= 0:
                runs[count, 0], runs[count, 1] = begins, at
                count += 1
            begins = -1
    if 0 <= begins < width:
        runs[count, 0], runs[count, 1] = begins, width
        count += 1
    return count


@compiled
def _mixtures(colours: Array, shares: Array, width: int) -> tuple[Array, Array]:
    """What ``mix`` adds to a row for each colour, and how much it keeps of it, of 256."""
    added, keep = np.empty((len(colours), 3 * width), np.uint16), np.empty(len(colours), np.int64)
    for m in range(len(colours)):
        theirs = int(256 * shares[m] + 0.5)
        keep[m] = 256 - theirs
        for j in range(3 * width):
            added[m, j] = colours[m, j % 3] * theirs + 128
    return added, keep


@compiled
def _mix_runs(row: Array, runs: Array, count: int, added: Array, keep: int) -> None:
    for i in range(count):
        begin, end = 3 * runs[i, 0], 3 * runs[i, 1]
        mix(row[begin:end], added[begin:end], keep)


@compiled
def _fill(row: Array, begin: int, end: int, colour: Array) -> None:
    for u in range(begin, end):
        for k in range(3):
            row[3 * u + k] = colour[k]


@compiled
def _fill_where_not(
    row: Array, begin: int, end: int, runs: Array, count: int, colour: Array
) -> None:
    """Colour a stretch of a row where none of another row's runs is."""
    at = begin
    for i in range(count):
        if runs[i, 1] > at:
            _fill(row, at, min(runs[i, 0], end), colour)
            at = runs[i, 1]
    _fill(row, at, end, colour)


@compiled
def _outline(
    row: Array, own: Array, count: int, above: Array, count_above: int, below: Array,
    count_below: int, thin: int, colour: Array,
) -> None:  # fmt: skip
    """Colour what is within ``thin`` px of the end of a row's runs, along it or across."""
    width = len(row) // 3
    for i in range(count):
        begin, end = own[i, 0], own[i, 1]
        if begin > 0:
            _fill(row, begin, min(begin + thin, end), colour)
        if end < width:
            _fill(row, max(end - thin, begin), end, colour)
        _fill_where_not(row, begin, end, above, count_above, colour)
        _fill_where_not(row, begin, end, below, count_below, colour)


@compiled
def _between(v: int, scale_y: float, map_rows: int) -> tuple[int, int, float]:
    """The two rows of a map that a picture's row lies between, and how far on its way it is."""
    y = min(max((v + 0.5) * scale_y - 0.5, 0.0), map_rows - 1.0)
    return int(y), min(int(y) + 1, map_rows - 1), y - int(y)


@compiled
def _copy(row: Array, to: Array) -> None:
    for j in range(len(row)):
        to[j] = row[j]


@compiled
def paint_surfaces(
    picture: Array, rows: Array, area: Array, lines: Array, half: float, scale_x: float,
    scale_y: float, colours: Array, shares: Array, thin: int,
) -> None:  # fmt: skip
    """Copy a picture and mix colours into it where two maps scaled up to it exceed ``half``: those
    of an area, which is outlined except along the picture's border, and over it those of lines.

    In one pass, so that each row is in the cache for all that is done to it. What is done to both
    maps is written out twice: with a function of its own, given each row's parts, all took three
    quarters longer.

    Args:
        picture: (h, 3 w) uint8; rows: the same, written to.
        area, lines: (rows, cols) float32; of the picture's pixel (u, v) they are the bilinear
            samples at ((u + 0.5) * scale_x - 0.5, (v + 0.5) * scale_y - 0.5). NaN is less than all.
        colours: (2, 3) uint8 of both; shares: (2,) of them in what is mixed; thin: px of the
            outline.
    """
    height, width, cols = len(rows), rows.shape[1] // 3, area.shape[1]
    added, keep = _mixtures(colours, shares, width)
    some_area, some_lines = _rows_with_some(area, half), _rows_with_some(lines, half)
    turns = np.empty((2, cols + 1), np.int64)  # columns behind which the maps may pass ``half``
    last, turning = np.full(2, -1), np.zeros(2, np.int64)
    others = np.empty((cols + 1, 2), np.int64)
    kept = 2 * thin + 1  # rows that the outline of one hangs on
    runs, count = np.empty((kept, cols + 1, 2), np.int64), np.zeros(kept, np.int64)
    for v in range(height + thin):
        if v < height:
            _copy(picture[v], rows[v])
            slot = v % kept
            count[slot] = 0
            r, below, part = _between(v, scale_y, len(area))
            if some_area[r] or some_area[below]:
                if last[0] != r:
                    last[0], turning[0] = r, _may_turn(area[r], area[below], half, turns[0])
                count[slot] = _runs(
                    area[r], area[below], part, half, turns[0], turning[0], scale_x, width,
                    runs[slot],
                )  # fmt: skip
                _mix_runs(rows[v], runs[slot], count[slot], added[0], keep[0])
        w = v - thin
        if w < 0:
            continue
        if count[w % kept]:
            slot = w % kept
            above = (w - thin) % kept if w >= thin else slot
            under = (w + thin) % kept if w + thin < height else slot
            _outline(
                rows[w], runs[slot], count[slot], runs[above], count[above], runs[under],
                count[under], thin, colours[0],
            )  # fmt: skip
        r, below, part = _between(w, scale_y, len(area))
        if some_lines[r] or some_lines[below]:
            if last[1] != r:
                last[1], turning[1] = r, _may_turn(lines[r], lines[below], half, turns[1])
            found = _runs(
                lines[r], lines[below], part, half, turns[1], turning[1], scale_x, width, others
            )
            _mix_runs(rows[w], others, found, added[1], keep[1])


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
def _luma(row: Array, out: Array, blue: Array, green: Array, red: Array) -> None:
    """A row's Y, and its three colours apart."""
    for u in range(len(out)):
        b, g, r = np.uint16(row[3 * u]), np.uint16(row[3 * u + 1]), np.uint16(row[3 * u + 2])
        y = np.uint16(np.uint16(25) * b + np.uint16(129) * g + np.uint16(66) * r + np.uint16(4224))
        out[u] = np.uint8(y >> np.uint16(8))
        blue[u], green[u], red[u] = np.uint8(b), np.uint8(g), np.uint8(r)


@compiled
def _mean(a: np.uint16, c: np.uint16) -> np.uint16:
    """Of the four bytes in two numbers of 16 bits."""
    low, high = np.uint16(255), np.uint16(8)
    return np.uint16((a & low) + (a >> high) + (c & low) + (c >> high) + np.uint16(2)) >> np.uint16(
        2
    )


@compiled
def _chroma(first: Array, second: Array, blue: Array, red: Array) -> None:
    """U and V of two rows, given as (3, w / 2) uint16, each two bytes of B, G or R."""
    for u in range(len(blue)):
        b = _mean(first[0, u], second[0, u])
        g = _mean(first[1, u], second[1, u])
        r = _mean(first[2, u], second[2, u])
        middle = np.uint16((128 << 8) + 128)
        cb = np.uint16(np.uint16(112) * b - np.uint16(74) * g - np.uint16(38) * r + middle)
        cr = np.uint16(np.uint16(112) * r - np.uint16(94) * g - np.uint16(18) * b + middle)
        blue[u], red[u] = np.uint8(cb >> np.uint16(8)), np.uint8(cr >> np.uint16(8))


@compiled
def to_yuv420(rows: Array, luma: Array, blue: Array, red: Array) -> None:
    """A picture's ``rows`` (h, 3 w) BGR as Y (h, w), and U and V (h / 2, w / 2) of the mean of the
    four pixels that share them: BT.601 in limited range, all uint8; sides are even. The planes may
    be wider, and are left as they are beyond.

    All fits into 16 bits, of which a processor does most at once; so U and V err by a level at
    most, Y by half of one. The colours go apart once, as picking every third byte takes longest.
    """
    width = rows.shape[1] // 3
    apart = np.empty((2, 3, width), np.uint8)
    pairs = apart.view(np.uint16)
    for i in range(len(rows) // 2):
        for k in range(2):
            y = luma[2 * i + k, :width]
            _luma(rows[2 * i + k], y, apart[k, 0], apart[k, 1], apart[k, 2])
        _chroma(pairs[0], pairs[1], blue[i, : width // 2], red[i, : width // 2])
