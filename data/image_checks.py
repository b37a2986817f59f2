"""One image of a labelled set and its labels: what can be read of them, and what is wrong."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.datasets.base import Boxes, Dataset, Labels, Problem, image_problem
from data.duplicates import thumbnail
from data.errors import InputError
from data.kitti_calib import check_kitti_calib
from data.logs.image_size import cut_short, image_size_px, jpeg_scan_start
from data.taxonomy import CLASSES
from data.types import U8, UNKNOWN

NETWORK_SIZE_PX = (640, 384)
TINY_PX = 4.0  # shorter side at the network's size
_INSIDE = 0.5  # share of a box's area that must lie within the image
_CLIP_PX = 1.0  # boxes that count pixels from 1 stick out by so much
_EVEN = 0.5  # grey levels of spread; a real picture's sensor noise alone gives more
_HOLE = bytes(4096)  # a block that was never written; no picture's data holds so many zeros


@dataclass(frozen=True)
class MaskShares:
    """Pixels of a mask: of the surface (0 where every pixel has a class), unknown, and all;
    ``classes``: pixels of each class of a segmentation mask."""

    yes: int
    unknown: int
    all: int
    classes: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Entry:
    """What was found about one image of a split.

    Attributes:
        size_px: width and height, None if it cannot be read; problems: as they were met.
        boxes: as the set gives them, None without labels; ours: usable boxes by our class.
        masks: task -> shares of its mask, None where that was not decoded; no key without mask.
        digest: of the file's bytes, b'' if not read; thumb: (32, 32) uint8, None if not decoded.
    """

    size_px: tuple[int, int] | None
    problems: tuple[Problem, ...] = ()
    boxes: Boxes | None = None
    ours: Mapping[str, int] = field(default_factory=dict)
    masks: Mapping[str, MaskShares | None] = field(default_factory=dict)
    digest: bytes = b""
    thumb: U8 | None = None


def check_image(dataset: Dataset, i: int, fast: bool = False) -> Entry:
    """Look at image ``i`` and its labels; with ``fast`` at headers and boxes alone."""
    size, digest, thumb, bad = _look_at_image(dataset, i, fast)
    problems = [bad] if bad else []
    boxes: Boxes | None = None
    if dataset.read_boxes is not None and "detection" in dataset.tasks:
        try:
            boxes = dataset.read_boxes(i)
        except InputError as e:
            if bad is None:  # else it is the image that cannot be read, which is said already
                problems.append(Problem("label_malformed", dataset.names[i], str(e)))
    have = {t: p[i] for t, p in dataset.masks.items() if t in dataset.tasks}
    masks = {task: path for task, path in have.items() if path is not None}
    paths = dict.fromkeys(masks[t] for t in sorted(masks))  # one file may serve two tasks
    broken = [p for path in paths if (p := _mask_problem(path, size, fast))]
    unusable = {p.where for p in broken}
    sound = {
        t: paths
        for t, paths in dataset.masks.items()
        if t in masks and str(masks[t]) not in unusable and size and not fast
    }
    checked = replace(dataset, masks=sound, read_boxes=lambda _: boxes, strict=False)
    labels = checked.labels(i, size or (0, 0))
    told = ("box_outside", "image_missing")  # by ``box_problems``, by ``_look_at_image``
    problems += [*broken, *(p for p in labels.problems if p.kind not in told)]
    if boxes is not None:
        problems += box_problems(boxes, size, boxes.where or dataset.names[i])
    usable = Counter(labels.class_id[~labels.ignore].tolist())
    ours = {CLASSES[c]: n for c, n in sorted(usable.items())}
    shares = {t: _shares(labels, t, len(dataset.segmentation_names)) for t in masks}
    return Entry(size, tuple(problems), boxes, ours, shares, digest, thumb)


def _look_at_image(
    dataset: Dataset, i: int, fast: bool
) -> tuple[tuple[int, int] | None, bytes, U8 | None, Problem | None]:
    """Size, digest and thumbnail of an image, or what is wrong with it."""
    path = dataset.images[i]
    try:
        bad = image_problem(path)
        data = b"" if bad or fast else path.read_bytes()
    except OSError as e:
        bad = Problem("image_unreadable", str(path), f"cannot be read ({e.strerror or e})")
    if bad is not None:
        return None, b"", None, bad
    if fast:
        return dataset.size_px(i), b"", None, None
    damage = file_damage(data)
    if damage is not None:
        return None, b"", None, Problem("image_unreadable", str(path), f"{damage}; copy it again")
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), _reduced(image_size_px(data)))
    if grey is None:
        return None, b"", None, Problem("image_unreadable", str(path), "cannot be decoded")
    thumb = thumbnail(np.asarray(grey, np.uint8))
    even = float(thumb.std()) < _EVEN
    blank = Problem("image_blank", str(path), "one even tone") if even else None
    return dataset.size_px(i), hashlib.blake2b(data, digest_size=12).digest(), thumb, blank


def _reduced(size_px: tuple[int, int] | None) -> int:
    """Flag to decode grey at the least size that still serves a thumbnail."""
    shorter = min(size_px) if size_px else 0
    if shorter >= 640:
        return cv2.IMREAD_REDUCED_GRAYSCALE_8
    if shorter >= 384:
        return cv2.IMREAD_REDUCED_GRAYSCALE_4
    return cv2.IMREAD_REDUCED_GRAYSCALE_2 if shorter >= 192 else cv2.IMREAD_GRAYSCALE


def file_damage(data: bytes) -> str | None:
    """What is wrong inside an image file that decoders pass over in silence, or None."""
    if cut_short(data):
        return "image is cut short"
    if data[:2] == b"\xff\xd8" and _HOLE in data and _HOLE in _jpeg_scan(data):
        return "image has a hole of zeros inside, as an interrupted copy leaves"
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return "image is damaged inside (checksum)"
        if data[at + 4 : at + 8] == b"IEND":
            return None
        at = end + 4
    return "image is cut short"


def _jpeg_scan(data: bytes) -> bytes:
    """The coded picture of a JPEG: headers before it and what follows it may be padded."""
    start = jpeg_scan_start(data)
    return data[start : data.find(b"\xff\xd9", start)]


def _mask_problem(path: Path, size_px: tuple[int, int] | None, fast: bool) -> Problem | None:
    """What the bytes of a mask's file tell against it."""
    try:
        bad = image_problem(path)
        with path.open("rb") as f:
            data = f.read(65536 if fast else -1)
    except OSError as e:
        return Problem("mask_unreadable", str(path), f"cannot be read ({e.strerror or e})")
    if bad is not None:
        return Problem("mask_unreadable", str(path), bad.text.replace("image", "mask"))
    damage = None if fast else file_damage(data)
    if damage is not None:
        text = f"{damage.replace('image', 'mask')}; copy it again"
        return Problem("mask_unreadable", str(path), text)
    stored = image_size_px(data)
    if fast and size_px and stored and stored != size_px:
        text = f"mask of {stored[0]}x{stored[1]} beside an image of {size_px[0]}x{size_px[1]}"
        return Problem("mask_size", str(path), f"{text}; sizes must agree")
    return None


def _shares(labels: Labels, task: str, classes: int) -> MaskShares | None:
    mask: U8 | None = getattr(labels, task)
    if mask is None:
        return None
    unknown = int(np.count_nonzero(mask == UNKNOWN))
    if task == "segmentation":
        counts = np.bincount(mask.ravel(), minlength=classes)[:classes]
        return MaskShares(0, unknown, mask.size, tuple(counts.tolist()))
    return MaskShares(int(np.count_nonzero(mask == 1)), unknown, mask.size)


def box_problems(boxes: Boxes, size_px: tuple[int, int] | None, where: str) -> list[Problem]:
    """Boxes that lie outside of the image, are too small to see, or are there twice.

    Areas to ignore and boxes without a size (which reading the labels reports) are passed over.
    """
    size = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]
    usable = np.isfinite(boxes.xyxy).all(axis=1) & (size > 0).all(axis=1) & ~boxes.ignore
    found = _twice(boxes, usable, where)
    if size_px is None:
        return found
    limit = np.array(size_px, np.float64)
    clipped = boxes.xyxy.clip(0, np.tile(limit, 2))
    seen = clipped[:, 2:] - clipped[:, :2]
    with np.errstate(invalid="ignore", divide="ignore"):
        outside = usable & (seen.prod(axis=1) < _INSIDE * size.prod(axis=1))
        cut = usable & ~outside & (np.abs(clipped - boxes.xyxy).max(axis=1) > _CLIP_PX)
        scale = min(NETWORK_SIZE_PX[0] / limit[0], NETWORK_SIZE_PX[1] / limit[1])
        tiny = usable & ~outside & (seen.min(axis=1) * scale < TINY_PX)
    image = f"the {size_px[0]}x{size_px[1]} image"
    for kind, which, text in (
        ("box_outside", outside, f"lies mostly outside of {image}"),
        ("box_clipped", cut, f"sticks out of {image}"),
        ("box_tiny", tiny, f"is too small to be seen in {image}"),
    ):
        found += [_about_box(kind, boxes, int(k), text, where) for k in np.flatnonzero(which)]
    return found


def _twice(boxes: Boxes, usable: NDArray[np.bool_], where: str) -> list[Problem]:
    found, seen = [], set()
    for k in np.flatnonzero(usable):
        key = (boxes.names[k], *boxes.xyxy[k].tolist())
        if key in seen:
            found.append(_about_box("box_twice", boxes, int(k), "is there twice", where))
        seen.add(key)
    return found


def _about_box(kind: str, boxes: Boxes, k: int, text: str, where: str) -> Problem:
    corners = " ".join(f"{v:.5g}" for v in boxes.xyxy[k])
    return Problem(kind, where, f"box {k} '{boxes.names[k]}' ({corners}) {text}")


def calib_problems(dataset: Dataset, entries: Sequence[Entry]) -> list[Problem]:
    """Calibration files of a KITTI set that cannot be used, each once; judged for the size of
    its pictures where one of them is known."""
    size_of: dict[Path, tuple[int, int] | None] = {}
    for path, entry in zip(dataset.calibs, entries):
        if path is not None:
            size_of[path] = size_of.get(path) or entry.size_px
    found = []
    for path in sorted(size_of):
        try:
            check_kitti_calib(path, size_of[path])
        except InputError as e:
            where, _, text = str(e).partition(": ")
            found.append(Problem("calib_unusable", where, text))
    return found
