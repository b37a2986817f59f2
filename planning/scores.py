"""Scores of a plan by itself: time to collision, comfort, progress.

After the closed-loop scores of nuPlan (Caesar et al., "NuPlan: A closed-loop ML-based planning
benchmark for autonomous vehicles", 2021) and NAVSIM (Dauner et al., 2024), whose limits these are.
Open loop: the plan is followed exactly, other objects keep their velocity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planning.vehicle import Vehicle

F64 = NDArray[np.float64]
STEP_S = 0.1
SIZE_M = {"vehicle": (4.5, 1.8), "person": (0.6, 0.6), "two_wheeler": (1.8, 0.8)}  # length, width


@dataclass(frozen=True)
class Limits:
    """nuPlan's.

    Attributes:
        collision_s: least time to collision; horizon_s: how far ahead it is looked for.
        accel_mps2, brake_mps2: along the path, brake below 0; lateral_mps2: in curves.
        jerk_mps3: along the path; yaw_rate_radps, yaw_accel_radps2: turning.
    """

    collision_s: float = 0.95
    horizon_s: float = 3.0
    accel_mps2: float = 2.40
    brake_mps2: float = -4.05
    lateral_mps2: float = 4.89
    jerk_mps3: float = 4.13
    yaw_rate_radps: float = 0.95
    yaw_accel_radps2: float = 1.93


@dataclass(frozen=True, eq=False)
class Path:
    """A plan in the vehicle frame, (n,) float64 each, times ascending; fields as in ``Plan``."""

    x_m: F64
    y_m: F64
    yaw_rad: F64
    speed_mps: F64
    curvature_1pm: F64
    t_s: F64

    def at(self, t_s: F64) -> Path:
        """The plan at other times; after its end it stays where it ended."""

        def moved(values: F64) -> F64:
            return np.interp(t_s, self.t_s, values)

        return Path(
            moved(self.x_m), moved(self.y_m), moved(np.unwrap(self.yaw_rad)),
            moved(self.speed_mps), moved(self.curvature_1pm), t_s,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Others:
    """Objects now, (n,) each: the middle of the nearest edge in the vehicle frame, velocity
    relative to the own vehicle, and size."""

    x_m: F64
    y_m: F64
    vx_mps: F64
    vy_mps: F64
    length_m: F64
    width_m: F64


def times_to_collision_s(
    path: Path, others: Others, vehicle: Vehicle | None = None, horizon_s: float = 3.0
) -> F64:
    """(n,) time until the vehicle on its plan touches each object, inf for none within the horizon.

    Objects are upright rectangles that keep their velocity over the ground; the own speed that
    theirs are relative to is the plan's first.
    """
    vehicle = vehicle or Vehicle()
    t = np.arange(0, horizon_s + STEP_S / 2, STEP_S)
    own = path.at(t)
    x = others.x_m + np.outer(t, others.vx_mps + path.speed_mps[0]) + others.length_m / 2
    y = others.y_m + np.outer(t, others.vy_mps)
    ahead = (vehicle.front_m - vehicle.rear_m) / 2
    cos, sin = np.cos(own.yaw_rad)[:, None], np.sin(own.yaw_rad)[:, None]
    dx, dy = x - own.x_m[:, None] - ahead * cos, y - own.y_m[:, None] - ahead * sin
    a, b = (vehicle.front_m + vehicle.rear_m) / 2, vehicle.half_width_m
    c, d = others.length_m / 2, others.width_m / 2
    ac, ss = np.abs(cos), np.abs(sin)
    apart = (  # separating axes: the object's two, then the vehicle's
        (np.abs(dx) > c + a * ac + b * ss)
        | (np.abs(dy) > d + a * ss + b * ac)
        | (np.abs(dx * cos + dy * sin) > a + c * ac + d * ss)
        | (np.abs(dy * cos - dx * sin) > b + c * ss + d * ac)
    )
    return np.where(apart.all(axis=0), np.inf, t[np.argmin(apart, axis=0)])


def peaks(path: Path) -> dict[str, float]:
    """Greatest acceleration, braking (below 0), lateral acceleration, jerk, yaw rate and yaw
    acceleration along the plan, 0 for one too short to tell. Differences are taken over 0.4 s:
    plans are kept to the millimetre a second."""
    t = np.arange(0, path.t_s[-1] + 1e-9, STEP_S) if len(path.t_s) else np.zeros(0)
    names = ("accel_mps2", "brake_mps2", "lateral_mps2", "jerk_mps3", "yaw_rate_radps",
             "yaw_accel_radps2")  # fmt: skip
    if len(t) < 10:
        return dict.fromkeys(names, 0.0)
    p = path.at(t)
    accel = _slope(p.speed_mps)
    turn = p.speed_mps * p.curvature_1pm
    jerk, spin = _slope(accel), _slope(turn)
    lateral = np.abs(p.speed_mps * turn)
    values = (accel.max(), min(accel.min(), 0), lateral.max(), np.abs(jerk).max(),
              np.abs(turn).max(), np.abs(spin).max())  # fmt: skip
    return {n: float(v) for n, v in zip(names, values, strict=True)}


def _slope(values: F64) -> F64:
    """Change a second over four steps."""
    return np.asarray((values[4:] - values[:-4]) / (4 * STEP_S))


def uncomfortable(found: dict[str, float], limits: Limits) -> list[str]:
    """Which of ``peaks`` are beyond their limits."""
    over = [n for n, v in found.items() if n != "brake_mps2" and v > getattr(limits, n)]
    return over + (["brake_mps2"] if found["brake_mps2"] < limits.brake_mps2 else [])
