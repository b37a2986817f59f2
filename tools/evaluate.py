"""``roadstack evaluate``: scores of a model, or of written predictions, on labelled data."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets import open_dataset
from data.datasets.base import read_mask
from data.errors import InputError
from data.taxonomy import CLASS_ID
from data.types import U8, Detections, Sample
from perception.decode import surface_mask
from perception.metrics.score import PROTOCOL, Prediction, score_dataset
from perception.runtime import load_model
from tools.files import make_folder, write_json
from tools.progress import progress_bar

MIN_SCORE = 0.01


def _by_model(name: str, threads: int | None) -> tuple[Callable[[Sample], Prediction], dict]:
    model = load_model(name, threads)

    def predict(s: Sample) -> Prediction:
        found, maps = model(s.image, MIN_SCORE)
        height, width = s.image.shape[:2]
        masks = (surface_mask(m, maps.scale, width, height) for m in (maps.drivable, maps.lane))
        return Prediction(found, *masks)

    return predict, {"name": model.name, "sha256": model.sha256}


def read_detections(path: Path, known: set[str]) -> dict[str, Detections]:
    """Read ``detections.json`` as written by predict, by image name.

    Raises:
        InputError: malformed, an unknown image or an unknown class; names the entry.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from e
    except ValueError as e:
        raise InputError(f"{path}: not valid JSON ({e})") from e
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a list of boxes, given {type(entries).__name__}")
    rows: dict[str, list[tuple[list[float], float, int]]] = {}
    for n, entry in enumerate(entries):
        try:
            x, y, w, h = (float(v) for v in entry["bbox"])
            score, image, category = float(entry["score"]), entry["image"], entry["category"]
        except (KeyError, TypeError, ValueError) as bad:
            raise InputError(f"{path}: entry {n}: expected image, category, bbox, score") from bad
        if image not in known:
            raise InputError(f"{path}: entry {n}: image '{image}' is not in the labelled data")
        if category not in CLASS_ID:
            raise InputError(f"{path}: entry {n}: category '{category}' is none of ours")
        if not np.isfinite([x, y, w, h, score]).all():
            raise InputError(f"{path}: entry {n}: bbox and score must be finite numbers")
        rows.setdefault(image, []).append(([x, y, x + w, y + h], score, CLASS_ID[category]))
    return {
        image: Detections(
            np.array([r[0] for r in mine], np.float32),
            np.array([r[1] for r in mine], np.float32),
            np.array([r[2] for r in mine], np.int64),
        )
        for image, mine in rows.items()
    }


def _by_files(folder: Path, names: set[str]) -> Callable[[Sample], Prediction]:
    found = read_detections(folder / "detections.json", names)

    def mask(kind: str, s: Sample) -> U8 | None:
        path = folder / kind / f"{Path(s.name).stem}.png"
        if not path.is_file():
            return None
        value = read_mask(path)
        if value.shape != s.image.shape[:2]:
            raise InputError(f"{path}: {value.shape}, but the image is {s.image.shape[:2]}")
        return value

    def predict(s: Sample) -> Prediction:
        return Prediction(
            found.get(s.name, Detections.empty()), mask("drivable", s), mask("lane", s)
        )

    return predict


def print_table(result: dict[str, Any]) -> None:
    """The headline figures, a line each."""
    for name, row in result.get("detection", {}).items():
        print(
            f"{name:14} AP50 {row['AP50']:.3f}  AP {row['AP']:.3f}  AR100 {row['AR100']:.3f}  "
            f"({row['ground_truths']} boxes)"
        )
    for name in ("drivable", "lane"):
        if name in result:
            print(f"{name:14} IoU {result[name]['iou']:.3f}  ({result[name]['frames']} frames)")


def run_evaluate(a: argparse.Namespace) -> int:
    """Score every labelled task of ``a.data`` and write ``metrics.json`` to ``a.out``."""
    dataset = open_dataset(a.data, a.split, a.layout)
    if not dataset.tasks:
        raise InputError(f"{a.data}: split '{a.split}' has no labels to score against")
    model: dict[str, Any] = {"predictions": str(a.predictions)}
    if a.predictions:
        predict = _by_files(a.predictions, set(dataset.names))
    else:
        predict, model = _by_model(a.model, a.threads)
    out = make_folder(a.out)
    with progress_bar("evaluating", len(dataset), "image") as bar:
        result = score_dataset(dataset, predict, bar)
    data = {"layout": dataset.layout, "split": dataset.split, "images": len(dataset)}
    write_json(out / "metrics.json", {**result, "data": data, "model": model, "protocol": PROTOCOL})
    print_table(result)
    return 0
