"""The ground over time: carried along by the own motion, forgotten, and never smeared."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from data.types import Cell, Surfaces
from planning.costmap import CostConfig, build_cost_grid, survey
from planning.fusion import Evidence, Fused, FusionConfig, Way, fused
from planning.grid import GridSpec
from planning.ground import ground_view
from planning.planner import Planner
from planning.vehicle import Vehicle

SPEC, CAR, CONFIG = GridSpec(), Vehicle(), FusionConfig()
SHAPE = (SPEC.rows, SPEC.cols)
NOTHING = np.full(SHAPE, np.nan, np.float32)
STEP_NS = 40_000_000


def told(probability: np.ndarray, std_m: float = 0.0) -> Evidence:
    return Evidence(probability.astype(np.float32), np.full(SHAPE, std_m, np.float32), 0.5)


def patch(x: float, y: float, half_m: float = 1.0) -> Fused:
    """Road known for sure in a square about (x, y), nothing elsewhere."""
    odds = np.zeros(SHAPE, np.float32)
    inside = (np.abs(SPEC.x_m - x) < half_m)[:, None] & (np.abs(SPEC.y_m - y) < half_m)[None, :]
    odds[inside] = CONFIG.held_odds
    return Fused(odds, 0, 5)


def middle(known: Fused) -> tuple[float, float]:
    w = known.odds / known.odds.sum()
    return float((w.sum(axis=1) * SPEC.x_m).sum()), float((w.sum(axis=0) * SPEC.y_m).sum())


@pytest.mark.parametrize("turn", [0.0, 0.2, -0.35])
@pytest.mark.parametrize("along", [0.0, 3.0])
def test_the_ground_is_carried_along_by_the_own_motion(along, turn):
    way, keeps = Way(0.1, along, turn), replace(CONFIG, forget_arc_m=1e9)
    known = fused(patch(20.0, -4.0), way, told(NOTHING), SPEC, STEP_NS, keeps)
    # the vehicle drives an arc: where it is now, seen from where it was, and the patch from there
    chord = along if not turn else along / turn * 2 * math.sin(turn / 2)
    dx, dy = 20.0 - chord * math.cos(turn / 2), -4.0 - chord * math.sin(turn / 2)
    c, s = math.cos(turn), math.sin(turn)
    assert middle(known) == pytest.approx((dx * c + dy * s, dy * c - dx * s), abs=0.05)
    assert known.frames == 6


def test_what_was_seen_is_forgotten_with_time_way_and_turning():
    def left(way: Way) -> float:
        known = fused(patch(20.0, 0.0, 4.0), way, told(NOTHING), SPEC, STEP_NS, CONFIG)
        return float(known.odds.max()) / CONFIG.held_odds

    lost = 0.1 / CONFIG.forget_s
    assert left(Way(0.1, 0.0, 0.0)) == pytest.approx(1 / (1 + lost), abs=0.01)
    lost += 2.0 / CONFIG.forget_m
    assert left(Way(0.1, 2.0, 0.0)) == pytest.approx(1 / (1 + lost), abs=0.01)
    assert left(Way(0.1, 0.0, 0.1)) < 0.7 * left(Way(0.1, 0.0, 0.0))
    vague = told(NOTHING, std_m=3 * CONFIG.blur_m)
    far = fused(patch(20.0, 0.0), Way(0.1, 0.0, 0.0), vague, SPEC, STEP_NS, CONFIG)
    assert float(far.odds.max()) < CONFIG.held_odds * 0.4


def test_evidence_adds_up_within_bounds_and_a_vague_place_counts_less():
    road, known = told(np.full(SHAPE, 0.9)), None
    for i in range(9):
        known = fused(known, Way(0.04, 0.0, 0.0), road, SPEC, i * STEP_NS, CONFIG)
        if i == 0:
            assert known.odds == pytest.approx(np.full(SHAPE, math.log(9)), rel=1e-5)
    assert known.odds.max() == CONFIG.held_odds
    vague = fused(None, None, told(np.full(SHAPE, 0.9), CONFIG.blur_m), SPEC, 0, CONFIG)
    assert vague.odds == pytest.approx(np.full(SHAPE, math.log(9) / 2), rel=1e-5)
    certain = fused(None, None, told(np.ones(SHAPE)), SPEC, 0, CONFIG)
    assert certain.odds.max() == CONFIG.most_odds


@pytest.mark.parametrize("way", [None, Way(0.6, 1.0, 0.0), Way(0.0, 0.0, 0.0), Way(-0.1, 0.0, 0.0)])
def test_after_a_gap_or_without_own_motion_a_frame_stands_alone(way):
    road = told(np.full(SHAPE, 0.2))
    known = fused(patch(20.0, 0.0), way, road, SPEC, STEP_NS, CONFIG)
    assert known.frames == 1
    assert known.odds.tobytes() == fused(None, None, road, SPEC, 0, CONFIG).odds.tobytes()
    other = Fused(np.ones((3, 3), np.float32), 0)  # of another grid
    assert fused(other, Way(0.1, 0.0, 0.0), road, SPEC, STEP_NS, CONFIG).frames == 1


def drive(scenes, speed_mps: float, turning: float = 0.0, config: CostConfig | None = None):
    """The last of some scenes of a calibrated camera, ``STEP_NS`` apart, with all before."""
    known, way = None, None
    dt_s = STEP_NS / 1e9
    camera = replace(scenes[0].camera, angle_std_rad=None)
    for i, scene in enumerate(scenes):
        scene = replace(scene, t_ns=i * STEP_NS, camera=camera)
        view = ground_view(scene.camera, SPEC, scene.surfaces.drivable.shape, scene.surfaces.scale)
        seen = survey(scene, SPEC, CAR, config, view, known, way)
        known, way = seen.ground, Way(dt_s, speed_mps * dt_s, turning * dt_s)
    return seen


def spotted(scene, x: float, y: float, size_m: float = 1.4, doubt: float = 0.02):
    """The same scene with a hole in the drivable surface, of that probability."""
    corners = [(x + a * size_m / 2, y + b * size_m / 2, 0) for a, b in
               ((-1, -1), (-1, 1), (1, 1), (1, -1))]  # fmt: skip
    uv = scene.camera.pixels_from_vehicle(np.array(corners)) * 0.25
    d = scene.surfaces.drivable.copy()
    cv2.fillConvexPoly(d, np.round(uv).astype(np.int32), doubt)
    return replace(scene, surfaces=Surfaces(d, scene.surfaces.lane, scene.surfaces.scale))


@pytest.mark.parametrize(("x", "doubt"), [(14.0, 0.25), (24.0, 0.05)])
def test_noise_of_single_frames_is_evened_out(world, x, doubt):
    """What one frame alone tells, in doubt or from afar, is no edge; what stays is."""
    road = world.Road(left=4, right=4, lines=())
    plain = world.scene(road)
    holed = spotted(plain, x, 0.5, 2.0, doubt)
    at = SPEC.row_of(x), SPEC.col_of(0.5)
    flash = drive([plain] * 8 + [holed], 0.0)
    assert flash.grid.frames == 9
    assert flash.grid.kind[at] == Cell.ROAD
    assert drive([holed], 0.0).grid.kind[at] == Cell.OFF_ROAD
    assert drive([plain] * 8 + [holed] * 6, 0.0).grid.kind[at] == Cell.OFF_ROAD


def test_near_and_for_sure_the_newest_frame_is_right(world):
    plain = world.scene(world.Road(left=4, right=4, lines=()))
    seen = drive([plain] * 8 + [spotted(plain, 10.0, 0.5, 1.6)], 0.0)
    assert seen.grid.kind[SPEC.row_of(10.0), SPEC.col_of(0.5)] == Cell.OFF_ROAD


def test_a_standing_hole_stays_where_it_is_while_driven_at(world):
    """Seen from ever nearer, it is held where the newest frame has it, road before and behind."""
    road = world.Road(left=5, right=5, lines=())
    speed, dt_s = 10.0, STEP_NS / 1e9
    scenes = [spotted(world.scene(road), 20.0 - i * speed * dt_s, 2.0, 2.4) for i in range(20)]
    seen, alone = drive(scenes, speed), drive(scenes[-1:], speed)
    assert seen.grid.frames == 20
    rows = slice(SPEC.row_of(6.0), SPEC.row_of(30.0))
    assert (seen.grid.kind[rows] != alone.grid.kind[rows]).mean() < 0.005
    at = 20.0 - 19 * speed * dt_s
    odds = [seen.ground.odds[SPEC.row_of(at + d), SPEC.col_of(2.0)] for d in (-2.0, 0.0, 2.0)]
    assert odds[0] > 1 and odds[1] < -1 and odds[2] > 1


def test_ground_out_of_view_is_remembered_as_road_only(world):
    """What was seen not to be road may have been what has moved since."""
    scene = world.scene(world.Road(left=4, right=4, lines=()), t_ns=STEP_NS)
    at, still = (SPEC.row_of(2.0), SPEC.col_of(8.0)), Way(0.04, 0.0, 0.0)
    road = patch(2.0, 8.0)
    for known, kind in ((road, Cell.ROAD), (Fused(-road.odds, 0, 5), Cell.UNKNOWN)):
        seen = survey(scene, SPEC, CAR, None, None, known, still)
        assert seen.grid.kind[at] == kind
    hidden = survey(world.scene(world.Road(), [world.Thing(15, 0.0)], t_ns=STEP_NS),
                    SPEC, CAR, None, None, patch(26.0, 0.0), still)  # fmt: skip
    assert hidden.grid.kind[SPEC.row_of(26.0), SPEC.col_of(0.0)] == Cell.UNKNOWN


def test_moving_objects_leave_no_trail_and_what_they_hide_stays_unknown(world):
    """A vehicle crosses from left to right: the ground where it was is road at once."""
    road = world.Road(left=8, right=8, lines=())
    scenes = [world.scene(road, [world.Thing(18.0, 5.0 - 0.4 * i)]) for i in range(24)]
    seen, alone = drive(scenes, 0.0), drive(scenes[-1:], 0.0)
    rows = slice(SPEC.row_of(8.0), SPEC.row_of(30.0))
    kind, plain = seen.grid.kind[rows], alone.grid.kind[rows]
    assert ((kind == Cell.OFF_ROAD) & (plain != Cell.OFF_ROAD)).sum() == 0
    hidden = plain == Cell.UNKNOWN
    assert (kind[hidden] == Cell.UNKNOWN).mean() > 0.97
    assert (kind != plain).mean() < 0.01


def test_with_fusion_off_the_grid_is_that_of_the_frame_alone(world):
    off = CostConfig(fusion=FusionConfig(max_gap_s=0.0))
    road = world.Road(left=4, right=4)
    scenes = [world.scene(road, noise=0.08, seed=i) for i in range(3)]
    seen = drive(scenes, 8.0, 0.1, off)
    alone = build_cost_grid(replace(scenes[-1], t_ns=2 * STEP_NS), SPEC, CAR)
    assert seen.grid.frames == 1
    assert seen.grid.cost.tobytes() == alone.cost.tobytes()
    assert seen.grid.kind.tobytes() == alone.kind.tobytes()


def test_the_planner_fuses_where_the_own_motion_is_known(world):
    def frames(speed: float | None, turning: float, planner: Planner | None = None) -> int:
        planner = planner or Planner()
        for i in range(3):
            scene = world.scene(world.Road(), t_ns=i * STEP_NS, ego=speed, turning=turning)
            _, grid = planner.plan(scene)
        return grid.frames

    assert frames(8.0, 0.0) == 3
    assert frames(None, 0.0) == frames(8.0, math.nan) == frames(math.nan, 0.0) == 1
    planner = Planner()
    assert frames(8.0, 0.0, planner) == 3
    planner.reset()
    _, grid = planner.plan(world.scene(world.Road(), t_ns=4 * STEP_NS, ego=8.0, turning=0.0))
    assert grid.frames == 1
