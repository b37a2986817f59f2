"""From a checkpoint to self-contained ONNX files, each kept only if it passes the gate."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.errors import InputError
from data.taxonomy import CLASSES
from data.types import U8
from perception.gate import LIMITS, Accuracy, Labelled, Parity, compare, measure_accuracy
from perception.int8_measure import calibrate
from perception.models.multitask import MASK_STRIDE, STRIDE
from perception.preprocess import LETTERBOX_RULE, check_size
from perception.quantize import PRECISIONS, SCHEMES, attempts, half_attempts
from perception.runtime import FORMAT, RUNTIMES, Model
from perception.segmenter import Segmenter, load_any
from perception.training.validate import deployed, run_torch

OPSET = 17  # the newest that TensorRT 8.5 to 11 take alike
_TINY = 1e-30
_LEAST_SCALE, _MOST_SCALE = 0.25, 4.0
# pictures; with 24 a former `nano` lost 0.018 of persons' AP50 in INT8, with 64 0.013, 128 0.005
CALIBRATION = 128
_ROOM = 0.6  # share of the limit to stay within, since the pictures of the gate are few
_RANKING = 3  # of them to rank the layers on


@dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Attributes:
        name: of the files, without suffix; size: (width, height) px, multiples of 32.
        precisions: some of ``quantize.PRECISIONS``.
        dynamic_batch: leave the batch open in place of 1.
        force: write files that fail the gate too.
        terms: of the training data; revision: of the code; kept in the files.
        scales: of the picture, whose mean tells the pixels' classes, see ``DeploySemantic``.
    """

    name: str
    size: tuple[int, int] = (640, 384)
    precisions: tuple[str, ...] = ("fp32",)
    dynamic_batch: bool = False
    force: bool = False
    terms: str = ""
    revision: str = ""
    scales: tuple[float, ...] = (1.0,)

    def check(self) -> None:
        """InputError where a precision is unknown, the size no multiple of 32, or a scale out of
        range."""
        unknown = [p for p in self.precisions if p not in PRECISIONS]
        if unknown or not self.precisions:
            given = ", ".join(map(repr, unknown)) or "none"
            raise InputError(f"--precision {given}: expected some of {', '.join(PRECISIONS)}")
        check_size(self.size)
        if not self.scales or not all(_LEAST_SCALE <= s <= _MOST_SCALE for s in self.scales):
            given = ", ".join(f"{s:g}" for s in self.scales) or "none"
            raise InputError(
                f"--scales {given}: expected numbers from {_LEAST_SCALE:g} to {_MOST_SCALE:g}"
            )


@dataclass(frozen=True)
class GateData:
    """Pictures to judge by: ``pictures`` (h, w, 3) uint8 BGR for parity with the training code,
    ``labelled`` for accuracy (None will do for fp32 alone), ``canvases`` letterboxed to the
    network's size for calibration."""

    pictures: Sequence[U8]
    labelled: Labelled | None
    canvases: Sequence[U8]


@dataclass(frozen=True)
class Exported:
    """A file and how it did at the gate; ``left_float``: convolutions that stayed in fp32."""

    precision: str
    file: str
    content: bytes
    gate: Parity | Accuracy
    written: bool = False
    left_float: tuple[str, ...] = ()

    def figures(self) -> dict[str, Any]:
        """What the gate found, fit for JSON: what is not finite is None."""
        found = asdict(self.gate) | {"passed": self.gate.passed}
        if isinstance(self.gate, Accuracy):
            found["worst"] = self.gate.worst
        return {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in found.items()
        }

    def report(self) -> dict[str, Any]:
        """The entry of ``export.json``."""
        return {
            "file": self.file,
            "precision": self.precision,
            "runtime": RUNTIMES[self.precision],
            "bytes": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "left_float": list(self.left_float),
            "gate": self.figures(),
            "written": self.written,
        }


def flush_subnormals(net: nn.Module) -> int:
    """Set weights below 1e-30 to zero (they slow a CPU several times over); returns how many."""
    count = 0
    with torch.no_grad():
        for p in [*net.parameters(), *net.buffers()]:
            if p.is_floating_point():
                tiny = (p.abs() < _TINY) & (p != 0)
                count += int(tiny.sum())
                p[tiny] = 0.0
    return count


def _metadata(meta: dict[str, Any], options: ExportOptions) -> dict[str, str]:
    batch = "batch" if options.dynamic_batch else "1"
    classes = ("roadstack.classes", list(CLASSES))
    if "segmentation_classes" in meta:
        classes = ("roadstack.segmentation_classes", meta["segmentation_classes"])
    return {
        classes[0]: json.dumps(classes[1]),
        "roadstack.format": FORMAT,
        "roadstack.name": options.name,
        "roadstack.precision": "fp32",
        "roadstack.runtime": RUNTIMES["fp32"],
        "roadstack.input": f"uint8 BGR, {batch} x height x width x 3; normalisation is inside",
        "roadstack.colour": "BGR",
        "roadstack.size": json.dumps(list(options.size)),
        "roadstack.letterbox": LETTERBOX_RULE,
        "roadstack.strides": json.dumps({"objects": STRIDE, "surfaces": MASK_STRIDE}),
        "roadstack.training": json.dumps(meta, sort_keys=True),
        "roadstack.terms": options.terms or str(meta.get("terms", "not stated")),
        "roadstack.revision": options.revision or "not known",
        **({"roadstack.scales": json.dumps(options.scales)} if options.scales != (1.0,) else {}),
    }


def _cast_first(graph: Any) -> None:
    """Turn Transpose, Cast at the input into Cast, Transpose: TensorRT takes 8-bit unsigned
    pixels into a Cast alone."""
    import onnx

    turn, cast = (onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node[:2])
    if (turn.op_type, cast.op_type) != ("Transpose", "Cast") or cast.input[0] != turn.output[0]:
        return
    between, end = turn.output[0], cast.output[0]
    cast.input[0], cast.output[0] = turn.input[0], between
    turn.input[0], turn.output[0] = between, end
    del graph.node[:2]
    graph.node.insert(0, turn)
    graph.node.insert(0, cast)
    kept = [v for v in graph.value_info if v.name not in (between, end)]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _share_equal(graph: Any) -> None:
    """Keep equal weights once: of a network asked several times the exporter writes each anew."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    same: dict[str, str] = {}
    for t in graph.initializer:
        key = (t.data_type, tuple(t.dims), t.raw_data)
        kept = first.setdefault(key, t.name) if t.raw_data else t.name
        if kept != t.name:
            same[t.name] = kept
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = same.get(name, name)
    for t in [t for t in graph.initializer if t.name in same]:
        graph.initializer.remove(t)


def build_onnx(net: nn.Module, meta: dict[str, Any], options: ExportOptions) -> bytes:
    """Trace, simplify and label the deployed graph in fp32; returns the file's bytes."""
    import onnx
    import onnxslim

    options.check()
    size = options.size
    flush_subnormals(net)
    deploy, outputs = deployed(net, options.scales)
    example = torch.zeros(1, size[1], size[0], 3, dtype=torch.uint8)
    axes = {k: {0: "batch"} for k in ("image", *outputs)} if options.dynamic_batch else None
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = os.path.join(folder, "traced.onnx")
        torch.onnx.export(
            deploy, (example,), path, input_names=["image"], output_names=list(outputs),
            opset_version=OPSET, dynamo=False, dynamic_axes=axes,
        )  # fmt: skip
        model = onnxslim.slim(onnx.load(path))
    _cast_first(model.graph)
    _share_equal(model.graph)
    onnx.helper.set_model_props(model, _metadata(meta, options))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def measure_parity(
    net: nn.Module,
    model: Model | Segmenter,
    images: Sequence[U8],
    scales: Sequence[float] = (1.0,),
) -> Parity:
    """The training code against the file on pictures, through the whole path."""
    deploy, _ = deployed(net, scales)
    return compare(lambda canvas: run_torch(deploy, canvas), model, images)


def with_metadata(content: bytes, changes: dict[str, str]) -> bytes:
    """The file with these metadata set or changed."""
    import onnx

    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | changes)
    return bytes(model.SerializeToString())


def load_bytes(content: bytes, any_runtime: bool = False) -> Model | Segmenter:
    """A model in memory on ONNX Runtime; arguments as in ``runtime.load_model``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        return load_any(str(path), any_runtime=any_runtime)


def _finish(e: Exported) -> Exported:
    """Write what the gate found into the file's metadata."""
    changes = {
        "roadstack.precision": e.precision,
        "roadstack.runtime": RUNTIMES[e.precision],
        "roadstack.gate": json.dumps(e.figures()),
        "roadstack.left_float": json.dumps(list(e.left_float)),
    }
    return replace(e, content=with_metadata(e.content, changes))


def _file_name(name: str, precision: str) -> str:
    return f"{name}.onnx" if precision == "fp32" else f"{name}.{precision}.onnx"


def _convert(
    fp32: bytes,
    precision: str,
    reference: dict[str, float],
    labelled: Labelled,
    canvases: Sequence[U8],
    name: str,
) -> Exported:
    """A smaller format: the first attempt with room to spare, or else the nearest."""
    if precision == "fp16":
        tries = half_attempts(fp32)
    else:
        few = canvases[:: max(1, len(canvases) // CALIBRATION)][:CALIBRATION]
        scheme = SCHEMES[precision]
        tries = attempts(fp32, calibrate(fp32, few, scheme.signed), scheme, few[:_RANKING])
    best: Exported | None = None
    for made in tries:
        loaded = load_bytes(made.content, any_runtime=precision == "int8-gpu")
        images, measured = measure_accuracy(loaded, labelled)
        gate = Accuracy(images, LIMITS[precision], reference, measured)
        file = _file_name(name, precision)
        this = Exported(precision, file, made.content, gate, left_float=made.left_float)
        if best is None or gate.worst < best.gate.worst:  # type: ignore[union-attr]
            best = this
        if gate.worst <= _ROOM * gate.limit:
            break
    assert best is not None
    return best


def _write(out: Path, files: Sequence[Exported], options: ExportOptions) -> None:
    """Every file under its own name once all are whole, then ``export.json``."""
    report = {"name": options.name, "opset": OPSET, "size": list(options.size)}
    report |= {"revision": options.revision, "files": [e.report() for e in files]}
    contents = {e.file: e.content for e in files if e.written}
    contents["export.json"] = (json.dumps(report, indent=2) + "\n").encode()
    try:
        for name, content in contents.items():
            (out / (name + ".part")).write_bytes(content)
        for name in contents:
            os.replace(out / (name + ".part"), out / name)
    finally:
        for name in contents:
            (out / (name + ".part")).unlink(missing_ok=True)


def _smaller(
    content: bytes, options: ExportOptions, data: GateData, say: Callable[[str], None]
) -> list[Exported]:
    """The smaller formats that are asked for, judged by accuracy against the fp32 file."""
    wanted = [p for p in PRECISIONS if p != "fp32" and p in options.precisions]
    if not wanted or data.labelled is None:
        return []
    say("fp32: accuracy on labelled pictures")
    _, reference = measure_accuracy(load_bytes(content), data.labelled)
    files = []
    for precision in wanted:
        say(f"{precision}: converting, against the fp32 file")
        made = _convert(content, precision, reference, data.labelled, data.canvases, options.name)
        files.append(_finish(made))
    return files


def export_files(
    net: nn.Module,
    meta: dict[str, Any],
    out: Path,
    options: ExportOptions,
    data: GateData,
    say: Callable[[str], None] = lambda _: None,
) -> list[Exported]:
    """Build each precision, put it through the gate, and write what passes to ``out``.

    The fp32 file is always built and judged, since the others are made from it: where it fails,
    they fail. It is written only if it is asked for. ``export.json`` states every figure; it is
    written if any file is.

    Raises:
        InputError: a precision is unknown, a size no multiple of 32, or no picture to calibrate.
    """
    options.check()
    if any(p in SCHEMES for p in options.precisions) and not len(data.canvases):
        raise InputError("--calibrate: no picture to calibrate INT8 on; give a folder of some")
    if data.labelled is None and set(options.precisions) - {"fp32"}:
        raise InputError("--evaluate: no labelled pictures to judge a smaller number format on")
    say("fp32: building, against the training code")
    content = build_onnx(net, meta, options)
    parity = measure_parity(net, load_bytes(content), data.pictures, options.scales)
    files = [_finish(Exported("fp32", _file_name(options.name, "fp32"), content, parity))]
    files += _smaller(content, options, data, say)
    good = [options.force or (parity.passed and e.gate.passed) for e in files]
    files = [
        replace(e, written=ok and e.precision in options.precisions)
        for e, ok in zip(files, good, strict=True)
    ]
    if "fp32" not in options.precisions and parity.passed:
        files = files[1:]
    if any(e.written for e in files):
        _write(out, files, options)
    return files
