"""What is driven when a frame brings no plan of its own: the last one, and soon a stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from data.types import Plan, PlanStatus
from planning.safety import curve_from, safe_stop
from planning.vehicle import Vehicle


@dataclass(frozen=True, eq=False)
class _Kept:
    """A plan, when it begins, when the scene that it was made on was seen, and whether it is
    already the stop after too long a time without a scene."""

    plan: Plan
    begins_ns: int
    seen_ns: int
    stopping: bool = False


class LastPlan:
    """Keeps the newest plan that was made on a scene and goes on along it for a while.

    Args:
        max_age_s: how long the last plan is driven on after its scene; then it is stopped along
            its path.
        step_m: between the points of a stop.
    """

    def __init__(self, vehicle: Vehicle, max_age_s: float, step_m: float) -> None:
        self._vehicle, self._max_age_s, self._step_m = vehicle, max_age_s, step_m
        self._kept: _Kept | None = None

    def made(self, plan: Plan, t_ns: int) -> None:
        """A plan was made on a scene of ``t_ns``."""
        self._kept = _Kept(plan, t_ns, t_ns)

    def at(
        self, t_ns: int, cause: str, ego_mps: float | None, late: bool = False, keep: bool = True
    ) -> Plan:
        """The plan of a frame that has none.

        Up to ``max_age_s`` the rest of the last plan, with its own status (``DEADLINE`` if
        ``late``), then a stop along it that is ``STALE`` (``DEADLINE``), at last an empty plan.

        Args:
            cause: why there is none; it stands in the reason with the age of the last plan.
            ego_mps: own speed where it is known, that a stop begins at.
            late: a plan was made, but after its deadline.
            keep: go on from a stop that begins here; False if a plan of this frame follows.
        """
        kept, old = self._kept, PlanStatus.DEADLINE if late else PlanStatus.STALE
        if kept is None:
            return Plan.none(old, f"{cause}: no plan before it: stopping")
        age_s, since_s = (t_ns - kept.seen_ns) / 1e9, (t_ns - kept.begins_ns) / 1e9
        if not kept.stopping and age_s <= self._max_age_s:
            plan = rest_of(kept.plan, since_s)
            status = old if late else plan.status
            reason = f"{cause}: last plan, {age_s:.2f} s old"
            reason = f"{reason}: {plan.reason}" if plan.reason else reason
            return replace(plan, status=status, reason=reason)
        reason = f"{cause}: last plan is {age_s:.1f} s old, at most {self._max_age_s:.1f} s"
        if kept.stopping:
            plan = rest_of(kept.plan, since_s)
            if len(plan.x_m):
                reason += ": stopping along the last path"
            return replace(plan, status=old, reason=reason)
        plan = safe_stop(old, reason, kept.plan, since_s, ego_mps, self._vehicle, len, self._step_m)
        if keep:
            self._kept = _Kept(plan, t_ns, kept.seen_ns, stopping=True)
        return plan


def rest_of(plan: Plan, elapsed_s: float) -> Plan:
    """What is left of a plan after ``elapsed_s`` s, seen from where it has the vehicle then.

    Empty where the plan has ended by then.
    """
    if elapsed_s <= 0 or not len(plan.x_m):
        return plan
    if len(plan.x_m) < 2 or elapsed_s >= plan.t_s[-1]:
        return Plan.none(plan.status, plan.reason)
    s = curve_from(plan).s_m
    begin = float(np.interp(elapsed_s, plan.t_s, s))
    first = int(np.searchsorted(plan.t_s, elapsed_s, side="right"))
    at = np.concatenate([[begin], s[first:]])
    x, y, yaw, speed, bend = (
        np.interp(at, s, v)
        for v in (plan.x_m, plan.y_m, plan.yaw_rad, plan.speed_mps, plan.curvature_1pm)
    )
    cos, sin = math.cos(yaw[0]), math.sin(yaw[0])
    dx, dy = x - x[0], y - y[0]
    t_s = np.concatenate([[0.0], plan.t_s[first:] - elapsed_s])
    return Plan(
        plan.status, plan.reason, dx * cos + dy * sin, dy * cos - dx * sin, yaw - yaw[0],
        speed, bend, t_s,
    )  # fmt: skip
