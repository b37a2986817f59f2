"""What is read from bags made by the formats' own libraries."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import InputError
from data.logs import open_log
from data.types import EgoMotion
from tests.data.bag_maker import (
    COUNT,
    HEIGHT,
    START_NS,
    STEP_NS,
    WIDTH,
    D,
    K,
    Ros,
    made,
    picture,
    refused,
)


@pytest.mark.parametrize("kind", ["ros1", "db3", "mcap"])
def test_pictures_times_camera_and_own_motion(tmp_path: Path, kind: str) -> None:
    log = open_log(made(tmp_path, kind))
    frames = list(log)
    assert log.faults == [] and log.kind == "bag" and log.name.endswith(" /front/image_raw")
    assert (log.width_px, log.height_px) == (WIDTH, HEIGHT)
    assert log.nominal_fps == pytest.approx(10) and log.expected_frames == COUNT
    assert log.time_source == "header stamps"
    assert [f.t_ns for f in frames] == [i * STEP_NS for i in range(COUNT)]
    assert [f.index for f in frames] == list(range(COUNT))
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(i))
    camera = frames[0].camera
    assert camera is not None and camera.angle_std_rad is not None
    np.testing.assert_allclose(camera.matrix.ravel(), K)
    np.testing.assert_allclose(camera.distortion, D)
    assert camera.source == "/front/camera_info, mounting assumed" and camera.height_m == 1.4
    assert [f.ego for f in frames[:3]] == [None, None, EgoMotion(5.0, -0.1)]
    assert log.notes == (  # type: ignore[attr-defined]
        "taken: /front/image_raw (6 pictures); other topics with pictures: "
        "/rear/image/compressed (3)",
    )
    assert [f.t_ns for f in log] == [f.t_ns for f in frames]


@pytest.mark.parametrize("kind", ["ros1", "db3", "mcap"])
def test_selection_and_another_topic(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path, kind)
    log = open_log(path, start_s=0.1, stop_s=0.5, every=2)
    assert [f.index for f in log] == [1, 3] and log.expected_frames == 2
    assert [f.index for f in open_log(path, max_frames=2)] == [0, 1]
    rear = open_log(path, topic="/rear/image/compressed")
    frames = list(rear)
    assert [f.t_ns for f in frames] == [0, 2 * STEP_NS, 4 * STEP_NS] and frames[0].camera is None
    middle = np.s_[:, 2:22]  # away from the edge of colours
    assert np.abs(frames[1].image[middle].astype(int) - picture(3)[middle]).max() < 5
    with pytest.raises(InputError, match=r"--start 9 s is beyond the last picture at 0\.500 s"):
        list(open_log(path, start_s=9))


def test_a_wrong_topic_lists_those_with_pictures(tmp_path: Path) -> None:
    path = made(tmp_path, "ros1")
    says = "has no pictures there; it has /front/image_raw, /rear/image/compressed"
    assert refused(path, topic="/odom").endswith(says)
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    assert "is no bag of messages" in refused(tmp_path / "a.png", topic="/a")


def test_rectified_pictures_have_the_projection_and_no_distortion(tmp_path: Path) -> None:
    path = tmp_path / "r.bag"
    with Ros(path, False) as bag:
        bag.write("/cam/camera_info", START_NS, bag.info(START_NS))
        bag.write("/cam/image_rect_color", START_NS, bag.image(0, START_NS))
    camera = next(iter(open_log(path))).camera
    assert camera is not None and camera.distortion.size == 0
    np.testing.assert_allclose(camera.matrix, [[38, 0, 22.5], [0, 38, 14.5], [0, 0, 1]])


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"distortion_model": "equidistant"}, "the lens model 'equidistant' is not known"),
        ({"width": 99}, "it is of 99x32, the pictures are 48x32"),
        ({"K": np.zeros(9)}, "the camera is not calibrated"),
    ],
)
def test_a_calibration_of_no_use_is_a_fault(
    tmp_path: Path, other: dict[str, object], says: str
) -> None:
    path = tmp_path / "c.bag"
    with Ros(path, False) as bag:
        bag.write("/cam/camera_info", START_NS, bag.info(START_NS, **other))
        bag.write("/cam/image_raw", START_NS, bag.image(0, START_NS))
    log = open_log(path)
    assert next(iter(log)).camera is None
    assert log.faults == [f"calibration of /cam/camera_info not used: {says}"]


def test_without_stamps_the_log_times_count(tmp_path: Path) -> None:
    path = tmp_path / "s.bag"
    with Ros(path, False) as bag:
        for i in range(3):
            bag.write("/image", START_NS + i * STEP_NS, bag.image(i, 0))
    log = open_log(path)
    assert [f.t_ns for f in log] == [0, STEP_NS, 2 * STEP_NS]
    assert log.time_source == "log times: the headers have no usable stamps"
