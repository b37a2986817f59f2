"""Bags that are damaged, packed, split, hostile or none."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.logs import open_log
from tests.data.bag_maker import (
    COUNT,
    START_NS,
    STEP_NS,
    Ros,
    fill,
    made,
    refused,
)


def test_damaged_pictures_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "d.bag"
    with Ros(path, False) as bag:
        for i in range(5):
            other: dict[str, object] = {}
            if i == 1:
                other = {"height": 10**9, "width": 10**9, "step": 3 * 10**9}
            if i == 2:
                other = {"height": 9000, "width": 9000, "step": 27000}
            if i == 3:
                other = {"encoding": "secret"}
            bag.write("/image", START_NS + i, bag.image(i, START_NS + i * STEP_NS, **other))
    log = open_log(path)
    assert [f.index for f in log] == [0, 4]
    assert "claims 1000000000x1000000000, above 100 megapixels" in log.faults[0]
    assert "holds 4608 bytes, too few for 9000x9000 bgr8" in log.faults[1]
    assert "of the encoding 'secret'" in log.faults[2]


def test_no_picture_at_all(tmp_path: Path) -> None:
    with Ros(tmp_path / "o.bag", False) as bag:
        bag.write("/odom", START_NS, bag.odometry(START_NS, 1, 0))
    assert refused(tmp_path / "o.bag").endswith(
        "no topic with pictures; it holds nav_msgs/Odometry"
    )
    with Ros(tmp_path / "b.bag", False) as bag:
        for i in range(3):
            bag.write("/image", START_NS + i, bag.image(i, 1 + i, encoding="odd"))
    (tmp_path / "cut.bag").write_bytes((tmp_path / "b.bag").read_bytes()[:2000])
    assert refused(tmp_path / "cut.bag").endswith("(cut short)")
    assert "none of its first 3 pictures can be decoded, the last is of the" in refused(
        tmp_path / "b.bag"
    )


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", ["ros1", "mcap"])
def test_a_bag_cut_short_is_read_as_far_as_it_goes(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "long"
    path = path.with_suffix(".bag") if kind == "ros1" else path
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (400, 400, 3), np.uint8).ravel()
    with Ros(path, kind != "ros1", "MCAP") as bag:
        if kind == "ros1":
            bag.writer.chunk_threshold = 1 << 19
        for i in range(20):
            big = bag.image(i, START_NS + i * STEP_NS, height=400, width=400, step=1200, data=noise)
            bag.write("/image", START_NS + i * STEP_NS, big)
    file = path if kind == "ros1" else next(path.glob("*.mcap"))
    data = file.read_bytes()
    short = tmp_path / f"short{file.suffix}"
    short.write_bytes(data[: int(share * len(data))])
    log = open_log(short)
    count = len(list(log))
    assert 20 * share - 4 <= count <= 20 * share + 1
    assert "has no index that can be used" in log.faults[0]
    assert log.faults[-1].startswith("the bag ends early: ")


@pytest.mark.parametrize("kind", ["ros1", "db3", "mcap"])
def test_no_damage_does_more_than_one_clear_line(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path, kind)
    file = path if kind == "ros1" else next(p for p in path.iterdir() if p.suffix != ".yaml")
    data = bytearray(file.read_bytes())
    rng = np.random.default_rng(1)
    for trial in range(60):
        bad = bytearray(data)
        for at in rng.integers(12, len(bad), 1 + trial % 20):
            bad[at] = rng.integers(0, 256)
        broken = tmp_path / f"broken{file.suffix}"
        broken.write_bytes(bad[: int(rng.integers(1, len(bad)))] if trial % 3 == 0 else bad)
        try:
            frames = list(open_log(broken))
        except InputError as e:
            assert "\n" not in str(e)
        else:
            assert all(a.t_ns < b.t_ns for a, b in itertools.pairwise(frames))


@pytest.mark.parametrize("name", ["../../other.db3", "/etc/passwd", "drive/../../other.db3"])
def test_metadata_may_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    path = made(tmp_path, "db3")
    metadata = path / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("drive.db3", name))
    assert "which is outside the folder" in refused(path)


def test_a_file_name_that_is_too_long_is_not_there(tmp_path: Path) -> None:
    path = made(tmp_path, "db3")
    metadata = path / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("drive.db3", "d" * 300))
    assert "which is not in the folder" in refused(path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    path = made(tmp_path, "db3")
    shutil.move(path / "drive.db3", tmp_path / "other.db3")
    (path / "drive.db3").symlink_to(tmp_path / "other.db3")
    assert "which is outside the folder" in refused(path)
    (path / "drive.db3").unlink()
    assert "which is not in the folder" in refused(path)


def test_a_recording_of_two_files(tmp_path: Path) -> None:
    for part in (0, 1):
        with Ros(tmp_path / f"part{part}", True) as bag:
            for i in range(part * 3, part * 3 + 3):
                bag.write("/image", START_NS + i, bag.image(i, START_NS + i * STEP_NS))
        (tmp_path / "whole").mkdir(exist_ok=True)
        file = next((tmp_path / f"part{part}").glob("*.db3"))
        file.rename(tmp_path / "whole" / f"part_{part}.db3")
    log = open_log(tmp_path / "whole")
    assert [f.t_ns for f in log] == [i * STEP_NS for i in range(6)] and log.expected_frames == 6


def test_a_database_of_something_else(tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "x.db3")
    base.executescript("CREATE TABLE topics(id); CREATE VIEW messages AS SELECT 1;")
    base.close()
    assert "not of ROS 2's messages" in refused(tmp_path / "x.db3")
    (tmp_path / "y.db3").write_bytes(b"no database at all" * 99)
    assert "not a ROS 2 bag that can be read" in refused(tmp_path / "y.db3")


def test_a_database_whose_schema_is_no_text(tmp_path: Path) -> None:
    """What SQLite then says of it is no text either."""
    file = made(tmp_path, "db3") / "drive.db3"
    whole = file.read_bytes()
    assert whole.count(b"CREATE TABLE messages(") == 1
    file.write_bytes(whole.replace(b"CREATE TABLE messages(", b"CREATE \x82\x83\x84LE messages("))
    assert "not a ROS 2 bag that can be read" in refused(file)


@pytest.mark.parametrize(("name", "says"), [("x.mcap", "MCAP"), ("x.bag", "ROS 1 bag")])
def test_not_a_bag(tmp_path: Path, name: str, says: str) -> None:
    pytest.importorskip("mcap", reason="mcap is not installed")
    (tmp_path / name).write_bytes(b"hello" * 100)
    assert f"not a{'n' if says == 'MCAP' else ''} {says}" in refused(tmp_path / name)


@pytest.mark.parametrize("compression", ["BZ2", "LZ4"])
def test_packed_chunks_of_ros1(tmp_path: Path, compression: str) -> None:
    if compression == "LZ4":
        pytest.importorskip("lz4.frame", reason="lz4 is not installed")
    bag = Ros(tmp_path / "p.bag", False)
    bag.writer.set_compression(type(bag.writer).CompressionFormat[compression])
    with bag:
        fill(bag)
    assert len(list(open_log(tmp_path / "p.bag"))) == COUNT


@pytest.mark.parametrize("storage", ["SQLITE3", "MCAP"])
def test_packed_messages_of_ros2(tmp_path: Path, storage: str) -> None:
    pytest.importorskip("zstandard", reason="zstandard is not installed")
    bag = Ros(tmp_path / "p", True, storage)
    from rosbags.rosbag2 import CompressionFormat, CompressionMode

    bag.writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with bag:
        fill(bag)
    assert len(list(open_log(tmp_path / "p"))) == COUNT


def test_a_chunk_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import bz2

    from data.logs.bags import store

    monkeypatch.setattr(store, "MAX_CHUNK_BYTES", 1 << 16)
    assert store.unpack(bz2.compress(b"a" * 1000), "bz2") == b"a" * 1000
    packed = {"bz2": bz2.compress(bytes(1 << 20))}
    if (zstd := pytest.importorskip("zstandard", reason="zstandard is not installed")) is not None:
        packed["zstd"] = zstd.ZstdCompressor().compress(bytes(1 << 20))
        stream = zstd.ZstdCompressor().compressobj()  # which does not say how much it holds
        silent = stream.compress(bytes(1 << 20)) + stream.flush()
        with pytest.raises(store.Damaged, match="unpacks to more than"):
            store.unpack(silent, "zstd")
    for how, data in packed.items():
        with pytest.raises(store.Damaged, match="unpacks to more than"):
            store.unpack(data, how)
    with pytest.raises(store.Damaged, match="cannot be unpacked"):
        store.unpack(b"nonsense", "bz2")


def test_the_extra_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mcap.reader", None)
    (tmp_path / "x.mcap").write_bytes(b"\x89MCAP0\r\n")
    assert refused(tmp_path / "x.mcap") == (
        "MCAP files need the package 'mcap'; install it: pip install 'roadstack[logs]'"
    )
