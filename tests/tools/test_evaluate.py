"""Scores of written predictions: what is read, and what is refused with one line."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from data.datasets import open_dataset
from data.errors import InputError
from data.types import Detections
from perception.metrics.score import Prediction, score_dataset
from tools.cli import main
from tools.evaluate import read_detections, read_prediction_mask

SHAPE = (36, 64)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def surface(rows, value=255):
    """A mask whose lowest rows are ``value``."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[SHAPE[0] - rows :] = value
    return mask


@pytest.fixture
def idd(tmp_path):
    """Two drives with a frame of the same name; the lower half is drivable (class 0)."""
    root = tmp_path / "idd"
    for drive in ("0", "7"):
        write(root / f"leftImg8bit/val/{drive}/12_image.jpg", np.zeros((*SHAPE, 3), np.uint8))
        write(root / f"gtFine/val/{drive}/12_label.png", 2 - surface(18, 2))
    return root


@pytest.fixture
def bdd(tmp_path):
    """Two frames with drivable area and lane lines, the second without a lane file; no boxes."""
    root = tmp_path / "bdd"
    for name in "ab":
        write(root / f"images/100k/val/{name}.jpg", np.zeros((*SHAPE, 3), np.uint8))
        write(root / f"labels/drivable/masks/val/{name}.png", 2 - surface(18, 2))
    write(root / "labels/lane/binary/val/a.png", surface(4))
    return root


def evaluate(data, predictions, out):
    argv = ["--data", data, "--split", "val", "--predictions", predictions, "--out", out]
    return main(["evaluate", *map(str, argv)])


def one_line(capfd):
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_idd_predictions_are_found_by_drive_and_file(idd, tmp_path):
    folder = tmp_path / "p"
    write(folder / "drivable/0/12_image.png", surface(18))
    write(folder / "drivable/7/12_image.png", surface(9))
    row = {"image": "7/12_image.jpg", "category": "vehicle", "bbox": [1, 2, 3, 4], "score": 0.5}
    (folder / "detections.json").write_text(json.dumps([row]))
    assert evaluate(idd, folder, tmp_path / "m") == 0
    result = json.loads((tmp_path / "m/metrics.json").read_text())
    drivable = result["drivable"]
    assert (drivable["iou"], drivable["frames"]) == (pytest.approx(27 / 36), 2)
    assert result["not_predicted"] == []


def test_a_missing_mask_is_named_not_left_out(idd, tmp_path, capfd):
    write(tmp_path / "p/drivable/0/12_image.png", surface(18))
    assert evaluate(idd, tmp_path / "p", tmp_path / "m") == 2
    assert str(tmp_path / "p/drivable/7/12_image.png") in one_line(capfd)
    assert not (tmp_path / "m/metrics.json").exists()


def test_a_missing_folder_is_told_and_recorded(bdd, tmp_path, capfd):
    write(tmp_path / "p/lane/a.png", surface(4))  # b has no lane label, so no mask is needed
    assert evaluate(bdd, tmp_path / "p", tmp_path / "m") == 0
    warnings = [x for x in capfd.readouterr().err.splitlines() if "warning" in x]
    assert len(warnings) == 1 and "drivable" in warnings[0]
    result = json.loads((tmp_path / "m/metrics.json").read_text())
    assert result["not_predicted"] == ["drivable"]
    assert "drivable" not in result
    assert result["lane"]["frames"] == 1


def test_a_predictor_must_not_leave_out_some_images(idd):
    def predict(s):
        return Prediction(Detections.empty(), surface(18) if s.name[0] == "0" else None, None)

    with pytest.raises(ValueError, match="drivable: 1 of the labelled images"):
        score_dataset(open_dataset(idd, "val"), predict)


def test_nothing_to_score_is_refused(idd, tmp_path, capfd):
    (tmp_path / "p").mkdir()
    assert evaluate(idd, tmp_path / "p", tmp_path / "m") == 2
    assert "nothing to score" in one_line(capfd)
    assert evaluate(idd, tmp_path / "typo", tmp_path / "m") == 2
    assert "no such folder" in one_line(capfd)


def test_missing_detections_of_labelled_boxes_are_refused(bdd, tmp_path, capfd):
    path = bdd / "labels/det_20/det_val.json"
    path.parent.mkdir()
    path.write_text(json.dumps([{"name": "a.jpg", "labels": []}]))
    write(tmp_path / "p/lane/a.png", surface(4))
    assert evaluate(bdd, tmp_path / "p", tmp_path / "m") == 2
    assert "detections.json" in one_line(capfd)


def test_mask_values_other_than_0_and_255_are_named(tmp_path):
    write(tmp_path / "a.png", surface(3, 7))
    with pytest.raises(InputError, match=r"a\.png: value 7"):
        read_prediction_mask(tmp_path, "a.jpg", SHAPE)


def test_mask_of_another_size_is_named(tmp_path):
    write(tmp_path / "a.png", surface(3))
    with pytest.raises(InputError, match=r"a\.png"):
        read_prediction_mask(tmp_path, "a.jpg", (72, 128))


def test_a_name_cannot_leave_the_folder(tmp_path):
    write(tmp_path / "secret.png", surface(3))
    (tmp_path / "drivable").mkdir()
    with pytest.raises(InputError, match="leave"):
        read_prediction_mask(tmp_path / "drivable", "../secret.jpg", SHAPE)


GOOD = {"image": "a.jpg", "category": "vehicle", "bbox": [1, 2, 3, 4], "score": 0.5}


def test_a_good_entry_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "detections.json"
    path.write_text(json.dumps([GOOD]), encoding="utf-8-sig")
    found = read_detections(path, {"a.jpg"})["a.jpg"]
    assert found.xyxy.tolist() == [[1, 2, 4, 6]]
    assert found.score.tolist() == [0.5]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("image", ["a.jpg"], "texts"),
        ("image", "b.jpg", "'b.jpg' is not in the labelled data"),
        ("category", {}, "texts"),
        ("category", "spaceship", "spaceship"),
        ("bbox", "1234", "four numbers"),
        ("bbox", [1, 2, 3], "four numbers"),
        ("bbox", [1, 2, "3", 4], "four numbers"),
        ("bbox", [1, 2, -3, 4], "below 0"),
        ("bbox", [1, 2, 3, -4], "below 0"),
        ("bbox", [1e300] * 4, "finite"),
        ("bbox", [3e38, 0, 3e38, 1], "finite"),
        ("bbox", [10**400, 0, 1, 1], "finite"),
        ("bbox", [float("nan"), 0, 1, 1], "finite"),
        ("score", 1.5, "0 to 1"),
        ("score", -0.1, "0 to 1"),
        ("score", float("nan"), "0 to 1"),
        ("score", "0.5", "0 to 1"),
        ("score", None, "0 to 1"),
    ],
)
def test_bad_entries_are_named(tmp_path, key, value, says):
    path = tmp_path / "detections.json"
    path.write_text(json.dumps([GOOD, {**GOOD, key: value}]))
    with pytest.raises(InputError, match="entry 1: ") as e:
        read_detections(path, {"a.jpg"})
    assert says in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[{]", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"{}", "expected a list"),
        (b"[1]", "entry 0"),
        (b'[{"image": "a.jpg"}]', "entry 0"),
    ],
)
def test_files_that_are_no_list_of_boxes(tmp_path, content, says):
    path = tmp_path / "detections.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_detections(path, {"a.jpg"})


@pytest.mark.parametrize("strict", [False, True])
def test_what_cannot_be_read_is_skipped_and_counted_or_stops(idd, tmp_path, capfd, strict):
    cut = idd / "leftImg8bit/val/0/12_image.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    write(idd / "gtFine/val/7/12_label.png", surface(18, 77))
    for drive in ("0", "7"):
        write(tmp_path / f"p/drivable/{drive}/12_image.png", surface(18))
    argv = [
        "--data",
        idd,
        "--split",
        "val",
        "--predictions",
        tmp_path / "p",
        "--out",
        tmp_path / "m",
    ]
    code = main(["evaluate", *map(str, argv), *(["--strict"] if strict else [])])
    err = capfd.readouterr().err
    assert str(cut) in err and "cut short" in err
    if strict:
        assert code == 2 and not (tmp_path / "m/metrics.json").exists()
    else:
        data = json.loads((tmp_path / "m/metrics.json").read_text())["data"]
        assert (code, data["images"], data["skipped_images"]) == (0, 1, 1)
        assert len(data["skipped"]) == 2 and "mask value 77" in data["skipped"][1]
        assert "2 entries skipped" in err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[{]", "not valid JSON"),
        (json.dumps([{**GOOD, "image": "unknown.jpg"}]), "entry 0: image 'unknown.jpg'"),
        (json.dumps([{**GOOD, "image": "0/12_image.jpg", "category": "cat"}]), "entry 0: category"),
        (
            json.dumps([{**GOOD, "image": "0/12_image.jpg", "score": float("nan")}]),
            "entry 0: score",
        ),
    ],
)
def test_bad_predictions_end_the_command_with_one_line(idd, tmp_path, capfd, content, says):
    write(tmp_path / "p/drivable/0/12_image.png", surface(18))
    (tmp_path / "p/detections.json").write_text(content)
    assert evaluate(idd, tmp_path / "p", tmp_path / "m") == 2
    line = one_line(capfd)
    assert str(tmp_path / "p/detections.json") in line and says in line
    assert not (tmp_path / "m").exists()
