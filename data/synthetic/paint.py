"""What lies flat on the ground, as polygons in the world: surfaces, paint and the labels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.synthetic.road import Line, Road

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

NEAR_M = 0.4  # polygons are cut where they pass under the camera
FAR_M = 220.0
PIECE_M = 16.0  # strips are cut into pieces of this length, so that unseen ones are skipped
SUBPIXEL_BITS = 4  # projected corners are whole numbers of 1/16 px
OVERLAP_M = 0.06  # and overlap a little, against seams

# Drawn in this order.
LAYERS: tuple[str, ...] = (
    "pavement", "asphalt", "worn", "patch", "tar", "kerb", "white", "yellow",
)  # fmt: skip
LABELS: tuple[str, ...] = ("drivable", "lane")


@dataclass(frozen=True, eq=False)
class PolygonSet:
    """Polygons as one array of points: xy_m (n, 2), first (k + 1,) offsets, layer (k,) names,
    reach_m (k,) distance from the first point within which the whole polygon lies."""

    xy_m: F64
    first: NDArray[np.int64]
    layer: NDArray[np.str_]
    reach_m: F64

    def projected(
        self, camera: Camera, pose: tuple[float, float, float], far_m: float = FAR_M
    ) -> dict[str, list[I32]]:
        """Polygons (m, 2) by layer in 1/16 px, as seen from the vehicle at ``pose`` (x, y, yaw)."""
        c, s = np.cos(pose[2]), np.sin(pose[2])
        xy = (self.xy_m - pose[:2]) @ np.array([[c, -s], [s, c]])
        heads = xy[self.first[:-1]]
        near = (heads[:, 0] > -self.reach_m) & (np.hypot(*heads.T) - self.reach_m < far_m)
        world = camera.vehicle_from_camera
        cam = (np.column_stack([xy, np.zeros(len(xy))]) - world[:3, 3]) @ world[:3, :3]
        uvw = cam @ camera.matrix.T
        nearest = np.minimum.reduceat(cam[:, 2], self.first[:-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            uv = fixed_point(uvw[:, :2] / uvw[:, 2:])
        out: dict[str, list[I32]] = {name: [] for name in (*LAYERS, *LABELS)}
        for i in np.flatnonzero(near):
            a, b = self.first[i], self.first[i + 1]
            if nearest[i] > NEAR_M:
                out[str(self.layer[i])].append(uv[a:b])
            else:
                cut = _cut_near(uvw[a:b])
                if len(cut) > 2:
                    out[str(self.layer[i])].append(fixed_point(cut[:, :2] / cut[:, 2:]))
        return out


def fixed_point(uv_px: F64) -> I32:
    """Pixels as whole 1/16 px, kept within what OpenCV can draw."""
    with np.errstate(invalid="ignore"):
        return np.clip(np.rint(uv_px * 2**SUBPIXEL_BITS), -5e5, 5e5).astype(np.int32)


def _cut_near(uvw: F64) -> F64:
    """Clip a polygon of homogeneous pixels (depth last) at ``NEAR_M``."""
    nxt = np.roll(uvw, -1, 0)
    inside, inside_next = uvw[:, 2] >= NEAR_M, nxt[:, 2] >= NEAR_M
    crosses = inside != inside_next
    t = np.zeros(len(uvw))
    t[crosses] = (NEAR_M - uvw[crosses, 2]) / (nxt[crosses, 2] - uvw[crosses, 2])
    edge = uvw + (nxt - uvw) * t[:, None]
    both = np.stack([uvw, edge], 1).reshape(-1, 3)
    return both[np.stack([inside, crosses], 1).ravel()]


class _Builder:
    """Collects polygons for one road."""

    def __init__(self, road: Road) -> None:
        self.road = road
        self.items: list[tuple[str, F64]] = []

    def polygon(self, layer: str, xy_m: F64) -> None:
        self.items.append((layer, xy_m))

    def strip(self, layer: str, d0: float, d1: float, s0: float, s1: float) -> None:
        """A band along the road, in pieces."""
        edges = np.append(np.arange(s0, s1, PIECE_M), s1)
        for a, b in pairwise(edges):
            s = np.linspace(a, b + OVERLAP_M, max(2, int((b - a) / 1.25) + 1))
            right, left = self.road.at(s, d0), self.road.at(s[::-1], d1)
            self.polygon(layer, np.concatenate([right, left]))

    def broken(self, layer: str, d0: float, d1: float) -> None:
        """A band over the whole road, interrupted at the junction."""
        for s0, s1 in open_ranges(self.road):
            self.strip(layer, d0, d1, s0, s1)

    def done(self) -> PolygonSet:
        sizes = [len(p) for _, p in self.items]
        first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        reach = [float(np.hypot(*(p - p[0]).T).max()) for _, p in self.items]
        layer = np.array([name for name, _ in self.items])
        return PolygonSet(np.concatenate([p for _, p in self.items]), first, layer, np.array(reach))


def open_ranges(road: Road) -> list[tuple[float, float]]:
    """Stretches of s outside the junction."""
    if road.layout.junction_m is None:
        return [(road.start_m, road.end_m)]
    a, b = road.layout.junction_m
    return [(road.start_m, a), (b, road.end_m)]


def ground_polygons(road: Road, rng: np.random.Generator) -> PolygonSet:
    """Surfaces, paint, wear and label polygons of a road."""
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
        for s in np.arange(s0, s1 - paint, paint + gap):
            build.strip(layer, d0, d1, s, s + paint)


def _wear(build: _Builder, rng: np.random.Generator) -> None:
    """Wheel tracks, repaired patches and tar seams."""
    road, lay = build.road, build.road.layout
    for lane in range(-lay.oncoming_lanes, lay.own_lanes):
        for side in (-0.8, 0.8):
            d = lay.lane_centre_m(lane) + side
            build.strip("worn", d - 0.28, d + 0.28, road.start_m, road.end_m)
    length = road.end_m - road.start_m
    for _ in range(rng.poisson(length / 30)):
        s, d = rng.uniform(road.start_m, road.end_m), rng.uniform(*lay.edge_m)
        wide, long = rng.uniform(0.4, 1.6), rng.uniform(1.0, 7.0)
        low, high = max(d - wide, lay.edge_m[0]), min(d + wide, lay.edge_m[1])
        build.strip("patch", low, high, s, s + long)
    for _ in range(rng.poisson(length / 25)):
        s = rng.uniform(road.start_m, road.end_m)
        n = int(rng.integers(4, 10))
        along = s + np.cumsum(rng.uniform(0.2, 0.9, n))
        across = rng.uniform(*lay.edge_m) + np.cumsum(rng.normal(0, 0.35, n))
        across = np.clip(across, *lay.edge_m)
        ring = [road.at(along, across), road.at(along[::-1], across[::-1] + 0.05)]
        build.polygon("tar", np.concatenate(ring))


def _junction(build: _Builder, span: tuple[float, float]) -> None:
    """The crossing road, with stripes and a stop line before it."""
    road, lay = build.road, build.road.layout
    middle, half = sum(span) / 2, (span[1] - span[0]) / 2
    centre, yaw = road.at(middle, 0.0), float(road.yaw_at(middle))
    along = np.array([np.cos(yaw), np.sin(yaw)])
    across = np.array([-along[1], along[0]])
    for side in (-1.0, 1.0):
        start = (lay.edge_m[1] if side > 0 else -lay.edge_m[0]) - 0.2
        for t in np.arange(start, 75.0, PIECE_M):
            ends = [centre + across * side * t, centre + across * side * (t + PIECE_M + 0.1)]
            ring = [ends[0] - along * half, ends[1] - along * half]
            ring += [ends[1] + along * half, ends[0] + along * half]
            build.polygon("asphalt", np.array(ring))
    if not lay.zebra:
        return
    right, left = lay.edge_m
    for d in np.arange(right + 0.4, left - 0.6, 1.1):
        build.strip("white", d, d + 0.55, span[0] - 4.2, span[0] - 1.2)
        build.strip("white", d, d + 0.55, span[1] + 1.2, span[1] + 4.2)
    build.strip("white", lay.own_m[0], lay.own_m[1], span[0] - 6.2, span[0] - 5.8)
