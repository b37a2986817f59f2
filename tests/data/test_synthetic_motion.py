"""The kinematic bicycle and the tracks of the others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.synthetic.motion import EgoState, bicycle_step, driving, follow_lane, walking
from data.synthetic.road import curved_road, rural, urban


@pytest.mark.parametrize("steer_rad", [0.1, -0.3, 0.5])
@pytest.mark.parametrize("dt_s", [0.05, 0.2])
def test_constant_steer_drives_a_circle_of_the_bicycle_radius(
    steer_rad: float, dt_s: float
) -> None:
    wheelbase = 2.6
    radius = wheelbase / math.tan(steer_rad)  # positive: the centre lies to the left
    centre = np.array([0.0, radius])
    state = EgoState(0.0, 0.0, 0.0, 5.0)
    for _ in range(200):
        state = bicycle_step(state, steer_rad, 0.0, dt_s, wheelbase)
        distance = np.hypot(*(np.array([state.x_m, state.y_m]) - centre))
        assert distance == pytest.approx(abs(radius), abs=1e-6)
    assert state.yaw_rate_radps == pytest.approx(5.0 / radius)
    assert state.yaw_rad == pytest.approx(200 * dt_s * 5.0 / radius)


def test_straight_driving_follows_the_equations_of_motion() -> None:
    state = EgoState(1.0, 2.0, math.pi / 2, 4.0)
    for _ in range(20):
        state = bicycle_step(state, 0.0, 1.5, 0.1)
    assert state.x_m == pytest.approx(1.0)
    assert state.y_m == pytest.approx(2.0 + 4.0 * 2 + 0.5 * 1.5 * 4)
    assert state.speed_mps == pytest.approx(7.0)


def test_braking_stops_at_v_squared_over_2a_and_stays() -> None:
    state = EgoState(0.0, 0.0, 0.0, 8.0)
    for _ in range(60):
        state = bicycle_step(state, 0.0, -4.0, 0.07)
    assert state.speed_mps == 0.0
    assert state.x_m == pytest.approx(64 / 8)


def test_the_driver_returns_to_the_middle_of_a_curved_lane() -> None:
    road = curved_road(-10, 400, [0.0, 0.01, -0.01, 0.0], rural(3.4, 0.5, True, True))
    x, y = road.at(0.0, -0.5)
    state = EgoState(float(x), float(y), float(road.yaw_at(0.0)) + 0.1, 10.0)
    offsets = []
    for _ in range(500):
        steer, acceleration = follow_lane(state, road, -1.7, 12.0, math.inf)
        state = bicycle_step(state, steer, acceleration, 0.05)
        offsets.append(road.locate(state.x_m, state.y_m)[1] + 1.7)
    assert np.abs(offsets[80:]).max() < 0.25
    assert state.speed_mps == pytest.approx(12.0, abs=0.1)


def test_the_driver_stops_before_an_obstacle() -> None:
    road = curved_road(0, 200, [0.0, 0.0], rural(3.4, 0.5, True, True))
    state = EgoState(0.0, -1.7, 0.0, 12.0)
    for _ in range(400):
        steer, acceleration = follow_lane(state, road, -1.7, 12.0, 60.0 - state.x_m)
        state = bicycle_step(state, steer, acceleration, 0.05)
    assert state.speed_mps < 0.1
    assert 59.0 < state.x_m < 60.2


def test_road_coordinates_go_both_ways() -> None:
    road = curved_road(-20, 150, [0.01, -0.01], rural(3.4, 0.5, True, True))
    for s, d in ((0.0, 0.0), (33.3, 4.0), (120.0, -6.0)):
        x, y = road.at(s, d)
        assert road.locate(float(x), float(y)) == pytest.approx((s, d), abs=0.02)
    assert np.allclose(road.at(0.0, 0.0), 0)


def test_a_car_keeps_to_its_lane_and_shows_brake_lights_while_slowing() -> None:
    road = curved_road(0, 300, [0.003, -0.003], urban(1, 1, 3.3, 0.0, 2.0, True))
    motion = driving(road, 10.0, -1.65, [0.0, 2.0, 4.0], [10.0, 10.0, 4.0], 6.0)
    for t, variant in ((1.0, 0), (3.0, 1), (5.5, 0)):
        x, y, _, seen = motion.at(t)
        assert road.locate(x, y)[1] == pytest.approx(-1.65, abs=0.02)
        assert seen == variant
    x, y, _, _ = motion.at(2.0)
    assert road.locate(x, y)[0] == pytest.approx(30.0, abs=0.05)
    oncoming = driving(road, 200.0, 1.65, [0.0, 1.0], [10.0, 10.0], 6.0, oncoming=True)
    assert road.locate(*oncoming.at(3.0)[:2])[0] == pytest.approx(170.0, abs=0.05)


def test_a_walker_waits_walks_and_stands() -> None:
    motion = walking((0, 0), (0, 6), 1.5, 2.0, phases=8, stride_m=1.4)
    assert motion.at(0.0) == (0.0, 0.0, pytest.approx(math.pi / 2), 8)
    assert motion.at(4.0)[1] == pytest.approx(3.0, abs=0.05)
    assert motion.at(4.0)[3] < 8
    assert motion.at(9.0)[1] == pytest.approx(6.0)
    assert motion.at(9.0)[3] == 8
