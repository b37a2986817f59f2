"""The last look at a trajectory can only lower speeds or stop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.types import Plan, PlanStatus
from planning.goal import Lead
from planning.obstacles import Footprints
from planning.safety import checked, safe_stop
from planning.smoothing import Curve, curve_of
from planning.speed import SpeedConfig, times_s
from planning.trajectory import Drive
from planning.vehicle import Vehicle

CAR, RULES = Vehicle(), SpeedConfig()


def drive(ego: float | None = 8.0) -> Drive:
    return Drive(CAR, RULES, ego, ego, 60.0, 6.0)


def straight(speed: float = 8.0, end: float = 40.0, curvature: float = 0.0) -> Plan:
    x = np.arange(0.0, end, 0.5)
    c = curve_of(np.column_stack([x, curvature * x**2 / 2]))
    v = np.full(len(x), speed)
    return Plan(PlanStatus.OK, "", c.x_m, c.y_m, c.yaw_rad, v, c.curvature_1pm, times_s(c.s_m, v))


def moving(x: float, y: float, vx: float, half_y: float = 0.9, settled: bool = True) -> Footprints:
    """One vehicle whose near side is at ``x``; ``vx`` relative to the own speed of 8 m/s."""
    a, i = np.array, np.array([0])
    return Footprints(
        a([x]), a([x + 4.5]), a([y - half_y]), a([y + half_y]), a([vx]), a([0.0]), a([0.1]), i, i,
        a([settled]),
    )  # fmt: skip


def free(curve: Curve) -> int:
    return len(curve)


NOBODY = Footprints(*[np.zeros(0)] * 7, *[np.zeros(0, np.int64)] * 2, np.zeros(0, np.bool_))


def test_what_is_safe_is_left_as_it_is():
    plan = straight()
    assert checked(plan, free, NOBODY, None, drive()) is plan
    beside = moving(20, 3.5, -16.0)
    assert checked(plan, free, beside, None, drive()) is plan


def test_an_oncoming_vehicle_in_the_way_is_stopped_for():
    plan = checked(straight(), free, moving(30, 0.5, -16.0), None, drive())
    assert "safety check: vehicle in the way in" in plan.reason
    assert plan.x_m[-1] < 20 and plan.speed_mps[-1] == 0


def test_a_vehicle_that_drives_away_is_no_fault_but_one_that_brakes_is():
    lead = Lead(0, 12.0, 9.0, True)
    assert checked(straight(), free, moving(12, 0, 1.0), lead, drive()).reason == ""
    slow = Lead(0, 12.0, 1.5, True)
    assert "safety check" in checked(straight(), free, moving(12, 0, -6.5), slow, drive()).reason


def test_a_lead_that_counts_as_moving_is_predicted_below_walking_pace_too():
    slow = Lead(0, 12.0, 0.8, True)
    assert "vehicle" in checked(straight(), free, moving(12, 0, -7.2), slow, drive()).reason
    stands = Lead(0, 12.0, 0.8, False)  # left to the grid, in which it stands
    assert checked(straight(), free, moving(12, 0, -7.2), stands, drive()).reason == ""


def test_without_own_speed_only_the_lead_is_predicted():
    plan = straight()
    assert checked(plan, free, moving(30, 0.5, -16.0), None, drive(None)) is plan
    slow = Lead(0, 12.0, 1.5, True)
    assert "vehicle" in checked(plan, free, moving(12, 0, -6.5), slow, drive(None)).reason


def test_a_young_velocity_predicts_nothing():
    plan = straight()
    assert checked(plan, free, moving(30, 0.5, -16.0, settled=False), None, drive()) is plan


def test_a_body_that_would_touch_stops_before_and_is_blocked_when_near():
    far = checked(straight(), lambda c: min(len(c), 30), NOBODY, None, drive())
    assert far.status == PlanStatus.OK and 12 < far.x_m[-1] < 15
    assert "body would leave free ground" in far.reason
    near = checked(straight(4.0), lambda c: min(len(c), 8), NOBODY, None, drive(4.0))
    assert near.status == PlanStatus.BLOCKED and 0 < near.x_m[-1] < 4
    at_once = checked(straight(), lambda c: 1, NOBODY, None, drive())
    assert at_once.status == PlanStatus.BLOCKED and len(at_once.x_m) == 0


def test_a_path_too_sharp_is_not_driven():
    plan = straight(3.0)
    plan.curvature_1pm[40] = 2 * CAR.max_curvature_1pm
    out = checked(plan, free, NOBODY, None, drive(3.0))
    assert "too sharp" in out.reason and out.x_m[-1] < plan.x_m[40]


def test_a_curve_too_fast_is_slowed_for():
    plan = straight(12.0, curvature=0.05)
    out = checked(plan, free, NOBODY, None, drive(None))
    assert "slower in the curve" in out.reason
    bend = np.abs(out.curvature_1pm)
    assert (out.speed_mps**2 * bend).max() <= 1.11 * CAR.max_lateral_mps2


@settings(max_examples=60, deadline=None)
@given(
    speed=st.floats(0.5, 15), touch=st.integers(0, 90), x=st.floats(4, 50), y=st.floats(-4, 4),
    vx=st.floats(-25, 10), bend=st.floats(-0.08, 0.08), known=st.booleans(),
)  # fmt: skip
def test_it_can_only_lower_the_speed_or_stop(speed, touch, x, y, vx, bend, known):
    plan = straight(speed, curvature=bend)
    out = checked(plan, lambda c: min(touch, len(c)), moving(x, y, vx), None,
                  drive(speed if known else None))  # fmt: skip
    n = len(out.x_m)
    assert out.x_m.tobytes() == plan.x_m[:n].tobytes()
    assert out.y_m.tobytes() == plan.y_m[:n].tobytes()
    assert (out.speed_mps <= plan.speed_mps[:n] + 1e-9).all()
    assert n <= max(touch, 0) or n == len(plan.x_m) == touch or touch >= len(plan.x_m)
    if n < len(plan.x_m) or (out.speed_mps < plan.speed_mps[:n] - 1e-9).any():
        assert "safety check" in out.reason


def stop(last: Plan, elapsed: float, ego: float | None = None, touch: int = 999) -> Plan:
    return safe_stop(
        PlanStatus.STALE, "old", last, elapsed, ego, CAR, lambda c: min(touch, len(c)), 0.5
    )


def test_a_safe_stop_brakes_along_the_last_path():
    last = straight(8.0, curvature=0.01)
    out = stop(last, 1.0)
    assert out.status == PlanStatus.STALE and "along the last path" in out.reason
    assert out.speed_mps[0] == pytest.approx(8.0) and out.speed_mps[-1] == 0
    assert (np.diff(out.speed_mps) < 0).all()
    assert out.x_m[-1] == pytest.approx(8.0**2 / 2 / CAR.max_brake_mps2, abs=0.7)
    assert (out.x_m[0], out.y_m[0], out.yaw_rad[0]) == (0, 0, 0)
    assert out.curvature_1pm == pytest.approx(0.01, abs=0.004)


@pytest.mark.parametrize("ego", [-3.0, 0.0])
def test_who_does_not_drive_on_stands_still(ego):
    assert len(stop(straight(), 0.5, ego=ego).x_m) == 0


def test_a_safe_stop_brakes_harder_where_the_path_is_short_and_ends_before_a_touch():
    out = stop(straight(8.0), 0.0, touch=14)
    assert out.x_m[-1] <= 6.5 and out.speed_mps[-1] < 1.5
    assert len(stop(straight(8.0), 0.0, touch=1).x_m) == 0


def test_a_safe_stop_has_nothing_to_go_on_when_the_last_path_is_over():
    assert len(stop(straight(8.0), 60.0).x_m) == 0
    assert len(stop(Plan.none(PlanStatus.BLOCKED, ""), 0.1).x_m) == 0
    assert len(stop(straight(8.0), 1.0, ego=0.0).x_m) == 0
