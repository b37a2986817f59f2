"""Many marks in one call against OpenCV's, drawn one by one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tools.view.draw import (
    AMBER,
    INK,
    WHITE,
    _measured_px,
    dashed_rectangle,
    put_text,
    text_width_px,
    tint_table,
)
from tools.view.mark_kernels import fill_shapes, from_above
from tools.view.marks import Label, Text, outline_boxes, put_labels, put_texts

WIDTH, HEIGHT = 160, 120


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


TEXTS = [
    Text("vehicle #12 34 m", 5, 20, 17, AMBER),
    Text("jgpq…", 100, 60, 20, INK, bold=True),
    Text("", 10, 10, 12, WHITE),
    Text(" ", 10, 10, 12, WHITE),
    Text("beyond the right end", 90, 100, 22, WHITE),
    Text("left of it", -20, 80, 15, WHITE),
    Text("above", 60, 0, 15, WHITE),
    Text("below", 60, HEIGHT, 15, WHITE),
    Text("far away", 5000, -4000, 15, WHITE),
]


@pytest.mark.parametrize("texts", [[t] for t in TEXTS] + [TEXTS, []])
def test_texts_are_those_of_opencv(image, texts):
    want = image.copy()
    for t in texts:
        put_text(want, *t)
    for _ in range(2):  # the second time from what was kept
        got = image.copy()
        put_texts(got, texts)
        # where two glyphs share a pixel OpenCV rounds twice
        assert np.abs(got.astype(int) - want).max() <= 1


@pytest.mark.parametrize(("size", "bold"), [(11, False), (14, True), (23, False), (48, True)])
def test_widths_are_those_that_opencv_measures(size, bold):
    rng = np.random.default_rng(size)
    characters = [c for c in map(chr, range(32, 256)) if c.isprintable()]
    texts = ["".join(rng.choice(characters, n)) for n in (1, 2, 3, 9, 40)]
    for text in [*texts, "", " ", "AVATAR To. WA", "two…", "道", "a\nb"]:
        assert text_width_px(text, size, bold) == _measured_px(text, size, bold)


def test_a_part_of_a_picture_is_written_on_in_place(image):
    want = image.copy()
    put_text(want[10:50, 20:120], "part", 5, 20, 18, WHITE)
    put_texts(image[10:50, 20:120], [Text("part", 5, 20, 18, WHITE)])
    assert np.abs(image.astype(int) - want).max() <= 1


BOXES = np.array(
    [(10, 10, 60, 50), (-50, -50, 70, 90), (100, 30, 210, 170), (40, 40, 41, 41), (30, 5, 35, 115)]
)


@pytest.mark.parametrize("thickness", [1, 2, 3, 4, 5, 6])
def test_outlines_are_those_of_opencv(image, thickness):
    rng = np.random.default_rng(1)
    colours = [tuple(c) for c in rng.integers(0, 256, (len(BOXES), 3)).tolist()]
    dashed = np.array([False, True, False, False, True])
    want = image.copy()
    for box, colour, dashes in zip(BOXES.tolist(), colours, dashed, strict=True):
        if dashes:
            dashed_rectangle(want, box, colour, thickness)
            continue
        if min(box[2] - box[0], box[3] - box[1]) > 20 * thickness:
            cv2.rectangle(want, box[:2], box[2:], INK, thickness + 2)
        cv2.rectangle(want, box[:2], box[2:], colour, thickness)
    outline_boxes(image, BOXES, colours, dashed, thickness)
    assert (image == want).all()


def test_no_box_is_no_outline(image):
    before = image.copy()
    outline_boxes(image, np.zeros((0, 4), np.int64), [], np.zeros(0, np.bool_), 2)
    assert (image == before).all()


def chip_of(image, before):
    """(left, top, right, bottom) of what changed, and nothing else did."""
    rows, columns = (np.flatnonzero((image != before).any(2).any(a)) for a in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@pytest.mark.parametrize(
    ("box", "taken", "top"),
    [
        ((40, 60, 90, 100), [], 60 - 16),  # above its box
        ((40, 10, 90, 80), [], 80),  # no room there: below
        ((40, 60, 90, 80), [(50, 45, 52, 50)], 80),  # another one there: below
        ((40, 5, 90, 115), [], 5),  # neither above nor below: inside
    ],
)
def test_a_label_stands_where_there_is_room(box, taken, top):
    image = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    before = image.copy()
    put_labels(image, [Label("#1", 12, AMBER)], np.array([box]), taken)
    wide = text_width_px("#1", 12) + 9
    assert chip_of(image, before) == (40, top, 40 + wide, top + 16)
    ground = before[top : top + 16, 40 : 40 + wide].copy()
    cv2.LUT(ground, tint_table(INK, 0.75), ground)
    ground[:, :2] = AMBER
    put_text(ground, "#1", 5, 8, 12, AMBER)
    assert (image[top : top + 16, 40 : 40 + wide] == ground).all()


def test_the_first_label_stands_and_what_would_cover_it_is_left_out():
    image = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    before = image.copy()
    boxes = np.array([(40, 5, 90, 115)] * 2)
    put_labels(image, [Label("1", 12, AMBER), Label("2", 12, WHITE)], boxes, [])
    once = before.copy()
    put_labels(once, [Label("1", 12, AMBER)], boxes[:1], [])
    assert (image == once).all()
    put_labels(image, [Label("3", 12, WHITE)], boxes[:1], [(0, 0, WIDTH, HEIGHT)])
    assert (image == once).all()


def test_a_label_wider_than_the_picture_is_left_out(image):
    before = image.copy()
    put_labels(image, [Label("w" * 60, 12, AMBER)], np.array([(40, 60, 90, 100)]), [])
    assert (image == before).all()


@pytest.mark.parametrize("colour", [(200, 100, 0), (0, 0, 0)])
def test_shapes_cover_pixels_as_far_as_they_lie_in_them(image, colour):
    rng = np.random.default_rng(2)
    for _ in range(20):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 5))
        turned = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(2, 30, 1)
        shape = turned + rng.uniform(0, (WIDTH, HEIGHT))
        got = image.copy()
        fill_shapes(got, shape[None], np.array([colour], np.uint8))
        fine = np.zeros((HEIGHT * 16, WIDTH * 16), np.uint8)  # of the same at 16 times the size
        points = ((shape + 0.5) * 16 - 0.5) * 16
        cv2.fillConvexPoly(fine, points.round().astype(np.int32), 255, cv2.LINE_8, 4)
        share = cv2.resize(fine, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)[..., None] / 255
        want = image * (1 - share) + np.array(colour) * share
        assert np.abs(got - want).max() < 0.2 * 255  # in four rows of a pixel
        whole, none = (
            cv2.erode(share, np.ones((3, 3))) == 1,
            cv2.dilate(share, np.ones((3, 3))) == 0,
        )
        assert (got[whole] == colour).all() and (got[none] == image[none]).all()
        assert np.abs(got - want).mean() < 0.6


def test_later_shapes_lie_over_earlier_ones_and_none_reaches_out(image):
    square = np.array([(9.5, 9.5), (29.5, 9.5), (29.5, 19.5), (9.5, 19.5)])
    shapes = np.stack([square, square + (10, 5), square + 1e6, square - 1e6, 0 * square])
    want = image.copy()
    want[10:20, 10:30], want[15:25, 20:40] = 3, 9
    colours = np.repeat(np.array([[3], [9], [1], [1], [1]], np.uint8), 3, 1)
    fill_shapes(image, shapes, colours)
    assert (image == want).all()


def test_objects_from_above_are_ahead_as_up_and_left_as_left():
    places, sizes = np.array([(10.0, 2.0), (5.0, 0.0)]), np.array([(4.0, 2.0), (0.1, 0.1)])
    speeds = np.array([(3.0, -1.0), (0.1, 0.0)])
    shapes, arrows = np.empty((2, 4, 2)), np.empty((2, 5, 2))
    moving = from_above(places, sizes, speeds, np.array([50.0, 90.0]), 4.0, 4.0, shapes, arrows)
    assert moving == 1
    assert shapes[0].tolist() == [[38, 50], [38, 34], [46, 34], [46, 50]]
    assert shapes[1].tolist() == [[48, 70], [48, 66], [52, 66], [52, 70]]  # to be seen
    start, end, tip, left, right = arrows[0]
    assert start.tolist() == [42, 42] and end.tolist() == tip.tolist() == [46, 30]
    middle = (left + right) / 2
    assert np.allclose(end - middle, 4 * (end - start) / np.hypot(*(end - start)))
    assert np.isclose((left - right) @ (end - start), 0) and np.hypot(*(left - right)) > 4


@pytest.mark.parametrize("speed", [(0.0, 0.0), (np.nan, 1.0), (1e9, 0.0), (np.inf, 0.0)])
def test_what_stands_or_has_no_likely_speed_has_no_arrow(speed):
    shapes, arrows = np.empty((1, 4, 2)), np.empty((1, 5, 2))
    place, size, own = np.array([(10.0, 2.0)]), np.array([(4.0, 2.0)]), np.array([50.0, 90.0])
    assert from_above(place, size, np.array([speed]), own, 4.0, 4.0, shapes, arrows) == 0
