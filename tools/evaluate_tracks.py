"""Tracks in ``evaluate``: which drives are labelled, and whose tracks are scored on them.

The tracks of a model, or of detections, are written to ``OUT/tracks`` as KITTI result files, and it
is these files that are scored, as ``score-tracks`` would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.camera import Camera
from data.datasets import Dataset
from data.datasets.files import choose_split
from data.errors import InputError
from data.kitti_calib import load_kitti_calib
from data.types import Detections, Sample, Tracks
from perception.metrics.score import Prediction
from perception.metrics.track_record import COMBINED, TrackRecord
from perception.tracking import Tracker
from perception.tracking.calibration import Calibration
from perception.tracking.detection_files import DriveDetections, read_detections
from perception.tracking.rows import read_rows
from tools.evaluation import camera_of
from tools.score_tracks import label_files, score_files
from tools.stack import PROBABLE, RAW, probable
from tools.track import choose_calibration, outcome, picture_size, track_drives, write_tracks

FOLDER = "tracks"  # of the output
FPS = 10.0  # of KITTI's drives
FOLLOWED = (
    "the frames' objects by Roadstack's tracker, vehicle taken as Car, person as Pedestrian, "
    "two_wheeler as Cyclist; by KITTI's rules trucks and trams found are false alarms"
)


@dataclass(frozen=True)
class Drives:
    """The drives of a set whose tracks are labelled.

    Attributes:
        layout: 'kitti' or 'mot'; labels: drive -> label file, of the split.
        known: all drives of the set; calib: KITTI's folder of DRIVE.txt.
    """

    layout: str
    split: str
    labels: Mapping[str, Path]
    known: frozenset[str]
    calib: Path

    def camera(self, d: DriveDetections) -> Camera:
        """A drive's calibration, or an assumed one where the set has none."""
        path = self.calib / f"{d.name}.txt"
        return load_kitti_calib(path) if path.is_file() else Camera.assumed(*picture_size(d))


def labelled_drives(root: Path, layout: str | None, split: str | None) -> Drives | None:
    """The drives of a KITTI tracking folder, or of one of MOT sequences (DRIVE/gt/gt.txt); None
    where ``root`` is neither.

    Raises:
        InputError: no such drive.
    """
    folder = root / "training/label_02"
    if layout in (None, "kitti_tracking") and any(folder.glob("*.txt")):
        files, name = label_files(folder, "kitti"), "kitti"
    elif layout in (None, "mot") and any(root.glob("*/gt/gt.txt")):
        files, name = label_files(root, "mot"), "mot"
    else:
        return None
    known = frozenset(files)
    split = split or COMBINED
    if split != COMBINED:
        files = {split: files[choose_split(root, split, (*files, COMBINED))]}
    return Drives(name, split, files, known, root / "training/calib")


def kind_of_files(folder: Path) -> str:
    """What the text files of a folder hold: 'tracks' (rows with ids), 'detections' (rows without,
    or a folder for each class), or '' where there are none."""
    own = sorted(p for p in folder.glob("*.txt") if p.is_file())
    if not own:
        return "detections" if any(folder.glob("*/*.txt")) else ""
    empty = True
    for file in own:
        rows = read_rows(file).fields
        if rows and len(rows[0]) == 15:  # frame, type, x1, y1, x2, y2, score, ...
            return "detections"
        if any(len(r) > 1 and r[1] not in ("-1", "-1.0") for r in rows):
            return "tracks"
        empty = empty and not rows
    return "tracks" if empty else "detections"


def given_tracks(drives: Drives, given: Path, out: Path) -> tuple[TrackRecord, str]:
    """The record of the tracks that ``given`` holds, or that our tracker makes of its detections
    in ``out``; and in words what they are.

    Raises:
        InputError: malformed files, or a drive that the set does not have.
    """
    folder, text = given, "track files"
    if kind_of_files(given) == "tracks":
        _refuse_unknown(given, [p.stem for p in sorted(given.glob("*.txt"))], drives)
    elif drives.layout == "mot":
        raise InputError(f"--predictions {given}: expected track files DRIVE.txt with ids")
    else:
        folder = out / FOLDER
        scores = _track(drives, given, folder)
        text = f"detections by Roadstack's tracker, scores mapped by '{scores}'"
    return score_files(drives.labels, folder, drives.layout), text


def _track(drives: Drives, given: Path, out: Path) -> str:
    """Track the detections of ``given``; the name of the score map."""
    found = read_detections(given, "kitti")
    _refuse_unknown(given, [d.name for d in found], drives)
    found = [d for d in found if d.name in drives.labels]
    missing = sorted(set(drives.labels) - {d.name for d in found})
    if missing:
        raise InputError(f"--predictions {given}: expected detections of drive {missing[0]}")
    calibration = choose_calibration(None, found, "kitti")
    track_drives(found, calibration, "kitti", drives.camera, out, FPS)
    return calibration.detector


def _refuse_unknown(given: Path, names: Sequence[str], drives: Drives) -> None:
    for name in names:
        if name not in drives.known:
            raise InputError(
                f"{given}: drive {name!r:.100} is not in the labelled data, whose drives are such "
                f"as {min(drives.known)!r}"
            )


@dataclass
class Follower:
    """The replay's tracker on every scored frame of labelled drives.

    Attributes:
        dataset: frames of KITTI drives; scores: map to probabilities of the objects that it is
            given, None where there is none; camera: calibration in place of the set's.
    """

    dataset: Dataset
    drives: Drives
    scores: Calibration | None
    camera: Camera | None
    _frames: dict[str, list[int]] = field(default_factory=dict)
    _tracks: dict[str, list[Tracks]] = field(default_factory=dict)
    _size_px: dict[str, tuple[int, int]] = field(default_factory=dict)
    _tracker: Tracker | None = None

    def __call__(self, i: int, s: Sample, p: Prediction) -> None:
        assert self.dataset.frame_attributes is not None
        said = self.dataset.frame_attributes(i)
        drive, frame = str(said["drive"]), int(said["frame"])
        if drive not in self.drives.labels:
            return
        if drive not in self._frames:
            self._tracker = Tracker(RAW if self.scores is None else PROBABLE)
            self._frames[drive], self._tracks[drive] = [], []
            self._size_px[drive] = s.image.shape[1], s.image.shape[0]
        seen = self._frames[drive]
        if frame <= (seen[-1] if seen else -1):
            raise InputError(f"{s.name}: expected pictures named by rising frame number")
        assert self._tracker is not None
        camera = camera_of(self.dataset, i, s, self.camera)
        self._tracks[drive].append(
            self._tracker.update(self._objects(p.detections), round(frame * 1e9 / FPS), camera)
        )
        seen.append(frame)

    def _objects(self, found: Detections) -> Detections:
        assert self._tracker is not None
        least = self._tracker.config.low_score
        if self.scores is None:
            return found.select(found.score >= least)
        return probable(found, self.scores, least)

    def record(self, out: Path) -> TrackRecord:
        """Write the tracks to ``out``/tracks and score them, on the frames that were seen."""
        frames = {d: np.array(f, np.int64) for d, f in self._frames.items()}
        lines = {d: outcome(frames[d], self._tracks[d], self._size_px[d]).lines() for d in frames}
        write_tracks(lines, out / FOLDER)
        labels = {d: p for d, p in self.drives.labels.items() if d in frames}
        return score_files(labels, out / FOLDER, "kitti", frames=frames)
