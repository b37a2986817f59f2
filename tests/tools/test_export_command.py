"""``roadstack export``: which data it takes, what it prints, and its exit codes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxslim")

import tools.export as command  # noqa: E402
from data.errors import InputError  # noqa: E402
from data.synthetic.drive import random_sample  # noqa: E402
from perception.gate import Accuracy, Parity  # noqa: E402
from perception.models.nano import NanoNet  # noqa: E402
from perception.training.checkpoints import save_weights  # noqa: E402

ALL = ["fp32", "fp16", "int8-cpu", "int8-gpu"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("c") / "mine.safetensors"
    save_weights(path, NanoNet().state_dict(), {"arch": "nano", "terms": "my own pictures"})
    return path


@pytest.fixture(autouse=True)
def few_frames(monkeypatch):
    monkeypatch.setattr(command, "RenderedSet", lambda: RenderedSet(2))
    monkeypatch.setattr(command, "_RENDERED_PX", (320, 180))


RenderedSet = command.RenderedSet


def options(checkpoint, out, **given):
    base = dict(checkpoint=checkpoint, out=out, name=None, size=(160, 96), precision=["fp32"])
    base |= dict(calibrate=None, evaluate=None, split="val", check=None, dynamic_batch=False)
    base |= dict(terms=None, engine=False, force=False, scales=[1.0])
    return argparse.Namespace(**(base | given))


def test_every_precision_with_rendered_frames_alone(checkpoint, tmp_path, capsys):
    code = command.run_export(options(checkpoint, tmp_path, precision=ALL, force=True))
    report = json.loads((tmp_path / "export.json").read_text())
    passed = [e["gate"]["passed"] for e in report["files"]]
    assert code == (0 if all(passed) else 1) and len(passed) == 4
    out = capsys.readouterr().out
    for name in ("mine.onnx", "mine.fp16.onnx", "mine.int8-cpu.onnx", "mine.int8-gpu.onnx"):
        assert (tmp_path / name).is_file() and f"written: {tmp_path / name}" in out
    assert "boxes, px" in out and "IoU drivable" in out
    assert out.count("trtexec --onnx=mine.fp16.onnx") == 2  # JetPack 5 and 6.0, and later ones
    assert out.count("trtexec --onnx=mine.int8-gpu.onnx") == 2
    assert "--onnx=mine.int8-cpu.onnx" not in out
    assert "/net/Exp:fp32" in out and "backbone" not in out
    assert report["files"][0]["gate"]["images"] == 2


def test_a_failing_file_is_not_written_and_the_exit_code_is_1(
    checkpoint, tmp_path, capsys, monkeypatch
):
    import perception.export as export

    monkeypatch.setattr(export, "measure_parity", lambda *_: Parity(2, 3.0, 0.0, 1.0))
    assert command.run_export(options(checkpoint, tmp_path)) == 1
    said = capsys.readouterr()
    assert "FAILED" in said.out and "not written: mine.onnx (--force" in said.err
    assert not list(tmp_path.iterdir())


def test_real_sets_and_folders_of_pictures_are_taken(checkpoint, tmp_path, realdata):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for k in range(3):
        cv2.imwrite(str(pictures / f"{k}.png"), random_sample(k, 320, 180).image)
    a = options(checkpoint, tmp_path, precision=["int8-cpu"], calibrate=pictures)
    assert len(command._gate_data(a).canvases) == 3
    real = realdata / "bdd100k_subset"
    a = options(checkpoint, tmp_path, precision=["int8-cpu"], calibrate=real, evaluate=real)
    data = command._gate_data(a)
    assert len(data.canvases) == 128 and len(data.pictures) == len(data.labelled) == 51
    assert data.canvases[0].shape == (96, 160, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"precision": ["fp8"]}, "--precision 'fp8': expected some of"),
        ({"calibrate": Path("nowhere"), "precision": ["int8-cpu"]}, "--calibrate nowhere: no such"),
        ({"name": "a/b"}, "--name 'a/b'"),
        ({"size": (100, 100)}, "multiples of 32"),
        ({"scales": [0.5, 1.0]}, "--scales: is for networks of pixel classes, not for 'nano'"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(checkpoint, tmp_path, given, said):
    with pytest.raises(InputError, match=said) as error:
        command.run_export(options(checkpoint, tmp_path / "out", **given))
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_a_folder_without_pictures_cannot_calibrate(checkpoint, tmp_path):
    (tmp_path / "empty").mkdir()
    a = options(checkpoint, tmp_path / "o", precision=["int8-cpu"], calibrate=tmp_path / "empty")
    with pytest.raises(InputError):
        command.run_export(a)
    assert not (tmp_path / "o").exists()


def test_the_table_shows_each_figure_with_its_change(capsys):
    from perception.export import Exported

    gate = Accuracy(51, 0.02, {"AP50 person": 0.2740}, {"AP50 person": 0.2633})
    command.print_table(
        [Exported("int8-cpu", "n.int8-cpu.onnx", b"", gate, left_float=("/a/Conv",))]
    )
    out = capsys.readouterr().out
    assert "0.2740" in out and "0.2633" in out and "-0.0107" in out and "passed" in out
    assert "left in fp32, besides the heads' last: a" in out
