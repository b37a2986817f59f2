"""Where the frames of a replay go beside its record: what a sink is, and the overlay video.

A sink is opened in the folder of the unfinished replay and called in the writing thread, once a
frame in order. Whoever adds one appends it in ``tools.replay.open_sinks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from data.types import U8, Frame, StepRecord
from planning.vehicle import Vehicle
from tools.view.overlay import draw_overlay
from tools.view.video import LONG_PAUSE_S, VideoWriter, join_videos

_SEGMENTS = "overlay-segments"


class Sink(Protocol):
    """Takes every frame of a replay with its record."""

    def write(self, frame: Frame, record: StepRecord) -> None:
        """Take the next frame; an error ends the replay."""

    def close(self) -> None:
        """The last frame was written; also called, errors ignored, when a replay fails."""


@runtime_checkable
class ResumableSink(Sink, Protocol):
    """A sink that a resumed replay can go on with; of the others it makes all anew."""

    def cut(self) -> None:
        """Bring all that was written so far to the disk: the replay may be resumed from here."""

    def resume(self, frames: int) -> None:
        """Go on behind the first ``frames`` frames, which end at a ``cut``."""


@runtime_checkable
class DiscardableSink(Sink, Protocol):
    """A sink whose ``close`` publishes what was written; a failed replay discards it instead."""

    def discard(self) -> None:
        """Leave nothing behind."""


class Sinks:
    """A context over open sinks: they are closed at its end, whatever happens."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)

    def __len__(self) -> int:
        return len(self._sinks)

    @property
    def resumable(self) -> bool:
        return all(isinstance(s, ResumableSink) for s in self._sinks)

    def write(self, frame: Frame, record: StepRecord) -> None:
        for sink in self._sinks:
            sink.write(frame, record)

    def cut(self) -> None:
        for sink in self._sinks:
            if isinstance(sink, ResumableSink):
                sink.cut()

    def resume(self, frames: int) -> None:
        for sink in self._sinks:
            if isinstance(sink, ResumableSink):
                sink.resume(frames)

    def __enter__(self) -> Sinks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failed: Exception | None = None
        for sink in self._sinks:
            try:
                if kind is not None and isinstance(sink, DiscardableSink):
                    sink.discard()
                else:
                    sink.close()
            except Exception as e:  # the others are closed all the same
                failed = failed or e
        if failed is not None and kind is None:
            raise failed


class OverlaySink:
    """The overlay video, as segments that end at each ``cut`` and at pauses that ``join`` shortens.

    A resumed replay goes on with a new segment; ``join`` makes one video of all, and since an
    unbroken replay cuts in the same places, the video is the same.
    """

    def __init__(self, folder: Path, nominal_fps: float, vehicle: Vehicle) -> None:
        self._folder = folder / _SEGMENTS
        self._folder.mkdir(exist_ok=True)
        self._fps, self._vehicle = nominal_fps, vehicle
        self._frames = 0
        self._video: VideoWriter | None = None
        self._size: tuple[int, int] | None = None
        self._canvas: U8 | None = None
        self._last_ns: int | None = None

    def write(self, frame: Frame, record: StepRecord) -> None:
        picture = draw_overlay(
            frame,
            record.scene,
            record.plan,
            record.grid,
            self._vehicle.width_m,
            faults=record.faults,
            cruise_mps=self._vehicle.cruise_mps,
            canvas=self._canvas,
        )
        self._canvas = picture
        if self._last_ns is not None and frame.t_ns - self._last_ns > LONG_PAUSE_S * 1e9:
            self.cut()
        self._last_ns = frame.t_ns
        if self._size is None:
            self._size = picture.shape[1], picture.shape[0]
        if self._video is None:
            path = self._folder / f"{self._frames:09d}_{frame.t_ns}.mp4"
            self._video = VideoWriter(path, *self._size, self._fps, quality=31, plain=True)
            self._video.__enter__()
        self._video.write(picture, frame.t_ns)
        self._frames += 1

    def cut(self) -> None:
        if self._video is not None:
            video, self._video = self._video, None
            video.__exit__(None, None, None)

    def resume(self, frames: int) -> None:
        for path in sorted(self._folder.iterdir()):
            first, _, _ = path.stem.partition("_")
            if not first.isdecimal() or int(first) >= frames:
                path.unlink()
        self._frames = frames

    def close(self) -> None:
        self.cut()

    @staticmethod
    def join(folder: Path, target: Path) -> None:
        """One video of all segments in ``folder``; they stay, for a replay killed after this is
        gone on with from its last checkpoint."""
        paths = sorted((folder / _SEGMENTS).glob("*.mp4"))
        join_videos([(p, int(p.stem.partition("_")[2])) for p in paths], target)
