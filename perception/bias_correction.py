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

from data.types import F32, F64
from perception.onnx_graph import attributes

Means = Mapping[str, F64]  # tensor read by a convolution -> mean of each channel


def inputs_of_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the tensors that convolutions read, each once."""
    return sorted({n.input[0] for n in model.graph.node if n.op_type == "Conv"})


def mean_shift(errors: NDArray, mean: F64, groups: int) -> F64:
    """(o,): by how much a convolution's outputs rise when its weights do by ``errors`` (o,
    i / groups, h, w) and its input's channels have these means (i,)."""
    total = errors.astype(np.float64).sum(axis=(2, 3))
    read = mean.reshape(groups, -1)[np.arange(len(errors)) * groups // len(errors)]
    return np.asarray((total * read).sum(axis=1))


def correct_biases(
    model: onnx.ModelProto, means: Means, rounded: Mapping[str, F32], left_float: Collection[str]
) -> None:
    """Correct the biases of a model's convolutions but those of names in ``left_float``.

    Those are left as they are whose weights or bias are no constants of their own.

    Args:
        rounded: name of a convolution's weights -> those that it will have.
    """
    constants = {t.name: t for t in model.graph.initializer}
    uses = [i for n in model.graph.node for i in n.input]
    for n in model.graph.node:
        if n.op_type != "Conv" or n.name in left_float or n.input[0] not in means:
            continue
        if len(n.input) < 3 or not set(n.input[1:]) <= set(constants) or uses.count(n.input[2]) > 1:
            continue
        weight, bias = (onnx.numpy_helper.to_array(constants[i]) for i in n.input[1:3])
        groups = attributes(n).get("group", 1)
        shift = mean_shift(rounded[n.input[1]] - weight, means[n.input[0]], groups)
        right = (bias - shift).astype(np.float32)
        constants[n.input[2]].CopyFrom(onnx.numpy_helper.from_array(right, n.input[2]))
