"""``roadstack bench models``: speed, size and cost of networks, several in one run."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.synthetic.drive import random_sample
from data.types import U8
from perception.decode import decode_frame
from perception.detectors import Detector
from perception.preprocess import letterbox
from perception.runtime import find_model, load_model
from tools.bench_runtimes import (
    Run,
    check_runtimes,
    hardware_of,
    memory_mb,
    openvino_layers,
    runner,
)
from tools.detector import chosen_detector
from tools.files import make_folder, write_json
from tools.machine import hardware
from tools.model_cost import count_cost

STAGES = ("pre", "network", "decode", "total")
_WARM_UP, _PICTURES, _PROFILED, _LAYERS = 5, 4, 10, 10
_PICTURE_PX = (1280, 720)
_MIN_SCORE = 0.3


@dataclass(frozen=True, eq=False)
class Subject:
    """What is timed: ``prepare`` makes of a picture the network's input and what ``decode`` needs
    to know of it; ``decode`` takes the outputs by name, that, and the picture's (width, height)."""

    label: str
    path: Path
    precision: str
    size: tuple[int, int]
    sha256: str
    prepare: Callable[[U8], tuple[NDArray, Any]]
    decode: Callable[[dict[str, NDArray], Any, tuple[int, int]], object]


@dataclass(frozen=True, eq=False)
class Contender:
    """A subject on a runtime."""

    subject: Subject
    runtime: str
    run: Run


def our_model(name: str, threads: int) -> Subject:
    """One of our models: objects and both surfaces, masks at the picture's own size."""
    model = load_model(name, threads)
    path, size = find_model(name), model.input_size

    def prepare(image: U8) -> tuple[NDArray, Any]:
        canvas, scale = letterbox(image, size)
        return canvas[None], scale

    def decode(out: dict[str, NDArray], scale: Any, image_size: tuple[int, int]) -> object:
        return decode_frame(out, scale, image_size, size, _MIN_SCORE)

    return Subject(path.name, path, model.precision, size, model.sha256, prepare, decode)


def foreign(d: Detector, path: Path) -> Subject:
    """A detector of another project: objects alone."""

    def decode(out: dict[str, NDArray], at: Any, image_size: tuple[int, int]) -> object:
        first = np.asarray(next(iter(out.values())), np.float32)
        return d.decode(first, at, image_size, _MIN_SCORE)

    return Subject(path.name, path, d.precision, d.input_size, d.sha256, d.prepare, decode)


def _one_frame(c: Contender, image: U8) -> tuple[float, ...]:
    """Milliseconds of pre-processing, network, decoding and all together."""
    t = [time.perf_counter()]
    x, at = c.subject.prepare(image)
    t.append(time.perf_counter())
    out = c.run(x)
    t.append(time.perf_counter())
    c.subject.decode(out, at, (image.shape[1], image.shape[0]))
    t.append(time.perf_counter())
    return tuple(1e3 * v for v in (*np.diff(t), t[-1] - t[0]))


def time_stages(found: Sequence[Contender], frames: int) -> list[dict[str, dict[str, float]]]:
    """Percentiles of each stage in ms: a frame of each model in turn, so that whatever else the
    machine does falls on all alike."""
    images = [random_sample(seed, *_PICTURE_PX).image for seed in range(_PICTURES)]
    spent: list[list[tuple[float, ...]]] = [[] for _ in found]
    for n in range(-_WARM_UP, frames):
        for c, rows in zip(found, spent, strict=True):
            row = _one_frame(c, images[n % _PICTURES])
            if n >= 0:
                rows.append(row)
    result = []
    for rows in spent:
        p = np.percentile(np.array(rows), (50, 95, 99), axis=0)
        result.append(
            {s: dict(zip(("p50", "p95", "p99"), map(float, p[:, k]))) for k, s in enumerate(STAGES)}
        )
    return result


def _onnxruntime_layers(path: Path, threads: int, x: NDArray) -> list[tuple[Any, ...]]:
    """(name, operator, ms a frame) of each layer on ONNX Runtime's CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for _ in range(_PROFILED):
            session.run(None, {session.get_inputs()[0].name: x})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent: dict[tuple[str, str], float] = {}
    for e in events:
        if e.get("cat") == "Node" and e["name"].endswith("_kernel_time"):
            key = (e["name"].removesuffix("_kernel_time"), e["args"].get("op_name", ""))
            spent[key] = spent.get(key, 0.0) + e["dur"] / 1e3 / _PROFILED
    return [(*key, ms) for key, ms in spent.items()]


def profile_layers(c: Contender, threads: int, x: NDArray) -> list[dict[str, Any]]:
    """The layers that take longest: name, operator, ms a frame, share of all. None on CUDA, whose
    kernels run on after ONNX Runtime's clock has stopped."""
    if c.runtime == "cuda":
        return []
    if c.runtime == "openvino":
        layers = openvino_layers(c.subject.path, threads, x, _PROFILED)
    else:
        layers = _onnxruntime_layers(c.subject.path, threads, x)
    total = sum(ms for *_, ms in layers)
    longest = sorted(layers, key=lambda row: -row[2])[:_LAYERS]
    return [{"layer": n, "op": op, "ms": ms, "share": ms / total} for n, op, ms in longest]


def _row(c: Contender, ms: dict[str, dict[str, float]], threads: int) -> dict[str, Any]:
    s = c.subject
    x, _ = s.prepare(np.full((s.size[1], s.size[0], 3), 127, np.uint8))
    host, gpu = memory_mb(s.path, c.runtime, threads, x)
    row: dict[str, Any] = {"model": s.label, "runtime": c.runtime, "precision": s.precision}
    row |= {"size": "x".join(map(str, s.size)), "sha256": s.sha256}
    row |= {"hardware": hardware_of(c.runtime), "ms": ms}
    row |= {"peak_memory_mb": host, "gpu_memory_mb": gpu, "file_mb": s.path.stat().st_size / 1e6}
    row |= count_cost(s.path, x.shape)
    return row | {"layers": profile_layers(c, threads, x)}


def bench_models(
    models: Sequence[str],
    runtimes: Sequence[str] | None = None,
    threads: int = 2,
    frames: int = 100,
    others: Sequence[tuple[Detector, Path]] = (),
) -> dict[str, Any]:
    """Time models side by side on rendered 1280x720 pictures.

    Args:
        models: ours, by name or file; others: detectors of other projects with their files.
        runtimes: some of ``bench_runtimes.RUNTIMES``; default ONNX Runtime's CPU, and CUDA where
            it is there.

    Returns:
        ``{hardware, threads, frames, rows}``; each row names model, runtime, precision and
        hardware, with ms of each stage (p50, p95, p99), ``ratio`` of the total's median to the
        first row's, peak memory, parameters, GFLOPs, file size and the longest layers.

    Raises:
        InputError: a model, runtime or number that cannot be used.
    """
    if not 1 <= frames <= 100_000:
        raise InputError(f"--frames {frames}: expected a number from 1 to 100000")
    chosen = check_runtimes(list(runtimes) if runtimes is not None else None)
    subjects = [our_model(name, threads) for name in models]
    subjects += [foreign(d, path) for d, path in others]
    found = [Contender(s, r, runner(s.path, r, threads)) for s in subjects for r in chosen]
    timed = time_stages(found, frames)
    first = timed[0]["total"]["p50"]
    rows = [
        _row(c, ms, threads) | {"ratio": ms["total"]["p50"] / first}
        for c, ms in zip(found, timed, strict=True)
    ]
    return {"hardware": hardware(), "threads": threads, "frames": frames, "rows": rows}


def to_csv(result: dict[str, Any]) -> str:
    """A line a model; the machine and the number format in each, so that lines can be joined."""
    text = io.StringIO()
    lines = []
    for r in result["rows"]:
        line = {k: r[k] for k in ("model", "runtime", "precision", "size", "hardware")}
        line |= {k: result[k] for k in ("threads", "frames")}
        line |= {f"{s}_{p}_ms": round(v, 3) for s in STAGES for p, v in r["ms"][s].items()}
        line |= {"ratio": round(r["ratio"], 3), "parameters": r["parameters"]}
        costs = ("gflops", "file_mb", "peak_memory_mb", "gpu_memory_mb")
        known = {k: r[k] for k in costs if r[k] is not None and math.isfinite(r[k])}
        line |= {k: round(known[k], 3) if k in known else "" for k in costs}
        lines.append(line)
    writer = csv.DictWriter(text, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def print_table(result: dict[str, Any]) -> None:
    """A line a model, then where each spends its time."""
    print(f"{result['hardware']}; {result['threads']} threads, {result['frames']} frames; ms p50")
    wide = max(len(r["model"]) for r in result["rows"])
    columns = ("pre", "network", "decode", "total", "p95", "p99", "ratio", "GFLOPs", "M par", "MB")
    heads = " ".join(f"{c:>7}" for c in (*columns, "peak MB"))
    print(f"{'model':{wide}} {'runtime':11} {'precision':9} {heads}")
    for r in result["rows"]:
        ms = r["ms"]
        values = [ms[s]["p50"] for s in STAGES] + [ms["total"]["p95"], ms["total"]["p99"]]
        values += [r["ratio"], r["gflops"], r["parameters"] / 1e6, r["file_mb"]]
        cells = " ".join(f"{v:7.2f}" for v in values)
        print(f"{r['model']:{wide}} {r['runtime']:11} {r['precision']:9} {cells} "
              f"{r['peak_memory_mb']:7.0f}")  # fmt: skip
    for r in result["rows"]:
        if r["runtime"] == "cuda":
            print(f"{r['model']} on {r['hardware']}: {r['gpu_memory_mb']:.0f} MB of GPU memory; "
                  "its time holds the copies to the GPU and back")  # fmt: skip
        if r["layers"]:
            print(f"\n{r['model']}, {r['runtime']}: longest layers")
        for layer in r["layers"]:
            print(f"  {layer['ms']:7.3f} ms {100 * layer['share']:5.1f} %  "
                  f"{layer['op']:20} {layer['layer']}")  # fmt: skip


def run_bench_models(a: argparse.Namespace) -> int:
    """Time the models, print a table, write ``models.json`` and ``models.csv`` to ``a.out``."""
    detector = chosen_detector(a)
    others = [(detector, a.detector)] if detector else []
    result = bench_models(a.models, a.runtime, a.threads, a.frames, others)
    out = make_folder(a.out)
    print_table(result)
    write_json(out / "models.json", result)
    temporary = out / "models.csv.part"
    temporary.write_text(to_csv(result), encoding="utf-8")
    os.replace(temporary, out / "models.csv")
    print(f"\nwritten: {out / 'models.csv'}, {out / 'models.json'}")
    return 0
