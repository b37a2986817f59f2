"""The road: a centreline with curvature, and what lies across it.

Along the road ``s`` grows in the own direction of travel; across it ``d`` is positive to the
left. d = 0 is the line between own and oncoming traffic, so own lanes have negative d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from data.types import F64, I64

STEP_M = 0.5


@dataclass(frozen=True)
class Line:
    """A painted line (or a kerb) along the road at ``d_m``; 'solid', 'dashed' or 'kerb'."""

    d_m: float
    style: str
    yellow: bool = False
    width_m: float = 0.14


@dataclass(frozen=True)
class Layout:
    """The cross-section, all offsets in m.

    Attributes:
        kind: 'urban', 'rural' or 'motorway'.
        own_lanes, oncoming_lanes: counts; lane_width_m of each.
        edge_m: (right, left) end of the asphalt; own_m: (right, left) of the own carriageway.
        far_side_m: (near, far) of another carriageway beyond a median, or None.
        parking_m: width of the parking strips inside the edges, 0 for none.
        pavement_m: width of the pavements beyond the edges, 0 for a grass verge.
        junction_m: (from, to) along s of a crossing road, or None.
        zebra: stripes and a stop line before the junction.
        dash_m: (paint, gap) of dashed lines.
    """

    kind: str
    own_lanes: int
    oncoming_lanes: int
    lane_width_m: float
    edge_m: tuple[float, float]
    own_m: tuple[float, float]
    lines: tuple[Line, ...]
    far_side_m: tuple[float, float] | None = None
    parking_m: float = 0.0
    pavement_m: float = 0.0
    junction_m: tuple[float, float] | None = None
    zebra: bool = False
    dash_m: tuple[float, float] = (3.0, 6.0)

    def lane_centre_m(self, lane: int) -> float:
        """d of an own lane's middle (0 is the leftmost); negative lanes are oncoming ones."""
        return -(lane + 0.5) * self.lane_width_m


@dataclass(frozen=True, eq=False)
class Road:
    """A centreline sampled every ``STEP_M`` from ``start_m`` on: xy_m (n, 2), yaw_rad (n,).

    ``tilt_rad`` (n,) is how far the ground ahead rises there against the plane that the vehicle
    stands on: the slopes of the road, as a camera that nods sees them over flat ground.
    """

    start_m: float
    xy_m: F64
    yaw_rad: F64
    tilt_rad: F64
    layout: Layout

    @property
    def end_m(self) -> float:
        return self.start_m + (len(self.yaw_rad) - 1) * STEP_M

    def _between(self, s_m: F64) -> tuple[I64, F64]:
        """Index of the sample before, and the share of the way to the next (extrapolating)."""
        grid = (s_m - self.start_m) / STEP_M
        index = np.clip(grid.astype(np.int64), 0, len(self.yaw_rad) - 2)
        return index, grid - index

    @cached_property
    def _rows(self) -> list[list[float]]:
        """x, y and yaw of every sample: quicker to look up one by one than arrays."""
        return np.column_stack([self.xy_m, self.yaw_rad]).tolist()

    def yaw_at(self, s_m: ArrayLike) -> F64:
        i, t = self._between(np.asarray(s_m, float))
        return np.asarray(self.yaw_rad[i] + (self.yaw_rad[i + 1] - self.yaw_rad[i]) * t)

    def tilt_at(self, s_m: ArrayLike) -> F64:
        i, t = self._between(np.asarray(s_m, float))
        return np.asarray(self.tilt_rad[i] + (self.tilt_rad[i + 1] - self.tilt_rad[i]) * t)

    def at(self, s_m: ArrayLike, d_m: ArrayLike) -> F64:
        """World x, y (..., 2) of a place on the road; straight on beyond its ends."""
        s, d = np.asarray(s_m, float), np.asarray(d_m, float)
        i, t = self._between(s)
        yaw = self.yaw_rad[i] + (self.yaw_rad[i + 1] - self.yaw_rad[i]) * t
        base = self.xy_m[i] + (self.xy_m[i + 1] - self.xy_m[i]) * t[..., None]
        return base + np.stack([-np.sin(yaw), np.cos(yaw)], -1) * d[..., None]

    def place(self, s_m: float, d_m: float) -> tuple[float, float, float]:
        """World x, y and the road's heading at one place; quicker than ``at``."""
        rows = self._rows
        grid = (s_m - self.start_m) / STEP_M
        i = min(max(int(grid), 0), len(rows) - 2)
        t = grid - i
        (x0, y0, yaw0), (x1, y1, yaw1) = rows[i], rows[i + 1]
        yaw = yaw0 + (yaw1 - yaw0) * t
        x, y = x0 + (x1 - x0) * t, y0 + (y1 - y0) * t
        return x - math.sin(yaw) * d_m, y + math.cos(yaw) * d_m, yaw

    def locate(self, x_m: float, y_m: float) -> tuple[float, float]:
        """(s, d) of a world point, by its nearest centreline sample."""
        offset = np.array([x_m, y_m]) - self.xy_m
        i = int(np.argmin((offset**2).sum(1)))
        yaw = self.yaw_rad[i]
        along = offset[i] @ np.array([np.cos(yaw), np.sin(yaw)])
        across = offset[i] @ np.array([-np.sin(yaw), np.cos(yaw)])
        return self.start_m + i * STEP_M + float(along), float(across)


def curved_road(
    start_m: float,
    end_m: float,
    curvature_1pm: ArrayLike,
    layout: Layout,
    tilt_rad: ArrayLike = (0.0, 0.0),
) -> Road:
    """Integrate a curvature profile (its values evenly spread over the length, the tilt's too);
    s = 0 is the world origin, heading along x."""
    n = int(np.ceil((end_m - start_m) / STEP_M)) + 1
    s = start_m + np.arange(n) * STEP_M
    knots = np.asarray(curvature_1pm, float)
    smooth = np.interp(s, np.linspace(start_m, end_m, len(knots)), knots)
    slope = np.asarray(tilt_rad, float)
    tilt = np.interp(s, np.linspace(start_m, end_m, len(slope)), slope)
    yaw = np.cumsum(smooth) * STEP_M
    yaw -= np.interp(0.0, s, yaw)
    middle = (yaw[:-1] + yaw[1:]) / 2
    xy = np.zeros((n, 2))
    xy[1:] = np.cumsum(np.stack([np.cos(middle), np.sin(middle)], 1), 0) * STEP_M
    origin = [np.interp(0.0, s, xy[:, k]) for k in (0, 1)]
    return Road(start_m, xy - origin, yaw, tilt, layout)


def urban(
    own_lanes: int,
    oncoming_lanes: int,
    lane_width_m: float,
    parking_m: float,
    pavement_m: float,
    yellow: bool,
    junction_m: tuple[float, float] | None = None,
    zebra: bool = False,
    marked: bool = True,
) -> Layout:
    """A street with kerbs: parking strips outside the lanes, pavements beyond."""
    right = -own_lanes * lane_width_m - parking_m
    left = oncoming_lanes * lane_width_m + parking_m
    lines = [Line(right, "kerb", width_m=0.16), Line(left, "kerb", width_m=0.16)]
    if marked:
        lines += _lane_lines(own_lanes, -lane_width_m) + _lane_lines(oncoming_lanes, lane_width_m)
        if oncoming_lanes and own_lanes + oncoming_lanes > 2:
            lines += [Line(0.14, "solid", yellow, 0.12), Line(-0.14, "solid", yellow, 0.12)]
        elif oncoming_lanes:
            lines.append(Line(0.0, "dashed", yellow))
        if parking_m:
            lines.append(Line(-own_lanes * lane_width_m, "solid", width_m=0.1))
    own = (-own_lanes * lane_width_m, 0.0)
    return Layout(
        "urban", own_lanes, oncoming_lanes, lane_width_m, (right, left), own, tuple(lines),
        None, parking_m, pavement_m, junction_m, zebra,
    )  # fmt: skip


def rural(lane_width_m: float, shoulder_m: float, yellow: bool, solid: bool) -> Layout:
    """One lane each way between grass verges."""
    edge = lane_width_m + shoulder_m
    lines = (
        Line(-lane_width_m, "solid"),
        Line(lane_width_m, "solid"),
        Line(0.0, "solid" if solid else "dashed", yellow),
    )
    own = (-lane_width_m, 0.0)
    return Layout("rural", 1, 1, lane_width_m, (-edge, edge), own, lines)


def motorway(own_lanes: int, lane_width_m: float, shoulder_m: float, yellow: bool) -> Layout:
    """One carriageway of a divided road; the other one lies beyond a median."""
    right = -own_lanes * lane_width_m
    lines = [
        Line(0.0, "solid", yellow, 0.16),
        Line(right, "solid", width_m=0.18),
        *_lane_lines(own_lanes, -lane_width_m),
    ]
    edge = (right - shoulder_m, 0.9)
    far = (3.4, 4.6 - right)
    lines += [Line(far[0] + 0.6, "solid", yellow), Line(far[1] - 0.4, "solid")]
    return Layout(
        "motorway", own_lanes, 0, lane_width_m, edge, (right, 0.0), tuple(lines),
        far, dash_m=(4.0, 8.0),
    )  # fmt: skip


def _lane_lines(lanes: int, width_m: float) -> list[Line]:
    return [Line(width_m * (i + 1), "dashed") for i in range(lanes - 1)]
