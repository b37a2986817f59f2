"""What a long replay's memory is judged by."""

from __future__ import annotations

import pytest

from tools.soak import growth_of, main


def test_growth_and_how_sure_it_is() -> None:
    steady = [(100 * i, 300.0 + 5 * (-1) ** i) for i in range(40)]
    slope, error = growth_of(steady)
    assert abs(slope) < 2 * error
    leaking = [(n, mb + 0.01 * n) for n, mb in steady]
    assert growth_of(leaking) == (pytest.approx(slope + 0.01), pytest.approx(error))


@pytest.mark.parametrize(
    ("used", "code"),
    [
        ([300.0] * 30, 0),
        ([300.0 + 2 * n for n in range(30)], 1),  # a leak
        ([300.0 + 40 * (n % 2) for n in range(20)] + [330.0] * 10, 0),  # up and down
    ],
)
def test_the_verdict_is_of_growth_beyond_chance(monkeypatch, capsys, used, code) -> None:
    seen = [(100 * n, mb) for n, mb in enumerate(used)]
    monkeypatch.setattr("tools.soak.soak", lambda *_: seen)
    monkeypatch.setattr("sys.argv", ["soak", "x.mp4"])
    assert main() == code
    assert "standard error" in capsys.readouterr().out
