"""What calibration pictures tell of a file's tensors before it is rounded to 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from data.types import F32, F64, U8
from perception.bias_correction import Means, inputs_of_convolutions
from perception.onnx_graph import after_heads, head_convolutions, session_of, with_outputs
from perception.rounding import Covariance, Window

_SAMPLES = 4096  # values kept of each tensor and picture
_FRACTIONS = np.linspace(0.3, 1.0, 36)  # of the full range, tried for the least error
_READ_PICTURES = 32  # that covariances are of, spread over all
_READ_PLACES = 512  # of each convolution in each of them

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


def _tensors(
    model: onnx.ModelProto, canvases: Sequence[U8]
) -> Iterator[tuple[int, dict[str, F32]]]:
    """Number of each picture and, by name, the float tensors before the post-processing."""
    behind = set(after_heads(model))
    names = [o for n in model.graph.node if n.name not in behind for o in n.output]
    session = session_of(with_outputs(model, names))
    for number, canvas in enumerate(canvases):
        values = session.run(None, {"image": canvas[None]})
        found = zip(names, values, strict=True)
        yield number, {name: v for name, v in found if v.dtype == np.float32}


class _Reads:
    """Gathers what convolutions read at places drawn at random."""

    def __init__(self, model: onnx.ModelProto) -> None:
        shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
        last = {n.name for n in head_convolutions(model)}
        self._of: list[tuple[onnx.NodeProto, Window, Covariance]] = []
        for n in model.graph.node:
            if n.op_type == "Conv" and n.name not in last and len(shapes.get(n.input[1], ())) == 4:
                rows, columns = shapes[n.input[1]][2:]
                if window := Window.of(n, (rows, columns)):
                    self._of.append((n, window, Covariance()))

    def add(self, tensors: Mapping[str, F32], rng: np.random.Generator) -> None:
        for node, window, covariance in self._of:
            if node.input[0] in tensors and node.output[0] in tensors:
                size = tensors[node.output[0]].shape[2:]
                rows, columns = (rng.integers(0, n, _READ_PLACES) for n in size)
                covariance.add(window.read(tensors[node.input[0]][0], (rows, columns)))

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
    for number, tensors in _tensors(model, canvases):
        for name, value in tensors.items():
            low, high = ends.get(name, (0.0, 0.0))
            ends[name] = (min(low, float(value.min())), max(high, float(value.max())))
            if name in read:
                mean = value.mean(axis=(0, 2, 3), dtype=np.float64) / len(canvases)
                means[name] = means.get(name, 0.0) + mean
            flat = value.ravel()
            some = flat[rng.integers(0, flat.size, min(_SAMPLES, flat.size))]
            kept.setdefault(name, []).append(some)
        if number % every == 0:
            reads.add(tensors, rng_read)
    ranges = {n: _best_range(np.concatenate(v), *ends[n], signed) for n, v in kept.items()}
    return Measured(ranges, means, reads.covariances())
