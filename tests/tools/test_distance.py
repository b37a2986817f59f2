"""Distances on the ground against KITTI labels made so that the answer is known."""

from __future__ import annotations

import argparse
import json

import cv2
import numpy as np
import pytest

from data.camera import camera_to_toml
from data.errors import InputError
from data.kitti_calib import nominal_camera
from data.kitti_labels import read_space_labels
from tools.distance import nearest_depth_m, run_distance, statistics

CAMERA = nominal_camera(1242, 375)


def label(kind="Car", depth=20.0, right=1.0, turn=-np.pi / 2, ground=1.65, truncated=0, occluded=0):
    """A label line of an object 4 m long and 2 m wide whose box's foot is its nearest corner."""
    deep = 2.0 if abs(turn) > 1 else 1.0  # half its length or width towards the camera
    f, cx, cy = CAMERA.matrix[0, 0], CAMERA.matrix[0, 2], CAMERA.matrix[1, 2]
    near = depth - deep
    u, foot = cx + f * right / near, cy + f * ground / near
    box = f"{u - 20:.4f} {foot - f * 1.5 / near:.4f} {u + 20:.4f} {foot:.4f}"
    return f"{kind} {truncated} {occluded} 0 {box} 1.5 2 4 {right} {ground} {depth} {turn}"


def make_set(root, *lines, size=(1242, 375), calib=None):
    for folder in ("label_2", "image_2"):
        (root / "training" / folder).mkdir(parents=True)
    (root / "training/label_2/000000.txt").write_text("\n".join(lines) + "\n")
    blank = np.zeros((size[1], size[0], 3), np.uint8)
    cv2.imwrite(str(root / "training/image_2/000000.png"), blank)
    if calib:
        (root / "training/calib").mkdir()
        (root / "training/calib/000000.txt").write_text(calib)
    return root


def run(root, camera=None):
    out = root / "out"
    assert run_distance(argparse.Namespace(data=root, camera=camera, out=out)) == 0
    return json.loads((out / "distance.json").read_text())


def test_reference_is_the_nearest_corner(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(label() + "\n" + label(turn=0.0) + "\n" + label(turn=np.pi / 4) + "\n")
    labels = read_space_labels(path, tracking=False)
    # lengthwise 2 m nearer than the middle, sideways 1 m, askew by half of both diagonals
    np.testing.assert_allclose(nearest_depth_m(labels), [18, 19, 20 - 3 / np.sqrt(2)], atol=1e-6)


def test_flat_road_gives_no_error(tmp_path, capsys):
    result = run(make_set(tmp_path, label(), label(depth=45.0, right=-3.0, turn=0.0)))
    foot = result["estimators"]["foot"]
    assert foot["overall"]["all"]["objects"] == 2
    assert foot["overall"]["all"]["median_relative_error"] < 1e-3
    assert foot["by distance"]["10-20 m"]["objects"] == 1
    assert foot["by distance"]["30-50 m"]["objects"] == 1
    assert foot["by class"]["Car"]["objects"] == 2
    assert result["camera"] == {"nominal, KITTI 2011_09_26": 1}
    assert "nominal, KITTI 2011_09_26" in capsys.readouterr().out


def test_rising_ground_errs_and_the_check_does_not(tmp_path):
    result = run(make_set(tmp_path, label(depth=32.0, ground=1.2)))["estimators"]
    # a foot 1.2 m below the camera seems as far as 1.65 / 1.2 times the truth
    assert result["foot"]["overall"]["all"]["bias"] == pytest.approx(1.65 / 1.2 - 1, abs=1e-3)
    assert result["height known"]["overall"]["all"]["median_relative_error"] < 1e-3
    # the tracker's prior of its height draws it back
    assert 0 < result["first sight"]["overall"]["all"]["bias"] < 1.65 / 1.2 - 1


def test_what_cannot_be_compared_is_left_out_and_counted(tmp_path):
    result = run(
        make_set(
            tmp_path,
            label(), label("DontCare"), label("Misc"), label(truncated=0.3), label(occluded=2),
            label(occluded=1), label(depth=5.0), label(depth=99.0),
        )
    )  # fmt: skip
    assert result["estimators"]["foot"]["overall"]["all"]["objects"] == 2
    left_out = result["left_out"]
    assert left_out["no object class (DontCare, Misc)"] == 2
    assert left_out["truncated"] == left_out["occluded above 1"] == 1
    assert left_out["foot cut by the border"] == left_out["outside 1 to 80 m"] == 1


def test_calibration_beside_the_labels_is_used(tmp_path):
    calib = "P2: 721.5377 0 609.5593 0 0 721.5377 172.854 0 0 0 1 0\n"
    result = run(make_set(tmp_path, label(), calib=calib))
    assert result["camera"] == {"calib file of each picture or drive": 1}
    assert result["estimators"]["foot"]["overall"]["all"]["median_relative_error"] < 1e-3


def test_given_camera_of_double_height_doubles_distances(tmp_path):
    path = tmp_path / "high.toml"
    text = camera_to_toml(CAMERA).replace("height_m = 1.65", "height_m = 3.3")
    path.write_text(text)
    result = run(make_set(tmp_path, label()), path)
    assert result["camera"] == {"high.toml": 1}
    assert result["estimators"]["foot"]["overall"]["all"]["bias"] == pytest.approx(1.0, abs=1e-3)


def test_statistics_of_known_errors():
    s = statistics(np.array([9.0, 11, 12, np.nan]), np.full(4, 10.0))
    assert (s["objects"], s["without"]) == (4, 1)
    assert s["median_relative_error"] == pytest.approx(0.1)
    assert s["bias"] == pytest.approx(0.1)
    assert s["median_error_m"] == pytest.approx(1.0)
    assert np.isnan(statistics(np.zeros(0), np.zeros(0))["bias"])


def wrong(root, says, camera=None):
    with pytest.raises(InputError, match=says):
        run(root, camera)
    assert not (root / "out").exists()


def test_bad_sets(tmp_path):
    wrong(tmp_path, "no KITTI labels")
    wrong(make_set(tmp_path / "a", label(), size=(640, 480)), "640x480, not one of KITTI's")
    wrong(make_set(tmp_path / "b", "Car 0 0 1"), r"000000.txt:1: expected a KITTI type")
    wrong(make_set(tmp_path / "c", label("DontCare")), r"can be compared \(no object class .*: 1\)")
    camera = tmp_path / "small.toml"
    camera.write_text(camera_to_toml(CAMERA).replace("width_px = 1242", "width_px = 1000"))
    wrong(make_set(tmp_path / "d", label()), "another size", camera)


@pytest.mark.parametrize("name", ["kitti_object", "kitti_tracking"])
def test_real_labels(realdata, tmp_path, name):
    a = argparse.Namespace(data=realdata / name, camera=None, out=tmp_path)
    assert run_distance(a) == 0
    result = json.loads((tmp_path / "distance.json").read_text())["estimators"]
    check = result["height known"]["overall"]["all"]
    # camera and reference are right; the flat road is what is left
    assert check["median_relative_error"] < 0.02
    assert result["foot"]["by distance"]["10-20 m"]["median_relative_error"] < 0.12
