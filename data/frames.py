"""Frames of a labelled set at the size that training needs, decoded no larger than that takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from data.datasets import Dataset, only_tasks
from data.datasets.base import class_flags
from data.datasets.files import decoded
from data.mixing import find_groups
from data.types import U8, Sample

_INDEXED = 4000  # frames of a set that are looked through for rare objects

_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def frame_size(width_px: int, height_px: int, max_width_px: int) -> tuple[int, int]:
    """(width, height) of a frame after shrinking it to at most ``max_width_px``."""
    if width_px <= max_width_px:
        return width_px, height_px
    return max_width_px, max(1, round(height_px * max_width_px / width_px))


def read_frame(
    dataset: Dataset,
    index: int,
    max_width_px: int,
    boxes_only: bool = False,
    widen_lane: Callable[[U8], U8] | None = None,
) -> Sample:
    """Read an image with its labels, shrunk to at most ``max_width_px``.

    A JPEG of twice that width or more is decoded at a half, quarter or eighth of its size, which
    takes a fraction of the time. ``boxes_only`` leaves the masks unread (None).
    ``widen_lane`` is applied to lane labels at their own size. An image that cannot be decoded
    becomes a black one on which nothing is labelled, with the problem named.

    Raises:
        InputError: the image cannot be read, or a label, where the set is read strictly.
    """
    if boxes_only:
        dataset = _boxes_alone(dataset)
    given = dataset.size_px(index)
    image = _decode(dataset.images[index], given[0], max_width_px)
    size = frame_size(*given, max_width_px)
    if image is None:
        return dataset.load(index) if dataset.strict else _blank(dataset, index, size)
    labels = dataset.labels(index, given)
    lane = labels.lane
    if lane is not None and widen_lane is not None:
        lane = widen_lane(lane)
    if image.shape[1::-1] != size:
        filter_ = cv2.INTER_AREA if size[0] * 2 < image.shape[1] else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, size, interpolation=filter_), np.uint8)
    return Sample(
        image,
        labels.xyxy * np.array([size[0] / given[0], size[1] / given[1]] * 2, np.float32),
        labels.class_id,
        labels.ignore,
        labels.labelled_classes,
        _fit(labels.drivable, size),
        _fit(lane, size),
        dataset.names[index],
        tuple(str(p) for p in labels.problems),
        _fit(labels.segmentation, size),
    )


def _blank(dataset: Dataset, index: int, size: tuple[int, int]) -> Sample:
    """What stands for an image that cannot be decoded: it teaches nothing."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    text = f"{dataset.images[index]}: image cannot be decoded; its labels are left out"
    return Sample(
        image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool),
        class_flags(()), None, None, dataset.names[index], (text,),
    )  # fmt: skip


def _decode(path: Path, width_px: int, max_width_px: int) -> U8 | None:
    """Decode an image, a JPEG at the smallest of its sizes that is wide enough."""
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    factor = max(r for r in _REDUCED if r == 1 or (jpeg and width_px >= r * max_width_px))
    image = decoded(path, _REDUCED[factor])
    return None if image is None else np.asarray(image, np.uint8)


def _fit(mask: U8 | None, size: tuple[int, int]) -> U8 | None:
    if mask is None or mask.shape == size[::-1]:
        return mask
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _boxes_alone(dataset: Dataset) -> Dataset:
    return only_tasks(dataset, tuple(t for t in dataset.tasks if t == "detection"))


def find_rare(
    dataset: Dataset, classes: tuple[int, ...], max_width_px: int
) -> dict[int, tuple[int, ...]]:
    """Class -> indices of the frames with objects of it that ``data.mixing.paste`` can cut out.

    Labels alone are read, of 4000 frames at most, evenly spread over the set.
    """
    found: dict[int, list[int]] = {k: [] for k in classes}
    if not classes or "detection" not in dataset.tasks:
        return {}
    boxes = _boxes_alone(dataset)
    for i in range(0, len(dataset), max(1, -(-len(dataset) // _INDEXED))):
        given = dataset.size_px(i)
        size = frame_size(*given, max_width_px)
        labels = boxes.labels(i, given)
        xyxy = labels.xyxy * np.float32(size[0] / given[0])
        for k in classes:
            if (labels.class_id == k).any() and find_groups(
                xyxy, labels.class_id, labels.ignore, size, k
            ):
                found[k].append(i)
    return {k: tuple(v) for k, v in found.items() if v}
