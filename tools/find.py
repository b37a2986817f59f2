"""``roadstack find``: the moments in the records of replays in which a condition holds.

The condition is over the columns of ``tools.frame_table``; where it names one of objects, an
object and its frame must meet it together. Matching frames of a run that lie close together are
one moment.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.logs.extras import need
from data.taxonomy import CLASSES
from data.types import PlanStatus
from tools.files import check_file, make_folder, write_json, write_text
from tools.find_condition import Condition, parse_condition
from tools.frame_table import (
    FRAME_COLUMNS,
    FRAMES,
    OBJECT_COLUMNS,
    OBJECTS,
    build_tables,
    find_runs,
    first_line,
    own_name,
    pattern,
    tables_sql,
    text,
)
from tools.progress import progress_bar
from tools.view.video import LONG_PAUSE_S, SHORTENED_S

_MEMORY = "1GB"
_SHOWN, _SHOWN_IDS, _MOST_TEXTS = 50, 8, 20
_VALUES = {"class": CLASSES, "nearest_class": CLASSES, "status": tuple(map(str, PlanStatus))}
_PLACE = ("run", "log", "frame", "index", "t_s")
_OF_RUNS = ("record.jsonl", "timings.jsonl", "summary.json", "overlay.mp4", "replay.html",
            "replay.log", "fleet.json", FRAMES, OBJECTS)  # fmt: skip


@dataclass
class Moment:
    """Frames of one run in which the condition holds, from the first to the last.

    Attributes:
        run: folder, relative to the one searched; log: name of the source.
        from_s, to_s: times of the first and last frame; video_s, video_to_s: in the overlay.
        first, last: their places in the record; first_index, last_index: in the source.
        frames: how many match; objects: ids of those that do.
        values: column -> least and greatest value, or the texts seen, in the matching rows.
    """

    run: str
    log: str
    from_s: float
    to_s: float
    video_s: float
    video_to_s: float
    first: int
    last: int
    first_index: int
    last_index: int
    frames: int = 0
    objects: list[int] = field(default_factory=list)
    values: dict[str, list[Any]] = field(default_factory=dict)


@dataclass
class Match:
    """A frame in which the condition holds; fields as those of ``Moment``."""

    run: str
    log: str
    frame: int
    index: int
    t_s: float
    video_s: float
    objects: list[int]
    values: dict[str, list[Any]]


class Tables:
    """The tables of all runs below a folder, opened to be read and nothing else.

    Raises:
        InputError: there is no run, a record is malformed, or DuckDB is missing.
    """

    def __init__(self, root: Path) -> None:
        duckdb = need("duckdb", "searches", "fleet")
        self.root, self.runs = root.resolve(), find_runs(root)
        self.own = own_name(self.root, self.runs)
        with progress_bar("reading records", len(self.runs), "run") as bar:
            for number, _ in enumerate(build_tables(self.runs), 1):
                bar(number)
        self._error = duckdb.Error
        self._db = duckdb.connect(config={"memory_limit": _MEMORY})
        files = {run / name for run in self.runs for name in (FRAMES, OBJECTS)}
        allowed = {str(f) for f in files} | {pattern(f) for f in files}
        try:
            spill = Path(tempfile.gettempdir()) / f"roadstack-find-{os.getpid()}"
            self._db.execute(f"SET temp_directory = {text(spill)}")
            self._db.execute(f"SET allowed_paths = [{', '.join(text(f) for f in sorted(allowed))}]")
            self._db.execute("SET enable_external_access = false")
            for view, name in (("frames", FRAMES), ("objects", OBJECTS)):
                query = tables_sql(self.root, self.runs, name)
                self._db.execute(f"CREATE VIEW {view} AS {query}")
            self._db.execute("SET lock_configuration = true")
            self.kinds = {view: self._columns(view) for view in ("frames", "objects")}
        except duckdb.Error as e:
            raise InputError(f"{root}: the tables cannot be read ({first_line(e)})") from e

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _columns(self, view: str) -> dict[str, str]:
        rows = self._db.execute(f"SELECT * FROM {view} LIMIT 0").description
        return {str(row[0]): str(row[1]) for row in rows}

    def names(self) -> dict[str, str]:
        """Column -> SQL; of a name that both tables have, that of frames."""
        objects = {name: f'o."{name}"' for name in self.kinds["objects"]}
        return objects | {name: f'f."{name}"' for name in self.kinds["frames"]}

    def query(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Rows, a thousand at a time.

        Raises:
            InputError: the database refuses, e.g. for a text compared with a number.
        """
        try:
            found = self._db.execute(sql)
            while rows := found.fetchmany(1000):
                yield from rows
        except self._error as e:
            raise InputError(f"condition: cannot be evaluated ({first_line(e)})") from e

    def size(self) -> tuple[int, float]:
        """Frames, and hours from the first to the last of each run."""
        rows = self.query("SELECT count(*), max(t_s) - min(t_s) FROM frames GROUP BY run")
        counts = list(rows)
        return sum(c for c, _ in counts), sum(s for _, s in counts) / 3600

    def matches(self, condition: Condition) -> Iterator[Match]:
        """The frames in which a condition holds, by run and place."""
        names = self.names()
        objects = any(names[c].startswith("o.") for c in condition.columns)
        used = [c for c in condition.columns if c not in _PLACE]
        join = "LEFT JOIN objects o ON o.run = f.run AND o.frame = f.frame" if objects else ""
        ids = "coalesce(list(DISTINCT o.id) FILTER (o.id IS NOT NULL), [])" if objects else "[]"
        values = "".join(f", {self._seen(c, names[c])}" for c in used)
        rows = self.query(
            "SELECT f.run, any_value(f.log), f.frame, any_value(f.index), any_value(f.t_s), "
            f"any_value(b.video_s), {ids}{values} FROM frames f {join} JOIN ({_IN_VIDEO}) b "
            f"ON b.run = f.run AND b.frame = f.frame WHERE {condition.sql} GROUP BY f.run, f.frame "
            "ORDER BY f.run, f.frame"
        )
        for run, log, frame, index, t_s, video_s, found, *seen in rows:
            known = {c: sorted(v) for c, v in zip(used, seen, strict=True) if v}
            yield Match(run, log, frame, index, t_s, video_s, list(found), known)

    def _seen(self, name: str, sql: str) -> str:
        """The least and greatest value of a group's rows, or all texts."""
        kind = self.kinds["frames"].get(name) or self.kinds["objects"][name]
        values = f"list({sql})" if kind == "VARCHAR" else f"[min({sql}), max({sql})]"
        return f"list_distinct({values})"


# the overlay leaves out most of a pause that is too long for it
_IN_VIDEO = f"""
SELECT run, frame, t_s - first(t_s) OVER so_far
  - sum(CASE WHEN step > {LONG_PAUSE_S} THEN step - {SHORTENED_S} ELSE 0 END) OVER so_far AS video_s
FROM (SELECT run, frame, t_s, t_s - lag(t_s) OVER (PARTITION BY run ORDER BY frame) AS step
      FROM frames)
WINDOW so_far AS (PARTITION BY run ORDER BY frame)
"""


def merge(matches: Iterable[Match], gap_s: float) -> Iterator[Moment]:
    """Join the matches of a run that are at most ``gap_s`` apart."""
    moment: Moment | None = None
    for m in matches:
        if moment is None or m.run != moment.run or not 0 <= m.t_s - moment.to_s <= gap_s + 1e-9:
            if moment is not None:
                yield moment
            at_s = (m.t_s, m.t_s, m.video_s, m.video_s)
            moment = Moment(m.run, m.log, *at_s, m.frame, m.frame, m.index, m.index)
        moment.to_s, moment.video_to_s = m.t_s, m.video_s
        moment.last, moment.last_index = m.frame, m.index
        moment.frames += 1
        moment.objects = sorted({*moment.objects, *m.objects})
        for name, values in m.values.items():
            moment.values[name] = _together([*moment.values.get(name, []), *values])
    if moment is not None:
        yield moment


def _together(values: list[Any]) -> list[Any]:
    """The least and greatest of numbers; of texts each one, twenty at most."""
    found = sorted(set(values))
    ends = [found[0], found[-1]] if len(found) > 1 else found
    return found[:_MOST_TEXTS] if isinstance(found[0], str) else ends


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _range(values: Sequence[Any]) -> str:
    """Numbers as least..greatest, texts between commas."""
    if not values:
        return "-"
    numbers = isinstance(values[0], int | float) and not isinstance(values[0], bool)
    return ("..".join if numbers else ", ".join)(_shown(v) for v in values)[:60]


def moments_table(moments: Sequence[Moment]) -> str:
    """A line for each moment."""
    columns = list(dict.fromkeys(c for m in moments for c in m.values))
    objects = any(m.objects for m in moments)
    rows = [["run", "from_s", "to_s", "frames", *columns, *(["objects"] if objects else [])]]
    for m in moments:
        ids = " ".join(f"#{i}" for i in m.objects[:_SHOWN_IDS])
        ids += " ..." if len(m.objects) > _SHOWN_IDS else ""
        cells = [_range(m.values.get(c, [])) for c in columns]
        rows.append([m.run, f"{m.from_s:.2f}", f"{m.to_s:.2f}", str(m.frames), *cells,
                     *([ids] if objects else [])])  # fmt: skip
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    right = (1, 2, 3)
    return "\n".join(
        "  ".join(
            c.rjust(w) if i in right else c.ljust(w)
            for i, (c, w) in enumerate(zip(r, widths, strict=True))
        ).rstrip()
        for r in rows
    )


def _write_moments(out: Path, moments: Sequence[Moment], condition: str, clips: list[str]) -> None:
    if out.suffix.lower() == ".json":
        rows = [vars(m) | ({"clip": c} if c else {}) for m, c in zip(moments, clips, strict=True)]
        write_json(out, {"condition": condition, "moments": rows})
        return
    columns = list(dict.fromkeys(c for m in moments for c in m.values))
    plain = ("run", "log", "from_s", "to_s", "video_s", "video_to_s", "first", "last",
             "first_index", "last_index", "frames")  # fmt: skip
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    ends = [f"{c}_{end}" for c in columns for end in ("least", "greatest")]
    writer.writerow([*plain, "objects", *ends, "clip"])
    for m, clip in zip(moments, clips, strict=True):
        pairs = [(v[0], v[-1]) if v else ("", "") for v in (m.values.get(c) for c in columns)]
        writer.writerow(
            [*(getattr(m, n) for n in plain), " ".join(map(str, m.objects)),
             *(_cell(v) for p in pairs for v in p), clip]
        )  # fmt: skip
    write_text(out, sheet.getvalue())


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula is quoted."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@") else value


def _cut(
    root: Path, own: str, moments: Sequence[Moment], folder: Path, margin_s: float
) -> list[str]:
    """Cut a clip for each moment; returns the files' names, '' for those that cannot be.

    ``own``: what the run in ``root`` itself is called.
    """
    from tools.clips import OVERLAY, clip_name, cut_clip

    names: list[str] = []
    with progress_bar("cutting", len(moments), "clip") as bar:
        for number, m in enumerate(moments, 1):
            run, title = (root, root.name) if m.run == own else (root / m.run, m.run)
            name = clip_name(title, m.from_s, m.to_s)
            if name in names:
                name = f"{name[:-4]}-{number}.mp4"
            from_s, to_s = m.video_s - margin_s, m.video_to_s + margin_s
            try:
                cut_clip(run / OVERLAY, folder / name, from_s, to_s)
            except InputError as e:
                print(f"no clip: {e}", file=sys.stderr)
                name = ""
            names.append(name)
            bar(number)
    return names


def _print_columns(tables: Tables) -> None:
    for view, documented in (("frames", FRAME_COLUMNS), ("objects", OBJECT_COLUMNS)):
        shared = _PLACE if view == "objects" else ()
        kinds = {n: k for n, k in tables.kinds[view].items() if n not in shared}
        more = [n for n in kinds if n not in documented]
        print(f"{view}:")
        for name in [*(n for n in documented if n in kinds), *sorted(more)]:
            print(f"  {name:20} {kinds[name].lower()}")


def _check_targets(a: argparse.Namespace, runs: Sequence[Path]) -> None:
    """Whether ``--out`` and ``--clips`` can be written to, and are no file of a run.

    Raises:
        InputError: one cannot, or is.
    """
    if a.out is not None:
        folders = {*runs, *(run.parent for run in runs)}  # a fleet's files lie above
        check_file("--out", a.out, [folder / name for folder in folders for name in _OF_RUNS])
    if a.clips is not None:
        try:
            make_folder(a.clips)
        except InputError as e:  # it speaks of --out
            raise InputError(f"--clips{str(e).removeprefix('--out')}") from e


def run_find(a: argparse.Namespace) -> int:
    """The command."""
    if a.condition is None and not a.columns:
        raise InputError("find: give a CONDITION in quotes, or --columns to see what there is")
    if a.out is not None and a.out.suffix.lower() not in (".json", ".csv"):
        raise InputError(f"--out {a.out}: expected a name ending in .json or .csv")
    with Tables(a.runs) as tables:
        if a.columns:
            _print_columns(tables)
            return 0
        condition = parse_condition(a.condition, tables.names(), _VALUES)
        _check_targets(a, tables.runs)
        moments = list(merge(tables.matches(condition), a.gap))
        frames, hours = tables.size()
        runs = len(tables.runs)
    if moments:
        print(moments_table(moments[:_SHOWN]))
    if len(moments) > _SHOWN:
        print(f"... and {len(moments) - _SHOWN} more; --out FILE.csv has all")
    count = f"{len(moments)} moment{'' if len(moments) == 1 else 's'}"
    print(f"{count}, {sum(m.frames for m in moments)} of {frames} frames in {runs} "
          f"run{'' if runs == 1 else 's'} ({hours:.2f} h)")  # fmt: skip
    clips = [""] * len(moments)
    if a.clips is not None:
        clips = _cut(tables.root, tables.own, moments, a.clips, a.margin)
        written = sum(map(bool, clips))
        print(f"{written} clip{'s' if written != 1 else ''} written to {a.clips}")
    if a.out is not None:
        _write_moments(a.out, moments, a.condition, clips)
        print(a.out)
    return 0
