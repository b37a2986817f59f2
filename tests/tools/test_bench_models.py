"""``roadstack bench models``: the counts are right and every column is there."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from data.errors import InputError  # noqa: E402
from tools import bench_runtimes  # noqa: E402
from tools.bench_models import bench_models, print_table, run_bench_models, to_csv  # noqa: E402
from tools.cli import main  # noqa: E402
from tools.machine import hardware  # noqa: E402
from tools.model_cost import count_cost  # noqa: E402


def save(tmp_path, nodes, constants, out_shape):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 10, 20])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, out_shape)
    stored = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    path = tmp_path / "g.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


def test_operations_and_weights_of_a_convolution_are_counted(tmp_path):
    conv = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2])
    w = np.ones((8, 3, 3, 3), np.float32)
    path = save(tmp_path, [conv], {"w": w, "b": np.ones(8, np.float32)}, [1, 8, 5, 10])
    cost = count_cost(path)
    assert cost["parameters"] == 8 * 3 * 3 * 3 + 8
    assert cost["gflops"] == pytest.approx(2 * (8 * 5 * 10) * (3 * 3 * 3) / 1e9)
    assert cost["int8_share"] == 0


def test_a_depthwise_convolution_on_8_bit_weights_counts_its_own_channels(tmp_path):
    dq = helper.make_node("DequantizeLinear", ["w8", "s", "z"], ["w"], axis=0)
    conv = helper.make_node("Conv", ["x", "w"], ["y"], group=3, pads=[1, 1, 1, 1])
    constants = {"w8": np.ones((3, 1, 3, 3), np.int8), "s": np.ones(3, np.float32)}
    path = save(tmp_path, [dq, conv], constants | {"z": np.zeros(3, np.int8)}, [1, 3, 10, 20])
    cost = count_cost(path)
    assert cost["parameters"] == 27 and cost["int8_share"] == 1
    assert cost["gflops"] == pytest.approx(2 * (3 * 10 * 20) * 9 / 1e9)


def test_an_open_input_is_counted_at_the_size_that_is_fed(tmp_path):
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    path = save(tmp_path, [conv], {"w": np.ones((8, 3, 3, 3), np.float32)}, [1, 8, "h", "w"])
    model = onnx.load(str(path))
    for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim, "bchw", strict=True):
        dim.dim_param = name
    onnx.save(model, str(path))
    assert count_cost(path, (1, 3, 10, 20))["gflops"] == pytest.approx(2 * 1600 * 27 / 1e9)


NONE = dict(detector=None, decoder=None, detector_names=None, detector_size=None)


def test_models_are_timed_side_by_side(tmp_path, capsys):
    a = argparse.Namespace(
        models=["base", "base"], runtime=["onnxruntime"], threads=1, frames=2, out=tmp_path, **NONE
    )
    assert run_bench_models(a) == 0
    result = json.loads((tmp_path / "models.json").read_text())
    first, second = result["rows"]
    assert first["ratio"] == 1 and second["ratio"] > 0
    assert first["precision"] == "fp32" and 1.70e6 < first["parameters"] < 1.75e6
    assert 3.5 < first["gflops"] < 3.6 and first["peak_memory_mb"] > 20
    assert len(first["layers"]) == 10
    spent = [layer["ms"] for layer in first["layers"]]
    assert spent == sorted(spent, reverse=True) and 0 < first["layers"][0]["share"] < 1
    ms = first["ms"]
    assert ms["total"]["p50"] <= ms["total"]["p95"] <= ms["total"]["p99"]
    assert ms["network"]["p50"] > ms["pre"]["p50"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "models.csv").read_text())))
    assert len(rows) == 2 and rows[0]["hardware"] == hardware()
    assert {"precision", "total_p99_ms", "pre_p50_ms", "decode_p95_ms", "gflops"} <= set(rows[0])
    assert to_csv(result) == (tmp_path / "models.csv").read_text()
    assert "longest layers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"models": ["nothing.onnx"]}, "no such file"),
        ({"runtimes": ["tpu"]}, "--runtime 'tpu': expected some of onnxruntime, openvino, cuda"),
        ({"runtimes": []}, "--runtime none"),
        ({"frames": 0}, "--frames 0"),
        ({"threads": 0}, "--threads 0"),
    ],
)
def test_what_cannot_be_timed_is_refused_in_one_line(given, said):
    with pytest.raises(InputError, match=said):
        bench_models(**({"models": ["base"]} | given))


def test_a_missing_openvino_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match="--runtime openvino: the package is not installed"):
        bench_models(["base"], ["openvino"])


def test_a_missing_cuda_is_named(monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match="--runtime cuda: this ONNX Runtime has no CUDA"):
        bench_models(["base"], ["cuda"])


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_gpu_that_was_not_taken_is_no_gpu_figure(monkeypatch):
    """ONNX Runtime falls back to the CPU where CUDA's libraries are missing."""
    monkeypatch.setattr(bench_runtimes, "has_cuda", lambda: True)
    with pytest.raises(InputError, match=r"base.onnx could not be put on the GPU"):
        bench_models(["base"], ["cuda"], 1)


def test_a_gpu_is_timed_where_it_is_there_and_named(monkeypatch):
    """With a stand-in: the CPU under CUDA's name."""
    smi = {"name": "Some GPU", "memory.used": "700"}
    monkeypatch.setattr(bench_runtimes, "has_cuda", lambda: True)
    monkeypatch.setattr(bench_runtimes, "_nvidia_smi", smi.get)
    monkeypatch.setattr(bench_runtimes, "_CUDA", "CPUExecutionProvider")
    assert bench_runtimes.check_runtimes(None) == ["onnxruntime", "cuda"]
    result = bench_models(["base"], None, 1, 1)
    cpu, gpu = result["rows"]
    assert (cpu["hardware"], gpu["hardware"]) == (hardware(), "Some GPU")
    assert gpu["layers"] == [] and gpu["runtime"] == "cuda"
    print_table(result)
    lines = list(csv.DictReader(io.StringIO(to_csv(result))))
    assert [x["hardware"] for x in lines] == [hardware(), "Some GPU"]
    assert lines[0]["gpu_memory_mb"] == ""


def test_a_detector_of_another_project_is_timed_beside_ours(tmp_path, capsys):
    out = np.zeros((1, 84, 84), np.float32)  # YOLOv8 at 64x64
    out[0, :4, 0], out[0, 6, 0] = (32, 32, 20, 20), 0.9
    x = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 84, 84])
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["f"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["f"], ["m"], keepdims=0),
        helper.make_node("Mul", ["m", "zero"], ["z"]),
        helper.make_node("Add", ["out", "z"], ["y"]),
    ]
    constants = {"w": np.ones((1, 3, 3, 3), np.float32), "zero": np.float32(0), "out": out}
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    opset = [helper.make_opsetid("", 17)]
    path = tmp_path / "theirs.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    argv = ["bench", "models", "base", "--detector", str(path), "--decoder", "yolov8"]
    argv += ["--detector-size", "64x64", "--threads", "1", "--frames", "1"]
    assert main([*argv, "--runtime", "onnxruntime", "--out", str(tmp_path / "b")]) == 0
    ours, theirs = json.loads((tmp_path / "b/models.json").read_text())["rows"]
    assert ours["ratio"] == 1 and theirs["model"] == "theirs.onnx"
    assert theirs["size"] == "64x64" and theirs["parameters"] == 27
    assert theirs["gflops"] == pytest.approx(2 * 27 * 64 * 64 / 1e9)
    assert "theirs.onnx, onnxruntime: longest layers" in capsys.readouterr().out
