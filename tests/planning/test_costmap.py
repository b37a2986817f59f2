from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data.camera import Camera, mounting_pose
from data.errors import InputError
from data.types import Cell, Surfaces
from planning.corridor import along_lines, trace
from planning.costmap import NEVER_M, _filled, build_cost_grid, survey
from planning.grid import GridSpec
from planning.grid_kernels import (
    costs,
    distance_m,
    in_lane,
    near_squared,
    sample,
    sample_nearest,
)
from planning.ground import ground_view, project, project_thin
from planning.kernels import usual_gap
from planning.obstacles import footprints
from planning.vehicle import Vehicle

SPEC = GridSpec()
CAR = Vehicle()


def at(grid, x: float, y: float) -> tuple[int, int]:
    return SPEC.row_of(x), SPEC.col_of(y)


def test_indices_and_metres_are_inverse():
    rows, cols = np.array([0, 10, 299]), np.array([0, 100, 199])
    xy = SPEC.metres_of(rows, cols)
    assert xy[1] == pytest.approx((2.1, 0.1))
    r, c, inside = SPEC.cells_of(xy)
    assert (r.tolist(), c.tolist()) == (rows.tolist(), cols.tolist())
    assert inside.all()
    assert SPEC.cells_of(np.array([[-0.1, 0.0], [60.1, 0.0]]))[2].tolist() == [False, False]
    assert (SPEC.x_m[10], SPEC.y_m[100]) == pytest.approx((2.1, 0.1))


def test_bad_grids_are_named():
    with pytest.raises(InputError, match="resolution_m"):
        GridSpec(resolution_m=0)
    with pytest.raises(InputError, match="at least 8 cells"):
        GridSpec(ahead_m=1.0)
    with pytest.raises(InputError, match="larger resolution_m"):
        GridSpec(resolution_m=0.01)


def test_cells_of_the_own_lane_are_those_near_its_middle_that_can_be_driven():
    rng = np.random.default_rng(0)
    cost = np.where(rng.random((SPEC.rows, SPEC.cols)) < 0.2, np.inf, 1.0).astype(np.float32)
    centre = np.linspace(-1.0, 2.0, SPEC.rows)
    got = in_lane(cost, centre, 1.85, 250, SPEC.resolution_m, SPEC.origin_m[1])
    off = np.abs(SPEC.y_m[None, :] - centre[:, None])
    want = np.isfinite(cost) & (off <= 1.85) & (np.arange(SPEC.rows) < 250)[:, None]
    assert (got == want).all() and 1000 < got.sum() < 10_000


def kitti_like() -> Camera:
    matrix = np.array([[721.5, 0, 609.6], [0, 721.5, 172.9], [0, 0, 1]])
    return Camera(1242, 375, matrix, np.zeros(0), mounting_pose(1.65, 0.0, forward_m=1.3), "test")


@pytest.mark.parametrize("distortion", [(), (-0.35, 0.15, 0.0, 0.0)])
def test_projected_ground_comes_back_where_it_is(distortion):
    camera = replace(kitti_like(), distortion=np.array(distortion))
    h, w = 96, 320
    scale = (w / 1242, h / 375)
    u, v = np.meshgrid(np.arange(w), np.arange(h))
    pixels = np.column_stack([(u.ravel() + 0.5) / scale[0], (v.ravel() + 0.5) / scale[1]]) - 0.5
    ground = camera.ground_from_pixels(pixels).reshape(h, w, 2)
    view = ground_view(camera, SPEC, (h, w), scale)
    near = np.nan_to_num(ground[..., 0], nan=1e3).astype(np.float32)
    x = project(view, near)
    rows = slice(SPEC.row_of(9), SPEC.row_of(20))
    seen = np.isfinite(x[rows])
    want = np.broadcast_to(SPEC.x_m[rows, None], seen.shape)
    assert seen.mean() > 0.4
    assert np.abs(x[rows] - want)[seen].max() < 0.4


def test_horizon_guard_and_field_of_view(world):
    view = ground_view(world.camera, SPEC, (180, 320), (0.25, 0.25), max_row_span_m=2.0)
    # One row of a quarter-size map spans x^2 / (focal * height) of ground.
    reach = np.sqrt(2.0 * 0.25 * 0.87 * 1280 * 1.4) + 1.7
    assert view.far_m == pytest.approx(reach, abs=0.5)
    assert not view.seen[:, 0][: SPEC.row_of(20)].any()
    assert not view.seen[: SPEC.row_of(5)].any()


def test_thin_lines_survive_near_the_camera(world):
    lane = np.zeros((360, 640), np.float32)
    lane[:, 320] = 1  # one pixel wide, 1.5 cm of ground at 8 m
    view = ground_view(world.camera, SPEC, (360, 640), (0.5, 0.5))
    near = slice(SPEC.row_of(7), SPEC.row_of(15))
    assert (np.nanmax(project_thin(view, lane)[near], axis=1) > 0.9).all()


def test_kinds_of_a_plain_road(world):
    road = world.Road(left=3.0, right=3.0, lines=(1.75,))
    grid = build_cost_grid(world.scene(road, [world.Thing(20, -2.0)]), SPEC, CAR)
    assert grid.kind[at(grid, 1, 0)] == Cell.ROAD  # the unseen wedge at the bonnet
    assert grid.kind[at(grid, 15, 0)] == Cell.ROAD
    assert grid.kind[at(grid, 15, 1.75)] == Cell.LANE_LINE
    assert grid.kind[at(grid, 15, 4.5)] == Cell.OFF_ROAD
    assert grid.kind[at(grid, 21, -2.0)] == Cell.OBSTACLE
    assert grid.kind[at(grid, 30, -3.5)] == Cell.UNKNOWN  # behind the car
    assert grid.kind[at(grid, 58, 0)] == Cell.UNKNOWN  # beyond the horizon guard
    assert grid.t_ns == 0


def test_costs_rise_to_edges_and_lines_and_end_where_the_vehicle_does_not_fit(world):
    road = world.Road(left=5.25, right=2.2, lines=(1.75,))
    grid = build_cost_grid(world.scene(road), SPEC, CAR)
    row = SPEC.row_of(20)
    cost = {y: float(grid.cost[row, SPEC.col_of(y)]) for y in (-1.5, -0.8, 0.1, 1.0, 1.8, 3.4)}
    assert np.isinf(cost[-1.5])  # 0.7 m from the edge
    assert 1 <= cost[0.1] < cost[-0.8] < np.inf
    assert cost[0.1] < cost[1.0] < cost[1.8]
    assert cost[1.8] > 25
    assert cost[3.4] < cost[1.8]
    road_cells = np.isfinite(grid.cost)
    assert (grid.cost[road_cells] >= 1).all()
    assert not road_cells[np.isin(grid.kind, (Cell.OFF_ROAD, Cell.OBSTACLE, Cell.UNKNOWN))].any()


def test_small_holes_are_closed(world):
    scene = world.scene(world.Road(left=4, right=4, lines=()))
    uv = world.camera.pixels_from_vehicle(np.array([[12.0, 0.3, 0], [12.0, -0.3, 0]])) * 0.25
    scene.surfaces.drivable[int(uv[0, 1]), int(uv[0, 0]) : int(uv[1, 0])] = 0
    grid = build_cost_grid(scene, SPEC, CAR)
    assert grid.kind[at(grid, 12, 0)] == Cell.ROAD


def test_bonnet_in_the_picture_is_no_obstacle(world):
    road = world.Road(left=4, right=4, lines=())
    scene = world.scene(road)
    bottom = scene.surfaces.drivable.copy()
    u = np.arange(320)
    bonnet = 150 + 12 * ((u - 160) / 160) ** 2  # a curved outline
    bottom[np.arange(180)[:, None] > bonnet[None, :]] = 0
    seen = survey(replace(scene, surfaces=Surfaces(bottom, scene.surfaces.lane, (0.25, 0.25))),
                  SPEC, CAR)  # fmt: skip
    assert 6 < seen.first_m < 10
    assert np.isfinite(seen.grid.cost[: SPEC.row_of(20), SPEC.col_of(0.0)]).all()
    assert seen.grid.cost[: SPEC.row_of(20), SPEC.col_of(0.0)].max() < 3


def test_lines_across_the_road_are_dropped_and_gaps_closed():
    line = np.zeros((100, 100), np.uint8)
    line[20:22, 30:70] = 1  # a stop line
    line[10:25, 50] = 1
    line[40:60, 50] = 1  # a gap of 3 m before it
    line[60:61, 30:70] = 1
    out = along_lines(line, 0.2)
    assert out[30, 50] == 1
    assert out[20, 35] == 0
    assert out[60, 35] == 0


def test_trace_follows_broken_lines_on_one_side_only():
    line = np.zeros((SPEC.rows, SPEC.cols), np.uint8)
    middle = 0.3 + 0.002 * SPEC.x_m**2
    for r in range(40, 200):
        if (r // 15) % 2 == 0:
            line[r, SPEC.col_of(middle[r] + 1.7)] = 1
    lane = trace(line, np.zeros_like(line), 40, SPEC)
    rows = slice(60, 200)
    assert np.abs(lane.centre_m - middle)[rows].max() < 0.4
    assert lane.centre_m[0] == pytest.approx(0, abs=0.01)


def test_trace_keeps_its_share_of_a_road_without_lines():
    edge = np.ones((SPEC.rows, SPEC.cols), np.uint8)
    for r in range(SPEC.rows):
        shift = 0.15 * SPEC.x_m[r]
        edge[r, SPEC.col_of(shift - 2.5) : SPEC.col_of(shift + 4.0)] = 0
    lane = trace(np.zeros_like(edge), edge, 30, SPEC)
    room = lane.centre_m - (0.15 * SPEC.x_m - 2.5)
    assert np.abs(room[30:250] - room[30]).max() < 0.5


def test_footprint_of_a_parked_car_does_not_reach_into_the_lane(world):
    # Its box also shows the flank: the box's inner edge is the far end of the car.
    car = world.Thing(12, -3.5)
    camera = world.camera
    tracks = world.scene(world.Road(), [car]).tracks
    foot = (tracks.xyxy[0, [0, 2]].mean(), tracks.xyxy[0, 3])
    tracks.position_m[0] = camera.ground_from_pixels(np.array([foot]))[0]
    prints = footprints(tracks, camera, CAR)
    assert prints.y1_m[0] == pytest.approx(-2.6, abs=0.35)
    assert prints.y0_m[0] == pytest.approx(-4.4, abs=0.35)
    assert prints.x0_m[0] == pytest.approx(12, abs=0.6)


def test_what_is_left_out_of_the_footprints(world):
    things = [
        world.Thing(12, 0, position=(float("nan"), 0.0)),
        world.Thing(12, 0, kind="traffic_sign"),
        world.Thing(15, 1, kind="person", width=0.5),
    ]
    tracks = world.scene(None, things).tracks
    prints = footprints(tracks, world.camera, CAR)
    assert prints.track_id.tolist() == [2]
    assert prints.name(0) == "person"
    old = replace(tracks, since_update_s=np.full(3, 5.0))
    assert len(footprints(old, world.camera, CAR)) == 0


def test_the_wedge_at_the_bonnet_is_filled_without_gaps():
    """Beside the bonnet the road is seen nearer than straight ahead: it stays road."""
    spec = SPEC
    kind = np.full((spec.rows, spec.cols), Cell.ROAD, np.uint8)
    seen = np.zeros(kind.shape, np.bool_)
    for c in range(spec.cols):  # seen from 4 m on at the sides, from 7 m on in the middle
        near = 7.0 if abs(spec.y_m[c]) < 1.5 else 4.0
        seen[spec.row_of(near) :, c] = True
    kind[~seen] = Cell.UNKNOWN
    kind = _filled(kind, seen, spec.row_of(7.0), spec, CAR)
    assert (kind == Cell.ROAD).all()


def test_far_away_the_lane_does_not_jump_with_an_edge():
    line = np.zeros((SPEC.rows, SPEC.cols), np.uint8)
    edge = np.zeros_like(line)
    edge[:, [SPEC.col_of(-5.5), SPEC.col_of(5.5)]] = 1
    edge[SPEC.row_of(34) : SPEC.row_of(42), SPEC.col_of(-5.5) : SPEC.col_of(0.0)] = 1
    centre = trace(line, edge, SPEC.row_of(5), SPEC).centre_m
    assert 0.3 < centre[SPEC.row_of(36)] - centre[SPEC.row_of(34)] < 0.9
    assert centre[SPEC.row_of(42)] > 2.0  # but gives way in the end


@pytest.mark.parametrize("share_shut", [0.0, 0.0005, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(60, 45), (8, 120), (20, 9), (5, 16), (5, 17), (7, 1)])
def test_distances_are_exact(share_shut, shape):
    free = np.random.default_rng(4).random(shape) >= share_shut
    near, far = near_squared(~free, 6), distance_m(~free, 0.2, NEVER_M, 0.5)
    if free.all():
        assert (near > 36).all()
        assert (far == NEVER_M).all()
        return
    want = cv2.distanceTransform(free.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    assert np.allclose(far, np.maximum(0.2 * (want - 0.5), 0), atol=1e-5)
    assert np.allclose(near[want <= 6], want[want <= 6] ** 2)
    assert (near[want > 6] > 36).all()


@pytest.mark.parametrize("shape", [(200, 60), (60, 200), (90, 90)])
def test_distances_are_exact_far_from_walls_all_around(shape):
    rng = np.random.default_rng(1)
    for share in (0.0, 0.0005, 0.003):
        shut = rng.random(shape) < share
        shut[[0, -1]], shut[:, [0, -1]] = True, True
        want = cv2.distanceTransform((~shut).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        assert np.allclose(distance_m(shut, 1.0, NEVER_M, 0.0), want, atol=1e-4)


def test_a_map_is_sampled_between_its_pixels_and_replicated_beyond_them():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    u = np.array([[0.0, 1.25, 3.4], [-0.4, 2.0, 1.0]], np.float32)
    v = np.array([[0.0, 1.5, 2.4], [2.0, -0.3, 1.0]], np.float32)
    seen = np.array([[True, True, True], [True, True, False]])
    got = sample(values, 0, u, v, seen)
    assert got.ravel()[:5] == pytest.approx([0.0, 7.25, 11.0, 8.0, 2.0])
    assert np.isnan(got[1, 2])
    assert sample(values, -2, u, v - 2, seen).ravel()[:5] == pytest.approx(got.ravel()[:5])
    hit = sample_nearest((values == 7).astype(np.uint8), u + 1.6, v, seen)
    assert hit.tolist() == [[False, False, False], [False, False, False]]
    assert sample_nearest((values == 10).astype(np.uint8), u + 1, v, seen)[0].tolist() == [
        False, True, False,
    ]  # fmt: skip


def test_the_median_gap_is_numpys_where_enough_rows_have_one():
    rng = np.random.default_rng(2)
    for _ in range(50):
        mask = (rng.random((rng.integers(1, 24), 30)) < rng.choice([0.005, 0.03, 0.2])).astype(
            np.uint8
        )
        hit = mask.any(axis=1)
        away = (mask[hit].argmax(axis=1) + 0.5) * 0.2
        near = away[away < 4.0]
        got = usual_gap(mask, 4.0, 0.2)
        if len(near) >= max(1, 0.3 * len(mask)):
            assert got == pytest.approx(np.median(near))
        else:
            assert np.isnan(got)


def test_costs_are_the_sum_of_their_parts():
    rng = np.random.default_rng(3)
    kind = rng.choice([Cell.UNKNOWN, Cell.ROAD, Cell.OFF_ROAD, Cell.LANE_LINE], (40, 30)).astype(
        np.uint8
    )
    line = (rng.random(kind.shape) < 0.02).astype(np.uint8)
    clear = rng.uniform(0.5, 2.5, kind.shape).astype(np.float32)
    centre = rng.uniform(-1, 1, len(kind))
    near = np.zeros(kind.shape, np.bool_)
    near[:12, 10:20] = True
    weights = (0.7, 6.0, 1.4, 2.0, 25.0, 2.0, 4.0, 30.0)
    got = costs(kind, line, clear, centre, 1.7, 1.1, 12, 10, 20, 0.2, -3.0, weights)

    to_line = cv2.distanceTransform(1 - line, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    to_line = np.maximum(to_line - 0.5, 0) * 0.2
    off = np.abs(-3.0 + (np.arange(30) + 0.5) * 0.2 - centre[:, None])
    want = 1 + 6.0 * np.clip(1 - (clear - 1.1) / 0.7, 0, 1) ** 2
    want += 2.0 * np.clip(1 - to_line / 1.4, 0, 1) ** 2 + 25.0 * (kind == Cell.LANE_LINE)
    want += 2.0 * np.minimum((off / 1.7) ** 2, 2) + 4.0 * np.clip(off - 1.7, 0, 1)
    want += 30.0 * (near & (clear < 1.1))
    road = (kind == Cell.ROAD) | (kind == Cell.LANE_LINE)
    want[~(road & (near | (clear >= 1.1)))] = np.inf
    assert np.isinf(want).any() and (near & road & (clear < 1.1)).any()
    np.testing.assert_allclose(got, want, rtol=1e-5)
