"""Decoding a video's packets: what came, what is missing, and how to reach a moment in it."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data.errors import InputError
from data.logs.ledger import Ledger
from data.logs.selection import MAX_IMAGE_PX, NS_PER_S
from data.logs.source import shown
from data.logs.upright import to_bgr

# Only formats that hold video themselves: a playlist in disguise could open other files or hosts.
_FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,ivf,mjpeg"
_THREADS = 2
_FALLBACK_RATE = Fraction(25)
_SEEK_BACK_S = (0, 1, 4, 15, 60)
_RETRIES = 8  # failed reads in a row after which a file counts as ended
# Raw streams have no times at all; AVI and ASF keep one time for each packet, by which FFmpeg can
# tell when it is shown for the codecs whose packets say what they are, but not for these.
_RAW_FORMATS = frozenset(("h264", "hevc", "mjpeg", "mpegvideo", "m4v"))
_UNTIMED_FORMATS = frozenset(("avi", "asf"))
_UNTIMED_CODECS = frozenset(("h264", "hevc"))

# A frame and how many frames between it and the one before could not be decoded; None at the end.
Decoded = tuple[VideoFrame | None, int]


class Wake:
    """Which frames are made from others that were damaged or are missing: all up to the next
    keyframe. A decoder hands them out as sound, smeared as they are."""

    DAMAGE = "made from frames that were damaged or are missing, up to the next keyframe"

    def __init__(self) -> None:
        self._within = False

    def of(self, frame: VideoFrame, missing: int) -> str:
        """Damage of the next frame, before which so many could not be decoded; '' if none."""
        self._within = (self._within or missing > 0) and not frame.key_frame
        return self.DAMAGE if self._within else ""


@dataclass(frozen=True)
class VideoFacts:
    """What opening a video tells.

    Attributes:
        width_px, height_px: of the first frame, upright.
        time_base: seconds per unit of pts; first_pts: None if the frames have no times.
        in_order: whether frames count in the order they come, as the file has no display times.
        seekable: whether a moment can be reached without decoding what lies before it.
        rate: mean frames per second; constant: whether frames are known to lie on its raster.
        declared_frames, end_ns: what the file says of itself, None where it does not.
        counted: whether ``declared_frames`` is the file's own count, not from end and rate.
        slack_ns: how far the last frame may fall short of ``end_ns`` in a sound file.
    """

    width_px: int
    height_px: int
    time_base: Fraction
    first_pts: int | None
    in_order: bool
    seekable: bool
    rate: Fraction
    constant: bool
    declared_frames: int | None
    counted: bool
    end_ns: int | None
    slack_ns: int

    @property
    def step_ns(self) -> int:
        return round(NS_PER_S / self.rate)

    def time_ns(self, pts: int) -> int:
        return round((pts - (self.first_pts or 0)) * self.time_base * NS_PER_S)

    def end_of_ns(self, frame: VideoFrame, t_ns: int) -> int:
        """When the frame at ``t_ns`` ends: by its own duration, else by the frame rate."""
        duration = 0 if self.first_pts is None else getattr(frame, "duration", 0) or 0
        return t_ns + (round(duration * self.time_base * NS_PER_S) or self.step_ns)


def read_facts(path: Path, fps: Fraction | None) -> VideoFacts:
    """Open, decode one frame, and collect what the file says; ``fps`` is for frames without times.

    Raises:
        InputError: as for ``VideoLog``.
    """
    container, stream = open_video(path)
    with container:
        frame, _ = next(decode(container, stream, packets_of(container, stream)))
        if frame is None or stream.time_base is None:
            raise InputError(f"{shown(path)}: no frame of this video could be decoded")
        rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        rate = next((r for r in rates if r and r <= 1000), _FALLBACK_RATE)
        if frame.pts is None and fps is not None:
            rate = fps
        format_name = container.format.name
        in_order = _has_no_display_times(container, stream)
        start_pts = frame.pts if in_order else stream.start_time
        end_ns, slack_ns = _declared_end_ns(container, stream, frame.pts, start_pts)
        frames = stream.frames or (round(end_ns * rate / NS_PER_S) if end_ns else None)
        # AVI counts frames left out when recording
        constant = format_name != "avi" and _is_constant(stream, end_ns, rate)
        height, width = to_bgr(frame)[0].shape[:2]
        slack_ns = max(slack_ns, round(1.5 * NS_PER_S / rate))
        return VideoFacts(
            width_px=width,
            height_px=height,
            time_base=stream.time_base,
            first_pts=frame.pts,
            in_order=in_order,
            seekable=frame.pts is not None and not in_order and format_name != "mpeg",
            rate=rate,
            constant=constant,
            declared_frames=frames,
            counted=stream.frames > 0,
            end_ns=end_ns,
            slack_ns=slack_ns,
        )


def _is_constant(stream: VideoStream, end_ns: int | None, rate: Fraction) -> bool:
    return bool(
        stream.frames
        and end_ns
        and stream.average_rate == stream.base_rate
        and abs(end_ns * rate / NS_PER_S - stream.frames) < 0.6
    )


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a file's first video stream, silently and with few threads.

    Raises:
        InputError: not a video, no video stream, no decoder for it, or above 100 megapixels.
    """
    try:
        # resolved: a relative name with a colon would be read as a protocol
        container = av.open(str(path.resolve()), options={"format_whitelist": _FORMATS})
    except (av.FFmpegError, ValueError, OSError) as e:
        raise InputError(
            f"{shown(path)}: not a video that can be read, or cut short before its index was "
            f"written ({_reason(e)}); expected mp4, mov, mkv, webm or avi"
        ) from e
    pictures = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & pictures]
    if not streams or streams[0].codec_context is None:
        container.close()
        raise InputError(f"{shown(path)}: holds no video stream that can be decoded")
    stream = streams[0]
    if stream.codec_context.width * stream.codec_context.height > MAX_IMAGE_PX:
        size = f"{stream.codec_context.width}x{stream.codec_context.height}"
        container.close()
        raise InputError(
            f"{shown(path)}: {size} is above the limit of 100 megapixels; scale it down"
        )
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = _THREADS
    return container, stream


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet | None]:
    """The stream's packets, going on after damage where the file allows; None at the end."""
    failures = 0
    while failures < _RETRIES:
        try:
            for packet in container.demux(stream):
                if packet.size or packet.dts is not None:
                    failures = 0
                    yield packet
            break
        except av.FFmpegError:
            failures += 1
    yield None


def _has_no_display_times(container: InputContainer, stream: VideoStream) -> bool:
    format_name, codec = container.format.name, stream.codec_context.name
    return format_name in _RAW_FORMATS or (
        format_name in _UNTIMED_FORMATS and codec in _UNTIMED_CODECS
    )


def decode(
    container: InputContainer, stream: VideoStream, packets: Iterable[Packet | None]
) -> Iterator[Decoded]:
    """Decode, counting frames that are lost or damaged instead of delivering them.

    Frames without display times get as pts the decoding times in turn, in raw streams None.
    """
    if not _has_no_display_times(container, stream):
        return _decode_by_pts(stream, packets)
    return _decode_in_order(stream, packets, container.format.name in _UNTIMED_FORMATS)


def _decode_in_order(
    stream: VideoStream, packets: Iterable[Packet | None], timed: bool
) -> Iterator[Decoded]:
    """Decode, giving the n-th frame that comes the time of the n-th packet if ``timed``.

    Missing are the packets on which the decoder failed and the frames that it calls damaged.
    """
    times: deque[int] = deque()
    missing, started = 0, False
    for packet in packets:
        if timed and packet is not None and packet.dts is not None and packet.size:
            times.append(packet.dts)
        frames = _frames_of(stream, packet)
        for frame in [None] if frames is None else frames:
            time = times.popleft() if times else None
            if frame is None or frame.is_corrupt:
                missing += started
                continue
            frame.pts, started = time, True
            yield frame, missing
            missing = 0
    yield None, missing


def _decode_by_pts(stream: VideoStream, packets: Iterable[Packet | None]) -> Iterator[Decoded]:
    """Decode, setting the times of what comes against those of what was read.

    A frame is known to be missing when its packet's time lies before that of a frame that came.
    What cannot be decoded before the first frame (it refers to what was cut off) is not counted.
    Each frame is held until the next one comes: a damaged decoder may hand it out too early,
    before the packets of frames that belong ahead of it were even read.
    """
    ledger = Ledger()
    held: tuple[VideoFrame, int] | None = None
    for packet in packets:
        if packet is not None and packet.pts is not None and not packet.is_discard:
            ledger.expect(packet)
        for frame in _frames_of(stream, packet) or ():
            late = ledger.take_late()
            if frame.pts is None or ledger.accept(frame, frame.pts):
                if held is not None:
                    yield held[0], held[1] + late
                held, late = (frame, ledger.take_missing()), 0
            if held is not None:
                held = held[0], held[1] + late
    if held is not None:
        yield held[0], held[1] + ledger.take_late()
    yield None, ledger.take_missing() + ledger.outstanding


def _frames_of(stream: VideoStream, packet: Packet | None) -> list[VideoFrame] | None:
    """The frames that a packet brings out; None if the decoder failed on it."""
    with suppress(av.FFmpegError):
        return list(stream.codec_context.decode(packet))
    return None


def decode_from(path: Path, facts: VideoFacts, start_ns: int) -> tuple[int, Iterator[Decoded]]:
    """Decode from a keyframe at or before ``start_ns``: (index of the first frame, frames).

    Seeks by pts; where that leads past the start (indices that go by decoding order, open groups
    of pictures), seeks further back, at last to the beginning. Begins there where there are no
    display times to seek by, or they are others after seeking (MPEG program streams).
    """
    if facts.seekable and facts.first_pts is not None:
        # one unit early, as the wanted frame's time may have been rounded up
        target = facts.first_pts + math.floor(start_ns / facts.time_base / NS_PER_S) - 1
        for back_s in _SEEK_BACK_S:
            seek_pts = target - math.ceil(back_s / facts.time_base)
            if seek_pts <= facts.first_pts:
                break
            container, frames = _seek(path, seek_pts)
            head, _ = next(frames, (None, 0))
            if head is not None and head.pts is not None and head.pts <= target:
                index = _index_of(path, facts, head.pts)
                return index, _closing(container, itertools.chain([(head, 0)], frames))
            container.close()
    container, stream = open_video(path)
    frames = decode(container, stream, packets_of(container, stream))
    return 0, _closing(container, frames)


def _seek(path: Path, seek_pts: int) -> tuple[InputContainer, Iterator[Decoded]]:
    container, stream = open_video(path)
    nothing: Iterator[Decoded] = iter(())
    try:
        container.seek(seek_pts, stream=stream)
    except av.FFmpegError:
        return container, nothing
    packets = packets_of(container, stream)
    lead = next(packets)
    # Pictures shown before their keyframe may be decoded from references that are not there.
    if lead is None or lead.pts is None or lead.pts > seek_pts:
        return container, nothing
    return container, _decode_by_pts(stream, itertools.chain([lead], packets))


def _closing(container: InputContainer, frames: Iterator[Decoded]) -> Iterator[Decoded]:
    with container:
        yield from frames


def _index_of(path: Path, facts: VideoFacts, pts: int) -> int:
    """Number of the frame shown at ``pts``: from the rate, else by counting packets before it."""
    since = (pts - (facts.first_pts or 0)) * facts.time_base * facts.rate
    if facts.constant and abs(since - round(since)) < Fraction(1, 20):
        return round(since)
    count = 0
    container, stream = open_video(path)
    with container:
        for packet in packets_of(container, stream):
            if packet is None or (packet.dts is not None and packet.dts > pts):
                break
            if packet.pts is not None and not packet.is_discard:
                count += (facts.first_pts or 0) <= packet.pts < pts
    return count


def _declared_end_ns(
    container: InputContainer,
    stream: VideoStream,
    first_pts: int | None,
    start_pts: int | None,
) -> tuple[int | None, int]:
    """The end the file declares, from the first frame, and how loosely (both ns)."""
    base = stream.time_base or Fraction(1)
    first_s = (first_pts or 0) * base
    if stream.duration:
        start_pts = first_pts or 0 if start_pts is None else start_pts
        slack_ns = NS_PER_S if container.format.name == "asf" else 0  # which may count its lead
        return round(((start_pts + stream.duration) * base - first_s) * NS_PER_S), slack_ns
    tag = stream.metadata.get("DURATION", "")  # Matroska: hours:minutes:seconds from time 0
    with suppress(ValueError):
        hours, minutes, seconds = tag.rstrip("\0").split(":")
        end_s = Fraction(hours) * 3600 + Fraction(minutes) * 60 + Fraction(seconds)
        return round((end_s - first_s) * NS_PER_S), NS_PER_S // 4
    if container.duration:
        end_s = Fraction((container.start_time or 0) + container.duration, av.time_base)
        return round((end_s - first_s) * NS_PER_S), NS_PER_S  # sound may run longer than video
    return None, 0


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error).splitlines()[0]
