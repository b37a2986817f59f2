"""YOLO labels as Ultralytics reads them: a text file an image, a line an object.

A line is ``class cx cy width height`` in shares of the image (a sixth number is a score, or a
track's id where it is whole and above 1), or ``class x1 y1 x2 y2 x3 y3 ...``, a polygon, of which
the box around is taken. ``data.yaml`` names classes and splits, or Darknet's ``obj.data`` the
splits' lists; without them the folders ``images`` and ``labels`` and ``classes.txt`` do. Labels lie
where the last 'images' in an image's path becomes 'labels', without one beside the image; of the
path counts what is below the set's folder, where the image is in it. An image without a label file
has no objects, unless its whole split has none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets.base import Boxes, Dataset, Problem
from data.datasets.files import (
    IMAGE_SUFFIXES,
    clean_name,
    folders,
    has_images,
    image_size,
    label_path,
    list_images,
    read_lines,
    read_text,
    split_folders,
    visible,
)
from data.errors import InputError
from data.taxonomy import common_classes
from data.yaml_text import load_yaml

LOOKS = "data.yaml, obj.data, or images with labels/*.txt"

_USUAL = ("train", "val", "test")
_NEEDED = ("train", "val")  # others are often named without being there
_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml")
_NAME_FILES = ("classes.txt", "obj.names", "predefined_classes.txt")
_NO_SPLITS = ("path", "names", "nc", "download", "kpt_shape", "flip_idx", "yaml_file", "channels")
_LAST_CLASS = 65535
_SHARES_END = 2.0  # a share of the image beyond this is a pixel


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        table = load_yaml(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        mark = getattr(e, "problem_mark", None)
        where = f" line {mark.line + 1} column {mark.column + 1}:" if mark else ""
        why = getattr(e, "problem", None) or "not readable"
        raise InputError(f"{path}:{where} not valid YAML ({why}); mend it") from e
    if not isinstance(table, dict) or "names" not in table:
        raise InputError(f"{path}: expected names of the classes and folders of the splits")
    return table


def _yaml_of(root: Path) -> Path | None:
    for name in _YAML_NAMES:
        if (root / name).is_file():
            return root / name
    for path in sorted(visible((*root.glob("*.yaml"), *root.glob("*.yml")))):
        try:
            table = _read_yaml(path)
        except InputError:
            continue
        if any(s in table for s in _USUAL):
            return path
    return None


def _has_labels(folder: Path) -> bool:
    """Whether label files lie in a folder or below it."""
    found = folder.rglob("*.txt") if folder.is_dir() else iter(())
    return any(p.name not in _NAME_FILES for p in visible(found))


def _form(root: Path) -> str:
    if _yaml_of(root):
        return "yaml"
    if (root / "images").is_dir() and _has_labels(root / "labels"):
        return "labels"
    if any(_has_labels(root / s / "labels") for s in folders(root)):
        return "inside"
    if _darknet_places(root):
        return "darknet"
    named = any((root / n).is_file() for n in _NAME_FILES)
    return "flat" if named and has_images(root) else ""


def recognises(root: Path) -> bool:
    return bool(_form(root))


def splits(root: Path) -> tuple[str, ...]:
    form = _form(root)
    path = _yaml_of(root)
    if form == "yaml" and path is not None:
        return tuple(_places(path))
    if form == "labels":
        return split_folders(root / "images") or ("all",)
    if form == "inside":
        return tuple(s for s in folders(root) if (root / s / "images").is_dir())
    return tuple(_darknet_places(root)) if form == "darknet" else ("all",)


def _places(path: Path) -> dict[str, list[Path]]:
    """Folders and lists of each split that ``data.yaml`` names."""
    table = _read_yaml(path)
    bases = [path.parent]
    if isinstance(table.get("path"), str):
        bases.insert(0, path.parent / table["path"])
    found: dict[str, list[Path]] = {}
    for split, value in table.items():
        texts = value if isinstance(value, list) else [value]
        usable = [t for t in texts if isinstance(t, str) and t]
        if split in _NO_SPLITS or not usable or len(usable) < len(texts):
            continue
        places = [_resolve(bases, t) for t in usable]
        if split in _NEEDED or all(map(os.path.exists, places)):
            found[str(split)] = places
    return found


def _darknet_places(root: Path) -> dict[str, list[Path]]:
    """The list of each split that ``obj.data`` names, as CVAT's YOLO 1.1 has it."""
    path, found = root / "obj.data", {}
    for line in read_lines(path) if path.is_file() else ():
        key, _, text = (t.strip() for t in line.partition("="))
        place = _resolve([root], text)
        if key in ("train", "valid", "val", "test") and os.path.isfile(place):
            found[key] = [place]
    return found


def _resolve(bases: list[Path], text: str) -> Path:
    """A path of ``data.yaml`` or of a list; for what lies beside the file Roboflow writes
    '../train/images', CVAT 'data/images/train'."""
    texts = dict.fromkeys((text, text.replace("\\", "/")))  # as written on Windows
    ways = [t for p in texts for t in (p, p.removeprefix("../"), p.removeprefix("data/"))]
    tries = [base / t for base in bases for t in ways]
    return next((p for p in tries if os.path.exists(p)), tries[0])


def _class_name(value: object, path: Path) -> str:
    if isinstance(value, list | dict):  # aliases can make it endless
        raise InputError(f"{path}: names holds a list or table where a class's name is expected")
    return clean_name(value)


def _classes(root: Path) -> tuple[str, ...] | None:
    """Class names in the order of their numbers; None where nothing names them."""
    path = _yaml_of(root)
    if path is not None:
        names = _read_yaml(path)["names"]
        if isinstance(names, dict):
            try:
                by_number = {int(k): _class_name(v, path) for k, v in names.items()}
            except (TypeError, ValueError, OverflowError):
                raise InputError(f"{path}: names must go by numbers: 'names: {{0: car}}'") from None
            if not all(0 <= k <= _LAST_CLASS for k in by_number):
                raise InputError(f"{path}: names must go by numbers from 0 to {_LAST_CLASS}")
            return tuple(
                by_number.get(i, f"class {i}") for i in range(max(by_number, default=-1) + 1)
            )
        if isinstance(names, list):
            return tuple(_class_name(n, path) for n in names)
        raise InputError(f"{path}: names must be a list or a table of numbers and names")
    labels = root / "labels"
    file = _name_file(root) or _name_file(labels)
    files = [file] if file else [f for s in folders(labels) if (f := _name_file(labels / s))]
    named = [tuple(clean_name(line) for line in read_lines(f)) for f in files]
    for file, given in zip(files, named):
        if given != named[0]:
            text = "number the classes differently; write one classes.txt beside images"
            raise InputError(f"{files[0]} and {file} {text}")
    return named[0] if named else None


def _name_file(folder: Path) -> Path | None:
    return next((folder / n for n in _NAME_FILES if (folder / n).is_file()), None)


def parse_line(
    text: str, count: int | None, only_box: bool
) -> tuple[int, list[float], dict[str, Any]]:
    """Class number, box cx, cy, w, h in shares of the image, and what else a line says: 'score',
    'track_id', or 'polygon', (n, 2) shares of the image.

    Args:
        count: of the class names, None if unknown; only_box: what follows the box are key points.

    Raises:
        ValueError: what is wrong with the line.
    """
    part = text.split()
    if only_box:
        part = part[:5]
    try:
        value = [float(v) for v in part]
        number = int(value[0])
    except (ValueError, OverflowError, IndexError):
        raise ValueError("expected numbers alone: class cx cy width height") from None
    if number != value[0] or number < 0:
        raise ValueError(f"class must be a whole number from 0, given {part[0]}")
    if count is not None and number >= count:
        raise ValueError(f"class {number}, but only {count} are named (0 to {count - 1})")
    track = len(value) == 6 and value[5] > 1 and value[5].is_integer()
    shares = value[1:5] if track else value[1:]
    if not np.isfinite(value).all() or max(np.abs(shares), default=0) > _SHARES_END:
        raise ValueError("values are shares of the image, 0 to 1; divide pixels by its size")
    if track:
        return number, shares, {"track_id": int(value[5])}
    if len(value) in (5, 6):
        return number, value[1:5], {"score": value[5]} if len(value) == 6 else {}
    if len(value) < 7 or len(value) % 2 == 0:
        raise ValueError(f"expected 5 numbers, or a class and a polygon, given {len(value)}")
    at = np.array(value[1:]).reshape(-1, 2)
    low, high = at.min(0), at.max(0)
    return number, [*((low + high) / 2).tolist(), *(high - low).tolist()], {"polygon": at}


def parse_boxes(
    path: Path, size_px: tuple[int, int], names: tuple[str, ...] | None, only_box: bool = False
) -> Boxes:
    """Boxes of a label file of an image of ``size_px``; no file means no objects."""
    xyxy, found, attributes, problems = [], [], [], []
    lines: list[str] = []
    if os.path.isfile(path):
        try:
            lines = read_text(path).splitlines()
        except InputError as e:
            problems.append(Problem("label_malformed", str(path), str(e).partition(": ")[2]))
    width, height = size_px
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            number, (cx, cy, w, h), more = parse_line(line, len(names) if names else None, only_box)
        except ValueError as e:
            problems.append(Problem("label_malformed", f"{path}:{n}", f"{e}; line left out"))
            continue
        xyxy.append(
            (
                (cx - w / 2) * width,
                (cy - h / 2) * height,
                (cx + w / 2) * width,
                (cy + h / 2) * height,
            )
        )
        found.append(names[number] if names else str(number))
        polygon = more.pop("polygon", None)
        if polygon is not None:
            more["segmentation"] = [(polygon * size_px).ravel().tolist()]  # as COCO has it
        attributes.append(more)
    return Boxes(
        np.array(xyxy), tuple(found), np.zeros(len(found), bool), tuple(attributes),
        tuple(problems), where=str(path),
    )  # fmt: skip


def _images(root: Path, split: str) -> tuple[list[tuple[str, Path]], list[Problem]]:
    """Name and path of each image of a split, and lines of lists that were left out."""
    form = _form(root)
    path = _yaml_of(root)
    places = [root / "images" / split if split_folders(root / "images") else root / "images"]
    if form == "yaml" and path is not None:
        places = _places(path)[split]
    elif form == "darknet":
        places = _darknet_places(root)[split]
    elif form == "inside":
        places = [root / split / "images"]
    elif form == "flat":
        places = [root]
    found: dict[str, Path] = {}
    problems = []
    for k, (place, folder) in enumerate(zip(places, _apart(places))):
        inner = place / "images"  # Roboflow's and others' SPLIT/images, named by SPLIT alone
        for name, image in _in_place(inner if os.path.isdir(inner) else place):
            # two folders may hold files of the same name
            for free in (name, f"{folder}/{name}", f"{folder}/{k}/{name}"):
                if free not in found:
                    found[free] = image
                    break
                if os.path.realpath(found[free]) == os.path.realpath(image):
                    text = f"image {free} was listed before; left out"
                    problems.append(Problem("image_twice", str(place), text))
                    break
    return list(found.items()), problems


def _apart(places: list[Path]) -> list[str]:
    """What tells the folders or lists of a split apart: their paths below a common folder."""
    whole = [Path(os.path.abspath(p)) for p in places]
    common = _common_folder(whole)
    short = [p.relative_to(common).as_posix().removesuffix("/images") for p in whole]
    return [os.path.splitext(s)[0] if os.path.isfile(p) else s for s, p in zip(short, places)]


def _in_place(place: Path) -> list[tuple[str, Path]]:
    if os.path.isdir(place):
        return [(n, place / n) for n in list_images(place)]
    if place.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(place):
        return [(place.name, place)]
    if not os.path.isfile(place):
        raise InputError(f"{place}: no such folder or list of images")
    lines = [line.strip() for line in read_lines(place)]
    paths = [_resolve([place.parent], line) for line in lines]
    whole = [p.absolute() for p in paths]  # lines may be relative or not
    common = _common_folder(whole)
    return [(w.relative_to(common).as_posix(), p) for w, p in zip(whole, paths)]


def _common_folder(paths: list[Path]) -> Path:
    parents = [p.parent.parts for p in paths]
    shared = min(parents, key=len, default=())
    for parts in parents:
        same = [a == b for a, b in zip(shared, parts)]
        shared = shared[: same.index(False) if False in same else len(shared)]
    return Path(*shared)


def labels_of(image: Path, root: Path) -> Path:
    """Where the labels of an image lie, whose set is in the folder ``root``."""
    parts, base = list(image.parent.parts), root.absolute().parts
    whole = image.parent.absolute().parts
    above = len(base) if whole[: len(base)] == base else 0  # parts that are none of the set's
    below = whole[above:]
    if "images" in below:
        parts[-1 - below[::-1].index("images")] = "labels"
    return label_path(Path(*parts), image.name)


def _has_key_points(root: Path) -> bool:
    path = _yaml_of(root)
    return path is not None and "kpt_shape" in _read_yaml(path)


def open_split(root: Path, split: str) -> Dataset:
    """Read the images of a split with their label files.

    Raises:
        InputError: ``data.yaml`` cannot be read, or names what is not there.
    """
    images, problems = _images(root, split)
    labels = [labels_of(path, root) for _, path in images]
    names = _classes(root)
    if names is None:
        text = "no data.yaml or classes.txt names the classes; they are called '0', '1', ..."
        problems.append(Problem("names_missing", str(root), text))
    only_box = _has_key_points(root)

    def read_boxes(i: int) -> Boxes | None:
        try:
            size = image_size(images[i][1])
        except InputError as e:
            problem = Problem(
                "image_missing",
                str(images[i][1]),
                f"{str(e).partition(': ')[2]}; its boxes need its size",
            )
            return Boxes(np.zeros((0, 4)), (), np.zeros(0, bool), (), (problem,))
        return parse_boxes(labels[i], size, names, only_box)

    class_map, labelled = common_classes(names or ())
    return Dataset(
        "yolo",
        root,
        split,
        tuple(n for n, _ in images),
        tuple(p for _, p in images),
        ("detection",) if any(map(os.path.isfile, labels)) else (),
        class_map,
        labelled,
        read_boxes,
        class_names=names or (),
        problems=tuple(problems),
        looked_for=str(labels[0]) if labels else "",
    )
