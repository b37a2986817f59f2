"""Inner loops for many small marks at once: box outlines, grounds for text, and text.

OpenCV draws the same pixels one by one; called for each mark it takes several times as long, most
of it for the calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Array = NDArray[Any]


@compiled
def _bar(
    image: Array, top: int, bottom: int, left: int, right: int, colours: Array, which: int
) -> None:
    """Fill rows and columns, both ends included, as far as there is a picture."""
    for v in range(max(top, 0), min(bottom + 1, image.shape[0])):
        for u in range(max(left, 0), min(right + 1, image.shape[1])):
            for k in range(3):
                image[v, u, k] = colours[which, k]


@compiled
def _stroke(
    image: Array, x1: int, y1: int, x2: int, y2: int, radius: int, colours: Array, which: int
) -> None:
    """A line along a row or a column, with round ends."""
    for d in range(-radius, radius + 1):
        half = int(np.sqrt(radius * radius - d * d))
        if y1 == y2:
            _bar(image, y1 + d, y1 + d, x1 - half, x2 + half, colours, which)
        else:
            _bar(image, y1 - half, y2 + half, x1 + d, x1 + d, colours, which)


@compiled
def _outline(image: Array, box: Array, radius: int, dash: int, colours: Array, which: int) -> None:
    left, top, right, bottom = box[0], box[1], box[2], box[3]
    piece = dash if dash else max(right - left, bottom - top, 1)
    for at in range(left, right, 2 * piece):
        end = min(at + piece, right)
        _stroke(image, at, top, end, top, radius, colours, which)
        _stroke(image, at, bottom, end, bottom, radius, colours, which)
    for at in range(top, bottom, 2 * piece):
        end = min(at + piece, bottom)
        _stroke(image, left, at, left, end, radius, colours, which)
        _stroke(image, right, at, right, end, radius, colours, which)


@compiled
def outline_boxes(
    image: Array, boxes: Array, colours: Array, dashed: Array, dash: int, radii: Array, big: int
) -> None:
    """Draw outlines into ``image`` (h, w, 3) uint8, later ones over earlier.

    Args:
        boxes: (n, 4) int64, left, top, right, bottom; both ends are drawn.
        colours: (n + 1, 3) uint8; the last is that of the halo.
        dashed: (n,) bool; dash: length of one in px.
        radii: (2,) int64 px, of lines and of the halo behind those that are not dashed and whose
            sides are longer than ``big`` px.
    """
    for i in range(len(boxes)):
        box = boxes[i]
        pieces = dash if dashed[i] else 0
        if not dashed[i] and min(box[2] - box[0], box[3] - box[1]) > big:
            _outline(image, box, radii[1], pieces, colours, len(boxes))
        _outline(image, box, radii[0], pieces, colours, i)


@compiled
def place_labels(
    boxes: Array, sizes: Array, picture: tuple[int, int], taken: Array, places: Array
) -> int:
    """Places for labels above, below or inside their boxes, where they cover no other.

    Args:
        boxes: (n, 4) int64, left, top, right, bottom; sizes: (n, 2) int64, width and height of each
            label; picture: (width, height).
        taken: (m, 4) int64 where no label may lie, right and bottom exclusive.
        places: (n, 5) int64, written to: those found, alike, and whose they are.

    Returns:
        How many found a place.
    """
    count = 0
    for i in range(len(boxes)):
        wide, tall = sizes[i, 0], sizes[i, 1]
        left = min(max(boxes[i, 0], 0), max(picture[0] - wide, 0))
        for top in (boxes[i, 1] - tall, boxes[i, 3], boxes[i, 1]):
            right, bottom = left + wide, top + tall
            free = top >= 0 and bottom <= picture[1] and right <= picture[0]
            free = free and not _overlaps(taken, len(taken), left, top, right, bottom)
            if free and not _overlaps(places, count, left, top, right, bottom):
                places[count, 0], places[count, 1] = left, top
                places[count, 2], places[count, 3], places[count, 4] = right, bottom, i
                count += 1
                break
    return count


@compiled
def _overlaps(places: Array, count: int, left: int, top: int, right: int, bottom: int) -> bool:
    for j in range(count):
        across = left < places[j, 2] and places[j, 0] < right
        if across and top < places[j, 3] and places[j, 1] < bottom:
            return True
    return False


@compiled
def paint_chips(image: Array, chips: Array, colours: Array, tones: Array) -> None:
    """Grounds for text: ``image`` (h, w, 3) uint8 looked up in ``tones`` (256, 3) inside ``chips``
    (n, 4 or more) int64, right and bottom exclusive and all within it, with two columns of
    ``colours`` (n, 3) at the left."""
    for i in range(len(chips)):
        left, top, right, bottom = chips[i, 0], chips[i, 1], chips[i, 2], chips[i, 3]
        for v in range(top, bottom):
            for u in range(left, right):
                for k in range(3):
                    image[v, u, k] = tones[image[v, u, k], k]
        _bar(image, top, bottom - 1, left, min(left + 2, right) - 1, colours, i)


@compiled
def _stamp(
    image: Array, left: int, top: int, width: int, height: int, cover: Array, begin: int,
    colours: Array, which: int,
) -> None:  # fmt: skip
    """Blend a colour into a part of a picture, as far as there is one, by each pixel's cover."""
    for v in range(max(top, 0), min(top + height, image.shape[0])):
        row = begin + (v - top) * width - left
        for u in range(max(left, 0), min(left + width, image.shape[1])):
            share = int(cover[row + u])
            if share:
                for k in range(3):
                    mixed = image[v, u, k] * (255 - share) + colours[which, k] * share
                    image[v, u, k] = (mixed + 127) // 255


@compiled
def write_texts(
    image: Array, codes: Array, places: Array, colours: Array, table: Array, cover: Array
) -> None:
    """Blend texts into ``image`` (h, w, 3) uint8, as far as it reaches.

    Args:
        codes: of all texts' characters, one text behind the other, uint8.
        places: (n, 4) int64, left, middle row, number of characters and style of each text;
            colours: (n, 3) uint8.
        table: (styles, 256, 6) int64, of a character: where its rows begin in ``cover`` (uint8, of
            255), left and top from where it stands, width, height, and how far it moves on.
    """
    at = 0
    for i in range(len(places)):
        x = places[i, 0]
        for code in codes[at : at + places[i, 2]]:
            glyph = table[places[i, 3], code]
            left, top = x + glyph[1], places[i, 1] + glyph[2]
            _stamp(image, left, top, glyph[3], glyph[4], cover, glyph[0], colours, i)
            x += glyph[5]
        at += places[i, 2]


@compiled
def fill_shapes(image: Array, shapes: Array, colours: Array) -> None:
    """Fill convex ``shapes`` (n, k, 2) px with ``colours`` (n, 3) uint8, later ones over earlier,
    into ``image`` (h, w, 3) uint8, as far as it reaches; whole numbers are pixels' centres. A pixel
    takes as much of the colour as the shape covers of it, in each of its quarters' middle rows."""
    height, width = image.shape[:2]
    cover = np.empty(width)
    for i in range(len(shapes)):
        shape = shapes[i]
        left = max(int(np.floor(shape[:, 0].min() + 0.5)), 0)
        right = min(int(np.floor(shape[:, 0].max() + 0.5)), width - 1)
        top = max(int(np.floor(shape[:, 1].min() + 0.5)), 0)
        bottom = min(int(np.floor(shape[:, 1].max() + 0.5)), height - 1)
        for v in range(top, bottom + 1):
            cover[left : right + 1] = 0
            for quarter in range(4):
                _cover_row(shape, v + (quarter - 1.5) / 4, cover, left, right)
            for u in range(left, right + 1):
                share = cover[u] / 4
                for k in range(3):
                    mixed = image[v, u, k] + (colours[i, k] - float(image[v, u, k])) * share
                    image[v, u, k] = int(mixed + 0.5)


@compiled
def across(shape: Array, y: float) -> tuple[float, float]:
    """Where a line at ``y`` enters and leaves a convex ``shape`` (k, 2); inf, -inf if nowhere."""
    first, last = np.inf, -np.inf
    for k in range(len(shape)):
        a, b = shape[k], shape[(k + 1) % len(shape)]
        if (a[1] <= y) != (b[1] <= y):
            x = a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
            first, last = min(first, x), max(last, x)
    return first, last


@compiled
def _cover_row(shape: Array, y: float, cover: Array, left: int, right: int) -> None:
    """Add how much of each pixel of a line at ``y`` lies in a convex shape."""
    first, last = across(shape, y)
    for u in range(left, right + 1):
        cover[u] += max(min(last, u + 0.5) - max(first, u - 0.5), 0.0)


@compiled
def from_above(
    places_m: Array, sizes_m: Array, velocities_mps: Array, own_px: Array, scale: float,
    head_px: float, shapes: Array, arrows: Array,
) -> int:  # fmt: skip
    """Objects and where they will be in a second, in px of a picture whose up is ahead.

    Args:
        places_m: (n, 2) the middle of an object's near side, forward and left; sizes_m: (n, 2)
            length and width, which are made no smaller than can be seen; velocities_mps: (n, 2).
        own_px: (2,) where (0, 0) m lies; scale: px per m; head_px: length of an arrow's head.
        shapes: (n, 4, 2), written to: corners; arrows: (n, 5, 2), written to: of those that move
            begin, end and the head's three corners.

    Returns:
        How many move.
    """
    moving = 0
    for i in range(len(places_m)):
        length, half = max(sizes_m[i, 0], 4 / scale), max(sizes_m[i, 1] / 2, 2 / scale)
        for k in range(4):
            ahead = length if k in (1, 2) else 0.0
            aside = half if k < 2 else -half
            shapes[i, k, 0] = own_px[0] - (places_m[i, 1] + aside) * scale
            shapes[i, k, 1] = own_px[1] - (places_m[i, 0] + ahead) * scale
        begin_x = own_px[0] - places_m[i, 1] * scale
        begin_y = own_px[1] - (places_m[i, 0] + length / 2) * scale
        along_x, along_y = -velocities_mps[i, 1] * scale, -velocities_mps[i, 0] * scale
        speed = np.hypot(velocities_mps[i, 0], velocities_mps[i, 1])
        end_x, end_y = begin_x + along_x, begin_y + along_y
        if not (0.5 < speed < 150 and abs(end_x) + abs(end_y) < 10_000):
            continue
        along_x, along_y = along_x / (speed * scale), along_y / (speed * scale)
        back_x, back_y = end_x - head_px * along_x, end_y - head_px * along_y
        aside_x, aside_y = -0.55 * head_px * along_y, 0.55 * head_px * along_x
        arrow = arrows[moving]
        arrow[0, 0], arrow[0, 1] = begin_x, begin_y
        arrow[1, 0], arrow[1, 1] = end_x, end_y
        arrow[2, 0], arrow[2, 1] = end_x, end_y
        arrow[3, 0], arrow[3, 1] = back_x + aside_x, back_y + aside_y
        arrow[4, 0], arrow[4, 1] = back_x - aside_x, back_y - aside_y
        moving += 1
    return moving
