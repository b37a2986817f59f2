"""Other planners on the same maps, run by an interpreter that has them: JSON in, JSON out.

Imports nothing of ours, so that the environment of the others needs only them and NumPy.
Reads {"maps": FILE.npz, "cell_m", "vehicle", "budget_s", "cases": [...]} and writes one answer
per planner and case: {"points": [[x, y, ...]], "ms", "ms_own"}.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# planner, and whether it plans in Reeds-Shepp space (reversing) or in Dubins space
_OMPL = (
    ("RRTConnect", True),
    ("RRT", True),
    ("KPIECE1", True),
    ("RRTstar", True),
    ("BITstar", True),
    ("RRTConnect", False),
    ("RRT", False),
)


def _inflated(near_m: Any, vehicle: dict[str, float]) -> Any:
    """Cost grid of the planners over cells: closed nearer than half the vehicle's width."""
    return np.where(near_m < vehicle["width_m"] / 2, np.inf, 1.0).astype(np.float32)


def _cell(pose: list[float], cell_m: float) -> tuple[int, int]:
    return int(pose[1] / cell_m), int(pose[0] / cell_m)


def _metres(cells: Any, cell_m: float) -> list[list[float]]:
    return [[(c + 0.5) * cell_m, (r + 0.5) * cell_m] for r, c in cells]


def _pyastar2d(task: dict[str, Any]) -> tuple[Any, float]:
    import pyastar2d

    cost, a, b = task["cost"], task["a"], task["b"]
    begin = time.perf_counter()
    cells = pyastar2d.astar_path(cost, a, b, allow_diagonal=True)
    ms = (time.perf_counter() - begin) * 1e3
    ok = cells is not None and all(np.isfinite(cost[r, c]) for r, c in cells)
    return (_metres(cells, task["cell_m"]) if ok else None), ms


def _scikit_image(task: dict[str, Any]) -> tuple[Any, float]:
    from skimage.graph import route_through_array

    cost, a, b = task["cost"], task["a"], task["b"]
    begin = time.perf_counter()
    try:
        cells, total = route_through_array(np.where(np.isinf(cost), -1.0, cost), a, b)
    except ValueError:
        cells, total = None, math.inf
    ms = (time.perf_counter() - begin) * 1e3
    return (_metres(cells, task["cell_m"]) if np.isfinite(total) else None), ms


def _checker(task: dict[str, Any], spent: list[float]) -> Callable[[Any], bool]:
    """Five discs that cover the rectangle, by distances to obstacles looked up in a list."""
    v, cell = task["vehicle"], task["cell_m"]
    near = task["near_m"].tolist()
    rows, cols = len(near), len(near[0])
    length = v["front_m"] + v["rear_m"]
    at = [-v["rear_m"] + (i + 0.5) * length / 5 for i in range(5)]
    need = math.hypot(length / 10, v["width_m"] / 2) + cell / 2
    clock, sin, cos = time.perf_counter, math.sin, math.cos

    def check(state: Any) -> bool:
        begin = clock()
        x, y, yaw = state.getX() / cell, state.getY() / cell, state.getYaw()
        c, s = cos(yaw) / cell, sin(yaw) / cell
        ok = True
        for d in at:
            i, j = int(y + d * s), int(x + d * c)
            if not (0 <= i < rows and 0 <= j < cols and near[i][j] >= need):
                ok = False
                break
        spent[0] += clock() - begin
        return ok

    return check


def _ompl(name: str, reverse: bool) -> Callable[[dict[str, Any]], tuple[Any, float, float]]:
    def solve(task: dict[str, Any]) -> tuple[Any, float, float]:
        from ompl import base, geometric

        v, cell = task["vehicle"], task["cell_m"]
        radius = v["wheelbase_m"] / math.tan(v["max_steer_rad"])
        kind = base.ReedsSheppStateSpace if reverse else base.DubinsStateSpace
        space = kind(radius)
        bounds = base.RealVectorBounds(2)
        rows, cols = task["near_m"].shape
        for axis, n in ((0, cols), (1, rows)):
            bounds.setLow(axis, 0.0)
            bounds.setHigh(axis, n * cell)
        space.setBounds(bounds)
        setup, spent = geometric.SimpleSetup(space), [0.0]
        setup.setStateValidityChecker(_checker(task, spent))
        information = setup.getSpaceInformation()
        information.setStateValidityCheckingResolution(cell / space.getMaximumExtent())
        states = []
        for x, y, yaw in (task["start"], task["goal"]):
            state = space.allocState()
            state.setX(x)
            state.setY(y)
            state.setYaw(math.remainder(yaw, 2 * math.pi))
            states.append(state)
        setup.setStartAndGoalStates(*states)
        setup.setPlanner(getattr(geometric, name)(information))
        begin = time.perf_counter()
        setup.solve(task["budget_s"])
        ms = (time.perf_counter() - begin) * 1e3
        if not setup.haveExactSolutionPath():
            return None, ms, ms - spent[0] * 1e3
        path = setup.getSolutionPath()
        path.interpolate(max(2, math.ceil(path.length() / 0.1)))
        states = [path.getState(i) for i in range(path.getStateCount())]
        poses = [[s.getX(), s.getY(), s.getYaw()] for s in states]
        return poses, ms, ms - spent[0] * 1e3

    return solve


def _planners() -> dict[str, Callable[[dict[str, Any]], tuple[Any, ...]]]:
    """Those that this interpreter has."""
    out: dict[str, Callable[[dict[str, Any]], tuple[Any, ...]]] = {}
    if importlib.util.find_spec("pyastar2d"):
        out["pyastar2d"] = _pyastar2d
    if importlib.util.find_spec("skimage"):
        out["scikit-image"] = _scikit_image
    if importlib.util.find_spec("ompl"):
        import ompl.util
        from ompl import geometric

        ompl.util.setLogLevel(ompl.util.LogLevel.LOG_NONE)
        ompl.util.RNG.setSeed(1)
        for name, reverse in _OMPL:
            if hasattr(geometric, name):
                space = "Reeds-Shepp" if reverse else "Dubins"
                out[f"OMPL {name}, {space}"] = _ompl(name, reverse)
    return out


def main() -> None:
    job = json.load(sys.stdin)
    maps = np.load(job["maps"])
    planners = _planners()
    answers: dict[str, list[Any]] = {name: [] for name in planners}
    for i, case in enumerate(job["cases"]):
        near_m = maps[f"near_{i}"]
        task = {**job, **case, "near_m": near_m, "cost": _inflated(near_m, job["vehicle"])}
        task |= {k: _cell(case[n], job["cell_m"]) for k, n in (("a", "start"), ("b", "goal"))}
        for name, solve in planners.items():
            points, ms, *own = solve(task)
            answers[name].append({"points": points, "ms": ms, "ms_own": own[0] if own else ms})
        print(f"case {i + 1} of {len(job['cases'])}", file=sys.stderr, end="\r", flush=True)
    with open(job["out"], "w") as f:
        json.dump(answers, f)


if __name__ == "__main__":
    main()
