"""The cost grid: what a camera saw, as the cost of driving over each cell.

Kinds: road where the projected drivable probability says so; the unseen wedge at the bonnet is
filled from the first seen rows; ground out of view, beyond the horizon guard or hidden behind
an object is unknown and never free. Costs: 1 per metre, more near edges, lane lines and away
from the own lane's middle; infinite off the road and where the vehicle would not fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from data.types import Cell, CostGrid, Scene
from planning.corridor import Corridor, along_lines, trace
from planning.fusion import Evidence, Fused, FusionConfig, Way, fused
from planning.grid import GridSpec
from planning.ground import GroundView, ground_view, hidden_by_boxes, project, project_thin
from planning.obstacles import Footprints, footprints, is_obstacle
from planning.vehicle import Vehicle

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]

DIM_M = 3.0  # before the limit of sight: edges are too uncertain there to tell
NEVER_M = 99.0  # clearance where nothing undrivable is known


@dataclass(frozen=True)
class CostConfig:
    """Weights are added cost per metre driven.

    Attributes:
        drivable_threshold, lane_threshold: probabilities that count as road, as line.
        blind_m: road must be seen no further ahead than this, or there is no surface.
        close_m: holes and notches of the road up to this wide are closed.
        margin_m: kept free beside the vehicle at the very least.
        edge_m, edge_weight: reach beyond the margin and height of the rise at edges, objects.
        line_m, line_weight: reach and height of the rise near lane lines.
        crossing_weight: on a lane line.
        centre_weight: at half a lane from the own lane's middle, growing with the square.
        outside_weight: outside the own lane.
        tight_weight: where the start leaves less room than the vehicle needs.
        fusion: of the ground over frames.
    """

    drivable_threshold: float = 0.5
    lane_threshold: float = 0.4
    blind_m: float = 14.0
    close_m: float = 1.0
    margin_m: float = 0.1
    edge_m: float = 0.7
    edge_weight: float = 6.0
    line_m: float = 1.4
    line_weight: float = 2.0
    crossing_weight: float = 25.0
    centre_weight: float = 2.0
    outside_weight: float = 4.0
    tight_weight: float = 30.0
    fusion: FusionConfig = field(default_factory=FusionConfig)


@dataclass(frozen=True, eq=False)
class Survey:
    """A cost grid with what it was made from.

    Attributes:
        grid: the cost grid.
        corridor: own lane; None when no surface is seen at the vehicle.
        objects: footprints of what can be run into.
        first_m: x of the first seen road straight ahead; NaN when there is none.
        far_m: x beyond which nothing is seen at all.
        ground: what is known of the ground, for the next frame to go on from.
    """

    grid: CostGrid
    corridor: Corridor | None
    objects: Footprints
    first_m: float
    far_m: float
    ground: Fused


def _first_road_row(road: Mask, shown: Mask, spec: GridSpec, config: CostConfig) -> int:
    """First of three rows of road straight ahead; -1 when none lies within ``blind_m``."""
    a, b, reach = spec.col_of(-0.9), spec.col_of(0.9) + 1, 2 * _disc_cells(spec, config)
    end = spec.row_of(config.blind_m) + 2
    near = road[: end + reach, max(a - reach, 0) : b + reach]
    band = _closed(near, spec, config)[:end, min(a, reach) :]
    is_road = (band[:, : b - a] & shown[:end, a:b]).mean(axis=1) >= 0.5
    hits = np.flatnonzero(is_road[:-2] & is_road[1:-1] & is_road[2:])
    return int(hits[0]) if len(hits) else -1


def _filled(kind: U8, seen: Mask, first: int, spec: GridSpec, vehicle: Vehicle) -> U8:
    """Kinds with the first seen road extended back to the rear axle.

    What lies before the first row of road straight ahead is bonnet or out of view. A column is
    filled when its own first road follows within 2 m of what is seen first; the way of the own
    wheels is always filled.
    """
    from planning.grid_kernels import fill_wedge

    reach, half = max(1, round(2.0 / spec.resolution_m)), vehicle.half_width_m + 0.6
    own = spec.col_of(-half), spec.col_of(half) + 1
    return np.asarray(run(fill_wedge, kind, seen, first, reach, spec.row_of(15.0), *own))


def _recall(kind: U8, ground: _Ground, config: CostConfig) -> None:
    """Take ground out of view for road where it was seen to be, in place.

    What was seen not to be road is not taken from memory: it may have been what has moved since.
    """
    remembered = ground.known.odds >= config.fusion.known_odds
    kind[(kind == Cell.UNKNOWN) & ~ground.hidden & remembered] = Cell.ROAD


def _paint(kind: U8, objects: Footprints, spec: GridSpec) -> None:
    side = -spec.origin_m[1]
    for i in range(len(objects)):
        if objects.x0_m[i] >= spec.ahead_m or objects.y0_m[i] >= side or objects.y1_m[i] <= -side:
            continue
        r0, r1 = spec.row_of(objects.x0_m[i]), spec.row_of(objects.x1_m[i])
        c0, c1 = spec.col_of(objects.y0_m[i]), spec.col_of(objects.y1_m[i])
        kind[r0 : r1 + 1, c0 : c1 + 1] = Cell.OBSTACLE


def _costs(
    kind: U8,
    line: U8,
    clearance_m: F32,
    corridor: Corridor,
    first: int,
    spec: GridSpec,
    vehicle: Vehicle,
    c: CostConfig,
) -> F32:
    """(rows, cols) float32 cost of a metre on each cell, infinite off the road and where the
    vehicle would not fit."""
    from planning.grid_kernels import costs

    need = vehicle.half_width_m + c.margin_m
    # The very start may be tighter than it looks: the bonnet's edge cuts the road ragged.
    end = first + round(3.0 / spec.resolution_m)
    start = end, spec.col_of(-1.2), spec.col_of(1.2) + 1
    weights = (
        c.edge_m, c.edge_weight, c.line_m, c.line_weight, c.crossing_weight, c.centre_weight,
        c.outside_weight, c.tight_weight,
    )  # fmt: skip
    found = run(
        costs, kind, line, clearance_m, corridor.centre_m, corridor.width_m / 2, need, *start,
        spec.resolution_m, spec.origin_m[1], tuple(map(float, weights)),
    )  # fmt: skip
    return np.asarray(found)


@dataclass(frozen=True, eq=False)
class _Ground:
    """Kinds without objects and wedge, lines along the road, cells hidden behind objects, the
    first row of road seen (-1: none), and what is known after this frame."""

    kind: U8
    line: U8
    hidden: Mask
    first: int
    known: Fused


def _ground(
    scene: Scene, view: GroundView, spec: GridSpec, config: CostConfig, last: Fused | None,
    way: Way | None,
) -> _Ground:  # fmt: skip
    drivable = project(view, scene.surfaces.drivable)
    lane = project_thin(view, scene.surfaces.lane)
    boxes = scene.tracks.xyxy[is_obstacle(scene.tracks.class_id)]
    hidden = hidden_by_boxes(view, boxes, scene.surfaces)
    with np.errstate(invalid="ignore"):
        road = drivable > config.drivable_threshold
        line = (lane > config.lane_threshold).astype(np.uint8)
    shown = np.isfinite(drivable) & ~hidden
    first = _first_road_row(road, shown, spec, config)
    # the frame's own, and no evidence against road: the bonnet, and what shows past the outline
    # of an object that will have moved
    rim = cv2.dilate(hidden.view(np.uint8), np.ones((5, 5), np.uint8)).view(np.bool_)
    rim[: max(first, 0)] = True
    told = np.where(shown & (road | ~rim), drivable, np.float32(np.nan))
    evidence = Evidence(told, view.std_m, config.drivable_threshold)
    known = fused(last, way, evidence, spec, scene.t_ns, config.fusion)
    if known.frames > 1:
        road = (rim & road) | (~rim & (known.odds > 0))
        first = first if first >= 0 else _first_road_row(road, shown, spec, config)
    # by arithmetic, a third of the time of picking: what is not shown is UNKNOWN, which is 0
    road_is_less = np.uint8(Cell.OFF_ROAD - Cell.ROAD)
    kind = np.uint8(Cell.OFF_ROAD) - road_is_less * _closed(road, spec, config).view(np.uint8)
    kind *= shown.view(np.uint8)
    return _Ground(kind, along_lines(line, spec.resolution_m), hidden, first, known)


def _disc_cells(spec: GridSpec, config: CostConfig) -> int:
    return max(1, round(config.close_m / spec.resolution_m)) | 1


def _closed(road: Mask, spec: GridSpec, config: CostConfig) -> Mask:
    """Road with its narrow holes and notches closed."""
    k = _disc_cells(spec, config)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (k, k))
    out = cv2.morphologyEx(road.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    return np.asarray(out, dtype=np.bool_)


def survey(
    scene: Scene,
    spec: GridSpec,
    vehicle: Vehicle,
    config: CostConfig | None = None,
    view: GroundView | None = None,
    last: Fused | None = None,
    way: Way | None = None,
) -> Survey:
    """Build the cost grid and keep what a planner needs beside it; see ``build_cost_grid``.

    Args:
        last: the ground as known after the last frame, and the ``way`` driven since; with either
            None the frame stands alone.
    """
    from planning.grid_kernels import distance_m

    config = config or CostConfig()
    surfaces = scene.surfaces
    if view is None:
        view = ground_view(scene.camera, spec, surfaces.drivable.shape, surfaces.scale)
    objects = footprints(scene.tracks, scene.camera, vehicle)
    ground = _ground(scene, view, spec, config, last, way)
    kind, line, hidden, first = ground.kind, ground.line, ground.hidden, ground.first
    corridor = None
    if first >= 0:
        edge = (kind == Cell.OFF_ROAD).astype(np.uint8)
        edge[spec.row_of(view.far_m - DIM_M) :] = 0
        corridor = trace(line, edge, first, spec)
        kind = _filled(kind, view.seen, first, spec, vehicle)
        if ground.known.frames > 1:
            _recall(kind, ground, config)
    np.copyto(kind, Cell.LANE_LINE, where=(kind == Cell.ROAD) & (line > 0))
    _paint(kind, objects, spec)
    shut = (kind == Cell.OFF_ROAD) | (kind == Cell.OBSTACLE) | (hidden & (kind == Cell.UNKNOWN))
    clearance = np.asarray(run(distance_m, shut, spec.resolution_m, NEVER_M, 0.5))
    cost = np.full(kind.shape, np.inf, np.float32)
    if corridor is not None:
        cost = _costs(kind, line, clearance, corridor, first, spec, vehicle, config)
    grid = CostGrid(
        cost, kind, clearance, spec.resolution_m, spec.origin_m, scene.t_ns, ground.known.frames
    )  # fmt: skip
    first_m = first * spec.resolution_m if first >= 0 else float("nan")
    return Survey(grid, corridor, objects, first_m, view.far_m, ground.known)


def build_cost_grid(
    scene: Scene,
    spec: GridSpec,
    vehicle: Vehicle,
    config: CostConfig | None = None,
    view: GroundView | None = None,
) -> CostGrid:
    """Build the cost grid of one scene.

    Args:
        view: from ``ground_view`` for this camera and map size; None: computed here (slow).

    Returns:
        The grid at ``scene.t_ns``. ``clearance_m`` is the distance to ground known not to be
        free (off the road, an object, or hidden behind one); the borders of the view are
        undrivable too, but do not count as something to keep away from.
    """
    return survey(scene, spec, vehicle, config, view).grid
