"""Triangle soups and the few solids that everything on the road is built from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.types import F32, F64, U8

WHITE_UV = (32.0, 32.0, 32.0, 32.0)  # the atlas cell that leaves colours as they are
DYES = 5  # colours of an instance: slot 0 is white, the others are given where it is placed

# columns of ``Mesh.table``, one row a triangle: first what tells whether it is seen at all
CORNER, NORMAL, RADIUS, CULL, GLOW, CORNER_2, CORNER_3, UV = 0, 3, 6, 7, 8, 9, 12, 15
COLOUR, GLOSS, SLOT = 21, 24, 25
COLUMNS = 26


@dataclass(frozen=True, eq=False)
class Mesh:
    """n triangles with their materials; x forward, y left, z up, origin on the ground.

    Attributes:
        corners_m: (n, 3, 3) float32; uv_px: (n, 3, 2) float32 into the texture atlas.
        normal: (n, 3) float32 unit, outward where ``cull``.
        colour: (n, 3) float32 BGR in 0..1; gloss: (n,) share of sky reflected;
        glow: (n,) 0 lit from outside, above 0 shines by itself (and blooms at night from 1 on).
        cull: (n,) bool, hidden when seen from behind.
        slot: (n,) uint8, which colour of its instance dyes the triangle, 0 for none.
        far: what to draw instead at a distance, of fewer triangles; None for the same.
    """

    corners_m: F32
    uv_px: F32
    normal: F32
    colour: F32
    gloss: F32
    glow: F32
    cull: NDArray[np.bool_]
    slot: U8
    far: Mesh | None = None

    def __len__(self) -> int:
        return len(self.corners_m)

    @cached_property
    def table(self) -> F32:
        """(n, COLUMNS) float32: all of it side by side, as the rasteriser reads it."""
        n = len(self)
        middle = self.corners_m.mean(1, keepdims=True)
        radius = np.sqrt(((self.corners_m - middle) ** 2).sum(2).max(1, initial=0))
        columns = (
            self.corners_m[:, 0], self.normal, radius, self.cull, self.glow, self.corners_m[:, 1],
            self.corners_m[:, 2], self.uv_px, self.colour, self.gloss, self.slot,
        )  # fmt: skip
        return np.concatenate([v.reshape(n, -1) for v in columns], 1, dtype=np.float32)

    @cached_property
    def bounds(self) -> F64:
        """(10,): lowest and highest x, y, z of all corners, then centre and radius of a ball."""
        low, high = self.corners_m.min((0, 1)), self.corners_m.max((0, 1))
        centre = (low + high) / 2
        reach = np.sqrt(((self.corners_m - centre) ** 2).sum(2).max())
        return np.array([*low, *high, *centre, reach], np.float64)

    def dyed(self, slot: int) -> Mesh:
        """The same with every triangle's colour multiplied by that slot of the instance."""
        return replace(self, slot=np.full(len(self), slot, np.uint8))

    def moved(self, x_m: float, y_m: float, yaw_rad: float, z_m: float = 0.0) -> Mesh:
        """Turned by ``yaw_rad`` about z, then shifted."""
        c, s = math.cos(yaw_rad), math.sin(yaw_rad)
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32)
        shift = np.array([x_m, y_m, z_m], np.float32)
        return replace(self, corners_m=self.corners_m @ turn + shift, normal=self.normal @ turn)


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """All triangles in one soup."""
    names = [f.name for f in fields(Mesh) if f.name != "far"]
    joined: list[Any] = [np.concatenate([getattr(m, name) for m in meshes]) for name in names]
    return Mesh(*joined)


def from_triangles(
    corners_m: ArrayLike,
    colour: ArrayLike,
    gloss: float = 0.0,
    glow: float = 0.0,
    uv_px: ArrayLike | None = None,
    outward_from: ArrayLike | None = None,
) -> Mesh:
    """Build a mesh; with ``outward_from`` normals point away from that point and cull."""
    corners = np.asarray(corners_m, np.float32).reshape(-1, 3, 3)
    n = len(corners)
    (ax, ay, az), (bx, by, bz) = (corners[:, 1:] - corners[:, :1]).transpose(1, 2, 0)
    normal = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)
    normal /= np.maximum(np.sqrt((normal**2).sum(1, keepdims=True)), 1e-12)
    if outward_from is not None:
        away = corners.mean(1) - np.asarray(outward_from, np.float32)
        normal *= np.where((normal * away).sum(1) < 0, -1.0, 1.0)[:, None]
    if uv_px is None:
        uv = np.full((n, 3, 2), WHITE_UV[0], np.float32)
    else:
        uv = np.asarray(uv_px, np.float32).reshape(n, 3, 2)
    return Mesh(
        corners,
        uv,
        normal.astype(np.float32),
        np.array(np.broadcast_to(np.asarray(colour, np.float32), (n, 3))),
        np.full(n, gloss, np.float32),
        np.full(n, glow, np.float32),
        np.full(n, outward_from is not None),
        np.zeros(n, np.uint8),
    )


def quad(
    points_m: ArrayLike,
    colour: ArrayLike,
    gloss: float = 0.0,
    glow: float = 0.0,
    cell_px: tuple[float, float, float, float] = WHITE_UV,
    outward_from: ArrayLike | None = None,
) -> Mesh:
    """Four corners in ring order; ``cell_px`` (u0, v0, u1, v1) spans top left to bottom right,
    the ring being bottom left, bottom right, top right, top left."""
    p = np.asarray(points_m, np.float32)
    u0, v0, u1, v1 = cell_px
    uv = np.array([[u0, v1], [u1, v1], [u1, v0], [u0, v0]], np.float32)
    ring = [[0, 1, 2], [0, 2, 3]]
    return from_triangles(p[ring], colour, gloss, glow, uv[ring], outward_from)


def loft(
    rings_m: ArrayLike, colour: ArrayLike, gloss: float = 0.0, glow: float = 0.0, caps: bool = True
) -> Mesh:
    """Skin over closed rings (k, m, 3) of equal count, closed at both ends if ``caps``."""
    rings = np.asarray(rings_m, np.float32)
    m = rings.shape[1]
    nxt = np.roll(rings, -1, axis=1)
    a, b, c, d = rings[:-1], nxt[:-1], nxt[1:], rings[1:]
    tris = [np.stack([a, b, c], 2).reshape(-1, 3, 3), np.stack([a, c, d], 2).reshape(-1, 3, 3)]
    centres = rings.mean(1)
    middle = (centres[:-1] + centres[1:]) / 2
    origin = [np.repeat(middle, m, 0)] * 2
    if caps:
        inside = rings.reshape(-1, 3).mean(0)
        for ring, centre in ((rings[0], centres[0]), (rings[-1], centres[-1])):
            hub = np.broadcast_to(centre, ring.shape)
            tris.append(np.stack([hub, ring, np.roll(ring, -1, 0)], 1))
            origin.append(np.broadcast_to(inside, (m, 3)))
    return from_triangles(
        np.concatenate(tris), colour, gloss, glow, outward_from=np.concatenate(origin)
    )


def box(
    low_m: ArrayLike, high_m: ArrayLike, colour: ArrayLike, gloss: float = 0.0, glow: float = 0.0
) -> Mesh:
    """Axis-aligned box."""
    (x0, y0, z0), (x1, y1, z1) = np.asarray(low_m, float), np.asarray(high_m, float)
    ring = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    rings = [np.column_stack([ring, np.full(4, z)]) for z in (z0, z1)]
    return loft(rings, colour, gloss, glow)


def tube(
    start_m: ArrayLike,
    end_m: ArrayLike,
    radius_m: float | tuple[float, float],
    colour: ArrayLike,
    sides: int = 6,
    gloss: float = 0.0,
) -> Mesh:
    """Round bar between two points, tapered when two radii are given."""
    a, b = np.asarray(start_m, float), np.asarray(end_m, float)
    axis = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
    helper = np.array([0.0, 1.0, 0.0]) if abs(axis[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    e1 = np.cross(axis, helper)
    e1 /= np.linalg.norm(e1)
    e2 = np.cross(axis, e1)
    t = np.linspace(0, 2 * np.pi, sides, endpoint=False) + np.pi / sides
    unit = np.cos(t)[:, None] * e1 + np.sin(t)[:, None] * e2
    r0, r1 = radius_m if isinstance(radius_m, tuple) else (radius_m, radius_m)
    return loft([a + unit * r0, b + unit * r1], colour, gloss)


def ball(
    centre_m: ArrayLike, radii_m: ArrayLike, colour: ArrayLike, sides: int = 8, layers: int = 5
) -> Mesh:
    """Ellipsoid with radii along x, y and z."""
    t = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    lat = np.linspace(-1.25, 1.25, layers)
    unit = np.stack(
        [
            np.column_stack(
                [np.cos(t) * np.cos(p), np.sin(t) * np.cos(p), np.full(sides, np.sin(p))]
            )
            for p in lat
        ]
    )
    return loft(unit * np.asarray(radii_m, float) + np.asarray(centre_m, float), colour)


def disc(
    centre_m: ArrayLike, radius_m: float, colour: ArrayLike, normal_axis: int, sides: int = 12,
    glow: float = 0.0, inner_m: float = 0.0,
) -> Mesh:  # fmt: skip
    """Flat disc (or ring, with ``inner_m``) across one axis (0 x, 1 y, 2 z), seen from both
    sides."""
    t = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    others = [i for i in range(3) if i != normal_axis]
    rim = np.zeros((sides, 3))
    rim[:, others[0]], rim[:, others[1]] = np.cos(t), np.sin(t)
    centre = np.asarray(centre_m, float)
    outer, inner = centre + rim * radius_m, centre + rim * inner_m
    o2, i2 = np.roll(outer, -1, 0), np.roll(inner, -1, 0)
    tris = [np.stack([inner, outer, o2], 1)]
    if inner_m > 0:
        tris.append(np.stack([inner, o2, i2], 1))
    return from_triangles(np.concatenate(tris), colour, glow=glow)
