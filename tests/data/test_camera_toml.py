"""A camera written to TOML reads back as the same camera."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.camera import Camera, camera_to_toml, load_camera, mounting_pose


@pytest.mark.parametrize("distortion", [(), (-0.25, 0.06, 0.001, -1e-7), (-0.3, 0.1, 0, 0, 0.02)])
def test_written_camera_reads_back(tmp_path, distortion):
    matrix = np.array([[1175.583383, 0, 667.744], [0, 1173.045, 394.379], [0, 0, 1]])
    pose = mounting_pose(1.43, 0.021, -0.013, 0.007, 1.9, -0.1)
    camera = Camera(1280, 720, matrix, np.array(distortion), pose, "made up")
    path = tmp_path / "camera.toml"
    path.write_text(camera_to_toml(camera, ("first", "second\nline")))
    back = load_camera(path)
    assert (back.width_px, back.height_px, back.source) == (1280, 720, "camera.toml")
    np.testing.assert_allclose(back.matrix, camera.matrix, rtol=1e-8)
    np.testing.assert_allclose(back.distortion, camera.distortion, rtol=1e-8)
    np.testing.assert_allclose(back.vehicle_from_camera, pose, atol=1e-8)
    assert path.read_text().splitlines()[:2] == ["# first", "# second line"]


def test_angles_of_the_mounting():
    pose = mounting_pose(1.5, pitch_rad=0.1, yaw_rad=0.3, roll_rad=-0.2)
    camera = Camera(640, 480, np.diag([500.0, 500, 1]), np.zeros(0), pose, "")
    assert camera.roll_rad == pytest.approx(-0.2)
    assert camera.pitch_rad == pytest.approx(0.1)
    assert camera.yaw_rad == pytest.approx(0.3)
    assert math.isclose(camera.height_m, 1.5)
