"""The proved curve: true footprint, and the kinematic search where smoothing does not do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from data.types import Cell, CostGrid
from planning.astar import astar
from planning.costmap import Survey
from planning.fusion import Fused
from planning.goal import Lead
from planning.grid import GridSpec
from planning.obstacles import Footprints
from planning.route import Prover, RouteConfig, find_route, near_last
from planning.smoothing import curve_of, moved
from planning.space import space_of
from planning.vehicle import Vehicle

CAR, SPEC = Vehicle(), GridSpec()


def nothing() -> Footprints:
    e, i = np.zeros(0), np.zeros(0, np.int64)
    return Footprints(e, e, e, e, e, e, e, i, i, np.zeros(0, np.bool_))


def objects_at(x0: float, x1: float, y0: float, y1: float, class_id: int = 0) -> Footprints:
    i = np.array([class_id])
    numbers = [np.array([v]) for v in (x0, x1, y0, y1, 0.0, 0.0, 0.1)]
    return Footprints(*numbers, i, i, np.array([True]))


def survey_of(*walls: tuple[float, float, float, float], half_m: float = 6.0) -> Survey:
    """A road of ``half_m`` to each side with off-road rectangles x0, x1, y0, y1 in it."""
    kind = np.full((SPEC.rows, SPEC.cols), Cell.OFF_ROAD, np.uint8)
    kind[:, SPEC.col_of(-half_m) : SPEC.col_of(half_m)] = Cell.ROAD
    for x0, x1, y0, y1 in walls:
        kind[SPEC.row_of(x0) : SPEC.row_of(x1), SPEC.col_of(y0) : SPEC.col_of(y1)] = Cell.OFF_ROAD
    cost = np.where(kind == Cell.ROAD, 1.0, np.inf).astype(np.float32)
    grid = CostGrid(cost, kind, np.zeros_like(cost), SPEC.resolution_m, SPEC.origin_m, 0)
    return Survey(grid, None, nothing(), 0.0, 60.0, Fused(np.zeros_like(cost), 0))


def touched(seen: Survey, x: float, y: float, yaw: float) -> bool:
    """The body laid over the grid in small squares: does any lie off the road?"""
    u, v = np.meshgrid(
        np.linspace(-CAR.rear_m, CAR.front_m, 60),
        np.linspace(-CAR.half_width_m, CAR.half_width_m, 30),
    )
    u, v = u.ravel(), v.ravel()
    cos, sin = math.cos(yaw), math.sin(yaw)
    points = np.column_stack([x + u * cos - v * sin, y + u * sin + v * cos])
    points = points[(points[:, 0] > CAR.front_m) & (points[:, 0] < 57.0)]
    r, c, _ = SPEC.cells_of(points)
    return bool((seen.grid.kind[r, c] != Cell.ROAD).any())


def route_over(seen: Survey, goal_x: float, config: RouteConfig | None = None, late: bool = False):
    start, goal = (0, SPEC.col_of(0.0)), (SPEC.row_of(goal_x), SPEC.col_of(0.0))
    cells = astar(seen.grid.cost, start, goal, SPEC.resolution_m)
    guide = SPEC.metres_of(cells.rows, cells.cols)
    prover = Prover(seen.grid, space_of(seen, SPEC, CAR, None), CAR)
    return find_route(prover, guide, 0.0, None, 0.0, config or RouteConfig(), lambda: late)


CHICANE = ((13.0, 15.0, -6.0, 1.5), (24.0, 26.0, -1.5, 6.0))
TIGHT = ((13.0, 15.0, -6.0, 3.0), (25.0, 27.0, -3.0, 6.0))


def test_a_free_road_needs_no_search():
    route = route_over(survey_of(), 40.0)
    assert route.failed is None and route.searched == 0
    assert route.curve.x_m[-1] == pytest.approx(40.0, abs=0.6)


@pytest.mark.parametrize(("walls", "searches"), [(CHICANE, False), (TIGHT, True)])
def test_a_chicane_is_driven_without_a_touch(walls, searches):
    seen = survey_of(*walls)
    assert len(route_over(seen, 40.0, RouteConfig(max_poses=0)).curve) < 60
    route = route_over(seen, 40.0)
    assert (route.searched > 0) == searches
    assert route.curve.x_m[-1] > 38
    poses = zip(route.curve.x_m, route.curve.y_m, route.curve.yaw_rad, strict=True)
    assert not any(touched(seen, *pose) for pose in poses)
    assert np.abs(route.curve.curvature_1pm).max() <= CAR.max_curvature_1pm


def test_without_a_search_the_way_ends_before_what_it_would_touch():
    seen = survey_of(*CHICANE)
    route = route_over(seen, 40.0, RouteConfig(max_poses=0))
    assert route.failed is not None
    assert 5 < route.curve.x_m[-1] < 24
    poses = zip(route.curve.x_m, route.curve.y_m, route.curve.yaw_rad, strict=True)
    assert not any(touched(seen, *pose) for pose in poses)


@pytest.mark.parametrize(("config", "late"), [(RouteConfig(max_poses=3), False), (None, True)])
def test_a_search_that_is_ended_says_so(config, late):
    route = route_over(survey_of(*TIGHT), 40.0, config, late)
    assert route.unfinished and route.failed is not None


def test_a_gap_too_narrow_ends_the_way():
    seen = survey_of((20.0, 21.0, -6.0, -0.6), (20.0, 21.0, 0.6, 6.0))
    route = route_over(seen, 40.0)
    assert 20 - CAR.front_m - 1.0 < route.curve.x_m[-1] <= 20 - CAR.front_m
    assert not route.unfinished


def test_the_footprint_counts_and_not_just_the_rear_axle():
    """A pole beside the way is hit by the front corner though the axle passes it with room."""
    seen = survey_of((14.1, 14.5, 0.7, 0.9))
    space = space_of(seen, SPEC, CAR, None)
    x = np.arange(0.0, 30.0, 0.5)
    straight = curve_of(np.column_stack([x, 0 * x]))
    assert straight.x_m[space.first_touch(straight)] == pytest.approx(14.0 - CAR.front_m, abs=0.5)
    beside = curve_of(np.column_stack([x, 0 * x - 0.5]))
    assert space.first_touch(beside) == len(beside)


def test_the_unseen_is_not_free_but_beyond_sight_nothing_is_told():
    seen = survey_of()
    seen.grid.kind[100:110] = Cell.UNKNOWN
    x = np.arange(0.0, 50.0, 0.5)
    curve = curve_of(np.column_stack([x, 0 * x]))
    n = space_of(seen, SPEC, CAR, None).first_touch(curve)
    assert curve.x_m[n] == pytest.approx(20.0 - CAR.front_m, abs=0.5)
    near = replace(seen, far_m=23.0)
    assert space_of(near, SPEC, CAR, None).first_touch(curve) == len(curve)


@pytest.mark.parametrize(
    ("moves", "class_id", "free"), [(True, 0, True), (False, 0, False), (True, 1, False)]
)
def test_only_a_lead_that_drives_is_left_to_prediction(moves, class_id, free):
    seen = replace(survey_of(), objects=objects_at(20, 24, -1, 1, class_id))
    seen.grid.kind[100:120, SPEC.col_of(-1) : SPEC.col_of(1)] = Cell.OBSTACLE
    lead = Lead(0, 20.0, 5.0 if moves else 0.0, moves)
    x = np.arange(0.0, 20.0, 0.5)
    curve = curve_of(np.column_stack([x, 0 * x]))
    assert (space_of(seen, SPEC, CAR, lead).first_touch(curve) == len(curve)) == free


def test_the_last_path_decides_on_which_side_something_is_passed():
    x = np.arange(0.0, 40.0, 0.5)
    bump = 3.0 * np.exp(-(((x - 20) / 6) ** 2))

    def side(sign: float) -> float:
        seen = survey_of((19.0, 21.0, -1.5, 1.5))
        near_last(seen.grid.cost, curve_of(np.column_stack([x, sign * bump])), seen.grid, 1.0)
        cells = astar(seen.grid.cost, (0, 100), (200, 100), SPEC.resolution_m)
        return float(SPEC.metres_of(cells.rows, cells.cols)[100, 1])

    assert side(1.0) > 1 and side(-1.0) < -1


def test_a_curve_moved_by_the_own_motion_lies_where_it_lay():
    """A left arc of radius 20 m, driven for 5 m: what is left of it is the same arc."""
    s = np.arange(0.0, 20.0, 0.5)
    arc = curve_of(np.column_stack([20 * np.sin(s / 20), 20 - 20 * np.cos(s / 20)]))
    now = moved(arc, 5.0, 5.0 / 20)
    expected = 20 - np.sqrt(400 - now.x_m**2)
    assert now.y_m == pytest.approx(expected, abs=0.02)
    assert now.x_m[-1] == pytest.approx(20 * math.sin(14.5 / 20), abs=0.05)
