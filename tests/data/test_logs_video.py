"""Video logs: exact times, seeking, and damage of every kind."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data.logs import VideoLog, open_log
from tests.data.video_maker import SIZE, contents, picture, times_ms, write_b_frames, write_video

REALDATA = Path(
    os.environ.get("ROADSTACK_REALDATA", Path(__file__).parents[3] / "shared" / "realdata")
)
SILENT = {"x265-params": "log-level=none:pools=1:frame-threads=1", "preset": "ultrafast"}


@pytest.fixture(scope="module")
def b_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_b_frames(tmp_path_factory.mktemp("video") / "b_frames.mp4")


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("h264.mp4", "libx264", "yuv420p"),
        ("h264.mov", "libx264", "yuv420p"),
        ("h264.mkv", "libx264", "yuv420p"),
        ("hevc.mp4", "libx265", "yuv420p"),
        ("mjpeg.avi", "mjpeg", "yuvj420p"),
        ("mjpeg.mkv", "mjpeg", "yuvj420p"),
        ("mpeg4.avi", "mpeg4", "yuv420p"),
        ("mpeg4.mp4", "mpeg4", "yuv420p"),
        ("vp9.webm", "libvpx-vp9", "yuv420p"),
    ],
)
def test_codecs_and_containers(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    options = SILENT if codec == "libx265" else {"cpu-used": "8"} if codec[:3] == "lib" else {}
    options = {"b:v": "2000000"} if codec == "mpeg4" else options
    path = write_video(tmp_path / name, range(20), codec, options=options, pix_fmt=pix_fmt)
    log = open_log(path)
    frames = list(log)
    assert (log.kind, log.name, log.width_px, log.height_px) == ("video", name, *SIZE)
    assert log.nominal_fps == 25 and log.expected_frames == 20
    assert [f.index for f in frames] == list(range(20))
    assert [f.t_ns for f in frames] == [i * 40_000_000 for i in range(20)]
    assert log.faults == []
    for f in (frames[0], frames[13]):  # right picture, right colours
        assert f.image.dtype == np.uint8 and f.camera is None
        assert np.abs(f.image.astype(int) - picture(f.index)).mean() < 12


def test_video_without_times_goes_by_the_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "raw.h264", range(10))
    log = open_log(path, fps=20)
    assert times_ms(log) == [i * 50 for i in range(10)]
    assert log.time_source == "given 20 fps: the frames have no times"
    assert times_ms(open_log(path, fps=20, start_s=0.3)) == [300, 350, 400, 450]
    assert "the frames have no times" in open_log(path).time_source


def test_variable_rate_keeps_exact_times_and_counts_frames(tmp_path: Path) -> None:
    base = Fraction(1, 90_000)
    times = [3007, 6013, 9001, 30011, 30500, 61003, 90007, 90008, 180_001, 181_000]
    options = {"g": "3", "bf": "2"}
    path = write_video(tmp_path / "vfr.mp4", times, time_base=base, options=options)
    expected = [round((t - times[0]) * base * 10**9) for t in times]
    whole = contents(open_log(path))
    assert [t for _, t, _ in whole] == expected
    for start_ns in (0, *expected):
        part = contents(open_log(path, start_s=start_ns / 1e9))
        assert part == [x for x in whole if x[1] >= start_ns]


def test_seeking_gives_what_decoding_from_the_start_gives(b_frames: Path) -> None:
    whole = contents(open_log(b_frames))
    assert [(i, t) for i, t, _ in whole] == [(i, i * 40_000_000) for i in range(100)]
    for start_s in (0.01, 0.96, 0.97, 1.0, 1.04, 1.5, 2.92, 3.0, 3.96):
        log = open_log(b_frames, start_s=start_s)
        part = contents(log)
        assert part == [x for x in whole if x[1] >= start_s * 1e9], start_s
        assert len(part) == log.expected_frames and log.faults == []


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".avi"])
def test_seeking_in_other_containers(tmp_path: Path, suffix: str) -> None:
    bf = "0" if suffix == ".avi" else "2"
    path = write_video(tmp_path / f"v{suffix}", range(75), options={"g": "10", "bf": bf})
    whole = contents(open_log(path))
    assert [i for i, _, _ in whole] == list(range(75))
    for start_s in (0.5, 1.0, 1.7, 2.9):
        part = contents(open_log(path, start_s=start_s))
        assert part == [x for x in whole if x[1] >= round(start_s * 1e9)]


def test_seeking_does_not_decode_what_lies_before(b_frames: Path) -> None:
    log = open_log(b_frames, start_s=3.5, max_frames=1)
    assert isinstance(log, VideoLog)
    first_decoded = next(iter(log._timed()))[0]
    assert 25 <= first_decoded <= 87
    assert [f.index for f in log] == [88]


def test_start_stop_every_and_max(b_frames: Path) -> None:
    log = open_log(b_frames, start_s=0.4, stop_s=1.2, every=3)
    assert [f.index for f in log] == [10, 13, 16, 19, 22, 25, 28] and log.expected_frames == 7
    log = open_log(b_frames, every=10, max_frames=4)
    assert [f.index for f in log] == [0, 10, 20, 30] and log.expected_frames == 4
    assert contents(log) == contents(log)  # can be read twice


def test_cut_short_video_gives_frames_up_to_the_cut(b_frames: Path, tmp_path: Path) -> None:
    whole = contents(open_log(b_frames))
    data = b_frames.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) * 6 // 10])
    log = open_log(path)
    part = contents(log)
    assert 20 < len(part) < 90
    same = [a == b for a, b in zip(part, whole, strict=False)]
    assert all(same[:-4])  # the last few may lack a reference
    assert "video cut short" in log.faults[-1] and f"{len(part)} of 100" in log.faults[-1]
    log = open_log(path, start_s=1.0)
    assert contents(log) == part[25:]
    assert "cut short" in log.faults[-1]
    log = open_log(path, stop_s=0.5)
    assert len(list(log)) == 13 and log.faults == []


def test_a_whole_video_is_not_cut_short_where_its_rate_does_not_fit(tmp_path: Path) -> None:
    """Frames 8 ms apart of which the last to come, a B-frame, is to last the 100 ms of the rate."""
    base, times = Fraction(1, 1000), [8 * i for i in range(100)]
    options = {"bf": "2", "x264-params": "b-adapt=0:scenecut=0:b-pyramid=none"}
    path = write_video(tmp_path / "v.mp4", times, "libx264", base, options, "+faststart", rate=10)
    for start_s in (0.0, 0.5):
        log = open_log(path, start_s=start_s)
        assert times_ms(log) == [t for t in times if t >= start_s * 1000] and log.faults == []
    path.write_bytes(path.read_bytes()[:-2000])
    log = open_log(path)
    assert len(list(log)) < 100 and "video cut short" in log.faults[-1]


def spoil_packet(path: Path, number: int, kept: int) -> None:
    """Zero a packet in place but for its first ``kept`` bytes."""
    with av.open(str(path)) as file:
        spans = [(p.pos, p.size) for p in file.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    at, size = spans[number]
    data[at + kept : at + size] = bytes(size - kept)
    path.write_bytes(data)


def test_corrupt_packets_are_skipped_and_noted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", range(40), "mjpeg", pix_fmt="yuvj420p")
    spoil_packet(path, 7, kept=20)
    log = open_log(path)
    assert [f.index for f in log] == [i for i in range(40) if i != 7]
    assert log.faults == ["a corrupt frame at 0.28 s skipped"]


def test_frames_made_from_damaged_ones_are_told_up_to_the_next_keyframe(tmp_path: Path) -> None:
    options = {"g": "10", "bf": "0", "x264-params": "scenecut=0"}
    path = write_video(tmp_path / "v.mp4", range(40), options=options)
    good = [f.image for f in open_log(path)]
    spoil_packet(path, 13, kept=5)
    log = open_log(path)
    frames = list(log)
    assert [f.index for f in frames] == [i for i in range(40) if i != 13]
    assert log.faults == ["a corrupt frame at 0.52 s skipped"]
    told = [f.index for f in frames if f.damage]
    assert told == list(range(14, 20)) and "up to the next keyframe" in frames[13].damage
    wrong = [f.index for f in frames if (f.image != good[f.index]).any()]
    assert set(wrong) <= set(told) and wrong
    for start_s in (0.0, 0.6, 0.76, 0.8):  # the same from wherever one begins
        part = [f.index for f in open_log(path, start_s=start_s) if f.damage]
        assert part == [i for i in told if i >= start_s * 25]


@pytest.mark.parametrize("seed", range(6))
def test_random_damage_never_raises(b_frames: Path, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = np.frombuffer(b_frames.read_bytes(), np.uint8).copy()
    media = bytes(data).index(b"mdat") + 4
    at = rng.integers(media + 2000, len(data), 60)
    data[at] = rng.integers(0, 256, 60)
    path = tmp_path / "noise.mp4"
    path.write_bytes(data.tobytes())
    frames = [(f.index, f.t_ns) for f in open_log(path)]
    assert frames == [(i, i * 40_000_000) for i, _ in frames] and len(frames) > 20
    assert frames == sorted(set(frames))


def test_times_that_go_back_are_shifted(tmp_path: Path) -> None:
    one = write_video(tmp_path / "a.ts", range(20), options={"bf": "0"})
    path = tmp_path / "joined.ts"
    path.write_bytes(one.read_bytes() * 2)
    log = open_log(path)
    frames = [(f.index, f.t_ns / 1e6) for f in log]
    # at the seam a frame may count as damaged: the file's packet counters jump there
    assert frames == [(i, i * 40) for i, _ in frames] and len(frames) >= 38
    assert "frame 20 goes back in time: it and all later ones are shifted" in log.faults


def with_matrix(path: Path, a: float, b: float, c: float, d: float) -> None:
    """Write a display matrix into the track header of an mp4: (p, q) goes to (ap + cq, bp + dq)."""
    matrix = [a, b, 0, c, d, 0, 0, 0]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", *(round(v * 65536) for v in matrix), 1 << 30)
    path.write_bytes(data)


def turned(path: Path, degrees: int) -> None:
    """A phone's display matrix: a clockwise turn."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    with_matrix(path, cos, sin, -sin, cos)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_phone_video_comes_upright(tmp_path: Path, degrees: int) -> None:
    path = write_video(tmp_path / "phone.mp4", range(3))
    straight = next(iter(open_log(path))).image
    turned(path, degrees)
    log = open_log(path)
    image = next(iter(log)).image
    assert np.array_equal(image, np.rot90(straight, -degrees // 90))
    assert (log.height_px, log.width_px) == image.shape[:2]
    assert log.faults == []


@pytest.mark.parametrize(
    ("matrix", "seen"),
    [
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    ],
    ids=["left and right", "top and bottom", "about the diagonal"],
)
def test_mirrored_video_is_mirrored_and_not_turned(tmp_path: Path, matrix, seen) -> None:
    path = write_video(tmp_path / "mirror.mp4", range(3))
    straight = next(iter(open_log(path))).image
    with_matrix(path, *matrix)
    assert np.array_equal(next(iter(open_log(path))).image, seen(straight))


def test_an_oblique_display_matrix_is_not_applied_but_said(tmp_path: Path) -> None:
    path = write_video(tmp_path / "oblique.mp4", range(3))
    straight = next(iter(open_log(path))).image
    with_matrix(path, 0.7071, 0.7071, -0.7071, 0.7071)
    log = open_log(path)
    assert np.array_equal(next(iter(log)).image, straight)
    assert sum("display matrix" in fault for fault in log.faults) == 1


@pytest.mark.parametrize(("matrix", "full"), [(1, False), (6, False), (1, True), (6, True)])
def test_colour_matrix_and_range_are_honoured(tmp_path: Path, matrix: int, full: bool) -> None:
    path = tmp_path / "colour.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = matrix, 2 if full else 1
        rgb = np.array([200.0, 30, 60]) / 255
        kr, kb = (0.2126, 0.0722) if matrix == 1 else (0.299, 0.114)
        luma = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2]
        chroma = np.array([(rgb[2] - luma) / (1 - kb), (rgb[0] - luma) / (1 - kr)]) / 2
        scale = (255, 255, 0) if full else (219, 224, 16)
        values = [scale[2] + scale[0] * luma, *(128 + scale[1] * chroma)]
        frame = av.VideoFrame(*SIZE, "yuv420p")
        frame.colorspace, frame.color_range = matrix, 2 if full else 1
        for plane, value in zip(frame.planes, values, strict=True):
            plane.update(bytes([round(value)]) * plane.buffer_size)
        out.mux([*stream.encode(frame), *stream.encode(None)])
    image = next(iter(open_log(path))).image
    assert np.abs(image[32, 48].astype(int) - (60, 30, 200)).max() <= 4


@pytest.mark.skipif(not (REALDATA / "clips").is_dir(), reason=f"no clips in {REALDATA}")
@pytest.mark.parametrize(
    ("name", "count", "size"),
    [("solidWhiteRight.mp4", 221, (960, 540)), ("test_video.mp4", 38, (1280, 720))],
)
def test_real_clips(name: str, count: int, size: tuple[int, int]) -> None:
    log = open_log(REALDATA / "clips" / name)
    assert (log.expected_frames, log.width_px, log.height_px) == (count, *size)
    whole = [(f.index, f.t_ns, f.image[::9, ::7].tobytes()) for f in log]
    assert [(i, t) for i, t, _ in whole] == [(i, i * 40_000_000) for i in range(count)]
    assert log.time_source == "pts" and log.faults == []
    start_s = (count - 9) * 0.04
    part = open_log(REALDATA / "clips" / name, start_s=start_s)
    assert [(f.index, f.t_ns, f.image[::9, ::7].tobytes()) for f in part] == whole[-9:]
