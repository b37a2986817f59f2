"""Small labelled sets for tests, made in memory beside pictures of one colour."""

from __future__ import annotations

import cv2
import numpy as np

from data.datasets import Boxes, Dataset, open_dataset

PICTURE = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()


def as_datasets(folder, classes, splits):
    found = []
    for split, images in splits.items():
        for name in images:
            path = folder / "pictures" / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PICTURE)
        table = list(images.values())
        made = Dataset(
            "made",
            folder,
            split,
            tuple(images),
            tuple(folder / "pictures" / split / n for n in images),
            ("detection",),
            read_boxes=table.__getitem__,
            class_names=classes,
            strict=True,
        )
        found.append(made)
    return found


def read(folder, layout, splits):
    return [open_dataset(folder, split, layout, strict=True) for split in splits]


def box(xyxy=(1, 2, 30, 40), name="car", ignore=False, **attributes):
    return Boxes(np.array([xyxy]), (name,), np.array([ignore]), (attributes,))


def one_image(tmp_path, boxes, classes=("car",), name="a.png"):
    return as_datasets(tmp_path, classes, {"train": {name: boxes}})
