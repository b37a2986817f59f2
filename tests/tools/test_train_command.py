"""``roadstack train`` as a person with a folder of her own labels types it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("albumentations")

from data.errors import InputError
from tools.cli import main
from tools.train import own_splits, own_steps

SMALL = ["size=[128, 96]", "val_size=[128, 96]", "workers=0", "threads=1", "optimizer.batch=2"]


@pytest.fixture
def coco(tmp_path):
    """Three pictures with a car each, in COCO's form, without splits."""
    folder = tmp_path / "my set"
    (folder / "images").mkdir(parents=True)
    for i in range(3):
        assert cv2.imwrite(str(folder / f"images/{i}.png"), np.full((96, 128, 3), 60, np.uint8))
    images = [{"id": i, "file_name": f"{i}.png", "width": 128, "height": 96} for i in range(3)]
    boxes = [
        {"id": i, "image_id": i, "category_id": 3, "bbox": [20, 30, 40, 30], "iscrowd": 0}
        for i in range(3)
    ]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 3, "name": "car"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_a_folder_of_labels_is_enough_and_the_rest_is_not_forgotten(coco, tmp_path, capfd):
    out = tmp_path / "run"
    argv = ["train", "--data", str(coco), "--out", str(out), *SMALL, "optimizer.steps=1"]
    assert main(argv) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["data"][0]["path"] == str(coco)
    assert config["init"] == config["teacher"] and config["init"].endswith("base.safetensors")
    assert (out / "best.safetensors").is_file()
    assert "no val split" in capfd.readouterr().err
    assert main(argv) == 0  # once more
    assert "was trained to the end before; for another run" in capfd.readouterr().err
    (out / "state.pt").write_bytes((out / "state.pt").read_bytes()[:1000])
    assert main(argv) == 2
    err = capfd.readouterr().err
    assert "state.pt: cannot be read" in err and "choose a new --out" in err


@pytest.mark.parametrize("said", ["arch=nano", 'arch="nano"'])
def test_the_small_network_starts_from_its_own_weights_and_is_taught_by_base(coco, tmp_path, said):
    out = tmp_path / "run"
    argv = ["train", "--data", str(coco), "--out", str(out), *SMALL, "optimizer.steps=1", said]
    assert main(argv) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["init"].endswith("nano.safetensors")
    assert config["teacher"].endswith("base.safetensors")


def test_few_pictures_are_not_shown_too_often():
    assert [own_steps(n) for n in (1, 20, 50, 80, 10**6)] == [100, 100, 250, 400, 400]


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [
        (("all",), ("all", None)),
        (("val",), ("val", None)),
        (("train", "test"), ("train", None)),
        (("test", "train", "valid"), ("train", "valid")),
        (("train", "trainval", "val"), ("train", "val")),
        (("train2017", "val2017"), ("train2017", "val2017")),
        (("testing", "training"), ("training", None)),
    ],
)
def test_the_splits_to_train_on_and_to_choose_by(splits, chosen):
    assert own_splits(Path("set"), splits) == chosen


def test_a_set_is_not_trained_on_what_it_is_to_be_tested_by():
    with pytest.raises(InputError, match="expected a split named 'train' among test, val"):
        own_splits(Path("set"), ("test", "val"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("optimizer.rate=-1.0", "optimizer: rate: expected above 0, given -1.0"),
        ("optimizer.rate=nan", "rate: expected above 0, given nan"),
        ("optimizer.ema=2.0", "ema: expected at least 0 and at most 1, given 2.0"),
        ("optimizer.frozen_blocks=-1", "frozen_blocks: expected at least 0, given -1"),
        ("distill.heat=inf", "distill: heat: expected at least 0, given inf"),
        ("workers=-1", "workers: expected at least 0"),
        ("threads=0", "threads: expected at least 1, given 0"),
        ("seed=-1", "seed: expected at least 0"),
        ('data=[{path="a", share=0.0}]', "share: expected above 0, given 0.0"),
    ],
)
def test_settings_without_sense_are_refused_in_one_line(wrong, said, tmp_path, capfd):
    assert main(["train", wrong, "--out", str(tmp_path / "r")]) == 2
    err = capfd.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_config_and_a_folder_at_once_are_refused(coco, tmp_path, capfd):
    config = tmp_path / "c.toml"
    config.write_text("seed = 1\n")
    assert main(["train", str(config), "--data", str(coco), "--out", str(tmp_path / "r")]) == 2
    assert "not both" in capfd.readouterr().err


def test_nothing_to_train_on_is_said(tmp_path, capfd):
    assert main(["train", "seed=1", "--out", str(tmp_path / "r")]) == 2
    assert "--data FOLDER" in capfd.readouterr().err


@pytest.fixture
def bare(tmp_path):
    """A YOLO set of two splits whose labels lie where nobody looks."""
    folder = tmp_path / "bare"
    for split in ("train", "val"):
        (folder / split / "images").mkdir(parents=True)
        (folder / split / "Labels_txt").mkdir()
        (folder / split / "Labels_txt/0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
        picture = np.full((96, 128, 3), 60, np.uint8)
        assert cv2.imwrite(str(folder / f"{split}/images/0.png"), picture)
    names = "names: [car]\n"
    (folder / "data.yaml").write_text(f"train: train/images\nval: val/images\n{names}")
    return folder


def test_a_set_whose_labels_are_not_found_is_refused_with_a_teacher_too(bare, tmp_path, capfd):
    argv = ["train", "--data", str(bare), "--out", str(tmp_path / "r"), *SMALL, "optimizer.steps=1"]
    assert main(argv) == 2
    err = capfd.readouterr().err
    assert "split 'train' has no labels for" in err and "run roadstack doctor" in err
    assert f"looked for {bare / 'train/labels/0.txt'}" in err
    assert "warning: " in err and "split 'val' has no labels to choose the best by" in err


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--class", "car=person"], '--class goes with --data; else write names = ["NAME=OURS"]'),
        (["--format", "coco"], "--format goes with --data; else write layout"),
    ],
)
def test_options_of_a_folder_are_refused_with_a_config(option, says, tmp_path, capfd):
    config = tmp_path / "c.toml"
    config.write_text("seed = 1\n")
    assert main(["train", str(config), *option, "--out", str(tmp_path / "r")]) == 2
    assert says in capfd.readouterr().err


def test_a_config_is_read_strictly_where_that_is_asked_for(coco, tmp_path, capfd):
    content = json.loads((coco / "annotations.json").read_text())
    content["annotations"].append({"id": 9, "image_id": 99, "category_id": 3, "bbox": [1, 2, 3, 4]})
    (coco / "annotations.json").write_text(json.dumps(content))
    config = tmp_path / "c.toml"
    config.write_text(f'[[data]]\npath = "{coco}"\n')
    argv = ["train", str(config), "--strict", "--out", str(tmp_path / "r"), *SMALL]
    assert main([*argv, "optimizer.steps=1"]) == 2
    assert "image_id 99 is no image of the file" in capfd.readouterr().err


def test_a_class_that_the_set_does_not_have_is_refused(coco, tmp_path, capfd):
    argv = ["train", "--data", str(coco), "--out", str(tmp_path / "r"), *SMALL, "optimizer.steps=1"]
    assert main([*argv, "--class", "cart=two_wheeler"]) == 2
    err = capfd.readouterr().err
    assert "class 'cart' is none of" in err and "did you mean 'car'?" in err
