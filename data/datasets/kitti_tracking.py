"""KITTI tracking (Geiger et al. 2012): boxes with identities, drive by drive.

Images may be absent: the set is then its label files, fit to score or tune a tracker. A drive is
a split; 'all' joins them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from data.datasets.base import Boxes, Dataset, Problem
from data.datasets.files import IMAGE_SUFFIXES, folders, read_classes, read_text, visible
from data.datasets.kitti import boxes_of, class_tables, parse_line
from data.errors import InputError

LOOKS = "training/label_02/DRIVE.txt"
WHOLE = "all"  # the split that joins all others

_LAST_FRAME = 999999  # six digits, as in the images' names
_Row = tuple[str, list[float], dict[str, Any]]
_Drive = tuple[dict[int, list[_Row]], dict[int, list[Problem]]]


def recognises(root: Path) -> bool:
    if (root / "training/image_02").is_dir():
        return True
    return any(visible((root / "training/label_02").glob("*.txt")))


def splits(root: Path) -> tuple[str, ...]:
    labels = {p.stem for p in visible((root / "training/label_02").glob("*.txt"))}
    return tuple(sorted({*labels, *folders(root / "training/image_02")}))


def parse_drive(path: Path) -> _Drive:
    """Rows and problems of a label file by frame; problems without a frame stand at -1."""
    rows: dict[int, list[_Row]] = {}
    problems: dict[int, list[Problem]] = {}
    for n, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        frame = -1
        try:
            part = line.split(None, 2)
            frame, track_id = int(part[0]), int(part[1])
            if not 0 <= frame <= _LAST_FRAME:
                frame = -1
                raise ValueError(f"frame {part[0]} is not within 0 to {_LAST_FRAME}")
            name, box, more = parse_line(line, first=2)
        except (ValueError, IndexError) as e:
            problem = Problem("label_malformed", f"{path}:{n}", f"{e}; line left out")
            problems.setdefault(frame, []).append(problem)
            continue
        said = {"track_id": track_id} if track_id >= 0 else {}
        rows.setdefault(frame, []).append((name, box, said | more))
    return rows, problems


def _frames_of(root: Path, drive: str, drive_of: Callable[[str], _Drive]) -> list[str]:
    """Image names of a drive; without images those of its labelled frames, from 0 to the last."""
    images = visible((root / "training/image_02" / drive).glob("*"))
    names = sorted(p.name for p in images if p.suffix.lower() in IMAGE_SUFFIXES)
    if not names:
        rows, problems = drive_of(drive)
        last = max((*rows, *problems), default=-1)
        names = [f"{k:06d}.png" for k in range(last + 1)]
    return names


def _frame(name: str) -> int:
    stem = name.rpartition(".")[0]
    return int(stem) if stem.isdecimal() else -2


def _label_path(root: Path, drive: str) -> Path:
    return root / "training/label_02" / f"{drive}.txt"


def _unplaced(
    parsed: _Drive, frames: list[tuple[str, str]], root: Path, drive: str
) -> list[Problem]:
    """Lines of a drive that belong to none of its frames."""
    rows, problems = parsed
    have = {_frame(name) for d, name in frames if d == drive}
    text = "no image of frame {}; its labels are left out"
    where = str(_label_path(root, drive))
    lost = [Problem("image_missing", where, text.format(k)) for k in sorted(rows) if k not in have]
    return problems.get(-1, []) + lost


def open_split(root: Path, split: str) -> Dataset:
    """Read a drive, or all of them: ``training/label_02``, ``image_02`` and ``calib``.

    Raises:
        InputError: there are neither images nor labels of it.
    """
    drives = splits(root) if split == WHOLE else (split,)
    drive_of = cache(lambda drive: parse_drive(_label_path(root, drive)))
    frames = [(drive, name) for drive in drives for name in _frames_of(root, drive, drive_of)]
    if not frames:
        raise InputError(f"{root}: no images and no labels of drive '{split}'")
    known = tuple(d for d in drives if _label_path(root, d).is_file())
    found = {r[0]: None for d in known for rows in drive_of(d)[0].values() for r in rows}
    classes, table, labelled = class_tables(read_classes(root), lambda: found)
    written = {"_".join(c.split()): c for c in classes}
    calibs = {d: root / "training/calib" / f"{d}.txt" for d in drives}

    def read_boxes(i: int) -> Boxes | None:
        drive, frame = frames[i][0], _frame(frames[i][1])
        if drive not in known:
            return None
        rows, problems = drive_of(drive)
        where = f"{_label_path(root, drive)}: frame {frame}"
        return boxes_of(rows.get(frame, []), problems.get(frame, []), where, written)

    return Dataset(
        "kitti_tracking",
        root,
        split,
        tuple(f"{drive}/{name}" for drive, name in frames),
        tuple(root / "training/image_02" / drive / name for drive, name in frames),
        ("detection",) if known else (),
        table,
        labelled,
        read_boxes,
        class_names=classes,
        problems=tuple(p for d in known for p in _unplaced(drive_of(d), frames, root, d)),
        calibs=tuple(calibs[d] if calibs[d].is_file() else None for d, _ in frames),
        frame_attributes=lambda i: {"drive": frames[i][0], "frame": _frame(frames[i][1])},
    )
