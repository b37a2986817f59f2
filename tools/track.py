"""``roadstack track``: detection files to KITTI tracking results, by the tracker of the replay."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.errors import InputError
from data.kitti_calib import load_kitti_calib
from data.taxonomy import BDD100K, CLASS_ID, COMMON, plain_name
from data.types import Detections, Tracks
from perception.tracking import Tracker, TrackerConfig
from perception.tracking.calibration import Calibration, load_calibration, shipped
from perception.tracking.config import PROBABILITIES
from perception.tracking.detection_files import DriveDetections, read_detections
from perception.tracking.kernels import candidates
from tools.files import make_folder, staging
from tools.warmup import prepare

# A KITTI cyclist's box spans the person and the bicycle, so it is tracked as a two-wheeler and no
# person is found in the same place.
_KITTI_IDS = {"Car": "vehicle", "Pedestrian": "person", "Cyclist": "two_wheeler"}
_KITTI_NAMES = {CLASS_ID[ours]: name for name, ours in _KITTI_IDS.items()}
_OTHER = "Misc"  # the name in KITTI files of lights and signs
KITTI_RIVALS = ((CLASS_ID["person"], CLASS_ID["two_wheeler"]),)
KERNELS = (candidates,)  # one of those that are compiled together
_UNBOUNDED = (100_000, 100_000)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a drive.

    Attributes:
        frame, track_id: (n,) int64; kind: (n,) KITTI class names; xyxy: (n, 4) float64 px, cut at
            the picture's border; score: (n,) float64.
        milliseconds: (f,) of the frames seen.
        dropped, outside, excess: boxes refused for themselves, for lying outside the picture, and
            left out because there were too many.
    """

    frame: NDArray[np.int64]
    track_id: NDArray[np.int64]
    kind: NDArray[np.str_]
    xyxy: NDArray[np.float64]
    score: NDArray[np.float64]
    milliseconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    dropped: int = 0
    outside: int = 0
    excess: int = 0

    def lines(self) -> list[str]:
        """Rows of a KITTI tracking result file; what is not known has KITTI's values for it."""
        return [
            f"{f} {i} {name} -1 -1 -10 {x1:.3f} {y1:.3f} {x2:.3f} {y2:.3f} "
            f"-1 -1 -1 -1000 -1000 -1000 -10 {score:.4f}"
            for f, i, name, (x1, y1, x2, y2), score in zip(
                self.frame.tolist(),
                self.track_id.tolist(),
                self.kind.tolist(),
                self.xyxy.tolist(),
                self.score.tolist(),
            )
        ]


def class_ids(kind: NDArray[np.str_]) -> tuple[NDArray[np.int64], list[str]]:
    """(n,) our class of class names, -1 for others, and the names that are not known at all."""
    table: dict[str, int] = {}
    unknown = []
    for name in np.unique(kind):
        plain = plain_name(str(name))
        ours = _KITTI_IDS.get(str(name), BDD100K.get(plain, COMMON.get(plain)))
        if ours is None and plain not in COMMON:
            unknown.append(str(name))
        table[str(name)] = -1 if ours is None else CLASS_ID[ours]
    return np.array([table[str(k)] for k in kind], np.int64).reshape(-1), unknown


def picture_size(drive: DriveDetections) -> tuple[int, int]:
    """Width and height px as far as the boxes reach."""
    with np.errstate(invalid="ignore"):
        sane = (np.abs(drive.xyxy) < _UNBOUNDED[0]).all(axis=1)
    if not sane.any():
        return 1280, 720
    width, height = np.ceil(drive.xyxy[sane, 2:].max(axis=0))
    return max(2, int(width) + 1), max(2, int(height) + 1)


def _lively(frames: NDArray[np.int64], seen: NDArray[np.int64], fps: float) -> NDArray[np.int64]:
    """``frames`` without what lies long after any detection, where no track is left to follow:
    a wrong frame number may leave millions of them."""
    last = np.concatenate([[0], seen])[np.searchsorted(seen, frames, side="right")]
    return frames[frames - last <= max(1000, 30 * fps)]


def follow(
    drive: DriveDetections,
    calibration: Calibration,
    config: TrackerConfig,
    camera: Camera,
    fps: float,
    frames: NDArray[np.int64],
) -> Outcome:
    """Track all classes of a drive over its ``frames`` (f,), rising; others are not seen."""
    size = np.array([camera.width_px, camera.height_px], np.float64)
    kind, _ = class_ids(drive.kind)
    xyxy = calibration.boxes(drive.kind, drive.xyxy, camera.width_px - 1)
    score = calibration.probability(drive.kind, drive.score)
    outside = ((xyxy[:, 2:] <= 0) | (xyxy[:, :2] >= size)).any(axis=1)
    outside &= np.isfinite(xyxy).all(axis=1)
    keep = ~outside & (kind >= 0)
    frame, kind, xyxy, score = drive.frame[keep], kind[keep], xyxy[keep], score[keep]
    frames = _lively(frames, frame, fps)
    narrow, score_32 = xyxy.astype(np.float32), score.astype(np.float32)
    tracker, found, times = Tracker(config), [], []
    for at in frames.tolist():
        low, high = np.searchsorted(frame, [at, at + 1])
        part = slice(low, high)
        now = Detections(narrow[part], score_32[part], kind[part])
        start = time.perf_counter()
        found.append(tracker.update(now, round(at * 1e9 / fps), camera))
        times.append(time.perf_counter() - start)
    done = outcome(frames, found, (camera.width_px, camera.height_px))
    return replace(
        done, milliseconds=np.array(times) * 1e3, dropped=tracker.dropped_boxes,
        outside=int(outside.sum()), excess=tracker.excess_boxes,
    )  # fmt: skip


def outcome(
    frames: NDArray[np.int64], found: Sequence[Tracks], size_px: tuple[int, int]
) -> Outcome:
    """The tracks ``found`` on each of ``frames`` (f,) of a drive, cut at the picture's border."""
    tracks = [Tracks.empty(), *found]
    size = np.array(size_px, np.float64)
    boxes = np.concatenate([t.xyxy for t in tracks]).astype(np.float64)
    boxes = boxes.reshape(-1, 2, 2).clip(0, size - 1).reshape(-1, 4)
    good = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    classes = np.concatenate([t.class_id for t in tracks])[good]
    return Outcome(
        np.repeat(frames, [len(t) for t in found]).astype(np.int64)[good],
        np.concatenate([t.track_id for t in tracks])[good],
        np.array([_KITTI_NAMES.get(c, _OTHER) for c in classes.tolist()], np.str_),
        boxes[good],
        np.concatenate([t.score for t in tracks]).astype(np.float64)[good],
    )


def choose_calibration(name: str | None, drives: list[DriveDetections], layout: str) -> Calibration:
    """The named calibration, or that of the detector whose name the folders bear.

    Raises:
        InputError: scores are no probabilities and no calibration is named.
    """
    if name is not None and name != "none":
        return load_calibration(name)
    scores = np.concatenate([d.score for d in drives])
    scores = scores[np.isfinite(scores)]
    unit = not len(scores) or (scores.min() >= 0 and scores.max() <= 1)
    folders = {part for d in drives for s in d.sources for part in s.parts[-3:-1]}
    known = [n for n in shipped() if any(f.split("_")[0] == n for f in folders)]
    if name is None and known and not unit:
        return load_calibration(known[0])
    if unit:
        return Calibration()
    raise InputError(
        f"scores from {scores.min():g} to {scores.max():g} are no probabilities: give "
        f"--calibration FILE.json (see roadstack calibrate-scores) or one of {', '.join(shipped())}"
    )


def _camera(a: argparse.Namespace, drive: DriveDetections) -> Camera:
    width, height = a.size or picture_size(drive)
    if a.calib is None:
        return Camera.assumed(width, height)
    path = a.calib / f"{drive.name}.txt" if a.calib.is_dir() else a.calib
    if a.size:
        return load_kitti_calib(path, width, height)
    return load_kitti_calib(path)


def _check(a: argparse.Namespace) -> None:
    if not (np.isfinite(a.fps) and 0 < a.fps <= 1000):
        raise InputError(f"--fps {a.fps}: expected a frame rate above 0 and up to 1000")
    if a.stride < 1:
        raise InputError(f"--stride {a.stride}: expected 1 or more")
    if a.size and min(a.size) < 2:
        raise InputError(f"--size {a.size[0]}x{a.size[1]}: expected the pictures' size in px")


def _warn(drive: str, done: Outcome) -> None:
    notes = []
    if done.dropped:
        notes.append(f"{done.dropped} boxes dropped (not finite, inverted or without size)")
    if done.outside:
        notes.append(f"{done.outside} boxes outside the picture dropped")
    if done.excess:
        most = PROBABILITIES.max_detections
        notes.append(f"{done.excess} of the least sure boxes beyond {most} a frame left out")
    if notes:
        print(f"warning: {drive}: {'; '.join(notes)}", file=sys.stderr)


def run_track(a: argparse.Namespace) -> int:
    """Track ``a.detections`` (layout ``a.layout``); write ``a.out``/DRIVE.txt.

    Raises:
        InputError: bad input or option.
    """
    _check(a)
    prepare("tracker")
    drives = read_detections(a.detections, a.layout)
    calibration = choose_calibration(a.calibration, drives, a.layout)
    done = track_drives(
        drives, calibration, a.layout, lambda d: _camera(a, d), a.out, a.fps, a.stride
    )
    ms = np.concatenate([d.milliseconds for d in done])
    tracks = sum(len(np.unique(d.track_id)) for d in done)
    typical = f", {np.median(ms):.2f} ms a frame" if len(ms) else ""
    print(
        f"{len(drives)} drives, {len(ms)} frames, {tracks} tracks{typical} "
        f"(scores: {calibration.detector}): {a.out}"
    )
    return 0


def track_drives(
    drives: Sequence[DriveDetections], calibration: Calibration, layout: str,
    camera_of: Callable[[DriveDetections], Camera], out: Path, fps: float, stride: int = 1,
) -> list[Outcome]:  # fmt: skip
    """Track every drive, each how many-th frame by ``stride``, and write ``out``/DRIVE.txt."""
    make_folder(out)  # before the work
    unknown = sorted({n for d in drives for n in class_ids(d.kind)[1]})
    if unknown:
        print(f"warning: unknown classes left out: {', '.join(unknown)}", file=sys.stderr)
    config = replace(PROBABILITIES, rivals=KITTI_RIVALS if layout == "kitti" else ())
    outcomes = []
    for drive in drives:
        last = int(drive.frame[-1]) if len(drive.frame) else -1
        frames = np.arange(0, last + 1, stride)
        done = follow(drive, calibration, config, camera_of(drive), fps, frames)
        _warn(drive.name, done)
        outcomes.append(done)
    texts = {d.name: o.lines() for d, o in zip(drives, outcomes)}
    write_tracks(texts, out, [s for d in drives for s in d.sources])
    return outcomes


def write_tracks(drives: Mapping[str, list[str]], out: Path, inputs: Sequence[Path] = ()) -> None:
    """Write the lines of each drive to ``out``/DRIVE.txt; ``inputs`` are not overwritten."""
    names = [f"{name}.txt" for name in drives]
    with staging(make_folder(out), names, inputs) as folder:
        for name, lines in drives.items():
            text = "".join(f"{line}\n" for line in lines)
            (folder / f"{name}.txt").write_text(text, encoding="utf-8")
