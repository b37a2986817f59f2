"""KITTI and MOT tracking files, and what each protocol counts.

KITTI: one ``DRIVE.txt`` with rows ``frame id type truncated occluded alpha x1 y1 x2 y2 h w l x y z
rotation_y [score]`` (Geiger et al., "Are We Ready for Autonomous Driving? The KITTI Vision
Benchmark Suite", CVPR 2012). MOT: ``frame,id,x,y,width,height,confidence,class,visibility``, frames
from 1, labels in ``DRIVE/gt/gt.txt`` (Milan et al., "MOT16: A Benchmark for Multi-Object Tracking",
arXiv:1603.00831).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from perception.metrics.tracking import (
    F64,
    I64,
    Bool,
    Boxes,
    TrackCounts,
    Truth,
    score_drive,
)
from perception.tracking.rows import Rows, read_rows

MIN_HEIGHT_PX = 25.0
MAX_OCCLUSION = 2
MAX_TRUNCATION = 0
# class -> labels so like it that a match with one is no false alarm
KITTI_CLASSES: dict[str, tuple[str, ...]] = {
    "Car": ("Van",),
    "Pedestrian": ("Person", "Person_sitting"),
    "Cyclist": (),
}
MOT_CLASSES: dict[str, int] = {"Pedestrian": 1}
_MOT_ABSORBING = (2, 7, 8, 12)  # on a vehicle, standing still, distractor, reflection
_MOT20_ABSORBING = (*_MOT_ABSORBING, 6)  # vehicles without a motor too, as TrackEval has it


@dataclass(frozen=True, eq=False)
class TrackFile:
    """The rows of one drive's file, sorted by frame.

    Attributes:
        path: the file; line: (n,) int64 its line numbers from 1.
        frame, track_id: (n,) int64; kind: (n,) class names, of MOT files the class's number.
        xyxy: (n, 4) float64 px; score: (n,) float64, 1 where the file has none.
        occluded, truncated: (n,) int64; -1 where the format has none.
    """

    path: Path
    line: I64
    frame: I64
    track_id: I64
    kind: NDArray[np.str_]
    xyxy: F64
    score: F64
    occluded: I64
    truncated: I64

    def boxes(self, keep: Bool) -> Boxes:
        return Boxes(self.frame[keep], self.track_id[keep], self.xyxy[keep])


def read_kitti(path: Path) -> TrackFile:
    """Read a KITTI label or result file.

    Raises:
        InputError: unreadable or malformed; names file and line.
    """
    rows = read_rows(path)
    k = rows.length((17, 18), "frame id type truncated occluded alpha x1 y1 x2 y2 ... [score]")
    kind = np.array([r[2] for r in rows.fields], dtype=np.str_)
    ids, cut, xyxy = rows.columns(0, 2), rows.columns(3, 5), rows.columns(6, 10)
    score = rows.columns(17, 18)[:, 0] if k == 18 else np.ones(len(ids))
    return _sorted(rows, ids, kind, xyxy, score, cut[:, 1], cut[:, 0])


def read_mot(path: Path) -> TrackFile:
    """Read a MOT label or result file; frames become those from 0, boxes xyxy.

    Raises:
        InputError: unreadable or malformed; names file and line.
    """
    rows = read_rows(path)
    k = rows.length((7, 8, 9, 10), "frame,id,x,y,width,height,score,...")
    values = rows.columns(0, k)
    kind = values[:, 7].astype(np.int64) if k == 9 else np.ones(len(values), np.int64)
    xyxy = np.concatenate([values[:, 2:4], values[:, 2:4] + values[:, 4:6]], axis=1)
    none = np.full(len(values), -1.0)
    ids = values[:, :2] - (1, 0)
    return _sorted(rows, ids, kind.astype(np.str_), xyxy, values[:, 6], none, none)


def _sorted(
    rows: Rows,
    ids: F64,
    kind: NDArray[np.str_],
    xyxy: F64,
    score: F64,
    occluded: F64,
    truncated: F64,
) -> TrackFile:
    finite = np.isfinite(np.column_stack([ids, xyxy])).all(axis=1)
    rows.refuse(np.asarray(~finite, np.bool_), "finite numbers")
    broken = (ids != np.round(ids)).any(axis=1) | (ids[:, 0] < 0)
    rows.refuse(np.asarray(broken, np.bool_), "whole frame and id")
    order = np.argsort(ids[:, 0], kind="stable")
    whole = np.column_stack([rows.numbers, ids, occluded, truncated])[order].astype(np.int64)
    line, frame, track_id, hidden, cut = whole.reshape(-1, 5).T
    return TrackFile(
        rows.path, line, frame, track_id, kind[order], xyxy[order], score[order], hidden, cut
    )


def _refuse_doubles(file: TrackFile, keep: Bool) -> None:
    """One id twice in a frame is no track."""
    rows = np.flatnonzero(keep)
    order = rows[np.lexsort((rows, file.track_id[rows], file.frame[rows]))]
    same = (np.diff(file.frame[order]) == 0) & (np.diff(file.track_id[order]) == 0)
    if same.any():
        row = int(order[1:][same].min())
        raise InputError(
            f"{file.path}:{file.line[row]}: id {file.track_id[row]} is in frame "
            f"{file.frame[row]} twice; ids must be unique in a frame"
        )


def kitti_truth(file: TrackFile, name: str) -> Truth:
    """What KITTI counts of a class ``name`` of ``KITTI_CLASSES``.

    Labels of greater occlusion than 2 or truncation than 0 and those of neighbouring classes
    (Van for Car, seated persons for Pedestrian) need not be found; found boxes matched to them
    are dropped, as are unmatched ones no taller than 25 px or more than half in a DontCare area.

    Raises:
        InputError: an id is in a frame twice.
    """
    keep = np.isin(file.kind, (name, *KITTI_CLASSES[name])) & (file.track_id >= 0)
    _refuse_doubles(file, keep)
    hidden = (file.occluded[keep] > MAX_OCCLUSION) | (file.truncated[keep] > MAX_TRUNCATION)
    counted = (file.kind[keep] == name) & ~hidden
    areas = file.boxes(file.kind == "DontCare")
    return Truth(file.boxes(keep), counted, ~counted, areas, MIN_HEIGHT_PX)


def mot_truth(file: TrackFile, drive: str = "") -> Truth:
    """What MOT16, MOT17 and MOT20 count: pedestrians of non-zero confidence; found boxes matched
    to persons on vehicles, standing persons, distractors or reflections are dropped, and in a
    ``drive`` named MOT20-... those matched to vehicles without a motor.

    Raises:
        InputError: an id is in a frame twice.
    """
    everything = np.ones(len(file.frame), np.bool_)
    _refuse_doubles(file, everything)
    kind = file.kind.astype(np.int64)
    return Truth(
        file.boxes(everything),
        (kind == MOT_CLASSES["Pedestrian"]) & (file.score != 0),
        np.isin(kind, _MOT20_ABSORBING if drive.startswith("MOT20-") else _MOT_ABSORBING),
    )


def found_boxes(file: TrackFile, name: str | None = None) -> Boxes:
    """The tracks of a class, or all of them.

    Raises:
        InputError: an id is in a frame twice.
    """
    keep = file.track_id >= 0
    if name is not None:
        keep = keep & (file.kind == name)
    _refuse_doubles(file, keep)
    return file.boxes(keep)


def score_kitti(labels: TrackFile, tracks: TrackFile, name: str) -> TrackCounts:
    """Scores of a class of ``KITTI_CLASSES`` on one drive."""
    return score_drive(kitti_truth(labels, name), found_boxes(tracks, name))


def score_mot(labels: TrackFile, tracks: TrackFile, drive: str = "") -> TrackCounts:
    """Scores of pedestrians on one drive, by its name's rules; see ``mot_truth``."""
    return score_drive(mot_truth(labels, drive), found_boxes(tracks))


def every_nth(file: TrackFile, stride: int) -> TrackFile:
    """The rows of frames 0, ``stride``, 2 ``stride`` ... as a drive seen at a lower rate."""
    return _rows(file, file.frame % stride == 0)


def of_frames(file: TrackFile, frames: I64) -> TrackFile:
    """The rows of some frames alone."""
    return _rows(file, np.isin(file.frame, frames))


def _rows(file: TrackFile, keep: Bool) -> TrackFile:
    names = ("line", "frame", "track_id", "kind", "xyxy", "score", "occluded", "truncated")
    return TrackFile(file.path, *(getattr(file, n)[keep] for n in names))
