"""Image folders as logs: order, times, sizes and unreadable files."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import InputError
from data.logs import open_log
from data.logs.image_size import image_size_px
from data.logs.images import natural_key

REALDATA = Path(
    os.environ.get("ROADSTACK_REALDATA", Path(__file__).parents[3] / "shared" / "realdata")
)


def picture(value: int, width: int = 40, height: int = 30) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def folder_of(path: Path, *names: str) -> Path:
    """A folder of images whose grey value is ten times their place in ``names``."""
    path.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        cv2.imwrite(str(path / name), picture(10 * i))
    return path


def test_natural_order_and_every_format(tmp_path: Path) -> None:
    names = ["f1.png", "f2.jpg", "f03.bmp", "f10.webp", "f11.ppm", "f20.tif", "f100.jpeg"]
    log = open_log(folder_of(tmp_path / "drive", *names))
    frames = list(log)
    assert [f.name for f in frames] == names
    assert [round(float(f.image.mean()), -1) for f in frames] == [0, 10, 20, 30, 40, 50, 60]
    assert [f.index for f in frames] == list(range(7))
    assert [f.t_ns for f in frames] == [i * 100_000_000 for i in range(7)]
    assert (log.kind, log.name, log.width_px, log.height_px) == ("images", "drive", 40, 30)
    assert log.time_source == "assumed 10 fps: the folder has no times"
    assert log.nominal_fps == 10 and log.expected_frames == 7 and log.faults == []


def test_natural_key_is_a_total_order() -> None:
    names = ["b", "a10", "a2", "a02", "10", "9", "a", "a10b2", "a10b10"]
    ordered = ["9", "10", "a", "a02", "a2", "a10", "a10b2", "a10b10", "b"]
    assert sorted(names, key=natural_key) == ordered


def test_given_rate_start_stop_every(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *(f"{i}.png" for i in range(20)))
    log = open_log(folder, fps=29.97, start_s=0.1, stop_s=0.5, every=4)
    assert [f.index for f in log] == [3, 7, 11] and log.expected_frames == 3
    assert [f.t_ns for f in log] == [round(i * 1e11 / 2997) for i in (3, 7, 11)]
    assert log.time_source == "given 29.97 fps: the folder has no times"
    log = open_log(folder, max_frames=5)
    assert [f.index for f in log] == [0, 1, 2, 3, 4] and log.expected_frames == 5


def test_kitti_timestamps_beside_the_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "image_02" / "data", *(f"{i:010d}.png" for i in range(3)))
    times = tmp_path / "image_02" / "timestamps.txt"
    times.write_text(
        "2011-09-26 13:02:59.964389445\n2011-09-26 13:03:00.067850432\n"
        "2011-09-26 13:03:00.171313408\n"
    )
    log = open_log(folder, fps=5)
    assert [f.t_ns for f in log] == [0, 103_460_987, 206_923_963]
    assert log.time_source == "timestamps.txt"
    assert log.nominal_fps == pytest.approx(9.665, abs=0.001)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2011-09-26 13:02:59.9\n", "1 lines for 3 images"),
        ("2011-09-26 13:02:59.9\nsoon\n2011-09-26 13:03:59.9\n", "line 2 is not a time"),
        ("2011-09-26 13:02:59\n2011-09-26 13:02:58\n2011-09-26 13:03:59\n", "do not increase"),
    ],
)
def test_unfit_timestamps_are_noted_and_not_used(tmp_path: Path, text: str, says: str) -> None:
    folder = folder_of(tmp_path, "0.png", "1.png", "2.png")
    (folder / "timestamps.txt").write_text(text)
    log = open_log(folder)
    assert [f.t_ns for f in log] == [0, 100_000_000, 200_000_000]
    assert len(log.faults) == 1 and says in log.faults[0]


def test_damaged_and_odd_images_are_noted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *(f"{i}.png" for i in range(8)))
    (folder / "1.png").write_bytes(b"")
    (folder / "2.png").write_text("no picture")
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    for name in ("3.png", "4.jpg"):
        cv2.imwrite(str(folder / name), noise)
        (folder / name).write_bytes((folder / name).read_bytes()[:3000])
    cv2.imwrite(str(folder / "6.png"), picture(1, 50, 20))
    (folder / ".7.png").write_bytes(b"hidden")
    (folder / "notes.txt").write_text("x")
    log = open_log(folder)
    frames = list(log)
    assert [f.index for f in frames] == [0, 5, 6, 7, 8]  # 4.jpg takes a number of its own
    assert log.faults == [
        "frame 1 is empty: 1.png skipped",
        "frame 2 is not an image: 2.png skipped",
        "frame 3 is cut short: 3.png skipped",
        "frame 4 is cut short: 4.jpg skipped",
        "frame 7 is 50x20, not 40x30: 6.png",
    ]
    assert frames[3].image.shape == (20, 50, 3)
    assert len(list(log)) == 5 and len(log.faults) == 5  # reading again does not repeat faults


def test_exif_turned_photograph_comes_upright(tmp_path: Path) -> None:
    image = picture(0)
    image[:, :20] = 255  # the left half is white
    plain = cv2.imencode(".jpg", image)[1].tobytes()
    turn_right = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    block = b"\xff\xe1" + (len(turn_right) + 2).to_bytes(2, "big") + turn_right
    (tmp_path / "a.jpg").write_bytes(plain[:2] + block + plain[2:])
    log = open_log(tmp_path)
    upright = next(iter(log)).image
    assert upright.shape == (40, 30, 3) and (log.width_px, log.height_px) == (30, 40)
    assert upright[5, 15, 0] > 250 and upright[35, 15, 0] < 5


def test_a_single_image_is_a_log_of_one(tmp_path: Path) -> None:
    folder_of(tmp_path, "a.png", "b.png")
    log = open_log(tmp_path / "b.png")
    assert [(f.name, f.index, f.t_ns) for f in log] == [("b.png", 0, 0)]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif"])
def test_size_is_read_from_the_header(suffix: str) -> None:
    image = picture(9, 123, 45)
    data = cv2.imencode(suffix, image[..., 0] if suffix == ".pgm" else image)[1].tobytes()
    assert image_size_px(data) == (123, 45)
    for length in range(0, min(len(data), 400), 3):
        image_size_px(data[:length])  # never raises
    assert image_size_px(b"GIF89a") is None


def test_lossy_webp_size() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (45, 123, 3), np.uint8)
    data = cv2.imencode(".webp", noise, [cv2.IMWRITE_WEBP_QUALITY, 50])[1].tobytes()
    assert data[12:16] == b"VP8 " and image_size_px(data) == (123, 45)


def test_size_bomb_is_left_out_before_decoding(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "0.png")
    data = bytearray((folder / "0.png").read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    (folder / "1.png").write_bytes(data)
    log = open_log(folder)
    assert [f.index for f in log] == [0]
    assert log.faults == ["frame 1 is 60000x60000, above 100 megapixels: 1.png skipped"]
    with pytest.raises(InputError, match=r"1\.png is 60000x60000, above 100 megapixels; expected"):
        open_log(folder / "1.png")


def test_bad_folders_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        open_log(tmp_path)
    folder_of(tmp_path / "data", "0.png")
    with pytest.raises(InputError, match="its folder data has some"):
        open_log(tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"none of its 1 images can be decoded"):
        open_log(tmp_path / "bad")
    with pytest.raises(InputError, match=r"0\.jpg is not an image"):
        open_log(tmp_path / "bad" / "0.jpg")
    with pytest.raises(InputError, match=r"beyond the last image at 0\.000 s"):
        open_log(tmp_path / "data", start_s=1.0)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path, "0.jpg")
    data = bytearray((folder / "0.jpg").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20] = bytes(20)
    (folder / "1.jpg").write_bytes(data)
    (folder / "2.jpg").write_bytes(data[:-30])
    list(open_log(folder))
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not (REALDATA / "clips").is_dir(), reason=f"no clips in {REALDATA}")
def test_real_kitti_folder() -> None:
    log = open_log(REALDATA / "clips" / "kitti_2011_09_26_approach")
    assert (log.expected_frames, log.width_px, log.height_px) == (78, 1242, 375)
    frames = [(f.index, f.t_ns, f.name) for f in log]
    assert frames == [(i, i * 100_000_000, f"{i:010d}.jpg") for i in range(78)]
    assert log.faults == []
