"""Pictures of a camera or decoder that failed are told from hard but sound ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data.frame_quality import FrameWatch, Quality
from data.logs import open_log
from data.synthetic.drive import SyntheticDrive


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    drive = SyntheticDrive(seed=0, frames=6, width_px=640, height_px=360)
    return [f.image for f in drive]


def code(q: Quality) -> str:
    return q.fault.partition(":")[0]


def judge(image: np.ndarray) -> Quality:
    return FrameWatch().judge(image, 0)


def test_a_sound_drive_has_no_fault(pictures):
    watch = FrameWatch()
    assert [watch.judge(p, i * 50_000_000).fault for i, p in enumerate(pictures)] == [""] * 6


def test_exposure(pictures):
    noise = np.random.default_rng(0).integers(0, 8, pictures[0].shape, np.uint8)
    assert code(judge(noise)) == "black"
    assert code(judge(247 + noise)) == "white"
    night = (pictures[0] * 0.12).astype(np.uint8)
    night[100:120, 100:140] = 200  # some lamps
    night[200:215, 500:540] = 255
    assert code(judge(night)) == ""


def test_lost_data_and_covered_lens(pictures):
    half = pictures[0].copy()
    half[180:] = 128
    q = judge(half)
    assert code(q) == "damaged"
    assert not q.usable
    for light in ([[50, 60], [70, 90]], [[40, 90], [90, 40], [40, 90]]):
        smooth = np.asarray(cv2.resize(np.float32(light), (640, 360)), np.uint8)
        assert code(judge(cv2.merge([smooth] * 3))) == "covered"


def test_blur_is_named_but_looked_through(pictures):
    large = cv2.resize(pictures[0], (1280, 720), interpolation=cv2.INTER_CUBIC)
    q = judge(np.asarray(cv2.GaussianBlur(large, (0, 0), 6), np.uint8))
    assert code(q) == "blurred"
    assert q.usable


def test_noise_is_named_but_looked_through(pictures):
    random = np.random.default_rng(0)
    for std, named in ((4, ""), (15, "noisy"), (40, "noisy")):
        noisy = np.clip(pictures[0] + random.normal(0, std, pictures[0].shape), 0, 255)
        q = judge(noisy.astype(np.uint8))
        assert code(q) == named and q.usable


def test_a_picture_that_stays_is_repeated_then_frozen(pictures):
    watch = FrameWatch()
    seen = [watch.judge(pictures[0], i * 100_000_000) for i in range(5)]
    assert [code(q) for q in seen] == ["", "repeated", "repeated", "frozen", "frozen"]
    assert not any(q.usable for q in seen[1:])
    assert watch.judge(pictures[1], 500_000_000) == Quality()  # it goes on
    assert code(watch.judge(pictures[1], 600_000_000)) == "repeated"


def test_a_standing_vehicle_is_not_frozen(pictures):
    """The same view with a sensor's noise, or one far thing that moves."""
    random, watch = np.random.default_rng(1), FrameWatch()
    for i in range(4):
        noisy = np.clip(pictures[0] + random.normal(0, 2, pictures[0].shape), 0, 255)
        assert watch.judge(noisy.astype(np.uint8), i * 50_000_000) == Quality()
    watch = FrameWatch()
    for i in range(4):
        moving = pictures[0].copy()
        moving[150:190, 300 + 12 * i : 330 + 12 * i] = (30, 200, 90)
        assert watch.judge(moving, i * 50_000_000) == Quality()


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (40, 2000)])
def test_any_size_is_judged(size):
    random = np.random.default_rng(0)
    for i in range(2):
        FrameWatch().judge(random.integers(0, 255, (*size, 3), np.uint8), i)
    watch = FrameWatch()
    watch.judge(np.zeros((360, 640, 3), np.uint8), 0)
    watch.judge(np.zeros((90, 160, 3), np.uint8), 1)


def test_no_false_alarm_on_real_clips_and_nights(realdata):
    for name in ("test_video.mp4", "kitti_2011_09_26_approach"):
        watch = FrameWatch()
        log = open_log(realdata / "clips" / name)
        assert {watch.judge(f.image, f.t_ns).fault for f in log} == {""}, name
    paths = sorted((realdata / "bdd100k_subset" / "images").rglob("*.jpg"))[::8]
    assert len(paths) > 30
    for path in paths:
        assert judge(cv2.imread(str(path))).fault == "", path.name
