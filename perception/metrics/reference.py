"""The same detection figures by ``faster-coco-eval``, to hold ours against."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from perception.metrics.coco import STATISTICS, Found, Labels

PACKAGE = "faster-coco-eval"


def coco_form(
    labels: Labels, found: Found, frames: int, classes: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Labels and results as COCO's tools take them."""
    rows = zip(labels.frame.tolist(), labels.kind.tolist(), labels.xywh.tolist(), labels.ignore)
    truth = {
        "images": [{"id": i, "width": 1, "height": 1} for i in range(frames)],
        "annotations": [
            {
                "id": n + 1, "image_id": f, "category_id": k, "bbox": box,
                "area": box[2] * box[3], "iscrowd": int(ignore),
            }
            for n, (f, k, box, ignore) in enumerate(rows)
        ],
        "categories": [{"id": k, "name": str(k)} for k in range(classes)],
    }  # fmt: skip
    theirs = zip(
        found.frame.tolist(), found.kind.tolist(), found.xywh.tolist(), found.score.tolist()
    )
    results = [
        {"image_id": f, "category_id": k, "bbox": box, "score": s} for f, k, box, s in theirs
    ]
    return truth, results


def reference_statistics(labels: Labels, found: Found, frames: int, classes: int) -> dict[str, Any]:
    """COCO's twelve figures, and AP50, AP and AR100 a class as lists, all NaN without labels.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    nothing = {name: float("nan") for name in STATISTICS}
    if not len(found):  # it refuses an empty list of results
        return nothing
    truth, results = coco_form(labels, found, frames, classes)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(truth)
        run = COCOeval_faster(coco, coco.loadRes(results), "bbox", print_function=lambda *_: None)
        run.evaluate()
        run.accumulate()
        run.summarize()
    stats = np.where(np.asarray(run.stats) < 0, np.nan, run.stats)  # -1 means no labels
    precision, recall = run.eval["precision"][:, :, :, 0, 2], run.eval["recall"][:, :, 0, 2]
    with np.errstate(invalid="ignore"):
        a_class = {
            "AP50": _mean(precision[0]),
            "AP": _mean(precision.reshape(-1, classes)),
            "AR100": _mean(recall),
        }
    return {**dict(zip(STATISTICS, stats.tolist(), strict=True)), "classes": a_class}


def _mean(values: np.ndarray) -> list[float]:
    mean = values.mean(axis=0)
    return [float("nan") if low < 0 else float(m) for m, low in zip(mean, values.min(axis=0))]
