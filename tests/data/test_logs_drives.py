"""KITTI drives and comma segments laid out as they are published."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data.errors import InputError
from data.logs import open_log
from data.types import EgoMotion

SIZE = (1242, 375)
CALIB = """calib_time: 09-Jan-2012 13:57:47
S_rect_02: 1.242000e+03 3.750000e+02
P_rect_02: 7.215377e+02 0 6.095593e+02 4.485728e+01 0 7.215377e+02 1.728540e+02 2.163791e-01 0 0 1 2.745884e-03
"""  # noqa: E501
TRACKING = (
    "P2: 7.215377e+02 0 6.095593e+02 4.485728e+01 0 7.215377e+02 1.728540e+02 2.163791e-01 "
    "0 0 1 2.745884e-03\n"
)


def oxts(speed: float, turn: float) -> str:
    values = [0.0] * 30
    values[8], values[22] = speed, turn
    return " ".join(map(str, values)) + "\n"


def pictures(folder: Path, digits: int, count: int) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        picture = np.full((SIZE[1], SIZE[0], 3), 10 * i, np.uint8)
        cv2.imwrite(str(folder / f"{i:0{digits}d}.png"), picture)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw drive of four pictures, the calibration one folder up as in the download."""
    drive = tmp_path_factory.mktemp("day") / "2011_09_26_drive_0001_sync"
    pictures(drive / "image_02" / "data", 10, 4)
    (drive / "image_02" / "timestamps.txt").write_text(
        "".join(f"2011-09-26 13:02:25.{100 * i:03d}000000\n" for i in range(4))
    )
    (drive / "oxts" / "data").mkdir(parents=True)
    for i in range(3):
        (drive / "oxts" / "data" / f"{i:010d}.txt").write_text(oxts(10 + i, 0.1 * i))
    (drive.parent / "calib_cam_to_cam.txt").write_text(CALIB)
    return drive


@pytest.mark.parametrize("inner", [".", "image_02", "image_02/data"])
def test_kitti_raw(raw: Path, inner: str) -> None:
    log = open_log(raw / inner)
    frames = list(log)
    assert log.kind == "kitti" and log.name == raw.name and log.time_source == "timestamps.txt"
    assert [f.t_ns for f in frames] == [i * 100_000_000 for i in range(4)]
    camera = frames[0].camera
    assert camera is not None and camera.height_m == 1.65
    assert camera.matrix[0, 0] == pytest.approx(721.5377)
    assert camera.source == "calib_cam_to_cam.txt" and camera.angle_std_rad is None
    assert [f.ego for f in frames[:3]] == [EgoMotion(10.0 + i, 0.1 * i) for i in range(3)]
    assert frames[3].ego is None
    assert log.faults == ["own motion unknown from 0000000003 on: no line of oxts for it"]
    assert [f.ego for f in open_log(raw, start_s=0.2, max_frames=1)] == [EgoMotion(12.0, 0.2)]


def test_kitti_with_a_bad_calibration_goes_on_without(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "drive").symlink_to(raw)
    copy = tmp_path / "copy"
    pictures(copy / "image_02" / "data", 10, 1)
    (copy / "calib_cam_to_cam.txt").write_text("P_rect_02: 1 2 3\n")
    log = open_log(copy)
    assert next(iter(log)).camera is None
    assert log.faults[0].startswith("calibration not used: ") and len(log.faults) == 1


def test_kitti_tracking(tmp_path: Path) -> None:
    root = tmp_path / "training"
    pictures(root / "image_02" / "0003", 6, 2)
    for part, text in (("calib", TRACKING), ("oxts", oxts(5, 0.5) + oxts(6, -0.5))):
        (root / part).mkdir()
        (root / part / "0003.txt").write_text(text)
    frames = list(open_log(root / "image_02" / "0003"))
    assert [f.ego for f in frames] == [EgoMotion(5, 0.5), EgoMotion(6, -0.5)]
    assert frames[0].camera is not None and frames[0].camera.source == "0003.txt"


def test_real_kitti_calibrations(realdata: Path, tmp_path: Path) -> None:
    found = sorted((realdata / "kitti_tracking" / "training" / "calib").glob("*.txt"))
    if not found:
        pytest.skip("no calibrations of KITTI tracking here")
    pictures(tmp_path / "image_02" / found[0].stem, 6, 1)
    (tmp_path / "calib").symlink_to(found[0].parent)
    frame = next(iter(open_log(tmp_path / "image_02" / found[0].stem)))
    assert frame.camera is not None and 700 < frame.camera.matrix[0, 0] < 730


def hevc(path: Path, count: int, size: tuple[int, int] = (64, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="hevc") as out:
        stream = out.add_stream("libx265", rate=20)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"x265-params": "log-level=none"}
        for i in range(count):
            image = np.full((size[1], size[0], 3), 10 + 20 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = i, Fraction(1, 20)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def save(path: Path, values: object) -> None:
    """A NumPy array in a file without suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values, np.float64))
    path.write_bytes(buffer.getvalue())


def segment(folder: Path, start_s: float, count: int = 8, poses: bool = True) -> np.ndarray:
    """A drive through a left turn of 0.2 rad/s at a place on the globe, at 10 to 11 m/s."""
    hevc(folder / "video.hevc", count)
    times = start_s + np.arange(count) * 0.05
    times[3] += 0.004
    save(folder / "global_pose" / "frame_times", times)
    at = start_s + np.arange(0, 0.4, 0.02)
    name = "speed" if poses else "car_speed"  # as in some chunks of the set
    save(folder / f"processed_log/CAN/{name}/t", at)
    save(folder / f"processed_log/CAN/{name}/value", (10 + (at - start_s))[:, None])
    if poses:
        up = np.array([0.6, 0.0, 0.8])
        turned = Rotation.from_rotvec(0.2 * times[:, None] * up)
        first = Rotation.from_euler("xyz", [0.3, 0.2, 0.1])
        q = (turned * first).as_quat()[:, [3, 0, 1, 2]]
        save(folder / "global_pose" / "frame_orientations", q)
        save(folder / "global_pose" / "frame_positions", np.tile(6.37e6 * up, (count, 1)))
    return times


def test_comma_segment(tmp_path: Path) -> None:
    folder = tmp_path / "seg"
    times = segment(folder, 100.0)
    log = open_log(folder)
    frames = list(log)
    assert [f.t_ns for f in frames] == [round((t - times[0]) * 1e9) for t in times]
    assert log.time_source == "frame_times" and log.faults == []
    assert log.expected_frames == 8 and log.nominal_fps == pytest.approx(20)
    for frame, t in zip(frames, times, strict=True):
        assert frame.ego is not None
        assert frame.ego.speed_mps == pytest.approx(10 + t - times[0], abs=1e-6)
        assert frame.ego.yaw_rate_radps == pytest.approx(0.2, abs=1e-6)
    assert [round(float(f.image.mean()), -1) for f in frames[:3]] == [10, 30, 50]
    part = open_log(folder, start_s=0.1, stop_s=0.3, every=2)
    assert [f.index for f in part] == [2, 4] and part.expected_frames == 2
    with pytest.raises(InputError, match="--start 9 s is beyond the last frame"):
        list(open_log(folder, start_s=9))


def test_comma_route_joins_its_segments(tmp_path: Path) -> None:
    for number, start_s in ((9, 100.0), (10, 100.4)):
        segment(tmp_path / "route" / str(number), start_s, poses=False)
    log = open_log(tmp_path / "route")
    frames = list(log)
    assert [f.index for f in frames] == list(range(16))
    assert frames[8].t_ns == pytest.approx(400_000_000, abs=1000)
    assert frames[9].ego is not None and np.isnan(frames[9].ego.yaw_rate_radps)


def test_openpilot_route_without_times(tmp_path: Path) -> None:
    for number in (0, 1):
        hevc(tmp_path / f"2020--{number}" / "fcamera.hevc", 4)
    log = open_log(tmp_path)
    assert [f.t_ns for f in log] == [i * 50_000_000 for i in range(8)]
    assert log.time_source == "20 fps: no frame_times" and log.nominal_fps == 20
    assert all(f.ego is None and f.camera is None for f in log)


def test_the_eon_camera_is_known_by_its_size(tmp_path: Path) -> None:
    hevc(tmp_path / "video.hevc", 1, (1164, 874))
    camera = next(iter(open_log(tmp_path))).camera
    assert camera is not None and camera.matrix[0, 0] == 910 and camera.angle_std_rad is not None


def test_comma_arrays_that_cannot_be_used(tmp_path: Path) -> None:
    segment(tmp_path, 100.0)
    value = tmp_path / "processed_log/CAN/speed/value"
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (tmp_path / "evil.npy").rename(value)  # a pickle inside
    assert all(f.ego is None for f in open_log(tmp_path))
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000,), }"
    value.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"0" * 80)
    log = open_log(tmp_path)
    assert len(list(log)) == 8 and log.faults == ["speed/value not used: no NumPy array"]
    save(tmp_path / "global_pose" / "frame_times", [3.0, 2.0, 1.0])
    log = open_log(tmp_path)
    assert [f.t_ns for f in log][:2] == [0, 50_000_000]
    assert "frame_times not used: they do not increase" in log.faults[0]


def test_comma_with_fewer_times_than_frames(tmp_path: Path) -> None:
    segment(tmp_path, 100.0)
    save(tmp_path / "global_pose" / "frame_times", 100 + np.arange(5) * 0.05)
    log = open_log(tmp_path)
    assert len(list(log)) == 8 and log.faults[-1] == "frame 5 and on: more frames than frame_times"
