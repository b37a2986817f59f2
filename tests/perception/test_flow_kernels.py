"""The compiled loops of corners and horizon against the same in NumPy."""

from __future__ import annotations

import cv2
import numpy as np

from perception.flow import corners
from perception.horizon_kernels import count_votes


def test_the_strongest_round_corner_of_each_cell() -> None:
    rng = np.random.default_rng(0)
    grey = cv2.GaussianBlur(rng.integers(0, 256, (90, 157), dtype=np.uint8), (0, 0), 1.5)
    grey[:, 40:80] = np.where(np.arange(40) > 20, 200, 30)  # an edge: strong, and no corner
    xy, value = corners(grey, 1e-3)
    strength = np.asarray(cv2.cornerMinEigenVal(grey, 5))
    du = grey[1:-1, 2:].astype(int) - grey[1:-1, :-2]
    dv = grey[2:, 1:-1].astype(int) - grey[:-2, 1:-1]
    expected = []
    for top in range(0, 88, 8):
        for left in range(0, 152, 8):
            cell = strength[top : top + 8, left : left + 8]
            y, x = (int(n) for n in np.unravel_index(cell.argmax(), cell.shape))
            y, x = y + top, x + left
            if cell.max() < 1e-3 or not (5 <= x < 152 and 5 <= y < 85):
                continue
            near = slice(y - 3, y + 2), slice(x - 3, x + 2)  # of the inner pixels
            uu, uv, vv = (int((a[near] * b[near]).sum()) for a, b in ((du, du), (du, dv), (dv, dv)))
            if uu * vv - uv * uv > 0.1 / 1.1**2 * (uu + vv) ** 2:
                expected.append((x, y))
    assert 30 < len(expected) < 209
    np.testing.assert_array_equal(xy, np.array(expected, np.float32))
    np.testing.assert_array_equal(value, [strength[y, x] for x, y in expected])


def test_votes_of_lines_for_the_places_they_run_through() -> None:
    rng = np.random.default_rng(0)
    grid = rng.uniform(0, 300, (40, 2)).astype(np.float32)
    point = rng.uniform(100, 400, (60, 2)).astype(np.float32)
    angle = rng.uniform(0, np.pi, 60)
    normal = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    near = rng.uniform(0.1, 1, 60).astype(np.float32)
    votes = np.zeros(40, np.float32)
    count_votes(grid, point, normal, near, 20.0, 0.08, votes)
    ray = (grid[:, None] - point).astype(np.float64)
    sine = (ray * normal).sum(axis=2) / np.maximum(np.hypot(ray[..., 0], ray[..., 1]), 1)
    each = np.where(ray[..., 1] > -20, 0, near / np.square(1 + np.square(sine / 0.08)))
    np.testing.assert_allclose(votes, each.sum(axis=1), rtol=1e-4, atol=1e-5)
    assert votes.max() > 1 and (each == 0).any()
