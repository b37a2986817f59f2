"""Own motion from the boxes, prediction in space, and what they do for ids."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.camera import Camera
from data.taxonomy import CLASS_ID
from data.types import Detections, Tracks
from perception.own_motion import Turn
from perception.tracking import Tracker, TrackerConfig, ego, motion
from perception.tracking.config import PROBABILITIES

CAMERA = Camera.assumed(1242, 375)
FOCAL = float(CAMERA.matrix[0, 0])
CENTRE = np.array([CAMERA.matrix[0, 2], CAMERA.horizon_row_px])
VEHICLE = CLASS_ID["vehicle"]
HEIGHT_M, CAMERA_M = 1.65, 1.4  # of a car, of the camera


def seen(x_m: np.ndarray, z_m: np.ndarray, turned_rad: float = 0.0) -> np.ndarray:
    """(n, 4) boxes of cars 1.8 m wide, x to the right and z ahead of the camera."""
    u = CENTRE[0] + FOCAL * np.tan(np.arctan2(x_m, z_m) + turned_rad)
    bottom = CENTRE[1] + FOCAL * CAMERA_M / z_m
    w, h = FOCAL * 1.8 / z_m, FOCAL * HEIGHT_M / z_m
    return np.stack([u - w / 2, bottom - h, u + w / 2, bottom], axis=1)


def in_picture(xyxy: np.ndarray) -> np.ndarray:
    return (xyxy[:, 2] > 20) & (xyxy[:, 0] < 1222) & (xyxy[:, 3] - xyxy[:, 1] > 12)


def detections(xyxy: np.ndarray, score: float = 0.9) -> Detections:
    n = len(xyxy)
    return Detections(xyxy, np.full(n, score), np.full(n, VEHICLE))


def test_an_object_of_steady_velocity_is_predicted_exactly() -> None:
    """A car closing in from 20 m to 12 m: linear rates would be wrong by a fifth of its size."""
    speed, dt = 10.0, 0.8
    boxes = seen(np.array([-3.0]), np.array([20.0]))
    mean = motion.state_from_boxes(boxes)
    rate = np.zeros((1, 4))
    rate[:, :2] = (mean[:, :2] - CENTRE) * speed / 20
    rate[:, 2:] = speed / 20
    state = motion.BoxState(mean, rate, np.zeros((1, 4, 3)))
    after = motion.predict(state, dt, motion.BoxMotionConfig())
    expected = seen(np.array([-3.0]), np.array([12.0]))
    np.testing.assert_allclose(motion.boxes_from_state(after.mean), expected, atol=1e-6)
    np.testing.assert_allclose(after.rate[0, 3], speed / 12)
    straight = mean + dt * rate
    assert np.abs(motion.boxes_from_state(straight) - expected).max() > 15


@pytest.mark.parametrize(("speed_mps", "turn_radps"), [(12.0, 0.0), (0.0, 0.2), (8.0, -0.15)])
def test_speed_and_turning_are_found_from_standing_cars(
    speed_mps: float, turn_radps: float
) -> None:
    z, x = np.array([12.0, 18.0, 25.0, 30.0, 40.0]), np.array([-4.0, 4.0, -4.0, 4.0, 4.0])
    tracker = Tracker(PROBABILITIES)
    for i in range(15):
        xyxy = seen(x, z - speed_mps * 0.05 * i, turn_radps * 0.05 * i)
        tracker.update(detections(xyxy), i * 50_000_000, CAMERA)
        if i == 8 and speed_mps:
            break
    assert tracker.ego.speed_mps == pytest.approx(speed_mps, abs=2.5)
    assert tracker.ego.turn_radps == pytest.approx(turn_radps, abs=0.06)


def switches(own: bool) -> int:
    """How often a car of a parked row has another id than before, passed at 14 m/s, seen ten times
    a second at first, then 2.5 times."""
    tracker = Tracker(PROBABILITIES if own else replace(PROBABILITIES, ego=None))
    last: dict[int, int] = {}
    count = 0
    for t in (*np.arange(0, 1, 0.1), *np.arange(1, 6, 0.4)):
        z = np.arange(8.0, 150.0, 6.5) - 14 * t
        cars = np.flatnonzero(z > 5)
        xyxy = seen(np.full(len(cars), 3.5), z[cars])
        keep = in_picture(xyxy) & (z[cars] < 40)
        cars, xyxy = cars[keep], xyxy[keep]
        tracks = tracker.update(detections(xyxy), round(t * 1e9), CAMERA)
        for car, box in zip(cars.tolist(), xyxy):
            off = np.abs(tracks.xyxy - box).max(axis=1, initial=0)
            if len(off) and off.min() < 0.3 * (box[3] - box[1]):
                now = int(tracks.track_id[off.argmin()])
                count += last.get(car, now) != now
                last[car] = now
    return count


def test_parked_cars_are_not_taken_for_each_other_at_2_5_hz() -> None:
    assert switches(own=True) == 0
    assert switches(own=False) > 5


def test_a_shift_of_all_boxes_is_found_and_one_of_a_few_is_not() -> None:
    rng = np.random.default_rng(0)
    xyxy = seen(rng.uniform(-8, 8, 8), rng.uniform(10, 40, 8))
    state = motion.state_from_boxes(xyxy)
    config = motion.BoxMotionConfig()
    box = motion.start(state, np.zeros_like(state), config)
    kind, noise = np.zeros(8, np.int64), motion.measurement_variance(state, config)
    moved = state + (60.0, 0, 0, 0)
    own = ego.EgoConfig()
    assert ego.common_shift(box, kind, moved, kind, noise, 200.0, own) == pytest.approx(60, abs=2)
    moved = state.copy()
    moved[0, 0] += 60
    assert ego.common_shift(box, kind, moved, kind, noise, 200.0, own) == 0
    assert ego.common_shift(box, kind, state + (60.0, 0, 0, 0), kind + 1, noise, 200.0, own) == 0


def test_nobody_drives_backwards() -> None:
    tracker = Tracker(PROBABILITIES)
    for i in range(20):
        z = np.array([10.0, 15.0, 22.0]) + 0.8 * i
        tracker.update(detections(seen(np.array([-3, 3, 3.0]), z)), i * 100_000_000, CAMERA)
        assert tracker.ego.speed_mps >= 0


def street(seed: int) -> list[Detections]:
    """A row of parked cars and persons, with noise, misses and false alarms."""
    rng = np.random.default_rng(seed)
    z0, x = rng.uniform(8, 60, 8), rng.choice([-4.0, 4.0], 8) + rng.normal(0, 1, 8)
    out = []
    for i in range(12):
        z = z0 - 0.6 * i
        xyxy = seen(x, np.maximum(z, 4.0), 0.01 * i) + rng.normal(0, 1, (8, 4))
        keep = in_picture(xyxy) & (rng.random(8) < 0.9)
        xyxy = np.concatenate([xyxy[keep], [[300.0, 100, 340, 150]]])
        score = np.append(rng.uniform(0.3, 0.95, keep.sum()), 0.4)
        kind = np.append(np.arange(8)[keep] % 2, 0)
        out.append(Detections(xyxy, score, kind))
    return out


def followed(frames: list[Detections], config: TrackerConfig, dt_ns: int) -> list[Tracks]:
    tracker = Tracker(config)
    return [tracker.update(now, i * dt_ns, CAMERA) for i, now in enumerate(frames)]


def ids_over_a_shaken_drive(seen_turn: bool) -> int:
    """How many ids four cars ahead get, far and small, while the camera nods and swings."""
    z, x = np.full(4, 45.0), np.array([-9.0, -3.0, 3.0, 9.0])
    tracker, ids, last = Tracker(PROBABILITIES), set(), np.zeros(2)
    for i in range(40):
        angle = np.array([0.03 * np.sin(1.1 * i), 0.02 * np.sin(1.7 * i)])  # yaw left, nose down
        xyxy = seen(x, z, angle[0]) - [0, FOCAL * angle[1], 0, FOCAL * angle[1]]
        rate = (angle - last) / 0.1
        turn = Turn(float(rate[0]), float(rate[1])) if seen_turn and i else None
        ids.update(tracker.update(detections(xyxy), i * 10**8, CAMERA, turn).track_id.tolist())
        last = angle
    return len(ids)


def test_turning_seen_in_the_pictures_holds_ids_while_the_camera_shakes() -> None:
    assert ids_over_a_shaken_drive(True) == 4
    assert ids_over_a_shaken_drive(False) > 6


def test_turning_that_was_seen_is_the_guess_of_turning() -> None:
    tracker, box = Tracker(PROBABILITIES), detections(seen(np.array([0.0]), np.array([20.0])))
    for i in range(3):
        tracker.update(box, i * 10**8, CAMERA, Turn(0.1, -0.05))
    assert tracker.ego.turn_radps == pytest.approx(0.1, abs=0.01)
    assert tracker.ego.pitch_radps == -0.05
    born = ego.rates(motion.state_from_boxes(box.xyxy), box.class_id, tracker.ego, CAMERA)
    assert born[0, 1] > 0.04 * FOCAL  # nose up: the picture goes down
    tracker.update(box, 3 * 10**8, CAMERA)
    assert -0.05 < tracker.ego.pitch_radps < -0.04  # not seen any more: it fades


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_detections_does_not_matter(seed: int) -> None:
    frames = street(seed)
    rng = np.random.default_rng(seed)
    mixed = [d.select(rng.permutation(len(d))) for d in frames]
    for a, b in zip(followed(frames, PROBABILITIES, 10**8), followed(mixed, PROBABILITIES, 10**8)):
        np.testing.assert_array_equal(a.track_id, b.track_id)
        np.testing.assert_array_equal(a.xyxy, b.xyxy)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_mirrored_input_gives_mirrored_tracks(seed: int) -> None:
    frames = street(seed)
    mirrored = [
        Detections(
            np.stack([1241 - d.xyxy[:, 2], d.xyxy[:, 1], 1241 - d.xyxy[:, 0], d.xyxy[:, 3]], 1),
            d.score,
            d.class_id,
        )
        for d in frames
    ]
    one, two = (followed(f, PROBABILITIES, 10**8) for f in (frames, mirrored))
    for a, b in zip(one, two):
        np.testing.assert_array_equal(a.track_id, b.track_id)
        np.testing.assert_allclose(a.xyxy[:, 0], 1241 - b.xyxy[:, 2], atol=0.05)
        np.testing.assert_allclose(a.xyxy[:, 1::2], b.xyxy[:, 1::2], atol=0.05)


def slowed(config: TrackerConfig, k: float) -> TrackerConfig:
    """The config of a world in which everything takes ``k`` times as long."""
    powers = {
        "score_time_s": 1, "fade_odds_ps": -1, "tentative_unseen_s": 1, "max_coast_s": 1,
        "max_gap_s": 1, "centre_acceleration": -1.5, "log_size_acceleration": -1.5,
        "first_speed_sizes_ps": -1, "first_log_size_ps": -1, "correlation_s": 1,
        "speed_drift": -1.5, "turn_drift": -1.5, "speed_time_s": 1, "turn_time_s": 1,
        "others_speed_mps": -1, "first_speed_mps": -1, "first_turn_radps": -1,
        "max_turn_radps": -1, "shift_doubt_radps": -1,
    }  # fmt: skip

    def scaled(part):
        new = {}
        for f in fields(part):
            value, power = getattr(part, f.name), powers.get(f.name)
            if power is not None:
                factor = k**power
                value = tuple(v * factor for v in value) if isinstance(value, tuple) else (
                    value * factor
                )  # fmt: skip
            new[f.name] = value
        return replace(part, **new)

    assert config.ego is not None
    return replace(scaled(config), boxes=scaled(config.boxes), ego=scaled(config.ego))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 5]))
def test_the_time_scale_scales(seed: int, k: int) -> None:
    config = replace(PROBABILITIES)
    fast, slow = (
        followed(street(seed), c, dt) for c, dt in ((config, 10**8), (slowed(config, k), k * 10**8))
    )
    for a, b in zip(fast, slow):
        np.testing.assert_array_equal(a.track_id, b.track_id)
        np.testing.assert_allclose(a.xyxy, b.xyxy, atol=0.01)
        np.testing.assert_allclose(a.age_s * k, b.age_s)
