"""Weights rounded to 8 bits so that a convolution's outputs change least on what it reads.

Where each is rounded to its nearest step, the errors of neighbouring weights add up wherever the
numbers that they read are alike, as those of neighbouring pixels and channels are. Here each weight
goes to the step below or above it, whichever makes the squared error of the output least given all
the others, weight by weight until none moves any more. That error is (q - w)' C (q - w), with the
covariance C of what is read, measured on pictures; what rounding changes on average is taken off
the bias (``bias_correction``).

The aim is that of Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training
Quantization", the way to it the cyclic coordinate descent of Behdin et al. 2023, "QuantEase".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from data.compiled import compiled, run
from data.types import F32, F64
from perception.onnx_graph import attributes
from perception.weight_steps import LEVELS

_PASSES = 8  # most over all weights of a layer; few move after the third
_DAMPING = 0.003  # of the mean variance, added to each: channels that are always zero have none


@dataclass(frozen=True)
class Window:
    """What a convolution reads at each place.

    Attributes:
        kernel: rows and columns; strides, dilations: down and across; top, left: what is padded.
    """

    groups: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    top: int
    left: int

    @classmethod
    def of(cls, node: onnx.NodeProto, kernel: tuple[int, int]) -> Window | None:
        """That of a convolution; None where its padding is not written down."""
        told = attributes(node)
        if told.get("auto_pad", b"NOTSET") != b"NOTSET":
            return None
        down, across = told.get("strides", (1, 1))
        apart = told.get("dilations", (1, 1))
        top, left = told.get("pads", (0, 0, 0, 0))[:2]
        return cls(told.get("group", 1), kernel, (down, across), tuple(apart), top, left)

    def read(self, tensor: F32, places: tuple[NDArray, NDArray]) -> F32:
        """(groups, k, n): the k numbers read at n places of the output.

        Args:
            tensor: (channels, rows, columns).
            places: rows and columns in the output, (n,) each.
        """
        channels, height, width = tensor.shape
        flat = tensor.reshape(channels, -1)
        found = np.empty((channels, *self.kernel, len(places[0])), np.float32)
        for i, j in np.ndindex(self.kernel):
            rows = places[0] * self.strides[0] + i * self.dilations[0] - self.top
            columns = places[1] * self.strides[1] + j * self.dilations[1] - self.left
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            found[:, i, j] = flat.take(np.where(inside, rows * width + columns, 0), axis=1)
            found[:, i, j, ~inside] = 0.0
        return found.reshape(self.groups, -1, len(places[0]))


class Covariance:
    """Covariance of what a convolution reads, gathered over samples."""

    def __init__(self) -> None:
        self.samples = 0
        self._sum: F64 | float = 0.0
        self._squares: F64 | float = 0.0

    def add(self, read: F32) -> None:
        """Samples (groups, k, n) more."""
        self.samples += read.shape[2]
        self._sum = self._sum + read.sum(axis=2, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # nothing is fitted to it then
            squares = np.matmul(read, read.transpose(0, 2, 1)).astype(np.float64)
            self._squares = self._squares + squares

    def matrix(self) -> F64:
        """(groups, k, k)."""
        mean = np.asarray(self._sum) / self.samples
        squares = np.asarray(self._squares) / self.samples
        with np.errstate(invalid="ignore"):
            return np.asarray(squares - mean[:, :, None] * mean[:, None, :])


def round_to_steps(weight: NDArray, steps: F64, covariance: F64 | None) -> F32:
    """Weights as multiples of their steps, at most 127 of them, each less than one step from where
    it was.

    Args:
        weight: (o, i / groups, h, w).
        steps: (o,).
        covariance: (groups, k, k) of what is read, k = i / groups * h * w; None, or one of numbers
            too large to be squared, rounds each weight to its nearest step.
    """
    exact = weight.astype(np.float64).reshape(len(weight), -1) / steps[:, None]
    levels = np.round(exact).clip(-LEVELS, LEVELS)
    if covariance is not None and np.isfinite(covariance).all():
        groups, k, _ = covariance.shape
        levels = _fitted(exact.reshape(groups, -1, k), levels.reshape(groups, -1, k), covariance)
    return (levels.reshape(exact.shape) * steps[:, None]).reshape(weight.shape).astype(np.float32)


def _fitted(exact: F64, levels: F64, covariance: F64) -> F64:
    """``levels``, the nearest whole numbers to ``exact`` (groups, o / groups, k), moved."""
    k = exact.shape[2]
    variance = np.einsum("gkk->gk", covariance).mean(axis=1)
    covariance = covariance + (_DAMPING * variance + 1e-12)[:, None, None] * np.eye(k)
    slope = np.matmul(levels - exact, covariance)
    run(_descend, exact, levels, slope, covariance, LEVELS, _PASSES)
    return levels


@compiled
def _descend(
    exact: F64, levels: F64, slope: F64, covariance: F64, most: int, passes: int
) -> None:  # fmt: skip
    """Move ``levels`` (groups, o / groups, k) to where the error is least, in place.

    Args:
        slope: (groups, o / groups, k), half the error's change with each level; is changed.
    """
    groups, outputs, k = exact.shape
    for g in range(groups):
        for o in range(outputs):
            for _ in range(passes):
                moved = False
                for j in range(k):
                    low = max(np.floor(exact[g, o, j]), -most)
                    high = min(np.ceil(exact[g, o, j]), most)
                    best = levels[g, o, j] - slope[g, o, j] / covariance[g, j, j]
                    step = min(max(np.round(best), low), high) - levels[g, o, j]
                    if step != 0.0:
                        levels[g, o, j] += step
                        for i in range(k):
                            slope[g, o, i] += step * covariance[g, j, i]
                        moved = True
                if not moved:
                    break
