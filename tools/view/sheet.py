"""Contact sheets: frames of a labelled set with what their labels say drawn on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.checks import KINDS, SPOILS
from data.datasets.base import Dataset
from data.errors import InputError
from data.image_checks import Entry
from data.palette import palette, tinted
from data.taxonomy import CLASS_ID
from data.types import U8, Sample
from tools.view.draw import (
    AMBER,
    CLASS_COLOURS,
    CLASS_LABELS,
    DIM,
    DRIVABLE,
    FAULT,
    INK,
    LANE,
    PANEL,
    STOP,
    WHITE,
    Box,
    Colour,
    class_style,
    dashed_rectangle,
    elided,
    ink_on,
    overlap,
    put_text,
    text_width_px,
    tint,
)

WIDTH_PX = 1600
_GAP, _CAPTION, _HEAD, _TAG_TEXT, _TEXT = 8, 22, 68, 11, 13
_ROW = 24  # of the legend
_TALLEST = 0.8  # height of a picture over its width; what is taller is narrowed


@dataclass(frozen=True)
class Mark:
    """A box to draw: corners in px of the image, its class name and colour.

    ``style`` is 'solid', 'dashed' (no object of ours), 'hatched' (an area to ignore) or 'crossed'
    (a class without meaning).
    """

    xyxy: tuple[float, float, float, float]
    text: str
    colour: Colour
    style: str = "solid"


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame of a sheet: image (h, w, 3) uint8 BGR or None where it cannot be read.

    ``drivable`` and ``lane`` are (h, w) uint8: 1 yes, 0 no, 255 unknown, or None;
    ``segmentation``, the class of each pixel, is drawn in place of the drivable area.
    """

    image: U8 | None
    caption: str
    marks: tuple[Mark, ...] = ()
    drivable: U8 | None = None
    lane: U8 | None = None
    notes: str = ""  # what is wrong with it
    spoilt: bool = False  # so wrong that it would spoil training
    facts: str = ""
    segmentation: U8 | None = None


def picture_of_entry(dataset: Dataset, i: int, entry: Entry, caption: str = "") -> Picture:
    """Frame ``i`` of a split with its boxes under the set's own names."""
    name = caption or dataset.names[i]
    notes = ", ".join(dict.fromkeys(p.kind for p in entry.problems))
    spoilt = any(KINDS.get(p.kind, ("",))[0] == SPOILS for p in entry.problems)
    try:
        sample = dataset.load(i) if entry.size_px else None
    except InputError:
        sample = None
    if sample is None:
        return Picture(None, name, notes=notes or "cannot be read", spoilt=True)
    marks = []
    for box, own, ignore in _rows(entry):
        ours = dataset.class_map.get(own)
        if ignore:
            marks.append(Mark(box, own, DIM, "hatched"))
        elif ours is not None:
            marks.append(Mark(box, own, CLASS_COLOURS[CLASS_ID[ours]]))
        elif own in dataset.class_map:
            marks.append(Mark(box, own, DIM, "dashed"))
        else:
            marks.append(Mark(box, f"{own}?", STOP, "crossed"))
    facts = _facts(dataset, entry, len(marks))
    return Picture(
        sample.image, name, tuple(marks), sample.drivable, sample.lane, notes, spoilt, facts,
        sample.segmentation,
    )  # fmt: skip


def _rows(entry: Entry) -> Iterator[tuple[tuple[float, float, float, float], str, bool]]:
    """Corners, name and ignore flag of every box that can be drawn."""
    if entry.boxes is None:
        return
    b = entry.boxes
    for k in np.flatnonzero(np.isfinite(b.xyxy).all(axis=1)):
        left, top, right, bottom = (float(v) for v in b.xyxy[k])
        yield (left, top, right, bottom), b.names[k], bool(b.ignore[k])


def _facts(dataset: Dataset, entry: Entry, boxes: int) -> str:
    """How many boxes, and how much of the picture each mask marks."""
    facts = []
    if "detection" in dataset.tasks:
        facts.append("no box labels" if entry.boxes is None else _boxes_text(boxes))
    for task in (t for t in dataset.masks if t in dataset.tasks):
        shares = entry.masks.get(task)
        if task not in entry.masks:
            facts.append(f"no {task} mask")
        elif shares is not None and task == "drivable":
            facts.append(f"{100 * shares.yes / max(1, shares.all):.0f} % drivable")
    return ", ".join(facts)


def _boxes_text(boxes: int) -> str:
    return f"{boxes} box{'' if boxes == 1 else 'es'}"


def picture_of_sample(sample: Sample) -> Picture:
    """A sample as training sees it, with our class names."""
    marks: dict[tuple, Mark] = {}
    for box, c, ignore in zip(sample.xyxy.tolist(), sample.class_id.tolist(), sample.ignore):
        colour, label = class_style(int(c))
        key = (tuple(box), -1 if ignore else c)  # an area is ignored for every class alike
        marks[key] = Mark(box, "ignored", DIM, "hatched") if ignore else Mark(box, label, colour)
    facts = _boxes_text(len(marks)) if sample.labelled_classes.any() else ""
    drawn = tuple(marks.values())
    return Picture(
        sample.image, sample.name, drawn, sample.drivable, sample.lane, facts=facts,
        segmentation=sample.segmentation,
    )  # fmt: skip


def choose_frames(entries: Sequence[Entry], count: int) -> list[int]:
    """Indices of up to ``count`` frames to show, the same for the same entries.

    First up to half with what spoils training, every kind of it; then for every class, rarest
    first, the frames with most of it; the rest evenly spread over the split.
    """
    chosen: list[int] = []

    def take(candidates: Iterable[int], wanted: int, most: int) -> None:
        room = most - len(chosen)
        fresh = [i for i in candidates if i not in chosen]
        chosen.extend(fresh[: max(0, min(wanted, room))])

    kinds: dict[str, list[int]] = {}
    for i, e in enumerate(entries):
        for kind in {p.kind for p in e.problems if KINDS.get(p.kind, ("",))[0] == SPOILS}:
            kinds.setdefault(kind, []).append(i)
    for kind in sorted(kinds):
        take(kinds[kind], 3, (count + 1) // 2)
    troubled = len(chosen)
    total: Counter[str] = Counter()
    rows = [Counter(e.boxes.names) if e.boxes else Counter() for e in entries]
    for row in rows:
        total.update(row)
    for name, _ in reversed(total.most_common()):
        ranked = sorted((i for i, r in enumerate(rows) if r[name]), key=lambda i: -rows[i][name])
        take(ranked, 2, max(troubled, count * 3 // 4))
    step = max(1.0, len(entries) / max(1, count))
    take((int((k + 0.5) * step) for k in range(int(len(entries) / step))), count, count)
    take(range(len(entries)), count, count)
    return chosen[:troubled] + sorted(chosen[troubled:])


def draw_sheet(
    title: str, pictures: Sequence[Picture], columns: int = 3, classes: Sequence[str] = ()
) -> U8:
    """Draw pictures in rows under a legend; (h, 1600, 3) uint8 BGR.

    Args:
        classes: of segmentation masks, named in a second row of the legend.
    """
    width = (WIDTH_PX - (columns + 1) * _GAP) // columns
    cells = [_draw_cell(p, width) for p in pictures]
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    heights = [max(c.shape[0] for c in row) for row in rows]
    head = _HEAD + (_ROW if classes else 0)
    sheet = np.full((head + sum(heights) + _GAP * (len(rows) + 1), WIDTH_PX, 3), INK, np.uint8)
    _draw_head(sheet, title)
    _draw_classes(sheet, classes)
    top = head + _GAP
    for row, height in zip(rows, heights):
        for k, cell in enumerate(row):
            left = _GAP + k * (width + _GAP)
            sheet[top : top + cell.shape[0], left : left + width] = cell
        top += height + _GAP
    return sheet


def _draw_head(sheet: U8, title: str) -> None:
    put_text(sheet, elided(title, 20, WIDTH_PX - 2 * _GAP, True), _GAP, 22, 20, WHITE, bold=True)
    left = _GAP
    for colour, text in zip(CLASS_COLOURS, CLASS_LABELS):
        cv2.rectangle(sheet, (left + 1, 45), (left + 21, 59), colour, 2)
        left = _legend_text(sheet, text, left)
    _draw_marks(sheet, [Mark((left + 1, 45, left + 21, 59), "", STOP, "crossed")], (1, 1))
    left = _legend_text(sheet, "unknown class?", left)
    dashed_rectangle(sheet, (left + 1, 45, left + 26, 60), DIM, 1)
    left = _legend_text(sheet, "no object of ours", left)
    patch = np.full((17, 23, 3), 96, np.uint8)
    whole = np.full((17, 23), 255, np.uint8)
    for kind, text in (
        ("ignored", "ignored area"),
        ("drivable", "drivable"),
        ("lane", "lane line"),
        ("unknown", "surface unknown"),
        ("unknown lane", "lane unknown"),
    ):
        one = patch.copy()
        _fill(one, whole, kind)
        sheet[44:61, left : left + 23] = one
        left = _legend_text(sheet, text, left)


def _draw_classes(sheet: U8, classes: Sequence[str]) -> None:
    left = _GAP
    for k, name in enumerate(classes):
        if left + 29 + text_width_px(name, _TEXT) > WIDTH_PX - _GAP:
            break
        sheet[_HEAD : _HEAD + 17, left : left + 23] = palette()[k]
        put_text(sheet, name, left + 29, _HEAD + 8, _TEXT, WHITE)
        left += 29 + text_width_px(name, _TEXT) + 22


def _legend_text(sheet: U8, text: str, left: int) -> int:
    put_text(sheet, text, left + 29, 52, _TEXT, WHITE)
    return left + 29 + text_width_px(text, _TEXT) + 22


def _fill(image: U8, mask: U8, kind: str) -> None:
    """Mark an area, (h, w) uint8 not 0, in place by tint or stripes."""
    if kind == "drivable":
        tint(image, mask, DRIVABLE, 0.35)
    elif kind == "lane":
        tint(image, mask, LANE, 0.85)
    else:
        rows, columns = np.arange(mask.shape[0])[:, None], np.arange(mask.shape[1])
        slope = rows + columns if kind == "ignored" else rows - columns
        period = 9 if kind == "unknown lane" else 6
        colour = LANE if kind == "unknown lane" else WHITE
        on = (slope % period == 0) & (mask != 0)
        tint(image, on.astype(np.uint8), colour, 0.65)


def _draw_cell(picture: Picture, width: int) -> U8:
    if picture.image is None:
        image = np.full((round(width * 0.4), width, 3), PANEL, np.uint8)
        put_text(image, "cannot be read", width // 2 - 45, image.shape[0] // 2, _TEXT, FAULT)
    else:
        image = _draw_picture(picture, picture.image, width)
    strip = np.full((_CAPTION, width, 3), PANEL, np.uint8)
    known = (
        picture.notes if picture.spoilt else ", ".join(filter(None, (picture.facts, picture.notes)))
    )
    right = elided(f"! {known}" if picture.spoilt else known, _TEXT, width * 2 // 3)
    taken = text_width_px(right, _TEXT)
    colour = FAULT if picture.spoilt else AMBER if picture.notes else DIM
    put_text(strip, right, width - taken - 6, 11, _TEXT, colour)
    put_text(strip, elided(picture.caption, _TEXT, width - taken - 24), 6, 11, _TEXT, WHITE)
    return np.vstack([image, strip])


def _draw_picture(picture: Picture, given: U8, width: int) -> U8:
    """The picture at the cell's width with its labels; a tall one is narrowed and centred."""
    height, full = given.shape[:2]
    scale = min(width / full, _TALLEST * width / height)
    size = max(1, round(full * scale)), max(1, round(height * scale))
    filter_ = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = np.ascontiguousarray(cv2.resize(given, size, interpolation=filter_), np.uint8)
    if picture.segmentation is not None:
        small = cv2.resize(picture.segmentation, size, interpolation=cv2.INTER_NEAREST)
        image = tinted(image, np.asarray(small, np.uint8), 0.5)
    elif picture.drivable is not None:
        _fill(image, _shrunk(picture.drivable == 1, size), "drivable")
        _fill(image, _shrunk(picture.drivable == 255, size), "unknown")
    if picture.lane is not None:
        _fill(image, _shrunk(picture.lane == 1, size, 0.2), "lane")
        _fill(image, _shrunk(picture.lane == 255, size), "unknown lane")
    _draw_marks(image, picture.marks, (size[0] / full, size[1] / height))
    cell = np.full((size[1], width, 3), PANEL, np.uint8)
    left = (width - size[0]) // 2
    cell[:, left : left + size[0]] = image
    return cell


def _shrunk(mask: NDArray[np.bool_], size: tuple[int, int], share: float = 0.5) -> U8:
    """1 where at least ``share`` of a cell is true, so that thin lines are not lost."""
    area = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return (np.asarray(area) >= share).astype(np.uint8)


def _draw_marks(image: U8, marks: Sequence[Mark], scale: tuple[float, float]) -> None:
    """Boxes, then tags of the larger ones where there is room."""
    height, width = image.shape[:2]
    boxes: list[tuple[Mark, Box]] = []
    for mark in marks:
        x1, y1, x2, y2 = np.array(mark.xyxy) * (*scale, *scale)
        left, right = (round(float(np.clip(v, -2, width + 1))) for v in (x1, x2))
        top, bottom = (round(float(np.clip(v, -2, height + 1))) for v in (y1, y2))
        boxes.append((mark, (left, top, right, bottom)))
    for mark, (left, top, right, bottom) in boxes:
        thick = 2 if min(right - left, bottom - top) >= 14 else 1
        if mark.style == "hatched":
            area = np.zeros((height, width), np.uint8)
            area[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = 1
            _fill(image, area, "ignored")
        if mark.style in ("solid", "crossed"):
            cv2.rectangle(image, (left, top), (right, bottom), mark.colour, thick)
        else:
            dashed_rectangle(image, (left, top, right, bottom), mark.colour, 1)
        if mark.style == "crossed":
            cv2.line(image, (left, top), (right, bottom), mark.colour, 1, cv2.LINE_AA)
            cv2.line(image, (left, bottom), (right, top), mark.colour, 1, cv2.LINE_AA)
    taken: list[Box] = []
    tagged = (b for b in boxes if b[0].text)
    for mark, box in sorted(tagged, key=lambda b: -(b[1][2] - b[1][0]) * (b[1][3] - b[1][1])):
        _draw_tag(image, mark, box, taken)


def _draw_tag(image: U8, mark: Mark, box: Box, taken: list[Box]) -> None:
    left, top, right, bottom = box
    wide, high = text_width_px(mark.text, _TAG_TEXT) + 6, _TAG_TEXT + 4
    urgent = mark.style == "crossed"
    if not urgent and (max(right - left, bottom - top) < 16 or wide > 3.5 * (right - left)):
        return
    left = min(max(left, 0), image.shape[1] - wide)
    for y in (top - high, bottom, top):
        tag = (left, y, left + wide, y + high)
        fits = left >= 0 and y >= 0 and tag[3] <= image.shape[0]
        if fits and not any(overlap(tag, t) for t in taken):
            cv2.rectangle(image, tag[:2], (tag[2] - 1, tag[3] - 1), mark.colour, -1)
            put_text(image, mark.text, left + 3, y + high // 2, _TAG_TEXT, ink_on(mark.colour))
            taken.append(tag)
            return
