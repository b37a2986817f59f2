"""From photographs of a chessboard to a camera file."""

from __future__ import annotations

import argparse
import json

import cv2
import numpy as np
import pytest

from data.camera import load_camera
from data.errors import InputError
from tools.calibrate import run_calibrate

FOCAL, CENTRE, SIZE = 600.0, (310.0, 250.0), (640, 480)
TURNS = [(0.4, 0, 0), (-0.4, 0.1, 0.1), (0, 0.5, 0), (0.1, -0.5, 0.2), (0.3, 0.3, -0.2)]


def photo(turn, place, size=SIZE):
    """A board of 6x5 inner corners, squares 1 long, seen by the known camera."""
    side = 40
    squares = (np.add.outer(np.arange(6), np.arange(7)) % 2 * 255).astype(np.uint8)
    sheet = np.kron(squares, np.ones((side, side), np.uint8))
    sheet = cv2.copyMakeBorder(sheet, *[side] * 4, cv2.BORDER_CONSTANT, value=255)
    matrix = np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]])
    r = cv2.Rodrigues(np.array(turn, float))[0]
    # sheet pixel to squares from the board's middle, then to the picture
    centre = (np.array(sheet.shape[::-1]) - 1) / 2
    board = np.array([[1, 0, -centre[0]], [0, 1, -centre[1]], [0, 0, side]]) / side
    warp = matrix @ np.column_stack([r[:, :2], place]) @ board
    grey = cv2.warpPerspective(sheet, warp, size, borderValue=170)
    return cv2.cvtColor(cv2.GaussianBlur(grey, (0, 0), 0.7), cv2.COLOR_GRAY2BGR)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boards")
    places = [(-2.0, -1.5, 12.0), (2, 1.5, 12), (-2, 1.5, 11), (2, -1.5, 11), (0, 0, 9)]
    for i, (turn, place) in enumerate(zip(TURNS, places, strict=True)):
        cv2.imwrite(str(folder / f"{i}.png"), photo(turn, place))
    cv2.imwrite(str(folder / "10.png"), photo((0, 0, 0), (0, 0, 10), (700, 480)))
    cv2.imwrite(str(folder / "11.png"), np.full((480, 640, 3), 120, np.uint8))
    (folder / "12.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def options(photos, out, **more):
    photos = photos if isinstance(photos, list) else [photos]
    base = dict(photos=photos, board=(6, 5), square=0.03, size=None, out=out, height=None)
    return argparse.Namespace(
        **{**base, **dict.fromkeys(("pitch", "yaw", "roll", "forward", "left")), **more}
    )


def test_known_camera_is_written(photos, tmp_path, capsys):
    out = tmp_path / "new" / "front.toml"
    assert run_calibrate(options(photos, out, height=1.3, pitch=0.05, forward=1.9)) == 0
    camera = load_camera(out)
    assert (camera.width_px, camera.height_px) == SIZE
    np.testing.assert_allclose(np.diag(camera.matrix), (FOCAL, FOCAL, 1), rtol=0.01)
    np.testing.assert_allclose(camera.matrix[:2, 2], CENTRE, atol=4)
    assert camera.height_m == 1.3 and camera.pitch_rad == pytest.approx(0.05)
    assert camera.vehicle_from_camera[0, 3] == 1.9
    said = capsys.readouterr()
    assert "5 of 8 photographs" in said.out and "mounting" not in said.err

    report = json.loads((out.parent / "calibration.json").read_text())
    assert report["rms_px"] < 0.2 and report["held_out_rms_px"] < 0.5
    assert report["distortion_model"] == "none"
    assert report["intrinsics"]["fx_px"]["std"] > 0
    assert 0 < report["coverage"]["hull_share"] < 1
    rows = {r["photo"]: r for r in report["photos"]}
    assert [n for n, r in rows.items() if r["used"]] == [f"{i}.png" for i in range(5)]
    assert "700x480, not 640x480" in rows["10.png"]["reason"]
    assert "no 6x5 board" in rows["11.png"]["reason"]
    assert "not an image" in rows["12.png"]["reason"]
    picture = cv2.imread(str(out.parent / "calibration.png"))
    assert picture.shape[1] > 1900 and picture.std() > 20
    assert sorted(p.name for p in out.parent.iterdir()) == [
        "calibration.json", "calibration.png", "front.toml",
    ]  # fmt: skip


def test_same_photographs_same_files_and_an_assumed_mounting_is_said(photos, tmp_path, capsys):
    for name in ("a", "b"):
        assert run_calibrate(options(photos, tmp_path / name / "camera.toml")) == 0
    for file in ("camera.toml", "calibration.json", "calibration.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert "--height" in capsys.readouterr().err
    assert "assumed" in (tmp_path / "a/camera.toml").read_text()


def test_a_large_error_gives_exit_code_1(photos, tmp_path, capsys):
    folder = tmp_path / "stretched"
    folder.mkdir()
    for i in range(5):  # each by another, impossible lens
        image = cv2.imread(str(photos / f"{i}.png"))
        v, u = np.mgrid[0:480, 0:640].astype(np.float32)
        bent = cv2.remap(image, u + (4 + i) * np.sin(v / 25), v, cv2.INTER_LINEAR)
        cv2.imwrite(str(folder / f"{i}.png"), bent)
    out = tmp_path / "camera.toml"
    assert run_calibrate(options(folder, out)) == 1
    assert "RMS error" in capsys.readouterr().err and out.exists()


def test_wrong_input_names_it_and_writes_nothing(photos, tmp_path):
    out = tmp_path / "o" / "camera.toml"
    (tmp_path / "empty").mkdir()
    (tmp_path / "clip.mp4").write_bytes(b"x")
    cases = [
        ({"photos": [tmp_path / "none"]}, "no such file"),
        ({"photos": [tmp_path / "empty"]}, "no pictures"),
        ({"photos": [tmp_path / "clip.mp4"]}, "is no picture"),
        ({"photos": [photos / "12.png"]}, "can be read"),
        ({"photos": [photos / "11.png"]}, "0 of 1 photographs show a 6x5.*inner corners"),
        ({"photos": [photos / "0.png", photos / "1.png"]}, "2 of 2 .*at least 3"),
        ({"size": (700, 480)}, "1 of 8 photographs"),
        ({"size": (70, 48)}, "--size 70x48: no photograph of it; they are 640x480, 700x480"),
        ({"board": (2, 5)}, "--board 2x5"),
        ({"square": 0.0}, "--square"),
        ({"height": 0.0}, "--height 0"),
        ({"pitch": 3.0}, "--pitch 3.0: expected radians"),
        ({"out": tmp_path}, "expected a file to write"),
    ]
    for more, says in cases:
        with pytest.raises(InputError, match=says) as raised:
            run_calibrate(options(**{"photos": photos, "out": out, **more}))
        assert "\n" not in str(raised.value)
    assert not out.parent.exists()


def test_its_own_picture_is_no_photograph_of_the_next_run(photos, tmp_path):
    folder = tmp_path / "all"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.png").write_bytes((photos / f"{i}.png").read_bytes())
    for _ in range(2):
        assert run_calibrate(options(folder, folder / "camera.toml")) == 0
    report = json.loads((folder / "calibration.json").read_text())
    assert len(report["photos"]) == 5


def test_real_photographs(realdata, tmp_path):
    """Twenty photographs of a bent sheet, two of them one pixel larger than the rest."""
    folder = realdata / "clips/calibration_chessboards"
    out = tmp_path / "camera.toml"
    assert run_calibrate(options(folder, out, board=(9, 6))) == 0
    report = json.loads((tmp_path / "calibration.json").read_text())
    assert report["rms_px"] < 0.6 and report["held_out_rms_px"] < 0.75
    assert report["board"]["shape_fitted"]
    assert sum(r["used"] for r in report["photos"]) == 18
    assert load_camera(out).matrix[0, 0] == pytest.approx(1175, rel=0.01)
    bows = report["bow_of_rows_px"]
    assert bows["undistorted"]["median"] < 0.6 * bows["photographed"]["median"]


def test_photographs_all_alike_are_said_to_be_so(tmp_path):
    corners = np.full((480, 640, 3), 255, np.uint8)
    squares = (np.add.outer(np.arange(7), np.arange(10)) % 2 == 0)[..., None]
    corners[60:340, 60:460] = np.kron(squares, np.ones((40, 40, 3), bool)) * np.uint8(255)
    for k in range(5):
        cv2.imwrite(str(tmp_path / f"{k}.png"), corners)
    out = tmp_path / "out/camera.toml"
    with pytest.raises(InputError, match="tilt the board"):
        run_calibrate(options(tmp_path, out, board=(9, 6)))
    assert not out.exists()
