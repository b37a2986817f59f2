"""Inner loops of drawing against NumPy and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data.types import Surfaces
from tools.view.draw import draw_surfaces, in_rows, tint
from tools.view.kernels import paint_cells, paint_surfaces, to_yuv420
from tools.view.ribbon_kernels import blend_where, fill_quads, paint_ribbon, spaced


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def whole(mask):
    """All columns of every row."""
    return np.tile([0, mask.shape[1]], (len(mask), 1))


def test_colours_are_mixed_where_the_mask_names_one(image):
    rng = np.random.default_rng(1)
    mask = rng.choice([0, 3, 200], (40, 60)).astype(np.uint8)
    mask[5] = 0
    colours = rng.integers(0, 256, (256, 3), np.uint8)
    want = image * 0.7 + colours[mask] * 0.3
    got = image.copy()
    blend_where(in_rows(got), mask, whole(mask), 0, 0, colours, 0.3)
    assert (got[mask == 0] == image[mask == 0]).all()
    assert np.abs(got - want)[mask > 0].max() <= 1.5  # a factor of eight bits, and rounding


def test_a_mask_smaller_than_the_picture_is_mixed_in_where_it_lies(image):
    mask = np.array([[0, 9, 9], [9, 0, 9]], np.uint8)
    got = image.copy()
    blend_where(in_rows(got), mask, whole(mask), 38, 57, np.full((256, 3), 77, np.uint8), 1.0)
    want = image.copy()
    want[38:, 57:][mask > 0] = 77
    assert (got == want).all()


def test_a_part_of_a_picture_is_tinted_in_place(image):
    before, mask = image.copy(), np.full((10, 20), 255, np.uint8)
    tint(image[4:14, 30:50], mask, (255, 0, 0), 1.0)
    assert (image[4:14, 30:50] == (255, 0, 0)).all()
    before[4:14, 30:50] = (255, 0, 0)
    assert (image == before).all()


def bilinear(values, scale, shape):
    """A map scaled up to a picture of (h, w), by OpenCV."""
    x = np.clip((np.arange(shape[1]) + 0.5) * scale[0] - 0.5, 0, values.shape[1] - 1)
    y = np.clip((np.arange(shape[0]) + 0.5) * scale[1] - 0.5, 0, values.shape[0] - 1)
    return cv2.remap(values, *(m.astype(np.float32) for m in np.meshgrid(x, y)), cv2.INTER_LINEAR)


def painted(picture, area, lines, scale, thin):
    """``paint_surfaces`` with 30 % of (10, 200, 90) and, over it, 80 % of (250, 0, 100)."""
    out = np.full_like(picture, 77)
    rows = [p.reshape(len(p), -1) for p in (picture, out)]
    colours = np.array([(10, 200, 90), (250, 0, 100)], np.uint8)
    paint_surfaces(*rows, area, lines, 0.5, *scale, colours, np.array([0.3, 0.8]), thin)
    return out


@pytest.mark.parametrize("scale", [(0.25, 0.25), (0.31, 0.4), (1.0, 1.0), (1.7, 1.3)])
@pytest.mark.parametrize("thin", [1, 2, 3])
def test_an_area_is_mixed_in_and_outlined_where_its_bilinear_sample_is_above_one_half(
    image, scale, thin
):
    rng = np.random.default_rng(4)
    shape = int(np.ceil(40 * scale[1])), int(np.ceil(60 * scale[0]))
    area = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), max(1.0, 4 * scale[0]))
    area = (area - area.mean()) / area.std() * 0.4 + 0.6  # blobs, some at the border
    area[: shape[0] // 4] = 0.0
    none = np.zeros_like(area)
    black = painted(np.zeros_like(image), area, none, scale, thin)
    inside, outline = black.any(axis=2), (black == (10, 200, 90)).all(axis=2)
    fine = bilinear(area, scale, (40, 60))
    sure = np.abs(fine - 0.5) > 0.02  # OpenCV samples at 32nds of a pixel
    assert sure.mean() > 0.8 and (inside == (fine > 0.5))[sure].all()
    assert 0.2 < inside.mean() < 0.8 and inside[-1].any()
    out = np.pad(~inside, thin)  # beyond the border nothing is outlined
    near = np.zeros_like(inside)
    for d in range(1, thin + 1):
        for v, u in ((d, 0), (-d, 0), (0, d), (0, -d)):
            # up and down the row that far alone, along the row all between
            if u or d == thin:
                near |= out[thin + v : thin + v + 40, thin + u : thin + u + 60]
    assert (outline == (inside & near)).all() and outline.any() and (inside & ~outline).any()
    got = painted(image, area, none, scale, thin)
    assert (got[~inside] == image[~inside]).all()
    assert (got[outline] == (10, 200, 90)).all()
    within = inside & ~outline
    assert np.abs(got - (image * 0.7 + np.array([3, 60, 27])))[within].max() <= 1.5


def test_lines_lie_over_the_area_and_its_outline(image):
    area, lines = np.zeros((2, 10, 15), np.float32)
    area[4:8, 2:11], lines[2:9, 5:7] = 1.0, 1.0
    without = painted(image, area, 0 * area, (0.25, 0.25), 1)
    got = painted(image, area, lines, (0.25, 0.25), 1)
    on = bilinear(lines, (0.25, 0.25), (40, 60)) > 0.5
    assert (got[~on] == without[~on]).all() and on.any()
    assert np.abs(got - (without * 0.2 + np.array([200, 0, 80])))[on].max() <= 2.0


def test_what_is_unknown_is_not_tinted(image):
    unknown = np.full((10, 15), np.nan, np.float32)
    out = np.zeros_like(image)
    draw_surfaces(image, out, Surfaces(unknown, unknown, (0.25, 0.25)))
    assert (out == image).all()
    area = unknown.copy()
    area[4:6, 5:9] = 1.0
    draw_surfaces(image, out, Surfaces(area, unknown, (0.25, 0.25)))
    changed = (out != image).any(axis=2)
    assert changed[19, 20:36].all() and not changed[:12].any() and not changed[:, :18].any()
    with pytest.raises(ValueError, match="one piece"):
        draw_surfaces(image[:, ::2], out[:, ::2], Surfaces(area, area, (0.25, 0.25)))


def test_a_picture_becomes_luma_and_the_mean_colours_of_four_pixels(image):
    image[:4, :6] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (9, 9, 9)
    luma, (blue, red) = np.full((40, 64), 7, np.uint8), np.full((2, 20, 48), 7, np.uint8)
    to_yuv420(image.reshape(40, -1), luma, blue, red)
    assert (luma[:, 60:] == 7).all() and (blue[:, 30:] == 7).all() and (red[:, 30:] == 7).all()
    luma, blue, red = luma[:, :60], blue[:, :30], red[:, :30]
    b, g, r = (image[..., k] / 255.0 for k in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b  # ITU-R BT.601
    assert np.abs(luma - (16 + 219 * y)).max() <= 1.2
    for got, want in ((blue, (b - y) / 1.772), (red, (r - y) / 1.402)):
        want = want.reshape(20, 2, 30, 2).mean(axis=(1, 3))
        assert np.abs(got - (128 + 224 * want)).max() <= 1.8


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
        reach = fill_quads(mask, quad[None], np.array([7]))
        for row, (first, last) in zip(mask, reach, strict=True):
            columns = np.flatnonzero(row)
            assert (first, last) == ((columns[0], columns[-1] + 1) if len(columns) else (0, 0))
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


def line_of(steps):
    """Points along u, so far apart."""
    along = np.concatenate([[0.0], np.cumsum(steps)])
    return np.stack([along, 0 * along], 1)


def test_points_of_a_line_too_near_to_tell_apart_are_left_out():
    assert spaced(line_of(np.ones(10)), 4.0).tolist() == [0, 4, 8, 10]
    assert spaced(line_of(np.full(3, 5.0)), 4.0).tolist() == [0, 1, 2, 3]
    unknown = line_of(np.full(4, 0.5))
    unknown[2] = np.nan
    assert spaced(unknown, 4.0).tolist() == [0, 2, 3, 4]  # it is far from both beside it
    assert [spaced(line_of(np.ones(n)), 4.0).tolist() for n in (0, 1)] == [[0], [0, 1]]
    rng = np.random.default_rng(3)
    steps = rng.uniform(0, 6, 200)
    kept = spaced(line_of(steps), 4.0)
    apart = np.diff(np.concatenate([[0.0], np.cumsum(steps)])[kept])
    assert apart.max() < 4.0 + 2 * 6.0 and len(kept) < 160


def test_of_two_lines_the_one_that_goes_further_says_which_points_are_kept():
    near, far = line_of(np.ones(10)), line_of(np.full(10, 2.0))
    for lines in ((near, far), (far, near)):
        assert spaced(np.hstack(lines), 4.0).tolist() == [0, 2, 4, 6, 8, 10]


def ribbon_of(edges, levels, image):
    """``paint_ribbon`` of colours that are their level's number, and the runs it tells."""
    n = len(edges)
    fixed, runs = np.empty((2, n, 2), np.int32), np.empty((n, 2), np.int64)
    colours = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    rows, edges = in_rows(image), np.array(edges, float)
    count = paint_ribbon(rows, edges, np.array(levels), colours, 1.0, 4, fixed, runs)
    return runs[:count].tolist(), fixed


def test_a_ribbon_is_filled_between_its_edges_and_told_in_runs_of_like_levels():
    image = np.zeros((20, 30, 3), np.uint8)
    edges = [(5, v, 15, v) for v in (18.5, 14.5, 10.5, 6.5, 2.5)]
    runs, fixed = ribbon_of(edges, [17, 18, 40, 200, 255], image)
    want = np.zeros((20, 30), np.uint8)
    for row, level in ((15, 17), (11, 18), (7, 40), (3, 200)):
        want[row : row + 4, 5:16] = level
    assert (image == want[..., None]).all()
    assert runs == [[0, 2], [2, 3], [3, 4]]
    assert (fixed == (np.array(edges).reshape(-1, 2, 2).transpose(1, 0, 2) * 16)).all()


def test_pieces_of_a_ribbon_that_are_unknown_or_out_of_view_end_a_run():
    image = np.zeros((20, 30, 3), np.uint8)
    edges = [(5, v, 15, v) for v in (60, 40, 16, 12, np.nan, 8, 4, -40, -80)]
    runs, _ = ribbon_of(edges, [100] * 9, image)
    assert runs == [[1, 3], [5, 7]]
    assert image[13:, 5:15].all() and not image[9:12].any() and image[:8, 5:15].all()
    before = image.copy()
    assert ribbon_of([(500, 3, 510, 3), (500, 9, 510, 9)], [9, 9], image)[0] == []
    assert ribbon_of([(5, 3, 10, 3)], [9], image)[0] == []  # no piece
    assert (image == before).all()
