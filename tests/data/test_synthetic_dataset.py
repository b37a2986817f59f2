"""Rendered frames written to disk read back as they were."""

from __future__ import annotations

import json

import cv2
import numpy as np

from data.datasets import open_dataset
from data.logs import open_log
from data.synthetic.dataset import write_bdd100k, write_drive
from data.synthetic.drive import SyntheticDrive, random_sample
from data.taxonomy import CLASSES


def test_written_frames_read_back(tmp_path):
    write_bdd100k(tmp_path, 2, 40, (320, 180))
    d = open_dataset(tmp_path, "train")
    assert d.tasks == ("detection", "drivable", "lane")
    for i in range(2):
        read, made = d.load(i), random_sample(40 + i, 320, 180)
        assert np.allclose(read.xyxy, made.xyxy, atol=0.01)
        assert (read.class_id == made.class_id).all()
        assert (read.drivable == made.drivable).all()
        assert (read.lane == made.lane).all()
        difference = np.abs(read.image.astype(int) - made.image)
        assert difference.mean() < 6  # JPEG


def test_a_written_drive_opens_as_a_log_and_has_its_truth_beside_it(tmp_path):
    drive = SyntheticDrive(seed=4, frames=3, fps=12.0, width_px=320, height_px=192)
    write_drive(tmp_path, drive)
    frames = list(open_log(tmp_path / "images"))
    assert [f.t_ns for f in frames] == [drive.t_ns(i) for i in range(3)]
    lines = (tmp_path / "truth.jsonl").read_text().splitlines()
    for i, line in enumerate(lines):
        row, truth = json.loads(line), drive.truth(i)
        assert (row["index"], row["t_ns"]) == (i, truth.t_ns)
        assert row["ego"]["speed_mps"] == truth.ego.speed_mps
        assert np.allclose(row["camera"]["matrix"], truth.camera.matrix)
        assert [o["id"] for o in row["objects"]] == truth.track_id.tolist()
        assert [CLASSES.index(o["class"]) for o in row["objects"]] == truth.sample.class_id.tolist()
        assert np.allclose([o["xyxy"] for o in row["objects"]], truth.sample.xyxy)
        assert np.abs(frames[i].image.astype(int) - truth.sample.image).mean() < 8  # JPEG
        read = {
            k: cv2.imread(str(tmp_path / f"{k}/{i:06d}.png"), cv2.IMREAD_UNCHANGED)
            for k in ("objects", "depth", "drivable", "lane")
        }
        assert np.array_equal(read["objects"], truth.object_id)
        assert np.array_equal(read["drivable"] == 255, truth.sample.drivable == 1)
        assert np.array_equal(read["lane"] == 255, truth.sample.lane == 1)
        near = truth.depth_m < 650
        assert np.abs(read["depth"][near] / 100 - truth.depth_m[near]).max() < 0.006
        assert (read["depth"][np.isinf(truth.depth_m)] == 0).all()
