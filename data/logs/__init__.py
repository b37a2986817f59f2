"""Drives as a stream of ``Frame``: ``open_log`` takes a video, a folder of images, a bag of
messages, a KITTI or comma drive, or, where that is asked for, a camera or stream."""

from __future__ import annotations

from pathlib import Path

from data.errors import InputError
from data.logs.bags.store import is_bag
from data.logs.images import IMAGE_SUFFIXES, ImageFolderLog, is_image
from data.logs.selection import Log, Selection
from data.logs.source import check_exists, check_readable_file, shown
from data.logs.video import VideoLog

__all__ = ["ImageFolderLog", "Log", "Selection", "VideoLog", "open_log"]


def open_log(
    source: Path | str,
    *,
    start_s: float = 0.0,
    stop_s: float | None = None,
    every: int = 1,
    max_frames: int | None = None,
    fps: float | None = None,
    topic: str | None = None,
    live: bool = False,
) -> Log:
    """Open a recorded drive, by what lies at its path, or with ``live`` a camera or stream.

    Recorded drives: a video file; a folder of images or a single one; MCAP, ROS 1 and ROS 2 bags
    (``.mcap``, ``.bag``, ``.db3``, a folder with ``metadata.yaml``); a KITTI raw drive or tracking
    sequence; a segment or route of comma2k19 or openpilot.

    Args:
        source: the file or folder; with ``live`` a camera's number, /dev/videoN or an address.
        start_s, stop_s: frames with ``start_s <= t < stop_s`` are delivered, in seconds since the
            source's first frame.
        every: deliver each n-th frame, counted from the first one delivered.
        max_frames: deliver no more than this many.
        fps: frame rate for a source without times of its own, 0.001 to 1000; a source with times
            keeps them.
        topic: of a bag, the one with the pictures; None takes that with most of them.
        live: read the source once, as it comes; see ``LiveLog``.

    Returns:
        A log that can be iterated more than once, a live one excepted; see ``Log``.

    Raises:
        InputError: the source is missing, unreadable, empty or of another kind, or an option is
            out of range. Damage further into a log is no error: it is listed in ``Log.faults``.
    """
    selection = Selection.checked(start_s, stop_s, every, max_frames)
    if fps is not None and not 0.001 <= fps <= 1000:
        raise InputError(f"--fps: expected frames per second from 0.001 to 1000, given {fps}")
    if live:
        from data.logs.live import LiveLog

        return LiveLog(str(source), selection)
    path = Path(source)
    try:
        return _open_recorded(path, selection, fps, topic)
    except OSError as e:
        raise InputError(f"{shown(path)}: cannot be read ({e.strerror or e})") from e


def _open_recorded(path: Path, selection: Selection, fps: float | None, topic: str | None) -> Log:
    check_exists(path)
    bag = is_bag(path)
    if topic is not None and not bag:
        raise InputError(f"--topic {shown(topic)}: {shown(path)} is no bag of messages")
    if not path.is_dir() and path.suffix.lower() not in IMAGE_SUFFIXES:
        check_readable_file(path)
    if bag:
        from data.logs.bags.log import BagLog

        return BagLog(path, selection, topic)
    if path.is_dir():
        return _open_folder(path, selection, fps)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageFolderLog(path, selection, fps)
    return VideoLog(path, selection, fps)


def _open_folder(path: Path, selection: Selection, fps: float | None) -> Log:
    from data.logs.kitti import KittiLog, find_drive

    drive = find_drive(path)
    if drive is not None:
        return KittiLog(drive, selection, fps)
    if not any(map(is_image, path.iterdir())):
        from data.logs.comma import CommaLog, find_segments

        videos = find_segments(path)
        if videos:
            return CommaLog(path, videos, selection, fps)
    return ImageFolderLog(path, selection, fps)
