"""``roadstack convert``: what it prints, refuses and leaves behind."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.datasets import open_dataset, recognise
from data.errors import InputError
from tools.convert import run_convert

PICTURE = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()


@pytest.fixture
def source(tmp_path):
    """A YOLO set of two splits, one image with a bad line."""
    root = tmp_path / "set"
    files = {
        "data.yaml": "train: images/train\nval: images/val\nnames: [car, person]\n",
        "images/train/a.png": PICTURE,
        "images/train/b.png": PICTURE,
        "images/val/a.png": PICTURE,
        "labels/train/a.txt": "0 0.5 0.5 0.25 0.5\n1 0.25 0.5 0.125 0.5\n",
        "labels/train/b.txt": "0 0.5 0.5\n",
        "labels/val/a.txt": "1 0.25 0.5 0.125 0.5\n",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def args(source, out, to="coco", **more):
    given = dict(layout=None, split=[], images="link", classes="own", strict=False, names=[])
    return argparse.Namespace(source=Path(source), out=Path(out), to=to, **{**given, **more})


def test_all_splits_go_over_and_what_was_left_out_is_counted(source, tmp_path, capsys):
    assert run_convert(args(source, tmp_path / "out")) == 0
    out, err = capsys.readouterr()
    assert "yolo -> coco: 2 images (train 1, val 1), 3 boxes of 2 classes" in out
    assert "b.txt:1" in err and "2 entries skipped" in err
    assert recognise(tmp_path / "out") == "coco"
    assert open_dataset(tmp_path / "out", "val").read_boxes(0).names == ("person",)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["annotations", "images"]


def test_one_split_can_be_chosen_and_classes_mapped_by_hand(source, tmp_path):
    run_convert(
        args(source, tmp_path / "out", "bdd100k", split=["val"], classes="ours",
             names=["person=two_wheeler"])
    )  # fmt: skip
    d = open_dataset(tmp_path / "out", "val")
    assert d.read_boxes(0).names == ("two_wheeler",)


def test_masks_that_do_not_go_over_are_mentioned(tmp_path, capsys):
    root = tmp_path / "bdd"
    box = {"category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 30, "y2": 40}}
    mask = cv2.imencode(".png", np.zeros((48, 64), np.uint8))[1].tobytes()
    for name, content in {
        "images/100k/train/a.png": PICTURE,
        "labels/drivable/masks/train/a.png": mask,
        "labels/det_20/det_train.json": json.dumps([{"name": "a.png", "labels": [box]}]).encode(),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    run_convert(args(root, tmp_path / "out"))
    assert "masks of drivable are not converted" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["", "inner", "images"])
def test_nothing_is_written_into_the_set_itself(source, where):
    before = sorted(source.rglob("*"))
    with pytest.raises(InputError, match="lies in the set"):
        run_convert(args(source, source / where))
    assert sorted(source.rglob("*")) == before


def test_nothing_is_written_among_other_files(source, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        run_convert(args(source, out))
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="is a file"):
        run_convert(args(source, out / "thesis.txt"))


def test_an_empty_folder_and_what_a_killed_run_left_are_no_hindrance(source, tmp_path):
    (tmp_path / "out/.123.part").mkdir(parents=True)
    assert run_convert(args(source, tmp_path / "out")) == 0


@pytest.mark.parametrize("existed", [False, True])
def test_a_failed_conversion_leaves_nothing(source, tmp_path, existed):
    out = tmp_path / "out"
    if existed:
        out.mkdir()
    with pytest.raises(InputError, match=r"b\.txt:1"):
        run_convert(args(source, out, strict=True))
    with pytest.raises(InputError, match="one split at a time"):
        run_convert(args(source, out, "voc"))
    assert out.exists() == existed and (not existed or not any(out.iterdir()))


def test_a_set_without_boxes_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "trainannot").mkdir()
    (tmp_path / "train/a.png").write_bytes(PICTURE)
    mask = cv2.imencode(".png", np.zeros((48, 64), np.uint8))[1].tobytes()
    (tmp_path / "trainannot/a.png").write_bytes(mask)
    with pytest.raises(InputError, match="labels drivable, segmentation; no boxes to convert"):
        run_convert(args(tmp_path, tmp_path.with_name(tmp_path.name + "_out")))


def test_a_split_without_labels_is_left_out_unless_asked_for(source, tmp_path, capsys):
    (source / "labels/val/a.txt").unlink()
    run_convert(args(source, tmp_path / "out"))
    assert "split val has no box labels; left out" in capsys.readouterr().out
    with pytest.raises(InputError, match="no boxes to convert"):
        run_convert(args(source, tmp_path / "out2", split=["val"]))


def test_pascals_union_of_train_and_val_is_not_written_again(source, tmp_path, capsys):
    run_convert(args(source, tmp_path / "voc", "voc", split=["train"]))
    lists = tmp_path / "voc/ImageSets/Main"
    for name in ("val", "trainval"):
        (lists / f"{name}.txt").write_text((lists / "train.txt").read_text())
    run_convert(args(tmp_path / "voc", tmp_path / "out"))
    assert "(train 1, val 1)" in capsys.readouterr().out


def test_classes_mapped_by_hand_are_of_use_and_of_the_set(source, tmp_path):
    with pytest.raises(InputError, match="--class car=none has no use without --classes ours"):
        run_convert(args(source, tmp_path / "out", names=["car=none"]))
    with pytest.raises(InputError, match="class 'tuktuk' is none of"):
        run_convert(args(source, tmp_path / "out", names=["tuktuk=vehicle"], classes="ours"))


def test_pictures_of_a_list_that_are_missing_are_said_to_be(source, tmp_path, capsys):
    (source / "val.txt").write_text("images/gone/a.png\n")
    (source / "data.yaml").write_text("train: images/train\nval: val.txt\nnames: [car, person]\n")
    run_convert(args(source, tmp_path / "out"))
    assert "split val has no pictures; left out" in capsys.readouterr().out
    with pytest.raises(
        InputError, match=r"no picture of split 'val' is there; first .*gone/a\.png"
    ):
        run_convert(args(source, tmp_path / "out2", split=["val"]))


@pytest.mark.parametrize(("splits", "says"), [(["val"], "no train"), (["train", "val"], None)])
def test_a_yolo_set_that_ultralytics_cannot_train_on_is_said_to_be(
    source, tmp_path, capsys, splits, says
):
    run_convert(args(source, tmp_path / "out", "yolo", split=splits))
    out = capsys.readouterr().out
    assert ("which Ultralytics needs" in out) == bool(says) and (says or "") in out
