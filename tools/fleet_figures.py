"""Figures over the runs of a fleet, for its page: from their summaries and tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.logs.extras import need
from planning.scores import Limits
from tools.frame_table import FRAMES, OBJECTS, first_line, tables_sql

BINS = 120
_MEMORY = "1GB"


@dataclass
class RunFigures:
    """Of one run; None for what is not known without tables.

    Attributes:
        ribbon: (what the plan was at worst, 0 OK, 1 BLOCKED, 2 other; least ttc_s or None;
            whether there were faults) of each part of the run.
        events: times that the plan's status changed, the time to collision fell below its limit,
            or faults began.
    """

    name: str
    summary: dict[str, Any]
    seconds: float | None = None
    ttc_s: float | None = None
    ttc_at_s: float | None = None
    events: int | None = None
    nearest_m: float | None = None
    ribbon: list[tuple[int, float | None, bool]] = field(default_factory=list)

    def number(self, key: str) -> float:
        value = self.summary.get(key)
        return float(value) if isinstance(value, int | float) else 0.0


@dataclass
class Distribution:
    """Counts of frames in equal steps from ``low`` on; the last also holds what lies beyond."""

    title: str
    unit: str
    low: float
    step: float
    counts: list[int]


@dataclass
class FleetFigures:
    runs: list[RunFigures]
    distributions: list[Distribution] = field(default_factory=list)


def fleet_figures(root: Path, runs: Sequence[Path], tables: bool) -> FleetFigures:
    """Read them; ``tables``: those beside the records are there.

    Raises:
        InputError: the tables cannot be read.
    """
    found = FleetFigures([RunFigures(r.relative_to(root).as_posix(), _summary(r)) for r in runs])
    if not tables or not runs:
        return found
    duckdb = need("duckdb", "tables of frames", "fleet")
    try:
        with duckdb.connect(config={"threads": 1, "memory_limit": _MEMORY}) as db:
            for view, name in (("frames", FRAMES), ("objects", OBJECTS)):
                db.execute(f"CREATE VIEW {view} AS {tables_sql(root, runs, name)}")
            _of_runs(db, {r.name: r for r in found.runs})
            found.distributions = _distributions(db)
    except duckdb.Error as e:
        raise InputError(f"{root}: the tables cannot be read ({first_line(e)})") from e
    return found


def _summary(run: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        value = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}


def _of_runs(db: Any, runs: dict[str, RunFigures]) -> None:
    limit_s = Limits().collision_s
    rows = db.execute(
        f"""WITH steps AS (SELECT run, frame, t_s, ttc_s, nearest_m,
              status IS DISTINCT FROM lag(status, 1, 'OK') OVER w AS turn,
              coalesce(ttc_s < {limit_s}, false) AS near,
              coalesce(lag(ttc_s) OVER w < {limit_s}, false) AS was_near,
              faults <> '' AND faults <> lag(faults, 1, '') OVER w AS fault
            FROM frames WINDOW w AS (PARTITION BY run ORDER BY frame))
        SELECT run, max(t_s) - min(t_s), min(ttc_s), arg_min(t_s, ttc_s), min(nearest_m),
          sum(turn::INT + (near AND NOT was_near)::INT + fault::INT)
        FROM steps GROUP BY run"""
    )
    for run, seconds, ttc_s, at_s, nearest_m, events in rows.fetchall():
        if run in runs:
            r = runs[run]
            r.seconds, r.ttc_s, r.ttc_at_s, r.nearest_m = seconds, ttc_s, at_s, nearest_m
            r.events = int(events)
    rows = db.execute(
        f"""WITH sized AS (SELECT run, count(*) AS n FROM frames GROUP BY run)
        SELECT run, least(frame * {BINS} // n, {BINS - 1}) AS bin,
          max(CASE status WHEN 'OK' THEN 0 WHEN 'BLOCKED' THEN 1 ELSE 2 END), min(ttc_s),
          bool_or(n_faults > 0)
        FROM frames JOIN sized USING (run) GROUP BY run, bin ORDER BY run, bin"""
    )
    for run, _, status, ttc_s, fault in rows.fetchall():
        if run in runs:
            runs[run].ribbon.append((int(status), ttc_s, bool(fault)))


def _distributions(db: Any) -> list[Distribution]:
    wanted = (
        ("Time to collision", "s", "ttc_s", 0.0, 0.2, 16),
        ("Nearest object", "m", "nearest_m", 0.0, 4.0, 16),
        ("Length of the path", "m", "length_m", 0.0, 4.0, 16),
        ("Objects in a frame", "", "n_objects", 0.0, 1.0, 21),
        ("Speed target", "m/s", "speed_target_mps", 0.0, 1.0, 16),
        ("Time of a frame", "ms", "frame_ms", 0.0, 0.0, 16),
    )
    found = []
    for title, unit, column, low, step, bins in wanted:
        if not step:
            top = db.execute(f"SELECT quantile_cont({column}, 0.98) FROM frames").fetchone()[0]
            step = _round_step((top or 1.0) / bins)
        counts = [0] * bins
        place = f"CAST(floor(({column} - {low}) / {step} + 1e-9) AS INT)"
        at = f"greatest(least({place}, {bins - 1}), 0)"
        query = f"SELECT {at} AS b, count(*) FROM frames WHERE {column} IS NOT NULL GROUP BY b"
        for number, count in db.execute(query).fetchall():
            counts[number] = count
        if any(counts):
            found.append(Distribution(title, unit, low, step, counts))
    return found


def _round_step(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... from ``value`` on."""
    power = 1.0
    while True:
        for step in (1.0, 2.0, 5.0):
            if step * power >= value:
                return step * power
        power *= 10
