"""How many threads OpenCV computes on, and how often Python's take turns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cv2


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
