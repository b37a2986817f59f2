from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.smoothing import bend, curve_of, resample
from planning.speed import SpeedConfig, curve_limit, follow_limit, lead_speed_mps, speed_profile
from planning.vehicle import Vehicle

CAR = Vehicle()
RULES = SpeedConfig()
S = np.arange(0, 60, 0.5)


def acceleration(v: np.ndarray) -> np.ndarray:
    return np.diff(v**2) / (2 * np.diff(S))


def test_curve_speed_keeps_lateral_acceleration():
    v = curve_limit(np.array([0.0, 0.02, -0.02, 0.2]), CAR)
    assert v[0] == CAR.cruise_mps
    assert v[1] == v[2] == pytest.approx(10.0)
    assert v[3] ** 2 * 0.2 == pytest.approx(CAR.max_lateral_mps2)


def test_stop_and_start_within_comfort():
    limit = np.full(len(S), 12.0)
    limit[-1] = 0
    v, hard = speed_profile(S, limit, CAR, ego_mps=2.0)
    assert not hard
    assert v[0] == pytest.approx(2.0)
    assert v[-1] == 0
    assert acceleration(v).max() <= CAR.max_accel_mps2 + 1e-9
    assert acceleration(v).min() >= -CAR.max_brake_mps2 - 1e-9


@given(ego=st.floats(0, 40), stop=st.integers(4, 119), limit=st.floats(1, 20))
def test_braking_is_never_harder_than_the_brakes(ego, stop, limit):
    limits = np.full(len(S), limit)
    limits[stop:] = 0
    v, hard = speed_profile(S, limits, CAR, ego)
    assert v[0] == pytest.approx(ego, abs=1e-6)
    assert acceleration(v).min() >= -CAR.hard_brake_mps2 - 1e-6
    assert acceleration(v).max() <= CAR.max_accel_mps2 + 1e-6
    if ego**2 <= 2 * CAR.hard_brake_mps2 * S[stop] and ego <= limit:
        assert v[stop] == pytest.approx(0, abs=1e-5)
    if not hard:
        assert (v <= limits + 1e-9).all()


def test_following_comes_down_to_the_lead_and_falls_back_when_too_close():
    limit = follow_limit(S, 30.0, 6.0, CAR, RULES)
    assert limit[0] > 10
    assert limit[-1] == pytest.approx(6.0)
    assert follow_limit(S, 2.0, 6.0, CAR, RULES)[0] < 6.0
    assert follow_limit(S, 20.0, 0.0, CAR, RULES)[S >= 20].max() == 0


def test_lead_speed_with_and_without_own_speed():
    assert lead_speed_mps(20, -3.0, 10.0, CAR, RULES) == 7.0
    assert lead_speed_mps(20, -30.0, 10.0, CAR, RULES) == 0.0
    assert lead_speed_mps(20, float("nan"), 10.0, CAR, RULES) == 0.0
    assert lead_speed_mps(6.0, 0.0, None, CAR, RULES) == pytest.approx(5.0)


def test_smoothing_irons_out_steps_and_keeps_the_start():
    x = np.arange(0, 40.01, 0.2)
    stairs = np.column_stack([x, np.floor(0.1 * x / 0.2) * 0.2])
    line = resample(stairs, 0.5)
    curve = curve_of(resample(bend(line, 500.0, np.ones(len(line)), 0.5), 0.5))
    assert (curve.x_m[0], curve.y_m[0], curve.yaw_rad[0]) == (0, 0, 0)
    assert curve.y_m[1] == 0
    assert np.abs(curve.y_m - 0.1 * curve.x_m)[20:].max() < 0.25
    assert np.abs(np.diff(curve.curvature_1pm)).max() < 0.01


def test_curvature_of_a_circle():
    angle = np.linspace(0, 1, 60)
    curve = curve_of(30 * np.column_stack([np.sin(angle), 1 - np.cos(angle)]))
    assert curve.curvature_1pm[3:-3] == pytest.approx(1 / 30, rel=1e-2)
    assert curve.s_m[-1] == pytest.approx(30, rel=1e-3)


def test_without_an_own_speed_a_slow_place_is_left_no_faster_than_the_vehicle_can() -> None:
    limit = np.full(len(S), 13.9)
    slow = 80  # 40 m away
    limit[slow] = 6.0
    v, hard = speed_profile(S, limit, CAR, None)
    assert not hard and v[0] == pytest.approx(13.9) and v[slow] == pytest.approx(6.0)
    assert acceleration(v).max() == pytest.approx(CAR.max_accel_mps2)
    assert acceleration(v).min() == pytest.approx(-CAR.max_brake_mps2)
