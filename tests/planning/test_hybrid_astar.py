from __future__ import annotations

import math

import numpy as np
import pytest

from data.errors import InputError
from planning import hybrid_search
from planning.hybrid_astar import HybridConfig, PathStatus, plan_path
from planning.lattice import fill_table, slot_of
from planning.refine import lay_out
from planning.soften import _filled
from planning.vehicle import Vehicle
from tools.bench_plan_check import hits, judge, refined
from tools.bench_plan_maps import CELL_M, VEHICLE, make_cases


def plan(occupied, start, goal, cell_m=0.25, **config):
    return plan_path(occupied, cell_m, start, goal, VEHICLE, HybridConfig(**config))


def open_field(rows=120, cols=200):
    return np.zeros((rows, cols), bool)


def wall_with_gap(first_row, rows):
    occupied = open_field()
    occupied[:, 100:104] = True
    occupied[first_row : first_row + rows, 100:104] = False
    return occupied


def assert_drivable(path, occupied, start, goal, cell_m=0.25):
    assert path.status == PathStatus.OK
    assert path.reason == ""
    assert path.poses[0, :3] == pytest.approx(start, abs=1e-6)
    assert path.poses[-1, :2] == pytest.approx(goal[:2], abs=1e-6)
    assert math.remainder(path.poses[-1, 2] - goal[2], 2 * math.pi) == pytest.approx(0, abs=1e-6)
    steps = np.hypot(*np.diff(path.poses[:, :2], axis=0).T)
    assert steps.max() <= 0.25
    seen = judge(occupied, cell_m, path.poses, VEHICLE)
    assert seen.hits == 0
    assert seen.max_curvature_1pm <= VEHICLE.max_curvature_1pm
    assert np.abs(path.curvature_1pm).max() <= VEHICLE.max_curvature_1pm
    if math.isfinite(path.min_clearance_m) and seen.clearance_m < 5:
        assert path.min_clearance_m == pytest.approx(seen.clearance_m, abs=0.03)


def test_straight_ahead_is_a_straight_line():
    start, goal = (5.0, 15.0, 0.0), (40.0, 15.0, 0.0)
    path = plan(open_field(), start, goal)
    assert_drivable(path, open_field(), start, goal)
    assert path.length_m == pytest.approx(35, abs=0.01)
    assert path.min_clearance_m == math.inf
    assert np.abs(path.poses[:, 1] - 15).max() < 1e-3


def test_poses_follow_from_one_another_as_a_vehicle_moves():
    start, goal = (5.0, 8.0, 0.3), (42.0, 22.0, -0.4)
    path = plan(wall_with_gap(50, 14), start, goal)
    assert_drivable(path, wall_with_gap(50, 14), start, goal)
    d = np.diff(path.poses[:, :2], axis=0)
    heading = np.arctan2(d[:, 1], d[:, 0])
    between = (path.poses[1:, 2] + path.poses[:-1, 2]) / 2
    assert np.abs(np.sin(heading - between)).max() < 0.01  # the rear axle does not slide
    turn = np.diff(path.poses[:, 2]) / np.hypot(d[:, 0], d[:, 1])
    said = (path.curvature_1pm[1:] + path.curvature_1pm[:-1]) / 2
    assert np.abs(turn - said)[1:-1].max() < 0.12


@pytest.mark.parametrize("family", ["road", "parking", "maze", "narrow gap"])
def test_maps_that_have_a_way(family):
    for case in make_cases(family, 3, seed=500):
        path = plan(case.occupied, case.start, case.goal, reverse=case.reverse, deadline_s=20)
        assert_drivable(path, case.occupied, case.start, case.goal, CELL_M)
        assert case.reverse or (path.poses[:, 3] == 1).all()


def test_maps_without_a_way():
    for case in make_cases("dead end", 4, seed=500):
        path = plan(case.occupied, case.start, case.goal, reverse=case.reverse, deadline_s=20)
        assert path.status == PathStatus.BLOCKED
        assert path.reason.startswith("no way from start to goal")
        assert len(path.poses) == 0
        assert path.length_m == 0


@pytest.mark.parametrize("rows, status", [(9, "OK"), (8, "BLOCKED"), (7, "BLOCKED")])
def test_gap_of_whole_cells(rows, status):
    """2.25 m let a vehicle of 2 m through, 2 m and 1.75 m do not."""
    path = plan(wall_with_gap(56, rows), (8.0, 15.0, 0.0), (42.0, 15.0, 0.0), deadline_s=20)
    assert path.status == status


def test_reverse_only_where_allowed():
    start, goal = (20.0, 15.0, 0.0), (12.0, 15.0, 0.0)
    occupied = open_field()
    occupied[:52], occupied[68:] = True, True  # 4 m: no room to turn round
    path = plan(occupied, start, goal, reverse=True)
    assert_drivable(path, occupied, start, goal)
    assert (path.poses[:, 3] == -1).all()
    assert path.length_m == pytest.approx(8, abs=0.01)
    path = plan(occupied, start, goal, deadline_s=20)
    assert path.status == PathStatus.BLOCKED
    assert "without reversing" in path.reason


def test_start_and_goal_that_cannot_be():
    occupied = wall_with_gap(40, 30)
    free, inside, outside = (8.0, 15.0, 0.0), (25.5, 2.0, 0.0), (99.0, 15.0, 0.0)
    assert plan(occupied, inside, free).status == PathStatus.START_BLOCKED
    assert plan(occupied, free, inside).status == PathStatus.GOAL_BLOCKED
    path = plan(occupied, free, outside)
    assert path.status == PathStatus.GOAL_BLOCKED
    assert "outside the map" in path.reason
    assert plan(~open_field(), free, free).status == PathStatus.START_BLOCKED


def test_start_is_goal():
    path = plan(open_field(), (20.0, 15.0, 1.0), (20.0, 15.0, 1.0))
    assert path.status == PathStatus.OK
    assert path.length_m == 0
    assert len(path.poses) == 1


def test_start_close_to_a_wall_is_left():
    occupied = open_field()
    occupied[:40] = True
    start, goal = (10.0, 11.005, 0.0), (40.0, 11.005, 0.0)  # 5 mm beside the body
    path = plan(occupied, start, goal)
    assert_drivable(path, occupied, start, goal)


def test_bounds_give_the_way_so_far():
    case = make_cases("maze", 1, seed=3)[0]
    path = plan(case.occupied, case.start, case.goal, max_expanded=150)
    assert path.status == PathStatus.DEADLINE
    assert "150 poses" in path.reason
    assert path.length_m > 5
    assert not hits(case.occupied, CELL_M, refined(path.poses), VEHICLE).any()
    path = plan(case.occupied, case.start, case.goal, deadline_s=1e-9)
    assert path.status == PathStatus.DEADLINE


def test_same_question_same_answer():
    case = make_cases("road", 1, seed=7)[0]
    a, b = (plan(case.occupied, case.start, case.goal, deadline_s=20) for _ in range(2))
    assert a.poses.tobytes() == b.poses.tobytes()


def test_smoothing_leaves_no_poses_further_apart_than_asked_for():
    small = Vehicle(wheelbase_m=0.05, width_m=0.05, front_m=0.05, rear_m=0.03, max_steer_rad=1.2)
    start, goal = (7.8766, 0.4483, 3.14159), (6.3252, 4.1715, -0.11566)
    for refine in (False, True):
        path = plan_path(open_field(14, 38), 0.5, start, goal, small, HybridConfig(refine=refine))
        assert path.status == PathStatus.OK
        assert np.hypot(*np.diff(path.poses[:, :2], axis=0).T).max() <= HybridConfig().step_m


@pytest.mark.parametrize("way", [1.0, -1.0])
@pytest.mark.parametrize("curvature", [0.0, 0.5, -0.5])
def test_poses_in_between_lie_on_the_arc(way, curvature):
    wide, fine = (
        lay_out(np.array([1.0, 2.0, 3.0]), np.array([[curvature, way * 2.0]]), step)
        for step in (0.4, 0.2)
    )
    assert (_filled(wide, 0.41) == wide).all()
    full = _filled(wide, 0.3)
    assert (full[::2] == wide).all()
    assert full == pytest.approx(fine, abs=1e-4)


def test_smoothing_keeps_off_obstacles():
    case = make_cases("road", 1, seed=7)[0]
    rough = plan(case.occupied, case.start, case.goal, refine=False, deadline_s=20)
    smooth = plan(case.occupied, case.start, case.goal, deadline_s=20)
    assert smooth.min_clearance_m >= min(rough.min_clearance_m, 0.2) - 0.05
    bends = [np.abs(np.diff(p.curvature_1pm)).max() for p in (rough, smooth)]
    assert bends[1] < 0.5 * bends[0]


def test_extra_cost_keeps_the_way_off_where_it_can():
    extra = np.zeros((120, 200), np.float32)
    extra[50:70, 60:140] = 5.0
    args = (open_field(), 0.25, (5.0, 15.0, 0.0), (45.0, 15.0, 0.0), VEHICLE)
    path = plan_path(*args, HybridConfig(), extra)
    middle = np.abs(path.poses[:, 0] - 25) < 5
    assert np.abs(path.poses[middle, 1] - 15).min() > 2


@pytest.mark.parametrize("cell_m", [0.05, 0.1, 0.5])
def test_other_resolutions(cell_m):
    n = round(30 / cell_m)
    occupied = np.zeros((n, n), bool)
    occupied[: round(18 / cell_m), round(14 / cell_m) : round(15 / cell_m)] = True
    start, goal = (4.0, 6.0, 0.0), (24.0, 6.0, -math.pi / 2)
    path = plan(occupied, start, goal, cell_m, deadline_s=20)
    assert_drivable(path, occupied, start, goal, cell_m)


def test_a_small_vehicle():
    robot = Vehicle(wheelbase_m=0.3, width_m=0.4, front_m=0.4, rear_m=0.1, max_steer_rad=0.6)
    occupied = np.zeros((80, 80), bool)
    occupied[:50, 40] = True
    path = plan_path(occupied, 0.05, (0.5, 1.0, 0.0), (3.5, 1.0, 0.0), robot, HybridConfig())
    assert path.status == PathStatus.OK
    assert not hits(occupied, 0.05, refined(path.poses), robot).any()


@pytest.mark.parametrize(
    "occupied, cell_m, start",
    [
        (np.zeros((0, 5), bool), 0.25, (1.0, 1.0, 0.0)),
        (open_field(), 0.0, (5.0, 5.0, 0.0)),
        (open_field(), 1e6, (5.0, 5.0, 0.0)),
        (open_field(), math.nan, (5.0, 5.0, 0.0)),
        (open_field(), 0.25, (math.nan, 5.0, 0.0)),
        (open_field(), 0.25, (5.0, 5.0, math.inf)),
    ],
)
def test_bad_input_is_one_line(occupied, cell_m, start):
    with pytest.raises(InputError) as error:
        plan(occupied, start, (20.0, 15.0, 0.0), cell_m)
    assert "\n" not in str(error.value)


def test_a_search_that_outgrows_its_arrays_finds_the_same_way(monkeypatch):
    case = make_cases("maze", 1, 3)[0]
    args = (case.start, case.goal)
    whole = plan(case.occupied, *args, reverse=case.reverse, deadline_s=60.0)
    monkeypatch.setattr(hybrid_search, "_NODES", 64)
    grown = plan(case.occupied, *args, reverse=case.reverse, deadline_s=60.0)
    assert whole.expanded > 200
    assert grown.expanded == whole.expanded
    assert np.array_equal(grown.poses, whole.poses)


def test_bins_are_found_again_in_their_table():
    rng = np.random.default_rng(1)
    bins = rng.integers(0, 40, 90) * 72 * 2**20  # few bins, many of them alike but for high bits
    table = np.zeros(256, np.int32)
    fill_table(table, bins, 80)
    last = {int(b): n for n, b in enumerate(bins[:80])}
    for b in bins:
        found = int(table[slot_of(table, bins, int(b))]) - 1
        assert found == last.get(int(b), -1)
