"""Where calibration looks: half of it at objects."""

from __future__ import annotations

import numpy as np
import pytest

from data.types import F32
from perception.int8_measure import _best_range, _Places, _some_values

SIZE = (640, 384)


def places(*boxes: tuple[float, float, float, float]) -> _Places:
    return _Places(np.array(boxes, np.float32).reshape(-1, 4), SIZE)


def inside(y: np.ndarray, x: np.ndarray, box: tuple[float, ...], stride: int) -> np.ndarray:
    left, top, right, bottom = (int(v / stride) for v in box)
    return (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


@pytest.mark.parametrize("stride", [2, 4, 32])
def test_half_of_the_places_lie_within_objects_each_alike(stride):
    near, far = (64.0, 128.0, 320.0, 300.0), (500.0, 180.0, 516.0, 192.0)
    rows, columns = SIZE[1] // stride, SIZE[0] // stride
    y, x = places(near, far).drawn(np.random.default_rng(0), 20_000, rows, columns)
    assert 0 <= y.min() <= y.max() < rows and 0 <= x.min() <= x.max() < columns
    anywhere = [inside(y[10_000:], x[10_000:], box, stride).mean() for box in (near, far)]
    for box, share in zip((near, far), anywhere, strict=True):
        assert inside(y[:10_000], x[:10_000], box, stride).mean() == pytest.approx(0.5, abs=0.02)
        assert share < 0.25


def test_without_objects_all_places_are_alike():
    y, x = places().drawn(np.random.default_rng(0), 40_000, 4, 5)
    counts = np.bincount(y * 5 + x, minlength=20)
    assert counts.min() > 1800 and counts.max() < 2200


def test_a_box_that_reaches_beyond_the_picture_gives_places_within_it():
    box = (-1e9, -50.0, 1e9, 1e9)
    y, x = places(box).drawn(np.random.default_rng(0), 1000, 96, 160)
    assert 0 <= y.min() <= y.max() < 96 and 0 <= x.min() <= x.max() < 160


def test_large_numbers_that_only_an_object_brings_are_kept():
    """What tells a near vehicle is rare in a picture: cut off, it makes the vehicle smaller."""
    rng = np.random.default_rng(1)
    tensor = np.abs(rng.normal(0, 1, (1, 8, 96, 160))).astype(np.float32)
    tensor[0, 3, 51, 61] = 40.0
    box = (240.0, 200.0, 256.0, 216.0)  # of 4x4 cells about it

    def top(where: _Places) -> float:
        some: list[F32] = [_some_values(tensor, where, rng) for _ in range(2)]
        return _best_range(np.concatenate(some), 0.0, float(tensor.max()), signed=False)[1]

    assert top(places()) < 0.7 * tensor.max()
    assert top(places(box)) > 0.9 * tensor.max()


def test_values_of_anything_but_a_map_are_drawn_from_all():
    some = _some_values(
        np.arange(12.0, dtype=np.float32)[None], places((0, 0, 9, 9)), np.random.default_rng(0)
    )
    assert len(some) == 12 and set(some) <= set(range(12))
