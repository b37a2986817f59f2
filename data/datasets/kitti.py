"""KITTI object (Geiger et al. 2012): boxes, with DontCare and Misc areas to be ignored."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.datasets.base import Dataset, class_flags, list_files, read_image
from data.errors import InputError
from data.taxonomy import CLASS_ID, CLASSES, KITTI, KITTI_LABELLED
from data.types import Sample


def _parse(path: Path) -> tuple[list[list[float]], list[int], list[bool]]:
    xyxy: list[list[float]] = []
    ids: list[int] = []
    ignore: list[bool] = []
    for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        part = line.split()
        if not part:
            continue
        if len(part) < 15 or part[0] not in KITTI:
            raise InputError(f"{path}:{n}: expected a KITTI type and 14 numbers, given '{line}'")
        name = KITTI[part[0]]
        box = [float(v) for v in part[4:8]]
        # an area to ignore counts against no class
        for c in [CLASS_ID[name]] if name else range(len(CLASSES)):
            xyxy.append(box)
            ids.append(c)
            ignore.append(name is None)
    return xyxy, ids, ignore


def open_split(root: Path, split: str) -> Dataset:
    """Read ``training/image_2`` with ``training/label_2``; the set has one split, any name."""
    images = list_files(root / "training/image_2", (".jpg", ".png"))

    def load(i: int) -> Sample:
        path = root / "training/label_2" / f"{images[i].stem}.txt"
        if not path.is_file():
            raise InputError(f"{path}: label file missing")
        xyxy, ids, ignore = _parse(path)
        return Sample(
            read_image(images[i]),
            np.array(xyxy, np.float32).reshape(-1, 4),
            np.array(ids, np.int64),
            np.array(ignore, bool),
            class_flags(KITTI_LABELLED),
            None,
            None,
            images[i].name,
        )

    names = tuple(p.name for p in images)
    return Dataset("kitti", split, names, tuple(images), ("detection",), load)
