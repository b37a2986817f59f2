"""KITTI object (Geiger et al. 2012): boxes, with DontCare and Misc areas to be ignored.

Two common additions are read where they are there: lists of frames ``ImageSets/SPLIT.txt``, and
``classes.txt`` with the class names of a set that was brought into this layout (a name with
spaces stands with '_' in the label files).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets.base import Boxes, Dataset, Problem
from data.datasets.files import (
    find_image,
    is_inside,
    label_path,
    list_images,
    read_classes,
    read_lines,
    read_text,
    visible,
)
from data.errors import InputError
from data.taxonomy import KITTI, KITTI_LABELLED, common_classes

LOOKS = "training/image_2 with training/label_2"

# what a box may say beside class and place -> the value that stands for 'not said'
BEFORE_BOX: dict[str, float] = {"truncated": -1, "occluded": -1, "alpha": -10}
BEHIND_BOX: dict[str, float] = {
    "height_m": -1, "width_m": -1, "length_m": -1,
    "x_m": -1000, "y_m": -1000, "z_m": -1000, "rotation_y": -10,
}  # fmt: skip
_UNSAID = BEFORE_BOX | BEHIND_BOX


def recognises(root: Path) -> bool:
    return any((root / "training" / f).is_dir() for f in ("image_2", "label_2"))


def splits(root: Path) -> tuple[str, ...]:
    """Those of ``ImageSets``; without it one labelled part, which answers to any name."""
    return tuple(sorted(_lists(root))) or ("all",)


def _lists(root: Path) -> dict[str, Path]:
    return {p.stem: p for p in visible((root / "ImageSets").glob("*.txt"))}


def parse_numbers(text: str, first: int = 0) -> tuple[str, list[float]]:
    """Type and the 14 numbers behind it of a label line whose type stands at column ``first``.

    Raises:
        ValueError: too few columns, or one that is no finite number.
    """
    part = text.split()
    if len(part) < first + 15:
        raise ValueError(f"expected a type and 14 numbers, given {max(len(part) - first, 0)} words")
    number = [float(v) for v in part[first + 1 : first + 15]]
    if not all(map(math.isfinite, number)):
        raise ValueError("expected finite numbers")
    return part[first], number


def parse_line(text: str, first: int = 0) -> tuple[str, list[float], dict[str, Any]]:
    """Class, box and attributes of a label line; see ``parse_numbers``."""
    name, number = parse_numbers(text, first)
    said = dict(zip((*BEFORE_BOX, *BEHIND_BOX), number[:3] + number[7:14]))
    more: dict[str, Any] = {k: v for k, v in said.items() if v != _UNSAID[k]}
    if "occluded" in more:
        more["occluded"] = int(more["occluded"])
    rest = text.split()[first + 15 :]
    with suppress(ValueError):  # what is behind a label's columns need not be a result's score
        more |= {"score": float(rest[0])} if rest and math.isfinite(float(rest[0])) else {}
    return name, number[3:7], more


def boxes_of(
    rows: Iterable[tuple[str, list[float], dict[str, Any]]],
    problems: Iterable[Problem],
    where: str,
    written: Mapping[str, str],
) -> Boxes:
    """Rows of ``parse_line`` as boxes; ``written`` gives names back as they were before '_'."""
    table = [(written.get(name, name), box, more) for name, box, more in rows]
    return Boxes(
        np.array([t[1] for t in table]),
        tuple(t[0] for t in table),
        np.array([KITTI.get(t[0], "") is None for t in table], bool),
        tuple(t[2] for t in table),
        tuple(problems),
        where=where,
    )


def parse_boxes(path: Path, written: Mapping[str, str] | None = None) -> Boxes:
    """Boxes of a label file; an unreadable line is a problem and left out."""
    rows, problems = [], []
    try:
        lines = read_text(path).splitlines()
    except InputError as e:
        lines, problems = [], [Problem("label_malformed", str(path), str(e).partition(": ")[2])]
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(parse_line(line))
        except ValueError as e:
            problems.append(Problem("label_malformed", f"{path}:{n}", f"{e}; line left out"))
    return boxes_of(rows, problems, str(path), written or {})


def class_tables(
    declared: tuple[str, ...], found: Callable[[], Iterable[str]]
) -> tuple[tuple[str, ...], dict[str, str | None], tuple[str, ...]]:
    """Class names, their map onto ours, and our classes that are labelled.

    A set of KITTI's own names is KITTI; any other labels what its names say.
    """
    if declared:
        common, labelled = common_classes(declared)
        return declared, {**common, **KITTI}, labelled
    names = tuple(found())
    if set(names) <= set(KITTI):
        return tuple(KITTI), KITTI, KITTI_LABELLED
    common, labelled = common_classes(names)
    return names, {**common, **KITTI}, labelled


def _types_in(folder: Path) -> Iterable[str]:
    """First words of all lines of all label files, in the order met."""
    found: dict[str, None] = {}
    for path in sorted(visible(folder.rglob("*.txt"))):
        for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
            part = line.split(None, 1)
            if part:
                found[part[0]] = None
    return found


def _frames(root: Path, split: str) -> tuple[Path, list[str], list[Problem]]:
    """Folder ('training' or 'testing') of a split, its image names, and lines left out."""
    part = root / "training"
    lists = _lists(root)
    if split in lists:
        ids, problems = [], []
        for line in read_lines(lists[split]):
            if is_inside(line):
                ids.append(line)
            else:
                text = f"'{line}' is no frame of the set; left out"
                problems.append(Problem("image_name", str(lists[split]), text))
        others = {i for s in lists if s in ("train", "val") for i in read_lines(lists[s])}
        # KITTI numbers its unlabelled test frames from 0 again, in a folder of their own
        if split == "test" and ((root / "testing/image_2").is_dir() or others & set(ids)):
            part = root / "testing"
        return part, [_image_name(part / "image_2", i) for i in dict.fromkeys(ids)], problems
    if (part / "image_2").is_dir():
        return part, list_images(part / "image_2"), []
    labels = sorted(visible((part / "label_2").rglob("*.txt")))
    return (
        part,
        [p.relative_to(part / "label_2").with_suffix(".png").as_posix() for p in labels],
        [],
    )


def _image_name(folder: Path, stem: str) -> str:
    path = find_image(folder, stem)
    return path.relative_to(folder).as_posix() if path else f"{stem}.png"


def open_split(root: Path, split: str) -> Dataset:
    """Read ``training/image_2`` with ``training/label_2`` and ``training/calib``."""
    part, names, problems = _frames(root, split)
    if not names:
        raise InputError(f"{root}: no frames in {part}/image_2 or {part}/label_2")
    labels = [label_path(part / "label_2", n) for n in names]
    calibs = [label_path(part / "calib", n) for n in names]
    classes, table, labelled = class_tables(
        read_classes(root), lambda: _types_in(root / "training/label_2")
    )
    written = {"_".join(c.split()): c for c in classes}

    def read_boxes(i: int) -> Boxes | None:
        return parse_boxes(labels[i], written) if os.path.isfile(labels[i]) else None

    return Dataset(
        "kitti",
        root,
        split,
        tuple(names),
        tuple(part / "image_2" / n for n in names),
        ("detection",) if any(map(os.path.isfile, labels)) else (),
        table,
        labelled,
        read_boxes,
        class_names=classes,
        problems=tuple(problems),
        calibs=tuple(p if os.path.isfile(p) else None for p in calibs),
        looked_for=str(labels[0]),
    )
