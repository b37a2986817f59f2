"""One scene to a plan: cost grid, goal, a proved curve, speeds, and a last look at it all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.errors import InputError
from data.types import Cell, CostGrid, Plan, PlanStatus, Scene
from planning.astar import astar
from planning.costmap import DIM_M, CostConfig, Survey, survey
from planning.ends import ahead, end_of
from planning.fusion import Fused, Way
from planning.goal import choose_goal, find_lead
from planning.grid import GridSpec
from planning.ground import MAX_ROW_SPAN_M, GroundView, ground_view
from planning.obstacles import without_own_turning
from planning.route import Prover, RouteConfig, find_route, near_last
from planning.safety import checked, safe_stop
from planning.smoothing import Curve, moved
from planning.space import space_of, space_of_objects
from planning.speed import SpeedConfig
from planning.trajectory import Drive, timed
from planning.vehicle import Vehicle

F64 = NDArray[np.float64]

_BREAK_S = 0.5  # after it nothing is taken over from the last plan


@dataclass(frozen=True)
class PlannerConfig:
    """Attributes:
    cost, route, speed: weights of the grid, rules of the way and of the speeds.
    useful_m: a way shorter than this that ends at something is BLOCKED.
    max_age_s: a scene older than this is STALE.
    max_row_span_m: horizon guard, ground covered by one row of the surface maps.
    calm_s: time constant of the pull towards the last frame's path, 0 for none.
    max_expanded: bound of the search over the grid, in cells.
    deadline_s: time after which no search for a way round something is begun or gone on with;
        None: only the bounds of the searches count, and a replay gives the same plans anywhere.
    """

    cost: CostConfig = field(default_factory=CostConfig)
    route: RouteConfig = field(default_factory=RouteConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    useful_m: float = 6.0
    max_age_s: float = 0.5
    max_row_span_m: float = MAX_ROW_SPAN_M
    calm_s: float = 0.15
    max_expanded: int = 200_000
    deadline_s: float | None = None


@dataclass(frozen=True, eq=False)
class _Memory:
    """Of the last frame: its time, the whole curve, the plan, the track followed or stopped for
    and whether it moved (None: none), and when the plan begins where that is not the frame's
    time."""

    t_ns: int
    curve: Curve | None
    plan: Plan
    lead: tuple[int, bool] | None
    begins_ns: int | None = None

    def plan_age_s(self, now_ns: int) -> float:
        return (now_ns - (self.t_ns if self.begins_ns is None else self.begins_ns)) / 1e9


@dataclass(frozen=True, eq=False)
class _Now:
    """What one frame's planning works with.

    ``ego_mps`` is the log's own speed, ``near_ego_mps`` may be a guess: good enough to tell whether
    a lead moves and who is about to cross, too rough to begin a profile with. Both are below zero
    on the way back. ``last`` is the last frame's curve seen from here, of which ``calm`` is kept.
    """

    seen: Survey
    view: GroundView
    ego_mps: float | None
    near_ego_mps: float | None
    last: Curve | None
    calm: float
    last_lead: tuple[int, bool] | None
    late: Callable[[], bool]


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
        step_m = self.config.route.step_m
        if not 0.05 <= step_m <= 5:
            raise InputError(f"planner step_m: expected 0.05 to 5 m, given {step_m}")
        self._camera: Camera | None = None
        self._view: GroundView | None = None
        self._view_key: tuple[object, ...] = ()
        self._last: _Memory | None = None
        self._ground: Fused | None = None

    def reset(self) -> None:
        """Forget the last frame, for the start of another log."""
        self._last = self._ground = None

    @property
    def memory(self) -> tuple[_Memory | None, Fused | None]:
        """All that the next plan depends on: the last one, and the ground as known so far."""
        return self._last, self._ground

    @memory.setter
    def memory(self, held: tuple[_Memory | None, Fused | None]) -> None:
        self._last, self._ground = held

    def plan(self, scene: Scene, now_ns: int | None = None) -> tuple[Plan, CostGrid]:
        """Plan from one scene.

        Args:
            scene: newest perception, in order of time. Where its own speed is unknown or
                estimated, the profile starts at the greatest allowed speed.
            now_ns: present time on the scene's clock, to judge its age; None: it is new.

        Returns:
            The plan and the grid it was made on. Whatever cannot be planned is a status with a
            reason, never an exception; where there is a last plan, it is stopped along that.
        """
        begin = time.perf_counter()
        limit_s = self.config.deadline_s
        near, turning = _own_motion(scene)
        guess = scene.ego is not None and scene.ego.estimated
        ego = None if guess else near
        stale = self._stale(scene, now_ns)
        if stale:
            return self._stop_for(stale, scene, now_ns, ego), _unknown_grid(self.spec, scene.t_ns)
        seen = self.survey_of(scene)
        self._ground = seen.ground
        now = _Now(
            seen, self._view_of(scene), ego, near, self._last_seen_from(scene.t_ns, ego, turning),
            self._calm_share(scene.t_ns), self._lead_of_last(scene.t_ns),
            lambda: limit_s is not None and time.perf_counter() - begin > limit_s,
        )  # fmt: skip
        self._last = self._plan_on(now, scene.t_ns)
        return self._last.plan, seen.grid

    def survey_of(self, scene: Scene) -> Survey:
        """The grid of a scene and what it was made from, with what is known of the ground so far;
        nothing is remembered of it."""
        speed, turning = _own_motion(scene)
        if turning is not None:
            scene = replace(scene, tracks=without_own_turning(scene.tracks, turning))
        view, way = self._view_of(scene), self._way_to(scene.t_ns, speed, turning)
        return survey(scene, self.spec, self.vehicle, self.config.cost, view, self._ground, way)

    def _stale(self, scene: Scene, now_ns: int | None) -> str:
        age_s = 0.0 if now_ns is None else (now_ns - scene.t_ns) / 1e9
        if age_s > self.config.max_age_s:
            return f"scene is {age_s:.1f} s old, at most {self.config.max_age_s:.1f} s is allowed"
        if self._last is not None and scene.t_ns < self._last.t_ns:
            late_s = (self._last.t_ns - scene.t_ns) / 1e9
            return f"scene is {late_s:.1f} s older than the last one planned (reset for a new log)"
        return ""

    def _stop_for(self, stale: str, scene: Scene, now_ns: int | None, ego: float | None) -> Plan:
        """Stop along the last plan; the stop is then the last plan."""
        last, status = self._last, PlanStatus.STALE
        if last is None or now_ns is None or scene.t_ns < last.t_ns:
            return Plan.none(status, stale)
        age_s, step_m = last.plan_age_s(now_ns), self.config.route.step_m
        plan = safe_stop(status, stale, last.plan, age_s, ego, self.vehicle, len, step_m)
        self._last = replace(last, plan=plan, begins_ns=now_ns)
        return plan

    def _stop_unseen(self, seen: Survey, ego: float | None, t_ns: int) -> Plan:
        """Stop along the last plan where no road is seen, unless an object stands in it."""
        reason = f"no drivable surface seen within {self.config.cost.blind_m:.0f} m ahead"
        if self._last is None:
            return Plan.none(PlanStatus.NO_SURFACE, reason)
        touch = space_of_objects(seen, self.spec, self.vehicle).first_touch
        age_s, step_m = self._last.plan_age_s(t_ns), self.config.route.step_m
        last, status = self._last.plan, PlanStatus.NO_SURFACE
        return safe_stop(status, reason, last, age_s, ego, self.vehicle, touch, step_m)

    def _lead_of_last(self, t_ns: int) -> tuple[int, bool] | None:
        """The last frame's lead and whether it moved; unknown after a break."""
        if self._last is None or (t_ns - self._last.t_ns) / 1e9 > _BREAK_S:
            return None
        return self._last.lead

    def _calm_share(self, t_ns: int) -> float:
        """Share of the last path in the new one; none after a break."""
        if self._last is None or self.config.calm_s <= 0:
            return 0.0
        dt_s = (t_ns - self._last.t_ns) / 1e9
        return 0.0 if dt_s > _BREAK_S else min(math.exp(-dt_s / self.config.calm_s), 0.8)

    def _last_seen_from(self, t_ns: int, ego: float | None, turning: float | None) -> Curve | None:
        """The last curve, moved by the own motion since then where that is known."""
        if self._last is None or self._last.curve is None:
            return None
        if ego is None or turning is None:
            return self._last.curve
        dt_s = (t_ns - self._last.t_ns) / 1e9
        return moved(self._last.curve, ego * dt_s, turning * dt_s)

    def _way_to(self, t_ns: int, speed: float | None, turning: float | None) -> Way | None:
        """The way since the last grid; None where it is unknown."""
        if self._ground is None or speed is None or turning is None:
            return None
        dt_s = (t_ns - self._ground.t_ns) / 1e9
        return Way(dt_s, speed * dt_s, turning * dt_s)

    def _view_of(self, scene: Scene) -> GroundView:
        s = scene.surfaces
        key = (s.drivable.shape, s.scale)
        if self._view is None or scene.camera is not self._camera or key != self._view_key:
            self._view = ground_view(
                scene.camera, self.spec, s.drivable.shape, s.scale, self.config.max_row_span_m
            )
            self._camera, self._view_key = scene.camera, key
        return self._view

    def _plan_on(self, now: _Now, t_ns: int) -> _Memory:
        cfg, seen = self.config, now.seen
        lead = find_lead(seen, self.spec, self.vehicle, cfg.speed, now.near_ego_mps, now.last_lead)
        kept = None if lead is None else (int(seen.objects.track_id[lead.index]), lead.moves)
        if seen.corridor is None:
            if lead is not None and lead.x_m <= cfg.cost.blind_m:
                reason = f"{ahead(seen, lead)} in the corridor: stopping"
                return _Memory(t_ns, None, Plan.none(PlanStatus.BLOCKED, reason), kept)
            return _Memory(t_ns, None, self._stop_unseen(seen, now.ego_mps, t_ns), kept)
        start, goal = choose_goal(seen, seen.corridor, lead, self.spec)
        cost = seen.grid.cost
        if now.last is not None and now.calm > 0:
            cost = cost.copy()
            near_last(cost, now.last, seen.grid, cfg.route.keep_weight)
        cells = astar(cost, start, goal, self.spec.resolution_m, cfg.max_expanded)
        if cells is None or len(cells.rows) < 2:
            what = f"{ahead(seen, lead)} in the corridor" if lead else "no way out of the start"
            plan = Plan.none(PlanStatus.BLOCKED, f"{what}: stopping")
            return _Memory(t_ns, None, plan, kept)
        space = space_of(seen, self.spec, self.vehicle, lead)
        prover = Prover(seen.grid, space, self.vehicle)
        guide = self.spec.metres_of(cells.rows, cells.cols)
        last, calm = now.last, now.calm
        route = find_route(prover, guide, seen.first_m, last, calm, cfg.route, now.late)
        end = end_of(route, seen, now.view, lead, self.vehicle, cfg.speed, self.spec)
        told_m, near = seen.far_m - DIM_M, now.near_ego_mps
        drive = Drive(self.vehicle, cfg.speed, now.ego_mps, near, told_m, cfg.useful_m)
        plan = timed(route.curve, seen.objects, end, drive)
        plan = checked(plan, space.first_touch, seen.objects, lead, drive)
        if route.unfinished and plan.status == PlanStatus.BLOCKED:
            reason = f"search ended after {route.searched} poses; {plan.reason}"
            plan = replace(plan, status=PlanStatus.DEADLINE, reason=reason)
        return _Memory(t_ns, route.curve, plan, kept)


def _own_motion(scene: Scene) -> tuple[float | None, float | None]:
    """Own speed (m/s) and yaw rate (rad/s), None each where unknown."""
    if scene.ego is None:
        return None, None
    speed, turning = scene.ego.speed_mps, scene.ego.yaw_rate_radps
    return speed if math.isfinite(speed) else None, turning if math.isfinite(turning) else None


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
