"""Detectors of other projects: pixels, colours and boxes land where each family means them to."""

from __future__ import annotations

import numpy as np
import pytest

from data.taxonomy import CLASSES
from perception.detectors import load_detector
from perception.detectors.families import (
    NANODET,
    NANODET_PLUS,
    YOLOV8,
    YOLOX,
    place,
    prepare,
)
from perception.detectors.names import COCO

WIDTH, HEIGHT = 256, 192  # of the networks' input, unlike both ways
CAR = COCO.index("car")


# --- where pictures and colours go ---


@pytest.mark.parametrize(
    ("family", "picture", "where"),
    [  # picture (w, h) -> x, y, w, h in the input, by hand
        (YOLOX, (1280, 720), (0, 0, 256, 144)),
        (YOLOX, (1001, 333), (0, 0, 256, 85)),  # 85.16, cut
        (YOLOX, (100, 401), (0, 0, 47, 192)),  # 47.88, cut where the others round
        (YOLOV8, (1280, 720), (0, 24, 256, 144)),
        (YOLOV8, (100, 401), (104, 0, 48, 192)),
        (YOLOV8, (1001, 333), (0, 53, 256, 85)),  # 107 px of padding: 53 above, 54 below
        (NANODET_PLUS, (100, 401), (0, 0, 256, 192)),
        (NANODET, (100, 401), (104, 0, 48, 192)),
    ],
)
def test_where_a_picture_lies_in_the_input(family, picture, where):
    x, y, w, h = where
    at = place(family, *picture, (WIDTH, HEIGHT))
    assert at.offset_px == (x, y)
    assert at.scale == pytest.approx((w / picture[0], h / picture[1]))
    image = np.full((picture[1], picture[0], 3), 255, np.uint8)
    planes, _ = prepare(image, family, (WIDTH, HEIGHT))
    assert planes.shape == (1, 3, HEIGHT, WIDTH) and planes.dtype == np.float32
    rows, cols = np.nonzero(planes[0, 0] == planes[0, 0].max())
    assert (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1) == (x, y, x + w, y + h)
    full = np.array([[0, 0, *picture]], np.float32)
    inside = np.array([[x, y, x + w, y + h]], np.float32)
    np.testing.assert_allclose(at.to_image(inside), full, atol=1e-3)


BGR = (200, 100, 50)  # of a picture of one colour


@pytest.mark.parametrize(
    ("family", "channels", "padding"),
    [
        (YOLOX, (200.0, 100.0, 50.0), (114.0,) * 3),
        (YOLOV8, (50 / 255, 100 / 255, 200 / 255), (114 / 255,) * 3),
        (
            NANODET,
            ((200 - 103.53) / 57.375, (100 - 116.28) / 57.12, (50 - 123.675) / 58.395),
            (-103.53 / 57.375, -116.28 / 57.12, -123.675 / 58.395),
        ),
    ],
)
def test_colours_reach_the_network_as_the_family_expects(family, channels, padding):
    image = np.full((100, 300, 3), BGR, np.uint8)
    planes, at = prepare(image, family, (WIDTH, HEIGHT))
    y = at.offset_px[1]
    np.testing.assert_allclose(planes[0, :, y + 10, 50], channels, rtol=1e-5)
    np.testing.assert_allclose(planes[0, :, -1, -1], padding, rtol=1e-5)


# --- networks that find the red rectangle, exported by torch ---


def red_box_network(decoder, levels):
    """Finds the rectangle of red pixels and answers as the family does, in one cell."""
    import torch

    per_level = [(WIDTH // 2 ** (3 + k), HEIGHT // 2 ** (3 + k)) for k in range(levels)]
    stride = 2 ** (2 + levels)
    cols, rows = per_level[-1]
    column, row = cols // 2, rows // 2
    index = sum(w * h for w, h in per_level[:-1]) + row * cols + column
    cells = sum(w * h for w, h in per_level)

    class Net(torch.nn.Module):
        def colours(self, x):
            """Red and blue, 0 to 1, by what the family's own code feeds."""
            if decoder == "yolox":
                return x[:, 2] / 255, x[:, 0] / 255
            if decoder == "yolov8":
                return x[:, 0], x[:, 2]
            mean, std = (103.53, 123.675), (57.375, 58.395)
            return (x[:, 2] * std[1] + mean[1]) / 255, (x[:, 0] * std[0] + mean[0]) / 255

        def box(self, x):
            red, blue = self.colours(x)
            hit = ((red > 0.5) & (blue < 0.5)).float()[0]
            along, down = hit.amax(0), hit.amax(1)
            u, v = torch.arange(WIDTH).float(), torch.arange(HEIGHT).float()
            far = 1e4
            x1, y1 = (u + (1 - along) * far).min(), (v + (1 - down) * far).min()
            x2, y2 = (u - (1 - along) * far).max() + 1, (v - (1 - down) * far).max() + 1
            return x1, y1, x2, y2

        def forward(self, x):
            x1, y1, x2, y2 = self.box(x)
            scores = torch.zeros(80)
            scores[CAR] = 0.9
            middle = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2])
            wh = torch.stack([x2 - x1, y2 - y1])
            if decoder == "yolov8":
                line = torch.cat([middle, wh, scores])
            elif decoder == "yolox":
                raw = middle / stride - torch.tensor([column, row])
                objectness = torch.tensor([0.5])
                line = torch.cat([raw, torch.log(wh / stride), objectness, scores])
            else:
                shift = 0.0 if levels == 4 else 0.5
                at = torch.tensor([column + shift, row + shift]) * stride
                reach = torch.cat([at - torch.stack([x1, y1]), torch.stack([x2, y2]) - at])
                apart = (torch.arange(8.0)[None] - (reach / stride)[:, None]).abs()
                logits = torch.log(torch.clamp(1 - apart, min=1e-9))
                line = torch.cat([scores, logits.flatten()])
            where = torch.zeros(1, cells, 1)
            where[0, index, 0] = 1
            out = where * line
            return out.permute(0, 2, 1) if decoder == "yolov8" else out

    return Net()


NETWORKS = [("yolox", 3), ("yolox", 4), ("yolov8", 3), ("nanodet", 4), ("nanodet", 3)]


@pytest.fixture(scope="module")
def red_box_file(tmp_path_factory):
    torch = pytest.importorskip("torch")
    folder, made = tmp_path_factory.mktemp("red"), {}

    def build(decoder, levels):
        if (decoder, levels) not in made:
            path = folder / f"{decoder}{levels}.onnx"
            example = torch.zeros(1, 3, HEIGHT, WIDTH)
            torch.onnx.export(
                red_box_network(decoder, levels), (example,), str(path), input_names=["images"],
                output_names=["out"], opset_version=17, dynamo=False,
            )  # fmt: skip
            made[decoder, levels] = path
        return made[decoder, levels]

    return build


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(("decoder", "levels"), NETWORKS)
@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (640, 480, (200, 150, 480, 380)),  # the input's own aspect
        (1201, 403, (500, 100, 801, 300)),  # wide: bands above and below, or below alone
        (230, 611, (60, 200, 200, 420)),  # high
        (97, 89, (31, 30, 80, 70)),  # smaller than the input
    ],
)
def test_a_red_rectangle_is_found_where_it_is(red_box_file, decoder, levels, width, height, box):
    image = np.zeros((height, width, 3), np.uint8)
    image[:] = (255, 0, 0)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = (0, 0, 255)
    detector = load_detector(red_box_file(decoder, levels), decoder)
    found = detector(image, 0.3)
    assert [CLASSES[c] for c in found.class_id] == ["vehicle"]
    assert found.score[0] == pytest.approx(0.45 if decoder == "yolox" else 0.9, abs=1e-5)
    pixel = np.array(detector.prepare(image)[1].scale * 2)  # of the input, in px of the picture
    assert (np.abs(found.xyxy[0] - box) <= 0.75 / pixel + 0.01).all(), found.xyxy
