"""What drives or stands in the own lane: when it is a lead, and whether it moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.types import EgoMotion, Plan, PlanStatus
from planning.planner import Planner


def plan_of(scene, ego=None, planner=None) -> Plan:
    if ego is not None:
        scene = replace(scene, ego=EgoMotion(ego, float("nan")))
    return (planner or Planner()).plan(scene)[0]


def test_own_lane_blocked_by_a_vehicle_is_not_left_for_the_free_lane_beside(world):
    road = world.Road(left=5.25, lines=(5.25, 1.75, -1.75))
    plan = plan_of(world.scene(road, [world.Thing(20, 0.0)]), ego=5.0)
    assert np.abs(plan.y_m).max() < 0.4
    assert plan.speed_mps[-1] == 0


def test_a_slower_lead_brings_the_speed_down(world):
    road = world.Road()
    lead = world.Thing(25, 0.0, velocity=(-6.0, 0.0))
    plan = plan_of(world.scene(road, [lead]), ego=12.0)
    assert plan.status == PlanStatus.OK
    assert "following vehicle 25 m ahead at 6.0 m/s" in plan.reason
    assert plan.speed_mps[0] == pytest.approx(12.0)
    assert plan.speed_mps[-1] == pytest.approx(6.0, abs=0.5)


def test_without_own_speed_a_near_lead_is_slow(world):
    near = plan_of(world.scene(world.Road(), [world.Thing(12, 0.0, velocity=(0.0, 0.0))]))
    far = plan_of(world.scene(world.Road(), [world.Thing(22, 0.0, velocity=(0.0, 0.0))]))
    assert near.speed_mps[0] < 6 < far.speed_mps[0]


def test_a_lead_on_the_edge_of_the_lane_is_not_let_go_and_taken_by_turns(world):
    def statuses(offsets: list[float]) -> list[bool]:
        planner, out = Planner(), []
        for i, y in enumerate(offsets):
            car = world.Thing(22, y, velocity=(-6.0, 0.0))
            scene = world.scene(world.Road(left=5, right=5), [car], t_ns=i * 40_000_000)
            out.append("vehicle" in plan_of(scene, 10.0, planner).reason)
        return out

    base = 1.9 / 2 + 1.0  # about where its side leaves the band that counts as the lane's middle
    offsets = np.arange(base - 0.6, base + 0.6, 0.05)
    edge = next(y for y in offsets if not statuses([float(y)])[0])
    assert statuses([edge - 0.1, edge + 0.05, edge - 0.05, edge + 0.05]) == [True] * 4
    assert statuses([edge + 0.3, edge + 0.3]) == [False] * 2


def test_a_guess_of_the_own_speed_tells_whether_a_lead_moves_and_no_more(world):
    near = world.Thing(9.5, 0.0, velocity=(0.0, 0.0), kind="two_wheeler", width=0.7)
    scene = world.scene(world.Road(), [near])
    guess = replace(scene, ego=EgoMotion(4.0, 0.0, 0.5, 0.01, estimated=True))
    plan = plan_of(guess)
    assert plan.status == PlanStatus.OK
    assert "following two-wheeler 9 m ahead at 4.0 m/s" in plan.reason
    stands = replace(guess, ego=EgoMotion(0.3, 0.0, 0.1, 0.01, estimated=True))
    assert plan_of(stands).status == PlanStatus.BLOCKED
    free = plan_of(replace(world.scene(world.Road()), ego=guess.ego))
    assert free.speed_mps[0] == plan_of(world.scene(world.Road())).speed_mps[0]


def _of_a_cyclist(world, speeds: list[float]) -> list[Plan]:
    """Plans of frames 12 m behind a cyclist of such speeds over ground, the own one 3 m/s."""
    planner, out = Planner(), []
    for i, speed in enumerate(speeds):
        thing = world.Thing(12, 0.0, velocity=(speed - 3.0, 0.0), kind="two_wheeler", width=0.7)
        scene = world.scene(world.Road(), [thing], t_ns=i * 66_000_000)
        out.append(plan_of(scene, 3.0, planner))
    return out


def test_what_was_followed_is_not_taken_to_stand_and_move_by_turns(world):
    plans = _of_a_cyclist(world, [1.4, 0.8, 1.2, 0.6, 0.9])
    assert ["following" in p.reason for p in plans] == [True] * 5
    assert {p.status for p in plans} == {PlanStatus.OK}


def test_what_stood_is_followed_from_walking_pace_on_and_what_stops_is_stopped_for(world):
    plans = _of_a_cyclist(world, [0.8, 0.6, 1.2, 0.8, 0.3, 0.8])
    assert ["following" in p.reason for p in plans] == [False, False, True, True, False, False]
    assert [p.speed_mps[-1] > 0 for p in plans] == [False, False, True, True, False, False]


def test_another_track_does_not_inherit_that_the_last_one_moved(world):
    planner = Planner()
    for i, (track, follows) in enumerate([(5, True), (5, True), (6, False)]):
        thing = world.Thing(12, 0.0, velocity=((-1.0, -2.2, -2.2)[i], 0.0), kind="person")
        scene = world.scene(world.Road(), [thing], t_ns=i * 66_000_000)
        scene = replace(scene, tracks=replace(scene.tracks, track_id=np.array([track])))
        assert ("following" in plan_of(scene, 3.0, planner).reason) == follows


def test_after_a_break_it_is_not_known_that_the_last_lead_moved(world):
    planner = Planner()
    for speed, t_s, follows in ((1.4, 0.0, True), (0.8, 0.4, True), (0.8, 1.0, False)):
        thing = world.Thing(12, 0.0, velocity=(speed - 3.0, 0.0), kind="person")
        plan = plan_of(world.scene(world.Road(), [thing], t_ns=round(t_s * 1e9)), 3.0, planner)
        assert ("following" in plan.reason) == follows
