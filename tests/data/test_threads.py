"""Which threads go first."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.threads import step_back


@pytest.mark.skipif(sys.platform != "linux", reason="threads share one priority here")
def test_only_the_thread_that_asks_steps_back():
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with ThreadPoolExecutor(1, initializer=step_back) as pool:
        behind = pool.submit(os.getpriority, os.PRIO_PROCESS, 0).result()
    assert behind == min(own + 5, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_where_it_is_forbidden_nothing_happens(monkeypatch):
    def forbidden(_):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "nice", forbidden)
    step_back()
