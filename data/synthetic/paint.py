"""What lies flat on the ground, as rings of four corners: surfaces, paint and the labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.synthetic.flat import LAYERS
from data.synthetic.road import STEP_M, Line, Road
from data.types import F64, U8

ERROR_M = 0.012  # by which a piece of a strip may miss a curve
PIECES_M = (2.0, 12.0)  # shortest and longest piece
SEAM_POINTS = 10
ARM_M = 75.0  # length of the crossing road's arms


@dataclass(frozen=True, eq=False)
class Rings:
    """xy_m (q, 4, 2) world corners of convex rings and their layer (q,) uint8 into
    ``flat.LAYERS``, in the order to draw them."""

    xy_m: F64
    layer: U8


class _Builder:
    """Collects rings of one road: bands along it, corners along and across it, or in the world."""

    def __init__(self, road: Road) -> None:
        self.road = road
        bend = np.abs(np.diff(road.yaw_rad)).max(initial=0.0) / STEP_M
        self.piece_m = float(np.clip(np.sqrt(8 * ERROR_M / max(bend, 1e-6)), *PIECES_M))
        self.bands: dict[tuple[float, float], list[tuple[int, float, float]]] = {}
        self.along: list[tuple[int, F64, F64]] = []
        self.world: list[tuple[int, F64]] = []

    def rings(self, layer: str, s_m: F64, d_m: F64) -> None:
        """Rings by their corners' s and d, (n, 4) each."""
        self.along.append((LAYERS.index(layer), s_m, d_m))

    def strip(self, layer: str, d0: float, d1: float, s0: float, s1: float) -> None:
        """A band along the road."""
        self.bands.setdefault((s0, s1), []).append((LAYERS.index(layer), d0, d1))

    def broken(self, layer: str, d0: float, d1: float) -> None:
        """A band over the whole road, interrupted at the junction."""
        for s0, s1 in open_ranges(self.road):
            self.strip(layer, d0, d1, s0, s1)

    def _pieces(self) -> list[tuple[NDArray[np.int64], F64, F64]]:
        """The bands cut into pieces: layer (n,), s and d (n, 4); those of one length at once."""
        out = []
        for (s0, s1), bands in self.bands.items():
            n = max(math.ceil((s1 - s0) / self.piece_m), 1)
            cuts, m = np.linspace(s0, s1, n + 1), len(bands)
            s = np.stack([cuts[:-1], cuts[1:], cuts[1:], cuts[:-1]], 1)
            table = np.array(bands)
            d = np.repeat(table[:, [1, 1, 2, 2]], n, 0)
            layer = np.repeat(table[:, 0].astype(np.int64), n)
            out.append((layer, np.broadcast_to(s, (m, n, 4)).reshape(-1, 4), d))
        return out

    def done(self) -> Rings:
        rows = self._pieces() + [(np.full(len(s), k), s, d) for k, s, d in self.along]
        s, d = (np.concatenate([row[k] for row in rows]) for k in (1, 2))
        layers = [row[0] for row in rows] + [np.full(len(xy), k) for k, xy in self.world]
        xy = np.concatenate([self.road.at(s, d), *(xy for _, xy in self.world)])
        layer = np.concatenate(layers).astype(np.uint8)
        order = np.argsort(layer, kind="stable")
        return Rings(xy[order], layer[order])


def open_ranges(road: Road) -> list[tuple[float, float]]:
    """Stretches of s outside the junction."""
    if road.layout.junction_m is None:
        return [(road.start_m, road.end_m)]
    a, b = road.layout.junction_m
    return [(road.start_m, a), (b, road.end_m)]


def ground_rings(road: Road, rng: np.random.Generator) -> Rings:
    """Surfaces, paint, wear and label rings of a road."""
    build, lay = _Builder(road), road.layout
    right, left = lay.edge_m
    if lay.pavement_m:
        build.broken("pavement", right - lay.pavement_m, right)
        build.broken("pavement", left, left + lay.pavement_m)
    build.strip("asphalt", right, left, road.start_m, road.end_m)
    if lay.far_side_m:
        build.strip("asphalt", *lay.far_side_m, road.start_m, road.end_m)
    _wear(build, rng)
    if lay.junction_m:
        _junction(build, lay.junction_m)
    for line in lay.lines:
        _line(build, line)
    build.strip("drivable", *lay.own_m, road.start_m, road.end_m)
    return build.done()


def _line(build: _Builder, line: Line) -> None:
    """Paint of one line, and its label, which bridges the gaps of dashes as BDD100K does."""
    d0, d1 = line.d_m - line.width_m / 2, line.d_m + line.width_m / 2
    build.broken("lane", d0, d1)
    layer = "kerb" if line.style == "kerb" else "yellow" if line.yellow else "white"
    if line.style != "dashed":
        build.broken(layer, d0, d1)
        return
    paint, gap = build.road.layout.dash_m
    for s0, s1 in open_ranges(build.road):
        a = np.arange(s0, s1 - paint, paint + gap)[:, None]
        for share in (0.0, 0.5):  # in halves, to follow a bend
            s = a + paint * (share + np.array([0.0, 0.5, 0.5, 0.0]))
            build.rings(layer, s, np.broadcast_to([d0, d0, d1, d1], s.shape))


def _wear(build: _Builder, rng: np.random.Generator) -> None:
    """Wheel tracks, repaired patches and tar seams."""
    road, lay = build.road, build.road.layout
    for lane in range(-lay.oncoming_lanes, lay.own_lanes):
        for side in (-0.8, 0.8):
            d = lay.lane_centre_m(lane) + side
            build.strip("worn", d - 0.28, d + 0.28, road.start_m, road.end_m)
    length = road.end_m - road.start_m
    n = int(rng.poisson(length / 30))
    s, at = rng.uniform(road.start_m, road.end_m, n), rng.uniform(*lay.edge_m, n)
    wide, long = rng.uniform(0.4, 1.6, n), rng.uniform(1.0, 7.0, n)
    low, high = np.maximum(at - wide, lay.edge_m[0]), np.minimum(at + wide, lay.edge_m[1])
    corners = np.stack([s, s + long, s + long, s], 1), np.stack([low, low, high, high], 1)
    build.rings("patch", *corners)
    _seams(build, rng, int(rng.poisson(length / 25)))


def _seams(build: _Builder, rng: np.random.Generator, count: int) -> None:
    """Cracks filled with tar: each wanders along the road in a few straight pieces."""
    road, (right, left) = build.road, build.road.layout.edge_m
    s = rng.uniform(road.start_m, road.end_m, (count, 1)) + np.cumsum(
        rng.uniform(0.4, 1.4, (count, SEAM_POINTS)), 1
    )
    d = rng.uniform(right, left, (count, 1)) + np.cumsum(
        rng.normal(0, 0.25, (count, SEAM_POINTS)), 1
    )
    d = np.clip(d, right, left)
    # as wide whichever way it runs
    turn = np.arctan2(np.gradient(d, axis=1), np.gradient(s, axis=1))
    ds, dd = -0.018 * np.sin(turn), 0.018 * np.cos(turn)
    keep = np.arange(SEAM_POINTS - 1) < rng.integers(3, SEAM_POINTS, (count, 1))
    ring = [[(v - e)[:, :-1], (v + e)[:, :-1], (v + e)[:, 1:], (v - e)[:, 1:]]
            for v, e in ((s, ds), (d, dd))]  # fmt: skip
    build.rings("tar", *(np.stack([c[keep] for c in corners], 1) for corners in ring))


def _junction(build: _Builder, span: tuple[float, float]) -> None:
    """The crossing road, with stripes and a stop line before it."""
    road, lay = build.road, build.road.layout
    middle, half = sum(span) / 2, (span[1] - span[0]) / 2
    centre, yaw = road.at(middle, 0.0), float(road.yaw_at(middle))
    along = np.array([np.cos(yaw), np.sin(yaw)]) * half
    across = np.array([-np.sin(yaw), np.cos(yaw)])
    rings = []
    for side in (-1.0, 1.0):
        start = (lay.edge_m[1] if side > 0 else -lay.edge_m[0]) - 0.2
        near, far = centre + across * side * start, centre + across * side * ARM_M
        rings.append([near - along, far - along, far + along, near + along])
    build.world.append((LAYERS.index("asphalt"), np.array(rings)))
    if not lay.zebra:
        return
    right, left = lay.edge_m
    d = np.arange(right + 0.4, left - 0.6, 1.1)
    for s0, s1 in ((span[0] - 4.2, span[0] - 1.2), (span[1] + 1.2, span[1] + 4.2)):
        s = np.broadcast_to(np.array([s0, s1, s1, s0]), (len(d), 4))
        build.rings("white", s, np.stack([d, d, d + 0.55, d + 0.55], 1))
    build.strip("white", lay.own_m[0], lay.own_m[1], span[0] - 6.2, span[0] - 5.8)
