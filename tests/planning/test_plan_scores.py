"""Scores of plans on cases whose answer is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from planning.scores import Limits, Others, Path, peaks, times_to_collision_s, uncomfortable
from planning.vehicle import Vehicle

VEHICLE = Vehicle(width_m=2.0, front_m=4.0, rear_m=1.0)


def straight(speed=10.0, seconds=4.0, accel=0.0, curvature=0.0):
    t = np.arange(0, seconds + 1e-9, 0.1)
    v = speed + accel * t
    return Path(speed * t + accel * t**2 / 2, 0 * t, 0 * t, v, 0 * t + curvature, t)


def thing(x, y=0.0, vx=-10.0, vy=0.0):
    """A car 4.5 m long and 1.8 m wide; by default it stands, the own speed being 10 m/s."""
    one = (np.array([float(v)]) for v in (x, y, vx, vy, 4.5, 1.8))
    return Others(*one)


def ttc(path, other, **options):
    return float(times_to_collision_s(path, other, VEHICLE, **options)[0])


def test_a_standing_car_ahead_is_reached_at_its_gap_over_the_speed():
    assert ttc(straight(), thing(24)) == pytest.approx(2.0)  # bumper at 4 m, 20 m at 10 m/s
    assert ttc(straight(), thing(64)) == np.inf  # beyond the horizon of 3 s
    assert ttc(straight(), thing(44), horizon_s=5.0) == pytest.approx(4.0)


def test_a_car_that_keeps_its_distance_is_never_reached():
    assert ttc(straight(), thing(8, vx=0.0)) == np.inf


def test_a_car_beside_is_passed_and_one_that_cuts_in_is_met():
    assert ttc(straight(), thing(24, y=2.0)) == np.inf
    assert ttc(straight(), thing(2, y=4.9, vx=0.0, vy=-3.0)) == pytest.approx(1.0, abs=0.11)


def test_a_turned_vehicle_reaches_out_sideways():
    t = np.array([0.0, 4.0])
    z = np.zeros(2)
    still = Path(z, z, z, z, z, t)
    turned = Path(z, z, z + np.pi / 2, z, z, t)
    other = thing(0, y=3.0, vx=0.0)
    assert ttc(still, other) == np.inf
    assert ttc(turned, other) == 0


def test_a_plan_that_ends_stays_where_it_ended():
    path = straight(seconds=1.0)
    assert ttc(path, thing(24)) == np.inf  # it stopped after 10 m
    assert ttc(path, thing(60, vx=-40.0)) == pytest.approx(1.5, abs=0.11)


def test_no_objects_no_times():
    none = Others(*(np.zeros(0) for _ in range(6)))
    assert times_to_collision_s(straight(), none).shape == (0,)


def test_a_steady_drive_is_comfortable():
    found = peaks(straight())
    assert all(v == pytest.approx(0, abs=1e-9) for v in found.values())
    assert uncomfortable(found, Limits()) == []


@pytest.mark.parametrize(
    ("path", "over"),
    [
        (straight(5.0, accel=3.0), ["accel_mps2"]),
        (straight(20.0, accel=-4.5), ["brake_mps2"]),
        (straight(10.0, curvature=0.05), ["lateral_mps2"]),
        (straight(4.0, curvature=0.25), ["yaw_rate_radps"]),
    ],
)
def test_what_is_over_its_limit_is_named(path, over):
    assert uncomfortable(peaks(path), Limits()) == over


def test_a_jump_of_the_speed_is_a_jerk():
    path = straight()
    path.speed_mps[30:] += 3
    assert "jerk_mps3" in uncomfortable(peaks(path), Limits())


def test_a_plan_too_short_to_tell_has_no_peaks():
    assert set(peaks(straight(seconds=0.5)).values()) == {0.0}
