"""Pictures in all the forms that messages have."""

from __future__ import annotations

import base64
import json
import struct
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.logs import open_log
from data.logs.bags.messages import Picture
from data.logs.bags.pixels import PictureDecoder, raw_to_bgr
from data.logs.bags.wire import Cursor, Malformed, protobuf_fields
from tests.data.bag_maker import (
    COUNT,
    HEIGHT,
    START_NS,
    STEP_NS,
    WIDTH,
    D,
    K,
    P,
    Ros,
    jpeg,
    picture,
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


def test_video_made_from_damaged_pictures_is_left_out(tmp_path: Path) -> None:
    packets = h264_packets()
    packets[2] = packets[2][:5] + bytes(len(packets[2]) - 5)
    decoder = PictureDecoder()
    told = [decoder(Picture(0, "video", memoryview(p), "h264"))[1] for p in packets]
    assert told[:3] == ["", "", "cannot be decoded, or waits for a keyframe"]
    assert all("made from frames that were damaged" in t for t in told[3:]) and len(told) == COUNT
    again = [decoder(Picture(0, "video", memoryview(p), "h264"))[1] for p in h264_packets()]
    assert again == [""] * COUNT  # it begins with a keyframe


def overlapping_mcap(path: Path, early: bool) -> Path:
    """Pictures in three chunks of two, the first with the second's first before its own last;
    ``early``: in the third chunk a message of another topic from before them all."""
    writers = pytest.importorskip("mcap.writer", reason="mcap is not installed")
    with path.open("wb") as file:
        writer = writers.Writer(file, chunk_size=1500)
        writer.start()
        schema = writer.register_schema("foxglove.CompressedImage", "jsonschema", b"{}")
        channel = writer.register_channel("/image", "json", schema)
        other = writer.register_channel("/other", "json", writer.register_schema("x", "", b""))
        for i in (0, 2, 1, 4, 3, 5):
            t = START_NS + i * STEP_NS
            body = {"timestamp": {"sec": t // 10**9, "nsec": t % 10**9}, "format": "jpeg",
                    "data": base64.b64encode(jpeg(i).tobytes()).decode()}  # fmt: skip
            writer.add_message(channel, t, json.dumps(body).encode(), t)
            if i == 4 and early:
                writer.add_message(other, START_NS - 7, b"{}", START_NS - 7)
        writer.finish()
    reader = pytest.importorskip("mcap.reader")
    with path.open("rb") as file:
        assert len(reader.make_reader(file).get_summary().chunk_indexes) == 3
    return path


@pytest.mark.parametrize("early", [False, True])
def test_chunks_that_overlap_in_time_are_read_in_order(tmp_path: Path, early: bool) -> None:
    log = open_log(overlapping_mcap(tmp_path / "o.mcap", early))
    frames = list(log)
    assert log.faults == []
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
