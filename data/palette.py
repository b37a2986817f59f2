"""Colours for the classes of segmentation masks, the same wherever they are shown."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np

from data.types import U8, UNKNOWN

_TURN = 0.61803398875  # of the hue a class: the golden ratio keeps neighbours apart
_UNKNOWN_BGR = (60, 60, 60)


@lru_cache(maxsize=4)
def palette() -> U8:
    """(256, 3) uint8 BGR, one colour a class; dark grey for 255, unknown."""
    colours = np.zeros((256, 3), np.uint8)
    for k in range(256):
        value = (1.0, 0.75, 0.55)[k % 3]
        rgb = colorsys.hsv_to_rgb((0.58 + k * _TURN) % 1, 0.75, value)
        colours[k] = [round(255 * c) for c in rgb[::-1]]
    colours[UNKNOWN] = _UNKNOWN_BGR
    colours.flags.writeable = False
    return colours


def tinted(image: U8, classes: U8, share: float = 0.6) -> U8:
    """A BGR picture (h, w, 3) with each pixel's class (h, w) laid over it in colour."""
    mixed = image * (1 - share) + palette()[classes].astype(np.float32) * share
    return np.asarray(mixed.round(), np.uint8)
