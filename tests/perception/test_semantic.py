"""A network that gives each pixel a class: labels, loss, training, export and its use."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("albumentations")

from data.augment import warp  # noqa: E402
from data.datasets import only_tasks, open_dataset  # noqa: E402
from data.errors import InputError  # noqa: E402
from data.taxonomy import CAMVID_NAMES  # noqa: E402
from perception.decode import SEGMENTATION, decode_segmentation  # noqa: E402
from perception.export import ExportOptions, GateData, export_files  # noqa: E402
from perception.metrics.segmentation import (  # noqa: E402
    Confusion,
    confusion,
    figures,
    score_segmentation,
)
from perception.models.deploy import RGB_FROM_BGR, normalise  # noqa: E402
from perception.models.semantic import SemanticNet  # noqa: E402
from perception.preprocess import letterbox  # noqa: E402
from perception.runtime import load_model  # noqa: E402
from perception.segmenter import Segmenter, load_any  # noqa: E402
from perception.training.checkpoints import load_weights  # noqa: E402
from perception.training.losses import semantic_loss  # noqa: E402
from perception.training.targets import make_semantic_targets  # noqa: E402
from perception.training.validate import deployed, run_torch  # noqa: E402
from tools.cli import main  # noqa: E402
from tools.train import run_train  # noqa: E402

ROAD, CAR, VOID = 3, 8, 11


def write_camvid(root, count=2):
    """A dark road below a bright sky, with a red car on it and an unlabelled corner."""
    for split in ("train", "val"):
        for k in range(count):
            image = np.full((96, 128, 3), 220, np.uint8)
            label = np.zeros((96, 128), np.uint8)
            image[48:], label[48:] = 60, ROAD
            left = 16 + 24 * k
            image[40:64, left : left + 32], label[40:64, left : left + 32] = (30, 30, 200), CAR
            label[:8, :8] = VOID
            for folder, what in ((split, image), (f"{split}annot", label)):
                (root / folder).mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(root / folder / f"f{k}.png"), what)
    return root


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    return write_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="module")
def trained(camvid, tmp_path_factory):
    """A run long enough to tell the three classes apart."""
    out = tmp_path_factory.mktemp("run")
    config = out / "run.toml"
    config.write_text(
        'arch = "semantic"\nsize = [128, 96]\nval_size = [128, 96]\nbf16 = false\nval_every = 60\n'
        "workers = 0\nthreads = 1\n[optimizer]\nsteps = 60\nbatch = 4\nwarmup_steps = 5\n"
        "rate = 4e-3\n[augment]\nphotometric = 0\nweather = 0\ntilt = 0\nzoom_out = 0\nmosaic = 0\n"
        f'[[data]]\npath = "{camvid}"\n[[val]]\npath = "{camvid}"\nsplit = "val"\n'
    )
    return run_train(config, out / "run", ())


def test_a_sample_has_the_sets_own_classes(camvid):
    d = open_dataset(camvid, "train")
    assert d.tasks == ("drivable", "segmentation") and d.segmentation_names == CAMVID_NAMES
    s = d.load(0)
    assert s.segmentation is not None and s.drivable is not None
    assert s.segmentation[0, 0] == 255 and s.segmentation[80, 5] == ROAD
    assert s.segmentation[50, 30] == CAR and s.drivable[50, 30] == 0
    assert only_tasks(d, ("drivable",)).load(0).segmentation is None


def test_a_value_without_meaning_is_told_once(tmp_path):
    write_camvid(tmp_path, 1)
    label = np.full((96, 128), 99, np.uint8)
    cv2.imwrite(str(tmp_path / "trainannot/f0.png"), label)
    s = open_dataset(tmp_path, "train").load(0)
    assert len(s.problems) == 1 and "99" in s.problems[0]
    assert s.segmentation is not None and (s.segmentation == 255).all()


def test_classes_follow_the_picture(camvid):
    s = open_dataset(camvid, "train").load(0)
    mirrored = warp(s, np.array([[-1.0, 0, 128], [0, 1, 0]]), (128, 96))
    assert np.array_equal(mirrored.segmentation, s.segmentation[:, ::-1])
    away = warp(s, np.array([[1.0, 0, 64], [0, 1, 0]]), (128, 96))
    assert (away.segmentation[:, :64] == 255).all()


def test_loss_is_nothing_for_a_perfect_answer_and_blind_to_what_is_unknown(camvid):
    s = open_dataset(camvid, "train").load(0)
    t = make_semantic_targets(s)
    batch = {k: torch.from_numpy(np.asarray(v))[None] for k, v in t._asdict().items()}
    target = batch["segmentation"].long()
    perfect = 20.0 * torch.nn.functional.one_hot(target.clamp(max=10), 11).permute(0, 3, 1, 2)
    assert semantic_loss(perfect, batch)["total"] < 1e-3
    other = perfect.clone()
    other[:, :, :4, :4] = torch.roll(other[:, :, :4, :4], 5, 1)  # the unlabelled corner
    assert torch.equal(semantic_loss(other, batch)["total"], semantic_loss(perfect, batch)["total"])
    wrong = semantic_loss(torch.roll(perfect, 1, 1), batch)
    assert wrong["cross"] > 5 and wrong["dice"] > 0.9


def test_dice_counts_a_small_class_as_much_as_a_large_one():
    label = torch.zeros(1, 40, 40, dtype=torch.uint8)
    label[:, :4, :4] = 1
    batch = {"segmentation": label, "mask_weight": torch.ones(1)}
    none_of_it = 20.0 * torch.nn.functional.one_hot(torch.zeros_like(label).long(), 2)
    assert semantic_loss(none_of_it.permute(0, 3, 1, 2), batch)["dice"] == pytest.approx(
        0.5, abs=0.05
    )


def test_iou_by_hand():
    truth = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)
    told = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)
    f = figures(confusion(truth, told, 4), ("a", "b", "c", "d"))
    assert f["iou"]["a"] == pytest.approx(1 / 3) and f["iou"]["b"] == pytest.approx(2 / 3)
    assert f["iou"]["c"] == 0 and np.isnan(f["iou"]["d"])
    assert f["miou"] == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)
    assert f["pixel_accuracy"] == pytest.approx(3 / 5)
    both = confusion(truth, told, 4) + confusion(truth, truth, 4)
    assert both.frames == 2 and both.counts.sum() == 10
    with pytest.raises(ValueError, match="class 3"):
        confusion(truth, np.full((2, 3), 3, np.uint8), 3)
    assert np.isnan(figures(Confusion.empty(2), ("a", "b"))["miou"])


def test_decoding_undoes_the_letterbox():
    image = np.zeros((227, 320, 3), np.uint8)
    _, scale = letterbox(image, (640, 480))
    classes = np.full((1, 480, 640), 7, np.int32)
    classes[0, : round(227 * scale[1]), :320] = 3
    got = decode_segmentation({SEGMENTATION: classes}, scale, (320, 227))
    assert got.shape == (227, 320)
    assert (got[:, :160] == 3).all() and (got[:, 160:] == 7).all()


def test_training_learns_the_classes(camvid, trained):
    net, meta = load_weights(trained)
    assert isinstance(net, SemanticNet) and meta["segmentation_classes"] == list(CAMVID_NAMES)
    assert meta["val"]["segmentation.miou"] > 0.7
    assert meta["val"]["fitness"] == meta["val"]["segmentation.miou"]
    sheet = cv2.imread(str(next((trained.parent / "samples").glob("*.png"))))
    assert sheet.shape[1] == 2 * 640


def test_the_file_answers_as_the_training_code(camvid, trained, tmp_path):
    net, meta = load_weights(trained)
    val = open_dataset(camvid, "val")
    pictures = [val.load(i).image for i in range(2)]
    canvases = [letterbox(p, (128, 96))[0] for p in pictures]
    options = ExportOptions("own", (128, 96), ("fp32", "fp16", "int8-cpu"))
    files = export_files(net, meta, tmp_path, options, GateData(pictures, val, canvases))
    assert [e.written for e in files[:2]] == [True, True]
    model = load_any(str(tmp_path / "own.onnx"))
    assert isinstance(model, Segmenter) and model.classes == CAMVID_NAMES
    graph, _ = deployed(net)
    canvas, scale = letterbox(pictures[0], (128, 96))
    same = model(pictures[0]) == decode_segmentation(run_torch(graph, canvas), scale, (128, 96))
    assert same.mean() > 0.999
    scores = score_segmentation(val, lambda s: model(s.image))
    assert scores["miou"] == pytest.approx(meta["val"]["segmentation.miou"], abs=0.01)
    with pytest.raises(InputError, match="gives each pixel a class"):
        load_model(str(tmp_path / "own.onnx"))


def test_a_file_of_several_scales_answers_as_the_training_code(camvid, trained, tmp_path):
    net, meta = load_weights(trained)
    val = open_dataset(camvid, "val")
    pictures = [val.load(i).image for i in range(2)]
    one, three = ((1.0,), (0.75, 1.0, 1.5))
    for name, scales in (("one", one), ("three", three)):
        options = ExportOptions(name, (128, 96), scales=scales)
        (made,) = export_files(net, meta, tmp_path, options, GateData(pictures, None, []))
        assert made.gate.passed and made.gate.mask_share > 0.999
    model = load_any(str(tmp_path / "three.onnx"))
    assert json.loads(model.meta["roadstack.scales"]) == list(three)
    canvas, _ = letterbox(pictures[0], (128, 96))
    with torch.inference_mode():
        rgb = normalise(torch.from_numpy(canvas)[None], torch.tensor(RGB_FROM_BGR))
        mean = torch.zeros(())
        for size in ((64, 96), (96, 128), (128, 192)):  # nearest multiples of 32
            part = torch.nn.functional.interpolate(rgb, size=size, mode="bilinear")
            logits = torch.nn.functional.interpolate(net(part), size=(96, 128), mode="bilinear")
            mean = mean + logits.softmax(1)
    assert (model.infer(canvas)["segmentation"] == mean.argmax(1).numpy()).mean() > 0.999
    sizes = [(tmp_path / f"{n}.onnx").stat().st_size for n in ("one", "three")]
    assert sizes[1] < 1.1 * sizes[0]  # the weights are there once


def test_sets_of_other_classes_are_refused(camvid, tmp_path):
    idd = tmp_path / "idd"
    for part, suffix in (("leftImg8bit", "_image.png"), ("gtFine", "_label.png")):
        (idd / part / "train/1").mkdir(parents=True)
        shape = (96, 128, 3) if part == "leftImg8bit" else (96, 128)
        cv2.imwrite(str(idd / part / "train/1" / f"a{suffix}"), np.zeros(shape, np.uint8))
    settings = [f'data=[{{path="{camvid}"}}, {{path="{idd}"}}]', "arch=semantic"]
    with pytest.raises(InputError, match="other pixel classes than each other"):
        run_train(None, tmp_path / "run", tuple(settings))


def test_a_set_without_pixel_classes_is_refused(tiny_set, tmp_path):
    with pytest.raises(InputError, match="no labels for segmentation, which 'semantic' learns"):
        run_train(None, tmp_path / "run", (f'data=[{{path="{tiny_set}"}}]', "arch=semantic"))


def test_a_teacher_is_refused(tmp_path):
    with pytest.raises(InputError, match="learns from labels alone"):
        run_train(None, tmp_path / "run", ("arch=semantic", 'teacher="x.safetensors"'))


def test_evaluate_and_predict_take_the_file(camvid, trained, tmp_path, capsys):
    net, meta = load_weights(trained)
    pictures = [open_dataset(camvid, "val").load(i).image for i in range(2)]
    export_files(net, meta, tmp_path, ExportOptions("own", (128, 96)), GateData(pictures, None, ()))
    model, data = str(tmp_path / "own.onnx"), str(camvid)
    out = tmp_path / "scores"
    own = ["--split", "val", "--bootstrap", "50"]
    assert main(["evaluate", "--data", data, *own, "--model", model, "--out", str(out)]) == 0
    found = json.loads((out / "metrics.json").read_text())
    miou = found["segmentation"]["miou"]
    assert miou == pytest.approx(meta["val"]["segmentation.miou"], abs=0.01)
    assert found["segmentation"]["miou_low"] <= miou <= found["segmentation"]["miou_high"]
    assert found["segmentation"]["iou"]["road"] > 0.8 and found["images"] == 2
    assert np.sum(found["confusion"]["pixels"]) == 2 * (96 * 128 - 64)
    page = (out / "report.html").read_text()
    assert "road IoU" in page and page.count("<img") == 2 * 2  # both frames, labels and answers
    assert "mean IoU" in capsys.readouterr().out

    said = tmp_path / "said"
    assert main(["predict", str(camvid / "val"), "--model", model, "--out", str(said)]) == 0
    assert json.loads((said / "classes.json").read_text()) == list(CAMVID_NAMES)
    assert sorted(p.name for p in said.iterdir()) == ["classes.json", "segmentation"]
    again = tmp_path / "again"
    assert main(["evaluate", "--data", data, *own, "--predictions", str(said),
                 "--out", str(again)]) == 0  # fmt: skip
    told = json.loads((again / "metrics.json").read_text())["segmentation"]
    assert told == found["segmentation"]

    mask = said / "segmentation/f0.png"
    cv2.imwrite(str(mask), np.full((96, 128), 11, np.uint8))
    bad = ["evaluate", "--data", data, *own, "--predictions", str(said), "--out", str(again)]
    assert main(bad) == 2
    assert "f0.png: value 11, expected classes from 0 to 10" in capsys.readouterr().err


def test_a_model_of_other_classes_is_refused(tiny_set, trained, tmp_path, capsys):
    net, meta = load_weights(trained)
    picture = np.zeros((96, 128, 3), np.uint8)
    gate = GateData([picture], None, ())
    export_files(net, meta, tmp_path, ExportOptions("own", (128, 96)), gate)
    command = ["evaluate", "--data", str(tiny_set), "--split", "val"]
    command += ["--model", str(tmp_path / "own.onnx"), "--out", str(tmp_path / "o")]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "the data does not label pixels with classes" in err and err.count("\n") == 1
    assert not (tmp_path / "o").exists()
    assert (
        main(["replay", "--model", str(tmp_path / "own.onnx"), "--out", str(tmp_path / "r")]) == 2
    )
    assert "only evaluate and predict take it" in capsys.readouterr().err


def test_the_released_file_scores_as_its_card_says(realdata):
    """Every fifth frame of the test split; the card has 0.661 for all of them."""
    model = load_any("camvid", 1)
    assert isinstance(model, Segmenter) and model.classes == CAMVID_NAMES
    dataset = open_dataset(realdata / "camvid", split="test")
    total = Confusion.empty(len(model.classes))
    for i in range(0, len(dataset), 5):
        sample = dataset.load(i)
        total = total + confusion(sample.segmentation, model(sample.image), len(model.classes))
    assert figures(total, model.classes)["miou"] > 0.62
