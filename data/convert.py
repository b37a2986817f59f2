"""Labelled boxes brought from any layout that ``data.datasets`` reads into COCO, YOLO, Pascal VOC,
KITTI object or BDD100K.

An image goes over with all its boxes or not at all: where labels could not be read whole, leaving
out a box would teach that there is none.
"""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from data.datasets.base import NOT_WHOLE, Boxes, Dataset, Problem, size_problem
from data.datasets.files import IMAGE_SUFFIXES, bare_name, image_problem, is_inside
from data.errors import InputError
from data.label_writers import ANY, IMAGES, WRITERS, Item, write_coco, yolo_name
from data.taxonomy import CLASSES

_EMPTY_IF_SILENT = ("coco", "yolo")  # formats in which an image without labels has no objects


@dataclass(frozen=True, eq=False)
class Converted:
    """What came of a conversion.

    Attributes:
        images: images written, by split; boxes: boxes read for them; classes: as written.
        left_out: images and entries that did not go over, and why.
        lost: what the format cannot hold -> how often it was met.
    """

    images: Mapping[str, int]
    boxes: int
    classes: tuple[str, ...]
    left_out: tuple[Problem, ...]
    lost: Mapping[str, int]


def convert(
    datasets: Sequence[Dataset],
    out: Path,
    to: str,
    *,
    images: str = "link",
    classes: str = "own",
    report: Callable[[int], None] = lambda _: None,
) -> Converted:
    """Write splits of a set to the folder ``out`` as format ``to``, a key of ``WRITERS``.

    Args:
        datasets: one a split, of one set; read strictly where they say so.
        images: 'link' (hard links, or copies where those cannot be), 'copy' or 'none'.
        classes: 'own' names of the set, or 'ours': what maps to one of ours, renamed; areas to
            ignore and those of unknown names stay areas to ignore.
        report: called with the number of images done.

    Raises:
        InputError: no boxes; names that the format cannot hold; a bad label of a strict set.
    """
    left_out = [p for d in datasets for p in d.problems]
    lost: Counter[str] = Counter()
    splits: dict[str, list[Item]] = {}
    for dataset in datasets:
        _check_split(dataset, to)
        items, wrong = gather(dataset, images != "none", to in _EMPTY_IF_SILENT)
        if classes == "ours":
            items = [_in_our_words(item, dataset, lost) for item in items]
        if to == "yolo":
            items = [replace(item, name=yolo_name(item.name)) for item in items]
        left_out += wrong
        splits[dataset.split] = items
    everything = [item for items in splits.values() for item in items]
    if not everything:
        raise _nothing(datasets[0].root, left_out, images != "none")
    names = _our_classes(datasets) if classes == "ours" else _own_classes(datasets, everything)
    _check_apart(splits, to)
    if images != "none":
        _place_images(splits, out, to, images == "link", report)
    write = WRITERS[to]
    if to == "coco":
        write = partial(write_coco, category_ids=_own_ids(datasets, names))
    lost += write(out, splits, names)
    others = sum(item.boxes.others for item in everything if item.boxes is not None)
    lost += Counter(
        {"labels that are no objects' boxes (lines, areas, parts)": others} if others else {}
    )
    counts = {split: len(items) for split, items in splits.items()}
    boxes = sum(len(item.boxes or ()) for item in everything)
    return Converted(counts, boxes, names, tuple(left_out), dict(lost))


def _nothing(root: Path, left_out: Sequence[Problem], with_images: bool) -> InputError:
    why = f"; first: {left_out[0]}" if left_out else ""
    missing = with_images and left_out and left_out[0].kind == "image_missing"
    hint = " (--images none converts labels alone)" if missing else ""
    return InputError(f"{root}: no image can be converted{why}{hint}")


def _our_classes(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    return tuple(c for c in CLASSES if any(c in d.labelled for d in datasets))


def _own_classes(datasets: Sequence[Dataset], items: Iterable[Item]) -> tuple[str, ...]:
    """The classes that a set declares, with boxes or without, and others that boxes name."""
    declared = (name for d in datasets for name in d.class_names)
    met = (name for item in items if item.boxes for name in item.boxes.names)
    return tuple(dict.fromkeys((*declared, *met)))


def _own_ids(datasets: Sequence[Dataset], classes: Sequence[str]) -> dict[str, int]:
    """The set's own numbers of its classes where all have one, alike in all splits; else none."""
    pairs = {pair for d in datasets for pair in d.category_ids.items() if pair[0] in classes}
    ids = dict(pairs)
    whole = len(pairs) == len(ids) == len(set(ids.values())) == len(classes)
    return ids if whole else {}


def _check_split(dataset: Dataset, to: str) -> None:
    name = dataset.split
    bad = not is_inside(name) or "/" in name or name[0] == "." or not _printable(name)
    bad |= to == "yolo" and name == "images"  # see yolo_name
    if bad or name in ("names", "path", "nc"):
        raise InputError(f"split '{name}': expected a plain name such as train, val or test")
    if "detection" not in dataset.tasks or dataset.read_boxes is None:
        if dataset.images and not any(map(os.path.isfile, dataset.images)):
            first = dataset.images[0]
            raise InputError(
                f"{dataset.root}: no picture of split '{name}' is there; first {first}"
            )
        have = ", ".join(dataset.tasks) or "nothing"
        raise InputError(f"{dataset.root}: split '{name}' labels {have}; no boxes to convert")


def _printable(text: str) -> bool:
    return not any(unicodedata.category(c) in ("Cc", "Cs") or c == "\ufeff" for c in text)


def _name_problem(name: str) -> str:
    """Why an image's name cannot go into a list or a folder of another format; '' if it can."""
    hidden = any(part.startswith(".") for part in name.split("/"))
    if not is_inside(name) or not bare_name(name).strip():
        return "leads out of the folder"
    if hidden:
        return "is a hidden file, which readers pass over"
    if Path(name).suffix.lower() not in IMAGE_SUFFIXES:
        return f"ends in none of {', '.join(IMAGE_SUFFIXES)}"
    return "" if _printable(name) else "has unprintable characters"


def gather(
    dataset: Dataset, with_images: bool, silence_is_empty: bool
) -> tuple[list[Item], list[Problem]]:
    """Images of a split that can go over with all their boxes, and what was met on the way: why
    others cannot, and boxes without a size, which are left out of images that do.

    Args:
        with_images: the pictures must be there; whole they must be wherever they are.
        silence_is_empty: images without box labels are left out, also of a set that is read
            strictly, for the format would say that they have no objects.

    Raises:
        InputError: something else is wrong and the set is read strictly.
    """
    items, problems = [], []
    for i, name in enumerate(dataset.names):
        item, wrong = _item(dataset, i, with_images)
        if item is not None and item.boxes is None and silence_is_empty:
            text = "has no box labels, which would come out as no objects; left out"
            problems.append(Problem("labels_missing", name, text))
            continue
        if wrong and dataset.strict:
            raise InputError(str(wrong[0]))
        problems += wrong
        items += [item] if item is not None else []
    return items, problems


def _item(dataset: Dataset, i: int, with_image: bool) -> tuple[Item | None, list[Problem]]:
    name, path = dataset.names[i], dataset.images[i]
    bad_name = _name_problem(name)
    if bad_name:
        return None, [Problem("image_name", repr(name), f"{bad_name}; rename it; left out")]
    bad_image = image_problem(path) if with_image or os.path.isfile(path) else None
    if bad_image is not None:
        return None, [bad_image]
    assert dataset.read_boxes is not None
    boxes = dataset.read_boxes(i)
    try:
        size = dataset.size_px(i)
    except InputError:
        size = None  # the image is missing, and its picture not asked for
    problems = [] if boxes is None else list(boxes.problems)
    if boxes is not None and size is not None:
        problems += size_problem(boxes, size, name)
    if any(p.kind in NOT_WHOLE for p in problems):
        text = "its labels cannot be read whole; the image is left out"
        return None, [*problems, Problem("image_left_out", name, text)]
    if boxes is not None:
        boxes, empty = _with_size(boxes, name)
        problems += empty
    frame = dataset.frame_attributes(i) if dataset.frame_attributes else {}
    number = dataset.image_ids[i] if dataset.image_ids else None
    return Item(name, path, size, boxes, frame, number), problems


def _select(boxes: Boxes, keep: Sequence[int]) -> Boxes:
    return replace(
        boxes,
        xyxy=boxes.xyxy[list(keep)].reshape(-1, 4),
        names=tuple(boxes.names[k] for k in keep),
        ignore=boxes.ignore[list(keep)],
        attributes=tuple(boxes.attributes[k] for k in keep),
    )


def _with_size(boxes: Boxes, name: str) -> tuple[Boxes, list[Problem]]:
    """Boxes that cover something; a reader would pass over the others anyway."""
    good = np.all(boxes.xyxy[:, 2:] > boxes.xyxy[:, :2], axis=1)
    if good.all():
        return boxes, []
    problems = [
        Problem("box_empty", boxes.where or name, f"box {k} has no size; left out")
        for k in np.flatnonzero(~good)
    ]
    return _select(boxes, np.flatnonzero(good).tolist()), problems


def _in_our_words(item: Item, dataset: Dataset, lost: Counter[str]) -> Item:
    """Boxes renamed to our classes; what is none of them, or not labelled whole, goes.

    An area to ignore of no class of ours, or of an unknown one, may hide an object of any class.
    """
    if item.boxes is None:
        return item
    keep: dict[int, str] = {}
    for k, name in enumerate(item.boxes.names):
        ours, hint = dataset.class_map.get(name), f"(--class '{name}=CLASS' maps it)"
        if name not in dataset.class_map:
            lost[f"class '{name}', unknown: an area to ignore {hint}"] += 1
            keep[k] = ANY
        elif ours is None and item.boxes.ignore[k]:
            keep[k] = ANY
        elif ours is None:
            lost[f"class '{name}', none of ours {hint}"] += 1
        elif ours not in dataset.labelled:
            lost[f"class '{name}', only some of '{ours}'"] += 1
        else:
            keep[k] = ours
    boxes, names = _select(item.boxes, list(keep)), tuple(keep.values())
    ignore = boxes.ignore | np.array([name == ANY for name in names], bool)
    more = tuple({} if name == ANY else m for name, m in zip(names, boxes.attributes))
    return replace(item, boxes=replace(boxes, names=names, ignore=ignore, attributes=more))


def _check_apart(splits: Mapping[str, Sequence[Item]], to: str) -> None:
    """Two images must not share a label file, or a place in the format's folders."""
    taken: dict[tuple[str, str], str] = {}
    for split, items in splits.items():
        for item in items:
            by_stem = to in ("yolo", "voc", "kitti")
            where = "" if to in ("voc", "kitti") else split
            key = (where, bare_name(item.name) if by_stem else item.name)
            if key in taken:
                how = "convert one split at a time" if not where else "rename one"
                raise InputError(
                    f"images {taken[key]} and {split}/{item.name} would share one label file in "
                    f"{to}; {how}"
                )
            taken[key] = f"{split}/{item.name}"


def _place_images(
    splits: Mapping[str, Sequence[Item]],
    out: Path,
    to: str,
    link: bool,
    report: Callable[[int], None],
) -> None:
    done = 0
    for split, items in splits.items():
        folder = out / IMAGES[to].format(split=split)
        for item in items:
            target = folder / item.name
            target.parent.mkdir(parents=True, exist_ok=True)
            _place(item.image, target, link)
            done += 1
            report(done)


def _place(source: Path, target: Path, link: bool) -> None:
    if link:
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, target)
