"""What every log offers, and which of its frames are wanted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from data.errors import InputError
from data.types import Frame

NS_PER_S = 1_000_000_000
MAX_IMAGE_PX = 100_000_000  # larger pictures are refused before they are decoded
_MAX_FAULTS = 10_000  # a bound for memory: each is named in the record at its frame
_LISTED = 20
_MAX_S = 1e9  # far beyond any drive, and far within what 64 bits of nanoseconds hold


class Log(Protocol):
    """A drive; iterating yields its frames in order of time.

    Attributes:
        name: file or folder name; kind: 'video', 'images', 'bag', 'kitti' or 'live'.
        width_px, height_px: of the first frame, as delivered (upright).
        nominal_fps: the source's mean frame rate, before ``every``.
        expected_frames: how many frames will come; an estimate where the rate varies or the
            source does not say, None where nothing is known.
        time_source: where ``Frame.t_ns`` comes from, for the record.
        faults: what was wrong with the source, filled while iterating.
    """

    name: str
    kind: str
    width_px: int
    height_px: int
    nominal_fps: float
    expected_frames: int | None
    time_source: str
    faults: list[str]

    def __iter__(self) -> Iterator[Frame]: ...


@dataclass(frozen=True)
class Selection:
    """Which frames of a source to deliver.

    ``start_ns`` inclusive and ``stop_ns`` exclusive count from the source's first frame; of the
    frames between, each ``every``-th from the first on, ``max_frames`` at most.
    """

    start_ns: int = 0
    stop_ns: int | None = None
    every: int = 1
    max_frames: int | None = None

    @classmethod
    def checked(
        cls, start_s: float, stop_s: float | None, every: int, max_frames: int | None
    ) -> Selection:
        """Build from options in seconds.

        Raises:
            InputError: an option is out of range, naming it.
        """
        if not 0 <= start_s <= _MAX_S:
            raise InputError(f"--start: expected seconds from 0 to {_MAX_S:g}, given {start_s}")
        if stop_s is not None and not start_s < stop_s <= _MAX_S:
            raise InputError(
                f"--stop: expected seconds above --start {start_s:g}, up to {_MAX_S:g}, "
                f"given {stop_s}"
            )
        if every < 1:
            raise InputError(f"--every: expected a whole number from 1 on, given {every}")
        if max_frames is not None and max_frames < 1:
            raise InputError(f"--max-frames: expected a whole number from 1 on, given {max_frames}")
        stop_ns = None if stop_s is None else round(stop_s * NS_PER_S)
        return cls(round(start_s * NS_PER_S), stop_ns, every, max_frames)

    def expected(self, total: int, rate: Fraction) -> int:
        """Frames delivered of a source of ``total`` frames at a constant ``rate`` (1/s)."""
        first = math.ceil(Fraction(self.start_ns, NS_PER_S) * rate)
        end = total
        if self.stop_ns is not None:
            end = min(end, math.ceil(Fraction(self.stop_ns, NS_PER_S) * rate))
        return self._thinned(max(end - first, 0))

    def expected_at(self, times_ns: list[int]) -> int:
        """Frames delivered of a source whose times are all known."""
        stop = math.inf if self.stop_ns is None else self.stop_ns
        return self._thinned(sum(self.start_ns <= t < stop for t in times_ns))

    def _thinned(self, count: int) -> int:
        count = -(-count // self.every)
        return count if self.max_frames is None else min(count, self.max_frames)


class Picked:
    """Which frames of one pass a selection takes, asked for each in turn.

    Attributes:
        started: whether one was at or behind the start; end_ns: the time of the last asked for.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._first: int | None = None
        self._taken = 0
        self.end_ns = 0

    @property
    def started(self) -> bool:
        return self._first is not None

    def wants(self, index: int, t_ns: int) -> bool | None:
        """Whether to deliver the frame; None for the end: neither it nor a later one."""
        self.end_ns = t_ns
        if self._selection.stop_ns is not None and t_ns >= self._selection.stop_ns:
            return None
        if t_ns < self._selection.start_ns:
            return False
        self._first = index if self._first is None else self._first
        return (index - self._first) % self._selection.every == 0

    def took(self) -> bool:
        """A frame was delivered; whether it was the last."""
        self._taken += 1
        return self._taken == self._selection.max_frames

    def check_started(self, name: str, what: str) -> None:
        """Behind a whole pass.

        Raises:
            InputError: the start lies beyond the end, of which ``what`` is said.
        """
        if not self.started:
            start_s, end_s = self._selection.start_ns / NS_PER_S, self.end_ns / NS_PER_S
            raise InputError(f"{name}: --start {start_s:g} s is beyond {what} at {end_s:.3f} s")


def add_fault(faults: list[str], text: str) -> None:
    """Note a fault, up to a number that no memory minds."""
    if len(faults) < _MAX_FAULTS:
        faults.append(text)
    elif len(faults) == _MAX_FAULTS:
        faults.append("more faults followed and are not listed")


def listed(faults: list[str]) -> list[str]:
    """The first faults, and how many more there were: for a person to read."""
    more = len(faults) - _LISTED
    return [*faults[:_LISTED], *([f"{more} more faults"] if more > 0 else [])]
