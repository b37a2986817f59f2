"""Detection files: what is read, and what is refused with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from perception.tracking.detection_files import DriveDetections, read_detections

ROW = "{f},{t},10.0,20.0,50.0,60.0,{s},1.5,1.6,3.9,0,0,9,0,0"


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def only(drives: list[DriveDetections]) -> DriveDetections:
    assert len(drives) == 1
    return drives[0]


def test_kitti_folders_of_classes_become_one_drive(tmp_path: Path) -> None:
    rows = [ROW.format(f=f, t=2, s=8.5) for f in (0, 2)]
    written(tmp_path / "pointrcnn_Car" / "0003.txt", "\n".join(rows))
    written(tmp_path / "pointrcnn_Pedestrian" / "0003.txt", ROW.format(f=1, t=1, s=-0.5))
    written(tmp_path / "pointrcnn_Cyclist" / "0003.txt", "")
    drive = only(read_detections(tmp_path, "kitti"))
    assert drive.name == "0003"
    assert drive.frame.tolist() == [0, 1, 2]
    assert drive.kind.tolist() == ["Car", "Pedestrian", "Car"]
    assert drive.score.tolist() == [8.5, -0.5, 8.5]
    assert drive.xyxy[0].tolist() == [10, 20, 50, 60]


def test_kitti_result_rows(tmp_path: Path) -> None:
    row = "4 -1 Cyclist -1 -1 -10 10 20 50 60 -1 -1 -1 -1000 -1000 -1000 -10 0.75"
    drive = only(read_detections(written(tmp_path / "a.txt", row), "kitti"))
    assert (drive.name, drive.frame.tolist(), drive.kind.tolist()) == ("a", [4], ["Cyclist"])
    assert drive.score.tolist() == [0.75]


@pytest.mark.parametrize("place", ["a.txt", "a/det/det.txt"])
def test_mot_frames_begin_at_one(tmp_path: Path, place: str) -> None:
    written(tmp_path / place, "1,-1,10,20,40,50,0.9")
    drive = only(read_detections(tmp_path, "mot"))
    assert (drive.name, drive.frame.tolist()) == ("a", [0])
    assert drive.xyxy.tolist() == [[10, 20, 50, 70]]


def test_coco_results_by_file_name(tmp_path: Path) -> None:
    rows = [
        {"file_name": f"north/{n:06d}.png", "category": "vehicle", "bbox": [1, 2, 3, 4], "score": s}
        for n, s in ((7, 0.5), (3, 0.25))
    ]
    drive = only(read_detections(written(tmp_path / "d.json", json.dumps(rows)), "coco"))
    assert (drive.name, drive.frame.tolist()) == ("north", [3, 7])
    assert drive.score.tolist() == [0.25, 0.5]
    assert drive.xyxy[0].tolist() == [1, 2, 4, 6]


def test_coco_sets_with_categories(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 9, "file_name": "frame_12.jpg"}],
        "categories": [{"id": 3, "name": "car"}],
        "annotations": [{"image_id": 9, "category_id": 3, "bbox": [0, 0, 2, 2], "score": 0.5}],
    }
    drive = only(read_detections(written(tmp_path / "d.json", json.dumps(content)), "coco"))
    assert (drive.name, drive.frame.tolist(), drive.kind.tolist()) == ("d", [12], ["car"])


def test_boxes_that_are_none_are_passed_on_to_be_counted(tmp_path: Path) -> None:
    rows = [ROW.format(f=0, t=2, s=1.0).replace("50.0", bad) for bad in ("nan", "inf", "5.0")]
    drive = only(read_detections(written(tmp_path / "a.txt", "\n".join(rows)), "kitti"))
    assert np.isfinite(drive.xyxy).all(axis=1).tolist() == [False, False, True]


CSV = ROW.format(f=5, t=2, s=1.0)


@pytest.mark.parametrize(
    ("text", "layout", "expected"),
    [
        (CSV + "\n" + ROW.format(f=4, t=2, s=1.0), "kitti", r"a\.txt:2: expected frames in rising"),
        (
            "\n".join(ROW.format(f=f, t=2, s=1.0) for f in (5, 6, 5)),
            "kitti",
            r":3: expected frames in rising order, each in one piece",
        ),
        (CSV.replace("5,2", "5.5,2", 1), "kitti", r":1: expected a frame number"),
        (CSV.replace("5,2", "-1,2", 1), "kitti", r":1: expected a frame number from 0 to 9999999"),
        (CSV.replace("5,2", "nan,2", 1), "kitti", r":1: expected a frame number"),
        (CSV.replace("5,2", "5,9", 1), "kitti", r":1: expected type 1, 2 or 3"),
        (CSV + "\n5,2,1", "kitti", r":2: expected 15 or 7 fields"),
        (CSV.replace("60.0", "wide"), "kitti", r":1: expected numbers"),
        ("0,-1,1,1,2,2,0.5", "mot", r":1: expected a frame number from 1 to 10000000"),
        ("1,-1,1", "mot", r":1: expected 7 or"),
    ],
)
def test_malformed_rows(tmp_path: Path, text: str, layout: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read_detections(written(tmp_path / "a.txt", text), layout)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[{]", r"d\.json:1: no JSON"),
        ("3", r"expected a list"),
        ('[{"file_name": "1.png", "category": "car", "bbox": [1, 2], "score": 1}]', r"entry 0"),
        ('[{"file_name": "x.png", "category": "car", "bbox": [1,2,3,4], "score": 1}]', r"entry 0"),
    ],
)
def test_malformed_coco(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read_detections(written(tmp_path / "d.json", text), "coco")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read_detections(tmp_path / "gone", "kitti")
    with pytest.raises(InputError, match="no detections in the form 'coco'"):
        read_detections(tmp_path, "coco")


def test_coco_results_without_class_names_are_pointed_to_a_whole_set(tmp_path: Path) -> None:
    rows = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    with pytest.raises(InputError, match=r"category name.*a whole data set with 'categories'"):
        read_detections(written(tmp_path / "d.json", json.dumps(rows)), "coco")
