"""Does the vehicle's rectangle touch an occupied cell? Exact, in compiled kernels.

A grid frame: x along the columns, y along the rows, in metres from the outer corner of cell
(0, 0). A cell is a closed square and what lies outside the grid is occupied. Distances to
obstacles settle most poses at once; the rest is decided row by row: the part of a rectangle in
a row of cells is convex, so it touches just the cells under its extent along x, and running
sums over the row count the occupied ones among them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled, run
from planning.grid_kernels import distance_m

F32 = NDArray[np.float32]
U16 = NDArray[np.uint16]
Mask = NDArray[np.bool_]

FAR_M = 1e4  # distance where nothing is occupied
_ROOT_HALF = math.sqrt(0.5)
_CORNER_STEP_M = 0.04  # a cell's corner between two such points reaches in by 2 cm


class Field(NamedTuple):
    """Obstacles of a grid.

    Attributes:
        total: (rows, cols + 1) uint16, occupied cells of the row left of a column; they may run
            over, as a body covers fewer.
        near_m: (rows, cols) float32, centre to centre of the nearest occupied cell.
        extra: (rows, cols) float32 >= 0, cost added per metre of the rear axle's way.
        most_extra: the greatest of it.
        cell_m: side of a cell.
    """

    total: U16
    near_m: F32
    extra: F32
    most_extra: float
    cell_m: float


class Body(NamedTuple):
    """A rectangle about the rear axle: its middle ahead of it, half length, half width."""

    middle_m: float
    half_length_m: float
    half_width_m: float


@compiled
def _left_of(occupied: Mask) -> U16:
    """See ``Field.total``."""
    rows, cols = occupied.shape
    total = np.empty((rows, cols + 1), np.uint16)
    for r in range(rows):
        so_far = np.uint16(0)
        total[r, 0] = so_far
        for c in range(cols):
            so_far = np.uint16(so_far + occupied[r, c])
            total[r, c + 1] = so_far
    return total


def field_of(occupied: Mask, cell_m: float, extra: F32 | None = None) -> Field:
    """Distances (exact, Euclidean) and running sums of a (rows, cols) grid of obstacles."""
    rows, cols = occupied.shape
    most_extra = 0.0 if extra is None else float(extra.max())
    if extra is None:
        extra = np.zeros((rows, cols), np.float32)
    total = np.asarray(run(_left_of, occupied))
    near_m = np.asarray(run(distance_m, occupied, cell_m, FAR_M, 0.0))
    return Field(total, near_m, extra, most_extra, cell_m)


@compiled
def _hits_cells(field: Field, x: float, y: float, ux: float, uy: float, cos: float, sin: float,
                half_length: float, half_width: float) -> bool:  # fmt: skip
    """Row by row: does the rectangle about (x, y), inside the grid, touch an occupied cell?"""
    cell = field.cell_m
    along = 1.0 / cos if abs(cos) > 1e-9 else 0.0
    across = 1.0 / sin if abs(sin) > 1e-9 else 0.0
    # heights of the outermost corners to the left and the right, from the middle
    tip = half_width * abs(cos) - half_length * abs(sin)
    tip = tip if cos * sin > 0 else -tip
    c0, c1 = int((x - ux) / cell), min(int((x + ux) / cell), field.near_m.shape[1] - 1)
    for r in range(int((y - uy) / cell), min(int((y + uy) / cell), field.total.shape[0] - 1) + 1):
        if field.total[r, c1 + 1] == field.total[r, c0]:
            continue  # nothing in all of the row that may be under the rectangle
        low, high = max(r * cell - y, -uy), min((r + 1) * cell - y, uy)
        left, right = -ux, ux
        if not low <= tip <= high:
            left = ux
            for h in (low, high):
                a = -half_length * abs(along) - h * sin * along if along != 0 else -ux
                b = -half_width * abs(across) + h * cos * across if across != 0 else -ux
                left = min(left, max(a, b))
        if not low <= -tip <= high:
            right = -ux
            for h in (low, high):
                a = half_length * abs(along) - h * sin * along if along != 0 else ux
                b = half_width * abs(across) + h * cos * across if across != 0 else ux
                right = max(right, min(a, b))
        first = max(int((x + left) / cell), 0)
        end = min(int((x + right) / cell), field.near_m.shape[1] - 1) + 1
        if field.total[r, end] != field.total[r, first]:
            return True
    return False


@compiled
def _near_line(field: Field, body: Body, x: float, y: float, cos: float, sin: float) -> float:
    """About how far the long middle line of a rectangle about (x, y), inside the grid, is from the
    nearest obstacle's centre: least of three thirds' middles."""
    rows, cols = field.near_m.shape
    near, third = 1e9, 2.0 / 3.0 * body.half_length_m
    for i in range(-1, 2):
        c = min(int((x + i * third * cos) / field.cell_m), cols - 1)
        r = min(int((y + i * third * sin) / field.cell_m), rows - 1)
        near = min(near, field.near_m[r, c])
    return near


@compiled
def room(field: Field, body: Body, x: float, y: float, cos: float, sin: float) -> float:
    """-1 where the rectangle of the rear axle at (x, y) touches something; else about how far
    its long middle line is from the nearest obstacle's centre, in m.
    """
    rows, cols = field.near_m.shape
    cell, length, width = field.cell_m, body.half_length_m, body.half_width_m
    cx, cy = x + body.middle_m * cos, y + body.middle_m * sin
    ux = abs(cos) * length + abs(sin) * width
    uy = abs(sin) * length + abs(cos) * width
    if not (cx - ux >= 0 and cy - uy >= 0 and cx + ux <= cols * cell and cy + uy <= rows * cell):
        return -1.0
    near = _near_line(field, body, cx, cy, cos, sin)
    # half a diagonal from the point to its cell's centre, and as much to the obstacle's corner
    if near - 2 * _ROOT_HALF * cell >= math.sqrt((length / 3) ** 2 + width**2):
        return near
    # and at most half a diagonal less half a side, or a disc inside the rectangle touches
    if near + (_ROOT_HALF - 0.5) * cell < min(width, length / 3):
        return -1.0
    if _hits_cells(field, cx, cy, ux, uy, cos, sin, length, width):
        return -1.0
    return near


@compiled
def corner_hits(field: Field, body: Body, x: float, y: float, cos: float, sin: float, to_x: float,
                to_y: float, to_cos: float, to_sin: float, curvature: float) -> bool:  # fmt: skip
    """Do the outer corners touch something between two poses of a turn that are free?

    Between the poses all the body passes over lies in one of its two rectangles, but for slim
    triangles at the front and the rear corner away from the turn's centre. They are narrower
    than a cell where the poses are no further apart than one, so what reaches into one crosses
    the corner's own way.
    """
    rows, cols = field.near_m.shape
    left = -body.half_width_m if curvature > 0 else body.half_width_m
    for end in (-1.0, 1.0):
        ahead = body.middle_m + end * body.half_length_m
        px, py = x + ahead * cos - left * sin, y + ahead * sin + left * cos
        qx, qy = to_x + ahead * to_cos - left * to_sin, to_y + ahead * to_sin + left * to_cos
        n = int(math.hypot(qx - px, qy - py) / _CORNER_STEP_M) + 1
        for i in range(1, n):
            r = int((py + (qy - py) * i / n) / field.cell_m)
            c = int((px + (qx - px) * i / n) / field.cell_m)
            if r < 0 or c < 0 or r >= rows or c >= cols or field.near_m[r, c] == 0:
                return True
    return False


@compiled
def _corners_far(field: Field, body: Body, x: float, y: float, cos: float, sin: float,
                 way_m: float, curvature: float) -> bool:  # fmt: skip
    """Whether the corners that ``corner_hits`` looks at, at the latter pose, are so far from
    everything that they touched nothing in the grid on a way of at most ``way_m``."""
    rows, cols = field.near_m.shape
    left = -body.half_width_m if curvature > 0 else body.half_width_m
    # centre to centre: from one corner of a cell to the nearest corner of another
    least = way_m + 2 * _ROOT_HALF * field.cell_m + 1e-6
    for end in (-1.0, 1.0):
        ahead = body.middle_m + end * body.half_length_m
        r = int((y + ahead * sin + left * cos) / field.cell_m)
        c = int((x + ahead * cos - left * sin) / field.cell_m)
        if r < 0 or c < 0 or r >= rows or c >= cols or not field.near_m[r, c] > least:
            return False
    return True


@compiled
def far_enough(field: Field, body: Body) -> float:
    """``room`` from which on nothing is within half a metre of the body."""
    third = body.half_length_m / 3
    return math.sqrt(third**2 + body.half_width_m**2) + 2 * _ROOT_HALF * field.cell_m + 0.5


@compiled
def touches_between(field: Field, body: Body, poses: NDArray[np.float64], i: int) -> float:
    """``room`` at the ``i``-th of (n, 3) poses of a curve; -1 also where a corner touches something
    on the way there from the pose before, if that was free."""
    x, y, yaw = poses[i, 0], poses[i, 1], poses[i, 2]
    cos, sin = math.cos(yaw), math.sin(yaw)
    here = room(field, body, x, y, cos, sin)
    if i > 0 and 0 <= here < far_enough(field, body):
        from_x, from_y, from_yaw = poses[i - 1, 0], poses[i - 1, 1], poses[i - 1, 2]
        turn = (yaw - from_yaw) * ((x - from_x) * cos + (y - from_y) * sin)
        corner_m = abs(body.middle_m) + body.half_length_m + body.half_width_m
        way_m = abs(x - from_x) + abs(y - from_y) + abs(yaw - from_yaw) * corner_m
        if abs(turn) <= 1e-9 or _corners_far(field, body, x, y, cos, sin, way_m, turn):
            return here
        from_cos, from_sin = math.cos(from_yaw), math.sin(from_yaw)
        if corner_hits(field, body, from_x, from_y, from_cos, from_sin, x, y, cos, sin, turn):
            return -1.0
    return here


@compiled
def arc_room(field: Field, body: Body, pose: NDArray[np.float64], curvature: float,
             length: float, step: float) -> float:  # fmt: skip
    """Least ``room`` along an arc of signed length, at most ``step`` apart; its start left out.

    ``pose`` (x, y, yaw) is moved to the arc's end, or to the first pose that touches.
    """
    n = max(1, math.ceil(abs(length) / step - 1e-9))
    ds = length / n
    least = 1e9
    turn = curvature * ds
    chord = ds if abs(turn) < 1e-9 else 2.0 * math.sin(turn / 2) / curvature
    half_cos, half_sin = math.cos(turn / 2), math.sin(turn / 2)
    cos, sin = math.cos(pose[2]), math.sin(pose[2])
    far = far_enough(field, body)
    for _ in range(n):
        old_x, old_y, old_cos, old_sin = pose[0], pose[1], cos, sin
        mid_cos, mid_sin = cos * half_cos - sin * half_sin, sin * half_cos + cos * half_sin
        pose[0] += chord * mid_cos
        pose[1] += chord * mid_sin
        pose[2] += turn
        cos, sin = mid_cos * half_cos - mid_sin * half_sin, mid_sin * half_cos + mid_cos * half_sin
        here = room(field, body, pose[0], pose[1], cos, sin)
        if here < 0:
            return -1.0
        if (
            here < far
            and curvature != 0.0
            and corner_hits(
                field, body, old_x, old_y, old_cos, old_sin, pose[0], pose[1], cos, sin, curvature
            )
        ):
            return -1.0
        least = min(least, here)
    return least


@compiled
def _gap_to_cell(x: float, y: float, cos: float, sin: float, length: float, width: float,
                 left: float, low: float, cell: float) -> float:  # fmt: skip
    """Distance between a rectangle about (x, y) that does not touch it and a cell's square."""
    best = 1e18
    for i in (-1.0, 1.0):
        for j in (-1.0, 1.0):
            px = x + i * length * cos - j * width * sin
            py = y + i * length * sin + j * width * cos
            dx = max(left - px, px - left - cell, 0.0)
            dy = max(low - py, py - low - cell, 0.0)
            best = min(best, dx * dx + dy * dy)
            qx, qy = left + (i + 1) / 2 * cell - x, low + (j + 1) / 2 * cell - y
            du = max(abs(qx * cos + qy * sin) - length, 0.0)
            dv = max(abs(-qx * sin + qy * cos) - width, 0.0)
            best = min(best, du * du + dv * dv)
    return math.sqrt(best)


@compiled
def _gap(field: Field, body: Body, at_x: float, at_y: float, cos: float, sin: float,
         reach: float) -> float:  # fmt: skip
    """Distance between the rectangle of the rear axle at (at_x, at_y), which touches nothing, and
    the nearest occupied cell within ``reach``; else that."""
    rows, cols = field.near_m.shape
    cell, length, width = field.cell_m, body.half_length_m, body.half_width_m
    x, y = at_x + body.middle_m * cos, at_y + body.middle_m * sin
    ux = abs(cos) * length + abs(sin) * width + reach
    uy = abs(sin) * length + abs(cos) * width + reach
    c0, c1 = max(int((x - ux) / cell), 0), min(int((x + ux) / cell), cols - 1)
    for r in range(max(int((y - uy) / cell), 0), min(int((y + uy) / cell), rows - 1) + 1):
        if field.total[r, c1 + 1] == field.total[r, c0]:
            continue
        for c in range(c0, c1 + 1):
            if field.near_m[r, c] == 0:
                qx, qy = (c + 0.5) * cell - x, (r + 0.5) * cell - y
                du = max(abs(qx * cos + qy * sin) - length, 0.0)
                dv = max(abs(-qx * sin + qy * cos) - width, 0.0)
                least = reach + _ROOT_HALF * cell
                if du * du + dv * dv > least * least:
                    continue  # not even the cell's corner is as near
                gap = _gap_to_cell(x, y, cos, sin, length, width, c * cell, r * cell, cell)
                reach = min(reach, gap)
    return reach


@compiled
def clearance(field: Field, body: Body, poses: NDArray[np.float64], cap: float) -> float:
    """Least exact distance between the rectangle at (n, 3) poses and occupied cells.

    0 where one touches; ``cap`` where none is as near as that.
    """
    slack = math.sqrt((body.half_length_m / 3) ** 2 + body.half_width_m**2)
    slack += 2 * _ROOT_HALF * field.cell_m
    near = np.empty(len(poses))
    wide, high = field.near_m.shape[1] * field.cell_m, field.near_m.shape[0] * field.cell_m
    length, width = body.half_length_m, body.half_width_m
    for k in range(len(poses)):
        cos, sin = math.cos(poses[k, 2]), math.sin(poses[k, 2])
        x, y = poses[k, 0] + body.middle_m * cos, poses[k, 1] + body.middle_m * sin
        ux, uy = abs(cos) * length + abs(sin) * width, abs(sin) * length + abs(cos) * width
        if not (x >= ux and y >= uy and x + ux <= wide and y + uy <= high):
            return 0.0
        near[k] = _near_line(field, body, x, y, cos, sin)
    first = int(near.argmin())  # likely the nearest: then most others need no look
    best = cap
    for k in range(-1, len(poses)):
        i = first if k < 0 else k
        if near[i] - slack < best:
            x, y, cos, sin = poses[i, 0], poses[i, 1], math.cos(poses[i, 2]), math.sin(poses[i, 2])
            if room(field, body, x, y, cos, sin) < 0:
                return 0.0
            if near[i] < FAR_M:
                best = _gap(field, body, x, y, cos, sin, min(best, near[i] + field.cell_m))
    return best
