"""Makes bags by the formats' own libraries, for tests to read and to spoil."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import InputError
from data.logs import open_log

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
