"""Which frames of a pass are taken, and how faults are kept and told."""

from __future__ import annotations

import pytest

from data.errors import InputError
from data.logs.selection import Picked, Selection, add_fault, listed

S = 1_000_000_000


def taken(selection: Selection, count: int = 10) -> list[int]:
    """Of frames 5 to 14 at 0, 1, 2, ... seconds."""
    picked, found = Picked(selection), []
    for i in range(count):
        wanted = picked.wants(5 + i, i * S)
        if wanted is None:
            break
        if wanted:
            found.append(5 + i)
            if picked.took():
                break
    return found


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), list(range(5, 15))),
        (Selection(start_ns=3 * S, stop_ns=6 * S), [8, 9, 10]),
        (Selection(start_ns=3 * S, every=3), [8, 11, 14]),
        (Selection(every=2, max_frames=2), [5, 7]),
    ],
)
def test_selection(selection: Selection, expected: list[int]) -> None:
    assert taken(selection) == expected


def test_a_start_beyond_the_end() -> None:
    picked = Picked(Selection(start_ns=99 * S))
    assert picked.wants(0, 4 * S) is False
    with pytest.raises(InputError, match=r"v: --start 99 s is beyond the last frame at 4\.000 s"):
        picked.check_started("v", "the last frame")


def test_faults_are_all_kept_but_not_all_told() -> None:
    faults: list[str] = []
    for i in range(30):
        add_fault(faults, f"frame {i}")
    assert len(faults) == 30
    assert listed(faults)[-2:] == ["frame 19", "10 more faults"]
    assert listed(faults[:20]) == faults[:20]
