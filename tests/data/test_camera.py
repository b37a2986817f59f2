"""Camera: known geometry in, known pixels and metres out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.camera import Camera, load_camera, mounting_pose
from data.errors import InputError


def level_camera(pitch_rad: float = 0.0, yaw_rad: float = 0.0, distortion=()) -> Camera:
    matrix = np.array([[1000.0, 0, 640], [0, 1000.0, 360], [0, 0, 1]])
    pose = mounting_pose(1.5, pitch_rad, yaw_rad, forward_m=2.0)
    return Camera(1280, 720, matrix, np.array(distortion), pose, "test")


def test_point_straight_ahead_at_camera_height_is_the_image_centre():
    uv = level_camera().pixels_from_vehicle(np.array([[12.0, 0.0, 1.5]]))
    assert uv == pytest.approx(np.array([[640.0, 360.0]]))


def test_ground_point_ten_metres_ahead_of_the_camera():
    # 1.5 m below the axis at 10 m depth: 150 px below the centre
    uv = level_camera().pixels_from_vehicle(np.array([[12.0, 0.0, 0.0]]))
    assert uv == pytest.approx(np.array([[640.0, 510.0]]))


def test_left_of_the_vehicle_is_left_in_the_image():
    uv = level_camera().pixels_from_vehicle(np.array([[12.0, 1.0, 0.0]]))
    assert uv[0, 0] == pytest.approx(540.0)


def test_points_behind_and_pixels_above_the_horizon_are_nan():
    camera = level_camera()
    assert np.isnan(camera.pixels_from_vehicle(np.array([[-5.0, 0, 0]]))).all()
    assert np.isnan(camera.ground_from_pixels(np.array([[640.0, 359.0]]))).all()


@pytest.mark.parametrize("distortion", [(), (-0.25, 0.08, 0.001, -0.001, 0.0)])
def test_ground_and_back(distortion):
    camera = level_camera(0.05, -0.03, distortion)
    ground = np.array([[8.0, 0.0], [15.0, 2.5], [40.0, -4.0]])
    uv = camera.pixels_from_vehicle(np.column_stack([ground, np.zeros(3)]))
    assert camera.ground_from_pixels(uv) == pytest.approx(ground, rel=1e-3, abs=1e-3)


FOLDING = (-0.33, 0.0, 0.0, 0.0)  # the picture's edge is 45 degrees from the axis, none beyond


def test_ground_far_to_the_side_is_not_folded_back_into_the_picture():
    matrix = np.array([[800.0, 0, 640], [0, 800.0, 360], [0, 0, 1]])
    camera = Camera(1280, 720, matrix, np.array(FOLDING), mounting_pose(1.4), "test")
    bearing = np.radians([30.0, 40.0, 50.0, 55.0, 60.0])
    place = np.column_stack([1.7 + 8 * np.cos(bearing), 8 * np.sin(bearing), np.zeros(5)])
    pixels = camera.pixels_from_vehicle(place)
    assert np.isfinite(pixels[:2]).all() and np.isnan(pixels[2:]).all()


def test_a_pixel_that_the_lens_cannot_fill_has_no_ground_and_others_cast_exactly():
    matrix = np.array([[800.0, 0, 640], [0, 800.0, 360], [0, 0, 1]])
    camera = Camera(1280, 720, matrix, np.array(FOLDING), mounting_pose(1.4), "test")
    assert np.isnan(camera.ground_from_pixels(np.array([[0.0, 719.0], [1279.0, 719.0]]))).all()
    camera = Camera(
        1280, 720, matrix, np.array([-0.28, 0.09, 0, 0, -0.012]), mounting_pose(1.4), ""
    )
    corner = np.array([[0.0, 719.0]])
    ground = camera.ground_from_pixels(corner)
    back = camera.pixels_from_vehicle(np.column_stack([ground, [0.0]]))
    assert back == pytest.approx(corner, abs=1e-3)


def test_nose_down_raises_the_horizon():
    camera = level_camera(pitch_rad=0.1)
    assert camera.pitch_rad == pytest.approx(0.1)
    assert camera.horizon_row_px == pytest.approx(360 - 1000 * math.tan(0.1))


def test_camera_turned_to_a_vanishing_point_sees_the_far_road_there():
    camera = level_camera().with_vanishing_point(600.0, 300.0, "test")
    far = camera.pixels_from_vehicle(np.array([[1e7, 0.0, 0.0]]))
    assert far == pytest.approx(np.array([[600.0, 300.0]]), abs=0.01)
    assert camera.height_m == pytest.approx(1.5)


def test_a_lens_with_distortion_is_turned_to_a_vanishing_point_exactly():
    lens = (-0.3, 0.08, 0.0, 0.0, 0.0)
    far = level_camera(0.1, 0.3, lens).pixels_from_vehicle(np.array([[1e6, 0.0, 1.5]]))[0]
    turned = level_camera(distortion=lens).with_vanishing_point(*far, "test")
    assert (turned.pitch_rad, turned.yaw_rad) == pytest.approx((0.1, 0.3), abs=1e-4)


def test_a_vanishing_point_that_the_lens_cannot_show_still_turns_the_camera():
    turned = level_camera(distortion=FOLDING).with_vanishing_point(2000.0, 360.0, "test")
    assert turned.yaw_rad == pytest.approx(math.atan2(1360.0, 1000.0))


def test_assumed_camera_puts_the_horizon_where_it_is_told():
    camera = Camera.assumed(1280, 720, horizon_row_px=300.0)
    assert camera.horizon_row_px == pytest.approx(300.0)
    assert camera.source == "assumed"


def test_scaled_camera_sees_the_same_point_at_the_scaled_pixel():
    camera, point = level_camera(0.03), np.array([[20.0, 3.0, 0.5]])
    full, half = camera.pixels_from_vehicle(point), camera.scaled_to(640, 360)
    assert half.pixels_from_vehicle(point) == pytest.approx((full + 0.5) / 2 - 0.5)


GOOD = """
width_px = 1280
height_px = 720
fx_px = 1000
fy_px = 1000
cx_px = 640
cy_px = 360
height_m = 1.5
pitch_rad = 0.02
"""


def test_camera_file(tmp_path):
    path = tmp_path / "camera.toml"
    path.write_text(GOOD)
    camera = load_camera(path)
    assert (camera.width_px, camera.height_m, camera.source) == (1280, 1.5, "camera.toml")
    assert camera.pitch_rad == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("fx_px = 1000", ""), "missing fx_px"),
        (GOOD + "focal = 3", "unknown key focal"),
        (GOOD.replace("1.5", "'high'"), "height_m must be a finite number"),
        (GOOD.replace("1.5", "0"), "height_m: expected above 0"),
        (GOOD.replace("fy_px = 1000", "fy_px = 0"), "must be positive"),
        (GOOD.replace("cx_px = 640", "cx_px = 1e300"), "far outside"),
        (GOOD.replace("width_px = 1280", "width_px = inf"), "width_px must be a finite"),
        (GOOD.replace("0.02", "3"), "pitch_rad = 3 is in radians"),
        (GOOD + "distortion = '1234'", "distortion is a list of numbers, not '1234'"),
        (GOOD + "distortion = 0.1", "distortion is a list of numbers, not 0.1"),
        (GOOD + f"distortion = [1{'0' * 400}, 0, 0, 0]", r"distortion\[0\] must be a finite"),
        (GOOD.replace("1280", f"1{'0' * 400}"), "width_px must be a finite number"),
        (GOOD.replace("fx_px = 1000", "fx_px = [1000]"), r"fx_px must .* number, given \[1000\]$"),
        (GOOD.replace("0.02", "{deg = 1}"), "pitch_rad must be a finite number"),
        (GOOD + "distortion = [nan, 0, 0, 0]", "distortion.0. must be a finite"),
        (GOOD + "distortion = [1e10, 0, 0, 0]", "below 1000"),
        (GOOD.replace("fx_px = 1000", "fx_px = -4"), "must be positive"),
        (GOOD.replace("1.5", "nan"), "height_m must be a finite"),
        ("width_px = ", "not valid TOML"),
    ],
)
def test_bad_camera_files_say_what_is_wrong(tmp_path, text, says):
    path = tmp_path / "camera.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=says) as e:
        load_camera(path)
    assert len(str(e.value).splitlines()) == 1
