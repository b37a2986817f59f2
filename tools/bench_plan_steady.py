"""How steady the plans of replays are from frame to frame, and how long planning took.

    python -m tools.bench_plan_steady runs/a runs/b

Reads the ``record.jsonl`` and ``timings.jsonl`` of finished replays. The lateral change is between
the paths of neighbouring frames at equal distance ahead of the rear axle, where both reach that
far; the own motion between the frames is not taken out, so that it holds what a viewer sees and
some of a curve driven.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError

AHEAD_M = (10.0, 20.0, 30.0)

F64 = NDArray[np.float64]


def lateral_changes(paths: Sequence[F64], ahead_m: float) -> F64:
    """(k,) |change of y| at ``ahead_m`` between neighbouring paths, (n, 2) x, y each."""
    at = [
        float(np.interp(ahead_m, p[:, 0], p[:, 1])) if len(p) and p[-1, 0] >= ahead_m else np.nan
        for p in paths
    ]
    change = np.abs(np.diff(np.array(at, np.float64)))
    return np.asarray(change[np.isfinite(change)])


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: expected the lines of a finished replay: {e}") from e


def steadiness(run: Path) -> dict[str, Any]:
    """Figures of one replay's folder.

    Raises:
        InputError: the folder holds no finished replay.
    """
    records = _lines(run / "record.jsonl")
    paths = [np.array(r["plan"]["points"], np.float64).reshape(-1, 6)[:, :2] for r in records]
    times = [t["stage_ms"]["plan"] for t in _lines(run / "timings.jsonl")]
    out: dict[str, Any] = {"frames": len(records)}
    for x in AHEAD_M:
        d = lateral_changes(paths, x)
        if len(d):
            mean, p95, most = d.mean(), np.percentile(d, 95), d.max()
            out[f"at {x:.0f} m"] = f"mean {mean:.3f}, p95 {p95:.3f}, max {most:.3f} m ({len(d)})"
    if times:
        spent = np.percentile(times, (50, 95, 99))
        out["plan ms p50, p95, p99"] = ", ".join(f"{ms:.1f}" for ms in spent)
    out["statuses"] = {
        s: sum(r["plan"]["status"] == s for r in records)
        for s in sorted({r["plan"]["status"] for r in records})
    }
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("runs", nargs="+", type=Path, help="folders of finished replays")
    for run in p.parse_args().runs:
        print(run)
        for key, value in steadiness(run).items():
            print(f"  {key}: {value}")


if __name__ == "__main__":
    main()
