"""Pascal VOC boxes as XML, one file an image, with the class names of the CARLA set."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from data.datasets.base import Dataset, class_flags, list_files, read_image
from data.errors import InputError
from data.taxonomy import CARLA, CARLA_LABELLED, CLASS_ID
from data.types import Sample


def _parse(path: Path) -> tuple[list[list[float]], list[int]]:
    try:
        tree = ElementTree.parse(path)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from e
    except ElementTree.ParseError as e:
        raise InputError(f"{path}: not valid XML ({e})") from e
    xyxy, ids = [], []
    for obj in tree.iter("object"):
        name = obj.findtext("name", "")
        if name not in CARLA:
            raise InputError(f"{path}: unknown class '{name}', expected {', '.join(CARLA)}")
        ours = CARLA[name]
        try:
            box = [float(obj.findtext(f"bndbox/{k}", "")) for k in ("xmin", "ymin", "xmax", "ymax")]
        except ValueError as e:
            raise InputError(f"{path}: object '{name}' has no complete bndbox") from e
        if ours is not None:
            xyxy.append(box)
            ids.append(CLASS_ID[ours])
    return xyxy, ids


def open_split(root: Path, split: str) -> Dataset:
    """Read ``images/SPLIT`` with ``labels/SPLIT/*.xml``."""
    images = list_files(root / "images" / split, (".jpg", ".png", ".jpeg"))

    def load(i: int) -> Sample:
        xyxy, ids = _parse(root / "labels" / split / f"{images[i].stem}.xml")
        return Sample(
            read_image(images[i]),
            np.array(xyxy, np.float32).reshape(-1, 4),
            np.array(ids, np.int64),
            np.zeros(len(ids), bool),
            class_flags(CARLA_LABELLED),
            None,
            None,
            images[i].name,
        )

    names = tuple(p.name for p in images)
    return Dataset("voc", split, names, tuple(images), ("detection",), load)
