"""What ``roadstack compare`` finds between two evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.taxonomy import CLASS_ID
from data.types import F64, I64
from perception.metrics import track_record
from perception.metrics.bootstrap import MIN_DRIVES, Interval, figures, interval, sampled
from perception.metrics.breakdown import Errors, best_scores, find_errors, kept_at
from perception.metrics.frames import FrameRecord, load
from perception.metrics.track_record import TrackRecord
from tools.evaluation import FRAMES, TRACKS
from tools.figure_text import counted
from tools.pixel_page import pixel_accuracy

_LABELS = ("name", "size_px", "label_frame", "label_kind", "label_xyxy", "label_ignore")


@dataclass(frozen=True)
class Difference:
    """A figure of both runs and B - A with its interval; ``judged`` if it may fail the gate,
    ``fewer_is_better`` of numbers of events."""

    a: float
    b: float
    change: Interval
    judged: bool
    fewer_is_better: bool = False

    @property
    def verdict(self) -> str:
        """'better', 'worse' or '' where the interval holds 0."""
        above, below = self.change.low > 0, self.change.high < 0
        if not (above or below):
            return ""
        return "better" if above != self.fewer_is_better else "worse"

    def fails(self, limit: float) -> bool:
        """Whether B lies more than ``limit`` below A."""
        lost = math.isnan(self.b) and not math.isnan(self.a)
        return self.judged and (lost or self.change.value < -limit)


@dataclass(frozen=True, eq=False)
class Run:
    """A loaded record with what became of its detections at each class's score of best F1, and
    the record of its tracks where it has one."""

    folder: Path
    record: FrameRecord
    kept: np.ndarray
    errors: Errors
    tracks: TrackRecord | None = None

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Raises InputError where ``folder`` was not written by evaluate."""
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected one written by evaluate")
        record = load(folder / FRAMES)
        kept = kept_at(record, best_scores(record))
        tracks = track_record.load(folder / TRACKS) if (folder / TRACKS).exists() else None
        return cls(folder, record, kept, find_errors(record, kept), tracks)

    @property
    def name(self) -> str:
        model = self.record.about.get("model", {})
        return str(model.get("name") or model.get("predictions") or self.folder)

    def wrong(self) -> I64:
        """(frames,) false and missed objects."""
        r, e = self.record, self.errors
        free = ~e.found & ~r.label_ignore
        false = np.bincount(r.found_frame[e.kind >= 0], minlength=len(r))
        return np.asarray(false + np.bincount(r.label_frame[free], minlength=len(r)), np.int64)


def check_comparable(a: Run, b: Run) -> None:
    """Refuse runs on other data or by another protocol.

    Raises:
        InputError: naming what differs.
    """
    where = f"{a.folder} and {b.folder}: cannot be compared"
    if a.record.pixel_classes != b.record.pixel_classes:
        raise InputError(f"{where}: only one gives each pixel a class, or their classes differ")
    one, two = a.record.about.get("protocol", {}), b.record.about.get("protocol", {})
    for key in sorted((set(one) | set(two)) - {"intervals"}):  # those are drawn anew
        if one.get(key) != two.get(key):
            raise InputError(f"{where}: the protocol of '{key}' differs; evaluate both anew")
    if len(a.record) != len(b.record):
        raise InputError(f"{where}: {len(a.record)} frames and {len(b.record)}; expected the same")
    for field in _LABELS:
        if not np.array_equal(getattr(a.record, field), getattr(b.record, field)):
            what = "frames" if field == "name" else "labels"
            raise InputError(f"{where}: they have other {what}; expected the same data and split")
    if not np.array_equal(a.record.labelled, b.record.labelled):
        raise InputError(f"{where}: they score other classes")
    for task, counts in a.record.surfaces.items():
        if not np.array_equal(counts[:, 0] >= 0, b.record.surfaces[task][:, 0] >= 0):
            raise InputError(f"{where}: '{task}' is not scored on the same frames in both")
    if not np.array_equal(a.record.pixels.sum(axis=2), b.record.pixels.sum(axis=2)):
        raise InputError(f"{where}: they have other labels; expected the same data and split")
    if (a.tracks is None) != (b.tracks is None):
        raise InputError(f"{where}: only one of them has tracks")
    if a.tracks and b.tracks and a.tracks.label_sha256 != b.tracks.label_sha256:
        raise InputError(f"{where}: their tracks are of other drives or labels")


def differences(
    a: FrameRecord, b: FrameRecord, draws: int, seed: int, min_boxes: int, drive: I64 | None = None
) -> dict[str, Difference]:
    """Every headline figure of the frames of both runs, B - A by a paired bootstrap; key ->
    difference. With the ``drive`` (frames,) of each, drives are drawn."""
    if not len(a):
        return {}
    once = np.ones((1, len(a)), np.int32)
    whole = [figures(r, once) for r in (a, b)]
    drawn: list[dict[str, F64]] = [sampled(r, draws, seed, drive) for r in (a, b)]
    return {
        key: Difference(*_change(key, whole, drawn), _judged(a, key, min_boxes)) for key in whole[0]
    }


def _change(
    key: str, whole: Sequence[Mapping[str, F64]], drawn: Sequence[Mapping[str, F64]]
) -> tuple[float, float, Interval]:
    """A figure in A and in B, and its change."""
    one, two = (float(w[key][0]) for w in whole)
    values = [d.get(key, np.zeros(0)) for d in drawn]
    return one, two, interval(two - one, values[1] - values[0])


def track_differences(
    a: TrackRecord, b: TrackRecord, draws: int, seed: int, min_boxes: int
) -> dict[str, Difference]:
    """The same of tracks, always over drives."""
    once = np.ones((1, len(a)), np.int32)
    whole = [track_record.sampled(r, once) for r in (a, b)]
    drawn = [track_record.draws(r, draws, seed) for r in (a, b)]
    totals, out = a.totals(), {}
    for key in whole[0]:
        name = key.split(".")[1]
        few = a.drives_with(name) < MIN_DRIVES
        boxes = totals[name].clear_tp + totals[name].clear_fn
        judged = not counted(key) and boxes >= max(min_boxes, 1)
        change = _change(key, whole, [{}, {}] if few else drawn)
        out[key] = Difference(*change, judged, counted(key))
    return out


def _judged(record: FrameRecord, key: str, min_boxes: int) -> bool:
    section, name = key.split(".")[:2]
    if section == "coco":  # a mean with classes of few boxes in it
        return False
    if section != "detection":
        return True
    own = (record.label_kind == CLASS_ID[name]) & ~record.label_ignore
    return int(own.sum()) >= max(min_boxes, 1)


@dataclass(frozen=True)
class Changed:
    """A frame's wrong objects in both runs and the change of its surfaces' IoU and pixel accuracy
    (NaN: none)."""

    frame: int
    wrong_a: int
    wrong_b: int
    shares: Mapping[str, float]


def changed_frames(a: Run, b: Run, count: int) -> list[Changed]:
    """The frames that changed most: by wrong objects and by each surface's share in turn."""
    one, two = a.wrong(), b.wrong()
    iou: dict[str, F64] = {}
    for task, counts in a.record.surfaces.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            x, y = (np.where(c[:, 1] > 0, c[:, 0] / c[:, 1], np.nan)
                    for c in (counts, b.record.surfaces[task]))  # fmt: skip
        iou[f"{task} IoU"] = y - x
    if a.record.pixels.any():
        iou["pixel accuracy"] = pixel_accuracy(b.record) - pixel_accuracy(a.record)
    iou = {k: v for k, v in iou.items() if np.isfinite(v).any()}
    orders = []
    for size in (np.abs(two - one).astype(float), *(np.abs(v) for v in iou.values())):
        size = np.nan_to_num(size)
        order = np.argsort(-size, kind="stable")
        orders.append(order[size[order] > 0].tolist())
    chosen: dict[int, None] = {}
    while len(chosen) < count and any(orders):
        for order in orders:
            if order and len(chosen) < count:
                chosen.setdefault(order.pop(0))
    return [
        Changed(i, int(one[i]), int(two[i]), {t: float(v[i]) for t, v in iou.items()})
        for i in chosen
    ]
