"""What every reader returns: the files of a split, its boxes in the set's own words, its masks,
and how both become a ``Sample`` in ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data.datasets.files import Problem as Problem
from data.datasets.files import image_problem as image_problem
from data.datasets.files import image_size, read_image
from data.datasets.files import read_mask as read_mask
from data.errors import InputError
from data.taxonomy import CLASS_ID, CLASSES, PARTIAL, TASKS, nearest_name, plain_name
from data.types import F32, F64, I64, U8, UNKNOWN, Sample

_MEANINGLESS = 254
SURFACES = ("drivable", "lane", "segmentation")  # tasks labelled by masks
_INSIDE = 0.5  # share of a box's area that must lie within the image for it to be taught
_ROUNDING_PX = 2  # by which the size that labels state may differ from the image's
# problems after which a label file may be silent about objects that are there
NOT_WHOLE = ("label_malformed", "image_missing", "size_differs")


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of one image as its label file gives them.

    Attributes:
        xyxy: (n, 4) float64 px of the image; names: n class names of the set.
        ignore: (n,) bool, areas not to score.
        attributes: n tables of what else the format says of a box (occlusion, track id, ...).
        problems: entries that could not be read, left out of the arrays.
        size_px: width and height of the image as the labels state them, None if they do not.
        where: file of the labels and place in it, for messages.
        others: how many labels there are that are no objects' boxes: lines, areas, parts.
    """

    xyxy: F64
    names: tuple[str, ...]
    ignore: NDArray[np.bool_]
    attributes: tuple[Mapping[str, Any], ...] = ()
    problems: tuple[Problem, ...] = ()
    size_px: tuple[int, int] | None = None
    where: str = ""
    others: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "xyxy", np.asarray(self.xyxy, np.float64).reshape(-1, 4))
        object.__setattr__(self, "ignore", np.asarray(self.ignore, np.bool_).ravel())
        if not self.attributes:
            object.__setattr__(self, "attributes", ({},) * len(self.names))
        lengths = {len(self.xyxy), len(self.names), len(self.ignore), len(self.attributes)}
        if len(lengths) > 1:
            raise ValueError(f"Boxes: lengths differ: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of one image, in our classes, at the size of the original image.

    Fields as in ``Sample``; ``problems`` were met while reading and left unknown.
    """

    xyxy: F32
    class_id: I64
    ignore: NDArray[np.bool_]
    labelled_classes: NDArray[np.bool_]
    drivable: U8 | None
    lane: U8 | None
    problems: tuple[Problem, ...] = ()
    segmentation: U8 | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """A split of a labelled set.

    Attributes:
        layout: name of the reader ('bdd100k', 'coco', ...); root: folder of the set;
            split: as the set names it.
        names: name of each image, unique within the split; images: path of each.
        tasks: which of ``taxonomy.TASKS`` the set labels.
        class_map: the set's class names -> ours, None for what is known and no object of ours.
        labelled: our classes whose boxes are complete in this set.
        read_boxes: index -> ``Boxes``, or None where an image has no box labels.
        masks: task -> path of each image's mask, None where there is none.
        mask_values: task -> value in the file -> 1 yes, 0 no (a class for 'segmentation'),
            255 unknown.
        strict: a problem in a label is an InputError; else the entry is taken as unknown.
        class_names: the set's own class names, in its order.
        segmentation_names: class of each value of its segmentation masks.
        problems: met on opening the split: entries of no image, images listed twice, ...
        calibs: path of each image's calibration file, None where there is none; or empty.
        frame_attributes: index -> what the labels say of the whole image (weather, time of day).
        image_ids: whole number of each image where its file numbers them all, else empty;
            category_ids: the same of class names.
        looked_for: where box labels are looked for, for messages; '' where that is not said.
    """

    layout: str
    root: Path
    split: str
    names: tuple[str, ...]
    images: tuple[Path, ...]
    tasks: tuple[str, ...]
    class_map: Mapping[str, str | None] = field(default_factory=dict)
    labelled: tuple[str, ...] = ()
    read_boxes: Callable[[int], Boxes | None] | None = None
    masks: Mapping[str, tuple[Path | None, ...]] = field(default_factory=dict)
    mask_values: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    strict: bool = False
    class_names: tuple[str, ...] = ()
    segmentation_names: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    calibs: tuple[Path | None, ...] = ()
    frame_attributes: Callable[[int], Mapping[str, Any]] | None = None
    image_ids: tuple[int, ...] = ()
    category_ids: Mapping[str, int] = field(default_factory=dict)
    looked_for: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def __post_init__(self) -> None:
        unknown = set(self.tasks) - set(TASKS)
        if unknown:
            raise ValueError(f"tasks: expected some of {TASKS}, given {sorted(unknown)}")

    def load(self, i: int) -> Sample:
        """Image and labels of index ``i``; InputError where the image cannot be read."""
        if not os.path.isfile(self.images[i]):
            raise InputError(f"{self.images[i]}: image missing; its labels alone can be used")
        image = read_image(self.images[i])
        n = self.labels(i, (image.shape[1], image.shape[0]))
        return Sample(
            image, n.xyxy, n.class_id, n.ignore, n.labelled_classes, n.drivable, n.lane,
            self.names[i], tuple(str(p) for p in n.problems), n.segmentation,
        )  # fmt: skip

    def labels(self, i: int, size_px: tuple[int, int]) -> Labels:
        """Labels of index ``i``, whose image is ``size_px`` (width, height).

        Raises:
            InputError: something is wrong with a label and the set is read strictly.
        """
        boxes = self.read_boxes(i) if self.read_boxes and "detection" in self.tasks else None
        xyxy, class_id, ignore, problems = _to_our_classes(boxes, self.class_map, self.names[i])
        if boxes is not None:
            problems += size_problem(boxes, size_px, self.names[i])
            xyxy, keep, ignore, outside = _within(xyxy, ignore, size_px, boxes, self.names[i])
            class_id = class_id[keep]
            problems += outside
        masks: dict[str, U8 | None] = {}
        for task in SURFACES:
            masks[task], wrong = self._mask(task, i, size_px)
            problems += [p for p in wrong if p not in problems]  # one file may serve two tasks
        if self.strict and problems:
            raise InputError(str(problems[0]))
        # a label file that could not be read whole must not teach that there is nothing else
        whole = boxes is not None and not any(p.kind in NOT_WHOLE for p in problems)
        flags = class_flags(self.labelled if whole else ())
        return Labels(
            xyxy, class_id, ignore, flags, masks["drivable"], masks["lane"], tuple(problems),
            masks["segmentation"],
        )  # fmt: skip

    def size_px(self, i: int) -> tuple[int, int]:
        """Width and height of image ``i`` from its header, or decoded where that is odd, or as
        the labels state them where the image is missing.

        Raises:
            InputError: the image cannot be read, or is missing and no label states its size.
        """
        if not os.path.isfile(self.images[i]):
            boxes = self.read_boxes(i) if self.read_boxes else None
            if boxes is None or boxes.size_px is None:
                raise InputError(f"{self.images[i]}: image missing, and no label states its size")
            return boxes.size_px
        return image_size(self.images[i])

    def _mask(self, task: str, i: int, size_px: tuple[int, int]) -> tuple[U8 | None, list[Problem]]:
        path = self.masks[task][i] if task in self.masks and task in self.tasks else None
        if path is None:
            return None, []
        try:
            raw = read_mask(path)
        except InputError as e:
            return None, [Problem("mask_unreadable", str(path), str(e).partition(": ")[2])]
        if raw.shape != size_px[::-1]:
            text = f"mask of {raw.shape[1]}x{raw.shape[0]} beside an image of {size_px[0]}x"
            return None, [Problem("mask_size", str(path), f"{text}{size_px[1]}; sizes must agree")]
        mask, bad = map_values(raw, self.mask_values[task])
        if bad:
            known = sorted(self.mask_values[task])
            those = f"one of {known}" if len(known) < 16 else f"one of {len(known)} known ones"
            text = f"mask value {bad[0]} has no meaning, expected {those}; taken as unknown"
            return mask, [Problem("mask_value", str(path), text)]
        return mask, []


def _to_our_classes(
    boxes: Boxes | None, class_map: Mapping[str, str | None], where: str
) -> tuple[F32, I64, NDArray[np.bool_], list[Problem]]:
    """Rename boxes to our classes; what cannot be judged becomes an area to ignore."""
    problems = [] if boxes is None else list(boxes.problems)
    where = _where(boxes, where)
    rows: list[tuple[Any, int, bool]] = []
    for k, name in enumerate(() if boxes is None else boxes.names):
        assert boxes is not None
        box, ignore = boxes.xyxy[k], bool(boxes.ignore[k])
        if not (np.isfinite(box).all() and box[2] > box[0] and box[3] > box[1]):
            text = f"box {k} of class '{name}' is {box.tolist()}, without a size; left out"
            problems.append(Problem("box_empty", where, text))
            continue
        if name not in class_map:
            near = nearest_name(name, class_map)
            hint = f"; did you mean '{near}'?" if near else ""
            text = f"unknown class '{name}'{hint} (its area is ignored; map it to one of ours)"
            problems.append(Problem("class_unknown", where, text))
        ours = class_map.get(name)
        if ours is not None:
            rows.append((box, CLASS_ID[ours], ignore))
        elif ignore or name not in class_map:  # it may hide an object of any class
            rows += [(box, c, True) for c in range(len(CLASSES))]
    return (
        np.array([r[0] for r in rows], np.float32).reshape(-1, 4),
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], np.bool_),
        problems,
    )


def _where(boxes: Boxes | None, name: str) -> str:
    """Where the boxes say that they stand; the image's name where they do not say."""
    return boxes.where if boxes is not None and boxes.where else name


def size_problem(boxes: Boxes, size_px: tuple[int, int], name: str) -> list[Problem]:
    """Boxes made for an image of another size are not to be trusted."""
    stated = boxes.size_px
    if stated is None or 0 in size_px:
        return []
    if max(abs(a - b) for a, b in zip(stated, size_px)) <= _ROUNDING_PX:
        return []
    text = f"labels are for {stated[0]}x{stated[1]}, the image is {size_px[0]}x{size_px[1]}"
    return [Problem("size_differs", _where(boxes, name), f"{text}; mend the size or scale one")]


def _within(
    xyxy: F32, ignore: NDArray[np.bool_], size_px: tuple[int, int], boxes: Boxes, name: str
) -> tuple[F32, NDArray[np.bool_], NDArray[np.bool_], list[Problem]]:
    """Clip boxes to the image; of one that lies mostly outside, what is inside is ignored.

    Returns clipped boxes, which were kept of those given, their ignore flags, and problems.
    """
    if 0 in size_px or not len(xyxy):
        return xyxy, np.ones(len(xyxy), bool), ignore, []
    clipped = np.clip(xyxy, 0, np.array(size_px * 2, np.float32))
    area = np.prod(xyxy[:, 2:].astype(float) - xyxy[:, :2], axis=1)
    left = np.prod(clipped[:, 2:].astype(float) - clipped[:, :2], axis=1)
    outside = (left < _INSIDE * area) & ~ignore
    problems = []
    for box in xyxy[outside]:
        text = f"box {[round(float(v), 1) for v in box]} lies mostly outside the image of "
        text += f"{size_px[0]}x{size_px[1]}; its area is ignored (labels of another size?)"
        problems.append(Problem("box_outside", _where(boxes, name), text))
    return clipped[left > 0], left > 0, (ignore | outside)[left > 0], problems


def readable(dataset: Dataset, problems: list[str]) -> Iterator[tuple[int, Sample]]:
    """Each image that can be read, with its index and labels; what cannot be read of images and
    labels is added to ``problems``.

    Raises:
        InputError: an image or label cannot be read and the set is read strictly.
    """
    for i in range(len(dataset)):
        try:
            sample = dataset.load(i)
        except InputError as e:
            if dataset.strict:
                raise
            problems.append(str(e))
            continue
        problems += sample.problems
        yield i, sample


def only_tasks(dataset: Dataset, tasks: tuple[str, ...]) -> Dataset:
    """The same set with its labels for other tasks taken as unknown.

    Raises:
        InputError: the set does not label one of ``tasks``.
    """
    missing = [t for t in tasks if t not in dataset.tasks]
    if missing:
        have = ", ".join(dataset.tasks) or "nothing"
        raise InputError(f"set {dataset.layout}: labels {have}, but '{missing[0]}' was asked for")
    return replace(dataset, tasks=tasks)


def with_names(dataset: Dataset, pairs: tuple[str, ...]) -> Dataset:
    """The same set with class names mapped by hand, each pair ``name=ours`` or ``name=none``.

    A class that a name is mapped to counts as labelled; one that names are mapped away from does
    no more when no other name of the set stands for all of it.

    Raises:
        InputError: a pair that is none, or whose class is not one of ours.
    """
    added: dict[str, str | None] = {}
    for pair in pairs:
        name, sep, ours = (t.strip() for t in pair.rpartition("="))
        if not sep or ours not in (*CLASSES, "none"):
            raise InputError(
                f"class '{pair}': expected NAME=CLASS with CLASS one of {', '.join(CLASSES)}, none"
            )
        added[name] = None if ours == "none" else ours
    table = {**dataset.class_map, **added}
    whole = {n for n in dataset.class_names or table if plain_name(n) not in PARTIAL} | set(added)
    gone = {dataset.class_map.get(n) for n in added} - {table.get(n) for n in whole}
    labelled = {*dataset.labelled, *added.values()} - gone
    return replace(dataset, class_map=table, labelled=tuple(c for c in CLASSES if c in labelled))


def subset(dataset: Dataset, keep: list[int]) -> Dataset:
    """The images of the given indices alone."""
    read = dataset.read_boxes

    def read_boxes(i: int) -> Boxes | None:
        assert read is not None
        return read(keep[i])

    def frame_attributes(i: int) -> Mapping[str, Any]:
        assert dataset.frame_attributes is not None
        return dataset.frame_attributes(keep[i])

    return replace(
        dataset,
        names=tuple(dataset.names[i] for i in keep),
        images=tuple(dataset.images[i] for i in keep),
        read_boxes=read_boxes if read else None,
        masks={k: tuple(v[i] for i in keep) for k, v in dataset.masks.items()},
        calibs=tuple(dataset.calibs[i] for i in keep) if dataset.calibs else (),
        image_ids=tuple(dataset.image_ids[i] for i in keep) if dataset.image_ids else (),
        frame_attributes=frame_attributes if dataset.frame_attributes else None,
    )


def screen(dataset: Dataset) -> tuple[Dataset, tuple[Problem, ...]]:
    """Leave out images that cannot be read, by their headers and ends, without decoding them.

    Returns the images that can be used, and why others were left out: what was wrong on opening
    the split first, then an image each.

    Raises:
        InputError: an image cannot be read and the set is read strictly, or none can be.
    """
    keep, problems = [], list(dataset.problems)
    for i, path in enumerate(dataset.images):
        wrong = image_problem(path)
        if wrong is None:
            keep.append(i)
        elif dataset.strict:
            raise InputError(str(wrong))
        else:
            problems.append(wrong)
    if not keep:
        raise InputError(f"{dataset.root}: no image of split '{dataset.split}' can be read")
    whole = len(keep) == len(dataset)
    return (dataset if whole else subset(dataset, keep)), tuple(problems)


def map_values(mask: U8, table: Mapping[int, int]) -> tuple[U8, list[int]]:
    """Map label values by a table; values without meaning become unknown and are returned."""
    lut = np.full(256, _MEANINGLESS, np.uint8)
    for value, out in table.items():
        lut[value] = out
    mapped = np.asarray(cv2.LUT(mask, lut), np.uint8)
    wrong = mapped == _MEANINGLESS
    if not wrong.any():
        return mapped, []
    mapped[wrong] = UNKNOWN
    return mapped, sorted(int(v) for v in set(np.unique(mask)) - set(table))


def class_flags(names: tuple[str, ...] = CLASSES) -> NDArray[np.bool_]:
    """(5,) bool: which classes a set labels."""
    return np.array([c in names for c in CLASSES])
