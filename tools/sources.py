"""The source of a replay: a log, the rendered drive as one, or one played over and over."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from data.errors import InputError
from data.logs import Log, Selection, open_log
from data.logs.selection import add_fault
from data.types import Frame
from tools.inject import InjectedLog, load_faults


def open_source(a: argparse.Namespace) -> Log:
    """What the options of a replay name, looped and with faults in it where they say so.

    Raises:
        InputError: it cannot be opened, or takes no such option.
    """
    log: Log
    if a.source is None:
        for option, value in (("--topic", a.topic), ("--fps", a.fps)):
            if value is not None:
                raise InputError(f"{option} {value}: the built-in drive takes none; give a SOURCE")
        log = BuiltInDrive(a.seed, Selection.checked(a.start, a.stop, a.every, a.max_frames))
    else:
        if a.seed:
            raise InputError(f"--seed {a.seed}: is of the built-in drive; give it or a SOURCE")
        log = open_log(
            a.source, start_s=a.start, stop_s=a.stop, every=a.every, max_frames=a.max_frames,
            fps=a.fps, topic=a.topic, live=a.live,
        )  # fmt: skip
        notes = list(getattr(log, "notes", ()))
        if a.fps is not None and not a.live and f" {a.fps:g} fps" not in f" {log.time_source}":
            times = f"has times of its own ({log.time_source})"
            notes.append(f"--fps {a.fps:g} is not used: {a.source} {times}")
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
    if a.loop > 1:
        log = LoopedLog(log, a.loop)
    return InjectedLog(log, load_faults(a.inject)) if a.inject else log


class BuiltInDrive:
    """The rendered drive as a log; see ``data.logs.Log``."""

    kind = "synthetic"
    time_source = "the renderer's clock"

    def __init__(self, seed: int, selection: Selection) -> None:
        from data.synthetic.drive import SyntheticDrive

        if seed < 0:
            raise InputError(f"--seed {seed}: expected a whole number from 0 on")
        self._drive = SyntheticDrive(seed=seed)
        self._selection = selection
        last_ns = self._drive.t_ns(len(self._drive) - 1)
        if selection.start_ns > last_ns:
            raise InputError(
                f"--start {selection.start_ns / 1e9:g}: the built-in drive ends at "
                f"{last_ns / 1e9:g} s"
            )
        self.name = f"built-in drive, seed {seed}"
        camera = self._drive.camera
        self.width_px, self.height_px = camera.width_px, camera.height_px
        self.nominal_fps = float(self._drive.fps)
        rate = Fraction(self.nominal_fps)
        self.expected_frames: int | None = selection.expected(len(self._drive), rate)
        self.faults: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        chosen, wanted, given = self._selection, 0, 0
        for index in range(len(self._drive)):  # what is not wanted is not rendered either
            t_ns = self._drive.t_ns(index)
            if t_ns < chosen.start_ns:
                continue
            if chosen.stop_ns is not None and t_ns >= chosen.stop_ns:
                return
            if wanted % chosen.every == 0:
                if chosen.max_frames is not None and given >= chosen.max_frames:
                    return
                given += 1
                yield self._drive.frame(index)
            wanted += 1


class LoopedLog:
    """A log played ``times`` times in a row; indices and times go on, so that no frame has
    those of another. Each pass begins a usual interval after the one before.

    ``faults`` holds those of all passes, what was found on opening once."""

    def __init__(self, log: Log, times: int) -> None:
        self._log, self._times = log, times
        self.name, self.kind, self.time_source = log.name, log.kind, log.time_source
        self.width_px, self.height_px = log.width_px, log.height_px
        self.nominal_fps, self.faults = log.nominal_fps, list(log.faults)
        self._opening = tuple(log.faults)
        n = log.expected_frames
        self.expected_frames: int | None = None if n is None else n * times

    def __iter__(self) -> Iterator[Frame]:
        self.faults[:] = self._opening
        index, t_ns = 0, 0
        for _ in range(self._times):
            first, told = None, 0
            last_index, last_ns, step_ns = index - 1, t_ns, round(1e9 / (self.nominal_fps or 25))
            for frame in self._log:
                told = self._take_faults(told)
                first = first or frame
                new_ns = t_ns + frame.t_ns - first.t_ns
                step_ns = new_ns - last_ns if new_ns > last_ns else step_ns
                last_index, last_ns = index + frame.index - first.index, new_ns
                yield replace(frame, index=last_index, t_ns=new_ns)
            self._take_faults(told)
            index, t_ns = last_index + 1, last_ns + step_ns
            gc.collect()  # a closed video is in cycles, with its pictures of many megabytes

    def _take_faults(self, told: int) -> int:
        """Take over the faults of this pass but the first ``told``; returns how many there are."""
        for fault in self._log.faults[told:]:
            if fault not in self._opening:
                add_fault(self.faults, fault)
        return len(self._log.faults)
