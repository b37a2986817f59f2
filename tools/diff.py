"""``roadstack diff``: two replays' records, frame by frame, each field within its tolerance."""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from data.errors import InputError
from tools.faults import codes
from tools.record import SCHEMA

# What counts as the same. Wide enough for another processor's or ONNX Runtime's rounding, which
# moves scores in the third decimal, and narrow enough for any change of the method to show. A
# field without an entry must be equal. A detection that only one run has differs by its score; of
# texts the words must be equal, or all of them where the comparison is exact.
TOLERANCES = {
    "camera.focal_px": 0.2,
    "camera.horizon_row_px": 1.0,
    "camera.height_m": 0.002,
    "camera.pitch_rad": 0.002,
    "camera.yaw_rad": 0.002,
    "camera.pitch_std_rad": 0.002,
    "camera.yaw_std_rad": 0.002,
    "detections.score": 0.02,
    "detections.xyxy_px": 1.0,
    "detections.missing": 0.16,
    "tracks.missing": 0.0,
    "tracks.score": 0.02,
    "tracks.xyxy_px": 1.5,
    "tracks.age_s": 0.002,
    "tracks.since_update_s": 0.002,
    "tracks.position_m": 0.3,
    "tracks.position_std_m": 0.2,
    "tracks.velocity_mps": 0.3,
    "own_motion.speed_mps": 0.3,
    "own_motion.speed_std_mps": 0.3,
    "own_motion.yaw_rate_radps": 0.01,
    "own_motion.yaw_rate_std_radps": 0.01,
    "surfaces.drivable_share": 0.005,
    "surfaces.lane_share": 0.002,
    "plan.length_m": 0.5,
    "plan.on_drivable": 0.05,
    "plan.points": 1,  # as many as its length may differ by
    "plan.position_m": 0.2,
    "plan.yaw_rad": 0.03,
    "plan.speed_mps": 0.3,
    "plan.curvature_1pm": 0.02,
    "plan.t_s": 0.2,
}
_MATCH_IOU = 0.5
_MAX_LINE = 32 << 20  # characters; a frame of a thousand objects takes a hundredth
_POINT = ("yaw_rad", "speed_mps", "curvature_1pm", "t_s")

Row = dict[str, Any]


@dataclass
class FieldDiff:
    """Of one field: frames in which it is beyond its tolerance, the largest difference in any
    frame (0 where none is a number), and the index of the first frame beyond it with what both
    runs have there."""

    frames: int = 0
    largest: float = 0.0
    first: int | None = None
    example: str = ""


@dataclass
class Comparison:
    """``frames``: how many were compared; ``first``: index of the first that differs."""

    frames: int = 0
    differing: int = 0
    first: int | None = None
    fields: dict[str, FieldDiff] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        return self.first is None


def compare_records(
    a: Iterator[Row], b: Iterator[Row], tolerance: dict[str, float], exact: bool = False
) -> Comparison:
    """Compare two records line by line; a line that only one has differs in ``frame``."""
    result = Comparison()
    for row_a, row_b in itertools.zip_longest(a, b):
        found: list[tuple[str, float, str]] = []
        if row_a is None or row_b is None:
            found.append(("frame", math.inf, f"only in {'B' if row_a is None else 'A'}"))
        else:
            try:
                found.extend(row_differences(row_a, row_b, exact))
            except Exception as e:  # whatever a line of other fields or kinds brings about
                reason = f"{type(e).__name__} {e!s:.100}"
                raise InputError(f"line {result.frames + 1}: no line of {SCHEMA} ({reason})") from e
        index = _index(row_a or row_b)
        result.frames += 1
        _enter(result, found, index, tolerance)
    return result


def _index(row: Row) -> int:
    if not isinstance(row["index"], int):
        raise InputError(f"index {row['index']!r:.60}: expected a frame's number")
    return row["index"]


def _enter(
    result: Comparison, found: list[tuple[str, float, str]], index: int, limit: dict[str, float]
) -> None:
    beyond: set[str] = set()
    for name, size, example in found:
        entry = result.fields.setdefault(name, FieldDiff())
        entry.largest = max(entry.largest, 0.0 if math.isinf(size) else size)
        if size <= limit.get(name, 0.0) + 1e-9:  # the record's decimals are no binary ones
            continue
        if entry.first is None:
            entry.first, entry.example = index, example
        beyond.add(name)
    for name in beyond:
        result.fields[name].frames += 1
    if beyond:
        result.differing += 1
        result.first = index if result.first is None else result.first


def row_differences(a: Row, b: Row, exact: bool = False) -> list[tuple[str, float, str]]:
    """(field, size, both values) of what is not equal; the size is inf for what has none, and 0
    for what counts as the same unless ``exact``."""
    found = list(_fields(a, b, exact))
    if not found and a != b:
        found.append(("other", math.inf if exact else 0.0, "order of lists, or other fields"))
    return found


def _fields(a: Row, b: Row, exact: bool) -> Iterator[tuple[str, float, str]]:
    yield from _plain("index", a["index"], b["index"])
    yield from _plain("t_ns", a["t_ns"], b["t_ns"])
    yield from _texts("faults", a["faults"], b["faults"], codes, exact)
    yield from _plain("scene", "camera" in a, "camera" in b)
    if "camera" in a and "camera" in b:
        for key in sorted({*a["camera"], *b["camera"]}):
            yield from _plain(f"camera.{key}", a["camera"].get(key), b["camera"].get(key))
        yield from _detections(a["detections"], b["detections"])
        yield from _tracks(a["tracks"], b["tracks"])
        own_a, own_b = a.get("own_motion"), b.get("own_motion")
        if own_a and own_b:
            for key in sorted({*own_a, *own_b}):
                yield from _plain(f"own_motion.{key}", own_a.get(key), own_b.get(key))
        elif ("own_motion" in a) != ("own_motion" in b):
            yield "own_motion", math.inf, f"only in {'A' if 'own_motion' in a else 'B'}"
        else:
            yield from _plain("own_motion", own_a, own_b)
        for key in sorted({*a["surfaces"], *b["surfaces"]}):
            yield from _plain(f"surfaces.{key}", a["surfaces"].get(key), b["surfaces"].get(key))
    yield from _plan(a["plan"], b["plan"], exact)


def _plain(name: str, a: Any, b: Any) -> Iterator[tuple[str, float, str]]:
    """Two values: numbers and lists of them by their greatest difference, others by equality."""
    if a == b:
        return
    size, text = _worst(a, b)
    yield name, size, text


def _texts(
    name: str, a: Any, b: Any, gist: Callable[[Any], Any], exact: bool
) -> Iterator[tuple[str, float, str]]:
    """Texts that are not equal: a difference if ``exact`` or where their gist is not equal."""
    differs = gist(a) != gist(b)
    if a != b:
        yield name, math.inf if exact or differs else 0.0, _worst(a, b)[1]


def _words(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "#", text)


def _worst(a: Any, b: Any) -> tuple[float, str]:
    """The greatest difference of two values, and what both have there."""
    if a == b:
        return 0.0, ""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        found = [(*_worst(x, y), i) for i, (x, y) in enumerate(zip(a, b, strict=True))]
        size, text, i = max(found, key=lambda f: f[0])
        return size, f"[{i}]{'' if text.startswith('[') else ' '}{text}"
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b))
    size = float(abs(a - b)) if numbers else math.inf
    return size, f"{a!s:.60} against {b!s:.60}"


def _detections(a: list[Row], b: list[Row]) -> Iterator[tuple[str, float, str]]:
    """Boxes of a class are paired by overlap, best first."""
    pairs = sorted(
        ((iou, i, j) for i, x in enumerate(a) for j, y in enumerate(b)
         if x["class"] == y["class"] and (iou := _iou(x["xyxy"], y["xyxy"])) >= _MATCH_IOU),
        key=lambda p: (-p[0], p[1], p[2]),
    )  # fmt: skip
    left_a, left_b = set(range(len(a))), set(range(len(b)))
    for _, i, j in pairs:
        if i in left_a and j in left_b:
            left_a.remove(i)
            left_b.remove(j)
            yield from _plain("detections.score", a[i]["score"], b[j]["score"])
            yield from _plain("detections.xyxy_px", a[i]["xyxy"], b[j]["xyxy"])
    for rows, left, where in ((a, left_a, "A"), (b, left_b, "B")):
        for i in sorted(left):
            what = f"{rows[i]['class']} of {rows[i]['score']} only in {where}"
            yield "detections.missing", float(rows[i]["score"]), what


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    if None in a or None in b:
        return 0.0
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)


def _tracks(a: list[Row], b: list[Row]) -> Iterator[tuple[str, float, str]]:
    by_id_a, by_id_b = {t["id"]: t for t in a}, {t["id"]: t for t in b}
    for i in sorted({*by_id_a, *by_id_b}):
        x, y = by_id_a.get(i), by_id_b.get(i)
        if x is None or y is None:
            one = x or y or {}
            text = f"#{i} {one['class']} only in {'B' if x is None else 'A'}"
            yield "tracks.missing", float(one["score"]), text
            continue
        yield from _plain("tracks.class", x["class"], y["class"])
        yield from _plain("tracks.xyxy_px", x["xyxy"], y["xyxy"])
        for key in (
            "score", "age_s", "since_update_s", "position_m", "position_std_m", "velocity_mps",
        ):  # fmt: skip
            for name, size, text in _plain(f"tracks.{key}", x[key], y[key]):
                yield name, size, f"#{i}: {text}"


def _plan(a: Row, b: Row, exact: bool) -> Iterator[tuple[str, float, str]]:
    """Points are compared one by one as far as both plans go; their number tells of the rest."""
    yield from _plain("plan.status", a["status"], b["status"])
    yield from _texts("plan.reason", a["reason"], b["reason"], _words, exact)
    yield from _plain("plan.length_m", a["length_m"], b["length_m"])
    yield from _plain("plan.on_drivable", a.get("on_drivable"), b.get("on_drivable"))
    yield from _plain("plan.points", len(a["points"]), len(b["points"]))
    points = list(zip(a["points"], b["points"], strict=False))
    if not points or a["points"] == b["points"]:
        return
    yield from _plain("plan.position_m", [p[:2] for p, _ in points], [q[:2] for _, q in points])
    for column, name in enumerate(_POINT, 2):
        yield from _plain(f"plan.{name}", [p[column] for p, _ in points],
                          [q[column] for _, q in points])  # fmt: skip


def read_record(path: Path) -> Iterator[Row]:
    """The rows of a replay's folder or of a record, which may be gzipped.

    Raises:
        InputError: no record there, or a line that is none, with its number.
    """
    file = path / "record.jsonl" if path.is_dir() else path
    try:
        with _opened(file) as f:
            # a line is read up to a limit: a packed one may be of any length
            for number, line in enumerate(iter(lambda: f.readline(_MAX_LINE), ""), 1):
                try:
                    row = json.loads(line)
                    known = isinstance(row, dict) and row.get("schema") == SCHEMA
                except (ValueError, RecursionError):
                    known = False
                if not known or not {"index", "t_ns", "faults", "plan"} <= set(row):
                    raise InputError(f"{file}: line {number} is no line of {SCHEMA}")
                yield row
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as e:
        hint = "; give the folder of a finished replay" if path.is_dir() else ""
        raise InputError(
            f"{file}: cannot be read ({getattr(e, 'strerror', None) or e}){hint}"
        ) from e


def _opened(file: Path) -> TextIO:
    if file.suffix == ".gz":
        return io.TextIOWrapper(gzip.GzipFile(file), encoding="utf-8")
    return file.open(encoding="utf-8")


def tolerances(given: Sequence[tuple[str, float]], exact: bool = False) -> dict[str, float]:
    """The tolerances with those given in their place, by whole name or by its last part.

    Raises:
        InputError: no such field.
    """
    limit = dict.fromkeys(TOLERANCES, 0.0) if exact else dict(TOLERANCES)
    for name, value in given:
        hit = [k for k in TOLERANCES if name in (k, k.partition(".")[2])]
        if not hit:
            raise InputError(f"--tolerance {name}: no such field; known: {', '.join(TOLERANCES)}")
        limit.update(dict.fromkeys(hit, value))
    return limit


def table(result: Comparison, limit: dict[str, float]) -> str:
    """The fields beyond their tolerance, one a line, the earliest first."""
    rows = [("field", "tolerance", "frames", "largest", "first frame", "there")]
    fields = [(n, f) for n, f in result.fields.items() if f.first is not None]
    for name, f in sorted(fields, key=lambda x: (x[1].first or 0, x[0])):
        largest = f"{f.largest:.4g}" if f.largest else "-"
        allowed = f"{limit[name]:g}" if name in limit else "equal"
        rows.append((name, allowed, str(f.frames), largest, str(f.first), f.example))
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows
    )


def verdict(result: Comparison, limit: dict[str, float]) -> str:
    """What to tell the user."""
    if result.same:
        near = max(result.fields.items(), key=lambda x: x[1].largest, default=None)
        how = "equal" if near is None else "within the tolerances"
        return f"{result.frames} frames: the same ({how})"
    head = f"{result.differing} of {result.frames} frames differ, frame {result.first} first"
    return f"{head}\n{table(result, limit)}"


def run_diff(a: argparse.Namespace) -> int:
    """The command."""
    limit = tolerances(a.tolerance, a.exact)
    if a.list:
        print("\n".join(f"{name}={value:g}" for name, value in limit.items()))
    result = compare_records(read_record(a.run_a), read_record(a.run_b), limit, a.exact)
    if not result.frames:
        raise InputError(f"{a.run_a} and {a.run_b}: hold no frame")
    print(verdict(result, limit))
    return 0 if result.same else 1
