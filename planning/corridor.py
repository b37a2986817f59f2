"""The own lane as a centre line, traced forward row by row over the grid.

Lane lines are broken, ragged and often there on one side only. The trace keeps what it knows
(lateral position, slope, lane width) from row to row with an alpha-beta filter, takes the lines
that fit, and runs on straight where nothing fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from planning.grid import GridSpec

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

LANE_WIDTH_M = 3.4
MIN_LANE_M, MAX_LANE_M = 2.3, 4.8
_START_M = 4.0  # stretch of first seen ground on which the lane at the vehicle is found
_EDGE_KEEP_M = 1.5  # distance the trace keeps from the road's edge where it can


@dataclass(frozen=True, eq=False)
class Corridor:
    """The own lane's middle: ``centre_m`` (rows,) y at every grid row, ``width_m`` of the lane."""

    centre_m: F64
    width_m: float


def along_lines(line: U8, resolution_m: float) -> U8:
    """Keep what runs along the road; close its short gaps.

    Stop lines and crosswalk edges run across: pieces wider than 1.6 m are taken away.
    """
    across = max(3, round(1.6 / resolution_m))
    wide = cv2.morphologyEx(line, cv2.MORPH_OPEN, np.ones((1, across), np.uint8))
    along = cv2.subtract(line, cv2.dilate(wide, np.ones((3, 3), np.uint8)))
    gap = max(3, round(4.0 / resolution_m))
    return np.asarray(cv2.morphologyEx(along, cv2.MORPH_CLOSE, np.ones((gap, 1), np.uint8)))


def _lane_at_start(line: U8, first_row: int, spec: GridSpec) -> tuple[float, float]:
    """Offset y and width of the lane the vehicle is in, from the first seen rows."""
    from planning.kernels import usual_gap

    rows = slice(first_row, first_row + round(_START_M / spec.resolution_m))
    middle = spec.cols // 2
    left = run(usual_gap, line[rows, middle:], MAX_LANE_M, spec.resolution_m)
    right = run(usual_gap, line[rows, :middle][:, ::-1], MAX_LANE_M, spec.resolution_m)
    y, width = 0.0, LANE_WIDTH_M
    both = left + right
    if MIN_LANE_M <= both <= MAX_LANE_M:
        y, width = (left - right) / 2, both
    elif left <= 0.75 * LANE_WIDTH_M and not right < left:
        y = left - width / 2
    elif right <= 0.75 * LANE_WIDTH_M:
        y = width / 2 - right
    return float(np.clip(y, -1.8, 1.8)), float(width)


def trace(line: U8, edge: U8, first_row: int, spec: GridSpec) -> Corridor:
    """Trace the own lane's middle from ``first_row``, the first row of seen road.

    Args:
        line: (rows, cols) uint8, lines along the road (see ``along_lines``).
        edge: (rows, cols) uint8, ground seen not to be drivable; objects on it not included.
        first_row: before it the centre runs smoothly from the vehicle's y = 0.

    In each row the nearest lines to both sides count when they lie half a lane away, give or
    take 0.8 m; with one of them the other is taken a lane width away; with none the centre keeps
    its share of the road's width or, where one edge alone is seen, its distance to that, or runs
    on straight. It keeps 1.5 m from the road's edges.
    """
    from planning.kernels import march

    y, width = _lane_at_start(line, first_row, spec)
    step = spec.resolution_m
    centre, width = run(
        march, line, edge, first_row, y, width, step, spec.origin_m[1], _EDGE_KEEP_M
    )
    if first_row > 0:
        t = (np.arange(first_row) + 0.5) / first_row
        centre[:first_row] = centre[first_row] * t * t * (3 - 2 * t)
    return Corridor(np.asarray(centre), float(width))
