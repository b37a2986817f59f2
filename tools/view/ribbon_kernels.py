"""Inner loops of the planned path as a ribbon. Import inside the function that needs them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from tools.view.kernels import mix
from tools.view.mark_kernels import across

Array = NDArray[Any]


@compiled
def edges(path: Array, half_m: float, spacing_m: float, most: int) -> Array:
    """(n, 5) left x and y, right x and y, and speed, ``spacing_m`` apart along a path, or further
    where that were more than ``most`` pieces; (0, 5) of one that has no length.

    Args:
        path: (k, 4) x m, y m, yaw rad, speed m/s; points that are not finite are left out.
    """
    points, along, count = np.empty((len(path), 4)), np.zeros(len(path)), 0
    for i in range(len(path)):
        known = True
        for k in range(4):
            points[count, k] = path[i, k]
            known = known and np.isfinite(path[i, k])
        if not known:
            continue
        if count:
            a, b = points[count - 1], points[count]
            along[count] = along[count - 1] + np.hypot(b[0] - a[0], b[1] - a[1])
            b[2] = a[2] + (b[2] - a[2] + np.pi) % (2 * np.pi) - np.pi  # the short way round
        count += 1
    if count < 2 or along[count - 1] <= 0:
        return np.empty((0, 5))
    length = along[count - 1]
    pieces = int(min(max(np.ceil(length / spacing_m), 1), most))
    out, behind = np.empty((pieces + 1, 5)), 0
    for n in range(pieces + 1):
        at = length * n / pieces
        while behind < count - 2 and along[behind + 1] <= at:
            behind += 1
        apart = along[behind + 1] - along[behind]
        share = min((at - along[behind]) / apart, 1.0) if apart > 0 else 0.0
        a, b = points[behind], points[behind + 1]
        yaw = a[2] + share * (b[2] - a[2])
        aside = -np.sin(yaw) * half_m, np.cos(yaw) * half_m
        for k in range(2):
            middle = a[k] + share * (b[k] - a[k])
            out[n, k], out[n, 2 + k] = middle + aside[k], middle - aside[k]
        out[n, 4] = a[3] + share * (b[3] - a[3])
    return out


@compiled
def spaced(points: Array, least_px: float) -> Array:
    """Indices of a line's points that lie ``least_px`` apart or more, about, with the first and the
    last: pieces shorter than can be seen cost as much as long ones.

    Args:
        points: (n, 2 k) px of lines that are told by the same indices, of which the one that goes
            furthest counts; NaN counts as far.
    """
    keep, count, along, level = np.empty(len(points), np.int64), 0, 0.0, 0.0
    for i in range(len(points)):
        if i:
            furthest = 0.0
            for k in range(points.shape[1] // 2):
                step = np.hypot(
                    points[i, 2 * k] - points[i - 1, 2 * k],
                    points[i, 2 * k + 1] - points[i - 1, 2 * k + 1],
                )
                furthest = max(furthest, step if step == step else 1e4)
            along += furthest
        reached = along // least_px
        if i == 0 or i == len(points) - 1 or reached > level:
            keep[count] = i
            count += 1
        level = reached
    return keep[:count]


@compiled
def fill_quads(mask: Array, quads: Array, levels: Array) -> Array:
    """Set ``mask`` (h, w) uint8 to ``levels`` (n,) at the pixels whose centres lie in convex
    ``quads`` (n, 4, 2) px, later ones over earlier; what lies outside is cut off. Returns (h, 2)
    from which column to which each row was written to."""
    rows, columns = mask.shape
    reach = np.zeros((rows, 2), np.int64)
    for q in range(len(quads)):
        low, high = quads[q, :, 1].min(), quads[q, :, 1].max()
        for v in range(max(int(np.ceil(low)), 0), min(int(np.floor(high)), rows - 1) + 1):
            first, last = across(quads[q], float(v))
            if first <= last:
                begin = max(int(np.ceil(first)), 0)
                end = min(int(np.floor(last)), columns - 1) + 1
                for u in range(begin, end):
                    mask[v, u] = levels[q]
                if begin < end:
                    new = reach[v, 1] == 0
                    reach[v, 0] = begin if new else min(reach[v, 0], begin)
                    reach[v, 1] = max(reach[v, 1], end)
    return reach


@compiled
def _repeat(colour: Array, theirs: int, added: Array) -> None:
    """What ``mix`` adds for a colour, over and over."""
    blue, green, red = (
        np.uint16(colour[0] * theirs + 128),
        np.uint16(colour[1] * theirs + 128),
        np.uint16(colour[2] * theirs + 128),
    )
    for u in range(len(added) // 3):
        added[3 * u], added[3 * u + 1], added[3 * u + 2] = blue, green, red


@compiled
def blend_where(
    rows: Array, mask: Array, reach: Array, top: int, left: int, colours: Array, share: float
) -> None:
    """Mix ``share`` of the colours (256, 3) that ``mask`` names into a picture's ``rows`` (h, 3 w)
    where it is not 0; its first pixel lies on the picture's (``left``, ``top``). All uint8.
    ``reach``: (h, 2) from which column to which the mask's rows are looked at."""
    theirs = int(256 * share + 0.5)
    added, ready, its = np.empty(3 * mask.shape[1], np.uint16), 0, -1
    for v in range(mask.shape[0]):
        line, row = mask[v], rows[top + v, 3 * left :]
        begin, last = reach[v]
        while begin < last:
            level, end = line[begin], begin + 1
            while end < last and line[end] == level:
                end += 1
            if level:
                wanted = 3 * (end - begin)
                if level != its or wanted > ready:
                    _repeat(colours[level], theirs, added[:wanted])
                    ready, its = wanted, int(level)
                mix(row[3 * begin : 3 * end], added[:wanted], 256 - theirs)
            begin = end


@compiled
def _shown(edges: Array, n: int, width: int, height: int) -> bool:
    """Whether the piece behind the ``n``-th pair of points is known, and some of it in view."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for i in range(n, n + 2):
        for k in range(4):
            value = edges[i, k]
            if not np.isfinite(value):
                return False
            low[k % 2], high[k % 2] = min(low[k % 2], value), max(high[k % 2], value)
    return high[0] >= 0 and high[1] >= 0 and low[0] < width and low[1] < height


@compiled
def paint_ribbon(
    rows: Array, edges: Array, levels: Array, colours: Array, share: float, bits: int,
    fixed: Array, runs: Array,
) -> int:  # fmt: skip
    """Mix ``share`` of a ribbon's colours into a picture's ``rows`` (h, 3 w) uint8.

    All pieces are filled into one mask before, so those that overlap leave no marks.

    Args:
        edges: (n, 4) px, left x and y, right x and y; NaN where unknown; levels: (n,) from 1 to
            255, names of ``colours`` (256, 3).
        fixed: (2, n, 2) int32, written to: both edges with ``bits`` of fraction.
        runs: (n, 2) int64, written to: first and last point of stretches in view that change by
            less than 16 levels.

    Returns:
        The number of runs.
    """
    height, width = len(rows), rows.shape[1] // 3
    quads, names = np.empty((len(edges), 4, 2)), np.empty(len(edges), np.int64)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    count, drawn, before = 0, 0, -1
    for n in range(len(edges)):
        for k in range(4):
            value = edges[n, k] if np.isfinite(edges[n, k]) else 0.0
            fixed[k // 2, n, k % 2] = np.int32(np.rint(value * (1 << bits)))
        if n == len(edges) - 1 or not _shown(edges, n, width, height):
            before = -1
            continue
        for k in range(2):
            quads[drawn, 0, k], quads[drawn, 1, k] = edges[n, k], edges[n + 1, k]
            quads[drawn, 2, k], quads[drawn, 3, k] = edges[n + 1, 2 + k], edges[n, 2 + k]
            for corner in range(4):
                low[k] = min(low[k], quads[drawn, corner, k])
                high[k] = max(high[k], quads[drawn, corner, k])
        names[drawn] = levels[n]
        drawn += 1
        if levels[n] // 16 != before:
            runs[count, 0], count = n, count + 1
        before, runs[count - 1, 1] = levels[n] // 16, n + 1
    if drawn:
        left, top = max(int(np.floor(low[0])), 0), max(int(np.floor(low[1])), 0)
        right = max(min(int(np.ceil(high[0])) + 1, width), left)
        bottom = max(min(int(np.ceil(high[1])) + 1, height), top)
        mask = np.zeros((bottom - top, right - left), np.uint8)
        for n in range(drawn):
            for corner in range(4):
                quads[n, corner, 0] -= left
                quads[n, corner, 1] -= top
        reach = fill_quads(mask, quads[:drawn], names)
        blend_where(rows, mask, reach, top, left, colours, share)
    return count
