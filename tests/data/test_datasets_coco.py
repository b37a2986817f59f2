"""COCO files, whole and damaged."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from data.datasets import check_names, open_dataset, screen
from data.errors import InputError

PICTURE = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()


def table():
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 64, "height": 48, "license": 3},
            {"id": "b", "file_name": "sub/b.png", "width": 64, "height": 48},
        ],
        "annotations": [
            {"id": 5, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20], "iscrowd": 0},
            {"id": 6, "image_id": 7, "category_id": 1, "bbox": [5, 5, 4, 4], "iscrowd": 1},
        ],
        "categories": [{"id": 3, "name": "Car"}, {"id": 1, "name": "person"}],
    }


@pytest.fixture
def make(tmp_path):
    """Write a set from the table as changed by a function; gives its folder."""

    def write(change=lambda t: None, text=None):
        t = table()
        change(t)
        for image in ("a.png", "sub/b.png"):
            path = tmp_path / "images" / image
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PICTURE)
        (tmp_path / "annotations.json").write_text(text or json.dumps(t))
        return tmp_path

    return write


def test_boxes_crowds_and_images_without_objects(make):
    d = open_dataset(make(), "train", strict=True)
    assert d.names == ("a.png", "sub/b.png")
    assert d.class_names == ("Car", "person")
    assert d.labelled == ("vehicle", "person")
    boxes = d.read_boxes(0)
    assert boxes.xyxy.tolist() == [[1, 2, 11, 22], [5, 5, 9, 9]]
    assert boxes.ignore.tolist() == [False, True]
    assert boxes.attributes[0] == {"id": 5, "iscrowd": 0}
    assert d.frame_attributes(0) == {"license": 3}
    empty = d.load(1)
    assert not len(empty.xyxy) and empty.labelled_classes.tolist() == [1, 1, 0, 0, 0]


def test_a_box_around_polygons_where_there_is_no_bbox(make):
    def change(t):
        del t["annotations"][0]["bbox"]
        t["annotations"][0]["segmentation"] = [[3, 4, 9, 4, 9, 12], [5, 3, 6, 6, 7, 7]]

    assert open_dataset(make(change), "x").read_boxes(0).xyxy[0].tolist() == [3, 3, 9, 12]


BAD = {
    "bbox of three": (lambda t: t["annotations"][0].update(bbox=[1, 2, 3]), "annotation 0"),
    "bbox of text": (lambda t: t["annotations"][0].update(bbox=[1, 2, 3, "4"]), "annotation 0"),
    "bbox of NaN": (lambda t: t["annotations"][0].update(bbox=[1, 2, 3, float("nan")]), "finite"),
    "no category": (lambda t: t["annotations"][0].pop("category_id"), "category_id"),
    "no bbox": (lambda t: t["annotations"][0].pop("bbox"), "bbox"),
    "unknown category": (lambda t: t["annotations"][0].update(category_id=99), "category 99"),
    "empty box": (lambda t: t["annotations"][0].update(bbox=[1, 2, 0, 4]), "without a size"),
    "other size": (lambda t: t["images"][0].update(width=128, height=96), "128x96"),
    "outside": (lambda t: t["annotations"][0].update(bbox=[60, 2, 40, 40]), "outside the image"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_malformed_annotation_is_named_and_what_it_hides_is_unknown(make, what):
    change, says = BAD[what]
    d = open_dataset(make(change), "train")
    s = d.load(0)
    assert len(s.problems) == 1 and says in s.problems[0]
    assert "annotations.json: image a.png" in s.problems[0] and "\n" not in s.problems[0]
    if what not in ("unknown category", "empty box", "outside"):
        assert not s.labelled_classes.any()
    if what in ("unknown category", "outside"):
        assert s.ignore[s.class_id == 0].all()
    with pytest.raises(InputError, match=says):
        open_dataset(make(change), "train", strict=True).load(0)


BAD_ENTRIES = {
    "annotation of no image": (lambda t: t["annotations"][0].update(image_id=99), "image_id 99"),
    "annotation that is none": (lambda t: t["annotations"].append(7), "annotation 2"),
    "image without a name": (lambda t: t["images"].append({"id": 9}), "image 2"),
    "image out of the set": (
        lambda t: t["images"].append({"id": 9, "file_name": "../../etc/passwd"}),
        "leads out of the set",
    ),
    "absolute image": (
        lambda t: t["images"].append({"id": 9, "file_name": "/etc/passwd"}),
        "leads out of the set",
    ),
    "image listed twice": (
        lambda t: t["images"].append({"id": 9, "file_name": "a.png"}),
        "listed before",
    ),
    "one id for two": (lambda t: t["images"].append({"id": 7, "file_name": "c.png"}), "id 7"),
    "category twice": (lambda t: t["categories"].append({"id": 3, "name": "bus"}), "category 2"),
}


@pytest.mark.parametrize("what", BAD_ENTRIES)
def test_entries_that_belong_nowhere_are_counted_on_opening(make, what):
    change, says = BAD_ENTRIES[what]
    d = open_dataset(make(change), "train")
    assert d.names == ("a.png", "sub/b.png")
    assert len(d.problems) == 1 and says in str(d.problems[0])
    assert says in str(screen(d)[1][0])
    with pytest.raises(InputError, match=says):
        open_dataset(make(change), "train", strict=True)


def test_annotations_of_an_image_listed_twice_are_joined(make):
    def change(t):
        t["images"].append({"id": 9, "file_name": "a.png"})
        t["annotations"].append({"id": 9, "image_id": 9, "category_id": 3, "bbox": [20, 20, 5, 5]})

    assert len(open_dataset(make(change), "train").read_boxes(0)) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"images": [], "annotations": [,], "categories": []}', "line 1 column 32"),
        ('{"images": 3, "annotations": [], "categories": []}', "expected COCO's object"),
        ('{"images": [], "annotations": {}, "categories": []}', "must be a list"),
        ('{"images": [], "annotations": [], "categories": []}', "has no images"),
        ('{"images"' + "\n" * 3 + ': "annotations" "categories"}', "line 4"),
    ],
)
def test_a_file_that_is_no_coco_file_is_named_with_the_place(make, text, says):
    with pytest.raises(InputError, match=says) as e:
        open_dataset(make(text=text), "train")
    assert "\n" not in str(e.value)


def test_names_written_on_windows_are_found(make):
    d = open_dataset(make(lambda t: t["images"][1].update(file_name="sub\\b.png")), "train")
    assert d.names[1] == "sub/b.png"
    assert d.load(1).image.shape == (48, 64, 3)


def test_a_missing_image_is_screened_out_and_keeps_its_stated_size(make):
    root = make()
    (root / "images/a.png").unlink()
    d = open_dataset(root, "train")
    assert d.size_px(0) == (64, 48)
    with pytest.raises(InputError, match="image missing"):
        d.load(0)
    rest, problems = screen(d)
    assert rest.names == ("sub/b.png",) and [p.kind for p in problems] == ["image_missing"]
    assert rest.frame_attributes(0) == {}


def test_a_public_test_split_without_annotations_labels_nothing(make):
    d = open_dataset(make(text=json.dumps({"images": table()["images"], "categories": [],
                                           "info": "annotations"}).replace(
                                               '"info": "annotations"',
                                               '"info": {"annotations": 0}')), "test")  # fmt: skip
    assert d.tasks == ()


def test_a_typical_small_folder_trains_on_what_its_categories_label(make):
    """Roboflow adds a super-category as category 0, of which there are no boxes."""
    d = open_dataset(make(lambda t: t["categories"].insert(0, {"id": 0, "name": "my-cars"})), "x")
    assert d.labelled == ("vehicle", "person")
    assert not d.load(0).problems


def test_whole_numbers_written_with_a_point_are_ids(make):
    def change(t):
        t["images"][0]["id"] = 7.0
        t["annotations"][0].update(image_id=7.0, category_id=3.0)

    d = open_dataset(make(change), "train", strict=True)
    assert d.problems == () and d.read_boxes(0).names[0] == "Car"


def test_a_name_longer_than_a_file_can_have_is_a_missing_image(make):
    d = open_dataset(make(lambda t: t["images"][1].update(file_name="x" * 5000)), "train")
    kept, problems = screen(d)
    assert len(kept) == 1 and [p.kind for p in problems] == ["image_missing"]


def test_a_class_name_without_end_is_cut(make):
    d = open_dataset(make(lambda t: t["categories"][0].update(name="x" * 100_000)), "train")
    assert len(d.class_names[0]) == 200


def test_a_folder_and_a_picture_named_on_windows_are_found(tmp_path):
    t = table()
    t["images"] = [{"id": 7, "file_name": "images\\a.png"}]
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(PICTURE)
    (tmp_path / "result.json").write_text(json.dumps(t))
    d = open_dataset(tmp_path, "train", strict=True)
    assert d.names == ("images/a.png",) and d.images == (tmp_path / "images/a.png",)
    assert len(d.read_boxes(0)) == 2


@pytest.mark.parametrize(
    "name",
    ["../../media/upload/4/a.png", "/data/upload/a.png", "upload/4/a.png", "..\\..\\media\\a.png"],
)
def test_a_picture_named_by_a_servers_folders_is_found_by_its_last_part(make, name):
    root = make(lambda t: t["images"][0].update(file_name=name))
    d = open_dataset(root, "train", strict=True)
    assert d.names == ("a.png", "sub/b.png") and d.images[0] == root / "images/a.png"
    assert len(d.read_boxes(0)) == 2


def test_a_last_part_that_two_pictures_have_is_not_guessed_at(make):
    def change(t):
        t["images"][0]["file_name"] = "../4/a.png"
        t["images"][1]["file_name"] = "../5/a.png"

    with pytest.raises(InputError, match=r"has no images; first: .*'\.\./4/a\.png' leads out"):
        open_dataset(make(change), "train")
    root = make(lambda t: t["images"][0].update(file_name="../4/a.png"))
    (root / "a.png").write_bytes(PICTURE)
    assert open_dataset(root, "train").names == ("sub/b.png",)


@pytest.mark.parametrize(("flag", "crowd"), [("0", False), ("false", False), ("1", True)])
def test_a_flag_may_be_a_word(make, flag, crowd):
    d = open_dataset(make(lambda t: t["annotations"][0].update(iscrowd=flag)), "train")
    assert d.read_boxes(0).ignore.tolist() == [crowd, True]


def test_names_mapped_by_hand_must_be_classes_of_some_split(tmp_path):
    for split, category in (("train", "tuktuk"), ("val", "car")):
        t = table()
        t["categories"][0]["name"] = category
        t["annotations"][1]["category_id"] = 9
        path = tmp_path / f"annotations/instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(t))
    d = open_dataset(tmp_path, "val")
    check_names(d, ("tuktuk=vehicle", "category 9=person"))
    with pytest.raises(InputError, match=r"class 'tuktuc' is none of .*did you mean 'tuktuk'\?"):
        check_names(d, ("person=none", "tuktuc=vehicle"))
