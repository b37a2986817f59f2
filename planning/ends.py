"""What a way ends at: in words, and where the rear axle has to stop for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.types import Cell
from planning.costmap import Survey
from planning.goal import Lead
from planning.grid import GridSpec
from planning.ground import GroundView
from planning.obstacles import Footprints
from planning.route import Route
from planning.speed import SpeedConfig
from planning.vehicle import Vehicle

F64 = NDArray[np.float64]

_FREE_END_M = 3.0  # a path that ends this near the limit of sight ends for lack of sight
_LOOK_M = 4.0
_GAP_M = 0.3  # kept to an edge that a way ends at
_REACH_M = 0.4  # about the body within which what it touched is looked for
_TIP_M = 2.0  # past the front: no road there either, and the area ends
_LEAD_M = 3.0  # a way that fails this near to a lead fails at it
_SIDE_M, _SIDE_GAP_M = 0.5, 0.5  # what only reaches in at a side is passed or stopped for so near


@dataclass(frozen=True)
class End:
    """What ends the way: words for the reason ('' for the limit of sight), where the rear axle
    has to stop for it, and the object ahead that is followed or stopped for."""

    what: str
    stop_s_m: float
    lead: Lead | None = None

    @property
    def speed_mps(self) -> float:
        return 0.0 if self.lead is None else self.lead.speed_mps

    @property
    def moves(self) -> bool:
        return self.lead is not None and self.lead.moves


def ahead(seen: Survey, lead: Lead) -> str:
    """Name and distance of a lead."""
    return f"{seen.objects.name(lead.index)} {lead.x_m:.0f} m ahead"


def end_of(
    route: Route,
    seen: Survey,
    view: GroundView,
    lead: Lead | None,
    vehicle: Vehicle,
    speed: SpeedConfig,
    spec: GridSpec,
) -> End:
    """Tell what the way ends at, by what its proof failed at or by looking on past its end."""
    curve = route.curve
    x, s = float(curve.x_m[-1]), float(curve.s_m[-1])
    front = x + vehicle.front_m
    if lead is not None and (route.failed is None or front >= lead.x_m - _LEAD_M):
        stop = s + lead.x_m - x - vehicle.front_m - speed.standstill_m
        stop = stop if route.failed is None or lead.moves else min(stop, s - _GAP_M)
        return End(ahead(seen, lead), stop, lead)
    if route.failed is not None:
        if route.sharp:
            return End(f"way too tight {x:.0f} m ahead", s - _GAP_M)
        return _touched(route.failed, s, seen, vehicle, speed, spec)
    if x >= seen.far_m - _FREE_END_M:
        return End("", s)
    return _beyond(route, seen, view, vehicle, speed, spec)


def _touched(
    pose: F64, s: float, seen: Survey, vehicle: Vehicle, speed: SpeedConfig, spec: GridSpec
) -> End:
    """What the body touches at the pose where a proof failed."""
    cos, sin = math.cos(pose[2]), math.sin(pose[2])
    near = np.arange(-vehicle.rear_m - _REACH_M, vehicle.front_m + _TIP_M, 0.1)
    side = np.arange(-vehicle.half_width_m - _REACH_M, vehicle.half_width_m + _REACH_M, 0.1)
    u, v = (a.ravel() for a in np.meshgrid(near, side))
    points = np.column_stack([pose[0] + u * cos - v * sin, pose[1] + u * sin + v * cos])
    r, c, inside = spec.cells_of(points)
    kind = np.where(inside, seen.grid.kind[r, c], Cell.UNKNOWN)
    touches = inside & (points[:, 0] > vehicle.front_m) & (u < vehicle.front_m + _REACH_M)
    for wanted in (Cell.OBSTACLE, Cell.OFF_ROAD):
        hit = np.flatnonzero(touches & (kind == wanted))
        if not len(hit):
            continue
        k = int(hit[points[hit, 0].argmin()])
        if wanted == Cell.OBSTACLE:
            i = object_at(seen.objects, points[k])
            what = f"{seen.objects.name(i)} {seen.objects.x0_m[i]:.0f} m ahead"
            side = np.abs(v[hit]).min() > vehicle.half_width_m - _SIDE_M
            return End(what, s - (_SIDE_GAP_M if side else speed.standstill_m))
        tip = kind[(u > vehicle.front_m + _TIP_M - 0.5) & (np.abs(v) < vehicle.half_width_m)]
        what = "drivable area ends" if (tip == wanted).mean() > 0.5 else "way too narrow"
        return End(f"{what} {points[k, 0]:.0f} m ahead", s - _GAP_M)
    return End(f"view blocked {pose[0] + vehicle.front_m:.0f} m ahead", s - _GAP_M)


def _beyond(
    route: Route, seen: Survey, view: GroundView, vehicle: Vehicle, speed: SpeedConfig,
    spec: GridSpec,
) -> End:  # fmt: skip
    """What lies straight on past a proved way's end."""
    curve = route.curve
    x, y, s = float(curve.x_m[-1]), float(curve.y_m[-1]), float(curve.s_m[-1])
    yaw = float(curve.yaw_rad[-1])
    d = np.arange(0.2, vehicle.front_m + _LOOK_M, 0.2)
    points = np.column_stack([x + d * math.cos(yaw), y + d * math.sin(yaw)])
    r, c, inside = spec.cells_of(points)
    kind = np.where(inside, seen.grid.kind[r, c], Cell.UNKNOWN)
    shut = np.flatnonzero((kind != Cell.ROAD) & (kind != Cell.LANE_LINE))
    if not len(shut):
        goes_on = bool(np.isfinite(seen.grid.cost[r[0], c[0]]))
        what = "no room in the own lane" if goes_on else "way too narrow"
        return End(f"{what} {x + vehicle.front_m:.0f} m ahead", s)
    k = int(shut[0])
    stop = min(s, s + float(d[k]) - vehicle.front_m - 0.5)
    at = float(points[k, 0])
    if kind[k] == Cell.OBSTACLE:
        i = object_at(seen.objects, points[k])
        what = f"{seen.objects.name(i)} {seen.objects.x0_m[i]:.0f} m ahead"
        return End(what, min(s, stop - speed.standstill_m + 0.5))
    if kind[k] == Cell.OFF_ROAD:
        return End(f"drivable area ends {at:.0f} m ahead", stop)
    if inside[k] and view.seen[r[k], c[k]]:
        return End(f"view blocked {at:.0f} m ahead", stop)
    return End("", s)


def object_at(objects: Footprints, point_m: F64) -> int:
    """The object whose footprint is nearest to a point."""
    dx = np.maximum(np.maximum(objects.x0_m - point_m[0], point_m[0] - objects.x1_m), 0)
    dy = np.maximum(np.maximum(objects.y0_m - point_m[1], point_m[1] - objects.y1_m), 0)
    return int(np.hypot(dx, dy).argmin())
