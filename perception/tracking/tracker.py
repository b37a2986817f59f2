"""Detections of successive frames to objects with an identity, a place and a velocity.

Two-stage association after ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by
Associating Every Detection Box", ECCV 2022): sure detections first, then the unsure ones, which
may keep an object alive but never begin one. Causal; time is the log's, never a frame count.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.taxonomy import CLASSES
from data.types import Detections, Tracks
from perception.tracking import ground, motion
from perception.tracking.association import assign, mahalanobis_squared, pairwise_iou

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_MAX_COORDINATE_PX = 1e6
_EVEN = 1e-6  # slack of comparisons in s: a frame at exactly the limit is within it


@dataclass(frozen=True)
class TrackerConfig:
    """When detections become, stay and cease to be objects. Scores are in [0, 1].

    Attributes:
        high_score: detections from here on are sure ones, matched first.
        low_score: detections below are not looked at.
        birth_score: an unmatched detection from here on begins a track.
        sure_score: one detection of this score confirms a track at once.
        confirm_s: other tracks are confirmed by a detection this long after their first one: the
            fifth frame in a row at 25 Hz, the third at 10 Hz, the second at 2.5 Hz and below.
        tentative_unseen_s: an unconfirmed track unseen for longer is forgotten.
        max_coast_s: a confirmed track unseen for longer is forgotten.
        report_coast_s: a confirmed track of score 1 unseen for no longer is reported, at its
            predicted place; those of lower scores for proportionally less.
        max_gap_s: after a longer gap between frames all tracks are forgotten.
        min_iou: least overlap of a sure detection with a predicted box, both widened.
        min_iou_low: the same for an unsure detection.
        widening: boxes are widened by this many standard deviations of the prediction ...
        max_widening_sizes: ... but by no more than this share of the box's size.
        gate: greatest distance of a match in standard deviations (of four numbers).
        gate_log_size_std: added to the prediction's spread of log width and height for the gate:
            boxes shrink fast where the picture's border or another object cuts them.
        gate_weight: cost of a match at the gate's edge, as a loss of overlap.
        duplicate_iou: a detection overlapping an object of its class seen in this frame by more
            than this begins no track.
        double_iou: of detections of one class overlapping by more than this only the best is
            looked at; 1 where the detector removes doubles itself.
        score_time_s: time constant of the reported score.
        max_detections: the best by score that are looked at in a frame.
        boxes: noise of boxes.
        places: noise of places on the ground.
    """

    high_score: float = 0.4
    low_score: float = 0.15
    birth_score: float = 0.45
    sure_score: float = 0.9
    confirm_s: float = 0.15
    tentative_unseen_s: float = 0.15
    max_coast_s: float = 0.8
    report_coast_s: float = 0.2
    max_gap_s: float = 2.0
    min_iou: float = 0.2
    min_iou_low: float = 0.5
    widening: float = 0.5
    max_widening_sizes: float = 0.4
    gate: float = 5.0
    gate_log_size_std: tuple[float, float] = (0.25, 0.05)
    gate_weight: float = 0.1
    duplicate_iou: float = 0.7
    double_iou: float = 1.0
    score_time_s: float = 0.3
    max_detections: int = 1000
    boxes: motion.BoxMotionConfig = field(default_factory=motion.BoxMotionConfig)
    places: ground.GroundConfig = field(default_factory=ground.GroundConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.low_score <= self.high_score <= self.birth_score <= 1:
            raise ValueError(
                "TrackerConfig: expected 0 <= low_score <= high_score <= birth_score <= 1, given "
                f"{self.low_score}, {self.high_score}, {self.birth_score}"
            )


@dataclass(frozen=True, eq=False)
class _Table:
    """All tracks, confirmed or not, parallel arrays of length n; track_id 0 is unconfirmed."""

    track_id: I64
    class_id: I64
    score: F64
    first_ns: I64
    last_ns: I64
    box: motion.BoxState
    place: ground.GroundState

    def __len__(self) -> int:
        return len(self.track_id)

    def select(self, keep: Bool | I64) -> _Table:
        return _Table(
            self.track_id[keep],
            self.class_id[keep],
            self.score[keep],
            self.first_ns[keep],
            self.last_ns[keep],
            self.box.select(keep),
            self.place.select(keep),
        )

    def append(self, other: _Table) -> _Table:
        join = np.concatenate
        return _Table(
            join([self.track_id, other.track_id]),
            join([self.class_id, other.class_id]),
            join([self.score, other.score]),
            join([self.first_ns, other.first_ns]),
            join([self.last_ns, other.last_ns]),
            self.box.append(other.box),
            self.place.append(other.place),
        )


@dataclass(frozen=True, eq=False)
class _Seen:
    """Clean detections in float64, best score first, with their box state."""

    xyxy: F64
    score: F64
    class_id: I64
    state: F64


class Tracker:
    """Online multi-object tracker; one instance per camera and drive.

    Attributes:
        dropped_boxes: detections refused so far for a NaN, infinite or absurd coordinate, no
            area, a score outside [0, 1] or an unknown class.
        excess_boxes: detections left out so far because a frame had more than
            ``max_detections``.
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self.config = TrackerConfig() if config is None else config
        self.dropped_boxes = 0
        self.excess_boxes = 0
        self._t_ns: int | None = None
        self._next_id = 1
        self._table = _born(_no_detections(), 0, None, self.config)

    def update(self, detections: Detections, t_ns: int, camera: Camera | None) -> Tracks:
        """Take in one frame's detections and return the confirmed tracks at its time.

        A frame at the time of the last one tells nothing new: its detections are not used and
        the tracks are returned as they stand. Without a camera, and for lights and signs, places
        are unknown (NaN). Velocities are rates of change of the place in the vehicle's frame.

        Raises:
            ValueError: ``t_ns`` lies before the last frame's.
        """
        t_ns = int(t_ns)
        if self._t_ns is not None and t_ns < self._t_ns:
            raise ValueError(
                f"Tracker.update: expected t_ns not before {self._t_ns} ns, given {t_ns} ns; "
                "use a new Tracker for another log"
            )
        if t_ns == self._t_ns:
            return self._report(t_ns, camera)
        dt_s = 0.0 if self._t_ns is None else (t_ns - self._t_ns) * 1e-9
        self._t_ns = t_ns
        seen = self._clean(detections)
        table = self._predicted(dt_s)
        rows, cols = _match(table, seen, self.config)
        if len(rows):
            table = _updated(table, rows, cols, seen, t_ns, camera, self.config)
        table = self._confirmed(table, rows, t_ns)
        births = _births(table, rows, cols, seen, self.config)
        table = _survivors(table, t_ns, camera, self.config)
        if len(births):
            new = _born(_take(seen, births), t_ns, camera, self.config)
            table = table.append(self._confirmed(new, np.arange(len(births)), t_ns))
        self._table = table
        return self._report(t_ns, camera)

    def turn_camera(self, camera: Camera) -> None:
        """Take all places anew from the boxes, for a camera whose assumed pose was corrected.

        Otherwise the jump of the places would be taken for motion.
        """
        table = self._table
        boxes = motion.boxes_from_state(table.box.mean)
        place = ground.start(boxes, table.class_id, camera, self.config.places)
        self._table = replace(table, place=place)

    def _clean(self, detections: Detections) -> _Seen:
        """Drop what is no box, keep the best, in an order that does not depend on the input's."""
        xyxy = detections.xyxy.astype(np.float64)
        score, kind = detections.score.astype(np.float64), detections.class_id
        with np.errstate(invalid="ignore"):
            size = xyxy[:, 2:] - xyxy[:, :2]
            good = (np.abs(xyxy) < _MAX_COORDINATE_PX).all(axis=1) & (size > 0).all(axis=1)
            good &= (score >= 0) & (score <= 1) & (kind >= 0) & (kind < len(CLASSES))
        self.dropped_boxes += int(len(good) - good.sum())
        keep = np.flatnonzero(good & (score >= self.config.low_score))
        # by score, then by numbers that mirroring the picture does not change
        x1, y1, x2, y2 = xyxy[keep].T
        order = np.lexsort((x1, x2 - x1, kind[keep], y1, y2, -score[keep]))
        self.excess_boxes += max(0, len(order) - self.config.max_detections)
        keep = keep[order[: self.config.max_detections]]
        if self.config.double_iou < 1:
            keep = keep[_first_of_doubles(xyxy[keep], kind[keep], self.config.double_iou)]
        return _Seen(xyxy[keep], score[keep], kind[keep], motion.state_from_boxes(xyxy[keep]))

    def _predicted(self, dt_s: float) -> _Table:
        if not len(self._table) or dt_s > self.config.max_gap_s:
            return self._table.select(np.zeros(0, np.int64))
        return replace(
            self._table,
            box=motion.predict(self._table.box, dt_s, self.config.boxes),
            place=ground.predict(self._table.place, dt_s, self.config.places),
        )

    def _confirmed(self, table: _Table, rows: I64, t_ns: int) -> _Table:
        """Give ids to those of the tracks ``rows``, seen in this frame, that have earned one."""
        config = self.config
        lasting = _seconds(t_ns - table.first_ns[rows]) >= config.confirm_s - _EVEN
        earned = lasting | (table.score[rows] >= config.sure_score)
        new = np.sort(rows[earned & (table.track_id[rows] == 0)])
        if not len(new):
            return table
        track_id = table.track_id.copy()
        track_id[new] = np.arange(self._next_id, self._next_id + len(new))
        self._next_id += len(new)
        return replace(table, track_id=track_id)

    def _report(self, t_ns: int, camera: Camera | None) -> Tracks:
        table = self._table
        unseen_s = _seconds(t_ns - table.last_ns)
        shown_s = self.config.report_coast_s * table.score + _EVEN
        keep = (table.track_id > 0) & (unseen_s <= shown_s)
        shown = table.select(keep)
        return Tracks(
            track_id=shown.track_id,
            xyxy=motion.boxes_from_state(shown.box.mean).astype(np.float32),
            class_id=shown.class_id,
            score=shown.score.astype(np.float32),
            age_s=_seconds(t_ns - shown.first_ns),
            since_update_s=unseen_s[keep],
            position_m=shown.place.mean[:, :2].copy(),
            velocity_mps=shown.place.mean[:, 2:4].copy(),
            covariance=ground.reported_covariance(shown.place, camera, self.config.places),
        )


def _seconds(t_ns: I64) -> F64:
    return np.asarray(t_ns * 1e-9, np.float64)


def _no_detections() -> _Seen:
    return _Seen(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), np.zeros((0, 4)))


def _first_of_doubles(xyxy: F64, class_id: I64, double_iou: float) -> Bool:
    """(n,) bool: boxes, best first, that no better kept box of their class overlaps that much."""
    double = (pairwise_iou(xyxy, xyxy) > double_iou) & (class_id[:, None] == class_id)
    keep = np.ones(len(xyxy), np.bool_)
    for i in range(len(xyxy)):
        if keep[i]:
            keep[i + 1 :] &= ~double[i, i + 1 :]
    return keep


def _take(seen: _Seen, keep: I64) -> _Seen:
    return _Seen(seen.xyxy[keep], seen.score[keep], seen.class_id[keep], seen.state[keep])


def _born(seen: _Seen, t_ns: int, camera: Camera | None, config: TrackerConfig) -> _Table:
    n = len(seen.score)
    time = np.full(n, t_ns, np.int64)
    return _Table(
        np.zeros(n, np.int64),
        seen.class_id,
        seen.score,
        time,
        time,
        motion.start(seen.state, config.boxes),
        ground.start(seen.xyxy, seen.class_id, camera, config.places),
    )


def _match(table: _Table, seen: _Seen, config: TrackerConfig) -> tuple[I64, I64]:
    """Pairs (tracks, detections): sure detections with all tracks, then unsure ones with those
    that are left."""
    if not len(table) or not len(seen.score):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    mean, spread = table.box.mean, table.box.cov[..., 0]
    size = np.exp(mean[:, 2:])
    widen = np.minimum(config.widening * np.sqrt(spread[:, :2]), config.max_widening_sizes * size)
    overlap = pairwise_iou(motion.boxes_from_state(mean), seen.xyxy, widen)
    noise = motion.measurement_variance(mean, config.boxes)
    noise[:, 2:] += np.square(config.gate_log_size_std)
    far = mahalanobis_squared(mean, spread + noise, seen.state) / config.gate**2
    cost = 1 - overlap + config.gate_weight * far
    near = (far <= 1) & (table.class_id[:, None] == seen.class_id)
    high = seen.score >= config.high_score
    rows, cols = assign(cost, near & (overlap >= config.min_iou) & high)
    left = np.ones(len(table), bool)
    left[rows] = False
    if high.all() or not left.any():
        return rows, cols
    second = near & (overlap >= config.min_iou_low) & ~high & left[:, None]
    rows2, cols2 = assign(cost, second)
    return np.concatenate([rows, rows2]), np.concatenate([cols, cols2])


def _updated(
    table: _Table,
    rows: I64,
    cols: I64,
    seen: _Seen,
    t_ns: int,
    camera: Camera | None,
    config: TrackerConfig,
) -> _Table:
    elapsed_s = _seconds(t_ns - table.last_ns[rows])
    alike = np.maximum(1.0, config.boxes.correlation_s / np.maximum(elapsed_s, 1e-3))
    noise = motion.measurement_variance(table.box.mean[rows], config.boxes) * alike[:, None]
    place = table.place
    if camera is not None:
        kind = seen.class_id[cols]
        place = ground.update(place, rows, seen.xyxy[cols], kind, elapsed_s, camera, config.places)
    score, last_ns = table.score.copy(), table.last_ns.copy()
    fresh = 1 - np.exp(-elapsed_s / config.score_time_s)
    score[rows] += fresh * (seen.score[cols] - score[rows])
    last_ns[rows] = t_ns
    box = motion.update(table.box, rows, seen.state[cols], noise)
    return replace(table, score=score, last_ns=last_ns, box=box, place=place)


def _births(table: _Table, rows: I64, cols: I64, seen: _Seen, config: TrackerConfig) -> I64:
    """Unmatched detections (k,) sure enough and no double of an object seen in this frame."""
    free = seen.score >= config.birth_score
    free[cols] = False
    births = np.flatnonzero(free)
    if len(births) and len(rows):
        double = pairwise_iou(seen.xyxy[births], seen.xyxy[cols]) > config.duplicate_iou
        double &= seen.class_id[births, None] == seen.class_id[cols]
        births = births[~double.any(axis=1)]
    return births


def _survivors(table: _Table, t_ns: int, camera: Camera | None, config: TrackerConfig) -> _Table:
    """Forget tracks unseen for too long, and those that coast out of the picture."""
    unseen_s = _seconds(t_ns - table.last_ns)
    limit = np.where(table.track_id > 0, config.max_coast_s, config.tentative_unseen_s)
    keep = unseen_s <= limit + _EVEN
    if camera is not None:
        centre, size = table.box.mean[:, :2], (camera.width_px, camera.height_px)
        inside = ((centre > 0) & (centre < size)).all(axis=1)
        keep &= inside | (table.last_ns == t_ns)
    return table if keep.all() else table.select(keep)
