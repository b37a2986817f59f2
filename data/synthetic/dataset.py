"""Rendered frames written as a labelled set in BDD100K's layout."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.synthetic.drive import random_sample
from data.taxonomy import CLASSES
from data.types import U8, Sample

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


def _write(path: Path, image: U8, *options: int) -> None:
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
    path = out / f"labels/det_20/det_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(entries, indent=1), encoding="utf-8")
    os.replace(temporary, path)
