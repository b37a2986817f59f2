"""``roadstack plan``: a way from pose to pose over an occupancy map."""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data.config import read_toml
from data.errors import InputError
from data.yaml_text import load_yaml
from planning.hybrid_astar import DrivenPath, HybridConfig, compile_kernels, plan_path
from planning.mapfile import OccupancyMap, load_map
from planning.vehicle import Vehicle
from tools.files import check_file, write_json, write_png
from tools.warmup import prepare

# 4.3 m x 2.0 m, turns in 4.4 m: what planners are compared with
DEFAULT_VEHICLE = Vehicle(wheelbase_m=3.0, width_m=2.0, front_m=3.3, rear_m=1.0, max_steer_rad=0.6)
_PICTURE_PX = 1600
_FORWARD, _REVERSE, _BODY = (60, 130, 0), (30, 30, 210), (220, 170, 90)
_START, _GOAL = (0, 150, 0), (0, 0, 200)


def parse_pose(name: str, text: str) -> tuple[float, float, float]:
    """``x,y,yaw`` as numbers.

    Raises:
        InputError: it is not three finite numbers.
    """
    try:
        x, y, yaw = (float(v) for v in text.split(","))
    except ValueError:
        raise InputError(f"{name} '{text}': expected x,y,yaw in m and rad") from None
    if not all(math.isfinite(v) for v in (x, y, yaw)):
        raise InputError(f"{name} '{text}': expected finite numbers")
    return x, y, yaw


def load_vehicle(path: Path) -> Vehicle:
    """Read a vehicle from TOML; keys as the fields of ``Vehicle``, others keep the defaults.

    Raises:
        InputError: unreadable, an unknown key, or a value that cannot be.
    """
    content = read_toml(path, "--vehicle")
    values: dict[str, Any] = content.get("vehicle", content)
    known = {f.name: getattr(DEFAULT_VEHICLE, f.name) for f in fields(Vehicle)}
    if not isinstance(values, dict):
        raise InputError(f"--vehicle {path}: expected a table [vehicle]")
    for key, value in values.items():
        if key not in known:
            raise InputError(f"--vehicle {path}: unknown key '{key}'; known: {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"--vehicle {path}: {key}: expected a number, given {value!r}")
    return Vehicle(**{**known, **values})


def plan_on_map(
    grid: OccupancyMap,
    start: tuple[float, float, float],
    goal: tuple[float, float, float],
    vehicle: Vehicle,
    config: HybridConfig | None = None,
) -> tuple[DrivenPath, NDArray[np.float64]]:
    """Plan in the map's frame: the way in the grid's frame, and its (n, 4) poses in the map's."""
    a, b = grid.to_grid(np.array([start, goal]))
    path = plan_path(grid.occupied, grid.cell_m, tuple(a), tuple(b), vehicle, config)
    return path, grid.from_grid(path.poses)


def as_json(path: DrivenPath, poses: NDArray[np.float64]) -> dict[str, Any]:
    """What is written to ``--out``."""
    known = len(poses) and math.isfinite(path.min_clearance_m)
    return {
        "status": str(path.status),
        "reason": path.reason,
        "poses": [
            [round(x, 7), round(y, 7), round(yaw, 9), int(d)] for x, y, yaw, d in poses.tolist()
        ],
        "curvature_1pm": [round(k, 7) for k in path.curvature_1pm.tolist()],
        "length_m": round(path.length_m, 4),
        "min_clearance_m": round(path.min_clearance_m, 4) if known else None,
        "search_ms": round(path.search_ms, 3),
        "expanded": path.expanded,
    }


def draw(
    grid: OccupancyMap, path: DrivenPath, start: Any, goal: Any, vehicle: Vehicle
) -> NDArray[np.uint8]:
    """Map, swept body, way (forward green, reverse red), start and goal; y points up."""
    rows, cols = grid.occupied.shape
    scale = max(1, min(8, _PICTURE_PX // max(rows, cols)))
    grey = np.where(grid.occupied[::-1], 70, 245).astype(np.uint8)
    grey = np.repeat(np.repeat(grey, scale, axis=0), scale, axis=1)
    image = np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))

    def pixels(xy: NDArray[np.float64]) -> NDArray[np.int32]:
        p = xy / grid.cell_m * scale
        p = np.column_stack([p[:, 0], rows * scale - p[:, 1]]) - 0.5
        return np.round(np.clip(p, -1e5, 1e5) * 16).astype(np.int32)

    def body(pose: NDArray[np.float64]) -> NDArray[np.int32]:
        c, s = math.cos(pose[2]), math.sin(pose[2])
        v = vehicle
        u = np.array([v.front_m, v.front_m, -v.rear_m, -v.rear_m])
        w = np.array([1, -1, -1, 1]) * v.half_width_m
        return pixels(np.column_stack([pose[0] + u * c - w * s, pose[1] + u * s + w * c]))

    smooth, shift = cv2.LINE_AA, 4
    for pose in path.poses[::5]:
        cv2.polylines(image, [body(pose)], True, _BODY, 1, smooth, shift)
    for a, b in zip(path.poses[:-1], path.poses[1:]):
        color = _FORWARD if b[3] > 0 else _REVERSE
        p = pixels(np.array([a[:2], b[:2]]))
        cv2.line(image, p[0].tolist(), p[1].tolist(), color, 2, smooth, shift)
    ends = grid.to_grid(np.array([start, goal]))
    for pose, color in zip(ends, (_START, _GOAL)):
        cv2.polylines(image, [body(pose)], True, color, 2, smooth, shift)
    return image


def _check_outputs(args: argparse.Namespace) -> None:
    """Whether ``--out`` and ``--png`` may be written; the map has been read."""
    inputs = [args.map, args.vehicle]
    if args.map.is_file():  # a pipe cannot be read again
        name = load_yaml(args.map.read_text(encoding="utf-8-sig"))["image"]
        inputs.append(args.map.parent / name)
    check_file("--out", args.out, inputs)
    if args.png is None:
        return
    check_file("--png", args.png, inputs)
    device = args.png.exists() and not args.png.is_file()
    if not device and os.path.realpath(args.png) == os.path.realpath(args.out):
        raise InputError(f"--png {args.png}: is the file of --out; give another")


def run_plan(args: argparse.Namespace) -> int:
    """The command: 0 whenever an answer is written, whatever its status."""
    start, goal = parse_pose("--start", args.start), parse_pose("--goal", args.goal)
    vehicle = load_vehicle(args.vehicle) if args.vehicle else DEFAULT_VEHICLE
    if not (math.isfinite(args.deadline_ms) and args.deadline_ms > 0):
        raise InputError(f"--deadline-ms: expected a number above 0, given {args.deadline_ms}")
    grid = load_map(args.map)
    _check_outputs(args)
    prepare("search")
    compile_kernels()  # so that the search's time is its own
    config = HybridConfig(reverse=args.reverse, deadline_s=args.deadline_ms / 1e3)
    path, poses = plan_on_map(grid, start, goal, vehicle, config)
    write_json(args.out, as_json(path, poses))
    if args.png:
        write_png(args.png, draw(grid, path, start, goal, vehicle))
    what = f"{path.length_m:.1f} m" if len(poses) else "no way"
    reason = f": {path.reason}" if path.reason else ""
    print(f"{path.status}{reason} ({what}, {path.search_ms:.1f} ms)", file=sys.stderr)
    return 0
