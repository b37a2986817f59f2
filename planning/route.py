"""A goal to a curve that is proved: steerable, and clear for the true footprint.

The grid path is smoothed, and taken where the proof holds all along. Where it does not, the
kinematic search looks for a way on; where that finds none, the curve ends before what is in its
way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from data.types import CostGrid
from planning.hybrid_astar import HybridConfig, PathStatus, plan_over
from planning.smoothing import (
    Curve,
    blend,
    curve_of,
    first_blocked,
    resample,
    sharp_from,
    smooth_path,
)
from planning.space import Space, with_costs
from planning.vehicle import Vehicle

F64 = NDArray[np.float64]

GAIN_M = 3.0  # a search must lead this much further than what is proved without one
_TO_GOAL_M = 1.0  # between places tried as the goal of a search


@dataclass(frozen=True)
class RouteConfig:
    """Attributes:
    step_m: between points of the curve.
    max_poses: bound of the kinematic search from each end, in poses; 0 for no search.
    keep_weight: cost added per metre driven a metre and more beside the last frame's path.
    """

    step_m: float = 0.5
    max_poses: int = 1200
    keep_weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Route:
    """A proved curve from the rear axle.

    Attributes:
        curve: its points.
        failed: (3,) pose just after it at which the proof failed, None where it leads all the
            way to the goal; ``sharp`` where steering was what failed.
        searched: poses the kinematic search looked at; ``unfinished`` where it was ended by its
            bound or by the deadline.
    """

    curve: Curve
    failed: F64 | None = None
    sharp: bool = False
    searched: int = 0
    unfinished: bool = False


@dataclass(frozen=True, eq=False)
class Prover:
    """Tells how far curves can be driven."""

    grid: CostGrid
    space: Space
    vehicle: Vehicle

    def body_clear(self, curve: Curve) -> int:
        """Index of the first point that cannot be steered, or where the footprint touches."""
        steer = sharp_from(curve, self.vehicle.max_curvature_1pm)
        return min(steer, self.space.first_touch(curve))

    def with_margin(self, curve: Curve) -> int:
        """As ``body_clear``, and the rear axle keeps to cells with room at its sides."""
        return min(first_blocked(self.grid, curve), self.body_clear(curve))


def near_last(cost: NDArray[np.float32], last: Curve, grid: CostGrid, weight: float) -> None:
    """Make a cost grid dearer beside the last frame's path, in place: no flicker between ways."""
    if len(last) < 4 or (np.diff(last.x_m) <= 0).any():
        return
    from planning.grid_kernels import dearer_beside

    res = grid.resolution_m
    x = (np.arange(min(len(cost), int(last.x_m[-1] / res))) + 0.5) * res
    middle_m = np.interp(x, last.x_m, last.y_m)
    run(dearer_beside, cost, middle_m, weight, res, grid.origin_m[1])


def find_route(
    prover: Prover,
    guide_m: F64,
    first_m: float,
    last: Curve | None,
    calm: float,
    config: RouteConfig,
    late: Callable[[], bool],
) -> Route:
    """The curve along ``guide_m`` (n, 2) cell centres, ``calm`` of it the last frame's.

    Args:
        first_m: x of the first road seen, see ``smooth_path``.
        late: whether time is up; what is proved by then is taken.
    """
    proof = prover.with_margin
    curve, whole = smooth_path(guide_m, config.step_m, first_m, proof)
    route = Route(curve)
    if len(curve) < len(whole):
        k = len(curve)
        steer = prover.vehicle.max_curvature_1pm
        route = Route(curve, _pose(whole, k), abs(float(whole.curvature_1pm[k])) > steer)
        if len(whole) - k > GAIN_M / config.step_m:
            route = _searched(prover, whole, route, config, late)
            proof = prover.body_clear if route.failed is None else proof
    if last is not None and calm > 0:
        calmed = blend(route.curve, last, calm, config.step_m, proof)
        route = Route(calmed, route.failed, route.sharp, route.searched, route.unfinished)
    return route


def _pose(curve: Curve, i: int) -> F64:
    return np.array([curve.x_m[i], curve.y_m[i], curve.yaw_rad[i]])


def _goal(space: Space, whole: Curve, first: int, step: int) -> int:
    """Index of a curve's farthest point, from ``first`` on, where the body fits; 0 for none."""
    for k in range(len(whole) - 1, first - 1, -step):
        if space.fits(_pose(whole, k)):
            return k
    return 0


def _searched(
    prover: Prover, whole: Curve, route: Route, config: RouteConfig, late: Callable[[], bool]
) -> Route:
    """The route, or a longer one that the kinematic search finds past what is in the way."""
    if config.max_poses <= 0:
        return route
    if late():
        return Route(route.curve, route.failed, route.sharp, 0, True)
    space = with_costs(prover.space, prover.grid.cost)
    least = len(route.curve) + round(GAIN_M / config.step_m)
    step = max(1, round(_TO_GOAL_M / config.step_m))
    goal = _goal(space, whole, least, step)
    if not goal:
        return route
    start, end = space.placed(np.vstack([np.zeros(3), _pose(whole, goal)]))
    settings = HybridConfig(
        deadline_s=math.inf, max_expanded=config.max_poses, step_m=config.step_m / 2,
        thorough=False,
    )  # fmt: skip
    status, _, poses, n = plan_over(space.field, start, end, prover.vehicle, settings, late)
    if status == PathStatus.OK:
        found = curve_of(resample(poses[:, :2] + space.corner_m, config.step_m))
        ok = prover.body_clear(found)
        if ok >= least:
            failed = None if goal + step >= len(whole) else _pose(whole, goal + step)
            return Route(found.cut(ok), _pose(found, ok) if ok < len(found) else failed, False, n)
    return Route(route.curve, route.failed, route.sharp, n, status == PathStatus.DEADLINE)
