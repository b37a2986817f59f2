"""The gate between training code and exported file: it passes what is alike and nothing else."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxslim")

import perception.export as export  # noqa: E402
from data.errors import InputError  # noqa: E402
from data.synthetic.drive import random_sample  # noqa: E402
from data.types import Detections  # noqa: E402
from perception.gate import Accuracy, compare, gap, measure_accuracy  # noqa: E402
from perception.models.efficientnet_lite import SameConv2d  # noqa: E402
from perception.models.nano import NanoNet  # noqa: E402
from perception.preprocess import LETTERBOX_RULE  # noqa: E402
from perception.runtime import FORMAT, load_model, released_models  # noqa: E402
from perception.segmenter import load_any  # noqa: E402
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
    assert gap(one, two) == (0.0, 0.0)
    assert gap(two, one)[0] == 81.0
    assert gap(one, Detections.empty())[0] == float("inf")


@pytest.mark.parametrize("field", ["xyxy", "score"])
def test_what_is_not_a_number_is_like_nothing(field):
    good = Detections([[0, 0, 9, 9]], [0.9], [0])
    values = {"xyxy": good.xyxy.copy(), "score": good.score.copy()}
    values[field][0] = np.nan
    bad = Detections(values["xyxy"], values["score"], [0])
    for pair in ((good, bad), (bad, good), (bad, bad)):
        assert gap(*pair) == (float("inf"), float("inf"))


@pytest.mark.parametrize("key", ["boxes", "scores", "drivable"])
def test_a_file_with_outputs_that_are_no_numbers_fails(pictures, key):
    model = load_model("base")

    def run(canvas):
        out = {k: v.copy() for k, v in model.infer(canvas).items()}
        out[key].flat[0] = np.nan
        return out

    assert compare(model.infer, model, pictures[:1]).passed
    assert not compare(run, model, pictures[:1]).passed


def test_a_file_that_fails_the_gate_is_written_only_when_forced(
    base, pictures, tmp_path, monkeypatch
):
    failed = export.Parity(2, 9.0, 0.5, 0.1)
    monkeypatch.setattr(export, "measure_parity", lambda *_: failed)
    data = export.GateData(pictures, None, ())
    wish = export.ExportOptions("m", (320, 192))
    export.export_files(base, {}, tmp_path, wish, data)
    assert not list(tmp_path.iterdir())
    export.export_files(base, {}, tmp_path, replace(wish, force=True), data)
    assert load_model(str(tmp_path / "m.onnx")).input_size == (320, 192)
    report = json.loads((tmp_path / "export.json").read_text())
    (entry,) = report["files"]
    assert entry["gate"]["passed"] is False and entry["gate"]["box_px"] == 9.0
    assert entry["file"] == "m.onnx" and entry["written"] is True


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


# --- several precisions, on an untrained small network ---

SIZE = (160, 96)


class Rendered:
    """A few labelled frames."""

    tasks = ("detection", "drivable", "lane")
    strict = False

    def __init__(self, count=2):
        self.samples = [random_sample(seed, 320, 180) for seed in range(count)]

    def __len__(self):
        return len(self.samples)

    def load(self, i):
        return self.samples[i]


@pytest.fixture(scope="module")
def nano():
    torch.manual_seed(0)
    return NanoNet().eval()


@pytest.fixture(scope="module")
def gate_data():
    rendered = Rendered()
    pictures = [s.image for s in rendered.samples]
    return export.GateData(pictures, rendered, [p[: SIZE[1], : SIZE[0]].copy() for p in pictures])


def export_all(nano, out, gate_data, **options):
    given = dict(precisions=("fp32", "fp16", "int8-cpu", "int8-gpu"), terms="research only")
    given |= dict(revision="abc123") | options
    return export.export_files(nano, {}, out, export.ExportOptions("n", SIZE, **given), gate_data)


def test_one_file_a_precision_each_saying_what_it_is(nano, gate_data, tmp_path):
    files = export_all(nano, tmp_path, gate_data, force=True)
    names = ["n.onnx", "n.fp16.onnx", "n.int8-cpu.onnx", "n.int8-gpu.onnx"]
    assert [e.file for e in files] == names
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*names, "export.json"])
    report = json.loads((tmp_path / "export.json").read_text())
    assert [e["file"] for e in report["files"]] == names and report["revision"] == "abc123"
    for name, precision in zip(names, ("fp32", "fp16", "int8-cpu", "int8-gpu"), strict=True):
        model = load_model(str(tmp_path / name), any_runtime=True)
        assert model.precision == precision
        assert model.meta["roadstack.terms"] == "research only"
        assert model.meta["roadstack.revision"] == "abc123"
        assert json.loads(model.meta["roadstack.gate"])["images"] == 2
        assert "TensorRT" in model.meta["roadstack.runtime"] or precision in ("fp32", "int8-cpu")


def test_a_file_that_loses_accuracy_is_held_back_and_the_others_are_not(
    nano, gate_data, tmp_path, monkeypatch
):
    scores = iter([(2, {"IoU lane": v}) for v in (0.5, 0.499, *[0.4] * 9)])
    monkeypatch.setattr(export, "measure_accuracy", lambda *_: next(scores))
    files = export_all(nano, tmp_path, gate_data, precisions=("fp16", "int8-cpu"))
    assert [(e.file, e.written) for e in files] == [
        ("n.fp16.onnx", True),
        ("n.int8-cpu.onnx", False),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export.json", "n.fp16.onnx"]
    held = json.loads((tmp_path / "export.json").read_text())["files"][1]
    assert held["written"] is False and held["gate"]["worst"] == pytest.approx(0.1)


def test_more_layers_stay_in_fp32_until_the_gate_is_passed_with_room(
    nano, gate_data, tmp_path, monkeypatch
):
    figures = (0.5, 0.5, 0.5, 0.45, 0.485, 0.495)
    scores = iter([(2, {"IoU lane": v}) for v in figures])
    monkeypatch.setattr(export, "measure_accuracy", lambda *_: next(scores))
    # what is harmful by itself stays at once, and depends on the processor
    (tmp_path / "at_once").mkdir()
    (at_once,) = export_all(nano, tmp_path / "at_once", gate_data, precisions=("int8-cpu",))
    (made,) = export_all(nano, tmp_path, gate_data, precisions=("int8-cpu",))
    assert made.gate.passed and made.written
    assert len(made.left_float) == len(at_once.left_float) + 2
    model = load_model(str(tmp_path / "n.int8-cpu.onnx"))
    assert json.loads(model.meta["roadstack.left_float"]) == list(made.left_float)


def test_nothing_passes_where_the_fp32_file_does_not(nano, gate_data, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "measure_parity", lambda *_: export.Parity(2, 9.0, 0.5, 0.1))
    files = export_all(nano, tmp_path, gate_data, precisions=("fp16",))
    assert [e.precision for e in files] == ["fp32", "fp16"]
    assert not any(e.written for e in files) and not list(tmp_path.iterdir())


def test_force_writes_no_failed_file_that_was_not_asked_for(nano, gate_data, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "measure_parity", lambda *_: export.Parity(2, 9.0, 0.5, 0.1))
    files = export_all(nano, tmp_path, gate_data, precisions=("fp16",), force=True)
    assert [(e.precision, e.written) for e in files] == [("fp32", False), ("fp16", True)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export.json", "n.fp16.onnx"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precisions": ("fp32", "int4")}, "--precision 'int4': expected some of fp32, fp16"),
        ({"precisions": ()}, "--precision none"),
        ({"size": (100, 96)}, "multiples of 32"),
        ({"scales": ()}, "--scales none: expected numbers"),
        ({"scales": (1.0, 9.0)}, "--scales 1, 9: expected numbers from 0.25 to 4"),
    ],
)
def test_a_wrong_wish_is_one_line_and_writes_nothing(nano, gate_data, tmp_path, options, said):
    wish = export.ExportOptions(**({"name": "n", "size": SIZE} | options))
    with pytest.raises(InputError, match=said):
        export.export_files(nano, {}, tmp_path, wish, gate_data)
    assert not list(tmp_path.iterdir())


def test_int8_without_pictures_to_calibrate_on_is_refused(nano, gate_data, tmp_path):
    empty = export.GateData(gate_data.pictures, gate_data.labelled, [])
    with pytest.raises(InputError, match="--calibrate: no picture"):
        export_all(nano, tmp_path, empty)


def test_an_open_batch_gives_each_picture_its_own_answer(nano, gate_data, tmp_path):
    export_all(nano, tmp_path, gate_data, precisions=("fp32",), dynamic_batch=True)
    model = load_model(str(tmp_path / "n.onnx"))
    one = [model.infer(c) for c in gate_data.canvases]
    out = model.session.run(None, {"image": np.stack(gate_data.canvases)})
    both = dict(zip([o.name for o in model.session.get_outputs()], out, strict=True))
    for key in ("boxes", "scores", "drivable"):
        for i in (0, 1):
            np.testing.assert_allclose(both[key][i], one[i][key][0], atol=1e-4)


def test_a_file_for_tensorrt_is_refused_by_the_cpu_runtime(nano, gate_data, tmp_path):
    export_all(nano, tmp_path, gate_data, precisions=("int8-gpu",), force=True)
    path = tmp_path / "n.int8-gpu.onnx"
    with pytest.raises(InputError, match="is int8-gpu, made for TensorRT") as error:
        load_model(str(path))
    assert "\n" not in str(error.value) and "int8-cpu" in str(error.value)
    assert load_model(str(path), any_runtime=True).precision == "int8-gpu"


def test_damaged_and_foreign_files_are_refused_in_words(tmp_path):
    onnx = pytest.importorskip("onnx")
    whole = released_models()["base"].read_bytes()
    short = tmp_path / "short.onnx"
    short.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a usable ONNX file"):
        load_model(str(short))
    made = onnx.helper.make_node("Relu", ["x"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy")
    graph = onnx.helper.make_graph([made], "other", [x], [y])
    opset = [onnx.helper.make_opsetid("", 17)]
    other = tmp_path / "other.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(other))
    with pytest.raises(InputError, match="not a Roadstack model"):
        load_model(str(other))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"shape": [1, "h", "w", 3]}, "expected one uint8 'image' 1 x height x width x 3"),
        ({"kind": 1}, "do not fit"),
        ({"out": "y"}, "outputs .'y'. do not fit; expected .* and segmentation"),
        ({"classes": "[oops"}, "its list of classes cannot be read"),
        ({"classes": "3"}, "its list of classes cannot be read"),
    ],
)
def test_a_file_of_pixel_classes_is_looked_at_as_closely(tmp_path, changes, said):
    from onnx import TensorProto, helper, save

    shape, out = changes.get("shape", [1, 32, 64, 3]), changes.get("out", "segmentation")
    ends = [
        helper.make_tensor_value_info("image", changes.get("kind", TensorProto.UINT8), shape),
        helper.make_tensor_value_info(out, TensorProto.INT32, shape),
    ]
    cast = helper.make_node("Cast", ["image"], [out], to=TensorProto.INT32)
    graph = helper.make_graph([cast], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    about = {"format": FORMAT, "letterbox": LETTERBOX_RULE}
    about["segmentation_classes"] = changes.get("classes", '["road"]')
    helper.set_model_props(model, {f"roadstack.{k}": v for k, v in about.items()})
    save(model, str(tmp_path / "s.onnx"))
    if not said:
        assert load_any(str(tmp_path / "s.onnx")).input_size == (64, 32)
        return
    with pytest.raises(InputError, match=said):
        load_any(str(tmp_path / "s.onnx"))


def test_accuracy_within_the_limit_passes_and_nothing_measured_does_not():
    fp32 = {"AP50 vehicle": 0.5, "IoU lane": 0.3}
    assert Accuracy(9, 0.02, fp32, {"AP50 vehicle": 0.485, "IoU lane": 0.31}).passed
    assert not Accuracy(9, 0.02, fp32, {"AP50 vehicle": 0.475, "IoU lane": 0.3}).passed
    assert not Accuracy(9, 0.02, fp32, {"AP50 vehicle": float("nan"), "IoU lane": 0.3}).passed
    assert not Accuracy(9, 0.02, {}, {}).passed


def test_a_class_with_few_boxes_is_not_judged_by():
    images, figures = measure_accuracy(load_model("base"), Rendered(3))
    assert images == 3 and {"IoU drivable", "IoU lane"} <= set(figures)
    assert {k for k in figures if k.startswith("AP50")} == {"AP50 vehicle"}


def test_pictures_that_cannot_be_read_are_not_counted():
    class Damaged(Rendered):
        def load(self, i):
            if i == 1:
                raise InputError("1.png: cut short")
            return super().load(i)

    assert measure_accuracy(load_model("base"), Damaged(3))[0] == 2
    Damaged.strict = True
    with pytest.raises(InputError, match="cut short"):
        measure_accuracy(load_model("base"), Damaged(3))


def test_where_no_attempt_has_room_the_nearest_is_taken(nano, gate_data, tmp_path, monkeypatch):
    scores = iter([(2, {"IoU lane": v}) for v in (0.5, 0.4, 0.487, 0.48, 0.47, 0.4, 0.4)])
    monkeypatch.setattr(export, "measure_accuracy", lambda *_: next(scores))
    (made,) = export_all(nano, tmp_path, gate_data, precisions=("int8-cpu",))
    assert made.gate.passed and made.gate.file == {"IoU lane": 0.487}
