"""Detections of successive frames to objects with an identity, a place and a velocity.

Two-stage association after ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by
Associating Every Detection Box", ECCV 2022): sure detections first, then the unsure ones, which
may keep an object alive but never begin one. Causal; time is the log's, never a frame count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.compiled import run
from data.taxonomy import CLASS_ID, CLASSES
from data.types import Detections, Tracks
from perception.tracking import ego, ground, kernels, motion
from perception.tracking.association import assign, candidates, touching
from perception.tracking.calibration import log_odds
from perception.tracking.config import TrackerConfig

if TYPE_CHECKING:
    from perception.own_motion import Turn

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_MAX_COORDINATE_PX = 1e6
_EVEN = 1e-6  # slack of comparisons in s: a frame at exactly the limit is within it
_ODDS_LIMIT = 0.01  # no detector is surer than this of being right or wrong
_PERSON = CLASS_ID["person"]
_MAX_LOG_SIZE = 9.0  # a prediction larger than this is one gone wild


@dataclass(frozen=True, eq=False)
class _Table:
    """All tracks, parallel arrays of length n; track_id 0 was never reported; odds are log-odds."""

    track_id: I64
    class_id: I64
    odds: F64
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
            self.odds[keep],
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
            join([self.odds, other.odds]),
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
        ego: the own motion as the tracks tell it.
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
        self.ego = ego.EgoGuess.unknown(self.config.ego or ego.EgoConfig())
        self._table = _born(_no_detections(), np.zeros((0, 4)), 0, None, self.config)

    def update(
        self,
        detections: Detections,
        t_ns: int,
        camera: Camera | None,
        turn: Turn | None = None,
    ) -> Tracks:
        """Take in one frame's detections and return the confirmed tracks at its time.

        ``turn`` is how the camera turned since the last frame, where the pictures show it; it is
        guessed from the tracks otherwise.

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
        if camera is not None and self.config.ego is not None and dt_s > 0:
            table = self._turned(table, seen, dt_s, float(camera.matrix[0, 0]), turn)
        rows, cols = _match(table, seen, self.config)
        births = _births(rows, cols, seen, self.config)
        if len(rows):
            table = _updated(table, rows, cols, seen, t_ns, camera, self.config)
        if camera is not None and self.config.ego is not None:
            kind, box = table.class_id[rows], table.box.select(rows)
            self.ego = ego.fitted(box, kind, self.ego, dt_s, camera, self.config.ego, turn)
        table = self._named(table, rows)
        table = _survivors(table, t_ns, camera, self.config)
        if len(births):
            new = _take(seen, births)
            rate = ego.rates(new.state, new.class_id, self.ego, camera)
            born = _born(new, rate, t_ns, camera, self.config)
            table = table.append(self._named(born, np.arange(len(births))))
        self._table = table
        return self._report(t_ns, camera)

    def turn_camera(self, old: Camera, new: Camera) -> None:
        """Move all places as the assumed pose of the camera is corrected from ``old`` to ``new``.

        Otherwise their jump would be taken for motion.
        """
        if self.config.places is not None:
            self._table = replace(self._table, place=ground.turned(self._table.place, old, new))

    def _clean(self, detections: Detections) -> _Seen:
        """Drop what is no box, keep the best, in an order that does not depend on the input's."""
        xyxy = np.ascontiguousarray(detections.xyxy, np.float64)
        score = np.ascontiguousarray(detections.score, np.float64)
        kind = np.ascontiguousarray(detections.class_id)
        good = run(kernels.sound, xyxy, score, kind, _MAX_COORDINATE_PX, len(CLASSES))
        self.dropped_boxes += int(len(good) - good.sum())
        keep = np.flatnonzero(good & (score >= self.config.low_score))
        # by score, then by numbers that mirroring the picture does not change
        x1, y1, x2, y2 = xyxy[keep].T
        order = np.lexsort((x1, x2 - x1, kind[keep], y1, y2, -score[keep]))
        self.excess_boxes += max(0, len(order) - self.config.max_detections)
        keep = keep[order[: self.config.max_detections]]
        if self.config.double_iou < 1:
            keep = keep[_first_of_doubles(xyxy[keep], kind[keep], self.config.double_iou)]
        found = _Seen(xyxy[keep], score[keep], kind[keep], motion.state_from_boxes(xyxy[keep]))
        return _without_rivals(found, self.config) if self.config.rivals else found

    def _predicted(self, dt_s: float) -> _Table:
        if not len(self._table) or dt_s > self.config.max_gap_s:
            return self._table.select(np.zeros(0, np.int64))
        box, place = motion.predict(self._table.box, dt_s, self.config.boxes), self._table.place
        if self.config.places is not None:
            place = ground.predict(place, dt_s, self.config.places)
        return replace(self._table, box=box, place=place)

    def _turned(
        self, table: _Table, seen: _Seen, dt_s: float, focal_px: float, turn: Turn | None
    ) -> _Table:
        """Predictions moved by what turning has changed since the last frame: the rates hold the
        turning of before. Where it was not seen, by a shift that makes most of them fit at once."""
        if turn is not None:
            yaw = turn.yaw_radps - self.ego.turn_radps
            pitch = turn.pitch_radps - self.ego.pitch_radps
            return _shifted(table, yaw * focal_px * dt_s, -pitch * focal_px * dt_s, dt_s)
        config = self.config
        assert config.ego is not None
        reach_px = config.ego.max_turn_radps * dt_s * focal_px
        noise = motion.measurement_variance(table.box.mean, config.boxes)
        shift_px = ego.common_shift(
            table.box, table.class_id, seen.state, seen.class_id, noise, reach_px, config.ego
        )
        return _shifted(table, shift_px, 0.0, dt_s) if shift_px else table

    def _named(self, table: _Table, rows: I64) -> _Table:
        """Give ids to those of the tracks ``rows``, seen in this frame, that have earned one."""
        earned = table.odds[rows] >= _threshold(self.config.report_score)
        new = np.sort(rows[earned & (table.track_id[rows] == 0)])
        if not len(new):
            return table
        track_id = table.track_id.copy()
        track_id[new] = np.arange(self._next_id, self._next_id + len(new))
        self._next_id += len(new)
        return replace(table, track_id=track_id)

    def _report(self, t_ns: int, camera: Camera | None) -> Tracks:
        config, table = self.config, self._table
        unseen_s = _seconds(t_ns - table.last_ns)
        odds = table.odds - config.fade_odds_ps * unseen_s
        keep = (table.track_id > 0) & (odds >= _threshold(config.keep_score) - _EVEN)
        keep &= unseen_s <= config.max_coast_s + _EVEN
        shown = table.select(keep)
        places = config.places or ground.GroundConfig()
        return Tracks(
            track_id=shown.track_id,
            xyxy=motion.boxes_from_state(shown.box.mean).astype(np.float32),
            class_id=shown.class_id,
            score=(1 / (1 + np.exp(-odds[keep]))).astype(np.float32),
            age_s=_seconds(t_ns - shown.first_ns),
            since_update_s=unseen_s[keep],
            position_m=shown.place.mean[:, :2].copy(),
            velocity_mps=shown.place.mean[:, 2:4].copy(),
            covariance=ground.reported_covariance(shown.place, camera, places),
        )


def compile_kernels() -> None:
    """Compile or load the inner loops."""
    at = np.array([[100.0, 250], [300, 250], [500, 250]])
    touching(np.hstack([at, at]), np.hstack([at, at]))
    tracker, camera = Tracker(), Camera.assumed(640, 384)
    for i in range(3):
        found = Detections(np.hstack([at, at + 40]), np.full(3, 0.9), np.zeros(3, np.int64))
        tracker.update(found, i * 100_000_000, camera)


def _seconds(t_ns: I64) -> F64:
    return np.asarray(t_ns * 1e-9, np.float64)


def _log_odds(p: F64) -> F64:
    return log_odds(p, _ODDS_LIMIT)


@lru_cache(maxsize=64)
def _threshold(p: float) -> float:
    """Log-odds of one of the configuration's probabilities."""
    return float(log_odds(p, _ODDS_LIMIT))


def _no_detections() -> _Seen:
    return _Seen(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), np.zeros((0, 4)))


def _first_of_doubles(xyxy: F64, class_id: I64, double_iou: float) -> Bool:
    """(n,) bool: boxes, best first, that no better kept box of their class overlaps that much."""
    i, j, iou = touching(xyxy, xyxy)
    double = (i < j) & (iou > double_iou) & (class_id[i] == class_id[j])
    keep = np.ones(len(xyxy), np.bool_)
    for better, worse in zip(i[double].tolist(), j[double].tolist()):
        if keep[better]:
            keep[worse] = False
    return keep


def _take(seen: _Seen, keep: I64) -> _Seen:
    return _Seen(seen.xyxy[keep], seen.score[keep], seen.class_id[keep], seen.state[keep])


def _without_rivals(seen: _Seen, config: TrackerConfig) -> _Seen:
    """Scores lessened where a detection of an excluding class lies in the same place."""
    group = np.arange(len(CLASSES))
    for number, classes in enumerate(config.rivals):
        group[list(classes)] = len(CLASSES) + number
    kind = group[seen.class_id]
    some = np.flatnonzero(kind >= len(CLASSES))
    if not len(some) or (seen.class_id[some] == seen.class_id[some[0]]).all():
        return seen
    i, j, iou = touching(seen.xyxy[some], seen.xyxy[some])
    i, j = some[i], some[j]
    rival = (iou > config.rival_iou) & (kind[i] == kind[j]) & (seen.class_id[i] != seen.class_id[j])
    strongest = np.zeros(len(seen.score))
    np.maximum.at(strongest, i[rival], seen.score[j[rival]])
    new = seen.score * (1 - strongest)
    order = np.argsort(-new, kind="stable")
    return _take(replace(seen, score=new), order[new[order] >= config.low_score])


def _born(
    seen: _Seen, rate: F64, t_ns: int, camera: Camera | None, config: TrackerConfig
) -> _Table:
    n = len(seen.score)
    time = np.full(n, t_ns, np.int64)
    doubt = _threshold(config.sure_score) - _threshold(config.report_score)
    place = ground.GroundState.unknown(n)
    if config.places is not None:
        place = ground.start(seen.xyxy, seen.class_id, camera, config.places)
    box = motion.start(seen.state, rate, config.boxes)
    return _Table(
        np.zeros(n, np.int64), seen.class_id, _log_odds(seen.score) - doubt, time, time, box, place
    )


def _shifted(table: _Table, right_px: float, down_px: float, dt_s: float) -> _Table:
    """Predictions moved, as by a turning that began after the last frame and goes on."""
    mean, rate, by = table.box.mean.copy(), table.box.rate.copy(), np.array([right_px, down_px])
    mean[:, :2] += by
    rate[:, :2] += by / dt_s
    return replace(table, box=motion.BoxState(mean, rate, table.box.cov))


def _match(table: _Table, seen: _Seen, config: TrackerConfig) -> tuple[I64, I64]:
    """Pairs (tracks, detections): sure detections with all tracks, then unsure ones with those
    that are left."""
    if not len(table) or not len(seen.score):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows, cols, overlap, cost = candidates(
        table.box, table.class_id, seen.xyxy, seen.state, seen.class_id, config
    )
    sure = seen.score[cols] >= config.high_score
    first = np.flatnonzero(sure & (overlap >= config.min_iou))
    first = first[assign(rows[first], cols[first], cost[first])]
    left = np.ones(len(table), np.bool_)
    left[rows[first]] = False
    second = np.flatnonzero(~sure & left[rows] & (overlap >= config.min_iou_low))
    second = second[assign(rows[second], cols[second], cost[second])]
    both = np.concatenate([first, second])
    return rows[both], cols[both]


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
    if camera is not None and config.places is not None:
        kind = seen.class_id[cols]
        place = ground.update(place, rows, seen.xyxy[cols], kind, elapsed_s, camera, config.places)
    odds, last_ns = table.odds.copy(), table.last_ns.copy()
    fresh = 1 - np.exp(-elapsed_s / config.score_time_s)
    odds[rows] += fresh * (_log_odds(seen.score[cols]) - odds[rows])
    last_ns[rows] = t_ns
    box = motion.update(table.box, rows, seen.state[cols], noise)
    return replace(table, odds=odds, last_ns=last_ns, box=box, place=place)


def _births(rows: I64, cols: I64, seen: _Seen, config: TrackerConfig) -> I64:
    """Unmatched detections (k,) sure enough and no double of an object seen in this frame."""
    free = seen.score >= config.birth_score
    free[cols] = False
    births = np.flatnonzero(free)
    if len(births) and len(rows):
        i, j, iou = touching(seen.xyxy[births], seen.xyxy[cols])
        double = (iou > config.duplicate_iou) & (seen.class_id[births[i]] == seen.class_id[cols[j]])
        births = np.delete(births, i[double])
    return births


def _survivors(table: _Table, t_ns: int, camera: Camera | None, config: TrackerConfig) -> _Table:
    """Forget tracks unseen for too long, and those that coast out of the picture."""
    unseen_s = _seconds(t_ns - table.last_ns)
    person = table.class_id == _PERSON
    memory_s = np.where(person, config.person_memory_s, config.max_coast_s)
    limit = np.where(table.track_id > 0, memory_s, config.tentative_unseen_s)
    keep = unseen_s <= limit + _EVEN
    picture = -math.inf, math.inf, math.inf  # without a camera there is no border
    if camera is not None:
        picture = 0.0, float(camera.width_px), float(camera.height_px)
    sane = run(kernels.visible, table.box.mean, *picture, _MAX_LOG_SIZE)
    keep &= sane | (table.last_ns == t_ns)
    return table if keep.all() else table.select(keep)
