"""Recorded drives as a stream of ``Frame``: ``open_log`` takes a video or a folder of images."""

from __future__ import annotations

from pathlib import Path

from data.errors import InputError
from data.logs.images import IMAGE_SUFFIXES, ImageFolderLog
from data.logs.selection import Log, Selection
from data.logs.source import check_exists, check_readable_file, shown
from data.logs.video import VideoLog

__all__ = ["ImageFolderLog", "Log", "Selection", "VideoLog", "open_log"]


def open_log(
    source: Path,
    *,
    start_s: float = 0.0,
    stop_s: float | None = None,
    every: int = 1,
    max_frames: int | None = None,
    fps: float | None = None,
) -> Log:
    """Open a video file, a folder of images or a single image.

    Args:
        source: the file or folder.
        start_s, stop_s: frames with ``start_s <= t < stop_s`` are delivered, in seconds since the
            source's first frame.
        every: deliver each n-th frame, counted from the first one delivered.
        max_frames: deliver no more than this many.
        fps: frame rate for a source without times of its own, 0.001 to 1000; a source with times
            keeps them.

    Returns:
        A log that can be iterated more than once; see ``Log``.

    Raises:
        InputError: the source is missing, unreadable, empty or of another kind, or an option is
            out of range. Damage further into a log is no error: it is listed in ``Log.faults``.
    """
    selection = Selection.checked(start_s, stop_s, every, max_frames)
    if fps is not None and not 0.001 <= fps <= 1000:
        raise InputError(f"--fps: expected frames per second from 0.001 to 1000, given {fps}")
    path = Path(source)
    try:
        check_exists(path)
        if path.is_dir() or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
            return ImageFolderLog(path, selection, fps)
        check_readable_file(path)
    except OSError as e:
        raise InputError(f"{shown(path)}: cannot be read ({e.strerror or e})") from e
    return VideoLog(path, selection, fps)
