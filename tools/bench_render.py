"""How fast synthetic frames come with all their labels, on one core, by weather and road."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np

from data.errors import InputError
from data.synthetic.drive import SyntheticDrive, random_sample
from data.synthetic.looks import LOOKS
from data.synthetic.stories import ROADS
from data.threads import opencv_on_one_thread
from tools.files import make_folder, write_json
from tools.machine import hardware

PASSES = 3  # others use the processor too: the quickest pass counts
FIRST_SAMPLES = 48  # which build the trees, houses and cars that later ones share
DRIVE_FPS = 10.0


def _spread(ms: np.ndarray) -> dict[str, float]:
    named = zip(("median", "p95", "p99"), np.percentile(ms, (50, 95, 99)), strict=True)
    return {name: round(float(value), 2) for name, value in named}


def _timed(work: Callable[[int], Any], count: int) -> dict[str, Any]:
    """Run ``work`` for 0 to ``count`` in a few passes; wall and CPU time of the quickest one."""
    passes = []
    for _ in range(PASSES):
        wall, cpu = np.zeros(count), np.zeros(count)
        for i in range(count):
            start, busy = time.perf_counter(), time.process_time()
            work(i)
            cpu[i], wall[i] = time.process_time() - busy, time.perf_counter() - start
        passes.append((wall * 1e3, cpu * 1e3))
    wall, cpu = min(passes, key=lambda p: float(np.median(p[0])))
    return {
        "ms": _spread(wall),
        "cpu_ms": _spread(cpu),
        "fps": round(1e3 / max(float(np.median(wall)), 1e-6), 1),
    }


def _drives(size: tuple[int, int], frames: int, seed: int) -> dict[str, Any]:
    """Each look's drive in order, every frame with its truth."""
    out = {}
    for look, road in zip(LOOKS, cycle(ROADS), strict=False):
        drive = SyntheticDrive(seed, frames, DRIVE_FPS, *size, look=look, road=road)

        def show(i: int, drive: SyntheticDrive = drive) -> None:
            drive.frame(i)
            drive.truth(i)

        show(frames - 1)
        out[look] = {"road": road, **_timed(show, frames)}
    return out


def _samples(size: tuple[int, int], frames: int, seed: int) -> dict[str, Any]:
    """Each look's single views, a new scene for each."""
    for i in range(min(FIRST_SAMPLES, 4 * frames)):
        random_sample(seed + frames + i, *size)
    out = {}
    for look in LOOKS:

        def draw(i: int, look: str = look) -> None:
            random_sample(seed + i, *size, look)

        out[look] = _timed(draw, frames)
    return out


def bench_render(size: tuple[int, int], frames: int, seed: int) -> dict[str, Any]:
    """Time labelled frames of ``size`` (width, height) on one thread.

    ``drives``: for each look, a drive's frames in order, each with its full truth; straight,
    curved and junction roads take turns. ``samples``: for each look, ``random_sample``, which
    builds a new scene for each picture. Of each the milliseconds a frame (median, p95, p99, wall
    and CPU) and the frames a second of the median; ``drive_fps`` and ``sample_fps`` are those of
    all looks together (of the mean of their medians). Compiling and the first, slower frames are
    left out.

    Raises:
        InputError: fewer than 2 frames, a negative seed, or a size out of range.
    """
    if frames < 2 or seed < 0:  # a drive keeps its last frame: one alone would not be timed
        raise InputError(
            f"bench render: expected frames >= 2 and seed >= 0, given {frames}, {seed}"
        )
    with opencv_on_one_thread():
        drives = _drives(size, frames, seed)
        samples = _samples(size, frames, seed)
    return {
        "hardware": hardware(),
        "threads": 1,
        "size": list(size),
        "frames": frames,
        "seed": seed,
        "drive_fps": _together(drives),
        "sample_fps": _together(samples),
        "drives": drives,
        "samples": samples,
    }


def _together(rows: dict[str, Any]) -> float:
    return round(1e3 / max(float(np.mean([r["ms"]["median"] for r in rows.values()])), 1e-6), 1)


def run_bench_render(a: argparse.Namespace) -> int:
    """The command: a line a look, and ``render.json`` where ``--out`` is given."""
    result = bench_render(a.size, a.frames, a.seed)
    width, height = result["size"]
    print(f"rendering {width}x{height} with all labels on one thread; {result['hardware']}")
    for kind in ("drives", "samples"):
        for look, row in result[kind].items():
            ms = row["ms"]
            print(
                f"{kind:8} {look:9} {row['fps']:6.1f} frames/s  median {ms['median']:.1f} ms  "
                f"p95 {ms['p95']:.1f}  p99 {ms['p99']:.1f}"
            )
        print(f"{kind:8} all       {result[kind[:-1] + '_fps']:6.1f} frames/s")
    if a.out is not None:
        write_json(make_folder(a.out) / "render.json", result)
    return 0
