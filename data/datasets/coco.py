"""COCO boxes (Lin et al. 2014): one JSON file a split.

Read are ``annotations/instances_SPLIT.json`` with images in ``SPLIT``, ``images/SPLIT`` or
``images``; Roboflow's ``SPLIT/_annotations.coco.json`` beside its images; and a single file in the
root or in ``annotations``. Boxes are x, y, width, height in the file. An image without annotations
has no objects; crowds are areas to ignore.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets.base import Boxes, Dataset, Problem
from data.datasets.files import clean_name, folders, is_inside, is_true, numbers, read_json, visible
from data.errors import InputError
from data.taxonomy import common_classes

LOOKS = "annotations/instances_SPLIT.json, SPLIT/_annotations.coco.json, or one COCO file"

_ROBOFLOW = "_annotations.coco.json"
_SPLIT_NAMES = ("train", "val", "valid", "test")
_NAMELESS = ("all", "default")
_SNIFF = 1 << 20  # bytes of a file's start and end, enough to know it by its keys
_OF_BOX = ("image_id", "category_id", "bbox", "attributes")
_OF_IMAGE = ("id", "file_name", "width", "height", "attributes")


def _is_coco(path: Path) -> bool:
    """Whether a JSON file is one object with COCO's keys, without parsing it whole."""
    try:
        with path.open("rb") as f:
            text = f.read(_SNIFF)
            size = path.stat().st_size
            if size > _SNIFF:
                f.seek(max(_SNIFF, size - _SNIFF))
                text += f.read()
    except OSError:
        return False
    keys = sum(k in text for k in (b'"images"', b'"annotations"', b'"categories"'))
    return text.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" and keys >= (3 if size <= _SNIFF else 2)


def _files(root: Path) -> dict[str, Path]:
    """Annotation file of each split; the key 'all' stands for a set that has but one."""
    listed = sorted(visible((root / "annotations").glob("instances_?*.json")))
    found = {p.stem[10:]: p for p in listed}
    if not found:
        found = {s: root / s / _ROBOFLOW for s in folders(root) if (root / s / _ROBOFLOW).is_file()}
    if not found:
        several = (sorted(visible(f.glob("*.json"))) for f in (root / "annotations", root))
        names = [p for paths in several for p in paths]
        found = {p.stem: p for p in names if p.name == _ROBOFLOW or _is_coco(p)}
        if len(found) == 1 and not set(found) & set(_SPLIT_NAMES):
            return {"all": next(iter(found.values()))}
    if len(found) == 1 and set(found) <= set(_NAMELESS):
        return {"all": next(iter(found.values()))}
    return found


def recognises(root: Path) -> bool:
    return bool(_files(root))


def splits(root: Path) -> tuple[str, ...]:
    return tuple(_files(root))


def parse_boxes(
    annotations: Iterable[tuple[int, Mapping[str, Any]]],
    categories: Mapping[Any, str],
    where: str,
    size_px: tuple[int, int] | None = None,
) -> Boxes:
    """Boxes of one image's annotations, each with its place in the file."""
    xyxy, names, ignore, attributes, problems = [], [], [], [], []
    for k, a in annotations:
        try:
            x, y, w, h = _bbox(a)
            category = a["category_id"]
            name = categories.get(category, f"category {category}")
            more = dict(a.get("attributes") or {})
        except (KeyError, TypeError, ValueError) as e:
            why = f"no {e}" if isinstance(e, KeyError) else str(e)
            text = f"annotation {k}: {why}; needs category_id and bbox [x, y, w, h]; left out"
            problems.append(Problem("label_malformed", where, text))
            continue
        xyxy.append((x, y, far_edge(x, w), far_edge(y, h)))
        names.append(name)
        ignore.append(is_true(a.get("iscrowd")) or is_true(a.get("ignore")))
        attributes.append({k: v for k, v in a.items() if k not in _OF_BOX} | more)
    return Boxes(
        np.array(xyxy), tuple(names), np.array(ignore, bool), tuple(attributes), tuple(problems),
        size_px, where,
    )  # fmt: skip


def far_edge(near: float, extent: float) -> float:
    """Their sum; where only binary rounding keeps it from a number of nine decimals, that."""
    total = near + extent
    short = round(total, 9)
    return short if abs(short - total) <= 1e-15 * max(abs(near), abs(total), abs(extent)) else total


def _bbox(a: Mapping[str, Any]) -> list[float]:
    """The bbox, or where there is none the one around the polygons."""
    polygons = a.get("segmentation")
    if a.get("bbox") in (None, []) and isinstance(polygons, list) and polygons:
        flat = [v for polygon in polygons for v in polygon]
        at = np.array(numbers(flat, len(flat))).reshape(-1, 2)
        low, high = at.min(0), at.max(0)
        return [*low.tolist(), *(high - low).tolist()]
    return numbers(a["bbox"], 4)


def _is_id(key: object) -> bool:
    """A number or text; whole numbers may come as 1.0, as table programs write them."""
    return isinstance(key, int | str) or (isinstance(key, float) and key.is_integer())


def _load(path: Path) -> dict[str, Any]:
    table = read_json(path)
    if not isinstance(table, dict) or not isinstance(table.get("images"), list):
        raise InputError(f"{path}: expected COCO's object with lists images and annotations")
    for key in ("annotations", "categories"):
        if not isinstance(table.get(key, []), list):
            raise InputError(f"{path}: '{key}' must be a list")
    return table


def _categories(table: Mapping[str, Any], path: Path) -> tuple[dict[Any, str], list[Problem]]:
    names: dict[Any, str] = {}
    problems = []
    for k, c in enumerate(table.get("categories", [])):
        key = c.get("id") if isinstance(c, dict) else None
        name = clean_name(c.get("name") or "") if isinstance(c, dict) else ""
        if not _is_id(key) or not name or key in names:
            text = f"category {k} needs an id of its own and a name; left out"
            problems.append(Problem("label_malformed", str(path), text))
        else:
            names[key] = name
    return names, problems


def _images(
    table: Mapping[str, Any], path: Path, found: Mapping[str, Any]
) -> tuple[dict[str, Mapping[str, Any]], dict[Any, str], list[Problem]]:
    """Entry of each image by its given name, of those ``found``, image id -> name, and entries left
    out."""
    entries: dict[str, Mapping[str, Any]] = {}
    name_of: dict[Any, str] = {}
    problems = []
    for k, image in enumerate(table["images"]):
        name = image.get("file_name") if isinstance(image, dict) else None
        key = image.get("id") if isinstance(image, dict) else None
        if not isinstance(name, str) or not _is_id(key) or not name.strip():
            text = f"image {k} needs an id and a file_name; left out"
            problems.append(Problem("label_malformed", str(path), text))
        elif name not in found:
            text = f"image {k}: file_name '{name}' leads out of the set; give it relative to it"
            problems.append(Problem("image_name", str(path), text))
        elif name_of.setdefault(key, name) != name:
            text = f"image {k}: id {key} stands for {name_of[key]} too; {name} is left out"
            problems.append(Problem("image_twice", str(path), text))
        elif name in entries:
            text = f"image {k}: {name} was listed before; their annotations are joined"
            problems.append(Problem("image_twice", str(path), text))
        else:
            entries[name] = image
    return entries, name_of, problems


def _annotations(
    table: Mapping[str, Any], name_of: Mapping[Any, str], path: Path
) -> tuple[dict[str, list[tuple[int, Mapping[str, Any]]]], list[Problem]]:
    """Annotations of each image by its name, and those of no image."""
    found: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    problems = []
    for k, a in enumerate(table.get("annotations", [])):
        key = a.get("image_id") if isinstance(a, dict) else None
        if _is_id(key) and key in name_of:
            found.setdefault(name_of[key], []).append((k, a))
        else:
            text = f"annotation {k}: image_id {key} is no image of the file; left out"
            problems.append(Problem("label_malformed", str(path), text))
    return found, problems


def _undeclared(
    annotations: Mapping[str, list[tuple[int, Mapping[str, Any]]]], categories: Mapping[Any, str]
) -> list[str]:
    """What ``parse_boxes`` calls categories that annotations name and the file does not."""
    met = (a.get("category_id") for rows in annotations.values() for _, a in rows)
    return [f"category {c}" for c in dict.fromkeys(filter(_is_id, met)) if c not in categories]


def _usual_folders(root: Path, split: str, path: Path) -> list[Path]:
    """Where the images of the annotation file ``path`` may be."""
    here = path.parent
    nested = [root / split, root / "images" / split, here / "images" / split, here / split]
    usual = [*nested, root / "images", here / "images", here, root]
    if here.name == "annotations":
        usual += [root / path.stem[10:], root / "images" / path.stem[10:]]
    return usual


def _find_images(given: list[str], usual: list[Path]) -> dict[str, tuple[str, Path]]:
    """Name and path of each image by its given file name.

    The folder is that of the ``usual`` ones with most of the first files. Of an image that is not
    there, or whose name leads out of the set (of a server's own folders), the last part is looked
    for in all of them, and taken where just one file has it. Other names that lead out are left
    out; other files that are missing stay listed.
    """
    first = [n for n in given[:: max(1, len(given) // 20)] if is_inside(n)]
    folder = max(usual, key=lambda f: sum(os.path.isfile(f / n) for m in first for n in _ways(m)))
    last_of = {n: n.replace("\\", "/").rpartition("/")[2] for n in given}
    count = Counter(last_of.values())
    found: dict[str, tuple[str, Path]] = {}
    for key, last in last_of.items():
        ways = [n for n in _ways(key) if is_inside(n)]
        here = next((n for n in ways if os.path.isfile(folder / n)), None)
        if here is not None:
            found[key] = here, folder / here
            continue
        hits = [p for f in usual if count[last] == 1 and os.path.isfile(p := f / last)]
        if len(set(map(os.path.realpath, hits))) == 1:
            found[key] = last, hits[0]
        elif ways:
            found[key] = ways[-1], folder / ways[-1]
    return found


def _ways(name: str) -> list[str]:
    """A file name as given and as it lies in a folder: one written on Windows has '\\' for '/'."""
    return list(dict.fromkeys((name, name.replace("\\", "/"))))


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = entry.get("width"), entry.get("height")
    if not isinstance(width, int) or not isinstance(height, int) or width < 1 or height < 1:
        return None
    return width, height


def open_split(root: Path, split: str) -> Dataset:
    """Read a split's annotation file and find its images; those that are missing stay listed.

    Raises:
        InputError: the file is no COCO file; names the place.
    """
    files = _files(root)
    path = files["all"] if "all" in files else files[split]
    table = _load(path)
    categories, problems = _categories(table, path)
    given = [i.get("file_name") for i in table["images"] if isinstance(i, dict)]
    usable = dict.fromkeys(n for n in given if isinstance(n, str) and n.strip())
    found = _find_images(list(usable), _usual_folders(root, split, path))
    entries, name_of, wrong = _images(table, path, found)
    annotations, lost = _annotations(table, name_of, path)
    keys = list(entries)
    names = [found[k][0] for k in keys]

    def read_boxes(i: int) -> Boxes | None:
        mine = annotations.get(keys[i], [])
        return parse_boxes(mine, categories, f"{path}: image {names[i]}", _size(entries[keys[i]]))

    def frame_attributes(i: int) -> Mapping[str, Any]:
        more = entries[keys[i]].get("attributes")
        rest = {k: v for k, v in entries[keys[i]].items() if k not in _OF_IMAGE}
        return (more if isinstance(more, dict) else {}) | rest

    classes = tuple(dict.fromkeys((*categories.values(), *_undeclared(annotations, categories))))
    class_map, labelled = common_classes(classes)
    return Dataset(
        "coco",
        root,
        split,
        tuple(names),
        tuple(found[k][1] for k in keys),
        ("detection",) if "annotations" in table else (),
        class_map,
        labelled,
        read_boxes,
        class_names=classes,
        problems=(*problems, *wrong, *lost),
        frame_attributes=frame_attributes,
        image_ids=_whole([entries[k]["id"] for k in keys]),
        category_ids=dict(zip(categories.values(), _whole(list(categories)))),
    )


def _whole(ids: list[Any]) -> tuple[int, ...]:
    """Ids where all are whole numbers from 0, else none."""
    good = all(isinstance(k, int) and not isinstance(k, bool) and k >= 0 for k in ids)
    return tuple(ids) if good else ()
