"""How many threads OpenCV computes on, how often Python's take turns, and which go first."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import cv2

_BEHIND = 5  # of 19: a third of another thread's share, not to starve beside other programs


@contextmanager
def opencv_on_one_thread() -> Iterator[None]:
    """OpenCV on one thread: its times are then of one core, and the order of its sums fixed."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def short_turns() -> Iterator[None]:
    """Python's threads take turns each millisecond, not each five: one that is done with what it
    does without the interpreter's lock would wait as long for the lock."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-3)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def step_back() -> None:
    """Let other threads go before the calling one, where each has a priority of its own (Linux):
    for work done ahead, whose result nobody waits for yet."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it
            os.nice(_BEHIND)
