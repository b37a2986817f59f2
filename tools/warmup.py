"""``roadstack warmup``: compile kernels ahead of their first use.

    python -m tools.warmup PART

compiles one part into numba's cache, as a command does for each part that it needs, side by side.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.compiled import is_cached, is_kept
from tools.progress import progress_bar

Kernels = tuple[Callable[..., Any], ...]


def _compile_renderer() -> None:
    from data.synthetic.drive import random_sample

    random_sample(0, 64, 48, "rain")


def _compile_search() -> None:
    from planning.hybrid_astar import compile_kernels

    compile_kernels()


def _compile_planner() -> None:
    from tools.stack import compile_planner

    compile_planner()


def compile_around(drawing: bool = True) -> None:
    """Compile or load the kernels before and behind the stack: of the picture check, the record
    and the overlay."""
    from data import frame_quality
    from tools import json_numbers
    from tools.view import birdseye, draw, marks, ribbon

    frame_quality.compile_kernels()
    json_numbers.compile_kernels()
    if drawing:
        for part in (draw, marks, ribbon, birdseye):
            part.compile_kernels()


def _compile_tracker() -> None:
    from tools.stack import compile_tracker

    compile_tracker()


def _compile_metrics() -> None:
    from tools.scoring import compile_kernels

    compile_kernels()


# what is compiled together, in the order that keeps two processors busy to the end; seconds each
PARTS: dict[str, Callable[[], None]] = {
    "search": _compile_search,  # 20
    "renderer": _compile_renderer,  # 17
    "tracker": _compile_tracker,  # 10
    "drawing": compile_around,  # 13
    "planner": _compile_planner,  # 6
    "metrics": _compile_metrics,
}
REPLAY = ("search", "drawing", "tracker", "planner")


def _kernels(part: str) -> Kernels:
    """Some of a part's kernels, among them the one compiled last."""
    from data.synthetic.raster import rasterise
    from planning.footprint import clearance
    from planning.grid_kernels import dearer_beside
    from planning.kernels import search
    from planning.lattice import expand
    from tools.scoring import KERNELS as METRICS
    from tools.track import KERNELS as TRACKER
    from tools.view.mark_kernels import fill_shapes

    kernels = {"renderer": (rasterise,), "search": (expand, clearance)}
    kernels |= {"drawing": (fill_shapes,), "planner": (search, dearer_beside)}
    return {**kernels, "tracker": TRACKER, "metrics": METRICS}[part]


def prepare(*parts: str) -> None:
    """Tell the user that there is a wait, where parts (of ``PARTS``) have yet to be compiled, and
    compile them side by side where there are several; one alone is compiled where it is used.
    """
    missing = [p for p in PARTS if p in parts and not all(map(is_cached, _kernels(p)))]
    if not missing:
        return
    text = "compiling kernels (once, up to a minute or two; roadstack warmup does it ahead)"
    print(text, file=sys.stderr)
    processes = min(len(os.sched_getaffinity(0)), len(missing))
    if processes > 1 and all(map(is_kept, _kernels(missing[0]))):
        _compile_aside(missing, processes)


def _begun(part: str, path: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: not what lies in the present folder, which may be other sources
        [sys.executable, "-P", "-m", "tools.warmup", part],
        env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _compile_aside(parts: list[str], processes: int) -> None:
    """Compile each part in a process of its own, into numba's cache.

    Whatever comes of them: what is not in the cache then is compiled where it is used.
    """
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
    waiting: list[str] = list(parts)
    running: list[subprocess.Popen[bytes]] = []
    done = 0
    try:
        with progress_bar("compiling kernels", len(parts), "part") as bar:
            while waiting or running:
                while waiting and len(running) < processes:
                    running.append(_begun(waiting.pop(0), path))
                running = [p for p in running if p.poll() is None]
                if len(parts) - len(waiting) - len(running) > done:
                    done = len(parts) - len(waiting) - len(running)
                    bar(done)
                time.sleep(0.05)
    finally:
        for process in running:
            process.kill()
            process.wait()


def run_warmup(args: argparse.Namespace) -> int:
    """The command: every kernel of the stack, the renderer and the metrics."""
    begin = time.perf_counter()
    prepare(*PARTS)
    for compile_part in PARTS.values():
        compile_part()
    print(f"kernels ready in {time.perf_counter() - begin:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    PARTS[sys.argv[1]]()
