"""A set of tiny pictures in BDD100K's layout, and the configuration of a tiny run."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

WIDTH, HEIGHT = 128, 96


def _write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def _frame(root, split, k, rng):
    """A road below, a lane line in it and a bright car on it; returns its label entry."""
    image = rng.integers(60, 100, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    drivable, lane = np.full((HEIGHT, WIDTH), 2, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    drivable[50:] = 0
    lane[55:, 60:64] = 255
    image[50:] //= 2
    image[55:, 60:64] = 255
    x, y = int(rng.integers(5, 80)), int(rng.integers(30, 60))
    image[y : y + 24, x : x + 32] = (30, 30, 230)
    name = f"{split}{k}"
    _write(root / f"images/100k/{split}/{name}.jpg", image)
    _write(root / f"labels/drivable/masks/{split}/{name}.png", drivable)
    _write(root / f"labels/lane/binary/{split}/{name}.png", lane)
    box = {"x1": x, "y1": y, "x2": x + 32, "y2": y + 24}
    return {"name": f"{name}.jpg", "labels": [{"id": "0", "category": "car", "box2d": box}]}


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    """Folder of four training and two validation frames, 128 x 96 px, all tasks labelled."""
    root = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        entries = [_frame(root, split, k, rng) for k in range(count)]
        target = root / f"labels/det_20/det_{split}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(entries))
    return root


@pytest.fixture
def tiny_toml(tiny_set, tmp_path):
    """Writes the configuration of a run of a few steps on ``tiny_set``, with ``extra`` lines of
    TOML before its tables."""

    def write(extra="", tables="", steps=4):
        path = tmp_path / "run.toml"
        path.write_text(
            f'{extra}\narch = "nano"\nsize = [96, 64]\nval_size = [96, 64]\nbf16 = false\n'
            "val_every = 2\nsave_every = 1\nworkers = 0\nthreads = 1\n"
            f"[optimizer]\nsteps = {steps}\nbatch = 4\nwarmup_steps = 1\n"
            f'[[data]]\npath = "{tiny_set}"\n[[val]]\npath = "{tiny_set}"\nsplit = "val"\n{tables}'
        )
        return path

    return write
