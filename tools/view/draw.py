"""Colours, text and blending shared by the views. All colours are BGR."""

from __future__ import annotations

from functools import cache, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from data.types import U8, PlanStatus, Surfaces

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]  # left, top, right, bottom in px; right and bottom exclusive


def _rgb(code: str) -> Colour:
    return int(code[4:6], 16), int(code[2:4], 16), int(code[0:2], 16)


WHITE, INK, PANEL = _rgb("F4F6F8"), _rgb("14171C"), _rgb("1B1F26")
DIM = _rgb("A4ADB8")
DRIVABLE, LANE = _rgb("22C55E"), _rgb("FFD60A")
PATH, SLOW, STOP = _rgb("2F8DFF"), _rgb("B04DFF"), _rgb("F0413E")  # the ribbon, by speed
AMBER, FAULT = _rgb("FFB020"), _rgb("FF6966")
LATIN_1 = frozenset(map(chr, range(256)))
_AREA_SHARE, _LINE_SHARE = 0.30, 0.80  # of the colour
# By class id: vehicle, person, two_wheeler, traffic_light, traffic_sign.
CLASS_COLOURS = tuple(_rgb(c) for c in ("FF9F1C", "FF4D7D", "C77DFF", "2EE6D6", "DCE3EA"))
CLASS_LABELS = ("vehicle", "person", "two-wheeler", "light", "sign")
STATUS_COLOURS = {
    PlanStatus.OK: _rgb("2FBF71"),
    PlanStatus.BLOCKED: AMBER,
    PlanStatus.NO_SURFACE: STOP,
    PlanStatus.STALE: STOP,
}


def class_style(class_id: int) -> tuple[Colour, str]:
    """Colour and short label of a class."""
    if 0 <= class_id < len(CLASS_COLOURS):
        return CLASS_COLOURS[class_id], CLASS_LABELS[class_id]
    return WHITE, "object"


@cache
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")


def text_width_px(text: str, size_px: int, bold: bool = False) -> int:
    """Advance width of a line of text."""
    advances = _advances(size_px, bold)
    try:
        return sum(map(advances.__getitem__, text)) + (text != "")
    except KeyError:
        return _measured_px(text, size_px, bold)


@lru_cache(maxsize=4096)
def _measured_px(text: str, size_px: int, bold: bool) -> int:
    weight = 700 if bold else 500
    box = cv2.getTextSize((1 << 14, 1 << 10), text, (0, 0), _font(), size_px, weight)
    return int(box[2])


class _Advances(dict[str, int]):
    """How far each character of Latin-1 moves on; OpenCV moves by whole pixels and without regard
    to neighbours, and counts a pixel more for a whole line."""

    def __init__(self, size_px: int, bold: bool) -> None:
        self._style = size_px, bold

    def __missing__(self, character: str) -> int:
        if not (character in LATIN_1 and character.isprintable()):
            raise KeyError(character)
        one, two = (_measured_px(n * character, *self._style) for n in (1, 2))
        self[character] = two - one
        return two - one


@lru_cache(maxsize=64)
def _advances(size_px: int, bold: bool) -> _Advances:
    return _Advances(size_px, bold)


def put_text(
    image: U8, text: str, left_px: int, middle_px: int, size_px: int, colour: Colour,
    bold: bool = False,
) -> None:  # fmt: skip
    """Write one line, its capitals centred on row ``middle_px``."""
    baseline = middle_px + round(0.36 * size_px)
    cv2.putText(image, text, (left_px, baseline), colour, _font(), size_px, 700 if bold else 500)


def elided(text: str, size_px: int, width_px: int, bold: bool = False) -> str:
    """``text``, shortened with an ellipsis to fit ``width_px``; '' if not even that fits."""
    if text_width_px(text, size_px, bold) <= width_px:
        return text
    low, high = 0, len(text)  # the longest beginning that fits, by bisection
    while low < high:
        middle = (low + high + 1) // 2
        if text_width_px(text[:middle].rstrip() + "…", size_px, bold) <= width_px:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…" if low else ""


def ink_on(colour: Colour) -> Colour:
    """Dark or light text, whichever reads better on ``colour``."""
    blue, green, red = colour
    return INK if 0.114 * blue + 0.587 * green + 0.299 * red > 125 else WHITE


@lru_cache(maxsize=64)
def tint_table(colour: Colour, alpha: float) -> U8:
    levels = np.arange(256)[None, :, None] * (1 - alpha) + alpha * np.array(colour)
    return levels.round().astype(np.uint8)


def tint(image: U8, mask: NDArray[np.uint8], colour: Colour, alpha: float) -> None:
    """Blend ``colour`` into ``image`` (h, w, 3) in place where ``mask`` (h, w) is not 0."""
    from tools.view.kernels import look_up_where

    run(look_up_where, image, mask, tint_table(colour, alpha)[0])


def in_rows(image: U8) -> U8:
    """The same picture (h, w, 3) as (h, 3 w).

    Raises:
        ValueError: it is not in one piece of memory.
    """
    if not image.flags.c_contiguous:
        raise ValueError(f"expected a picture in one piece, given a part {image.shape} of another")
    return image.reshape(len(image), -1)


def draw_surfaces(picture: U8, out: U8, surfaces: Surfaces) -> None:
    """Copy a picture (h, w, 3) into ``out``, where the drivable area and lane lines are coloured.

    Raises:
        ValueError: a picture is not in one piece of memory, or sizes differ.
    """
    from tools.view.kernels import paint_surfaces

    if picture.shape != out.shape:
        raise ValueError(f"draw_surfaces: pictures of two sizes, {picture.shape} and {out.shape}")
    rows = in_rows(picture), in_rows(out)
    maps = [np.ascontiguousarray(m) for m in (surfaces.drivable, surfaces.lane)]
    thin = max(1, round(len(out) / 540))
    colours, shares = np.array([DRIVABLE, LANE], np.uint8), np.array([_AREA_SHARE, _LINE_SHARE])
    run(paint_surfaces, *rows, *maps, 0.5, *map(float, surfaces.scale), colours, shares, thin)


def compile_kernels() -> None:
    """Compile or load the inner loops."""
    from tools.view.kernels import paint_cells, to_yuv420

    picture, mask = np.zeros((2, 4, 3), np.uint8), np.ones((2, 4), np.uint8)
    tint(picture, mask, INK, 0.5)
    tint(picture[:, :2], mask[:, :2].copy(), INK, 0.5)  # and of a part of a picture
    road = np.ones((2, 4), np.float32)
    draw_surfaces(picture.copy(), picture, Surfaces(road, road, (1.0, 1.0)))
    run(paint_cells, picture, mask, picture[0], 0.0, 0.0, 1.0)
    run(to_yuv420, picture.reshape(2, -1), mask, mask[:1, :2].copy(), mask[:1, :2].copy())


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def dashed_rectangle(image: U8, box: Box, colour: Colour, thickness_px: int) -> None:
    """An outline of dashes, for what is remembered and not seen."""
    left, top, right, bottom = box
    dash = 5 * thickness_px
    for at in range(left, right, 2 * dash):
        end = min(at + dash, right)
        cv2.line(image, (at, top), (end, top), colour, thickness_px)
        cv2.line(image, (at, bottom), (end, bottom), colour, thickness_px)
    for at in range(top, bottom, 2 * dash):
        end = min(at + dash, bottom)
        cv2.line(image, (left, at), (left, end), colour, thickness_px)
        cv2.line(image, (right, at), (right, end), colour, thickness_px)
