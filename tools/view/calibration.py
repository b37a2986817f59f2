"""A calibration as a picture: straight lines before and after, and the errors of the corners."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from data.calibration import Calibration
from data.chessboard import View
from data.types import U8
from tools.view.draw import (
    AMBER,
    DIM,
    DRIVABLE,
    INK,
    LANE,
    PANEL,
    STOP,
    WHITE,
    Colour,
    elided,
    put_text,
    text_width_px,
)

F64 = NDArray[np.float64]

_PANEL_WIDTH_PX = 960
_TITLE_PX = 40
_MARGIN_PX = 8
_ARROW = 40  # errors are drawn this many times their size
_SMALL_PX, _LARGE_PX = 0.5, 1.0  # limits of the arrows' colours
_SHIFT = 4  # bits of sub-pixel of OpenCV's drawing


def bows_px(calibration: Calibration, undistorted: bool, view: View | None = None) -> F64:
    """How far rows and columns of found corners depart from their best straight lines.

    Returns the largest distance (px) in each row and column of ``view``, or of all views; the
    corners are taken as photographed or with the distortion taken out. A bent board keeps some.
    """
    out = []
    for one in calibration.views if view is None else (view,):
        corners = _straightened(one, calibration) if undistorted else one.corners_px
        for line in [*corners, *corners.transpose(1, 0, 2)]:
            centred = line - line.mean(axis=0)
            normal = np.linalg.svd(centred, full_matrices=False)[2][1]
            out.append(float(np.abs(centred @ normal).max()))
    return np.array(out)


def _straightened(view: View, calibration: Calibration) -> F64:
    """A view's corners (rows, cols, 2) in the undistorted picture."""
    fit = calibration.fit
    flat = cv2.undistortPoints(
        view.corners_px.reshape(-1, 1, 2), fit.matrix, fit.distortion, P=fit.matrix
    )
    return np.asarray(flat, np.float64).reshape(view.corners_px.shape)


def draw_calibration(calibration: Calibration, read: Callable[[str], U8]) -> U8:
    """Four panels (h, w, 3) uint8 BGR; ``read`` gives a photograph by its name.

    Above: the photograph with most of the board and its undistorted form, straight lines laid
    through the ends of the board's rows and columns. Below: the found and re-projected corners
    of the photograph with the largest error, and the errors of all over the picture.
    """
    fit, views = calibration.fit, calibration.views
    # the board that reaches over most of the picture shows distortion best
    wide = int(np.argmax([np.prod(np.ptp(v.corners_px, axis=(0, 1))) for v in views]))
    worst = int(np.argmax([(e**2).mean() for e in fit.errors_px]))
    photo = read(views[wide].name)
    plain = np.asarray(cv2.undistort(photo, fit.matrix, fit.distortion), np.uint8)
    scale = _PANEL_WIDTH_PX / photo.shape[1]
    bow = [bows_px(calibration, u, views[wide]).max() for u in (False, True)]
    dark = np.full((round(photo.shape[0] * scale), _PANEL_WIDTH_PX, 3), INK, np.uint8)
    panels = [
        (_lined(_resized(photo, scale), views[wide].corners_px, scale),
         f"{views[wide].name}: rows bow up to {bow[0]:.1f} px"),
        (_lined(_resized(plain, scale), _straightened(views[wide], calibration), scale),
         f"Undistorted ({calibration.model}): up to {bow[1]:.1f} px"),
        (_close(_resized(read(views[worst].name), scale), calibration, worst, scale),
         f"Largest error, {views[worst].name}: found (rings), re-projected (crosses), "
         f"difference x {_ARROW}"),
        (_all(dark, calibration, scale),
         f"{len(views)} photographs, differences x {_ARROW}: "
         f"RMS {fit.rms_px:.2f} px, held out {calibration.chosen_px:.2f} px"),
    ]  # fmt: skip
    titled = [_titled(image, title) for image, title in panels]
    gap = np.full((titled[0].shape[0], _MARGIN_PX, 3), PANEL, np.uint8)
    return np.vstack([np.hstack([titled[i], gap, titled[i + 1]]) for i in (0, 2)])


def _resized(image: U8, scale: float) -> U8:
    size = _PANEL_WIDTH_PX, round(image.shape[0] * scale)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)


def _titled(image: U8, title: str) -> U8:
    strip = np.full((_TITLE_PX, image.shape[1], 3), PANEL, np.uint8)
    put_text(strip, elided(title, 20, image.shape[1] - 24), 12, _TITLE_PX // 2, 20, WHITE)
    return np.vstack([strip, image])


def _point(at_px: F64, scale: float) -> tuple[int, int]:
    """A pixel of the photograph as OpenCV's fixed-point place in a panel."""
    u, v = ((np.asarray(at_px) + 0.5) * scale - 0.5) * (1 << _SHIFT)
    return round(float(u)), round(float(v))


def _line(image: U8, a: F64, b: F64, scale: float, colour: Colour, thick: int = 1) -> None:
    ends = _point(a, scale), _point(b, scale)
    cv2.line(image, *ends, colour, thick, cv2.LINE_AA, _SHIFT)


def _lined(image: U8, corners: F64, scale: float) -> U8:
    """Straight lines through the first and last corner of every row and column."""
    for line in [*corners, *corners.transpose(1, 0, 2)]:
        reach = 0.15 * (line[-1] - line[0])
        _line(image, line[0] - reach, line[-1] + reach, scale, STOP, 2)
    for corner in corners.reshape(-1, 2):
        cv2.circle(image, _point(corner, scale), 3 << _SHIFT, LANE, -1, cv2.LINE_AA, _SHIFT)
    return image


def _arrows(image: U8, calibration: Calibration, index: int, scale: float, thick: int) -> None:
    corners = calibration.views[index].corners_px.reshape(-1, 2)
    for corner, error in zip(corners, calibration.fit.errors_px[index].reshape(-1, 2), strict=True):
        size = float(np.hypot(*error))
        colour = DRIVABLE if size < _SMALL_PX else AMBER if size < _LARGE_PX else STOP
        tail, tip = (_point(p, scale) for p in (corner, corner + _ARROW * error))
        # arrows cannot be placed between pixels
        a, b = (tail[0] >> _SHIFT, tail[1] >> _SHIFT), (tip[0] >> _SHIFT, tip[1] >> _SHIFT)
        cv2.arrowedLine(image, a, b, colour, thick, cv2.LINE_AA, tipLength=0.25)


def _close(image: U8, calibration: Calibration, index: int, scale: float) -> U8:
    corners = calibration.views[index].corners_px.reshape(-1, 2)
    for corner, error in zip(corners, calibration.fit.errors_px[index].reshape(-1, 2), strict=True):
        cv2.circle(image, _point(corner, scale), 5 << _SHIFT, LANE, 1, cv2.LINE_AA, _SHIFT)
        _cross(image, corner + error, scale)
    _arrows(image, calibration, index, scale, 2)
    return image


def _all(image: U8, calibration: Calibration, scale: float) -> U8:
    for index in range(len(calibration.views)):
        _arrows(image, calibration, index, scale, 1)
    left = 12
    for text, colour in (
        (f"below {_SMALL_PX} px", DRIVABLE), (f"below {_LARGE_PX:g} px", AMBER),
        ("above", STOP), ("frame: the picture", DIM),
    ):  # fmt: skip
        put_text(image, text, left, 16, 15, colour)
        left += text_width_px(text, 15) + 14
    cv2.rectangle(image, (0, 0), (image.shape[1] - 1, image.shape[0] - 1), DIM, 1)
    return image


def _cross(image: U8, at_px: F64, scale: float) -> None:
    for way in (np.array([1.0, 1.0]), np.array([1.0, -1.0])):
        arm = 3 / scale * way
        _line(image, at_px - arm, at_px + arm, scale, STOP, 1)
