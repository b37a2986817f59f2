"""Biases corrected for the rounding of weights: what INT8 costs a depthwise network most.

Weights rounded to 8 bits shift a convolution's output by their errors times what it reads, on
average; a filter of nine weights does not even such errors out, and one that looks for edges on a
bright ground is shifted by more than it finds. The mean shift is known, and is taken off the bias
(Nagel, van Baalen, Blankevoort and Welling 2019, "Data-Free Quantization Through Weight
Equalization and Bias Correction", section 4.2, with means measured on pictures).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from data.types import F64

Means = Mapping[str, F64]  # tensor read by a convolution -> mean of each channel


def inputs_of_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the tensors that convolutions read, each once."""
    return sorted({n.input[0] for n in model.graph.node if n.op_type == "Conv"})


def rounding_errors(weight: NDArray, steps: F64) -> F64:
    """What rounding to steps (o,) adds to weights (o, i, h, w)."""
    w, step = weight.astype(np.float64), steps[:, None, None, None]
    return np.asarray(np.round(w / step) * step - w)


def mean_shift(weight: NDArray, steps: F64, mean: F64, groups: int) -> F64:
    """(o,): by how much a convolution's outputs rise when its weights (o, i / groups, h, w) are
    rounded to steps (o,) and its input's channels have these means (i,)."""
    errors = rounding_errors(weight, steps).sum(axis=(2, 3))
    read = mean.reshape(groups, -1)[np.arange(len(weight)) * groups // len(weight)]
    return np.asarray((errors * read).sum(axis=1))


def correct_biases(
    model: onnx.ModelProto, means: Means, steps: Mapping[str, F64], left_float: Collection[str]
) -> None:
    """Correct the biases of a model's convolutions but those of names in ``left_float``.

    Those are left as they are whose weights or bias are no constants of their own.

    Args:
        steps: name of a convolution's weights -> step of each output channel.
    """
    constants = {t.name: t for t in model.graph.initializer}
    uses = [i for n in model.graph.node for i in n.input]
    for n in model.graph.node:
        if n.op_type != "Conv" or n.name in left_float or n.input[0] not in means:
            continue
        if len(n.input) < 3 or not set(n.input[1:]) <= set(constants) or uses.count(n.input[2]) > 1:
            continue
        weight, bias = (onnx.numpy_helper.to_array(constants[i]) for i in n.input[1:3])
        groups = next((a.i for a in n.attribute if a.name == "group"), 1)
        shift = mean_shift(weight, steps[n.input[1]], means[n.input[0]], groups)
        right = (bias - shift).astype(np.float32)
        constants[n.input[2]].CopyFrom(onnx.numpy_helper.from_array(right, n.input[2]))
