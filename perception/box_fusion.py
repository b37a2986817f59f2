"""Weighted box fusion (Solovyev, Wang and Gabruseva 2021) of what several views found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.types import F32, F64, I64, Detections
from perception.boxes import iou, within

_SAME_IOU = 0.55  # of boxes that are one object
_TWICE_IOU = 0.4  # of boxes of which the lower-scored one is dropped
_WITHIN = 0.85  # share of a box within a higher-scored one that makes it a part of that


@dataclass(frozen=True, eq=False)
class Fused:
    """Objects that the views agree on, (n,) arrays: ``xyxy`` (n, 4) float32 px of the picture,
    ``class_id``, ``score`` (mean over the views whose window holds the box, 0 where one did not
    see it) and ``agreement`` (share of those views that saw it)."""

    xyxy: F32
    class_id: I64
    score: F32
    agreement: F32

    def __len__(self) -> int:
        return len(self.score)


def holds(clear: F64, xyxy: NDArray) -> NDArray[np.bool_]:
    """Which boxes (..., 4) lie within x1, y1, x2, y2."""
    inside = (xyxy[..., :2] >= clear[:2]) & (xyxy[..., 2:] <= clear[2:])
    return np.asarray(inside.all(-1))


def fuse(found: Sequence[Detections], clear: Sequence[F64]) -> Fused:
    """Weighted box fusion of the views' boxes, all in px of the picture.

    Boxes are taken by falling score; each joins the cluster of its class that it overlaps most,
    of those without a box of its view, or starts one. A cluster's box is the mean of its boxes,
    weighted by their scores. Of boxes that say the same twice the better one stays.

    Args:
        found: of each view; clear: where each view sees whole objects (x1, y1, x2, y2).
    """
    rows = [
        (float(s), v, int(c), b.astype(np.float64))
        for v, d in enumerate(found)
        for b, s, c in zip(d.xyxy, d.score, d.class_id, strict=True)
    ]
    rows.sort(key=lambda r: (-r[0], r[1]))
    fused: dict[int, list[F64]] = {}  # class -> boxes of its clusters
    members: dict[int, list[list[tuple[float, int, F64]]]] = {}
    for score, v, c, box in rows:
        boxes, groups = fused.setdefault(c, []), members.setdefault(c, [])
        near = iou(box, np.array(boxes)) if boxes else np.zeros(0)
        taken = [any(v == m[1] for m in g) for g in groups]
        near = np.where(taken, 0.0, near)
        if len(near) and near.max() > _SAME_IOU:
            k = int(near.argmax())
            groups[k].append((score, v, box))
            weight = np.array([m[0] for m in groups[k]])
            boxes[k] = np.average([m[2] for m in groups[k]], axis=0, weights=weight)
        else:
            boxes.append(box)
            groups.append([(score, v, box)])
    merged = []
    for c, groups in members.items():
        for box, group in zip(fused[c], groups, strict=True):
            saw = {m[1] for m in group}
            able = max(len(saw | {v for v, a in enumerate(clear) if holds(a, box)}), 1)
            merged.append((sum(m[0] for m in group) / able, len(saw) / able, c, box))
    merged.sort(key=lambda r: -r[0])
    merged = [r for k, r in enumerate(merged) if not _twice(r[3], r[2], merged[:k])]
    return Fused(
        np.array([r[3] for r in merged], np.float32).reshape(-1, 4),
        np.array([r[2] for r in merged], np.int64),
        np.array([r[0] for r in merged], np.float32),
        np.array([r[1] for r in merged], np.float32),
    )


def _twice(box: F64, class_id: int, better: Sequence[tuple[float, float, int, F64]]) -> bool:
    """Whether a box says again what a higher-scored one of its class says."""
    same = np.array([r[3] for r in better if r[2] == class_id]).reshape(-1, 4)
    return bool((iou(box, same) > _TWICE_IOU).any() or (within(box, same) > _WITHIN).any())
