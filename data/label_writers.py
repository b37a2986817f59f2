"""Boxes written as COCO, YOLO, Pascal VOC, KITTI object and BDD100K, each in the layout that its
reader in ``data.datasets`` reads back.

BDD100K, VOC and KITTI hold coordinates exactly, COCO too but, for numbers with more than nine
decimals, the last bit of x + width (1e-13 px); YOLO's shares of the image are written with ten
decimals, within 1e-6 px. What a format has no place for is counted, never dropped in silence.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard
from xml.etree import ElementTree

import numpy as np

from data.datasets.base import Boxes
from data.datasets.bdd100k import FRAME_KEYS
from data.datasets.coco import far_edge
from data.datasets.files import bare_name, clean_name, is_true, label_path
from data.datasets.kitti import BEFORE_BOX, BEHIND_BOX
from data.errors import InputError
from data.taxonomy import BDD100K_NAMES, BDD100K_UNSURE, KITTI

OF_BOXES = "attribute of boxes: "
# Stands for the class of an area to ignore that may hide an object of any class; no reader gives
# names with a control character.
ANY = "\0any"
_IGNORE_FLAGS = ("iscrowd", "ignore", "crowd", "ignored", "difficult")
_COCO_IMAGE = ("license", "flickr_url", "coco_url", "date_captured")
_COCO_BOX = ("segmentation", "keypoints", "num_keypoints", "score", "track_id", "ignore")
_YOLO_SPLITS = ("train", "val", "test")
_SCALABEL_BOX = ("poly2d", "box3d", "rle", "score", "manualShape", "manualAttributes")


@dataclass(frozen=True, eq=False)
class Item:
    """One image with its boxes, to be written.

    Attributes:
        name: POSIX path within its split; image: the picture's file.
        size_px: width and height, None where nothing tells.
        boxes: None where the image has no box labels, ``ANY`` among their names where an area is
            to be ignored for all classes; frame: what is said of the whole image.
        number: the image's own whole number, None where it has none.
    """

    name: str
    image: Path
    size_px: tuple[int, int] | None
    boxes: Boxes | None
    frame: Mapping[str, Any]
    number: int | None = None


Splits = Mapping[str, Sequence[Item]]


def _rows(
    boxes: Boxes | None, classes: Sequence[str] = (ANY,)
) -> list[tuple[list[float], str, bool, dict[str, Any]]]:
    """Box, class, whether to ignore it, attributes; an area of any class once for each given."""
    if boxes is None:
        return []
    parts = zip(boxes.xyxy.tolist(), boxes.names, boxes.ignore.tolist(), boxes.attributes)
    return [
        (box, each, ignore, dict(more))
        for box, name, ignore, more in parts
        for each in (classes if name == ANY else (name,))
    ]


def _count_lost(
    lost: Counter[str], more: Mapping[str, Any], ignore: bool, held: Sequence[str]
) -> None:
    """Count attributes that a format cannot hold; ids, areas and flags that repeat ``ignore``
    are no loss."""
    for key, value in more.items():
        repeats = key in _IGNORE_FLAGS and is_true(value) == ignore
        if key not in (*held, "id", "area") and not repeats and value not in (None, [], ""):
            lost[f"{OF_BOXES}{key}"] += 1


def _count_frames(lost: Counter[str], items: Sequence[Item]) -> None:
    said = sorted({key for item in items for key in item.frame})
    if said:
        lost[f"attributes of images ({', '.join(said)})"] += sum(bool(i.frame) for i in items)


def _text(value: float) -> str:
    """A number without loss: the shortest text that reads back the same."""
    return (
        str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _extent(low: float, high: float) -> float:
    """The width with the fewest decimals that the reader takes back to ``high``, if one does."""
    width = high - low
    near = [round(width, digits) for digits in range(16)]
    near += [math.nextafter(width, -math.inf), math.nextafter(width, math.inf)]
    return next((w for w in near if far_edge(low, w) == high), width)


def write_coco(
    out: Path, splits: Splits, classes: Sequence[str], category_ids: Mapping[str, int] | None = None
) -> Counter[str]:
    """``annotations/instances_SPLIT.json`` with images in ``images/SPLIT``; an area to ignore is
    a crowd. Images keep their numbers where all of a split have one of their own, and classes
    theirs where ``category_ids`` gives them."""
    category = category_ids or {name: k for k, name in enumerate(classes, 1)}
    for split, items in splits.items():
        used: set[int] = set()
        images, annotations = [], []
        numbers = [item.number for item in items if item.number is not None]
        if len(set(numbers)) < len(items):
            numbers = list(range(1, len(items) + 1))
        for image_id, item in zip(numbers, items):
            size = dict(zip(("width", "height"), item.size_px or ()))
            images.append({"id": image_id, "file_name": item.name, **size, **_sorted_out(item)})
            for box, name, ignore, more in _rows(item.boxes, classes):
                annotations.append(_annotation(box, category[name], ignore, more, image_id, used))
        spare = max(used, default=0)
        for a in annotations:
            if a["id"] is None:
                spare += 1
                a["id"] = spare
        categories = [{"id": category[name], "name": name} for name in classes]
        table = {"images": images, "annotations": annotations, "categories": categories}
        _write(out / f"annotations/instances_{split}.json", json.dumps(table) + "\n")
    return Counter()


def _sorted_out(item: Item) -> dict[str, Any]:
    known = {k: v for k, v in item.frame.items() if k in _COCO_IMAGE}
    rest = {k: v for k, v in item.frame.items() if k not in known}
    return known | ({"attributes": rest} if rest else {})


def _annotation(
    box: list[float], category: int, ignore: bool, more: dict[str, Any], image_id: int,
    used: set[int],
) -> dict[str, Any]:  # fmt: skip
    """One annotation; its id is None where the given one is no number from 1 or is taken (COCO's
    own scorer takes 0 for 'unmatched')."""
    x1, y1, x2, y2 = box
    bbox = [x1, y1, _extent(x1, x2), _extent(y1, y2)]
    given = more.pop("id", None)
    key = (
        int(given) if isinstance(given, str) and re.fullmatch("[1-9][0-9]{0,15}", given) else given
    )
    if not isinstance(key, int) or isinstance(key, bool) or key < 1 or key in used:
        key = None
        more = {"id": given, **more} if given is not None else more
    else:
        used.add(key)
    area = more.pop("area", bbox[2] * bbox[3])
    crowd = int(is_true(more.pop("iscrowd", ignore)))
    if (crowd or is_true(more.get("ignore"))) != ignore:
        crowd = int(ignore)
    top = {k: more.pop(k) for k in _COCO_BOX if k in more}
    found = {"id": key, "image_id": image_id, "category_id": category, "bbox": bbox}
    found |= {"area": area, "iscrowd": crowd, **top}
    return found | ({"attributes": more} if more else {})


def write_bdd100k(out: Path, splits: Splits, classes: Sequence[str]) -> Counter[str]:
    """``labels/det_20/det_SPLIT.json`` with images in ``images/100k/SPLIT``; classes other than
    the ten of det_20 are declared in Scalabel's form, {frames, config}."""
    lost: Counter[str] = Counter()
    for split, items in splits.items():
        frames = []
        for item in items:
            if item.boxes is None:
                continue  # an image without an entry has no labels
            top = {k: item.frame[k] for k in FRAME_KEYS if k in item.frame}
            rest = {k: v for k, v in item.frame.items() if k not in top}
            rows = enumerate(_rows(item.boxes, classes))
            labels = [_label(k, *row, lost) for k, row in rows]
            frames.append({"name": item.name, **top, "attributes": rest, "labels": labels})
        table: Any = frames
        if tuple(classes) != BDD100K_NAMES:
            table = {"frames": frames, "config": {"categories": [{"name": c} for c in classes]}}
        _write(out / f"labels/det_20/det_{split}.json", json.dumps(table) + "\n")
    return lost


def _label(
    k: int, box: list[float], name: str, ignore: bool, more: dict[str, Any], lost: Counter[str]
) -> dict[str, Any]:
    key = more.pop("id", None)
    top = {f: more.pop(f) for f in _SCALABEL_BOX if f in more}
    for flag in ("occluded", "truncated"):  # yes or no in this format, shares kept where others
        if flag in more and more[flag] in (0, 1):
            more[flag] = bool(more[flag])
    if ignore and not (more.get("crowd") or more.get("ignored") or name in BDD100K_UNSURE):
        more["crowd"] = True
    if not ignore and name in BDD100K_UNSURE:
        lost[f"that '{name}' counts: it is an area to ignore there"] += 1
    box2d = dict(zip(("x1", "y1", "x2", "y2"), box))
    return {"id": str(k if key is None else key), "category": name, "attributes": more, **top,
            "box2d": box2d}  # fmt: skip


def write_voc(out: Path, splits: Splits, classes: Sequence[str]) -> Counter[str]:
    """``Annotations``, ``ImageSets/Main/SPLIT.txt``, ``classes.txt``, with images in
    ``JPEGImages``; an area to ignore is 'difficult'. Coordinates are edges from 0."""
    lost: Counter[str] = Counter()
    for split, items in splits.items():
        _count_frames(lost, items)
        for item in items:
            if item.boxes is not None:
                path = label_path(out / "Annotations", item.name, ".xml")
                _write(path, _annotation_xml(item, classes, lost))
        stems = [bare_name(item.name) for item in items]
        _write(out / f"ImageSets/Main/{split}.txt", "".join(f"{s}\n" for s in stems))
    _write(out / "classes.txt", "".join(f"{c}\n" for c in classes))
    return lost


def _annotation_xml(item: Item, classes: Sequence[str], lost: Counter[str]) -> str:
    root = ElementTree.Element("annotation")

    def add(parent: ElementTree.Element, tag: str, text: str | None = None) -> ElementTree.Element:
        element = ElementTree.SubElement(parent, tag)
        element.text = text
        return element

    add(root, "filename", clean_name(item.name))
    add(add(root, "source"), "database", "Unknown")
    if item.size_px is not None:
        size = add(root, "size")
        for tag, count in zip(("width", "height", "depth"), (*item.size_px, 3)):
            add(size, tag, str(count))
    for box, name, ignore, more in _rows(item.boxes, classes):
        held = [k for k in ("truncated", "occluded") if _is_number(more.get(k))]
        _count_lost(lost, more, ignore, (*held, "pose"))
        thing = add(root, "object")
        add(thing, "name", name)
        add(thing, "pose", clean_name(more.get("pose") or "Unspecified"))
        for flag in ("truncated", "occluded"):
            yes = _yes_or_no(flag, more, lost)
            if yes is not None:
                add(thing, flag, str(int(yes)))
        add(thing, "difficult", str(int(ignore)))
        place = add(thing, "bndbox")
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box):
            add(place, tag, _text(value))
    ElementTree.indent(root)
    return ElementTree.tostring(root, "unicode") + "\n"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _yes_or_no(flag: str, more: Mapping[str, Any], lost: Counter[str]) -> bool | None:
    value = more.get(flag)
    if not _is_number(value) or (flag == "occluded" and value == 3):  # KITTI's 3 is 'unknown'
        return None
    if value not in (0, 1):
        lost[f"degrees of '{flag}' (yes or no is kept)"] += 1
    return bool(value > 0)


def write_kitti(out: Path, splits: Splits, classes: Sequence[str]) -> Counter[str]:
    """``training/label_2``, ``ImageSets/SPLIT.txt``, ``classes.txt``, with images in
    ``training/image_2``. An area to ignore is DontCare, a space in a class name '_'.

    Raises:
        InputError: two class names would be one.
    """
    lost: Counter[str] = Counter()
    written: dict[str, str] = {}
    for name in classes:
        word = "_".join(name.split())
        if word in written:
            raise InputError(f"classes '{written[word]}' and '{name}' are one in KITTI; rename one")
        written[word] = name
    for split, items in splits.items():
        _count_frames(lost, items)
        for item in items:
            if item.boxes is not None:
                lines = [_line(*row, lost) for row in _rows(item.boxes)]
                _write(label_path(out / "training/label_2", item.name), "".join(lines))
        stems = [bare_name(item.name) for item in items]
        _write(out / f"ImageSets/{split}.txt", "".join(f"{s}\n" for s in stems))
    _write(out / "classes.txt", "".join(f"{c}\n" for c in classes))
    return lost


def _line(
    box: list[float], name: str, ignore: bool, more: dict[str, Any], lost: Counter[str]
) -> str:
    held = [k for k in (*BEFORE_BOX, *BEHIND_BOX, "score") if _is_number(more.get(k))]
    _count_lost(lost, more, ignore, held)
    void = KITTI.get(name, "") is None
    if ignore and not void:
        if name != ANY:
            lost["the class of areas to ignore"] += 1
        name = "DontCare"
    elif void and not ignore:
        lost[f"that '{name}' counts: it is an area to ignore there"] += 1

    def said(fields: Mapping[str, float]) -> list[str]:
        values = ((more.get(key), unsaid) for key, unsaid in fields.items())
        return [_text(v if _is_number(v) else unsaid) for v, unsaid in values]

    words = ["_".join(name.split()), *said(BEFORE_BOX), *map(_text, box), *said(BEHIND_BOX)]
    words += [_text(more["score"])] if "score" in held else []
    return " ".join(words) + "\n"


def write_yolo(out: Path, splits: Splits, classes: Sequence[str]) -> Counter[str]:
    """``labels/SPLIT`` and ``data.yaml`` with images in ``images/SPLIT``; boxes are clipped to
    the image, for Ultralytics refuses whole images otherwise. Names are those of ``yolo_name``.

    Raises:
        InputError: the size of an image is not known.
    """
    import yaml  # type: ignore[import-untyped]

    lost: Counter[str] = Counter()
    number = {name: k for k, name in enumerate(classes)}
    for split, items in splits.items():
        _count_frames(lost, items)
        for item in items:
            if item.size_px is None:
                raise InputError(f"{item.image}: YOLO needs the image's size, and it is not known")
            lines = _shares(item, number, lost)
            _write(label_path(out / f"labels/{split}", item.name), "".join(lines))
    keys = yolo_keys(tuple(splits))
    table = {keys[s]: f"images/{s}" for s in splits} | {"names": dict(enumerate(classes))}
    text = yaml.safe_dump(table, allow_unicode=True, sort_keys=False)
    _write(out / "data.yaml", text)
    return lost


def yolo_name(name: str) -> str:
    """An image's name without folders called 'images', of which the last in its path is taken for
    the one that labels lie beside: leading ones go, others are renamed."""
    *parts, file = name.split("/")
    while parts and parts[0] == "images":
        parts.pop(0)
    return "/".join([*("pictures" if p == "images" else p for p in parts), file])


def yolo_keys(splits: Sequence[str]) -> dict[str, str]:
    """Split -> its key in ``data.yaml``, of which Ultralytics knows 'train', 'val' and 'test':
    'train2017' and 'valid' stand there as those, the shortest name first."""
    found = {s: s for s in splits if s in _YOLO_SPLITS}
    for split in sorted(splits, key=len):
        usual = re.fullmatch(r"(train|val|test)(ing|id|idation)?[-_ ]?\d*", split.lower())
        key = usual[1] if usual else split
        found.setdefault(split, split if key in found.values() else key)
    return found


def _shares(item: Item, number: Mapping[str, int], lost: Counter[str]) -> list[str]:
    assert item.size_px is not None
    limit = np.array(item.size_px * 2, float)
    lines = []
    for box, name, ignore, more in _rows(item.boxes):
        if ignore:
            lost["areas to ignore"] += 1
            continue
        _count_lost(lost, more, ignore, ())
        clipped = np.clip(box, 0, limit)
        if (clipped != box).any():
            lost["parts of boxes outside the image"] += 1
        x1, y1, x2, y2 = (clipped / limit).tolist()
        if x2 > x1 and y2 > y1:
            values = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
            words = (f"{v:.10f}".rstrip("0").rstrip(".") for v in values)
            lines.append(" ".join([str(number[name]), *words]) + "\n")
    return lines


WRITERS: dict[str, Callable[[Path, Splits, Sequence[str]], Counter[str]]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "voc": write_voc,
    "kitti": write_kitti,
    "bdd100k": write_bdd100k,
}
# where a format keeps its images, and what it writes beside, the file that makes it whole last
IMAGES: dict[str, str] = {
    "coco": "images/{split}",
    "yolo": "images/{split}",
    "voc": "JPEGImages",
    "kitti": "training/image_2",
    "bdd100k": "images/100k/{split}",
}
PARTS: dict[str, tuple[str, ...]] = {
    "coco": ("images", "annotations"),
    "yolo": ("images", "labels", "data.yaml"),
    "voc": ("JPEGImages", "classes.txt", "ImageSets", "Annotations"),
    "kitti": ("classes.txt", "ImageSets", "training"),
    "bdd100k": ("labels", "images"),
}
