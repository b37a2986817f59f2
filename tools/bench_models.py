"""``roadstack bench models``: speed, size and cost of networks, several in one run."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.synthetic.drive import random_sample
from data.types import U8
from perception.decode import OUTPUTS, decode_frame
from perception.preprocess import letterbox
from perception.runtime import Model, find_model, load_model
from tools.files import make_folder, write_json
from tools.machine import hardware
from tools.model_cost import count_cost

RUNTIMES = ("onnxruntime", "openvino")
STAGES = ("pre", "network", "decode", "total")
_WARM_UP, _PICTURES, _PROFILED, _LAYERS = 5, 4, 10, 10
_PICTURE_PX = (1280, 720)
_MIN_SCORE = 0.3

Infer = Callable[[U8], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Contender:
    """A model on a runtime: ``infer`` takes a letterboxed picture, outputs as in ``decode``."""

    label: str
    path: Path
    runtime: str
    model: Model
    infer: Infer


def _openvino(path: Path, threads: int) -> Infer:
    """The file on OpenVINO in fp32 and INT8 as it stands, without its default bfloat16."""
    try:
        import openvino as ov
    except ImportError:
        raise InputError(
            "--runtime openvino: the package is not installed; pip install openvino"
        ) from None
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = ov.Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()

    def infer(canvas: U8) -> dict[str, Any]:
        out = request.infer({"image": canvas[None]})
        return {name: out[name] for name in OUTPUTS}

    return infer


def contenders(models: Sequence[str], runtimes: Sequence[str], threads: int) -> list[Contender]:
    """Load each model on each runtime.

    Raises:
        InputError: a model or runtime that is not there.
    """
    unknown = [r for r in runtimes if r not in RUNTIMES]
    if unknown or not runtimes:
        given = ", ".join(map(repr, unknown)) or "none"
        raise InputError(f"--runtime {given}: expected some of {', '.join(RUNTIMES)}")
    found = []
    for name in models:
        path = find_model(name)
        model = load_model(name, threads)
        for runtime in runtimes:
            infer = model.infer if runtime == "onnxruntime" else _openvino(path, threads)
            found.append(Contender(path.name, path, runtime, model, infer))
    return found


def _one_frame(c: Contender, image: U8) -> tuple[float, ...]:
    """Milliseconds of pre-processing, network, decoding and all together."""
    size = c.model.input_size
    t = [time.perf_counter()]
    canvas, scale = letterbox(image, size)
    t.append(time.perf_counter())
    out = c.infer(canvas)
    t.append(time.perf_counter())
    decode_frame(out, scale, (image.shape[1], image.shape[0]), size, _MIN_SCORE)
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


def profile_layers(path: Path, threads: int) -> list[dict[str, Any]]:
    """The layers that take ONNX Runtime longest: name, operator, ms a frame, share of all."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        image = session.get_inputs()[0]
        shape = [n if isinstance(n, int) else 1 for n in image.shape]
        for _ in range(_PROFILED):
            session.run(None, {image.name: np.full(shape, 127, np.uint8)})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent: dict[tuple[str, str], float] = {}
    for e in events:
        if e.get("cat") == "Node" and e["name"].endswith("_kernel_time"):
            key = (e["name"].removesuffix("_kernel_time"), e["args"].get("op_name", ""))
            spent[key] = spent.get(key, 0.0) + e["dur"] / 1e3 / _PROFILED
    total = sum(spent.values())
    longest = sorted(spent.items(), key=lambda kv: -kv[1])[:_LAYERS]
    return [{"layer": n, "op": op, "ms": ms, "share": ms / total} for (n, op), ms in longest]


def _resident_mb(what: str) -> float:
    """Resident memory of this process in MiB: 'VmRSS' now, 'VmHWM' at its peak (Linux)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith(what + ":")) / 1024
    except (OSError, StopIteration):
        return float("nan")


def memory_growth_mb(path: str, runtime: str, threads: int) -> float:
    """How far the peak of this process's resident memory rises by one model and three frames."""
    size = load_model(path, threads).input_size  # also brings in the runtime's library
    canvas = np.full((size[1], size[0], 3), 127, np.uint8)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = _resident_mb("VmRSS")
    infer = (
        _openvino(Path(path), threads) if runtime == "openvino" else load_model(path, threads).infer
    )
    for _ in range(3):
        infer(canvas)
    return _resident_mb("VmHWM") - before


def peak_memory_mb(path: Path, runtime: str, threads: int) -> float:
    """``memory_growth_mb`` in a process of its own, MiB; NaN where that cannot be measured."""
    given = (str(path.resolve()), runtime, threads)
    code = f"from tools.bench_models import memory_growth_mb as m; print(m(*{given!r}))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else float("nan")


def bench_models(
    models: Sequence[str],
    runtimes: Sequence[str] = ("onnxruntime",),
    threads: int = 2,
    frames: int = 100,
) -> dict[str, Any]:
    """Time models side by side on rendered 1280x720 pictures.

    Returns:
        ``{hardware, threads, frames, rows}``; each row names model, runtime and precision, with
        ms of each stage (p50, p95, p99), ``ratio`` of the total's median to the first row's,
        peak memory, parameters, GFLOPs, file size and the longest layers.

    Raises:
        InputError: a model, runtime or number that cannot be used.
    """
    if not 1 <= frames <= 100_000:
        raise InputError(f"--frames {frames}: expected a number from 1 to 100000")
    found = contenders(models, runtimes, threads)
    timed = time_stages(found, frames)
    first = timed[0]["total"]["p50"]
    rows = []
    for c, ms in zip(found, timed, strict=True):
        row: dict[str, Any] = {
            "model": c.label,
            "runtime": c.runtime,
            "precision": c.model.precision,
        }
        row |= {"size": "x".join(map(str, c.model.input_size)), "sha256": c.model.sha256}
        row |= {"ms": ms, "ratio": ms["total"]["p50"] / first}
        row |= {"peak_memory_mb": peak_memory_mb(c.path, c.runtime, threads)}
        row |= {"file_mb": c.path.stat().st_size / 1e6, **count_cost(c.path)}
        own = c.runtime == "onnxruntime"
        rows.append(row | {"layers": profile_layers(c.path, threads) if own else []})
    return {"hardware": hardware(), "threads": threads, "frames": frames, "rows": rows}


def to_csv(result: dict[str, Any]) -> str:
    """A line a model; the machine and the number format in each, so that lines can be joined."""
    text = io.StringIO()
    lines = []
    for r in result["rows"]:
        line = {k: r[k] for k in ("model", "runtime", "precision", "size")}
        line |= {k: result[k] for k in ("hardware", "threads", "frames")}
        line |= {f"{s}_{p}_ms": round(v, 3) for s in STAGES for p, v in r["ms"][s].items()}
        line |= {"ratio": round(r["ratio"], 3), "parameters": r["parameters"]}
        line |= {k: round(r[k], 3) for k in ("gflops", "file_mb", "peak_memory_mb")}
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
        if r["layers"]:
            print(f"\n{r['model']}: longest layers")
        for layer in r["layers"]:
            print(f"  {layer['ms']:7.3f} ms {100 * layer['share']:5.1f} %  "
                  f"{layer['op']:20} {layer['layer']}")  # fmt: skip


def run_bench_models(a: argparse.Namespace) -> int:
    """Time the models, print a table, write ``models.json`` and ``models.csv`` to ``a.out``."""
    out = make_folder(a.out)
    result = bench_models(a.models, a.runtime, a.threads, a.frames)
    print_table(result)
    write_json(out / "models.json", result)
    temporary = out / "models.csv.part"
    temporary.write_text(to_csv(result), encoding="utf-8")
    os.replace(temporary, out / "models.csv")
    print(f"\nwritten: {out / 'models.csv'}, {out / 'models.json'}")
    return 0
