"""Dense targets of the peak head and the surfaces, from one sample.

Assignment: every object is a Gaussian over the middle 54 % of its box; its peak is the positive
of the heat map and all its cells regress the box, weighted by the Gaussian (TTFNet, Liu et al.
2020). Where objects overlap the smaller wins.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from data.taxonomy import CLASSES
from data.types import F32, F64, U8, UNKNOWN, Sample
from perception.models.multitask import MASK_STRIDE, STRIDE

_SHARE = 0.54


class Targets(NamedTuple):
    """Arrays for one image of (h, w) px, stacked over the batch by the loader.

    ``image`` (h, w, 3) uint8 BGR; ``heat`` (5, h/4, w/4) in [0, 1]; ``heat_weight`` the same, its
    class's weight where known, else 0; ``box`` (4, h/4, w/4) edge distances in px; ``box_weight``
    (h/4, w/4), summing to its class's weight for an object; ``mask`` (2, h/2, w/2) uint8, 255
    unknown; ``mask_weight`` () of its pixels. Where the labels count less than others, all three
    weights are that much lower.
    """

    image: U8
    heat: F32
    heat_weight: F32
    box: F32
    box_weight: F32
    mask: U8
    mask_weight: F32


class SemanticTargets(NamedTuple):
    """What 'semantic' learns from one image of (h, w) px: ``image`` (h, w, 3) uint8 BGR,
    ``segmentation`` (h, w) uint8, 255 unknown; ``mask_weight`` () of its pixels."""

    image: U8
    segmentation: U8
    mask_weight: F32


@lru_cache(maxsize=4096)
def _gaussian(rx: int, ry: int) -> tuple[F32, F32]:
    """(2 ry + 1, 2 rx + 1) Gaussian about the middle cell, and the same with the sum 1."""
    x, y = np.arange(-rx, rx + 1), np.arange(-ry, ry + 1)
    sx, sy = (2 * rx + 1) / 6, (2 * ry + 1) / 6
    gx, gy = np.exp(-(x**2) / (2 * sx * sx)), np.exp(-(y**2) / (2 * sy * sy))
    g = np.outer(gy, gx).astype(np.float32)
    return g, g / g.sum()


@lru_cache(maxsize=8)
def _centres(cells: int) -> F64:
    return np.asarray((np.arange(cells) + 0.5) * STRIDE, np.float64)


def _splat(t: Targets, box: list[float], class_id: int, importance: float) -> None:
    rows, cols = t.box_weight.shape
    x1, y1, x2, y2 = box
    ix = min(max(int((x1 + x2) / 2 / STRIDE), 0), cols - 1)
    iy = min(max(int((y1 + y2) / 2 / STRIDE), 0), rows - 1)
    rx = int((x2 - x1) / STRIDE / 2 * _SHARE)
    ry = int((y2 - y1) / STRIDE / 2 * _SHARE)
    left, right = max(ix - rx, 0), min(ix + rx, cols - 1) + 1
    top, bottom = max(iy - ry, 0), min(iy + ry, rows - 1) + 1
    g, weight = _gaussian(rx, ry)
    if (bottom - top, right - left) != g.shape:  # cut by the border
        g = g[top - iy + ry : bottom - iy + ry, left - ix + rx : right - ix + rx].copy()
        weight = g / g.sum()
    window = np.s_[top:bottom, left:right]
    heat = t.heat[class_id][window]
    np.maximum(heat, g, out=heat)
    cx, cy = _centres(cols)[left:right], _centres(rows)[top:bottom, None]
    # a cell of a tiny box may lie outside it: the regressed distances stay positive
    t.box[0][window] = np.maximum(cx - x1, 0.5)
    t.box[1][window] = np.maximum(cy - y1, 0.5)
    t.box[2][window] = np.maximum(x2 - cx, 0.5)
    t.box[3][window] = np.maximum(y2 - cy, 0.5)
    t.box_weight[window] = weight if importance == 1 else weight * np.float32(importance)


def _mask(label: U8 | None, height: int, width: int) -> U8:
    """A label at ``MASK_STRIDE`` 2. The middle of a cell lies where its four pixels meet: cells
    take the one above and left of it and the one below and right in turn, like a chessboard's
    fields, so that no edge moves on the whole."""
    if label is None:
        return np.full((height // MASK_STRIDE, width // MASK_STRIDE), UNKNOWN, np.uint8)
    mask = label[::2, ::2].copy()
    mask[0::2, 1::2] = label[1::4, 3::4]
    mask[1::2, 0::2] = label[3::4, 1::4]
    return mask


def make_targets(
    sample: Sample, weight: float = 1.0, class_weights: tuple[float, ...] = ()
) -> Targets:
    """Build the targets of a sample whose image has the network's input size.

    Args:
        weight: how much its labels count, 0 to 1; class_weights: how much objects of each class
            count beside the others, alike if empty.
    """
    height, width = sample.image.shape[:2]
    rows, cols = height // STRIDE, width // STRIDE
    importance = class_weights or (1.0,) * len(CLASSES)
    heat_weight = np.empty((len(CLASSES), rows, cols), np.float32)
    heat_weight[:] = np.array(importance, np.float32)[:, None, None]
    heat_weight[~sample.labelled_classes] = 0.0
    t = Targets(
        sample.image,
        np.zeros((len(CLASSES), rows, cols), np.float32),
        heat_weight,
        np.ones((4, rows, cols), np.float32),
        np.zeros((rows, cols), np.float32),
        np.stack([_mask(sample.drivable, height, width), _mask(sample.lane, height, width)]),
        np.asarray(weight, np.float32),
    )
    side = sample.xyxy[:, 2:] - sample.xyxy[:, :2]
    for i in np.argsort(-side.prod(1), kind="stable"):
        if sample.ignore[i]:
            x1, y1, x2, y2 = (sample.xyxy[i] / STRIDE).astype(int)
            t.heat_weight[sample.class_id[i], max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1] = 0.0
        else:
            class_id = int(sample.class_id[i])
            _splat(t, sample.xyxy[i].tolist(), class_id, importance[class_id])
    if weight != 1:
        np.multiply(t.heat_weight, np.float32(weight), out=t.heat_weight)
        np.multiply(t.box_weight, np.float32(weight), out=t.box_weight)
    return t


def make_semantic_targets(sample: Sample, weight: float = 1.0) -> SemanticTargets:
    """The same for a network that gives each pixel a class."""
    mask = sample.segmentation
    if mask is None:
        mask = np.full(sample.image.shape[:2], UNKNOWN, np.uint8)
    return SemanticTargets(sample.image, mask, np.asarray(weight, np.float32))
