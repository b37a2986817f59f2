"""Scores of KITTI or MOT tracking files: ``roadstack score-tracks``, and what ``evaluate`` shares
with it."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.taxonomy import KITTI, nearest_name
from data.types import I64
from perception.metrics.bootstrap import Interval
from perception.metrics.track_record import COMBINED, TrackRecord, intervals
from perception.metrics.tracking import ALPHAS, TrackCounts
from perception.metrics.tracking_files import (
    KITTI_CLASSES,
    TrackFile,
    every_nth,
    of_frames,
    read_kitti,
    read_mot,
    score_kitti,
    score_mot,
)
from tools.files import make_folder, staging, write_json, write_text

JSON, CSV = "tracking.json", "tracking.csv"
PROTOCOL = {
    "kitti": "KITTI 2D boxes: occlusion up to 2, truncation 0; Van beside Car, seated beside "
    "Pedestrian, DontCare and 25 px or lower not judged; HOTA over IoU 0.05 to 0.95, others 0.5",
    "mot": "MOT16/17/20 pedestrians, distractors (and in drives named MOT20-* vehicles without a "
    "motor) not judged; HOTA over IoU 0.05 to 0.95, others at 0.5",
}
_SHARES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1")
_COUNTS = ("switches", "fragmentations", "misses", "false_alarms", "ground_truths")


def label_files(labels: Path, layout: str) -> dict[str, Path]:
    """Drive -> label file of a file or folder: DRIVE.txt, of MOT also DRIVE/gt/gt.txt.

    Raises:
        InputError: there are none.
    """
    if labels.is_file():
        return {labels.stem: labels}
    files = {p.stem: p for p in sorted(labels.glob("*.txt"))}
    if layout == "mot" and not files:
        files = {p.parts[-3]: p for p in sorted(labels.glob("*/gt/gt.txt"))}
    if not files:
        raise InputError(f"--labels {labels}: expected label files of the form '{layout}'")
    return files


def score_files(
    labels: Mapping[str, Path], tracks: Path, layout: str = "kitti", stride: int = 1,
    frames: Mapping[str, I64] | None = None,
) -> TrackRecord:  # fmt: skip
    """Counts of every labelled drive against ``tracks``/DRIVE.txt.

    Args:
        labels: drive -> label file; stride: score each how many-th frame.
        frames: drive -> the frames that were looked at; labels of others do not count. None: all.

    Raises:
        InputError: no tracks of a labelled drive, a malformed file, a class that KITTI does not
            have, or a track in a frame that was not looked at.
    """
    read = read_kitti if layout == "kitti" else read_mot
    counts: dict[str, dict[str, TrackCounts]] = {}
    digests = {}
    for drive, file in labels.items():
        path = tracks / f"{drive}.txt"
        if not path.is_file():
            raise InputError(f"{tracks}: expected a file of drive {drive}, {path.name}")
        truth, found = read(file), read(path)
        if layout == "kitti":
            _check_classes(found)
        if frames is not None:
            _check_frames(found, frames[drive])
            truth = of_frames(truth, frames[drive])
        pair = (every_nth(truth, stride), every_nth(found, stride))
        for name, c in _scored(pair, layout, drive).items():
            counts.setdefault(name, {})[drive] = c
        digests[drive] = hashlib.sha256(file.read_bytes()).hexdigest()
    return TrackRecord(counts, digests, {"layout": layout, "stride": stride})


def _scored(pair: tuple[TrackFile, TrackFile], layout: str, drive: str) -> dict[str, TrackCounts]:
    if layout == "mot":
        return {"Pedestrian": score_mot(*pair, drive)}
    return {name: score_kitti(*pair, name) for name in KITTI_CLASSES}


def _check_classes(found: TrackFile) -> None:
    unknown = np.flatnonzero(~np.isin(found.kind, list(KITTI)))
    if len(unknown):
        row = unknown[0]
        near = nearest_name(str(found.kind[row]), KITTI)
        hint = f"; did you mean '{near}'?" if near else f", expected one of {', '.join(KITTI)}"
        raise InputError(
            f"{found.path}:{found.line[row]}: class '{found.kind[row]:.100}' is none of KITTI's"
            f"{hint}"
        )


def _check_frames(found: TrackFile, frames: I64) -> None:
    unknown = np.flatnonzero(~np.isin(found.frame, frames))
    if len(unknown):
        row = unknown[0]
        raise InputError(
            f"{found.path}:{found.line[row]}: frame {found.frame[row]} is not in the labelled data"
        )


def table(rows: Mapping[str, TrackCounts]) -> list[str]:
    """Lines of a table, shares in per cent."""
    width = max(map(len, rows)) + 2
    head = "".join(f"{n:>8}" for n in _SHARES) + "".join(f"{n:>16}" for n in _COUNTS)
    lines = [" " * width + head]
    for name, counts in rows.items():
        s = counts.scores()
        shares = "".join(f"{100 * s[n]:8.2f}" for n in _SHARES)
        lines.append(f"{name:<{width}}{shares}" + "".join(f"{s[n]:>16}" for n in _COUNTS))
    return lines


def tracking_csv(record: TrackRecord) -> str:
    """A line a class and drive, and one of all drives."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(TrackCounts().scores())
    writer.writerow(["class", "drive", *names])
    for name, counts in record.totals().items():
        for drive, part in [*record.counts.get(name, {}).items(), (COMBINED, counts)]:
            s = part.scores()
            writer.writerow([name, drive, *(f"{s[n]:.6g}" for n in names)])
    return text.getvalue()


def tracking_json(record: TrackRecord, figures: Mapping[str, Interval]) -> dict[str, Any]:
    """Class -> scores with the ends of their intervals, curves over ``ALPHAS`` and drives."""
    out: dict[str, Any] = {}
    for name, counts in record.totals().items():
        drives = {d: c.scores() for d, c in record.counts.get(name, {}).items()}
        curves = {k: v.tolist() for k, v in counts.curves().items()}
        row: dict[str, Any] = dict(counts.scores())
        for k in counts.scores():
            if f := figures.get(f"tracking.{name}.{k}"):
                row |= {f"{k}_low": f.low, f"{k}_high": f.high}
        row["drives_with_labels"] = record.drives_with(name)
        out[name] = {**row, "curves": curves, "drives": drives}
    return out


def run_score_tracks(a: argparse.Namespace) -> int:
    """Score ``a.tracks`` against ``a.labels``; print a table and write JSON and CSV to ``a.out``.

    Raises:
        InputError: bad input or option.
    """
    if a.stride < 1:
        raise InputError(f"--stride {a.stride}: expected 1 or more")
    record = score_files(label_files(a.labels, a.layout), a.tracks, a.layout, a.stride)
    print("\n".join(table(record.totals())))
    if a.out is not None:
        result = {
            "tracking": tracking_json(record, intervals(record, a.bootstrap, a.seed)),
            "alphas": ALPHAS.round(2).tolist(),
            "protocol": PROTOCOL[a.layout],
            "stride": a.stride,
        }
        out = make_folder(a.out)
        with staging(out, [CSV, JSON]) as folder:
            write_text(folder / CSV, tracking_csv(record))
            write_json(folder / JSON, result)
        print(out / JSON)
    return 0
