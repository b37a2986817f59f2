"""The gate between training code and exported file: it passes what is alike and nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxslim")

import perception.export as export  # noqa: E402
from data.synthetic.drive import random_sample  # noqa: E402
from data.types import Detections  # noqa: E402
from perception.models.efficientnet_lite import SameConv2d  # noqa: E402
from perception.runtime import load_model, released_models  # noqa: E402
from perception.training.checkpoints import load_weights  # noqa: E402

CHECKPOINT = Path(__file__).parents[2] / "perception/weights/base.safetensors"


@pytest.fixture(scope="module")
def base():
    return load_weights(CHECKPOINT)[0]


@pytest.fixture(scope="module")
def pictures():
    return [random_sample(seed, 960, 540).image for seed in (3, 8)]


def test_the_released_file_answers_as_its_checkpoint(base, pictures):
    model = load_model("base")
    assert all(len(model(image, 0.3)[0]) > 0 for image in pictures)  # there is something to compare
    parity = export.measure_parity(base, model, pictures)
    assert parity.passed, parity


@pytest.mark.parametrize(
    ("layer", "shift", "wrong"),
    [
        ("box", 0.2, "box_px"),
        ("heat", 0.05, "score"),
        ("heat", 2.0, "score"),
        ("heat", -2.0, "box_px"),  # the file has boxes that the training code does not find
        ("mask", 0.5, "mask_share"),
    ],
)
def test_a_file_that_differs_does_not_pass(base, pictures, layer, shift, wrong):
    other = copy.deepcopy(base)
    getattr(other, layer).bias.data += shift
    parity = export.measure_parity(other, load_model("base"), pictures)
    assert not parity.passed
    limits = {"box_px": parity.box_px > 0.5, "score": parity.score > 1e-3}
    limits["mask_share"] = parity.mask_share < 0.999
    assert limits[wrong], parity


def test_an_added_box_is_noticed_from_the_other_side():
    one = Detections([[0, 0, 9, 9]], [0.9], [0])
    two = Detections([[0, 0, 9, 9], [50, 50, 90, 90]], [0.9, 0.4], [0, 0])
    assert export._gap(one, two) == (0.0, 0.0)
    assert export._gap(two, one)[0] == 81.0
    assert export._gap(one, Detections.empty())[0] == float("inf")


def test_a_file_that_fails_the_gate_is_written_only_when_forced(
    base, pictures, tmp_path, monkeypatch
):
    failed = export.Parity(2, 9.0, 0.5, 0.1)
    monkeypatch.setattr(export, "measure_parity", lambda *_: failed)
    target = tmp_path / "m.onnx"
    export.export_checked(base, (320, 192), {}, target, pictures)
    assert not list(tmp_path.iterdir())
    export.export_checked(base, (320, 192), {}, target, pictures, force=True)
    assert load_model(str(target)).input_size == (320, 192)
    report = json.loads((tmp_path / "export.json").read_text())
    assert report["passed"] is False and report["parity"]["box_px"] == 9.0


def test_weights_too_small_for_normal_numbers_are_flushed():
    layer = SameConv2d(1, 1, 3, 1, bias=False)
    layer.weight.data.fill_(0.5)
    layer.weight.data[0, 0, 0, 0] = 1e-39
    assert export.flush_subnormals(layer) == 1
    assert layer.weight.data[0, 0, 0, 0] == 0
    assert np.count_nonzero(layer.weight.data.numpy()) == 8


def test_the_card_stands_beside_each_released_file():
    assert "base" in released_models()
    for path in released_models().values():
        assert path.with_suffix(".md").is_file()
        assert path.with_suffix(".safetensors").is_file()
        assert path.stat().st_size <= 15_000_000
