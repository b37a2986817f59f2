"""Pictures and a labelled set for tests to spoil."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from data.checks import check_leaks, check_split, find_pairs
from data.datasets import open_dataset, with_names
from data.image_checks import check_image

SIZE = (128, 72)


def scene(seed, size=SIZE):
    """A picture of smooth random patches, unlike any of another seed."""
    patches = np.random.default_rng(seed).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(patches, size, interpolation=cv2.INTER_CUBIC)


def write(path, image, *options):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image, *options)


def car(x1, y1, x2, y2, category="car"):
    return {"category": category, "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2}}


class Made:
    """A set in BDD100K's layout: two frames a split with a box and a drivable mask each."""

    size_px = SIZE
    scene, write, car = staticmethod(scene), staticmethod(write), staticmethod(car)

    def __init__(self, root):
        self.root = root
        self.labels = {}
        for n, split in enumerate(("train", "val")):
            for k, name in enumerate("ab"):
                write(self.image(split, name), scene(10 * n + k))
                mask = np.full(SIZE[::-1], 2, np.uint8)
                mask[40:] = 0
                write(self.mask(split, name), mask)
                self.labels[split, name] = [car(10, 20, 50, 60)]

    def image(self, split, name):
        return self.root / f"images/100k/{split}/{name}.jpg"

    def mask(self, split, name):
        return self.root / f"labels/drivable/masks/{split}/{name}.png"

    def save(self):
        for split in ("train", "val"):
            entries = [
                {"name": f"{name}.jpg", "labels": labels}
                for (s, name), labels in self.labels.items()
                if s == split
            ]
            path = self.root / f"labels/det_20/det_{split}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(entries))

    def examine(self, names=(), fast=False):
        """All findings by kind."""
        self.save()
        sets = {s: with_names(open_dataset(self.root, s), names) for s in ("train", "val")}
        entries = {s: [check_image(d, i, fast) for i in range(len(d))] for s, d in sets.items()}
        found = [f for s, d in sets.items() for f in check_split(d, entries[s])]
        pairs = find_pairs(entries)
        found += check_leaks(pairs, entries, {s: d.names for s, d in sets.items()})
        return {f.kind: f for f in found}


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


@pytest.fixture(name="scene")
def scene_of_a_seed():
    return scene
