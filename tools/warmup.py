"""``roadstack warmup``: compile the kernels of planner and renderer ahead of their first use."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np


def _is_compiled() -> bool:
    """Whether numba's cache holds the search; a guess from its index files."""
    from planning.lattice import expand

    folder = getattr(getattr(expand, "stats", None), "cache_path", None)
    return folder is not None and any(Path(folder).glob("lattice.expand-*.nbi"))


def announce_compiling() -> None:
    """Tell the user when the kernels have to be compiled now, and compile or load them."""
    from planning.hybrid_astar import compile_kernels

    if not _is_compiled():
        print("compiling the planner (once, up to a minute; see roadstack warmup)", file=sys.stderr)
    compile_kernels()


def warm_up() -> float:
    """Compile or load every kernel of ``planning`` and of the renderer; seconds it took."""
    from data.camera import Camera
    from data.synthetic.drive import random_sample
    from data.types import Detections, Scene, Surfaces, Tracks
    from planning.astar import astar
    from planning.hybrid_astar import compile_kernels
    from planning.planner import Planner

    begin = time.perf_counter()
    random_sample(0, 64, 48, "rain")
    compile_kernels()
    astar(np.ones((8, 8), np.float32), (0, 0), (7, 7))
    road = np.ones((90, 160), np.float32)
    surfaces = Surfaces(road, 0 * road, (0.25, 0.25))
    camera = Camera.assumed(640, 360)
    Planner().plan(Scene(0, camera, Detections.empty(), surfaces, Tracks.empty()))
    return time.perf_counter() - begin


def run_warmup(args: argparse.Namespace) -> int:
    """The command."""
    known = _is_compiled()
    seconds = warm_up()
    what = "loaded from numba's cache" if known else "compiled"
    print(f"kernels {what} in {seconds:.1f} s", file=sys.stderr)
    return 0
