"""Speeds and times on a curve, with the status and reason of the plan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.types import Plan, PlanStatus
from planning.ends import End
from planning.obstacles import Footprints
from planning.smoothing import Curve
from planning.speed import (
    SpeedConfig,
    curve_limit,
    first_crossing,
    follow_limit,
    speed_profile,
    times_s,
)
from planning.vehicle import Vehicle

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Drive:
    """What speeds follow from.

    Attributes:
        ego_mps: own speed that a profile begins with, below zero on the way back; None: unknown.
        near_ego_mps: the same where it may be a guess, for others' speeds over ground.
        told_m: x up to which the ground is told.
        useful_m: a way shorter than this counts as BLOCKED.
    """

    vehicle: Vehicle
    rules: SpeedConfig
    ego_mps: float | None
    near_ego_mps: float | None
    told_m: float
    useful_m: float

    @property
    def start_mps(self) -> float | None:
        """Of a profile, which knows no way back: that begins from standing."""
        return None if self.ego_mps is None else max(0.0, self.ego_mps)


def timed(curve: Curve, objects: Footprints, end: End, drive: Drive) -> Plan:
    """Speeds and times on the curve, cut where the vehicle has to stop; status and reason."""
    vehicle, start = drive.vehicle, drive.start_mps
    moving = end.moves
    stop_s = math.inf if not end.what or moving else end.stop_s_m
    way, limit = _limited(curve, end, stop_s, drive)
    near = drive.near_ego_mps
    expected = start if near is None else max(0.0, near)
    speed, _ = speed_profile(way.s_m, limit, vehicle, expected)
    lead = np.zeros(len(objects), np.bool_)
    if end.lead is not None:
        lead[end.lead.index] = True
    crossing = first_crossing(way, speed, objects, lead, vehicle, drive.rules, near)
    what = end.what
    if crossing is not None:
        stop_s = crossing.s_m - 0.5
        moving = False
        what = f"{objects.name(crossing.index)} crossing in {crossing.t_s:.1f} s"
        way, limit = _limited(curve, end, stop_s, drive)
    if stop_s < 1.0 or len(way) < 3:
        return Plan.none(PlanStatus.BLOCKED, f"{what or 'no room'}: stopping")
    speed, hard = speed_profile(way.s_m, limit, vehicle, start)
    status = PlanStatus.BLOCKED if stop_s < drive.useful_m else PlanStatus.OK
    reason = _reason(what, moving, end, stop_s, speed, hard, drive)
    times = times_s(way.s_m, speed)
    return Plan(status, reason, way.x_m, way.y_m, way.yaw_rad, speed, way.curvature_1pm, times)


def _limited(curve: Curve, end: End, stop_s: float, drive: Drive) -> tuple[Curve, F64]:
    """The way up to the stop, and the speed limit at each of its points."""
    v, rules = drive.vehicle, drive.rules
    way = curve.until(stop_s)
    limit = curve_limit(way.curvature_1pm, v)
    if not end.what:  # what lies beyond the limit of sight may have to be stopped for
        sight_m = max(min(float(curve.s_m[-1]), drive.told_m) - v.front_m, 0.0)
        limit = np.minimum(limit, math.sqrt(2 * rules.sight_brake_mps2 * sight_m))
    if end.lead is not None:
        follow = follow_limit(way.s_m, end.stop_s_m, end.speed_mps, v, rules)
        limit = np.minimum(limit, follow)
    if math.isfinite(stop_s) and len(way):
        limit[-1] = 0.0
    return way, limit


def _reason(
    what: str, moving: bool, end: End, stop_s: float, speed: F64, hard: bool, drive: Drive
) -> str:
    if not what:
        return ""
    if moving:
        if end.speed_mps >= drive.vehicle.cruise_mps and speed[-1] >= speed.max() - 0.1:
            return ""
        return f"following {what} at {end.speed_mps:.1f} m/s"
    where = " in the corridor" if end.lead is not None and what == end.what else ""
    return f"{what}{where}: {how_to_stop(stop_s, hard, drive.useful_m)}"


def how_to_stop(stop_s: float, hard: bool, useful_m: float) -> str:
    """In words."""
    if hard:
        return "braking hard"
    return "stopping" if stop_s < useful_m else "slowing to a stop"
