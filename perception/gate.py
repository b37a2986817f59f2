"""The gate between training code and exported files: equal answers, or equal accuracy.

The fp32 file must answer as the training code does; a smaller number format must score on
labelled pictures as the fp32 file does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.types import U8, Detections, Sample
from perception.decode import (
    decode_detections,
    decode_segmentation,
    decode_surfaces,
    surface_mask,
)
from perception.metrics.score import MIN_SCORE, Prediction, score_dataset
from perception.metrics.segmentation import score_segmentation
from perception.preprocess import letterbox
from perception.runtime import Model
from perception.segmenter import Segmenter, check_classes

BOX_PX, SCORE, MASK_SHARE = 0.5, 1e-3, 0.999  # allowed to the fp32 file
LIMITS = {"fp16": 0.005, "int8-cpu": 0.02, "int8-gpu": 0.02}  # of AP50 and IoU
_LOWEST = 0.05  # score of the boxes compared
_AT_THRESHOLD = 1e-3  # the score difference that is allowed anyway
_MIN_BOXES = 20  # a class with fewer labelled boxes is too noisy to judge by


class Labelled(Protocol):
    """Labelled pictures: a ``Dataset``, or anything that loads ``Sample`` by index."""

    @property
    def tasks(self) -> tuple[str, ...]: ...

    @property
    def strict(self) -> bool: ...

    def __len__(self) -> int: ...

    def load(self, i: int) -> Sample: ...


@dataclass(frozen=True)
class Parity:
    """Largest differences between the file and the training code over all pictures."""

    images: int
    box_px: float
    score: float
    mask_share: float  # smallest share of equal mask pixels at the picture's size

    @property
    def passed(self) -> bool:
        alike = self.box_px <= BOX_PX and self.score <= SCORE and self.mask_share >= MASK_SHARE
        return self.images > 0 and alike


@dataclass(frozen=True)
class Accuracy:
    """Scores of a file beside those of the fp32 file on the same labelled pictures.

    Attributes:
        images: how many; limit: largest difference allowed to any figure.
        fp32, file: 'AP50 vehicle', 'IoU lane', ... -> score; classes of fewer than 20 labelled
            boxes are left out.
    """

    images: int
    limit: float
    fp32: dict[str, float]
    file: dict[str, float]

    @property
    def worst(self) -> float:
        """Largest difference; infinite where nothing could be compared."""
        gaps = [abs(v - self.fp32[k]) for k, v in self.file.items()]
        return max(gaps) if gaps and np.isfinite(gaps).all() else float("inf")

    @property
    def passed(self) -> bool:
        return self.worst <= self.limit


def gap(a: Detections, b: Detections) -> tuple[float, float]:
    """Largest distance (px) and score difference from each of ``a`` to its like in ``b``.

    The like is the nearest box of the class: order may differ where scores are equal. A box of
    ``a`` without one counts as infinitely far, unless it stands just at the threshold, where the
    other side may have dropped it. So does everything where a number of either is not finite.
    """
    if not all(np.isfinite(v).all() for d in (a, b) for v in (d.xyxy, d.score)):
        return float("inf"), float("inf")
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


def compare(
    run: Callable[[U8], Mapping[str, NDArray]], model: Model | Segmenter, images: Sequence[U8]
) -> Parity:
    """Put pictures through ``run`` and through the file, decoding included.

    Boxes are compared both ways, so that neither may miss or add one. An output that is not finite
    is infinitely far from any other.

    Args:
        run: from a letterboxed picture to outputs as in ``decode``.
        images: (h, w, 3) uint8 BGR of any size.
    """
    box_px = score = 0.0
    share = 1.0
    for image in images:
        height, width = image.shape[:2]
        canvas, scale = letterbox(image, model.input_size)
        both = run(canvas), model.infer(canvas)
        if not all(np.isfinite(v).all() for out in both for v in out.values()):
            box_px = score = float("inf")  # decoding would drop it in silence
        if isinstance(model, Segmenter):
            classes = [decode_segmentation(o, scale, (width, height)) for o in both]
            share = min(share, float((classes[0] == classes[1]).mean()))
            continue
        a, b = (decode_detections(o, scale, (width, height), _LOWEST) for o in both)
        for far, off in (gap(a, b), gap(b, a)):
            box_px, score = max(box_px, far), max(score, off)
        maps = [decode_surfaces(o, scale, (width, height), model.input_size) for o in both]
        for kind in ("drivable", "lane"):
            m = [surface_mask(getattr(s, kind), s.scale, width, height) for s in maps]
            share = min(share, float((m[0] == m[1]).mean()))
    return Parity(len(images), box_px, score, share)


def measure_accuracy(model: Model | Segmenter, labelled: Labelled) -> tuple[int, dict[str, float]]:
    """How many pictures could be scored, and AP50 of each class with 20 labelled boxes or more and
    IoU of each labelled surface; of a network of pixel classes their mean IoU.

    Raises:
        InputError: the pixels' classes of ``labelled`` are not those of the network.
    """
    dataset: Any = labelled  # the scores use no more of a set than ``Labelled`` has
    if isinstance(model, Segmenter):
        check_classes(model, dataset)
        scores = score_segmentation(dataset, lambda s: model(s.image))
        return scores["frames"], {"mIoU": float(scores["miou"])}

    def predict(s: Sample) -> Prediction:
        found, maps = model(s.image, MIN_SCORE)
        height, width = s.image.shape[:2]
        masks = (surface_mask(m, maps.scale, width, height) for m in (maps.drivable, maps.lane))
        return Prediction(found, *masks)

    scores = score_dataset(dataset, predict)
    figures = {
        f"AP50 {name}": float(row["AP50"])
        for name, row in scores.get("detection", {}).items()
        if row["ground_truths"] >= _MIN_BOXES
    }
    surfaces = {f"IoU {k}": float(scores[k]["iou"]) for k in ("drivable", "lane") if k in scores}
    return scores["images"], figures | surfaces
