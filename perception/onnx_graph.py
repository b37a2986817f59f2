"""What an ONNX file's graph tells: its convolutions, its heads, and what stands behind them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import onnx

from perception.runtime import AS_WRITTEN


def consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor, in order."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def head_convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The convolutions that no other convolution follows: where the network's heads end."""
    users = consumers(model.graph)
    followed: set[str] = set()  # tensors from which a convolution is reached
    for node in reversed(model.graph.node):
        if node.op_type == "Conv" or any(o in followed for o in node.output):
            followed.update(node.input)
    return [
        n for n in model.graph.node
        if n.op_type == "Conv" and n.output[0] not in followed and n.output[0] in users
    ]  # fmt: skip


def after_heads(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes behind the heads' convolutions: the post-processing."""
    reached = {n.output[0] for n in head_convolutions(model)}
    names = []
    for node in model.graph.node:
        if any(i in reached for i in node.input):
            reached.update(node.output)
            names.append(node.name)
    return names


def convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions that can be quantised: all but the heads' last."""
    last = {n.name for n in head_convolutions(model)}
    return [n.name for n in model.graph.node if n.op_type == "Conv" and n.name not in last]


def first_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions that no other precedes: of the picture's few channels. Where they
    read it through a conversion, they are the most harmful in INT8."""
    preceded: set[str] = set()  # tensors that a convolution leads to
    for node in model.graph.node:
        if node.op_type == "Conv" or any(i in preceded for i in node.input):
            preceded.update(node.output)
    return [
        n.name for n in model.graph.node
        if n.op_type == "Conv" and n.input[0] not in preceded
    ]  # fmt: skip


def leading_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of ``first_convolutions`` and of those that read what these give, activated or not."""
    first = set(first_convolutions(model))
    given = {o for n in model.graph.node if n.name in first for o in n.output}
    found = []
    for node in model.graph.node:
        reads = any(i in given for i in node.input)
        if node.op_type == "Conv" and (node.name in first or reads):
            found.append(node.name)
        elif reads:
            given.update(node.output)
    return found


def leading_to(model: onnx.ModelProto, names: Collection[str]) -> list[str]:
    """The nodes of these names and all that what they read is made by."""
    wanted: set[str] = set()
    found = []
    for node in reversed(model.graph.node):
        if node.name in names or any(o in wanted for o in node.output):
            wanted.update(node.input)
            found.append(node.name)
    return found[::-1]


def session_of(content: bytes) -> Any:
    """A file on ONNX Runtime, computed as it is written."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(
        content, options, providers=["CPUExecutionProvider"], disabled_optimizers=AS_WRITTEN
    )


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> bytes:
    """The file with these tensors as its only outputs."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    changed.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    return bytes(changed.SerializeToString())
