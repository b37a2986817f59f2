"""A way from pose to pose that a car-like vehicle can drive, by hybrid A* over a grid.

First the cheapest way over the grid is let settle and proved, see ``direct``; on roads that is
all there is to do. Else the search (Dolgov, Thrun, Montemerlo and Diebel 2008): A* over exact
poses, kept once a bin of place and heading; estimates from the grid round the obstacles and from
steering without any; curves to the goal tried on the way. A fine search follows where the coarse
one finds nothing. What is found is cut short by curves of least length, then smoothed where that
keeps it clear.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from data.errors import InputError
from planning.direct import direct_way
from planning.footprint import FAR_M, Body, Field, clearance, field_of, room
from planning.hybrid_search import (
    backwards,
    costs_to,
    make_search,
    reaches,
    search_both_ways,
    tight_gap,
    turned,
)
from planning.lattice import EXHAUSTED, FOUND, Rules
from planning.refine import cut_short, lay_out
from planning.soften import soften
from planning.vehicle import Vehicle

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Pose = tuple[float, float, float]

_NO_POSES = np.zeros((0, 5))

MIN_CELL_M, MAX_CELL_M = 0.01, 2.0
MAX_CELLS = 16_000_000
_CURVATURE_SHARE = 0.985  # of the vehicle's greatest: what is sampled must not exceed it
_CUT_STEP_M = 1.0  # between places where curves that shorten a way may begin
_SMOOTH_SHARE = 0.99  # of it, for smoothed ways


class PathStatus(StrEnum):
    """What came of a search; everything but OK comes with a reason."""

    OK = "OK"
    BLOCKED = "BLOCKED"  # there is no way: every pose that can be reached was looked at
    START_BLOCKED = "START_BLOCKED"  # the vehicle would touch something at the start
    GOAL_BLOCKED = "GOAL_BLOCKED"
    DEADLINE = "DEADLINE"  # time or expansions ran out: the poses lead towards the goal


@dataclass(frozen=True)
class HybridConfig:
    """Attributes:
    reverse: whether the vehicle may drive backwards.
    deadline_s: time after which the best way so far is taken.
    max_expanded: bound of each search, in poses.
    margin_m: kept free round the body (less where start or goal are tighter).
    soft_m, soft_weight: nearer to obstacles than ``soft_m`` a metre costs up to
        ``soft_weight`` more.
    reverse_weight: cost of a metre in reverse; gear_m: of a change of direction, in metres.
    steer_m: cost of turning the wheel from straight to its limit, in metres.
    greed: weight of the estimate, 1 or more: a greater one is faster and less direct.
    step_m: greatest distance between poses of the result.
    refine: try the direct way first; cut a way that was searched short, and smooth it.
    thorough: where nothing is found, search again with finer bins and look closely at gaps.
    """

    reverse: bool = False
    deadline_s: float = 1.0
    max_expanded: int = 400_000
    margin_m: float = 0.03
    soft_m: float = 0.8
    soft_weight: float = 0.5
    reverse_weight: float = 1.5
    gear_m: float = 2.0
    steer_m: float = 0.3
    greed: float = 1.3
    step_m: float = 0.2
    refine: bool = True
    thorough: bool = True


@dataclass(frozen=True, eq=False)
class DrivenPath:
    """A way of the rear axle.

    Attributes:
        status, reason: '' where OK.
        poses: (n, 4) x, y (m), yaw (rad), direction (1 or -1) in which the pose is reached; the
            last pose is the goal where OK.
        curvature_1pm: (n,), positive to the left of the vehicle.
        min_clearance_m: least distance of the body to an occupied cell; inf where none is.
        expanded: poses looked at; 0 where no search was needed.
        search_ms: all that was done, distances to obstacles included.
    """

    status: PathStatus
    reason: str
    poses: F64
    curvature_1pm: F64
    min_clearance_m: float
    expanded: int
    search_ms: float

    @property
    def length_m(self) -> float:
        """Of the way, by the steps between its poses."""
        return float(np.hypot(*np.diff(self.poses[:, :2], axis=0).T).sum())


@dataclass(frozen=True)
class _Task:
    """What every stage of one search needs."""

    field: Field
    body: Body
    start: F64
    goal: F64
    vehicle: Vehicle
    config: HybridConfig
    late: Callable[[], bool]


def body_of(vehicle: Vehicle, margin_m: float = 0.0) -> Body:
    """The vehicle's rectangle, ``margin_m`` larger on every side."""
    return Body(
        (vehicle.front_m - vehicle.rear_m) / 2,
        (vehicle.front_m + vehicle.rear_m) / 2 + margin_m,
        vehicle.half_width_m + margin_m,
    )


def _check_grid(occupied: Mask, cell_m: float) -> None:
    if not (math.isfinite(cell_m) and MIN_CELL_M <= cell_m <= MAX_CELL_M):
        raise InputError(
            f"map resolution: expected {MIN_CELL_M} to {MAX_CELL_M} m a cell, given {cell_m}"
        )
    if occupied.ndim != 2 or occupied.size == 0:
        raise InputError(f"map: expected rows x columns of cells, given shape {occupied.shape}")
    if occupied.size > MAX_CELLS:
        raise InputError(f"map: at most {MAX_CELLS} cells are taken, given {occupied.size}")


def _pose(name: str, pose: Pose) -> F64:
    if len(pose) != 3 or not all(math.isfinite(v) for v in pose):
        raise InputError(f"{name}: expected finite x, y (m) and yaw (rad), given {tuple(pose)}")
    return np.array(pose, np.float64)


def plan_path(
    occupied: Mask,
    cell_m: float,
    start: Pose,
    goal: Pose,
    vehicle: Vehicle,
    config: HybridConfig | None = None,
    extra_cost: F32 | None = None,
) -> DrivenPath:
    """Find a way for ``vehicle`` from ``start`` to ``goal`` that touches no occupied cell.

    Args:
        occupied: (rows, cols) bool; cell (r, c) is the square with x from ``c * cell_m`` and y
            from ``r * cell_m``. What lies outside counts as occupied.
        start, goal: x, y (m) and yaw (rad) of the rear axle.
        extra_cost: (rows, cols) at least 0, cost added per metre of the rear axle's way.

    Returns:
        The way, or a status and reason; never later than the deadline by more than a few ms.

    Raises:
        InputError: a pose that is no number, or a grid that cannot be searched.
    """
    config = config or HybridConfig()
    _check_grid(occupied, cell_m)
    first, last = _pose("start", start), _pose("goal", goal)
    compile_kernels()
    return _timed(occupied, cell_m, first, last, vehicle, config, extra_cost)


@functools.cache
def compile_kernels() -> None:
    """Compile every kernel, or load it from numba's cache: once a process, tens of seconds the
    first time on a machine. ``plan_path`` does it before its clock starts.
    """
    occupied = np.zeros((60, 80), np.bool_)
    occupied[25:35, 40] = True
    start, goal = np.array([4.0, 8.0, 0.0]), np.array([16.0, 8.0, 0.0])
    config = HybridConfig(reverse=True, deadline_s=3600.0)
    _timed(occupied, 0.25, start, goal, Vehicle(), config, None)


def _timed(
    occupied: Mask, cell_m: float, first: F64, last: F64, vehicle: Vehicle, config: HybridConfig,
    extra_cost: F32 | None,
) -> DrivenPath:  # fmt: skip
    begin = time.perf_counter()

    def late() -> bool:
        return time.perf_counter() - begin > config.deadline_s

    field = field_of(occupied, cell_m, extra_cost)
    status, reason, poses, expanded = plan_over(field, first, last, vehicle, config, late)
    least = run(clearance, field, body_of(vehicle), poses[:, :3], FAR_M) if len(poses) else FAR_M
    return DrivenPath(
        status,
        reason,
        poses[:, :4],
        poses[:, 4],
        math.inf if least >= FAR_M else float(least),
        expanded,
        (time.perf_counter() - begin) * 1e3,
    )


def _fits(field: Field, body: Body, pose: F64) -> bool:
    x, y, yaw = pose
    return bool(run(room, field, body, x, y, math.cos(yaw), math.sin(yaw)) >= 0)


def plan_over(
    field: Field, start: F64, goal: F64, vehicle: Vehicle, config: HybridConfig,
    late: Callable[[], bool],
) -> tuple[PathStatus, str, F64, int]:  # fmt: skip
    """Plan between two poses over a field that is there already; see ``plan_path``.

    Returns:
        Status, reason, (n, 5) x, y, yaw, direction and curvature, and the poses looked at.
    """
    rows, cols = field.near_m.shape
    ends = (
        ("start", start, PathStatus.START_BLOCKED),
        ("goal", goal, PathStatus.GOAL_BLOCKED),
    )
    for name, pose, status in ends:
        if not (0 <= pose[0] < cols * field.cell_m and 0 <= pose[1] < rows * field.cell_m):
            return status, f"{name} lies outside the map", _NO_POSES, 0
    margin = config.margin_m
    while not all(_fits(field, body_of(vehicle, margin), p) for p in (start, goal)):
        if margin == 0.0:
            name, status = next((n, s) for n, p, s in ends if not _fits(field, body_of(vehicle), p))
            what = "touches an obstacle, unknown ground or the map's border"
            return status, f"the vehicle at the {name} {what}", _NO_POSES, 0
        margin = margin / 2 if margin > 2e-3 else 0.0
    body = body_of(vehicle, margin)
    return _planned(_Task(field, body, start, goal, vehicle, config, late))


def _rules(task: _Task, fine: int) -> Rules:
    """Numbers of a search; ``fine`` 2 halves the bins of place and heading."""
    v, c = task.vehicle, task.config
    radius_m = 1.0 / v.max_curvature_1pm
    block = max(1, round(radius_m / 9 / task.field.cell_m))
    return Rules(
        v.max_curvature_1pm * _CURVATURE_SHARE, c.reverse, c.soft_m, c.soft_weight,
        c.reverse_weight, c.gear_m, c.steer_m, c.greed, min(v.width_m / 8, task.field.cell_m),
        radius_m / 9 / fine, 72 * fine, block * task.field.cell_m,
    )  # fmt: skip


def _too_narrow(vehicle: Vehicle) -> tuple[PathStatus, str, F64, int]:
    reason = f"no way from start to goal for a vehicle {vehicle.width_m:.2f} m wide"
    return PathStatus.BLOCKED, reason, _NO_POSES, 0


def _planned(task: _Task) -> tuple[PathStatus, str, F64, int]:
    """The direct way, or else what the search finds."""
    v, config, rules = task.vehicle, task.config, _rules(task, 1)
    if config.refine and not task.late():
        disc_m = _disc_m(v)
        to_goal = costs_to(task.field, rules, disc_m, task.goal, task.start)
        if not reaches(to_goal, rules, task.start):
            return _too_narrow(v)
        way = run(
            direct_way, task.field, task.body, rules, disc_m, to_goal, task.start, task.goal,
            config.step_m, _SMOOTH_SHARE * v.max_curvature_1pm,
        )  # fmt: skip
        if len(way):
            return PathStatus.OK, "", np.asarray(way), 0
    return _searched(task, rules)


def _disc_m(vehicle: Vehicle) -> float:
    """Radius of the largest disc about the rear axle that the vehicle covers."""
    return min(vehicle.half_width_m, vehicle.front_m, vehicle.rear_m)


def _searched(task: _Task, rules: Rules) -> tuple[PathStatus, str, F64, int]:
    area, v, config, disc_m = task.field, task.vehicle, task.config, _disc_m(task.vehicle)
    to_goal = costs_to(area, rules, disc_m, task.goal)
    if not reaches(to_goal, rules, task.start):
        return _too_narrow(v)

    @functools.cache
    def hopeless() -> bool:
        wide_m = disc_m + task.body.half_width_m - v.half_width_m
        return config.thorough and tight_gap(area, rules, wide_m, task.start, task.goal)

    @functools.cache
    def from_start() -> F64:
        return costs_to(area, rules, disc_m, task.start)

    expanded = 0
    for fine in (1, 2) if config.thorough else (1,):
        rules = _rules(task, fine)
        search = make_search(area, task.body, task.start, task.goal, to_goal, rules, False)
        search, n = search_both_ways(
            search, area, from_start, config.max_expanded, task.late, hopeless
        )
        expanded += n
        if search.code != EXHAUSTED or hopeless():
            break
    if search.code == EXHAUSTED:
        if hopeless():
            return (*_too_narrow(v)[:3], expanded)
        how = "" if config.reverse else " without reversing"
        reason = f"no way from start to goal that can be steered{how}"
        return PathStatus.BLOCKED, reason, _NO_POSES, expanded
    poses = _laid_out(task, rules, search.way(), search.code == FOUND)
    if search.code == FOUND:
        return PathStatus.OK, "", poses, expanded
    reason = f"no way found within {config.deadline_s:g} s and {config.max_expanded} poses"
    return PathStatus.DEADLINE, reason, poses, expanded


def _laid_out(task: _Task, rules: Rules, way: F64, whole: bool) -> F64:
    """Poses along a way, made shorter and smooth; ``whole`` where it ends at the goal."""
    area, body, refine = task.field, task.body, task.config.refine and not task.late()
    if refine:
        way = run(cut_short, area, body, rules, task.start, way, _CUT_STEP_M)
    if refine and whole and not task.late():  # again from the other end, or turns come late
        back = body._replace(middle_m=-body.middle_m)
        way = run(cut_short, area, back, rules, turned(task.goal), backwards(way), _CUT_STEP_M)
        way = backwards(way)
    poses = np.asarray(run(lay_out, task.start, way, task.config.step_m))
    if refine and not task.late():
        limit_1pm = _SMOOTH_SHARE * task.vehicle.max_curvature_1pm
        config = task.config
        poses = soften(area, body, poses, limit_1pm, config.soft_m / 2, config.step_m)
    return poses
