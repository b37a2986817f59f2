"""Sparse optical flow: corners of one small grey picture found again in the next.

Corners after Shi and Tomasi ("Good Features to Track", CVPR 1994), the strongest of each cell of
a grid; followed by pyramidal Lucas-Kanade (Bouguet, "Pyramidal Implementation of the Affine Lucas
Kanade Feature Tracker", 2000). What they fit is judged by who asks, see ``own_motion``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from data.types import U8, Detections, Surfaces

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_PIXELS = 320 * 180
_CELL_PX = 8
_BLOCK_PX = 5
_BORDER_PX = 5
_INNER_PX = 5  # that a point of the road lies within it
_BELOW_PX = 6  # the horizon, where the road begins to tell distances
_WINDOW_PX = 11
_LEVELS = 2  # beyond the picture itself
_ROUND = 0.1  # of a corner's two eigenvalues: along an edge nothing can be followed
_ERROR = 20.0  # mean grey levels by which a found patch may differ


@dataclass(frozen=True)
class FlowConfig:
    """Attributes:
    ground_points, other_points: how many are followed, the strongest corners.
    corner: least eigenvalue of a corner's gradients (noise of a night picture: below 1e-4).
    road: least probability of drivable surface or lane line for a point of the road.
    margin_px: kept free around detected objects, px of the small picture.
    """

    ground_points: int = 70
    other_points: int = 50
    corner: float = 4e-4
    road: float = 0.5
    margin_px: float = 3.0


@dataclass(frozen=True, eq=False)
class Points:
    """Points to follow: xy (n, 2) float32 px of the small picture, on_road (n,) bool."""

    xy: F32
    on_road: Bool

    def __len__(self) -> int:
        return len(self.xy)


@dataclass(frozen=True, eq=False)
class Look:
    """What of a picture can be made ready before anything is found in it.

    Attributes:
        grey: (h, w) uint8, the small picture; width_px: of the original; shift_px: of the small
            picture, by which it lies up and left of the whole one resized.
        xy: (n, 2) float32 px of its corners; value: (n,) float32, their less eigenvalues.
    """

    grey: U8
    width_px: int
    shift_px: float
    xy: F32
    value: F32


def look_at(image: U8, config: FlowConfig) -> Look:
    """The look at a picture, (h, w, 3) uint8 BGR."""
    grey, (height, width) = small_grey(image), image.shape[:2]
    _, step = _sampling(height, width)
    # the pixel taken of each block of ``step`` is its middle, or the next where it has none
    shift_px = (step // 2 - (step - 1) / 2) * grey.shape[1] / width
    return Look(grey, width, shift_px, *corners(grey, config.corner))


def _sampling(height: int, width: int) -> tuple[float, int]:
    """Size of the small picture as a share, and every which pixel is looked at for it."""
    share = min(1.0, math.sqrt(_PIXELS / (width * height)))
    return share, max(1, round(0.5 / share))


def small_grey(image: U8) -> U8:
    """(h, w, 3) BGR to a grey picture of 320 x 180 pixels, or as many in another aspect."""
    height, width = image.shape[:2]
    share, step = _sampling(height, width)  # every few green pixels, then the means of some
    way = cv2.INTER_AREA if share * step <= 0.5 else cv2.INTER_LINEAR
    green = np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step, 1])
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(cv2.resize(green, size, interpolation=way), np.uint8)


def corners(grey: U8, least: float) -> tuple[F32, F32]:
    """(n, 2) px and (n,) less eigenvalue: the strongest corner of each cell that has one, with
    gradients in all directions; an edge has them across alone."""
    from perception.flow_kernels import strongest

    if min(grey.shape) < _CELL_PX:
        return np.zeros((0, 2), np.float32), np.zeros(0, np.float32)
    strength = np.asarray(cv2.cornerMinEigenVal(grey, _BLOCK_PX))
    cells = (grey.shape[0] // _CELL_PX) * (grey.shape[1] // _CELL_PX)
    xy, value = np.empty((cells, 2), np.float32), np.empty(cells, np.float32)
    # a * b / (a + b)^2 of the eigenvalues a and b is close to their ratio on an edge
    bent = _ROUND / (1 + _ROUND) ** 2
    count = run(strongest, strength, grey, _CELL_PX, _BORDER_PX, _BLOCK_PX // 2, least, bent,
                xy, value)  # fmt: skip
    return xy[:count].copy(), value[:count].copy()


def points_to_follow(
    look: Look,
    horizon: tuple[float, float],
    objects: Detections,
    surfaces: Surfaces,
    config: FlowConfig,
) -> Points:
    """The strongest corners on the road, and of what stands still above it.

    Args:
        objects: in px of the original picture.
        horizon: (row, slope) in px of the small picture at its left edge. What is not road and
            lies well below it is left out: bonnet, kerbs, cars that were not detected.
    """
    from perception.flow_kernels import sorted_out

    scale = look.grey.shape[1] / look.width_px
    box = (objects.xyxy + 0.5) * scale - 0.5
    box = box + np.array([-1, -1, 1, 1], np.float32) * config.margin_px
    kind = np.empty(len(look.xy), np.uint8)
    # about a point of the road too: what lies at its edge may be a kerb or the own bonnet
    run(sorted_out, look.xy, box, np.ascontiguousarray(surfaces.drivable),
        np.ascontiguousarray(surfaces.lane), scale, np.array(surfaces.scale, np.float32), _INNER_PX,
        config.road, tuple(map(float, horizon)), _BELOW_PX, kind)  # fmt: skip
    order = np.argsort(-look.value, kind="stable")
    ground = order[kind[order] == 1][: config.ground_points]
    rest = order[kind[order] == 2][: config.other_points]
    chosen = np.concatenate([ground, rest])
    return Points(look.xy[chosen], np.arange(len(chosen)) < len(ground))


def follow(before: U8, after: U8, xy: F32, guess: F32) -> tuple[F32, Bool]:
    """Where points (n, 2) px of one small picture lie in the next, looked for at ``guess``.

    Returns:
        (n, 2) float32 px, and (n,) bool whether each was found.
    """
    if not len(xy):
        return xy, np.zeros(0, np.bool_)
    lk, status, error = cv2.calcOpticalFlowPyrLK(
        before, after, xy, guess.copy(), winSize=(_WINDOW_PX, _WINDOW_PX), maxLevel=_LEVELS,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.02),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW, minEigThreshold=1e-4,
    )  # fmt: skip
    found: F32 = np.asarray(lk, np.float32)
    inside = (found >= 1).all(axis=1) & (found < (after.shape[1] - 1, after.shape[0] - 1)).all(1)
    return found, (np.ravel(status) == 1) & (np.ravel(error) < _ERROR) & inside
