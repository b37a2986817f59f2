"""``roadstack score-tracks``: HOTA, CLEAR and identity scores of KITTI or MOT tracking results."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import InputError
from perception.metrics.tracking import ALPHAS, TrackCounts
from perception.metrics.tracking_files import (
    KITTI_CLASSES,
    TrackFile,
    every_nth,
    read_kitti,
    read_mot,
    score_kitti,
    score_mot,
)
from tools.files import make_folder, staging, write_json, write_text

JSON, CSV = "tracking.json", "tracking.csv"
COMBINED = "all"
PROTOCOL = {
    "kitti": "KITTI 2D boxes: occlusion up to 2, truncation 0; Van beside Car, seated beside "
    "Pedestrian, DontCare and 25 px or lower not judged; HOTA over IoU 0.05 to 0.95, others 0.5",
    "mot": "MOT16/17/20 pedestrians, distractors not judged; HOTA over IoU 0.05 to 0.95, "
    "others at 0.5",
}
_SHARES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1")
_COUNTS = ("switches", "fragmentations", "misses", "false_alarms", "ground_truths")


def score_folder(
    labels: Path, tracks: Path, layout: str = "kitti", stride: int = 1
) -> dict[str, dict[str, TrackCounts]]:
    """Class -> drive -> counts of every labelled drive.

    Raises:
        InputError: no labels, no tracks of a labelled drive, or a malformed file.
    """
    files = _label_files(labels, layout)
    if not files:
        raise InputError(f"--labels {labels}: expected label files of the form '{layout}'")
    read = read_kitti if layout == "kitti" else read_mot
    out: dict[str, dict[str, TrackCounts]] = {}
    for drive, file in files.items():
        found = tracks / f"{drive}.txt"
        if not found.is_file():
            raise InputError(f"--tracks {tracks}: expected a file of drive {drive}, {found.name}")
        pair = (every_nth(read(file), stride), every_nth(read(found), stride))
        for name, counts in _scored(pair, layout).items():
            out.setdefault(name, {})[drive] = counts
    return out


def _label_files(labels: Path, layout: str) -> dict[str, Path]:
    if labels.is_file():
        return {labels.stem: labels}
    files = {p.stem: p for p in sorted(labels.glob("*.txt"))}
    if layout == "mot" and not files:
        files = {p.parts[-3]: p for p in sorted(labels.glob("*/gt/gt.txt"))}
    return files


def _scored(pair: tuple[TrackFile, TrackFile], layout: str) -> dict[str, TrackCounts]:
    if layout == "mot":
        return {"Pedestrian": score_mot(*pair)}
    return {name: score_kitti(*pair, name) for name in KITTI_CLASSES}


def total(counts: Sequence[TrackCounts]) -> TrackCounts:
    """The sum of counts of drives or classes."""
    return sum(counts, TrackCounts())


def summary(results: dict[str, dict[str, TrackCounts]]) -> dict[str, TrackCounts]:
    """Counts a class over all drives, and of all classes with labels together."""
    out = {name: total(list(drives.values())) for name, drives in results.items()}
    known = [c for c in out.values() if c.clear_tp + c.clear_fn]
    return {**out, COMBINED: total(known)}


def table(rows: dict[str, TrackCounts]) -> list[str]:
    """Lines of a table, shares in per cent."""
    width = max(map(len, rows)) + 2
    head = "".join(f"{n:>8}" for n in _SHARES) + "".join(f"{n:>16}" for n in _COUNTS)
    lines = [" " * width + head]
    for name, counts in rows.items():
        s = counts.scores()
        shares = "".join(f"{100 * s[n]:8.2f}" for n in _SHARES)
        lines.append(f"{name:<{width}}{shares}" + "".join(f"{s[n]:>16}" for n in _COUNTS))
    return lines


def _csv(results: dict[str, dict[str, TrackCounts]], rows: dict[str, TrackCounts]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(TrackCounts().scores())
    writer.writerow(["class", "drive", *names])
    for name, counts in rows.items():
        for drive, part in [*results.get(name, {}).items(), (COMBINED, counts)]:
            s = part.scores()
            writer.writerow([name, drive, *(f"{s[n]:.6g}" for n in names)])
    return text.getvalue()


def _json(
    results: dict[str, dict[str, TrackCounts]], rows: dict[str, TrackCounts], a: argparse.Namespace
) -> dict[str, Any]:
    tracking: dict[str, Any] = {}
    for name, counts in rows.items():
        drives = {d: c.scores() for d, c in results.get(name, {}).items()}
        curves = {k: v.tolist() for k, v in counts.curves().items()}
        tracking[name] = {**counts.scores(), "curves": curves, "drives": drives}
    return {
        "tracking": tracking,
        "alphas": ALPHAS.round(2).tolist(),
        "protocol": PROTOCOL[a.layout],
        "stride": a.stride,
    }


def run_score_tracks(a: argparse.Namespace) -> int:
    """Score ``a.tracks`` against ``a.labels``; print a table and write JSON and CSV to ``a.out``.

    Raises:
        InputError: bad input or option.
    """
    if a.stride < 1:
        raise InputError(f"--stride {a.stride}: expected 1 or more")
    results = score_folder(a.labels, a.tracks, a.layout, a.stride)
    rows = summary(results)
    print("\n".join(table(rows)))
    if a.out is not None:
        out = make_folder(a.out)
        with staging(out, [CSV, JSON]) as folder:
            write_text(folder / CSV, _csv(results, rows))
            write_json(folder / JSON, _json(results, rows, a))
        print(out / JSON)
    return 0
