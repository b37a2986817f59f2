"""Where the vehicle's true footprint may be on the cost grid, and how far a curve keeps to it.

Only ground seen to be road may be under the body: what is not seen is not free. Exceptions: the
vehicle stands where it stands; the bonnet's edge cuts the first road seen ragged; a moving lead
drove over what lies between it and the road seen. Beyond the limit of sight nothing is told here:
the speed is kept low enough to stop before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from data.taxonomy import CLASS_ID
from data.types import Cell
from planning.costmap import DIM_M, Survey
from planning.footprint import Body, Field, field_of, room
from planning.goal import Lead
from planning.grid import GridSpec
from planning.smoothing import Curve
from planning.soften import touching
from planning.vehicle import Vehicle

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

_RAGGED_M = 3.0  # of the first road seen
_TAIL_M = 3.0  # before a lead's rear: masks are rounded off there
_PERSON = CLASS_ID["person"]
_BEHIND_M, _AHEAD_M = 2.0, 6.0  # of the grid, free at least: room for the body at its ends
_SPARE_M = 0.5
_CHECK_M = 0.17  # between poses that are checked
_EXTRA = 6.0  # most that a metre costs more, for the search


@dataclass(frozen=True, eq=False)
class Space:
    """Free space about the vehicle.

    Attributes:
        field: obstacles with x along the columns and y along the rows, from ``corner_m``.
        body: the vehicle's rectangle.
        corner_m: vehicle x, y of the outer corner of the field's cell (0, 0).
    """

    field: Field
    body: Body
    corner_m: tuple[float, float]

    def placed(self, poses: F64) -> F64:
        """(n, 3) vehicle poses in the field's frame."""
        return np.ascontiguousarray(poses - (*self.corner_m, 0.0))

    def fits(self, pose: F64) -> bool:
        x, y, yaw = self.placed(pose[None])[0]
        cos, sin = math.cos(yaw), math.sin(yaw)
        return bool(run(room, self.field, self.body, x, y, cos, sin) >= 0)

    def first_touch(self, curve: Curve) -> int:
        """Index of the first point at which, or on the way to which, the body touches something;
        the number of points where it never does."""
        n = len(curve)
        if n == 0:
            return 0
        step_m = float(curve.s_m[-1]) / max(n - 1, 1)
        k = max(1, math.ceil(step_m / _CHECK_M))
        at = np.arange(k * (n - 1) + 1) / k
        i = np.arange(n)
        fine = np.column_stack([np.interp(at, i, v) for v in (curve.x_m, curve.y_m, curve.yaw_rad)])
        hit = np.flatnonzero(run(touching, self.field, self.body, self.placed(fine)))
        return math.ceil(int(hit[0]) / k) if len(hit) else n


def space_of(seen: Survey, spec: GridSpec, vehicle: Vehicle, lead: Lead | None) -> Space:
    """The space of one survey.

    A ``lead`` that drives is left out: it is followed, and checked against where it will be.
    Persons never are.
    """
    kind, res = seen.grid.kind, spec.resolution_m
    shut: Mask = (kind != Cell.ROAD) & (kind != Cell.LANE_LINE)
    shut[spec.row_of(max(seen.far_m - DIM_M, vehicle.front_m)) :] = False
    half = vehicle.half_width_m
    own = slice(spec.col_of(-half - res), spec.col_of(half + res) + 1)
    shut[: spec.row_of(vehicle.front_m) + 1, own] = False
    ragged = slice(0, spec.row_of(np.nan_to_num(seen.first_m) + _RAGGED_M))
    shut[ragged, own] &= kind[ragged, own] == Cell.OBSTACLE
    if lead is not None and lead.moves and seen.objects.class_id[lead.index] != _PERSON:
        o, i = seen.objects, lead.index
        rows = slice(spec.row_of(o.x0_m[i] - res), spec.row_of(o.x1_m[i] + res) + 1)
        cols = slice(spec.col_of(o.y0_m[i] - 2 * res), spec.col_of(o.y1_m[i] + 2 * res) + 1)
        shut[rows, cols] = False
        tail = slice(spec.row_of(o.x0_m[i] - _TAIL_M), rows.start)
        shut[tail, cols] &= kind[tail, cols] == Cell.OBSTACLE
    return _space(shut, spec, vehicle)


def space_of_objects(seen: Survey, spec: GridSpec, vehicle: Vehicle) -> Space:
    """The space that objects alone leave, where no ground is seen to be road."""
    return _space(seen.grid.kind == Cell.OBSTACLE, spec, vehicle)


def _space(shut: Mask, spec: GridSpec, vehicle: Vehicle) -> Space:
    res = spec.resolution_m
    behind = math.ceil(max(_BEHIND_M, vehicle.rear_m + _SPARE_M) / res)
    ahead = math.ceil(max(_AHEAD_M, vehicle.front_m + _SPARE_M) / res)
    occupied = np.zeros((spec.cols, behind + spec.rows + ahead), np.bool_)
    occupied[:, behind : behind + spec.rows] = shut.T
    body = Body(
        (vehicle.front_m - vehicle.rear_m) / 2,
        (vehicle.front_m + vehicle.rear_m) / 2,
        vehicle.half_width_m,
    )
    return Space(field_of(occupied, res), body, (-behind * res, spec.origin_m[1]))


def with_costs(space: Space, cost: NDArray[np.float32]) -> Space:
    """The same space with the cost grid's weights for a search to mind."""
    res = space.field.cell_m
    extra = np.full(space.field.near_m.shape, _EXTRA, np.float32)
    first = round(-space.corner_m[0] / res)
    with np.errstate(invalid="ignore"):
        more = np.minimum(np.nan_to_num(cost - 1, posinf=_EXTRA), _EXTRA)
    extra[:, first : first + len(cost)] = more.T
    return Space(space.field._replace(extra=extra, most_extra=_EXTRA), space.body, space.corner_m)
