"""``roadstack train`` as a person with a folder of her own labels types it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("albumentations")

from tools.cli import main

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


def test_a_config_and_a_folder_at_once_are_refused(coco, tmp_path, capfd):
    config = tmp_path / "c.toml"
    config.write_text("seed = 1\n")
    assert main(["train", str(config), "--data", str(coco), "--out", str(tmp_path / "r")]) == 2
    assert "not both" in capfd.readouterr().err


def test_nothing_to_train_on_is_said(tmp_path, capfd):
    assert main(["train", "seed=1", "--out", str(tmp_path / "r")]) == 2
    assert "--data FOLDER" in capfd.readouterr().err
