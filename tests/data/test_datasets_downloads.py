"""Sets as they are downloaded and copied: lists beside the folders, hidden files, absent parts."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.datasets import list_splits, open_dataset, screen
from data.datasets.base import image_problem
from data.datasets.files import read_mask
from data.errors import InputError
from data.taxonomy import BDD100K_2018_NAMES, CLASSES, _nearest, nearest_name

PICTURE = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
APPLE = b"\0\5\x16\7\0\2\0\0Mac OS X        ATTR\n"  # how a Mac's '._NAME' begins
KITTI_LINE = "Car 0 0 0 1 1 20 20 1 1 1 1 1 1 1\n"


@pytest.fixture
def make(tmp_path):
    def build(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return build


def voc(*names):
    corners = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
    things = "".join(f"<object><name>{n}</name>{corners}</object>" for n in names)
    return f"<annotation>{things}</annotation>"


def test_idd_detection_has_its_lists_beside_the_folders(make):
    root = make(
        {
            "JPEGImages/frontFar/BLR/1.jpg": PICTURE,
            "JPEGImages/frontFar/BLR/2.jpg": PICTURE,
            "Annotations/frontFar/BLR/1.xml": voc("autorickshaw", "vehicle fallback", "animal"),
            "Annotations/frontFar/BLR/2.xml": voc("rider"),
            "train.txt": "frontFar/BLR/1\n",
            "val.txt": "frontFar/BLR/2\n",
        }
    )
    assert list_splits(root) == ("train", "val")
    d = open_dataset(root, "train", strict=True)
    assert d.names == ("frontFar/BLR/1.jpg",)
    assert d.load(0).class_id.tolist() == [0, 0]


def test_lists_of_paths_beside_a_voc_set_are_another_formats(make):
    files = {"JPEGImages/1.jpg": PICTURE, "Annotations/1.xml": voc("car")}
    root = make(files | {"train.txt": "/home/me/JPEGImages/1.jpg\n", "val.txt": "data/1.jpg\n"})
    assert list_splits(root) == ("all",)


HIDDEN = {
    "kitti": {
        "training/image_2/000000.png": PICTURE,
        "training/label_2/000000.txt": KITTI_LINE,
        "ImageSets/train.txt": "000000\n",
    },
    "kitti_tracking": {
        "training/image_02/0000/000000.png": PICTURE,
        "training/label_02/0000.txt": f"0 1 {KITTI_LINE}",
    },
    "idd": {
        "leftImg8bit/train/0/1_image.jpg": PICTURE,
        "gtFine/train/0/1_label.png": PICTURE,
    },
    "voc": {
        "JPEGImages/1.jpg": PICTURE,
        "Annotations/1.xml": voc("car"),
        "ImageSets/Main/train.txt": "1\n",
    },
    "coco": {
        "train/1.jpg": PICTURE,
        "annotations/instances_train.json": json.dumps(
            {
                "images": [{"id": 1, "file_name": "1.jpg"}],
                "annotations": [],
                "categories": [{"id": 1, "name": "car"}],
            }
        ),
    },
    "yolo": {
        "images/train/1.jpg": PICTURE,
        "labels/train/1.txt": "0 0.5 0.5 0.2 0.2\n",
        "data.yaml": "train: images/train\nnames: [car]\n",
    },
}


@pytest.mark.parametrize("layout", HIDDEN)
def test_hidden_files_that_a_mac_leaves_change_nothing(make, layout):
    root = make(HIDDEN[layout])
    before = list_splits(root), open_dataset(root, list_splits(root)[0], strict=True)
    make({f"{n.rpartition('/')[0]}/._{n.rpartition('/')[2]}": APPLE for n in HIDDEN[layout]})
    after = list_splits(root), open_dataset(root, list_splits(root)[0], strict=True)
    assert after[0] == before[0] and after[1].layout == layout
    for told in ("names", "tasks", "labelled", "class_names", "class_map", "problems"):
        assert getattr(after[1], told) == getattr(before[1], told)


def test_a_test_split_that_is_named_but_absent_is_none(make):
    text = "train: ../train/images\nval: ../train/images\ntest: ../test/images\nnames: [car]\n"
    root = make({"data.yaml": text, "train/images/a.png": PICTURE, "train/labels/a.txt": ""})
    assert list_splits(root) == ("train", "val")
    with pytest.raises(InputError, match="no split 'test'"):
        open_dataset(root, "test")


def test_a_list_of_relative_and_absolute_paths(make, tmp_path, monkeypatch):
    make({"set/images/a.png": PICTURE, "else/images/b.png": PICTURE, "set/labels/a.txt": ""})
    make({"set/data.yaml": "train: list.txt\nval: list.txt\nnames: [car]\n"})
    make({"set/list.txt": f"images/a.png\n{tmp_path}/else/images/b.png\n"})
    monkeypatch.chdir(tmp_path)
    d = open_dataset(Path("set"), "train", strict=True)
    assert d.names == ("set/images/a.png", "else/images/b.png")


@pytest.mark.parametrize("label", [{}, {"category": None}, {"category": " "}])
def test_a_bdd100k_box_without_a_category_is_malformed_and_makes_no_class(make, label):
    box = {"box2d": dict(zip(("x1", "y1", "x2", "y2"), (1, 1, 9, 9)))}
    entries = [{"name": "a.jpg", "labels": [box | label]}]
    root = make(
        {"images/100k/val/a.jpg": PICTURE, "labels/det_20/det_val.json": json.dumps(entries)}
    )
    d = open_dataset(root, "val")
    assert "None" not in d.class_names and "" not in d.class_names
    boxes = d.read_boxes(0)
    assert len(boxes) == 0 and [p.kind for p in boxes.problems] == ["label_malformed"]


BDD_2018 = [
    {"category": "drivable area", "poly2d": [], "id": 0},
    {"category": "motor", "box2d": dict(zip(("x1", "y1", "x2", "y2"), (1, 1, 9, 9))), "id": 1},
]
BDD_2018_FILES = {
    "one list": {
        "labels/bdd100k_labels_images_val.json": json.dumps(
            [{"name": "a.jpg", "attributes": {"weather": "rainy"}, "labels": BDD_2018}]
        )
    },
    "a file an image": {
        "labels/100k/val/a.json": json.dumps(
            {
                "name": "a",
                "frames": [{"timestamp": 10000, "objects": BDD_2018}],
                "attributes": {"weather": "rainy"},
            }
        )
    },
}


@pytest.mark.parametrize("form", BDD_2018_FILES)
def test_the_releases_of_bdd100k_of_2018(make, form):
    ids = np.repeat(np.arange(3, dtype=np.uint8), 16)[:, None].repeat(64, axis=1)
    mask = cv2.imencode(".png", ids)[1].tobytes()
    files = {
        "images/100k/val/a.jpg": PICTURE,
        "drivable_maps/labels/val/a_drivable_id.png": mask,
    }
    d = open_dataset(make(files | BDD_2018_FILES[form]), "val", strict=True)
    assert d.class_names == BDD100K_2018_NAMES and set(d.labelled) == set(CLASSES)
    assert d.frame_attributes(0) == {"weather": "rainy"}
    sample = d.load(0)
    assert sample.class_id.tolist() == [2] and sample.xyxy.tolist() == [[1, 1, 9, 9]]
    assert sample.drivable[::16, 0].tolist() == [0, 1, 1]


def test_a_malformed_file_of_an_image_leaves_its_boxes_unknown(make):
    files = BDD_2018_FILES["a file an image"] | {"labels/100k/val/b.json": '{"frames": []}'}
    images = {f"images/100k/val/{n}.jpg": PICTURE for n in "ab"}
    d = open_dataset(make(files | images), "val")
    assert [p.kind for p in d.problems] == ["label_malformed"]
    assert d.read_boxes(1) is None and len(d.read_boxes(0)) == 1


def test_a_set_one_folder_further_down_is_pointed_to(make):
    root = make({f"VOCdevkit/VOC2012/{n}": c for n, c in HIDDEN["voc"].items()}) / "VOCdevkit"
    with pytest.raises(InputError, match=r"its folder VOC2012 is a set: give .*VOCdevkit/VOC2012;"):
        open_dataset(root, "train")


def test_class_names_that_differ_by_folder_are_refused_and_equal_ones_taken(make):
    pictures = {f"images/{s}/a.png": PICTURE for s in ("train", "val")}
    labels = {f"labels/{s}/a.txt": "0 0.5 0.5 0.2 0.2\n" for s in ("train", "val")}
    files = pictures | labels | {"labels/train/classes.txt": "car\nperson\n"}
    root = make(files | {"labels/val/classes.txt": "car\nperson\n"})
    assert open_dataset(root, "val", strict=True).class_names == ("car", "person")
    make({"labels/val/classes.txt": "person\ncar\n"})
    with pytest.raises(InputError, match=r"train/classes\.txt and .*val/classes\.txt number"):
        open_dataset(root, "val")


def test_an_image_that_may_not_be_read_is_left_out(make, monkeypatch):
    root = make(HIDDEN["yolo"] | {"images/train/locked.jpg": PICTURE})
    d = open_dataset(root, "train")
    opened = Path.open

    def refused(path, *args, **kwargs):
        if path.name == "locked.jpg":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refused)
    kept, problems = screen(d)
    assert kept.names == ("1.jpg",)
    assert [p.kind for p in problems] == ["image_unreadable"] and "denied" in str(problems[0])
    assert image_problem(root / "images/train/locked.jpg").text.startswith("cannot be read")


@pytest.mark.parametrize(
    ("mask", "given"),
    [(np.zeros((4, 6), np.uint16), "1 of uint16"), (np.zeros((4, 6, 3), np.uint8), "3 of uint8")],
)
def test_a_mask_of_another_kind_says_what_it_is(tmp_path, mask, given):
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    with pytest.raises(InputError, match=f"given {given}; save the numbers"):
        read_mask(tmp_path / "m.png")


def test_an_unknown_name_is_looked_up_once_however_many_boxes_have_it():
    _nearest.cache_clear()
    found = [nearest_name("vehicle_fallbak", {"car": "vehicle"}) for _ in range(100)]
    assert set(found) == {"vehicle fallback"} and _nearest.cache_info().misses == 1
