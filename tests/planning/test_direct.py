from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from planning.cost_to_go import UNITS, cost_to_go, estimate
from planning.direct import _cost, direct_way
from planning.elastic import _near_at, _solve, poses_along, settled
from planning.footprint import field_of
from planning.hybrid_astar import HybridConfig, PathStatus, body_of, plan_path
from planning.hybrid_search import costs_to
from planning.lattice import Rules
from planning.vehicle import Vehicle
from tools.bench_plan_check import judge
from tools.bench_plan_maps import CELL_M, VEHICLE, make_cases

LIMIT_1PM = VEHICLE.max_curvature_1pm
RULES = Rules(LIMIT_1PM, False, 0.8, 0.5, 1.5, 2.0, 0.3, 1.3, 0.25, 0.49, 72, 0.5)
BODY = body_of(VEHICLE, 0.03)


def field_with(*boxes, shape=(120, 240), extra=None):
    """Boxes of x0, x1, y0, y1 in m."""
    occupied = np.zeros(shape, bool)
    for x0, x1, y0, y1 in boxes:
        occupied[int(y0 / CELL_M) : int(y1 / CELL_M), int(x0 / CELL_M) : int(x1 / CELL_M)] = True
    return field_of(occupied, CELL_M, extra)


def way_over(field, start, goal, rules=RULES, limit_1pm=LIMIT_1PM):
    start, goal = np.array(start), np.array(goal)
    to_go = costs_to(field, rules, 1.0, goal, start)
    return direct_way(field, BODY, rules, 1.0, to_go, start, goal, 0.2, limit_1pm)


def all_costs(field, x, y):
    return cost_to_go(field, 2, 1.0, 0.8, 0.5, x, y, math.nan, math.nan)


def test_costs_to_go_are_those_of_another_dijkstra():
    rng = np.random.default_rng(3)
    extra = rng.choice([0.0, 0.0, 2.5], (60, 80)).astype(np.float32)
    field = field_with((5, 6, 0, 11), (12, 13, 4, 15), shape=(60, 80), extra=extra)
    ours = all_costs(field, 2.2, 3.1)[1:-1, 1:-1]
    rows, cols = ours.shape
    units = np.zeros((rows, cols))
    for i in range(rows):
        for j in range(cols):
            part = np.s_[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            near = field.near_m[part].max()
            if near >= 1.0 - (math.sqrt(0.5) - 0.5) * CELL_M - 1e-6:
                share = 1 - min(max(near - 0.5 * CELL_M - 1.0, 0.0), 0.8) / 0.8
                units[i, j] = int(UNITS * (1 + field.extra[part].min() + 0.5 * share**2))
    ways = []
    for (i, j), here in np.ndenumerate(units):
        for a, b in ((0, 1), (1, 0), (1, 1), (1, -1)):
            if i + a < rows and 0 <= j + b < cols and here and units[i + a, j + b]:
                cost = (here + units[i + a, j + b]) * (math.sqrt(0.5) if a and b else 0.5)
                ways.append((i * cols + j, (i + a) * cols + j + b, int(cost)))
    a, b, cost = np.array(ways).T
    graph = coo_matrix((cost, (a, b)), shape=(rows * cols, rows * cols)).tocsr()
    want = dijkstra(graph, directed=False, indices=int(3.1 / 0.5) * cols + int(2.2 / 0.5))
    assert np.isfinite(want).sum() > 500 and not np.isfinite(want).all()
    assert ours.ravel() == pytest.approx(want * 0.5 / UNITS)


@pytest.mark.parametrize("family", ["road", "maze", "narrow gap"])
def test_costs_from_one_place_alone_are_the_same_and_fewer(family):
    for case in make_cases(family, 3):
        field = field_of(case.occupied, CELL_M)
        whole = all_costs(field, *case.goal[:2])
        some = cost_to_go(field, 2, 1.0, 0.8, 0.5, *case.goal[:2], *case.start[:2])
        known = np.isfinite(some)
        assert np.array_equal(whole[known], some[known])
        assert known.sum() < np.isfinite(whole).sum()
        x, y = case.start[:2]
        assert known[int(y / 0.5) + 1, int(x / 0.5) + 1]


def test_a_banded_system_is_solved():
    rng = np.random.default_rng(0)
    for n in (4, 5, 60):
        a = np.diag(rng.uniform(4, 6, n))
        for d in (1, 2, 3):
            a += np.diag(rng.uniform(-1, 1, n - d), -d)
        a = np.tril(a) + np.tril(a, -1).T
        bands = np.array([[a[i, i - d] if i >= d else 0.0 for d in range(4)] for i in range(n)])
        right = rng.normal(size=(n, 2))
        got = right.copy()
        _solve(bands, got)
        assert got == pytest.approx(np.linalg.solve(a, right))


def test_an_arc_has_its_curvature_and_headings_turn_on_past_half_a_turn():
    angle = np.linspace(0, 1.6 * math.pi, 200)
    points = np.column_stack([8 * np.sin(angle), 8 - 8 * np.cos(angle)])
    ends = np.array([[0, 0, 0.0], [*points[-1], 1.6 * math.pi - 2 * math.pi]])
    poses, curvature = poses_along(points, ends[0], ends[1], 1.0)
    assert curvature[1:-1] == pytest.approx(1 / 8, rel=1e-3)
    assert poses[1:-1, 2] == pytest.approx(angle[1:-1], abs=1e-3)
    assert poses[-1, 2] == pytest.approx(1.6 * math.pi)
    back, curvature = poses_along(points[::-1].copy(), ends[1], ends[0], -1.0)
    assert curvature[1:-1] == pytest.approx(1 / 8, rel=1e-3)
    assert back[1:-1, 2] == pytest.approx(angle[1:-1][::-1] - 2 * math.pi, abs=1e-3)


def test_points_are_pushed_off_what_is_near_and_those_held_stay():
    field = field_with((29, 31, 13.2, 14.0))
    points = np.column_stack([np.linspace(5, 55, 101), np.full(101, 15.0)])
    held = np.zeros(101, bool)
    held[[0, 1, -2, -1]] = True
    moved = settled(field, BODY, points, held, 1.0, 10.0, 0.0, 0.1, True, 0.5, 20)
    assert np.array_equal(moved[held], points[held])
    beside = moved[45:50, 1].min()  # x of 27.5 to 29.5: the body reaches from behind to ahead
    assert 14.0 + BODY.half_width_m + 0.2 < beside < 14.0 + BODY.half_width_m + 0.6
    free = settled(field_with(), BODY, points, held, 1.0, 10.0, 0.0, 0.1, True, 0.5, 20)
    assert np.abs(free - points).max() < 1e-6


@pytest.mark.parametrize("shape", [(1, 18), (18, 1), (1, 1)])
def test_maps_of_one_row_or_column_are_read_within_their_bounds(shape):
    field = field_of(np.zeros(shape, np.bool_), 0.25)
    field.near_m[:] = 3.0
    for x, y in ((-1.0, -1.0), (0.1, 0.1), (9.0, 9.0)):
        assert _near_at.py_func(field, x, y) == pytest.approx(3.0)


@pytest.mark.parametrize("seed", [0, 5000])
def test_roads_are_driven_without_a_search(seed):
    for case in make_cases("road", 12, seed):
        path = plan_path(case.occupied, CELL_M, case.start, case.goal, VEHICLE)
        assert path.status == PathStatus.OK and path.expanded == 0
        assert path.poses[0, :3] == pytest.approx(case.start)
        assert path.poses[-1, :2] == pytest.approx(case.goal[:2])
        steps = np.hypot(*np.diff(path.poses[:, :2], axis=0).T)
        assert steps.max() <= HybridConfig().step_m
        seen = judge(case.occupied, CELL_M, path.poses, VEHICLE)
        assert seen.hits == 0 and seen.tight_share == 0
        assert path.min_clearance_m == pytest.approx(seen.clearance_m, abs=0.03)


@pytest.mark.parametrize(
    ("boxes", "goal", "found"),
    [
        ((), (50.0, 20.0, 0.0), True),
        ((), (10.0, 20.0, math.pi), False),  # turns round
        ((), (13.0, 21.0, 0.0), False),  # two arcs of 4.2 m, for 4.4 m that can be steered
        (((28, 30, 0, 14.0), (28, 30, 17.0, 30)), (50.0, 15.0, 0.0), True),
        (((28, 30, 0, 14.0), (28, 30, 16.0, 30)), (50.0, 15.0, 0.0), False),  # 2 m wide
    ],
)
def test_a_way_is_taken_only_when_it_is_proved(boxes, goal, found):
    field = field_with(*boxes)
    way = way_over(field, (5.0, 15.0, 0.0), goal)
    assert (len(way) > 0) == found
    if found:
        occupied = field.near_m == 0
        seen = judge(occupied, CELL_M, way[:, :4], VEHICLE)
        assert seen.hits == 0 and seen.tight_share == 0
        assert np.abs(way[:, 4]).max() <= LIMIT_1PM


def test_a_rover_asks_for_no_more_room_than_fits_its_size():
    """0.25 m wide, among boxes of up to 0.65 m, on cells of 5 cm."""
    rover = Vehicle(wheelbase_m=0.3, width_m=0.25, front_m=0.36, rear_m=0.1, max_steer_rad=0.5)
    rng, searched = np.random.default_rng(1), 0
    for _ in range(8):
        occupied = np.zeros((200, 300), bool)
        for _ in range(25):
            r, c = rng.integers((10, 30), (190, 270))
            occupied[r : r + rng.integers(2, 14), c : c + rng.integers(2, 14)] = True
        goal = (14.2, float(rng.uniform(2, 8)), float(rng.uniform(-0.5, 0.5)))
        path = plan_path(occupied, 0.05, (0.5, 5.0, 0.0), goal, rover)
        assert path.status == PathStatus.OK
        assert judge(occupied, 0.05, path.poses, rover).hits == 0
        searched += path.expanded > 0
    assert searched <= 3


def test_what_turns_more_sharply_than_the_limit_is_left_to_the_search():
    start, goal = (5.0, 15.0, 0.0), (50.0, 20.0, 0.0)
    sharpest = np.abs(way_over(field_with(), start, goal)[:, 4]).max()
    assert 0.005 < sharpest < LIMIT_1PM / 3
    assert len(way_over(field_with(), start, goal, limit_1pm=0.9 * sharpest)) == 0


def test_poses_too_far_apart_prove_nothing():
    poses = np.column_stack([np.arange(10, 20, 0.2), np.full(50, 15.0), np.zeros(50)])
    assert _cost(field_with(), BODY, RULES, poses, 0.21) == pytest.approx(9.8)
    assert _cost(field_with(), BODY, RULES, poses, 0.19) == math.inf


def test_a_way_much_dearer_than_it_need_be_is_left_to_the_search():
    way = way_over(field_with(), (5.0, 15.0, 0.0), (50.0, 15.0, 0.0))
    assert np.abs(way[:, 1] - 15).max() < 1e-6
    strict = RULES._replace(greed=0.9)
    assert len(way_over(field_with(), (5.0, 15.0, 0.0), (50.0, 15.0, 0.0), strict)) == 0


def test_dear_ground_is_driven_round():
    extra = np.zeros((120, 240), np.float32)
    extra[50:72, 100:140] = 4.0  # x of 25 to 35 m, y of 12.5 to 18 m
    field = field_with(extra=extra)
    start, goal = np.array([5.0, 15.0, 0.0]), np.array([55.0, 15.0, 0.0])
    way = way_over(field, start, goal)
    dear = extra[(way[:, 1] / CELL_M).astype(int), (way[:, 0] / CELL_M).astype(int)] > 0
    assert dear.sum() * 0.2 < 2.0  # of the 10 m it would be straight on
    assert estimate(all_costs(field, *goal[:2]), 0.5, *start[:2]) < 54
