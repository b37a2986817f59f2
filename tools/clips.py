"""Moments cut out of the overlay videos of replays, to the frame."""

from __future__ import annotations

import re
from pathlib import Path

from data.errors import InputError
from data.logs import open_log
from tools.view.video import VideoWriter

OVERLAY = "overlay.mp4"
_QUALITY = 20  # the overlay was coded once already
_SLACK_S = 5e-4  # the video keeps times to a microsecond


def cut_clip(video: Path, out: Path, start_s: float, stop_s: float) -> tuple[int, int]:
    """Write the frames of ``video`` from ``start_s`` to ``stop_s``, both inclusive, to ``out``.

    Times count from the video's first frame. The frames are decoded and coded again, since a cut
    between key frames cannot be exact otherwise; they keep their times to each other.

    Returns:
        the number of the first frame in ``video``, and how many there are.

    Raises:
        InputError: the video is missing or unreadable, or has no frame there.
    """
    if not video.is_file():
        raise InputError(f"{video}: missing, so no clip can be cut; replay without --no-overlay")
    log = open_log(video, start_s=max(start_s - _SLACK_S, 0.0), stop_s=max(stop_s, 0.0) + _SLACK_S)
    first, count = None, 0
    with VideoWriter(out, log.width_px, log.height_px, log.nominal_fps, quality=_QUALITY) as writer:
        for frame in log:
            first = frame.index if first is None else first
            writer.write(frame.image, frame.t_ns)
            count += 1
    if first is None:
        raise InputError(f"{video}: has no frame from {start_s:.3f} to {stop_s:.3f} s")
    return first, count


def clip_name(run: str, from_s: float, to_s: float) -> str:
    """LOG_FROM-TO.mp4, safe as a file's name."""
    safe = re.sub(r"[^\w.-]+", "_", run).strip("._") or "run"
    return f"{safe[:100]}_{from_s:.2f}-{to_s:.2f}.mp4"
