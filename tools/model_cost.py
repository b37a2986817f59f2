"""What a network costs, counted from its ONNX graph: parameters and arithmetic."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

_INT8 = (2, 3)  # uint8 and int8


def _shapes(model: Any, input_shape: tuple[int, ...] | None) -> dict[str, list[int]]:
    """Shape of every tensor that can be inferred; what is open there counts as 1."""
    import onnx

    dims = model.graph.input[0].type.tensor_type.shape.dim
    if input_shape is not None and any(not d.dim_value for d in dims):
        for dim, n in zip(dims, input_shape):
            dim.dim_value = n
        del model.graph.value_info[:]  # written for sizes that were open
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {i.name: list(i.dims) for i in graph.initializer}
    for v in (*graph.input, *graph.value_info, *graph.output):
        dims = v.type.tensor_type.shape.dim
        shapes.setdefault(v.name, [d.dim_value or 1 for d in dims])
    return shapes


def _macs(node: Any, shapes: dict[str, list[int]]) -> int:
    """Multiply-accumulates of a convolution or matrix product, else 0."""
    if node.op_type == "Conv":
        weight, out = shapes[node.input[1]], shapes[node.output[0]]
        return math.prod(out) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type in ("MatMul", "Gemm"):
        a, out = shapes[node.input[0]], shapes[node.output[0]]
        turned = any(x.name == "transA" and x.i for x in node.attribute)
        return math.prod(out) * a[0 if turned else -1]
    return 0


def count_cost(path: Path, input_shape: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Parameters, and GFLOPs a frame as two operations for each multiply-accumulate.

    Weights and biases of convolutions and matrix products count, in whatever format they are
    stored, and of these also the share computed in 8 bits (``int8_share``).

    Args:
        input_shape: of the input, where the file leaves it open.
    """
    import onnx

    model = onnx.load(str(path))
    shapes = _shapes(model, input_shape)
    made = {o: n for n in model.graph.node for o in n.output}
    kinds = {i.name: i.data_type for i in model.graph.initializer}

    def stored(name: str) -> str:
        """Name of the stored tensor behind a weight that is cast or dequantised."""
        while name not in kinds and name in made and made[name].input:
            name = made[name].input[0]
        return name

    parameters, macs, int8 = set(), 0, 0
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
            continue
        behind = [stored(n) for n in node.input[1:] if n]
        parameters |= {n for n in behind if n in kinds}
        try:
            mine = _macs(node, shapes | {i: shapes[stored(i)] for i in node.input[1:2]})
        except (KeyError, IndexError):
            continue  # its shape cannot be inferred
        macs += mine
        int8 += mine if behind and kinds.get(behind[0]) in _INT8 else 0
    return {
        "parameters": sum(math.prod(shapes[n]) for n in parameters),
        "gflops": 2e-9 * macs,
        "int8_share": int8 / macs if macs else 0.0,
    }
