"""Detections of recorded drives: KITTI, MOT and COCO files to one list of boxes a drive.

KITTI: ``DRIVE.txt`` in a folder, or in folders one a class, in either of two forms. By commas,
``frame, type, x1, y1, x2, y2, score, h, w, l, x, y, z, rotation_y, alpha`` with type 1 Pedestrian,
2 Car, 3 Cyclist (Weng et al., "3D Multi-Object Tracking: A Baseline and New Evaluation Metrics",
IROS 2020); by blanks, the rows of KITTI results, ``frame id type truncated occluded alpha x1 y1 x2
y2 h w l x y z rotation_y score``, whose ids are not read. MOT: ``DRIVE.txt`` or
``DRIVE/det/det.txt``, rows ``frame,-1,x,y,width,height,score``, frames from 1. COCO: a whole data
set with scores, or a results file with class names, whose images' names end in their frame's
number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from perception.tracking.rows import Rows, read_rows

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

FORMATS = ("kitti", "mot", "coco")
_KITTI_TYPES = {"1": "Pedestrian", "2": "Car", "3": "Cyclist"}
_MAX_FRAME = 10_000_000


@dataclass(frozen=True, eq=False)
class DriveDetections:
    """All detections of a drive, sorted by frame.

    Attributes:
        name: of the drive; sources: the folders or files that they come from.
        frame: (n,) int64; kind: (n,) the set's own class names.
        xyxy: (n, 4) float64 px and score: (n,) float64 as written, NaN and all.
    """

    name: str
    sources: tuple[Path, ...]
    frame: I64
    kind: NDArray[np.str_]
    xyxy: F64
    score: F64


def read_detections(path: Path, layout: str) -> list[DriveDetections]:
    """Read every drive of a file or folder in the layout 'kitti', 'mot' or 'coco'.

    Raises:
        InputError: nothing is there, or a file is malformed, its frames go back or come twice.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    parts: dict[str, list[DriveDetections]] = {}
    for file, name in _files(path, layout):
        drives = _coco(file) if layout == "coco" else [_text(file, name, layout)]
        for drive in drives:
            parts.setdefault(drive.name, []).append(drive)
    if not parts:
        suffix = "json" if layout == "coco" else "txt"
        raise InputError(f"{path}: no detections in the form '{layout}' (*.{suffix})")
    return [_merged(parts[name]) for name in sorted(parts)]


def _files(path: Path, layout: str) -> Iterator[tuple[Path, str]]:
    """(file, name of its drive)."""
    suffix = ".json" if layout == "coco" else ".txt"
    if path.is_file():
        yield path, path.stem
        return
    own = sorted(p for p in path.glob(f"*{suffix}") if p.is_file())
    for file in own:
        yield file, file.stem
    if own:
        return
    if layout == "mot":
        for file in sorted(path.glob("*/det/det.txt")):
            yield file, file.parts[-3]
        return
    for file in sorted(path.glob(f"*/*{suffix}")):
        yield file, file.stem


def _merged(parts: list[DriveDetections]) -> DriveDetections:
    frame = np.concatenate([p.frame for p in parts])
    order = np.argsort(frame, kind="stable")
    return DriveDetections(
        parts[0].name,
        tuple(s for p in parts for s in p.sources),
        frame[order],
        np.concatenate([p.kind for p in parts])[order],
        np.concatenate([p.xyxy for p in parts])[order],
        np.concatenate([p.score for p in parts])[order],
    )


def _text(file: Path, name: str, layout: str) -> DriveDetections:
    rows = read_rows(file)
    if layout == "mot":
        frame, kind, xyxy, score = _mot(rows)
    elif rows.fields and len(rows.fields[0]) in (7, 15):
        frame, kind, xyxy, score = _kitti_csv(rows)
    else:
        frame, kind, xyxy, score = _kitti_results(rows)
    whole = (frame == np.round(frame)) & (frame >= 0) & (frame < _MAX_FRAME)
    first = int(layout == "mot")
    rows.refuse(~whole, f"a frame number from {first} to {_MAX_FRAME - 1 + first} first")
    back = np.zeros(len(frame), np.bool_)
    back[1:] = frame[1:] < frame[:-1]
    rows.refuse(back, "frames in rising order, each in one piece")
    return DriveDetections(name, (file,), frame.astype(np.int64), kind, xyxy, score)


_Parts = tuple[F64, NDArray[np.str_], F64, F64]


def _kitti_csv(rows: Rows) -> _Parts:
    k = rows.length((15, 7), "frame, type, x1, y1, x2, y2, score, ...")
    types = [row[1] for row in rows.fields]
    names = [_KITTI_TYPES.get(t.removesuffix(".0"), t) for t in types]
    rows.refuse(np.array([n.isdigit() for n in names], np.bool_), "type 1, 2 or 3 or a name second")
    values = rows.columns(2, min(k, 7))
    return rows.columns(0, 1)[:, 0], np.array(names, np.str_), values[:, :4], values[:, 4]


def _kitti_results(rows: Rows) -> _Parts:
    rows.length((18,), "frame id type truncated occluded alpha x1 y1 x2 y2 ... score")
    kind = np.array([row[2] for row in rows.fields], np.str_)
    return rows.columns(0, 1)[:, 0], kind, rows.columns(6, 10), rows.columns(17, 18)[:, 0]


def _mot(rows: Rows) -> _Parts:
    k = rows.length((7, 8, 9, 10), "frame,-1,x,y,width,height,score,...")
    values = rows.columns(0, k)
    xyxy = np.concatenate([values[:, 2:4], values[:, 2:4] + values[:, 4:6]], axis=1)
    return values[:, 0] - 1, np.full(len(values), "Pedestrian"), xyxy, values[:, 6]


def _coco(file: Path) -> list[DriveDetections]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as e:
        raise InputError(f"{file}:{e.lineno}: no JSON ({e.msg})") from e
    except (OSError, ValueError, RecursionError) as e:  # also text, a number's length, depth
        raise InputError(f"{file}: cannot be read ({e!s:.200})") from e
    whole = content if isinstance(content, dict) else {}
    entries = whole.get("annotations") if whole else content
    if not isinstance(entries, list):
        raise InputError(f"{file}: expected a list of results or a set with 'annotations'")
    try:
        images = {i.get("id"): i.get("file_name", i.get("id")) for i in whole.get("images", [])}
        classes = {c.get("id"): c.get("name") for c in whole.get("categories", [])}
    except (AttributeError, TypeError) as e:
        raise InputError(f"{file}: 'images' or 'categories': expected lists of entries") from e
    drives: dict[str, list[tuple[int, str, list[float], float]]] = {}
    for number, entry in enumerate(entries):
        try:
            image = entry.get("file_name", images.get(entry.get("image_id"), entry.get("image_id")))
            drive, frame = _frame_of(image, file)
            if not abs(frame) <= _MAX_FRAME:
                raise ValueError("its frame's number is too large")
            kind = entry.get("category", classes.get(entry.get("category_id")))
            if kind is None:
                raise KeyError("category")
            x, y, w, h = map(float, entry["bbox"])
            row = (frame, str(kind), [x, y, x + w, y + h], float(entry["score"]))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as e:
            hint = ""
            if isinstance(e, KeyError) and e.args == ("category",):  # results have numbers alone
                hint = "; give a whole data set with 'categories', and the results as annotations"
            raise InputError(
                f"{file}: entry {number}: expected image, category name, bbox of four numbers "
                f"and score, given {str(entry)[:80]}{hint}"
            ) from e
        drives.setdefault(drive, []).append(row)
    return [_from_rows(name, file, rows) for name, rows in drives.items()]


def _frame_of(image: Any, file: Path) -> tuple[str, int]:
    """Drive and frame of an image's name: the number it ends in, and its folder."""
    if isinstance(image, int):
        return file.stem, image
    path = Path(str(image))
    digits = re.search(r"(\d+)$", path.stem)
    if digits is None:
        raise ValueError(f"no frame number in '{image}'")
    return path.parent.name or file.stem, int(digits.group(1))


def _from_rows(
    name: str, file: Path, rows: list[tuple[int, str, list[float], float]]
) -> DriveDetections:
    rows = sorted(rows, key=lambda r: r[0])
    frame, kind, xyxy, score = zip(*rows)
    return DriveDetections(
        name, (file,), np.array(frame, np.int64), np.array(kind, np.str_),
        np.array(xyxy, np.float64).reshape(-1, 4), np.array(score, np.float64),
    )  # fmt: skip
