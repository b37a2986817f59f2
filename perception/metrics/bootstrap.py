"""Every headline figure with its 95 % interval, by resampling frames.

Percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13):
each draw takes as many frames as there are, with replacement. Frames are taken as independent; of
drives sampled densely neighbours are not, and intervals are then too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.types import F64, I64
from perception.metrics.detection import FIGURES
from perception.metrics.frames import FrameRecord

DRAWS = 1000
LEVEL = 0.95
PROTOCOL = (
    "95 % percentile bootstrap over frames, seeded; null where fewer than half of the draws hold "
    "a label. It takes frames as independent"
)
_CHUNK_BYTES = 64 << 20
Weights = NDArray[np.int32]


@dataclass(frozen=True)
class Interval:
    """A figure and its interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


def draw_weights(frames: int, draws: int, seed: int) -> Iterator[Weights]:
    """How often each frame is drawn, in chunks of (some draws, frames) int32; the same for the
    same arguments."""
    rng = np.random.default_rng(seed)
    rows = max(1, min(draws, _CHUNK_BYTES // max(4 * frames, 1)))
    for start in range(0, draws, rows):
        count = min(rows, draws - start)
        picks = (rng.integers(0, frames, frames) for _ in range(count))
        yield np.stack([np.bincount(p, minlength=frames) for p in picks]).astype(np.int32)


def surface_figures(name: str, counts: I64, weights: Weights) -> dict[str, F64]:
    """IoU, and boundary or point F1, (draws,) each; keys as in ``figures``."""
    w = weights.astype(np.float64) * (counts[:, 0] >= 0)
    sums = np.maximum(counts, 0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = (w @ sums[:, 0]) / (w @ sums[:, 1])
        if name == "drivable":
            there = sums[:, 2] + sums[:, 4] > 0
            f1 = np.where(there, _f1(*sums[:, 2:].T), 0.0)
            return {"drivable.iou": iou, "drivable.boundary_f1": (w @ f1) / (w @ there)}
        return {f"{name}.iou": iou, f"{name}.point_f1": _f1(*(w @ sums[:, 2:]).T)}


def _f1(found: F64, right: F64, labelled: F64, labelled_found: F64) -> F64:
    """0 where one side is empty, NaN where both are."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(found > 0, right / np.maximum(found, 1), 0.0)
        recall = np.where(labelled > 0, labelled_found / np.maximum(labelled, 1), 0.0)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return np.where(found + labelled > 0, f1, np.nan)


def figures(record: FrameRecord, weights: Weights) -> dict[str, F64]:
    """Every headline figure when frame f counts ``weights[b, f]`` times: key -> (draws,).

    Keys: ``detection.CLASS.AP50``, ``.AP``, ``.AR100`` of the labelled classes, their means over
    classes with labels ``coco.AP50`` ..., ``drivable.iou``, ``drivable.boundary_f1``,
    ``lane.iou``, ``lane.point_f1``, where the data label them and they are predicted.
    """
    out: dict[str, F64] = {}
    parts: list[dict[str, F64]] = []
    for name, table in record.tables().items():
        part = table.figures(weights)
        out |= {f"detection.{name}.{k}": v for k, v in part.items()}
        if table.positives.any():
            parts.append(part)
    if parts:  # a draw without a label of one of the classes has no mean of them
        out |= {f"coco.{k}": np.mean([p[k] for p in parts], axis=0) for k in FIGURES}
    for name, counts in record.surfaces.items():
        if (counts[:, 0] >= 0).any():
            out |= surface_figures(name, counts, weights)
    return out


def sampled(record: FrameRecord, draws: int, seed: int) -> dict[str, F64]:
    """``figures`` of ``draws`` samples of the frames."""
    parts = [figures(record, w) for w in draw_weights(len(record), draws, seed)]
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def interval(value: float, values: F64, level: float = LEVEL) -> Interval:
    """The percentile interval of the defined ``values``; NaN if fewer than half are."""
    known = values[np.isfinite(values)]
    if not len(known) or 2 * len(known) < len(values):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def intervals(record: FrameRecord, draws: int = DRAWS, seed: int = 0) -> dict[str, Interval]:
    """Every headline figure of the record with its interval, by key."""
    if not len(record):
        return {}
    whole = figures(record, np.ones((1, len(record)), np.int32))
    drawn: Mapping[str, F64] = sampled(record, draws, seed) if draws else {}
    none = np.zeros(0)
    return {k: interval(float(v[0]), drawn.get(k, none)) for k, v in whole.items()}
