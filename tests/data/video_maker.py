"""Small videos for tests, whose pictures tell their index."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from data.logs import Log

SIZE = (96, 64)  # width, height


def picture(index: int, width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    """A picture that tells its index: a bright bar moves over a gradient with some grain."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(20, 200, width, dtype=np.uint8)
    image[..., 1] = np.linspace(200, 40, height, dtype=np.uint8)[:, None]
    left = (index * 4) % width
    image[:, left : left + 8, 2] = 220
    return image + np.random.default_rng(index).integers(0, 12, (height, width, 1), np.uint8)


def write_video(
    path: Path,
    times: Sequence[int],
    codec: str = "libx264",
    time_base: Fraction = Fraction(1, 25),
    options: dict[str, str] | None = None,
    movflags: str = "",
    rate: int = 25,
    pix_fmt: str = "yuv420p",
) -> Path:
    """Encode one ``picture`` for each pts of ``times``."""
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as out:
        stream = out.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.width, stream.height = SIZE
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        stream.codec_context.thread_count = 1
        for i, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i), format="bgr24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = pts, time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def contents(log: Log) -> list[tuple[int, int, bytes]]:
    return [(f.index, f.t_ns, f.image.tobytes()) for f in log]


def times_ms(log: Log) -> list[float]:
    return [f.t_ns / 1e6 for f in log]


def write_b_frames(path: Path) -> Path:
    """100 frames of H.264 at 25 fps: B-frames, open groups of pictures, a keyframe each second."""
    options = {"g": "25", "bf": "3", "x264-params": "open-gop=1:b-pyramid=normal:scenecut=0"}
    return write_video(path, range(100), options=options, movflags="+faststart")
