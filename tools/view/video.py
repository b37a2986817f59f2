"""Writing pictures as an H.264 video with exact times."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from data.compiled import run
from data.errors import InputError
from data.types import U8

_TICK_NS = 1000
_TIME_BASE = Fraction(1, 1_000_000)
# A clock that was set may jump by years, but no picture's length holds more than 35 minutes.
LONG_PAUSE_S, SHORTENED_S = 600.0, 1.0
_SUFFIXES = (".mp4", ".mov")  # Matroska would round times to milliseconds
_BT709, _BT601, _LIMITED = 1, 6, 1
_BITEXACT = 0x400  # FFmpeg's AVFMT_FLAG_BITEXACT


def _blank(width: int, height: int) -> av.VideoFrame:
    """A frame for ``_fill`` as the encoder takes it: YUV 4:2:0, BT.601 in limited range."""
    frame = av.VideoFrame(width, height, "yuv420p")
    frame.colorspace, frame.color_range = _BT601, _LIMITED
    return frame


def _fill(frame: av.VideoFrame, image: U8) -> None:
    """Put a picture (h, w, 3) BGR with even sides into a frame, its colours averaged over the four
    pixels that share them.

    OpenCV's own colours are one pixel's of the four, and libswscale's take longer.
    """
    from tools.view.kernels import to_yuv420

    planes = [np.frombuffer(p, np.uint8).reshape(-1, p.line_size) for p in frame.planes]  # type: ignore[call-overload]
    run(to_yuv420, image.reshape(len(image), -1), *planes)


class VideoWriter:
    """Context manager that writes pictures at their own times.

    The file appears under its name when the block ends well, and not at all otherwise. The same
    pictures and times give the same bytes. Odd sizes are padded by a black column or row; a
    picture of another size is scaled to fit and padded.

        with VideoWriter(path, 1280, 766) as video:
            video.write(image, t_ns)

    Args:
        path: .mp4 or .mov; an existing file is replaced at the end.
        width_px, height_px: of the pictures.
        nominal_fps: a hint for the encoder and the length of the last picture.
        quality: lower is better (0 to 51): of the whole, or where ``plain`` of each picture alike,
            for a third less of the encoder's time.
        plain: as little work as there can be, in one thread; such videos can be joined.

    Raises:
        InputError: an unknown suffix, no such folder, or a folder that cannot be written; at the
            end of the block, if nothing was written.
    """

    def __init__(
        self,
        path: Path,
        width_px: int,
        height_px: int,
        nominal_fps: float = 25.0,
        quality: int = 23,
        plain: bool = False,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _SUFFIXES:
            raise InputError(f"{path}: expected a video name ending in {' or '.join(_SUFFIXES)}")
        if not self.path.parent.is_dir():
            raise InputError(f"{path}: the folder {self.path.parent} does not exist; create it")
        if width_px < 1 or height_px < 1:
            raise ValueError(f"video size: expected at least 1x1, given {width_px}x{height_px}")
        self.width_px, self.height_px = width_px + width_px % 2, height_px + height_px % 2
        self.frames = 0
        self._size = (height_px, width_px)
        self._rate = Fraction(nominal_fps if nominal_fps > 0 else 25).limit_denominator(1001)
        self._options = {"preset": "superfast", "crf": str(quality)}
        if plain:
            # small coefficients are cheaper kept than looked for to be dropped
            spare = {"x264-params": "no-dct-decimate=1"}
            self._options = {"preset": "ultrafast", "qp": str(quality), "bf": "0", **spare}
        self._threads = 1 if plain else 2  # fixed: the encoder's output depends on it
        self._part = self.path.with_name(f".{self.path.stem}.{os.getpid()}.part{self.path.suffix}")
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._frame: av.VideoFrame | None = None
        self._first_ns = 0
        self._last_tick = -1

    def __enter__(self) -> VideoWriter:
        try:
            target = str(self._part.resolve())
            self._container = av.open(target, "w", options={"movflags": "+faststart"})
        except (av.FFmpegError, OSError) as e:
            raise InputError(f"{self.path}: cannot be written ({e.strerror or e})") from e
        self._container.flags |= _BITEXACT  # no dates or versions in the file
        stream = self._container.add_stream("libx264", rate=self._rate, options=self._options)
        stream.width, stream.height, stream.pix_fmt = self.width_px, self.height_px, "yuv420p"
        context = stream.codec_context
        context.time_base = _TIME_BASE
        context.thread_count = self._threads
        context.colorspace, context.color_primaries = _BT601, _BT709
        context.color_trc = _BT709
        context.color_range = _LIMITED
        self._stream = stream
        return self

    def write(self, image: U8, t_ns: int) -> None:
        """Add a picture, (h, w, 3) uint8 BGR, shown from ``t_ns`` on.

        Times are kept to a microsecond, counted from the first picture; one that does not come
        after the one before is moved a microsecond behind it.
        """
        if self._container is None or self._stream is None:
            raise RuntimeError("VideoWriter.write: use it inside its with block")
        if not self.frames:
            self._first_ns = t_ns
        tick = max(round((t_ns - self._first_ns) / _TICK_NS), self._last_tick + 1)
        if self._frame is None or self._threads > 1:  # these may still read the last one
            self._frame = _blank(self.width_px, self.height_px)
        frame = self._frame
        _fill(frame, self._fitted(image))
        frame.pts, frame.time_base = tick, _TIME_BASE
        frame.duration = round(1 / self._rate / _TIME_BASE)  # counts for the last picture only
        self._container.mux(self._stream.encode(frame))
        self._last_tick = tick
        self.frames += 1

    def _fitted(self, image: U8) -> U8:
        height, width = self._size
        if image.shape[:2] == (self.height_px, self.width_px):
            return np.ascontiguousarray(image)
        if image.shape[:2] != (height, width):
            scale = min(width / image.shape[1], height / image.shape[0])
            size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        canvas = np.zeros((self.height_px, self.width_px, 3), np.uint8)
        canvas[: image.shape[0], : image.shape[1]] = image
        return canvas

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._container is not None:
                with suppress(Exception):  # closing a broken file may fail; it goes anyway
                    self._container.close()
                self._container = None
            self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        if not self.frames or self._container is None or self._stream is None:
            raise InputError(f"{self.path}: no picture was written, so there is no video")
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._container = None
        self._part.replace(self.path)


def join_videos(parts: Sequence[tuple[Path, int]], target: Path) -> None:
    """One video of parts by the same writer without B-frames, each shown from its time on.

    Nothing is decoded or encoded: the packets are copied. A part that would follow more than
    ``LONG_PAUSE_S`` after the picture before it follows ``SHORTENED_S`` after it.

    Args:
        parts: files, each with the time of its first picture in ns, in order of time.
        target: written under a temporary name in its folder, then renamed.
    """
    if not parts:
        raise InputError(f"{target}: no picture was written, so there is no video")
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        with av.open(str(temporary.resolve()), "w", options={"movflags": "+faststart"}) as out:
            out.flags |= _BITEXACT
            stream: VideoStream | None = None
            last_tick, left_out = -1, 0
            for path, t_ns in parts:
                shift = max(round((t_ns - parts[0][1]) / _TICK_NS) - left_out, last_tick + 1)
                if shift - last_tick > _ticks(LONG_PAUSE_S):
                    left_out += shift - last_tick - _ticks(SHORTENED_S)
                    shift = last_tick + _ticks(SHORTENED_S)
                with av.open(str(path.resolve())) as part:
                    source = part.streams.video[0]
                    if stream is None:
                        stream = out.add_stream_from_template(source)
                        stream.time_base = _TIME_BASE
                    last_tick = _copy(part, source, out, stream, shift)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _ticks(seconds: float) -> int:
    return round(seconds * 1e9 / _TICK_NS)


def _copy(
    part: InputContainer, source: VideoStream, out: OutputContainer, stream: VideoStream, shift: int
) -> int:
    """Copy a part's packets, moved by ``shift`` ticks; returns the last one's tick."""
    tick = shift
    for packet in part.demux(source):
        if packet.pts is None:  # the end
            continue
        base = packet.time_base * 1_000_000
        tick = shift + round(packet.pts * base)
        packet.duration = round((packet.duration or 0) * base)
        packet.time_base = _TIME_BASE
        packet.pts = packet.dts = tick
        packet.stream = stream
        out.mux(packet)
    return tick
