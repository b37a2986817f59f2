"""Pseudo-labels of every pixel: the class that the views of a picture agree on.

The network is shown the picture, its mirror image, both at a smaller scale, and four parts of it
at a larger one; each view votes. Where too few agree a pixel is unknown. Learning from what a
network says of other pictures than its own: Xie et al. 2020, "Noisy Student".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data.types import F32, U8, UNKNOWN
from perception.selftrain import View, say_of, show, window_px

Classify = Callable[[U8], U8]  # picture (h, w, 3) to its pixels' classes (h, w), as ``Segmenter``

_WIDE = (-1 / 6, -1 / 6, 7 / 6, 7 / 6)  # the picture at three quarters of its scale
# Measured on a third of CamVid val by mean probabilities of 'camvid' at one scale: mirroring and
# 0.75 to 1.25 of the scale together are better than any of them, a scale of 1.5 adds nothing.
VIEWS: tuple[View, ...] = (
    View("plain"),
    View("mirror", mirror=True),
    View("wide", _WIDE),
    View("wide mirror", _WIDE, mirror=True),
    View("near top left", (0.0, 0.0, 0.8, 0.8)),
    View("near top right", (0.2, 0.0, 1.0, 0.8), mirror=True),
    View("near bottom left", (0.0, 0.2, 0.8, 1.0), mirror=True),
    View("near bottom right", (0.2, 0.2, 1.0, 1.0)),
)
AGREEMENT = 0.75  # share of the votes from which a pixel is labelled


@dataclass(frozen=True, eq=False)
class PixelLabels:
    """Labels of one picture.

    Attributes:
        classes: (h, w) uint8, 255 unknown.
        confidence: share of the pixels that are labelled; agreement: mean share of the votes that
            the first class has. Both in [0, 1].
    """

    classes: U8
    confidence: float
    agreement: float


def votes(image: U8, classify: Classify, count: int, views: Sequence[View] = VIEWS) -> F32:
    """(count, h, w) float32: the share of the votes for each class at each pixel of a picture
    (h, w, 3) uint8 BGR. A view counts less towards borders beyond which the picture goes on."""
    size = (image.shape[1], image.shape[0])
    total = np.zeros((count, size[1], size[0]), np.float32)
    for view in views:
        seen = classify(show(image, view))
        seen = seen[:, ::-1] if view.mirror else seen
        x1, y1, x2, y2 = window_px(view, size)
        top, left = max(-y1, 0), max(-x1, 0)
        seen = seen[top : min(y2, size[1]) - y1, left : min(x2, size[0]) - x1]
        part = total[:, max(y1, 0) : min(y2, size[1]), max(x1, 0) : min(x2, size[0])]
        say = say_of(view, size)
        for k in range(count):
            part[k] += say * (seen == k)
    return np.asarray(total / np.maximum(total.sum(0), 1e-6), np.float32)


def label_pixels(shares: F32, agreement: float = AGREEMENT) -> PixelLabels:
    """Labels where the first class has ``agreement`` of the votes; ``shares`` as of ``votes``."""
    first = shares.max(0)
    classes = np.where(first >= agreement, shares.argmax(0), UNKNOWN).astype(np.uint8)
    known = float((classes != UNKNOWN).mean())
    return PixelLabels(classes, known, float(first.mean(dtype=np.float64)))
