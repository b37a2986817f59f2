"""Trees, buildings, poles, lights and signs. Things that face the traffic look along -x.

What comes in variants is built once each; scenes vary them by colour (slot 1) and size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from data.synthetic.mesh import Mesh, ball, box, disc, from_triangles, loft, merge, quad, tube
from data.synthetic.textures import cell

Bgr = tuple[float, float, float]

METAL: Bgr = (0.34, 0.34, 0.33)
WALLS: tuple[Bgr, ...] = (
    (0.36, 0.46, 0.58), (0.28, 0.34, 0.50), (0.62, 0.68, 0.72), (0.50, 0.52, 0.54),
    (0.42, 0.54, 0.62), (0.60, 0.60, 0.58), (0.22, 0.26, 0.34), (0.70, 0.74, 0.76),
)  # fmt: skip
LEAVES: tuple[Bgr, ...] = (
    (0.10, 0.24, 0.15), (0.08, 0.19, 0.13), (0.12, 0.30, 0.22), (0.10, 0.27, 0.23),
)  # fmt: skip
TREES, BUSHES, BUILDINGS = 24, 6, 48  # variants
DYED: Bgr = (1.0, 1.0, 1.0)  # takes its colour from the instance
CLUTTER: tuple[Bgr, ...] = ((0.18, 0.24, 0.16), (0.36, 0.38, 0.36), (0.10, 0.12, 0.12))
BAY_M = 3.2  # a facade cell shows 4 floors of about this height


@lru_cache(maxsize=TREES)
def tree(variant: int) -> Mesh:
    """A trunk, a few dark lumps for the inside of the crown, and loose leaf clusters around; the
    leaves' colour in slot 1."""
    rng, leaves = np.random.default_rng([variant, 12]), 170
    height = float(rng.uniform(5.0, 11.0))
    width = height * float(rng.uniform(0.24, 0.36))
    base = np.ones(3)
    parts = [tube((0, 0, 0), (0, 0, height * 0.6), (0.17, 0.10), (0.14, 0.17, 0.20), 6)]
    lumps = int(rng.integers(5, 8))
    middle = rng.normal(size=(lumps, 3)) * [width * 0.42, width * 0.42, height * 0.12]
    middle[:, 2] += height * 0.68
    radius = width * rng.uniform(0.42, 0.68, lumps)
    u0, v0, u1, v1 = cell("foliage")
    for at, r in zip(middle, radius, strict=True):
        inner = ball((0, 0, 0), (r, r, r * 0.85), base * 0.68, 7, 4)
        # the same dent for the same corner keeps the lump closed
        wave = np.sin(inner.corners_m @ rng.normal(0, 3.0 / r, (3, 3))).sum(2, keepdims=True)
        dented = (inner.corners_m * (1 + 0.14 * wave) + at).astype(np.float32)
        inner = inner.dyed(1)
        uv = rng.uniform([u0, v0], [u1, v1], (len(inner), 3, 2)).astype(np.float32)
        tone = inner.colour * rng.uniform(0.8, 1.15, (len(inner), 1)).astype(np.float32)
        parts.append(replace(inner, corners_m=dented, uv_px=uv, colour=tone))
    which = rng.integers(lumps, size=leaves)
    direction = rng.normal(size=(leaves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    reach = radius[which][:, None] * rng.uniform(0.85, 1.12, (leaves, 1))
    centre = middle[which] + direction * reach * [1, 1, 0.85]
    size = width * rng.uniform(0.08, 0.17, (leaves, 1, 1))
    corners = centre[:, None] + size * rng.normal(size=(leaves, 3, 3))
    lift = (centre[:, 2:] - height * 0.5) / (height * 0.5)
    shade = 0.72 + 0.4 * lift + rng.normal(0, 0.12, (leaves, 1))
    place = rng.uniform([u0, v0], [u1 - 60, v1 - 60], (leaves, 1, 2))
    twig_uv = place + rng.uniform(0, 60, (leaves, 3, 2))
    parts.append(from_triangles(corners, base * shade, uv_px=twig_uv).dyed(1))
    return merge(parts)


@lru_cache(maxsize=BUSHES)
def bush(variant: int) -> Mesh:
    """A hedge along x, its colour in slot 1."""
    rng = np.random.default_rng([variant, 13])
    length_m, height_m = 4.0, float(rng.uniform(0.7, 1.8))
    n = int(18 * length_m)
    centre = rng.uniform([-length_m / 2, -0.5, 0.1], [length_m / 2, 0.5, height_m], (n, 3))
    corners = centre[:, None] + 0.34 * rng.normal(size=(n, 3, 3))
    corners[..., 2] = np.abs(corners[..., 2])
    colour = np.ones(3) * (0.6 + 0.5 * centre[:, 2:] / height_m + rng.normal(0, 0.07, (n, 1)))
    return from_triangles(corners, colour).dyed(1)


def leaf_colour(rng: np.random.Generator) -> Bgr:
    b, g, r = LEAVES[int(rng.integers(len(LEAVES)))]
    k = float(rng.uniform(0.85, 1.25))
    return b * k, g * k, r * k


@dataclass(frozen=True, eq=False)
class Building:
    """A block with its street front at y = -deep / 2, the wall's colour in slot 1."""

    mesh: Mesh
    wide_m: float
    deep_m: float
    height_m: float


@lru_cache(maxsize=BUILDINGS)
def building(variant: int) -> Building:
    """One of the blocks, its windows all round but at the back; every third one is low."""
    rng = np.random.default_rng([variant, 14])
    floors = 1 + variant % 2 if variant % 3 == 0 else int(rng.choice([2, 3, 4, 6, 9]))
    wide = BAY_M * int(rng.integers(3, 9))
    deep = float(rng.uniform(9, 15))
    height = floors * BAY_M + 1.2 * BAY_M
    hx, hy = wide / 2, deep / 2
    roof = box((-hx, -hy, height), (hx, hy, height + 0.6), (0.9,) * 3).dyed(1)
    style = f"facade_{'abcd'[int(rng.integers(4))]}"
    ground = "shop" if rng.random() < 0.5 else style
    corners = [(-hx, -hy), (hx, -hy), (hx, hy), (-hx, hy)]
    parts = [roof]
    for i in (0, 1, 3):  # the back is never seen
        a, b = np.array(corners[i]), np.array(corners[(i + 1) % 4])
        parts += _front(a, b, 1.2 * BAY_M, height, style, ground)
    ledge = (0.8,) * 3
    parts.append(box((-hx - 0.2, -hy - 0.2, height), (hx + 0.2, hy, height + 0.35), ledge).dyed(1))
    low, high = (-hx - 0.08, -hy - 0.12, 1.14 * BAY_M), (hx, -hy, 1.24 * BAY_M)
    parts.append(box(low, high, ledge).dyed(1))
    parts += _lit_windows(rng, wide, hy, floors)
    return Building(merge(parts), wide, deep, height)


def wall_colour(rng: np.random.Generator) -> Bgr:
    b, g, r = WALLS[int(rng.integers(len(WALLS)))]
    k = float(rng.uniform(0.75, 1.1))
    return b * k, g * k, r * k


def _front(
    a: np.ndarray, b: np.ndarray, ground_m: float, height: float, style: str, ground: str
) -> list[Mesh]:
    """Textured squares over one wall from a to b."""
    out = []
    length, step = float(np.hypot(*(b - a))), 4 * BAY_M
    for t in np.arange(0, length - 0.5, step):
        part = min(step, length - t)
        p, q = a + (b - a) * t / length, a + (b - a) * (t + part) / length
        bands = [(0.0, ground_m, ground, 0.25 if ground != "shop" else 1.0)]
        for z in np.arange(ground_m, height - 0.5, step):
            high = min(step, height - z)
            bands.append((z, z + high, style, high / step))
        for z0, z1, name, share in bands:
            ring = [(*p, z0), (*q, z0), (*q, z1), (*p, z1)]
            inside, box_px = (0, 0, (z0 + z1) / 2), cell(name, part / step, share)
            if name == "shop":
                out.append(quad(ring, (0.5,) * 3, cell_px=box_px, outward_from=inside))
            else:
                out.append(quad(ring, DYED, cell_px=box_px, outward_from=inside).dyed(1))
    return out


def _lit_windows(rng: np.random.Generator, wide_m: float, hy: float, floors: int) -> list[Mesh]:
    """Some windows shine; by day nobody sees it (the renderer scales weak glow with the lamps)."""
    out = []
    for _ in range(int(rng.integers(1, 3 + floors))):
        x = rng.uniform(-wide_m / 2 + 1, wide_m / 2 - 1)
        z = 1.2 * BAY_M + BAY_M * (int(rng.integers(max(floors, 1))) + 0.25)
        y = -hy - 0.03
        ring = [(x - 0.5, y, z), (x + 0.5, y, z), (x + 0.5, y, z + 1.5), (x - 0.5, y, z + 1.5)]
        warm = rng.uniform(0.5, 1.0)
        out.append(quad(ring, (0.30 * warm, 0.58 * warm, 0.78 * warm), glow=0.5))
    return out


@lru_cache(maxsize=64)
def traffic_light(state: str, arm_m: float, height_m: float = 5.2) -> tuple[Mesh, tuple[Mesh, ...]]:
    """A pole with an arm over the road (towards +y) or none; returns the pole and the housings."""
    parts = [tube((0, 0, 0), (0, 0, height_m + 0.5), (0.10, 0.07), METAL, 8)]
    places = [(0.0, 0.0, 2.9)] if arm_m < 1 else [(0.0, arm_m, height_m - 0.55)]
    if arm_m >= 1:
        parts.append(tube((0, 0, height_m), (0, arm_m + 0.3, height_m), 0.055, METAL, 6))
        places.append((0.0, 0.25, 3.0))
    return merge(parts), tuple(_housing(np.array(p), state) for p in places)


def _housing(at: np.ndarray, state: str) -> Mesh:
    x, y, z = at
    off: dict[str, Bgr] = {
        "red": (0.05, 0.04, 0.16), "amber": (0.04, 0.12, 0.16), "green": (0.07, 0.13, 0.05),
    }  # fmt: skip
    lit: dict[str, Bgr] = {
        "red": (0.25, 0.20, 1.0), "amber": (0.20, 0.75, 1.0), "green": (0.75, 1.0, 0.25),
    }  # fmt: skip
    parts = [box((x - 0.28, y - 0.19, z - 0.5), (x - 0.08, y + 0.19, z + 0.5), (0.06, 0.07, 0.06))]
    for name, dz in (("red", 0.31), ("amber", 0.0), ("green", -0.31)):
        on = name == state
        lens = disc((x - 0.30, y, z + dz), 0.125, lit[name] if on else off[name], 0, 10,
                    2.0 if on else 0.0)  # fmt: skip
        visor = box((x - 0.42, y - 0.14, z + dz + 0.12), (x - 0.28, y + 0.14, z + dz + 0.145),
                    (0.05, 0.05, 0.05))  # fmt: skip
        parts += [lens, visor]
    return merge(parts)


@lru_cache(maxsize=64)
def traffic_sign(kind: str, size_m: float, height_m: float) -> tuple[Mesh, Mesh]:
    """Post and plate; ``kind`` is a sign cell of the atlas, or 'yield'."""
    post = tube((0.03, 0, 0), (0.03, 0, height_m + size_m * 0.5), 0.035, METAL, 6)
    half = size_m / 2
    z = height_m + half
    if kind == "yield":
        front = np.array([(-0.02, half, z + half), (-0.02, -half, z + half), (-0.02, 0, z - half)])
        inner = front * [1, 0.62, 1] + [-0.01, 0, 0]
        inner[:, 2] = z + (front[:, 2] - z) * 0.62 + half * 0.14
        plate = merge([from_triangles(front[None], (0.10, 0.09, 0.75)),
                       from_triangles(inner[None], (0.85, 0.85, 0.85))])  # fmt: skip
        return post, plate
    ring = _plate_outline(kind, half) + np.array([0, 0, z])
    u0, v0, u1, v1 = cell(kind)
    extent = np.abs(ring[:, 1:] - [0, z]).max(0)
    u = u0 + (u1 - u0) * (0.5 - ring[:, 1] / extent[0] / 2)
    v = v0 + (v1 - v0) * (0.5 - (ring[:, 2] - z) / extent[1] / 2)
    fan = [[0, i, i + 1] for i in range(1, len(ring) - 1)]
    uv = np.column_stack([u, v])[fan]
    front_face = from_triangles(ring[fan], (0.5, 0.5, 0.5), uv_px=uv)
    back = from_triangles((ring + np.array([0.015, 0, 0]))[fan], METAL)
    return post, merge([front_face, back])


def _plate_outline(kind: str, half: float) -> np.ndarray:
    if kind == "stop":
        t = np.linspace(0, 2 * np.pi, 8, endpoint=False) + np.pi / 8
        return np.column_stack([np.full(8, -0.02), half * np.cos(t), half * np.sin(t)]) * [
            1,
            1.08,
            1.08,
        ]
    if kind == "warning":
        yz = [(0, half), (-half, 0), (0, -half), (half, 0)]
    else:
        wide = half * (0.8 if kind == "limit" else 1.7)
        yz = [(wide, half), (-wide, half), (-wide, -half), (wide, -half)]
    return np.array([(-0.02, y, z) for y, z in yz])


@lru_cache(maxsize=4)
def street_lamp(arm_m: float) -> Mesh:
    """A lamp post, its arm towards +y."""
    head = (0.0, arm_m, 7.45)
    return merge([
        tube((0, 0, 0), (0, 0, 7.4), (0.09, 0.05), METAL, 6),
        tube((0, 0, 7.4), head, 0.04, METAL, 5),
        box((-0.12, arm_m - 0.35, 7.36), (0.12, arm_m + 0.3, 7.5), METAL),
        box((-0.1, arm_m - 0.3, 7.32), (0.1, arm_m + 0.25, 7.36), (0.62, 0.82, 0.95), glow=0.9),
        ball((0.0, arm_m, 7.33), (0.06, 0.06, 0.04), (0.70, 0.88, 1.0), 5, 3),
    ])  # fmt: skip


@lru_cache(maxsize=4)
def rail(length_m: float) -> Mesh:
    """A guard rail along x with its posts."""
    half = length_m / 2
    parts = [box((x - 0.05, -0.05, 0), (x + 0.05, 0.05, 0.62), METAL)
             for x in np.arange(-half, half, 2.0)]  # fmt: skip
    profile = [
        (-0.06, 0.45),
        (-0.13, 0.52),
        (-0.06, 0.60),
        (-0.13, 0.68),
        (-0.06, 0.75),
        (0.0, 0.6),
    ]
    rings = [[(x, y, z) for y, z in profile] for x in (-half, half)]
    parts.append(loft(rings, (0.50, 0.50, 0.49), 0.1))
    return merge(parts)


@lru_cache(maxsize=3)
def clutter(kind: int) -> Mesh:
    """A bin, a cabinet or a bollard, none of them labelled."""
    colour = CLUTTER[kind]
    if kind == 0:
        return tube((0, 0, 0), (0, 0, 0.95), 0.28, colour, 8)
    if kind == 1:
        return box((-0.35, -0.2, 0), (0.35, 0.2, 1.15), colour)
    return tube((0, 0, 0), (0, 0, 0.9), 0.08, colour, 8)
