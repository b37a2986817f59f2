"""Benchmark of ``plan``: seeded maps, our hybrid A* beside other planners, in one run.

    python -m tools.bench_plan --out runs/bench_plan --peers-python PATH/bin/python

The other planners (scikit-image, pyastar2d, OMPL) are used where the interpreter given by
``--peers-python`` has them. Every path is judged by ``bench_plan_check``.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from planning.footprint import field_of
from planning.hybrid_astar import HybridConfig, compile_kernels, plan_path
from tools.bench_plan_check import Judgement, as_driven, judge
from tools.bench_plan_maps import CELL_M, FAMILIES, VEHICLE, Case, make_cases
from tools.bench_plan_plot import draw_plot, draw_sheet
from tools.files import make_folder, write_png, write_text

F64 = NDArray[np.float64]

OURS, NO_REFINE = "roadstack", "roadstack, unsmoothed"


@dataclass(frozen=True, eq=False)
class Answer:
    """Of one planner to one case.

    Attributes:
        poses: (n, 4) or None where no way was given.
        status: ours only.
        ms: time taken; ms_own: without the collision checks written in Python for OMPL.
    """

    poses: F64 | None
    status: str
    ms: float
    ms_own: float


def our_answers(cases: list[Case], refine: bool, repeats: int = 3) -> list[Answer]:
    """Plan each case; the time is the least of some runs, as others use the processor too."""
    compile_kernels()
    out = []
    for case in cases:
        config = HybridConfig(reverse=case.reverse, refine=refine)
        args = (case.occupied, CELL_M, case.start, case.goal, VEHICLE, config)
        runs = [plan_path(*args) for _ in range(repeats)]
        path, ms = runs[-1], min(r.search_ms for r in runs)
        poses = path.poses if path.status == "OK" else None
        out.append(Answer(poses, str(path.status), ms, ms))
    return out


def peer_answers(cases: list[Case], python: Path, budget_s: float) -> dict[str, list[Answer]]:
    """Ask the planners of another interpreter, one process for all."""
    with tempfile.TemporaryDirectory() as folder:
        maps, out = Path(folder) / "maps.npz", Path(folder) / "out.json"
        near = {f"near_{i}": field_of(c.occupied, CELL_M).near_m for i, c in enumerate(cases)}
        np.savez(maps, **near)  # type: ignore[arg-type]
        asked = [{"start": c.start, "goal": c.goal, "reverse": c.reverse} for c in cases]
        job = {"maps": str(maps), "out": str(out), "cell_m": CELL_M, "vehicle": asdict(VEHICLE)}
        job |= {"budget_s": budget_s, "cases": asked}
        script = Path(__file__).with_name("bench_plan_peers.py")
        text = json.dumps(job, default=float)
        subprocess.run([str(python), str(script)], input=text, text=True, check=True)
        answers = json.loads(out.read_text())
    return {name: [_peer_answer(a) for a in given] for name, given in answers.items()}


def _peer_answer(given: dict[str, Any]) -> Answer:
    poses = None
    if given["points"] is not None and len(given["points"]) > 1:
        points = np.array(given["points"])
        if points.shape[1] == 2:
            poses = as_driven(points)
        else:
            d = np.diff(points[:, :2], axis=0)
            ahead = (d * np.column_stack([np.cos(points[1:, 2]), np.sin(points[1:, 2])])).sum(1)
            poses = np.column_stack([points, np.append([1.0], np.where(ahead < 0, -1.0, 1.0))])
    return Answer(poses, "", given["ms"], given["ms_own"])


def _grid_lengths(cases: list[Case]) -> list[float]:
    """Shortest way of eight neighbours on cells no nearer than half the width; inf for none."""
    from planning.astar import astar

    out = []
    for case in cases:
        near = field_of(case.occupied, CELL_M).near_m
        cost = np.where(near < VEHICLE.half_width_m, np.inf, 1.0).astype(np.float32)
        a, b = ((int(p[1] / CELL_M), int(p[0] / CELL_M)) for p in (case.start, case.goal))
        found = astar(cost, a, b, CELL_M)
        out.append(found.cost if found else float("inf"))
    return out


def summarise(
    family: str, planner: str, cases: list[Case], answers: list[Answer], shortest: list[float]
) -> dict[str, Any]:
    """One row of the table. A case counts as right when it is solved, or has no solution and is
    said to have none; a path is clean that hits nothing and can be steered all along."""
    ours = planner.startswith(OURS)
    judged: list[tuple[int, Judgement]] = [
        (i, judge(cases[i].occupied, CELL_M, a.poses, VEHICLE, ours))
        for i, a in enumerate(answers)
        if a.poses is not None
    ]
    ms = np.array([a.ms for a in answers])
    ratio = [j.length_m / shortest[i] for i, j in judged if np.isfinite(shortest[i])]
    right = sum(
        (a.poses is not None)
        if c.solvable
        else (a.status == "BLOCKED" if ours else a.poses is None)
        for c, a in zip(cases, answers)
    )
    clear = [j.clearance_m for _, j in judged]
    return {
        "family": family,
        "planner": planner,
        "cases": len(cases),
        "right": right,
        "paths": len(judged),
        "clean": sum(j.hits == 0 and j.tight_share == 0 for _, j in judged),
        "hit": sum(j.hits > 0 for _, j in judged),
        "too tight": sum(j.tight_share > 0 for _, j in judged),
        "clearance min m": round(min(clear), 3) if clear else "",
        "clearance median m": round(float(np.median(clear)), 3) if clear else "",
        "length ratio mean": round(float(np.mean(ratio)), 3) if ratio else "",
        "length ratio max": round(float(np.max(ratio)), 3) if ratio else "",
        "ms median": round(float(np.median(ms)), 2),
        "ms p95": round(float(np.percentile(ms, 95)), 2),
        "ms p99": round(float(np.percentile(ms, 99)), 2),
        "ms median without checks": round(float(np.median([a.ms_own for a in answers])), 2),
    }


def as_table(rows: Iterable[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    rows = list(rows)
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *[[str(r[k]) for k in head] for r in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def bench_plan(
    out: Path,
    count: int = 50,
    seed: int = 0,
    families: Iterable[str] = tuple(FAMILIES),
    peers_python: Path | None = None,
    budget_s: float = 0.5,
) -> list[dict[str, Any]]:
    """Run the benchmark; writes table.csv, table.md, plot.png and sheet_FAMILY.png to ``out``."""
    make_folder(out)
    rows = []
    for family in families:
        cases = make_cases(family, count, seed)
        answers = {OURS: our_answers(cases, True), NO_REFINE: our_answers(cases, False)}
        if peers_python is not None:
            answers |= peer_answers(cases, peers_python, budget_s)
        shortest = _grid_lengths(cases)
        rows += [summarise(family, name, cases, a, shortest) for name, a in answers.items()]
        paths = {name: [x.poses for x in a] for name, a in answers.items() if name != NO_REFINE}
        write_png(out / f"sheet_{family.replace(' ', '_')}.png", draw_sheet(cases, paths))
        print(as_table(r for r in rows if r["family"] == family), flush=True)
    with (out / "table.csv").open("w", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_text(out / "table.md", as_table(rows))
    draw_plot(rows, out / "plot.png")
    return rows


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("--out", type=Path, default=Path("runs/bench_plan"))
    p.add_argument("--count", type=int, default=50, help="maps of each family (50)")
    p.add_argument("--seed", type=int, default=0, help="of the first map (0)")
    p.add_argument("--families", default=",".join(FAMILIES), help="(%(default)s)")
    p.add_argument("--peers-python", type=Path, help="interpreter that has the other planners")
    p.add_argument("--budget-s", type=float, default=0.5, help="time OMPL may take a case (0.5)")
    a = p.parse_args()
    cv2.setNumThreads(1)
    families = [f.strip() for f in a.families.split(",")]
    unknown = [f for f in families if f not in FAMILIES]
    if unknown:
        p.error(f"unknown family {unknown[0]!r}; known: {', '.join(FAMILIES)}")
    bench_plan(a.out, a.count, a.seed, families, a.peers_python, a.budget_s)
    print(f"written to {a.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
