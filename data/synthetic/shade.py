"""From faces, ground and sky to the colour, depth and labels of every pixel. Compiled."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from data.synthetic.backdrop import HIGH
from data.synthetic.flat import Flat
from data.synthetic.lighting import (
    BLUE,
    GREEN,
    LEVEL,
    OWNER,
    RED,
    U0,
    UX,
    UY,
    V0,
    VX,
    VY,
    X0,
    Y0,
    headlamp,
)
from data.synthetic.raster import Eye, Target
from data.synthetic.textures import (
    NEUTRAL,
    NOISE_LEVELS,
    SHEET_PX,
    SHEET_STARTS,
    TILE_BITS,
    TILE_M,
    TILE_PX,
    TILE_STARTS,
)  # fmt: skip
from data.types import F32, F64, I64, U8

I32 = NDArray[np.int32]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]

_ONE, _BYTE, _HALF, _WHOLE = np.uint64(1), np.uint64(8), np.uint64(16), np.uint64(256)
_LANES, _LOW = np.uint64(0xFF00FF), np.uint64(0xFFFF)

_POSITIVE = float(1 << 45)  # a multiple of the tile that makes places positive
DECAY_STEPS = 256  # entries of ``Air.decay`` for each unit of exponent
DECAY_END = 8
HAZE_M = 400.0  # the ground beyond looks as at this distance, like the backdrop


class Air(NamedTuple):
    """haze: (3,) BGR 0..255; per_m: 1 / visibility; decay: exp(-k / DECAY_STEPS)."""

    haze: F64
    per_m: float
    decay: F32


class Ground(NamedTuple):
    """How the flat ground looks.

    Attributes:
        tones: (l, 3) float32 lit BGR of each layer's paint.
        noise: pyramid of the tile (see ``textures``); road, verge: its contrast there.
        shade: (h, w) uint8 light left by shadows; mirror: (rows, w, 3) uint8 what wet asphalt
            mirrors from row ``top`` on; wet: its strength, 0 for none.
        vehicle: (4,) x, y, cosine and sine of the own heading, for the headlamps; beam: lit.
    """

    tones: F32
    noise: U8
    road: float
    verge: float
    shade: U8
    mirror: U8
    top: int
    wet: float
    vehicle: F64
    beam: bool


class Picture(NamedTuple):
    """What is written: image (h, w, 3) uint8 BGR, depth_m (h, w) float32, object_id (h, w) uint16;
    seen (n + 1, 5) int64 pixel count, least and greatest column, least and greatest row of each
    object; hood: (w,) first row that the own bonnet hides, ``clear`` the first of all these."""

    image: U8
    depth_m: F32
    object_id: U16
    seen: I64
    hood: I64
    clear: int


@compiled
def _bilinear(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: float, y: float
) -> tuple[float, float, float]:
    """BGR (times 256) between four packed pixels, at x, y in 0..1 from the first: the weights are
    whole numbers that add up to 256, so that two channels share one multiplication."""
    wx, wy = np.uint64(x * 256.0), np.uint64(y * 256.0)
    wd = (wx * wy) >> _BYTE
    wb, wc = wx - wd, wy - wd
    wa = _WHOLE - wx - wc
    even = (a & _LANES) * wa + (b & _LANES) * wb + (c & _LANES) * wc + (d & _LANES) * wd
    a, b, c, d = a >> _BYTE, b >> _BYTE, c >> _BYTE, d >> _BYTE
    odd = (a & _LANES) * wa + (b & _LANES) * wb + (c & _LANES) * wc + (d & _LANES) * wd
    return float(even & _LOW), float(odd & _LOW), float(even >> _HALF)


@compiled
def _plain_run(
    row: F32, first: int, last: int, inverse: F32, air: Air, line: F32, depth: F32
) -> None:
    """Neighbouring pixels of one face without a texture: its colour behind haze."""
    decay, steps = air.decay, air.per_m * DECAY_STEPS
    h0, h1, h2 = air.haze[0], air.haze[1], air.haze[2]
    b, g, r = row[BLUE] - h0, row[GREEN] - h1, row[RED] - h2
    for x in range(max(first, 0), last):
        z = 1.0 / float(inverse[x])
        depth[x] = z
        keep = decay[min(int(z * steps), DECAY_STEPS * DECAY_END - 1)]
        line[x, 0], line[x, 1], line[x, 2] = h0 + b * keep, h1 + g * keep, h2 + r * keep


@compiled
def _textured_run(
    row: F32, y: int, first: int, last: int, inverse: F32, air: Air, line: F32, depth: F32,
    sheet: U32,
) -> None:  # fmt: skip
    """The same with the atlas on it."""
    decay, steps = air.decay, air.per_m * DECAY_STEPS
    h0, h1, h2 = air.haze[0], air.haze[1], air.haze[2]
    k = 1.0 / (256 * NEUTRAL)
    b, g, r = row[BLUE] * k, row[GREEN] * k, row[RED] * k
    level, dy = int(row[LEVEL]), y - float(row[Y0])
    side, scale, start = SHEET_PX >> level, 1.0 / (1 << level), SHEET_STARTS[level]
    below = np.uint64(side)
    most, half = side - 1.001, 0.5 * scale - 0.5
    ux, vx = float(row[UX]), float(row[VX])
    u0 = row[U0] + row[UY] * dy - ux * row[X0]
    v0 = row[V0] + row[VY] * dy - vx * row[X0]
    for x in range(max(first, 0), last):
        z = 1.0 / float(inverse[x])
        depth[x] = z
        keep = decay[min(int(z * steps), DECAY_STEPS * DECAY_END - 1)]
        u = min(max((u0 + ux * x) * z * scale + half, 0.0), most)
        v = min(max((v0 + vx * x) * z * scale + half, 0.0), most)
        fu, fv = int(u), int(v)
        at, du, dv = np.uint64(start + fv * side + fu), u - fu, v - fv
        p, q, s = _bilinear(
            np.uint64(sheet[at]), np.uint64(sheet[at + _ONE]), np.uint64(sheet[at + below]),
            np.uint64(sheet[at + below + _ONE]), du, dv,
        )  # fmt: skip
        p, q, s = min(b * p, 255.0), min(g * q, 255.0), min(r * s, 255.0)
        line[x, 0], line[x, 1] = h0 + (p - h0) * keep, h1 + (q - h1) * keep
        line[x, 2] = h2 + (s - h2) * keep


@compiled
def _grain(noise: U8, level: int, x_m: float, y_m: float) -> float:
    """The tile laid on the world's ground, as a deviation from even."""
    if level >= NOISE_LEVELS:
        return 0.0
    shift = TILE_BITS - level
    scale, mask = 256.0 * (1 << shift) / TILE_M, (1 << shift) - 1
    u, v = int(x_m * scale + _POSITIVE), int(y_m * scale + _POSITIVE)  # in 1/256 of a texel
    fx, fy, x, y = u & 255, v & 255, (u >> 8) & mask, (v >> 8) & mask
    row = TILE_STARTS[level] + (y << shift)
    low = TILE_STARTS[level] + (((y + 1) & mask) << shift)
    x1 = (x + 1) & mask
    top = int(noise[np.uint64(row + x)]) * (256 - fx) + int(noise[np.uint64(row + x1)]) * fx
    bottom = int(noise[np.uint64(low + x)]) * (256 - fx) + int(noise[np.uint64(low + x1)]) * fx
    return float(top * (256 - fy) + bottom * fy) * (1 / (65536 * NEUTRAL)) - 1.0


@compiled
def _sky(panorama: U32, dx: float, dy: float, dz: float) -> tuple[float, float, float]:
    """BGR (times 256) of the backdrop in a direction; see ``backdrop.Panorama``."""
    high, wide = panorama.shape[0], panorama.shape[1]
    side = wide // 4
    if abs(dx) >= abs(dy):
        face, f, right = (0, dx, -dy) if dx > 0 else (2, -dx, dy)
    else:
        face, f, right = (1, -dy, -dx) if dy < 0 else (3, dy, dx)
    k = 1.0 / max(f, 1e-9)
    u = max((right * k + 1.0) * (side * 0.5) - 0.5 + face * side, 0.0)
    v = min(max((HIGH - dz * k) * (side * 0.5) - 0.5, 0.0), high - 1.001)
    x, y = min(int(u), wide - 1), int(v)
    x1, fx, fy = x + 1 if x + 1 < wide else 0, u - x, v - y
    return _bilinear(
        np.uint64(panorama[y, x]), np.uint64(panorama[y, x1]), np.uint64(panorama[y + 1, x]),
        np.uint64(panorama[y + 1, x1]), fx, fy,
    )  # fmt: skip


@compiled
def _level(z: float, focal: float, height: float) -> int:
    """Level of the noise so that a texel is about a pixel: a pixel covers z / f across and
    z^2 / (f h) along the ground."""
    across = z / focal
    along = z * across / max(height, 0.1)
    want = 0.5 * math.log2(max(across * along, 1e-12)) - math.log2(TILE_M / TILE_PX) + 0.4
    return min(max(math.ceil(want), 0), NOISE_LEVELS)


@compiled
def _note(seen: I64, k: int, y: int, first: int, last: int) -> None:
    """Count a run of an object's pixels and widen its box."""
    seen[k, 0] += last - first
    seen[k, 1], seen[k, 2] = min(seen[k, 1], first), max(seen[k, 2], last - 1)
    seen[k, 3], seen[k, 4] = min(seen[k, 3], y), max(seen[k, 4], y)


@compiled
def _row_of_solids(
    y: int, drawn: F32, face: I32, inverse: F32, owners: I64, sheet: U32, air: Air, line: F32,
    out: Picture,
) -> None:  # fmt: skip
    """The solids of a row into ``line`` (w, 3), with their depth, object and place."""
    ids, depth, faces, nearest = out.object_id[y], out.depth_m[y], face[y], inverse[y]
    x = np.int64(0)  # a plain 0 would be compiled for by itself
    while x < len(faces):
        f, first = faces[x], x
        while x < len(faces) and faces[x] == f:
            x += 1
        owner = owners[int(drawn[f, OWNER])] if f > 0 else 0
        for k in range(first, x):
            ids[k] = owner
        if f == 0:
            continue
        if drawn[f, LEVEL] < 0:
            _plain_run(drawn[f], first, x, nearest, air, line, depth)
        else:
            _textured_run(drawn[f], y, first, x, nearest, air, line, depth, sheet)
        if owner > 0 and y < out.clear:
            _note(out.seen, int(owner), y, first, x)


@compiled
def _hide(y: int, out: Picture, flat: Flat) -> None:
    """The labels of a row that the own bonnet covers in part."""
    for x in range(len(out.hood)):
        owner = out.object_id[y, x]
        if y >= out.hood[x]:
            out.object_id[y, x] = flat.drivable[y, x] = flat.lane[y, x] = 0
        elif owner > 0:
            _note(out.seen, owner, y, x, x + 1)


@compiled
def _row_of_sky(
    first: int, last: int, ray: F64, step: F64, face: I32, panorama: U32, line: F32, depth: F32,
    drivable: U8, lane: U8,
) -> None:  # fmt: skip
    """The backdrop of a row into ``line``."""
    k = 1.0 / 256
    x0, x1, x2, s0, s1, s2 = ray[0], ray[1], ray[2], step[0], step[1], step[2]
    for x in range(max(first, 0), last):
        if face[x] == 0:
            b, g, r = _sky(panorama, x0 + s0 * x, x1 + s1 * x, x2 + s2 * x)
            line[x, 0], line[x, 1], line[x, 2] = b * k, g * k, r * k
            depth[x] = math.inf
            drivable[x] = 0
            lane[x] = 0


@compiled
def _tone(
    albedo: U8, cover: U8, paint: U8, tones: F32, x: int
) -> tuple[float, float, float, float]:
    """Surface and paint of a pixel: BGR, and how much it is road."""
    b, g, r = float(albedo[x, 0]), float(albedo[x, 1]), float(albedo[x, 2])
    road = float(albedo[x, 3]) * (1 / 255)
    if cover[x] == 0:
        return b, g, r, road
    share, k = float(cover[x]) * (1 / 255), paint[x]
    b, g = b + (tones[k, 0] - b) * share, g + (tones[k, 1] - g) * share
    return b, g, r + (tones[k, 2] - r) * share, max(road, share)


@compiled
def _mirror_row(y: int, face: I32, albedo: U8, ground: Ground, line: F32) -> None:
    """What wet asphalt mirrors, fading towards the viewer, into ``line``."""
    below, rows = y - ground.top, len(ground.mirror)
    if not 0 <= below < rows:
        return
    mirror, wet = ground.mirror[below], (1.0 - below / rows) * ground.wet * (1 / 255)
    for x in range(len(face)):
        if face[x] == 0:
            share = wet * float(albedo[x, 3])
            for k in range(3):
                line[x, k] += (mirror[x, k] - line[x, k]) * share


@compiled
def _row_of_ground(
    y: int, first: int, last: int, ray: F64, step: F64, eye: Eye, face: I32, flat: Flat,
    ground: Ground, air: Air, line: F32, depth: F32,
) -> None:  # fmt: skip
    """The ground of a row into ``line``: tone and paint, grain, shadow and beam, haze."""
    albedo, cover, paint, shade = flat.albedo[y], flat.cover[y], flat.paint[y], ground.shade[y]
    tones, noise, decay, beam = ground.tones, ground.noise, air.decay, ground.beam
    h0, h1, h2 = air.haze[0], air.haze[1], air.haze[2]
    e0, e1, e2 = eye.place[0], eye.place[1], eye.place[2]
    v0, v1, cos, sin = ground.vehicle[0], ground.vehicle[1], ground.vehicle[2], ground.vehicle[3]
    r0, r1, r2, s0, s1, s2 = ray[0], ray[1], ray[2], step[0], step[1], step[2]
    steps, road_k, verge_k = air.per_m * DECAY_STEPS, ground.road, ground.verge
    middle = -(r2 + s2 * (0.5 * len(face))) / e2
    level = _level(1.0 / max(middle, 1e-6), eye.lens[0], e2)
    most = min(int(HAZE_M * steps), DECAY_STEPS * DECAY_END - 1)
    for x in range(max(first, 0), last):
        if face[x] > 0:
            continue
        z = -e2 / (r2 + s2 * x)
        x_m, y_m = e0 + z * (r0 + s0 * x), e1 + z * (r1 + s1 * x)
        b, g, r, road = _tone(albedo, cover, paint, tones, x)
        grain = _grain(noise, level, x_m, y_m)
        factor = max(1.0 + grain * (verge_k + (road_k - verge_k) * road), 0.2)
        factor *= float(shade[x]) * (1 / 255)
        if beam:
            dx, dy = x_m - v0, y_m - v1
            factor *= headlamp(dx * cos + dy * sin, dy * cos - dx * sin)
        keep = decay[min(int(min(z, HAZE_M) * steps), most)]
        b = h0 + (min(b * factor, 255.0) - h0) * keep
        g = h1 + (min(g * factor, 255.0) - h1) * keep
        r = h2 + (min(r * factor, 255.0) - h2) * keep
        line[x, 0], line[x, 1], line[x, 2] = b, g, r
        depth[x] = z


@compiled
def _horizon(y: int, ray: F64, step: F64, wide: int) -> tuple[int, int, bool]:
    """Columns from and to which the row is ground, and whether sky lies to their left."""
    if abs(step[2]) < 1e-12:
        return (0, wide, False) if ray[2] < -1e-7 else (0, 0, False)
    at = (-1e-7 - ray[2]) / step[2]  # ground where ray + step x lies below
    edge = min(max(math.ceil(at), 0), wide) if at < 1e9 else wide
    return (edge, wide, True) if step[2] < 0 else (0, edge, False)


@compiled
def shade_rows(
    first: int, last: int, eye: Eye, target: Target, owners: I64, sheet: U32, panorama: U32,
    flat: Flat, ground: Ground, air: Air, out: Picture,
) -> None:  # fmt: skip
    """Colour the rows ``first`` to ``last``; ``owners``: object of each instance."""
    wide = target.face.shape[1]
    lens, image, depth = eye.lens, out.image, out.depth_m
    step, ray, line = np.empty(3), np.empty(3), np.empty((wide, 3), np.float32)
    for y in range(first, last):
        for k in range(3):
            step[k] = eye.axes[k, 0] / lens[0]
            ray[k] = eye.axes[k, 2] + eye.axes[k, 1] * ((y - lens[3]) / lens[1])
            ray[k] -= step[k] * lens[2]
        a, b, _ = _horizon(y, ray, step, wide)
        _row_of_solids(y, target.drawn, target.face, target.inverse, owners, sheet, air, line, out)
        if y >= out.clear:
            _hide(y, out, flat)
        for part in range(2):
            left, right = a * 0 if part == 0 else b, a if part == 0 else wide
            _row_of_sky(
                left, right, ray, step, target.face[y], panorama, line, depth[y],
                flat.drivable[y], flat.lane[y],
            )  # fmt: skip
        _row_of_ground(y, a, b, ray, step, eye, target.face[y], flat, ground, air, line, depth[y])
        if ground.wet > 0.0:
            _mirror_row(y, target.face[y], flat.albedo[y], ground, line)
        for x in range(wide):
            for k in range(3):
                image[y, x, k] = np.uint8(line[x, k] + np.float32(0.5))
        for x in range(wide):
            seen = target.face[y, x] == 0
            flat.drivable[y, x] &= seen
            flat.lane[y, x] &= seen
