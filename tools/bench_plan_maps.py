"""Seeded maps for the benchmark of ``plan``, each with a way known beforehand, or with none.

A way is laid first (arcs that the vehicle can steer, or the middle of a curved road); obstacles
are put only where its swept body, widened a little, leaves room. So a solution exists by how a
map is made, not because some planner found one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from planning.vehicle import Vehicle
from tools.bench_plan_check import gaps

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

ROWS, COLS, CELL_M = 200, 400, 0.25
VEHICLE = Vehicle(wheelbase_m=3.0, width_m=2.0, front_m=3.3, rear_m=1.0, max_steer_rad=0.6)
_WIDE_M, _HIGH_M = COLS * CELL_M, ROWS * CELL_M


@dataclass(frozen=True, eq=False)
class Case:
    """One question: a map, two poses, whether reversing is allowed, whether there is a way."""

    family: str
    seed: int
    occupied: Mask
    start: tuple[float, float, float]
    goal: tuple[float, float, float]
    reverse: bool
    solvable: bool


def corners(pose: F64, front_m: float, rear_m: float, half_m: float) -> F64:
    """(4, 2) corners of a rectangle that reaches ahead of, behind and beside a pose."""
    x, y, yaw = pose
    c, s = math.cos(yaw), math.sin(yaw)
    local = [(front_m, half_m), (front_m, -half_m), (-rear_m, -half_m), (-rear_m, half_m)]
    return np.array([(x + a * c - b * s, y + a * s + b * c) for a, b in local])


def _fill(mask: NDArray[np.uint8], polygon: F64) -> None:
    points = np.round((polygon / CELL_M - 0.5) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, points, 1, shift=4)


def _swept(poses: F64, margin_m: float) -> Mask:
    v, mask = VEHICLE, np.zeros((ROWS, COLS), np.uint8)
    for pose in poses:
        box = (v.front_m + margin_m, v.rear_m + margin_m, v.half_width_m + margin_m)
        _fill(mask, corners(pose, *box))
    return mask > 0


def _place(mask: NDArray[np.uint8], polygon: F64, kept: Mask) -> None:
    """Fill a polygon unless it would reach into what is kept free."""
    alone = np.zeros_like(mask)
    _fill(alone, polygon)
    if not (kept & (alone > 0)).any():
        mask |= alone


def _drive(start: F64, arcs: list[tuple[float, float]], step: float = 0.2) -> F64:
    """Poses along arcs of (curvature, signed length)."""
    poses = [np.asarray(start, float)]
    for curvature, length in arcs:
        n = math.ceil(abs(length) / step)
        for _ in range(n):
            x, y, yaw = poses[-1]
            ds = length / n
            mid = yaw + curvature * ds / 2
            poses.append(
                np.array([x + ds * math.cos(mid), y + ds * math.sin(mid), yaw + curvature * ds])
            )
    return np.array(poses)


def _poses_on(x: F64, y: F64) -> F64:
    return np.column_stack([x, y, np.arctan2(np.gradient(y, x), 1.0)])


def _wave(
    rng: np.random.Generator,
    amplitude_m: float,
    least_m: tuple[float, float] = (60, 30),
    most_m: tuple[float, float] = (140, 60),
) -> Callable[[F64], F64]:
    """A sum of two sines whose curvature stays below half of what the vehicle can steer."""
    limit = 0.5 * VEHICLE.max_curvature_1pm
    waves = []
    for length in rng.uniform(least_m, most_m):
        k = 2 * math.pi / length
        height = min(amplitude_m, 0.45 * limit / k**2) * rng.uniform(0.3, 1.0)
        waves.append((height, k, rng.uniform(0, 2 * math.pi)))
    return lambda x: np.asarray(sum(h * np.sin(k * x + p) for h, k, p in waves))


def _blurred(y: F64, sigma: float) -> F64:
    row = np.asarray(y, np.float64)[None]
    size = (2 * round(4 * sigma) + 1, 1)
    return np.asarray(cv2.GaussianBlur(row, size, sigma, borderType=cv2.BORDER_REPLICATE))[0]


def _beside(pose: F64, side_m: float, turn: float = 0.0) -> F64:
    """The pose ``side_m`` to the left, turned a little."""
    x, y, yaw = pose
    return np.array([x - side_m * math.sin(yaw), y + side_m * math.cos(yaw), yaw + turn])


def _roadside(rng: np.random.Generator, heading: F64, half: float, kept: Mask) -> Mask:
    """Cars parked along both edges of a road and blockers that reach in from them."""
    things = np.zeros((ROWS, COLS), np.uint8)
    for i in rng.integers(120, 900, rng.integers(10, 24)):
        side = rng.choice((-1, 1)) * (half - 1.0)
        pose = _beside(heading[i], side, rng.normal(0, 0.06))
        _place(things, corners(pose, 2.25, 2.25, 0.9), kept)
    for i in rng.integers(200, 850, rng.integers(8, 20)):
        side, reach = rng.choice((-1, 1)) * half, rng.uniform(0.4, 1.3) * half
        _place(things, corners(_beside(heading[i], side), 0.6, 0.6, reach), kept)
    return things > 0


def _road_case(seed: int, closed: bool) -> Case:
    """A curved road; the way slaloms over it. ``closed`` puts a wall across."""
    rng = np.random.default_rng([seed, 1 + closed])
    middle, half = _wave(rng, 9.0), rng.uniform(3.5, 6.0)
    x = np.arange(0, _WIDE_M, 0.1)
    y = _HIGH_M / 2 + middle(x) - middle(x).mean()
    room = half - 1.6
    slalom = _blurred(np.clip(_wave(rng, 3.0, (25, 40), (40, 80))(x), -room, room), 15.0)
    way = _poses_on(x, y + slalom)[(x > 2) & (x < 94)]
    road = np.zeros((ROWS, COLS), np.uint8)
    line = np.round((np.column_stack([x, y]) / CELL_M - 0.5) * 16).astype(np.int32)
    cv2.polylines(road, [line], False, 1, round(2 * half / CELL_M), shift=4)
    kept, heading = _swept(way, 0.3), _poses_on(x, y)
    occupied = ((road == 0) & ~kept) | _roadside(rng, heading, half, kept)
    if closed:
        wall = np.zeros((ROWS, COLS), np.uint8)
        _fill(wall, corners(heading[int(rng.integers(300, 700))], 0.5, 0.5, half + 3))
        occupied |= wall > 0
    name = "dead end" if closed else "road"
    return Case(name, seed, occupied, tuple(way[0]), tuple(way[-1]), False, not closed)


def _too_narrow_case(seed: int) -> Case:
    """A wall whose gap is narrower than the vehicle, or turned so that it cannot be steered."""
    rng = np.random.default_rng([seed, 7])
    case = _gap_case(seed)
    occupied = case.occupied.copy()
    c = int(rng.uniform(0.45, 0.55) * COLS)
    occupied[:, c : c + 4] = True
    r, wide = int(rng.uniform(0.3, 0.7) * ROWS), int(rng.integers(4, 8))
    occupied[r : r + wide, c : c + 4] = False  # up to 1.75 m
    return Case("dead end", seed, occupied, case.start, case.goal, bool(seed % 2), False)


def _dead_end_case(seed: int) -> Case:
    return _road_case(seed, True) if seed % 2 == 0 else _too_narrow_case(seed)


def _gap_case(seed: int) -> Case:
    """Walls with one gap each, 0.1 to 0.9 m wider than the vehicle, driven through squarely."""
    rng = np.random.default_rng([seed, 3])
    x = np.arange(3, 94, 0.1)
    knots = np.linspace(3, 94, 4)
    height = rng.uniform(14, 36, 4)
    y = np.zeros_like(x)
    for i in range(3):  # level at the knots, smooth between: no steeper than can be steered
        t = np.clip((x - knots[i] - 6) / (knots[i + 1] - knots[i] - 12), 0, 1)
        y += (height[i + 1] - height[i]) * t**3 * (t * (6 * t - 15) + 10)
    way = _poses_on(x, y + height[0])
    occupied = np.zeros((ROWS, COLS), np.bool_)
    occupied[:4], occupied[-4:], occupied[:, :4], occupied[:, -4:] = True, True, True, True
    for k in knots[1:3]:
        c, thick = int(k / CELL_M), int(rng.integers(2, 12))
        gap = VEHICLE.width_m + rng.uniform(0.25, 0.9)
        middle = float(np.interp(k, x, way[:, 1]))
        rows = (np.arange(ROWS) + 0.5) * CELL_M
        shut = (rows - CELL_M / 2 < middle - gap / 2) | (rows + CELL_M / 2 > middle + gap / 2)
        occupied[shut, c : c + thick] = True
    things, kept = np.zeros((ROWS, COLS), np.uint8), _swept(way, 0.3)
    for _ in range(rng.integers(3, 9)):
        pose = rng.uniform((8, 4, 0), (90, 46, math.pi))
        _place(things, corners(pose, *rng.uniform(0.5, 2.5, 3)), kept)
    occupied |= things > 0
    # The gap must leave 5 cm to either side after it was cut out of whole cells.
    if gaps(occupied, CELL_M, way, VEHICLE, 1.0)[1] < 0.05:
        return _gap_case(seed + 100_003)
    return Case("narrow gap", seed % 100_003, occupied, tuple(way[0]), tuple(way[-1]), False, True)


def _parking_case(seed: int) -> Case:
    """Two rows of parked cars; the goal is a free slot, entered in reverse."""
    rng = np.random.default_rng([seed, 4])
    occupied = np.ones((ROWS, COLS), np.bool_)
    aisle = rng.uniform(6.5, 8.0)
    low = 25 - aisle / 2
    to_row = lambda m: round(m / CELL_M)  # noqa: E731
    occupied[to_row(low - 6.5) : to_row(low + aisle + 6.5), 8 : COLS - 8] = False
    slots = np.arange(8.0, 90.0, 2.9)
    free = int(rng.integers(8, len(slots) - 4))
    cars = np.zeros((ROWS, COLS), np.uint8)
    for i, x in enumerate(slots):
        for side in (-1, 1):
            if (side == -1 and i == free) or rng.random() < 0.1:
                continue
            y = low - 3.2 if side < 0 else low + aisle + 3.2
            yaw = math.pi / 2 + rng.normal(0, 0.03)
            pose = np.array([x + rng.normal(0, 0.08), y + rng.normal(0, 0.2), yaw])
            _fill(cars, corners(pose, 2.3, 2.3, 0.9))
    occupied |= cars > 0
    goal = np.array([slots[free], low - 4.6, math.pi / 2])
    occupied &= ~_swept(_drive(goal, [(0.0, 6.0)]), 0.2)
    start = (5.0, 25.0 + rng.uniform(-1, 1), 0.0)
    occupied &= ~_swept(np.array([start]), 0.5)
    return Case("parking", seed, occupied, start, tuple(goal), True, True)


Room = tuple[int, int]


def _spanning_tree(rng: np.random.Generator, rows: int, cols: int) -> dict[Room, Room]:
    """Each room but (0, 0) and the one it is entered from: a walk that turns back when stuck."""
    before: dict[Room, Room] = {}
    stack: list[Room] = [(0, 0)]
    while stack:
        r, c = stack[-1]
        around = [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
        new = [
            p
            for p in around
            if 0 <= p[0] < rows and 0 <= p[1] < cols and p not in before and p != (0, 0)
        ]
        if not new:
            stack.pop()
            continue
        to = new[int(rng.integers(len(new)))]
        before[to] = (r, c)
        stack.append(to)
    return before


def _maze_case(seed: int) -> Case:
    """A spanning tree of rooms of 10 m, from corner to corner: wide enough to turn in each."""
    rows, cols, side = 5, 10, 40
    before = _spanning_tree(np.random.default_rng([seed, 5]), rows, cols)
    doors = {*before.items(), *((b, a) for a, b in before.items())}
    occupied = np.zeros((ROWS, COLS), np.bool_)
    for r in range(rows):
        for c in range(cols):
            a, b = r * side, c * side
            if ((r, c), (r + 1, c)) not in doors:
                occupied[a + side - 2 : a + side + 2, b : b + side] = True
            if ((r, c), (r, c + 1)) not in doors:
                occupied[a : a + side, b + side - 2 : b + side + 2] = True
    occupied[:2], occupied[-2:], occupied[:, :2], occupied[:, -2:] = True, True, True, True
    for r in range(side, ROWS, side):  # posts at the crossings
        for c in range(side, COLS, side):
            occupied[r - 2 : r + 2, c - 2 : c + 2] = True
    along = ((0, 0), (0, 1)) in doors
    start = (3.0, 5.0, 0.0) if along else (5.0, 3.0, math.pi / 2)
    level = before[(rows - 1, cols - 1)] == (rows - 1, cols - 2)
    goal = (95.0, 45.0, 0.0 if level else math.pi / 2)
    return Case("maze", seed, occupied, start, goal, False, True)


FAMILIES: dict[str, Callable[[int], Case]] = {
    "road": lambda seed: _road_case(seed, False),
    "parking": _parking_case,
    "maze": _maze_case,
    "narrow gap": _gap_case,
    "dead end": _dead_end_case,
}


def make_cases(family: str, count: int, seed: int = 0) -> list[Case]:
    """``count`` cases of a family; the same seed gives the same cases."""
    return [FAMILIES[family](seed + i) for i in range(count)]
