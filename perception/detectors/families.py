"""Families of detectors and the pre-processing each was published with, stated once.

Read, not copied, from: YOLOX (Ge et al. 2021; Megvii-BaseDetection/YOLOX, ``preproc`` of
``yolox/data/data_augment.py``), YOLOv8 and YOLO11 (ultralytics/ultralytics, ``LetterBox`` of
``ultralytics/data/augment.py`` and ``BasePredictor.preprocess``), NanoDet and NanoDet-Plus
(RangiLyu/nanodet, ``nanodet/data/transform/warp.py`` and ``config/``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from data.types import F32, U8

Fit = Literal["top left", "middle", "stretch"]


@dataclass(frozen=True)
class Family:
    """How a family wants its pictures.

    Attributes:
        decoder: what a user calls it; title: in words.
        strides: the sets of grid strides that its files have, the usual one first.
        fit: where the picture lies in the input; 'stretch' fills it and loses the aspect.
        floor: the scaled size is cut to whole pixels instead of rounded.
        pad: grey around the picture, 0 to 255, before ``mean`` and ``std``.
        rgb: colours in this order, else blue, green, red.
        mean, std: the input is ``(pixel - mean) / std``, pixels 0 to 255, in the input's order.
        size: (width, height) px where the file leaves it open.
        nms_iou: boxes of a class that overlap more are one object.
    """

    decoder: str
    title: str
    strides: tuple[tuple[int, ...], ...]
    fit: Fit
    floor: bool
    pad: int
    rgb: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: tuple[int, int]
    nms_iou: float


_NONE, _ONE, _255 = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (255.0, 255.0, 255.0)
_MEAN, _STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # ImageNet's, blue first
_THREE, _FOUR = (8, 16, 32), (8, 16, 32, 64)

YOLOX = Family(
    "yolox", "YOLOX", (_THREE, _FOUR), "top left", True, 114, False, _NONE, _ONE, (640, 640), 0.45
)
YOLOV8 = Family(
    "yolov8", "YOLOv8 or YOLO11", (_THREE, _FOUR, (4, *_THREE)),
    "middle", False, 114, True, _NONE, _255, (640, 640), 0.7,
)  # fmt: skip
NANODET_PLUS = Family(
    "nanodet", "NanoDet-Plus", (_FOUR,), "stretch", False, 0, False, _MEAN, _STD, (416, 416), 0.6
)
NANODET = Family(  # the first version, whose configurations keep the aspect
    "nanodet", "NanoDet", (_THREE,), "middle", False, 0, False, _MEAN, _STD, (320, 320), 0.6
)
FAMILIES = (YOLOX, YOLOV8, NANODET_PLUS, NANODET)
DECODERS = tuple(dict.fromkeys(f.decoder for f in FAMILIES))


@dataclass(frozen=True)
class Placement:
    """Where the picture lies in the input: its pixel (u, v), edges at whole numbers, is at
    ``(u, v) * scale + offset_px`` there; both are (x, y)."""

    scale: tuple[float, float]
    offset_px: tuple[int, int]

    def to_image(self, xyxy: F32) -> F32:
        """Boxes (n, 4) of the input in px of the picture."""
        offset = np.array(self.offset_px * 2, np.float32)
        return np.asarray((xyxy - offset) / np.array(self.scale * 2, np.float32), np.float32)


def place(family: Family, width_px: int, height_px: int, size: tuple[int, int]) -> Placement:
    """Where a picture lies in an input of ``size`` (width, height).

    The scale is the true one, after rounding to whole pixels.
    """
    if family.fit == "stretch":
        return Placement((size[0] / width_px, size[1] / height_px), (0, 0))
    factor = min(size[0] / width_px, size[1] / height_px)
    whole = int if family.floor else round
    # a hair more, since 1280 * (640 / 1280) may fall short of a whole number
    new = [max(1, whole(v * factor + 1e-9)) for v in (width_px, height_px)]
    left, top = 0, 0
    if family.fit == "middle":  # an odd pixel of padding goes to the right and below
        left, top = ((s - n) // 2 for s, n in zip(size, new, strict=True))
    return Placement((new[0] / width_px, new[1] / height_px), (left, top))


def prepare(image: U8, family: Family, size: tuple[int, int]) -> tuple[F32, Placement]:
    """A BGR picture (h, w, 3) uint8 as the family's input (1, 3, height, width) float32, and where
    it lies in that."""
    height, width = image.shape[:2]
    at = place(family, width, height, size)
    x, y = at.offset_px
    w, h = round(width * at.scale[0]), round(height * at.scale[1])
    canvas = np.full((size[1], size[0], 3), family.pad, np.uint8)
    cv2.resize(image, (w, h), dst=canvas[y : y + h, x : x + w], interpolation=cv2.INTER_LINEAR)
    if family.rgb:
        canvas = canvas[..., ::-1]
    planes = np.ascontiguousarray(canvas.transpose(2, 0, 1), np.float32)
    if family.mean != _NONE:
        planes -= np.array(family.mean, np.float32)[:, None, None]
    if family.std != _ONE:
        planes /= np.array(family.std, np.float32)[:, None, None]
    return planes[None], at
