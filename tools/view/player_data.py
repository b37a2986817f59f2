"""What the replay page knows of a run: its record and times as columns in one compressed block.

The block is gzip of: the length of a JSON text (4 bytes), the text, spaces up to a multiple of 8,
and the columns, little-endian, each at a multiple of 8. The text names every column's type, place
and length, so that a browser takes them as typed arrays without parsing them.
"""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.taxonomy import CLASSES
from data.types import F64
from planning.scores import SIZE_M, Limits
from planning.vehicle import Vehicle
from tools.files import inside
from tools.partial import FOLDER
from tools.record import SCHEMA
from tools.score_plans import score_row
from tools.view.player_events import CM, UNKNOWN, find_events

MAX_POINTS = 40  # of a path, spread over it
# stages that run beside the stack and do not count against the frame's time
BESIDE = ("decode", "check", "overlay")
BOX_STEP_PX = 0.5  # step of the columns of boxes
_TRACK = ("x1", "y1", "x2", "y2", "ahead", "left", "ahead_std", "left_std", "vx", "vy")
_CAMERA = (
    "focal_px", "horizon_row_px", "height_m", "pitch_rad", "yaw_rad", "pitch_std_rad",
    "yaw_std_rad",
)  # fmt: skip
_OWN = ("speed_mps", "speed_std_mps", "yaw_rate_radps", "yaw_rate_std_radps")
_SURFACES = ("drivable_share", "lane_share")

Column = NDArray[Any]


@dataclass
class Texts:
    """Every text once; columns hold their numbers."""

    number: dict[str, int] = field(default_factory=dict)

    def add(self, text: str) -> int:
        return self.number.setdefault(text, len(self.number))


@dataclass(frozen=True, eq=False)
class Step:
    """One frame of a record.

    Attributes:
        t_ms: from the source's first frame; index: of the frame in its source.
        ttc_s: as ``score-plans`` has it: NaN without a plan, inf for none within the horizon.
        length_m: of the plan; target_mps: its speed a second ahead; own_mps: its first speed.
        points: (m, 4) of the path: x_m, y_m, speed_mps, t_s.
        camera, surfaces, own_motion: figures in the order of the columns, NaN for none.
        tracks: (n, 10) float64, see ``_TRACK``; track_id, class_id, score, age_s, since_s: (n,).
    """

    index: int
    t_ms: float
    status: str
    reason: str
    faults: tuple[str, ...]
    ttc_s: float
    length_m: float
    target_mps: float
    own_mps: float
    points: F64
    detections: int
    camera_source: str
    camera: list[float]
    surfaces: list[float]
    own_motion: list[float]
    tracks: F64
    track_id: list[int]
    class_id: list[int]
    score: list[float]
    age_s: list[float]
    since_s: list[float]


def run_name(run: Path) -> str:
    """The folder's name, also while it is written in ``partial.FOLDER`` below it."""
    folder = run.resolve()
    return folder.parent.name if folder.name == FOLDER else folder.name


def read_run(run: Path) -> bytes:
    """The page's block of the folder ``run``.

    Raises:
        InputError: not a folder written by replay, or a file of it is malformed; names the file
            and, where there is one, the line.
    """
    summary = _summary(run)
    texts, names = Texts(), list(CLASSES)
    steps = _Columns(texts, names)
    for step in _lines(run / "record.jsonl", lambda row: _step(row, names)):
        steps.add(step)
    if not steps.frames:
        raise InputError(f"{run / 'record.jsonl'}: has no frame")
    columns = steps.columns()
    stages, times = _stage_times(run, columns["index"])
    columns |= times
    period_ms = _period_ms(columns["t_ms"])
    realtime = "realtime" in summary
    columns |= find_events(columns, texts, names, Limits().collision_s, realtime)
    columns["video_s"], size = _video_times(run, columns["t_ms"])
    about = {
        "summary": summary,
        "name": run_name(run),
        "texts": list(texts.number),
        "stages": stages,
        "beside": BESIDE,
        "period_ms": period_ms,
        "limit_s": Limits().collision_s,
        "horizon_s": Limits().horizon_s,
        "vehicle": {k: getattr(Vehicle(), k) for k in ("front_m", "rear_m", "width_m")},
        "cruise_mps": Vehicle().cruise_mps,
        "classes": names,
        "sizes_m": SIZE_M,
        "steps": {"box_px": BOX_STEP_PX, "m": CM, "unknown": UNKNOWN},
        "size_px": [summary["width_px"], summary["height_px"]],
        "video_px": size,
    }
    return pack(about, columns)


def _summary(run: Path) -> dict[str, Any]:
    for name in ("summary.json", "record.jsonl"):
        if not (run / name).is_file():
            raise InputError(f"{run}: has no {name}; expected a folder written by replay")
    path = run / "summary.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for key in ("width_px", "height_px"):
            if not 0 < int(found[key]) < 1e5:
                raise ValueError(f"{key} is {found[key]}")
    except (
        OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError,
    ) as e:  # fmt: skip
        raise InputError(f"{path}: not a replay's summary ({e!s:.100})") from e
    return dict(found)


def _lines(path: Path, read: Callable[[dict[str, Any]], Any]) -> Iterator[Any]:
    """Rows of a file, one at a time: a long record as objects would fill the memory."""
    number = 0
    try:
        with inside(path.parent, path.name).open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                yield read(json.loads(line))
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror or e})") from e
    except (
        ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError,
    ) as e:  # fmt: skip
        raise InputError(f"{path}:{number}: not a line written by replay ({e!s:.100})") from e


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _step(row: dict[str, Any], names: list[str]) -> Step:
    """A line of the record; new class names are added to ``names``."""
    if row.get("schema") != SCHEMA:
        raise ValueError(f"schema is not {SCHEMA}")
    scored = score_row(row, Limits())
    points = np.array(row["plan"]["points"], np.float64).reshape(-1, 6)
    target = float(np.interp(points[0, 5] + 1, points[:, 5], points[:, 3])) if len(points) else 0.0
    camera, surfaces = row.get("camera") or {}, row.get("surfaces") or {}
    tracks, own = row.get("tracks") or [], row.get("own_motion") or {}
    if any(abs(v) >= 2**31 for v in (scored.index, *(int(t["id"]) for t in tracks))):
        raise ValueError("a frame's or track's number is too large")
    for t in tracks:
        if str(t["class"]) not in names:
            names.append(str(t["class"]))
    chosen = np.unique(np.linspace(0, len(points) - 1, min(len(points), MAX_POINTS)).round())
    return Step(
        index=scored.index,
        t_ms=int(row["t_ns"]) / 1e6,
        status=scored.status,
        reason=scored.reason,
        faults=tuple(str(f) for f in row["faults"]),
        ttc_s=scored.collision_s,
        length_m=_float(row["plan"].get("length_m")),
        target_mps=target,
        own_mps=float(points[0, 3]) if len(points) else math.nan,
        points=points[chosen.astype(int)][:, [0, 1, 3, 5]],
        detections=len(row.get("detections") or []),
        camera_source=str(camera.get("source", "")),
        camera=[_float(camera.get(k)) for k in _CAMERA],
        surfaces=[_float(surfaces.get(k)) for k in _SURFACES],
        own_motion=[_float(own.get(k)) for k in _OWN],
        tracks=np.array([_track(t) for t in tracks], np.float64).reshape(-1, len(_TRACK)),
        track_id=[int(t["id"]) for t in tracks],
        class_id=[names.index(str(t["class"])) for t in tracks],
        score=[_float(t["score"]) for t in tracks],
        age_s=[_float(t["age_s"]) for t in tracks],
        since_s=[_float(t["since_update_s"]) for t in tracks],
    )


def _track(t: dict[str, Any]) -> list[float]:
    numbers = [_float(v) for v in t["xyxy"]]
    for key in ("position_m", "position_std_m", "velocity_mps"):
        pair = t.get(key) or (None, None)
        numbers += [_float(pair[0]), _float(pair[1])]
    return numbers


def _small(values: F64, step: float) -> Column:
    """As int16 in steps of ``step``; what is not known or too large for it is ``UNKNOWN``."""
    with np.errstate(invalid="ignore"):
        whole = np.rint(values / step)
    fits = np.isfinite(whole) & (np.abs(whole) <= 32767)
    return np.where(fits, whole, UNKNOWN).astype("<i2")


class _Columns:
    """Collects frames in small arrays: 20 000 of them take some 20 MB."""

    def __init__(self, texts: Texts, names: list[str]) -> None:
        self.texts, self.names = texts, names
        self.frames: list[tuple[Any, ...]] = []
        self.floats: list[list[float]] = []
        self.faults: list[list[int]] = []
        self.tracks: list[Column] = []
        self.objects: list[Column] = []
        self.points: list[Column] = []

    def add(self, s: Step) -> None:
        text = self.texts.add
        head = (s.index, text(s.status), text(s.reason), text(s.camera_source), s.detections)
        self.frames.append((s.t_ms, *head))
        plan = [s.ttc_s, s.length_m, s.target_mps, s.own_mps]
        self.floats.append([*plan, *s.surfaces, *s.camera, *s.own_motion])
        self.faults.append([text(f) for f in s.faults])
        boxes, places = s.tracks[:, :4], s.tracks[:, 4:]
        self.tracks.append(np.hstack([_small(boxes, BOX_STEP_PX), _small(places, CM)]))
        rows = [s.track_id, s.class_id, s.score, s.age_s, s.since_s]
        self.objects.append(np.array(rows, np.float64).reshape(5, -1).T)
        self.points.append(_small(s.points, CM))

    def columns(self) -> dict[str, Column]:
        """Everything by name; ``*_start`` (n + 1,) say where a frame's rows begin and end."""
        frames = np.array(self.frames, np.float64)
        names = ("t_ms", "index", "status", "reason", "camera_source", "detections")
        found: dict[str, Column] = {n: frames[:, k].astype("<i4") for k, n in enumerate(names)}
        found["t_ms"] = frames[:, 0].astype("<f8")
        floats = np.array(self.floats, "<f4")
        own = (f"own_{name}" for name in _OWN)
        figures = ("ttc_s", "length_m", "target_mps", "own_mps", *_SURFACES, *_CAMERA, *own)
        found |= {n: floats[:, k] for k, n in enumerate(figures)}
        tracks, objects = np.concatenate(self.tracks), np.concatenate(self.objects)
        found |= {n: tracks[:, k] for k, n in enumerate(_TRACK)}
        kinds = ("track_id", "<i4"), ("class_id", "<u1"), ("score", "<f4"), ("age_s", "<f4")
        for k, (name, kind) in enumerate((*kinds, ("since_s", "<f4"))):
            found[name] = objects[:, k].astype(kind)
        points = np.concatenate(self.points)
        found |= {n: points[:, k] for k, n in enumerate(("px", "py", "pv", "pt"))}
        found["fault"] = np.array([f for row in self.faults for f in row], "<i4")
        for name, rows in (
            ("track", self.tracks), ("point", self.points), ("fault", self.faults),
        ):  # fmt: skip
            found[f"{name}_start"] = np.cumsum([0, *(len(r) for r in rows)]).astype("<i4")
        return found


def _stage_times(run: Path, index: Column) -> tuple[list[str], dict[str, Column]]:
    """Names of the stages, and by ``stage_K`` the milliseconds of each frame, NaN for none."""
    place = {int(i): k for k, i in enumerate(index)}
    late, skipped = np.zeros(len(index), "<u1"), np.zeros(len(index), "<i4")
    times: dict[str, Column] = {}

    def read(row: dict[str, Any]) -> None:
        k = place.get(int(row["index"]))
        if k is None:
            return
        late[k], skipped[k] = bool(row["deadline_missed"]), int(row.get("skipped", 0))
        for name, ms in row["stage_ms"].items():
            if name not in times:
                times[name] = np.full(len(index), np.nan, "<f4")
            times[name][k] = _float(ms)

    if (run / "timings.jsonl").is_file():
        for _ in _lines(run / "timings.jsonl", read):
            pass
    names = [n for n in times if n not in BESIDE] + [n for n in BESIDE if n in times]
    found = {"late": late, "skipped": skipped}
    return names, {**found, **{f"stage_{k}": times[n] for k, n in enumerate(names)}}


def _period_ms(t_ms: Column) -> float | None:
    """Usual time from frame to frame."""
    steps = np.diff(t_ms)
    steps = steps[steps > 0]
    return round(float(np.median(steps)), 3) if len(steps) else None


def _video_times(run: Path, t_ms: Column) -> tuple[Column, list[int] | None]:
    """When each frame is shown in ``overlay.mp4``, in s, and the size of its picture.

    The file's own times where it has one for each frame, else the record's.
    """
    own = (t_ms - t_ms[0]) / 1e3
    path = run / "overlay.mp4"
    if not path.is_file():
        return own, None
    try:
        with av.open(str(inside(run, path.name))) as video:
            stream = video.streams.video[0]
            size = [int(stream.width), int(stream.height)]
            base = float(stream.time_base or 0)
            ticks = sorted(p.pts for p in video.demux(stream) if p.pts is not None)
    except (av.FFmpegError, OSError, IndexError) as e:
        raise InputError(f"{path}: not a video that can be read ({e!s:.100})") from e
    shown = np.array(ticks, np.float64) * base
    return (shown if len(shown) == len(own) else own), size


def pack(about: dict[str, Any], columns: dict[str, Column]) -> bytes:
    """The block; the same run gives the same bytes."""
    layout, parts, place = {}, [], 0
    for name, column in columns.items():
        data = np.ascontiguousarray(column).tobytes()
        layout[name] = [column.dtype.str[1:], place, len(column)]
        data += bytes(-len(data) % 8)
        parts.append(data)
        place += len(data)
    text = json.dumps({**about, "columns": layout}, separators=(",", ":")).encode("ascii")
    text += b" " * (-(len(text) + 4) % 8)
    return gzip.compress(b"".join([struct.pack("<I", len(text)), text, *parts]), 6, mtime=0)
