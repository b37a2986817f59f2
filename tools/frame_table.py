"""Records of replays as tables: ``frames.parquet`` and ``objects.parquet`` beside each record.

``frames``: one row a frame. ``frame`` is its place in the record and in the overlay video, from 0;
``index`` its number in the source. ``ttc_s`` is that of ``score-plans``: null without a plan, or if
nothing is met within its horizon. ``speed_target_mps`` is the plan's speed a second ahead,
``plan_speed_mps`` its first one. ``faults`` holds the faults' codes between spaces. ``n_CLASS``
counts tracked objects, ``nearest_m`` is the distance of the nearest one on the ground. Every stage
has its time as ``STAGE_ms``; ``frame_ms`` sums those that a frame waits for.

``objects``: one row for each tracked object of each frame. ``x_m`` and ``y_m`` (forward, left) and
``distance_m`` count from the rear axle, ``vx_mps`` and ``vy_mps`` are relative to the own vehicle;
``object_ttc_s`` is the time until the plan meets this object.

Written and read with DuckDB, row by row: memory does not grow with the length of a drive.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.logs.extras import need
from data.taxonomy import CLASSES
from planning.scores import SIZE_M, Limits, Others, times_to_collision_s
from planning.scores import Path as PlannedPath
from tools.diff import read_record
from tools.faults import codes
from tools.score_plans import score_row

FRAMES, OBJECTS = "frames.parquet", "objects.parquet"
VERSION = "roadstack-table-2"
FRAME_COLUMNS = {
    "log": "VARCHAR", "frame": "BIGINT", "index": "BIGINT", "t_s": "DOUBLE",
    "status": "VARCHAR", "reason": "VARCHAR", "has_path": "BOOLEAN", "length_m": "DOUBLE",
    "way_m": "DOUBLE", "plan_speed_mps": "DOUBLE", "speed_target_mps": "DOUBLE",
    "ttc_s": "DOUBLE", "uncomfortable": "VARCHAR", "n_objects": "INTEGER",
    **{f"n_{name}": "INTEGER" for name in CLASSES},
    "n_detections": "INTEGER", "nearest_m": "DOUBLE", "nearest_class": "VARCHAR",
    "n_faults": "INTEGER", "faults": "VARCHAR", "drivable_share": "DOUBLE",
    "lane_share": "DOUBLE", "camera": "VARCHAR", "focal_px": "DOUBLE",
    "horizon_row_px": "DOUBLE", "height_m": "DOUBLE", "pitch_rad": "DOUBLE",
    "yaw_rad": "DOUBLE", "own_source": "VARCHAR", "own_speed_mps": "DOUBLE",
    "own_speed_std_mps": "DOUBLE", "own_yaw_rate_radps": "DOUBLE",
    "own_yaw_rate_std_radps": "DOUBLE", "deadline_missed": "BOOLEAN", "skipped": "INTEGER",
    "frame_ms": "DOUBLE",
}  # fmt: skip
OBJECT_COLUMNS = {
    "log": "VARCHAR", "frame": "BIGINT", "index": "BIGINT", "t_s": "DOUBLE", "id": "BIGINT",
    "class": "VARCHAR", "score": "DOUBLE", "x1_px": "DOUBLE", "y1_px": "DOUBLE",
    "x2_px": "DOUBLE", "y2_px": "DOUBLE", "x_m": "DOUBLE", "y_m": "DOUBLE",
    "x_std_m": "DOUBLE", "y_std_m": "DOUBLE", "vx_mps": "DOUBLE", "vy_mps": "DOUBLE",
    "distance_m": "DOUBLE", "age_s": "DOUBLE", "since_update_s": "DOUBLE",
    "object_ttc_s": "DOUBLE",
}  # fmt: skip
_BESIDE = ("decode", "check", "overlay")  # stages that run beside the stack
_STAGE = re.compile(r"[a-z][a-z0-9_]{0,40}")
_MEMORY = "512MB"

Row = dict[str, Any]


def find_runs(folder: Path) -> list[Path]:
    """Folders with a record in and below ``folder``, hidden ones and links left out, sorted.

    Raises:
        InputError: there is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that replay has written to")
    found = []
    for path, folders, files in os.walk(folder.resolve()):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if "record.jsonl" in files:
            found.append(Path(path))
    if not found:
        raise InputError(f"{folder}: no record.jsonl in it or below; expected runs of replay")
    return found


def table_rows(row: Row, timing: Row | None, number: int, log: str) -> tuple[Row, list[Row]]:
    """The rows of a record's line ``number``: of its frame, and of its objects."""
    place = {
        "log": log, "frame": number, "index": int(row["index"]), "t_s": int(row["t_ns"]) / 1e9,
    }  # fmt: skip
    objects = [{**place, **o} for o in _objects(row)]
    return {
        **place,
        **_plan(row),
        **_counts(row, objects),
        **_scene(row),
        **_times(timing),
    }, objects


def _known(value: float | None) -> float | None:
    """Rounded to the record's precision; None for what is not finite."""
    return round(value, 6) if value is not None and math.isfinite(value) else None


def _plan(row: Row) -> Row:
    scored, points = score_row(row, Limits()), row["plan"]["points"]
    return {
        "status": scored.status,
        "reason": scored.reason,
        "has_path": math.isfinite(scored.length_m),
        "length_m": _known(scored.length_m),
        "way_m": _known(scored.way_m),
        "plan_speed_mps": points[0][3] if points else None,
        "speed_target_mps": _known(
            float(np.interp(points[0][5] + 1, [p[5] for p in points], [p[3] for p in points]))
            if points else None
        ),
        "ttc_s": _known(scored.collision_s),
        "uncomfortable": " ".join(scored.over),
    }  # fmt: skip


def _counts(row: Row, objects: list[Row]) -> Row:
    classes = [o["class"] for o in objects]
    placed = [o for o in objects if o["distance_m"] is not None]
    nearest = min(placed, key=lambda o: float(o["distance_m"]), default=None)
    return {
        "n_objects": len(objects),
        **{f"n_{name}": classes.count(name) for name in CLASSES},
        "n_detections": len(row.get("detections") or []),
        "nearest_m": nearest["distance_m"] if nearest else None,
        "nearest_class": nearest["class"] if nearest else None,
        "n_faults": len(row["faults"]),
        "faults": " ".join(sorted(set(codes(row["faults"])))),
    }


def _scene(row: Row) -> Row:
    camera, surfaces = row.get("camera") or {}, row.get("surfaces") or {}
    names = ("focal_px", "horizon_row_px", "height_m", "pitch_rad", "yaw_rad")
    own = row.get("own_motion") or {}
    figures = ("source", "speed_mps", "speed_std_mps", "yaw_rate_radps", "yaw_rate_std_radps")
    return {
        **{name: surfaces.get(name) for name in ("drivable_share", "lane_share")},
        "camera": camera.get("source"),
        **{name: camera.get(name) for name in names},
        **{f"own_{name}": own.get(name) for name in figures},
    }


def _times(timing: Row | None) -> Row:
    if timing is None:
        return {"deadline_missed": None, "skipped": None, "frame_ms": None}
    stages = {k: float(v) for k, v in timing["stage_ms"].items() if _STAGE.fullmatch(k)}
    return {
        "deadline_missed": bool(timing["deadline_missed"]),
        "skipped": int(timing.get("skipped", 0)),
        "frame_ms": _known(sum(v for k, v in stages.items() if k not in _BESIDE)),
        **{f"{k}_ms": v for k, v in stages.items()},
    }


def _objects(row: Row) -> Iterator[Row]:
    tracks = row.get("tracks") or []
    times = _object_times(row, tracks)
    for t, time_s in zip(tracks, times, strict=True):
        x, y = t["position_m"] or (None, None)
        vx, vy = t["velocity_mps"] or (None, None)
        x_std, y_std = t.get("position_std_m") or (None, None)
        x1, y1, x2, y2 = t["xyxy"]
        yield {
            "id": int(t["id"]), "class": str(t["class"]), "score": t["score"],
            "x1_px": x1, "y1_px": y1, "x2_px": x2, "y2_px": y2,
            "x_m": x, "y_m": y, "x_std_m": x_std, "y_std_m": y_std, "vx_mps": vx, "vy_mps": vy,
            "distance_m": None if x is None or y is None else round(math.hypot(x, y), 3),
            "age_s": t["age_s"], "since_update_s": t["since_update_s"],
            "object_ttc_s": _known(time_s),
        }  # fmt: skip


def _object_times(row: Row, tracks: list[Row]) -> list[float]:
    """Time until the plan meets each object, inf for never or not known."""
    times, points = [math.inf] * len(tracks), row["plan"]["points"]
    known = [
        i for i, t in enumerate(tracks)
        if t["class"] in SIZE_M and None not in (*(t["position_m"] or [None]),
                                                 *(t["velocity_mps"] or [None]))
    ]  # fmt: skip
    if known and len(points) > 1:
        path = PlannedPath(*np.array(points, np.float64).T)
        values = [
            [*tracks[i]["position_m"], *tracks[i]["velocity_mps"], *SIZE_M[tracks[i]["class"]]]
            for i in known
        ]
        found = times_to_collision_s(path, Others(*np.array(values, np.float64).T))
        for i, value in zip(known, found.tolist(), strict=True):
            times[i] = value
    return times


def build_tables(runs: Iterable[Path]) -> Iterator[Path]:
    """Write the tables of each run where they are missing or of another record.

    Yields:
        each run behind its tables, whether they had to be written or not.

    Raises:
        InputError: DuckDB is missing, a record is malformed, or a folder cannot be written to.
    """
    duckdb = need("duckdb", "tables of frames", "fleet")
    with duckdb.connect(config={"threads": 1, "memory_limit": _MEMORY}) as db:
        for run in runs:
            stamp = _stamp(run)
            if any(_stamp_of(db, run / name) != stamp for name in (FRAMES, OBJECTS)):
                try:
                    _build(db, run, stamp)
                except (OSError, duckdb.Error) as e:
                    why = getattr(e, "strerror", None) or first_line(e)
                    raise InputError(f"{run}: the tables cannot be written ({why})") from e
            yield run


def _build(db: Any, run: Path, stamp: str) -> None:
    part = run / f".table.{os.getpid()}.part"
    part.mkdir()
    try:
        stages = _write_rows(run, part)
        frames = FRAME_COLUMNS | dict.fromkeys(stages, "DOUBLE")
        for name, columns in ((OBJECTS, OBJECT_COLUMNS), (FRAMES, frames)):
            _to_parquet(db, part / f"{name}.jsonl", columns, part / name, stamp)
        for name in (OBJECTS, FRAMES):
            os.replace(part / name, run / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _stamp(run: Path) -> str:
    """What the tables were made of."""
    parts = [VERSION]
    for name in ("record.jsonl", "timings.jsonl"):
        try:
            found = (run / name).stat()
            parts.append(f"{found.st_size} {found.st_mtime_ns}")
        except OSError:
            parts.append("none")
    return ", ".join(parts)


def _stamp_of(db: Any, table: Path) -> str | None:
    if not table.is_file():
        return None
    query = "SELECT value FROM parquet_kv_metadata(?) WHERE key = 'roadstack'"
    try:
        row = db.execute(query, [pattern(table)]).fetchone()
    except need("duckdb", "tables of frames", "fleet").Error:  # cut short or foreign
        return None
    return bytes(row[0]).decode("utf-8", "replace") if row else None


def _write_rows(run: Path, part: Path) -> list[str]:
    """Rows as JSON lines in ``part``; returns the names of the stages' columns."""
    log, stages = _log_name(run), dict[str, None]()
    with (
        (part / f"{FRAMES}.jsonl").open("w", encoding="utf-8") as frames,
        (part / f"{OBJECTS}.jsonl").open("w", encoding="utf-8") as objects,
    ):
        rows = zip(read_record(run), itertools.chain(_timings(run), itertools.repeat(None)))
        for number, (row, timing) in enumerate(rows):
            if timing is not None and timing.get("index") != row["index"]:
                timing = None
            try:
                frame, seen = table_rows(row, timing, number, log)
                frames.write(json.dumps(frame, allow_nan=False) + "\n")
                objects.writelines(json.dumps(o, allow_nan=False) + "\n" for o in seen)
            except (
                ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError,
            ) as e:  # fmt: skip
                place = f"{run / 'record.jsonl'}:{number + 1}"
                raise InputError(f"{place}: not a line written by replay ({e!s:.100})") from e
            stages |= dict.fromkeys(k for k in frame if k not in FRAME_COLUMNS)
    return list(stages)


def _log_name(run: Path) -> str:
    """Of the source, as the summary has it; else of the folder."""
    name = ""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        name = Path(str(summary["source"])).name
    name = name or run.resolve().name
    return name.encode("utf-8", "backslashreplace").decode()  # tables hold Unicode only


def _timings(run: Path) -> Iterator[Row]:
    try:
        with (run / "timings.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if not isinstance(row, dict) or not {"stage_ms", "deadline_missed"} <= set(row):
                    return
                yield row
    except (OSError, ValueError, RecursionError):  # no part of the record: the rest has none
        return


def _to_parquet(db: Any, rows: Path, columns: dict[str, str], out: Path, stamp: str) -> None:
    types = ", ".join(f"{text(name)}: '{kind}'" for name, kind in columns.items())
    db.execute(
        f"COPY (SELECT * FROM read_json({text(pattern(rows))}, format = 'newline_delimited', "
        f"columns = {{{types}}})) TO {text(out)} "
        f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{roadstack: {text(stamp)}}})"
    )
    rows.unlink()


def text(value: object) -> str:
    """A text of SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def pattern(path: Path) -> str:
    """A path for DuckDB's readers, which would take ``[``, ``*`` and ``?`` as wildcards."""
    return re.sub(r"[\[*?]", lambda m: f"[{m[0]}]", str(path.resolve()))


def first_line(error: Exception) -> str:
    """What a database error says, as one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def own_name(root: Path, runs: Sequence[Path]) -> str:
    """What a run in ``root`` itself is called: as its folder, '.' where one below has that name."""
    root = root.resolve()
    name = root.name or "run"
    return "." if root / name in [r.resolve() for r in runs] else name


def tables_sql(root: Path, runs: Sequence[Path], name: str) -> str:
    """A query for one table of all runs: as theirs, with ``run``, the folder below ``root`` or, of
    the run in it, its ``own_name``."""
    files = ", ".join(text(pattern(run / name)) for run in runs)
    begin, end = len(str(root.resolve()).rstrip("/")) + 2, len(name) + 1
    below = f"substr(filename, {begin}, greatest(length(filename) - {begin + end - 1}, 0))"
    return (
        f"SELECT * EXCLUDE (filename), "
        f"CASE WHEN {below} = '' THEN {text(own_name(root, runs))} ELSE {below} END AS run "
        f"FROM read_parquet([{files}], filename = true, union_by_name = true)"
    )


def join_tables(root: Path, runs: Sequence[Path]) -> None:
    """Write ``root``'s two tables of all ``runs`` below it, whose own are there already.

    Raises:
        InputError: DuckDB is missing, or they cannot be written.
    """
    duckdb = need("duckdb", "tables of frames", "fleet")
    if not runs or root.resolve() in [r.resolve() for r in runs]:
        return
    for name in (OBJECTS, FRAMES):
        part = root / f".{name}.{os.getpid()}.part"
        try:
            with duckdb.connect(config={"threads": 1, "memory_limit": _MEMORY}) as db:
                db.execute(f"SET temp_directory = {text(root / f'.{os.getpid()}.part')}")
                db.execute(
                    f"COPY ({tables_sql(root, runs, name)}) TO {text(part)} "
                    "(FORMAT parquet, COMPRESSION zstd)"
                )
            os.replace(part, root / name)
        except (OSError, duckdb.Error) as e:
            raise InputError(f"{root / name}: cannot be written ({first_line(e)})") from e
        finally:
            part.unlink(missing_ok=True)
            shutil.rmtree(root / f".{os.getpid()}.part", ignore_errors=True)
