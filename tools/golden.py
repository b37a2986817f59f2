"""The golden replay: what the built-in drive must give, within the tolerances of ``diff``.

``python -m tools.golden`` replays it, prints what differs from the stored record, and replaces
that; with ``--check`` it only tells. The record is thinned: boxes that are sure of themselves,
and each eighth point of a plan.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.cli import main as roadstack
from tools.diff import Comparison, compare_records, read_record, tolerances, verdict

FILE = Path(__file__).resolve().parents[1] / "tests" / "tools" / "golden_drive.jsonl.gz"
OPTIONS = ("--every", "4", "--no-overlay", "--model", "base")
_SURE, _EACH = 0.3, 8


def thinned(row: dict[str, Any]) -> dict[str, Any]:
    """A line of a record with less in it, of the same schema."""
    sure = [d for d in row.get("detections", []) if d["score"] >= _SURE]
    plan = {**row["plan"], "points": row["plan"]["points"][::_EACH]}
    return {**row, **({"detections": sure} if "detections" in row else {}), "plan": plan}


def replayed(folder: Path) -> list[dict[str, Any]]:
    """The thinned record of a new replay into ``folder``."""
    if roadstack(["replay", "--out", str(folder), *OPTIONS]):
        raise SystemExit("the replay failed")
    return [thinned(row) for row in read_record(folder)]


def compared(new: list[dict[str, Any]]) -> tuple[Comparison, str]:
    """The stored record against a new one, and what to say about it."""
    # a box at the edge of what is kept counts as missing with its whole score
    limit = tolerances([("detections.missing", _SURE + 0.02)])
    stored: Iterator[dict[str, Any]] = read_record(FILE) if FILE.exists() else iter(())
    result = compare_records(stored, iter(new), limit)
    return result, verdict(result, limit)


def write(rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows)
    temporary = FILE.with_suffix(".part")
    temporary.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    temporary.replace(FILE)


def main(argv: list[str]) -> int:
    p = argparse.ArgumentParser(prog="python -m tools.golden", description=__doc__)
    p.add_argument(
        "--check", action="store_true", help="replace nothing; exit code 1 if it differs"
    )
    check = p.parse_args(argv).check
    with tempfile.TemporaryDirectory() as folder:
        rows = replayed(Path(folder))
    result, text = compared(rows)
    print(text)
    if check:
        return int(not result.same)
    write(rows)
    print(f"written: {FILE} ({FILE.stat().st_size / 1e3:.0f} kB)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
