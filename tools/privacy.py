"""``replay --blur faces,plates``: what could tell who was met is made unreadable in every picture.

There is no detector of faces or plates among ours, so what is blurred is generous: of persons the
upper half and its surroundings, of vehicles all below the roof, of two-wheelers all. It goes by
every box that the network gives (0.05 is the lowest it does, far below what the tracker takes) and
by every track, seen in this frame, coasting, or gone for less than half a second. A frame that
perception did not look at has the last one's regions too, or is blurred as a whole. With a
``--blur-detector`` of the user's own its boxes are blurred in place of all that.

What the network misses stays readable, as does who sits in a vehicle: ``note`` says it.
"""

from __future__ import annotations

import argparse
import json
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.taxonomy import CLASS_ID
from data.types import F32, U8, Detections, Frame, StepRecord, Surfaces
from perception.detectors import Detector, load_detector
from perception.runtime import Model
from tools.files import write_text
from tools.sinks import Sink, Sinks

KINDS = ("faces", "plates")
MIN_SCORE = 0.05
HELD_S = 0.5  # a track's box after it is gone
_BLOCKS = 6  # a region's longer side has no more colours than this
_LEAST_BLOCK = 1 / 160  # of the picture's width
_HELD_LOOKS = 64  # the writing thread lags by a few frames at most

# kind -> class -> left, top, right, bottom of what is blurred, in widths and heights of the box
_PARTS: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "faces": {"person": (-0.5, -0.3, 1.5, 0.5)},
    "plates": {"vehicle": (-0.05, 0.2, 1.05, 1.05), "two_wheeler": (-0.1, -0.1, 1.1, 1.1)},
}
_FINE = (-0.15, -0.15, 1.15, 1.15)  # of a box of the user's own detector
_ALL = np.array([[0, 0, 1e6, 1e6]], np.float32)

_SAYS = {
    "faces": "the upper half of persons and its surroundings",
    "plates": "vehicles below the roof, and two-wheelers",
}
# Share of labelled objects of 40 px or taller whose head, or whose body's middle and lower part,
# is covered to nine tenths in single frames of bdd100k_subset test: 59 of 67 and 334 of 378.
_MEASURED = {"faces": "59 of 67 persons", "plates": "334 of 378 vehicles"}


def regions(boxes: F32, class_id: NDArray[np.int64], kinds: Sequence[str]) -> F32:
    """What of boxes (n, 4) xyxy px of our classes (n,) is blurred: (m, 4) float32 xyxy px."""
    found = [_part(boxes[class_id == CLASS_ID[name]], part)
             for kind in kinds for name, part in _PARTS[kind].items()]  # fmt: skip
    return np.concatenate([np.zeros((0, 4), np.float32), *found])


def _part(boxes: F32, part: tuple[float, float, float, float]) -> F32:
    corner, size = boxes[:, [0, 1, 0, 1]], np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return np.asarray(corner + size * np.array(part), np.float32)


def pixelated(image: U8, areas: F32) -> U8:
    """A copy of a picture (h, w, 3) with areas (n, 4) xyxy px, each of at most 6 x 6 colours.

    Every colour is the mean of its block, and between the blocks' centres it is interpolated:
    nothing finer is left to be brought back.
    """
    out = image.copy()
    height, width = image.shape[:2]
    finite = areas[np.isfinite(areas).all(axis=1)]
    low, high = np.floor(finite[:, :2]), np.ceil(finite[:, 2:])
    limits = np.clip(np.hstack([low, high]), 0, [width, height, width, height]).astype(int)
    # the coarsest last, so that a small area never shows more of a large one
    limits = limits[np.argsort((limits[:, 2:] - limits[:, :2]).max(axis=1), kind="stable")]
    for left, top, right, bottom in limits.tolist():
        w, h = right - left, bottom - top
        if w <= 0 or h <= 0:
            continue
        block = max(max(w, h) / _BLOCKS, width * _LEAST_BLOCK)
        few = max(1, round(w / block)), max(1, round(h / block))
        colours = cv2.resize(image[top:bottom, left:right], few, interpolation=cv2.INTER_AREA)
        out[top:bottom, left:right] = cv2.resize(colours, (w, h), interpolation=cv2.INTER_LINEAR)
    return out


@dataclass(frozen=True, eq=False)
class Watch:
    """Which kinds are blurred, and what the network saw in the last pictures, faint ones too."""

    kinds: tuple[str, ...]
    finer: Detector | None = None
    _seen: dict[int, tuple[weakref.ref[U8], Detections]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, image: U8, found: Detections) -> None:
        with self._lock:  # pictures are looked at side by side
            if len(self._seen) >= _HELD_LOOKS:
                self._seen.pop(next(iter(self._seen)))
            self._seen[id(image)] = weakref.ref(image), found

    def seen(self, image: U8) -> Detections | None:
        """What was found in this very picture; None if nobody looked."""
        reference, found = self._seen.get(id(image), (None, None))
        return found if reference is not None and reference() is image else None


@dataclass(frozen=True, eq=False)
class WatchedModel(Model):
    """A model that also tells a ``Watch`` of objects too faint for the tracker; answers alike."""

    watch: Watch = field(default_factory=lambda: Watch(()))

    def __call__(self, image: U8, min_score: float) -> tuple[Detections, Surfaces]:
        found, surfaces = super().__call__(image, min(min_score, MIN_SCORE))
        self.watch.keep(image, found)
        return found.select(found.score >= min_score), surfaces


def watched(model: Model, a: argparse.Namespace) -> Model:
    """The model, watched where ``--blur`` is given.

    Raises:
        InputError: an option of the blur without it, or its detector is none.
    """
    if not a.blur:
        if a.blur_detector or a.blur_decoder or a.blur_names:
            raise InputError("--blur-detector, --blur-decoder, --blur-names: need --blur")
        return model
    finer = None
    if a.blur_detector is not None:
        if a.blur_decoder is None:
            raise InputError(f"--blur-detector {a.blur_detector}: say its family by --blur-decoder")
        finer = load_detector(a.blur_detector, a.blur_decoder, a.blur_names, None, a.threads)
    parts = {f.name: getattr(model, f.name) for f in fields(Model)}
    return WatchedModel(**parts, watch=Watch(tuple(a.blur), finer))


def note(kinds: Sequence[str], finer: str | None = None) -> str:
    """What is blurred and what is not, in a few sentences."""
    if finer is not None:
        return (
            f"Blurred in all pictures: every box of {finer} scored {MIN_SCORE:g} or more. What it "
            "misses stays readable: look through the pictures before you pass them on."
        )
    what = " and ".join(_SAYS[k] for k in kinds)
    measured = " and ".join(_MEASURED[k] for k in kinds)
    return (
        f"Blurred in all pictures: {what}, by every box scored {MIN_SCORE:g} or more and every "
        f"track. No detector of faces or plates is used: in single frames of a test set {measured} "
        "of 40 px or taller were covered, others stay readable, as do people inside vehicles, "
        "writing on buildings and everything in the source itself: look through the pictures "
        "before you pass them on."
    )


def summary(model: Model) -> dict[str, Any]:
    """Entries of a replay's summary; none without ``--blur``."""
    if not isinstance(model, WatchedModel):
        return {}
    finer = model.watch.finer
    entry = {} if finer is None else {"blur_detector": {"name": finer.name, "sha256": finer.sha256}}
    said = note(model.watch.kinds, finer.name if finer else None)
    return {"blur": list(model.watch.kinds), "blur_note": said, **entry}


class BlurringSinks(Sinks):
    """Sinks that are given no frame but a blurred one."""

    def __init__(self, sinks: Sequence[Sink], watch: Watch, folder: Path) -> None:
        super().__init__(sinks)
        self._watch, self._folder, self._frames = watch, folder, 0
        self._tracks: dict[int, tuple[int, list[float], int]] = {}  # id -> last seen, box, class
        self._last: list[list[float]] | None = None  # areas of the last frame looked at
        self._last_t_ns = 0

    def write(self, frame: Frame, record: StepRecord) -> None:
        image = pixelated(frame.image, self._areas(frame.image, record)) if len(self) else None
        super().write(frame if image is None else replace(frame, image=image), record)
        self._frames += 1

    def _areas(self, image: U8, r: StepRecord) -> F32:
        kinds, found = self._watch.kinds, self._watch.seen(image)
        if self._watch.finer is not None:
            return _part(self._watch.finer(image, MIN_SCORE).xyxy, _FINE)
        if r.scene is not None:
            t = r.scene.tracks
            for i, box, kind in zip(t.track_id.tolist(), t.xyxy.tolist(), t.class_id.tolist()):
                self._tracks[i] = r.t_ns, box, kind
        since = r.t_ns - HELD_S * 1e9
        self._tracks = {i: held for i, held in self._tracks.items() if held[0] >= since}
        held = np.array([b for _, b, _ in self._tracks.values()], np.float32).reshape(-1, 4)
        areas = regions(held, np.array([k for *_, k in self._tracks.values()], np.int64), kinds)
        if found is not None:
            areas = np.concatenate([areas, regions(found.xyxy, found.class_id, kinds)])
            self._last, self._last_t_ns = areas.tolist(), r.t_ns
            return areas
        if self._last is None or self._last_t_ns < since:
            return _ALL
        return np.concatenate([areas, np.array(self._last, np.float32).reshape(-1, 4)])

    def cut(self) -> None:
        super().cut()
        held = {"tracks": list(self._tracks.items()), "last": self._last, "t_ns": self._last_t_ns}
        earlier = sorted(self._folder.glob("blur-*.json"))[:-1]  # the last cut may be the one
        write_text(self._state(self._frames), json.dumps(held))  # that is resumed from
        for path in earlier:
            path.unlink()

    def resume(self, frames: int) -> None:
        super().resume(frames)
        self._frames = frames
        if self._state(frames).is_file():
            held = json.loads(self._state(frames).read_text(encoding="utf-8"))
            self._tracks = {i: (t, box, kind) for i, (t, box, kind) in held["tracks"]}
            self._last, self._last_t_ns = held["last"], held["t_ns"]

    def _state(self, frames: int) -> Path:
        return self._folder / f"blur-{frames:09d}.json"


def over(sinks: Sequence[Sink], model: Model, folder: Path) -> Sinks:
    """The sinks of a replay into ``folder``, behind the blur where the model is watched."""
    if not isinstance(model, WatchedModel):
        return Sinks(sinks)
    return BlurringSinks(sinks, model.watch, folder)
