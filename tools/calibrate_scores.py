"""``roadstack calibrate-scores``: fit a detector's map from score to probability on labels."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from data.errors import InputError
from perception.metrics.calibration import fit_class
from perception.metrics.tracking import Boxes, Truth
from perception.metrics.tracking_files import KITTI_CLASSES, TrackFile, kitti_truth, read_kitti
from perception.tracking.calibration import Calibration, ClassMap, to_json
from perception.tracking.detection_files import DriveDetections, read_detections
from tools.files import write_json


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
) -> tuple[Calibration, dict[str, dict[str, float | int]]]:
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
    figures: dict[str, dict[str, float | int]] = {}
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


def run_calibrate_scores(a: argparse.Namespace) -> int:
    """Fit on ``a.detections`` (layout ``a.layout``) and KITTI labels ``a.labels``; write ``a.out``.

    Raises:
        InputError: bad input, or nothing to fit.
    """
    drives = read_detections(a.detections, a.layout)
    files = sorted(a.labels.glob("*.txt"))
    if not files:
        raise InputError(f"--labels {a.labels}: expected KITTI label files DRIVE.txt, found none")
    labels = {f.stem: read_kitti(f) for f in files}
    calibration, figures = fit_calibration(drives, labels, a.detector or a.detections.stem)
    write_json(a.out, to_json(calibration, figures))
    for name, m in calibration.classes.items():
        f = figures[name]
        print(
            f"{name}: {f['right']} of {f['detections']} right, log loss {f['log_loss']:.4f} "
            f"({f['log_loss_left_out']:.4f} on drives left out, "
            f"{f['log_loss_of_base_rate']:.4f} of the base rate); "
            f"slope {m.slope:.3f}, offset {m.offset:.3f}, "
            f"width {m.width_offset:+.3f} {m.width_slope:+.3f}"
        )
    print(a.out)
    return 0
