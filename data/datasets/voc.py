"""Pascal VOC boxes (Everingham et al. 2010) as XML, one file an image.

Read are the devkit's folders (``Annotations``, ``JPEGImages``, ``ImageSets/Main/SPLIT.txt``; IDD
Detection has its lists, ``train.txt`` and so on, beside the folders),
``images/SPLIT`` with ``labels/SPLIT``, and XML files beside their images, in the root or in a
folder for each split.

Pascal VOC itself counts pixels from 1 with both ends inside; files that name its database as
their source are brought to edges (xmin - 1, ymin - 1, xmax, ymax). Other tools write edges from 0
in the same fields, so all other files are taken as they stand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from data.datasets.base import Boxes, Dataset, Problem
from data.datasets.files import (
    bare_name,
    clean_name,
    find_image,
    folders,
    has_images,
    is_inside,
    is_true,
    list_images,
    read_classes,
    read_lines,
    split_folders,
    visible,
)
from data.errors import InputError
from data.taxonomy import CARLA, CARLA_LABELLED, common_classes

LOOKS = "Annotations/*.xml with JPEGImages, or labels/SPLIT/*.xml with images/SPLIT"

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = ("truncated", "occluded", "difficult")
_TAKEN = (*_FLAGS, "id", "area", "crowd", "iscrowd", "ignore", "ignored", "segmentation")
_SPLITS = ("train", "val", "trainval", "test")
_DEVKIT = re.compile(r"The VOC\d{4} Database")


def _has_xml(folder: Path) -> bool:
    return any(visible(folder.glob("*.xml")))


def _form(root: Path) -> str:
    """Which of the arrangements a folder has: 'devkit', 'labels', 'beside', 'flat' or ''."""
    if any(visible((root / "Annotations").rglob("*.xml"))):
        return "devkit"
    if any(visible((root / "labels").rglob("*.xml"))) and (root / "images").is_dir():
        return "labels"
    if any(_has_xml(root / s) and has_images(root / s) for s in folders(root)):
        return "beside"
    return "flat" if _has_xml(root) and has_images(root) else ""


def recognises(root: Path) -> bool:
    return bool(_form(root))


def splits(root: Path) -> tuple[str, ...]:
    form = _form(root)
    if form == "devkit":
        return tuple(_lists(root)) or ("all",)
    if form == "labels":
        return split_folders(root / "images") or ("all",)
    if form == "beside":
        return tuple(s for s in folders(root) if _has_xml(root / s))
    return ("all",)


def _lists(root: Path) -> dict[str, Path]:
    """Lists of images by split, without the devkit's lists for each class (CLASS_SPLIT.txt)."""
    found = {p.stem: p for p in sorted(visible((root / "ImageSets/Main").glob("*.txt")))}
    if not found:
        return {s: p for s in _SPLITS if _is_list(p := root / f"{s}.txt")}

    def of_a_class(stem: str) -> bool:
        lines = read_lines(found[stem]) if stem.rpartition("_")[2] in found else []
        return "_" in stem and bool(lines) and lines[0].split()[-1] in ("-1", "0", "1")

    return {s: p for s, p in found.items() if not of_a_class(s)}


def _is_list(path: Path) -> bool:
    """Whether a file lists images by their names without ending (others list YOLO's paths)."""
    first = next(iter(read_lines(path)), "").strip() if path.is_file() else ""
    return is_inside(first) and bare_name(first) == first


def parse_boxes(path: Path) -> Boxes:
    """Boxes of an annotation file; an object that cannot be read is a problem and left out.

    'difficult' objects are to be ignored.
    """
    try:
        tree = ElementTree.parse(path).getroot()
    except (OSError, ValueError, LookupError, ElementTree.ParseError) as e:
        text = f"not readable as XML ({e}); export it again"
        problem = Problem("label_malformed", str(path), text)
        return Boxes(np.zeros((0, 4)), (), np.zeros(0, bool), (), (problem,), where=str(path))
    xyxy, names, attributes, problems = [], [], [], []
    for k, obj in enumerate(tree.iter("object")):
        name = clean_name(obj.findtext("name") or "")
        try:
            box = [float(obj.findtext(f"bndbox/{s}", "")) for s in _CORNERS]
            if not name or not np.isfinite(box).all():
                raise ValueError
        except ValueError:
            text = f"object {k} '{name}' needs a name and bndbox with four numbers; left out"
            problems.append(Problem("label_malformed", str(path), text))
            continue
        xyxy.append(box)
        names.append(name)
        attributes.append(_attributes(obj))
    boxes = np.array(xyxy).reshape(-1, 4)
    if _DEVKIT.search(tree.findtext("source/database") or ""):
        boxes -= (1, 1, 0, 0)
    ignore = np.array([bool(a.get("difficult")) for a in attributes], bool)
    return Boxes(
        boxes, tuple(names), ignore, tuple(attributes), tuple(problems), _size(tree), str(path),
        others=sum(1 for _ in tree.iter("part")),
    )  # fmt: skip


def _attributes(obj: ElementTree.Element) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for flag in _FLAGS:
        text = (obj.findtext(flag) or "").strip()
        if text:
            said[flag] = is_true(text)
    pose = (obj.findtext("pose") or "").strip()
    said |= {"pose": pose} if pose not in ("", "Unspecified") else {}
    for a in obj.iterfind("attributes/attribute"):  # CVAT's
        key, value = (clean_name(a.findtext(tag) or "") for tag in ("name", "value"))
        if key and key.lower() not in _TAKEN:
            said.setdefault(key, value)
    return said


def _size(tree: ElementTree.Element) -> tuple[int, int] | None:
    try:
        width, height = (int(float(tree.findtext(f"size/{s}", ""))) for s in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _names_in(folder: Path) -> Iterable[str]:
    """Class names of all annotation files below a folder, in the order met."""
    found: dict[str, None] = {}
    for path in sorted(visible(folder.rglob("*.xml"))):
        try:
            tree = ElementTree.parse(path)
        except (OSError, ValueError, LookupError, ElementTree.ParseError):
            continue  # said when its labels are read
        for obj in tree.iter("object"):
            found[clean_name(obj.findtext("name") or "")] = None
    return [n for n in found if n]


def _pairs(root: Path, split: str) -> tuple[list[tuple[str, Path, Path]], list[Problem]]:
    """Name, image and annotation file of each image of a split."""
    form = _form(root)
    if form == "devkit":
        return _devkit_pairs(root, split)
    images, labels = root, root
    if form == "labels":
        some = split if split_folders(root / "images") else ""
        images, labels = root / "images" / some, root / "labels" / some
    elif form == "beside":
        images = labels = root / split
    names = list_images(images)
    pairs = [(n, images / n, (labels / n).with_suffix(".xml")) for n in names]
    return pairs, _without_image(labels, {p[2] for p in pairs})


def _without_image(labels: Path, used: set[Path]) -> list[Problem]:
    return [
        Problem("image_missing", str(p), "no image of this name; its labels are left out")
        for p in sorted(visible(labels.rglob("*.xml")))
        if p not in used
    ]


def _devkit_pairs(root: Path, split: str) -> tuple[list[tuple[str, Path, Path]], list[Problem]]:
    images, labels = root / "JPEGImages", root / "Annotations"
    images = images if images.is_dir() else root / "images"
    lists = _lists(root)
    if split not in lists:
        pairs = [(n, images / n, (labels / n).with_suffix(".xml")) for n in list_images(images)]
        return pairs, _without_image(labels, {p[2] for p in pairs})
    pairs, problems = [], []
    for line in dict.fromkeys(read_lines(lists[split])):
        found = find_image(images, line)
        stem = line if found else line.strip()
        path = found or find_image(images, stem) or images / f"{stem}.jpg"
        if not is_inside(stem):
            text = f"'{stem}' is no image of the set; left out"
            problems.append(Problem("image_name", str(lists[split]), text))
            continue
        pairs.append((path.relative_to(images).as_posix(), path, labels / f"{stem}.xml"))
    return pairs, problems


def open_split(root: Path, split: str) -> Dataset:
    """Read the images of a split with their annotation files; an image without one has unknown
    boxes. Which of our classes are labelled follows from the names in all files of the set."""
    pairs, problems = _pairs(root, split)
    if not pairs:
        raise InputError(f"{root}: split '{split}' lists no images")
    found = _names_in(root)
    names = tuple(dict.fromkeys((*read_classes(root), *found)))
    table, labelled = common_classes(names)
    if "motobike" in names and set(names) <= set(CARLA):  # that set's own spelling
        table, labelled = CARLA, CARLA_LABELLED

    def read_boxes(i: int) -> Boxes | None:
        path = pairs[i][2]
        return parse_boxes(path) if os.path.isfile(path) else None

    return Dataset(
        "voc",
        root,
        split,
        tuple(p[0] for p in pairs),
        tuple(p[1] for p in pairs),
        ("detection",) if any(os.path.isfile(p[2]) for p in pairs) else (),
        table,
        labelled,
        read_boxes,
        class_names=names,
        problems=tuple(problems),
        looked_for=str(pairs[0][2]),
    )
