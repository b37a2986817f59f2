"""Command lines for TensorRT, and NVIDIA's own parser where an environment with it is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import InputError
from tools.trtexec import build_engine, trtexec_lines

SCRIPT = Path(__file__).parents[2] / "tools/check_trt_rtx.py"


def test_tensorrt_8_is_told_which_layers_to_keep_and_10_follows_the_file():
    old, new = trtexec_lines(Path("o/n.fp16.onnx"), "fp16", ["/Exp", "/Add"], (640, 384)).values()
    assert "--onnx=n.fp16.onnx --saveEngine=n.fp16.engine" in old
    assert " --fp16 " in old and "--int8" not in old
    assert "--precisionConstraints=obey --layerPrecisions=/Exp:fp32,/Add:fp32 " in old
    assert "--stronglyTyped" in new and "--fp16 " not in new and "--layerPrecisions" not in new
    assert "--shapes" not in old + new  # the batch is fixed


def test_int8_and_an_open_batch_have_their_flags():
    lines = trtexec_lines(Path("n.int8-gpu.onnx"), "int8-gpu", ["/Exp"], (640, 384), True)
    assert all(line.endswith("--shapes=image:1x384x640x3") for line in lines.values())
    assert "--int8 --fp16" in next(iter(lines.values()))
    assert any("JetPack 5" in k for k in lines) and any("JetPack 7" in k for k in lines)


def test_without_tensorrt_the_way_to_an_engine_is_explained(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(InputError, match=r"'tensorrt' is not installed here; run the printed"):
        build_engine(tmp_path / "n.fp16.onnx")


def test_the_parser_script_says_where_its_package_is_missing():
    code = f"import sys; sys.modules['tensorrt_rtx'] = None; sys.argv = ['x', 'n.onnx']; " \
           f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and "'tensorrt-rtx' is not installed" in done.stderr


def test_nvidias_parser_accepts_every_gpu_file(tmp_path):
    python = os.environ.get("ROADSTACK_TRT_RTX_PYTHON")
    if not python:
        pytest.skip("set ROADSTACK_TRT_RTX_PYTHON to a Python that has tensorrt-rtx")
    pytest.importorskip("onnxslim")
    torch = pytest.importorskip("torch")
    from data.synthetic.drive import random_sample
    from perception.export import ExportOptions, GateData, export_files
    from perception.models.nano import NanoNet
    from tools.export import RenderedSet

    torch.manual_seed(0)
    image = random_sample(0, 320, 192).image
    data = GateData([image], RenderedSet(1), [image])
    wish = ExportOptions("n", (320, 192), ("fp32", "fp16", "int8-cpu", "int8-gpu"), force=True)
    export_files(NanoNet().eval(), {}, tmp_path, wish, data)
    run = [python, str(SCRIPT), *(str(tmp_path / f"n{k}.onnx") for k in ("", ".fp16", ".int8-gpu"))]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0 and "3 of 3 accepted" in done.stdout, done.stdout + done.stderr
    refused = subprocess.run([*run[:2], str(tmp_path / "n.int8-cpu.onnx")], capture_output=True)
    assert refused.returncode == 1  # its biases are 32-bit integers
