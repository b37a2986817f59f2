"""``roadstack compare``: is one evaluation better than another, or is it chance?

Both folders were written by ``evaluate`` on the same frames and labels by the same protocol. Every
headline figure's difference B - A gets a 95 % interval by a paired bootstrap: both runs are scored
on the same samples of the drives or frames (of tracks: drives). Written are ``compare.json``,
``compare.csv`` and ``compare.html``. With ``--fail-if-worse X`` the exit code is 1 when a judged
figure of B lies more than X below A's (or is not defined any more): a gate for CI. Classes of few
boxes, and numbers of events (identity switches, fragmentations), are shown and not judged.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from data.errors import InputError
from perception.metrics.bootstrap import LEVEL, drives_text, resampling
from tools.compare_page import build_page, signed
from tools.comparison import (
    Changed,
    Difference,
    Run,
    changed_frames,
    check_comparable,
    differences,
    track_differences,
)
from tools.files import make_folder, staging, write_json, write_text
from tools.warmup import prepare

JSON, CSV, PAGE = "compare.json", "compare.csv", "compare.html"


def _csv(rows: Mapping[str, Difference]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["figure", "a", "b", "difference", "low", "high", "judged"])
    for key, d in rows.items():
        values = (d.a, d.b, d.change.value, d.change.low, d.change.high)
        cells = ["" if math.isnan(v) else f"{v:.6f}" for v in values]
        writer.writerow([key, *cells, int(d.judged)])
    return text.getvalue()


def _json(
    a: Run, b: Run, rows: Mapping[str, Difference], frames: Sequence[Changed], worse: list[str],
    drawn: str, options: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    return {
        "a": {"folder": str(a.folder), "model": a.record.about.get("model")},
        "b": {"folder": str(b.folder), "model": b.record.about.get("model")},
        "frames": len(a.record),
        "drives_of_tracks": len(a.tracks) if a.tracks else None,
        "figures": {
            key: {
                "a": d.a, "b": d.b, "difference": d.change.value, "low": d.change.low,
                "high": d.change.high, "judged": d.judged, "verdict": d.verdict,
            }
            for key, d in rows.items()
        },
        "changed": [
            {"name": str(a.record.name[f.frame]), "wrong_a": f.wrong_a, "wrong_b": f.wrong_b,
             "change": dict(f.shares)}
            for f in frames
        ],
        "fail_if_worse": options.fail_if_worse,
        "worse": worse,
        "bootstrap": {
            "draws": options.bootstrap, "seed": options.seed, "level": LEVEL, "drawn": drawn,
        },
    }  # fmt: skip


def _print(rows: Mapping[str, Difference]) -> None:
    width = max(map(len, rows), default=0) + 2
    print(f"{'':{width}}{'A':>8}{'B':>8}{'B - A':>8}  95 % interval")
    for key, d in rows.items():
        c = d.change
        count = d.fewer_is_better
        ends = ", ".join(signed(v, count) for v in (c.low, c.high))
        span = "" if math.isnan(c.low) else f"[{ends}]"
        both = "".join(f"{v:8.0f}" if count else f"{v:8.3f}" for v in (d.a, d.b))
        print(f"{key:{width}}{both}{signed(c.value, count):>8}  {span:18} {d.verdict}".rstrip())


def _figures(one: Run, two: Run, a: argparse.Namespace) -> tuple[dict[str, Difference], str]:
    """All differences, and what was drawn for their intervals."""
    known = two.record if "drive" in two.record.attributes else one.record
    by = resampling(known, a.resample)
    rows = differences(one.record, two.record, a.bootstrap, a.seed, a.min_boxes, by.drive)
    drawn = [by.text] if len(one.record) else []
    if one.tracks and two.tracks:
        rows |= track_differences(one.tracks, two.tracks, a.bootstrap, a.seed, a.min_boxes)
        drawn.append(drives_text(len(one.tracks)))
    return rows, "; of tracks ".join(drawn)


def run_compare(a: argparse.Namespace) -> int:
    """Compare ``a.run_a`` and ``a.run_b``; 1 when B is worse than ``a.fail_if_worse`` allows.

    Raises:
        InputError: a folder is no evaluation, or they are of other data or protocol.
    """
    limit = a.fail_if_worse
    if limit is not None and not 0 <= limit < math.inf:
        raise InputError(f"--fail-if-worse {limit}: expected a difference of 0 or more, as 0.01")
    prepare("metrics")
    one, two = Run.read(a.run_a), Run.read(a.run_b)
    check_comparable(one, two)
    rows, drawn = _figures(one, two, a)
    worse = [] if limit is None else [key for key, d in rows.items() if d.fails(limit)]
    frames = changed_frames(one, two, a.frames)
    out = make_folder(a.out)
    with staging(out, [CSV, PAGE, JSON]) as folder:
        write_text(folder / CSV, _csv(rows))
        write_text(folder / PAGE, build_page(one, two, rows, frames, drawn))
        write_json(folder / JSON, _json(one, two, rows, frames, worse, drawn, a))
    _print(rows)
    print(f"intervals: 95 %, by drawing {drawn}")
    print(out / PAGE)
    for key in worse:
        print(f"worse by more than {limit:g}: {key} {rows[key].a:.3f} to {rows[key].b:.3f}")
    return 1 if worse else 0
