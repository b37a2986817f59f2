"""Validation of a network in training, through the deployed graph and the one decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from data.datasets import Dataset
from data.types import U8, Sample
from perception.decode import OUTPUTS, decode_frame
from perception.metrics.score import MIN_SCORE, Prediction, score_dataset
from perception.models.deploy import DeployNet
from perception.preprocess import letterbox

_MIN_BOXES = 20  # classes with fewer labelled boxes are too noisy to choose a checkpoint by


def run_torch(net: DeployNet, canvas: U8) -> dict[str, np.ndarray]:
    """The deployed graph on a letterboxed picture: the same outputs as the exported file."""
    with torch.inference_mode():
        out = net(torch.from_numpy(canvas)[None])
    return {k: v.numpy() for k, v in zip(OUTPUTS, out, strict=True)}


def predictor(net: nn.Module, size: tuple[int, int]) -> Callable[[Sample], Prediction]:
    """What the deployed ``net`` says of a sample's picture, its input being ``size``."""
    deploy = DeployNet(net).eval()

    def predict(s: Sample) -> Prediction:
        canvas, scale = letterbox(s.image, size)
        image_size = (s.image.shape[1], s.image.shape[0])
        return Prediction(
            *decode_frame(run_torch(deploy, canvas), scale, image_size, size, MIN_SCORE)
        )

    return predict


def validate(net: nn.Module, sets: Sequence[Dataset], size: tuple[int, int]) -> dict[str, float]:
    """Metrics of all sets, keyed 'detection.<class>.AP50', 'drivable.iou', 'lane.iou'.

    With several sets the keys are prefixed by the set's layout, or by its folder's name where
    layouts repeat; ``fitness`` is the mean of what is there, without classes of fewer than 20
    boxes.
    """
    predict = predictor(net, size)
    result: dict[str, float] = {}
    rare: set[str] = set()
    layouts = [dataset.layout for dataset in sets]
    for dataset in sets:
        name = dataset.layout if layouts.count(dataset.layout) == 1 else dataset.root.name
        prefix = f"{name}." if len(sets) > 1 else ""
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
