"""What calibration pictures tell of a file's tensors before it is rounded to 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from data.types import F32, F64, U8
from perception.bias_correction import Means, inputs_of_convolutions
from perception.onnx_graph import after_heads, head_convolutions, session_of, with_outputs
from perception.rounding import Covariance, Window

_SAMPLES = 4096  # values kept of each tensor and picture
_FRACTIONS = np.linspace(0.3, 1.0, 36)  # of the full range, tried for the least error
_READ_PICTURES = 32  # that covariances are of, spread over all
_READ_PLACES = 512  # of each convolution in each of them
_OBJECTS = ("boxes", "scores")  # outputs of a detector
_SURE = 0.3  # score from which what is found counts as an object

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Measured:
    """What calibration pictures tell of a file's tensors.

    Attributes:
        ranges: of each float tensor before the post-processing; means: of each channel of those
            that convolutions read; covariances: (groups, k, k) of the k numbers that a convolution
            reads at a place, by its name.
    """

    ranges: Ranges
    means: Means
    covariances: Mapping[str, F64]


def _best_range(values: F32, low: float, high: float, signed: bool) -> tuple[float, float]:
    """The part of [low, high] whose 8-bit rounding and clipping err least on ``values``."""
    low, high = min(low, 0.0), max(high, 0.0)
    best, least = (low, high), np.inf
    for f in _FRACTIONS:
        a, b = low * f, high * f
        if signed:
            b = max(-a, b)
            a = -b
        step = max((b - a) / (254 if signed else 255), 1e-12)
        error = np.clip(np.round((values - a) / step), 0, 255) * step + a - values
        total = float(np.square(error, dtype=np.float64).mean())
        if total < least * 0.999:
            best, least = (a, b), total
    return best


@dataclass(frozen=True)
class _Places:
    """Where to look in a picture's tensors: half of the places within objects, each object as often
    as another, the rest anywhere. Objects take up little of a picture, but are what it is about,
    and what tells a near one are the largest numbers that there are.

    Attributes:
        boxes: (n, 4) xyxy of what the file itself finds there; size_px: of its input (width,
            height).
    """

    boxes: F32
    size_px: tuple[int, int]

    def drawn(
        self, rng: np.random.Generator, count: int, rows: int, columns: int
    ) -> tuple[NDArray, NDArray]:
        """Rows and columns of ``count`` places in a map of that many."""
        y, x = rng.integers(0, rows, count), rng.integers(0, columns, count)
        if len(self.boxes):
            some = count // 2
            left, top, right, bottom = self.boxes[rng.integers(0, len(self.boxes), some)].T
            share = rng.random((2, some))
            at_x = (left + share[0] * (right - left)) / self.size_px[0] * columns
            at_y = (top + share[1] * (bottom - top)) / self.size_px[1] * rows
            x[:some] = at_x.clip(0, columns - 1).astype(int)
            y[:some] = at_y.clip(0, rows - 1).astype(int)
        return y, x


def _some_values(tensor: F32, places: _Places, rng: np.random.Generator) -> F32:
    """Values of a tensor at places drawn, of a channel each."""
    count = min(_SAMPLES, tensor.size)
    if tensor.ndim != 4 or tensor.shape[0] != 1:
        return tensor.ravel()[rng.integers(0, tensor.size, count)]
    y, x = places.drawn(rng, count, *tensor.shape[2:])
    return tensor[0, rng.integers(0, tensor.shape[1], count), y, x]


def _tensors(
    model: onnx.ModelProto, canvases: Sequence[U8]
) -> Iterator[tuple[int, dict[str, F32], _Places]]:
    """Number of each picture, by name the float tensors before the post-processing, and where to
    look in them."""
    behind = set(after_heads(model))
    names = [o for n in model.graph.node if n.name not in behind for o in n.output]
    detects = set(_OBJECTS) <= {o.name for o in model.graph.output}
    more = [n for n in _OBJECTS if detects and n not in names]
    session = session_of(with_outputs(model, [*names, *more]))
    for number, canvas in enumerate(canvases):
        values = session.run(None, {"image": canvas[None]})
        told = dict(zip([*names, *more], values, strict=True))
        boxes = np.zeros((0, 4), np.float32)
        if detects:
            boxes = told["boxes"][0][told["scores"][0] > _SURE]
        found = {name: told[name] for name in names if told[name].dtype == np.float32}
        yield number, found, _Places(boxes, (canvas.shape[1], canvas.shape[0]))


class _Reads:
    """Gathers what convolutions read at places drawn."""

    def __init__(self, model: onnx.ModelProto) -> None:
        shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
        last = {n.name for n in head_convolutions(model)}
        self._of: list[tuple[onnx.NodeProto, Window, Covariance]] = []
        for n in model.graph.node:
            if n.op_type == "Conv" and n.name not in last and len(shapes.get(n.input[1], ())) == 4:
                rows, columns = shapes[n.input[1]][2:]
                if window := Window.of(n, (rows, columns)):
                    self._of.append((n, window, Covariance()))

    def add(self, tensors: Mapping[str, F32], places: _Places, rng: np.random.Generator) -> None:
        for node, window, covariance in self._of:
            if node.input[0] in tensors and node.output[0] in tensors:
                size = tensors[node.output[0]].shape[2:]
                at = places.drawn(rng, _READ_PLACES, *size)
                covariance.add(window.read(tensors[node.input[0]][0], at))

    def covariances(self) -> dict[str, F64]:
        return {n.name: c.matrix() for n, _, c in self._of if c.samples}


def calibrate(content: bytes, canvases: Sequence[U8], signed: bool) -> Measured:
    """Ranges, means and covariances over letterboxed pictures.

    Args:
        content: the fp32 file.
        canvases: (h, w, 3) uint8 BGR each, of the file's input size.
        signed: for symmetric activations.
    """
    model = onnx.load_from_string(content)
    rng, rng_read = np.random.default_rng(0), np.random.default_rng(1)
    kept: dict[str, list[F32]] = {}
    ends: dict[str, tuple[float, float]] = {}
    means: dict[str, F64] = {}
    read, reads = set(inputs_of_convolutions(model)), _Reads(model)
    every = -(-len(canvases) // _READ_PICTURES)
    for number, tensors, places in _tensors(model, canvases):
        for name, value in tensors.items():
            low, high = ends.get(name, (0.0, 0.0))
            ends[name] = (min(low, float(value.min())), max(high, float(value.max())))
            if name in read:
                mean = value.mean(axis=(0, 2, 3), dtype=np.float64) / len(canvases)
                means[name] = means.get(name, 0.0) + mean
            kept.setdefault(name, []).append(_some_values(value, places, rng))
        if number % every == 0:
            reads.add(tensors, places, rng_read)
    ranges = {n: _best_range(np.concatenate(v), *ends[n], signed) for n, v in kept.items()}
    return Measured(ranges, means, reads.covariances())
