"""What is there at the beginning is not searched for garbage; what is made later is."""

from __future__ import annotations

import gc
import weakref

import pytest

from tools.memory import settled


class Ring:
    def __init__(self) -> None:
        self.itself = self


def test_garbage_made_within_is_found_and_what_was_there_before_is_left_alone():
    before = gc.get_freeze_count()
    old = weakref.ref(Ring())  # garbage that is already there goes at once
    kept = Ring()
    with settled():
        assert old() is None
        assert gc.get_freeze_count() > before + 1000
        new, there = weakref.ref(Ring()), weakref.ref(kept)
        del kept
        gc.collect()
        assert new() is None and there() is not None
    gc.collect()
    assert there() is None and gc.get_freeze_count() == 0


def test_an_error_within_ends_it():
    with pytest.raises(ValueError, match="within"), settled():
        raise ValueError("within")
    assert gc.get_freeze_count() == 0
