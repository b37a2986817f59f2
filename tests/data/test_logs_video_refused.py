"""Videos and options that cannot be read are one clear error, and nothing is printed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest

from data.errors import InputError
from data.logs import open_log
from tests.data.video_maker import times_ms, write_b_frames, write_video


@pytest.fixture(scope="module")
def b_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_b_frames(tmp_path_factory.mktemp("video") / "b_frames.mp4")


def broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "bad.mp4"
    if kind == "missing":
        return path
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no video\n" * 50)
    elif kind == "playlist":
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n")
    elif kind == "no index":
        write_video(path, range(30))
        data = path.read_bytes()
        path.write_bytes(data[: data.index(b"moov") - 4])
    elif kind == "sound only":
        with av.open(str(path), "w") as out:
            stream = out.add_stream("aac", rate=8000)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.sample_rate = 8000
            out.mux([*stream.encode(sound), *stream.encode(None)])
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such file"),
        ("empty", "empty"),
        ("text", "not a video"),
        ("playlist", "not a video"),
        ("no index", "cut short before its index"),
        ("sound only", "no video stream"),
    ],
)
def test_bad_files_are_input_errors(tmp_path: Path, kind: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        open_log(broken(tmp_path, kind))
    assert "\n" not in str(caught.value) and "bad.mp4" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"every": 0}, "every"),
        ({"every": -2}, "every"),
        ({"start_s": -1.0}, "start"),
        ({"start_s": float("nan")}, "start"),
        ({"start_s": 2.0, "stop_s": 2.0}, "stop"),
        ({"max_frames": 0}, "--max-frames"),
        ({"start_s": 1e300}, "--start"),
        ({"stop_s": 1e300}, "--stop"),
        ({"fps": 1e-300}, "--fps"),
        ({"fps": 0.0}, "fps"),
        ({"start_s": 4.0}, "beyond the end of the video at 4.000 s"),
        ({"start_s": 400.0}, "beyond the end"),
    ],
)
def test_bad_options_are_input_errors(b_frames: Path, options: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_log(b_frames, **options)  # type: ignore[arg-type]


def test_a_start_behind_the_last_frame_is_told_from_one_behind_the_end(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", range(5))
    with pytest.raises(InputError, match=r"--start 0.18 s is beyond its last frame at 0.160 s"):
        list(open_log(path, start_s=0.18))
    assert times_ms(open_log(path, start_s=0.16)) == [160]


def test_start_beyond_an_undeclared_end_is_found_while_reading(tmp_path: Path) -> None:
    log = open_log(write_video(tmp_path / "raw.h264", range(10)), start_s=3.0)
    with pytest.raises(InputError, match="beyond the end"):
        list(log)


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Root may read everything, so that it steps down meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # nobody
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_unreadable_file(b_frames: Path) -> None:
    with TemporaryDirectory() as folder:  # pytest's own can be entered by nobody else
        Path(folder).chmod(0o755)
        path, open_one = Path(folder) / "locked.mp4", Path(folder) / "open.mp4"
        for each in (path, open_one):
            each.write_bytes(b_frames.read_bytes())
        path.chmod(0)
        open_one.chmod(0o444)
        with as_ordinary_user():
            assert open_log(open_one).width_px > 0
            with pytest.raises(InputError, match="cannot be read"):
                open_log(path)


def test_huge_video_is_refused(monkeypatch: pytest.MonkeyPatch, b_frames: Path) -> None:
    monkeypatch.setattr("data.logs.decoding.MAX_IMAGE_PX", 1000)
    with pytest.raises(InputError, match="100 megapixels"):
        open_log(b_frames)


def test_nothing_is_printed(b_frames: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    path = tmp_path / "cut.mp4"
    data = b_frames.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    list(open_log(path))
    with pytest.raises(InputError):
        open_log(broken(tmp_path, "text"))
    assert capfd.readouterr() == ("", "")
