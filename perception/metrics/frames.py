"""What evaluation keeps of every frame: enough for every figure of any sample of the frames.

Nothing here grows with the pictures: a frame costs its boxes and twelve numbers. ``save`` and
``load`` keep a record in ``frames.npz``, an archive of plain arrays:

    name, image            (f,) text: the frame's name, and its picture's path
    size_px                (f, 2) width and height
    labelled               (f, c) bool: classes labelled in the frame
    attribute/KEY          (f,) text, e.g. attribute/timeofday; '' where not said
    found_frame, found_kind, found_xyxy, found_score
                           (d,) detections that take part, sorted by class, frame and score
    found_hit, found_out   (d,) uint16: bit t set where right, or neither, at IoU 0.5 + 0.05 t
    found_partner          (d,) number of the label matched at IoU 0.5, -1 none
    label_frame, label_kind, label_xyxy, label_ignore
                           (n,) labels; label_distance_m NaN where there is no calibration
    drivable, lane         (f, 6) ``contours.COUNTS``, -1 where not labelled or not predicted
    pixels                 (f, k, k) pixels by labelled (row) and predicted class, 0 where none;
                           only where the predictor gives each pixel a class
    edges                  (f, k, 4) ``contours.class_boundary_counts``, there too
    about                  JSON text: format, classes, data, model, protocol, pixel_classes
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.taxonomy import CLASSES
from data.types import F32, F64, I64, U8, Detections, Sample
from perception.metrics.coco import Bits, Found, Labels, Matched, match
from perception.metrics.contours import (
    COUNTS,
    class_boundary_counts,
    drivable_counts,
    lane_counts,
)
from perception.metrics.detection import BoxTruth, ClassTable, found_table, label_table
from perception.metrics.score import Prediction
from perception.metrics.segmentation import confusion

FORMAT = "roadstack-frames-1"
SURFACES: dict[str, Callable[[U8, U8], I64]] = {"drivable": drivable_counts, "lane": lane_counts}
ATTRIBUTES = ("timeofday", "brightness", "weather", "scene", "drive")
_NO_PIXELS = np.zeros((0, 0, 0), np.int64)


@dataclass(frozen=True, eq=False)
class FrameRecord:
    """The record; fields as the module says, boxes xyxy (n, 4) float32 px."""

    name: NDArray[np.str_]
    image: NDArray[np.str_]
    size_px: I64
    labelled: NDArray[np.bool_]
    attributes: Mapping[str, NDArray[np.str_]]
    found_frame: I64
    found_kind: I64
    found_xyxy: F32
    found_score: F32
    found_hit: Bits
    found_out: Bits
    found_partner: I64
    label_frame: I64
    label_kind: I64
    label_xyxy: F32
    label_ignore: NDArray[np.bool_]
    label_distance_m: F64
    surfaces: Mapping[str, I64]
    pixels: I64 = field(default_factory=lambda: _NO_PIXELS)
    edges: I64 = field(default_factory=lambda: _NO_PIXELS)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pixel_classes(self) -> list[str]:
        """Names of the classes that pixels are given."""
        return list(self.about.get("pixel_classes", []))

    def __len__(self) -> int:
        return len(self.name)

    @property
    def classes(self) -> list[int]:
        """Numbers of the classes that the data labels."""
        return np.flatnonzero(self.labelled.any(axis=0)).tolist() if len(self) else []

    def table(self, kind: int) -> ClassTable:
        """The detections and labels of a class."""
        own = np.flatnonzero(self.found_kind == kind)
        own = own[np.argsort(-self.found_score[own], kind="stable")]
        counted = (self.label_kind == kind) & ~self.label_ignore
        positives = np.bincount(self.label_frame[counted], minlength=len(self))
        return ClassTable(
            self.found_frame[own], self.found_score[own], self.found_hit[own],
            self.found_out[own], positives,
        )  # fmt: skip

    def select(self, frames: I64) -> FrameRecord:
        """The record of some frames (k,), ascending, alone."""
        at = np.full(len(self), -1)
        at[frames] = np.arange(len(frames))
        d, n = at[self.found_frame] >= 0, at[self.label_frame] >= 0
        label_at = np.append(np.cumsum(n) - 1, -1)
        return replace(
            self,
            **{k: getattr(self, k)[frames] for k in ("name", "image", "size_px", "labelled")},
            **{k: v[d] for k, v in vars(self).items() if k.startswith("found_")},
            **{k: v[n] for k, v in vars(self).items() if k.startswith("label_")},
            attributes={k: v[frames] for k, v in self.attributes.items()},
            surfaces={k: v[frames] for k, v in self.surfaces.items()},
            pixels=self.pixels[frames] if len(self.pixels) else self.pixels,
            edges=self.edges[frames] if len(self.edges) else self.edges,
        )._renumbered(at, label_at)

    def _renumbered(self, at: I64, label_at: I64) -> FrameRecord:
        return replace(
            self,
            found_frame=at[self.found_frame],
            label_frame=at[self.label_frame],
            found_partner=label_at[self.found_partner],
        )

    def tables(self) -> dict[str, ClassTable]:
        """Class name -> its part, of the labelled classes."""
        return {CLASSES[k]: self.table(k) for k in self.classes}


class FrameCollector:
    """Takes frames one by one; ``record`` gives what was kept of them.

    ``pixel_classes`` are the names of the classes of ``Prediction.classes``, where it is used.
    """

    def __init__(self, pixel_classes: Collection[str] = ()) -> None:
        self._pixel_classes = list(pixel_classes)
        self._pixels: list[I64] = []
        self._edges: list[I64] = []
        self._truths: list[BoxTruth] = []
        self._found: list[Detections] = []
        self._distances: list[F64] = []
        self._notes: list[tuple[str, dict[str, str]]] = []
        self._counts: dict[str, list[I64]] = {name: [] for name in SURFACES}

    def add(
        self,
        sample: Sample,
        predicted: Prediction,
        image: str = "",
        attributes: Mapping[str, Any] | None = None,
        distance_m: F64 | None = None,
    ) -> None:
        """Keep a frame. ``distance_m`` (n,) of its labels, None without a calibration."""
        self._truths.append(BoxTruth.of(sample))
        self._found.append(predicted.detections)
        unknown = np.full(len(sample.xyxy), np.nan)
        self._distances.append(unknown if distance_m is None else distance_m)
        said = {k: v for k, v in (attributes or {}).items() if k in ATTRIBUTES}
        self._notes.append((image, {k: v for k, v in said.items() if isinstance(v, str)}))
        for name, count in SURFACES.items():
            truth, mask = getattr(sample, name), getattr(predicted, name)
            missing = truth is None or mask is None
            row = np.full(len(COUNTS), -1, np.int64) if missing else count(truth, mask)
            self._counts[name].append(row)
        if self._pixel_classes:
            self._add_pixels(sample.segmentation, predicted.classes)

    def _add_pixels(self, truth: U8 | None, classes: U8 | None) -> None:
        count = len(self._pixel_classes)
        pixels, edges = np.zeros((count, count), np.int64), np.zeros((count, 4), np.int64)
        if truth is not None and classes is not None:
            pixels = confusion(truth, classes, count).counts
            edges = class_boundary_counts(truth, classes, count)
        self._pixels.append(pixels)
        self._edges.append(edges)

    def _judged(self, classes: Collection[str]) -> list[BoxTruth]:
        """The frames with other classes than these taken as not labelled."""
        own = np.array([c in classes for c in CLASSES])
        return [replace(t, labelled_classes=t.labelled_classes & own) for t in self._truths]

    def tables(self, classes: Collection[str] = CLASSES) -> tuple[Labels, Found]:
        """The boxes of all frames taken so far, of the classes given."""
        truths = self._judged(classes)
        return label_table(truths), found_table(truths, self._found)

    def record(
        self, about: Mapping[str, Any] | None = None, classes: Collection[str] = CLASSES
    ) -> FrameRecord:
        """All frames taken so far, their detections of the classes given matched."""
        truths = self._judged(classes)
        labels, found = self.tables(classes)
        matched = match(labels, found)
        keep = [t.labelled_classes[t.class_id] for t in truths]
        distances = [d[k] for d, k in zip(self._distances, keep)]
        size = [(t.width_px, t.height_px) for t in truths]
        used = sorted({k for _, said in self._notes for k in said})
        return _joined(
            labels, matched, np.concatenate([np.zeros(0), *distances]),
            name=np.array([t.name for t in truths], np.str_),
            image=np.array([image for image, _ in self._notes], np.str_),
            size_px=np.array(size, np.int64).reshape(-1, 2),
            labelled=np.array([t.labelled_classes for t in truths]).reshape(-1, len(CLASSES)),
            attributes={
                k: np.array([said.get(k, "") for _, said in self._notes], np.str_) for k in used
            },
            surfaces={
                k: np.array(rows, np.int64).reshape(-1, len(COUNTS))
                for k, rows in self._counts.items()
            },
            pixels=np.array(self._pixels, np.int64) if self._pixels else _NO_PIXELS,
            edges=np.array(self._edges, np.int64) if self._edges else _NO_PIXELS,
            about={
                "format": FORMAT, "classes": list(CLASSES), "pixel_classes": self._pixel_classes,
                **(about or {}),
            },
        )  # fmt: skip


def _joined(labels: Labels, matched: Matched, distance_m: F64, **rest: Any) -> FrameRecord:
    found = matched.found
    return FrameRecord(
        found_frame=found.frame,
        found_kind=found.kind,
        found_xyxy=_corners(found.xywh),
        found_score=found.score,
        found_hit=matched.hit[0],
        found_out=matched.out[0],
        found_partner=matched.partner,
        label_frame=labels.frame,
        label_kind=labels.kind,
        label_xyxy=_corners(labels.xywh),
        label_ignore=labels.ignore,
        label_distance_m=distance_m,
        **rest,
    )


def _corners(xywh: F64) -> F32:
    return np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]).astype(np.float32)


_MAX_BYTES = 1 << 30  # unpacked; a million frames take as much
_SMALL = {"frame": np.int32, "kind": np.int16, "partner": np.int32}


def save(record: FrameRecord, path: Path) -> None:
    """Write ``frames.npz``, the same bytes for the same record."""
    arrays: dict[str, Any] = {}
    for name, value in vars(record).items():
        if name in ("attributes", "surfaces"):
            prefix = "attribute/" if name == "attributes" else ""
            arrays |= {prefix + k: v for k, v in value.items()}
        elif name == "about":
            arrays[name] = np.array(json.dumps(value, sort_keys=True))
        elif name in ("pixels", "edges") and not value.size:
            continue
        else:
            arrays[name] = value.astype(_SMALL.get(name.rpartition("_")[2], value.dtype))
    with path.open("wb") as f:
        np.savez_compressed(f, **arrays)


def load(path: Path) -> FrameRecord:
    """Read ``frames.npz``.

    Raises:
        InputError: missing, or not written by ``save``.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            size = sum(i.file_size for i in archive.zip.infolist())
            if size > _MAX_BYTES:
                raise ValueError(
                    f"unpacked it would take {size >> 20} MB, {_MAX_BYTES >> 20} at most"
                )
            arrays = {k: archive[k] for k in archive.files}
        about = json.loads(str(arrays.pop("about")))
        if about.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        fields = {k: v for k, v in arrays.items() if "/" not in k and k not in SURFACES}
        wide = {k: v.astype(np.int64) for k, v in fields.items() if v.dtype.kind == "i"}
        record = FrameRecord(
            **{**fields, **wide},
            attributes={
                k.partition("/")[2]: v for k, v in arrays.items() if k.startswith("attribute/")
            },
            surfaces={k: arrays[k] for k in SURFACES},
            about=about,
        )
        _check(record)
        return record
    except FileNotFoundError as e:
        raise InputError(f"{path}: missing; expected a folder written by evaluate") from e
    except Exception as e:  # of the archive's, the arrays' and Python's own, that parses headers
        reason = " ".join(str(e).split())[:120]
        raise InputError(f"{path}: not a record written by evaluate ({reason})") from e


def _check(record: FrameRecord) -> None:
    """ValueError where arrays do not fit together."""
    for prefix in ("found_", "label_"):
        rows = {k: v for k, v in vars(record).items() if k.startswith(prefix)}
        if len({len(v) for v in rows.values()}) != 1:
            raise ValueError(f"arrays {prefix}* differ in length")
    frames = [record.image, record.size_px, record.labelled, *record.attributes.values()]
    if {len(v) for v in (*frames, *record.surfaces.values())} - {len(record)}:
        raise ValueError("arrays of the frames differ in length")
    for name, limit in (
        ("found_frame", len(record)), ("label_frame", len(record)),
        ("found_kind", len(CLASSES)), ("label_kind", len(CLASSES)),
    ):  # fmt: skip
        values = getattr(record, name)
        if len(values) and not (values.min() >= 0 and values.max() < limit):
            raise ValueError(f"{name} holds numbers out of range")
    partner = record.found_partner
    if len(partner) and not (partner.min() >= -1 and partner.max() < len(record.label_frame)):
        raise ValueError("found_partner holds numbers out of range")
    pixels, names = record.pixels.shape, record.about.get("pixel_classes", [])
    if pixels[0] and pixels != (len(record), len(names), len(names)):
        raise ValueError(f"pixels of {pixels} beside {len(names)} classes")
    if len(record.edges) and record.edges.shape != (len(record), len(names), 4):
        raise ValueError(f"edges of {record.edges.shape} beside {len(names)} classes")
    shapes = [record.found_xyxy.shape[1:], record.label_xyxy.shape[1:]]
    counts = [v.shape[1:] for v in record.surfaces.values()]
    if shapes != [(4,), (4,)] or set(counts) != {(len(COUNTS),)}:
        raise ValueError("boxes or counts are of another shape")
    if record.labelled.shape[1:] != (len(CLASSES),):
        raise ValueError(f"expected {len(CLASSES)} classes")
