"""``roadstack predict``: objects and masks in a form that any metric tool can score.

An earlier run's results in ``--out`` stay as they are until the new ones are complete. Then they
are replaced as a whole: where ``--out`` holds a ``detections.json`` or ``classes.json``, PNG files
below its ``drivable/``, ``lane/`` and ``segmentation/`` that the new run did not write are removed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from data.errors import InputError
from data.logs import Log, open_log
from data.logs.images import IMAGE_SUFFIXES
from data.logs.selection import listed
from data.taxonomy import CLASSES
from data.types import Detections, Frame
from perception.decode import SEGMENTATION, surface_mask
from perception.runtime import Model
from perception.segmenter import Segmenter, load_any
from tools.detector import with_detector
from tools.files import inside, make_folder, write_json, write_png
from tools.progress import progress_bar

DETECTIONS = "detections.json"
CLASSES_FILE = "classes.json"  # names of the values of segmentation/NAME.png
MASK_KINDS = ("drivable", "lane", SEGMENTATION)

NamedLog = tuple[str, Log]  # prefix of its frames' names, frames


def _short(value: float, origin: float = 0.0) -> float:
    """``value`` with the fewest decimals, two at least, with which ``origin + value`` is still the
    same float32."""
    exact = np.float32(origin + value)
    tries = (round(value, n) for n in range(2, 16))
    return next((v for v in tries if np.float32(origin + v) == exact), value)


def coco_rows(name: str, d: Detections) -> list[dict[str, Any]]:
    """One row a box: image, category, bbox [x, y, w, h] in px of the original image, score; read
    again they are the same to the last bit, so that they score the same."""
    rows = []
    for (x1, y1, x2, y2), score, c in zip(
        d.xyxy.tolist(), d.score.tolist(), d.class_id, strict=True
    ):
        left, top = _short(x1), _short(y1)
        bbox = [left, top, _short(x2 - left, left), _short(y2 - top, top)]
        rows.append(
            {"image": name, "category": CLASSES[int(c)], "bbox": bbox, "score": _short(score)}
        )
    return rows


def mask_name(image: str) -> str:
    """Path of an image's mask below ``drivable/``, ...: 'a/b.jpg' gives 'a/b.png'."""
    return Path(image).with_suffix(".png").as_posix()


def _image_names(folder: Path) -> list[str]:
    files = (p for p in folder.iterdir() if not p.name.startswith("."))
    return sorted(p.name for p in files if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def _check_mask_names(folder: Path) -> None:
    """Refuse pictures that differ in their suffix alone."""
    first: dict[str, str] = {}
    for name in _image_names(folder):
        other = first.setdefault(mask_name(name), name)
        if other != name:
            raise InputError(
                f"{folder}: {other} and {name} would both write {mask_name(name)}; "
                "put them in folders of their own"
            )


def _folders(source: Path, out: Path) -> list[tuple[str, Path]]:
    """(prefix of names, log) for a source; a folder without images gives its sub-folders.

    Hidden folders and what an earlier run wrote to ``out`` are no source.
    """
    own = [(out / kind).resolve() for kind in MASK_KINDS]

    def written(p: Path) -> bool:
        return any(p.resolve().is_relative_to(o) for o in own)

    if source.is_dir() and source.resolve() == out.resolve():
        raise InputError(f"--out {out}: is the source itself; give another folder")
    if written(source):
        raise InputError(f"{source}: lies among the masks of --out {out}; give another folder")
    if not source.is_dir() or _image_names(source):
        return [("", source)]
    below = []
    for p in sorted(source.rglob("*")):
        relative = p.relative_to(source)
        hidden = any(part.startswith(".") for part in relative.parts)
        if p.is_dir() and not hidden and not written(p) and _image_names(p):
            below.append((f"{relative.as_posix()}/", p))
    return below or [("", source)]


def _open_logs(a: argparse.Namespace) -> list[NamedLog]:
    """Open all folders of a source; of several, those that cannot be read are left out."""
    options = {
        "start_s": a.start, "stop_s": a.stop, "every": a.every, "max_frames": a.max_frames,
        "fps": a.fps,
    }  # fmt: skip
    logs: list[NamedLog] = []
    refused: list[InputError] = []
    for prefix, path in _folders(a.source, a.out):
        if path.is_dir():
            _check_mask_names(path)
        try:
            logs.append((prefix, open_log(path, **options)))
        except InputError as e:
            refused.append(e)
    if not logs:
        raise refused[0]
    for error in refused:
        print(f"warning: {error}: left out", file=sys.stderr)
    return logs


def _frames(logs: Iterable[NamedLog], stem: str) -> Iterator[tuple[str, Frame]]:
    for prefix, log in logs:
        for frame in log:
            yield prefix + frame.name if frame.name else f"{stem}_{frame.index:06d}.png", frame


def _answer(
    model: Model | Segmenter, name: str, frame: Frame, folder: Path, min_score: float
) -> list[dict[str, Any]]:
    """Write the masks of a frame; returns its objects."""
    target = mask_name(name)
    if isinstance(model, Segmenter):
        write_png(inside(folder / SEGMENTATION, target), model(frame.image))
        return []
    found, maps = model(frame.image, min_score)
    height, width = frame.image.shape[:2]
    for kind in ("drivable", "lane"):
        mask = surface_mask(getattr(maps, kind), maps.scale, width, height)
        write_png(inside(folder / kind, target), mask)
    return coco_rows(name, found)


def _predict(
    model: Model | Segmenter, logs: list[NamedLog], folder: Path, a: argparse.Namespace
) -> tuple[int, int]:
    """Write all results to ``folder``; returns the number of frames and of objects."""
    counts = [log.expected_frames for _, log in logs]
    total = sum(n or 0 for n in counts) or None
    if total and a.max_frames:
        total = min(total, a.max_frames)
    rows: list[dict[str, Any]] = []
    done = 0
    with progress_bar("predicting", total, "frame") as bar:
        # each log stops after --max-frames of its own, but the option counts them all
        for name, frame in islice(_frames(logs, a.source.stem), a.max_frames):
            rows += _answer(model, name, frame, folder, a.min_score)
            done += 1
            bar(done)
    if not done:
        stop = "the end" if a.stop is None else f"--stop {a.stop:g}"
        raise InputError(f"{a.source}: no frame between --start {a.start:g} and {stop}")
    if isinstance(model, Segmenter):
        write_json(folder / CLASSES_FILE, list(model.classes))
    else:
        write_json(folder / DETECTIONS, rows)
    return done, len(rows)


def _check_out(out: Path) -> None:
    """Refuse an output folder in which the results could not be put, before the work begins."""
    for kind in MASK_KINDS:
        if (out / kind).exists() and not (out / kind).is_dir():
            raise InputError(f"--out {out}: {kind} is a file there; give another folder")
    for name in (DETECTIONS, CLASSES_FILE):
        if (out / name).is_dir():
            raise InputError(f"--out {out}: {name} is a folder there; give another folder")


def _publish(folder: Path, out: Path) -> None:
    """Move finished results to ``out`` in place of an earlier run's, detections last."""
    masks = [p.relative_to(folder) for kind in MASK_KINDS for p in (folder / kind).rglob("*.png")]
    lists = (DETECTIONS, CLASSES_FILE)
    if any((out / name).exists() for name in lists):
        kept = {out / m for m in masks}
        for kind in MASK_KINDS:
            for old in sorted((out / kind).rglob("*.png")):
                if old.is_file() and old not in kept:
                    old.unlink()
    for mask in sorted(masks):
        target = inside(out, str(mask))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / mask, target)
    for name in lists:
        if (folder / name).exists():
            os.replace(folder / name, out / name)
        else:
            (out / name).unlink(missing_ok=True)


def run_predict(a: argparse.Namespace) -> int:
    """Write ``detections.json``, ``drivable/NAME.png`` and ``lane/NAME.png`` to ``a.out``, or, of a
    network that gives each pixel a class, ``segmentation/NAME.png`` and ``classes.json``.

    Raises:
        InputError: the source or an option is unfit, or no frame is selected; ``a.out`` then
            holds what it held before, as it does after an interrupt.
    """
    if not 0 <= a.min_score <= 1:
        raise InputError(f"--min-score {a.min_score}: expected a probability from 0 to 1")
    _check_out(a.out)
    logs = _open_logs(a)
    model = load_any(a.model, a.threads)
    if not isinstance(model, Segmenter):
        model = with_detector(model, a)
    elif a.detector:
        raise InputError(f"--detector: has no use with {a.model}, which gives each pixel a class")
    out = make_folder(a.out)
    with TemporaryDirectory(
        prefix=".predict-", suffix=".part", dir=out, ignore_cleanup_errors=True
    ) as folder:
        frames, objects = _predict(model, logs, Path(folder), a)
        _publish(Path(folder), out)
    for _, log in logs:
        for fault in listed(log.faults):
            print(f"warning: {fault}", file=sys.stderr)
    objects_text = "" if isinstance(model, Segmenter) else f", {objects} objects"
    print(f"{frames} frames{objects_text}: {out}")
    return 0
