"""YOLO labels, with and without data.yaml, whole and damaged."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.datasets import list_splits, open_dataset
from data.datasets.files import image_problem
from data.datasets.yolo import labels_of
from data.errors import InputError

PICTURE = cv2.imencode(".png", np.zeros((50, 100, 3), np.uint8))[1].tobytes()
YAML = "train: images/train\nval: images/val\nnames:\n  0: car\n  1: Traffic_Light\n"


@pytest.fixture
def make(tmp_path):
    def write(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write


def usual(lines, **more):
    return {
        "data.yaml": YAML,
        "images/train/a.png": PICTURE,
        "images/train/b.png": PICTURE,
        "images/val/c.png": PICTURE,
        "labels/train/a.txt": lines,
        **more,
    }


def test_shares_of_the_image_become_pixels(make):
    d = open_dataset(make(usual("1 0.5 0.4 0.2 0.6\n")), "train", strict=True)
    boxes = d.read_boxes(0)
    assert np.allclose(boxes.xyxy, [[40, 5, 60, 35]])
    assert boxes.names == ("Traffic_Light",)
    assert d.labelled == ("vehicle", "traffic_light")


def test_no_label_file_means_no_objects_unless_the_split_has_none(make):
    root = make(usual("0 0.5 0.5 0.2 0.2\n"))
    assert open_dataset(root, "train").load(1).labelled_classes.any()
    val = open_dataset(root, "val")
    assert val.tasks == () and not val.load(0).labelled_classes.any()


def test_the_box_around_a_polygon(make):
    d = open_dataset(make(usual("0 0.1 0.2 0.5 0.2 0.3 0.8\n")), "train")
    assert np.allclose(d.read_boxes(0).xyxy, [[10, 10, 50, 40]])


def test_key_points_behind_the_box_are_left_out(make):
    files = usual("0 0.5 0.4 0.2 0.6 0.4 0.4 0.6 0.4\n")
    files["data.yaml"] += "kpt_shape: [2, 2]\n"
    assert np.allclose(open_dataset(make(files), "train").read_boxes(0).xyxy, [[40, 5, 60, 35]])


def test_a_score_behind_the_box_is_kept_as_one(make):
    boxes = open_dataset(make(usual("0 0.5 0.4 0.2 0.6 0.75\n")), "train").read_boxes(0)
    assert boxes.attributes == ({"score": 0.75},)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 0.5 0.5 0.2", "expected 5 numbers"),
        ("0 0.5 0.5 0.2 0.2 0.1 0.1 0.1", "expected 5 numbers"),
        ("car 0.5 0.5 0.2 0.2", "expected numbers alone"),
        ("0.5 0.5 0.5 0.2 0.2", "whole number"),
        ("-1 0.5 0.5 0.2 0.2", "whole number"),
        ("2 0.5 0.5 0.2 0.2", "only 2 are named"),
        ("0 320 200 60 40", "divide pixels by its size"),
        ("0 nan 0.5 0.2 0.2", "shares of the image"),
        ("0 1.2 0.5 0.2 0.2", "mostly outside"),
        ("0 0.5 0.5 0 0.2", "without a size"),
    ],
)
def test_a_bad_line_is_named(make, line, says):
    files = usual(f"1 0.5 0.5 0.2 0.2\n\n{line}\n")
    s = open_dataset(make(files), "train").load(0)
    assert len(s.problems) == 1 and says in s.problems[0] and "labels/train/a.txt" in s.problems[0]
    if "outside" not in says and "size" not in says:
        assert "a.txt:3: " in s.problems[0]
    assert (s.class_id == 3).any()
    with pytest.raises(InputError, match=says):
        open_dataset(make(files), "train", strict=True).load(0)


def test_a_box_that_hardly_sticks_out_is_clipped(make):
    s = open_dataset(make(usual("0 0.95 0.5 0.2 0.2\n")), "train", strict=True).load(0)
    assert np.allclose(s.xyxy, [[85, 20, 100, 30]])


YAMLS = {
    "list of folders": "path: .\ntrain: [images/train, images/val]\nnames: [car, person]\n",
    "one level up": "train: ../images/train\nnames: [car, person]\n",
    "wrong base": "path: /nowhere/else\ntrain: images/train\nnames: [car, person]\n",
    "list of files": "train: lists/train.txt\nnames: [car, person]\n",
}


@pytest.mark.parametrize("which", YAMLS)
def test_the_ways_to_name_a_split(make, which):
    files = usual("0 0.5 0.5 0.2 0.2\n")
    files |= {
        "data.yaml": YAMLS[which],
        "lists/train.txt": "../images/train/a.png\n../images/train/b.png\n",
    }
    d = open_dataset(make(files), "train", strict=True)
    assert len(d) == (3 if which == "list of folders" else 2)
    assert {n.rpartition("/")[2] for n in d.names} >= {"a.png", "b.png"}
    assert sum(len(d.read_boxes(i)) for i in range(len(d))) == 1


@pytest.mark.parametrize("root", ["images/set", "/data/images/set"])
@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("images/train/x.jpg", "labels/train/x.txt"),
        ("images/train/images/x.jpg", "images/train/labels/x.txt"),
        ("train/images/x.jpg", "train/labels/x.txt"),
        ("train/x.jpg", "train/x.txt"),
        ("x.jpg", "x.txt"),
    ],
)
def test_where_labels_lie_is_told_by_the_path_below_the_set(root, image, labels):
    root = Path(root)
    assert labels_of(root / image, root) == root / labels
    assert labels_of((root / image).absolute(), root) == (root / labels).absolute()


def test_labels_of_images_outside_the_set_lie_by_their_whole_path():
    elsewhere = Path("/disk/images/night/x.jpg")
    assert labels_of(elsewhere, Path("/data/set")) == Path("/disk/labels/night/x.txt")


def test_a_set_below_a_folder_named_images(make):
    root = make({f"images/set/{n}": c for n, c in {
        "classes.txt": "car\n", "a.png": PICTURE, "a.txt": "0 0.5 0.5 0.2 0.2\n"}.items()
    }) / "images/set"  # fmt: skip
    d = open_dataset(root, "all", strict=True)
    assert len(d.read_boxes(0)) == 1


def test_files_of_one_name_in_two_folders_are_told_apart(make):
    files = usual("0 0.5 0.5 0.2 0.2\n", **{"images/val/a.png": PICTURE})
    files["data.yaml"] = YAMLS["list of folders"]
    d = open_dataset(make(files), "train")
    assert d.names == ("a.png", "b.png", "val/a.png", "c.png")
    assert [len(d.read_boxes(i)) for i in range(4)] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: images/train\nnames: [car\nval: x\n", "data.yaml: line 3"),
        ("train: images/train\n", "expected names"),
        ("train: images/trian\nnames: [car]\n", "no such folder or list"),
        ("train: images/train\nnames: 3\n", "names must be"),
        ("train: images/train\nnames: {a: car}\n", "go by numbers"),
    ],
)
def test_a_bad_data_yaml_is_named(make, text, says):
    files = usual("0 0.5 0.5 0.2 0.2\n") | {"data.yaml": text}
    with pytest.raises(InputError, match=says) as e:
        open_dataset(make(files), "train")
    assert "\n" not in str(e.value)


def test_without_any_names_classes_are_numbers_and_that_is_said(make):
    root = make({"images/a.png": PICTURE, "labels/a.txt": "1 0.5 0.5 0.2 0.2\n"})
    d = open_dataset(root, "train", names=("1=vehicle",))
    assert d.load(0).class_id.tolist() == [0]
    assert [p.kind for p in d.problems] == ["names_missing"]


def test_boxes_of_a_missing_image_are_unknown(make):
    root = make(usual("0 0.5 0.5 0.2 0.2\n"))
    d = open_dataset(root, "train")
    (root / "images/train/a.png").unlink()
    labels = d.labels(0, (100, 50))
    assert not labels.labelled_classes.any() and len(labels.problems) == 1


@pytest.mark.parametrize(("folder", "splits"), [("train", ("train",)), ("monday", ("all",))])
def test_folders_beside_pictures_are_splits_if_their_name_says_so(make, folder, splits):
    root = make(
        {
            "classes.txt": "car\n",
            "images/stray.png": PICTURE,
            f"images/{folder}/a.png": PICTURE,
            f"labels/{folder}/a.txt": "0 0.5 0.5 0.2 0.2\n",
        }
    )
    assert list_splits(root) == splits
    assert len(open_dataset(root, splits[0])) == (1 if folder == "train" else 2)


def test_paths_written_on_windows_are_found(make):
    names = "names: [car, person]\n"
    files = usual("0 0.5 0.5 0.2 0.2\n")
    files["data.yaml"] = f"path: C:\\data\ntrain: images\\train\nval: lists\\val.txt\n{names}"
    files["lists/val.txt"] = "..\\images\\val\\c.png\r\n"
    root = make(files)
    assert len(open_dataset(root, "train")) == 2
    assert open_dataset(root, "val").images[0].is_file()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("&a [car, *a]", "an alias"),
        ("{0: car, 1: [bus]}", "a list or table where"),
        ("{0: car, 99999999999: bus}", "from 0 to 65535"),
        ("{-1: car}", "from 0 to 65535"),
        ("{.inf: car}", "go by numbers"),
    ],
)
def test_names_that_would_never_end_are_refused(make, names, says):
    files = usual("0 0.5 0.5 0.2 0.2\n") | {"data.yaml": f"train: images/train\nnames: {names}\n"}
    with pytest.raises(InputError, match=says):
        open_dataset(make(files), "train")


def test_a_pipe_among_the_images_is_not_waited_for(make):
    root = make(usual("0 0.5 0.5 0.2 0.2\n"))
    os.mkfifo(root / "images/train/pipe.png")
    d = open_dataset(root, "train")
    assert [p.kind for p in d.read_boxes(2).problems] == ["image_missing"]
    assert image_problem(d.images[2]).kind == "image_missing"


def test_folders_whose_frames_have_one_name_are_all_read(make):
    drives = [f"drive {i}" for i in range(4)]
    files = {f"{d}/images/0001.png": PICTURE for d in drives}
    files |= {f"{d}/labels/0001.txt": "0 0.5 0.5 0.2 0.2\n" for d in drives}
    listed = ", ".join(f"{d}/images" for d in [*drives, drives[2]])
    files["data.yaml"] = f"train: [{listed}]\nnames: [car]\n"
    d = open_dataset(make(files), "train")
    assert d.names == ("0001.png", *(f"{n}/0001.png" for n in drives[1:]))
    assert [len(d.read_boxes(i)) for i in range(len(d))] == [1, 1, 1, 1]
    assert len(set(d.images)) == 4
    assert [p.kind for p in d.problems] == ["image_twice"]  # the folder that stands there twice


def test_lists_whose_frames_have_one_name_are_all_read(make):
    files = {f"{n}/images/0001.png": PICTURE for n in "abc"}
    files |= {f"{n}.txt": f"./{n}/images/0001.png\n" for n in "abc"}
    files["data.yaml"] = "train: [a.txt, b.txt, c.txt]\nnames: [car]\n"
    d = open_dataset(make(files), "train", strict=True)
    assert d.names == ("0001.png", "b/0001.png", "c/0001.png")


def cvat_yolo_11(**more):
    return {
        "obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\n"
        "names = data/obj.names\nbackup = backup/\n",
        "obj.names": "car\nperson\n",
        "train.txt": "data/obj_train_data/a.png\ndata/obj_train_data/sub/b.png\n",
        "obj_train_data/a.png": PICTURE,
        "obj_train_data/a.txt": "1 0.5 0.4 0.2 0.6\n",
        "obj_train_data/sub/b.png": PICTURE,
        **more,
    }


def test_cvats_yolo_11_is_read(make):
    root = make(cvat_yolo_11())
    assert list_splits(root) == ("train",)  # the other list is not there
    d = open_dataset(root, "train", strict=True)
    assert d.names == ("a.png", "sub/b.png") and d.class_names == ("car", "person")
    assert d.read_boxes(0).names == ("person",) and d.images[1].is_file()


def test_a_list_of_cvat_names_its_pictures_below_data(make):
    files = usual("0 0.5 0.5 0.2 0.2\n", **{"train.txt": "data/images/train/a.png\n"})
    files["data.yaml"] = "train: train.txt\nnames: [car]\n"
    d = open_dataset(make(files), "train", strict=True)
    assert d.images[0].is_file() and len(d.read_boxes(0)) == 1


def test_a_tracks_number_behind_the_box_is_kept_as_one(make):
    boxes = open_dataset(make(usual("0 0.5 0.4 0.2 0.6 17\n")), "train").read_boxes(0)
    assert boxes.attributes == ({"track_id": 17},) and not boxes.problems
    assert np.allclose(boxes.xyxy, [[40, 5, 60, 35]])
    pixels = open_dataset(make(usual("0 50 40 20 60 17\n0 0.5 0.4 0.2 0.6 17.5\n")), "train")
    assert [p.kind for p in pixels.read_boxes(0).problems] == ["label_malformed"] * 2


def test_a_polygon_is_kept_as_coco_has_it(make):
    d = open_dataset(make(usual("0 0.1 0.2 0.5 0.2 0.3 0.8\n")), "train")
    (said,) = d.read_boxes(0).attributes
    np.testing.assert_allclose(said["segmentation"], [[10, 10, 50, 10, 30, 40]])


def test_where_labels_were_looked_for_is_said(make):
    d = open_dataset(make(usual("0 0.5 0.5 0.2 0.2\n")), "val")
    assert d.tasks == () and d.looked_for.endswith("labels/val/c.txt")
