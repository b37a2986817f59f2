"""Intrinsics of a camera from photographs of a chessboard.

Zhang's method (2000) as OpenCV has it. Two choices are made by the error on photographs held out
of the fit: the distortion model, and whether the board is flat or a bent sheet whose shape is
fitted as well (Strobl and Hirzinger 2011). Photographs that fit far worse than the others are
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from data.chessboard import Board, View
from data.errors import InputError
from data.types import F64

_K1, _K2, _K3 = cv2.CALIB_FIX_K1, cv2.CALIB_FIX_K2, cv2.CALIB_FIX_K3
_NO_TANGENT = cv2.CALIB_ZERO_TANGENT_DIST

# name -> flags of OpenCV; the simplest first
MODELS: dict[str, int] = {
    "none": _K1 | _K2 | _K3 | _NO_TANGENT,
    "k1 k2": _K3 | _NO_TANGENT,
    "k1 k2 p1 p2": _K3,
    "k1 k2 p1 p2 k3": 0,
}
_COEFFICIENTS = {"none": 0, "k1 k2": 4, "k1 k2 p1 p2": 4, "k1 k2 p1 p2 k3": 5}
PARAMETERS = ("fx_px", "fy_px", "cx_px", "cy_px", "k1", "k2", "p1", "p2", "k3")

MIN_PHOTOS = 3
MAX_PHOTOS = 60  # more add time and nothing else
FOLDS = 4
_BENT_FROM = 8  # whole boards needed to fit the board's shape as well
_ENOUGH = 1.02  # a simpler distortion model is kept within this share of the least error
_BENT_GAIN = 0.9  # a fitted shape must lower the held-out error below this share
_OUTLIER, _OUTLIER_PX = 3.0, 0.5  # times the median error of the photographs, and at least
_CORNER = 12.0  # a single corner, in median errors


@dataclass(frozen=True, eq=False)
class Fit:
    """A camera fitted to views.

    Attributes:
        matrix: (3, 3) intrinsics in px; distortion: (5,) k1 k2 p1 p2 k3.
        std: (9,) standard deviations of ``PARAMETERS``, 0 of one that is held at 0.
        board_points: (rows, cols, 3) corners of the whole board, in squares.
        errors_px: of each view (rows, cols, 2), re-projected less found corners.
    """

    matrix: F64
    distortion: F64
    std: F64
    board_points: F64
    errors_px: tuple[F64, ...]

    @property
    def rms_px(self) -> float:
        """Root of the mean squared distance of re-projected from found corners."""
        return _rms(self.errors_px)


@dataclass(frozen=True, eq=False)
class Calibration:
    """A chosen fit, and what it was chosen from.

    Attributes:
        fit: to all of ``views``; model: one of ``MODELS``; bent: whether the board's shape
            was fitted.
        held_out_px: RMS error on held-out photographs by model (flat board), and under
            'MODEL, bent board' where that was tried; NaN where no fit was possible.
        chosen_px: the held-out error of what was chosen.
        rejected: name -> reason of views left out.
    """

    fit: Fit
    model: str
    bent: bool
    views: tuple[View, ...]
    held_out_px: dict[str, float]
    chosen_px: float
    rejected: dict[str, str]

    @property
    def distortion(self) -> F64:
        """Coefficients as a ``Camera`` takes them: (0,), (4,) or (5,)."""
        return self.fit.distortion[: _COEFFICIENTS[self.model]]


Fitter = Callable[[Sequence[View]], Fit]


def calibrate(
    views: Sequence[View],
    size: tuple[int, int],
    board: Board,
    progress: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Fit a camera of ``size`` (width, height) px to at least three views of ``board``.

    Raises:
        InputError: too few views, or views from which no camera follows.
    """
    views, rejected = _thinned(views)
    _check_enough(views, rejected)
    progress("outliers")
    views = _without_outliers(views, _flat(size, board, MODELS["k1 k2 p1 p2 k3"]), rejected)
    held_out = {}
    for name, flags in MODELS.items():
        progress(f"distortion {name}")
        held_out[name] = held_out_px(views, _flat(size, board, flags), size)
    least = np.nanmin([*held_out.values(), np.inf])
    # an error of no model, with few photographs, says nothing: the plain radial one is taken
    fitting = [n for n in MODELS if held_out[n] <= _ENOUGH * least]
    model = fitting[0] if np.isfinite(least) and fitting else "k1 k2"
    fitter, chosen, bent = _flat(size, board, MODELS[model]), held_out[model], False
    if sum(v.shape == (board.rows, board.cols) for v in views) >= _BENT_FROM:
        progress("shape of the board")
        shaped = _bent(size, board, MODELS[model])
        error = held_out[f"{model}, bent board"] = held_out_px(views, shaped, size)
        if error < _BENT_GAIN * chosen:
            fitter, chosen, bent = shaped, error, True
    progress("final fit")
    kept = _without_outliers(views, fitter, rejected)
    if len(kept) < len(views):
        chosen = held_out_px(kept, fitter, size)
    fit = _checked(fitter, kept)
    return Calibration(fit, model, bent, tuple(kept), held_out, chosen, rejected)


def _thinned(views: Sequence[View]) -> tuple[list[View], dict[str, str]]:
    if len(views) <= MAX_PHOTOS:
        return list(views), {}
    keep = set(np.linspace(0, len(views) - 1, MAX_PHOTOS).round().astype(int).tolist())
    reason = f"{MAX_PHOTOS} photographs are enough, taken evenly from {len(views)}"
    left = {v.name: reason for i, v in enumerate(views) if i not in keep}
    return [v for i, v in enumerate(views) if i in keep], left


def _check_enough(views: Sequence[View], rejected: dict[str, str]) -> None:
    if len(views) < MIN_PHOTOS:
        why = f" ({len(rejected)} left out: {next(iter(rejected.values()))})" if rejected else ""
        raise InputError(
            f"usable photographs of the board: {len(views)}{why}; at least {MIN_PHOTOS} are "
            "needed, 10 to 20 are good: take more, tilted and near every border of the picture"
        )


def _checked(fitter: Fitter, views: Sequence[View]) -> Fit:
    try:
        fit = fitter(views)
    except cv2.error:
        fit = None
    if fit is None or not np.isfinite(fit.matrix).all() or not np.isfinite(fit.distortion).all():
        raise InputError(
            f"no camera follows from these {len(views)} photographs; take some with the board "
            "tilted to different sides, and check --board"
        )
    return fit


def _without_outliers(
    views: Sequence[View], fitter: Fitter, rejected: dict[str, str]
) -> list[View]:
    """Leave out, the worst first, what fits far worse than the rest; at most a third."""
    kept = list(views)
    for _ in range(len(views) // 3):
        fit = _checked(fitter, kept)
        rms = np.array([_rms([e]) for e in fit.errors_px])
        corner = np.array([np.linalg.norm(e, axis=-1).max() for e in fit.errors_px])
        usual = max(float(np.median(rms)), _OUTLIER_PX / _OUTLIER)
        excess = np.maximum(rms / (_OUTLIER * usual), corner / (_CORNER * usual))
        worst = int(excess.argmax())
        if excess[worst] <= 1:
            break
        rejected[kept[worst].name] = (
            f"re-projection error {rms[worst]:.2f} px, largest {corner[worst]:.1f} px; "
            f"the median of the photographs is {np.median(rms):.2f} px"
        )
        del kept[worst]
        _check_enough(kept, rejected)
    return kept


def held_out_px(views: Sequence[View], fitter: Fitter, size: tuple[int, int]) -> float:
    """RMS error (px) on photographs whose fold took no part in the fit but for their pose.

    Every ``FOLDS``-th photograph makes a fold (with fewer photographs, each its own). NaN if
    some fold allows no fit, or one whose distortion folds the picture over itself.
    """
    folds = min(FOLDS, len(views))
    errors: list[F64] = []
    for fold in range(folds):
        rest = [v for i, v in enumerate(views) if i % folds != fold]
        try:
            fit = fitter(rest)
            if folds_over(fit, size):
                return float("nan")
            errors += [_posed(v, fit)[1] for i, v in enumerate(views) if i % folds == fold]
        except cv2.error:
            return float("nan")
    return _rms(errors)


def folds_over(fit: Fit, size: tuple[int, int]) -> bool:
    """Whether undistorting the picture's border and distorting it again leads elsewhere."""
    across, down = np.linspace(0, size[0] - 1, 33), np.linspace(0, size[1] - 1, 33)
    border = [np.column_stack([across, np.full(33, v)]) for v in (0.0, size[1] - 1)]
    border += [np.column_stack([np.full(33, u), down]) for u in (0.0, size[0] - 1)]
    uv = np.concatenate(border)[:, None]
    rays = cv2.undistortPoints(uv, fit.matrix, fit.distortion)
    points = cv2.convertPointsToHomogeneous(rays)
    back, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), fit.matrix, fit.distortion)
    off = np.linalg.norm(np.asarray(back).reshape(-1, 2) - uv[:, 0], axis=-1)
    return not bool((off < 1.0).all())


def _flat(size: tuple[int, int], board: Board, flags: int) -> Fitter:
    points = board.flat_points()

    def fitter(views: Sequence[View]) -> Fit:
        return _fit(views, [points[: v.shape[0], : v.shape[1]] for v in views], points, size, flags)

    return fitter


def _bent(size: tuple[int, int], board: Board, flags: int) -> Fitter:
    """A fit in two steps: the board's shape by whole boards, then the camera by all views."""
    flat = board.flat_points()

    def fitter(views: Sequence[View]) -> Fit:
        whole = [v for v in views if v.shape == flat.shape[:2]]
        objects = [flat.reshape(-1, 1, 3).astype(np.float32)] * len(whole)
        corners = [v.corners_px.reshape(-1, 1, 2).astype(np.float32) for v in whole]
        # its third fixed point is the end of the first row; it sets scale and place of the shape
        found = cv2.calibrateCameraRO(
            objects, corners, size, board.cols - 1, np.eye(3), np.zeros(5), flags=flags
        )
        shape = np.asarray(found[5], np.float64).reshape(flat.shape)
        matrix, lens = (np.asarray(v, np.float64) for v in found[1:3])
        first = Fit(matrix, lens.ravel()[:5], np.zeros(9), shape, ())
        places = [_posed(v, first)[0] for v in views]
        return _fit(views, places, shape, size, flags, first)

    return fitter


def _fit(
    views: Sequence[View],
    places: Sequence[F64],
    board_points: F64,
    size: tuple[int, int],
    flags: int,
    guess: Fit | None = None,
) -> Fit:
    """Fit to views whose corners are at ``places``, each (rows, cols, 3) in squares."""
    objects = [p.reshape(-1, 1, 3).astype(np.float32) for p in places]
    corners = [v.corners_px.reshape(-1, 1, 2).astype(np.float32) for v in views]
    start, lens = np.eye(3), np.zeros(5)  # not looked at without a guess
    if guess is not None:
        flags |= cv2.CALIB_USE_INTRINSIC_GUESS
        start, lens = guess.matrix.copy(), guess.distortion.copy()
    _, found, curved, turns, moves, std, _, _ = cv2.calibrateCameraExtended(
        objects, corners, size, start, lens, flags=flags
    )
    matrix = np.asarray(found, np.float64)
    distortion = np.ravel(np.asarray(curved, np.float64))[:5]
    errors = []
    for view, place, turn, move in zip(views, places, turns, moves, strict=True):
        uv, _ = cv2.projectPoints(place.reshape(-1, 3), turn, move, matrix, distortion)
        errors.append(np.asarray(uv, np.float64).reshape(view.corners_px.shape) - view.corners_px)
    spread = np.ravel(np.asarray(std, np.float64))[:9]
    return Fit(matrix, distortion, spread, board_points, tuple(errors))


def _posed(view: View, fit: Fit) -> tuple[F64, F64]:
    """Points (rows, cols, 3) of the board that a view shows, and its errors (rows, cols, 2) px.

    Only its pose is fitted; of a board seen in part, the block that fits best is taken.
    """
    uv = view.corners_px.reshape(-1, 2)
    tried = [(p, _pose_error(p, uv, fit)) for p in _blocks(view, fit.board_points)]
    points, error = min(tried, key=lambda t: _rms([t[1]]))
    return points.reshape(*view.shape, 3), error.reshape(*view.shape, 2)


def _blocks(view: View, board_points: F64) -> list[F64]:
    """What a view may show: (n, 3) points of each block of its size, either way round."""
    rows, cols = view.shape
    whole = board_points.shape[:2]
    if view.shape == whole:
        return [board_points.reshape(-1, 3)]
    blocks = [
        np.ascontiguousarray(board_points[i : i + rows, j : j + cols]).reshape(-1, 3)
        for i in range(whole[0] - rows + 1)
        for j in range(whole[1] - cols + 1)
    ]
    return blocks + [b[::-1].copy() for b in blocks]


def _pose_error(points: F64, uv: F64, fit: Fit) -> F64:
    _, turn, move = cv2.solvePnP(points, uv, fit.matrix, fit.distortion)
    turn, move = cv2.solvePnPRefineLM(points, uv, fit.matrix, fit.distortion, turn, move)
    seen, _ = cv2.projectPoints(points, turn, move, fit.matrix, fit.distortion)
    return np.asarray(seen, np.float64).reshape(-1, 2) - uv


def _rms(errors: Sequence[F64]) -> float:
    """Root mean square length of vectors (..., 2)."""
    flat = np.concatenate([e.reshape(-1, 2) for e in errors])
    return float(np.sqrt((flat**2).sum(axis=1).mean()))
