"""Rendered frames written to disk read back as they were."""

from __future__ import annotations

import numpy as np

from data.datasets import open_dataset
from data.synthetic.dataset import write_bdd100k
from data.synthetic.drive import random_sample


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
