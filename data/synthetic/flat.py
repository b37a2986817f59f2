"""Filling what lies flat on the ground: surfaces, paint, label masks and shadows. Compiled.

Everything is a convex ring of corners on the ground, cut in front of the camera, projected, and
drawn row by row between its left and right edge. Surfaces are mixed in by how much of a pixel
they cover to the left and right; paint, which is thin, is also sampled at ``SUB`` heights a row.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from data.synthetic.raster import Eye, Placed
from data.types import F64, U8

NEAR_M, FAR_M = 0.4, 220.0
SUB = 4  # samples of paint over a pixel's height
SHADE_SCALE = 4  # shadows are drawn this much smaller
SHADOWS_M = 75.0
CONTACT, CONTACT_BELOW_M = 0.72, 4.5  # the dark right under things that are no buildings

# Drawn in this order. Surfaces first, then paint, then labels.
LAYERS = (
    "pavement", "asphalt", "worn", "patch", "tar", "kerb", "white", "yellow", "drivable", "lane",
)  # fmt: skip
FIRST_PAINT, DRIVABLE, LANE = 4, 8, 9


class Flat(NamedTuple):
    """What is filled, (h, w) each unless said otherwise.

    Attributes:
        albedo: (h, w, 4) uint8 lit BGR and 255 on asphalt; words: the same memory as uint32.
        cover, paint: uint8 share (0..255) of a pixel that is painted, and with which layer.
        drivable, lane: uint8 0 or 1; shade: (h / 4 + 1, w / 4 + 1) uint8 light left, 255 all.
    """

    albedo: U8
    words: NDArray[np.uint32]
    cover: U8
    paint: U8
    drivable: U8
    lane: U8
    shade: U8


@compiled
def _project(ring: F64, n: int, eye: Eye, p: F64) -> int:
    """Project ``n`` ground corners to pixels in ``p``, cut at ``NEAR_M``; how many are left."""
    count = 0
    axes, place, lens = eye.axes, eye.place, eye.lens
    for j in range(n):
        k = (j + 1) % n
        dx, dy, dz = ring[j, 0] - place[0], ring[j, 1] - place[1], -place[2]
        ex, ey = ring[k, 0] - place[0], ring[k, 1] - place[1]
        z = dx * axes[0, 2] + dy * axes[1, 2] + dz * axes[2, 2]
        z2 = ex * axes[0, 2] + ey * axes[1, 2] + dz * axes[2, 2]
        for cut in range(2):
            if cut == 0:
                if z < NEAR_M:
                    continue
            elif (z >= NEAR_M) == (z2 >= NEAR_M):
                continue
            else:
                t = (NEAR_M - z) / (z2 - z)
                dx, dy, z = dx + t * (ex - dx), dy + t * (ey - dy), NEAR_M
            x = dx * axes[0, 0] + dy * axes[1, 0] + dz * axes[2, 0]
            y = dx * axes[0, 1] + dy * axes[1, 1] + dz * axes[2, 1]
            p[count, 0] = lens[0] * x / z + lens[2]
            p[count, 1] = lens[1] * y / z + lens[3]
            count += 1
    return count


@compiled
def _limits(p: F64, n: int, low: float, high: float) -> tuple[float, float]:
    """Leftmost and rightmost x of a convex ring between two heights (which may be one)."""
    left, right = math.inf, -math.inf
    for j in range(n):
        k = j + 1 if j + 1 < n else 0
        if p[j, 1] <= p[k, 1]:
            x0, y0, x1, y1 = p[j, 0], p[j, 1], p[k, 0], p[k, 1]
        else:
            x0, y0, x1, y1 = p[k, 0], p[k, 1], p[j, 0], p[j, 1]
        if y1 < low or y0 > high:
            continue
        slope = (x1 - x0) / max(y1 - y0, 1e-12)
        a = x0 if y0 >= low else x0 + (low - y0) * slope
        b = x1 if y1 <= high else x0 + (high - y0) * slope
        left, right = min(left, a, b), max(right, a, b)
    return left, right


@compiled
def _height(p: F64, n: int) -> tuple[float, float]:
    low, high = p[0, 1], p[0, 1]
    for j in range(1, n):
        low, high = min(low, p[j, 1]), max(high, p[j, 1])
    return low, high


@compiled
def _mix(albedo: U8, y: int, x: int, share: float, tone: U8) -> None:
    for k in range(4):
        old = float(albedo[y, x, k])
        albedo[y, x, k] = np.uint8(old + (float(tone[k]) - old) * share + 0.5)


@compiled
def _surface(p: F64, n: int, tone: U8, word: int, flat: Flat) -> None:
    """Lay a surface: whole pixels replaced, those cut by its left and right edge mixed."""
    high, wide = flat.words.shape
    low, top = _height(p, n)
    for y in range(max(math.ceil(low), 0), min(math.ceil(top), high)):
        left, right = _limits(p, n, float(y), float(y))
        left, right = max(left, -0.5), min(right, wide - 0.5)
        if left >= right:
            continue
        x0, x1 = math.ceil(left + 0.5), math.floor(right - 0.5)
        if x1 < x0 - 1:  # within one pixel
            _mix(flat.albedo, y, min(x1 + 1, wide - 1), right - left, tone)
            continue
        for x in range(x0, x1 + 1):
            flat.words[y, x] = word
        if x0 > 0 and x0 - 0.5 > left:
            _mix(flat.albedo, y, x0 - 1, x0 - 0.5 - left, tone)
        if x1 + 1 < wide and right > x1 + 0.5:
            _mix(flat.albedo, y, x1 + 1, right - x1 - 0.5, tone)


@compiled
def _stroke(p: F64, n: int, layer: int, flat: Flat) -> None:
    """Add paint: exact across, sampled at ``SUB`` heights of a pixel."""
    high, wide = flat.cover.shape
    low, top = _height(p, n)
    first = max(math.ceil((low + 0.5) * SUB - 0.5), 0)
    last = min(math.ceil((top + 0.5) * SUB - 0.5), high * SUB)
    for sub in range(first, last):
        at, y = (sub + 0.5) / SUB - 0.5, sub // SUB
        left, right = _limits(p, n, at, at)
        left, right = max(left, -0.5), min(right, wide - 0.5)
        if left >= right:
            continue
        for x in range(math.floor(left + 0.5), min(math.floor(right + 0.5), wide - 1) + 1):
            share = min(right, x + 0.5) - max(left, x - 0.5)
            more = int(flat.cover[y, x]) + int(share * (256.0 / SUB) + 0.5)
            flat.cover[y, x] = np.uint8(min(more, 255))
            flat.paint[y, x] = layer


@compiled
def _mark(p: F64, n: int, mask: U8, value: int, least: bool) -> None:
    """Set the pixels whose centre lies inside; with ``least`` only to darken."""
    high, wide = mask.shape
    low, top = _height(p, n)
    for y in range(max(math.ceil(low), 0), min(math.ceil(top), high)):
        left, right = _limits(p, n, float(y), float(y))
        for x in range(max(math.ceil(left), 0), min(math.ceil(right), wide)):
            if not least or mask[y, x] > value:
                mask[y, x] = value


@compiled
def _touch(p: F64, n: int, mask: U8, widen: float) -> None:
    """Set every pixel that the ring touches, or comes within ``widen`` px of."""
    high, wide = mask.shape
    low, top = _height(p, n)
    reach = 0.5 + widen
    for y in range(max(math.ceil(low - reach), 0), min(math.floor(top + reach) + 1, high)):
        left, right = _limits(p, n, y - reach, y + reach)
        for x in range(
            max(math.ceil(max(left - reach, 0.0)), 0), min(math.floor(right + reach) + 1, wide)
        ):
            mask[y, x] = 1


@compiled
def lay_ground(
    rings: F64, layer: U8, eye: Eye, tones: U8, words: NDArray[np.uint32], verge: int,
    widen_px: float, flat: Flat,
) -> None:  # fmt: skip
    """Draw rings (q, 4, 2) of world corners in the order given.

    ``tones`` (l, 4) and ``words`` (l,) are each layer's colour, ``verge`` that of all else;
    ``widen_px`` is how far a lane label reaches beyond the paint.
    """
    flat.words[:] = verge
    flat.cover[:] = 0
    flat.drivable[:] = 0
    flat.lane[:] = 0
    p = np.empty((8, 2))
    for q in range(len(rings)):
        dx, dy = rings[q, 0, 0] - eye.place[0], rings[q, 0, 1] - eye.place[1]
        if dx * dx + dy * dy > FAR_M * FAR_M:
            continue
        n = _project(rings[q], rings.shape[1], eye, p)
        if n < 3:
            continue
        kind = layer[q]
        if kind < FIRST_PAINT:
            _surface(p, n, tones[kind], words[kind], flat)
        elif kind < DRIVABLE:
            _stroke(p, n, kind, flat)
        elif kind == DRIVABLE:
            _mark(p, n, flat.drivable, 1, False)
        else:
            _touch(p, n, flat.lane, widen_px)


@compiled
def _darken(ring: F64, eye: Eye, p: F64, light: int, shade: U8) -> None:
    """Limit the light on a ring of four corners, in the small picture."""
    n = _project(ring, len(ring), eye, p)
    if n < 3:
        return
    for j in range(n):
        for k in range(2):
            p[j, k] = (p[j, k] + 0.5) / SHADE_SCALE - 0.5
    _mark(p, n, shade, light, True)


@compiled
def _corners(placed: Placed, i: int, out: F64) -> None:
    """Footprint of an instance: its four corners on the ground."""
    x, y, yaw, _ = placed.pose[i]
    c, s = math.cos(yaw), math.sin(yaw)
    for j in range(4):
        a = placed.shadow_m[i, 0] * (0.5 if j in (1, 2) else -0.5)
        b = placed.shadow_m[i, 1] * (0.5 if j > 1 else -0.5)
        out[j, 0], out[j, 1] = x + a * c - b * s, y + a * s + b * c


@compiled
def _sweep(ring: F64, j: int, k: int, x: float, y: float, side: F64) -> None:
    """Corners ``j`` and ``k`` of a ring, and both moved by x, y."""
    side[0, 0], side[0, 1], side[1, 0], side[1, 1] = ring[j, 0], ring[j, 1], ring[k, 0], ring[k, 1]
    side[2, 0], side[2, 1] = ring[k, 0] + x, ring[k, 1] + y
    side[3, 0], side[3, 1] = ring[j, 0] + x, ring[j, 1] + y


@compiled
def cast_shadows(placed: Placed, eye: Eye, along: F64, strong: float, shade: U8) -> None:
    """Shadows thrown ``along`` (x, y for a metre of height) with a strength, and contact ones."""
    shade[:] = 255
    light, contact = int(255 * (1 - strong)), int(255 * (1 - CONTACT))
    p, ring, side = np.empty((8, 2)), np.empty((4, 2)), np.empty((4, 2))
    for i in range(len(placed.which)):
        height = placed.shadow_m[i, 2]
        dx, dy = placed.pose[i, 0] - eye.place[0], placed.pose[i, 1] - eye.place[1]
        if height <= 0.0 or max(abs(dx), abs(dy)) > SHADOWS_M:
            continue
        _corners(placed, i, ring)
        if height < CONTACT_BELOW_M:
            _darken(ring, eye, p, contact, shade)
        if strong > 0.08:
            x, y = along[0] * height, along[1] * height
            for j in range(4):  # what each side of the footprint sweeps over
                _sweep(ring, j, (j + 1) % 4, x, y, side)
                _darken(side, eye, p, light, shade)
            for j in range(4):  # and where the top's shadow ends
                ring[j, 0], ring[j, 1] = ring[j, 0] + x, ring[j, 1] + y
            _darken(ring, eye, p, light, shade)
