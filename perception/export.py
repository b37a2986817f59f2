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
from data.types import U8
from perception.decode import decode_detections, decode_surfaces, surface_mask
from perception.models.deploy import OUTPUTS, DeployNet
from perception.models.multitask import MASK_STRIDE, STRIDE
from perception.preprocess import LETTERBOX_RULE, letterbox
from perception.runtime import FORMAT, Model, load_model

OPSET = 17  # the newest that TensorRT 8.5 to 11 take alike
_TINY = 1e-30


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


def measure_parity(net: nn.Module, model: Model, images: Sequence[U8]) -> Parity:
    """Run both on pictures through the whole path, decoding included.

    Boxes are compared by rank; where two scores are equal to 1e-4 their order may differ, and
    the nearest of the other's boxes counts.
    """
    deploy = DeployNet(net).eval()
    box_px = score = 0.0
    share = 1.0
    for image in images:
        height, width = image.shape[:2]
        canvas, scale = letterbox(image, model.input_size)
        with torch.inference_mode():
            out = deploy(torch.from_numpy(canvas)[None])
        theirs = {k: v.numpy() for k, v in zip(OUTPUTS, out, strict=True)}
        ours = model.infer(canvas)
        a, b = (decode_detections(o, scale, (width, height), 0.05) for o in (theirs, ours))
        for i in range(len(a)):
            same = b.class_id == a.class_id[i]
            if not same.any():
                box_px, score = float("inf"), max(score, float(a.score[i]))
                continue
            gap = np.abs(b.xyxy[same] - a.xyxy[i]).max(1)
            best = int(np.argmin(gap))
            if a.score[i] > 0.051:  # at the threshold one side may just have dropped it
                box_px = max(box_px, float(gap[best]))
                score = max(score, float(abs(b.score[same][best] - a.score[i])))
        maps = [
            decode_surfaces(o, scale, (width, height), model.input_size) for o in (theirs, ours)
        ]
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
