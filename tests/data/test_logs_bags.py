"""Bags made by the formats' own libraries, and spoilt ones."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import sqlite3
import struct
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import InputError
from data.logs import open_log
from data.logs.bags.messages import Picture
from data.logs.bags.pixels import raw_to_bgr
from data.logs.bags.wire import Cursor, Malformed, protobuf_fields
from data.types import EgoMotion

WIDTH, HEIGHT, COUNT = 48, 32, 6
STEP_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
K = [40.0, 0, 23.5, 0, 41.0, 15.5, 0, 0, 1]
P = [38.0, 0, 22.5, 0, 0, 38.0, 14.5, 0, 0, 0, 1, 0]
D = [0.1, -0.05, 0.001, 0.002, 0.0]


def picture(i: int) -> np.ndarray:
    """Smooth, so that JPEG keeps it; blue to the left, red to the right."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 2, 0] = 40 + 20 * (i % 8)
    image[:, WIDTH // 2 :, 2] = 60 + 20 * (i % 8)
    return image


def jpeg(i: int) -> np.ndarray:
    return np.asarray(cv2.imencode(".jpg", picture(i), [cv2.IMWRITE_JPEG_QUALITY, 100])[1]).ravel()


class Ros:
    """Writes a bag of either ROS with ``rosbags``; ``two`` says which."""

    def __init__(self, path: Path, two: bool, storage: str = "SQLITE3") -> None:
        rosbags = pytest.importorskip("rosbags.typesys", reason="rosbags is not installed")
        self.two = two
        store = rosbags.Stores.ROS2_HUMBLE if two else rosbags.Stores.ROS1_NOETIC
        self.types = rosbags.get_typestore(store)
        if two:
            from rosbags.rosbag2 import StoragePlugin, Writer

            self.writer = Writer(path, version=8, storage_plugin=StoragePlugin[storage])
        else:
            from rosbags.rosbag1 import Writer as Writer1

            self.writer = Writer1(path)
        self.connections: dict[str, object] = {}

    def __enter__(self) -> Ros:
        self.writer.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()

    def make(self, kind: str, **values: object) -> object:
        return self.types.types[kind](**values)

    def header(self, stamp_ns: int) -> object:
        time = self.make(
            "builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
        )
        extra = {} if self.two else {"seq": 7}
        return self.make("std_msgs/msg/Header", stamp=time, frame_id="cam", **extra)

    def write(self, topic: str, log_ns: int, message: object) -> None:
        kind = type(message).__msgtype__
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, kind, typestore=self.types)
        save = self.types.serialize_cdr if self.two else self.types.serialize_ros1
        self.writer.write(self.connections[topic], log_ns, save(message, kind))

    def image(self, i: int, stamp_ns: int, **other: object) -> object:
        values: dict[str, object] = dict(
            height=HEIGHT, width=WIDTH, encoding="bgr8", is_bigendian=0, step=WIDTH * 3,
            data=picture(i).ravel(),
        )  # fmt: skip
        return self.make(
            "sensor_msgs/msg/Image", header=self.header(stamp_ns), **{**values, **other}
        )

    def compressed(self, i: int, stamp_ns: int) -> object:
        return self.make(
            "sensor_msgs/msg/CompressedImage",
            header=self.header(stamp_ns), format="jpeg", data=jpeg(i),
        )  # fmt: skip

    def info(self, stamp_ns: int, **other: object) -> object:
        roi = self.make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0,
                        width=0, do_rectify=False)  # fmt: skip
        small = (lambda s: s) if self.two else str.upper
        values: dict[str, object] = {
            "height": HEIGHT, "width": WIDTH, "distortion_model": "plumb_bob",
            small("d"): np.array(D), small("k"): np.array(K), small("r"): np.eye(3).ravel(),
            small("p"): np.array(P), "binning_x": 0, "binning_y": 0, "roi": roi,
        }  # fmt: skip
        return self.make(
            "sensor_msgs/msg/CameraInfo", header=self.header(stamp_ns), **{**values, **other}
        )

    def odometry(self, stamp_ns: int, speed: float, turn: float) -> object:
        vector = lambda *v: self.make(  # noqa: E731
            "geometry_msgs/msg/Vector3", x=float(v[0]), y=float(v[1]), z=float(v[2])
        )
        point = self.make("geometry_msgs/msg/Point", x=1.0, y=2.0, z=3.0)
        turned = self.make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
        pose = self.make("geometry_msgs/msg/Pose", position=point, orientation=turned)
        twist = self.make(
            "geometry_msgs/msg/Twist", linear=vector(speed, 0, 0), angular=vector(0, 0, turn)
        )
        spread = np.zeros(36)
        return self.make(
            "nav_msgs/msg/Odometry", header=self.header(stamp_ns), child_frame_id="base_link",
            pose=self.make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=spread),
            twist=self.make("geometry_msgs/msg/TwistWithCovariance", twist=twist,
                            covariance=spread),
        )  # fmt: skip


def fill(bag: Ros, count: int = COUNT) -> None:
    """Camera with calibration, a second one with fewer pictures, and odometry from picture 2 on."""
    for i in range(count):
        t = START_NS + i * STEP_NS
        late = t + 5_000_000 * (i % 3)  # recorded with a delay that varies
        if i >= 2:
            bag.write("/odom", late - 1000, bag.odometry(t, 3.0 + i, -0.1))
        bag.write("/front/camera_info", late, bag.info(t))
        bag.write("/front/image_raw", late + 1, bag.image(i, t))
        if i % 2:
            bag.write("/rear/image/compressed", late + 2, bag.compressed(i, t))


def made(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / ("drive.bag" if kind == "ros1" else "drive")
    with Ros(path, kind != "ros1", "MCAP" if kind == "mcap" else "SQLITE3") as bag:
        fill(bag)
    return path


def refused(source: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        open_log(source, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["ros1", "db3", "mcap"])
def test_pictures_times_camera_and_own_motion(tmp_path: Path, kind: str) -> None:
    log = open_log(made(tmp_path, kind))
    frames = list(log)
    assert log.faults == [] and log.kind == "bag" and log.name.endswith(" /front/image_raw")
    assert (log.width_px, log.height_px) == (WIDTH, HEIGHT)
    assert log.nominal_fps == pytest.approx(10) and log.expected_frames == COUNT
    assert log.time_source == "header stamps"
    assert [f.t_ns for f in frames] == [i * STEP_NS for i in range(COUNT)]
    assert [f.index for f in frames] == list(range(COUNT))
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(i))
    camera = frames[0].camera
    assert camera is not None and camera.angle_std_rad is not None
    np.testing.assert_allclose(camera.matrix.ravel(), K)
    np.testing.assert_allclose(camera.distortion, D)
    assert camera.source == "/front/camera_info, mounting assumed" and camera.height_m == 1.4
    assert [f.ego for f in frames[:3]] == [None, None, EgoMotion(5.0, -0.1)]
    assert log.notes == (  # type: ignore[attr-defined]
        "taken: /front/image_raw (6 pictures); other topics with pictures: "
        "/rear/image/compressed (3)",
    )
    assert [f.t_ns for f in log] == [f.t_ns for f in frames]


@pytest.mark.parametrize("kind", ["ros1", "db3", "mcap"])
def test_selection_and_another_topic(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path, kind)
    log = open_log(path, start_s=0.1, stop_s=0.5, every=2)
    assert [f.index for f in log] == [1, 3] and log.expected_frames == 2
    assert [f.index for f in open_log(path, max_frames=2)] == [0, 1]
    rear = open_log(path, topic="/rear/image/compressed")
    frames = list(rear)
    assert [f.t_ns for f in frames] == [0, 2 * STEP_NS, 4 * STEP_NS] and frames[0].camera is None
    middle = np.s_[:, 2:22]  # away from the edge of colours
    assert np.abs(frames[1].image[middle].astype(int) - picture(3)[middle]).max() < 5
    with pytest.raises(InputError, match=r"--start 9 s is beyond the last picture at 0\.500 s"):
        list(open_log(path, start_s=9))


def test_a_wrong_topic_lists_those_with_pictures(tmp_path: Path) -> None:
    path = made(tmp_path, "ros1")
    says = "has no pictures there; it has /front/image_raw, /rear/image/compressed"
    assert refused(path, topic="/odom").endswith(says)
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    assert "is no bag of messages" in refused(tmp_path / "a.png", topic="/a")


def test_rectified_pictures_have_the_projection_and_no_distortion(tmp_path: Path) -> None:
    path = tmp_path / "r.bag"
    with Ros(path, False) as bag:
        bag.write("/cam/camera_info", START_NS, bag.info(START_NS))
        bag.write("/cam/image_rect_color", START_NS, bag.image(0, START_NS))
    camera = next(iter(open_log(path))).camera
    assert camera is not None and camera.distortion.size == 0
    np.testing.assert_allclose(camera.matrix, [[38, 0, 22.5], [0, 38, 14.5], [0, 0, 1]])


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"distortion_model": "equidistant"}, "the lens model 'equidistant' is not known"),
        ({"width": 99}, "it is of 99x32, the pictures are 48x32"),
        ({"K": np.zeros(9)}, "the camera is not calibrated"),
    ],
)
def test_a_calibration_of_no_use_is_a_fault(
    tmp_path: Path, other: dict[str, object], says: str
) -> None:
    path = tmp_path / "c.bag"
    with Ros(path, False) as bag:
        bag.write("/cam/camera_info", START_NS, bag.info(START_NS, **other))
        bag.write("/cam/image_raw", START_NS, bag.image(0, START_NS))
    log = open_log(path)
    assert next(iter(log)).camera is None
    assert log.faults == [f"calibration of /cam/camera_info not used: {says}"]


def test_without_stamps_the_log_times_count(tmp_path: Path) -> None:
    path = tmp_path / "s.bag"
    with Ros(path, False) as bag:
        for i in range(3):
            bag.write("/image", START_NS + i * STEP_NS, bag.image(i, 0))
    log = open_log(path)
    assert [f.t_ns for f in log] == [0, STEP_NS, 2 * STEP_NS]
    assert log.time_source == "log times: the headers have no usable stamps"


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


def raw(encoding: str, pixels: np.ndarray, **other: object) -> tuple[np.ndarray | None, str]:
    height, width = pixels.shape[:2]
    step = pixels.reshape(height, -1).view(np.uint8).shape[1]
    values: dict[str, object] = dict(width_px=width, height_px=height, step_bytes=step)
    data = memoryview(np.ascontiguousarray(pixels).tobytes())
    return raw_to_bgr(Picture(0, "raw", data, encoding, **{**values, **other}))  # type: ignore


def test_raw_encodings() -> None:
    bgr = picture(3)
    alpha = np.full((HEIGHT, WIDTH, 1), 9, np.uint8)
    for encoding, pixels in {
        "bgr8": bgr,
        "rgb8": bgr[..., ::-1],
        "bgra8": np.concatenate([bgr, alpha], 2),
        "rgba8": np.concatenate([bgr[..., ::-1], alpha], 2),
    }.items():
        image, why = raw(encoding, pixels)
        assert why == ""
        np.testing.assert_array_equal(image, bgr)
    grey = bgr[..., 2]
    for encoding, pixels, big in (
        ("mono8", grey, False),
        ("mono16", grey.astype("<u2") * 256 + 77, False),
        ("mono16", (grey.astype(np.uint16) * 256 + 77).astype(">u2"), True),
    ):
        image, _ = raw(encoding, pixels, big_endian=big)
        np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, 2))


def test_bayer_and_yuv_have_the_right_colours() -> None:
    blue = np.zeros((8, 8), np.uint8)
    blue[1::2, 1::2] = 200  # rggb: blue at odd rows and columns
    image, _ = raw("bayer_rggb8", blue)
    assert image is not None and image[4, 4].tolist() == [200, 0, 0]
    image, _ = raw("bayer_bggr8", blue)
    assert image is not None and image[4, 4].tolist() == [0, 0, 200]
    red = cv2.cvtColor(np.full((4, 4, 3), (0, 0, 255), np.uint8), cv2.COLOR_BGR2YUV_UYVY)
    image, _ = raw("yuv422", np.asarray(red).reshape(4, 4, 2))
    assert image is not None and np.abs(image.astype(int) - (0, 0, 255)).max() < 8
    assert "odd size" in raw("yuv422", np.zeros((3, 3, 2), np.uint8))[1]


def test_row_padding_is_left_out() -> None:
    padded = np.full((HEIGHT, WIDTH * 3 + 10), 255, np.uint8)
    padded[:, : WIDTH * 3] = picture(2).reshape(HEIGHT, -1)
    image, _ = raw("bgr8", padded, width_px=WIDTH, step_bytes=WIDTH * 3 + 10)
    np.testing.assert_array_equal(image, picture(2))
    assert "too few" in raw("bgr8", padded, width_px=WIDTH, height_px=HEIGHT + 1)[1]


def test_big_endian_messages() -> None:
    data = b"\0\0\0\0" + struct.pack(">IIB", 5, 6, 7)  # CDR, big-endian
    cursor = Cursor(data, True)
    assert (cursor.u32(), cursor.u32(), cursor.u8()) == (5, 6, 7)
    with pytest.raises(Malformed):
        cursor.doubles(1)
    with pytest.raises(Malformed):
        Cursor(struct.pack("<I", 1 << 31), False).blob()
    with pytest.raises(Malformed):
        protobuf_fields(b"\x0a\xff\xff\xff\xff\x0f")
    with pytest.raises(Malformed):
        protobuf_fields(b"\xff" * 40)
    with pytest.raises(Malformed):
        protobuf_fields(b"\x08\x01" * 20_000)


def foxglove_mcap(path: Path, kind: str) -> Path:
    """Pictures written by Foxglove's own library, at times that the headers name."""
    foxglove = pytest.importorskip("foxglove", reason="foxglove-sdk is not installed")
    pytest.importorskip("mcap", reason="mcap is not installed")
    from foxglove import messages as m
    from foxglove.channels import CameraCalibrationChannel
    from foxglove.messages import Timestamp

    context = foxglove.Context()
    with foxglove.open_mcap(path, context=context):
        calibration = CameraCalibrationChannel("/cam/calibration", context=context)
        channel = foxglove.Channel(
            "/cam/image", schema=getattr(m, kind).get_schema(), message_encoding="protobuf",
            context=context,
        )  # fmt: skip
        packets = h264_packets() if kind == "CompressedVideo" else []
        for i in range(COUNT):
            t = START_NS + i * STEP_NS
            stamp = Timestamp(t // 10**9, t % 10**9)
            calibration.log(
                m.CameraCalibration(timestamp=stamp, width=WIDTH, height=HEIGHT, K=K, P=P, D=D,
                                    distortion_model="plumb_bob"),
                log_time=t,
            )  # fmt: skip
            if kind == "CompressedImage":
                message = m.CompressedImage(timestamp=stamp, data=jpeg(i).tobytes(), format="jpeg")
            elif kind == "RawImage":
                message = m.RawImage(
                    timestamp=stamp, width=WIDTH, height=HEIGHT, encoding="bgr8", step=WIDTH * 3,
                    data=picture(i).tobytes(),
                )  # fmt: skip
            else:
                message = m.CompressedVideo(timestamp=stamp, data=packets[i], format="h264")
            channel.log(message.encode(), log_time=t + 999)
    return path


def h264_packets() -> list[bytes]:
    import av
    from av.video.codeccontext import VideoCodecContext

    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.options = Fraction(1, 10), {"tune": "zerolatency", "crf": "1"}
    packets = []
    for i in range(COUNT):
        frame = av.VideoFrame.from_ndarray(picture(i), format="bgr24")
        frame.pts = i
        packets += [bytes(p) for p in context.encode(frame)]
    return packets + [bytes(p) for p in context.encode(None)]


@pytest.mark.parametrize("kind", ["CompressedImage", "RawImage", "CompressedVideo"])
def test_foxglove_messages(tmp_path: Path, kind: str) -> None:
    log = open_log(foxglove_mcap(tmp_path / "f.mcap", kind))
    frames = list(log)
    assert [f.t_ns for f in frames] == [i * STEP_NS for i in range(COUNT)]
    assert log.faults == [] and log.time_source == "header stamps"
    for i, frame in enumerate(frames):
        tolerance = {"RawImage": 0, "CompressedImage": 12, "CompressedVideo": 30}[kind]
        middle = np.s_[4:-4, 4:20]  # away from the edge of colours
        error = np.abs(frame.image[middle].astype(int) - picture(i)[middle]).max()
        assert error <= tolerance
    assert frames[0].camera is not None
    np.testing.assert_allclose(frames[0].camera.matrix.ravel(), K)
    if kind == "CompressedVideo":  # which must decode what it skips
        assert [f.index for f in open_log(tmp_path / "f.mcap", start_s=0.35)] == [4, 5]


@pytest.mark.parametrize("kind", ["CompressedImage", "CompressedVideo"])
@pytest.mark.parametrize("two", [False, True])
def test_foxglove_messages_of_ros(tmp_path: Path, kind: str, two: bool) -> None:
    path = tmp_path / ("drive" if two else "drive.bag")
    bag = Ros(path, two)
    from rosbags.typesys import get_types_from_msg

    name, time = f"foxglove_msgs/msg/{kind}", "builtin_interfaces/Time" if two else "time"
    fields = f"{time} timestamp\nstring frame_id\nuint8[] data\nstring format\n"
    bag.types.register(get_types_from_msg(fields, name))
    packets = h264_packets() if kind == "CompressedVideo" else [jpeg(i) for i in range(COUNT)]
    with bag:
        for i, data in enumerate(packets):
            t = START_NS + i * STEP_NS
            stamp = bag.header(t).stamp  # type: ignore[attr-defined]
            message = bag.make(name, timestamp=stamp, frame_id="cam", format="h264",
                               data=np.frombuffer(bytes(data), np.uint8))  # fmt: skip
            bag.write("/video", t, message)
    frames = list(open_log(path))
    assert [f.t_ns for f in frames] == [i * STEP_NS for i in range(COUNT)]
    blue = [float(f.image[:, 4:20, 0].mean()) for f in frames]
    assert blue == pytest.approx([40 + 20 * i for i in range(COUNT)], abs=12)


def test_foxglove_json(tmp_path: Path) -> None:
    writers = pytest.importorskip("mcap.writer", reason="mcap is not installed")
    path = tmp_path / "j.mcap"
    with path.open("wb") as file:
        writer = writers.Writer(file)
        writer.start()
        schema = writer.register_schema("foxglove.CompressedImage", "jsonschema", b"{}")
        channel = writer.register_channel("/image", "json", schema)
        for i in range(4):
            t = START_NS + i * STEP_NS
            body = {"timestamp": {"sec": t // 10**9, "nsec": t % 10**9}, "format": "jpeg",
                    "data": base64.b64encode(jpeg(i).tobytes()).decode()}  # fmt: skip
            text = json.dumps(body) if i != 2 else '{"data": 7'
            writer.add_message(channel, t, text.encode(), t)
        writer.finish()
    log = open_log(path)
    assert [f.index for f in log] == [0, 1, 3] and log.faults == ["frame 2 is malformed: skipped"]
