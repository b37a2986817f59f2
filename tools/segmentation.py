"""``evaluate`` where each pixel is given a class."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.datasets import Dataset
from data.datasets.base import read_mask
from data.errors import InputError
from data.palette import tinted
from data.types import U8, UNKNOWN, Sample
from perception.decode import SEGMENTATION
from perception.metrics import bootstrap
from perception.metrics.bootstrap import Interval
from perception.metrics.segmentation import PROTOCOL, Confusion, figures, score_frames
from perception.segmenter import Segmenter, check_classes
from tools.evaluation import METRICS, TABLE, csv_text, span, with_intervals
from tools.files import inside, make_folder, staging, write_json, write_png, write_text
from tools.progress import progress_bar, report_skipped

SHEET = "worst.png"
_WORST, _CELL_PX = 6, 480


def intervals(
    frames: list[Confusion], names: tuple[str, ...], draws: int, seed: int
) -> dict[str, Interval]:
    """Mean IoU, IoU of each class and pixel accuracy with their 95 % intervals, by key."""
    counts = np.stack([f.counts for f in frames]).reshape(len(frames), -1)
    drawn: list[list[float]] = []
    if draws:
        for weights in bootstrap.draw_weights(len(frames), draws, seed):
            sums = (weights @ counts).reshape(-1, len(names), len(names))
            drawn += [_row(Confusion(s)) for s in sums]
    table = np.array(drawn).reshape(-1, 2 + len(names))
    keys = ["miou", "pixel_accuracy", *(f"iou.{n}" for n in names)]
    whole = _row(Confusion(counts.sum(0).reshape(len(names), len(names))))
    return {
        f"segmentation.{k}": bootstrap.interval(v, table[:, i])
        for i, (k, v) in enumerate(zip(keys, whole, strict=True))
    }


def _row(c: Confusion) -> list[float]:
    iou = c.iou
    seen = iou[np.isfinite(iou)]
    return [float(seen.mean()) if len(seen) else float("nan"), c.pixel_accuracy, *iou.tolist()]


@dataclass(frozen=True, eq=False)
class PixelClasses:
    """What says the class of every pixel: a function of samples, and its entry in the record."""

    predict: Callable[[Sample], U8]
    about: dict[str, Any]


def written_classes(folder: Path, dataset: Dataset) -> PixelClasses | None:
    """What ``predict`` wrote of a network of pixel classes; None where it was of another kind."""
    if "segmentation" not in dataset.tasks or not (folder / SEGMENTATION).is_dir():
        return None
    return PixelClasses(_by_files(folder / SEGMENTATION, dataset), {"predictions": str(folder)})


def answered_classes(model: Segmenter, dataset: Dataset) -> PixelClasses:
    """What a network of pixel classes says of the data; InputError where those are not its own."""
    check_classes(model, dataset)
    about = {"name": model.name, "sha256": model.sha256, "input_size": model.input_size}
    return PixelClasses(lambda s: model(s.image), about)


def _by_files(folder: Path, dataset: Dataset) -> Callable[[Sample], U8]:
    """Predictions as written, ``NAME.png`` of class numbers."""
    count = len(dataset.segmentation_names)

    def predict(s: Sample) -> U8:
        path = inside(folder, str(Path(s.name).with_suffix(".png")))
        if not path.is_file():
            raise InputError(f"{path}: missing, the classes predicted for {s.name}")
        mask = read_mask(path)
        if mask.shape != s.image.shape[:2]:
            raise InputError(f"{path}: {mask.shape}, but the image is {s.image.shape[:2]}")
        if mask.max(initial=0) >= count:
            raise InputError(f"{path}: value {mask.max()}, expected classes from 0 to {count - 1}")
        return mask

    return predict


def worst_sheet(
    dataset: Dataset, predict: Callable[[Sample], U8], frames: list[tuple[int, Confusion]]
) -> U8:
    """The frames of the lowest pixel accuracy: labels on the left, answers on the right."""
    order = sorted(frames, key=lambda f: (f[1].pixel_accuracy, f[0]))[:_WORST]
    rows = []
    for i, _ in order:
        s = dataset.load(i)
        assert s.segmentation is not None
        size = (_CELL_PX, round(s.image.shape[0] * _CELL_PX / s.image.shape[1]))
        image = np.asarray(cv2.resize(s.image, size, interpolation=cv2.INTER_AREA), np.uint8)
        masks = (s.segmentation, np.where(s.segmentation == UNKNOWN, UNKNOWN, predict(s)))
        small = (cv2.resize(m, size, interpolation=cv2.INTER_NEAREST) for m in masks)
        rows.append(np.hstack([tinted(image, np.asarray(m, np.uint8)) for m in small]))
    return np.vstack(rows)


def evaluate_classes(
    a: argparse.Namespace, dataset: Dataset, given: PixelClasses, unreadable: list[str]
) -> int:
    """Score ``given`` on every labelled pixel; writes ``metrics.json``, ``metrics.csv`` and
    ``worst.png`` to ``a.out``."""
    out = make_folder(a.out)
    with progress_bar("evaluating", len(dataset), "image") as bar:
        frames, images, problems = score_frames(dataset, given.predict, bar)
    skipped = [*unreadable, *problems]
    report_skipped(skipped, str(a.data))
    names = dataset.segmentation_names
    total = sum((f for _, f in frames), Confusion.empty(len(names)))
    found = intervals([f for _, f in frames], names, a.bootstrap, a.seed) if frames else {}
    result: dict[str, Any] = {
        "images": images,
        "segmentation": figures(total, names),
        "confusion": {"rows_are_labels": list(names), "pixels": total.counts.tolist()},
        "data": {"layout": dataset.layout, "split": dataset.split, "images": images,
                 "skipped": skipped},
        "model": given.about,
        "protocol": {"segmentation": PROTOCOL, "intervals": bootstrap.PROTOCOL},
    }  # fmt: skip
    with staging(out, (TABLE, SHEET, METRICS)) as folder:
        write_json(folder / METRICS, with_intervals(result, found))
        write_text(folder / TABLE, csv_text(found))
        if frames:
            write_png(folder / SHEET, worst_sheet(dataset, given.predict, frames))
    print_table(found, total.frames)
    return 0


def print_table(found: dict[str, Interval], frames: int) -> None:
    """A line a class, the mean first."""
    for key, value in found.items():
        name = key.removeprefix("segmentation.").replace("iou.", "").replace("miou", "mean IoU")
        print(f"{name:16} {span(value)}")
    print(f"{frames} labelled frames")
