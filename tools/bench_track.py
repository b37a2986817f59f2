"""Our tracker against its peers on labelled KITTI drives, in one run: tables and plot.

    python -m tools.bench_track --detections DIR --labels DIR --peers PYTHON --out tools/results

PYTHON is the interpreter of an environment with roboflow's ``trackers`` (SORT, ByteTrack, OC-SORT,
C-BIoU). All trackers get the same detections with the same calibrated probabilities. Each peer's
options are chosen from a small grid on one half of the drives, by HOTA, and scored on the other,
and the reverse; our calibration is fitted the same way on the other half, while our tracker's
options are those of the package. 'raw boxes' are as the detector wrote them, 'fitted' ones have the
calibration's width; classes without one are run once. Written are ``tracking.csv`` and
``tracking.png``, the same for the same input, and ``tracking_speed.csv`` (made-up objects, as many
as named). Without ``--detections`` only the times are taken: on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.errors import InputError
from perception.metrics.tracking import Boxes, TrackCounts, score_drive
from perception.metrics.tracking_files import TrackFile, kitti_truth, read_kitti
from perception.tracking.calibration import Calibration
from perception.tracking.config import PROBABILITIES
from perception.tracking.detection_files import DriveDetections, read_detections
from tools.bench_track_plot import plot
from tools.bench_track_speed import REPEATS, made_up, our_times
from tools.calibrate_scores import fit_calibration
from tools.files import make_folder, staging, write_text
from tools.machine import hardware
from tools.track import KITTI_RIVALS, follow, picture_size

CLASSES = ("Car", "Pedestrian")
FPS = 10.0
OURS = "Roadstack"
_PROCESSES = 2  # of the peers at a time
_OBJECTS = (30, 300)
_GRID: dict[str, list[dict[str, Any]]] = {
    "SORTTracker": [
        {"minimum_consecutive_frames": n, "minimum_iou_threshold": iou,
         "track_activation_threshold": 0.1, "min_score": s}
        for n, iou, s in product((1, 2, 3), (0.01, 0.1, 0.3), (0.3, 0.45))
    ],
    "ByteTrackTracker": [
        {"minimum_consecutive_frames": n, "minimum_iou_threshold": iou,
         "track_activation_threshold": s, "high_conf_det_threshold": s, "min_score": 0.1}
        for n, iou, s in product((1, 2), (0.01, 0.1, 0.3), (0.4, 0.6))
    ],
    "OCSORTTracker": [
        {"minimum_consecutive_frames": n, "minimum_iou_threshold": iou,
         "high_conf_det_threshold": 0.4, "min_score": s}
        for n, iou, s in product((1, 3), (0.01, 0.1, 0.3), (0.3, 0.45))
    ],
    "CBIoUTracker": [
        {"minimum_consecutive_frames": n, "minimum_iou_threshold_first_assoc": iou,
         "track_activation_threshold": s, "high_conf_det_threshold": s,
         "buffer_ratio_first": wide, "buffer_ratio_second": wide + 0.2, "min_score": 0.1}
        for n, iou, s, wide in product((1, 2), (0.1, 0.2), (0.4, 0.6), (0.3, 0.8))
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """What is done to the detections.

    Attributes:
        stride: each how many-th frame is seen; lost: share of those that is lost at random;
        noise: error of every edge as a share of the box's size.
    """

    name: str
    stride: int = 1
    lost: float = 0.0
    noise: float = 0.0


CONDITIONS = (
    Condition("10 Hz"),
    Condition("5 Hz", stride=2),
    Condition("2.5 Hz", stride=4),
    Condition("10 Hz, 30 % of frames lost", lost=0.3),
    Condition("10 Hz, 5 % noise", noise=0.05),
)


@dataclass(frozen=True, eq=False)
class Drive:
    """A drive under a condition: what is seen, when, and the labels of those frames."""

    found: DriveDetections
    frames: NDArray[np.int64]
    labels: TrackFile


def conditioned(
    found: DriveDetections, labels: TrackFile, condition: Condition, seed: int
) -> Drive:
    """The drive as a tracker sees it under the condition; the same for the same seed."""
    rng = np.random.default_rng([seed, int(found.name) if found.name.isdigit() else 0])
    last = max(int(found.frame.max(initial=0)), int(labels.frame.max(initial=0)))
    frames = np.arange(0, last + 1, condition.stride)
    frames = frames[rng.random(len(frames)) >= condition.lost]
    seen = np.isin(found.frame, frames)
    size = (found.xyxy[:, 2:] - found.xyxy[:, :2])[:, [0, 1, 0, 1]]
    xyxy = found.xyxy + condition.noise * size * rng.standard_normal(found.xyxy.shape)
    part = replace(
        found, frame=found.frame[seen], kind=found.kind[seen], xyxy=xyxy[seen],
        score=found.score[seen],
    )  # fmt: skip
    keep = np.isin(labels.frame, frames)
    names = ("line", "frame", "track_id", "kind", "xyxy", "score", "occluded", "truncated")
    return Drive(part, frames, replace(labels, **{n: getattr(labels, n)[keep] for n in names}))


Counts = dict[str, list[TrackCounts]]  # of a tracker: class -> counts of every drive


def run_ours(drives: list[Drive], maps: list[Calibration], fitted: bool) -> Counts:
    """Our counts; all classes are tracked at once."""
    config = replace(PROBABILITIES, rivals=KITTI_RIVALS)
    counts: Counts = {name: [] for name in CLASSES}
    for drive, calibration in zip(drives, maps):
        calibration = calibration if fitted else _without_widths(calibration)
        camera = Camera.assumed(*picture_size(drive.found))
        done = follow(drive.found, calibration, config, camera, FPS, drive.frames)
        for name in CLASSES:
            own = done.kind == name
            boxes = Boxes(done.frame[own], done.track_id[own], done.xyxy[own])
            counts[name].append(score_drive(kitti_truth(drive.labels, name), boxes))
    return counts


def _without_widths(calibration: Calibration) -> Calibration:
    plain = {
        n: replace(m, width_offset=0.0, width_slope=0.0) for n, m in calibration.classes.items()
    }
    return replace(calibration, classes=plain)


def _with_widths(maps: Sequence[Calibration]) -> list[str]:
    """Classes whose boxes the maps change."""
    return [n for n in CLASSES if any(m.classes[n].width_offset for m in maps if n in m.classes)]


def _peer_jobs(
    drives: list[Drive], condition: Condition, classes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for tracker, options in _GRID.items():
        for (i, _), name, option in product(enumerate(drives), classes, options):
            rest = {k: v for k, v in option.items() if k != "min_score"}
            yield {
                "key": f"{i}/{name}", "tracker": tracker, "options": rest,
                "min_score": option["min_score"], "frame_rate": FPS / condition.stride,
                "timed": condition.lost > 0, "drive": i, "class": name,
            }  # fmt: skip


def run_peers(
    python: str,
    drives: list[Drive],
    maps: list[Calibration],
    condition: Condition,
    classes: Sequence[str],
    fitted: bool,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All jobs of all peers for some classes, and their results.

    Raises:
        InputError: their interpreter fails.
    """
    jobs = list(_peer_jobs(drives, condition, classes))
    given: dict[str, Any] = {}
    for i, (drive, calibration) in enumerate(zip(drives, maps)):
        found = drive.found
        score = calibration.probability(found.kind, found.score)
        xyxy = calibration.boxes(found.kind, found.xyxy) if fitted else found.xyxy
        good = np.isfinite(xyxy).all(axis=1) & (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
        for name in classes:
            own = good & (found.kind == name)
            given[f"{i}/{name}/rows"] = np.column_stack([found.frame, xyxy, score])[own]
            given[f"{i}/{name}/frames"] = np.column_stack([drive.frames, drive.frames / FPS])
    return jobs, _in_peers(python, jobs, given, _PROCESSES)


def _in_peers(
    python: str, jobs: list[dict[str, Any]], given: dict[str, Any], processes: int
) -> dict[str, Any]:
    script = str(Path(__file__).with_name("bench_track_peers.py"))
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.npz"
        np.savez(source, jobs=json.dumps(jobs), **given)
        targets = [Path(folder) / f"out{k}.npz" for k in range(processes)]
        runs = []
        for k, target in enumerate(targets):
            command = [python, script, str(source), str(target), str(k), str(processes)]
            errors = (Path(folder) / f"errors{k}.txt").open("w+")
            try:
                runs.append((subprocess.Popen(command, stderr=errors), errors))
            except OSError as e:
                raise InputError(f"--peers {python}: cannot be run ({e.strerror})") from e
        for run, errors in runs:
            failed = run.wait()
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:] or ["no message"]
            errors.close()
            if failed:
                raise InputError(f"--peers {python}: failed ({last[0]})")
        for target in targets:
            with np.load(target) as results:
                out |= {name: results[name] for name in results.files}
    return out


def chosen_by_halves(
    jobs: list[dict[str, Any]],
    results: dict[str, Any],
    drives: list[Drive],
    halves: list[int],
    classes: Sequence[str],
) -> dict[str, Counts]:
    """For every peer and class the counts on each drive of the options best on the other half."""
    tables: dict[tuple[str, str], dict[str, dict[int, TrackCounts]]] = {}
    for i, job in enumerate(jobs):
        rows, name, d = results[f"{i}/tracks"], job["class"], job["drive"]
        boxes = Boxes(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2:])
        counts = score_drive(kitti_truth(drives[d].labels, name), boxes)
        table = tables.setdefault((job["tracker"].removesuffix("Tracker"), name), {})
        option = json.dumps([job["options"], job["min_score"]])
        table.setdefault(option, {})[d] = counts
    out: dict[str, Counts] = {}
    for (tracker, name), table in tables.items():
        best = [max(table, key=lambda o: _hota(table[o], halves, 1 - half)) for half in (0, 1)]
        chosen = [table[best[half]][d] for d, half in enumerate(halves)]
        out.setdefault(tracker, {})[name] = chosen
    return out


def _hota(by_drive: dict[int, TrackCounts], halves: list[int], half: int) -> float:
    own = [c for d, c in by_drive.items() if halves[d] == half]
    return float(np.nan_to_num(sum(own, TrackCounts()).scores()["HOTA"]))


def _rows(
    tracker: str, boxes: str, condition: Condition, counts: Counts
) -> Iterator[dict[str, Any]]:
    for name in CLASSES:
        s = sum(counts[name], TrackCounts()).scores()
        yield {
            "condition": condition.name, "tracker": tracker, "boxes": boxes, "class": name,
            **{k: f"{100 * s[k]:.2f}" for k in ("HOTA", "DetA", "AssA", "IDF1")},
            "switches": s["switches"],
        }  # fmt: skip


def benchmark(a: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of the table."""
    found = {d.name: d for d in read_detections(a.detections, "kitti")}
    labels = {f.stem: read_kitti(f) for f in sorted(a.labels.glob("*.txt"))}
    names = sorted(set(found) & set(labels))
    if len(names) < 4:
        raise InputError(f"expected at least 4 drives with detections and labels, {len(names)}")
    halves = [i % 2 for i in range(len(names))]
    fits = [
        fit_calibration([found[n] for n, h in zip(names, halves) if h != half], labels, "half")[0]
        for half in (0, 1)
    ]
    maps = [fits[h] for h in halves]
    rows: list[dict[str, Any]] = []
    for condition in CONDITIONS:
        drives = [conditioned(found[n], labels[n], condition, a.seed) for n in names]
        peers: dict[str, Counts] = {}
        for fitted in (True, False):
            boxes = "fitted" if fitted else "raw"
            rows += _rows(OURS, boxes, condition, run_ours(drives, maps, fitted))
            if a.peers:
                classes = CLASSES if fitted else _with_widths(maps)
                jobs, results = run_peers(a.peers, drives, maps, condition, classes, fitted)
                new = chosen_by_halves(jobs, results, drives, halves, classes)
                peers = {t: peers.get(t, {}) | new.get(t, {}) for t in [*peers, *new]}
            for peer, counts in peers.items():
                rows += _rows(peer, boxes, condition, counts)
            print(f"{condition.name}, {boxes} boxes: done", file=sys.stderr, flush=True)
    return rows


def speed(python: str | None) -> list[dict[str, Any]]:
    """Median and 99th percentile of a frame's time with made-up objects, of peers by default."""
    rows = []
    for objects in _OBJECTS:
        frames, camera = made_up(objects)
        times = our_times(frames, camera)
        if python:
            given = np.concatenate(
                [
                    np.column_stack([np.full(len(d), i), d.xyxy, d.score])
                    for i, d in enumerate(frames)
                ]
            )
            at = np.column_stack([np.arange(len(frames)), np.arange(len(frames)) / FPS])
            jobs = [
                {"key": "all", "tracker": t, "options": {}, "min_score": 0.0, "frame_rate": FPS,
                 "timed": False} for t in _GRID for _ in range(REPEATS)
            ]  # fmt: skip
            done = _in_peers(python, jobs, {"all/rows": given, "all/frames": at}, 1)
            for k, t in enumerate(_GRID):
                runs = [done[f"{k * REPEATS + i}/ms"] for i in range(REPEATS)]
                times[t.removesuffix("Tracker")] = np.min(runs, axis=0)
        for tracker, ms in times.items():
            half, most = np.percentile(ms[len(ms) // 10 :], (50, 99))
            rows.append({
                "objects": objects, "tracker": tracker, "median_ms_a_frame": f"{half:.3f}",
                "p99_ms_a_frame": f"{most:.3f}", "machine": hardware(),
            })  # fmt: skip
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench_track", description=__doc__)
    parser.add_argument("--detections", type=Path, help="none: only the times of made-up objects")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--peers", help="interpreter of an environment with 'trackers'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(argv)
    try:
        if (a.detections is None) != (a.labels is None):
            raise InputError("expected --detections and --labels, or neither for the times alone")
        names = ["tracking_speed.csv"]
        if a.detections is not None:
            names += ["tracking.csv", "tracking.png"]
        with staging(make_folder(a.out), names) as folder:
            text = _csv(speed(a.peers))
            write_text(folder / "tracking_speed.csv", text)
            if a.detections is not None:
                rows = benchmark(a)
                text = _csv(rows) + text
                write_text(folder / "tracking.csv", _csv(rows))
                plot(rows, folder / "tracking.png")
    except InputError as e:
        print(f"bench_track: {e}", file=sys.stderr)
        return 2
    print(text)
    return 0


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
