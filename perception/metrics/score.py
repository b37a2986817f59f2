"""Scoring of any predictor on a labelled set, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data.datasets import Dataset
from data.types import U8, Detections, Sample
from perception.metrics.detection import BoxTruth, evaluate_detections
from perception.metrics.surfaces import LANE_PROTOCOL, Overlap, dilate_lane, lane_view, overlap

PROTOCOL = {
    "detection": "COCO AP by faster-coco-eval, class by class, at most 100 boxes an image",
    "drivable": "IoU at the image's own size over all known pixels of the split",
    "lane": LANE_PROTOCOL,
}


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was predicted for one image: objects, and masks (h, w) uint8 at the image's size,
    nonzero where the surface is; None where a surface was not predicted."""

    detections: Detections
    drivable: U8 | None
    lane: U8 | None


def score_dataset(
    dataset: Dataset,
    predict: Callable[[Sample], Prediction],
    report: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Score ``predict`` on every task that the set labels.

    Returns:
        ``{"detection": {class: {AP50, AP, AR100, ground_truths}}, "drivable": {iou, frames},
        "lane": {iou, frames}, "images": n}``; a task that is not labelled is absent.
    """
    truths: list[BoxTruth] = []
    found: list[Detections] = []
    drivable, lane = Overlap(), Overlap()
    for i in range(len(dataset)):
        sample = dataset.load(i)
        p = predict(sample)
        truths.append(BoxTruth.of(sample))
        found.append(p.detections)
        if sample.drivable is not None and p.drivable is not None:
            drivable += overlap(sample.drivable, p.drivable)
        if sample.lane is not None and p.lane is not None:
            lane += overlap(lane_view(dilate_lane(sample.lane)), lane_view(p.lane))
        report(i + 1)
    result: dict[str, Any] = {"images": len(dataset)}
    if "detection" in dataset.tasks:
        result["detection"] = evaluate_detections(truths, found)
    for name, total in (("drivable", drivable), ("lane", lane)):
        if total.frames:
            result[name] = {"iou": total.iou, "frames": total.frames}
    return result
