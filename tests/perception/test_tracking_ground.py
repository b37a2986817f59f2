"""Places and velocities on the ground of tracked boxes."""

from __future__ import annotations

import numpy as np
import pytest

from data.camera import Camera, mounting_pose
from data.taxonomy import CLASS_ID
from data.types import Detections, Tracks
from perception.tracking import Tracker

VEHICLE, PERSON = CLASS_ID["vehicle"], CLASS_ID["person"]
CAMERA = Camera.assumed(1280, 720)
HEIGHT_M = {VEHICLE: 1.5, PERSON: 1.75}


def box_at(x_m: float, y_m: float, kind: int = VEHICLE, camera: Camera = CAMERA) -> np.ndarray:
    """The box of an upright rectangle whose foot is at (x, y)."""
    half = 0.9 if kind == VEHICLE else 0.3
    corners = [(x_m, y_m + s * half, z) for s in (-1, 1) for z in (0, HEIGHT_M[kind])]
    uv = camera.pixels_from_vehicle(np.array(corners))
    return np.concatenate([uv.min(axis=0), uv.max(axis=0)])


def drive(
    x_m: float,
    y_m: float,
    vx_mps: float,
    vy_mps: float = 0.0,
    rate_hz: float = 10,
    seconds: float = 2.0,
    kind: int = VEHICLE,
    pitch_noise_deg: float = 0.0,
    camera: Camera | None = CAMERA,
) -> Tracks:
    rng = np.random.default_rng(0)
    tracker = Tracker()
    for t in np.arange(0, seconds + 1e-9, 1 / rate_hz):
        shake = np.radians(rng.normal(0, 1) * pitch_noise_deg) * CAMERA.matrix[1, 1]
        xyxy = box_at(x_m + vx_mps * t, y_m + vy_mps * t, kind)
        xyxy[[1, 3]] += shake
        now = Detections(xyxy[None], np.array([0.8]), np.array([kind]))
        tracks = tracker.update(now, round(t * 1e9), camera)
    assert len(tracks) == 1
    return tracks


@pytest.mark.parametrize("distance_m", [8, 20, 40])
@pytest.mark.parametrize("kind", [VEHICLE, PERSON])
def test_place_of_a_standing_object(distance_m: float, kind: int) -> None:
    tracks = drive(distance_m, -3, 0, kind=kind)
    np.testing.assert_allclose(tracks.position_m[0], (distance_m, -3), rtol=0.05)
    np.testing.assert_allclose(tracks.velocity_mps[0], 0, atol=0.3)


@pytest.mark.parametrize("rate_hz", [5, 10, 25])
def test_approaching_object_has_negative_speed_of_the_right_size(rate_hz: float) -> None:
    tracks = drive(45, 2, -10, rate_hz=rate_hz)
    assert tracks.velocity_mps[0, 0] == pytest.approx(-10, abs=1.0)
    assert tracks.velocity_mps[0, 1] == pytest.approx(0, abs=0.5)
    assert tracks.position_m[0, 0] == pytest.approx(25, rel=0.06)


def test_crossing_person_has_the_right_lateral_speed() -> None:
    tracks = drive(15, -3, 0, 1.5, kind=PERSON)
    np.testing.assert_allclose(tracks.velocity_mps[0], (0, 1.5), atol=0.3)


def test_speed_survives_pitching() -> None:
    tracks = drive(40, 0, -8, seconds=2.5, rate_hz=25, pitch_noise_deg=0.3)
    assert tracks.velocity_mps[0, 0] == pytest.approx(-8, abs=1.5)


def test_covariance_is_sound_and_grows_with_distance() -> None:
    near, far = drive(10, 0, 0), drive(50, 0, 0)
    for tracks in (near, far):
        cov = tracks.covariance[0]
        np.testing.assert_allclose(cov, cov.T)
        assert (np.linalg.eigvalsh(cov) > 0).all()
    assert far.covariance[0, 0, 0] > 25 * near.covariance[0, 0, 0]
    assert far.covariance[0, 0, 0] > 20 * far.covariance[0, 1, 1]


def test_no_camera_no_place() -> None:
    tracks = drive(20, 0, 0, camera=None)
    for values in (tracks.position_m, tracks.velocity_mps, tracks.covariance):
        assert np.isnan(values).all()


@pytest.mark.parametrize("name", ["traffic_light", "traffic_sign"])
def test_lights_and_signs_are_tracked_without_a_place(name: str) -> None:
    tracker = Tracker()
    for i in range(10):
        xyxy = np.array([[600.0 + i, 500, 640 + i, 560]])  # below the horizon
        now = Detections(xyxy, np.array([0.8]), np.array([CLASS_ID[name]]))
        tracks = tracker.update(now, i * 40_000_000, CAMERA)
    assert len(tracks) == 1
    assert np.isnan(tracks.position_m).all() and np.isnan(tracks.covariance).all()


def test_foot_above_the_horizon_has_no_place() -> None:
    tracker = Tracker()
    for i in range(10):
        now = Detections(np.array([[600.0, 200, 680, 300]]), np.array([0.8]), np.array([VEHICLE]))
        tracks = tracker.update(now, i * 40_000_000, CAMERA)
    assert len(tracks) == 1
    assert np.isnan(tracks.position_m).all()


def test_a_place_appears_when_the_foot_comes_below_the_horizon() -> None:
    tracker = Tracker()
    for i in range(20):
        foot = 340.0 + 6 * i
        now = Detections(
            np.array([[600.0, foot - 60, 680, foot]]), np.array([0.8]), np.array([VEHICLE])
        )
        tracks = tracker.update(now, i * 40_000_000, CAMERA)
    assert np.isfinite(tracks.position_m).all()
    assert (np.linalg.eigvalsh(tracks.covariance[0]) > 0).all()


def test_a_box_cut_by_the_lower_border_is_less_sure_of_its_place() -> None:
    low = Camera(1280, 720, CAMERA.matrix, np.zeros(0), mounting_pose(1.4, 0.0), "test")
    results = []
    for bottom in (715.0, 719.0):
        tracker = Tracker()
        for i in range(10):
            xyxy = np.array([[400.0, bottom - 380, 900, bottom]])
            now = Detections(xyxy, np.array([0.8]), np.array([VEHICLE]))
            tracks = tracker.update(now, i * 40_000_000, low)
        results.append(tracks)
    whole, cut = results
    assert np.isfinite(cut.position_m).all()
    assert cut.covariance[0, 0, 0] > 2 * whole.covariance[0, 0, 0]


def test_mirrored_drive_mirrors_the_place() -> None:
    left, right = drive(20, 4, -3, 0.5), drive(20, -4, -3, -0.5)
    np.testing.assert_allclose(left.position_m * (1, -1), right.position_m, atol=1e-4)
    np.testing.assert_allclose(left.velocity_mps * (1, -1), right.velocity_mps, atol=1e-4)


def test_a_corrected_camera_moves_places_without_making_speed() -> None:
    """A standing car seen through a camera assumed 2 degrees too low, then corrected."""
    true = CAMERA.with_vanishing_point(640, 400, "true")
    xyxy, tracker = box_at(25, 0, camera=true), Tracker()
    for i in range(40):
        if i == 20:
            tracker.turn_camera(CAMERA, true)
        now = Detections(xyxy[None], np.array([0.8]), np.array([VEHICLE]))
        tracks = tracker.update(now, i * 40_000_000, true if i >= 20 else CAMERA)
        if i >= 20:
            assert abs(tracks.velocity_mps[0, 0]) < 1.0
            assert tracks.position_m[0, 0] == pytest.approx(25, rel=0.15)


def test_a_car_passed_at_the_border_seems_not_to_cross() -> None:
    """Its box, cut by the picture's border, moves towards the middle of the picture's side."""
    tracker = Tracker()
    for i in range(35):
        xyxy = box_at(22 - 0.45 * i, -3.5)
        xyxy[[0, 2]] = xyxy[[0, 2]].clip(0, 1276)  # a detector's box, 4 px off the border
        now = Detections(xyxy[None], np.array([0.8]), np.array([VEHICLE]))
        tracks = tracker.update(now, i * 50_000_000, CAMERA)
        if len(tracks) and i > 10:
            assert abs(tracks.velocity_mps[0, 1]) < 0.7


def test_a_part_that_grows_to_the_whole_seems_not_to_come_nearer() -> None:
    """First the bicycle is found, then more and more of its rider; their foot stays."""
    tracker = Tracker()
    whole = box_at(12, 0, PERSON)
    for i in range(40):
        xyxy = whole.copy()
        xyxy[1] = xyxy[3] - (xyxy[3] - xyxy[1]) * np.interp(i, [20, 30], [0.4, 1.0])
        now = Detections(xyxy[None], np.array([0.8]), np.array([PERSON]))
        tracks = tracker.update(now, i * 66_666_667, CAMERA)
        if i > 10:
            assert abs(tracks.velocity_mps[0, 0]) < 2.5
    assert tracks.position_m[0, 0] == pytest.approx(12, rel=0.1)


def test_a_corrected_camera_keeps_velocities() -> None:
    """As the ground under the object is stretched; the covariance stays one."""
    seen_by = CAMERA.with_vanishing_point(640, 366, "rough")
    true = CAMERA.with_vanishing_point(640, 360, "true")
    tracker = Tracker()
    for i in range(40):
        if i == 30:
            tracker.turn_camera(seen_by, true)
        xyxy = box_at(30 - 0.5 * i, 2 + 0.1 * i, camera=true)
        now = Detections(xyxy[None], np.array([0.8]), np.array([VEHICLE]))
        tracks = tracker.update(now, i * 100_000_000, seen_by if i < 30 else true)
        if i >= 30:
            np.testing.assert_allclose(tracks.velocity_mps[0], (-5, 1), atol=0.8)
            assert (np.linalg.eigvalsh(tracks.covariance[0]) > 0).all()
