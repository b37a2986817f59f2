"""Frames on their way from a log to the stack: timed, of one size, judged, faults named."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

import cv2
import numpy as np

from data.frame_quality import FrameWatch, Quality
from data.logs import Log
from data.types import U8, Frame
from perception.flow import Look
from tools.faults import of_log

_GAP = 1.8  # times the usual time between frames
_USUAL = 15  # intervals the usual time is the median of
_JUMP_NS = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Fed:
    """One frame and what is known of it before anything looks for objects in it.

    Attributes:
        frame: None at the end of the log, whose last faults it brings.
        stage_ms: milliseconds that decoding and judging took.
        look: at a picture that tells something, for the own motion.
        unusable: the fault for which the picture tells nothing, '' where it does.
    """

    frame: Frame | None
    stage_ms: dict[str, float]
    faults: tuple[str, ...]
    unusable: str = ""
    look: Look | None = None


class _Intervals:
    """Finds missing frames by their times."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._usual: deque[int] = deque(maxlen=_USUAL)

    def fault(self, t_ns: int) -> str:
        last = self._last_ns
        self._last_ns = t_ns if last is None else max(last, t_ns)
        if last is None or t_ns <= last:  # the stack names times that go back
            return ""
        step = t_ns - last
        usual = int(median(self._usual)) if len(self._usual) >= 3 else None
        self._usual.append(step)
        if step > _JUMP_NS and (usual is None or step > _GAP * usual):
            return f"time-jump: {step / 1e9:.2f} s since the last frame"
        if usual is not None and step > _GAP * usual:
            return f"gap: {step / 1e9:.3f} s since the last frame, {usual / 1e9:.3f} s are usual"
        return ""


def feed(log: Log, look_at: Callable[[U8], Look] | None = None) -> Iterator[Fed]:
    """The frames of a log with their faults, and a look at each; the same on every pass."""
    watch, intervals = FrameWatch(), _Intervals()
    start, told = time.perf_counter(), 0
    for given in log:
        decoded = time.perf_counter()
        faults = [of_log(f) for f in log.faults[told:]]
        told = len(log.faults)
        frame, size_fault = _of_size(given, log.width_px, log.height_px)
        quality = watch.judge(frame.image, frame.t_ns)
        if frame.damage and quality.usable:
            quality = Quality(f"damaged: {frame.damage}", False)
        faults += [f for f in (intervals.fault(frame.t_ns), size_fault, quality.fault) if f]
        look = look_at(frame.image) if look_at is not None and quality.usable else None
        stages = {"decode": (decoded - start) * 1e3, "check": (time.perf_counter() - decoded) * 1e3}
        yield Fed(frame, stages, tuple(faults), "" if quality.usable else quality.fault, look)
        start = time.perf_counter()
    yield Fed(None, {}, tuple(of_log(f) for f in log.faults[told:]))


def _of_size(frame: Frame, width: int, height: int) -> tuple[Frame, str]:
    """A frame of the log's size: another is scaled to fit, and filled up with black."""
    h, w = frame.image.shape[:2]
    if (w, h) == (width, height):
        return frame, ""
    scale = min(width / w, height / h)
    size = max(1, round(w * scale)), max(1, round(h * scale))
    near = abs(w / h / (width / height) - 1) <= 0.01  # the rest is rounding
    size = (width, height) if near else size
    picture = np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    image: U8 = picture
    if not near:
        image = np.zeros((height, width, 3), np.uint8)
        top, left = (height - size[1]) // 2, (width - size[0]) // 2
        image[top : top + size[1], left : left + size[0]] = picture
    how = "scaled" if near else "of another shape, fitted in"
    camera = frame.camera.scaled_to(width, height) if frame.camera and near else None
    return (
        replace(frame, image=image, camera=camera),
        f"size: {w}x{h}, not {width}x{height}: {how}",
    )
