"""Rendered frames written to disk: views as a labelled set in BDD100K's layout, a drive as a log
with its ground truth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data.synthetic.drive import SyntheticDrive, Truth, random_sample
from data.taxonomy import CLASSES
from data.types import Sample

# one BDD100K category for each of our classes
_CATEGORY = {
    "vehicle": "car",
    "person": "pedestrian",
    "two_wheeler": "bicycle",
    "traffic_light": "traffic light",
    "traffic_sign": "traffic sign",
}


def _entry(sample: Sample, file_name: str) -> dict[str, Any]:
    labels = []
    for i, (box, c) in enumerate(zip(sample.xyxy, sample.class_id, strict=True)):
        x1, y1, x2, y2 = (round(float(v), 2) for v in box)
        box2d = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
        labels.append({"id": str(i), "category": _CATEGORY[CLASSES[int(c)]], "box2d": box2d})
    return {"name": file_name, "attributes": {}, "labels": labels}


def _write(path: Path, image: NDArray[Any], *options: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(path.suffix, image, options)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data.tobytes())
    os.replace(temporary, path)


def write_bdd100k(
    out: Path,
    count: int,
    first_seed: int,
    size: tuple[int, int],
    report: Callable[[int], None] = lambda _: None,
    split: str = "train",
) -> None:
    """Render ``count`` independent views of ``size`` (width, height) into the folder ``out``.

    Images as JPEG of quality 95, boxes, drivable masks (0 yes, 2 no) and lanes (255 line, 0
    none). The list of boxes is written last, so that an unfinished set is not taken for whole.
    """
    entries = []
    for i in range(count):
        name = f"synthetic_{first_seed + i:08d}"
        sample = random_sample(first_seed + i, *size)
        assert sample.drivable is not None and sample.lane is not None
        drivable = np.where(sample.drivable == 1, 0, 2).astype(np.uint8)
        lane = np.where(sample.lane == 1, 255, 0).astype(np.uint8)
        image = out / f"images/100k/{split}/{name}.jpg"
        _write(image, sample.image, cv2.IMWRITE_JPEG_QUALITY, 95)
        _write(out / f"labels/drivable/masks/{split}/{name}.png", drivable)
        _write(out / f"labels/lane/binary/{split}/{name}.png", lane)
        entries.append(_entry(sample, image.name))
        report(i + 1)
    _write_text(out / f"labels/det_20/det_{split}.json", json.dumps(entries, indent=1))


def write_drive(
    out: Path, drive: SyntheticDrive, report: Callable[[int], None] = lambda _: None
) -> None:
    """Write a drive into the folder ``out`` as a log of images with all its ground truth.

    - ``images/`` (JPEG of quality 95) and ``timestamps.txt`` (KITTI raw): opens as a log;
    - ``objects/``: PNG of 16 bits, the track id of every pixel, 0 for none;
    - ``depth/``: PNG of 16 bits, cm along the optical axis, 0 for sky and from 655.36 m on;
    - ``drivable/`` and ``lane/``: PNG, 255 yes, 0 no;
    - ``truth.jsonl``, one object a frame, written last: ``index``, ``t_ns``, ``ego`` (x_m, y_m,
      yaw_rad, speed_mps, yaw_rate_radps), ``camera`` (matrix, vehicle_from_camera) and
      ``objects``: id, class, xyxy, visible (1 minus occlusion), foot_m and centre_m ([x, y] of
      the vehicle frame), yaw_rad.
    """
    lines, times = [], []
    for i in range(len(drive)):
        truth, name = drive.truth(i), f"{i:06d}"
        sample = truth.sample
        _write(out / f"images/{name}.jpg", sample.image, cv2.IMWRITE_JPEG_QUALITY, 95)
        _write(out / f"objects/{name}.png", truth.object_id)
        cm = np.rint(np.minimum(truth.depth_m, 1e4) * 100)
        _write(out / f"depth/{name}.png", np.where(cm < 65536, cm, 0).astype(np.uint16))
        for task in ("drivable", "lane"):
            _write(out / f"{task}/{name}.png", getattr(sample, task) * np.uint8(255))
        lines.append(json.dumps(_truth_line(i, truth), separators=(",", ":")))
        at = datetime(2000, 1, 1) + timedelta(seconds=truth.t_ns // 10**9)
        times.append(f"{at:%Y-%m-%d %H:%M:%S}.{truth.t_ns % 10**9:09d}")
        report(i + 1)
    _write_text(out / "timestamps.txt", "\n".join(times) + "\n")
    _write_text(out / "truth.jsonl", "\n".join(lines) + "\n")


def _truth_line(index: int, truth: Truth) -> dict[str, Any]:
    """A frame's line of ``truth.jsonl``."""
    sample, objects = truth.sample, []
    for k, track_id in enumerate(truth.track_id.tolist()):
        row = {
            "id": track_id,
            "class": CLASSES[int(sample.class_id[k])],
            "xyxy": sample.xyxy[k].tolist(),
            "visible": round(float(truth.visible[k]), 4),
            "foot_m": truth.positions_m[k].round(4).tolist(),
            "centre_m": truth.centres_m[k].round(4).tolist(),
            "yaw_rad": round(float(truth.yaw_rad[k]), 5),
        }
        objects.append(row)
    camera = {
        "matrix": truth.camera.matrix.tolist(),
        "vehicle_from_camera": truth.camera.vehicle_from_camera.tolist(),
    }
    ego = asdict(truth.ego)
    return {"index": index, "t_ns": truth.t_ns, "ego": ego, "camera": camera, "objects": objects}


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
