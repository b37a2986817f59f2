"""Vanishing point from lane lines: straight, curved, cluttered, absent."""

from __future__ import annotations

import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.camera import Camera
from data.types import Surfaces
from perception import horizon
from perception.horizon import HorizonConfig, VanishingPointFilter, estimate

SIZE = (1280, 720)
LANES_M = (-5.4, -1.8, 1.8, 5.4)
FOCAL_PX = Camera.assumed(*SIZE).matrix[0, 0]
PX_PER_DEG = FOCAL_PX * math.radians(1)


def camera(pitch_deg: float, yaw_deg: float) -> Camera:
    base = Camera.assumed(*SIZE)
    cx, cy = base.matrix[:2, 2]
    pitch, yaw = math.radians(pitch_deg), math.radians(yaw_deg)
    u = cx + FOCAL_PX * math.tan(yaw) / math.cos(pitch)
    return base.with_vanishing_point(u, cy - FOCAL_PX * math.tan(pitch), "test")


def vanishing_point(cam: Camera) -> tuple[float, float]:
    """Where a point 10,000 km ahead is seen."""
    u, v = cam.pixels_from_vehicle(np.array([[1e7, 0.0, 0.0]]))[0]
    return float(u), float(v)


def lane_map(
    cam: Camera,
    lateral_m: tuple[float, ...] = LANES_M,
    curvature_1pm: float = 0.0,
    size: tuple[int, int] = (320, 180),
) -> Surfaces:
    """Lane lines y = lateral + curvature x^2 / 2 from 4 to 60 m, drawn a few px wide."""
    width, height = size
    lane = np.zeros((height, width), np.uint8)
    scale = (width / SIZE[0], height / SIZE[1])
    x = np.linspace(4, 60, 200)
    for y in lateral_m:
        line = np.column_stack([x, y + curvature_1pm * x**2 / 2, np.zeros_like(x)])
        uv = (cam.pixels_from_vehicle(line) + 0.5) * scale - 0.5
        fixed = np.round(uv[np.isfinite(uv).all(axis=1)] * 16).astype(np.int32)
        cv2.polylines(lane, [fixed[:, None]], False, 255, max(2, width // 110), cv2.LINE_AA, 4)
    return surfaces(lane / 255)


def surfaces(lane: np.ndarray) -> Surfaces:
    scale = (lane.shape[1] / SIZE[0], lane.shape[0] / SIZE[1])
    return Surfaces(np.zeros_like(lane, np.float32), lane.astype(np.float32), scale)


def assert_close(found: tuple[float, float], cam: Camera, tolerance_deg: float) -> None:
    error = np.subtract(found, vanishing_point(cam)) / PX_PER_DEG
    assert np.abs(error).max() < tolerance_deg, f"{error} degrees off in (yaw, pitch)"


@pytest.mark.parametrize("pitch_deg", [-4.0, 0.0, 3.0])
@pytest.mark.parametrize("yaw_deg", [-5.0, 0.0, 2.0])
def test_straight_lines_give_pitch_and_yaw(pitch_deg: float, yaw_deg: float) -> None:
    cam = camera(pitch_deg, yaw_deg)
    found = estimate(lane_map(cam), SIZE, HorizonConfig())
    assert found is not None
    assert_close(found[:2], cam, 0.2)
    assert max(found[2:]) < 0.5 * PX_PER_DEG


@pytest.mark.parametrize("size", [(320, 180), (640, 360), (320, 192), (1280, 720)])
def test_map_size_does_not_matter(size: tuple[int, int]) -> None:
    cam = camera(2, 1)
    found = estimate(lane_map(cam, size=size), SIZE, HorizonConfig())
    assert found is not None
    assert_close(found[:2], cam, 0.2)


def test_filter_converges_and_says_so() -> None:
    cam = camera(-3, 4)
    points = VanishingPointFilter(*SIZE)
    first = points.update(lane_map(cam))
    assert not first.confident
    for _ in range(20):
        last = points.update(lane_map(cam))
    assert last.confident
    assert_close((last.u_px, last.v_px), cam, 0.3)
    assert last.std_u_px < first.std_u_px < 4.0 * PX_PER_DEG


@pytest.mark.parametrize("turn_deg", [-6.0, 5.0])
def test_a_camera_that_turns_is_noticed_and_estimated_anew(turn_deg: float) -> None:
    before, after, turned = camera(1, 1), camera(1 + turn_deg, 1), []
    points = VanishingPointFilter(*SIZE)
    for cam, frames in ((before, 300), (after, 120)):
        for n in range(frames):
            found = points.update(lane_map(cam))
            if points.turned_deg:
                turned.append((n, points.turned_deg))
        assert_close((found.u_px, found.v_px), cam, 0.4)
    assert len(turned) == 1 and turned[0][0] <= 8 * 9
    assert turned[0][1] == pytest.approx(-turn_deg, abs=0.3)  # a camera's pitch is nose down


def test_a_hill_is_no_turn_of_the_camera() -> None:
    points = VanishingPointFilter(*SIZE)
    for n in range(600):
        points.update(lane_map(camera(2.0 * math.sin(n / 60), 4 * math.sin(n / 40))))
        assert points.turned_deg == 0


@pytest.mark.parametrize("radius_m", [-300, 300, 600])
def test_curve_disturbs_little(radius_m: float) -> None:
    cam = camera(1, -1)
    found = estimate(lane_map(cam, curvature_1pm=1 / radius_m), SIZE, HorizonConfig())
    assert found is not None
    assert_close(found[:2], cam, 0.8)


def test_no_lanes_keep_the_prior() -> None:
    points = VanishingPointFilter(*SIZE)
    for _ in range(30):
        found = points.update(surfaces(np.zeros((180, 320))))
    assert not found.confident
    assert (found.u_px, found.v_px) == ((SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2)
    assert found.std_v_px == pytest.approx(5 * PX_PER_DEG)


@pytest.mark.parametrize("lateral_m", [(-1.8,), (1.8, 5.4)])
def test_lines_on_one_side_are_not_enough(lateral_m: tuple[float, ...]) -> None:
    points = VanishingPointFilter(*SIZE)
    for _ in range(30):
        found = points.update(lane_map(camera(2, 1), lateral_m))
    assert not found.confident


def test_crosswalk_and_stop_lines_alone_do_not_count() -> None:
    lane = np.zeros((180, 320))
    for row in (110, 125, 140, 160):
        lane[row : row + 3, 20:300] = 1
    assert estimate(surfaces(lane), SIZE, HorizonConfig()) is None


def random_segments(rng: np.random.Generator, count: int) -> np.ndarray:
    lane = np.zeros((180, 320), np.uint8)
    for _ in range(count):
        a = rng.uniform((0, 95), (319, 179))
        b = a + rng.uniform(-35, 35, 2)
        ends = np.round([a, b]).astype(int).tolist()
        cv2.line(lane, ends[0], ends[1], 255, 2)
    return lane / 255


def test_clutter_alone_never_becomes_confident_and_wrong() -> None:
    rng = np.random.default_rng(5)
    points = VanishingPointFilter(*SIZE)
    for _ in range(60):
        found = points.update(surfaces(random_segments(rng, 14)))
    assert not found.confident


def test_clutter_beside_lines_does_not_disturb() -> None:
    rng = np.random.default_rng(6)
    cam = camera(2.5, -3)
    points = VanishingPointFilter(*SIZE)
    for _ in range(40):
        lane = np.maximum(lane_map(cam).lane, random_segments(rng, 6))
        lane[120:123, 40:280] = 1  # a stop line
        found = points.update(surfaces(lane))
    assert found.confident
    assert_close((found.u_px, found.v_px), cam, 0.3)


def test_a_third_of_bad_frames_does_not_move_the_median() -> None:
    good, bad = camera(1, 0), camera(-4, 5)
    points = VanishingPointFilter(*SIZE, HorizonConfig(every=1))
    for i in range(30):
        found = points.update(lane_map(bad if i % 3 == 2 else good))
    assert_close((found.u_px, found.v_px), good, 0.3)


def test_a_settled_point_is_looked_at_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, cam = [], camera(1, 0)
    real = horizon.estimate
    monkeypatch.setattr(horizon, "estimate", lambda *a: looked.append(frame) or real(*a))
    points = VanishingPointFilter(*SIZE, HorizonConfig(every=3, settled=12, seldom=9))
    for frame in range(100):  # noqa: B007
        found = points.update(lane_map(cam))
    assert found.confident
    steps = np.diff(looked)
    settled = steps[11:]
    assert 3 in steps[:11] and len(settled) >= 5 and (settled[1:] == 9).all()


def test_nan_in_the_map_is_no_lane() -> None:
    lane = lane_map(camera(0, 0)).lane.copy()
    lane[:60] = np.nan
    found = estimate(surfaces(lane), SIZE, HorizonConfig())
    assert found is not None
    assert_close(found[:2], camera(0, 0), 0.2)


def test_mirrored_map_mirrors_the_point() -> None:
    lane = lane_map(camera(1, 3), (-5.4, -1.8, 1.8)).lane
    one = estimate(surfaces(lane), SIZE, HorizonConfig(max_points=100_000))
    other = estimate(surfaces(lane[:, ::-1]), SIZE, HorizonConfig(max_points=100_000))
    assert one is not None and other is not None
    assert one[0] + other[0] == pytest.approx(SIZE[0] - 1, abs=0.5)
    assert one[1] == pytest.approx(other[1], abs=0.5)


def test_same_input_same_point() -> None:
    maps = [lane_map(camera(p, 1)) for p in (0.5, 1.0, 1.5)] * 4
    runs = []
    for _ in range(2):
        points = VanishingPointFilter(*SIZE)
        runs.append([points.update(m) for m in maps])
    assert runs[0] == runs[1]


def test_real_lane_labels_mostly_tell_a_plausible_horizon() -> None:
    beside = Path(__file__).resolve().parents[3] / "shared" / "realdata"
    folder = Path(os.environ.get("ROADSTACK_REALDATA", beside)) / "bdd100k_subset"
    files = sorted((folder / "labels/lane/binary/val").glob("*.png"))
    if not files:
        pytest.skip(f"no BDD100K lane labels under {folder}")
    found = []
    for file in files:
        label = (cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) == 255).astype(np.float32)
        lane = cv2.resize(label, (320, 180), interpolation=cv2.INTER_AREA)
        found.append(estimate(surfaces(np.clip(lane * 2.5, 0, 1)), SIZE, HorizonConfig()))
    rows = np.array([f[1] for f in found if f is not None])
    assert len(rows) > 0.3 * len(files)
    assert 300 < np.median(rows) < 400
