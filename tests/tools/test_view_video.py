"""Videos that are written: what comes back when they are read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from data.errors import InputError
from tools.view import VideoWriter
from tools.view.video import _blank, _fill, join_videos


def picture(index: int, width: int = 64, height: int = 48) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = (200, 60, 30)
    image[:, width // 2 :] = (40, 180, 90)
    image[: height // 2, (index * 8) % width :][:, :8] = 255
    return image


def write(path: Path, times_ns: list[int], width: int = 64, height: int = 48) -> Path:
    with VideoWriter(path, width, height) as video:
        for i, t_ns in enumerate(times_ns):
            video.write(picture(i, width, height), t_ns)
    return path


def read(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    """Times in s and pictures."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        times = [f.pts * f.time_base for f in frames if f.pts is not None and f.time_base]
        return times, [f.to_ndarray(format="bgr24") for f in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_pictures_and_varying_times_come_back(tmp_path: Path, suffix: str) -> None:
    times_ns = [5_000_000_000, 5_033_333_333, 5_100_000_000, 5_101_000_000, 9_500_000_000]
    times, images = read(write(tmp_path / f"v{suffix}", times_ns))
    assert times == [Fraction(round((t - times_ns[0]) / 1000), 10**6) for t in times_ns]
    for i, image in enumerate(images):
        assert np.abs(image[36:, 4:28].astype(int) - (200, 60, 30)).mean() < 4
        assert np.abs(image[36:, 36:60].astype(int) - (40, 180, 90)).mean() < 4
        assert np.abs(image.astype(int) - picture(i)).mean() < 8


def test_colours_say_what_they_are(tmp_path: Path) -> None:
    with av.open(str(write(tmp_path / "v.mp4", [0, 40_000_000]))) as file:
        stream = file.streams.video[0]
        frame = next(file.decode(stream))
        assert stream.codec_context.name == "h264" and frame.format.name == "yuv420p"
        assert (frame.colorspace, frame.color_range) == (6, 1)  # BT.601, limited


def test_planes_are_those_of_ffmpeg() -> None:
    rng = np.random.default_rng(2)
    image = cv2.GaussianBlur(rng.integers(0, 256, (46, 70, 3), np.uint8), (0, 0), 1.5)
    image[10:20, 11:13] = (0, 0, 255)  # a thin line: its colour is shared out, not dropped
    expected = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(
        format="yuv420p", dst_colorspace=5, dst_color_range=1, interpolation="AREA"
    )
    frame = _blank(70, 46)
    _fill(frame, image)
    found = frame.to_ndarray().astype(int)
    assert np.abs(found - expected.to_ndarray()).max() <= 2


def test_plain_videos_hold_the_pictures_too(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "v.mp4", 64, 48, quality=20, plain=True) as video:
        for i in range(5):
            video.write(picture(i), i * 50_000_000)
    times, images = read(tmp_path / "v.mp4")
    assert times == [Fraction(i, 20) for i in range(5)]
    for i, image in enumerate(images):
        assert np.abs(image.astype(int) - picture(i)).mean() < 8


def test_last_picture_has_a_duration_and_the_file_starts_fast(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", [i * 100_000_000 for i in range(8)])
    with av.open(str(path)) as file:
        assert file.duration == pytest.approx(740_000, abs=41_000)
        assert file.streams.video[0].frames == 8
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(("width", "height"), [(63, 47), (64, 47), (63, 48), (1, 1)])
def test_odd_sizes_are_padded(tmp_path: Path, width: int, height: int) -> None:
    _, images = read(write(tmp_path / "v.mp4", [0, 1_000_000_000], width, height))
    assert images[0].shape == (height + height % 2, width + width % 2, 3)


def test_pictures_of_another_size_are_fitted(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with VideoWriter(path, 64, 48) as video:
        video.write(np.full((48, 64, 3), 200, np.uint8), 0)
        video.write(np.full((100, 100, 3), 200, np.uint8), 1_000_000)
    image = read(path)[1][1]
    assert image[24, 20].min() > 180 and image[24, 60].max() < 30


def test_times_always_increase(tmp_path: Path) -> None:
    times, _ = read(write(tmp_path / "v.mp4", [0, 40_000_000, 40_000_000, 20_000_000, 80_000_000]))
    assert [int(t * 10**6) for t in times] == [0, 40_000, 40_001, 40_002, 80_000]


@pytest.mark.parametrize("pause_s", [599.0, 2200.0, 1e9])
def test_pauses_that_no_picture_can_last_are_shortened(tmp_path: Path, pause_s: float) -> None:
    starts_s = [7.0, 7.2 + pause_s, 7.4 + 2 * pause_s]
    parts = []
    for n, start_s in enumerate(starts_s):
        path, t_ns = tmp_path / f"{n}.mp4", round(start_s * 1e9)
        with VideoWriter(path, 64, 48, plain=True) as video:
            for i in range(2):
                video.write(picture(i), t_ns + i * 100_000_000)
        parts.append((path, t_ns))
    join_videos(parts, tmp_path / "v.mp4")
    times, images = read(tmp_path / "v.mp4")
    shown_s = pause_s + 0.1 if pause_s < 600 else 1.0
    want = [n * (shown_s + 0.1) + s for n in range(3) for s in (0.0, 0.1)]
    assert [float(t) for t in times] == pytest.approx(want, abs=1e-5) and len(images) == 6


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    times_ns = [i * 33_333_333 for i in range(12)]
    one, two = write(tmp_path / "a.mp4", times_ns), write(tmp_path / "b.mp4", times_ns)
    assert one.read_bytes() == two.read_bytes()


def test_a_failure_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError, match="halfway"), VideoWriter(path, 64, 48) as video:
        video.write(picture(0), 0)
        assert path.read_bytes() == b"before"  # not touched before the end
        raise RuntimeError("halfway")
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"] and path.read_bytes() == b"before"
    write(path, [0, 1_000_000])
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"] and len(read(path)[0]) == 2


def test_no_pictures_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no picture"), VideoWriter(tmp_path / "v.mp4", 64, 48):
        pass
    assert list(tmp_path.iterdir()) == []


def test_bad_targets_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.mp4"):
        VideoWriter(tmp_path / "v.gif", 64, 48)
    with pytest.raises(InputError, match="does not exist"):
        VideoWriter(tmp_path / "none" / "v.mp4", 64, 48)
    with pytest.raises(RuntimeError, match="with block"):
        VideoWriter(tmp_path / "v.mp4", 64, 48).write(picture(0), 0)
