"""What a long replay's memory is judged by."""

from __future__ import annotations

import pytest

from tools.soak import growth_of


def test_growth_and_how_sure_it_is() -> None:
    steady = [(100 * i, 300.0 + 5 * (-1) ** i) for i in range(40)]
    slope, error = growth_of(steady)
    assert abs(slope) < 2 * error
    leaking = [(n, mb + 0.01 * n) for n, mb in steady]
    assert growth_of(leaking) == (pytest.approx(slope + 0.01), pytest.approx(error))
