"""Every layout is known for what it is and for nothing else."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from data.datasets import list_splits, open_dataset, recognise
from data.datasets.layouts import READERS
from data.errors import InputError

PICTURE = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
MASK = cv2.imencode(".png", np.zeros((48, 64), np.uint8))[1].tobytes()
KITTI_LINE = "Car 0 0 0 1 2 30 40 1.5 1.6 3.7 1 1.7 20 1.5\n"
XML = (
    "<annotation><object><name>car</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax>"
    "<ymax>40</ymax></bndbox></object></annotation>"
)
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 29, 38]}],
        "categories": [{"id": 1, "name": "car"}],
    }
)
BDD = json.dumps(
    [{"name": "a.png", "labels": [{"category": "car", "box2d": dict(x1=1, y1=2, x2=30, y2=40)}]}]
)
YOLO_LINE = "0 0.2421875 0.4375 0.453125 0.7916666667\n"
YAML = "train: images/train\nval: images/val\nnames: [car]\n"

# layout and arrangement -> files, by the split names that must come out
SETS = {
    "bdd100k": (
        ("train",),
        {"images/100k/train/a.png": PICTURE, "labels/det_20/det_train.json": BDD},
    ),
    "bdd100k in folders": (
        ("train",),
        {"images/100k/train/trainA/a.png": PICTURE, "labels/det_20/det_train.json": BDD},
    ),
    "idd": (
        ("train",),
        {"leftImg8bit/train/0/1_image.png": PICTURE, "gtFine/train/0/1_label.png": MASK},
    ),
    "camvid": (("train",), {"train/a.png": PICTURE, "trainannot/a.png": MASK}),
    "kitti": (
        ("all",),
        {"training/image_2/000000.png": PICTURE, "training/label_2/000000.txt": KITTI_LINE},
    ),
    "kitti with lists": (
        ("train",),
        {
            "training/image_2/000000.png": PICTURE,
            "training/label_2/000000.txt": KITTI_LINE,
            "ImageSets/train.txt": "000000\n",
        },
    ),
    "kitti_tracking": (
        ("0004",),
        {
            "training/image_02/0004/000000.png": PICTURE,
            "training/label_02/0004.txt": "0 3 " + KITTI_LINE,
        },
    ),
    "voc devkit": (
        ("train",),
        {
            "JPEGImages/a.png": PICTURE,
            "Annotations/a.xml": XML,
            "ImageSets/Main/train.txt": "a\n",
        },
    ),
    "voc in folders": (("train",), {"images/train/a.png": PICTURE, "labels/train/a.xml": XML}),
    "voc beside": (("train",), {"train/a.png": PICTURE, "train/a.xml": XML}),
    "voc flat": (("all",), {"a.png": PICTURE, "a.xml": XML}),
    "coco": (
        ("train2017",),
        {"annotations/instances_train2017.json": COCO, "train2017/a.png": PICTURE},
    ),
    "coco images": (
        ("train",),
        {"annotations/instances_train.json": COCO, "images/train/a.png": PICTURE},
    ),
    "coco roboflow": (
        ("train",),
        {"train/_annotations.coco.json": COCO, "train/a.png": PICTURE},
    ),
    "coco single": (("all",), {"annotations.json": COCO, "images/a.png": PICTURE}),
    "coco beside": (("all",), {"my labels.json": COCO, "a.png": PICTURE}),
    "coco cvat": (
        ("all",),
        {"annotations/instances_default.json": COCO, "images/default/a.png": PICTURE},
    ),
    "yolo": (
        ("train",),
        {
            "data.yaml": YAML.replace("val: images/val\n", ""),
            "images/train/a.png": PICTURE,
            "labels/train/a.txt": YOLO_LINE,
        },
    ),
    "yolo without yaml": (
        ("train",),
        {
            "classes.txt": "car\n",
            "images/train/a.png": PICTURE,
            "labels/train/a.txt": YOLO_LINE,
        },
    ),
    "yolo roboflow": (
        ("train",),
        {
            "data.yaml": "train: ../train/images\nnc: 1\nnames: ['car']\n",
            "train/images/a.png": PICTURE,
            "train/labels/a.txt": YOLO_LINE,
        },
    ),
    "yolo flat": (("all",), {"classes.txt": "car\n", "a.png": PICTURE, "a.txt": YOLO_LINE}),
}


def build(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


@pytest.mark.parametrize("which", SETS)
def test_a_set_is_recognised_by_its_reader_alone(which, tmp_path):
    names, files = SETS[which]
    build(tmp_path, files)
    assert [n for n, r in READERS.items() if r.recognises(tmp_path)] == [which.split()[0]]
    assert list_splits(tmp_path) == names


@pytest.mark.parametrize("which", [w for w in SETS if w.split()[0] not in ("idd", "camvid")])
def test_the_same_car_is_read_from_every_layout(which, tmp_path):
    split = SETS[which][0][0]
    d = open_dataset(build(tmp_path, SETS[which][1]), split, strict=True)
    s = d.load(0)
    assert s.xyxy.round(3).tolist() == [[1, 2, 30, 40]]
    assert s.class_id.tolist() == [0]
    assert s.labelled_classes[0]
    assert not s.ignore.any()
    assert d.read_boxes(0).names in (("car",), ("Car",))


@pytest.mark.parametrize("which", SETS)
def test_a_set_of_one_unnamed_split_answers_to_any_name(which, tmp_path):
    names, files = SETS[which]
    build(tmp_path, files)
    if names == ("all",):
        assert open_dataset(tmp_path, "whatever").split == "whatever"
        assert len(open_dataset(tmp_path, "whatever")) == 1
    else:
        with pytest.raises(InputError, match="no split 'whatever'"):
            open_dataset(tmp_path, "whatever")


def test_a_misspelt_split_gets_a_hint(tmp_path):
    build(tmp_path, SETS["voc devkit"][1])
    with pytest.raises(InputError, match="did you mean 'train'"):
        open_dataset(tmp_path, "trian")


def test_format_overrides_what_is_recognised(tmp_path):
    build(tmp_path, SETS["coco single"][1] | SETS["yolo without yaml"][1])
    assert recognise(tmp_path) == "coco"
    assert open_dataset(tmp_path, "train", "yolo").names == ("a.png",)
    with pytest.raises(InputError, match="format 'yollo' is unknown"):
        open_dataset(tmp_path, "train", "yollo")


@pytest.mark.parametrize("which", [w for w in SETS if w.split()[0] not in ("idd", "camvid")])
def test_a_class_nobody_knows_is_ignored_and_hinted_at(which, tmp_path):
    names, files = SETS[which]

    def misspell(content):
        if isinstance(content, bytes):
            return content
        return (
            content.replace('"car"', '"carr"')
            .replace(">car<", ">carr<")
            .replace("Car ", "Carr ")
            .replace("[car]", "[carr]")
            .replace("'car'", "carr")
            .replace("car\n", "carr\n")
        )

    build(tmp_path, {name: misspell(content) for name, content in files.items()})
    s = open_dataset(tmp_path, names[0]).load(0)
    assert s.ignore.all() and len(s.ignore) == 5
    assert len(s.problems) == 1
    assert "unknown class" in s.problems[0] and "did you mean 'car" in s.problems[0].lower()
    mapped = open_dataset(tmp_path, names[0], names=("carr=vehicle", "Carr=vehicle")).load(0)
    assert mapped.class_id.tolist() == [0] and not mapped.problems


def test_pictures_of_the_finder_are_no_pictures(tmp_path):
    build(tmp_path, SETS["yolo"][1] | {"images/train/._a.png": b"finder"})
    assert open_dataset(tmp_path, "train").names == ("a.png",)


@pytest.mark.parametrize(
    ("folder", "layout", "splits"),
    [
        ("bdd100k_subset", "bdd100k", 3),
        ("idd_lite", "idd", 3),
        ("camvid", "camvid", 3),
        ("carla_detection", "voc", 2),
        ("kitti_object", "kitti", 1),
        ("kitti_tracking", "kitti_tracking", 10),
    ],
)
def test_real_sets_are_recognised_by_one_reader(realdata, folder, layout, splits):
    root = realdata / folder
    assert [n for n, r in READERS.items() if r.recognises(root)] == [layout]
    assert len(list_splits(root)) == splits


def test_real_counts_of_classes(realdata):
    """Counted in the label files by other means (grep)."""
    d = open_dataset(realdata / "carla_detection", "train", strict=True)
    assert d.labelled == ("vehicle", "two_wheeler", "traffic_light", "traffic_sign")
    names = [n for i in range(len(d)) for n in d.read_boxes(i).names]
    counts = {n: names.count(n) for n in d.class_names}
    assert counts == {
        "vehicle": 1172, "traffic_light": 1057, "bike": 151, "motobike": 81, "traffic_sign": 95,
    }  # fmt: skip
    assert not d.labels(0, d.size_px(0)).problems
    k = open_dataset(realdata / "kitti_object", "test", strict=True)
    names = [n for i in range(len(k)) for n in k.read_boxes(i).names]
    assert names.count("Car") == 139 and names.count("DontCare") == 116
    assert k.labelled == ("vehicle", "person")


def test_a_file_in_place_of_a_folder_is_said_to_be_one(tmp_path):
    (tmp_path / "data.yaml").write_text("names: [car]\n")
    with pytest.raises(InputError, match=r"data\.yaml: is a file; give the folder of the set, /"):
        recognise(tmp_path / "data.yaml")
