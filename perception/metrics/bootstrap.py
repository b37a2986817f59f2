"""Every headline figure with its 95 % interval, by resampling drives or frames.

Percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13):
each draw takes as many drives, or frames, as there are, with replacement. Frames of one drive show
the same road, light and vehicles: they are no independent samples, so where it is known which drive
each is from, whole drives are drawn (the cluster bootstrap; Davison and Hinkley, "Bootstrap Methods
and their Application", 1997, section 3.8). Of fewer than five drives no interval can be had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.types import F64, I64
from perception.metrics.detection import FIGURES
from perception.metrics.frames import FrameRecord
from perception.metrics.segmentation import class_figures

DRAWS = 1000
LEVEL = 0.95
MIN_DRIVES = 5
RESAMPLE = ("auto", "frame", "drive")
PROTOCOL = (
    "95 % percentile bootstrap, seeded, over whole drives or single frames as 'bootstrap' says; "
    f"null where fewer than half of the draws hold a label, and of fewer than {MIN_DRIVES} drives "
    "(of tracks: drives with labels of the class)"
)
_CHUNK_BYTES = 64 << 20
Weights = NDArray[np.int32]


@dataclass(frozen=True)
class Interval:
    """A figure and its interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Resampling:
    """What is drawn.

    Attributes:
        drive: (frames,) int64 number of each frame's drive; None where frames are drawn singly.
        drives: how many there are, 0 where it is not known.
        text: both in words, with what it means for the intervals.
    """

    drive: I64 | None
    drives: int
    text: str

    @property
    def by(self) -> str:
        return "frame" if self.drive is None else "drive"


def resampling(record: FrameRecord, wanted: str = "auto") -> Resampling:
    """Whether to draw drives or frames: ``wanted`` is one of ``RESAMPLE``; 'auto' draws drives
    where there are enough of them.

    Raises:
        InputError: drives are wanted, and which drive each frame is from is not known.
    """
    names = record.attributes.get("drive", np.zeros(0, np.str_))
    known = len(names) > 0 and bool((names != "").all())
    number = np.unique(names, return_inverse=True)[1].astype(np.int64)
    drives = int(number.max()) + 1 if known else 0
    if wanted == "drive" and not known:
        raise InputError(
            "--resample drive: the data does not say which drive each frame is from; give frame"
        )
    if wanted == "drive" or (wanted == "auto" and drives >= MIN_DRIVES):
        return Resampling(number, drives, drives_text(drives))
    if not known:
        return Resampling(None, 0, "frames; which drives they are from is not known")
    why = ", too few to draw from" if drives < MIN_DRIVES else ""
    narrow = "" if drives == len(record) else ": intervals are too narrow"
    count = "one drive" if drives == 1 else f"{drives} drives"
    return Resampling(None, drives, f"frames, of {count}{why}{narrow}")


def drives_text(drives: int) -> str:
    """What is drawn where it is drives, and whether they are enough."""
    few = f", fewer than {MIN_DRIVES}: no intervals" if drives < MIN_DRIVES else ""
    return f"drives ({drives}{few})"


def draw_weights(frames: int, draws: int, seed: int, drive: I64 | None = None) -> Iterator[Weights]:
    """How often each frame is drawn, in chunks of (some draws, frames) int32; the same for the
    same arguments. With the ``drive`` (frames,) of each, whole drives are drawn; nothing comes of
    fewer than ``MIN_DRIVES``."""
    units, of = frames, None
    if drive is not None:
        of = np.unique(drive, return_inverse=True)[1]
        units = int(of.max(initial=-1)) + 1
        draws = draws if units >= MIN_DRIVES else 0
    rng = np.random.default_rng(seed)
    rows = max(1, min(draws, _CHUNK_BYTES // max(4 * frames, 1)))
    for start in range(0, draws, rows):
        count = min(rows, draws - start)
        picks = (rng.integers(0, units, units) for _ in range(count))
        weights = np.stack([np.bincount(p, minlength=units) for p in picks]).astype(np.int32)
        yield weights if of is None else weights[:, of]


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


def class_boundary_f1(edges: I64, weights: Weights) -> F64:
    """(draws,) mean over images of the mean over their classes, by
    ``contours.CLASS_BOUNDARY_PROTOCOL``; ``edges`` (f, k, 4)."""
    f1 = _f1(*np.moveaxis(edges.astype(np.float64), -1, 0))
    classes = np.isfinite(f1).sum(axis=1)
    there = classes > 0
    image = np.where(there, np.nansum(f1, axis=1) / np.maximum(classes, 1), 0.0)
    w = weights.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((w @ image) / (w @ there), np.float64)


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
    ``lane.iou``, ``lane.point_f1``, ``segmentation.miou``, ``.pixel_accuracy``,
    ``.boundary_f1`` and ``.iou.CLASS``, where the data label them and they are predicted.
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
    if record.pixels.any():
        pixels = record.pixels.reshape(len(record), -1).astype(np.float64)
        sums = weights.astype(np.float64) @ pixels  # exact below 2**53
        part = class_figures(sums.reshape(-1, *record.pixels.shape[1:]), record.pixel_classes)
        # records of earlier versions have no edges: the figure is then not defined
        edges = record.edges if len(record.edges) else np.zeros((len(record), 1, 4), np.int64)
        first = {k: part.pop(k) for k in ("miou", "pixel_accuracy")}
        part = {**first, "boundary_f1": class_boundary_f1(edges, weights), **part}
        out |= {f"segmentation.{k}": v for k, v in part.items()}
    return out


def sampled(record: FrameRecord, draws: int, seed: int, drive: I64 | None = None) -> dict[str, F64]:
    """``figures`` of ``draws`` samples of the frames, drawn as by ``draw_weights``."""
    parts = [figures(record, w) for w in draw_weights(len(record), draws, seed, drive)]
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} if parts else {}


def interval(value: float, values: F64, level: float = LEVEL) -> Interval:
    """The percentile interval of the defined ``values``; NaN if fewer than half are."""
    known = values[np.isfinite(values)]
    if not len(known) or 2 * len(known) < len(values):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def intervals(
    record: FrameRecord, draws: int = DRAWS, seed: int = 0, drive: I64 | None = None
) -> dict[str, Interval]:
    """Every headline figure of the record with its interval, by key; draws as in
    ``draw_weights``."""
    if not len(record):
        return {}
    whole = figures(record, np.ones((1, len(record)), np.int32))
    drawn: Mapping[str, F64] = sampled(record, draws, seed, drive)
    none = np.zeros(0)
    return {k: interval(float(v[0]), drawn.get(k, none)) for k, v in whole.items()}
