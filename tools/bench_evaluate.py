"""``roadstack bench evaluate``: how fast detections are scored, beside the usual tools.

Made-up labels and detections are scored by each tool in a process of its own, from boxes in memory
to COCO's twelve figures; all must give the same ones to 1e-9. Imports, compiling and what turns
arrays into the lists of dictionaries that the other tools read are not timed. Memory is the
process's peak, all of its packages and its input included.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from tools.files import make_folder, write_json
from tools.machine import hardware

OURS = "roadstack"
LABELS_AN_IMAGE = 7  # as in COCO
DRAWS = 1000
_EQUAL = 1e-9
_READ = """
import json, resource, sys, time
import numpy as np
given = dict(np.load(sys.argv[1]))
"""
_TELL = """
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
told = dict(seconds=seconds, cpu_seconds=cpu_seconds, peak_mib=peak, stats=stats)
print(json.dumps(dict(told, version=version, **more)))
"""
_OURS = """
from perception.metrics.coco import Found, Labels, match, twelve_statistics
from perception.metrics.bootstrap import draw_weights
from perception.metrics.detection import class_table
labels = Labels(*(given[k] for k in ("label_frame", "label_kind", "label_xywh", "ignore")))
found = Found(*(given[k] for k in ("frame", "kind", "xywh", "score")))
few, some = labels.frame < 3, found.frame < 3
small = Labels(*(v[few] for v in vars(labels).values()))
twelve_statistics(small, match(small, found.select(some)))  # compiles
start, busy = time.perf_counter(), time.process_time()
matched = match(labels, found)
stats = list(twelve_statistics(labels, matched).values())
seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - busy
version = "here"
start = time.process_time()
frames = int(given["images"])
for kind in range(int(given["classes"])):
    table = class_table(labels, matched, kind, frames)
    for weights in draw_weights(frames, int(given["draws"]), 0):
        table.figures(weights)
more = dict(bootstrap_cpu_seconds=time.process_time() - start)
"""
_THEIRS = """
import contextlib, io
from importlib.metadata import version as version_of
if NAME == "pycocotools":
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
else:
    from faster_coco_eval import COCO, COCOeval_faster as COCOeval
rows = zip(*(given[k].tolist() for k in ("label_frame", "label_kind", "label_xywh", "ignore")))
truth = dict(
    images=[dict(id=i, width=1, height=1) for i in range(int(given["images"]))],
    categories=[dict(id=k, name=str(k)) for k in range(int(given["classes"]))],
    annotations=[
        dict(id=n + 1, image_id=f, category_id=k, bbox=b, area=b[2] * b[3], iscrowd=int(i))
        for n, (f, k, b, i) in enumerate(rows)
    ],
)
rows = zip(*(given[k].tolist() for k in ("frame", "kind", "xywh", "score")))
results = [dict(image_id=f, category_id=k, bbox=b, score=s) for f, k, b, s in rows]
start, busy = time.perf_counter(), time.process_time()
with contextlib.redirect_stdout(io.StringIO()):
    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    run = COCOeval(coco, coco.loadRes(results), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - busy
stats, more = [float(v) for v in run.stats], {}
version = version_of(NAME)
"""


def made_up(images: int, classes: int, detections: int, seed: int) -> dict[str, np.ndarray]:
    """Labels of COCO's sizes, and detections of which two thirds are near a label."""
    rng = np.random.default_rng(seed)
    n = LABELS_AN_IMAGE * images
    wh = np.exp(rng.uniform(np.log(8), np.log(300), (n, 2)))
    boxes = np.hstack([rng.uniform(0, 500, (n, 2)), wh])
    frame, kind = rng.integers(0, images, n), rng.integers(0, classes, n)
    about = rng.integers(0, n, detections)
    shaken = rng.normal(0, 0.1, (detections, 4)) * np.tile(wh[about], 2)
    near = rng.random(detections) < 2 / 3
    return {
        "images": np.array(images), "classes": np.array(classes), "draws": np.array(DRAWS),
        "label_frame": frame, "label_kind": kind, "label_xywh": boxes,
        "ignore": rng.random(n) < 0.01,
        "frame": np.where(near, frame[about], rng.integers(0, images, detections)),
        "kind": np.where(near, kind[about], rng.integers(0, classes, detections)),
        "xywh": np.maximum(boxes[about] + shaken, 1),
        "score": rng.random(detections).astype(np.float32),
    }  # fmt: skip


def _run(python: str, code: str, path: Path) -> dict[str, Any] | str:
    """What the code tells of its run, or the last line of its complaint."""
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [python, "-c", _READ + code + _TELL, str(path)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _agree(ours: list[float], theirs: list[float]) -> bool:
    plain = [-1.0 if math.isnan(v) else v for v in ours]
    return all(abs(a - b) <= _EQUAL for a, b in zip(plain, theirs, strict=True))


def bench_evaluate(
    images: int, classes: int, detections: int, seed: int = 0, pycocotools: str | None = None
) -> dict[str, Any]:
    """Seconds (wall and CPU), peak memory and figures of each tool that is there.

    Args:
        pycocotools: interpreter that has it, this one by default.

    Raises:
        InputError: nothing to score, or ``pycocotools`` cannot be run.
    """
    if min(images, classes, detections) < 1 or seed < 0:
        raise InputError("bench evaluate: expected 1 or more of all, and a seed of 0 or more")
    tools = {
        OURS: (sys.executable, _OURS),
        "faster-coco-eval": (sys.executable, "NAME = 'faster-coco-eval'\n" + _THEIRS),
        "pycocotools": (pycocotools or sys.executable, "NAME = 'pycocotools'\n" + _THEIRS),
    }
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "boxes.npz"
        np.savez(path, **made_up(images, classes, detections, seed))  # type: ignore[arg-type]
        for name, (python, code) in tools.items():
            try:
                found = _run(python, code, path)
            except OSError as e:
                raise InputError(f"--pycocotools {python}: cannot be run ({e.strerror})") from e
            rows[name] = {"missing": found} if isinstance(found, str) else found
    if "missing" in rows[OURS]:
        raise RuntimeError(rows[OURS]["missing"])
    for row in rows.values():
        if "stats" in row:
            row["equal"] = row is rows[OURS] or _agree(rows[OURS]["stats"], row["stats"])
    return {
        "hardware": hardware(), "images": images, "classes": classes, "detections": detections,
        "labels": LABELS_AN_IMAGE * images, "seed": seed, "draws": DRAWS, "tools": rows,
    }  # fmt: skip


def run_bench_evaluate(a: argparse.Namespace) -> int:
    """The command: a line a tool, and ``evaluate.json`` where ``--out`` is given; 1 where a tool
    gives other figures."""
    result = bench_evaluate(a.images, a.classes, a.detections, a.seed, a.pycocotools)
    print(
        f"{a.detections} detections, {result['labels']} labels, {a.images} images, "
        f"{a.classes} classes; {result['hardware']}"
    )
    ours = result["tools"][OURS]
    for name, row in result["tools"].items():
        if "missing" in row:
            print(f"{name:18} not there: {row['missing']}")
            continue
        times = row["cpu_seconds"] / ours["cpu_seconds"]
        same = "" if name == OURS else f"  {times:.1f} times our CPU time"
        same += "" if row["equal"] else "  OTHER FIGURES"
        print(
            f"{name:18} {row['seconds']:7.2f} s, {row['cpu_seconds']:7.2f} s of CPU  "
            f"{row['peak_mib']:6.0f} MiB{same}"
        )
    print(f"{DRAWS} samples of the frames: {ours['bootstrap_cpu_seconds']:.1f} s of CPU")
    if a.out is not None:
        write_json(make_folder(a.out) / "evaluate.json", result)
    return 0 if all(row.get("equal", True) for row in result["tools"].values()) else 1
