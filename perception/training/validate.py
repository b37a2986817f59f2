"""Validation of a network in training, through the deployed graph and the one decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from data.datasets import Dataset
from data.types import U8, Sample
from perception.decode import OUTPUTS, SEGMENTATION, decode_frame, decode_segmentation
from perception.metrics.score import MIN_SCORE, Prediction, score_dataset
from perception.metrics.segmentation import score_segmentation
from perception.models.deploy import DeployNet, DeploySemantic
from perception.models.semantic import SemanticNet
from perception.preprocess import letterbox

_MIN_BOXES = 20  # classes with fewer labelled boxes are too noisy to choose a checkpoint by


def deployed(net: nn.Module, scales: Sequence[float] = (1.0,)) -> tuple[nn.Module, tuple[str, ...]]:
    """The graph that is exported of a network, in evaluation mode, and its outputs' names;
    ``scales`` for pixel classes alone, see ``DeploySemantic``."""
    if isinstance(net, SemanticNet):
        return DeploySemantic(net, scales).eval(), (SEGMENTATION,)
    return DeployNet(net).eval(), OUTPUTS


def run_torch(graph: nn.Module, canvas: U8) -> dict[str, np.ndarray]:
    """The deployed graph on a letterboxed picture: the same outputs as the exported file."""
    with torch.inference_mode():
        out = graph(torch.from_numpy(canvas)[None])
    if isinstance(out, torch.Tensor):
        return {SEGMENTATION: out.numpy()}
    return {k: v.numpy() for k, v in zip(OUTPUTS, out, strict=True)}


def predictor(net: nn.Module, size: tuple[int, int]) -> Callable[[Sample], Prediction]:
    """What the deployed ``net`` says of a sample's picture, its input being ``size``."""
    deploy, _ = deployed(net)

    def predict(s: Sample) -> Prediction:
        canvas, scale = letterbox(s.image, size)
        image_size = (s.image.shape[1], s.image.shape[0])
        return Prediction(
            *decode_frame(run_torch(deploy, canvas), scale, image_size, size, MIN_SCORE)
        )

    return predict


def segmenter(net: nn.Module, size: tuple[int, int]) -> Callable[[Sample], U8]:
    """The class of every pixel of a sample's picture by the deployed 'semantic' ``net``."""
    deploy, _ = deployed(net)

    def predict(s: Sample) -> U8:
        canvas, scale = letterbox(s.image, size)
        image_size = (s.image.shape[1], s.image.shape[0])
        return decode_segmentation(run_torch(deploy, canvas), scale, image_size)

    return predict


def validate_semantic(
    net: nn.Module, sets: Sequence[Dataset], size: tuple[int, int]
) -> dict[str, float]:
    """'segmentation.miou' and the IoU of each class, means over the sets; ``fitness`` is miou."""
    predict = segmenter(net, size)
    found = [score_segmentation(s, predict) for s in sets]
    result = {}
    for name in found[0]["iou"]:
        seen = [f["iou"][name] for f in found if np.isfinite(f["iou"][name])]
        result[f"segmentation.{name}"] = float(np.mean(seen)) if seen else float("nan")
    miou = float(np.mean([f["miou"] for f in found]))
    return {"segmentation.miou": miou, **result, "fitness": miou}


def prefixes(sets: Sequence[Dataset]) -> list[str]:
    """What the keys of each set begin with, unlike each other: nothing of one set alone, else its
    layout, or its folder's name, with its split, or its number."""
    if len(sets) == 1:
        return [""]
    ways = (
        [s.layout for s in sets],
        [s.root.name for s in sets],
        [f"{s.root.name}.{s.split}" for s in sets],
        [f"{k}.{s.root.name}" for k, s in enumerate(sets, 1)],
    )
    names = next(way for way in ways if len(set(way)) == len(sets))
    return [f"{name}." for name in names]


def validate(net: nn.Module, sets: Sequence[Dataset], size: tuple[int, int]) -> dict[str, float]:
    """Metrics of all sets, keyed 'detection.<class>.AP50', 'drivable.iou', 'lane.iou'.

    With several sets the keys are prefixed as ``prefixes`` says; ``fitness`` is the mean of what is
    there, without classes of fewer than 20 boxes.
    """
    if isinstance(net, SemanticNet):
        return validate_semantic(net, sets, size)
    predict = predictor(net, size)
    result: dict[str, float] = {}
    rare: set[str] = set()
    for prefix, dataset in zip(prefixes(sets), sets, strict=True):
        scores = score_dataset(dataset, predict)
        for name, row in scores.get("detection", {}).items():
            key = f"{prefix}detection.{name}.AP50"
            result[key] = row["AP50"]
            if row["ground_truths"] < _MIN_BOXES:
                rare.add(key)
        for name in ("drivable", "lane"):
            if name in scores:
                result[f"{prefix}{name}.iou"] = scores[name]["iou"]
    values = [v for k, v in result.items() if np.isfinite(v) and k not in rare]
    result["fitness"] = float(np.mean(values)) if values else float("nan")
    return result
