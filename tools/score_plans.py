"""``roadstack score-plans``: scores of the plans of a replay, from its ``record.jsonl``.

    frames, with_plan          frames, and the share of them with a plan to follow
    status, reasons            how often each occurs; numbers in reasons are left out
    time_to_collision          share of plans that stay 0.95 s or more from a collision with what
                               was tracked, looking 3 s ahead; the least one, its frame and track
    comfort                    share of plans within all limits, and how often each is crossed
    progress                   planned length, and way within 3 s, median and 10th percentile
    on_drivable                share of the plans' length that lies where the network saw drivable
                               area or lane lines, and of the plans of which 95 % does
    change_m                   how far plans of neighbouring frames lie apart sideways, 10 m ahead

On labelled drivable area the path is measured by ``python -m tools.bench_plan_frames``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from planning.scores import (
    SIZE_M,
    Limits,
    Others,
    peaks,
    times_to_collision_s,
    uncomfortable,
)
from planning.scores import Path as PlannedPath
from tools.files import make_folder, staging, write_json, write_text
from tools.record import SCHEMA

JSON, CSV = "plans.json", "plans.csv"
_MAX_LINE = 32 << 20  # characters; a frame of a thousand objects takes a hundredth
_SEEN_WITHIN_S = 0.5
_AHEAD_M = 10.0


@dataclass(frozen=True, eq=False)
class Row:
    """Scores of a frame's plan; NaN where there is none."""

    index: int
    status: str
    reason: str
    length_m: float
    way_m: float
    collision_s: float
    over: tuple[str, ...]
    side_m: float
    on_drivable: float
    collision_track: int | None = None


def read_record(path: Path) -> list[dict[str, Any]]:
    """The lines of a replay's record, which may be gzipped.

    Raises:
        InputError: missing, or a line is not of the record's schema; names file and line.
    """
    if path.is_dir():
        path = path / "record.jsonl"
    rows = []
    for n, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
            if row.get("schema") != SCHEMA:
                raise ValueError(f"schema is not {SCHEMA}")
            _head(row)
            _path_of(row)
            _others_of(row)
            _share_of(row)
            rows.append(row)
        except Exception as e:  # whatever a line of other fields or kinds brings about
            raise InputError(f"{path}:{n}: not a line of a replay's record ({e!s:.100})") from e
    if not rows:
        raise InputError(f"{path}: has no frame")
    return rows


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            packed = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            with io.TextIOWrapper(packed, encoding="utf-8") as text:
                # up to a limit: a packed line may be of any length
                yield from iter(lambda: text.readline(_MAX_LINE), "")
    except FileNotFoundError as e:
        raise InputError(f"{path}: missing; expected a folder written by replay") from e
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as e:
        raise InputError(f"{path}: cannot be read as text ({e})") from e


def _head(row: dict[str, Any]) -> tuple[int, str, str]:
    return int(row["index"]), str(row["plan"]["status"]), str(row["plan"]["reason"])


def _path_of(row: dict[str, Any]) -> PlannedPath:
    points = np.array(row["plan"]["points"], np.float64).reshape(-1, 6)
    if not np.isfinite(points).all() or not (np.diff(points[:, 5]) >= 0).all():
        raise ValueError("points must be finite, their times ascending")
    return PlannedPath(*points.T)


def _others_of(row: dict[str, Any]) -> tuple[list[int], Others]:
    """What was tracked, seen lately and has a place and a velocity: track ids, and the objects."""
    ids, kept = [], []
    for t in row.get("tracks", []):
        known = t["position_m"] is not None and t["velocity_mps"] is not None
        if known and t["class"] in SIZE_M and t["since_update_s"] <= _SEEN_WITHIN_S:
            ids.append(int(t["id"]))
            kept.append([*t["position_m"], *t["velocity_mps"], *SIZE_M[t["class"]]])
    values = np.array(kept, np.float64).reshape(-1, 6)
    if not np.isfinite(values).all():
        raise ValueError("places and velocities of tracks must be finite")
    return ids, Others(*values.T)


def _share_of(row: dict[str, Any]) -> float:
    """Of the path, on drivable area; NaN where the record of an earlier version lacks it."""
    share = row["plan"].get("on_drivable")
    return math.nan if share is None else float(share)


def score_row(row: dict[str, Any], limits: Limits) -> Row:
    """The scores of a frame's plan."""
    path, head = _path_of(row), _head(row)
    if len(path.t_s) < 2:
        return Row(*head, math.nan, math.nan, math.nan, (), math.nan, math.nan)
    step = np.hypot(np.diff(path.x_m), np.diff(path.y_m))
    s = np.concatenate([[0.0], np.cumsum(step)])
    way = float(np.interp(limits.horizon_s, path.t_s, s))
    ids, others = _others_of(row)
    found = times_to_collision_s(path, others, horizon_s=limits.horizon_s)
    first = float(found.min(initial=math.inf))
    hit = ids[int(found.argmin())] if math.isfinite(first) else None
    side = float(np.interp(_AHEAD_M, s, path.y_m)) if s[-1] >= _AHEAD_M else math.nan
    over = tuple(uncomfortable(peaks(path), limits))
    return Row(*head, float(s[-1]), way, first, over, side, _share_of(row), hit)


def _spread(values: Sequence[float]) -> dict[str, float]:
    known = np.array([v for v in values if math.isfinite(v)])
    if not len(known):
        return {"median": math.nan, "p10": math.nan}
    return {"median": float(np.median(known)), "p10": float(np.quantile(known, 0.1))}


def summary(rows: Sequence[Row], limits: Limits) -> dict[str, Any]:
    """The scores of a replay; keys as the module says."""
    plans = [r for r in rows if not math.isnan(r.length_m)]
    count = max(len(plans), 1)
    nan = math.nan
    first = min(plans, key=lambda r: r.collision_s, default=None)
    hit = first is not None and math.isfinite(first.collision_s)
    safe = sum(r.collision_s >= limits.collision_s for r in plans)
    side = np.abs(np.diff([r.side_m for r in rows]))
    moved = side[np.isfinite(side)]
    seen = [r for r in plans if math.isfinite(r.on_drivable) and r.length_m > 0]
    length = sum(r.length_m for r in seen)
    return {
        "frames": len(rows),
        "with_plan": len(plans) / max(len(rows), 1),
        "status": dict(Counter(r.status for r in rows).most_common()),
        "reasons": dict(Counter(plain_reason(r.reason) for r in rows if r.reason).most_common()),
        "time_to_collision": {
            "within_limit": safe / count if plans else nan,
            "least_s": first.collision_s if first is not None and hit else nan,
            "frame": first.index if first is not None and hit else None,
            "track": first.collision_track if first is not None and hit else None,
        },
        "comfort": {
            "within_limits": sum(not r.over for r in plans) / count if plans else nan,
            "crossed": dict(Counter(name for r in plans for name in r.over).most_common()),
        },
        "progress": {
            "length_m": _spread([r.length_m for r in plans]),
            "way_within_horizon_m": _spread([r.way_m for r in plans]),
        },
        "on_drivable": {
            "share": sum(r.on_drivable * r.length_m for r in seen) / length if seen else nan,
            "plans_from_95": sum(r.on_drivable >= 0.95 for r in seen) / len(seen) if seen else nan,
        },
        "change_m": {
            "median": float(np.median(moved)) if len(moved) else nan,
            "p95": float(np.quantile(moved, 0.95)) if len(moved) else nan,
        },
        "limits": asdict(limits),
    }


def plain_reason(reason: str) -> str:
    """A reason with its numbers left out: 'vehicle 6.5 m ahead' is 'vehicle # m ahead'."""
    return re.sub(r"[-+]?\d+(\.\d+)?", "#", reason)


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["index", "status", "length_m", "way_m", "collision_s", "collision_track", "on_drivable",
         "over", "reason"]
    )  # fmt: skip
    for r in rows:
        cells = [f"{v:.3f}" if math.isfinite(v) else "" for v in (r.length_m, r.way_m)]
        time = f"{r.collision_s:.1f}" if math.isfinite(r.collision_s) else ""
        share = f"{r.on_drivable:.3f}" if math.isfinite(r.on_drivable) else ""
        track = "" if r.collision_track is None else r.collision_track
        writer.writerow([r.index, r.status, *cells, time, track, share, " ".join(r.over), r.reason])
    return text.getvalue()


def _print(s: dict[str, Any]) -> None:
    ttc, comfort, way, limits = (
        s[k] for k in ("time_to_collision", "comfort", "progress", "limits")
    )
    track = "" if ttc["track"] is None else f" (track {ttc['track']})"
    least = "" if ttc["frame"] is None else f", least {ttc['least_s']:.1f} s in frame "
    least += f"{ttc['frame']}{track}" if least else ""
    on, change = s["on_drivable"], s["change_m"]
    rows = {  # the figure that tells whether there is any, and all in words
        "plans": (0.0, f"{s['with_plan']:.1%} of {s['frames']} frames; {s['status']}"),
        "time to collision": (ttc["within_limit"],
            f"{ttc['within_limit']:.1%} at {limits['collision_s']} s or more{least}"),
        "comfort": (comfort["within_limits"],
            f"{comfort['within_limits']:.1%} within limits; crossed {comfort['crossed']}"),
        "progress": (way["length_m"]["median"],
            f"{way['length_m']['median']:.1f} m planned, "
            f"{way['way_within_horizon_m']['median']:.1f} m within {limits['horizon_s']:g} s"),
        "on drivable area": (on["share"],
            f"{on['share']:.1%} of the length, as the network sees it; {on['plans_from_95']:.1%} "
            "of the plans lie on it to 95 % or more"),
        "change": (change["median"],
            f"{change['median']:.3f} m from frame to frame, 10 m ahead"),
    }  # fmt: skip
    for name, (figure, text) in rows.items():
        print(f"{name:18} {'not known' if math.isnan(figure) else text}")
    for reason, count in list(s["reasons"].items())[:5]:
        print(f"{count:18} {reason}")


def run_score_plans(a: argparse.Namespace) -> int:
    """Score the plans of ``a.run``; prints a table, writes JSON and CSV to ``a.out``.

    Raises:
        InputError: there is no record, or it is malformed.
    """
    limits = Limits()
    rows = [score_row(r, limits) for r in read_record(a.run)]
    result = summary(rows, limits)
    _print(result)
    if a.out is not None:
        out = make_folder(a.out)
        with staging(out, [CSV, JSON], [a.run]) as folder:
            write_text(folder / CSV, _csv(rows))
            write_json(folder / JSON, result)
        print(out / JSON)
    return 0
