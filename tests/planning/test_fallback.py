"""What is driven without a plan of one's own: the rest of the last one, then a stop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from data.types import Plan, PlanStatus
from planning.fallback import LastPlan, rest_of
from planning.vehicle import Vehicle

NS = 1_000_000_000


def arc(speed_mps: float = 10.0, radius_m: float = 50.0, length_m: float = 40.0) -> Plan:
    s = np.arange(0, length_m, 0.5)
    yaw = s / radius_m
    x, y = radius_m * np.sin(yaw), radius_m * (1 - np.cos(yaw))
    n = np.ones(len(s))
    return Plan(PlanStatus.OK, "", x, y, yaw, speed_mps * n, n / radius_m, s / speed_mps)


def test_the_rest_of_an_arc_is_the_same_arc_from_there():
    """A circle looks the same from each of its points."""
    plan, rest = arc(), rest_of(arc(), 0.75)
    assert rest.t_s[0] == 0
    assert rest.t_s[-1] == pytest.approx(plan.t_s[-1] - 0.75)
    assert rest.length_m == pytest.approx(plan.length_m - 7.5, abs=0.01)
    expected_x = np.interp(rest.t_s, plan.t_s, plan.x_m)
    expected_y = np.interp(rest.t_s, plan.t_s, plan.y_m)
    assert np.allclose(rest.x_m, expected_x, atol=0.02)
    assert np.allclose(rest.y_m, expected_y, atol=0.02)


def test_nothing_is_left_of_a_plan_that_has_ended():
    assert len(rest_of(arc(length_m=10), 2.0).x_m) == 0


def test_last_plan_with_its_age_then_a_stop_then_standing():
    last = LastPlan(Vehicle(), max_age_s=0.5, step_m=0.5)
    assert last.at(0, "picture black", None).status is PlanStatus.STALE
    last.made(arc(), 1 * NS)
    soon = last.at(int(1.3 * NS), "picture black", None)
    assert soon.status is PlanStatus.OK
    assert soon.reason == "picture black: last plan, 0.30 s old"
    assert soon.length_m == pytest.approx(arc().length_m - 3, abs=0.1)
    speeds = []
    for t in np.arange(1.6, 12, 0.1):
        plan = last.at(int(t * NS), "picture black", None)
        assert plan.status is PlanStatus.STALE
        speeds.append(plan.speed_mps[0] if len(plan.x_m) else 0.0)
        if len(plan.x_m):
            assert plan.speed_mps[-1] == pytest.approx(0, abs=1e-6)
    assert speeds[0] == pytest.approx(10)
    assert all(b <= a + 1e-6 for a, b in itertools.pairwise(speeds))
    assert speeds[-1] == 0


def test_a_new_plan_ends_the_stop():
    last = LastPlan(Vehicle(), max_age_s=0.5, step_m=0.5)
    last.made(arc(), 0)
    assert last.at(NS, "x", None).status is PlanStatus.STALE
    last.made(arc(), int(1.1 * NS))
    assert last.at(int(1.2 * NS), "x", None).status is PlanStatus.OK


def test_a_late_plan_is_a_deadline_and_leaves_no_stop_behind():
    last = LastPlan(Vehicle(), max_age_s=0.5, step_m=0.5)
    last.made(arc(), 0)
    plan = last.at(NS // 10, "no plan within 50 ms", 9.0, late=True, keep=False)
    assert plan.status is PlanStatus.DEADLINE
    assert len(plan.x_m) > 10
    assert last.at(NS, "no plan within 50 ms", 9.0, late=True, keep=False).speed_mps[0] == 9.0
    assert last.at(NS // 5, "x", None).status is PlanStatus.OK
