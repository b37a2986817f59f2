"""Calibration: a known camera looks at a known board, and must come out again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data.calibration import Fit, calibrate, folds_over
from data.chessboard import Board, View, find_board
from data.errors import InputError

SIZE = (1280, 720)
MATRIX = np.array([[1000.0, 0, 630], [0, 990.0, 370], [0, 0, 1]])
LENS = np.array([-0.25, 0.06, 0.0, 0.0, 0.0])
BOARD = Board(7, 6)


def look(points, turn, move, lens=LENS):
    uv, _ = cv2.projectPoints(points.reshape(-1, 3), np.array(turn), np.array(move), MATRIX, lens)
    return np.asarray(uv, np.float64).reshape(*points.shape[:2], 2)


def make_views(count, points=None, lens=LENS, noise_px=0.05, seed=1):
    """Boards all over the picture, tilted to all sides."""
    rng = np.random.default_rng(seed)
    points = BOARD.flat_points() if points is None else points
    middle = points.reshape(-1, 3).mean(axis=0)
    views = []
    for i in range(count):
        turn = rng.uniform(-0.6, 0.6, 3) * (1, 1, 0.5)
        depth = rng.uniform(8, 16)
        place = np.array([*(rng.uniform(-0.35, 0.35, 2) * (1, 0.45)), 1.0]) * depth
        uv = look(points, turn, place - cv2.Rodrigues(turn)[0] @ middle, lens)
        views.append(View(f"{i}.png", uv + rng.normal(0, noise_px, uv.shape)))
    return views


def test_known_camera_comes_out():
    found = calibrate(make_views(7), SIZE, BOARD)
    assert found.model == "k1 k2" and not found.bent and not found.rejected
    np.testing.assert_allclose(found.fit.matrix, MATRIX, rtol=0.003, atol=1.5)
    np.testing.assert_allclose(found.distortion, LENS[:4], atol=0.02)
    assert found.fit.rms_px == pytest.approx(0.05 * np.sqrt(2), rel=0.15)
    assert found.fit.rms_px < found.chosen_px < 3 * found.fit.rms_px
    off = np.abs(found.fit.matrix - MATRIX)[[0, 1, 0, 1], [0, 1, 2, 2]]
    assert (off < 4 * found.fit.std[:4]).all()


def test_a_lens_without_distortion_gets_no_coefficients():
    found = calibrate(make_views(7, lens=np.zeros(5)), SIZE, BOARD)
    assert found.model == "none" and found.distortion.size == 0


def test_held_out_error_shows_a_lens_that_the_model_lacks():
    found = calibrate(make_views(7), SIZE, BOARD)
    assert found.held_out_px["none"] > 10 * found.held_out_px["k1 k2"]


def test_a_bent_board_is_recognised_and_its_camera_comes_out():
    points = BOARD.flat_points()
    points[..., 2] = 0.08 * np.sin(points[..., 0])
    found = calibrate(make_views(9, points), SIZE, BOARD)
    assert found.bent
    assert found.chosen_px < 0.5 * found.held_out_px[found.model]
    assert found.fit.matrix[0, 0] == pytest.approx(1000, rel=0.005)
    assert np.ptp(found.fit.board_points[..., 2]) > 0.05


def test_a_flat_board_stays_flat():
    assert not calibrate(make_views(9), SIZE, BOARD).bent


def test_a_part_of_a_board_counts():
    views = make_views(6)
    views[2] = View("part.png", views[2].corners_px[1:, :-1])
    found = calibrate(views, SIZE, BOARD)
    assert "part.png" in [v.name for v in found.views]
    assert found.fit.matrix[0, 0] == pytest.approx(1000, rel=0.005)


def test_a_photograph_with_wrong_corners_is_left_out_and_the_reason_given():
    views = make_views(8)
    views[3].corners_px[2:4, 2:5] += 9.0
    found = calibrate(views, SIZE, BOARD)
    assert list(found.rejected) == ["3.png"]
    assert "re-projection error" in found.rejected["3.png"]
    assert found.fit.matrix[0, 0] == pytest.approx(1000, rel=0.005)


def test_two_photographs_are_too_few():
    with pytest.raises(InputError, match="at least 3 are needed"):
        calibrate(make_views(2), SIZE, BOARD)


def test_a_distortion_that_turns_back_within_the_picture_is_seen():
    flat = BOARD.flat_points()
    good = Fit(MATRIX, LENS, np.zeros(9), flat, ())
    bad = Fit(MATRIX, np.array([-1.5, 0, 0, 0, 0.0]), np.zeros(9), flat, ())
    assert not folds_over(good, SIZE) and folds_over(bad, SIZE)


def picture_of(corners, board):
    """A photograph of a board whose inner corners lie at ``corners`` (rows, cols, 2)."""
    side, edge = 40, 2
    cols, rows = board.cols + 1, board.rows + 1
    squares = (np.add.outer(np.arange(rows), np.arange(cols)) % 2 * 255).astype(np.uint8)
    sheet = np.kron(squares, np.ones((side, side), np.uint8))
    sheet = cv2.copyMakeBorder(sheet, *[edge * side] * 4, cv2.BORDER_CONSTANT, value=255)
    first = (edge + 1) * side - 0.5
    ends = [corners[0, 0], corners[0, -1], corners[-1, -1], corners[-1, 0]]
    far = first + side * (np.array([board.cols, board.rows]) - 1)
    from_sheet = np.array([[first, first], [far[0], first], far, [first, far[1]]], np.float32)
    warp = cv2.getPerspectiveTransform(from_sheet, np.array(ends, np.float32))
    grey = cv2.warpPerspective(sheet, warp, SIZE, borderValue=180)
    return cv2.cvtColor(cv2.GaussianBlur(grey, (0, 0), 0.8), cv2.COLOR_GRAY2BGR)


@pytest.mark.parametrize("turn", [(0.3, -0.2, 0.1), (-0.2, 0.4, 3.1)])
def test_corners_are_found_where_they_are_and_numbered_alike(turn):
    points = BOARD.flat_points()
    middle = cv2.Rodrigues(np.array(turn))[0] @ points.reshape(-1, 3).mean(axis=0)
    truth = look(points, turn, np.array([0, 0, 14.0]) - middle, np.zeros(5))
    view = find_board("a.png", picture_of(truth, BOARD), BOARD)
    assert view is not None and view.shape == (6, 7)
    # one side is odd, the other even: the colours tell the ends apart, so no turned numbering
    ends = [np.abs(c - truth).max() for c in (view.corners_px, view.corners_px[::-1, ::-1])]
    assert min(ends) < 0.15
    other = look(points, (0.0, 0.0, 0.0), (-3.0, -2.5, 12.0), np.zeros(5))
    upright = find_board("b.png", picture_of(other, BOARD), BOARD)
    turned = [np.abs(c - other).max() for c in (upright.corners_px, upright.corners_px[::-1, ::-1])]
    assert int(np.argmin(ends)) == int(np.argmin(turned))


def test_a_board_cut_by_the_border_is_found_in_part():
    points = BOARD.flat_points()
    truth = look(points, (0.1, 0.2, 0.0), (-3.0, -4.35, 11.0), np.zeros(5))
    assert truth[0, :, 1].max() < 5  # its first row is out of the picture
    view = find_board("a.png", picture_of(truth, BOARD), BOARD)
    assert view is not None and view.shape == (5, 7)


def test_no_board_no_view():
    assert find_board("a.png", np.full((300, 400, 3), 90, np.uint8), BOARD) is None


@pytest.mark.parametrize(("given", "says"), [((2, 6, 0.1), "--board 2x6"), ((9, 6, 0), "--square")])
def test_an_impossible_board(given, says):
    with pytest.raises(InputError, match=says):
        Board(*given)
