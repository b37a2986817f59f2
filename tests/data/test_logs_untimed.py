"""Videos without display times of their own: every frame comes, in order, at the file's rate."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data.logs import Log, open_log

SIZE = (96, 64)  # width, height
SILENT = {"x265-params": "log-level=none:pools=1:frame-threads=1", "preset": "ultrafast"}


def picture(index: int) -> np.ndarray:
    """Grey, with as many white columns as the index, over some grain."""
    image = np.random.default_rng(index).integers(40, 60, (SIZE[1], SIZE[0], 3), np.uint8)
    image[:, :index] = 250
    return image


def write(
    target: Path | io.BytesIO,
    codec: str,
    options: dict[str, str],
    times: list[int],
    format_name: str | None = None,
) -> None:
    with av.open(target if isinstance(target, io.BytesIO) else str(target), "w", format_name) as o:
        stream = o.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        for i, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i), format="bgr24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = pts, Fraction(1, 25)
            o.mux(stream.encode(frame))
        o.mux(stream.encode(None))


def hevc_avi(path: Path, count: int) -> None:
    """HEVC in AVI, which FFmpeg reads but does not write: under another codec's name, renamed."""
    raw = io.BytesIO()
    write(raw, "libx265", SILENT | {"g": "10", "bf": "3"}, list(range(count)), "hevc")
    raw.seek(0)
    with av.open(raw, format="hevc") as source, av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        packets = [bytes(p) for p in source.demux(video=0) if p.size]
        for i, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = i
            packet.is_keyframe = i % 10 == 0
            out.mux(packet)
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"HEVC"))


def contents(log: Log) -> list[tuple[int, int, bytes]]:
    return [(f.index, f.t_ns, f.image.tobytes()) for f in log]


def columns(log: Log) -> list[int]:
    """What each picture tells of its index."""
    return [int((f.image[:, :, 1] > 150).mean(axis=0).round().sum()) for f in log]


@pytest.fixture(params=["h264.avi", "hevc.avi", "mpeg4.avi", "mpeg2.avi", "h264.asf", "mjpeg.avi"])
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """30 frames with B-frames where the codec has them."""
    path = tmp_path / request.param
    codec = {"h264": "libx264", "mpeg2": "mpeg2video"}.get(path.stem, path.stem)
    if codec == "hevc":
        if "libx265" not in av.codecs_available:
            pytest.skip("this PyAV has no libx265")
        hevc_avi(path, 30)
        return path
    bits = {} if codec == "libx264" else {"b:v": "2000000"}
    write(path, codec, bits if codec == "mjpeg" else bits | {"bf": "2", "g": "10"}, list(range(30)))
    return path


def test_every_frame_comes_in_order(video: Path) -> None:
    log = open_log(video)
    frames = [(f.index, f.t_ns) for f in log]
    assert frames == [(i, i * 40_000_000) for i in range(30)] and log.faults == []
    assert columns(log) == pytest.approx(range(30), abs=1)
    if video.stem in ("h264", "hevc"):
        assert log.time_source == "the file's 25 fps: it has no display times"


def test_a_start_gives_what_decoding_from_the_beginning_gives(video: Path) -> None:
    whole = contents(open_log(video))
    for start_s in (0.04, 0.4, 0.5, 0.81, 1.16):
        part = contents(open_log(video, start_s=start_s))
        assert part == [x for x in whole if x[1] >= round(start_s * 1e9)], start_s


def test_x264_defaults_in_avi_lose_no_frame(tmp_path: Path) -> None:
    write(tmp_path / "v.avi", "libx264", {}, list(range(10)))
    log = open_log(tmp_path / "v.avi")
    assert [(f.index, f.t_ns) for f in log] == [(i, i * 40_000_000) for i in range(10)]
    assert columns(log) == pytest.approx(range(10), abs=1)
    assert log.faults == [] and log.expected_frames == 10


@pytest.mark.parametrize("codec", ["mjpeg", "libx264"])
def test_frames_left_out_when_recording_leave_a_gap_in_time(tmp_path: Path, codec: str) -> None:
    times = [0, 1, 2, 5, 6, 7, 10, 11, 12, 13, 14, 15]
    options = {"bf": "0", "g": "4"} if codec == "libx264" else {}
    write(tmp_path / "v.avi", codec, options, times)
    whole = contents(open_log(tmp_path / "v.avi"))
    assert [(i, t) for i, t, _ in whole] == [(i, t * 40_000_000) for i, t in enumerate(times)]
    for start_s in (0.12, 0.3, 0.48):
        part = contents(open_log(tmp_path / "v.avi", start_s=start_s))
        assert part == [x for x in whole if x[1] >= round(start_s * 1e9)]


def test_damaged_h264_in_avi_is_noted_and_the_rest_delivered(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    write(path, "libx264", {"g": "10", "bf": "2"}, list(range(40)))
    with av.open(str(path)) as file:
        spans = [(p.pos, p.size) for p in file.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    at, size = spans[13]
    data[at + 8 : at + 8 + size] = bytes(size)  # 8: the chunk's name and length
    path.write_bytes(data)
    log = open_log(path)
    frames = [(f.index, f.t_ns) for f in log]
    assert frames == [(i, i * 40_000_000) for i, _ in frames]
    assert 30 <= len(frames) < 40 and frames[-1][0] in (38, 39) and log.faults
    assert [i for i, _ in frames[:10]] == list(range(10))


@pytest.mark.parametrize(
    ("suffix", "codec", "format_name"),
    [("mjpeg", "mjpeg", "mjpeg"), ("m2v", "mpeg2video", "mpeg2video"), ("m4v", "mpeg4", "m4v")],
)
def test_raw_streams_take_the_given_rate(
    tmp_path: Path, suffix: str, codec: str, format_name: str
) -> None:
    path = tmp_path / f"v.{suffix}"
    options = {"b:v": "2000000"} | ({} if codec == "mjpeg" else {"bf": "2", "g": "5"})
    write(path, codec, options, list(range(12)), format_name)
    log = open_log(path, fps=20)
    assert [(f.index, f.t_ns) for f in log] == [(i, i * 50_000_000) for i in range(12)]
    assert log.time_source == "given 20 fps: the frames have no times" and log.faults == []
    assert columns(log) == pytest.approx(range(12), abs=1)
    part = contents(open_log(path, fps=20, start_s=0.3))
    assert part == contents(log)[6:]


def test_a_start_in_a_program_stream_keeps_times(tmp_path: Path) -> None:
    path = tmp_path / "v.mpg"
    write(path, "mpeg2video", {"b:v": "2000000", "bf": "2", "g": "10"}, list(range(30)))
    whole = contents(open_log(path))
    assert [(i, t) for i, t, _ in whole] == [(i, i * 40_000_000) for i in range(30)]
    for start_s in (0.4, 0.8, 1.1):
        assert contents(open_log(path, start_s=start_s)) == whole[round(start_s * 25) :]
