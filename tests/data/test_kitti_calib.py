"""KITTI calibration files: the left colour camera over the rear axle."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError
from data.kitti_calib import CAMERA_FORWARD_M, load_kitti_calib, nominal_camera

P2 = "721.5377 0 609.5593 44.85728 0 721.5377 172.854 0.2163791 0 0 1 0.002745884"
R0 = "1 0 0 0 1 0 0 0 1"
# camera axes right, down, forward; laser scanner and IMU axes forward, left, up
VELO = "0 -1 0 0.0 0 0 -1 -0.08 1 0 0 -0.27"
IMU = "1 0 0 -0.81 0 1 0 0.32 0 0 1 -0.80"
OBJECT = f"P0: {P2}\nP2: {P2}\nR0_rect: {R0}\nTr_velo_to_cam: {VELO}\nTr_imu_to_velo: {IMU}\n"
TRACKING = f"P2: {P2}\nR_rect {R0}\nTr_velo_cam {VELO}\nTr_imu_velo {IMU}\n"
RAW = (
    "calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.95e-02\n"
    f"S_rect_02: 1.242000e+03 3.750000e+02\nR_rect_02: {R0}\nP_rect_02: {P2}\n"
)


def read(tmp_path, text, *size):
    path = tmp_path / "000000.txt"
    path.write_text(text)
    return load_kitti_calib(path, *size)


@pytest.mark.parametrize(
    "text", [OBJECT, TRACKING, RAW, OBJECT.replace(":", ""), "\ufeff" + TRACKING]
)
def test_all_formats_give_the_same_camera(tmp_path, text):
    camera = read(tmp_path, text, 1242, 375)
    assert (camera.width_px, camera.height_px, camera.source) == (1242, 375, "000000.txt")
    assert camera.matrix[0, 0] == 721.5377 and camera.matrix[1, 2] == 172.854
    assert camera.distortion.size == 0
    assert (camera.height_m, camera.pitch_rad, camera.yaw_rad) == (1.65, 0, 0)
    # 0.81 + 0.27 m ahead of the IMU, that 0.05 m behind the axle; 0.06 m left of the middle
    forward, left, _ = camera.vehicle_from_camera[:3, 3]
    assert forward == pytest.approx(1.03 - 0.0027, abs=1e-3)
    assert left == pytest.approx(0.06, abs=1e-3)


def test_points_project_as_the_projection_matrix_says(tmp_path):
    camera = read(tmp_path, RAW, 1242, 375)
    reference = np.array([2.0, 1.2, 14.0])  # right, down, ahead of camera 0
    u, v, w = np.array(P2.split(), float).reshape(3, 4) @ [*reference, 1]
    vehicle = [CAMERA_FORWARD_M + 14.0, -2.0, 1.65 - 1.2]
    # the vertical place of camera 2, 0.4 mm from camera 0's, is left out: 0.02 px
    np.testing.assert_allclose(camera.pixels_from_vehicle([vehicle]), [[u / w, v / w]], atol=0.03)


def test_size_of_the_pictures_from_the_day_or_the_file(tmp_path):
    camera = read(tmp_path, OBJECT)
    assert (camera.width_px, camera.height_px) == (1242, 375)
    other = P2.replace("721.5377", "718.856").replace("172.854", "185.2157")
    camera = read(tmp_path, f"P2: {other}")
    assert (camera.width_px, camera.height_px) == (1241, 376)
    odd = RAW.replace("1.242000e+03", "1300").replace("721.5377", "700")
    assert read(tmp_path, odd).width_px == 1300


def test_nominal_camera_by_size():
    camera = nominal_camera(1224, 370)
    assert camera is not None and camera.matrix[0, 0] == 707.0493
    assert "2011_09_28" in camera.source and camera.height_m == 1.65
    assert nominal_camera(1280, 720) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no line P2"),
        (OBJECT.replace(" 0.002745884", ""), r"000000.txt:1: P2: expected 12|:2: P2: expected 12"),
        (f"P2: {P2} 7", ":1: P2: expected 12 finite numbers"),
        (f"P2: {P2}".replace("609.5593", "x"), ":1: P2"),
        (f"P2: {P2}".replace("609.5593", "nan"), ":1: P2"),
        (f"P2: {P2}".replace("609.5593", "2000"), "outside a 1242x375 picture"),
        (f"P2: {P2}".replace("721.5377", "-1"), ":1: expected a rectified projection"),
        (f"P2: {P2}\nP2: {P2}", ":2: P2 stands in line 1 already"),
        (RAW.replace("1.242000e+03", "1392"), ":3: calibration of 1392x375 pictures"),
        (OBJECT.replace(R0, R0.replace("1", "2")), ":3: expected a rotation"),
    ],
)
def test_malformed_files_name_the_line(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        read(tmp_path, text, 1242, 375)


def test_an_unknown_day_without_pictures(tmp_path):
    with pytest.raises(InputError, match="size of the pictures is unknown"):
        read(tmp_path, f"P2: {P2}".replace("721.5377", "800"))


def test_a_missing_or_binary_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_kitti_calib(tmp_path / "none.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00P2")
    with pytest.raises(InputError, match="not UTF-8"):
        load_kitti_calib(tmp_path / "b.txt")


def test_real_tracking_drives(realdata):
    files = sorted((realdata / "kitti_tracking/training/calib").glob("*.txt"))
    assert files
    for path in files:
        camera = load_kitti_calib(path)
        forward, left = camera.vehicle_from_camera[:2, 3]
        # the surveyed places agree with the car's drawing
        assert forward == pytest.approx(CAMERA_FORWARD_M, abs=0.07), path
        assert left == pytest.approx(0.06, abs=0.02), path
        nominal = nominal_camera(camera.width_px, camera.height_px)
        np.testing.assert_allclose(camera.matrix, nominal.matrix, atol=1e-4)
