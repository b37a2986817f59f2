"""What a user types: odd sources, options out of range, and names in messages."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import InputError
from data.logs import open_log


def image_in(folder: Path, name: str = "0.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(Path(name).suffix, np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    (folder / name).write_bytes(data)
    return folder


def message(source: Path, **options: float) -> str:
    with pytest.raises(InputError) as caught:
        open_log(source, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert text.isprintable()
    return text


@pytest.mark.parametrize("given", ["http://host/v.mp4", "rtsp://host:554/live"])
def test_addresses_are_not_read(given: str) -> None:
    assert message(Path(given)).endswith(
        "only files and folders are read, no addresses; save the video first, or give --live"
    )
    assert message(Path("http://host/v.mp4")).startswith("http://host/v.mp4: ")
    assert message(Path("file:///a.mp4")).endswith(": give the path alone, without file:")


def test_standard_input_is_not_read() -> None:
    assert message(Path("-")).startswith("-: standard input is not read")


def test_an_unexpanded_home_is_hinted_at() -> None:
    assert "no such file or folder (~ was not expanded: write $HOME)" in message(Path("~/v.mp4"))
    assert "$HOME" not in message(Path("nowhere/v.mp4"))


def test_a_name_with_a_colon_is_a_file(tmp_path: Path) -> None:
    assert "no such file" in message(tmp_path / "a:b.mp4")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"start_s": 1e300}, "--start: expected seconds from 0 to 1e+09, given 1e+300"),
        ({"start_s": float("inf")}, "--start: "),
        ({"stop_s": 1e300}, "--stop: expected seconds above --start 0, up to 1e+09, given 1e+300"),
        ({"stop_s": float("nan")}, "--stop: "),
        ({"every": 0}, "--every: "),
        ({"max_frames": 0}, "--max-frames: "),
        ({"fps": 1e-300}, "--fps: expected frames per second from 0.001 to 1000, given 1e-300"),
        ({"fps": 1e-9}, "--fps: "),
        ({"fps": 1001.0}, "--fps: "),
        ({"fps": float("nan")}, "--fps: "),
        ({"start_s": 5.0}, ": --start 5 s is beyond the last image"),
    ],
)
def test_options_out_of_range_are_named_as_typed(
    tmp_path: Path, options: dict[str, float], says: str
) -> None:
    assert says in message(image_in(tmp_path), **options)


def test_the_slowest_rate_is_taken(tmp_path: Path) -> None:
    image_in(tmp_path, "1.png")
    assert [f.t_ns for f in open_log(image_in(tmp_path), fps=0.001)] == [0, 10**12]


def test_folder_hint_knows_capital_suffixes(tmp_path: Path) -> None:
    image_in(tmp_path / "DCIM", "A.JPG")
    assert f"its folder DCIM has some: give {tmp_path / 'DCIM'}" in message(tmp_path)


def test_folder_hint_leaves_out_links_and_hidden_images(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.mkdir()
    (loop / "self").symlink_to(loop)
    (loop / "round.jpg").symlink_to(loop / "round.jpg")
    image_in(tmp_path / "other")
    (loop / "away").symlink_to(tmp_path / "other")
    image_in(loop / "hidden", ".0.png")
    assert message(loop).endswith("in this folder")


def test_a_locked_folder_inside_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = image_in(tmp_path / "a_locked")
    image_in(tmp_path / "b_open")
    plain = Path.iterdir

    def iterdir(self: Path):  # type: ignore[no-untyped-def]
        if self == locked:
            raise PermissionError(13, os.strerror(13), str(self))
        return plain(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    text = message(tmp_path)
    assert "its folder b_open has some" in text and "denied" not in text


def test_control_characters_do_not_break_the_line(tmp_path: Path) -> None:
    odd = "a\nb\x1b[31m"
    assert "a?b?[31m.mp4: no such file" in message(tmp_path / f"{odd}.mp4")
    (tmp_path / f"{odd}.mp4").write_text("no video " * 50)
    assert "a?b?[31m.mp4: not a video" in message(tmp_path / f"{odd}.mp4")
    (tmp_path / "empty\r.mp4").write_bytes(b"")
    assert "empty?.mp4: the file is empty" in message(tmp_path / "empty\r.mp4")
    image_in(tmp_path / "f\n" / "inner\t")
    assert "its folder inner? has some" in message(tmp_path / "f\n")
    folder = image_in(tmp_path / "drive")
    (folder / "1\n.png").write_bytes(b"")
    log = open_log(folder)
    assert len(list(log)) == 1 and log.faults == ["frame 1 is empty: 1?.png skipped"]
