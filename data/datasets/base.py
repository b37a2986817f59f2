"""What every reader returns, and the choice of a reader by a folder's layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from data.errors import InputError
from data.taxonomy import CLASSES, TASKS
from data.types import U8, Sample


@dataclass(frozen=True)
class Dataset:
    """A split of a labelled set.

    Attributes:
        layout: name of the reader ('bdd100k', 'voc', ...); split: as the set names it.
        names: file name of each image, unique within the split.
        images: path of each image.
        tasks: which of ``taxonomy.TASKS`` the set labels.
        load: index -> ``Sample``.
    """

    layout: str
    split: str
    names: tuple[str, ...]
    images: tuple[Path, ...]
    tasks: tuple[str, ...]
    load: Callable[[int], Sample]

    def __len__(self) -> int:
        return len(self.names)

    def __post_init__(self) -> None:
        unknown = set(self.tasks) - set(TASKS)
        if unknown:
            raise ValueError(f"tasks: expected some of {TASKS}, given {sorted(unknown)}")


def only_tasks(dataset: Dataset, tasks: tuple[str, ...]) -> Dataset:
    """The same set with its labels for other tasks taken as unknown.

    Raises:
        InputError: the set does not label one of ``tasks``.
    """
    missing = [t for t in tasks if t not in dataset.tasks]
    if missing:
        have = ", ".join(dataset.tasks) or "nothing"
        raise InputError(f"set {dataset.layout}: labels {have}, but '{missing[0]}' was asked for")

    def load(i: int) -> Sample:
        s = dataset.load(i)
        boxes = "detection" in tasks
        return replace(
            s,
            labelled_classes=s.labelled_classes if boxes else class_flags(()),
            drivable=s.drivable if "drivable" in tasks else None,
            lane=s.lane if "lane" in tasks else None,
        )

    return replace(dataset, tasks=tasks, load=load)


def read_image(path: Path) -> U8:
    """Read (h, w, 3) uint8 BGR; InputError names a file that is missing or no image."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path}: cannot be read as an image (missing, truncated or not one)")
    return np.asarray(image, np.uint8)


def read_mask(path: Path) -> U8:
    """Read (h, w) uint8 label values, unchanged."""
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise InputError(f"{path}: cannot be read as a label mask (missing or truncated)")
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise InputError(f"{path}: a label mask has one 8-bit channel, given {mask.shape}")
    return np.asarray(mask, np.uint8)


def map_values(mask: U8, table: dict[int, int], path: Path) -> U8:
    """Map label values by a table; a value without meaning is an InputError."""
    lut = np.full(256, 254, np.uint8)
    for value, out in table.items():
        lut[value] = out
    mapped = lut[mask]
    if (mapped == 254).any():
        bad = sorted(set(np.unique(mask)) - set(table))
        raise InputError(f"{path}: mask value {bad[0]} has no meaning, expected {sorted(table)}")
    return mapped


def class_flags(names: tuple[str, ...] = CLASSES) -> np.ndarray:
    """(5,) bool: which classes a set labels."""
    return np.array([c in names for c in CLASSES])


def list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of a folder by name; InputError when there are none."""
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in suffixes)
    if not files:
        raise InputError(f"{folder}: no files ending in {', '.join(suffixes)} found")
    return files


def open_dataset(root: Path, split: str, layout: str | None = None) -> Dataset:
    """Open one split of a labelled set, recognising its layout by its folders.

    Raises:
        InputError: no such folder, layout or split; the message names what was looked for.
    """
    from data.datasets import bdd100k, camvid, idd, kitti, voc

    # layout -> (what gives it away, reader); first match wins
    readers: dict[str, tuple[str, Callable[[Path, str], Dataset]]] = {
        "bdd100k": ("images/100k", bdd100k.open_split),
        "idd": ("gtFine", idd.open_split),
        "camvid": ("trainannot", camvid.open_split),
        "kitti": ("training/image_2", kitti.open_split),
        "voc": ("labels", voc.open_split),
    }
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; --data takes the folder of a labelled set")
    if layout is not None and layout not in readers:
        raise InputError(f"layout '{layout}' is unknown; expected one of {', '.join(readers)}")
    for name, (mark, reader) in readers.items():
        if layout == name or (layout is None and (root / mark).is_dir()):
            return reader(root, split)
    marks = ", ".join(f"{n} ({m}/)" for n, (m, _) in readers.items())
    raise InputError(f"{root}: layout not recognised; looked for {marks}")
