"""``roadstack label``: pseudo-labels in BDD100K's layout for frames that have none.

What a labelled set labels itself is left to it: only its other classes and surfaces are written.
``label.json`` holds the settings and ``labels/pseudo`` a file for each frame that is done, so that
a run that was stopped goes on; the list of boxes is joined from them at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data.datasets import Dataset, check_names, open_dataset, recognise, screen
from data.datasets.files import IMAGE_SUFFIXES, bare_name, list_images, read_image
from data.errors import InputError
from data.logs import Log, open_log
from data.logs.selection import listed
from data.taxonomy import CLASSES
from data.types import U8
from perception.runtime import Model
from perception.segmenter import Segmenter, load_any
from perception.selftrain import (
    MIN_LANE_WIDTH_PX,
    NEVER,
    THRESHOLDS,
    THRESHOLDS_OF,
    VIEWS,
    PseudoLabels,
    Thresholds,
    label,
    look,
    thin_lane,
)
from perception.selftrain_fit import choose_thresholds
from tools.files import inside, make_folder, write_json, write_png
from tools.progress import progress_bar, report_skipped

FORM = "roadstack-pseudo-1"
# one BDD100K category for each of our classes
_CATEGORY = ("car", "pedestrian", "bicycle", "traffic light", "traffic sign")
_DRIVABLE = np.array([2, 0] + [255] * 254, np.uint8)  # ours 0, 1, 255 -> the file's
_LANE = np.array([0, 255] + [128] * 254, np.uint8)
WEIGHT = 0.5  # what is recommended to train on them with


@dataclass(frozen=True, eq=False)
class Wanted:
    """What of a frame is without labels: classes (5,) bool, and the surfaces."""

    classes: NDArray[np.bool_]
    drivable: bool
    lane: bool

    def __bool__(self) -> bool:
        return bool(self.classes.any()) or self.drivable or self.lane


@dataclass(frozen=True, eq=False)
class Item:
    """A frame to label: ``name`` ends as an image does; ``path`` is None for a video's."""

    name: str
    path: Path | None
    image: Callable[[], U8]
    wanted: Callable[[tuple[int, int]], Wanted]


@dataclass(frozen=True, eq=False)
class Source:
    """Frames in order, how many there are (None: unknown), and the split to write them as."""

    items: Callable[[], Iterator[Item]]
    count: int | None
    split: str
    log: Log | None = None


def _all_wanted(_: tuple[int, int]) -> Wanted:
    return Wanted(np.ones(len(CLASSES), bool), True, True)


def _item(dataset: Dataset, i: int) -> Item:
    name, path = dataset.names[i], dataset.images[i]
    if Path(name).suffix.lower() not in IMAGE_SUFFIXES:
        name += path.suffix

    def wanted(size_px: tuple[int, int]) -> Wanted:
        own = dataset.labels(i, size_px)
        return Wanted(~own.labelled_classes, own.drivable is None, own.lane is None)

    return Item(name, path, lambda: read_image(path), wanted)


def _dataset(a: argparse.Namespace) -> Dataset:
    """A labelled set where one is recognised, else a folder of pictures."""
    layout = a.layout
    if layout is None:
        with suppress(InputError):
            layout = recognise(a.source)
    if layout in (None, "images"):
        names = tuple(list_images(a.source))
        paths = tuple(a.source / n for n in names)
        return Dataset("images", a.source, a.split or "train", names, paths, ())
    pairs = tuple(a.names)
    dataset = open_dataset(a.source, a.split or "train", layout, strict=a.strict, names=pairs)
    check_names(dataset, pairs)
    return dataset


def _open(a: argparse.Namespace) -> Source:
    if a.every < 1:
        raise InputError(f"--every {a.every}: expected a number of at least 1")
    if a.max_frames is not None and a.max_frames < 1:
        raise InputError(f"--max-frames {a.max_frames}: expected a number of at least 1")
    if not a.source.is_dir():
        return _open_video(a)
    if a.out.resolve() == a.source.resolve():
        raise InputError(f"--out {a.out}: is the source itself; give another folder")
    dataset, unreadable = screen(_dataset(a))
    report_skipped([str(p) for p in unreadable], str(a.source))
    chosen = range(0, len(dataset), a.every)[: a.max_frames]
    first: dict[str, str] = {}
    for i in chosen:
        name = _item(dataset, i).name
        other = first.setdefault(bare_name(name), name)
        if other != name:
            raise InputError(
                f"{a.source}: {other} and {name} would share one mask; rename one of them"
            )
    return Source(lambda: (_item(dataset, i) for i in chosen), len(chosen), dataset.split)


def _open_video(a: argparse.Namespace) -> Source:
    log = open_log(a.source, every=a.every, max_frames=a.max_frames)

    def items() -> Iterator[Item]:
        for frame in log:
            name = f"{a.source.stem}_{frame.index:06d}.jpg"
            yield Item(name, None, lambda f=frame: f.image, _all_wanted)  # type: ignore[misc]

    return Source(items, log.expected_frames, a.split or "train", log)


def _settings(a: argparse.Namespace, model: Model, split: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "form": FORM,
        "source": str(a.source),
        "split": split,
        "model": model.name,
        "sha256": model.sha256,
        "fit": None if a.fit is None else f"{a.fit} {a.fit_split} {a.precision:g}",
        "views": [asdict(v) for v in VIEWS],
        "min_confidence": a.min_confidence,
    }
    plain: dict[str, Any] = json.loads(json.dumps(made))
    return plain


def _earlier(out: Path, settings: dict[str, Any]) -> Thresholds | None:
    """Thresholds of a run in ``out`` that goes on; None where there is none.

    Raises:
        InputError: ``out`` holds something else.
    """
    path = out / "label.json"
    if not path.is_file():
        if (out / "images").exists() or (out / "labels").exists():
            raise InputError(f"--out {out}: holds other data; give a new folder")
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        given: dict[str, Any] = known["thresholds"]
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        thresholds = Thresholds(**given)
        check_settings(out, known["settings"], settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(f"{path}: cannot be read ({e}); give a new --out") from e
    return thresholds


def check_settings(out: Path, known: dict[str, Any], settings: dict[str, Any]) -> None:
    """InputError where those of an earlier run in ``out`` are not the same."""
    differs = [k for k, v in settings.items() if known.get(k) != v]
    if differs:
        raise InputError(f"--out {out}: labelled with another {differs[0]}; give a new folder")


def _thresholds(a: argparse.Namespace, model: Model) -> Thresholds:
    if a.fit is None:
        if model.sha256 != THRESHOLDS_OF:
            print(
                f"warning: the thresholds were measured for the released 'base', not for "
                f"'{model.name}' as it is; fit them with --fit SET, labelled and not trained on",
                file=sys.stderr,
            )
        return THRESHOLDS
    dataset = open_dataset(a.fit, a.fit_split)
    with progress_bar("fitting thresholds", len(dataset), "frame") as bar:
        return choose_thresholds(dataset, model, a.precision, report=bar)


def frame_entry(name: str, found: PseudoLabels, wanted: Wanted, sha256: str) -> dict[str, Any]:
    """A frame of det_20: boxes with ``confidence``, ``agreement`` and, where in doubt,
    ``ignored``, which the reader takes for an area to ignore.

    Classes that the frame has labels of elsewhere are ignored in all of it.
    """
    labels = []
    b = found.boxes
    for i, (box, c) in enumerate(zip(b.xyxy.tolist(), b.class_id, strict=True)):
        attributes: dict[str, Any] = {
            "confidence": round(float(b.score[i]), 4),
            "agreement": round(float(b.agreement[i]), 3),
        }
        if found.ignore[i]:
            attributes["ignored"] = True
        box2d = dict(zip(("x1", "y1", "x2", "y2"), (round(v, 2) for v in box), strict=True))
        category = _CATEGORY[int(c)]
        labels.append(
            {"id": str(i), "category": category, "attributes": attributes, "box2d": box2d}
        )
    attributes = {
        "pseudo": True,
        "confidence": round(found.confidence, 4),
        "agreement": round(found.agreement, 4),
        "classes": [CLASSES[c] for c in np.flatnonzero(wanted.classes)],
        "model_sha256": sha256,
    }
    return {"name": name, "attributes": attributes, "labels": labels}


def place_image(item: Item, image: U8, target: Path, link: bool) -> None:
    """Link, copy or write a frame under a temporary name, then rename it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        if item.path is None:
            _, data = cv2.imencode(target.suffix, image, (cv2.IMWRITE_JPEG_QUALITY, 95))
            part.write_bytes(data.tobytes())
        else:
            linked = False
            if link:
                with suppress(OSError):  # another file system, or one without links
                    os.link(item.path.resolve(), part)
                    linked = True
            if not linked:
                shutil.copyfile(item.path, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class _Labeller:
    """Labels one frame after another into the folder ``out``."""

    out: Path
    split: str
    model: Model
    thresholds: Thresholds
    min_confidence: float
    link: bool

    def entry_path(self, name: str) -> Path:
        return inside(self.out, f"labels/pseudo/{self.split}/{name}.json")

    def label(self, item: Item) -> None:
        """Write masks, image and entry of a frame, its entry last."""
        image = item.image()
        size = (image.shape[1], image.shape[0])
        asked = item.wanted(size)
        never = np.array(self.thresholds.high) >= NEVER
        lane = asked.lane and size[0] >= MIN_LANE_WIDTH_PX
        wanted = Wanted(asked.classes & ~never, asked.drivable, lane)
        entry: dict[str, Any] = {"state": "nothing to label"}
        if wanted:
            seen = look(image, self.model)
            found = label(seen, self.thresholds, wanted.classes, wanted.drivable, lane)
            made = frame_entry(item.name, found, wanted, self.model.sha256)
            kept = found.confidence >= self.min_confidence
            state = "kept" if kept else "too little confidence"
            entry = {"state": state, "frame": made, "size_px": size}
            if kept:
                self._write(item, image, found)
        write_json(self.entry_path(item.name), entry)

    def _write(self, item: Item, image: U8, found: PseudoLabels) -> None:
        mask = f"{bare_name(item.name)}.png"
        if found.drivable is not None:
            path = inside(self.out, f"labels/drivable/masks/{self.split}/{mask}")
            write_png(path, _DRIVABLE[found.drivable])
        if found.lane is not None:
            path = inside(self.out, f"labels/lane/binary/{self.split}/{mask}")
            write_png(path, _LANE[thin_lane(found.lane)])
        path = inside(self.out, f"images/100k/{self.split}/{item.name}")
        place_image(item, image, path, self.link)


def join_entries(out: Path, split: str) -> dict[str, int]:
    """Write ``det_SPLIT.json`` of all frames kept; returns how many frames there are by state,
    and of boxes ('boxes', 'ignored boxes').

    Classes of no frame are not declared, so that readers take them for unlabelled.
    """
    frames, counts = [], {"kept": 0, "boxes": 0, "ignored boxes": 0}
    folder = out / "labels/pseudo" / split
    for path in sorted(folder.rglob("*.json")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        counts[entry["state"]] = counts.get(entry["state"], 0) + 1
        if entry["state"] == "kept":
            frames.append((entry["frame"], entry["size_px"]))
    known = {c for f, _ in frames for c in f["attributes"]["classes"]}
    for f, (width, height) in frames:
        for label_ in f["labels"]:
            counts["ignored boxes" if "ignored" in label_["attributes"] else "boxes"] += 1
        for c in sorted(known - set(f["attributes"]["classes"])):
            f["labels"].append(
                {
                    "category": _CATEGORY[CLASSES.index(c)],
                    "attributes": {"ignored": True},
                    "box2d": {"x1": 0, "y1": 0, "x2": width, "y2": height},
                }
            )
    names = [{"name": n} for n, c in zip(_CATEGORY, CLASSES, strict=True) if c in known]
    if known:
        table = {"config": {"categories": names}, "frames": [f for f, _ in frames]}
        write_json(out / f"labels/det_20/det_{split}.json", table)
    return counts


def run_label(a: argparse.Namespace) -> int:
    """Write pseudo-labels of ``a.source`` to ``a.out``.

    Raises:
        InputError: the source or an option is unfit, ``a.out`` holds other labels, or no frame
            was sure enough.
    """
    for name in ("min_confidence", "precision"):
        if not 0 <= getattr(a, name) <= 1:
            option = name.replace("_", "-")
            raise InputError(f"--{option} {getattr(a, name):g}: expected a number from 0 to 1")
    source = _open(a)
    model = load_any(a.model, a.threads)
    if isinstance(model, Segmenter):
        from tools.label_pixels import run_label_pixels

        return run_label_pixels(a, model, source)
    settings = _settings(a, model, source.split)
    thresholds = _earlier(a.out, settings)
    make_folder(a.out)
    if thresholds is None:
        thresholds = _thresholds(a, model)
        write_json(a.out / "label.json", {"settings": settings, "thresholds": asdict(thresholds)})
    labeller = _Labeller(
        a.out, source.split, model, thresholds, a.min_confidence, a.images == "link"
    )
    done = 0
    with progress_bar("labelling", source.count, "frame") as bar:
        for item in islice(source.items(), a.max_frames):
            if not labeller.entry_path(item.name).is_file():
                labeller.label(item)
            done += 1
            bar(done)
    for fault in listed(source.log.faults) if source.log else ():
        print(f"warning: {fault}", file=sys.stderr)
    return _report(a, source, thresholds)


def _report(a: argparse.Namespace, source: Source, thresholds: Thresholds) -> int:
    counts = join_entries(a.out, source.split)
    kept, doubtful = counts["kept"], counts.get("too little confidence", 0)
    if not kept:
        raise InputError(
            f"{a.source}: no frame to label: {doubtful} of too little confidence "
            f"(--min-confidence {a.min_confidence:g}), {counts.get('nothing to label', 0)} labelled"
        )
    print(
        f"{kept} frames labelled, {counts['boxes']} boxes and {counts['ignored boxes']} areas to "
        f"ignore: {a.out}; {doubtful} frames of too little confidence left out"
    )
    never = [c for c, t in zip(CLASSES, thresholds.high, strict=True) if t >= NEVER]
    if never:
        print(f"not labelled, for want of a measured precision: {', '.join(never)}")
    if not (a.out / "labels/lane/binary" / source.split).is_dir():
        print(f"lanes: none written (labelled already, or pictures under {MIN_LANE_WIDTH_PX} px)")
    print(
        f"to train on them: [[data]] path = {json.dumps(str(a.out))}, "
        f"split = {json.dumps(source.split)}, handed = true, weight = {WEIGHT}"
    )
    return 0
