"""The last look at a trajectory: it can only lower speeds or stop, and says so in the reason.

Checked anew, whatever made the trajectory: the footprint against the grid, steering, lateral
acceleration, and the footprint against where moving objects will be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.types import Plan, PlanStatus
from planning.goal import Lead
from planning.obstacles import Footprints
from planning.smoothing import Curve, sharp_from
from planning.speed import curve_limit, speed_profile, times_s
from planning.trajectory import Drive, how_to_stop
from planning.vehicle import Vehicle

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

_HORIZON_S = 3.0  # of the objects' constant velocities
_LATERAL_SLACK = 1.1
_BEFORE_M = 0.5  # of the place where something is wrong


@dataclass(frozen=True)
class Finding:
    """Something wrong: in words, and the first point that must not be reached."""

    what: str
    index: int


def curve_from(plan: Plan) -> Curve:
    """The path of a plan."""
    step = np.hypot(np.diff(plan.x_m), np.diff(plan.y_m))
    s = np.concatenate([[0.0], np.cumsum(step)]) if len(plan.x_m) else np.zeros(0)
    return Curve(plan.x_m, plan.y_m, plan.yaw_rad, plan.curvature_1pm, s)


def _meets(plan: Plan, boxes: F64, vx_mps: F64, vehicle: Vehicle) -> Mask:
    """(m, n) whether the body at each of n points overlaps each of m boxes at that time.

    ``boxes`` (m, 4): x0, x1, y0, y1 now, moving by ``vx_mps`` over ground. Separating axes of the
    two rectangles; what is behind the own middle is not run into.
    """
    cos, sin = np.cos(plan.yaw_rad), np.sin(plan.yaw_rad)
    length, width = (vehicle.front_m + vehicle.rear_m) / 2, vehicle.half_width_m
    middle = (vehicle.front_m - vehicle.rear_m) / 2
    hx, hy = (boxes[:, 1] - boxes[:, 0])[:, None] / 2, (boxes[:, 3] - boxes[:, 2])[:, None] / 2
    x = (boxes[:, 0] + boxes[:, 1])[:, None] / 2 + vx_mps[:, None] * plan.t_s
    dx = x - (plan.x_m + middle * cos)
    dy = (boxes[:, 2] + boxes[:, 3])[:, None] / 2 - (plan.y_m + middle * sin)
    c, s = np.abs(cos), np.abs(sin)
    along, aside = dx * cos + dy * sin, -dx * sin + dy * cos
    apart = (np.abs(dx) > hx + length * c + width * s) | (np.abs(dy) > hy + length * s + width * c)
    apart |= np.abs(along) > length + hx * c + hy * s
    apart |= np.abs(aside) > width + hx * s + hy * c
    return np.asarray(~apart & (along > 0) & (plan.t_s < _HORIZON_S))


def _met(plan: Plan, objects: Footprints, lead: Lead | None, drive: Drive) -> Finding | None:
    """The first moving object met. Sideways motion is left to ``speed.first_crossing``.

    Where the own speed is unknown only a lead's is known: relative velocities tell nothing of
    where the others will be on a way driven at other speeds.
    """
    vx = objects.vx_mps + (math.nan if drive.ego_mps is None else drive.ego_mps)
    if lead is not None:
        vx[lead.index] = lead.speed_mps
    moves = np.abs(np.nan_to_num(vx)) >= drive.rules.standing_mps
    if lead is not None:
        moves[lead.index] |= lead.moves
    moves &= objects.settled
    pick = np.flatnonzero(moves)
    if not len(pick):
        return None
    boxes = np.column_stack([objects.x0_m, objects.x1_m, objects.y0_m, objects.y1_m])[pick]
    hit = _meets(plan, boxes, vx[pick], drive.vehicle)
    at = np.where(hit.any(axis=1), hit.argmax(axis=1), len(plan.t_s))
    k = int(at.argmin())
    if at[k] == len(plan.t_s):
        return None
    when = plan.t_s[at[k]]
    return Finding(f"{objects.name(int(pick[k]))} in the way in {when:.1f} s", int(at[k]))


def find_fault(
    plan: Plan,
    first_touch: Callable[[Curve], int],
    objects: Footprints,
    lead: Lead | None,
    drive: Drive,
) -> Finding | None:
    """The first thing wrong with a plan's path or timing, None where all is well."""
    curve, n = curve_from(plan), len(plan.x_m)
    found = []
    sharp = sharp_from(curve, drive.vehicle.max_curvature_1pm * (1 + 1e-6))
    if sharp < n:
        found.append(Finding("path too sharp to steer", sharp))
    touch = first_touch(curve)
    if touch < n:
        found.append(Finding("body would leave free ground", touch))
    met = _met(plan, objects, lead, drive)
    if met is not None:
        found.append(met)
    return min(found, key=lambda f: f.index, default=None)


def lower(plan: Plan, limit_mps: F64, n: int, drive: Drive) -> tuple[Plan, bool]:
    """The first ``n`` points at no more than their speeds and ``limit_mps``; braking hard?"""
    s = curve_from(plan).s_m[:n]
    limit = np.minimum(plan.speed_mps, limit_mps)[:n]
    speed, hard = speed_profile(s, limit, drive.vehicle, drive.start_mps)
    speed = np.minimum(speed, plan.speed_mps[:n])
    arrays = (plan.x_m[:n], plan.y_m[:n], plan.yaw_rad[:n], speed, plan.curvature_1pm[:n])
    return Plan(plan.status, plan.reason, *arrays, times_s(s, speed)), hard


def checked(
    plan: Plan,
    first_touch: Callable[[Curve], int],
    objects: Footprints,
    lead: Lead | None,
    drive: Drive,
) -> Plan:
    """The plan, or what is left of it that is safe.

    Args:
        first_touch: index of the first point of a curve where the body touches something.
        lead: what is followed; its speed is taken from here.
    """
    if len(plan.x_m) < 2:
        return plan
    comfort = curve_limit(plan.curvature_1pm, drive.vehicle) * math.sqrt(_LATERAL_SLACK)
    slow = drive.ego_mps is None or drive.ego_mps <= plan.speed_mps[0] + 1e-6
    if slow and (plan.speed_mps > np.maximum(comfort, 0.1)).any():
        plan, _ = lower(plan, comfort, len(plan.x_m), drive)
        note = "safety check: slower in the curve"
        plan = _noted(plan, plan.status, note)
    fault = find_fault(plan, first_touch, objects, lead, drive)
    return plan if fault is None else _stopped(plan, fault, drive)


def _stopped(plan: Plan, fault: Finding, drive: Drive) -> Plan:
    """The plan up to a stop before what is wrong."""
    s = curve_from(plan).s_m
    stop_s = float(s[fault.index]) - _BEFORE_M
    n = int(np.searchsorted(s, max(stop_s, 0.0) + 1e-9))
    note = f"safety check: {fault.what}"
    if stop_s < 1.0 or n < 3:
        empty = Plan.none(PlanStatus.BLOCKED, plan.reason)
        return _noted(empty, PlanStatus.BLOCKED, f"{note}: stopping")
    limit = plan.speed_mps.copy()
    limit[n - 1 :] = 0.0
    plan, hard = lower(plan, limit, n, drive)
    status = PlanStatus.BLOCKED if stop_s < drive.useful_m else plan.status
    return _noted(plan, status, f"{note}: {how_to_stop(stop_s, hard, drive.useful_m)}")


def _noted(plan: Plan, status: PlanStatus, note: str) -> Plan:
    reason = f"{plan.reason}; {note}" if plan.reason else note
    arrays = (plan.x_m, plan.y_m, plan.yaw_rad, plan.speed_mps, plan.curvature_1pm, plan.t_s)
    return Plan(status, reason, *arrays)


def safe_stop(
    status: PlanStatus, reason: str, last: Plan, elapsed_s: float, ego_mps: float | None,
    vehicle: Vehicle, first_touch: Callable[[Curve], int], step_m: float,
) -> Plan:  # fmt: skip
    """Come to a stop along the last plan, from where it has the vehicle after ``elapsed_s``.

    Braking is comfortable where the rest of the path allows it. Empty where nothing is left of
    it.
    """
    if len(last.x_m) < 3 or not 0 <= elapsed_s < last.t_s[-1]:
        return Plan.none(status, reason)
    s = curve_from(last).s_m
    begin = float(np.interp(elapsed_s, last.t_s, s))
    at = np.arange(begin, s[-1] + 1e-9, step_m)
    x, y, yaw, speed, bend = (
        np.interp(at, s, v)
        for v in (last.x_m, last.y_m, last.yaw_rad, last.speed_mps, last.curvature_1pm)
    )
    cos, sin = math.cos(yaw[0]), math.sin(yaw[0])
    dx, dy = x - x[0], y - y[0]
    curve = Curve(dx * cos + dy * sin, dy * cos - dx * sin, yaw - yaw[0], bend, at - begin)
    curve = curve.cut(first_touch(curve))
    if len(curve) < 3:
        return Plan.none(status, reason)
    own = float(speed[0]) if ego_mps is None or math.isnan(ego_mps) else max(0.0, ego_mps)
    brake = own**2 / (2 * float(curve.s_m[-1]))
    brake = min(max(brake, vehicle.max_brake_mps2), vehicle.hard_brake_mps2)
    v = np.sqrt(np.maximum(own**2 - 2 * brake * curve.s_m, 0.0))
    n = min(int((v > 0).sum()) + 1, len(curve))
    if n < 3:
        return Plan.none(status, reason)
    c, times = curve.cut(n), times_s(curve.s_m[:n], v[:n])
    note = f"{reason}: stopping along the last path"
    return Plan(status, note, c.x_m, c.y_m, c.yaw_rad, v[:n], c.curvature_1pm, times)
