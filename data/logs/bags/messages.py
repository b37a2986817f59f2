"""The messages of bags that a log is made of: pictures, calibrations, own motion."""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from data.logs.bags.store import Topic
from data.logs.bags.wire import NS_PER_S, Cursor, Malformed, protobuf_fields
from data.types import EgoMotion


@dataclass(frozen=True)
class Picture:
    """A message with a picture, not decoded.

    Attributes:
        stamp_ns: of its header.
        kind: 'raw', 'file' (JPEG, PNG, ...) or 'video' (one frame of a stream).
        encoding: of raw pixels ('bgr8', ...) or the video's codec.
        width_px, height_px, step_bytes, big_endian: of raw pixels.
    """

    stamp_ns: int
    kind: str
    data: memoryview
    encoding: str = ""
    width_px: int = 0
    height_px: int = 0
    step_bytes: int = 0
    big_endian: bool = False


@dataclass(frozen=True)
class Calibration:
    """sensor_msgs/CameraInfo or foxglove.CameraCalibration: K, D and P as they stand there."""

    width_px: int
    height_px: int
    model: str
    distortion: tuple[float, ...] = ()
    matrix: tuple[float, ...] = field(default=())
    projection: tuple[float, ...] = field(default=())


def _ros_image(cursor: Cursor) -> Picture:
    stamp_ns, height, width = cursor.header(), cursor.u32(), cursor.u32()
    encoding, big, step = cursor.text(), cursor.u8(), cursor.u32()
    return Picture(stamp_ns, "raw", cursor.blob(), encoding, width, height, step, bool(big))


def _ros_compressed(cursor: Cursor) -> Picture:
    stamp_ns, _ = cursor.header(), cursor.text()
    return Picture(stamp_ns, "file", cursor.blob())


def _ros_foxglove(cursor: Cursor) -> tuple[int, memoryview, str]:
    """Stamp, data and format of foxglove_msgs/CompressedImage and CompressedVideo."""
    stamp_ns, _ = cursor.time(), cursor.text()
    return stamp_ns, cursor.blob(), cursor.text()


def _ros_foxglove_image(cursor: Cursor) -> Picture:
    stamp_ns, data, _ = _ros_foxglove(cursor)
    return Picture(stamp_ns, "file", data)


def _ros_foxglove_video(cursor: Cursor) -> Picture:
    stamp_ns, data, codec = _ros_foxglove(cursor)
    return Picture(stamp_ns, "video", data, codec)


def _ros_calibration(cursor: Cursor) -> Calibration:
    cursor.header()
    height, width, model, distortion = cursor.u32(), cursor.u32(), cursor.text(), cursor.sequence()
    matrix, _, projection = cursor.doubles(9), cursor.doubles(9), cursor.doubles(12)
    return Calibration(width, height, model, distortion, matrix, projection)


def _ros_odometry(cursor: Cursor) -> EgoMotion:
    cursor.header(), cursor.text()
    cursor.doubles(7 + 36)
    return _ego(cursor.doubles(6))


def _ros_twist(cursor: Cursor) -> EgoMotion:
    cursor.header()
    return _ego(cursor.doubles(6))


def _ego(twist: tuple[float, ...]) -> EgoMotion:
    if not all(map(math.isfinite, twist)):
        raise Malformed("not finite")
    return EgoMotion(twist[0], twist[5])


_FOXGLOVE_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "foxglove.CompressedImage": {"timestamp": (1, "time"), "data": (2, "bytes")},
    "foxglove.CompressedVideo": {
        "timestamp": (1, "time"), "data": (3, "bytes"), "format": (4, "text"),
    },
    "foxglove.RawImage": {
        "timestamp": (1, "time"), "width": (2, "u32"), "height": (3, "u32"),
        "encoding": (4, "text"), "step": (5, "u32"), "data": (6, "bytes"),
    },
    "foxglove.CameraCalibration": {
        "width": (2, "u32"), "height": (3, "u32"), "distortion_model": (4, "text"),
        "D": (5, "doubles"), "K": (6, "doubles"), "P": (8, "doubles"),
    },
}  # fmt: skip


def _foxglove(topic: Topic, data: bytes) -> dict[str, Any]:
    """A message's fields by name, absent ones as protobuf's defaults."""
    names = _FOXGLOVE_FIELDS[topic.type]
    if topic.encoding == "json":
        try:
            loaded = json.loads(data)
            return {n: _from_json(loaded.get(n), kind) for n, (_, kind) in names.items()}
        except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error) as e:
            raise Malformed("not the JSON of this message") from e
    fields = protobuf_fields(data)
    return {n: _from_protobuf(fields.get(number, []), kind) for n, (number, kind) in names.items()}


def _from_json(value: Any, kind: str) -> Any:
    if kind == "time":
        value = value or {}
        return int(value.get("sec", 0)) * NS_PER_S + int(value.get("nsec", 0))
    if kind == "bytes":
        return memoryview(base64.b64decode(value or "", validate=True))
    if kind == "doubles":
        return tuple(float(v) for v in value or ())
    return int(value or 0) if kind == "u32" else str(value or "")


def _from_protobuf(values: list[int | memoryview], kind: str) -> Any:
    parts = [v for v in values if isinstance(v, memoryview)]
    if kind == "time":
        inner = protobuf_fields(parts[-1]) if parts else {}
        s, ns = (inner.get(i, [0])[-1] for i in (1, 2))
        if not (isinstance(s, int) and isinstance(ns, int)):
            raise Malformed("no time")
        return s * NS_PER_S + ns
    if kind == "doubles":  # packed or one by one
        whole = b"".join(parts)
        return struct.unpack(f"<{len(whole) // 8}d", whole[: len(whole) // 8 * 8])
    if kind == "u32":
        if parts and len(parts[-1]) != 4:
            raise Malformed("no number")
        return struct.unpack("<I", parts[-1])[0] if parts else 0
    last = parts[-1] if parts else memoryview(b"")
    return last if kind == "bytes" else bytes(last).decode("utf-8", "replace")


def _foxglove_picture(topic: Topic, data: bytes) -> Picture:
    f = _foxglove(topic, data)
    stamp_ns, blob = f["timestamp"], f["data"]
    if topic.type == "foxglove.CompressedImage":
        return Picture(stamp_ns, "file", blob)
    if topic.type == "foxglove.CompressedVideo":
        return Picture(stamp_ns, "video", blob, f["format"])
    size = f["width"], f["height"], f["step"]
    return Picture(stamp_ns, "raw", blob, f["encoding"], *size)


def _foxglove_calibration(topic: Topic, data: bytes) -> Calibration:
    f = _foxglove(topic, data)
    model = f["distortion_model"]
    return Calibration(f["width"], f["height"], model, f["D"], f["K"], f["P"])


_ROS: dict[str, Callable[[Cursor], Any]] = {
    "sensor_msgs/Image": _ros_image,
    "sensor_msgs/CompressedImage": _ros_compressed,
    "foxglove_msgs/CompressedImage": _ros_foxglove_image,
    "foxglove_msgs/CompressedVideo": _ros_foxglove_video,
    "sensor_msgs/CameraInfo": _ros_calibration,
    "nav_msgs/Odometry": _ros_odometry,
    "geometry_msgs/TwistStamped": _ros_twist,
}
_PICTURES = frozenset((
    "sensor_msgs/Image", "sensor_msgs/CompressedImage", "foxglove_msgs/CompressedImage",
    "foxglove_msgs/CompressedVideo", "foxglove.RawImage", "foxglove.CompressedImage",
    "foxglove.CompressedVideo",
))  # fmt: skip
_CALIBRATIONS = frozenset(("sensor_msgs/CameraInfo", "foxglove.CameraCalibration"))
_MOTIONS = frozenset(("nav_msgs/Odometry", "geometry_msgs/TwistStamped"))


def holds_pictures(topic: Topic) -> bool:
    depth = topic.name.lower().endswith("depth")  # of a file with a header of its own, no picture
    return topic.type in _PICTURES and _readable(topic) and not depth


def holds_calibrations(topic: Topic) -> bool:
    return topic.type in _CALIBRATIONS and _readable(topic)


def holds_motions(topic: Topic) -> bool:
    return topic.type in _MOTIONS and _readable(topic)


def _readable(topic: Topic) -> bool:
    return topic.encoding in (("ros1", "cdr") if topic.type in _ROS else ("protobuf", "json"))


def decode(topic: Topic, data: bytes) -> Any:
    """A message of one of the types above: ``Picture``, ``Calibration`` or ``EgoMotion``.

    Raises:
        Malformed: it is not what its topic says.
    """
    if topic.type in _ROS:
        return _ROS[topic.type](Cursor(data, topic.encoding == "cdr"))
    reader = _foxglove_calibration if topic.type in _CALIBRATIONS else _foxglove_picture
    return reader(topic, data)
