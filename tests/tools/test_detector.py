"""A detector of another project in the commands: its objects, our surfaces, both scored."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from data.synthetic.drive import SyntheticDrive  # noqa: E402
from perception.detectors import DECODERS, load_detector  # noqa: E402
from perception.detectors.names import COCO  # noqa: E402
from tools import option_parts  # noqa: E402
from tools.cli import main  # noqa: E402

WIDTH, HEIGHT = 160, 96  # of the network's input, and half of the pictures'
CELLS = 20 * 12 + 10 * 6 + 5 * 3
BOX = (100, 60, 180, 120)  # in the pictures


def save_detector(path, boxes, names=None, kind=TensorProto.FLOAT):
    """A YOLOv8 file that answers ``boxes`` (x1, y1, x2, y2 of the input, class, score) always."""
    out = np.zeros((1, 84, CELLS), np.float32)
    for k, (x1, y1, x2, y2, c, score) in enumerate(boxes):
        out[0, :4, k] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        out[0, 4 + c, k] = score
    x = helper.make_tensor_value_info("images", kind, [1, 3, HEIGHT, WIDTH])
    y = helper.make_tensor_value_info("y", kind, [1, 84, CELLS])
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["m"], keepdims=0),
        helper.make_node("Mul", ["m", "zero"], ["z"]),
        helper.make_node("Add", ["out", "z"], ["y"]),
    ]
    stored = [numpy_helper.from_array(np.float32(0), "zero"), numpy_helper.from_array(out, "out")]
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    helper.set_model_props(model, {"names": names} if names else {})
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Finds a car in BOX, and a stop sign in the corner."""
    half = [v / 2 for v in BOX]
    boxes = [(*half, COCO.index("car"), 0.9), (0, 0, 20, 20, COCO.index("stop sign"), 0.8)]
    return save_detector(tmp_path_factory.mktemp("d") / "theirs.onnx", boxes)


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drive")
    for f in SyntheticDrive(frames=3, width_px=2 * WIDTH, height_px=2 * HEIGHT):
        cv2.imwrite(str(folder / f"p{f.index}.png"), f.image)
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Two frames in BDD100K's layout, each with a car in BOX and a traffic sign."""
    root = tmp_path_factory.mktemp("set")
    images = root / "images/100k/val"
    images.mkdir(parents=True)
    entries = []
    corners = dict(zip(("x1", "y1", "x2", "y2"), BOX, strict=True))
    sign = {"x1": 20, "y1": 20, "x2": 60, "y2": 60}
    for f in SyntheticDrive(frames=2, width_px=2 * WIDTH, height_px=2 * HEIGHT):
        cv2.imwrite(str(images / f"p{f.index}.jpg"), f.image)
        labels = [{"id": "0", "category": "car", "box2d": corners}]
        labels.append({"id": "1", "category": "traffic sign", "box2d": sign})
        entries.append({"name": f"p{f.index}.jpg", "labels": labels})
    target = root / "labels/det_20/det_val.json"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps(entries))
    return root


def test_the_command_line_names_the_decoders_there_are():
    assert option_parts.DECODERS == DECODERS


def test_predict_writes_their_objects_and_our_surfaces(drive, theirs, tmp_path):
    argv = ["predict", str(drive), "--out", str(tmp_path / "a")]
    assert main([*argv, "--detector", str(theirs), "--decoder", "yolov8"]) == 0
    rows = json.loads((tmp_path / "a/detections.json").read_text())
    x1, y1, x2, y2 = BOX
    assert [r["category"] for r in rows] == ["vehicle", "traffic_sign"] * 3
    for r in rows[::2]:
        assert r["bbox"] == [x1, y1, x2 - x1, y2 - y1] and r["score"] == pytest.approx(0.9)
    assert main(["predict", str(drive), "--out", str(tmp_path / "b")]) == 0
    for kind in ("drivable", "lane"):
        for k in range(3):
            a, b = (cv2.imread(str(tmp_path / f"{run}/{kind}/p{k}.png"), 0) for run in "ab")
            assert np.array_equal(a, b)


def test_evaluate_scores_both_in_one_run(labelled, theirs, tmp_path, capfd):
    pytest.importorskip("faster_coco_eval")
    argv = ["evaluate", "--data", str(labelled), "--split", "val", "--out", str(tmp_path)]
    assert main([*argv, "--detector", str(theirs), "--decoder", "yolov8"]) == 0
    result = json.loads((tmp_path / "metrics.json").read_text())
    found = result["detection"]
    assert found["vehicle"]["AP50"] == 1.0
    assert "traffic_sign" not in found  # stop signs are not all signs: not scored, not missed
    assert set(result["own_detection"]) >= {"vehicle", "traffic_sign"}
    assert result["own_detection"]["vehicle"]["ground_truths"] == 2
    entry = result["model"]
    assert entry["name"] == "base" and entry["detector"]["name"] == "theirs"
    assert entry["detector"]["does_not_find"] == ["traffic_sign"]
    assert "objects of base on the same frames:" in capfd.readouterr().out


def test_replay_tracks_their_objects_and_says_whose_they_are(drive, theirs, tmp_path):
    argv = ["replay", str(drive), "--out", str(tmp_path), "--no-overlay"]
    assert main([*argv, "--detector", str(theirs), "--decoder", "yolov8"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["model"]["name"] == "base"
    assert summary["detector"]["decoder"] == "yolov8"
    assert summary["detector"]["sha256"] == load_detector(theirs, "yolov8").sha256
    rows = [json.loads(x) for x in (tmp_path / "record.jsonl").read_text().splitlines()]
    for row in rows:
        assert row["detections"][0] == {"class": "vehicle", "score": 0.9, "xyxy": list(BOX)}
        assert row["surfaces"]["drivable_share"] > 0.02


def test_unknown_classes_are_told_once_and_can_be_named(drive, tmp_path, capfd):
    names = {k: f"thing {k}" for k in range(80)} | {0: "car", 1: "tuk-tuk"}
    path = save_detector(tmp_path / "t.onnx", [(10, 10, 60, 60, 1, 0.9)], str(names))
    argv = ["predict", str(drive), "--out", str(tmp_path / "a"), "--detector", str(path)]
    assert main([*argv, "--decoder", "yolov8"]) == 0
    told = [x for x in capfd.readouterr().err.splitlines() if "warning" in x]
    assert len(told) == 1 and "tuk-tuk" in told[0] and "more" in told[0]
    assert json.loads((tmp_path / "a/detections.json").read_text()) == []
    lines = [f"{n}=none" for n in names.values()]
    lines[1] = "tuk-tuk=vehicle"
    (tmp_path / "names.txt").write_text("\n".join(lines))
    argv += ["--decoder", "yolov8", "--detector-names", str(tmp_path / "names.txt")]
    assert main(argv) == 0
    assert "warning" not in capfd.readouterr().err
    rows = json.loads((tmp_path / "a/detections.json").read_text())
    assert [r["category"] for r in rows] == ["vehicle"] * 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--detector", "FILE"], "say its family by --decoder"),
        (["--decoder", "yolox"], "--decoder: is of use with --detector FILE.onnx alone"),
        (["--detector-size", "64x64"], "--detector-size: is of use with --detector"),
        (["--detector", "FILE", "--decoder", "yolox"], "it fits --decoder yolov8"),
        (["--detector", "none.onnx", "--decoder", "yolox"], "no such file"),
    ],
)
@pytest.mark.parametrize("command", ["replay", "predict", "evaluate", "bench"])
def test_wrong_options_are_one_line_and_exit_code_2(
    command, options, said, drive, labelled, theirs, tmp_path, capfd
):
    argv = {
        "replay": ["replay", str(drive)],
        "predict": ["predict", str(drive)],
        "evaluate": ["evaluate", "--data", str(labelled), "--split", "val"],
        "bench": ["bench", "models", "base"],
    }[command]
    options = [str(theirs) if o == "FILE" else o for o in options]
    assert main([*argv, *options, "--out", str(tmp_path / "out")]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0], lines
    assert not (tmp_path / "out").exists()


def test_an_unknown_decoder_and_a_needless_detector_are_refused(labelled, theirs, tmp_path, capfd):
    out = ["--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        main(["replay", "--detector", str(theirs), "--decoder", "yolov5", *out])
    assert stop.value.code == 2
    argv = ["evaluate", "--data", str(labelled), "--split", "val", "--predictions", str(tmp_path)]
    assert main([*argv, "--detector", str(theirs), "--decoder", "yolov8", *out]) == 2
    assert "has no use with --predictions" in capfd.readouterr().err
