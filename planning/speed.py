"""Speeds along a path: curves, vehicles ahead, stops, and objects about to cross."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.taxonomy import CLASS_ID
from planning.obstacles import Footprints
from planning.smoothing import Curve
from planning.vehicle import Vehicle

F64 = NDArray[np.float64]

_WALKING_MPS = 2.5


@dataclass(frozen=True)
class SpeedConfig:
    """Attributes:
    standstill_m: from the front bumper to what is stopped behind.
    headway_s: time gap to a vehicle that is followed.
    standing_mps: slower counts as standing; a lead that was moving, only below half of it.
    sight_brake_mps2: braking that must suffice to stop within what is seen.
    crossing_s: how far ahead in time objects about to cross are looked for.
    crossing_room_m: kept free beside the own body from a crossing object.
    crossing_sigma: a sideways speed counts from this many standard deviations on, for vehicles
        and for all others: missing a person costs more than a stop for nothing.
    crossing_slope: an object faster than walking crosses only if it moves this much sideways
        for each metre along the road: lanes side by side are no crossing.
    """

    standstill_m: float = 2.0
    headway_s: float = 1.2
    standing_mps: float = 1.0
    sight_brake_mps2: float = 4.0
    crossing_s: float = 4.0
    crossing_room_m: float = 0.3
    crossing_sigma: tuple[float, float] = (2.5, 1.2)
    crossing_slope: float = 0.4


def lead_speed_mps(
    gap_m: float, vx_mps: float, ego_mps: float | None, vehicle: Vehicle, config: SpeedConfig
) -> float:
    """Speed over ground of a vehicle ahead, 0 where its relative velocity is unknown.

    On plain video the own speed is unknown: it is taken as the speed at which the present gap
    would be a safe headway. A small gap then means a slow lead, which is the careful side.
    """
    if not math.isfinite(vx_mps):
        return 0.0
    if ego_mps is None:
        ego_mps = min(max(gap_m, 0.0) / config.headway_s, vehicle.cruise_mps)
    return max(0.0, ego_mps + vx_mps)


def follow_limit(
    s_m: F64, gap_m: float, lead_mps: float, vehicle: Vehicle, config: SpeedConfig
) -> F64:
    """Speed limit at stations ``s_m`` behind a lead: down to its speed over the gap.

    ``gap_m`` is what can be driven before standing right behind it as it is now.
    """
    free = gap_m - config.headway_s * lead_mps
    squared = lead_mps**2 + 2 * vehicle.max_brake_mps2 * np.maximum(free - s_m, 0.0)
    limit = np.sqrt(squared)
    if free < 0:  # too close: fall back, at most to 60 % of its speed
        limit *= max(0.6, 1 + free / (config.headway_s * lead_mps + 1.0))
    return np.asarray(limit)


def curve_limit(curvature_1pm: F64, vehicle: Vehicle) -> F64:
    """Speed that keeps the lateral acceleration v^2 * curvature comfortable."""
    tight = np.maximum(np.abs(curvature_1pm), 1e-6)
    return np.asarray(np.minimum(np.sqrt(vehicle.max_lateral_mps2 / tight), vehicle.cruise_mps))


def _braking_pass(limit: F64, s_m: F64, brake_mps2: float) -> F64:
    """Greatest speeds from which every later limit is still met at ``brake_mps2``."""
    energy = limit**2 + 2 * brake_mps2 * s_m
    lowest = np.minimum.accumulate(energy[::-1])[::-1]
    return np.sqrt(np.maximum(lowest - 2 * brake_mps2 * s_m, 0.0))


def speed_profile(
    s_m: F64, limit_mps: F64, vehicle: Vehicle, ego_mps: float | None = None
) -> tuple[F64, bool]:
    """Speeds at stations ``s_m`` under ``limit_mps``, and whether comfort had to give way.

    Backward pass for braking, forward pass for acceleration (exact for constant acceleration
    between the points); without an own speed the first limit is taken to be driven. From a given
    own speed that is too high for comfortable braking the least sufficient braking up to
    ``hard_brake_mps2`` is used; where even that does not meet the limits, the speeds show it by
    staying above them.
    """
    v = _braking_pass(limit_mps, s_m, vehicle.max_brake_mps2)
    hard = False
    if ego_mps is not None and v[0] < ego_mps - 1e-6:
        for brake in np.linspace(vehicle.max_brake_mps2, vehicle.hard_brake_mps2, 8):
            v = _braking_pass(limit_mps, s_m, float(brake))
            if v[0] >= ego_mps - 1e-6:
                break
        hard = True
        least = np.sqrt(np.maximum(ego_mps**2 - 2 * vehicle.hard_brake_mps2 * s_m, 0.0))
        v = np.maximum(v, least)
    energy = v**2 - 2 * vehicle.max_accel_mps2 * s_m
    if ego_mps is not None:
        energy[0] = ego_mps**2
    reach = np.minimum.accumulate(energy) + 2 * vehicle.max_accel_mps2 * s_m
    return np.sqrt(np.maximum(np.minimum(v**2, reach), 0.0)), hard


def times_s(s_m: F64, speed_mps: F64) -> F64:
    """Time at each station from the mean speed of each step; finite also at standstill."""
    mean = np.maximum((speed_mps[1:] + speed_mps[:-1]) / 2, 0.1)
    return np.concatenate([[0.0], np.cumsum(np.diff(s_m) / mean)])


@dataclass(frozen=True)
class Crossing:
    """An object that will be in the way: its index, where on the path (m), and in how long."""

    index: int
    s_m: float
    t_s: float


def _moving_aside(objects: Footprints, own_mps: float, config: SpeedConfig) -> NDArray[np.bool_]:
    """(n,) which objects move sideways for sure, and not just along lanes side by side."""
    aside_mps = np.abs(objects.vy_mps)
    sigma = np.where(objects.class_id == CLASS_ID["vehicle"], *config.crossing_sigma)
    doubt_mps = sigma * np.nan_to_num(objects.vy_std_mps)
    along_mps = np.abs(objects.vx_mps + own_mps)
    lateral = (along_mps < _WALKING_MPS) | (aside_mps > config.crossing_slope * along_mps)
    sure = aside_mps > np.maximum(0.5, doubt_mps)
    return np.asarray(objects.settled & sure & lateral)


def first_crossing(
    curve: Curve,
    speed_mps: F64,
    objects: Footprints,
    skip: NDArray[np.bool_],
    vehicle: Vehicle,
    config: SpeedConfig,
    own_mps: float | None = None,
) -> Crossing | None:
    """The nearest conflict with an object that moves into the path, at constant velocities.

    ``speed_mps`` (n,) along the curve; ``own_mps`` now, which others' velocities are relative to
    (None: the first of those). Objects that stand, that move along the path, whose velocity is
    young or doubtful, or in ``skip`` are left to the cost grid and to following. ``s_m`` is the
    station of the rear axle at which the front bumper meets the object's way.
    """
    if len(curve) < 2:
        return None
    own = float(speed_mps[0]) if own_mps is None else own_mps
    pick = np.flatnonzero(_moving_aside(objects, own, config) & ~skip)
    if not len(pick):
        return None
    t = times_s(curve.s_m, speed_mps)
    # Ground frame fixed at the present vehicle: relative velocity plus the own one.
    vx = objects.vx_mps[pick] + own
    vy = objects.vy_mps[pick]
    x = (objects.x0_m + objects.x1_m)[pick][:, None] / 2 + vx[:, None] * t
    y = (objects.y0_m + objects.y1_m)[pick][:, None] / 2 + vy[:, None] * t
    cos, sin = np.cos(curve.yaw_rad), np.sin(curve.yaw_rad)
    ahead = cos * (x - curve.x_m) + sin * (y - curve.y_m)
    aside = -sin * (x - curve.x_m) + cos * (y - curve.y_m)
    half_x = ((objects.x1_m - objects.x0_m) / 2)[pick][:, None]
    half_y = ((objects.y1_m - objects.y0_m) / 2)[pick][:, None]
    room = config.crossing_room_m
    meets = (ahead < vehicle.front_m + half_x + room) & (ahead > -vehicle.rear_m - half_x)
    meets &= np.abs(aside) < vehicle.half_width_m + half_y + room
    meets &= t < config.crossing_s
    hit = meets.any(axis=1)
    if not hit.any():
        return None
    first = np.where(hit, meets.argmax(axis=1), len(t))
    k = int(first.argmin())
    i = int(first[k])
    return Crossing(int(pick[k]), float(curve.s_m[i]), float(t[i]))
