"""``roadstack bench replay``: frames a second of the whole stack, with and without the overlay.

Each model replays the same video from the file on, decoding and writing included, several times,
models in turn. Beside it stands the network alone, asked by as many threads with nothing else to
do: what the rest of the stack costs. Networks of peers, given as ONNX files, are timed on this
machine by themselves: ``peers`` is the sum of their medians, so what a stack of them would take at
least, without decoding pictures, tracking, planning or writing.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.synthetic.drive import SyntheticDrive
from perception.runtime import load_model, open_session
from tools.files import make_folder, write_json, write_text
from tools.machine import hardware
from tools.view.video import VideoWriter

_PEER_FRAMES, _PEER_WARM_UP = 40, 5
_ALONE_FRAMES = 60
_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16}


def drive_video(folder: Path, frames: int) -> Path:
    """The built-in drive as an H.264 video of 1280x720, to be decoded as a camera's would be."""
    drive = SyntheticDrive(seed=0)
    path = folder / "built_in_drive.mp4"
    width, height = drive.camera.width_px, drive.camera.height_px
    with VideoWriter(path, width, height, float(drive.fps)) as video:
        for i in range(min(frames, len(drive))):
            frame = drive.frame(i)
            video.write(frame.image, frame.t_ns)
    return path


def replay_once(
    source: Path, model: str, overlay: bool, threads: int | None, frames: int | None
) -> dict[str, Any]:
    """The summary of a replay into a folder that is thrown away."""
    from tools.cli import main

    with tempfile.TemporaryDirectory() as out:
        words = ["replay", str(source), "--out", out, "--model", model, "--checkpoint", "1000000"]
        words += [] if overlay else ["--no-overlay"]
        words += [] if threads is None else ["--threads", str(threads)]
        words += [] if frames is None else ["--max-frames", str(frames)]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(words)
        if code:
            last = said.getvalue().strip().splitlines()[-1]
            raise InputError(f"{source}, model {model}: the replay ended with {code}: {last}")
        return dict(json.loads((Path(out) / "summary.json").read_text(encoding="utf-8")))


def network_fps(model: str, threads: int | None) -> float:
    """Pictures a second that the network alone looks at, as the replay asks it: side by side."""
    from tools.replay import Side

    side = Side.shared(threads, now=False)
    loaded = load_model(model, side.threads)
    rng, (width, height) = np.random.default_rng(0), loaded.input_size
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    with ThreadPoolExecutor(side.pictures) as pool:
        list(pool.map(loaded.infer, [picture] * _PEER_WARM_UP))
        start = time.perf_counter()
        list(pool.map(loaded.infer, [picture] * _ALONE_FRAMES))
    return _ALONE_FRAMES / (time.perf_counter() - start)


def peer_ms(path: Path, threads: int | None) -> float:
    """Median milliseconds of a network on noise of its input's own size.

    Raises:
        InputError: not an ONNX file of fixed input sizes of a usual type.
    """
    _, session = open_session(path, threads)
    rng, feed = np.random.default_rng(0), {}
    for i in session.get_inputs():
        if i.type not in _TYPES or not all(isinstance(n, int) and n > 0 for n in i.shape):
            raise InputError(
                f"--peer {path}: input {i.name} {i.type} {i.shape}; expected pictures of fixed size"
            )
        noise = rng.random(i.shape, np.float32)
        kind = _TYPES[i.type]
        feed[i.name] = (noise * (255 if kind is np.uint8 else 1)).astype(kind)
    spent = []
    for n in range(-_PEER_WARM_UP, _PEER_FRAMES):
        start = time.perf_counter()
        session.run(None, feed)
        if n >= 0:
            spent.append((time.perf_counter() - start) * 1e3)
    return statistics.median(spent)


def bench_replay(
    source: Path, models: Sequence[str], repeats: int, threads: int | None, frames: int | None,
    peers: Sequence[Path] = (),
) -> dict[str, Any]:  # fmt: skip
    """Rows of each model without and with overlay: frames a second (median, least, most of the
    repeats; ``network_fps``: the median of the network alone, timed in the same rounds) and, of the
    last, ms of each stage; ``peers``: name -> median ms."""
    found = {str(p): peer_ms(p, threads) for p in peers}
    cases = [(m, o) for m in models for o in (False, True)]
    runs: dict[tuple[str, bool], list[dict[str, Any]]] = {c: [] for c in cases}
    alone: dict[str, list[float]] = {m: [] for m in models}
    for n in range(repeats):
        for model in models:
            alone[model].append(network_fps(model, threads))
        for model, overlay in cases:
            print(f"round {n + 1} of {repeats}: {model}{' with overlay' if overlay else ''}",
                  file=sys.stderr)  # fmt: skip
            runs[model, overlay].append(replay_once(source, model, overlay, threads, frames))
    rows = []
    for (model, overlay), done in runs.items():
        fps, last = sorted(s["frames_per_second"] for s in done), done[-1]
        rows.append({
            "model": model, "precision": last["model"]["precision"], "overlay": overlay,
            "frames": last["frames"], "fps": statistics.median(fps), "fps_least": fps[0],
            "fps_most": fps[-1], "network_fps": statistics.median(alone[model]),
            "size": [last["width_px"], last["height_px"]],
            "stage_ms": last["stage_ms"],
        })  # fmt: skip
    some = runs[cases[0]][0]
    return {
        "hardware": hardware(), "threads": some["threads"], "source": source.name,
        "repeats": repeats, "rows": rows, "peers": found, "peers_ms": sum(found.values()),
    }  # fmt: skip


def _print(result: dict[str, Any]) -> None:
    r0 = result["rows"][0]
    print(
        f"{result['hardware']}; {result['threads']} threads; {result['source']}, "
        f"{r0['size'][0]}x{r0['size'][1]}, {r0['frames']} frames, {result['repeats']} rounds"
    )
    print(f"{'model':24} {'precision':9} overlay  frames/s  least to most  network alone  share   "
          "ms p50 (p95, p99)")  # fmt: skip
    for r in result["rows"]:
        stages = ", ".join(
            f"{k} {v['p50']:.1f} ({v['p95']:.1f}, {v['p99']:.1f})"
            for k, v in r["stage_ms"].items() if v["p50"] >= 0.05
        )  # fmt: skip
        print(
            f"{Path(r['model']).name:24} {r['precision']:9} {'yes' if r['overlay'] else 'no':7} "
            f"{r['fps']:9.1f} {r['fps_least']:7.1f} {r['fps_most']:7.1f} {r['network_fps']:14.1f} "
            f"{r['fps'] / r['network_fps']:6.0%}   {stages}"
        )
    for name, ms in result["peers"].items():
        print(f"{Path(name).name}: {ms:.1f} ms, network alone")
    if result["peers"]:
        total = result["peers_ms"]
        print(f"peers together: {total:.1f} ms a frame, at most {1e3 / total:.1f} frames/s")


def _csv(result: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("model", "precision", "overlay", "frames", "fps", "fps_least", "fps_most",
               "network_fps")  # fmt: skip
    writer.writerow([*columns, "hardware", "threads", "source"])
    for r in result["rows"]:
        about = (result["hardware"], result["threads"], result["source"])
        writer.writerow([*(r[c] for c in columns), *about])
    return text.getvalue()


def run_bench_replay(a: argparse.Namespace) -> int:
    """Time the replay, print a table, write ``replay.json`` and ``replay.csv`` to ``a.out``."""
    if a.repeats < 1 or (a.frames is not None and a.frames < 1):
        raise InputError("--repeats and --frames: expected whole numbers from 1 on")
    out = make_folder(a.out)
    with tempfile.TemporaryDirectory() as folder:
        source = a.source or drive_video(Path(folder), a.frames or 10**9)
        result = bench_replay(source, a.model, a.repeats, a.threads, a.frames, a.peer)
    _print(result)
    write_json(out / "replay.json", result)
    write_text(out / "replay.csv", _csv(result))
    print(f"written: {out / 'replay.csv'}, {out / 'replay.json'}")
    return 0
