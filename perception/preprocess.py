"""The one way from a picture to the network's input, for training, evaluation and replay.

Letterbox rule: scale to fit, keep the aspect, place at the top left, pad right and below with
grey 127. The network's file takes the result as it is: uint8, BGR, (1, h, w, 3).
"""

from __future__ import annotations

import cv2
import numpy as np

from data.errors import InputError
from data.types import U8

PAD_VALUE = 127
_MULTIPLE = 32  # the coarsest stride of the networks
LETTERBOX_RULE = "fit, keep aspect, top left, pad 127, area filter below half size"


def check_size(size: tuple[int, int]) -> None:
    """InputError where a network's input cannot be of ``size`` (width, height)."""
    if any(v <= 0 or v % _MULTIPLE for v in size):
        raise InputError(
            f"size {size[0]}x{size[1]}: width and height must be multiples of {_MULTIPLE}"
        )


def letterbox_scale(width_px: int, height_px: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height) in px that the picture takes within ``size`` (width, height)."""
    factor = min(size[0] / width_px, size[1] / height_px)
    return max(1, round(width_px * factor)), max(1, round(height_px * factor))


def letterbox(image: U8, size: tuple[int, int]) -> tuple[U8, tuple[float, float]]:
    """Fit a BGR image (h, w, 3) uint8 into ``size`` (width, height).

    Returns:
        The canvas (height, width, 3) uint8 and the scale (x, y): a pixel (u, v) of the image
        lies at ``(u + 0.5) * scale - 0.5`` of the canvas.
    """
    height, width = image.shape[:2]
    new_w, new_h = letterbox_scale(width, height, size)
    filter_ = cv2.INTER_AREA if new_w * 2 < width else cv2.INTER_LINEAR
    canvas = np.full((size[1], size[0], 3), PAD_VALUE, np.uint8)
    cv2.resize(image, (new_w, new_h), dst=canvas[:new_h, :new_w], interpolation=filter_)
    return canvas, (new_w / width, new_h / height)
