"""The rasteriser: placed meshes to the nearest face and the depth of every pixel, and how many
pixels each labelled object would show with nothing before it. Compiled.

A pixel belongs to a triangle when its centre (whole numbers) lies inside; on an edge that two
triangles share it belongs to one of them. 1 / depth is linear in the image, so it is what is
compared; texture coordinates over depth likewise (Heckbert 1989).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from data.synthetic.lighting import (
    LEVEL,
    OWNER,
    SHINING,
    U0,
    UX,
    UY,
    V0,
    VX,
    VY,
    X0,
    Y0,
    Light,
    colour,
    lamp,
)
from data.synthetic.mesh import CORNER_2, CULL, GLOW, NORMAL, RADIUS, SLOT, UV, WHITE_UV
from data.synthetic.textures import LEVELS
from data.types import F32, F64, I64

I32 = NDArray[np.int32]

NEAR_M = 0.25
FAR_M = 170.0  # solids beyond are left to the backdrop
LEAST_PX, LEAST_LABELLED_PX = 2.2, 0.4  # radius below which a face is not drawn
SPARE_LAMPS = 4096


class Placed(NamedTuple):
    """Meshes and where they stand.

    Attributes:
        table: (f, mesh.COLUMNS) float32 triangles of all meshes, mesh k in rows first[k] to
            first[k + 1]; bounds: (k, 10) of each mesh, see ``Mesh.bounds``; far: (k,) mesh drawn
            instead at a distance.
        which: (m,) mesh of each instance; pose: (m, 4) world x, y, yaw and scale; object_id: (m,)
            0 for none, no two instances the same; dye: (m, mesh.DYES, 3) float32 BGR; lamps:
            (m,) float32 factor of its glow; shadow_m: (m, 3) length, width and height of what
            throws its shadow, 0 for none.
    """

    table: F32
    first: I64
    bounds: F64
    far: I64
    which: I64
    pose: F64
    object_id: I64
    dye: F32
    lamps: F32
    shadow_m: F64


class Eye(NamedTuple):
    """Camera in the world: place (3,), axes (3, 3) with right, down and forward as columns, lens
    (4,) fx, fy, cx, cy in px."""

    place: F64
    axes: F64
    lens: F64


class Target(NamedTuple):
    """What is drawn into.

    Attributes:
        inverse: (h, w) float32 1 / depth, 0 for nothing; face: (h, w) int32 row of ``drawn``, 0
            for none; stamp: (h, w) int32, for the count; area_px: (n + 1,) int64 pixels of each
            object with nothing before it (0 of those wholly hidden); drawn: (c, RECORD) float32,
            see ``lighting``; lamps: (l, 8) float64 pixel u, v, depth, BGR, glow and instance.
    """

    inverse: F32
    face: I32
    stamp: I32
    area_px: I64
    drawn: F32
    lamps: F64


@compiled
def _stand(pose: F64, eye: Eye, light: Light, t: F64) -> None:
    """Fill ``t``: camera from model (3 x 3, then shift), the eye and the sun in the model."""
    x, y, yaw, k = pose[0], pose[1], pose[2], pose[3]
    c, s = math.cos(yaw), math.sin(yaw)
    dx, dy, dz = x - eye.place[0], y - eye.place[1], -eye.place[2]
    for r in range(3):
        a0, a1, a2 = eye.axes[0, r], eye.axes[1, r], eye.axes[2, r]
        t[3 * r] = k * (a0 * c + a1 * s)
        t[3 * r + 1] = k * (a1 * c - a0 * s)
        t[3 * r + 2] = k * a2
        t[9 + r] = a0 * dx + a1 * dy + a2 * dz
    t[12], t[13], t[14] = -(dx * c + dy * s) / k, (dx * s - dy * c) / k, -dz / k
    sun = light.towards_sun
    t[15], t[16], t[17] = sun[0] * c + sun[1] * s, sun[1] * c - sun[0] * s, sun[2]


@compiled
def _in_sight(bounds: F64, k: float, t: F64, lens: F64, wide: int, high: int) -> bool:
    """Whether a mesh's ball meets the view."""
    a, b, c, r = bounds[6], bounds[7], bounds[8], bounds[9] * k
    x = t[0] * a + t[1] * b + t[2] * c + t[9]
    y = t[3] * a + t[4] * b + t[5] * c + t[10]
    z = t[6] * a + t[7] * b + t[8] * c + t[11]
    if z + r < NEAR_M or z - r > FAR_M:
        return False
    side = max(lens[2] + 0.5, wide - 0.5 - lens[2]) / lens[0]
    tall = max(lens[3] + 0.5, high - 0.5 - lens[3]) / lens[1]
    return abs(x) - side * z < r * (1 + side) and abs(y) - tall * z < r * (1 + tall)


@compiled
def _hidden(bounds: F64, t: F64, lens: F64, inverse: F32) -> bool:
    """Whether all of a mesh's box lies behind what is drawn already."""
    left, right, top, bottom, nearest = math.inf, -math.inf, math.inf, -math.inf, math.inf
    for corner in range(8):
        a = bounds[3] if corner & 1 else bounds[0]
        b = bounds[4] if corner & 2 else bounds[1]
        c = bounds[5] if corner & 4 else bounds[2]
        z = t[6] * a + t[7] * b + t[8] * c + t[11]
        if z < NEAR_M:
            return False
        u = lens[0] * (t[0] * a + t[1] * b + t[2] * c + t[9]) / z + lens[2]
        v = lens[1] * (t[3] * a + t[4] * b + t[5] * c + t[10]) / z + lens[3]
        left, right, nearest = min(left, u), max(right, u), min(nearest, z)
        top, bottom = min(top, v), max(bottom, v)
    high, wide = inverse.shape
    x0, x1 = max(math.ceil(left), 0), min(math.floor(right) + 1, wide)
    for y in range(max(math.ceil(top), 0), min(math.floor(bottom) + 1, high)):
        farthest = np.float32(math.inf)
        for x in range(x0, x1):
            farthest = min(farthest, inverse[y, x])
        if farthest * nearest < 1.0:
            return False
    return True


@compiled
def _gradient(
    p: F64, a: int, b: int, c: int, q1: float, q2: float, det: float
) -> tuple[float, float]:
    """Change per pixel to the right and down of what grows by ``q1`` from a to b, ``q2`` to c."""
    x1, y1 = p[b, 0] - p[a, 0], p[b, 1] - p[a, 1]
    x2, y2 = p[c, 0] - p[a, 0], p[c, 1] - p[a, 1]
    return (q1 * y2 - q2 * y1) / det, (q2 * x1 - q1 * x2) / det


@compiled
def _fill(
    p: F64, a: int, b: int, c: int, det: float, number: int, owner: int,
    inverse: F32, face: I32, stamp: I32, area: I64,
) -> int:  # fmt: skip
    """Draw the triangle of rows a, b, c of ``p`` (x, y, 1 / z, ...); returns the pixels won."""
    step, down = _gradient(p, a, b, c, p[b, 2] - p[a, 2], p[c, 2] - p[a, 2], det)
    at0 = p[a, 2] - p[a, 0] * step - p[a, 1] * down
    if p[b, 1] < p[a, 1]:
        a, b = b, a
    if p[c, 1] < p[a, 1]:
        a, c = c, a
    if p[c, 1] < p[b, 1]:
        b, c = c, b
    high, wide = face.shape
    (xa, ya), (xb, yb), (xc, yc) = (p[a, 0], p[a, 1]), (p[b, 0], p[b, 1]), (p[c, 0], p[c, 1])
    long = (xc - xa) / (yc - ya)
    upper, lower = (xb - xa) / max(yb - ya, 1e-12), (xc - xb) / max(yc - yb, 1e-12)
    won = count = 0
    for y in range(max(math.ceil(ya), 0), min(math.ceil(yc), high)):
        left = xa + (y - ya) * long
        right = xa + (y - ya) * upper if y < yb else xb + (y - yb) * lower
        if right < left:
            left, right = right, left
        x0, x1 = max(math.ceil(left), 0), min(math.ceil(right), wide)
        at = at0 + down * y
        for x in range(x0, x1):  # without branches, so that it runs in wide registers
            value, best, first = np.float32(at + step * x), inverse[y, x], face[y, x]
            nearer = value > best
            inverse[y, x] = value if nearer else best
            face[y, x] = number if nearer else first
            won += nearer
        if owner > 0:
            for x in range(x0, x1):
                if stamp[y, x] != owner:
                    stamp[y, x] = owner
                    count += 1
    area[owner] += count
    return won


@compiled
def _twice_area(p: F64, a: int, b: int, c: int) -> float:
    x1, y1, x2, y2 = p[b, 0] - p[a, 0], p[b, 1] - p[a, 1], p[c, 0] - p[a, 0], p[c, 1] - p[a, 1]
    return x1 * y2 - x2 * y1


@compiled
def _outside(p: F64, a: int, b: int, c: int, wide: int, high: int) -> bool:
    """Whether no pixel's centre lies in the triangle's bounding box."""
    low, top = min(p[a, 0], p[b, 0], p[c, 0]), max(p[a, 0], p[b, 0], p[c, 0])
    if math.ceil(max(low, 0.0)) >= math.ceil(min(top, float(wide))):
        return True
    low, top = min(p[a, 1], p[b, 1], p[c, 1]), max(p[a, 1], p[b, 1], p[c, 1])
    return math.ceil(max(low, 0.0)) >= math.ceil(min(top, float(high)))


@compiled
def _record(p: F64, a: int, b: int, c: int, det: float, drawn: F32, number: int) -> None:
    """Texture planes and level of a drawn triangle."""
    row = drawn[number]
    row[X0], row[Y0], row[LEVEL] = p[a, 0], p[a, 1], -1.0
    u1, v1, u2, v2 = p[b, 5] - p[a, 5], p[b, 6] - p[a, 6], p[c, 5] - p[a, 5], p[c, 6] - p[a, 6]
    texels = abs(u1 * v2 - u2 * v1)
    if texels == 0.0 and p[a, 5] == WHITE_UV[0]:
        return
    row[U0], row[V0] = p[a, 3], p[a, 4]
    row[UX], row[UY] = _gradient(p, a, b, c, p[b, 3] - p[a, 3], p[c, 3] - p[a, 3], det)
    row[VX], row[VY] = _gradient(p, a, b, c, p[b, 4] - p[a, 4], p[c, 4] - p[a, 4], det)
    level = 0.5 * math.log2(max(texels / abs(det), 1e-9)) + 0.15
    row[LEVEL] = min(max(round(level), 0), LEVELS - 1)


@compiled
def _project(cam: F64, n: int, lens: F64, p: F64) -> None:
    for j in range(n):
        w = 1.0 / cam[j, 2]
        p[j, 0] = lens[0] * cam[j, 0] * w + lens[2]
        p[j, 1] = lens[1] * cam[j, 1] * w + lens[3]
        p[j, 2], p[j, 3], p[j, 4] = w, cam[j, 3] * w, cam[j, 4] * w
        p[j, 5], p[j, 6] = cam[j, 3], cam[j, 4]


@compiled
def _clip(cam: F64, spare: F64) -> int:
    """Cut the triangle in the first 3 rows (x, y, z, u, v) at ``NEAR_M``; the corners left."""
    n = 0
    for j in range(3):
        k = (j + 1) % 3
        if cam[j, 2] >= NEAR_M:
            for m in range(5):
                spare[n, m] = cam[j, m]
            n += 1
        if (cam[j, 2] >= NEAR_M) != (cam[k, 2] >= NEAR_M):
            t = (NEAR_M - cam[j, 2]) / (cam[k, 2] - cam[j, 2])
            for m in range(5):
                spare[n, m] = cam[j, m] + t * (cam[k, m] - cam[j, m])
            spare[n, 2] = NEAR_M
            n += 1
    for j in range(n):
        for m in range(5):
            cam[j, m] = spare[j, m]
    return n


@compiled
def _corners(table: F32, f: int, t: F64, cam: F64) -> float:
    """The face in the camera's frame (x, y, z, u, v a row); its smallest depth."""
    least = 1e9
    for j in range(3):
        k = 0 if j == 0 else CORNER_2 + 3 * (j - 1)
        x, y, z = float(table[f, k]), float(table[f, k + 1]), float(table[f, k + 2])
        cam[j, 0] = t[0] * x + t[1] * y + t[2] * z + t[9]
        cam[j, 1] = t[3] * x + t[4] * y + t[5] * z + t[10]
        cam[j, 2] = t[6] * x + t[7] * y + t[8] * z + t[11]
        cam[j, 3], cam[j, 4] = table[f, UV + 2 * j], table[f, UV + 2 * j + 1]
        least = min(least, cam[j, 2])
    return least


@compiled
def _facing(table: F32, f: int, t: F64) -> float:
    """Above 0 when the face's outer side is towards the eye."""
    dot = (t[12] - table[f, 0]) * table[f, NORMAL] + (t[13] - table[f, 1]) * table[f, NORMAL + 1]
    return dot + (t[14] - table[f, 2]) * table[f, NORMAL + 2]


@compiled
def _worth_drawing(
    table: F32, f: int, t: F64, scale: float, facing: float, least: float, lamps: float
) -> bool:
    """Not turned away, in depth, and large enough: its radius at least ``least`` of its depth;
    lit windows only when lamps are on."""
    if facing <= 0.0 and table[f, CULL] > 0.0:
        return False
    z = t[6] * table[f, 0] + t[7] * table[f, 1] + t[8] * table[f, 2] + t[11]
    r = table[f, RADIUS] * scale
    if z + 2.0 * r < NEAR_M or z > FAR_M or r < least * z:
        return False
    return not (lamps < 0.3 and 0.0 < table[f, GLOW] < SHINING)


@compiled
def _draw(
    placed: Placed, i: int, t: F64, light: Light, lens: F64, scratch: F64, out: Target,
    drawn_so_far: I64,
) -> None:  # fmt: skip
    """Draw instance ``i``, which stands as in ``t``; counts faces and lamps."""
    faces, lamps = drawn_so_far[0], drawn_so_far[1]
    table, owner, scale = placed.table, placed.object_id[i], placed.pose[i, 3]
    inverse, face, stamp, area, drawn = out.inverse, out.face, out.stamp, out.area_px, out.drawn
    cam, spare, p = scratch[:5], scratch[5:10], scratch[10:]
    high, wide = face.shape
    least = (LEAST_LABELLED_PX if owner > 0 else LEAST_PX) / lens[0]
    mesh = placed.which[i]
    for f in range(placed.first[mesh], placed.first[mesh + 1]):
        facing = _facing(table, f, t)
        if not _worth_drawing(table, f, t, scale, facing, least, light.lamps):
            continue
        corners = 3 if _corners(table, f, t, cam) >= NEAR_M else _clip(cam, spare)
        _project(cam, corners, lens, p)
        for c in range(2, corners):
            if _outside(p, 0, c - 1, c, wide, high):
                continue
            det = _twice_area(p, 0, c - 1, c)
            if abs(det) < 1e-7 or not _fill(
                p, 0, c - 1, c, det, faces + 1, owner, inverse, face, stamp, area
            ):
                continue
            faces += 1
            _record(p, 0, c - 1, c, det, drawn, faces)
            dye, own = placed.dye[i, int(table[f, SLOT])], placed.lamps[i]
            side = 1.0 if facing > 0 else -1.0
            colour(table[f], dye, own, t, side, cam, light, drawn[faces])
            drawn[faces, OWNER] = i
            if table[f, GLOW] >= SHINING and lamps < len(out.lamps):
                lamp(table[f], dye, own, i, cam, lens, out.lamps[lamps])
                lamps += 1
    drawn_so_far[0], drawn_so_far[1] = faces, lamps


@compiled
def rasterise(placed: Placed, order: I64, eye: Eye, light: Light, out: Target) -> tuple[int, int]:
    """Draw all instances in ``order`` (near ones first is fastest); counts of faces and lamps."""
    out.inverse[:] = 0
    out.face[:] = 0
    out.stamp[:] = 0
    out.area_px[:] = 0
    high, wide = out.face.shape
    t, scratch = np.empty(18), np.empty((15, 7))
    counts = np.zeros(2, np.int64)
    for i in order:
        bounds = placed.bounds[placed.which[i]]
        _stand(placed.pose[i], eye, light, t)
        if not _in_sight(bounds, placed.pose[i, 3], t, eye.lens, wide, high):
            continue
        if not _hidden(bounds, t, eye.lens, out.inverse):
            _draw(placed, i, t, light, eye.lens, scratch, out, counts)
    return counts[0], counts[1]
