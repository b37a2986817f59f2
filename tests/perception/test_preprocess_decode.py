"""Pixels to the network's input and its outputs back to pixels."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError
from perception.decode import (
    decode_detections,
    decode_surfaces,
    surface_at_image_size,
    surface_mask,
)
from perception.preprocess import PAD_VALUE, letterbox
from perception.runtime import Model

SIZES = [(1280, 720), (1242, 375), (640, 480), (320, 227), (100, 900)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_letterbox_keeps_aspect_and_pads_right_and_below(width, height):
    image = np.full((height, width, 3), 200, np.uint8)
    canvas, scale = letterbox(image, (640, 384))
    new_w, new_h = round(width * scale[0]), round(height * scale[1])
    assert canvas.shape == (384, 640, 3)
    assert new_w == 640 or new_h == 384
    assert (canvas[:new_h, :new_w] == 200).all()
    assert (canvas[new_h:] == PAD_VALUE).all()
    assert (canvas[:, new_w:] == PAD_VALUE).all()
    assert scale[0] / scale[1] == pytest.approx(1, rel=0.02)


def outputs(boxes, scores, classes):
    return {
        "boxes": np.array([boxes], np.float32).reshape(1, -1, 4),
        "scores": np.array([scores], np.float32),
        "classes": np.array([classes], np.int32),
        "drivable": np.zeros((1, 192, 320), np.float32),
        "lane": np.zeros((1, 192, 320), np.float32),
    }


def test_a_box_of_the_input_comes_back_in_pixels_of_the_image():
    out = outputs([[10, 20, 110, 70], [0, 0, 50, 50]], [0.9, 0.05], [0, 1])
    d = decode_detections(out, (0.5, 0.5), (1280, 720), 0.1)
    assert d.xyxy.tolist() == [[20, 40, 220, 140]]
    assert d.class_id.tolist() == [0]


def test_boxes_are_clipped_and_empty_or_broken_ones_dropped():
    out = outputs(
        [[-10, -10, 700, 400], [650, 10, 700, 50], [np.nan, 0, 5, 5], [30, 30, 30, 60]],
        [0.9] * 4,
        [0] * 4,
    )
    d = decode_detections(out, (0.5, 0.5), (1280, 720), 0.1)
    assert d.xyxy.tolist() == [[0, 0, 1280, 720]]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_half_image_surface_comes_back_at_half_the_image(width, height):
    """The lower half is drivable; the mask's edge must lie at half the picture's height."""
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 :] = 255
    canvas, scale = letterbox(image, (640, 384))
    out = outputs([], [], [])
    # a perfect network at half resolution
    out["drivable"] = canvas[::2, ::2, 0].astype(np.float32)[None] / 255
    out["drivable"][0, -2:] = 1.0  # padding must not matter
    maps = decode_surfaces(out, scale, (width, height), (640, 384))
    mask = surface_mask(maps.drivable, maps.scale, width, height)
    assert mask.shape == (height, width)
    edge = int(np.argmax(mask[:, width // 2] > 0))
    assert abs(edge - height // 2) <= 2 / scale[1] + 1


def test_upsampling_follows_pixel_centres():
    """A linear ramp keeps its values at the matching pixel centres."""
    ramp = np.tile(np.arange(320, dtype=np.float32), (180, 1))
    full = surface_at_image_size(ramp, (0.25, 0.25), 1280, 720)
    u = np.arange(100, 1100)
    assert full[300, 100:1100] == pytest.approx((u + 0.5) * 0.25 - 0.5, abs=0.02)


def test_both_ways_of_resampling_a_map_agree() -> None:
    """A map that covers the image to the pixel is resized; one a hair off is warped."""
    noise = np.random.default_rng(0).random((180, 320), np.float32)
    exact = surface_at_image_size(noise, (0.25, 0.25), 1280, 720)
    warped = surface_at_image_size(noise, (0.25 + 1e-8, 0.25 + 1e-8), 1280, 720)
    assert np.abs(exact - warped).max() < 1e-3


SHAPES = {"boxes": (1, 7, 4), "scores": (1, 7), "classes": (1, 7), "drivable": (1, 16, 32),
          "lane": (1, 16, 32)}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shape"),
    [("boxes", (1, 7, 4)), ("boxes", (1, 1, 7, 4)), ("boxes", (1, 6, 4)), ("scores", ()),
     ("classes", (7,)), ("drivable", (16, 32)), ("lane", (1, 16, 31))],
)  # fmt: skip
def test_outputs_of_other_shapes_are_refused_in_a_line(name, shape):
    """Whatever the file declares of them."""

    class Session:
        def run(self, names, inputs):
            return [np.zeros({**SHAPES, name: shape}[n], np.float32) for n in names]

    model = Model("odd", "", (64, 32), {}, Session())
    image = np.zeros((32, 64, 3), np.uint8)
    if shape == SHAPES[name]:
        assert len(model(image, 0.5)[0]) == 0
    else:
        with pytest.raises(InputError, match="model odd: its outputs are of other shapes"):
            model(image, 0.5)
