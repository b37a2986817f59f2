"""A video file as a log, read by PyAV with exact times."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from av.video.frame import VideoFrame

from data.errors import InputError
from data.logs.decoding import VideoFacts, Wake, decode_from, read_facts
from data.logs.selection import NS_PER_S, Picked, Selection, add_fault
from data.logs.source import shown
from data.logs.upright import to_bgr
from data.types import U8, Frame

_END_DOUBT_NS = 10 * NS_PER_S


class VideoLog:
    """The frames of a video's first video stream, upright, in order of time; see ``Log``.

    Times are exact (pts * time base); where the file has no display times that can be trusted (raw
    streams, H.264 or HEVC in AVI or ASF) frames are taken in the order they come, at the file's
    rate. A start is reached by seeking if there are times, and index, time and pixels are always
    those of decoding from the beginning. Damage is noted in ``faults``; what can be decoded
    is delivered.

    Raises:
        InputError: not a video, cut short before its index, no video stream, no frame that can be
            decoded, above 100 megapixels, or a start after the end.
    """

    kind = "video"

    def __init__(self, path: Path, selection: Selection, fps: float | None = None) -> None:
        self.name = path.name
        self.faults: list[str] = []
        self._path = path
        self._selection = selection
        self._facts = facts = read_facts(path, None if fps is None else Fraction(str(fps)))
        self.width_px, self.height_px = facts.width_px, facts.height_px
        self.nominal_fps = float(facts.rate)
        self.time_source = "pts"
        if facts.first_pts is None:
            how = "the file's" if fps is None else "given"
            self.time_source = f"{how} {self.nominal_fps:g} fps: the frames have no times"
        elif facts.in_order:
            self.time_source = f"the file's {self.nominal_fps:g} fps: it has no display times"
        total = facts.declared_frames
        self.expected_frames = None if total is None else selection.expected(total, facts.rate)
        # At a varying rate the declared end may lie before the last frames: reading will tell.
        doubt_ns = 0 if facts.constant else _END_DOUBT_NS
        if facts.end_ns is not None and selection.start_ns >= facts.end_ns + doubt_ns:
            raise self._start_beyond(facts.end_ns)

    def __iter__(self) -> Iterator[Frame]:
        self.faults.clear()
        picked, end_ns = Picked(self._selection), 0
        for index, t_ns, frame, damage in self._timed():
            end_ns = self._facts.end_of_ns(frame, t_ns)
            wanted = picked.wants(index, t_ns)
            if wanted is None:
                return
            if wanted:
                yield Frame(self._image(frame, index), index, t_ns, damage=damage)
                if picked.took():
                    return
        if self._selection.start_ns < end_ns:
            picked.check_started(shown(self._path), "its last frame")
        if not picked.started:
            raise self._start_beyond(end_ns)

    def _timed(self) -> Iterator[tuple[int, int, VideoFrame, str]]:
        """Frames from the start (or before it) on, with index, time and damage, noting what is
        wrong."""
        facts, clock, wake = self._facts, _Clock(self._facts), Wake()
        index, decoded = decode_from(self._path, facts, self._selection.start_ns)
        came, end_ns = index, 0
        for frame, missing in decoded:
            if missing:
                frames = "a corrupt frame" if missing == 1 else f"{missing} corrupt frames"
                add_fault(self.faults, f"{frames} at {end_ns / NS_PER_S:.2f} s skipped")
                index += missing
            if frame is None:
                break
            t_ns, fault = clock.time_ns(frame.pts, index)
            if fault:
                add_fault(self.faults, f"frame {index} {fault}")
            end_ns = facts.end_of_ns(frame, t_ns)
            yield index, t_ns, frame, wake.of(frame, missing)
            index += 1
            came += 1
        whole = facts.counted and came >= (facts.declared_frames or 0)
        if not whole and facts.end_ns is not None and end_ns < facts.end_ns - facts.slack_ns:
            of = f" of {facts.declared_frames}" if facts.declared_frames else ""
            span = f"{end_ns / NS_PER_S:.2f} of {facts.end_ns / NS_PER_S:.2f} s"
            add_fault(self.faults, f"video cut short: {came}{of} frames decoded ({span})")

    def _image(self, frame: VideoFrame, index: int) -> U8:
        image, fault = to_bgr(frame)
        if fault and fault not in self.faults:
            add_fault(self.faults, fault)
        if image.shape[:2] != (self.height_px, self.width_px):
            size = f"{image.shape[1]}x{image.shape[0]}"
            add_fault(self.faults, f"frame {index} is {size}, not {self.width_px}x{self.height_px}")
        return image

    def _start_beyond(self, end_ns: int) -> InputError:
        return InputError(
            f"{shown(self._path)}: --start {self._selection.start_ns / NS_PER_S:g} s is beyond the "
            f"end of the video at {end_ns / NS_PER_S:.3f} s"
        )


class _Clock:
    """Turns pts into times that increase, whatever the file holds."""

    def __init__(self, facts: VideoFacts) -> None:
        self._facts = facts
        self._last_ns: int | None = None
        self._shift_ns = 0

    def time_ns(self, pts: int | None, index: int) -> tuple[int, str]:
        """Time of a frame since the source's first, and what was wrong with it ('' if nothing)."""
        facts, last_ns = self._facts, self._last_ns
        fault = ""
        if facts.first_pts is None:
            t_ns = round(index * NS_PER_S / facts.rate)
        elif pts is None:
            t_ns = (last_ns or 0) + facts.step_ns
            fault = "has no time: taken from the frame rate"
        else:
            t_ns = facts.time_ns(pts) + self._shift_ns
        if last_ns is not None and t_ns <= last_ns:
            self._shift_ns += last_ns + facts.step_ns - t_ns
            t_ns = last_ns + facts.step_ns
            fault = "goes back in time: it and all later ones are shifted"
        self._last_ns = t_ns
        return t_ns, fault
