"""Odd sets and predictions by the command: nothing found, nothing labelled, ties, borders."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from tools.cli import main

SIZE = (120, 200)
CAR, EDGE, MAN = [10, 10, 40, 30], [0, 0, 50, 50], [150, 70, 50, 50]  # x, y, width, height, px
LABELS = [(0, "car", CAR), (1, "car", EDGE), (1, "person", MAN)]


def found(frame, box, score=0.5, kind="vehicle"):
    return {"image": f"{frame}.png", "category": kind, "bbox": box, "score": score}


@pytest.fixture
def evaluated(tmp_path):
    """A function of labels and predictions that gives the exit code, metrics and page."""

    def run(labels, predictions):
        names = ("car", "person")
        for i in range(3):
            (tmp_path / "set/images").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / f"set/images/{i}.png"), np.full((*SIZE, 3), 90, np.uint8))
        truth = {
            "images": [
                {"id": i, "file_name": f"{i}.png", "width": SIZE[1], "height": SIZE[0]}
                for i in range(3)
            ],
            "categories": [{"id": k, "name": n} for k, n in enumerate(names)],
            "annotations": [
                {
                    "id": n, "image_id": i, "category_id": names.index(c), "bbox": box,
                    "area": box[2] * box[3], "iscrowd": 0,
                }
                for n, (i, c, box) in enumerate(labels)
            ],
        }  # fmt: skip
        (tmp_path / "set/test.json").write_text(json.dumps(truth))
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p/detections.json").write_text(json.dumps(predictions))
        argv = ["--data", tmp_path / "set", "--predictions", tmp_path / "p", "--bootstrap", 100]
        assert main(["evaluate", *map(str, argv), "--out", str(tmp_path / "m")]) == 0
        page = (tmp_path / "m/report.html").read_text()
        return json.loads((tmp_path / "m/metrics.json").read_text()), page

    return run


RIGHT = [found(0, CAR), found(1, EDGE)]
CASES = {  # labels, predictions, AP50 of vehicle and of person, None where there is no label
    "nothing found": (LABELS, [], 0, 0),
    "nothing labelled": ([], RIGHT, None, None),
    "nothing at all": ([], [], None, None),
    "a class not found": (LABELS, RIGHT, 1, 0),
    "a class not labelled": (LABELS[:2], [*RIGHT, found(1, MAN, kind="person")], 1, None),
    # a false one of the last frame, scored as the right ones, comes after them
    "equal scores": (LABELS, [found(2, CAR), *RIGHT, found(1, MAN, kind="person")], 1, 1),
    "over the border": (LABELS[1:], [found(1, [-5, -5, 55, 55]),
                                     found(1, [150, 70, 60, 60], kind="person")], 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_figures_and_a_page_without_gaps(evaluated, case):
    labels, predictions, vehicle, person = CASES[case]
    metrics, page = evaluated(labels, predictions)
    given = [metrics["detection"][k]["AP50"] for k in ("vehicle", "person")]
    for ours, wanted in zip(given, (vehicle, person), strict=True):
        assert ours is None if wanted is None else math.isclose(ours, wanted, abs_tol=1e-9)
    assert "nan" not in page and "None" not in page and "1 boxes" not in page
    counts = np.array(metrics["breakdown"]["confusion"]["counts"])
    assert counts[:2].sum() == len(labels)  # each label is right, confused or missed
    assert ("No labels." in page) == (not labels)
    assert "drivable" not in page  # neither labelled nor said how it would be measured


def test_boxes_of_a_class_that_the_data_does_not_label_are_told(evaluated, capfd):
    metrics, _ = evaluated(LABELS, [*RIGHT, found(2, CAR, kind="traffic_light")])
    assert "traffic_light" not in metrics["detection"]
    assert "not labelled in the data, so not scored: 1 of traffic_light" in capfd.readouterr().err
