"""Smaller number formats for an exported file: FP16, and INT8 after training.

INT8 is written as QuantizeLinear and DequantizeLinear pairs (static, per output channel for
weights; Jacob et al. 2018). ONNX Runtime's CPU kernels are fast with unsigned activations and
slow with signed ones; TensorRT takes signed, symmetric ones alone: hence two files. Activation
ranges are those of least squared error on calibration pictures, weights are rounded so that outputs
change least there and biases make up for the rest, and the layers that cost most accuracy can be
left in fp32. What follows the heads' convolutions always stays fp32: there, equal 8-bit scores
would make false peaks, and 16 bits are too few for box edges in pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from data.types import F32, F64, U8
from perception.bias_correction import correct_biases
from perception.cpu_layout import (
    BytesIn,
    fold_conversion,
    heads_last,
    keep_float,
    read_bytes,
    twins_together,
)
from perception.int8_measure import Measured, Ranges
from perception.onnx_graph import (
    after_heads,
    attributes,
    consumers,
    convolutions,
    first_convolutions,
    head_convolutions,
    leading_convolutions,
    leading_to,
    session_of,
    with_outputs,
)
from perception.rounding import round_to_steps
from perception.weight_steps import portable_steps, whole_range_steps

PRECISIONS = ("fp32", "fp16", "int8-cpu", "int8-gpu")
_ACTIVATIONS = ("Clip", "Relu")
_STEPS = (0, 1, 2, 4, 8, 16)  # how many more are left in fp32, attempt by attempt


@dataclass(frozen=True)
class Int8Scheme:
    """How a runtime wants its INT8.

    Attributes:
        signed: activations signed and symmetric, biases in fp32, only inputs of convolutions and
            sums quantised (TensorRT fuses what follows them); otherwise unsigned, every tensor
            between quantised operators, biases in 32 bits (ONNX Runtime's CPU kernels).
        operators: types that are quantised.
        harmful: noise over signal at the heads from which a layer stays in fp32 at once; symmetric
            activations waste a bit behind a ReLU, so that more layers suffer.
    """

    signed: bool
    operators: tuple[str, ...]
    harmful: float = 0.05


SCHEMES = {
    "int8-cpu": Int8Scheme(False, ("Conv", "Clip", "Relu", "Add", "Concat", "Resize")),
    "int8-gpu": Int8Scheme(True, ("Conv",), 0.0005),
}


def _tensor_ranges(ranges: Ranges) -> Any:
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

    values = {n: (np.array(a, np.float32), np.array(b, np.float32)) for n, (a, b) in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, values)


def _bytes_in(model: onnx.ModelProto, left_float: Collection[str]) -> BytesIn | None:
    """The first convolution made ready to read bytes, in place, where it is to be in INT8."""
    first = first_convolutions(model)
    if len(first) != 1 or first[0] in left_float:
        return None
    return fold_conversion(model, first[0])


@dataclass(frozen=True, eq=False)
class Rounded:
    """A file's convolution weights as they are stored in 8 bits, by the weights' names.

    Attributes:
        steps: (o,) each; weights: multiples of them, shaped as those that they take the place of.
    """

    steps: Mapping[str, F64]
    weights: Mapping[str, F32]


def round_weights(content: bytes, measured: Measured, scheme: Int8Scheme) -> Rounded:
    """The weights of all convolutions before the heads' last, rounded as ``rounding`` has it."""
    model = onnx.load_from_string(content)
    first = None if scheme.signed else _bytes_in(model, ())
    constants = {t.name: t for t in model.graph.initializer}
    inner = set(convolutions(model))
    users = [n for n in model.graph.node if n.name in inner and n.input[1] in constants]
    steps: dict[str, F64] = {}
    weights: dict[str, F32] = {}
    for n in users:
        if (name := n.input[1]) in steps:
            continue
        weight = onnx.numpy_helper.to_array(constants[name])
        groups = attributes(n).get("group", 1)
        steps[name] = whole_range_steps(weight) if scheme.signed else portable_steps(weight, groups)
        found = [measured.covariances.get(u.name) for u in users if u.input[1] == name]
        alone = found[0] if len(found) == 1 else None
        if alone is not None and first is not None and n.name == first.convolution:
            alone = _reordered(alone, first.order)
        weights[name] = round_to_steps(weight, steps[name], alone)
    return Rounded(steps, weights)


def _reordered(covariance: F64, order: Sequence[int]) -> F64:
    """(1, k, k) of numbers whose channels, the slowest of k, come in another order."""
    k = covariance.shape[1]
    at = np.arange(k).reshape(len(order), -1)[list(order)].ravel()
    return covariance[:, at][:, :, at]


def _use(model: onnx.ModelProto, rounded: Rounded, left_float: Collection[str]) -> dict[str, F64]:
    """Give convolutions their rounded weights, in place; returns the steps of those."""
    constants = {t.name: t for t in model.graph.initializer}
    steps = {}
    for n in model.graph.node:
        if n.op_type == "Conv" and n.name not in left_float and n.input[1] in rounded.weights:
            name = n.input[1]
            steps[name] = rounded.steps[name]
            constants[name].CopyFrom(onnx.numpy_helper.from_array(rounded.weights[name], name))
    return steps


def quantize(
    content: bytes, measured: Measured, scheme: Int8Scheme, left_float: Collection[str] = (),
    rounded: Rounded | None = None,
) -> bytes:  # fmt: skip
    """The fp32 file with the convolutions before the heads in INT8.

    Args:
        measured: by ``int8_measure.calibrate``.
        left_float: names of convolutions to leave in fp32.
        rounded: by ``round_weights``, where it is known; it takes most of the time.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    model = onnx.load_from_string(content)
    behind = {*after_heads(model), *(n.name for n in head_convolutions(model)), *left_float}
    first = None if scheme.signed else _bytes_in(model, behind)
    ranges, means = measured.ranges, measured.means
    if first is not None:
        ranges = {**ranges, first.tensor: first.range}
        means = {**means, first.tensor: means[first.tensor][list(first.order)]}
    rounded = rounded or round_weights(content, measured, scheme)
    correct_biases(model, means, rounded.weights, behind)
    steps = _use(model, rounded, behind)
    wanted = [
        n.name for n in model.graph.node
        if n.op_type in scheme.operators and n.name not in behind
        and all(i in measured.ranges for i in n.input[:1])
    ]  # fmt: skip
    extra: dict[str, Any] = {
        "ActivationSymmetric": scheme.signed,
        "WeightSymmetric": True,
        "QuantizeBias": not scheme.signed,
        "TensorQuantOverrides": {
            name: [{"axis": 0, "scale": np.float32(s), "zero_point": np.int8(0)} for s in each]
            for name, each in steps.items()
        },
    }
    if scheme.signed:
        extra["OpTypesToExcludeOutputQuantization"] = list(scheme.operators)
    kind = QuantType.QInt8 if scheme.signed else QuantType.QUInt8
    quantizer = QDQQuantizer(
        model, True, False, QuantType.QInt8, kind, _tensor_ranges(ranges), wanted,
        sorted(behind), list(scheme.operators), extra,
    )  # fmt: skip
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result = quantizer.model.model
    if first is not None:
        read_bytes(result, first)
    if not scheme.signed:
        twins_together(result)
        heads_last(result, head_convolutions(result))
        keep_float(result, left_float)
    onnx.helper.set_model_props(result, {p.key: p.value for p in model.metadata_props})
    return bytes(result.SerializeToString())


def _noise(session: Any, truth: Sequence[Sequence[NDArray]], canvases: Sequence[U8]) -> float:
    """Noise over signal of the heads' outputs, summed over the heads."""
    noise = np.zeros(len(truth[0]))
    signal = np.zeros(len(truth[0]))
    for canvas, want in zip(canvases, truth, strict=True):
        for k, (a, b) in enumerate(zip(session.run(None, {"image": canvas[None]}), want)):
            noise[k] += float(np.square(a - b).sum())
            signal[k] += float(np.square(b - b.mean()).sum())
    return float((noise / np.maximum(signal, 1e-12)).sum())


def rank_layers(
    content: bytes, measured: Measured, scheme: Int8Scheme, canvases: Sequence[U8],
    rounded: Rounded | None = None,
) -> list[tuple[str, float]]:  # fmt: skip
    """Convolutions by the harm that their quantisation alone does to the heads, that of the
    activation behind them included; worst first. Arguments as in ``quantize``."""
    rounded = rounded or round_weights(content, measured, scheme)
    model = onnx.load_from_string(content)
    users = consumers(model.graph)
    # behind a pixel shuffle, which moves numbers alone: the INT8 file may have none before it
    last = [n.output[0] for n in head_convolutions(model)]
    moved = [next((u for u in users[o] if u.op_type == "DepthToSpace"), None) for o in last]
    heads = [o if u is None else u.output[0] for o, u in zip(last, moved, strict=True)]
    names = convolutions(model)
    session = session_of(with_outputs(model, heads))
    truth = [session.run(None, {"image": c[None]}) for c in canvases]
    # an unsigned scheme rounds what comes out of the activation, which is the narrower range
    kinds = ("Conv",) if scheme.signed else ("Conv", *_ACTIVATIONS)
    activations = {
        n.name: {u.name for u in users.get(n.output[0], ()) if u.op_type in _ACTIVATIONS}
        for n in model.graph.node
    }
    harm = []
    for name in names:
        others = [
            n.name for n in model.graph.node
            if n.op_type in kinds and n.name != name and n.name not in activations[name]
        ]  # fmt: skip
        alone = quantize(content, measured, Int8Scheme(scheme.signed, kinds), others, rounded)
        one = session_of(with_outputs(onnx.load_from_string(alone), heads))
        harm.append((name, _noise(one, truth, canvases)))
    return sorted(harm, key=lambda pair: -pair[1])


@dataclass(frozen=True)
class Quantised:
    """A converted file and the convolutions left in fp32."""

    content: bytes
    left_float: tuple[str, ...]


def attempts(
    content: bytes, measured: Measured, scheme: Int8Scheme, canvases: Sequence[U8]
) -> Iterator[Quantised]:
    """INT8 files with ever more of the most harmful convolutions left in fp32, and always those of
    the picture itself that cannot read its bytes as they are.

    Args:
        canvases: a few letterboxed pictures to rank the convolutions on.
    """
    model = onnx.load_from_string(content)
    always = first_convolutions(model)
    if not scheme.signed and _bytes_in(model, ()) is not None:
        always = []
    rounded = round_weights(content, measured, scheme)
    ranked = rank_layers(content, measured, scheme, canvases, rounded)
    ranked = [r for r in ranked if r[0] not in always]
    first = sum(harm > scheme.harmful for _, harm in ranked)
    for more in _STEPS:
        left = (*always, *(name for name, _ in ranked[: first + more]))
        yield Quantised(quantize(content, measured, scheme, left, rounded), left)
        if first + more >= len(ranked):
            return


def half_attempts(content: bytes) -> Iterator[Quantised]:
    """FP16 files: with all convolutions, then without the picture's own and those that read what
    they give. These look for faint edges on bright ground, and 11 bits of the ground's brightness
    move what they find."""
    yield Quantised(to_fp16(content), ())
    left = leading_convolutions(onnx.load_from_string(content))
    yield Quantised(to_fp16(content, left), tuple(left))


def to_fp16(content: bytes, left_float: Collection[str] = ()) -> bytes:
    """The fp32 file with weights and maps up to the heads in FP16; inputs and outputs stay, and
    the convolutions ``left_float`` with all that leads to them."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load_from_string(content)
    kept = [*after_heads(model), *leading_to(model, left_float)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights below FP16's least number, which become it
        converted = convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)
    _without_detours(converted, set(kept))
    ordered = OnnxModel(converted)
    ordered.topological_sort()
    return bytes(ordered.model.SerializeToString())


def _without_detours(model: onnx.ModelProto, kept: set[str]) -> None:
    """Lead what one fp32 node hands to another past the two casts put between them.

    The converter rounds every output of a node that stays in fp32 to FP16, and widens it again for
    the next: a box edge right of pixel 512 would come out in steps of half a pixel.
    """
    graph = model.graph
    made_by = {o: n for n in graph.node for o in n.output}

    def narrows(n: onnx.NodeProto | None) -> bool:
        if n is None or n.op_type != "Cast" or n.attribute[0].i != onnx.TensorProto.FLOAT16:
            return False
        source = made_by.get(n.input[0])
        return source is not None and source.name in kept

    past = {
        n.output[0]: made_by[n.input[0]].input[0]
        for n in graph.node
        if n.op_type == "Cast"
        and n.attribute[0].i == onnx.TensorProto.FLOAT
        and narrows(made_by.get(n.input[0]))
    }
    outputs = {o.name for o in graph.output}
    named = {source: name for name, source in past.items() if name in outputs}
    for node in [n for n in graph.node if n.op_type == "Cast" and n.output[0] in past]:
        graph.node.remove(node)
    for node in graph.node:
        for i, name in enumerate(node.input):
            source = past.get(name, name)
            node.input[i] = named.get(source, source)
        for i, name in enumerate(node.output):
            node.output[i] = named.get(name, name)
    used = {i for n in graph.node for i in n.input} | outputs
    for node in [n for n in graph.node if n.op_type == "Cast" and n.output[0] not in used]:
        graph.node.remove(node)
