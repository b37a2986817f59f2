"""Finding a chessboard's inner corners in a photograph, whole or in part."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from data.errors import InputError
from data.types import F64, U8

_SEARCH_SIDE_PX = 1600  # larger photographs are searched in a reduced copy
_MAX_HIDDEN = 2  # rows and columns, together, that may be out of the picture


@dataclass(frozen=True)
class Board:
    """A chessboard: inner corners along its two sides, and the side of a square in metres."""

    cols: int
    rows: int
    square_m: float = 0.025

    def __post_init__(self) -> None:
        if not (3 <= self.cols <= 100 and 3 <= self.rows <= 100):
            raise InputError(
                f"--board {self.cols}x{self.rows}: expected inner corners from 3x3 to 100x100 "
                "(a board of 10x7 squares has 9x6)"
            )
        if not 0 < self.square_m < 10:
            raise InputError(
                f"--square {self.square_m}: expected the side of a square in metres, e.g. 0.025"
            )

    def flat_points(self) -> F64:
        """(rows, cols, 3) corners on the plane z = 0, in squares."""
        x, y = np.meshgrid(np.arange(self.cols), np.arange(self.rows))
        return np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class View:
    """Corners found in a photograph.

    Attributes:
        name: of the photograph.
        corners_px: (rows, cols, 2) float64; of a board seen in part a smaller block of it.
    """

    name: str
    corners_px: F64

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of what was found."""
        return self.corners_px.shape[0], self.corners_px.shape[1]

    @property
    def count(self) -> int:
        return self.shape[0] * self.shape[1]


def find_board(name: str, image: U8, board: Board) -> View | None:
    """Corners of ``board`` in a photograph (h, w, 3) uint8 BGR, or None.

    The whole board is looked for by the sector-based detector (Duda and Frese 2018), then by
    the older one; where neither finds it, blocks with one or two rows or columns less, as
    when a border of the picture cuts the board. Places are then refined to sub-pixels in the
    full picture. Corners are numbered alike in all photographs wherever the board's colours tell
    its ends apart (one side odd, the other even).
    """
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    reduction = max(1.0, max(grey.shape) / _SEARCH_SIDE_PX)
    small = grey
    if reduction > 1:
        size = round(grey.shape[1] / reduction), round(grey.shape[0] / reduction)
        small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    found = _search(small, board)
    if found is None:
        return None
    scale = np.array([grey.shape[1] / small.shape[1], grey.shape[0] / small.shape[0]])
    corners = (found + 0.5) * scale - 0.5
    return View(name, _ordered(_refined(grey, corners, reduction), grey))


def _search(grey: U8, board: Board) -> F64 | None:
    """(rows, cols, 2) corners of the board or of the largest block that is found."""
    normal = cv2.CALIB_CB_NORMALIZE_IMAGE
    for flags in (normal, normal | cv2.CALIB_CB_EXHAUSTIVE):
        found = _sectors(grey, board.cols, board.rows, flags)
        if found is not None:
            return found
    older = cv2.CALIB_CB_ADAPTIVE_THRESH | normal | cv2.CALIB_CB_FAST_CHECK
    ok, corners = cv2.findChessboardCorners(grey, (board.cols, board.rows), flags=older)
    if ok:
        return np.asarray(corners, np.float64).reshape(board.rows, board.cols, 2)
    for cols, rows in _blocks(board):
        found = _sectors(grey, cols, rows, normal)
        if found is not None:
            return found
    return None


def _sectors(grey: U8, cols: int, rows: int, flags: int) -> F64 | None:
    ok, corners = cv2.findChessboardCornersSB(grey, (cols, rows), flags=flags)
    return np.asarray(corners, np.float64).reshape(rows, cols, 2) if ok else None


def _blocks(board: Board) -> list[tuple[int, int]]:
    """(cols, rows) of the parts worth looking for, the largest first."""
    less = range(_MAX_HIDDEN + 1)
    sizes = [(board.cols - i, board.rows - j) for i in less for j in less if 0 < i + j <= 2]
    return sorted((s for s in sizes if min(s) >= 4), key=lambda s: (-s[0] * s[1], s))


def _refined(grey: U8, corners: F64, reduction: float) -> F64:
    """Sub-pixel places, from a window that holds no part of a neighbouring corner."""
    along = np.linalg.norm(np.diff(corners, axis=1), axis=-1).min()
    across = np.linalg.norm(np.diff(corners, axis=0), axis=-1).min()
    half = int(np.clip(0.3 * min(along, across), 2, 5 * reduction))
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 50, 1e-3)
    start = corners.reshape(-1, 1, 2).astype(np.float32)
    fine = cv2.cornerSubPix(grey, start, (half, half), (-1, -1), stop)
    return np.asarray(fine, np.float64).reshape(corners.shape)


def _ordered(corners: F64, grey: U8) -> F64:
    """Number the corners so that the grid is not mirrored and its first square is dark."""
    right, down = corners[0, -1] - corners[0, 0], corners[-1, 0] - corners[0, 0]
    if right[0] * down[1] - right[1] * down[0] < 0:
        corners = corners[:, ::-1]
    first, second = (corners[0:2, i : i + 2].mean(axis=(0, 1)) for i in (0, 1))
    level = [float(cv2.getRectSubPix(grey, (3, 3), tuple(p)).mean()) for p in (first, second)]
    if level[0] > level[1]:  # turns nothing around where both ends look alike
        turned = corners[::-1, ::-1]
        rows, cols = corners.shape[:2]
        corners = turned if (rows + cols) % 2 else corners
    return np.ascontiguousarray(corners)
