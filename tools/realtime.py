"""Frames at the times of the log, as from a live camera: the newest one, never a queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace

from tools.feed import Fed
from tools.stack import Seen


@dataclass(frozen=True, eq=False)
class Arrival:
    """A frame, when it came on the clock of ``time.perf_counter``, how many came before it
    and were never taken, and what is being seen in it, where that was begun."""

    fed: Fed
    came_s: float
    skipped: int
    seen: Future[Seen | None] | None = None


def arriving(items: Iterator[Fed]) -> Iterator[Arrival]:
    """Each item at its time, the first at once; one that is not taken before the next is skipped.

    A skipped frame's faults, but for those of its picture, are handed to the next one.
    """
    box = _Newest()
    thread = threading.Thread(target=_pace, args=(items, box), daemon=True)
    thread.start()
    try:
        while (arrival := box.take()) is not None:
            yield arrival
    finally:
        box.stop()
        thread.join()


class _Newest:
    """Room for one frame; a newer one takes its place. The end waits until it was taken."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: Arrival | None = None
        self._last: Fed | None = None
        self._error: BaseException | None = None
        self._ended = self._stopped = False

    def put(self, fed: Fed) -> bool:
        """Offer a frame, or the log's end; False when nobody takes any more."""
        with self._changed:
            if self._stopped:
                return False
            if fed.frame is None:
                self._last, self._ended = fed, True
            else:
                old = self._waiting
                if old is not None:
                    fed = replace(fed, faults=(*_of_stream(old.fed), *fed.faults))
                skipped = 0 if old is None else old.skipped + 1
                self._waiting = Arrival(fed, time.perf_counter(), skipped)
            self._changed.notify_all()
            return True

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def take(self) -> Arrival | None:
        """The newest frame as soon as there is one; the end as an item without a frame."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended or self._error)
            if self._error is not None:
                raise self._error
            found, self._waiting = self._waiting, None
            if found is None and self._last is not None:
                found, self._last = Arrival(self._last, time.perf_counter(), 0), None
            return found

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Sleep; False when stopped meanwhile."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._stopped, max(seconds, 0.0))


def _of_stream(fed: Fed) -> tuple[str, ...]:
    """Faults that were not of the skipped picture itself."""
    keep = ("corrupt", "source", "time-back", "time-jump", "gap")
    return tuple(f for f in fed.faults if f.startswith(tuple(f"{k}:" for k in keep)))


def _pace(items: Iterator[Fed], box: _Newest) -> None:
    begin_s: float | None = None
    first_ns = 0
    try:
        for fed in items:
            if fed.frame is not None:
                if begin_s is None:
                    begin_s, first_ns = time.perf_counter(), fed.frame.t_ns
                due_s = begin_s + (fed.frame.t_ns - first_ns) / 1e9
                if not box.wait(due_s - time.perf_counter()):
                    return
            if not box.put(fed):
                return
    except BaseException as e:  # raised where the frames are taken
        box.fail(e)
