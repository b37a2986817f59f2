"""COCO detection metrics by ``faster-coco-eval``, class by class."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.taxonomy import CLASSES
from data.types import F32, I64, Detections, Sample


@dataclass(frozen=True, eq=False)
class BoxTruth:
    """The boxes of a labelled image without its pixels; fields as in ``Sample``."""

    name: str
    width_px: int
    height_px: int
    xyxy: F32
    class_id: I64
    ignore: NDArray[np.bool_]
    labelled_classes: NDArray[np.bool_]

    @classmethod
    def of(cls, s: Sample) -> BoxTruth:
        height, width = s.image.shape[:2]
        return cls(s.name, width, height, s.xyxy, s.class_id, s.ignore, s.labelled_classes)


def _coco_truth(truths: Sequence[BoxTruth]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i, t in enumerate(truths):
        images.append({"id": i, "width": t.width_px, "height": t.height_px, "file_name": t.name})
        for box, c, ignore in zip(t.xyxy, t.class_id, t.ignore, strict=True):
            if not t.labelled_classes[c]:
                continue
            x1, y1, x2, y2 = (float(v) for v in box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": int(c),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(ignore),
                }
            )
    categories = [{"id": i, "name": n} for i, n in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _coco_results(
    truths: Sequence[BoxTruth], detections: Sequence[Detections]
) -> list[dict[str, Any]]:
    rows = []
    for i, d in enumerate(detections):
        if not (np.isfinite(d.xyxy).all() and np.isfinite(d.score).all()):
            raise ValueError(f"image {i}: boxes and scores must be finite")
        wh = d.xyxy[:, 2:] - d.xyxy[:, :2]
        for box, size, score, c in zip(d.xyxy, wh, d.score, d.class_id, strict=True):
            if not truths[i].labelled_classes[c]:
                continue  # nobody looked for this class in this image
            bbox = [float(box[0]), float(box[1]), float(size[0]), float(size[1])]
            rows.append({"image_id": i, "category_id": int(c), "bbox": bbox, "score": float(score)})
    return rows


def _coco_stats(truth: dict[str, Any], rows: list[dict[str, Any]], class_id: int) -> list[float]:
    """The twelve COCO statistics of one class."""
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(truth)
        run = COCOeval_faster(coco, coco.loadRes(rows), "bbox", print_function=lambda *_: None)
        run.params.catIds = [class_id]
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(v) for v in run.stats]


def evaluate_detections(
    truths: Sequence[BoxTruth], detections: Sequence[Detections]
) -> dict[str, dict[str, float]]:
    """AP50, AP (0.50:0.95), AR100 and the number of ground truths for each labelled class.

    Labels marked ``ignore`` are treated as COCO crowds. A class without ground truth has NaN.

    Raises:
        ValueError: lengths differ, or a prediction is not finite.
    """
    if len(truths) != len(detections):
        raise ValueError(f"{len(truths)} labelled images but {len(detections)} predictions")
    labelled = np.any([t.labelled_classes for t in truths], axis=0)
    coco = _coco_truth(truths)
    rows = _coco_results(truths, detections)
    scores: dict[str, dict[str, float]] = {}
    for c, name in enumerate(CLASSES):
        if not labelled[c]:
            continue
        count = sum(a["category_id"] == c and not a["iscrowd"] for a in coco["annotations"])
        mine = [r for r in rows if r["category_id"] == c]
        value = 0.0 if count else float("nan")
        ap = ap50 = ar100 = value
        if count and mine:
            stats = _coco_stats(coco, mine, c)
            ap, ap50, ar100 = stats[0], stats[1], stats[8]
        scores[name] = {"AP50": ap50, "AP": ap, "AR100": ar100, "ground_truths": count}
    return scores
