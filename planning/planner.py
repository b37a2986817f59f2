"""One scene to a plan: cost grid, goal, A*, smoothing, speeds, and a status with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.errors import InputError
from data.types import Cell, CostGrid, Plan, PlanStatus, Scene
from planning.astar import astar
from planning.costmap import CostConfig, Survey, survey
from planning.goal import Lead, choose_goal, find_lead
from planning.grid import GridSpec
from planning.ground import MAX_ROW_SPAN_M, GroundView, ground_view
from planning.obstacles import without_own_turning
from planning.smoothing import Curve, blend, smooth_path
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

_FREE_END_M = 3.0  # a path that ends this near the limit of sight ends for lack of sight


@dataclass(frozen=True)
class PlannerConfig:
    """Attributes:
    cost, speed: weights of the grid, rules of the speeds.
    step_m: between points of the path.
    useful_m: a way shorter than this that ends at something is BLOCKED.
    max_age_s: a scene older than this is STALE.
    max_row_span_m: horizon guard, ground covered by one row of the surface maps.
    calm_s: time constant of the pull towards the last frame's path, 0 for none.
    max_expanded: bound of the search, in cells.
    """

    cost: CostConfig = field(default_factory=CostConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    step_m: float = 0.5
    useful_m: float = 6.0
    max_age_s: float = 0.5
    max_row_span_m: float = MAX_ROW_SPAN_M
    calm_s: float = 0.15
    max_expanded: int = 200_000


@dataclass(frozen=True)
class _End:
    """What ends the way: words for the reason ('' for the limit of sight), where the rear axle
    has to stop for it, and the speed it moves away with."""

    what: str
    stop_s_m: float
    lead: Lead | None = None

    @property
    def speed_mps(self) -> float:
        return 0.0 if self.lead is None else self.lead.speed_mps


class Planner:
    """Plans frame by frame; keeps the last path for continuity and the camera's look-up.

    Distances in reasons are measured along x from the rear axle, as everything else.
    """

    def __init__(
        self,
        vehicle: Vehicle | None = None,
        spec: GridSpec | None = None,
        config: PlannerConfig | None = None,
    ) -> None:
        self.vehicle = vehicle or Vehicle()
        self.spec = spec or GridSpec()
        self.config = config or PlannerConfig()
        if not 0.05 <= self.config.step_m <= 5:
            raise InputError(f"planner step_m: expected 0.05 to 5 m, given {self.config.step_m}")
        self._camera: Camera | None = None
        self._view: GroundView | None = None
        self._view_key: tuple[object, ...] = ()
        self._last: Curve | None = None
        self._last_t_ns: int | None = None

    def reset(self) -> None:
        """Forget the last frame, for the start of another log."""
        self._last, self._last_t_ns = None, None

    def plan(
        self,
        scene: Scene,
        ego_speed_mps: float | None = None,
        now_ns: int | None = None,
        yaw_rate_radps: float | None = None,
    ) -> tuple[Plan, CostGrid]:
        """Plan from one scene.

        Args:
            scene: newest perception, in order of time.
            ego_speed_mps: own speed; None where the log has none, the profile then starts at
                the greatest allowed speed.
            yaw_rate_radps: own turning, positive to the left; None where the log has none.
            now_ns: present time on the scene's clock, to judge its age; None: it is new.

        Returns:
            The plan and the grid it was made on. Whatever cannot be planned is a status with a
            reason, never an exception.
        """
        ego = ego_speed_mps
        if ego is not None:
            ego = max(0.0, ego) if math.isfinite(ego) else None
        stale = self._stale(scene, now_ns)
        if stale:
            return Plan.none(PlanStatus.STALE, stale), _unknown_grid(self.spec, scene.t_ns)
        if yaw_rate_radps is not None and math.isfinite(yaw_rate_radps):
            scene = replace(scene, tracks=without_own_turning(scene.tracks, yaw_rate_radps))
        calm = self._calm_share(scene.t_ns)
        view = self._view_of(scene)
        seen = survey(scene, self.spec, self.vehicle, self.config.cost, view)
        plan, curve = self._plan_on(seen, view, ego, calm)
        self._last, self._last_t_ns = curve, scene.t_ns
        return plan, seen.grid

    def _stale(self, scene: Scene, now_ns: int | None) -> str:
        age_s = 0.0 if now_ns is None else (now_ns - scene.t_ns) / 1e9
        if age_s > self.config.max_age_s:
            return f"scene is {age_s:.1f} s old, at most {self.config.max_age_s:.1f} s is allowed"
        if self._last_t_ns is not None and scene.t_ns < self._last_t_ns:
            late_s = (self._last_t_ns - scene.t_ns) / 1e9
            return f"scene is {late_s:.1f} s older than the last one planned (reset for a new log)"
        return ""

    def _calm_share(self, t_ns: int) -> float:
        """Share of the last path in the new one; none after a break of half a second."""
        if self._last_t_ns is None or self.config.calm_s <= 0:
            return 0.0
        dt_s = (t_ns - self._last_t_ns) / 1e9
        return 0.0 if dt_s > 0.5 else min(math.exp(-dt_s / self.config.calm_s), 0.8)

    def _view_of(self, scene: Scene) -> GroundView:
        s = scene.surfaces
        key = (s.drivable.shape, s.scale)
        if self._view is None or scene.camera is not self._camera or key != self._view_key:
            self._view = ground_view(
                scene.camera, self.spec, s.drivable.shape, s.scale, self.config.max_row_span_m
            )
            self._camera, self._view_key = scene.camera, key
        return self._view

    def _plan_on(
        self, seen: Survey, view: GroundView, ego: float | None, calm: float
    ) -> tuple[Plan, Curve | None]:
        cfg = self.config
        lead = find_lead(seen, self.spec, self.vehicle, cfg.speed, ego)
        if seen.corridor is None:
            if lead is not None and lead.x_m <= cfg.cost.blind_m:
                reason = f"{_ahead(seen, lead)} in the corridor: stopping"
                return Plan.none(PlanStatus.BLOCKED, reason), None
            reason = f"no drivable surface seen within {cfg.cost.blind_m:.0f} m ahead"
            return Plan.none(PlanStatus.NO_SURFACE, reason), None
        start, goal = choose_goal(seen, seen.corridor, lead, self.spec)
        res = self.spec.resolution_m
        cells = astar(seen.grid.cost, start, goal, res, cfg.max_expanded)
        if cells is None or len(cells.rows) < 2:
            what = f"{_ahead(seen, lead)} in the corridor" if lead else "no way out of the start"
            return Plan.none(PlanStatus.BLOCKED, f"{what}: stopping"), None
        steer = self.vehicle.max_curvature_1pm
        points = self.spec.metres_of(cells.rows, cells.cols)
        curve = smooth_path(seen.grid, points, cfg.step_m, seen.first_m, steer)
        if self._last is not None and calm > 0:
            curve = blend(seen.grid, curve, self._last, calm, cfg.step_m, steer)
        end = self._end_of(curve, points[-1], seen, view, lead)
        return self._timed(curve, seen, end, ego), curve

    def _end_of(
        self, curve: Curve, goal_m: F64, seen: Survey, view: GroundView, lead: Lead | None
    ) -> _End:
        """Tell what the way ends at, by looking on past its last point."""
        v, cfg = self.vehicle, self.config
        x, y, s = float(curve.x_m[-1]), float(curve.y_m[-1]), float(curve.s_m[-1])
        if math.hypot(goal_m[0] - x, goal_m[1] - y) > 3 * cfg.step_m + 0.5:
            return _End(f"way too tight {x:.0f} m ahead", s - 0.5)
        if lead is not None:
            stop = s + lead.x_m - x - v.front_m - cfg.speed.standstill_m
            return _End(_ahead(seen, lead), stop, lead)
        if x >= seen.far_m - _FREE_END_M:
            return _End("", s)
        yaw = float(curve.yaw_rad[-1])
        d = np.arange(0.2, 4.0, 0.2)
        beyond = np.column_stack([x + d * math.cos(yaw), y + d * math.sin(yaw)])
        r, c, inside = self.spec.cells_of(beyond)
        kind = np.where(inside, seen.grid.kind[r, c], Cell.UNKNOWN)
        shut = np.flatnonzero((kind != Cell.ROAD) & (kind != Cell.LANE_LINE))
        if not len(shut):
            goes_on = bool(np.isfinite(seen.grid.cost[r[0], c[0]]))
            what = "no room in the own lane" if goes_on else "way too narrow"
            return _End(f"{what} {x:.0f} m ahead", s + 1.0 - v.front_m)
        k = int(shut[0])
        stop = s + float(d[k]) - v.front_m - 0.5
        at = float(beyond[k, 0])
        if kind[k] == Cell.OBSTACLE:
            i = _object_at(seen, beyond[k])
            what = f"{seen.objects.name(i)} {seen.objects.x0_m[i]:.0f} m ahead"
            return _End(what, stop - cfg.speed.standstill_m + 0.5)
        if kind[k] == Cell.OFF_ROAD:
            return _End(f"drivable area ends {at:.0f} m ahead", stop)
        if inside[k] and view.seen[r[k], c[k]]:
            return _End(f"view blocked {at:.0f} m ahead", stop)
        return _End("", s)

    def _timed(self, curve: Curve, seen: Survey, end: _End, ego: float | None) -> Plan:
        """Speeds and times on the curve, cut where the vehicle has to stop; status and reason."""
        cfg = self.config
        moving = end.speed_mps >= cfg.speed.standing_mps
        stop_s = math.inf if not end.what or moving else end.stop_s_m
        limit, n = self._limits(curve, end, stop_s)
        speed, _ = speed_profile(curve.s_m[:n], limit[:n], self.vehicle, ego)
        crossing = first_crossing(
            curve.cut(n), speed, seen.objects, _is(end.lead, len(seen.objects)), self.vehicle,
            cfg.speed,
        )  # fmt: skip
        what = end.what
        if crossing is not None:
            stop_s = crossing.s_m - 0.5
            moving = False
            what = f"{seen.objects.name(crossing.index)} crossing in {crossing.t_s:.1f} s"
            limit, n = self._limits(curve, end, stop_s)
        if stop_s < 1.0 or n < 3:
            return Plan.none(PlanStatus.BLOCKED, f"{what or 'no room'}: stopping")
        cut = curve.cut(n)
        speed, hard = speed_profile(cut.s_m, limit[:n], self.vehicle, ego)
        status = PlanStatus.BLOCKED if stop_s < cfg.useful_m else PlanStatus.OK
        reason = self._reason(what, moving, end, stop_s, speed, hard)
        times = times_s(cut.s_m, speed)
        return Plan(status, reason, cut.x_m, cut.y_m, cut.yaw_rad, speed, cut.curvature_1pm, times)

    def _limits(self, curve: Curve, end: _End, stop_s: float) -> tuple[F64, int]:
        """Speed limit at each point and the number of points up to the stop."""
        v, cfg = self.vehicle, self.config.speed
        limit = curve_limit(curve.curvature_1pm, v)
        if not end.what:  # what lies beyond the limit of sight may have to be stopped for
            sight_m = max(float(curve.s_m[-1]) - v.front_m, 0.0)
            limit = np.minimum(limit, math.sqrt(2 * cfg.sight_brake_mps2 * sight_m))
        if end.lead is not None:
            follow = follow_limit(curve.s_m, end.stop_s_m, end.speed_mps, v, cfg)
            limit = np.minimum(limit, follow)
        n = len(curve)
        if math.isfinite(stop_s):
            n = int(np.searchsorted(curve.s_m, max(stop_s, 0.0) + 1e-9))
            if n:
                limit[n - 1 :] = 0.0
        return limit, n

    def _reason(
        self, what: str, moving: bool, end: _End, stop_s: float, speed: F64, hard: bool
    ) -> str:
        if not what:
            return ""
        if moving:
            if end.speed_mps >= self.vehicle.cruise_mps and speed[-1] >= speed.max() - 0.1:
                return ""
            return f"following {what} at {end.speed_mps:.1f} m/s"
        where = " in the corridor" if end.lead is not None and what == end.what else ""
        how = "braking hard" if hard else "stopping"
        near = stop_s < self.config.useful_m
        return f"{what}{where}: {how}" if near or hard else f"{what}{where}: slowing to a stop"


def _ahead(seen: Survey, lead: Lead) -> str:
    return f"{seen.objects.name(lead.index)} {lead.x_m:.0f} m ahead"


def _is(lead: Lead | None, n: int) -> NDArray[np.bool_]:
    out = np.zeros(n, np.bool_)
    if lead is not None:
        out[lead.index] = True
    return out


def _object_at(seen: Survey, point_m: F64) -> int:
    """The object whose footprint is nearest to a point."""
    o = seen.objects
    dx = np.maximum(np.maximum(o.x0_m - point_m[0], point_m[0] - o.x1_m), 0)
    dy = np.maximum(np.maximum(o.y0_m - point_m[1], point_m[1] - o.y1_m), 0)
    return int(np.hypot(dx, dy).argmin())


def _unknown_grid(spec: GridSpec, t_ns: int) -> CostGrid:
    shape = (spec.rows, spec.cols)
    return CostGrid(
        np.full(shape, np.inf, np.float32),
        np.full(shape, Cell.UNKNOWN, np.uint8),
        np.zeros(shape, np.float32),
        spec.resolution_m,
        spec.origin_m,
        t_ns,
    )
