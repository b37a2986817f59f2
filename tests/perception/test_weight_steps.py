"""Steps of weights: no sum of neighbours runs over 16 bits, and none is coarser than it must be."""

from __future__ import annotations

import numpy as np
import pytest

from perception.weight_steps import LEVELS, portable_steps, whole_range_steps


def rounded(weight, steps):
    return np.round(weight / steps[:, None, None, None])


def neighbours(levels):
    """Sums of weights (o, i, h, w) next to each other, channels fastest, by sign."""
    row = levels.transpose(0, 2, 3, 1).reshape(len(levels), -1)
    return [(s[:, 1:] + s[:, :-1]) for s in (row.clip(0), (-row).clip(0))]


@pytest.mark.parametrize("shape", [(8, 16, 3, 3), (5, 3, 3, 3), (6, 64, 1, 1), (4, 2, 1, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_two_products_with_bytes_fit_into_16_bits(shape, seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_t(2, size=shape) * rng.uniform(0.01, 100, (shape[0], 1, 1, 1))
    levels = rounded(weight, portable_steps(weight, 1))
    assert np.abs(levels).max() <= LEVELS
    positive, negative = neighbours(levels)
    assert positive.max() * 255 < 2**15 and negative.max() * 255 <= 2**15
    whole = neighbours(rounded(weight, whole_range_steps(weight)))
    assert max(side.max() for side in whole) * 255 > 2**15  # the whole range would not do


def test_only_channels_that_need_it_get_a_coarser_step():
    weight = np.zeros((4, 4, 1, 1))
    weight[0, :, 0, 0] = [2.0, -2.0, 0.0, 2.0]  # neighbours of other signs
    weight[1, :, 0, 0] = [2.0, 2.0, 0.0, 0.0]
    weight[2, :, 0, 0] = [0.0, -2.0, -1.0, 0.0]
    plain, portable = whole_range_steps(weight), portable_steps(weight, 1)
    assert portable / plain == pytest.approx([1.0, 2.0, 1.5, 1.0])
    assert plain[3] > 0  # of nothing but zeros


def test_depthwise_filters_keep_the_whole_range():
    weight = np.random.default_rng(0).normal(size=(6, 1, 3, 3))
    assert (portable_steps(weight, 6) == whole_range_steps(weight)).all()
    assert (portable_steps(weight, 1) > whole_range_steps(weight)).any()
