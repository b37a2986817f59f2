"""Many numbers to JSON at once, beside Python's own rounding and writing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tools.json_numbers import MOST_DIGITS, json_rows


def _by_python(values: NDArray[np.float64], digits: int) -> list[str]:
    rows = [[round(v, digits) + 0.0 if math.isfinite(v) else None for v in row]
            for row in values.tolist()]  # fmt: skip
    return [json.dumps(row, separators=(",", ":"))[1:-1] for row in rows]


@pytest.mark.parametrize("digits", range(1, MOST_DIGITS + 1))
def test_numbers_of_all_sizes_are_written_as_python_writes_them(digits: int) -> None:
    rng = np.random.default_rng(digits)
    values = rng.standard_normal((20_000, 5)) * 10.0 ** rng.integers(-7, 11, (20_000, 1))
    assert json_rows(values, digits) == _by_python(values, digits)


@pytest.mark.parametrize("digits", range(1, MOST_DIGITS + 1))
def test_middles_round_as_pythons_do(digits: int) -> None:
    whole = np.arange(-2000, 2000) / 10**digits
    middle = whole + 0.5 / 10**digits  # a few are exact, most lie a bit off
    values = np.stack([whole, middle, np.nextafter(middle, 9), np.nextafter(middle, -9)], axis=1)
    for row in values:  # each by itself, as one doubtful number hands all to Python
        assert json_rows(row[None], digits) == _by_python(row[None], digits)


def test_what_is_no_usual_number() -> None:
    odd = [0.0, -0.0, -1e-9, 5e-324, np.nan, np.inf, -np.inf, 1e11, -1e17, 1e300, 123456789012.345]
    values = np.array(odd)[:, None]
    assert json_rows(values, 3) == _by_python(values, 3)
    for row in values:
        assert json_rows(row[None], 3) == _by_python(row[None], 3)
    assert json_rows(np.array([[np.nan, 1.0], [-0.0, 2.25]]), 2) == ["null,1.0", "0.0,2.25"]


def test_no_rows_and_no_columns() -> None:
    assert json_rows(np.zeros((0, 4)), 1) == []
    assert json_rows(np.zeros((2, 0)), 1) == ["", ""]


def test_single_precision_is_rounded_as_the_double_of_its_value() -> None:
    values = np.random.default_rng(0).uniform(0, 1280, (5000, 4)).astype(np.float32)
    assert json_rows(values, 1) == _by_python(values.astype(np.float64), 1)
