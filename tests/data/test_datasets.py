"""Readers, on small made sets and on the real ones."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from data.datasets import only_tasks, open_dataset
from data.errors import InputError
from data.taxonomy import CLASS_ID


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def bdd(tmp_path):
    """Two frames, the second without a lane file."""
    entries = []
    for name in ("a", "b"):
        write(tmp_path / f"images/100k/train/{name}.jpg", np.full((72, 128, 3), 90, np.uint8))
        drivable = np.full((72, 128), 2, np.uint8)
        drivable[40:] = 0
        write(tmp_path / f"labels/drivable/masks/train/{name}.png", drivable)
        box = {"x1": 10, "y1": 20, "x2": 30.5, "y2": 40}
        labels = [{"category": "car", "box2d": box}, {"category": "rider", "box2d": box}]
        entries.append({"name": f"{name}.jpg", "labels": labels})
    lane = np.zeros((72, 128), np.uint8)
    lane[50:, 60:64], lane[50:, 70:] = 255, 128
    write(tmp_path / "labels/lane/binary/train/a.png", lane)
    path = tmp_path / "labels/det_20/det_train.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(entries))
    return tmp_path


def test_bdd100k_boxes_and_masks(bdd):
    d = open_dataset(bdd, "train")
    s = d.load(0)
    assert d.tasks == ("detection", "drivable", "lane")
    assert s.class_id.tolist() == [CLASS_ID["vehicle"], CLASS_ID["person"]]
    assert s.xyxy[0].tolist() == [10, 20, 30.5, 40]
    assert (s.drivable[39, 0], s.drivable[40, 0]) == (0, 1)
    assert (s.lane[60, 61], s.lane[60, 0], s.lane[60, 90]) == (1, 0, 255)


def test_bdd100k_frame_without_a_lane_file_has_unknown_lanes_not_none(bdd):
    s = open_dataset(bdd, "train").load(1)
    assert s.lane is None
    assert s.drivable is not None


@pytest.mark.parametrize(
    ("pairs", "labelled"),
    [
        ((), "vehicle person two_wheeler traffic_light traffic_sign"),
        (("car=none",), "vehicle person two_wheeler traffic_light traffic_sign"),
        (("rider=none", "pedestrian=vehicle"), "vehicle two_wheeler traffic_light traffic_sign"),
        (("traffic sign=none",), "vehicle person two_wheeler traffic_light"),
        (("traffic sign=none", "spaceship=traffic_sign"), "vehicle person two_wheeler "
         "traffic_light traffic_sign"),
    ],
)  # fmt: skip
def test_a_class_that_nothing_stands_for_any_more_is_not_labelled(bdd, pairs, labelled):
    d = open_dataset(bdd, "train", names=pairs)
    assert d.labelled == tuple(labelled.split())
    flags = d.load(0).labelled_classes
    assert [c for c, yes in zip(CLASS_ID, flags, strict=True) if yes] == labelled.split()


def test_one_kind_of_sign_does_not_stand_for_all_signs(tmp_path):
    write(tmp_path / "images/a.png", np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "classes.txt").write_text("car\nstop sign\ntraffic sign\n")
    assert open_dataset(tmp_path, "all").labelled == ("vehicle", "traffic_sign")
    assert open_dataset(tmp_path, "all", names=("traffic sign=none",)).labelled == ("vehicle",)


def test_bdd100k_unknown_category_is_named(bdd):
    path = bdd / "labels/det_20/det_train.json"
    path.write_text(path.read_text().replace("rider", "spaceship"))
    with pytest.raises(InputError, match="spaceship"):
        open_dataset(bdd, "train", strict=True).load(0)


def test_an_unknown_category_is_an_area_to_ignore_and_said(bdd):
    path = bdd / "labels/det_20/det_train.json"
    path.write_text(path.read_text().replace("rider", "truk"))
    s = open_dataset(bdd, "train").load(0)
    assert s.ignore.tolist() == [False] + [True] * 5
    assert "did you mean 'truck'" in s.problems[0]
    mapped = open_dataset(bdd, "train", names=("truk=vehicle",)).load(0)
    assert mapped.class_id.tolist() == [CLASS_ID["vehicle"]] * 2
    assert not mapped.problems


def test_mask_value_without_meaning_is_named(bdd):
    write(bdd / "labels/drivable/masks/train/a.png", np.full((72, 128), 7, np.uint8))
    with pytest.raises(InputError, match="mask value 7"):
        open_dataset(bdd, "train", strict=True).load(0)
    s = open_dataset(bdd, "train").load(0)
    assert (s.drivable == 255).all()
    assert len(s.problems) == 1


def test_labels_that_are_not_to_be_taught_become_unknown(bdd):
    d = only_tasks(open_dataset(bdd, "train"), ("drivable",))
    s = d.load(0)
    assert s.lane is None
    assert not s.labelled_classes.any()
    assert s.drivable is not None
    with pytest.raises(InputError, match="lane"):
        only_tasks(d, ("lane",))


def test_voc_boxes_and_unlabelled_persons(tmp_path):
    write(tmp_path / "images/train/x.jpg", np.zeros((38, 64, 3), np.uint8))
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>12</ymax></bndbox>"
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/x.xml").write_text(
        f"<annotation><object><name>motobike</name>{box}</object></annotation>"
    )
    s = open_dataset(tmp_path, "train").load(0)
    assert s.class_id.tolist() == [CLASS_ID["two_wheeler"]]
    assert not s.labelled_classes[CLASS_ID["person"]]


def test_kitti_dont_care_is_ignored_for_every_class(tmp_path):
    write(tmp_path / "training/image_2/000000.png", np.zeros((37, 124, 3), np.uint8))
    (tmp_path / "training/label_2").mkdir(parents=True)
    rest = "-1 -1 -10"
    (tmp_path / "training/label_2/000000.txt").write_text(
        f"Van 0.00 0 1.5 10 12 30 33 1.5 1.6 3.7 1 1.7 20 1.5\nDontCare {rest} 50 5 60 9 "
        "-1 -1 -1 -1000 -1000 -1000 -10\n"
    )
    s = open_dataset(tmp_path, "test").load(0)
    assert s.class_id[0] == CLASS_ID["vehicle"]
    assert s.xyxy[0].tolist() == [10, 12, 30, 33]
    assert s.ignore.tolist() == [False] + [True] * 5


def test_idd_names_tell_drives_apart(tmp_path):
    for drive in ("0", "7"):
        write(tmp_path / f"leftImg8bit/val/{drive}/12_image.jpg", np.zeros((22, 32, 3), np.uint8))
        write(tmp_path / f"gtFine/val/{drive}/12_label.png", np.zeros((22, 32), np.uint8))
    d = open_dataset(tmp_path, "val")
    assert d.tasks == ("drivable", "segmentation")
    assert d.names == ("0/12_image.jpg", "7/12_image.jpg")
    assert d.load(1).name == "7/12_image.jpg"


@pytest.mark.parametrize(
    ("make", "says"),
    [(False, "no such folder"), (True, "layout not recognised")],
)
def test_unknown_folders(tmp_path, make, says):
    folder = tmp_path / "set"
    if make:
        folder.mkdir()
    with pytest.raises(InputError, match=says):
        open_dataset(folder, "train")


@pytest.mark.parametrize(
    ("folder", "split", "count", "tasks"),
    [
        ("bdd100k_subset", "train", 308, ("detection", "drivable", "lane")),
        ("bdd100k_subset", "val", 51, ("detection", "drivable", "lane")),
        ("bdd100k_subset", "test", 76, ("detection", "drivable", "lane")),
        ("idd_lite", "train", 1403, ("drivable", "segmentation")),
        ("idd_lite", "val", 204, ("drivable", "segmentation")),
        ("idd_lite", "test", 404, ()),
        ("camvid", "val", 101, ("drivable", "segmentation")),
        ("carla_detection", "train", 779, ("detection",)),
        ("kitti_object", "test", 51, ("detection",)),
    ],
)
def test_real_sets(realdata, folder, split, count, tasks):
    d = open_dataset(realdata / folder, split)
    assert (len(d), d.tasks) == (count, tasks)
    assert len(set(d.names)) == count
    s = d.load(count // 2)
    assert s.image.ndim == 3


def test_bdd100k_official_lane_masks_pack_bits(tmp_path, bdd):
    (bdd / "labels/lane/binary/train/a.png").unlink()
    (bdd / "labels/lane/binary/train").rmdir()
    lane = np.full((72, 128), 255, np.uint8)  # the background of the official files
    lane[0], lane[1], lane[2], lane[3], lane[4] = 0, 6, 0b110111, 8, 0b111111
    lane[5] = 77
    write(bdd / "labels/lane/masks/train/a.png", lane)
    s = open_dataset(bdd, "train").load(0)
    assert s.lane[:7, 0].tolist() == [1, 1, 1, 0, 0, 255, 0]
    assert "mask value 77" in s.problems[0]


def test_bdd100k_binary_lanes_win_over_the_official_form(bdd):
    write(bdd / "labels/lane/masks/train/a.png", np.zeros((72, 128), np.uint8))
    s = open_dataset(bdd, "train", strict=True).load(0)
    assert (s.lane[60, 61], s.lane[60, 0], s.lane[60, 90]) == (1, 0, 255)


def test_bdd100k_attributes_of_boxes_and_frames_are_kept(bdd):
    path = bdd / "labels/det_20/det_train.json"
    entries = json.loads(path.read_text())
    entries[0]["attributes"] = {"timeofday": "night", "weather": "rainy"}
    entries[0]["labels"][0] |= {"id": "12", "attributes": {"occluded": True}}
    entries[0]["labels"][1] |= {"attributes": {"crowd": True}}
    entries[1]["labels"][0]["category"] = "other vehicle"
    path.write_text(json.dumps(entries))
    d = open_dataset(bdd, "train", strict=True)
    assert d.frame_attributes(0) == {"timeofday": "night", "weather": "rainy"}
    assert d.frame_attributes(1) == {}
    assert d.read_boxes(0).attributes[0] == {"occluded": True, "id": "12"}
    assert d.read_boxes(0).ignore.tolist() == [False, True]
    assert d.read_boxes(1).ignore.tolist() == [True, False]


def test_bdd100k_scalabel_form_declares_its_classes(bdd):
    path = bdd / "labels/det_20/det_train.json"
    table = {"frames": json.loads(path.read_text())}
    table["config"] = {"categories": [{"name": "car"}, {"name": "rider"}]}
    path.write_text(json.dumps(table))
    d = open_dataset(bdd, "train", strict=True)
    assert d.class_names == ("car", "rider")
    assert d.labelled == ("vehicle", "person")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: e.append(7), "entry 2 has no image name"),
        (lambda e: e.append({"name": "b.jpg"}), "listed before"),
        (lambda e: e.append({"name": "gone.jpg"}), "no image gone.jpg"),
    ],
)
def test_bdd100k_entries_that_belong_nowhere_are_counted(bdd, change, says):
    path = bdd / "labels/det_20/det_train.json"
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))
    d = open_dataset(bdd, "train")
    assert len(d.problems) == 1 and says in str(d.problems[0])
    with pytest.raises(InputError, match=says):
        open_dataset(bdd, "train", strict=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [("[{]", "line 1 column 3"), ('{"a": 1}', "expected a list"), (b"\xff[]", "not UTF-8")],
)
def test_bdd100k_label_file_that_is_none_is_named_with_the_place(bdd, text, says):
    path = bdd / "labels/det_20/det_train.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=says):
        open_dataset(bdd, "train")


@pytest.mark.parametrize(
    "label",
    [
        {"category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 3}},
        {"category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 3, "y2": "4"}},
        {"box2d": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}},
        "car",
    ],
)
def test_bdd100k_a_bad_label_is_named_and_leaves_the_image_unknown(bdd, label):
    path = bdd / "labels/det_20/det_train.json"
    entries = json.loads(path.read_text())
    entries[0]["labels"].append(label)
    path.write_text(json.dumps(entries))
    s = open_dataset(bdd, "train").load(0)
    assert len(s.xyxy) == 2 and not s.labelled_classes.any()
    assert "image a.jpg: label 2" in s.problems[0]


def test_bdd100k_images_in_folders_find_their_labels_and_masks(bdd):
    folder = bdd / "images/100k/train"
    (folder / "trainA").mkdir()
    (folder / "a.jpg").rename(folder / "trainA/a.jpg")
    d = open_dataset(bdd, "train", strict=True)
    assert d.names == ("b.jpg", "trainA/a.jpg")
    s = d.load(1)
    assert len(s.xyxy) == 2 and s.lane is not None and s.drivable is not None


def test_bdd100k_scalabel_classes_may_be_parted(bdd):
    path = bdd / "labels/det_20/det_train.json"
    human = {"name": "human", "subcategories": [{"name": "pedestrian"}, {"name": "rider"}]}
    deep = {"name": "all", "subcategories": [human, {"name": "car", "subcategories": []}]}
    config = {"categories": [deep, {"name": "traffic sign"}]}
    path.write_text(json.dumps({"frames": json.loads(path.read_text()), "config": config}))
    d = open_dataset(bdd, "train", strict=True)
    assert d.class_names[:4] == ("pedestrian", "rider", "car", "traffic sign")
    assert "two_wheeler" not in d.labelled


def test_bdd100k_says_what_a_frame_is_and_counts_labels_without_a_box(bdd):
    path = bdd / "labels/det_20/det_train.json"
    entries = json.loads(path.read_text())
    said = {"videoName": "v", "frameIndex": 0, "timestamp": 10000, "url": "x"}
    entries[0] |= {**said, "attributes": {"weather": "rainy"}}
    entries[0]["labels"].append({"category": "lane", "poly2d": []})
    path.write_text(json.dumps(entries))
    d = open_dataset(bdd, "train", strict=True)
    assert d.frame_attributes(0) == {**said, "weather": "rainy"}
    assert [d.read_boxes(i).others for i in (0, 1)] == [1, 0]
