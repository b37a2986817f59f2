"""From a checkpoint to a self-contained ONNX file, with a check that both answer alike."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from data.errors import InputError
from data.taxonomy import CLASSES
from data.types import U8, Detections
from perception.decode import OUTPUTS, decode_detections, decode_surfaces, surface_mask
from perception.models.deploy import DeployNet
from perception.models.multitask import MASK_STRIDE, STRIDE
from perception.preprocess import LETTERBOX_RULE, letterbox
from perception.runtime import FORMAT, Model, load_model
from perception.training.validate import run_torch

OPSET = 17  # the newest that TensorRT 8.5 to 11 take alike
_TINY = 1e-30
_LOWEST = 0.05  # score of the boxes compared
_AT_THRESHOLD = 1e-3  # the score difference that is allowed anyway


@dataclass(frozen=True)
class Parity:
    """Largest differences between the file and the training code over all pictures."""

    images: int
    box_px: float
    score: float
    mask_share: float  # smallest share of equal mask pixels at the picture's size

    @property
    def passed(self) -> bool:
        return self.box_px <= 0.5 and self.score <= 1e-3 and self.mask_share >= 0.999


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


def _metadata(size: tuple[int, int], meta: dict[str, Any], name: str) -> dict[str, str]:
    return {
        "roadstack.format": FORMAT,
        "roadstack.name": name,
        "roadstack.precision": "fp32",
        "roadstack.classes": json.dumps(list(CLASSES)),
        "roadstack.input": "uint8 BGR, 1 x height x width x 3; normalisation is inside",
        "roadstack.size": json.dumps(list(size)),
        "roadstack.letterbox": LETTERBOX_RULE,
        "roadstack.strides": json.dumps({"objects": STRIDE, "surfaces": MASK_STRIDE}),
        "roadstack.training": json.dumps(meta, sort_keys=True),
    }


def build_onnx(net: nn.Module, size: tuple[int, int], meta: dict[str, Any], name: str) -> bytes:
    """Trace, simplify and label the deployed graph; returns the file's bytes."""
    import onnx
    import onnxslim

    if any(v <= 0 or v % 32 for v in size):
        raise InputError(f"size {size[0]}x{size[1]}: width and height must be multiples of 32")
    flush_subnormals(net)
    deploy = DeployNet(net).eval()
    example = torch.zeros(1, size[1], size[0], 3, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = os.path.join(folder, "traced.onnx")
        torch.onnx.export(
            deploy, (example,), path, input_names=["image"], output_names=list(OUTPUTS),
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip
        graph = onnxslim.slim(onnx.load(path))
    onnx.helper.set_model_props(graph, _metadata(size, meta, name))
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString())


def _gap(a: Detections, b: Detections) -> tuple[float, float]:
    """Largest distance (px) and score difference from each of ``a`` to its like in ``b``.

    The like is the nearest box of the class: order may differ where scores are equal. A box of
    ``a`` without one counts as infinitely far, unless it stands just at the threshold, where the
    other side may have dropped it.
    """
    box_px = score = 0.0
    for i in np.flatnonzero(a.score > _LOWEST + _AT_THRESHOLD):
        same = np.flatnonzero(b.class_id == a.class_id[i])
        if not len(same):
            return float("inf"), float(a.score[i])
        far = np.abs(b.xyxy[same] - a.xyxy[i]).max(axis=1)
        best = same[int(far.argmin())]
        box_px = max(box_px, float(far.min()))
        score = max(score, float(abs(b.score[best] - a.score[i])))
    return box_px, score


def measure_parity(net: nn.Module, model: Model, images: Sequence[U8]) -> Parity:
    """Run the training code and the file on pictures through the whole path, decoding included.

    Boxes are compared both ways, so that neither may miss or add one.
    """
    deploy = DeployNet(net).eval()
    box_px = score = 0.0
    share = 1.0
    for image in images:
        height, width = image.shape[:2]
        canvas, scale = letterbox(image, model.input_size)
        both = run_torch(deploy, canvas), model.infer(canvas)
        a, b = (decode_detections(o, scale, (width, height), _LOWEST) for o in both)
        for far, off in (_gap(a, b), _gap(b, a)):
            box_px, score = max(box_px, far), max(score, off)
        maps = [decode_surfaces(o, scale, (width, height), model.input_size) for o in both]
        for kind in ("drivable", "lane"):
            m = [surface_mask(getattr(s, kind), s.scale, width, height) for s in maps]
            share = min(share, float((m[0] == m[1]).mean()))
    return Parity(len(images), box_px, score, share)


def export_checked(
    net: nn.Module,
    size: tuple[int, int],
    meta: dict[str, Any],
    target: Path,
    images: Sequence[U8],
    force: bool = False,
) -> Parity:
    """Write ``target`` if the file answers as the training code does on ``images``.

    ``target``'s folder also gets ``export.json`` with every figure. Without parity nothing is
    written unless ``force``.
    """
    content = build_onnx(net, size, meta, target.stem)
    temporary = target.with_name(target.name + ".part")
    temporary.write_bytes(content)
    try:
        parity = measure_parity(net, load_model(str(temporary)), images)
        if parity.passed or force:
            report = {
                "file": target.name,
                "opset": OPSET,
                "size": list(size),
                "bytes": len(content),
            }
            report |= {"parity": asdict(parity), "passed": parity.passed}
            (target.parent / "export.json").write_text(json.dumps(report, indent=2) + "\n")
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return parity
