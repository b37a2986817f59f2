"""Files of detectors: how their outputs are read, which classes they have, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from data.errors import InputError  # noqa: E402
from data.taxonomy import CLASSES, COMMON, PARTIAL  # noqa: E402
from perception.detectors import DECODERS, load_detector  # noqa: E402
from perception.detectors.decoders import find_layout, grid  # noqa: E402
from perception.detectors.names import COCO, to_ours  # noqa: E402

WIDTH, HEIGHT = 256, 192  # of the networks' input
CELLS3 = 32 * 24 + 16 * 12 + 8 * 6
CELLS4 = CELLS3 + 4 * 3
CAR, TRUCK, PERSON, STOP_SIGN = (COCO.index(n) for n in ("car", "truck", "person", "stop sign"))
GREY = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)


def save_fixed(path, out, size=(WIDTH, HEIGHT), kind=TensorProto.FLOAT, meta=None, shape=None):
    """A network that answers ``out`` (one array or several) whatever the picture."""
    outs = [np.asarray(o, np.float32) for o in (out if isinstance(out, list) else [out])]
    x = helper.make_tensor_value_info("images", kind, shape or [1, 3, size[1], size[0]])
    nodes = [
        helper.make_node("Cast", ["images"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["m"], keepdims=0),
        helper.make_node("Mul", ["m", "zero"], ["z"]),
    ]
    stored = [numpy_helper.from_array(np.float32(0), "zero")]
    made = []
    for k, o in enumerate(outs):
        stored.append(numpy_helper.from_array(o, f"c{k}"))
        nodes.append(helper.make_node("Add", [f"c{k}", "z"], [f"sum{k}"]))
        nodes.append(helper.make_node("Cast", [f"sum{k}"], [f"o{k}"], to=kind))
        made.append(helper.make_tensor_value_info(f"o{k}", kind, list(o.shape)))
    save(path, nodes, stored, [x], made, meta)
    return path


def save(path, nodes, stored, inputs, outputs, meta=None):
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    helper.set_model_props(model, meta or {})
    onnx.save(model, str(path))


def yolov8_out(rows, classes=80, cells=CELLS3):
    """Output (1, 4 + classes, cells) with rows (cell, cx, cy, w, h, class, score)."""
    out = np.zeros((1, 4 + classes, cells), np.float32)
    for cell, cx, cy, w, h, c, score in rows:
        out[0, :4, cell] = cx, cy, w, h
        out[0, 4 + c, cell] = score
    return out


def test_a_network_that_scores_its_channels_sees_red_as_the_first(tmp_path):
    """Classes 0, 1, 2 score the means of the input's channels."""
    x = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 7, CELLS3])
    first = np.zeros((1, 3, CELLS3), np.float32)
    first[0, :, 0] = 1
    box = np.zeros((1, 4, CELLS3), np.float32)
    box[0, :, 0] = 128, 96, 50, 50
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["m", "two"], ["column"]),
        helper.make_node("Mul", ["column", "first"], ["scores"]),
        helper.make_node("Concat", ["box", "scores"], ["y"], axis=1),
    ]
    stored = [numpy_helper.from_array(v, k) for k, v in (("first", first), ("box", box))]
    stored.append(numpy_helper.from_array(np.array([2], np.int64), "two"))
    meta = {"names": "{0: 'car', 1: 'person', 2: 'traffic light'}"}
    save(tmp_path / "mean.onnx", nodes, stored, [x], [y], meta)
    detector = load_detector(tmp_path / "mean.onnx", "yolov8")
    for channel, bgr in enumerate([(0, 0, 204), (0, 204, 0), (204, 0, 0)]):
        found = detector(np.full((HEIGHT, WIDTH, 3), bgr, np.uint8), 0.1)
        assert [CLASSES[c] for c in found.class_id] == [
            ("vehicle", "person", "traffic_light")[channel]
        ]
        assert found.score[0] == pytest.approx(0.8, abs=1e-5)


# --- layouts and decoding ---


def test_cells_go_from_fine_to_coarse_and_row_by_row():
    cell, stride = grid((8, 16), (32, 16))
    assert cell[:9].tolist() == [[c, r] for r in (0, 1) for c in range(4)] + [[0, 0]]
    assert stride[:, 0].tolist() == [8] * 8 + [16] * 2


def test_nanodet_rounds_its_grids_up():
    shape = (1, 52 * 52 + 26 * 26 + 13 * 13 + 7 * 7, 112)
    layout = find_layout("nanodet", shape, (416, 416), None)
    assert layout is not None and layout.classes == 80 and layout.bins == 8


def yolox_out(rows, classes=80):
    out = np.zeros((1, CELLS3, 5 + classes), np.float32)
    for cell, x, y, w, h, c, objectness, score in rows:
        out[0, cell, :5] = x, y, w, h, objectness
        out[0, cell, 5 + c] = score
    return out


def test_yolox_offsets_grow_with_the_stride_and_sizes_by_the_exponential(tmp_path):
    second = 32 * 24 + 3 * 16 + 5  # column 5, row 3 of the grid of stride 16
    out = yolox_out([(second, 0.25, 0.5, np.log(2), np.log(3), CAR, 0.8, 0.5)])
    found = load_detector(save_fixed(tmp_path / "n.onnx", out), "yolox")(GREY, 0.1)
    cx, cy = 16 * 5.25, 16 * 3.5
    np.testing.assert_allclose(found.xyxy, [[cx - 16, cy - 24, cx + 16, cy + 24]], atol=1e-3)
    assert found.score[0] == pytest.approx(0.4)


def test_yolox_boxes_that_the_file_decodes_itself_are_taken_as_they_are(tmp_path):
    cell, stride = grid((8, 16, 32), (WIDTH, HEIGHT))
    out = yolox_out([])
    out[0, :, :2], out[0, :, 2:4] = (cell + 0.5) * stride, stride
    out[0, 7, :5] = 100, 60, 40, 20, 1.0
    out[0, 7, 5 + CAR] = 0.7
    detector = load_detector(save_fixed(tmp_path / "n.onnx", out), "yolox")
    assert detector.layout.decoded
    np.testing.assert_allclose(detector(GREY, 0.1).xyxy, [[80, 50, 120, 70]], atol=1e-3)


def test_final_boxes_of_an_end_to_end_file(tmp_path):
    out = np.zeros((1, 300, 6), np.float32)
    out[0, 0] = 10, 20, 60, 80, 0.9, CAR
    out[0, 1] = 100, 20, 160, 80, 0.6, PERSON
    out[0, 2] = 10, 20, 60, 80, 0.8, COCO.index("boat")  # none of ours
    names = tmp_path / "names.txt"
    names.write_text("\n".join(COCO))
    path = save_fixed(tmp_path / "n.onnx", out)
    found = load_detector(path, "yolov8", names)(GREY, 0.3)
    np.testing.assert_allclose(found.xyxy, out[0, :2, :4], atol=1e-3)
    assert [CLASSES[c] for c in found.class_id] == ["vehicle", "person"]
    with pytest.raises(InputError, match="an unknown number of classes without names"):
        load_detector(path, "yolov8")


def test_boxes_are_clipped_to_the_picture_and_broken_ones_dropped(tmp_path):
    rows = [
        (0, 0, 0, 40, 40, CAR, 0.9),
        (1, np.nan, 50, 40, 40, CAR, 0.8),
        (2, 100, 100, np.inf, 40, CAR, 0.7),
        (3, 100, 100, 0, 40, CAR, 0.6),
        (4, 400, 100, 20, 20, CAR, 0.5),  # wholly outside
    ]
    path = save_fixed(tmp_path / "n.onnx", yolov8_out(rows))
    found = load_detector(path, "yolov8")(GREY, 0.1)
    np.testing.assert_allclose(found.xyxy, [[0, 0, 20, 20]])


def test_of_doubles_the_best_stays_class_by_class_of_ours(tmp_path):
    rows = [
        (0, 100, 100, 50, 50, CAR, 0.6),
        (1, 102, 100, 50, 50, TRUCK, 0.9),  # the same vehicle under another name
        (2, 100, 100, 50, 50, PERSON, 0.7),  # another class of ours
        (3, 140, 100, 50, 50, CAR, 0.5),  # overlaps by less than 0.7
    ]
    found = load_detector(save_fixed(tmp_path / "n.onnx", yolov8_out(rows)), "yolov8")(GREY, 0.1)
    assert found.score.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert [CLASSES[c] for c in found.class_id] == ["vehicle", "person", "vehicle"]


def test_a_box_has_its_best_class_alone(tmp_path):
    out = yolov8_out([(0, 100, 100, 50, 50, CAR, 0.5)])
    out[0, 4 + COCO.index("boat"), 0] = 0.6  # rather a boat
    found = load_detector(save_fixed(tmp_path / "n.onnx", out), "yolov8")(GREY, 0.1)
    assert len(found) == 0


# --- number formats and sizes ---


def test_half_precision_files_are_fed_and_read(tmp_path):
    out = yolov8_out([(0, 100, 100, 50, 50, CAR, 0.5)])
    path = save_fixed(tmp_path / "n.onnx", out, kind=TensorProto.FLOAT16)
    detector = load_detector(path, "yolov8")
    assert detector.precision == "fp16" and detector.prepare(GREY)[0].dtype == np.float16
    np.testing.assert_allclose(detector(GREY, 0.1).xyxy, [[75, 75, 125, 125]], atol=0.1)


@pytest.mark.parametrize("given", ["metadata", "option"])
def test_an_open_input_size_comes_from_the_file_or_the_user(tmp_path, given):
    meta = {"imgsz": f"[{HEIGHT}, {WIDTH}]"} if given == "metadata" else {}
    path = save_fixed(
        tmp_path / "n.onnx", yolov8_out([]), meta=meta, shape=["batch", 3, "height", "width"]
    )
    size = None if given == "metadata" else (WIDTH, HEIGHT)
    assert load_detector(path, "yolov8", size=size).input_size == (WIDTH, HEIGHT)
    with pytest.raises(InputError, match="for an input of 640x640 is not"):
        load_detector(path, "yolov8", size=(640, 640))


# --- classes ---


def test_every_name_of_coco_is_known_and_stop_signs_are_not_all_signs():
    assert len(COCO) == 80 and all(n in COMMON or n in PARTIAL for n in COCO)
    names = to_ours(COCO, "x")
    assert names.finds == ("vehicle", "person", "two_wheeler", "traffic_light")
    assert names.to_ours[STOP_SIGN] == CLASSES.index("traffic_sign")
    assert names.unknown == ()


def test_names_by_metadata_file_or_by_hand(tmp_path):
    path = save_fixed(
        tmp_path / "n.onnx", yolov8_out([], classes=2), meta={"names": "{0: 'Car', 1: 'tuk-tuk'}"}
    )
    names = load_detector(path, "yolov8").names
    assert names.finds == ("vehicle",) and names.unknown == ("tuk-tuk",)
    text, table = tmp_path / "names.txt", tmp_path / "data.yaml"
    text.write_text("sheep\n\ntuk-tuk = vehicle\n")
    names = load_detector(path, "yolov8", text).names
    assert names.to_ours.tolist() == [-1, 0] and names.unknown == ()
    table.write_text("names: {1: pedestrian, 0: lorry}\n")
    assert load_detector(path, "yolov8", table).names.to_ours.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("car\n", "2 classes but 1 names"),
        ("car\nlorry=ship\n", "expected NAME=CLASS with one of vehicle"),
        ("sheep\ncow\n", "none of its 2 classes is one of ours"),
        ("", "empty"),
    ],
)
def test_names_that_do_not_fit_are_one_line(tmp_path, text, said):
    path = save_fixed(tmp_path / "n.onnx", yolov8_out([], classes=2))
    names = tmp_path / "names.txt"
    names.write_text(text)
    with pytest.raises(InputError, match=said) as error:
        load_detector(path, "yolov8", names)
    assert "\n" not in str(error.value)


def test_classes_that_nothing_names_are_asked_for(tmp_path):
    path = save_fixed(tmp_path / "n.onnx", yolov8_out([], classes=3))
    with pytest.raises(InputError, match="3 classes without names; give --detector-names"):
        load_detector(path, "yolov8")


# --- what is no such detector ---


@pytest.mark.parametrize(
    ("shape", "decoder", "fits"),
    [
        ((1, CELLS3, 85), "yolov8", "--decoder yolox"),
        ((1, CELLS3, 6), "yolov8", "--decoder yolox"),  # not final boxes: a row for each cell
        ((1, 84, CELLS3), "yolox", "--decoder yolov8"),
        ((1, CELLS4, 112), "yolov8", "--decoder yolox"),  # or nanodet
        ((1, 3 * CELLS3, 85), "yolov8", None),  # YOLOv5: three anchors a cell
        ((1, 1000), "yolox", None),  # a classifier
        ((1, 3, HEIGHT, WIDTH), "nanodet", None),
    ],
)
def test_another_familys_file_is_recognised(tmp_path, shape, decoder, fits):
    path = save_fixed(tmp_path / "n.onnx", np.zeros(shape))
    with pytest.raises(InputError, match=f"is not that of {decoder}") as error:
        load_detector(path, decoder)
    assert "\n" not in str(error.value)
    assert (fits in str(error.value)) if fits else ("it fits" not in str(error.value))


def test_numbers_that_are_no_probabilities_are_refused(tmp_path):
    out = yolov8_out([(0, 100, 100, 50, 50, CAR, 4.5)])
    with pytest.raises(InputError, match=r"scores reach from 0 to 4.5 read as yolov8"):
        load_detector(save_fixed(tmp_path / "n.onnx", out), "yolov8")


def test_files_that_are_no_detector_are_one_line(tmp_path):
    flat = save_fixed(tmp_path / "flat.onnx", yolov8_out([]), shape=[1, 4])
    grey = save_fixed(tmp_path / "grey.onnx", yolov8_out([]), shape=[1, 1, HEIGHT, WIDTH])
    eight = save_fixed(tmp_path / "eight.onnx", yolov8_out([]), kind=TensorProto.UINT8)
    batch = save_fixed(tmp_path / "batch.onnx", yolov8_out([]), shape=[4, 3, HEIGHT, WIDTH])
    two = save_fixed(tmp_path / "two.onnx", [yolov8_out([]), np.zeros((1, 32, 48, 64))])
    task = save_fixed(tmp_path / "task.onnx", yolov8_out([]), meta={"task": "pose"})
    text = tmp_path / "text.onnx"
    text.write_text("no network")
    for path, said in (
        (flat, "expected one picture 1 x 3"),
        (grey, "expected one picture 1 x 3"),
        (eight, "expected one picture 1 x 3"),
        (batch, "made for batches of 4"),
        (two, f"output 1 x 84 x {CELLS3} and 1 x 32 x 48 x 64"),
        (task, "made for 'pose', expected a detector"),
        (text, "not a usable ONNX file"),
        (tmp_path / "none.onnx", "no such file"),
    ):
        with pytest.raises(InputError, match=said) as error:
            load_detector(path, "yolov8")
        assert str(error.value).startswith(f"--detector {path}: ")
        assert "\n" not in str(error.value)
    sized = save_fixed(tmp_path / "sized.onnx", yolov8_out([]))
    with pytest.raises(InputError, match="takes 256x192 alone, --detector-size 640x640"):
        load_detector(sized, "yolov8", size=(640, 640))
    with pytest.raises(InputError, match=f"expected one of {', '.join(DECODERS)}"):
        load_detector(sized, "yolov5")


def test_our_own_model_is_no_foreign_detector():
    from perception.runtime import released_models

    with pytest.raises(InputError, match="is a Roadstack model; give it by --model"):
        load_detector(released_models()["base"], "yolox")
