"""Cars, vans, lorries and buses: bodies lofted from a few outlines, with what drivers look for:
windows, lamps, wheels and plates. Origin on the ground at the middle of the footprint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.synthetic.mesh import Mesh, box, disc, loft, merge, quad
from data.synthetic.textures import cell

Bgr = tuple[float, float, float]

DYED: Bgr = (1.0, 1.0, 1.0)  # takes its colour from the instance
TYRE: Bgr = (0.035, 0.035, 0.035)
RIM: Bgr = (0.50, 0.50, 0.50)
GLASS: Bgr = (0.115, 0.10, 0.09)
TRIM: Bgr = (0.05, 0.05, 0.05)
PAINTS: tuple[Bgr, ...] = (
    (0.78, 0.78, 0.78), (0.82, 0.83, 0.83), (0.05, 0.05, 0.05), (0.08, 0.075, 0.07),
    (0.30, 0.29, 0.28), (0.47, 0.46, 0.45), (0.20, 0.19, 0.18), (0.32, 0.12, 0.06),
    (0.10, 0.08, 0.45), (0.28, 0.20, 0.10), (0.35, 0.42, 0.48), (0.16, 0.22, 0.10),
    (0.06, 0.45, 0.70),
)  # fmt: skip


CARGO: tuple[Bgr, ...] = ((0.62, 0.62, 0.62), (0.5, 0.42, 0.3), (0.3, 0.3, 0.5))
BUSES: tuple[Bgr, ...] = ((0.75, 0.76, 0.78), (0.1, 0.12, 0.6), (0.5, 0.3, 0.1))


@dataclass(frozen=True)
class Shape:
    """Proportions of a car: lengths in m; ``deck`` (rear, front) heights of boot and bonnet as a
    share of the height; ``cabin`` x of rear foot, rear roof, front roof, front foot as shares of
    the length from the rear."""

    length_m: float
    width_m: float
    height_m: float
    deck: tuple[float, float]
    cabin: tuple[float, float, float, float]
    wheel_m: float = 0.33


SHAPES: dict[str, Shape] = {
    "sedan": Shape(4.75, 1.84, 1.46, (0.70, 0.64), (0.10, 0.24, 0.55, 0.73)),
    "hatch": Shape(4.15, 1.79, 1.50, (0.64, 0.63), (0.01, 0.09, 0.56, 0.76)),
    "suv": Shape(4.65, 1.92, 1.72, (0.63, 0.62), (0.01, 0.07, 0.58, 0.75), 0.37),
    "minivan": Shape(4.9, 1.95, 1.80, (0.56, 0.55), (0.005, 0.05, 0.66, 0.88), 0.34),
    "pickup": Shape(5.4, 1.96, 1.82, (0.58, 0.60), (0.36, 0.41, 0.59, 0.74), 0.39),
    "van": Shape(5.4, 2.02, 2.25, (0.48, 0.50), (0.003, 0.012, 0.74, 0.90), 0.34),
}


KINDS = ("sedan", "hatch", "suv", "minivan", "pickup", "van")
KIND_SHARES = np.cumsum([0.32, 0.14, 0.32, 0.07, 0.08])  # the last one has the rest


@dataclass(frozen=True, eq=False)
class Vehicle:
    """A mesh with brakes off and on, its size, and its colours for the meshes' slots."""

    cruising: Mesh
    braking: Mesh
    length_m: float
    width_m: float
    height_m: float
    dye: tuple[Bgr, ...]

    @property
    def size_m(self) -> tuple[float, float, float]:
        return self.length_m, self.width_m, self.height_m


def random_vehicle(rng: np.random.Generator, heavy_share: float = 0.12) -> Vehicle:
    """A car of random shape and paint, or with ``heavy_share`` a lorry or bus."""
    if rng.random() < heavy_share:
        return bus(rng) if rng.random() < 0.4 else lorry(rng)
    kind = KINDS[int(np.searchsorted(KIND_SHARES, rng.random()))]
    paint = PAINTS[int(rng.integers(len(PAINTS)))]
    return car(kind, paint)


def car(kind: str, paint: Bgr) -> Vehicle:
    """A passenger car of one of ``SHAPES``."""
    shape = SHAPES[kind]
    cruising, braking = _car_meshes(kind)
    return Vehicle(cruising, braking, shape.length_m, shape.width_m, shape.height_m, (paint,))


@lru_cache(maxsize=16)
def _car_meshes(kind: str) -> tuple[Mesh, Mesh]:
    """Brakes off and on, the paint in slot 1."""
    shape = SHAPES[kind]
    body, trim = [_body(shape), _cabin(shape)], _trim(shape)
    near, far = merge([*body, *_wheels(shape), *trim]), merge([*body, *_wheels(shape, 8), *trim])
    cruising, braking = (
        replace(merge([near, *lamps]), far=merge([far, *lamps]))
        for lamps in (_lamps(shape, False), _lamps(shape, True))
    )
    return cruising, braking


def _section(x: float, half: float, low: float, high: float) -> NDArray[np.float64]:
    """A rounded cross-section of the body at x: (8, 3)."""
    y = half * np.array([0.84, 1.0, 1.0, 0.90, -0.90, -1.0, -1.0, -0.84])
    rise = np.array([0.0, 0.3, 0.72, 1.0, 1.0, 0.72, 0.3, 0.0])
    return np.column_stack([np.full(8, x), y, low + (high - low) * rise])


def _body(shape: Shape) -> Mesh:
    length, half, height = shape.length_m, shape.width_m / 2, shape.height_m
    rear, front = shape.deck[0] * height, shape.deck[1] * height
    low = 0.19 + 0.1 * (shape.wheel_m - 0.33) / 0.06
    stations = (
        (0.0, 0.86, low + 0.18, rear * 0.88), (0.02, 0.95, low + 0.06, rear * 0.97),
        (0.10, 1.0, low, rear), (0.30, 1.0, low, max(rear, front)), (0.62, 1.0, low, front * 1.04),
        (0.76, 1.0, low, front), (0.92, 0.96, low, front * 0.88),
        (0.985, 0.88, low + 0.05, front * 0.74), (1.0, 0.78, low + 0.12, front * 0.64),
    )  # fmt: skip
    rings = [_section((t - 0.5) * length, half * w, z0, z1) for t, w, z0, z1 in stations]
    return loft(rings, DYED, gloss=0.22).dyed(1)


def _cabin(shape: Shape) -> Mesh:
    """The greenhouse: pillars and roof in the body's paint, glass set on its four sides."""
    length, half, height = shape.length_m, shape.width_m / 2, shape.height_m
    x = (np.array(shape.cabin) - 0.5) * length
    foot = min(shape.deck) * height * 0.98
    shoulder = height * 0.955
    base_half, roof_half = half * 0.90, half * (0.74 if height < 2 else 0.86)

    def ring(x0: float, x1: float, y: float, z: float) -> NDArray[np.float64]:
        cut = 0.12
        pts = [(x0, y - cut), (x0 + cut, y), (x1 - cut, y), (x1, y - cut)]
        pts += [(a, -b) for a, b in pts[::-1]]
        return np.array([(a, b, z) for a, b in pts])

    t = (shoulder - foot) / (height - foot)
    middle = x[[0, 3]] * (1 - t) + x[[1, 2]] * t
    mid_half = base_half * (1 - t) + roof_half * t
    rings = [
        ring(x[0], x[3], base_half, foot),
        ring(middle[0], middle[1], mid_half, shoulder),
        ring(x[1] + 0.1, x[2] - 0.1, roof_half * 0.92, height),
    ]
    shell = loft(rings, DYED, gloss=0.25).dyed(1)
    return merge([shell, *_glass(x, (foot, shoulder), (base_half, mid_half), middle, shape)])


def _glass(
    x: NDArray[np.float64], z: tuple[float, float], half: tuple[float, float],
    top: NDArray[np.float64], shape: Shape,
) -> list[Mesh]:  # fmt: skip
    """Windscreen, rear window and side windows, just outside the shell."""
    out, e, inset = [], 0.015, 0.06
    z0, z1 = z[0] + 0.05, z[1] - 0.015
    y0, y1 = half[0] - 0.12, half[1] - 0.11
    for foot, head, sign in ((x[0], top[0], -1), (x[3], top[1], 1)):
        if shape.height_m > 2.0 and sign < 0:
            continue  # a van's blind rear doors
        ring = [(foot, y0, z0), (foot, -y0, z0), (head, -y1, z1), (head, y1, z1)]
        shift = np.array([sign * e * 2, 0, 0])
        # the pane leans with the shell: move its foot up along the slope
        lean = np.array(
            [[0.05 * (head - foot) / max(z[1] - z[0], 0.1), 0, 0]] * 2 + [[0, 0, 0]] * 2
        )
        out.append(quad(np.array(ring) + shift + lean, GLASS, 0.3, cell_px=cell("sky_glass")))
    front, back = x[3] - 0.2, x[0] + 0.22
    if shape.height_m > 2.0:
        back = x[3] - 1.35
    split = (back + front) / 2 - 0.05
    lean_front = (top[1] - x[3]) * 0.93
    lean_back = (top[0] - x[0]) * 0.93 if shape.height_m <= 2.0 else 0.0
    for side in (-1, 1):
        for a, b, la, lb in ((back, split - inset, lean_back, 0), (split, front, 0, lean_front)):
            ring = [(a, half[0] + e, z0), (b, half[0] + e, z0)]
            ring += [(b + lb, half[1] + e, z1), (a + la, half[1] + e, z1)]
            pts = np.array(ring) * [1, side, 1]
            out.append(quad(pts, GLASS, 0.3, cell_px=cell("sky_glass")))
    return out


def _wheels(shape: Shape, sides: int = 14) -> list[Mesh]:
    r, half, length = shape.wheel_m, shape.width_m / 2, shape.length_m
    out = []
    for x in (-0.30 * length, 0.315 * length):
        for side in (-1, 1):
            out += wheel(x, side * (half - 0.005), r, 0.22, side, sides)
            y = side * (half + 0.004)
            out.append(disc((x, y, r + 0.02), r * 1.16, TRIM, 1, sides))
    return out


def wheel(
    x: float, y_out: float, r: float, wide: float, side: int, sides: int = 14
) -> list[Mesh]:  # fmt: skip
    """Tyre and rim; ``y_out`` is the outer face."""
    t = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rim = np.column_stack([x + r * np.cos(t), np.zeros(sides), r + r * np.sin(t)])
    rings = [
        rim + np.array([0, y_out + side * 0.012, 0]),
        rim + np.array([0, y_out - side * wide, 0]),
    ]
    y = y_out + side * 0.02
    if sides < 12:
        return [loft(rings, TYRE), disc((x, y, r), r * 0.58, RIM, 1, sides)]
    return [
        loft(rings, TYRE),
        disc((x, y, r), r * 0.64, RIM, 1, 12),
        disc((x, y + side * 0.006, r), r * 0.52, (0.16, 0.16, 0.16), 1, 10, inner_m=r * 0.2),
    ]


def _trim(shape: Shape) -> list[Mesh]:
    """Bumpers, grille, plates, mirrors and door seams."""
    length, half = shape.length_m / 2, shape.width_m / 2
    nose = shape.deck[1] * shape.height_m
    e = 0.012
    out = [
        box((-length - e, -half * 0.82, 0.28), (-length + 0.06, half * 0.82, 0.44), TRIM),
        box((length - 0.06, -half * 0.70, 0.24), (length + e, half * 0.70, 0.40), TRIM),
        quad(_facing(length + e, half * 0.42, 0.44, nose * 0.62), (0.04, 0.04, 0.045), 0.1),
        quad(_facing(-length - 2 * e, 0.25, 0.52, 0.64), (0.45,) * 3, cell_px=cell("plate")),
        quad(_facing(length + 3 * e, 0.25, 0.30, 0.40), (0.45,) * 3, cell_px=cell("plate")),
    ]
    x = (shape.cabin[3] - 0.5) * shape.length_m - 0.55
    z = shape.deck[1] * shape.height_m
    for side in (-1, 1):
        y = sorted((side * (half - 0.02), side * (half + 0.17)))
        out.append(box((x - 0.09, y[0], z), (x + 0.07, y[1], z + 0.14), DYED, 0.2).dyed(1))
        seam = [(x - 0.5, side * (half + 0.005), 0.3), (x - 0.48, side * (half + 0.005), 0.3)]
        seam += [(a, b, z * 0.8) for a, b, _ in seam[::-1]]
        out.append(quad(seam, TRIM))
    return out


def _facing(x: float, half_y: float, z0: float, z1: float) -> NDArray[np.float64]:
    """A quad across the vehicle, its left edge to the left of one looking at it from outside."""
    s = -1.0 if x > 0 else 1.0  # seen from ahead, left and right change places
    y = half_y * s
    return np.array([(x, y, z0), (x, -y, z0), (x, -y, z1), (x, y, z1)])


def _lamps(shape: Shape, braking: bool) -> list[Mesh]:
    """Tail lamps at the rear corners, headlamps at the front ones."""
    length, half = shape.length_m / 2, shape.width_m / 2
    rear, nose = shape.deck[0] * shape.height_m, shape.deck[1] * shape.height_m
    red: Bgr = (0.10, 0.08, 0.95) if braking else (0.06, 0.04, 0.42)
    glow = 2.2 if braking else 1.0
    out = []
    for side in (-1, 1):
        out += _corner_lamp(-length, half, side, (rear * 0.68, rear * 0.85), 0.60, red, glow)
        white = (0.86, 0.88, 0.88)
        out += _corner_lamp(length, half, side, (nose * 0.57, nose * 0.68), 0.45, white, 3.0)
    if braking:
        x = (shape.cabin[1] - 0.5) * shape.length_m - 0.04
        top = shape.height_m * 0.985
        out.append(quad(_facing(x - 0.02, 0.17, top - 0.045, top), red, glow=1.95))
    return out


def _corner_lamp(
    x: float, half: float, side: int, z: tuple[float, float], inner: float, colour: Bgr,
    glow: float,
) -> list[Mesh]:  # fmt: skip
    """A lamp at the end ``x`` of the body and round its corner, hidden from behind."""
    out = 1.0 if x > 0 else -1.0
    wide = (0.77, 0.90, 0.95) if x > 0 else (0.85, 0.965, 0.985)
    turns = [(x + 0.03 * out, inner), (x + 0.03 * out, wide[0]), (x - 0.07 * out, wide[1]),
             (x - 0.17 * out, wide[2])]  # fmt: skip
    parts = []
    for (x0, y0), (x1, y1) in pairwise(turns):
        a, b = (x0, side * half * y0), (x1, side * half * y1)
        ring = [(*a, z[0]), (*b, z[0]), (*b, z[1]), (*a, z[1])]
        inside = (x - out, 0.0, (z[0] + z[1]) / 2)
        parts.append(quad(ring, colour, 0.2, glow, outward_from=inside))
    return parts


def lorry(rng: np.random.Generator) -> Vehicle:
    """A box lorry."""
    length, height = 6.5 + 0.5 * int(rng.integers(7)), 2.9 + 0.35 * int(rng.integers(3))
    cab = PAINTS[int(rng.integers(len(PAINTS)))]
    cargo = CARGO[int(rng.integers(len(CARGO)))]
    return Vehicle(*_lorry_meshes(length, height), length, 2.4, height, (cab, cargo))


@lru_cache(maxsize=32)
def _lorry_meshes(length: float, height: float) -> tuple[Mesh, Mesh]:
    """Brakes off and on; the cab's paint in slot 1, the cargo's in slot 2."""
    nose, half = length / 2, 1.2
    low = [
        box((-nose, -half, 1.0), (nose - 2.2, half, height), DYED, 0.05).dyed(2),
        box((nose - 2.1, -half + 0.05, 0.5), (nose - 0.1, half - 0.05, 1.35), DYED, 0.2).dyed(1),
        _cab(nose, 2 * half),
        box((-nose + 0.1, -0.5, 0.6), (nose - 2.0, 0.5, 1.0), TRIM),
        box((-nose, -half, 0.45), (-nose + 0.08, half, 0.60), TRIM),
    ]
    for side in (-1, 1):
        y = side * (half + 0.012)
        ring = [(-nose, y, 1.0), (nose - 2.2, y, 1.0), (nose - 2.2, y, height), (-nose, y, height)]
        low.append(quad(ring, DYED, cell_px=cell("cargo")).dyed(2))
    return _heavy(low, length, 2 * half, (-0.32 * length, -0.2 * length, nose - 1.0))


def _cab(nose: float, width: float) -> Mesh:
    half = width / 2 - 0.05
    rings = []
    for z, x1 in ((1.3, nose - 0.1), (2.1, nose - 0.25), (2.45, nose - 0.55)):
        x0 = nose - 2.1
        rings.append(np.array([(x0, -half, z), (x1, -half, z), (x1, half, z), (x0, half, z)]))
    pane = [(nose - 0.1, half - 0.1, 1.42), (nose - 0.1, -half + 0.1, 1.42)]
    pane += [(nose - 0.23, -half + 0.15, 2.1), (nose - 0.23, half - 0.15, 2.1)]
    out = [loft(rings, DYED, 0.2).dyed(1), quad(pane, GLASS, 0.3, cell_px=cell("sky_glass"))]
    for side in (-1, 1):
        y = side * (half + 0.012)
        ring = [(nose - 1.5, y, 1.42), (nose - 0.5, y, 1.42), (nose - 0.6, y, 2.1),
                (nose - 1.5, y, 2.1)]  # fmt: skip
        out.append(quad(ring, GLASS, 0.3, cell_px=cell("sky_glass")))
    return merge(out)


def bus(rng: np.random.Generator) -> Vehicle:
    """A city bus with a band of windows."""
    length = 10.0 + 0.5 * int(rng.integers(5))
    paint = BUSES[int(rng.integers(len(BUSES)))]
    return Vehicle(*_bus_meshes(length), length, 2.5, 3.1, (paint,))


@lru_cache(maxsize=8)
def _bus_meshes(length: float) -> tuple[Mesh, Mesh]:
    """Brakes off and on, the paint in slot 1."""
    nose, half = length / 2, 1.25
    low = [box((-nose, -half, 0.35), (nose, half, 3.1), DYED, 0.12).dyed(1)]
    low.append(quad(_facing(nose + 0.012, half - 0.12, 1.1, 2.55), GLASS, 0.3,
                    cell_px=cell("sky_glass")))  # fmt: skip
    low.append(quad(_facing(nose + 0.012, 0.9, 2.65, 2.95), (0.05, 0.45, 0.7), glow=1.0))
    low.append(quad(_facing(-nose - 0.012, half - 0.3, 1.6, 2.5), GLASS, 0.3,
                    cell_px=cell("sky_glass")))  # fmt: skip
    for side in (-1, 1):
        for x in np.arange(-nose + 0.3, nose - 1.2, 1.45):
            y = side * (half + 0.012)
            ring = [(x, y, 1.35), (x + 1.3, y, 1.35), (x + 1.3, y, 2.5), (x, y, 2.5)]
            low.append(quad(ring, GLASS, 0.3, cell_px=cell("sky_glass")))
    return _heavy(low, length, 2 * half, (-0.27 * length, nose - 2.4))


def _heavy(
    parts: list[Mesh], length: float, width: float, axles: tuple[float, ...]
) -> tuple[Mesh, Mesh]:
    """Wheels and lamps for a lorry or bus."""
    for x in axles:
        for side in (-1, 1):
            parts += wheel(x, side * (width / 2 + 0.02), 0.48, 0.3, side)
    states = []
    for red, glow in (((0.06, 0.04, 0.42), 1.0), ((0.10, 0.08, 0.95), 2.2)):
        lamps = []
        for side in (-1, 1):
            y = side * (width / 2 - 0.25)
            tail = _facing(-length / 2 - 0.02, 0.14, 0.72, 0.95) + np.array([0, y, 0])
            head = _facing(length / 2 + 0.02, 0.18, 0.62, 0.84) + np.array([0, y, 0])
            inside, white = (0, y, 0.8), (0.86, 0.88, 0.88)
            lamps.append(quad(tail, red, 0.1, glow, outward_from=inside))
            lamps.append(quad(head, white, 0.3, 3.0, outward_from=inside))
        states.append(merge([*parts, *lamps]))
    return states[0], states[1]
