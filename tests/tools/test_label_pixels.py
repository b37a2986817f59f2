"""``label`` with a network of pixel classes: what it writes is a set that training reads."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from data.datasets import open_dataset
from data.errors import InputError
from data.taxonomy import CAMVID_NAMES
from data.types import UNKNOWN
from perception.segmenter import Segmenter
from perception.selftrain_pixels import VIEWS, label_pixels, votes
from tools import label as label_module
from tools.label import run_label

SKY, ROAD, CAR = (CAMVID_NAMES.index(n) for n in ("sky", "road", "car"))
SIZE = (320, 240)


class ByColour:
    """A session: blue is sky, red a car, all else road; ``calls`` counts the pictures."""

    calls = 0

    def run(self, _, feed):
        self.calls += 1
        b, _, r = (feed["image"][0, ..., k].astype(int) for k in range(3))
        classes = np.where(b > r + 60, SKY, np.where(r > b + 60, CAR, ROAD))
        return [classes[None].astype(np.int32)]


@pytest.fixture
def segmenter(monkeypatch):
    model = Segmenter("fake", "1" * 64, SIZE, CAMVID_NAMES, {}, ByColour())
    monkeypatch.setattr(label_module, "load_any", lambda *_: model)
    return model


def picture():
    """Sky above, road below, a car on its left."""
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    image[:100] = (220, 90, 60)
    image[130:180, 40:120] = (30, 40, 210)
    return image


@pytest.fixture
def pictures(two_pictures):
    return two_pictures(picture())


def test_views_are_brought_back_to_where_they_were(segmenter):
    shares = votes(picture(), segmenter, len(CAMVID_NAMES))
    assert shares.shape == (11, 240, 320) and np.allclose(shares.sum(0), 1, atol=1e-5)
    found = label_pixels(shares)
    truth = segmenter(picture())
    known = found.classes != UNKNOWN
    assert found.confidence == pytest.approx(known.mean()) and known.mean() > 0.95
    assert (found.classes == truth)[known].all()
    assert {*np.unique(truth)} == {SKY, ROAD, CAR}


def test_pixels_that_the_views_dispute_are_unknown():
    def classify(image):  # sees the mirror image as something else
        mirrored = image[:, : image.shape[1] // 2].mean() > image[:, image.shape[1] // 2 :].mean()
        return np.full(image.shape[:2], SKY if mirrored else ROAD, np.uint8)

    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 40:] = 200
    found = label_pixels(votes(image, classify, 11, VIEWS[:2]))
    assert (found.classes == UNKNOWN).all()
    assert found.confidence == 0 and found.agreement == pytest.approx(0.5)


def test_what_is_written_is_read_as_it_was_meant(options, pictures, tmp_path, segmenter, capfd):
    out = tmp_path / "out"
    assert run_label(options(pictures, out)) == 0
    said = capfd.readouterr().out
    assert "2 frames labelled" in said and 'layout = "camvid"' in said
    d = open_dataset(out, "train", "camvid", strict=True)
    assert d.names == ("a.png", "drive_b.png") and d.segmentation_names == CAMVID_NAMES
    s = d.load(1)
    assert (s.image == picture()).all()
    assert s.segmentation[20, 160] == SKY and s.segmentation[150, 80] == CAR
    assert s.segmentation[220, 160] == ROAD
    assert json.loads((out / "label.json").read_text())["sha256"] == "1" * 64


def test_a_run_goes_on_where_it_stopped(options, pictures, tmp_path, segmenter):
    out = tmp_path / "out"
    run_label(options(pictures, out, max_frames=1))
    calls = segmenter.session.calls
    assert calls == len(VIEWS)
    run_label(options(pictures, out))
    assert segmenter.session.calls == 2 * calls
    run_label(options(pictures, out))
    assert segmenter.session.calls == 2 * calls
    with pytest.raises(InputError, match="labelled with another min_confidence"):
        run_label(options(pictures, out, min_confidence=0.1))
    (out / "label.json").write_text("[")
    with pytest.raises(InputError, match=r"label\.json: cannot be read"):
        run_label(options(pictures, out))
    (out / "label.json").unlink()
    with pytest.raises(InputError, match="holds other data"):
        run_label(options(pictures, out))


def test_what_does_not_fit_is_told(options, pictures, tmp_path, segmenter, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="--fit: has no use with camvid"):
        run_label(options(pictures, out, fit=pictures, model="camvid"))
    cv2.imwrite(str(pictures / "drive_b.png"), picture())
    with pytest.raises(InputError, match="would share one mask"):
        run_label(options(pictures, out))
    assert not out.exists()
    with pytest.raises(InputError, match="no frame to label: 1 of too little confidence"):
        run_label(options(pictures, tmp_path / "none", min_confidence=1.0, max_frames=1))
    other = Segmenter("x", "", SIZE, ("a", "b"), {}, None)
    monkeypatch.setattr(label_module, "load_any", lambda *_: other)
    with pytest.raises(InputError, match="gives each pixel one of a, b; labels are written in"):
        run_label(options(pictures, tmp_path / "other"))
