"""Inner loops of drawing against NumPy and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tools.view.draw import spaced, tint, tint_above_half
from tools.view.kernels import blend_where, fill_quads, paint_cells


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


@pytest.mark.parametrize("scale", [(0.25, 0.25), (0.31, 0.4), (1.0, 1.0), (1.7, 1.3)])
def test_a_map_is_tinted_where_its_bilinear_sample_is_above_one_half(image, scale):
    rng = np.random.default_rng(4)
    shape = int(np.ceil(40 * scale[1])), int(np.ceil(60 * scale[0]))
    values = rng.random(shape).astype(np.float32)
    x = np.clip((np.arange(60) + 0.5) * scale[0] - 0.5, 0, shape[1] - 1)
    y = np.clip((np.arange(40) + 0.5) * scale[1] - 0.5, 0, shape[0] - 1)
    values[: shape[0] // 4] = values[-(shape[0] // 4) :] = 0.0
    fine = cv2.remap(values, *(m.astype(np.float32) for m in np.meshgrid(x, y)), cv2.INTER_LINEAR)
    got, inside = image.copy(), np.zeros((40, 60), np.uint8)
    rows = tint_above_half(got, values, scale, (10, 200, 90), 0.3, inside)
    filled = np.flatnonzero(inside.any(axis=1))
    assert (rows.start, rows.stop) == (filled[0], filled[-1] + 1) and 0 < filled[0] < filled[
        -1
    ] < 39
    sure = np.abs(fine - 0.5) > 0.02  # OpenCV samples at 32nds of a pixel
    assert sure.mean() > 0.8 and ((inside > 0) == (fine > 0.5))[sure].all()
    want = image.copy()
    tint(want, inside, (10, 200, 90), 0.3)
    assert np.abs(got.astype(int) - want).max() <= 1
    assert (got[inside == 0] == image[inside == 0]).all()


def test_what_is_unknown_is_not_tinted(image):
    values = np.full((10, 15), np.nan, np.float32)
    before = image.copy()
    rows = tint_above_half(image, values, (0.25, 0.25), (0, 0, 0), 0.5)
    assert (image == before).all() and rows.start == rows.stop
    values[4:6, 5:9] = 1.0
    inside = np.zeros((40, 60), np.uint8)
    tint_above_half(image, values, (0.25, 0.25), (0, 0, 0), 0.5, inside)
    assert inside[19, 20:36].all() and not inside[:12].any() and not inside[:, :18].any()
    with pytest.raises(ValueError, match="one piece"):
        tint_above_half(image[:, ::2], values, (0.25, 0.25), (0, 0, 0), 0.5)


def test_of_the_cells_in_a_pixel_the_highest_rank_shows():
    kind = np.zeros((20, 12), np.uint8)
    kind[3, 5], kind[10] = 2, 1  # one cell; a line across
    rank = kind + 1
    colours = np.zeros((256, 3), np.uint8)
    colours[2], colours[3] = (0, 0, 100), (0, 0, 200)
    image = np.full((10, 6, 3), 7, np.uint8)
    paint_cells(image, rank, colours, 0.0, 0.0, 0.5)
    want = np.zeros((10, 6), int)
    want[(19 - 10) // 2], want[(19 - 3) // 2, (11 - 5) // 2] = 100, 200  # row 0 at the bottom
    assert (image[:, :, 2] == want).all() and not image[:, :, :2].any()
    larger = np.full((50, 40, 3), 7, np.uint8)
    paint_cells(larger, rank, colours, 8.0, 5.0, 2.0)
    assert (larger[:5] == 7).all() and (larger[45:] == 7).all() and (larger[:, 32:] == 7).all()
    shown = colours[rank[::-1, ::-1], 2]
    assert (larger[5:45, 8:32, 2] == np.kron(shown, np.ones((2, 2)))).all()


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


def test_points_of_a_line_too_near_to_tell_apart_are_left_out():
    assert spaced(np.ones(10), 4.0).tolist() == [0, 4, 8, 10]
    assert spaced(np.full(3, 5.0), 4.0).tolist() == [0, 1, 2, 3]
    assert spaced(np.array([0.5, np.nan, 0.5, 0.5]), 4.0).tolist() == [0, 2, 4]
    assert [spaced(np.ones(n), 4.0).tolist() for n in (0, 1)] == [[0], [0, 1]]
    rng = np.random.default_rng(3)
    steps = rng.uniform(0, 6, 200)
    kept = spaced(steps, 4.0)
    apart = np.diff(np.concatenate([[0.0], np.cumsum(steps)])[kept])
    assert apart.max() < 4.0 + 2 * 6.0 and len(kept) < 160
