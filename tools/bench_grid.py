"""How long the grid update and the whole planning take on the frames of a log, on one thread.

    python -m tools.bench_grid logs/drive.mp4 --max-frames 120

Every frame goes through the stack; its grid is made several times, with the same memory of the
ground. Of the repeats the best counts: what else the machine does only adds.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from data.logs import open_log
from perception.runtime import load_model
from tools.machine import hardware
from tools.stack import Stack

REPEATS = 5


def times_ms(source: Path, model: str, frames: int) -> dict[str, list[float]]:
    """Milliseconds of every frame's grid update and planning, the grid included."""
    loaded = load_model(model, None)
    stack, planner = Stack(loaded), Stack(loaded).planner
    stack.warm_up()
    cv2.setNumThreads(1)
    out: dict[str, list[float]] = {"grid": [], "plan": []}
    for frame in islice(open_log(source), frames):
        scene = stack.step(frame).scene
        if scene is None:
            continue
        planner.survey_of(scene)  # a turned camera's look-up is made once, and not counted
        spent = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            planner.survey_of(scene)
            spent.append(time.perf_counter() - start)
        out["grid"].append(min(spent) * 1e3)
        start = time.perf_counter()
        planner.plan(scene)
        out["plan"].append((time.perf_counter() - start) * 1e3)
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("source", type=Path)
    p.add_argument("--model", default="base")
    p.add_argument("--max-frames", type=int, default=120)
    a = p.parse_args()
    found = times_ms(a.source, a.model, a.max_frames)
    print(f"{hardware()}; {len(found['grid'])} frames")
    for name, ms in found.items():
        p50, p95, p99 = np.percentile(ms, (50, 95, 99))
        print(f"{name}: p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
