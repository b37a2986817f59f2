"""How things move: the own vehicle by a kinematic bicycle, the others on given tracks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.synthetic.road import Road
from data.types import F64

WHEELBASE_M = 2.75
MAX_STEER_RAD = 0.55
EASY_BRAKE_MPS2 = 1.2  # braking for a stop ahead begins where it takes this much
BRAKING_MPS2 = -0.4  # from which on the brake lamps shine
TAIL_S = 3.0  # tracks go on this long after the end of a drive, for those who look ahead


@dataclass(frozen=True)
class EgoState:
    """Rear axle of the own vehicle in the world: x_m, y_m, yaw_rad (left positive), speed_mps and
    the yaw_rate_radps of the last step."""

    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    yaw_rate_radps: float = 0.0

    @property
    def pose(self) -> tuple[float, float, float]:
        return self.x_m, self.y_m, self.yaw_rad


def bicycle_step(
    state: EgoState,
    steer_rad: float,
    acceleration_mps2: float,
    dt_s: float,
    wheelbase_m: float = WHEELBASE_M,
) -> EgoState:
    """Advance the rear axle along the exact arc of a constant steering angle.

    The curvature is tan(steer) / wheelbase, so the circle's radius does not depend on the step.
    The speed never falls below 0: the brake holds.
    """
    end_mps = max(state.speed_mps + acceleration_mps2 * dt_s, 0.0)
    moving_s = dt_s
    if end_mps == 0.0 and acceleration_mps2 < 0:
        moving_s = min(dt_s, -state.speed_mps / acceleration_mps2)
    distance = (state.speed_mps + end_mps) / 2 * moving_s
    curvature = math.tan(steer_rad) / wheelbase_m
    turn = distance * curvature
    # the chord of an arc of angle `turn`: length * sin(turn / 2) / (turn / 2), half-way heading
    chord = distance * float(np.sinc(turn / 2 / math.pi))
    heading = state.yaw_rad + turn / 2
    return EgoState(
        state.x_m + chord * math.cos(heading),
        state.y_m + chord * math.sin(heading),
        state.yaw_rad + turn,
        end_mps,
        end_mps * curvature,
    )


@dataclass(frozen=True, eq=False)
class Motion:
    """A track through the world: t_s, x_m, y_m, yaw_rad (k,) and variant (k,), the index of the
    mesh worn at that time. One entry means: it stands still."""

    t_s: F64
    x_m: F64
    y_m: F64
    yaw_rad: F64
    variant: NDArray[np.int64]

    def at(self, t_s: float) -> tuple[float, float, float, int]:
        """x, y, yaw and variant; held at both ends."""
        if len(self.t_s) == 1:
            return (
                self.x_m.item(), self.y_m.item(), self.yaw_rad.item(), self.variant.item()
            )  # fmt: skip
        i = int(self.t_s.searchsorted(t_s, "right")) - 1
        j, i = min(i + 1, len(self.t_s) - 1), max(i, 0)
        t0, t1 = self.t_s.item(i), self.t_s.item(j)
        k = min(max((t_s - t0) / (t1 - t0), 0.0), 1.0) if t1 > t0 else 0.0
        x, y, yaw = self.x_m.item(i), self.y_m.item(i), self.yaw_rad.item(i)
        x, y = x + (self.x_m.item(j) - x) * k, y + (self.y_m.item(j) - y) * k
        return x, y, yaw + (self.yaw_rad.item(j) - yaw) * k, self.variant.item(i)


def standing(x_m: float, y_m: float, yaw_rad: float, variant: int = 0) -> Motion:
    row = np.array(((0.0, x_m, y_m, yaw_rad),))
    return Motion(row[:, 0], row[:, 1], row[:, 2], row[:, 3], np.array((variant,)))


def driving(
    road: Road, s_m: float, d_m: float, knots_s: ArrayLike, speeds_mps: ArrayLike,
    duration_s: float, oncoming: bool = False,
) -> Motion:  # fmt: skip
    """Along a lane with speeds given at knots; brake lamps (variant 1) while slowing or stopped.

    With a duration of 0 it stands where it starts, its lamps as at that moment.
    """
    if duration_s == 0:
        (t0, t1), (v0, v1) = np.asarray(knots_s, float)[:2], np.asarray(speeds_mps, float)[:2]
        slows = (v1 - v0) / (t1 - t0) < BRAKING_MPS2 or v0 < 0.2
        east, north, heading = road.place(s_m, d_m)
        return standing(east, north, heading + (math.pi if oncoming else 0.0), int(slows))
    t = np.arange(0.0, duration_s + TAIL_S, 0.05)
    speed = np.interp(t, np.asarray(knots_s, float), np.asarray(speeds_mps, float))
    way = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * 0.05)])
    s = np.clip(s_m + (-way if oncoming else way), road.start_m, road.end_m)
    xy = road.at(s, d_m)
    yaw = road.yaw_at(s) + (math.pi if oncoming else 0.0)
    braking = (np.gradient(speed, t) < BRAKING_MPS2) | (speed < 0.2)
    return Motion(t, xy[:, 0], xy[:, 1], yaw, braking.astype(np.int64))


def pedalled(motion: Motion, steps: int, turn_m: float) -> Motion:
    """The same track with variants 0..steps-1 going round once every ``turn_m``."""
    way = np.hypot(np.diff(motion.x_m), np.diff(motion.y_m)).cumsum()
    variant = (np.concatenate([[0.0], way]) / turn_m * steps).astype(np.int64) % steps
    return replace(motion, variant=variant)


def walking(
    start_m: ArrayLike, end_m: ArrayLike, speed_mps: float, begin_s: float, phases: int,
    stride_m: float,
) -> Motion:  # fmt: skip
    """Straight from one world point to another, waiting until ``begin_s`` and standing at the end;
    variants 0..phases-1 are the walk, ``phases`` is standing."""
    a, b = np.asarray(start_m, float), np.asarray(end_m, float)
    length = float(np.hypot(*(b - a)))
    takes = length / speed_mps
    t = np.arange(begin_s, begin_s + takes, 0.05)
    way = (t - begin_s) * speed_mps
    variant = (way / stride_m * phases).astype(np.int64) % phases
    xy = a + (b - a) * (way / length)[:, None]
    yaw = math.atan2(b[1] - a[1], b[0] - a[0])
    t = np.concatenate([[begin_s - 0.05], t, [begin_s + takes]])
    xy = np.concatenate([a[None], xy, b[None]])
    variant = np.concatenate([[phases], variant, [phases]])
    return Motion(t, xy[:, 0], xy[:, 1], np.full(len(t), yaw), variant)


def follow_lane(
    state: EgoState, road: Road, lane_d_m: float, target_mps: float, stop_in_m: float
) -> tuple[float, float]:
    """Steering angle and acceleration of a plain driver.

    Pure pursuit (Coulter 1992) of the lane's middle; speed towards ``target_mps``, and braking so
    as to stand within ``stop_in_m`` (inf: nothing in the way).
    """
    s, _ = road.locate(state.x_m, state.y_m)
    ahead = max(5.0, 0.8 * state.speed_mps)
    goal = road.at(s + ahead, lane_d_m) - [state.x_m, state.y_m]
    angle = math.atan2(goal[1], goal[0]) - state.yaw_rad
    curvature = 2 * math.sin(angle) / float(np.hypot(*goal))
    steer = float(np.clip(math.atan(curvature * WHEELBASE_M), -MAX_STEER_RAD, MAX_STEER_RAD))
    acceleration = float(np.clip(0.8 * (target_mps - state.speed_mps), -2.5, 1.5))
    if math.isfinite(stop_in_m):
        need = state.speed_mps**2 / (2 * max(stop_in_m, 0.05))
        if need > 0.7 * EASY_BRAKE_MPS2:
            acceleration = min(acceleration, 0.0)  # roll on rather than flutter
        if need > EASY_BRAKE_MPS2 or stop_in_m < 0.3:
            acceleration = min(acceleration, -max(need, EASY_BRAKE_MPS2))
    return steer, max(acceleration, -6.0)
