"""What ``roadstack evaluate`` keeps and writes beside the figures themselves.

In the output folder: ``metrics.json`` (every figure X with X_low and X_high, the ends of its 95 %
interval), ``metrics.csv`` (a line a headline figure), ``report.html``, and what ``roadstack
compare`` reads: ``frames.npz`` (see ``perception.metrics.frames``) and, of tracks, ``tracks.npz``
(``perception.metrics.track_record``) with ``tracking.csv`` (a line a class and drive).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.datasets import Dataset
from data.errors import InputError
from data.kitti_calib import load_kitti_calib, nominal_camera
from data.taxonomy import CLASSES
from data.types import F64, I64, U8, Sample
from perception.metrics import bootstrap, contours, segmentation, track_record
from perception.metrics.bootstrap import Interval, Resampling, intervals, resampling
from perception.metrics.breakdown import (
    DISTANCES_M,
    HEIGHTS_PX,
    Share,
    best_scores,
    confusion_matrix,
    error_costs,
    find_errors,
    kept_at,
    recall_by,
    reliability,
)
from perception.metrics.coco import STATISTICS, Found, Labels, match, twelve_statistics
from perception.metrics.frames import FrameCollector, FrameRecord, save
from perception.metrics.score import Prediction
from perception.metrics.segmentation import Confusion
from perception.metrics.track_record import TrackRecord
from tools.distance import foot_depth_m
from tools.evaluate_page import Findings, build_page, drawn_text, error_counts
from tools.figure_text import csv_text, table_lines
from tools.files import staging, write_json, write_text
from tools.machine import package_versions
from tools.score_tracks import tracking_csv, tracking_json

METRICS, TABLE, FRAMES, PAGE = "metrics.json", "metrics.csv", "frames.npz", "report.html"
TRACKS, TRACK_TABLE = "tracks.npz", "tracking.csv"
PROTOCOL = {
    "intervals": bootstrap.PROTOCOL,
    "drivable.boundary_f1": contours.BOUNDARY_PROTOCOL,
    "lane.point_f1": contours.POINT_PROTOCOL,
}
_CHECKED_UP_TO = 200_000  # detections; the reference takes a minute for a million
_EQUAL = 1e-9
_BORDER_PX = 3  # a box that ends nearer to the lower border is cut off by it
DARK_BELOW = 60  # mean grey level of a dark picture
BRIGHTNESS = (f"dark (mean grey below {DARK_BELOW})", "bright")


@lru_cache(maxsize=256)
def _calibrated(path: Path, width_px: int, height_px: int) -> Camera:
    return load_kitti_calib(path, width_px, height_px)


def camera_of(dataset: Dataset, i: int, s: Sample, given: Camera | None) -> Camera | None:
    """The camera of a picture: ``given``, else the set's calibration of it, else for KITTI that of
    the recording day with pictures of this size; None where none is known.

    Raises:
        InputError: the calibration cannot be read, or ``given`` is of another shape.
    """
    height, width = s.image.shape[:2]
    if given is not None:
        if abs(given.width_px * height - given.height_px * width) > 0.01 * width * height:
            raise InputError(
                f"--camera: made for {given.width_px}x{given.height_px}, but {s.name} is "
                f"{width}x{height}, another shape"
            )
        return given.scaled_to(width, height)
    path = dataset.calibs[i] if dataset.calibs else None
    if path is not None:
        return _calibrated(path, width, height)
    return nominal_camera(width, height) if dataset.layout.startswith("kitti") else None


def label_distances(s: Sample, camera: Camera | None) -> F64 | None:
    """(n,) depths in m of the ground under the labelled boxes; NaN above the horizon or where the
    lower border cuts the foot. None without a camera."""
    if camera is None:
        return None
    depth = foot_depth_m(s.xyxy.astype(np.float64), s.class_id, camera)
    return np.where(s.xyxy[:, 3] >= s.image.shape[0] - _BORDER_PX, np.nan, depth)


def brightness(image: U8) -> str:
    """Whether a picture is dark: what is left of day and night where the labels do not say."""
    return BRIGHTNESS[int(image[::8, ::8].mean() >= DARK_BELOW)]


@dataclass(frozen=True)
class Observer:
    """Gives every scored frame to ``collector``, with what the set says of it.

    ``drives`` names the drive of each frame, '' where it is not known; ``predict`` gives a frame's
    answer again, for its picture; ``cameras`` are the sources of the calibrations used.
    """

    dataset: Dataset
    collector: FrameCollector
    drives: Sequence[str]
    predict: Callable[[Sample], Prediction]
    camera: Camera | None = None
    cameras: set[str] = field(default_factory=set)

    def __call__(self, i: int, s: Sample, p: Prediction) -> None:
        d = self.dataset
        said = {**(d.frame_attributes(i) if d.frame_attributes else {}), "drive": self.drives[i]}
        if not isinstance(said.get("timeofday"), str):
            said["brightness"] = brightness(s.image)
        camera = camera_of(d, i, s, self.camera)
        if camera is not None:
            nominal = camera.source.startswith("nominal") or self.camera is not None
            self.cameras.add(camera.source if nominal else "calibration file of each picture")
        self.collector.add(s, p, str(d.images[i]), said, label_distances(s, camera))

    def again(self, name: str) -> tuple[Sample, Prediction]:
        """Sample and answer of a frame."""
        sample = self.dataset.load(self.dataset.names.index(name))
        return sample, self.predict(sample)


def checked_by_reference(labels: Labels, found: Found, frames: int, ours: dict[str, float]) -> str:
    """Hold the twelve COCO figures against faster-coco-eval's; its name and version, '' where it
    is not installed or there is too much for it.

    Raises:
        RuntimeError: they differ.
    """
    from perception.metrics.reference import PACKAGE, reference_statistics

    try:
        name = f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:
        return ""
    if not 0 < len(found) <= _CHECKED_UP_TO:
        return ""
    classes = int(max(labels.kind.max(initial=0), found.kind.max(initial=0))) + 1
    theirs = reference_statistics(labels, found, frames, classes)
    for key in STATISTICS:
        both_none = math.isnan(ours[key]) and math.isnan(theirs[key])
        if not both_none and not abs(ours[key] - theirs[key]) <= _EQUAL:
            raise RuntimeError(f"{key}: {ours[key]} by Roadstack, {theirs[key]} by {name}")
    return name


def coco_figures(labels: Labels, found: Found, frames: int) -> dict[str, Any]:
    """COCO's twelve figures, and what they were checked by."""
    ours = twelve_statistics(labels, match(labels, found))
    return {**ours, "checked_by": checked_by_reference(labels, found, frames, ours)}


def with_intervals(result: Mapping[str, Any], figures: Mapping[str, Interval]) -> dict[str, Any]:
    """The figures of ``metrics.json`` with those of ``figures`` (key -> interval) put in: each
    with X_low and X_high beside it. Figures that are there already are not overwritten."""
    out = {k: _copied(v) for k, v in result.items()}
    for key, f in figures.items():
        *path, name = key.split(".")
        row = out
        for part in path:
            row = row.setdefault(part, {})
        row.setdefault(name, f.value)
        row[f"{name}_low"], row[f"{name}_high"] = f.low, f.high
    return out


def _copied(value: Any) -> Any:
    return {k: _copied(v) for k, v in value.items()} if isinstance(value, dict) else value


def write_run(
    out: Path, result: Mapping[str, Any], figures: Mapping[str, Interval], record: FrameRecord,
    tracks: TrackRecord | None, page: str,
) -> None:  # fmt: skip
    """Write the files to ``out``, ``metrics.json`` last; of a failure nothing stays, and neither
    do tracks' files of an earlier run without tracks."""
    with staging(out, [FRAMES, TRACKS, TRACK_TABLE, TABLE, PAGE, METRICS]) as folder:
        save(record, folder / FRAMES)
        if tracks is not None:
            track_record.save(tracks, folder / TRACKS)
            write_text(folder / TRACK_TABLE, tracking_csv(tracks))
        else:
            for name in (TRACKS, TRACK_TABLE):
                (out / name).unlink(missing_ok=True)
        write_text(folder / TABLE, csv_text(figures))
        write_text(folder / PAGE, page)
        write_json(folder / METRICS, result)


def group_figures(
    record: FrameRecord, draws: int, seed: int, drive: I64 | None
) -> dict[str, dict[str, tuple[int, dict[str, Interval]]]]:
    """Attribute -> value -> frames and headline figures of these frames, drawn among themselves."""
    out: dict[str, dict[str, tuple[int, dict[str, Interval]]]] = {}
    for attribute, values in record.attributes.items():
        if attribute == "drive":  # too many, of too few frames each
            continue
        for value in sorted({str(v) for v in values} - {""}):
            own = np.flatnonzero(values == value)
            part = intervals(
                record.select(own), draws, seed, drive[own] if drive is not None else None
            )
            out.setdefault(attribute, {})[value] = (len(own), part)
    return out


def find(
    record: FrameRecord, draws: int, seed: int, drive: I64 | None = None
) -> tuple[Findings, NDArray[np.bool_]]:
    """All figures and breakdowns, and which detections reach their class's best score."""
    best = best_scores(record)
    kept = kept_at(record, best)
    errors = find_errors(record, kept)
    height = (record.label_xyxy[:, 3] - record.label_xyxy[:, 1]).astype(np.float64)
    distance = record.label_distance_m
    far = np.isfinite(distance).any()
    findings = Findings(
        intervals(record, draws, seed, drive), best, errors, error_costs(record),
        confusion_matrix(record, kept),
        recall_by(record, errors.found, height, HEIGHTS_PX, draws, seed, drive),
        recall_by(record, errors.found, distance, DISTANCES_M, draws, seed, drive) if far else {},
        group_figures(record, draws, seed, drive),
        {name: reliability(table) for name, table in record.tables().items()},
    )  # fmt: skip
    return findings, kept


def _shares(shares: Mapping[str, Sequence[Share]], unit: str) -> dict[str, Any]:
    return {
        name: [
            {
                f"from_{unit}": s.low, f"to_{unit}": None if math.isinf(s.high) else s.high,
                "labels": s.labels, "recall": s.recall.value, "recall_low": s.recall.low,
                "recall_high": s.recall.high,
            }
            for s in row
        ]
        for name, row in shares.items()
    }  # fmt: skip


def breakdown_json(record: FrameRecord, found: Findings) -> dict[str, Any]:
    """The breakdowns as they stand in ``metrics.json``."""
    names = [CLASSES[k] for k in record.classes]
    groups = {
        attribute: {
            value: {"frames": count, **with_intervals({}, figures)}
            for value, (count, figures) in values.items()
        }
        for attribute, values in found.groups.items()
    }
    if not names:
        return {"by": groups} if groups else {}
    return {
        "best_f1": {
            CLASSES[k]: {n: v if math.isfinite(v) else None for n, v in vars(b).items()}
            for k, b in found.best.items()
        },
        "confusion": {"classes": names, "counts": found.confusion.tolist()},
        "errors": error_counts(record, found.errors),
        "error_costs": found.costs,
        "recall_by_height": _shares(found.by_height, "px"),
        "recall_by_distance": _shares(found.by_distance, "m"),
        "calibration_error": {n: r.error for n, r in found.reliability.items()},
        "by": groups,
    }


def _pixel_figures(record: FrameRecord) -> dict[str, Any]:
    """``segmentation`` and ``confusion`` of a predictor of pixel classes, else nothing."""
    if not record.pixels.any():
        return {}
    counts, names = record.pixels.sum(axis=0), record.pixel_classes
    total = Confusion(counts, int(record.pixels.any(axis=(1, 2)).sum()))
    return {
        "segmentation": segmentation.figures(total, names),
        "confusion": {"rows_are_labels": names, "pixels": counts.tolist()},
    }


def _drawn(
    record: FrameRecord, by: Resampling, tracks: TrackRecord | None, a: argparse.Namespace
) -> dict[str, Any]:  # fmt: skip
    """How the intervals were drawn, as it stands in ``metrics.json``."""
    out: dict[str, Any] = {"draws": a.bootstrap, "seed": a.seed, "level": bootstrap.LEVEL}
    if len(record):
        out |= {"resample": by.by, "drives": by.drives or None, "drawn": by.text}
    if tracks is not None:
        out["drawn_of_tracks"] = bootstrap.drives_text(len(tracks))
    return out


def finish(
    out: Path, result: Mapping[str, Any], seen: Observer | None, a: argparse.Namespace,
    tracks: TrackRecord | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Add intervals, COCO's figures and breakdowns to ``result``; print the table, write all files.

    Args:
        seen: the frames that were scored, None of tracks alone.
        a: options ``bootstrap``, ``seed``, ``resample`` and ``worst``.
        tracks: of the data's labelled drives, where they were scored.

    Raises:
        InputError: drives are to be drawn, and are not known.
        RuntimeError: the reference gives other figures.
    """
    names = list(result.get("detection", {}))
    about = {k: result[k] for k in ("data", "model", "protocol")}
    collector = seen.collector if seen else FrameCollector()
    record = collector.record(about, names)
    whole: dict[str, Any] = {**result, **_pixel_figures(record)}
    if seen and seen.cameras:
        whole["protocol"] = {
            **whole["protocol"],
            "distance": f"by {', '.join(sorted(seen.cameras))}",
        }
    if names:
        whole["coco"] = coco_figures(*collector.tables(names), len(record))
    by = resampling(record, a.resample)
    findings, kept = find(record, a.bootstrap, a.seed, by.drive)
    if tracks is not None:
        more = track_record.intervals(tracks, a.bootstrap, a.seed)
        findings = replace(findings, figures={**findings.figures, **more}, tracks=tracks)
        whole["tracking"] = tracking_json(tracks, more)
    whole = with_intervals(whole, findings.figures)
    whole["breakdown"] = breakdown_json(record, findings)
    whole["bootstrap"] = _drawn(record, by, tracks, a)
    whole["versions"] = package_versions()
    page = build_page(whole, record, findings, kept, a.worst, seen.again if seen else None)
    write_run(out, whole, findings.figures, record, tracks, page)
    print("\n".join(table_lines(whole, findings.figures)))
    if a.bootstrap:
        print(f"intervals: 95 %, by drawing {drawn_text(whole['bootstrap'])}")
    print(out / PAGE)
    return whole
