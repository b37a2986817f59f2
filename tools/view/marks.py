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
from tools.view.draw import (
    INK,
    LATIN_1,
    WHITE,
    Box,
    Colour,
    put_text,
    text_width_px,
    tint_table,
)

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


class _Glyphs(NamedTuple):
    """Characters of Latin-1 as OpenCV draws them.

    Attributes:
        table: (styles, 256, 6) int64 of each: where its rows begin in ``cover``, left and top px
            from where it stands and the line's middle row, width, height, and how far it moves on.
        cover: how much of each pixel a character covers, of 255.
    """

    table: NDArray[np.int64]
    cover: U8


@lru_cache(maxsize=64)
def _glyphs(styles: tuple[tuple[int, bool], ...]) -> _Glyphs:
    """``styles``: size in px and whether bold."""
    table, covers, begin = np.zeros((len(styles), 256, 6), np.int64), [np.zeros(0, np.uint8)], 0
    for style, (size_px, bold) in enumerate(styles):
        for character in filter(str.isprintable, sorted(LATIN_1)):
            cover, left, top = _cover(character, size_px, bold)
            advance = text_width_px(character, size_px, bold) - 1
            height, width = cover.shape
            table[style, ord(character)] = begin, left, top, width, height, advance
            covers.append(cover.reshape(-1))
            begin += cover.size
    return _Glyphs(table, np.concatenate(covers))


@lru_cache(maxsize=4096)
def _cover(character: str, size_px: int, bold: bool) -> tuple[U8, int, int]:
    """(h, w) how much of each pixel it covers, of 255, and left and top from where it stands."""
    edge = size_px  # it reaches a little beyond its advance
    drawn = np.zeros((3 * size_px, text_width_px(character, size_px, bold) + 2 * edge), np.uint8)
    put_text(drawn, character, edge, 3 * size_px // 2, size_px, (255, 255, 255), bold)
    rows, columns = (np.flatnonzero(drawn.any(axis)) for axis in (1, 0))
    if not len(rows):
        return drawn[:0, :0], 0, 0
    part = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return part, int(columns[0]) - edge, int(rows[0]) - 3 * size_px // 2


def put_texts(image: U8, texts: Sequence[Text]) -> None:
    """Write lines of text into ``image`` (h, w, 3), as ``put_text`` does one."""
    from tools.view.mark_kernels import write_texts

    styles = tuple(sorted({(t.size_px, t.bold) for t in texts}))
    places, colours, lines = [], [], []
    for t in texts:
        if not (t.text.isprintable() and LATIN_1.issuperset(t.text)):
            put_text(image, *t)
            continue
        lines.append(t.text)
        places.append((t.left_px, t.middle_px, len(t.text), styles.index((t.size_px, t.bold))))
        colours.append(t.colour)
    if lines:
        codes = np.frombuffer("".join(lines).encode("latin-1"), np.uint8)
        paint = np.array(colours, np.uint8)
        run(write_texts, image, codes, np.array(places), paint, *_glyphs(styles))


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
