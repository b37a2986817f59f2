"""Our tracker against its peers on labelled KITTI drives, in one run: table and plot.

    python -m tools.bench_track --detections DIR --labels DIR --peers PYTHON --out DIR

PYTHON is the interpreter of an environment with roboflow's ``trackers`` (SORT, ByteTrack, OC-SORT,
C-BIoU). All trackers get the same detections with the same calibrated probabilities. Each peer's
options are chosen from a small grid on one half of the drives, by HOTA, and scored on the other,
and the reverse; our calibration is fitted the same way on the other half, while our tracker's
options are those of the package. 'raw boxes' are as the detector wrote them, 'fitted' ones have the
calibration's width.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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
from tools.calibrate_scores import fit_calibration
from tools.files import make_folder, write_text
from tools.track import KITTI_RIVALS, follow, picture_size

CLASSES = ("Car", "Pedestrian")
FPS = 10.0
OURS = "Roadstack"
_GRID: dict[str, list[dict[str, Any]]] = {
    "SORTTracker": [
        {"minimum_consecutive_frames": n, "minimum_iou_threshold": iou,
         "track_activation_threshold": 0.1, "min_score": s}
        for n, iou, s in product((1, 2, 3), (0.1, 0.3), (0.3, 0.45))
    ],
    "ByteTrackTracker": [
        {"minimum_consecutive_frames": n, "minimum_iou_threshold": iou,
         "track_activation_threshold": s, "high_conf_det_threshold": s, "min_score": 0.1}
        for n, iou, s in product((1, 2), (0.1, 0.3), (0.4, 0.6))
    ],
    "OCSORTTracker": [
        {"minimum_consecutive_frames": n, "minimum_iou_threshold": iou,
         "high_conf_det_threshold": 0.4, "min_score": s}
        for n, iou, s in product((1, 3), (0.1, 0.3), (0.3, 0.45))
    ],
    "CBIoUTracker": [
        {"minimum_consecutive_frames": n, "minimum_iou_threshold_first_assoc": iou,
         "track_activation_threshold": s, "high_conf_det_threshold": s, "min_score": 0.1}
        for n, iou, s in product((1, 2), (0.1, 0.2), (0.4, 0.6))
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


Scores = dict[str, TrackCounts]


def run_ours(
    drives: list[Drive], maps: list[Calibration], fitted: bool
) -> tuple[list[Scores], NDArray[np.float64]]:
    """Counts by class of every drive, and milliseconds of every frame."""
    config = replace(PROBABILITIES, rivals=KITTI_RIVALS)
    out, times = [], []
    for drive, calibration in zip(drives, maps):
        if not fitted:
            plain = {
                n: replace(m, width_offset=0.0, width_slope=0.0)
                for n, m in calibration.classes.items()
            }
            calibration = replace(calibration, classes=plain)
        camera = Camera.assumed(*picture_size(drive.found))
        done = follow(drive.found, calibration, config, camera, FPS, drive.frames)
        times.append(done.milliseconds)
        scores = {}
        for name in CLASSES:
            own = done.kind == name
            boxes = Boxes(done.frame[own], done.track_id[own], done.xyxy[own])
            scores[name] = score_drive(kitti_truth(drive.labels, name), boxes)
        out.append(scores)
    return out, np.concatenate(times)


def _peer_jobs(drives: list[Drive], condition: Condition) -> Iterator[dict[str, Any]]:
    for tracker, options in _GRID.items():
        for (i, _), name, option in product(enumerate(drives), CLASSES, options):
            rest = {k: v for k, v in option.items() if k != "min_score"}
            yield {
                "key": f"{i}/{name}", "tracker": tracker, "options": rest,
                "min_score": option["min_score"], "frame_rate": FPS / condition.stride,
                "timed": condition.lost > 0, "drive": i, "class": name,
            }  # fmt: skip


def run_peers(
    python: str, drives: list[Drive], maps: list[Calibration], condition: Condition, fitted: bool
) -> tuple[list[dict[str, Any]], Any]:
    """All jobs of all peers in their own interpreter, and its results.

    Raises:
        InputError: it fails.
    """
    jobs = list(_peer_jobs(drives, condition))
    given: dict[str, Any] = {"jobs": json.dumps(jobs)}
    for i, (drive, calibration) in enumerate(zip(drives, maps)):
        found = drive.found
        score = calibration.probability(found.kind, found.score)
        xyxy = calibration.boxes(found.kind, found.xyxy) if fitted else found.xyxy
        good = np.isfinite(xyxy).all(axis=1) & (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
        for name in CLASSES:
            own = good & (found.kind == name)
            given[f"{i}/{name}/rows"] = np.column_stack([found.frame, xyxy, score])[own]
            given[f"{i}/{name}/frames"] = np.column_stack([drive.frames, drive.frames / FPS])
    script = Path(__file__).with_name("bench_track_peers.py")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, **given)
        run = subprocess.run(
            [python, str(script), str(source), str(target)], capture_output=True, text=True
        )
        if run.returncode:
            last = run.stderr.strip().splitlines()[-1:] or ["no message"]
            raise InputError(f"--peers {python}: failed ({last[0]})")
        with np.load(target) as results:
            return jobs, {name: results[name] for name in results.files}


def chosen_by_halves(
    jobs: list[dict[str, Any]], results: Any, drives: list[Drive], halves: list[int]
) -> dict[str, tuple[list[Scores], NDArray[np.float64]]]:
    """For every peer the counts of each drive by the options best on the other half."""
    out: dict[str, tuple[list[Scores], NDArray[np.float64]]] = {}
    for tracker in _GRID:
        scores: list[Scores] = [{} for _ in drives]
        times = []
        for name in CLASSES:
            table: dict[str, dict[int, tuple[TrackCounts, Any]]] = {}
            for i, job in enumerate(jobs):
                if job["tracker"] != tracker or job["class"] != name:
                    continue
                rows = results[f"{i}/tracks"]
                boxes = Boxes(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2:])
                counts = score_drive(kitti_truth(drives[job["drive"]].labels, name), boxes)
                option = json.dumps([job["options"], job["min_score"]])
                table.setdefault(option, {})[job["drive"]] = (counts, results[f"{i}/ms"])
            for half in (0, 1):
                best = max(table, key=lambda o: _hota(table[o], halves, 1 - half))
                for d, (counts, ms) in table[best].items():
                    if halves[d] == half:
                        scores[d][name] = counts
                        times.append(ms)
        # a frame of all classes costs a run of each
        out[tracker.removesuffix("Tracker")] = scores, np.concatenate(times) * len(CLASSES)
    return out


def _hota(by_drive: dict[int, tuple[TrackCounts, Any]], halves: list[int], half: int) -> float:
    own = [c for d, (c, _) in by_drive.items() if halves[d] == half]
    return float(np.nan_to_num(sum(own, TrackCounts()).scores()["HOTA"]))


def _rows(
    tracker: str,
    boxes: str,
    condition: Condition,
    scores: list[Scores],
    ms: NDArray[np.float64],
) -> Iterator[dict[str, Any]]:
    for name in CLASSES:
        s = sum((d[name] for d in scores), TrackCounts()).scores()
        yield {
            "condition": condition.name, "tracker": tracker, "boxes": boxes, "class": name,
            **{k: f"{100 * s[k]:.2f}" for k in ("HOTA", "DetA", "AssA", "IDF1")},
            "switches": s["switches"], "mean_ms_a_frame": f"{ms.mean():.3f}",
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
        for fitted in (True, False):
            boxes = "fitted" if fitted else "raw"
            scores, ms = run_ours(drives, maps, fitted)
            rows += _rows(OURS, boxes, condition, scores, ms)
            if a.peers:
                jobs, results = run_peers(a.peers, drives, maps, condition, fitted)
                for peer, (s, t) in chosen_by_halves(jobs, results, drives, halves).items():
                    rows += _rows(peer, boxes, condition, s, t)
            print(f"{condition.name}, {boxes} boxes: done", file=sys.stderr, flush=True)
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars of HOTA by condition and tracker: filled with fitted boxes, outlined with raw ones."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    trackers = list(dict.fromkeys(r["tracker"] for r in rows))
    conditions = list(dict.fromkeys(r["condition"] for r in rows))
    figure, axes = pyplot.subplots(len(CLASSES), 1, figsize=(10, 6.5), layout="constrained")
    colours = ["#0b6e4f", "#c8553d", "#e0a458", "#6c757d", "#4a6fa5"]
    for axis, name in zip(axes, CLASSES):
        for k, tracker in enumerate(trackers):
            own = [r for r in rows if r["tracker"] == tracker and r["class"] == name]
            x = np.arange(len(conditions)) + (k - (len(trackers) - 1) / 2) * 0.16
            for boxes, style in (("fitted", {"alpha": 0.55}), ("raw", {})):
                y = [float(r["HOTA"]) for r in own if r["boxes"] == boxes]
                label = tracker if boxes == "raw" else None
                axis.bar(x, y, 0.15, color=colours[k % len(colours)], label=label, **style)
        axis.set_xticks(np.arange(len(conditions)), conditions)
        axis.set_ylabel(f"{name}: HOTA")
        values = [float(r["HOTA"]) for r in rows if r["class"] == name]
        axis.set_ylim(max(0, min(values) - 8), max(values) + 3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(ncols=len(trackers), frameon=False, loc="upper right")
    axes[0].set_title("Full colour: boxes as detected. Pale: with the fitted width", fontsize=10)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench_track", description=__doc__)
    parser.add_argument("--detections", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--peers", help="interpreter of an environment with 'trackers'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(argv)
    try:
        out = make_folder(a.out)
        rows = benchmark(a)
    except InputError as e:
        print(f"bench_track: {e}", file=sys.stderr)
        return 2
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "tracking.csv", text.getvalue())
    plot(rows, out / "tracking.png")
    print(text.getvalue())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
