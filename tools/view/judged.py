"""A labelled picture and its prediction, drawn with what is right, wrong and missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from data.types import F32, U8
from tools.view.draw import (
    CLASS_LABELS,
    DRIVABLE,
    FAULT,
    LANE,
    WHITE,
    Box,
    Colour,
    dashed_rectangle,
    ink_on,
    overlap,
    put_text,
    text_width_px,
    tint,
)

RIGHT, WRONG, IGNORED = (94, 197, 34), FAULT, (180, 180, 180)
_WIDTH_PX = 720
_TEXT_PX = 12


@dataclass(frozen=True, eq=False)
class Drawn:
    """A box (4,) px of the original picture with its look; ``text`` where there is room for it."""

    xyxy: F32
    colour: Colour
    text: str = ""
    dashed: bool = False


def draw_judged(
    image: U8, boxes: Sequence[Drawn], drivable: U8 | None, lane: U8 | None, title: str
) -> U8:
    """The picture at 720 px width with its surfaces tinted where their masks (h, w) are not 0 (of a
    label give 1 alone), boxes, and the texts that cover no other."""
    scale = _WIDTH_PX / image.shape[1]
    size = (_WIDTH_PX, max(1, round(image.shape[0] * scale)))
    out = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    for mask, colour, alpha in ((drivable, DRIVABLE, 0.3), (lane, LANE, 0.7)):
        if mask is not None:
            tint(out, _shrunk(mask, size), colour, alpha)
    for b in boxes:
        _draw_box(out, b, scale)
    taken = [_tag(out, title, (0, 0), WHITE, [])]
    for b in sorted(boxes, key=lambda b: float(b.xyxy[1] - b.xyxy[3])):  # tall ones first
        if b.text:
            left, top = round(float(b.xyxy[0]) * scale), round(float(b.xyxy[1]) * scale)
            taken.append(_tag(out, b.text, (left, top - _TEXT_PX - 4), b.colour, taken))
    return out


def _shrunk(mask: U8, size: tuple[int, int]) -> U8:
    """The mask at another size; lines a pixel wide do not vanish."""
    full = (mask > 0).astype(np.uint8) * np.uint8(255)
    small = np.asarray(cv2.resize(full, size, interpolation=cv2.INTER_AREA))
    return (small > 80).astype(np.uint8)


def _draw_box(out: U8, b: Drawn, scale: float) -> None:
    left, top, right, bottom = (round(float(v) * scale) for v in b.xyxy)
    thick = 1 if min(right - left, bottom - top) < 16 else 2
    if b.dashed:
        dashed_rectangle(out, (left, top, right, bottom), b.colour, thick)
    else:
        cv2.rectangle(out, (left, top), (right, bottom), b.colour, thick)


def _tag(out: U8, text: str, at: tuple[int, int], colour: Colour, taken: Sequence[Box]) -> Box:
    """Write a text on a ground of ``colour`` unless it would cover one of ``taken``; its place."""
    width, height = text_width_px(text, _TEXT_PX) + 8, _TEXT_PX + 4
    left, top = max(0, min(at[0], out.shape[1] - width)), max(0, at[1])
    box = (left, top, left + width, top + height)
    if any(overlap(box, other) for other in taken):
        return (0, 0, 0, 0)
    cv2.rectangle(out, (left, top), (left + width, top + height), colour, -1)
    put_text(out, text, left + 4, top + height // 2, _TEXT_PX, ink_on(colour))
    return box


def class_word(kind: int) -> str:
    """A class's short name."""
    return CLASS_LABELS[kind]
