from __future__ import annotations

import math

import numpy as np
import pytest

from planning.curves import DUBINS_WORDS, REEDS_SHEPP_WORDS, shortest, word


def drive(parts):
    x = y = yaw = 0.0
    for steer, length in parts:
        if steer == 0:
            x, y = x + length * math.cos(yaw), y + length * math.sin(yaw)
        else:
            end = yaw + steer * length
            x += (math.sin(end) - math.sin(yaw)) / steer
            y -= (math.cos(end) - math.cos(yaw)) / steer
            yaw = end
    return x, y, yaw


@pytest.mark.parametrize("reverse, words", [(False, DUBINS_WORDS), (True, REEDS_SHEPP_WORDS)])
def test_every_word_ends_at_the_goal(reverse, words):
    rng = np.random.default_rng(3)
    out, seen = np.zeros((5, 2)), np.zeros(words, int)
    for goal in rng.uniform((-5, -5, -math.pi), (5, 5, math.pi), (800, 3)):
        for k in range(words):
            length = word(k, reverse, *goal, out)
            if math.isinf(length):
                continue
            seen[k] += 1
            x, y, yaw = drive(out)
            assert (x, y) == pytest.approx(goal[:2], abs=1e-6)
            assert math.remainder(yaw - goal[2], 2 * math.pi) == pytest.approx(0, abs=1e-6)
            assert np.abs(out[:, 1]).sum() == pytest.approx(length)
            assert reverse or (out[:, 1] >= 0).all()
    assert (seen > 10).all()


def test_known_lengths():
    out = np.zeros((5, 2))
    assert shortest(False, 5.0, 0.0, 0.0, out) == pytest.approx(5)
    assert shortest(False, 0.0, 2.0, math.pi, out) == pytest.approx(math.pi)
    assert shortest(True, -5.0, 0.0, 0.0, out) == pytest.approx(5)
    # turning on the spot by half a turn: three arcs of a sixth
    assert shortest(True, 0.0, 0.0, math.pi, out) == pytest.approx(math.pi)


def test_reversing_is_never_longer_and_is_symmetric():
    rng = np.random.default_rng(4)
    out = np.zeros((5, 2))
    for x, y, yaw in rng.uniform((-4, -4, -3), (4, 4, 3), (500, 3)):
        both = shortest(True, x, y, yaw, out)
        assert both <= shortest(False, x, y, yaw, out) + 1e-9
        c, s = math.cos(yaw), math.sin(yaw)
        back = shortest(True, -(x * c + y * s), x * s - y * c, -yaw, out)
        assert back == pytest.approx(both)
