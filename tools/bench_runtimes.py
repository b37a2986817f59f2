"""Where ``roadstack bench models`` runs a network: ONNX Runtime on the CPU or CUDA, OpenVINO."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from perception.runtime import open_session
from tools.machine import hardware

RUNTIMES = ("onnxruntime", "openvino", "cuda")
_CUDA = "CUDAExecutionProvider"

Run = Callable[[NDArray], dict[str, NDArray]]  # a network's one input to its outputs by name


def has_cuda() -> bool:
    """Whether this ONNX Runtime knows CUDA; whether it works shows when a file is opened."""
    import onnxruntime as ort

    return _CUDA in ort.get_available_providers()


def _nvidia_smi(query: str) -> str:
    """The first line of what ``nvidia-smi`` answers, '' where it is not there."""
    run = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(run, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout.splitlines() or [""])[0].strip() if done.returncode == 0 else ""


def hardware_of(runtime: str) -> str:
    """What a runtime computes on."""
    return (_nvidia_smi("name") or "CUDA device") if runtime == "cuda" else hardware()


def check_runtimes(runtimes: list[str] | None) -> list[str]:
    """The runtimes to time: those asked for, else ONNX Runtime's CPU, and CUDA where it is there.

    Raises:
        InputError: one of them is unknown or not there.
    """
    if runtimes is None:
        return ["onnxruntime", "cuda"] if has_cuda() and _nvidia_smi("name") else ["onnxruntime"]
    unknown = [r for r in runtimes if r not in RUNTIMES]
    if unknown or not runtimes:
        given = ", ".join(map(repr, unknown)) or "none"
        raise InputError(f"--runtime {given}: expected some of {', '.join(RUNTIMES)}")
    if "cuda" in runtimes and not has_cuda():
        raise InputError(
            "--runtime cuda: this ONNX Runtime has no CUDA; pip install onnxruntime-gpu in its "
            "place, on a machine with an NVIDIA GPU"
        )
    return runtimes


def _onnxruntime(path: Path, threads: int, provider: str) -> Run:
    _, session = open_session(path, threads, (provider,))
    if session.get_providers()[0] != provider:  # it goes on without, saying nothing
        raise InputError(f"--runtime cuda: {path.name} could not be put on the GPU; look at what "
                         "ONNX Runtime needs of CUDA and cuDNN")  # fmt: skip
    source, names = session.get_inputs()[0].name, [o.name for o in session.get_outputs()]
    return lambda x: dict(zip(names, session.run(names, {source: x}), strict=True))


def _compiled(path: Path, threads: int, **more: Any) -> Any:
    """A file on OpenVINO in fp32 and INT8 as it stands, without its default bfloat16."""
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
    return ov.Core().compile_model(str(path), "CPU", settings | more)


def _openvino(path: Path, threads: int) -> Run:
    compiled = _compiled(path, threads)
    request = compiled.create_infer_request()
    names = [sorted(o.get_names()) for o in compiled.outputs]  # it may add some of its own

    def run(x: NDArray) -> dict[str, NDArray]:
        out = request.infer([x])
        return {name: out[k] for k, all_names in enumerate(names) for name in all_names}

    return run


def runner(path: Path, runtime: str, threads: int) -> Run:
    """A file on a runtime. On CUDA a call includes the copies to the GPU and back.

    Raises:
        InputError: the runtime is not there or cannot take the file.
    """
    if runtime == "openvino":
        return _openvino(path, threads)
    return _onnxruntime(path, threads, _CUDA if runtime == "cuda" else "CPUExecutionProvider")


def openvino_layers(path: Path, threads: int, x: NDArray, rounds: int) -> list[tuple[Any, ...]]:
    """(name, kind, ms a frame) of each layer that OpenVINO ran."""
    request = _compiled(path, threads, PERF_COUNT=True).create_infer_request()
    spent: dict[tuple[str, str], float] = {}
    for _ in range(rounds):
        request.infer([x])
        for p in request.profiling_info:
            key = (p.node_name, p.node_type)
            spent[key] = spent.get(key, 0.0) + p.real_time.total_seconds() * 1e3 / rounds
    return [(*key, ms) for key, ms in spent.items() if ms > 0]


def _resident_mb(what: str) -> float:
    """Resident memory of this process in MiB: 'VmRSS' now, 'VmHWM' at its peak (Linux)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith(what + ":")) / 1024
    except (OSError, StopIteration):
        return float("nan")


def _gpu_mb() -> float:
    """Memory taken on the first GPU, MiB; NaN without one."""
    try:
        return float(_nvidia_smi("memory.used"))
    except ValueError:
        return float("nan")


def memory_growth_mb(
    path: str, runtime: str, threads: int, shape: tuple[int, ...], kind: str
) -> tuple[float, float]:
    """How far the peak of this process's resident memory, and the memory taken on the GPU, rise by
    one network and three frames of this shape and dtype, MiB."""
    x = np.ones(shape, kind)
    import onnxruntime  # noqa: F401

    if runtime == "openvino":
        import openvino  # noqa: F401
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before, taken = _resident_mb("VmRSS"), _gpu_mb() if runtime == "cuda" else float("nan")
    run = runner(Path(path), runtime, threads)
    for _ in range(3):
        run(x)
    gpu = _gpu_mb() - taken if runtime == "cuda" else float("nan")
    return _resident_mb("VmHWM") - before, gpu


def memory_mb(path: Path, runtime: str, threads: int, x: NDArray) -> tuple[float, float]:
    """``memory_growth_mb`` in a process of its own; NaN where that cannot be measured."""
    given = (str(path.resolve()), runtime, threads, x.shape, str(x.dtype))
    code = f"from tools.bench_runtimes import memory_growth_mb as m; print(*m(*{given!r}))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=False)
    try:
        host, gpu = map(float, done.stdout.split())
    except ValueError:
        return float("nan"), float("nan")
    return host, gpu
