"""From what the networks of each family give to boxes in px of their input, in NumPy.

Layouts and arithmetic follow the families' own code (read, not copied): YOLOX's
``demo_postprocess`` (``yolox/utils/demo_utils.py``) and ``decode_outputs`` (``yolo_head.py``);
YOLOv8's ``Detect`` head (``ultralytics/nn/modules/head.py``), which decodes inside the file; the
``get_bboxes`` of NanoDet-Plus (``nanodet_plus_head.py``) and of NanoDet (``gfl_head.py``), with the
integral over bins of Generalized Focal Loss (Li et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.types import F32, I64
from perception.detectors.families import FAMILIES, Family

_BINS = 8  # NanoDet's for each edge: reg_max of 7 in all its configurations
_MOST_BINS = 33


@dataclass(frozen=True)
class Layout:
    """What a file's output holds.

    Attributes:
        family: whose; strides: of the grids, () where boxes come final ('end to end').
        classes: how many; None where only final boxes come, which do not say.
        bins: of NanoDet's distances.
        decoded: YOLOX boxes are in px already, as ``--decode_in_inference`` exports them.
    """

    family: Family
    strides: tuple[int, ...]
    classes: int | None
    bins: int = 0
    decoded: bool = False


@dataclass(frozen=True, eq=False)
class Candidates:
    """Boxes before suppression: xyxy (n, 4) float32 px of the input, score (n,) float32, and the
    best of the detector's own classes (n,) int64."""

    xyxy: F32
    score: F32
    own_class: I64


def _cells(strides: tuple[int, ...], size: tuple[int, int]) -> int:
    return sum(math.ceil(size[0] / s) * math.ceil(size[1] / s) for s in strides)


def grid(strides: tuple[int, ...], size: tuple[int, int]) -> tuple[F32, F32]:
    """Cells of all grids, finest first, row by row: column and row (n, 2), and stride (n, 1)."""
    cells, step = [], []
    for s in strides:
        cols, rows = math.ceil(size[0] / s), math.ceil(size[1] / s)
        y, x = np.mgrid[:rows, :cols]
        cells.append(np.stack([x.ravel(), y.ravel()], 1))
        step.append(np.full((rows * cols, 1), s))
    return np.concatenate(cells).astype(np.float32), np.concatenate(step).astype(np.float32)


def _yolox_layouts(
    family: Family, shape: tuple[int, ...], size: tuple[int, int], _: int | None
) -> Iterator[Layout]:
    for strides in family.strides:
        if shape[1] == _cells(strides, size) and shape[2] > 5:
            yield Layout(family, strides, shape[2] - 5)


def _yolov8_layouts(
    family: Family, shape: tuple[int, ...], size: tuple[int, int], _: int | None
) -> Iterator[Layout]:
    cells = [_cells(strides, size) for strides in family.strides]
    for strides, count in zip(family.strides, cells, strict=True):
        if shape[2] == count and shape[1] > 4:
            yield Layout(family, strides, shape[1] - 4)
            return
    if shape[2] == 6 and shape[1] not in cells:  # else six columns for each cell: another's layout
        yield Layout(family, (), None)


def _nanodet_layouts(
    family: Family, shape: tuple[int, ...], size: tuple[int, int], classes: int | None
) -> Iterator[Layout]:
    bins, rest = (_BINS, 0) if classes is None else divmod(shape[2] - classes, 4)
    for strides in family.strides:
        fits = shape[1] == _cells(strides, size) and not rest and 2 <= bins <= _MOST_BINS
        if fits and shape[2] > 4 * bins:
            yield Layout(family, strides, shape[2] - 4 * bins, bins)


_LAYOUTS: dict[str, Callable[..., Iterator[Layout]]] = {
    "yolox": _yolox_layouts,
    "yolov8": _yolov8_layouts,
    "nanodet": _nanodet_layouts,
}


def find_layout(
    decoder: str, shape: tuple[int, ...], size: tuple[int, int], classes: int | None
) -> Layout | None:
    """What an output of this shape (1, ., .) holds for a decoder, or None.

    Args:
        size: (width, height) px of the input; classes: how many there are, where it is known.
    """
    if len(shape) != 3 or shape[0] != 1:
        return None
    for family in FAMILIES:
        if family.decoder == decoder:
            for layout in _LAYOUTS[decoder](family, shape, size, classes):
                return layout
    return None


def expected(decoder: str, size: tuple[int, int]) -> str:
    """In words, which outputs a decoder takes for an input of this size."""
    n = " or ".join(
        str(_cells(s, size)) for f in FAMILIES if f.decoder == decoder for s in f.strides
    )
    return {
        "yolox": f"1 x {n} x (5 + classes)",
        "yolov8": f"1 x (4 + classes) x {n}, or 1 x boxes x 6",
        "nanodet": f"1 x {n} x (classes + {4 * _BINS})",
    }[decoder]


def is_decoded(out: F32, size: tuple[int, int]) -> bool:
    """Whether YOLOX boxes (1, n, .) are in px: their middles are then spread over the whole input,
    while offsets within a cell stay near zero whatever the picture."""
    x, y = out[0, :, 0], out[0, :, 1]
    return bool(np.median(x) > size[0] / 8 and np.median(y) > size[1] / 8)


def _from_middle(middle: NDArray, wh: NDArray) -> F32:
    return np.concatenate([middle - wh / 2, middle + wh / 2], 1).astype(np.float32)


def _best(scores: NDArray, min_score: float) -> tuple[I64, I64, F32]:
    """Rows of scores (n, classes) whose best is at least ``min_score``, its class and itself."""
    top = scores.max(1)
    keep = np.flatnonzero(top >= min_score)
    return keep, scores[keep].argmax(1), top[keep].astype(np.float32)


def _decode_yolox(out: F32, layout: Layout, size: tuple[int, int], low: float) -> Candidates:
    rows = out[0]
    keep, own, score = _best(rows[:, 4:5] * rows[:, 5:], low)
    middle, wh = rows[keep, :2], rows[keep, 2:4]
    if not layout.decoded:
        cell, stride = grid(layout.strides, size)
        middle = (middle + cell[keep]) * stride[keep]
        with np.errstate(over="ignore"):  # an infinite box is dropped later
            wh = np.exp(wh) * stride[keep]
    return Candidates(_from_middle(middle, wh), score, own)


def _decode_yolov8(out: F32, layout: Layout, size: tuple[int, int], low: float) -> Candidates:
    if not layout.strides:
        rows = out[0][out[0, :, 4] >= low]
        return Candidates(rows[:, :4], rows[:, 4], np.rint(rows[:, 5]).astype(np.int64))
    columns = out[0]
    keep, own, score = _best(columns[4:].T, low)
    return Candidates(_from_middle(columns[:2, keep].T, columns[2:4, keep].T), score, own)


def _decode_nanodet(out: F32, layout: Layout, size: tuple[int, int], low: float) -> Candidates:
    assert layout.classes is not None
    rows = out[0]
    keep, own, score = _best(rows[:, : layout.classes], low)
    cell, stride = grid(layout.strides, size)
    # NanoDet-Plus measures from the cell's corner, the first version from its middle
    at = (cell[keep] + (0.0 if len(layout.strides) == 4 else 0.5)) * stride[keep]
    logits = rows[keep, layout.classes :].reshape(len(keep), 4, layout.bins)
    weight = np.exp(logits - logits.max(2, keepdims=True))
    mean = (weight * np.arange(layout.bins)).sum(2) / weight.sum(2)
    reach = mean * stride[keep]  # left, top, right, bottom
    xyxy = np.concatenate([at - reach[:, :2], at + reach[:, 2:]], 1).astype(np.float32)
    return Candidates(xyxy, score, own)


_DECODE: dict[str, Callable[[F32, Layout, tuple[int, int], float], Candidates]] = {
    "yolox": _decode_yolox,
    "yolov8": _decode_yolov8,
    "nanodet": _decode_nanodet,
}


def decode(out: F32, layout: Layout, size: tuple[int, int], min_score: float) -> Candidates:
    """Boxes of at least ``min_score`` from an output (1, ., .) of this layout, for an input of
    ``size`` (width, height) px. One class a box: its best."""
    return _DECODE[layout.family.decoder](out, layout, size, min_score)


def scores_of(out: F32, layout: Layout) -> F32:
    """All numbers of an output that ought to be probabilities."""
    if layout.family.decoder == "yolox":
        return out[0, :, 4:]
    if layout.family.decoder == "yolov8":
        return out[0, 4:] if layout.strides else out[0, :, 4]
    return out[0, :, : layout.classes]
