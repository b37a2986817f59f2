from __future__ import annotations

import math

import numpy as np
import pytest

from planning.footprint import (
    Body,
    arc_room,
    clearance,
    corner_hits,
    field_of,
    room,
    touches_between,
)
from tools.bench_plan_check import gaps, hits
from tools.bench_plan_maps import VEHICLE

BODY = Body(1.15, 2.15, 1.0)  # of VEHICLE


def test_one_cell_beside_the_vehicle():
    occupied = np.zeros((80, 80), bool)
    occupied[45, 40] = True  # the square x 10.0 to 10.25, y 11.25 to 11.5
    field = field_of(occupied, 0.25)
    assert room(field, BODY, 9.0, 10.24, 1.0, 0.0) > 0
    assert room(field, BODY, 9.0, 10.26, 1.0, 0.0) < 0
    at = np.array([[9.0, 10.0, 0.0]])
    assert clearance(field, BODY, at, 5.0) == pytest.approx(0.25)


def test_outside_the_grid_is_occupied():
    field = field_of(np.zeros((80, 80), bool), 0.25)
    assert room(field, BODY, 1.01, 10.0, 1.0, 0.0) > 0
    assert room(field, BODY, 0.99, 10.0, 1.0, 0.0) < 0
    assert clearance(field, BODY, np.array([[10.0, 10.0, 0.0]]), 5.0) == 5.0
    assert clearance(field, BODY, np.array([[10.0, 10.0, 0.0], [0.99, 10.0, 0.0]]), 5.0) == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_separating_axes_on_random_grids(seed):
    rng = np.random.default_rng(seed)
    occupied = rng.random((60, 60)) < 0.012
    field = field_of(occupied, 0.25)
    poses = rng.uniform((3, 3, -4), (12, 12, 4), (400, 3))
    poses[:40, 2] = rng.integers(-2, 3, 40) * math.pi / 2  # along the cells
    ours = [room(field, BODY, x, y, math.cos(a), math.sin(a)) < 0 for x, y, a in poses]
    theirs = hits(occupied, 0.25, poses, VEHICLE)
    assert 20 < theirs.sum() < 380
    assert (np.array(ours) == theirs).all()


def test_clearance_agrees_with_distances_between_shapes():
    rng = np.random.default_rng(9)
    occupied = rng.random((80, 80)) < 0.002
    field = field_of(occupied, 0.25)
    for pose in rng.uniform((4, 4, -3), (16, 16, 3), (60, 3)):
        touches, gap = gaps(occupied, 0.25, pose[None], VEHICLE, 20.0)
        if not touches[0]:
            assert clearance(field, BODY, pose[None], 20.0) == pytest.approx(gap, abs=1e-6)


def test_front_corner_is_checked_between_poses():
    """Turning left the right front corner swings past a cell that no checked pose touches."""
    start = np.array([10.0, 10.0, 0.0])
    curvature, step = 0.228, 0.25
    s = np.linspace(0, 0.25, 26)
    corner = [
        (
            10 + math.sin(curvature * d) / curvature + 3.3 * math.cos(curvature * d)
            + math.sin(curvature * d),
            10 + (1 - math.cos(curvature * d)) / curvature + 3.3 * math.sin(curvature * d)
            - math.cos(curvature * d),
        )
        for d in s
    ]  # fmt: skip
    cell = 0.01
    occupied = np.zeros((2000, 2000), bool)
    x, y = corner[13]
    c, r = int(x / cell), int(y / cell)
    occupied[r - 3 : r + 4, c - 3 : c + 4] = True
    field = field_of(occupied, cell)
    for d in (0.0, 0.25):
        pose = start.copy()
        assert room(field, BODY, pose[0] + d * 0.99, pose[1] + 0.007 * d / 0.25,
                    math.cos(curvature * d), math.sin(curvature * d)) > 0  # fmt: skip
    assert arc_room(field, BODY, start.copy(), curvature, 0.25, step) < 0
    turn = curvature * 0.25
    end = start + (math.sin(turn) / curvature, (1 - math.cos(turn)) / curvature, turn)
    assert touches_between(field, BODY, np.array([end, end]), 1) > 0
    assert touches_between(field, BODY, np.array([start, end]), 1) < 0


@pytest.mark.parametrize("cell, share, bend", [(0.05, 0.004, 0.6), (0.2, 0.03, 0.1)])
def test_corners_are_left_unlooked_at_only_where_they_touch_nothing(cell, share, bend):
    """Steps of turns among cells that the corners pass near to, at every heading."""
    rng, touched, passed = np.random.default_rng(4), 0, 0
    occupied = rng.random((round(12 / cell), round(12 / cell))) < share
    field = field_of(occupied, cell)
    for x, y, yaw in rng.uniform((4.5, 4.5, -4), (7.5, 7.5, 4), (6000, 3)):
        step = rng.choice((-1.0, 1.0)) * rng.uniform(0.02, 0.3)
        turn = step * rng.uniform(-bend, bend)
        cos, sin = math.cos(yaw), math.sin(yaw)
        to_x, to_y = x + step * math.cos(yaw + turn / 2), y + step * math.sin(yaw + turn / 2)
        to_cos, to_sin = math.cos(yaw + turn), math.sin(yaw + turn)
        small = Body(0.4, 0.7, 0.3)
        here = room(field, small, to_x, to_y, to_cos, to_sin)
        hit = corner_hits(field, small, x, y, cos, sin, to_x, to_y, to_cos, to_sin, turn * step)
        poses = np.array([[x, y, yaw], [to_x, to_y, yaw + turn]])
        assert (touches_between(field, small, poses, 1) < 0) == (here < 0 or hit)
        touched, passed = touched + (here >= 0 and hit), passed + (here >= 0 and not hit)
    assert touched > 10 and passed > 500
