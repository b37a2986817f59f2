"""Rounding of weights: within a step, within bounds, and better than each to its nearest."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from perception.rounding import Covariance, Window, round_to_steps  # noqa: E402
from perception.weight_steps import LEVELS, portable_steps, whole_range_steps  # noqa: E402


def alike(rng, groups, k):
    """Covariance of numbers that rise and fall together, as neighbouring pixels do."""
    mixed = rng.normal(size=(groups, k, 3)) + 2.0
    return mixed @ mixed.transpose(0, 2, 1) + 0.05 * np.eye(k)


def errors(weight, rounded, covariance):
    """(o,): squared error of each output."""
    groups, k, _ = covariance.shape
    off = (rounded.astype(np.float64) - weight).reshape(groups, -1, k)
    return np.einsum("gok,gkl,gol->go", off, covariance, off).ravel()


def levels_of(rounded, steps):
    levels = rounded / steps[:, None, None, None]
    assert np.abs(levels - np.round(levels)).max() < 1e-4
    return np.round(levels)


@pytest.mark.parametrize(
    ("shape", "groups"),
    [((12, 8, 3, 3), 1), ((6, 1, 5, 5), 6), ((16, 64, 1, 1), 1), ((8, 2, 3, 3), 4)],
)
def test_outputs_change_far_less_than_by_rounding_to_the_nearest(shape, groups):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=shape)
    steps, k = whole_range_steps(weight) * 16, shape[1] * shape[2] * shape[3]
    covariance = alike(rng, groups, k)
    fitted, nearest = (round_to_steps(weight, steps, c) for c in (covariance, None))
    assert fitted.shape == shape and fitted.dtype == np.float32
    assert np.abs(weight - nearest).max() <= steps.max() * 0.5001
    far = np.abs(weight - fitted) / steps[:, None, None, None]
    assert far.max() < 1.0001
    before, after = (errors(weight, w, covariance) for w in (nearest, fitted))
    assert (after <= before).all() and after.sum() < 0.2 * before.sum()


def test_no_weight_can_be_moved_alone_for_less_error():
    rng = np.random.default_rng(1)
    weight, covariance = rng.normal(size=(3, 3, 3, 3)), alike(rng, 1, 27)
    covariance += 0.003 * np.trace(covariance[0]) / 27 * np.eye(27)
    steps = whole_range_steps(weight) * 8
    fitted = round_to_steps(weight, steps, covariance)
    least = errors(weight, fitted, covariance)
    for at in itertools.product(range(3), range(3), range(3)):
        for way in (-1, 1):
            other = fitted.copy()
            other[(slice(None), *at)] += way * steps
            within = np.abs(other - weight)[(slice(None), *at)] < steps
            assert (errors(weight, other, covariance)[within] >= least[within] * 0.99).all()


def test_a_layer_of_four_weights_is_rounded_about_as_well_as_it_can_be():
    rng = np.random.default_rng(2)
    weight, covariance = rng.normal(size=(40, 1, 2, 2)), alike(rng, 40, 4)
    steps = whole_range_steps(weight) * 30
    after = errors(weight, round_to_steps(weight, steps, covariance), covariance)
    exact = weight / steps[:, None, None, None]
    ways = [np.floor(exact) + np.reshape(up, (1, 1, 2, 2)) for up in np.ndindex(2, 2, 2, 2)]
    each = [errors(weight, w * steps[:, None, None, None], covariance) for w in ways]
    nearest = errors(weight, round_to_steps(weight, steps, None), covariance)
    assert (np.min(each, axis=0) <= after * 1.0001).all()  # no other step than those next to it
    assert np.median(after / np.min(each, axis=0)) < 1.5 < np.median(nearest / np.min(each, axis=0))


@pytest.mark.parametrize("seed", range(4))
def test_two_products_with_bytes_still_fit_into_16_bits(seed):
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 1.0, (16, 8, 3, 3)) * rng.choice([-1, 1], (16, 1, 1, 1))
    steps = portable_steps(weight, 1)
    fitted = round_to_steps(weight, steps, alike(rng, 1, 72))
    levels = levels_of(fitted, steps)
    assert (levels != levels_of(round_to_steps(weight, steps, None), steps)).any()
    row = levels.transpose(0, 2, 3, 1).reshape(16, -1)
    assert np.abs(row[:, :-1] + row[:, 1:]).max() <= 128


def test_a_weight_at_the_end_of_the_range_stays_within_it():
    rng = np.random.default_rng(3)
    weight = np.where(rng.random((4, 1, 3, 3)) < 0.5, 1.0, rng.normal(size=(4, 1, 3, 3)) / 4)
    weight[:, 0, 0, 0] = [1.0, -1.0, 1.0, -1.0]
    steps = whole_range_steps(weight)
    for covariance in (alike(rng, 4, 9), None):
        levels = levels_of(round_to_steps(weight, steps * (1 - 1e-9), covariance), steps)
        assert np.abs(levels).max() == LEVELS


def test_what_cannot_be_squared_and_what_is_never_read_leave_the_nearest():
    rng = np.random.default_rng(4)
    weight = rng.normal(size=(4, 2, 3, 3))
    steps = whole_range_steps(weight)
    nearest = round_to_steps(weight, steps, None)
    for covariance in (np.full((1, 18, 18), np.inf), np.zeros((1, 18, 18))):
        assert (round_to_steps(weight, steps, covariance) == nearest).all()
    huge = Covariance()
    huge.add(np.full((1, 2, 5), 1e30, np.float32))
    assert not np.isfinite(huge.matrix()).any()


@pytest.mark.parametrize(
    ("groups", "kernel", "strides", "dilations", "pads"),
    [
        (1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
        (6, (5, 5), (2, 2), (1, 1), (1, 1, 2, 2)),
        (2, (1, 3), (2, 1), (1, 2), (0, 2, 0, 2)),
        (1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    ],
)
def test_what_is_read_times_the_weights_is_the_convolution(
    groups, kernel, strides, dilations, pads
):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6, 11, 14)).astype(np.float32)
    weight = rng.normal(size=(12, 6 // groups, *kernel)).astype(np.float32)
    node = onnx.helper.make_node(
        "Conv", ["x", "w"], ["y"], group=groups, strides=strides, dilations=dilations, pads=pads
    )
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    given = torch.from_numpy(padded)[None], torch.from_numpy(weight)
    want = torch.nn.functional.conv2d(
        *given, stride=strides, dilation=dilations, groups=groups
    ).numpy()[0]
    places = tuple(g.ravel() for g in np.meshgrid(*map(np.arange, want.shape[1:]), indexing="ij"))
    window = Window.of(node, kernel)
    read = window.read(x, places)
    assert read.shape == (groups, 6 // groups * kernel[0] * kernel[1], len(places[0]))
    rows = weight.reshape(groups, 12 // groups, -1)
    assert np.matmul(rows, read).reshape(want.shape) == pytest.approx(want, abs=1e-4)


def test_a_padding_that_is_not_written_down_is_left_alone():
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER")
    assert Window.of(node, (3, 3)) is None


def test_the_covariance_is_that_of_all_samples_together():
    rng = np.random.default_rng(6)
    parts = [rng.normal(size=(2, 4, n)).astype(np.float32) + 1.5 for n in (30, 50)]
    gathered = Covariance()
    for part in parts:
        gathered.add(part)
    assert gathered.samples == 80
    for g in range(2):
        want = np.cov(np.concatenate([p[g] for p in parts], axis=1), bias=True)
        assert gathered.matrix()[g] == pytest.approx(want, abs=1e-5)
