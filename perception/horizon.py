"""Where the road vanishes, from lane lines: pitch and yaw of a camera nobody calibrated.

Straight lane lines of one road meet in one point of the picture. Every lane pixel knows the
direction of its line from the structure tensor of the lane map (Bigun and Granlund, "Optimal
Orientation Detection of Linear Symmetry", ICCV 1987); pixels vote for the point their lines run
through (Kong, Audibert and Ponce, "Vanishing point detection for road detection", CVPR 2009), and
robustly weighted least squares make the winner exact. Over frames the median is kept.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.camera import ASSUMED_FOCAL_PER_WIDTH, ASSUMED_HEIGHT_M
from data.compiled import run
from data.types import Surfaces

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_WORKING_WIDTH = 320  # lane maps are shrunk to about this width: lines of a few px
_SIGMAS = (0.06, 0.04, 0.025, 0.025, 0.025)  # rad, robust scale of successive refinements
_INDEPENDENT_PX = 30.0  # lane pixels per independent observation: a line's width times some length
_REACH_PX = 16  # of the filters over a lane map
_NEAR = 0.03  # rows nearer to the horizon, as a share of the height, are not used
_VOTE_SINE = 0.08  # of the angle by which a line misses a place: its vote falls to a quarter
_KEEP = 200  # estimates the median is taken over


@dataclass(frozen=True)
class HorizonConfig:
    """When a frame's lane lines tell where the road vanishes. Angles assume a 60 degree lens.

    Attributes:
        min_probability: lane pixels from here on are used.
        max_points: lane pixels looked at in a frame, evenly chosen.
        rows: (top, bottom) share of the picture's height within which the horizon may lie.
        half_width: share of the picture's width the point may lie off the middle.
        min_slope_deg: lines flatter than this in the picture are crosswalks and stop lines.
        near_rows: share of the picture's height below the horizon from where on a pixel counts
            in full; farther ones, which curves bend, count for less.
        curvature_std_1pm: spread of the curvature of roads, fitted along.
        min_points: lane pixels a frame needs.
        min_agreement: share of a frame's lane pixels (by weight) that must run through the point.
        min_side_bearing: a line counts as left or right from this run over rise on.
        min_side_share: least share of the agreeing pixels on either side.
        max_frame_std_deg: a frame less sure than this is not used.
        prior_std_deg: (yaw, pitch) spread of unknown mountings about the assumed one.
        floor_std_deg: (yaw, pitch) errors that no number of frames removes: curves and hills.
        min_estimates: frames needed to be confident.
        max_std_deg: (yaw, pitch) greatest uncertainty to be confident.
        every: once confident, only every so-manieth frame is looked at.
        recent, turned_deg: when so many of the newest estimates agree on a pitch that is so far off
            that of all, the camera has turned, and only they are kept; hills make up to about 2.
        settled, seldom: from so many estimates on, of which one more moves the median little, only
            every ``seldom``-th.
    """

    min_probability: float = 0.5
    max_points: int = 400
    rows: tuple[float, float] = (0.3, 0.7)
    half_width: float = 0.2
    min_slope_deg: float = 10.0
    near_rows: float = 0.25
    curvature_std_1pm: float = 1 / 400
    min_points: int = 60
    min_agreement: float = 0.2
    min_side_bearing: float = 0.3
    min_side_share: float = 0.1
    max_frame_std_deg: float = 2.0
    prior_std_deg: tuple[float, float] = (4.0, 5.0)
    floor_std_deg: tuple[float, float] = (0.6, 0.3)
    min_estimates: int = 3
    max_std_deg: tuple[float, float] = (1.5, 1.0)
    every: int = 3
    recent: int = 8
    turned_deg: float = 3.0
    settled: int = 20
    seldom: int = 9


@dataclass(frozen=True)
class VanishingPoint:
    """Where the vehicle's x axis vanishes, px of the original image, with standard deviations.

    ``confident``: enough frames agreed; otherwise the point is still near the assumed one.
    """

    u_px: float
    v_px: float
    std_u_px: float
    std_v_px: float
    confident: bool


@dataclass(frozen=True, eq=False)
class _Lines:
    """Lane pixels: point (n, 2) px of the image, unit normal (n, 2) of the line through each."""

    point: F64
    normal: F64
    independent: float  # observations they are worth


def _lines(surfaces: Surfaces, config: HorizonConfig) -> _Lines:
    lane = surfaces.lane
    scale = np.array(surfaces.scale, np.float64)
    shrink = max(1, round(lane.shape[1] / _WORKING_WIDTH))
    if shrink > 1:
        rows, cols = lane.shape[0] // shrink, lane.shape[1] // shrink
        scale = scale * (cols / lane.shape[1], rows / lane.shape[0])
        lane = np.asarray(cv2.resize(lane, (cols, rows), interpolation=cv2.INTER_AREA))
    lane, top = _filled(np.nan_to_num(lane), config.min_probability)
    soft = cv2.GaussianBlur(lane, (0, 0), 1.0)
    gx, gy = cv2.Scharr(soft, cv2.CV_32F, 1, 0), cv2.Scharr(soft, cv2.CV_32F, 0, 1)
    gx, gy = gx * scale[0], gy * scale[1]
    xx, yy, xy = (cv2.GaussianBlur(g, (0, 0), 2.5) for g in (gx * gx, gy * gy, gx * gy))
    at = np.flatnonzero(lane > config.min_probability)
    difference, total, mixed = (xx - yy).flat[at], (xx + yy).flat[at], 2 * xy.flat[at]
    angle = 0.5 * np.arctan2(mixed, difference)  # of the line's normal
    use = np.hypot(difference, mixed) > 0.7 * total
    use &= np.abs(np.cos(angle)) > math.sin(math.radians(config.min_slope_deg))
    at, angle = at[use], angle[use].astype(np.float64)
    count = len(at)
    if count > config.max_points:
        some = np.linspace(0, count - 1, config.max_points).astype(np.int64)
        at, angle = at[some], angle[some]
    v, u = np.unravel_index(at, lane.shape)
    point = (np.stack([u, v + top], axis=1) + 0.5) / scale - 0.5
    return _Lines(point, np.stack([np.cos(angle), np.sin(angle)], axis=1), count / _INDEPENDENT_PX)


def _filled(lane: F32, least: float) -> tuple[F32, int]:
    """The rows of a map that decide over its pixels above ``least``, and the first one's number.

    Whole rows, for a filter's sums are to the last bit the same.
    """
    rows = np.flatnonzero((lane > least).any(axis=1))
    if not len(rows):
        return lane[:1], 0
    top = max(0, int(rows[0]) - _REACH_PX)
    return lane[top : rows[-1] + _REACH_PX + 1], top


def compile_kernels() -> None:
    """Compile or load the inner loop."""
    _vote(_Lines(np.zeros((2, 2)), np.eye(2), 1.0), (64, 64), HorizonConfig())


def _vote(lines: _Lines, size_px: tuple[int, int], config: HorizonConfig) -> F64:
    """The (2,) point of a coarse grid that most lane pixels' lines run through."""
    from perception.horizon_kernels import count_votes

    width, height = size_px
    u = np.linspace(0.5 - config.half_width, 0.5 + config.half_width, 17) * width
    v = np.linspace(*config.rows, 21) * height
    grid = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2).astype(np.float32)
    point, normal = lines.point[::2].astype(np.float32), lines.normal[::2].astype(np.float32)
    near = np.clip((point[:, 1] / height - config.rows[0]) / config.near_rows, 0.1, 1)
    votes = np.zeros(len(grid), np.float32)
    run(count_votes, grid, point, normal, near, _NEAR * height, _VOTE_SINE, votes)
    return np.asarray(grid[int(votes.argmax())], np.float64)


def estimate(
    surfaces: Surfaces, size_px: tuple[int, int], config: HorizonConfig
) -> tuple[float, float, float, float] | None:
    """One frame's (u, v, std_u, std_v) in px of the image of ``size_px`` (width, height).

    None where the lane lines do not tell.
    """
    lines = _lines(surfaces, config)
    if len(lines.point) < config.min_points:
        return None
    at = np.append(_vote(lines, size_px, config), 0.0)
    for sigma in _SIGMAS:
        fit = _refined(at, lines, sigma, size_px, config)
        if fit is None:
            return None
        at, cov, agree, near = fit
    if not _plausible(at[:2], lines, agree, near, size_px, config):
        return None
    std_u, std_v = np.sqrt(np.diag(cov)[:2])
    if max(std_u, std_v) > _px_per_deg(size_px) * config.max_frame_std_deg:
        return None
    return float(at[0]), float(at[1]), float(std_u), float(std_v)


def _refined(
    at: F64, lines: _Lines, sigma: float, size_px: tuple[int, int], config: HorizonConfig
) -> tuple[F64, F64, F64, F64] | None:
    """One step of robust least squares for (u, v, bend); None where it has no solution.

    A line of curvature c has at the distance z the direction c z: its tangent there meets the
    horizon aside from u, by an amount that goes as 1 over the rows below the horizon. ``bend`` is
    that amount at ``_NEAR`` of the height; it is drawn to 0.

    Returns the three, their covariance (3, 3), and by pixel (n,) how much it agrees and counts.
    """
    down = lines.point[:, 1] - at[1]
    near = np.clip((down / size_px[1] - _NEAR) / config.near_rows, 0, 1)
    rise = _NEAR * size_px[1] / np.maximum(down, _NEAR * size_px[1])
    ray = at[:2] - lines.point
    distance = np.maximum(np.hypot(ray[:, 0], ray[:, 1]), 1.0)
    design = np.column_stack([lines.normal, lines.normal[:, 0] * rise])
    error = design @ at - (lines.normal * lines.point).sum(axis=1)
    sine = error / distance
    agree = near / np.square(1 + np.square(sine / sigma))
    if agree.sum() <= 0:
        return None
    spread = float((agree * sine**2).sum() / agree.sum()) + 0.005**2
    noise = spread * len(lines.point) / lines.independent
    info = (design * (agree / distance**2)[:, None]).T @ design / noise
    focal = ASSUMED_FOCAL_PER_WIDTH * min(size_px[0], size_px[1] * 16 / 9)
    bend = focal**2 * ASSUMED_HEIGHT_M * config.curvature_std_1pm / (_NEAR * size_px[1])
    info[2, 2] += 1 / bend**2
    if np.linalg.det(info[:2, :2]) <= 1e-12 * np.trace(info[:2, :2]) ** 2:
        return None
    cov = np.linalg.inv(info)
    gradient = design.T @ (error * agree / distance**2) / noise
    gradient[2] += at[2] / bend**2
    return at - cov @ gradient, cov, agree, near


def _plausible(
    at: F64,
    lines: _Lines,
    agree: F64,
    near: F64,
    size_px: tuple[int, int],
    config: HorizonConfig,
) -> bool:
    """Whether the point lies in bounds and enough lines on both sides run through it."""
    share = at / size_px
    if abs(share[0] - 0.5) > config.half_width or not config.rows[0] <= share[1] <= config.rows[1]:
        return False
    if agree.sum() < config.min_agreement * near.sum() or near.sum() < config.min_points / 4:
        return False
    offset = lines.point - at
    bearing = offset[:, 0] / np.maximum(offset[:, 1], 1.0)
    left = agree[bearing < -config.min_side_bearing].sum()
    right = agree[bearing > config.min_side_bearing].sum()
    return bool(min(left, right) >= config.min_side_share * agree.sum())


def _px_per_deg(size_px: tuple[int, int]) -> float:
    focal = ASSUMED_FOCAL_PER_WIDTH * min(size_px[0], size_px[1] * 16 / 9)
    return focal * math.radians(1.0)


class VanishingPointFilter:
    """The vanishing point over the frames of one drive, for images of one size.

    The median of the frames' estimates, drawn towards the assumed point (the picture's middle)
    as long as they are few or disagree.
    """

    def __init__(self, width_px: int, height_px: int, config: HorizonConfig | None = None) -> None:
        self.config = HorizonConfig() if config is None else config
        self._size_px = (width_px, height_px)
        self._estimates: deque[tuple[float, float, float, float]] = deque(maxlen=_KEEP)
        self._calls = 0
        self._now = self._combined()
        self.turned_deg = 0.0  # nose up, found by the last update

    def update(self, surfaces: Surfaces) -> VanishingPoint:
        """Take in one frame's lane lines, which cover the whole image."""
        config, settled = self.config, len(self._estimates) >= self.config.settled
        due = not self._now.confident
        due = due or self._calls % (config.seldom if settled else config.every) == 0
        self._calls += 1
        self.turned_deg = 0.0
        if due:
            found = estimate(surfaces, self._size_px, self.config)
            if found is not None:
                self._estimates.append(found)
                self.turned_deg = self._turned_deg()
                if self.turned_deg:
                    for _ in range(len(self._estimates) - self.config.recent):
                        self._estimates.popleft()
                self._now = self._combined()
        return self._now

    def _turned_deg(self) -> float:
        """How far the camera has turned up, by the newest estimates; 0 if it did not."""
        config, px = self.config, _px_per_deg(self._size_px)
        values = np.array(self._estimates, np.float64)
        if len(values) < config.settled + config.recent or not self._now.confident:
            return 0.0
        newest = values[-config.recent :, 1]
        off = newest - float(np.median(values[: -config.recent, 1]))
        if np.abs(off).min() <= px * config.turned_deg or np.ptp(off) > px * config.turned_deg:
            return 0.0
        return float(np.median(off)) / px

    def _combined(self) -> VanishingPoint:
        config, px = self.config, _px_per_deg(self._size_px)
        prior = ((self._size_px[0] - 1) / 2, (self._size_px[1] - 1) / 2)
        values = np.array(self._estimates, np.float64).reshape(-1, 4)
        n = len(values)
        at, std = list(prior), [px * s for s in config.prior_std_deg]
        for i in range(2 if n else 0):
            middle, spread = _median(values[:, i], 1 / values[:, i + 2] ** 2)
            own = float(np.median(values[:, i + 2]))
            # the median of n normal samples; the floor stands for errors that all share
            var = 1.57 * max(spread, own) ** 2 / n + (px * config.floor_std_deg[i]) ** 2
            gain = std[i] ** 2 / (std[i] ** 2 + var)
            at[i] += gain * (middle - at[i])
            std[i] = math.sqrt(gain * var)
        sure = all(s <= px * limit for s, limit in zip(std, config.max_std_deg, strict=True))
        sure = sure and n >= config.min_estimates
        return VanishingPoint(at[0], at[1], std[0], std[1], sure)


def _median(values: F64, weights: F64) -> tuple[float, float]:
    """Weighted median of (n,) values and their spread (1.48 times the median deviation)."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(np.minimum(weights, np.median(weights) * 4)[order])
    middle = float(values[order[int(np.searchsorted(total, total[-1] / 2))]])
    return middle, 1.48 * float(np.median(np.abs(values - middle)))
