"""The tracker on made-up drives: identity, life and death, input it must survive."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from data.taxonomy import CLASS_ID
from data.types import Detections, Tracks
from perception.tracking import Tracker, TrackerConfig
from perception.tracking.motion import (
    BoxMotionConfig,
    boxes_from_state,
    predict,
    start,
    state_from_boxes,
)

VEHICLE, PERSON = CLASS_ID["vehicle"], CLASS_ID["person"]
MS = 1_000_000
WIDTH_PX = 1280


def box(u: float, v: float, width: float = 80, height: float = 60) -> list[float]:
    return [u - width / 2, v - height / 2, u + width / 2, v + height / 2]


def detections(
    boxes: Iterable[list[float]], score: float = 0.7, class_id: int = VEHICLE
) -> Detections:
    xyxy = np.array(list(boxes), np.float32).reshape(-1, 4)
    n = len(xyxy)
    return Detections(xyxy, np.full(n, score), np.full(n, class_id))


def merged(*parts: Detections) -> Detections:
    return Detections(
        np.concatenate([p.xyxy for p in parts]),
        np.concatenate([p.score for p in parts]),
        np.concatenate([p.class_id for p in parts]),
    )


def ids(tracks: Tracks) -> list[int]:
    return tracks.track_id.tolist()


def noisy(rng: np.random.Generator, xyxy: list[float]) -> list[float]:
    return (np.array(xyxy) + rng.normal(0, 1.0, 4)).tolist()


@pytest.mark.parametrize("rate_hz", [2.5, 10, 25])
def test_steady_object_keeps_one_id_at_any_rate(rate_hz: float) -> None:
    rng = np.random.default_rng(1)
    tracker, seen = Tracker(), set()
    for t in np.arange(0, 4, 1 / rate_hz):
        xyxy = noisy(rng, box(200 + 150 * t, 400 - 20 * t))
        tracks = tracker.update(detections([xyxy]), round(t * 1e9), None)
        seen |= set(ids(tracks))
    assert seen == {1}
    assert np.abs(tracks.xyxy[0] - box(200 + 150 * t, 400 - 20 * t)).max() < 4
    assert tracks.age_s[0] == pytest.approx(t)


@pytest.mark.parametrize(("rate_hz", "frames"), [(25, 5), (10, 3), (2.5, 2), (1, 2)])
def test_confirmation_takes_time_not_frames(rate_hz: float, frames: int) -> None:
    tracker = Tracker()
    shown = [
        len(tracker.update(detections([box(300, 300)]), round(i / rate_hz * 1e9), None))
        for i in range(frames)
    ]
    assert shown == [0] * (frames - 1) + [1]


def test_very_sure_detection_is_confirmed_at_once() -> None:
    assert ids(Tracker().update(detections([box(300, 300)], score=0.95), 0, None)) == [1]


def test_passing_objects_keep_their_ids() -> None:
    tracker = Tracker()
    for i in range(60):
        t = i * 0.04
        left, right = box(300 + 200 * t, 300), box(780 - 200 * t, 312, 90, 66)
        tracks = tracker.update(detections([left, right]), round(t * 1e9), None)
        if i == 10:
            before = dict(zip(ids(tracks), tracks.xyxy[:, 0] < 500, strict=True))
    assert len(before) == 2
    after = dict(zip(ids(tracks), tracks.xyxy[:, 0] < 500, strict=True))
    assert after == {i: not was_left for i, was_left in before.items()}


@pytest.mark.parametrize("rate_hz", [10, 25])
def test_occlusion_of_0_4_s_keeps_the_id(rate_hz: float) -> None:
    tracker = Tracker()
    for t in np.arange(0, 3, 1 / rate_hz):
        hidden = 1.0 < t < 1.4
        now = detections([] if hidden else [box(200 + 250 * t, 400)])
        tracks = tracker.update(now, round(t * 1e9), None)
    assert ids(tracks) == [1]


def test_coasting_is_reported_briefly_then_forgotten() -> None:
    tracker = Tracker()
    for i in range(11):
        tracks = tracker.update(detections([box(200 + 8 * i, 400)]), i * 40 * MS, None)
    assert tracks.since_update_s[0] == 0
    coast = [tracker.update(Detections.empty(), (11 + i) * 40 * MS, None) for i in range(25)]
    assert coast[0].since_update_s[0] == pytest.approx(0.04)
    assert coast[0].xyxy[0, 0] - tracks.xyxy[0, 0] == pytest.approx(8, abs=1)
    assert [len(c) for c in coast[:3]] == [1, 1, 1]
    assert not any(len(c) for c in coast[4:])
    assert coast[0].score[0] > coast[1].score[0] > coast[2].score[0]
    late = [detections([box(200 + 8 * i, 400)]) for i in range(36, 46)]
    for i, now in enumerate(late):
        tracks = tracker.update(now, (36 + i) * 40 * MS, None)
    assert ids(tracks) == [2]


def fast_drive_with_gaps() -> list[tuple[int, Detections]]:
    """A box of 40 px moving 400 px/s; whole frames of 25 Hz are missing."""
    kept = [0, 1, 2, 3, 4, 5, 6, 14, 15, 16, 17, 30, 31, 32, 40]
    return [(i * 40 * MS, detections([box(100 + 16 * i, 300, 40, 40)])) for i in kept]


def test_dropped_frames_keep_the_id() -> None:
    tracker = Tracker()
    for t_ns, now in fast_drive_with_gaps():
        tracks = tracker.update(now, t_ns, None)
    assert ids(tracks) == [1]


def test_the_same_boxes_at_a_fixed_interval_would_lose_it() -> None:
    tracker = Tracker()
    for i, (_, now) in enumerate(fast_drive_with_gaps()):
        tracks = tracker.update(now, i * 40 * MS, None)
    assert ids(tracks) != [1]


def test_low_scores_keep_a_track_alive_but_start_none() -> None:
    tracker = Tracker()
    config = tracker.config
    low = (config.low_score + config.high_score) / 2
    for i in range(60):
        old = detections([box(200 + 4 * i, 300)], score=0.7 if i < 10 else low)
        new = detections([box(900, 300)], score=low)
        tracks = tracker.update(merged(old, new), i * 40 * MS, None)
    assert ids(tracks) == [1]
    assert tracks.since_update_s[0] == 0
    assert tracks.xyxy[0, 0] < 500


def test_classes_do_not_mix() -> None:
    tracker = Tracker()
    for i in range(20):
        kind = VEHICLE if i < 10 else PERSON
        now = detections([box(300, 300)], class_id=kind)
        tracks = tracker.update(now, i * 40 * MS, None)
    assert ids(tracks) == [2]
    assert tracks.class_id.tolist() == [PERSON]


def test_a_double_detection_starts_no_second_track() -> None:
    tracker = Tracker()
    for i in range(20):
        pair = [box(300 + i, 300)] + ([box(302 + i, 301)] if i > 5 else [])
        tracks = tracker.update(detections(pair), i * 40 * MS, None)
    assert ids(tracks) == [1]


def street(rng: np.random.Generator, frames: int = 40) -> list[Detections]:
    """Eight objects of two classes, noise, misses and false alarms."""
    start = np.column_stack([rng.uniform(200, 1000, 8), rng.uniform(200, 500, 8)])
    speed, kind = rng.uniform(-80, 80, (8, 2)), np.arange(8) % 2
    out = []
    for i in range(frames):
        at = start + speed * i * 0.04
        boxes = np.array([noisy(rng, box(u, v, 70, 50)) for u, v in at])
        keep = rng.random(8) < 0.85
        false = np.array([box(rng.uniform(100, 1100), rng.uniform(100, 600), 40, 40)])
        out.append(
            Detections(
                np.concatenate([boxes[keep], false]),
                np.append(rng.uniform(0.3, 0.9, keep.sum()), 0.5),
                np.append(kind[keep], 0),
            )
        )
    return out


def run(frames: list[Detections], order: np.random.Generator | None = None) -> list[Tracks]:
    tracker = Tracker()
    out = []
    for i, now in enumerate(frames):
        if order is not None:
            now = now.select(order.permutation(len(now)))
        out.append(tracker.update(now, i * 40 * MS, None))
    return out


def assert_same(one: list[Tracks], other: list[Tracks]) -> None:
    for a, b in zip(one, other, strict=True):
        for name in ("track_id", "xyxy", "class_id", "score", "age_s", "covariance"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("seed", range(3, 8))
def test_order_of_detections_does_not_matter(seed: int) -> None:
    frames = street(np.random.default_rng(seed))
    assert_same(run(frames), run(frames, np.random.default_rng(4)))


def test_same_input_gives_the_same_tracks() -> None:
    frames = street(np.random.default_rng(3))
    one = run(frames)
    assert len(one[-1]) >= 6
    assert_same(one, run(frames))


@pytest.mark.parametrize("seed", range(3, 8))
def test_mirrored_input_gives_mirrored_tracks(seed: int) -> None:
    frames = street(np.random.default_rng(seed))
    mirrored = [
        Detections((WIDTH_PX - d.xyxy)[:, [2, 1, 0, 3]] * (1, 0, 1, 0) + d.xyxy * (0, 1, 0, 1),
                   d.score, d.class_id)
        for d in frames
    ]  # fmt: skip
    for a, b in zip(run(frames), run(mirrored), strict=True):
        assert ids(a) == ids(b)
        np.testing.assert_allclose(a.xyxy[:, 0], WIDTH_PX - b.xyxy[:, 2], atol=0.01)
        np.testing.assert_allclose(a.xyxy[:, 1::2], b.xyxy[:, 1::2], atol=0.01)


def test_ids_are_never_reused_and_instances_are_independent() -> None:
    tracker, other = Tracker(), Tracker()
    seen: list[int] = []
    for i in range(200):
        place = box(200 + 150 * (i // 50), 300)
        now = detections([place] if i % 50 < 25 else [])
        for track_id in ids(tracker.update(now, i * 40 * MS, None)):
            if not seen or seen[-1] != track_id:
                seen.append(track_id)
    assert seen == [1, 2, 3, 4]
    assert ids(other.update(detections([box(1, 1)], score=0.95), 0, None)) == [1]


def test_bad_boxes_are_dropped_and_counted() -> None:
    nan, inf = float("nan"), float("inf")
    good = box(300, 300)
    bad = [[nan, 0, 10, 10], [0, 0, inf, 10], [50, 50, 40, 60], [5, 5, 5, 9], [-1e30, 0, 9, 9]]
    tracker = Tracker()
    for i in range(10):
        tracks = tracker.update(detections([*bad, good]), i * 40 * MS, None)
    assert ids(tracks) == [1]
    assert tracker.dropped_boxes == 10 * len(bad)


def test_bad_scores_and_unknown_classes_are_dropped() -> None:
    tracker = Tracker()
    now = Detections(
        np.array([box(100, 100), box(300, 300), box(500, 500), box(700, 300)], np.float32),
        np.array([np.nan, 1.5, 0.8, 0.8]),
        np.array([0, 0, -1, 99]),
    )
    tracker.update(now, 0, None)
    assert tracker.dropped_boxes == 4


def test_only_the_best_detections_are_kept_when_there_are_too_many() -> None:
    tracker = Tracker(TrackerConfig(max_detections=3))
    xyxy = [box(100 + 120 * i, 300) for i in range(8)]
    score = np.linspace(0.95, 0.5, 8)
    now = Detections(np.array(xyxy, np.float32), score, np.zeros(8))
    for i in range(10):
        tracks = tracker.update(now, i * 40 * MS, None)
    assert sorted(tracks.xyxy[:, 0].round().tolist()) == [60, 180, 300]
    assert tracker.excess_boxes == 50


def test_time_going_backwards_is_refused() -> None:
    tracker = Tracker()
    tracker.update(Detections.empty(), 100, None)
    with pytest.raises(ValueError, match="not before 100 ns, given 99 ns"):
        tracker.update(Detections.empty(), 99, None)


def test_a_frame_at_the_same_time_changes_nothing() -> None:
    tracker = Tracker()
    for i in range(10):
        tracks = tracker.update(detections([box(300, 300)]), i * 40 * MS, None)
    again = tracker.update(detections([box(305, 300), box(800, 300)]), 9 * 40 * MS, None)
    assert_same([tracks], [again])


def test_a_long_gap_starts_anew() -> None:
    tracker = Tracker()
    for t_ms in (0, 100, 200, 5000, 5100, 5200):
        tracks = tracker.update(detections([box(300, 300)]), t_ms * MS, None)
    assert ids(tracks) == [2]


def test_thresholds_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="low_score <= high_score"):
        TrackerConfig(low_score=0.6, high_score=0.5)
    with pytest.raises(ValueError, match="report_score <= sure_score"):
        TrackerConfig(report_score=0.8, sure_score=0.7)


def test_a_box_of_quite_another_height_is_another_object() -> None:
    tracker = Tracker()
    for i in range(30):
        now = detections([box(300, 300, 80, 60 if i < 15 else 150)])
        tracks = tracker.update(now, i * 40 * MS, None)
    assert ids(tracks) == [2]


def test_however_unsure_a_prediction_is_its_height_is_not() -> None:
    """Seen twice a second a box may be anywhere, but one half as tall again is another."""
    for height, expected in ((60 * 1.3, 1), (60 * 1.6, 2)):
        tracker = Tracker()
        for i, h in enumerate([60, height, height, height]):
            tracks = tracker.update(detections([box(300, 300, 80, h)], 0.95), i * 400 * MS, None)
        assert ids(tracks)[-1] == expected


@pytest.mark.parametrize(("class_id", "expected"), [(PERSON, 1), (VEHICLE, 2)])
def test_a_hidden_person_is_remembered_longer_than_a_vehicle(class_id: int, expected: int) -> None:
    tracker = Tracker()
    for i in range(50):
        now = [] if 10 <= i < 35 else [box(300 + i, 300, 40, 90)]
        tracks = tracker.update(detections(now, class_id=class_id), i * 100 * MS, None)
    assert ids(tracks) == [expected]


def test_what_is_only_remembered_is_never_reported() -> None:
    """Even where unseen time makes nothing less likely, as while nothing is looked at."""
    tracker = Tracker(TrackerConfig(fade_odds_ps=0.0))
    for i in range(10):
        tracker.update(detections([box(300, 300, 40, 90)], class_id=PERSON), i * 100 * MS, None)
    coast = [tracker.update(Detections.empty(), (10 + i) * 100 * MS, None) for i in range(20)]
    assert [len(c) for c in coast] == [1] * 8 + [0] * 12


def test_of_doubles_in_one_frame_one_track_is_made():
    tracker = Tracker(TrackerConfig(double_iou=0.5))
    boxes = np.array([[100, 100, 300, 250], [110, 95, 320, 250], [500, 100, 600, 200]], float)
    for i in range(8):
        now = Detections(boxes, np.array([0.8, 0.7, 0.8]), np.zeros(3, int))
        tracks = tracker.update(now, i * 50_000_000, None)
    assert len(tracks) == 2


@pytest.mark.parametrize("dt_s", [0.5, 1.0, 3.0])
def test_a_prediction_brings_nothing_nearer_by_more_than_half(dt_s: float) -> None:
    """However fast a box grew and however long nothing was seen, it at most doubles."""
    config = BoxMotionConfig()
    mean = state_from_boxes(np.array([[300.0, 300.0, 380.0, 340.0]]))
    state = start(mean, np.array([[0.0, 0.0, 1.1, 1.1]]), config)
    size = boxes_from_state(predict(state, dt_s, config).mean)[0]
    assert size[2] - size[0] == pytest.approx(160) and size[3] - size[1] == pytest.approx(80)
    shrinking = start(mean, np.array([[0.0, 0.0, -1.1, -1.1]]), config)
    small = boxes_from_state(predict(shrinking, dt_s, config).mean)[0]
    assert 0 < small[2] - small[0] < 80
