"""INT8 files laid out for ONNX Runtime's CPU kernels: the same sums, with less around them.

Its INT8 convolutions want channels last and many of them. A picture has three, so that beside the
first convolution more time went into turning bytes into floats and back than into it; and the
heads, which stay in fp32, had their input turned to channels first and back. Here the picture's
bytes are what the first convolution reads, several pixels side by side as one with more channels
(as in the space-to-depth stems of Shen et al., "MLPerf-0.6 on TPU pods", 2019), layers that look
at the same are one, and heads are products of matrices with channels last.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from data.types import F32
from perception.onnx_graph import attributes

_PIXELS = 4  # taken together; sides are multiples of 32
_CONVERSION = ("Cast", "Transpose", "Gather", "Div", "Sub")  # from the picture on


@dataclass(frozen=True)
class BytesIn:
    """A first convolution that can read the picture's bytes.

    Attributes:
        convolution, tensor: its name and that of its input, which is (byte - ``zero``) * ``step``.
        order: where the input's channels, now the picture's, stood before.
    """

    convolution: str
    tensor: str
    zero: int
    step: float
    order: tuple[int, ...]

    @property
    def range(self) -> tuple[float, float]:
        """Of the tensor's values, of which each byte is one."""
        return -self.zero * self.step, (255 - self.zero) * self.step


def _makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    return {o: n for n in graph.node for o in n.output}


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    return {t.name: t for t in graph.initializer}


def _value(graph: onnx.GraphProto, name: str) -> Any:
    return numpy_helper.to_array(_constants(graph)[name])


def _set(graph: onnx.GraphProto, name: str, value: Any) -> None:
    _constants(graph)[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))


def _add(graph: onnx.GraphProto, name: str, value: Any) -> str:
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def _insert(graph: onnx.GraphProto, at: int, nodes: list[onnx.NodeProto]) -> None:
    for k, node in enumerate(nodes):
        graph.node.insert(at + k, node)


def _without_unused(graph: onnx.GraphProto) -> None:
    """Drop numbers widened for nobody, constants of nobody, and shapes that may be others now."""
    used = {i for n in graph.node for i in n.input}
    for node in [n for n in graph.node if n.op_type == "DequantizeLinear"]:
        if node.output[0] not in used:
            graph.node.remove(node)
    used = {i for n in graph.node for i in n.input}
    for constant in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(constant)
    del graph.value_info[:]


def _conversion(graph: onnx.GraphProto, tensor: str) -> list[onnx.NodeProto]:
    """The nodes that make a tensor of the picture's bytes, in order; none where it is made in
    another way."""
    makers, found, name = _makers(graph), [], tensor
    for kind in reversed(_CONVERSION):
        node = makers.get(name)
        users = sum(name in n.input for n in graph.node)
        if node is None or node.op_type != kind or users != 1:
            return []
        found.append(node)
        name = node.input[0]
    return found[::-1] if name in {i.name for i in graph.input} else []


def fold_conversion(model: onnx.ModelProto, convolution: str) -> BytesIn | None:
    """Let the first convolution of an fp32 file read bytes less a whole number, in place: colours
    swapped and the rest of the shift are taken into its weights and bias.

    What is padded beyond the borders is off by that rest: half a level of the picture's 256.

    Returns:
        None, and nothing done, where the picture comes to it in another way than
        ``perception.models.deploy`` has it.
    """
    graph = model.graph
    node = next(n for n in graph.node if n.name == convolution)
    nodes, constants = _conversion(graph, node.input[0]), _constants(graph)
    groups = attributes(node).get("group", 1)
    if not nodes or len(node.input) < 3 or groups != 1 or not set(node.input[1:]) <= set(constants):
        return None
    _, turn, swap, scale, shift = nodes
    step = 1 / float(_value(graph, scale.input[1]))
    offset = float(_value(graph, shift.input[1]))
    zero = round(offset / step)
    weight, bias = _value(graph, node.input[1]), _value(graph, node.input[2])
    rest = np.float32(zero * step - offset)
    order = np.argsort(_value(graph, swap.input[1]))
    # constants of its own: equal ones of other layers are kept once
    node.input[1] = _add(graph, f"{convolution}/of_bytes", weight[:, order])
    total = (bias + rest * weight.sum((1, 2, 3))).astype(np.float32)
    node.input[2] = _add(graph, f"{convolution}/bias_of_bytes", total)
    scale.input[0] = turn.output[0]
    graph.node.remove(swap)
    return BytesIn(convolution, node.input[0], zero, step, tuple(order.tolist()))


def read_bytes(model: onnx.ModelProto, first: BytesIn) -> None:
    """Lead the picture's bytes past their conversion to a first convolution in INT8, in place."""
    graph, makers = model.graph, _makers(model.graph)
    rounds = next(
        n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == first.tensor
    )
    step, zero = (_value(graph, i) for i in rounds.input[1:])
    if int(zero) != first.zero or not np.isclose(step, first.step, rtol=1e-6):
        raise RuntimeError(f"the picture's bytes became steps of {step} from {zero}")
    shift = makers[first.tensor]
    scale = makers[shift.input[0]]
    turn = makers[scale.input[0]]
    cast = makers[turn.input[0]]
    turn.input[0] = cast.input[0]
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == rounds.output[0]:
            node.input[0] = turn.output[0]
    for node in (rounds, shift, scale, cast):
        graph.node.remove(node)
    _without_unused(graph)
    node = next(n for n in graph.node if n.name == first.convolution)
    _group_pixels(graph, node, turn)


def _group_pixels(graph: onnx.GraphProto, node: onnx.NodeProto, turn: onnx.NodeProto) -> None:
    """Make the first convolution see ``_PIXELS`` side by side as one; what it gives is the same."""
    makers, told = _makers(graph), attributes(node)
    down, across = told["strides"]
    top, left, bottom, right = told["pads"]
    picture = next(i for i in graph.input if i.name == turn.input[0])
    height, width = (d.dim_value for d in picture.type.tensor_type.shape.dim[1:3])
    weights = makers[node.input[1]]
    old = _value(graph, weights.input[0])
    outputs, channels, rows, columns = old.shape
    fits = width > 0 and width % _PIXELS == 0 and _PIXELS % across == 0
    if not fits or (width + left + right - columns) // across + 1 != width // across:
        return
    each = _PIXELS // across
    lowest, highest = -left // _PIXELS, ((each - 1) * across + columns - 1 - left) // _PIXELS
    new = np.zeros((each, outputs, _PIXELS, channels, rows, highest - lowest + 1), old.dtype)
    for j in range(each):
        for tap in range(columns):
            group, pixel = divmod(j * across + tap - left, _PIXELS)
            new[j, :, pixel, :, :, group - lowest] = old[:, :, :, tap]
    shape = (each * outputs, _PIXELS * channels, rows, highest - lowest + 1)
    _set(graph, weights.input[0], new.reshape(shape))
    of_bias = makers[node.input[2]]
    for name in (*weights.input[1:], *of_bias.input):
        value = _value(graph, name)
        _set(graph, name, np.tile(value, each) if value.ndim else value)
    changes = {
        "pads": [top, -lowest, bottom, highest], "strides": [down, 1],
        "kernel_shape": list(shape[2:]),
    }  # fmt: skip
    for attribute in node.attribute:
        if attribute.name in changes:
            attribute.ints[:] = changes[attribute.name]
    high = (height + top + bottom - rows) // down + 1
    _regroup(graph, node, turn, (height, width, channels), (high, width // across, outputs))


def _regroup(
    graph: onnx.GraphProto, node: onnx.NodeProto, turn: onnx.NodeProto,
    picture: tuple[int, int, int], result: tuple[int, int, int],
) -> None:  # fmt: skip
    """Pixels (rows, columns, channels) put together before the convolution, and what was rounded
    behind it put apart."""
    height, width, channels = picture
    into = _add(
        graph, "groups/in", np.array([0, height, width // _PIXELS, _PIXELS * channels], np.int64)
    )
    grouped = onnx.helper.make_node("Reshape", [turn.input[0], into], ["groups"], "groups")
    users = {i: n for n in graph.node for i in n.input}
    rounds = users[node.output[0]]
    while rounds.op_type != "QuantizeLinear":  # behind the activation
        rounds = users[rounds.output[0]]
    apart, name = rounds.output[0], "groups/result"
    rounds.output[0] = name
    out = _add(graph, "groups/out", np.array([0, *result], np.int64))
    make = onnx.helper.make_node
    _insert(graph, list(graph.node).index(rounds) + 1, [
        make("Transpose", [name], [f"{name}/last"], f"{name}/last", perm=[0, 2, 3, 1]),
        make("Reshape", [f"{name}/last", out], [f"{name}/apart"], f"{name}/apart"),
        make("Transpose", [f"{name}/apart"], [apart], f"{name}/first", perm=[0, 3, 1, 2]),
    ])  # fmt: skip
    turn.input[0] = "groups"
    _insert(graph, 0, [grouped])


def keep_float(model: onnx.ModelProto, convolutions: Collection[str]) -> None:
    """Make those of ``convolutions`` that read rounded numbers compute in fp32 as the file has it.

    Between rounded tensors ONNX Runtime rounds a convolution's fp32 weights too when it loads a
    file, with one step for all channels, which is worse than INT8 of ours. It does not where what
    is read is widened channel by channel: so that is what is written, with equal steps.
    """
    graph = model.graph
    makers, constants = _makers(graph), _constants(graph)
    for node in [n for n in graph.node if n.name in convolutions]:
        widens = makers.get(node.input[0])
        if widens is None or widens.op_type != "DequantizeLinear" or node.input[1] not in constants:
            continue
        channels = constants[node.input[1]].dims[1] * attributes(node).get("group", 1)
        each = [np.full(channels, _value(graph, name)) for name in widens.input[1:]]
        names = [_add(graph, f"{node.name}/reads/{k}", v) for k, v in enumerate(each)]
        inputs, read = [widens.input[0], *names], f"{node.name}/reads"
        wide = onnx.helper.make_node("DequantizeLinear", inputs, [read], read, axis=1)
        _insert(graph, list(graph.node).index(node), [wide])
        node.input[0] = read
    _without_unused(graph)


def twins_together(model: onnx.ModelProto) -> None:
    """Make INT8 convolutions of the same tensor and shape one, split behind it, in place: ONNX
    Runtime computes all their channels at once in less time."""
    graph = model.graph
    makers = _makers(graph)
    alike: dict[tuple[str, str], list[onnx.NodeProto]] = {}
    for node in graph.node:
        made = [makers.get(i) for i in node.input]
        whole = len(made) == 3 and all(m and m.op_type == "DequantizeLinear" for m in made)
        if node.op_type == "Conv" and whole and attributes(node).get("group", 1) == 1:
            told = sorted((k, str(v)) for k, v in attributes(node).items())
            alike.setdefault((node.input[0], str(told)), []).append(node)
    for twins in alike.values():
        if len(twins) > 1:
            _as_one(graph, twins)
    _without_unused(graph)


def _as_one(graph: onnx.GraphProto, twins: list[onnx.NodeProto]) -> None:
    """Give the first of ``twins`` the channels of all. It rounds in its own steps, so the others'
    weights are scaled to come out in theirs."""
    makers, first, at = _makers(graph), twins[0], f"{twins[0].name}/twins"
    users = [[u for u in graph.node if t.output[0] in u.input] for t in twins]
    if any([u.op_type for u in some] != ["QuantizeLinear"] for some in users):
        return
    rounds = [some[0] for some in users]
    steps, zeros = ([_value(graph, r.input[i]) for r in rounds] for i in (1, 2))
    parts = [  # of weights and of biases: numbers, their steps and zeros, of each twin
        [[_value(graph, name) for name in makers[t.input[i]].input] for t in twins] for i in (1, 2)
    ]
    by_channel = all(value.ndim for kind in parts for twin in kind for value in twin)
    if any(z != zeros[0] for z in zeros) or not by_channel:
        return
    for i, kind in enumerate(parts, 1):
        numbers, scales, offsets = zip(*kind, strict=True)
        own = [v * (steps[0] / step) for v, step in zip(scales, steps, strict=True)]
        for k, values in enumerate((numbers, own, offsets)):
            name = _add(graph, f"{at}/{i}/{k}", np.concatenate(values))
            makers[first.input[i]].input[k] = name
    sizes = _add(graph, f"{at}/sizes", np.array([len(b[0]) for b in parts[1]], np.int64))
    outputs = [r.output[0] for r in rounds]
    rounds[0].output[0] = at
    split = onnx.helper.make_node("Split", [at, sizes], outputs, f"{at}/split", axis=1)
    _insert(graph, list(graph.node).index(rounds[0]) + 1, [split])
    for node in (*twins[1:], *rounds[1:]):
        graph.node.remove(node)


def heads_last(model: onnx.ModelProto, heads: list[onnx.NodeProto]) -> None:
    """Make the heads' 1x1 convolutions of one INT8 tensor one product with channels last, in place.

    Heads of what is not in INT8, or of larger kernels, stay as they are.
    """
    graph = model.graph
    makers = _makers(graph)
    together: dict[str, list[onnx.NodeProto]] = {}
    for head in heads:
        source = makers.get(head.input[0])
        single = _value(graph, head.input[1]).shape[2:] == (1, 1)
        plain = all(v in (1, [1, 1], [0, 0, 0, 0]) for v in attributes(head).values())
        if source is not None and source.op_type == "DequantizeLinear" and single and plain:
            together.setdefault(source.input[0], []).append(head)
    sizes = _shuffled(model)
    for name, some in together.items():
        _shuffle_rows(graph, _as_product(graph, name, some), sizes)
    _without_unused(graph)


def _as_product(graph: onnx.GraphProto, source: str, heads: list[onnx.NodeProto]) -> onnx.NodeProto:
    """``heads`` of what ``source`` rounds to; returns the node that splits their product."""
    makers, make, at = _makers(graph), onnx.helper.make_node, f"{source}/heads"
    widens = makers[heads[0].input[0]]
    weights: list[F32] = [_value(graph, h.input[1])[:, :, 0, 0] for h in heads]
    biases = [_value(graph, h.input[2]) for h in heads]
    weight = _add(graph, f"{at}/weight", np.concatenate(weights).T)
    bias = _add(graph, f"{at}/bias", np.concatenate(biases))
    sizes = _add(graph, f"{at}/sizes", np.array([len(b) for b in biases], np.int64))
    nodes = [
        make("Transpose", [source], [f"{at}/last"], f"{at}/last", perm=[0, 2, 3, 1]),
        make("DequantizeLinear", [f"{at}/last", *widens.input[1:]], [f"{at}/wide"], f"{at}/wide"),
        make("MatMul", [f"{at}/wide", weight], [f"{at}/product"], f"{at}/product"),
        make("Add", [f"{at}/product", bias], [f"{at}/sum"], f"{at}/sum"),
        make("Transpose", [f"{at}/sum"], [f"{at}/first"], f"{at}/first", perm=[0, 3, 1, 2]),
        make("Split", [f"{at}/first", sizes], [h.output[0] for h in heads], at, axis=1),
    ]
    for head in heads:
        graph.node.remove(head)
    at_source = list(graph.node).index(makers[source])
    _insert(graph, at_source + 1, nodes)
    return graph.node[at_source + len(nodes)]


def _shuffled(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Height and width of what each pixel shuffle reads, by its name, where both are known."""
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred}
    kinds = [n for n in model.graph.node if n.op_type == "DepthToSpace"]
    found = {n.name: shapes.get(n.input[0], [])[2:] for n in kinds}
    return {name: size for name, size in found.items() if size and all(size)}


def _shuffle_rows(
    graph: onnx.GraphProto, split: onnx.NodeProto, sizes: dict[str, list[int]]
) -> None:
    """Shuffle the pixels of a product's heads by whole rows, which ONNX Runtime does faster than
    its own DepthToSpace; nothing where one of the heads is not shuffled."""
    make, at = onnx.helper.make_node, split.name
    users = [[n for n in graph.node if o in n.input] for o in split.output]
    heads = [some[0] for some in users if len(some) == 1]
    crd = [n for n in heads if n.name in sizes and attributes(n).get("mode") == b"CRD"]
    if len(crd) < len(split.output):
        return
    turn = _makers(graph)[split.input[0]]
    parts, nodes = [turn.input[0]], []
    if len(crd) > 1:
        parts = [f"{at}/last/{k}" for k in range(len(crd))]
        nodes = [make("Split", [turn.input[0], split.input[1]], parts, f"{at}/parts", axis=3)]
    counts = _value(graph, split.input[1]).tolist()
    for node, part, channels in zip(crd, parts, counts, strict=True):
        nodes += _by_rows(graph, node, part, channels, sizes[node.name])
    _insert(graph, list(graph.node).index(split), nodes)
    for gone in (turn, split, *crd):
        graph.node.remove(gone)


def _by_rows(
    graph: onnx.GraphProto, node: onnx.NodeProto, source: str, deep: int, size: list[int]
) -> list[onnx.NodeProto]:
    """What does the work of a pixel shuffle, of ``source`` (n, height, width, deep)."""
    make, at, block = onnx.helper.make_node, node.name, attributes(node)["blocksize"]
    channels = deep // block**2
    height, width = size
    shapes = {  # (n, pixels, channels and rows, columns); then rows of the result in their order
        "pixels": [0, height * width, channels * block, block],
        "rows": [0, channels, block, height, width * block],
        "shuffled": [0, channels, height * block, width * block],
    }
    names = {k: _add(graph, f"{at}/{k}", np.array(v, np.int64)) for k, v in shapes.items()}
    return [
        make("Reshape", [source, names["pixels"]], [f"{at}/a"], f"{at}/a"),
        make("Transpose", [f"{at}/a"], [f"{at}/b"], f"{at}/b", perm=[0, 2, 1, 3]),
        make("Reshape", [f"{at}/b", names["rows"]], [f"{at}/c"], f"{at}/c"),
        make("Transpose", [f"{at}/c"], [f"{at}/d"], f"{at}/d", perm=[0, 1, 3, 2, 4]),
        make("Reshape", [f"{at}/d", names["shuffled"]], [node.output[0]], f"{at}/e"),
    ]
