"""BDD100K (Yu et al. 2020): boxes (det_20), drivable area and lane lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets.base import Dataset, class_flags, list_files, map_values, read_image, read_mask
from data.errors import InputError
from data.taxonomy import BDD100K, CLASS_ID
from data.types import F32, I64, U8, Sample

_DRIVABLE = {0: 1, 1: 1, 2: 0, 255: 255}  # direct, alternative, background
_LANE = {255: 1, 0: 0, 128: 255}  # the binary form: line, none, ignore


def _boxes(entry: dict[str, Any], path: Path) -> tuple[F32, I64]:
    xyxy, ids = [], []
    for label in entry.get("labels") or []:
        box = label.get("box2d")
        if box is None:
            continue
        category = label.get("category")
        if category not in BDD100K:
            raise InputError(f"{path}: image {entry['name']}: unknown category '{category}'")
        name = BDD100K[category]
        if name is not None:
            xyxy.append([float(box[k]) for k in ("x1", "y1", "x2", "y2")])
            ids.append(CLASS_ID[name])
    return np.array(xyxy, np.float32).reshape(-1, 4), np.array(ids, np.int64)


def _read_labels(path: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {e["name"]: e for e in entries}
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from e
    except (ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path}: not a det_20 label list ({e})") from e


def open_split(root: Path, split: str) -> Dataset:
    """Read ``images/100k/SPLIT`` with ``labels/det_20``, ``labels/drivable/masks`` and
    ``labels/lane/binary``; a frame without a mask file has unknown drivable area or lanes."""
    images = list_files(root / "images/100k" / split, (".jpg", ".png"))
    det_path = root / f"labels/det_20/det_{split}.json"
    entries = _read_labels(det_path) if det_path.is_file() else {}
    drivable_dir, lane_dir = (
        root / f"labels/{k}/{split}" for k in ("drivable/masks", "lane/binary")
    )

    def mask(folder: Path, image: Path, table: dict[int, int]) -> U8 | None:
        path = folder / f"{image.stem}.png"
        return map_values(read_mask(path), table, path) if path.is_file() else None

    def load(i: int) -> Sample:
        image = images[i]
        entry = entries.get(image.name)
        xyxy, ids = _boxes(entry, det_path) if entry else _boxes({}, det_path)
        return Sample(
            read_image(image),
            xyxy,
            ids,
            np.zeros(len(ids), bool),
            class_flags() if entry else class_flags(()),
            mask(drivable_dir, image, _DRIVABLE),
            mask(lane_dir, image, _LANE),
            image.name,
        )

    tasks = (
        *(("detection",) if entries else ()),
        *(("drivable",) if drivable_dir.is_dir() else ()),
        *(("lane",) if lane_dir.is_dir() else ()),
    )
    return Dataset("bdd100k", split, tuple(p.name for p in images), tuple(images), tasks, load)
