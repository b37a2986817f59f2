"""``roadstack warmup``: compile kernels ahead of their first use."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from data.compiled import is_cached


def announce_compiling(*kernels: Callable[..., Any]) -> None:
    """Tell the user that there is a wait, where one of the kernels has to be compiled now."""
    if not all(map(is_cached, kernels)):
        text = "compiling kernels (once, one or two minutes; roadstack warmup does it ahead)"
        print(text, file=sys.stderr)


def announce_replay(built_in: bool) -> None:
    """The same for what a replay needs, of the built-in drive or another."""
    from planning.kernels import search
    from tools.track import KERNELS

    kernels = [search, *KERNELS]
    if built_in:
        from data.synthetic.raster import rasterise

        kernels.append(rasterise)
    announce_compiling(*kernels)


def warm_up() -> float:
    """Compile or load every kernel of the stack, the renderer and the metrics; seconds it took."""
    from data.camera import Camera
    from data.synthetic.drive import random_sample
    from data.types import Detections, Scene, Surfaces, Tracks
    from planning.astar import astar
    from planning.hybrid_astar import compile_kernels
    from planning.planner import Planner
    from tools.scoring import compile_kernels as compile_metrics
    from tools.stack import compile_horizon, compile_motion, compile_tracking
    from tools.view.draw import tint

    begin = time.perf_counter()
    random_sample(0, 64, 48, "rain")
    compile_kernels()
    compile_metrics()
    compile_horizon()
    tint(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.uint8), (0, 0, 0), 0.5)
    compile_motion()
    compile_tracking()
    astar(np.ones((8, 8), np.float32), (0, 0), (7, 7))
    road = np.ones((90, 160), np.float32)
    surfaces = Surfaces(road, 0 * road, (0.25, 0.25))
    camera = Camera.assumed(640, 360)
    Planner().plan(Scene(0, camera, Detections.empty(), surfaces, Tracks.empty()))
    return time.perf_counter() - begin


def run_warmup(args: argparse.Namespace) -> int:
    """The command."""
    from data.synthetic.raster import rasterise
    from planning.lattice import expand
    from tools.scoring import KERNELS as METRICS
    from tools.track import KERNELS as TRACKER

    announce_compiling(rasterise, expand, *METRICS, *TRACKER)
    seconds = warm_up()
    print(f"kernels ready in {seconds:.1f} s", file=sys.stderr)
    return 0
