from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from data.errors import InputError
from data.types import Cell, EgoMotion, Plan, PlanStatus, Surfaces, Tracks
from planning.planner import Planner, PlannerConfig
from planning.route import RouteConfig
from planning.vehicle import Vehicle


def plan_of(scene, ego=None, planner=None):
    if ego is not None:
        scene = replace(scene, ego=EgoMotion(ego, math.nan))
    return (planner or Planner()).plan(scene)[0]


def lateral(plan: Plan, x: float) -> float:
    return float(np.interp(x, plan.x_m, plan.y_m))


def assert_well_formed(plan: Plan) -> None:
    for name in ("x_m", "y_m", "yaw_rad", "speed_mps", "curvature_1pm", "t_s"):
        assert np.isfinite(getattr(plan, name)).all(), name
    if len(plan.x_m):
        assert (plan.x_m[0], plan.y_m[0], plan.yaw_rad[0], plan.t_s[0]) == (0, 0, 0, 0)
        assert (np.diff(plan.t_s) > 0).all()
        assert (plan.speed_mps >= 0).all()
        assert np.abs(plan.curvature_1pm).max() <= Vehicle().max_curvature_1pm
        steps = np.hypot(np.diff(plan.x_m), np.diff(plan.y_m))
        assert steps[:-1] == pytest.approx(0.5, abs=0.01)
        assert 0.09 < steps[-1] < 0.51


def test_straight_road_gives_a_straight_path_at_cruise_speed(world):
    plan = plan_of(world.scene(world.Road()))
    assert plan.status == PlanStatus.OK
    assert_well_formed(plan)
    assert plan.x_m[-1] > 35
    assert np.abs(plan.y_m).max() < 0.3
    assert plan.speed_mps[0] > 12


@pytest.mark.parametrize("offset", [0.5, -0.5])
def test_path_moves_to_the_middle_of_an_offset_lane(world, offset):
    lines = (-1.75, 1.75, 5.25)
    road = world.Road(middle=lambda x: np.full_like(x, offset), left=5.25, lines=lines)
    plan = plan_of(world.scene(road))
    assert_well_formed(plan)
    for x in (20, 25, 30):
        assert lateral(plan, x) == pytest.approx(offset, abs=0.25)


def test_path_keeps_its_own_of_three_lanes(world):
    road = world.Road(left=5.25, right=5.25, lines=(5.25, 1.75, -1.75, -5.25))
    plan = plan_of(world.scene(road))
    assert np.abs(plan.y_m).max() < 0.4


@pytest.mark.parametrize("radius", [60.0, -60.0, 150.0])
def test_path_follows_a_curve(world, radius):
    def middle(x):
        return np.sign(radius) * (abs(radius) - np.sqrt(radius**2 - np.clip(x - 6, 0, 50) ** 2))

    plan = plan_of(world.scene(world.Road(middle=middle, end=55.0)))
    assert plan.status == PlanStatus.OK
    assert_well_formed(plan)
    at = np.arange(8.0, 28.0)
    got = np.interp(at, plan.x_m, plan.y_m)
    assert np.abs(got - middle(at)).max() < 0.4
    mid = (plan.x_m > 14) & (plan.x_m < 22)
    assert np.median(plan.curvature_1pm[mid]) == pytest.approx(1 / radius, rel=0.5)
    if abs(radius) == 60:
        assert plan.speed_mps[mid].max() < 12.5


def test_noisy_maps_still_give_a_calm_path(world):
    road = world.Road(left=5.25, lines=(5.25, 1.75, -1.75))
    plan = plan_of(world.scene(road, noise=0.06, seed=3))
    assert plan.status == PlanStatus.OK
    assert_well_formed(plan)
    assert np.abs(plan.y_m).max() < 0.6
    assert np.abs(plan.curvature_1pm).max() < 0.03


def test_path_stays_on_cells_that_can_be_driven(world):
    road = world.Road(middle=lambda x: 0.004 * np.clip(x - 5, 0, None) ** 2, end=45)
    plan, grid = Planner().plan(world.scene(road, noise=0.05))
    r = (plan.x_m[1:] / grid.resolution_m).astype(int)
    c = ((plan.y_m[1:] - grid.origin_m[1]) / grid.resolution_m).astype(int)
    assert np.isfinite(grid.cost[r, c]).all()
    assert np.isin(grid.kind[r, c], (Cell.ROAD, Cell.LANE_LINE)).all()


def test_parked_car_partly_in_the_lane_is_passed_with_clearance(world):
    road = world.Road(left=3.0, right=2.5, lines=())
    car = world.Thing(18, -2.1, velocity=(-8.0, 0.0))
    plan = plan_of(world.scene(road, [car]), ego=8.0)
    assert plan.status == PlanStatus.OK
    assert_well_formed(plan)
    assert plan.x_m[-1] > 24
    beside = (plan.x_m > 17) & (plan.x_m < 23)
    assert (plan.y_m[beside] - 0.95 > -1.2).all()


def test_road_blocked_by_a_standing_vehicle_10_m_ahead(world):
    car = world.Thing(10, 0.0, velocity=(-5.0, 0.0))
    plan = plan_of(world.scene(world.Road(), [car]), ego=5.0)
    assert plan.status == PlanStatus.BLOCKED
    assert plan.reason.startswith("vehicle 10 m ahead in the corridor")
    assert plan.speed_mps[-1] == 0
    assert plan.x_m[-1] + Vehicle().front_m < 10


def test_standing_vehicle_further_away_is_stopped_behind(world):
    car = world.Thing(28, 0.1)
    plan = plan_of(world.scene(world.Road(), [car]), ego=8.0)
    assert plan.status == PlanStatus.OK
    assert plan.reason == "vehicle 28 m ahead in the corridor: slowing to a stop"
    assert_well_formed(plan)
    assert plan.speed_mps[0] == pytest.approx(8.0)
    assert plan.speed_mps[-1] == 0
    assert 28 - 3 - Vehicle().front_m < plan.x_m[-1] + 0.5 <= 28 - Vehicle().front_m


def test_hard_braking_is_named(world):
    car = world.Thing(20, 0.0, velocity=(-13.0, 0.0))
    plan = plan_of(world.scene(world.Road(), [car]), ego=13.0)
    assert "braking hard" in plan.reason


def test_a_person_about_to_cross_is_stopped_for(world):
    person = world.Thing(18, -4.0, velocity=(-6.0, 2.0), kind="person", width=0.5, height=1.7)
    road = world.Road(left=5, right=5, lines=())
    plan = plan_of(world.scene(road, [person]), ego=6.0)
    assert "person crossing in" in plan.reason
    assert plan.speed_mps[-1] == 0
    assert plan.x_m[-1] + Vehicle().front_m < 18
    away = replace_velocity(person, (-6.0, -2.0))
    assert plan_of(world.scene(road, [away]), ego=6.0).reason == ""


def test_a_person_about_to_cross_is_foreseen_by_an_estimated_own_speed(world):
    """Beside the greatest allowed speed, where the profile begins, he would walk along the road."""
    person = world.Thing(18, -4.0, velocity=(-6.0, 2.0), kind="person", width=0.5, height=1.7)
    scene = world.scene(world.Road(left=5, right=5, lines=()), [person])
    plan = plan_of(replace(scene, ego=EgoMotion(6.0, 0.0, 0.3, 0.01, estimated=True)))
    assert plan.reason.split(":")[0] == plan_of(scene, ego=6.0).reason.split(":")[0]
    assert "person crossing in" in plan.reason and plan.speed_mps[-1] == 0


@pytest.mark.parametrize("own", [-3.0, -0.5, 0.0])
def test_what_stands_ahead_of_one_who_rolls_back_is_no_lead(world, own):
    car = world.Thing(14, 0.0, velocity=(-own, 0.0))
    plan = plan_of(world.scene(world.Road(), [car]), ego=own)
    assert "following" not in plan.reason and plan.speed_mps[-1] == 0
    assert plan.x_m[-1] + Vehicle().front_m < 14


def test_a_long_body_has_room_behind_the_rear_axle(world):
    bus = Vehicle(wheelbase_m=6.0, front_m=8.7, rear_m=3.3, width_m=2.5)
    plan = Planner(bus).plan(world.scene(world.Road(left=5, right=5, lines=())))[0]
    assert plan.status == PlanStatus.OK and plan.length_m > 20


def test_oncoming_traffic_in_the_next_lane_is_no_crossing(world):
    """Its sideways speed is small beside its speed along the road: an uncertain heading."""
    car = world.Thing(20, 3.6, velocity=(-20.0, -2.5))
    plan = plan_of(world.scene(world.Road(left=5, right=5), [car]), ego=10.0)
    assert "crossing" not in plan.reason


def test_a_doubtful_sideways_speed_is_no_crossing(world):
    person = world.Thing(18, -4.0, velocity=(-6.0, 2.0), kind="person", width=0.5, height=1.7)
    scene = world.scene(world.Road(left=5, right=5, lines=()), [person])
    doubtful = replace(scene.tracks, covariance=np.diag([0.2, 0.02, 0.2, 4.0])[None])
    assert "crossing" in plan_of(scene, ego=6.0).reason
    assert "crossing" not in plan_of(replace(scene, tracks=doubtful), ego=6.0).reason


def test_a_vehicle_cut_by_the_border_of_the_picture_is_no_crossing(world):
    scene = world.scene(world.Road(), [world.Thing(14.0, -4.0, (-6.0, 3.0))])
    assert "crossing" in plan_of(scene, ego=6.0).reason
    box = scene.tracks.xyxy.copy()
    box[:, 2] = scene.camera.width_px - 1
    cut = replace(scene, tracks=replace(scene.tracks, xyxy=box))
    assert "crossing" not in plan_of(cut, ego=6.0).reason


def test_own_turning_makes_no_crossing_of_a_standing_person(world):
    """Turning left by 0.15 rad/s lets a person 18 m ahead drift 2.7 m/s to the right."""
    person = world.Thing(18, 4.0, velocity=(-6.0, -2.7), kind="person", width=0.5, height=1.7)
    scene = world.scene(world.Road(left=5, right=5, lines=()), [person])
    assert "crossing" in plan_of(scene, ego=6.0).reason
    turning = replace(scene, ego=EgoMotion(6.0, 0.15))
    assert "crossing" not in plan_of(turning).reason


def replace_velocity(thing, velocity):
    return replace(thing, velocity=velocity)


def test_drivable_area_that_ends_is_stopped_before(world):
    plan = plan_of(world.scene(world.Road(end=22.0)), ego=6.0)
    assert plan.status == PlanStatus.OK
    assert plan.reason.startswith("drivable area ends 2")
    assert plan.speed_mps[-1] == 0
    assert plan.x_m[-1] + Vehicle().front_m < 22


def test_drivable_area_that_ends_at_once_is_blocked(world):
    plan = plan_of(world.scene(world.Road(end=9.5)), ego=2.0)
    assert plan.status == PlanStatus.BLOCKED
    assert "drivable area ends" in plan.reason


def test_no_drivable_pixels_is_no_surface(world):
    plan, grid = Planner().plan(world.scene(None))
    assert plan.status == PlanStatus.NO_SURFACE
    assert "no drivable surface" in plan.reason
    assert len(plan.x_m) == 0
    assert np.isinf(grid.cost).all()


def test_nothing_but_a_vehicle_is_blocked(world):
    plan = plan_of(world.scene(None, [world.Thing(7, 0.0, width=2.0)]))
    assert plan.status == PlanStatus.BLOCKED
    assert "vehicle 7 m ahead" in plan.reason


def test_old_scenes_are_stale(world):
    planner = Planner()
    scene = world.scene(world.Road(), t_ns=10**9)
    assert planner.plan(scene, now_ns=10**9 + 10**8)[0].status == PlanStatus.OK
    late = planner.plan(scene, now_ns=3 * 10**9)[0]
    assert late.status == PlanStatus.STALE
    assert "2.0 s old" in late.reason
    older = planner.plan(world.scene(world.Road(), t_ns=0))[0]
    assert older.status == PlanStatus.STALE
    planner.reset()
    assert planner.plan(world.scene(world.Road(), t_ns=0))[0].status == PlanStatus.OK


def test_unknown_track_positions_are_left_out_but_hide_the_ground(world):
    nan = float("nan")
    lost = world.Thing(25, 0.0, position=(nan, nan))
    light = world.Thing(10, 0.0, kind="traffic_light", height=0.3)
    plan, grid = Planner().plan(world.scene(world.Road(), [lost, light], ego=5.0))
    assert_well_formed(plan)
    assert (grid.kind != Cell.OBSTACLE).all()
    assert 10 < plan.x_m[-1] < 25
    boxless = world.scene(world.Road(), [lost])
    boxless.tracks.xyxy[:] = nan
    assert plan_of(boxless).status == PlanStatus.OK


def test_map_with_unknown_probabilities_does_not_crash(world):
    scene = world.scene(world.Road())
    scene.surfaces.drivable[:, 150:170] = np.nan
    scene.surfaces.lane[100] = np.nan
    assert_well_formed(plan_of(scene))


def test_same_frames_give_the_same_plans(world):
    def drive() -> list[Plan]:
        planner = Planner()
        return [
            planner.plan(world.scene(world.Road(), t_ns=i * 10**8, noise=0.05, seed=i, ego=9.0))[0]
            for i in range(4)
        ]

    for a, b in zip(drive(), drive(), strict=True):
        assert a.reason == b.reason
        assert a.y_m.tobytes() == b.y_m.tobytes()
        assert a.speed_mps.tobytes() == b.speed_mps.tobytes()


def test_the_last_path_calms_the_next_one(world):
    def wander(planner: Planner) -> float:
        ys = []
        for i in range(12):
            road = world.Road(left=4, right=4, lines=())
            scene = world.scene(road, t_ns=i * 40_000_000, noise=0.12, seed=i)
            plan = planner.plan(scene)[0]
            ys.append(lateral(plan, 18.0))
        return float(np.abs(np.diff(ys)).mean())

    calm = wander(Planner())
    free = wander(Planner(config=PlannerConfig(calm_s=0.0)))
    assert calm < 0.7 * free


def test_maps_of_another_size_or_camera_are_taken_up(world):
    planner = Planner()
    scene = world.scene(world.Road())
    first = planner.plan(scene)[0]
    d = cv2.resize(scene.surfaces.drivable, (640, 360))
    lane = cv2.resize(scene.surfaces.lane, (640, 360))
    surfaces = Surfaces(d, lane, (0.5, 0.5))
    second = planner.plan(replace(scene, surfaces=surfaces))[0]
    assert second.status == PlanStatus.OK
    assert second.y_m[:60] == pytest.approx(first.y_m[:60], abs=0.15)


def test_random_maps_never_raise(world):
    rng = np.random.default_rng(0)
    planner = Planner()
    for i in range(15):
        d = cv2.resize(rng.random((9, 16), np.float32), (320, 180))
        lane = cv2.resize(rng.random((18, 32), np.float32), (320, 180)) * 0.6
        n = 4
        tracks = Tracks(
            np.arange(n), rng.uniform(0, 700, (n, 4)), rng.integers(0, 5, n), np.ones(n),
            np.ones(n), np.zeros(n), rng.uniform(-10, 70, (n, 2)), rng.normal(0, 5, (n, 2)),
            np.full((n, 4, 4), np.nan),
        )  # fmt: skip
        scene = replace(
            world.scene(None, ego=float(rng.uniform(0, 20)), turning=float(rng.normal(0, 0.2))),
            t_ns=i * 10**7,
            tracks=tracks,
            surfaces=Surfaces(d, lane, (0.25, 0.25)),
        )
        plan = planner.plan(scene)[0]
        assert isinstance(plan.status, PlanStatus)
        assert plan.status == PlanStatus.OK or plan.reason
        assert_well_formed(plan)


def test_bad_settings_are_named():
    with pytest.raises(InputError, match="wheelbase_m"):
        Vehicle(wheelbase_m=-1)
    with pytest.raises(InputError, match="radians"):
        Vehicle(max_steer_rad=30)
    with pytest.raises(InputError, match="step_m"):
        Planner(config=PlannerConfig(route=RouteConfig(step_m=0)))


def test_a_chicane_of_parked_cars_is_driven_with_the_true_footprint(world):
    """The front of the body swings out further than the rear axle's way tells."""
    cars = [world.Thing(14, -1.9, (-4.0, 0.0)), world.Thing(25, 2.6, (-4.0, 0.0))]
    road = world.Road(left=4.5, right=3.5, lines=())
    plan, grid = Planner().plan(world.scene(road, cars, ego=4.0))
    assert_well_formed(plan)
    car = Vehicle()
    v = np.linspace(-car.half_width_m, car.half_width_m, 12)
    for x, y, yaw in zip(plan.x_m, plan.y_m, plan.yaw_rad, strict=True):
        front = np.column_stack([
            x + car.front_m * np.cos(yaw) - v * np.sin(yaw),
            y + car.front_m * np.sin(yaw) + v * np.cos(yaw),
        ])  # fmt: skip
        front = front[front[:, 0] < 38]
        r = (front[:, 0] / grid.resolution_m).astype(int)
        c = ((front[:, 1] - grid.origin_m[1]) / grid.resolution_m).astype(int)
        assert np.isin(grid.kind[r, c], (Cell.ROAD, Cell.LANE_LINE)).all()


def test_a_search_cut_off_by_its_deadline_stops_and_says_so(world, monkeypatch):
    from planning import planner as module
    from planning.route import Route
    from planning.smoothing import curve_of

    x = np.arange(0.0, 4.0, 0.5)
    curve, failed = curve_of(np.column_stack([x, 0 * x])), np.array([4.0, 0.0, 0.0])
    short = Route(curve, failed, False, searched=120, unfinished=True)
    monkeypatch.setattr(module, "find_route", lambda *a: short)
    plan = plan_of(world.scene(world.Road()), ego=3.0)
    assert plan.status == PlanStatus.DEADLINE
    assert plan.reason.startswith("search ended after 120 poses; ")
    assert plan.speed_mps[-1] == 0 and plan.x_m[-1] < 4


def test_a_deadline_that_is_over_at_once_still_gives_a_plan(world):
    planner = Planner(config=PlannerConfig(deadline_s=0.0))
    assert planner.plan(world.scene(world.Road(), ego=8.0))[0].status == PlanStatus.OK


def test_a_scene_grown_stale_is_stopped_along_the_last_plan(world):
    planner = Planner()
    road = world.Road(middle=lambda x: 0.003 * x**2)
    first = planner.plan(world.scene(road, t_ns=10**9, ego=8.0))[0]
    late = planner.plan(world.scene(road, t_ns=10**9, ego=8.0), now_ns=10**9 + 7 * 10**8)[0]
    assert late.status == PlanStatus.STALE
    assert late.reason.endswith("stopping along the last path")
    assert late.speed_mps[0] == pytest.approx(8.0) and late.speed_mps[-1] == 0
    gone = float(np.interp(0.7, first.t_s, first.x_m))
    ahead = np.interp(gone + 8.0, first.x_m, first.y_m) - np.interp(gone, first.x_m, first.y_m)
    assert lateral(late, 8.0) == pytest.approx(ahead, abs=0.6)
    again = planner.plan(world.scene(road, t_ns=10**9), now_ns=10**9 + 17 * 10**8)[0]
    slower = 8.0 - Vehicle().max_brake_mps2
    assert again.speed_mps[0] == pytest.approx(slower, abs=0.3)  # the stop goes on
    later = planner.plan(world.scene(road, t_ns=10**9, ego=0.0), now_ns=5 * 10**9)[0]
    assert later.status == PlanStatus.STALE and len(later.x_m) == 0


def test_the_own_motion_carries_the_last_path_along(world):
    """Past a bend, what was ahead is nearer now: a path blended at equal x would lag."""

    def lag(known: bool) -> float:
        planner, worst = Planner(), 0.0
        for i in range(8):
            at = 1.2 * i

            def middle(x, at=at):
                return 2.5 * np.exp(-(((x - 25 + at) / 8) ** 2))

            road = world.Road(left=3.0, right=3.0, lines=(), middle=middle)
            turning = 0.0 if known else math.nan
            scene = world.scene(road, t_ns=i * 80_000_000, ego=15.0, turning=turning)
            plan, fresh = planner.plan(scene)[0], Planner().plan(scene)[0]
            worst = max(worst, abs(lateral(plan, 22.0) - lateral(fresh, 22.0)))
        return worst

    assert lag(True) < lag(False)


def test_a_road_lost_from_sight_is_a_stop_along_the_last_path(world):
    planner = Planner()
    planner.plan(world.scene(world.Road(), t_ns=0, ego=8.0))
    lost = planner.plan(world.scene(None, t_ns=10**8, ego=8.0))[0]
    assert lost.status == PlanStatus.NO_SURFACE
    assert lost.reason.endswith("stopping along the last path")
    assert lost.speed_mps[-1] == 0 and 10 < lost.x_m[-1] < 14
    still = planner.plan(world.scene(None, t_ns=2 * 10**8, ego=7.8))[0]
    assert 9 < still.x_m[-1] < 13
    car = world.Thing(9, 0.0, velocity=(-8.0, 0.0))
    planner.reset()
    planner.plan(world.scene(world.Road(), t_ns=0, ego=8.0))
    near = planner.plan(world.scene(None, [car], t_ns=10**8, ego=8.0))[0]
    assert near.status == PlanStatus.BLOCKED and len(near.x_m) == 0
    long_ago = planner.plan(world.scene(None, t_ns=60 * 10**9, ego=8.0))[0]
    assert long_ago.status == PlanStatus.NO_SURFACE and len(long_ago.x_m) == 0
