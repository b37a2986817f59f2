"""``roadstack calibrate-scores``: fit a detector's map from score to probability on labels."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from data.errors import InputError
from perception.metrics.calibration import fit_class
from perception.metrics.frame_calibration import fit_frames
from perception.metrics.frames import load
from perception.metrics.tracking import Boxes, Truth
from perception.metrics.tracking_files import KITTI_CLASSES, TrackFile, kitti_truth, read_kitti
from perception.tracking.calibration import Calibration, ClassMap, to_json
from perception.tracking.detection_files import DriveDetections, read_detections
from tools.files import write_json

Figures = dict[str, dict[str, float | int]]


def _kept(drive: DriveDetections, name: str) -> DriveDetections:
    """The fit boxes of a class."""
    size = drive.xyxy[:, 2:] - drive.xyxy[:, :2]
    with np.errstate(invalid="ignore"):
        good = np.isfinite(drive.xyxy).all(axis=1) & (size > 0).all(axis=1)
    keep = (drive.kind == name) & good & np.isfinite(drive.score)
    return DriveDetections(
        drive.name, drive.sources, drive.frame[keep], drive.kind[keep], drive.xyxy[keep],
        drive.score[keep],
    )  # fmt: skip


def fit_calibration(
    drives: list[DriveDetections], labels: dict[str, TrackFile], detector: str
) -> tuple[Calibration, Figures]:
    """Fit every KITTI class that has right and wrong detections on the labelled drives.

    Raises:
        InputError: no drive has labels, or no class can be fitted.
    """
    known = [d for d in drives if d.name in labels]
    if not known:
        raise InputError(f"no drive has both detections and labels ({len(drives)}, {len(labels)})")
    scores = np.concatenate([d.score[np.isfinite(d.score)] for d in known])
    unit = bool(len(scores) and scores.min() >= 0 and scores.max() <= 1)
    width_px = max(float(np.nanmax(d.xyxy[:, 2], initial=0)) for d in known)
    maps: dict[str, ClassMap] = {}
    figures: Figures = {}
    for name in KITTI_CLASSES:
        pairs: list[tuple[Truth, Boxes, np.ndarray]] = []
        for d in known:
            own = _kept(d, name)
            boxes = Boxes(own.frame, np.arange(len(own.frame)), own.xyxy)
            pairs.append((kitti_truth(labels[d.name], name), boxes, own.score))
        try:
            maps[name], figures[name] = fit_class(pairs, unit, width_px)
        except ValueError as e:
            print(f"warning: {name}: not fitted, {e}", file=sys.stderr)
    if not maps:
        raise InputError("no class has right and wrong detections: nothing to fit")
    note = f"fitted on {len(known)} drives: {', '.join(d.name for d in known)}"
    return Calibration(detector, unit, maps, note), figures


def _from_drives(a: argparse.Namespace) -> tuple[Calibration, Figures]:
    if a.labels is None:
        raise InputError("--detections needs --labels, a folder of KITTI label files")
    drives = read_detections(a.detections, a.layout or "kitti")
    files = sorted(a.labels.glob("*.txt"))
    if not files:
        raise InputError(f"--labels {a.labels}: expected KITTI label files DRIVE.txt, found none")
    labels = {f.stem: read_kitti(f) for f in files}
    return fit_calibration(drives, labels, a.detector or a.detections.stem)


def _from_run(a: argparse.Namespace) -> tuple[Calibration, Figures]:
    for option, given in (("--labels", a.labels), ("--format", a.layout)):
        if given is not None:
            raise InputError(f"{option} goes with --detections; the run of --run has its labels")
    record = load(a.run / "frames.npz")
    name = str(record.about.get("model", {}).get("name", "model"))
    try:
        return fit_frames(record, a.detector or name)
    except ValueError as e:
        raise InputError(f"{a.run}: {e}") from e


def run_calibrate_scores(a: argparse.Namespace) -> int:
    """Fit on an evaluation's folder ``a.run``, or on ``a.detections`` (layout ``a.layout``) with
    KITTI labels ``a.labels``; write ``a.out``.

    Raises:
        InputError: bad input, or nothing to fit.
    """
    if a.out.is_dir():
        raise InputError(f"--out {a.out}: is a folder; give a file")
    calibration, figures = _from_drives(a) if a.run is None else _from_run(a)
    write_json(a.out, to_json(calibration, figures))
    for name, m in calibration.classes.items():
        f = figures[name]
        print(f"{name}: {f['right']} of {f['detections']} right; {_fit(m, f)}")
    print(a.out)
    return 0


def _fit(m: ClassMap, f: dict[str, float | int]) -> str:
    line = f"slope {m.slope:.3f}, offset {m.offset:.3f}"
    if m.width_offset or m.width_slope:
        line += f", width {m.width_offset:+.3f} {m.width_slope:+.3f}"
    if "log_loss" not in f:
        return f"too few, so as all classes: {line}"
    return (
        f"log loss {f['log_loss']:.4f} ({f['log_loss_left_out']:.4f} on what was left out of the "
        f"fit, {f['log_loss_of_base_rate']:.4f} of the base rate); {line}"
    )
