"""How fast tracks are scored, beside TrackEval, and whether both give the same figures.

    python -m tools.bench_score_tracks --labels DIR --tracks DIR --trackeval PYTHON

DIR hold KITTI's label_02/DRIVE.txt and tracks as ``roadstack track`` writes them; PYTHON is the
interpreter of an environment with ``trackeval``. Each scores cars and pedestrians of all drives, in
a process of its own and in turn, from the files to HOTA, CLEAR and identity scores; imports are not
timed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from perception.metrics.tracking import TrackCounts
from tools.machine import hardware

CLASSES = ("Car", "Pedestrian")
EQUAL = 1e-9
# our name of a score -> TrackEval's
THEIR_NAMES = {
    "MOTA": "MOTA", "MOTP": "MOTP", "IDF1": "IDF1", "IDR": "IDR", "IDP": "IDP",
    "switches": "IDSW", "fragmentations": "Frag", "mostly_tracked": "MT", "partly_tracked": "PT",
    "mostly_lost": "ML", "misses": "CLR_FN", "false_alarms": "CLR_FP",
}  # fmt: skip
_THEIRS = """
import contextlib, io, json, sys, time
from pathlib import Path
import trackeval
labels, found, work = map(Path, sys.argv[1:])
(work / "gt/label_02").mkdir(parents=True); (work / "tr/ours/data").mkdir(parents=True)
rows = []
for f in sorted(labels.glob("*.txt")):
    (work / "gt/label_02" / f.name).write_text(f.read_text())
    (work / "tr/ours/data" / f.name).write_text((found / f.name).read_text())
    frames = [int(r.split()[0]) for p in (f, found / f.name) for r in p.read_text().splitlines()]
    rows.append(f"{f.stem} empty 000000 {max(frames) + 1:06d}")
(work / "gt/evaluate_tracking.seqmap.training").write_text("\\n".join(rows) + "\\n")
start, busy = time.perf_counter(), time.process_time()
with contextlib.redirect_stdout(io.StringIO()):
    data = trackeval.datasets.Kitti2DBox(dict(
        GT_FOLDER=str(work / "gt"), TRACKERS_FOLDER=str(work / "tr"), PRINT_CONFIG=False))
    metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(dict(PRINT_CONFIG=False)),
               trackeval.metrics.Identity(dict(PRINT_CONFIG=False))]
    out = {}
    for name in ("car", "pedestrian"):
        parts = {}
        for drive in data.seq_list:
            d = data.get_preprocessed_seq_data(data.get_raw_seq_data("ours", drive), name)
            for m in metrics:
                parts.setdefault(m.get_name(), {})[drive] = m.eval_sequence(d)
        out[name.capitalize()] = {k: v for m in metrics
                     for k, v in m.combine_sequences(parts[m.get_name()]).items()}
spent = dict(seconds=time.perf_counter() - start, cpu_seconds=time.process_time() - busy)
print(json.dumps(dict(spent, scores=out), default=lambda a: a.tolist()))
"""
_OURS = """
import json, sys, time
from pathlib import Path
from perception.metrics.tracking import TrackCounts
from perception.metrics.tracking_files import read_kitti, score_kitti
from tools.bench_score_tracks import CLASSES, figures
labels, found = map(Path, sys.argv[1:3])
start, busy = time.perf_counter(), time.process_time()
counts = dict.fromkeys(CLASSES, TrackCounts())
for f in sorted(labels.glob("*.txt")):
    truth, tracks = read_kitti(f), read_kitti(found / f.name)
    for name in CLASSES:
        counts[name] += score_kitti(truth, tracks, name)
out = {name: figures(c) for name, c in counts.items()}
spent = dict(seconds=time.perf_counter() - start, cpu_seconds=time.process_time() - busy)
print(json.dumps(dict(spent, scores=out)))
"""


def figures(counts: TrackCounts) -> dict[str, Any]:
    """All scores that TrackEval has too, by its names: numbers, and curves over the thresholds."""
    scores = counts.scores()
    single = {theirs: scores[ours] for ours, theirs in THEIR_NAMES.items()}
    return single | {name: values.tolist() for name, values in counts.curves().items()}


def _run(python: str, code: str, *paths: Path) -> dict[str, Any]:
    done = subprocess.run([python, "-c", code, *map(str, paths)], capture_output=True, text=True)
    if done.returncode:
        raise InputError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def trackeval_scores(python: str, labels: Path, tracks: Path) -> dict[str, Any]:
    """``seconds``, ``cpu_seconds`` and ``scores`` (class -> score -> value) by TrackEval.

    Raises:
        InputError: the interpreter cannot be run, or it cannot score the files.
    """
    try:
        with tempfile.TemporaryDirectory() as work:
            return _run(python, _THEIRS, labels, tracks, Path(work))
    except (OSError, InputError) as e:
        raise InputError(f"--trackeval {python}: cannot score ({e})") from e


def greatest_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Over all scores of all classes; NaN where one of them is."""
    away = [
        np.abs(np.subtract(value, theirs[name][key])).max()
        for name, scores in ours.items()
        for key, value in scores.items()
    ]
    return float(np.max(away))


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("--labels", type=Path, required=True, help="folder of KITTI's DRIVE.txt")
    p.add_argument("--tracks", type=Path, required=True, help="folder of tracks, DRIVE.txt")
    p.add_argument("--trackeval", required=True, metavar="PYTHON", help="interpreter that has it")
    a = p.parse_args(argv)
    missing = [f.name for f in a.labels.glob("*.txt") if not (a.tracks / f.name).is_file()]
    if missing or not any(a.labels.glob("*.txt")):
        print(f"{a.tracks}: expected the tracks of each drive of {a.labels}", file=sys.stderr)
        return 2
    try:
        theirs = trackeval_scores(a.trackeval, a.labels, a.tracks)
        ours = _run(sys.executable, _OURS, a.labels, a.tracks)
    except InputError as e:
        print(e, file=sys.stderr)
        return 2
    away = greatest_difference(ours["scores"], theirs["scores"])
    print(hardware())
    for name, row in (("roadstack", ours), ("trackeval", theirs)):
        times = row["cpu_seconds"] / ours["cpu_seconds"]
        print(
            f"{name:10} {row['seconds']:6.2f} s, {row['cpu_seconds']:6.2f} s of CPU, x {times:.1f}"
        )
    print(f"greatest difference of any score: {away:.1e}")
    return 0 if away <= EQUAL else 1


if __name__ == "__main__":
    sys.exit(main())
