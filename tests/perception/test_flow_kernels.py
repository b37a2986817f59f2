"""The compiled loops of corners and horizon against the same in NumPy."""

from __future__ import annotations

import cv2
import numpy as np

from data.types import Detections, Surfaces
from perception.flow import FlowConfig, Look, corners, points_to_follow
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


def test_corners_are_told_apart_as_in_numpy() -> None:
    rng = np.random.default_rng(5)
    grey, scale = np.zeros((180, 320), np.uint8), 0.25
    xy = np.stack([rng.integers(5, 315, 400), rng.integers(5, 175, 400)], 1).astype(np.float32)
    value = rng.permutation(400).astype(np.float32)
    maps = rng.random((2, 23, 40), np.float32)
    maps = np.stack([cv2.GaussianBlur(m, (0, 0), 2) for m in maps]) * 1.9 - 0.45
    maps[0, 12:14] = np.nan
    surfaces = Surfaces(maps[0], maps[1], (0.03125, 0.03125))
    corner = rng.uniform((0, 300), (1100, 600), (6, 2))
    objects = Detections(np.hstack([corner, corner + 120]), np.ones(6), np.zeros(6))
    config = FlowConfig(ground_points=60, other_points=30)
    got = points_to_follow(Look(grey, 1280, 0.0, xy, value), (60.0, 0.1), objects, surfaces, config)
    box = (objects.xyxy + 0.5) * scale - 0.5 + np.array([-3, -3, 3, 3])
    hidden = ((xy[:, None] > box[:, :2]) & (xy[:, None] < box[:, 2:])).all(2).any(1)
    below = xy[:, 1] - (60 + 0.1 * xy[:, 0])
    sides = np.array([[0, 0], [5, 0], [-5, 0], [0, 5], [0, -5]])
    at = ((xy[:, None] + sides + 0.5) / scale * 0.03125).astype(int).clip(0, (39, 22))
    road = np.maximum(*maps)[at[..., 1], at[..., 0]].min(axis=1) >= config.road
    ground = ~hidden & road & (below > 6)
    other = ~hidden & ~ground & (below < 12)
    assert hidden.sum() > 20 and ground.sum() > 20 and other.sum() > 30
    strongest = [
        sorted(np.flatnonzero(kind), key=lambda i: -value[i])[:most]
        for kind, most in ((ground, 60), (other, 30))
    ]
    np.testing.assert_array_equal(got.xy, xy[[*strongest[0], *strongest[1]]])
    assert got.on_road.sum() == len(strongest[0])
