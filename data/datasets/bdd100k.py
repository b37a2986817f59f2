"""BDD100K (Yu et al. 2020): boxes, drivable area and lane lines.

Boxes are read as ``labels/det_20/det_SPLIT.json``, or in the forms of 2018:
``labels/bdd100k_labels_images_SPLIT.json``, and a file an image in ``labels/100k/SPLIT``; drivable
areas as ``labels/drivable/masks``, or as the ``drivable_maps`` of 2018.

Lane masks are read in two forms. The official one (``labels/lane/masks``) packs a pixel's bits:
0 to 2 the kind of line, 3 background, 4 style, 5 direction; 255, all bits set, is the background
that the official files are filled with. The binary one (``labels/lane/binary``) is 255 line,
0 none, 128 ignore, and wins where a split has both, for it knows what to ignore.

A box's edges are taken as they stand: Scalabel's own COCO export adds a pixel to width and height.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets.base import Boxes, Dataset, Problem
from data.datasets.files import (
    clean_name,
    folders,
    label_path,
    list_images,
    numbers,
    read_json,
    visible,
)
from data.errors import InputError
from data.taxonomy import BDD100K, BDD100K_2018_NAMES, BDD100K_NAMES, BDD100K_UNSURE, common_classes
from data.types import UNKNOWN

LOOKS = "images/100k/SPLIT"

_DRIVABLE = {0: 1, 1: 1, 2: 0, 255: UNKNOWN}  # direct, alternative, background
_DRIVABLE_2018 = {0: 0, 1: 1, 2: 1, 255: UNKNOWN}  # background, direct, alternative
_LANE_BITS = {v: int(not v & 8) for v in range(64)} | {255: 0}
_LANE_BINARY = {255: 1, 0: 0, 128: UNKNOWN}
# task -> folder, end of the names, and values; the first that is there is read
_MASKS: dict[str, tuple[tuple[str, str, dict[int, int]], ...]] = {
    "drivable": (
        ("labels/drivable/masks", ".png", _DRIVABLE),
        ("drivable_maps/labels", "_drivable_id.png", _DRIVABLE_2018),
    ),
    "lane": (
        ("labels/lane/binary", ".png", _LANE_BINARY),
        ("labels/lane/masks", ".png", _LANE_BITS),
    ),
}
_CORNERS = ("x1", "y1", "x2", "y2")
FRAME_KEYS = ("videoName", "frameIndex", "timestamp", "url")  # of a frame, beside its attributes


def recognises(root: Path) -> bool:
    return (root / "images/100k").is_dir()


def splits(root: Path) -> tuple[str, ...]:
    return folders(root / "images/100k")


def parse_boxes(entry: Mapping[str, Any], where: str) -> Boxes:
    """Boxes of one entry of a list of images; labels without ``box2d`` are none of its boxes.

    Areas of crowds, and of what the annotators could not name, are to be ignored.
    """
    xyxy, names, ignore, attributes, problems = [], [], [], [], []
    labels = entry.get("labels") or []
    if not isinstance(labels, list):
        problems.append(Problem("label_malformed", where, "labels must be a list; left out"))
        labels = []
    others = 0
    for k, label in enumerate(labels):
        try:
            box = label.get("box2d")
            if box is None:
                others += 1
                continue
            row = numbers([box[key] for key in _CORNERS], 4)
            name = _category(label)
            if not name:
                raise ValueError("no category")
            more = dict(label.get("attributes") or {})
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            text = f"label {k} needs a category and box2d with numbers x1 y1 x2 y2 ({e}); left out"
            problems.append(Problem("label_malformed", where, text))
            continue
        rest = {k: v for k, v in label.items() if k not in ("category", "box2d", "attributes")}
        xyxy.append(row)
        names.append(name)
        attributes.append(more | rest)
        ignore.append(bool(more.get("crowd") or more.get("ignored") or name in BDD100K_UNSURE))
    return Boxes(
        np.array(xyxy), tuple(names), np.array(ignore, bool), tuple(attributes), tuple(problems),
        where=where, others=others,
    )  # fmt: skip


def _category(label: Mapping[str, Any]) -> str:
    """Class name of a label; '' where there is none."""
    name = label.get("category")
    return "" if name is None else clean_name(name)


def _read_labels(
    root: Path, split: str
) -> tuple[Path, dict[str, dict[str, Any]], list[Problem], tuple[str, ...]]:
    """The label file (or folder) of a split, its entries by image name, what was wrong with
    others, and the class names that it declares or its release has."""
    path, names = root / f"labels/det_20/det_{split}.json", BDD100K_NAMES
    old = root / f"labels/bdd100k_labels_images_{split}.json", root / f"labels/100k/{split}"
    if not path.is_file() and any(p.exists() for p in old):
        path, names = next(p for p in old if p.exists()), BDD100K_2018_NAMES
    if not path.exists():
        return path, {}, [], names
    problems: list[Problem] = []
    table = _of_files(path, problems) if path.is_dir() else read_json(path)
    if isinstance(table, dict) and "frames" in table:  # Scalabel's form, with the classes
        config = table.get("config")
        categories = config.get("categories") if isinstance(config, dict) else None
        table, names = table["frames"], tuple(_leaves(categories)) or names
    if not isinstance(table, list):
        raise InputError(f"{path}: expected a list of images with their labels (det_20)")
    entries: dict[str, dict[str, Any]] = {}
    for k, entry in enumerate(table):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            text = f"entry {k} has no image name; left out"
            problems.append(Problem("label_malformed", str(path), text))
        elif name in entries:
            text = f"entry {k}: image {name} was listed before; this one is left out"
            problems.append(Problem("image_twice", str(path), text))
        else:
            entries[name] = entry
    return path, entries, problems, names


def _leaves(categories: Any) -> Iterator[str]:
    """Names of Scalabel's categories, which may be parted into ``subcategories``, to any depth."""
    stack = categories[::-1] if isinstance(categories, list) else []
    while stack:
        c = stack.pop()
        below = c.get("subcategories") if isinstance(c, dict) else None
        if isinstance(below, list) and below:
            stack += below[::-1]
        else:
            yield clean_name(c.get("name") if isinstance(c, dict) else c)


def _of_files(folder: Path, problems: list[Problem]) -> list[dict[str, Any]]:
    """An entry for each file of a folder, whose one frame holds the objects of ``STEM.jpg``."""
    entries = []
    for path in sorted(visible(folder.glob("*.json"))):
        try:
            table = read_json(path)
            (frame,) = table["frames"]
            more, labels = table.get("attributes"), frame["objects"]
        except InputError as e:
            problems.append(Problem("label_malformed", str(path), str(e).partition(": ")[2]))
        except (AttributeError, KeyError, TypeError, ValueError):
            text = "expected an object with one frame and its objects; left out"
            problems.append(Problem("label_malformed", str(path), text))
        else:
            entries.append({"name": f"{path.stem}.jpg", "attributes": more, "labels": labels})
    return entries


def _masks(
    root: Path, split: str, images: list[str]
) -> tuple[dict[str, tuple[Path | None, ...]], dict[str, dict[int, int]]]:
    masks: dict[str, tuple[Path | None, ...]] = {}
    values = {}
    for task, kinds in _MASKS.items():
        for kind, end, table in kinds:
            folder = root / kind / split
            if folder.is_dir() and task not in masks:
                masks[task] = tuple(_mask_path(folder, name, end) for name in images)
                values[task] = table
    return masks, values


def _mask_path(folder: Path, name: str, end: str) -> Path | None:
    for path in (label_path(folder, name, end), folder / f"{Path(name).stem}{end}"):
        if os.path.isfile(path):
            return path
    return None


def _entries_of(
    images: list[str], entries: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Entry of each image by its path, or by its name alone where it lies in a folder."""
    known = set(images)
    found = {}
    for image in images:
        bare = image.rpartition("/")[2]
        if image in entries:
            found[image] = entries[image]
        elif bare in entries and bare not in known:
            found[image] = entries[bare]
    return found


def _names_in(entries: Mapping[str, dict[str, Any]]) -> list[str]:
    """Classes of all boxes in the order met."""
    found: dict[str, None] = {}
    for entry in entries.values():
        labels = entry.get("labels")
        for label in labels if isinstance(labels, list) else []:
            if isinstance(label, dict) and label.get("box2d") is not None:
                found[_category(label)] = None
    return [name for name in found if name]


def open_split(root: Path, split: str) -> Dataset:
    """Read ``images/100k/SPLIT``, with folders in it or without, with boxes, drivable areas and
    lanes; a frame without an entry or a mask file has unknown ones."""
    folder = root / "images/100k" / split
    images = list_images(folder)
    path, entries, problems, declared = _read_labels(root, split)
    entry_of = _entries_of(images, entries)
    used = {id(entry) for entry in entry_of.values()}
    lost = [n for n, entry in entries.items() if id(entry) not in used]
    text = "no image {} in {}; its labels are left out"
    problems += [Problem("image_missing", str(path), text.format(n, folder)) for n in lost]

    def read_boxes(i: int) -> Boxes | None:
        entry = entry_of.get(images[i])
        return None if entry is None else parse_boxes(entry, f"{path}: image {images[i]}")

    def frame_attributes(i: int) -> Mapping[str, Any]:
        entry = entry_of.get(images[i], {})
        found = entry.get("attributes")
        return {k: v for k, v in entry.items() if k in FRAME_KEYS} | (
            found if isinstance(found, dict) else {}
        )

    names = tuple(dict.fromkeys((*declared, *_names_in(entries))))
    common, labelled = common_classes(names)
    masks, values = _masks(root, split, images)
    return Dataset(
        "bdd100k",
        root,
        split,
        tuple(images),
        tuple(folder / n for n in images),
        (*(("detection",) if entries else ()), *masks),
        {**common, **BDD100K},
        labelled,
        read_boxes,
        masks,
        values,
        class_names=names,
        problems=tuple(problems),
        frame_attributes=frame_attributes,
        looked_for=str(path),
    )
