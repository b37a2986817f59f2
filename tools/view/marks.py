"""Many small marks on a picture in one call each: box outlines, labels on chips, texts.

The pixels are those of ``put_text``, ``dashed_rectangle`` and OpenCV's rectangles, in a third of
their time. All colours are BGR.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from data.types import U8
from tools.view.draw import INK, WHITE, Box, Colour, put_text, text_width_px, tint_table

_CHIP_SHARE = 0.75  # of ``INK`` in the ground of a label


class Text(NamedTuple):
    """A line of text as ``put_text`` takes it."""

    text: str
    left_px: int
    middle_px: int
    size_px: int
    colour: Colour
    bold: bool = False


class Label(NamedTuple):
    """Text that stands on a dark chip at what it names."""

    text: str
    size_px: int
    colour: Colour


class _Cover(NamedTuple):
    """How much of each pixel a text covers: ``share`` of 255, all rows one behind the other, from
    (``left``, ``top``) px of where its line begins and its middle row."""

    share: U8
    left: int
    top: int
    width: int
    height: int


@lru_cache(maxsize=1024)
def _cover(text: str, size_px: int, bold: bool) -> _Cover:
    edge = size_px  # glyphs reach a little beyond their advance
    wide = text_width_px(text, size_px, bold) + 2 * edge
    drawn = np.zeros((3 * size_px, wide), np.uint8)
    put_text(drawn, text, edge, 3 * size_px // 2, size_px, (255, 255, 255), bold)
    rows, columns = (np.flatnonzero(drawn.any(axis)) for axis in (1, 0))
    if not len(rows):
        return _Cover(drawn[:0].reshape(-1), 0, 0, 0, 0)
    part = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    left, top = int(columns[0]) - edge, int(rows[0]) - 3 * size_px // 2
    return _Cover(part.reshape(-1), left, top, part.shape[1], part.shape[0])


def put_texts(image: U8, texts: Sequence[Text]) -> None:
    """Write lines of text into ``image`` (h, w, 3), as ``put_text`` does one."""
    from tools.view.mark_kernels import stamp_texts

    if not texts:
        return
    covers = [_cover(t.text, t.size_px, t.bold) for t in texts]
    places = np.array(
        [
            (t.left_px + c.left, t.middle_px + c.top, c.width, c.height)
            for t, c in zip(texts, covers, strict=True)
        ]
    )
    colours = np.array([t.colour for t in texts], np.uint8)
    run(stamp_texts, image, places, colours, np.concatenate([c.share for c in covers]))


def put_labels(
    image: U8, labels: Sequence[Label], boxes: NDArray[np.int64], taken: Sequence[Box]
) -> None:
    """Write labels on chips above, below or inside their boxes, into ``image`` (h, w, 3): the first
    come first, and those that would cover another or one of ``taken`` are left out.

    Args:
        boxes: (n, 4) left, top, right, bottom px.
    """
    from tools.view.mark_kernels import paint_chips, place_labels

    if not labels:
        return
    sizes = [(text_width_px(b.text, b.size_px) + 9, round(1.3 * b.size_px)) for b in labels]
    places = np.empty((len(labels), 5), np.int64)
    size_px, others = (image.shape[1], image.shape[0]), np.array(taken, np.int64).reshape(-1, 4)
    count = run(place_labels, boxes, np.array(sizes), size_px, others, places)
    texts = []
    for left, top, _, bottom, which in places[:count].tolist():
        text, size, colour = labels[which]
        texts.append(Text(text, left + 5, top + (bottom - top) // 2, size, colour))
    colours = np.array([t.colour for t in texts], np.uint8).reshape(-1, 3)
    run(paint_chips, image, places[:count], colours, tint_table(INK, _CHIP_SHARE)[0])
    put_texts(image, texts)


def outline_boxes(
    image: U8, boxes: NDArray[np.int64], colours: Sequence[Colour], dashed: NDArray[np.bool_],
    thickness_px: int,
) -> None:  # fmt: skip
    """Outlines into ``image`` (h, w, 3), later ones over earlier; of dashes for what is remembered
    and not seen, else before a dark line two pixels thicker where a box is large enough.

    Args:
        boxes: (n, 4) left, top, right, bottom px, both ends drawn; dashed: (n,).
    """
    from tools.view import mark_kernels

    if len(boxes):
        radii = np.array([_radius(thickness_px), _radius(thickness_px + 2)])
        several = np.array([*colours, INK], np.uint8)
        run(
            mark_kernels.outline_boxes, image, boxes, several, dashed, 5 * thickness_px, radii,
            20 * thickness_px,
        )  # fmt: skip


def _radius(thickness_px: int) -> int:
    """Of the round brush that OpenCV draws lines of a thickness with."""
    return 0 if thickness_px <= 1 else (thickness_px + 1) // 2


def compile_kernels() -> None:
    """Compile or load the inner loops."""
    image = np.zeros((8, 8, 3), np.uint8)
    put_texts(image, [Text("0", 0, 4, 8, WHITE)])
    box = np.array([[1, 1, 4, 4]])
    put_labels(image, [Label("0", 8, WHITE)], box, [])
    outline_boxes(image, box, [WHITE], np.zeros(1, np.bool_), 1)
