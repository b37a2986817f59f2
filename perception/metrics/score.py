"""Scoring of any predictor on a labelled set, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data.datasets import Dataset
from data.datasets.base import readable
from data.types import U8, Detections, Sample
from perception.metrics.detection import BoxTruth, evaluate_detections
from perception.metrics.surfaces import LANE_PROTOCOL, Overlap, dilate_lane, lane_view, overlap

MIN_SCORE = 0.01  # boxes scored lower do not count
PROTOCOL = {
    "detection": "COCO AP, class by class, at most 100 boxes an image and class; equal to "
    "pycocotools and faster-coco-eval to 1e-9, given the labelled boxes cut to their images",
    "drivable": "IoU at the image's own size over all known pixels of the split",
    "lane": LANE_PROTOCOL,
}


_VIEWS: dict[str, Callable[[U8, U8], Overlap]] = {
    "drivable": overlap,
    "lane": lambda truth, mask: overlap(lane_view(dilate_lane(truth)), lane_view(mask)),
}


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was predicted for one image: objects, masks (h, w) uint8 at the image's size, nonzero
    where the surface is, and the class of every pixel; None for what is not predicted, on any
    image."""

    detections: Detections
    drivable: U8 | None
    lane: U8 | None
    classes: U8 | None = None


def score_dataset(
    dataset: Dataset,
    predict: Callable[[Sample], Prediction],
    report: Callable[[int], None] = lambda _: None,
    observe: Callable[[int, Sample, Prediction], None] = lambda *_: None,
) -> dict[str, Any]:
    """Score ``predict`` on every task that the set labels; ``observe`` sees every scored frame,
    its index first.

    Returns:
        ``{"detection": {class: {AP50, AP, AR100, ground_truths}}, "drivable": {iou, frames},
        "lane": {iou, frames}, "images": n, "not_predicted": [task, ...], "problems": [text]}``;
        a task that is not labelled is absent, one that is labelled but not predicted is in the
        list alone; problems are labels that could not be read and were left unscored.

    Raises:
        InputError: an image or label cannot be read and the set is read strictly.
        ValueError: a surface is predicted on some labelled images and not on others.
    """
    truths: list[BoxTruth] = []
    found: list[Detections] = []
    problems: list[str] = []
    surfaces, left_out = dict.fromkeys(_VIEWS, Overlap()), dict.fromkeys(_VIEWS, 0)
    for i, sample in readable(dataset, problems):
        p = predict(sample)
        observe(i, sample, p)
        truths.append(BoxTruth.of(sample))
        found.append(p.detections)
        for name, view in _VIEWS.items():
            truth, mask = getattr(sample, name), getattr(p, name)
            if truth is not None and mask is not None:
                surfaces[name] += view(truth, mask)
            elif truth is not None:
                left_out[name] += 1
        report(i + 1)
    result: dict[str, Any] = {"images": len(truths)}
    if "detection" in dataset.tasks:
        result["detection"] = evaluate_detections(truths, found)
    for name, total in surfaces.items():
        if total.frames and left_out[name]:
            raise ValueError(f"{name}: {left_out[name]} of the labelled images have no prediction")
        if total.frames:
            result[name] = {"iou": total.iou, "frames": total.frames}
    missing = [name for name, count in left_out.items() if count]
    return {**result, "not_predicted": missing, "problems": problems}
