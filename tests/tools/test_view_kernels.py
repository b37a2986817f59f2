"""Inner loops of drawing against NumPy and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tools.view.draw import tint
from tools.view.kernels import blend_where, fill_quads


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_colours_are_mixed_where_the_mask_names_one(image):
    rng = np.random.default_rng(1)
    mask = rng.choice([0, 3, 200], (40, 60)).astype(np.uint8)
    mask[5] = 0
    colours = rng.integers(0, 256, (256, 3), np.uint8)
    want = image * 0.7 + colours[mask] * 0.3
    got = image.copy()
    blend_where(got, mask, colours, 0.3)
    assert (got[mask == 0] == image[mask == 0]).all()
    assert np.abs(got - want)[mask > 0].max() <= 1.5  # a factor of eight bits, and rounding


def test_a_part_of_a_picture_is_tinted_in_place(image):
    before, mask = image.copy(), np.full((10, 20), 255, np.uint8)
    tint(image[4:14, 30:50], mask, (255, 0, 0), 1.0)
    assert (image[4:14, 30:50] == (255, 0, 0)).all()
    before[4:14, 30:50] = (255, 0, 0)
    assert (image == before).all()


def test_quads_cover_what_lies_in_them():
    rng = np.random.default_rng(2)
    centre = rng.uniform(0, 60, (30, 2))
    angle = np.sort(rng.uniform(0, 2 * np.pi, (30, 4)), axis=1)
    corners = centre[:, None] + 12 * np.stack([np.cos(angle), np.sin(angle)], -1)
    for quad in corners:
        mask = np.zeros((40, 60), np.uint8)
        fill_quads(mask, quad[None], np.array([7]))
        outline = quad.astype(np.float32)
        for v, u in np.ndindex(mask.shape):
            inside_px = cv2.pointPolygonTest(outline, (u, v), True)
            assert abs(inside_px) < 0.01 or (mask[v, u] == 7) == (inside_px > 0)


def test_pieces_of_a_ribbon_leave_no_gap_and_the_later_one_wins():
    edges = np.array([[10.3, 2.2], [20.6, 9.7], [30.1, 17.3], [33.3, 30.9]])
    quads = np.stack([edges[:-1], edges[1:], edges[1:] + (15, -2), edges[:-1] + (15, -2)], 1)
    mask = np.zeros((40, 60), np.uint8)
    fill_quads(mask, quads, np.array([1, 2, 3]))
    for v in range(10, 28):
        filled = np.flatnonzero(mask[v])
        assert len(filled) and (np.diff(filled) == 1).all()
    both = np.concatenate([quads[:1], quads[:1]])
    fill_quads(mask, both, np.array([4, 9]))
    assert 4 not in mask and 9 in mask


def test_quads_outside_are_cut_off():
    mask = np.zeros((8, 8), np.uint8)
    fill_quads(mask, np.array([[[-5, -5], [20, -5], [20, 3.5], [-5, 3.5]]], float), np.array([1]))
    assert (mask[:4] == 1).all() and (mask[4:] == 0).all()
    fill_quads(mask, np.array([[[50, 50], [60, 50], [60, 60], [50, 60]]], float), np.array([2]))
    assert 2 not in mask
