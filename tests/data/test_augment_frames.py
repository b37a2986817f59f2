"""Frames read small: as if read whole and shrunk."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data.datasets import open_dataset
from data.errors import InputError
from data.frames import find_rare, frame_size, read_frame
from data.taxonomy import CLASS_ID

XML = (
    "<annotation><object><name>{}</name><bndbox><xmin>200</xmin><ymin>160</ymin><xmax>280</xmax>"
    "<ymax>320</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def wide(tmp_path):
    """Pictures of 960 x 540 with one box each, the second a bicycle's."""
    y, x = np.mgrid[:540, :960]
    picture = np.dstack([x * 255 // 959, y * 255 // 539, (x + y) * 255 // 1498]).astype(np.uint8)
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    for name, kind in (("a", "vehicle"), ("b", "bike")):
        cv2.imwrite(str(tmp_path / f"images/train/{name}.jpg"), picture)
        (tmp_path / f"labels/train/{name}.xml").write_text(XML.format(kind))
    return open_dataset(tmp_path, "train")


@pytest.mark.parametrize("width", [2000, 960, 700, 480, 200])
def test_a_frame_read_small_is_the_frame_shrunk(wide, width):
    s, whole = read_frame(wide, 0, width), wide.load(0)
    size = frame_size(960, 540, width)
    assert s.image.shape[1::-1] == size == (min(width, 960), round(540 * min(width, 960) / 960))
    shrunk = cv2.resize(whole.image, size, interpolation=cv2.INTER_AREA)
    assert np.abs(s.image.astype(int) - shrunk).mean() < 2
    scale = np.array([size[0] / 960, size[1] / 540] * 2)
    assert s.xyxy[0] == pytest.approx(whole.xyxy[0] * scale, rel=1e-4)
    assert s.class_id.tolist() == [CLASS_ID["vehicle"]]


def middle_and_length(line):
    """Of the bright part of a line of grey values 0 to 255, in px with edges from 0."""
    share = line.astype(float) / 255
    return (share * (np.arange(len(line)) + 0.5)).sum() / share.sum(), share.sum()


@pytest.mark.parametrize("width", [960, 700, 480, 333, 240, 200])
def test_sharp_edges_stay_where_boxes_and_masks_have_them(wide, width):
    """The box is white on black, and is the drivable area too."""
    picture = np.zeros((540, 960, 3), np.uint8)
    picture[160:320, 200:280] = 255
    for path, image in ((wide.images[0], picture), (wide.root / "m.png", picture[..., 0] // 255)):
        assert cv2.imwrite(str(path), image)
    s = read_frame(
        replace(
            wide,
            tasks=("detection", "drivable"),
            masks={"drivable": (wide.root / "m.png",)},
            mask_values={"drivable": {0: 0, 1: 1}},
        ),
        0,
        width,
    )
    x1, y1, x2, y2 = s.xyxy[0]
    row, column = int(y1 + y2) // 2, int(x1 + x2) // 2
    for grey, near in ((s.image[..., 1], 0.15), (s.drivable * 255, 0.75)):
        for line, low, high in ((grey[row], x1, x2), (grey[:, column], y1, y2)):
            middle, length = middle_and_length(line)
            assert middle == pytest.approx((low + high) / 2, abs=near)
            assert length == pytest.approx(high - low, abs=2 * near)
    between = (s.image[row, :, 1] > 25) & (s.image[row, :, 1] < 230)
    assert between.sum() <= 4  # two edges, each over in two pixels


def test_a_missing_image_is_named(wide):
    wide.images[0].unlink()
    with pytest.raises(InputError, match=r"a\.jpg"):
        read_frame(wide, 0, 480)


def test_a_picture_that_opencv_refuses_teaches_nothing_or_is_named(monkeypatch, wide):
    def refuse(*_):
        raise cv2.error("pixels <= CV_IO_MAX_IMAGE_PIXELS")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    s = read_frame(wide, 0, 480)
    assert not s.labelled_classes.any() and "a.jpg" in s.problems[0]
    with pytest.raises(InputError, match=r"a\.jpg: cannot be read as an image"):
        read_frame(replace(wide, strict=True), 0, 480)


def test_rare_objects_are_found_by_class(wide):
    found = find_rare(wide, (CLASS_ID["person"], CLASS_ID["two_wheeler"]), 960)
    assert found == {CLASS_ID["two_wheeler"]: (1,)}
    # at a twentieth of its size there is nothing worth cutting out
    assert find_rare(wide, (CLASS_ID["two_wheeler"],), 48) == {}


def test_masks_are_read_with_the_frame_or_left(realdata):
    dataset = open_dataset(realdata / "bdd100k_subset", "train")
    s = read_frame(dataset, 0, 640, widen_lane=lambda lane: np.ones_like(lane))
    assert s.image.shape == (360, 640, 3)
    whole = dataset.load(0)
    assert (s.drivable == whole.drivable[::2, ::2]).mean() > 0.99
    assert s.lane is not None and (s.lane == 1).all()
    boxes = read_frame(dataset, 0, 640, boxes_only=True)
    assert boxes.drivable is None and boxes.lane is None
    assert (boxes.xyxy == s.xyxy).all() and (boxes.image == s.image).all()
