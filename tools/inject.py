"""``roadstack replay --inject FAULTS.toml``: faults put into a log, to see what comes of them.

The file is a list of tables ``[[fault]]`` with

- ``kind``: one of ``KINDS``;
- ``start_s`` or ``start_frame``: from which time or frame index on;
- ``duration_s`` or ``frames``: for how long (to the end);
- ``share``: of the frames in it that are hit, by chance (1.0);
- ``seed``: of that chance and of what is drawn (0);
- ``amount``: what it means and its bounds stand with the kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.camera import ASSUMED_FOCAL_PER_WIDTH
from data.config import build, read_toml
from data.errors import InputError
from data.logs import Log
from data.logs.selection import add_fault
from data.types import U8, Frame

# kind -> what it does, and of ``amount``: what it is, what is taken where none is given, bounds
KINDS: dict[str, tuple[str, tuple[float, float, float] | None]] = {
    "black": ("a black picture with a little noise", None),
    "white": ("an overexposed picture", None),
    "frozen": ("the picture before the fault, or else its first, again and again", None),
    "blurred": ("out of focus; amount: px of the Gaussian at a width of 1280", (8, 0.5, 100)),
    "damaged": ("grey from a row on; amount: share of the picture", (0.5, 0.05, 1)),
    "covered": ("something on the lens", None),
    "noise": ("a noisy picture; amount: standard deviation of 0 to 255", (40, 1, 255)),
    "drop": ("frames missing", None),
    "corrupt": ("frames missing, as the log says", None),
    "time-jump": ("times go on later; amount: s", (5, 1e-3, 1e6)),
    "time-back": ("times go back while it lasts; amount: s", (0.5, 1e-3, 1e6)),
    "resized": ("another picture size; amount: scale", (0.5, 0.05, 4)),
    "reshaped": ("a picture cropped at both sides; amount: share kept", (0.75, 0.1, 0.98)),
    "tilted": ("the camera has moved; amount: degrees downward", (6, -30, 30)),
}


@dataclass(frozen=True)
class Injected:
    """One fault; the fields are the keys of its table."""

    kind: str
    start_s: float | None = None
    start_frame: int | None = None
    duration_s: float | None = None
    frames: int | None = None
    share: float = 1.0
    seed: int = 0
    amount: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind '{self.kind}' is unknown; expected one of {', '.join(KINDS)}")
        if (self.start_s is None) == (self.start_frame is None):
            raise ValueError("give one of start_s and start_frame")
        if self.duration_s is not None and self.frames is not None:
            raise ValueError("give one of duration_s and frames")
        start = self.start_s if self.start_s is not None else self.start_frame or 0
        if not 0 <= start < math.inf:
            raise ValueError(f"it begins at {start}; expected 0 or later")
        if self.kind == "time-back" and not start:
            raise ValueError("it begins at 0; times can go back only behind the first frame")
        length = self.duration_s if self.duration_s is not None else self.frames
        if length is not None and not 0 < length < math.inf:
            raise ValueError(f"it lasts {length}; expected more than 0")
        if not 0 < self.share <= 1:
            raise ValueError(f"share = {self.share}; expected above 0, at most 1")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed}; expected 0 or more")
        bounds = KINDS[self.kind][1]
        if self.amount is not None and bounds is None:
            raise ValueError(f"kind '{self.kind}' takes no amount")
        if self.amount is not None and bounds and not bounds[1] <= self.amount <= bounds[2]:
            raise ValueError(
                f"amount = {self.amount}; expected {bounds[1]:g} to {bounds[2]:g} for {self.kind}"
            )

    @property
    def strength(self) -> float:
        bounds = KINDS[self.kind][1]
        return self.amount if self.amount is not None else (bounds[0] if bounds else 0.0)

    def random(self, index: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, index))


@dataclass(frozen=True)
class _File:
    fault: tuple[Injected, ...] = ()


def load_faults(path: Path) -> tuple[Injected, ...]:
    """Read a file of faults.

    Raises:
        InputError: unreadable, or a table that is wrong, naming it and what is wrong.
    """
    raw: dict[str, Any] = read_toml(path, "faults file")
    found = build(_File, raw, f"faults file {path}").fault
    if not found:
        raise InputError(f"faults file {path}: holds no fault; expected tables [[fault]]")
    return found


class InjectedLog:
    """A log with faults in it; every pass has the same ones.

    Attributes:
        unreached: places of the faults that the last whole pass did not come to.
    """

    def __init__(self, log: Log, faults: tuple[Injected, ...]) -> None:
        self._log, self._injected = log, faults
        self.name, self.kind, self.time_source = log.name, log.kind, log.time_source
        self.width_px, self.height_px = log.width_px, log.height_px
        self.nominal_fps, self.expected_frames = log.nominal_fps, log.expected_frames
        self.faults = log.faults
        self.unreached: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[Frame]:
        windows = [_Window(f) for f in self._injected]
        for frame in self._log:
            given: Frame | None = frame
            for window in windows:
                if given is not None and window.hits(frame):
                    given = self._with(window, given)
                elif window.fault.kind == "time-jump" and window.first is not None and given:
                    given = _later(given, window.fault.strength)  # and stays so
                if given is not None and not window.hit:
                    window.before = given.image
            if given is not None:
                yield given
        self.unreached = tuple(i for i, w in enumerate(windows) if w.first is None)

    def _with(self, window: _Window, frame: Frame) -> Frame | None:
        kind, amount = window.fault.kind, window.fault.strength
        if kind == "drop":
            return None
        if kind == "corrupt":
            add_fault(self.faults, f"a corrupt frame at {frame.t_ns / 1e9:.2f} s skipped")
            return None
        if kind in ("time-jump", "time-back"):
            return _later(frame, amount if kind == "time-jump" else -amount)
        if kind == "frozen":
            if window.before is None:  # from the first frame on
                window.before = frame.image
            return replace(frame, image=window.before)
        image = _PICTURES[kind](frame.image, amount, window.fault.random(frame.index))
        near = abs(
            image.shape[1] * frame.image.shape[0] / image.shape[0] / frame.image.shape[1] - 1
        )
        camera = frame.camera
        if camera is not None and image.shape != frame.image.shape:
            height, width = image.shape[:2]
            camera = camera.scaled_to(width, height) if near < 0.01 else None
        return replace(frame, image=image, camera=camera)


class _Window:
    """One fault in one pass over a log.

    ``first``: index and time of the frame it began with; ``before``: the last picture without it.
    """

    def __init__(self, fault: Injected) -> None:
        self.fault = fault
        self.first: tuple[int, int] | None = None
        self.before: U8 | None = None
        self.hit = False

    def hits(self, frame: Frame) -> bool:
        fault = self.fault
        if self.first is None:
            start_ns = round((fault.start_s or 0.0) * 1e9)
            if frame.t_ns < start_ns or frame.index < (fault.start_frame or 0):
                return False
            self.first = frame.index, frame.t_ns
        index, t_ns = self.first
        over = fault.duration_s is not None and frame.t_ns - t_ns >= fault.duration_s * 1e9
        over |= fault.frames is not None and frame.index - index >= fault.frames
        self.hit = not over
        if not over and fault.share < 1:
            self.hit = bool(fault.random(frame.index).random() < fault.share)
        return self.hit


def _later(frame: Frame, seconds: float) -> Frame:
    return replace(frame, t_ns=max(0, frame.t_ns + round(seconds * 1e9)))


def _black(image: U8, _: float, random: np.random.Generator) -> U8:
    return random.integers(0, 6, image.shape, np.uint8)


def _white(image: U8, _: float, random: np.random.Generator) -> U8:
    return random.integers(250, 256, image.shape, np.uint8)


def _blurred(image: U8, sigma_px: float, _: np.random.Generator) -> U8:
    sigma = sigma_px * image.shape[1] / 1280
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _damaged(image: U8, share: float, random: np.random.Generator) -> U8:
    """Grey below a row, and above it a band of blocks from elsewhere, as decoders leave it."""
    out, block = image.copy(), 16
    height, width = image.shape[:2]
    row = round(height * (1 - share)) // block * block
    for left in range(0, width - block, block):
        top, x = random.integers(0, max(height - block, 1)), random.integers(0, width - block)
        part = out[max(row - block, 0) : row, left : left + block]
        part[:] = image[top : top + part.shape[0], x : x + block]
    out[row:] = 128
    return out


def _covered(image: U8, _: float, random: np.random.Generator) -> U8:
    """What is left when something lies on the lens: a dim, smooth shimmer."""
    height, width = image.shape[:2]
    light = random.uniform(40, 90, (2, 3, 3)).astype(np.float32)
    return np.asarray(cv2.resize(light, (width, height)), np.uint8)


def _noise(image: U8, std: float, random: np.random.Generator) -> U8:
    noisy = image + random.normal(0, std, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _resized(image: U8, scale: float, _: np.random.Generator) -> U8:
    size = max(2, round(image.shape[1] * scale)), max(2, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _reshaped(image: U8, share: float, _: np.random.Generator) -> U8:
    width = image.shape[1]
    cut = min(round(width * (1 - share) / 2), (width - 1) // 2)  # a column or two at least
    return np.ascontiguousarray(image[:, cut : width - cut])


def _tilted(image: U8, degrees: float, _: np.random.Generator) -> U8:
    """The picture of a camera turned down, of a 60 degree lens: what it shows moves up."""
    height, width = image.shape[:2]
    focal = ASSUMED_FOCAL_PER_WIDTH * min(width, height * 16 / 9)
    move = np.array([[1, 0, 0], [0, 1, -focal * math.tan(math.radians(degrees))]])
    moved = cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


_PICTURES = {
    "black": _black, "white": _white, "blurred": _blurred, "damaged": _damaged,
    "covered": _covered, "noise": _noise, "resized": _resized, "reshaped": _reshaped,
    "tilted": _tilted,
}  # fmt: skip
