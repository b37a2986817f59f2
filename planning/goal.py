"""Where to go: the farthest reachable point of the own lane, and what stands in it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from data.taxonomy import CLASS_ID
from planning.corridor import Corridor
from planning.costmap import Survey
from planning.grid import GridSpec
from planning.speed import SpeedConfig, lead_speed_mps
from planning.vehicle import Vehicle

Mask = NDArray[np.bool_]

OWN_LANE_ENOUGH_M = 15.0  # with this much way in the own lane no other is looked for
OTHER_LANE_GAIN_M = 10.0  # and another must give this much more
_GIVE_UP_M, _GIVE_UP_SHARE = 2.0, 0.15  # of the way: edges far away are noise
_BEHIND_M = 1.4  # a way up to a lead ends straight behind it, not beside its corner
_HELD_M, _SLOWER = 0.2, 0.5  # see find_lead
_BAND_M = 0.3  # the rear axle may leave the lane's half width by this to pass something


@dataclass(frozen=True)
class Lead:
    """An object in the own lane that is not passed: its index, near side x, speed over ground,
    and whether it counts as moving."""

    index: int
    x_m: float
    speed_mps: float
    moves: bool


def find_lead(
    seen: Survey,
    spec: GridSpec,
    vehicle: Vehicle,
    config: SpeedConfig,
    ego_mps: float | None,
    last: tuple[int, bool] | None = None,
) -> Lead | None:
    """The nearest object that fills the own lane's middle.

    Standing ones that only reach in from the side are left to the search, which passes where
    there is room; moving vehicles and persons count from further out. The ``last`` frame's lead
    (its track and whether it moved) has to be clear of the lane by more before it is let go, and
    slower before it counts as standing.
    """
    corridor, objects = seen.corridor, seen.objects
    lead: Lead | None = None
    for i in range(len(objects)):
        x = float(objects.x0_m[i])
        if x >= spec.ahead_m or (lead is not None and lead.x_m <= x):
            continue
        gap = x - vehicle.front_m - config.standstill_m
        speed = lead_speed_mps(gap, float(objects.vx_mps[i]), ego_mps, vehicle, config)
        held = last is not None and bool(objects.track_id[i] == last[0])
        slower = _SLOWER if held and last is not None and last[1] else 1.0
        moves = speed >= config.standing_mps * slower
        half = 1.0 if moves or objects.class_id[i] != CLASS_ID["vehicle"] else 0.6
        half += _HELD_M if held else 0.0
        centre = 0.0 if corridor is None else float(corridor.centre_m[spec.row_of(x)])
        if objects.y0_m[i] + 0.2 < centre + half and objects.y1_m[i] - 0.2 > centre - half:
            lead = Lead(i, x, speed, moves)
    return lead


def _reachable(mask: Mask, start: tuple[int, int]) -> Mask:
    """What is joined to ``start``, nothing where that is not in the mask."""
    out = np.zeros_like(mask)
    if mask[start]:
        cols = np.flatnonzero(mask.any(axis=0))
        used = slice(int(cols[0]), int(cols[-1]) + 1)
        part = np.ascontiguousarray(mask[:, used])
        label = np.asarray(cv2.connectedComponents(part.view(np.uint8), connectivity=8)[1])
        np.equal(label, label[start[0], start[1] - used.start], out=out[:, used])
    return out


def _best_cell(
    reach: Mask, cost: NDArray[np.float32], corridor: Corridor, spec: GridSpec
) -> tuple[int, int]:
    """The farthest cell, but some metres are given up for less cost and a place nearer to the
    lane's middle.

    Else paths would hook into the notches at the far end of the road.
    """
    last = int(np.flatnonzero(reach.any(axis=1))[-1])
    give_up_m = max(_GIVE_UP_M, _GIVE_UP_SHARE * last * spec.resolution_m)
    first = max(0, last - round(give_up_m / spec.resolution_m))
    rows = slice(first, last + 1)
    short = (last - np.arange(first, last + 1)) * spec.resolution_m
    off = np.abs(spec.y_m[None, :] - corridor.centre_m[rows, None])
    score = np.where(reach[rows], cost[rows] + 2 * off + short[:, None], np.inf)
    row, col = divmod(int(score.argmin()), score.shape[1])
    return first + row, col


def choose_goal(
    seen: Survey, corridor: Corridor, lead: Lead | None, spec: GridSpec
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Start and goal cell (row, col).

    The own lane is followed up to a lead or to its end. Only when it ends within 15 m, and not
    at a lead, a way beside it that leads 10 m further is taken.
    """
    from planning.grid_kernels import in_lane

    cost = seen.grid.cost
    start = (0, spec.col_of(0.0))
    end = len(cost) if lead is None else spec.row_of(lead.x_m - _BEHIND_M)
    half_m = corridor.width_m / 2 + _BAND_M
    lane = run(in_lane, cost, corridor.centre_m, half_m, end, spec.resolution_m, spec.origin_m[1])
    own = _reachable(lane, start)
    if not own[start]:
        return start, start
    goal = _best_cell(own, cost, corridor, spec)
    if lead is None and goal[0] * spec.resolution_m < OWN_LANE_ENOUGH_M:
        other = _best_cell(_reachable(np.isfinite(cost), start), cost, corridor, spec)
        if (other[0] - goal[0]) * spec.resolution_m >= OTHER_LANE_GAIN_M:
            return start, other
    return start, goal
