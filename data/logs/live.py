"""A camera of this machine or a stream as a log that is read once, as it comes."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import FrameType

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data.errors import InputError
from data.logs.decoding import Wake
from data.logs.selection import MAX_IMAGE_PX, NS_PER_S, Selection, add_fault
from data.logs.source import address_of, shown
from data.logs.upright import to_bgr
from data.types import Frame

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 15.0, 10.0
_FALLBACK_FPS = 25.0
_HELD = 2  # frames that wait at most
# Sources that do not wait for their reader: what is not taken in time is dropped.
_PACED = frozenset(("rtsp", "rtsps", "rtp", "udp", "srt", "rtmp"))
SCHEMES = _PACED | {"http", "https", "tcp"}
# What a stream's own text may lead to; no files.
_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto,rtmp,srt,hls"
_DEVICE = re.compile(r"(?:/dev/video)?(\d{1,3})")


class LiveLog:
    """Frames of a camera or stream as they come; see ``Log``. Not re-iterable: iterating again
    goes on where the last iteration ended.

    Frames are dropped, and that is noted at the end, where they come faster than they are taken.
    ``stop`` ends the iteration, from any thread.

    Attributes:
        live: True; tells it from recorded logs.

    Raises:
        InputError: no such camera, an address of another kind, or no picture within 15 s.
    """

    kind = "live"
    live = True
    expected_frames: int | None

    def __init__(self, source: str, selection: Selection) -> None:
        self._selection = selection
        self.faults: list[str] = []
        self.name, container, self._paced = _open(source)
        self._container: InputContainer = container
        try:
            streams = container.streams.video
            if not streams or streams[0].codec_context is None:
                raise InputError(f"{shown(self.name)}: holds no video that can be decoded")
            self._stream: VideoStream = streams[0]
            self._decoded = self._decode()
            first = next(self._decoded, None)
        except BaseException:
            container.close()
            raise
        if first is None:
            container.close()
            why = self.faults[-1] if self.faults else "it ended at once"
            raise InputError(f"{shown(self.name)}: no picture came: {why}")
        image, _ = to_bgr(first[0])
        self.height_px, self.width_px = image.shape[:2]
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.nominal_fps = float(rate) if rate and 1 <= rate <= 1000 else _FALLBACK_FPS
        self.expected_frames = selection.max_frames
        self._frames: deque[tuple[VideoFrame, str]] = deque([first])
        self._change = threading.Condition()
        self._ended = self._stopped = False
        self._dropped = self._index = 0
        self.time_source = "frames of equal step"
        self._clock = _Clock(self._stream.time_base, round(NS_PER_S / self.nominal_fps))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the iteration after the frame that is under way."""
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def __iter__(self) -> Iterator[Frame]:
        chosen = self._selection
        delivered = taken = 0
        while (came := self._take()) is not None:
            frame, damage = came
            t_ns, index = self._clock.time_ns(frame.pts, self._index), self._index
            self._index += 1
            if self._clock.has_pts:
                self.time_source = "the stream's pts"
            if t_ns < chosen.start_ns:
                continue
            if chosen.stop_ns is not None and t_ns >= chosen.stop_ns:
                self.stop()
                break
            taken += 1
            if (taken - 1) % chosen.every:
                continue
            image, fault = to_bgr(frame)
            if fault and fault not in self.faults:
                add_fault(self.faults, fault)
            yield Frame(image, index, t_ns, damage=damage)
            delivered += 1
            if delivered == chosen.max_frames:
                self.stop()
                break
        if self._dropped:
            add_fault(self.faults, f"{self._dropped} frames dropped: they came faster than taken")
            self._dropped = 0

    def _take(self) -> tuple[VideoFrame, str] | None:
        with self._change:
            while not self._frames:
                if self._ended or self._stopped:
                    return None
                self._change.wait(0.2)
            if self._stopped:
                return None
            frame = self._frames.popleft()
            self._change.notify_all()
            return frame

    def _read(self) -> None:
        """The reading thread: keeps the newest frames of a paced source, waits with others."""
        try:
            for frame in self._decoded:
                with self._change:
                    while not self._paced and len(self._frames) >= _HELD and not self._stopped:
                        self._change.wait(0.2)
                    if self._stopped:
                        break
                    if len(self._frames) >= _HELD:
                        self._frames.popleft()
                        self._dropped += 1
                        self._index += 1
                    self._frames.append(frame)
                    self._change.notify_all()
        finally:
            with self._change:
                self._ended = True
                self._change.notify_all()
            self._container.close()

    def _decode(self) -> Iterator[tuple[VideoFrame, str]]:
        """Frames with their damage."""
        wake, missing = Wake(), 0
        try:
            for packet in self._container.demux(self._stream):
                last = packet.dts is None and not packet.size
                try:
                    frames = self._stream.codec_context.decode(None if last else packet)
                except av.InvalidDataError:
                    frames, missing = [], missing + 1
                for frame in frames:
                    if frame.width * frame.height > MAX_IMAGE_PX:
                        add_fault(self.faults, "a frame is above 100 megapixels: the end")
                        return
                    if frame.is_corrupt:
                        missing += 1
                        continue
                    yield frame, wake.of(frame, missing)
                    missing = 0
        except av.error.ExitError:
            add_fault(self.faults, f"nothing came for {READ_TIMEOUT_S:g} s: the end")
        except (av.FFmpegError, OSError) as e:
            add_fault(self.faults, f"the stream broke off ({e.strerror or e})")


class _Clock:
    """Times since the first frame, which always increase. Frames before the first with a pts (a
    camera's over RTSP often has none yet) are of equal step."""

    def __init__(self, time_base: Fraction | None, step_ns: int) -> None:
        self._base, self._step_ns = time_base, step_ns
        self._last_ns, self._last_index = -step_ns, -1
        self._start: tuple[int, int] | None = None  # a pts and its time

    @property
    def has_pts(self) -> bool:
        return self._start is not None

    def time_ns(self, pts: int | None, index: int) -> int:
        """Of a frame; one whose pts does not increase moves all later ones."""
        next_ns = self._last_ns + self._step_ns * (index - self._last_index)
        t_ns = next_ns
        if pts is not None and self._base is not None:
            if self._start is None:
                self._start = pts, next_ns
            t_ns = self._start[1] + round((pts - self._start[0]) * self._base * NS_PER_S)
            if t_ns <= self._last_ns:
                self._start, t_ns = (pts, next_ns), next_ns
        self._last_ns, self._last_index = t_ns, index
        return t_ns


def _open(source: str) -> tuple[str, InputContainer, bool]:
    """Name, opened container, and whether the source waits for no reader."""
    device = _DEVICE.fullmatch(source)
    address = address_of(source)
    options: dict[str, str] = {}
    if device:
        name, kind = f"/dev/video{int(device[1])}", "v4l2"
        if not Path(name).exists():
            found = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
            raise InputError(f"{name}: no such camera; this machine has {found}")
    elif address is not None:
        scheme = address.partition(":")[0].lower()
        if scheme not in SCHEMES:
            raise InputError(f"{shown(address)}: expected {', '.join(sorted(SCHEMES))}")
        name, kind = address, ""
        options = {"protocol_whitelist": _PROTOCOLS}
        if scheme.startswith("rtsp"):
            options["rtsp_flags"] = "prefer_tcp"  # UDP where the camera has nothing else
    else:
        raise InputError(
            f"{shown(source)}: --live takes a camera's number, /dev/videoN or an address "
            "(rtsp://, http://, udp://, ...); a file is replayed without --live"
        )
    timeout, began_s = (OPEN_TIMEOUT_S, READ_TIMEOUT_S), time.monotonic()
    try:
        container = av.open(name, format=kind or None, options=options, timeout=timeout)
    except (av.FFmpegError, OSError, ValueError) as e:
        why = str(getattr(e, "strerror", "") or e).splitlines()[0]
        if time.monotonic() - began_s >= OPEN_TIMEOUT_S:  # which FFmpeg calls by several names
            why = f"no answer in {OPEN_TIMEOUT_S:g} s"
        raise InputError(f"{shown(name)}: cannot be opened ({why})") from e
    scheme = name.partition(":")[0].lower()
    return name, container, bool(device) or scheme in _PACED


@contextmanager
def ends_on_interrupt(log: object) -> Iterator[None]:
    """While the block runs, the first Ctrl-C ends a live log instead of the program.

    Of use in the main thread only; does nothing for recorded logs.
    """
    if not isinstance(log, LiveLog) or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)  # a second one ends the program
        log.stop()

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
