"""The own motion's inner loops against NumPy and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from data.camera import Camera
from perception.flow import Points
from perception.pair_fit import PairConfig, fit_pair
from perception.pair_kernels import moved, ranked, shifted_by, solved, turned_by


def axes_of(seed: int) -> np.ndarray:
    """Ahead, left and up of a vehicle in axes of some camera on it."""
    turn = cv2.Rodrigues(np.random.default_rng(seed).normal(0, 0.2, 3))[0]
    return np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]) @ turn


def test_turning_is_that_about_the_vehicles_axes() -> None:
    axes = axes_of(1)
    ahead, left, up = axes
    yaw, pitch, roll = 0.3, -0.1, 0.05
    want = (
        cv2.Rodrigues(-pitch * left)[0] @ cv2.Rodrigues(-roll * ahead)[0]
    ) @ cv2.Rodrigues(-yaw * up)[0]  # fmt: skip
    assert np.allclose(turned_by(axes, np.array([2.0, yaw, pitch, roll])), want, atol=1e-12)
    # the camera stands 1.5 m ahead of the axle that the car turns about
    way = shifted_by(axes, 1.5, np.array([2.0, yaw, pitch, roll]))
    assert np.allclose(axes @ way, (2.0, 2.0 * yaw / 2 + 1.5 * yaw, 0.0), atol=1e-12)


def test_points_move_as_the_road_and_as_the_far_away_do() -> None:
    rng, axes, height = np.random.default_rng(2), axes_of(3), 1.4
    rays = np.column_stack([rng.uniform(-0.6, 0.6, (60, 2)), np.ones(60)])
    on_road = rng.random(60) < 0.6
    motion = np.array([1.2, 0.02, 0.01, -0.01])
    turned, shift = turned_by(axes, motion), shifted_by(axes, 1.5, motion)
    down = -(rays @ axes[2])
    ground = on_road & (down > 1e-4)
    want = rays.copy()
    want[ground] = rays[ground] * (height / down[ground])[:, None] - shift
    want = want @ turned.T
    seen = (want[:, 2] > 0.1) & (ground | ~on_road)
    got, ok = rays.copy(), np.empty(60, np.bool_)
    moved(got, on_road, axes, height, turned, shift, ok)
    assert (ok == seen).all() and 0 < (~ok).sum() < 40 and (ok & on_road).any()
    assert np.allclose(got[ok], want[ok], atol=1e-12) and (got[~ok] == (0, 0, 1)).all()


def test_the_ranked_value_is_that_of_sorting() -> None:
    rng = np.random.default_rng(6)
    for n in (0, 1, 2, 7, 60, 301):
        for values in (rng.random(n), rng.integers(0, 4, n).astype(float)):
            kinds, found = rng.random(n) < 0.5, np.empty(n)
            for kind in (True, False):
                want = np.sort(values[kinds == kind])
                for share in (0.0, 0.5, 0.8, 1.0):
                    place = ranked(values, kinds, kind, share, found)
                    assert place == (int(share * (len(want) - 1)) if len(want) else -1)
                    assert not len(want) or found[place] == want[place]


def test_solving_is_numpy_s_and_refuses_what_has_no_one_answer() -> None:
    rng = np.random.default_rng(5)
    for n in (1, 3, 4):
        half, right, out = rng.normal(0, 1, (n + 2, n)), rng.normal(0, 1, n), np.empty(n)
        matrix = half.T @ half * 1e5
        assert solved(matrix, right, out)
        assert np.allclose(out, np.linalg.solve(matrix, right), rtol=1e-9, atol=0)
    for bad in (np.zeros((2, 2)), np.diag([1.0, -1.0]), np.full((2, 2), np.nan)):
        assert not solved(bad, np.ones(2), np.empty(2))


def test_points_that_are_no_numbers_tell_no_motion() -> None:
    rng, camera = np.random.default_rng(4), Camera.assumed(640, 360)
    xy = np.column_stack([rng.uniform(50, 590, 40), rng.uniform(60, 340, 40)]).astype(np.float32)
    points = Points(xy, xy[:, 1] > 220)
    assert fit_pair(points, xy, np.zeros(4), 0.1, camera, PairConfig()) is not None
    for wrong in (np.nan, np.inf):
        found = xy.copy()
        found[3] = wrong
        assert fit_pair(points, found, np.zeros(4), 0.1, camera, PairConfig()) is None
