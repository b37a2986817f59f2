"""The one way from the network's outputs to ``Detections`` and ``Surfaces``.

Outputs, as the exported file gives them: ``boxes`` (1, k, 4) xyxy in px of the input, ``scores``
(1, k) descending, ``classes`` (1, k), ``drivable`` and ``lane`` (1, h, w) probabilities at a
fraction of the input's size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from data.types import F32, U8, Detections, Surfaces
from perception.boxes import clip_to

OUTPUTS = ("boxes", "scores", "classes", "drivable", "lane")
SEGMENTATION = "segmentation"  # the one output of a network that gives each pixel a class

Arrays = Mapping[str, NDArray]
_EXACT = 1e-6  # px


def decode_detections(
    out: Arrays, scale: tuple[float, float], image_size: tuple[int, int], min_score: float
) -> Detections:
    """Boxes in px of the original image, clipped to it; empty ones dropped.

    Args:
        out: the network's outputs.
        scale: (x, y) of the letterbox; image_size: (width, height) of the original image.
        min_score: lowest score kept.
    """
    score = np.asarray(out["scores"][0], np.float32)
    boxes: F32 = np.asarray(out["boxes"][0], np.float32)
    # input px (pixel edges at whole numbers) to the original's
    xyxy = np.asarray(boxes / np.array([*scale, *scale], np.float32), np.float32)
    xyxy, keep = clip_to(xyxy, image_size)
    keep &= score >= min_score
    return Detections(xyxy[keep], score[keep], np.asarray(out["classes"][0], np.int64)[keep])


def decode_surfaces(
    out: Arrays,
    scale: tuple[float, float],
    image_size: tuple[int, int],
    input_size: tuple[int, int],
) -> Surfaces:
    """Surface probabilities with the padding cut off; ``scale`` then maps image px to them."""
    drivable, lane = (np.asarray(out[k][0], np.float32) for k in ("drivable", "lane"))
    rows, cols = drivable.shape
    sx, sy = scale[0] * cols / input_size[0], scale[1] * rows / input_size[1]
    width = min(cols, math.ceil(image_size[0] * sx - 1e-6))
    height = min(rows, math.ceil(image_size[1] * sy - 1e-6))
    return Surfaces(drivable[:height, :width], lane[:height, :width], (sx, sy))


def decode_segmentation(out: Arrays, scale: tuple[float, float], image_size: tuple[int, int]) -> U8:
    """(height, width) uint8 class of each pixel of the original image, by nearest neighbour.

    Args:
        out: ``segmentation`` (1, h, w), classes at the input's size.
        scale: (x, y) of the letterbox; image_size: (width, height) of the original image.
    """
    classes = np.asarray(out[SEGMENTATION][0], np.uint8)
    rows, cols = (
        np.minimum(((np.arange(n) + 0.5) * s).astype(np.int64), limit - 1)
        for n, s, limit in zip(image_size[::-1], scale[::-1], classes.shape, strict=True)
    )
    return np.asarray(classes[rows[:, None], cols], np.uint8)


def surface_at_image_size(
    probability: F32, scale: tuple[float, float], width_px: int, height_px: int
) -> F32:
    """Resample a map bilinearly to the original image's size: (height_px, width_px) float32."""
    rows, cols = probability.shape
    if abs(width_px * scale[0] - cols) < _EXACT and abs(height_px * scale[1] - rows) < _EXACT:
        # covers the image to the pixel, as of 16:9 pictures: the same values in a fifth of the time
        return np.asarray(cv2.resize(probability, (width_px, height_px)), np.float32)
    m = np.array(
        [
            [scale[0], 0.0, 0.5 * scale[0] - 0.5],
            [0.0, scale[1], 0.5 * scale[1] - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(
        probability, m, (width_px, height_px), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(out, np.float32)


def surface_mask(
    probability: F32,
    scale: tuple[float, float],
    width_px: int,
    height_px: int,
    threshold: float = 0.5,
) -> U8:
    """(height_px, width_px) uint8: 255 where the surface is, 0 elsewhere."""
    full = surface_at_image_size(probability, scale, width_px, height_px)
    return (full > threshold).astype(np.uint8) * np.uint8(255)


def decode_frame(
    out: Arrays,
    scale: tuple[float, float],
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    min_score: float,
) -> tuple[Detections, U8, U8]:
    """Objects, and the masks of drivable area and lanes (0 or 255) at the image's own size."""
    maps = decode_surfaces(out, scale, image_size, input_size)
    return (
        decode_detections(out, scale, image_size, min_score),
        surface_mask(maps.drivable, maps.scale, *image_size),
        surface_mask(maps.lane, maps.scale, *image_size),
    )
