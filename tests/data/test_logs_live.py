"""Streams on this machine's own network interface, read as they come."""

from __future__ import annotations

import http.server
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from data.errors import InputError
from data.logs import live, open_log

COUNT, SIZE = 30, (64, 48)


def encoded(target: str, pause_s: float = 0.0, count: int = COUNT) -> None:
    """Write frames that grow brighter as an MPEG transport stream."""
    with av.open(target, "w", format="mpegts") as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"g": "1"}
        for i in range(count):
            image = np.full((SIZE[1], SIZE[0], 3), 20 + 5 * (i % 40), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
            time.sleep(pause_s)
        out.mux(stream.encode(None))


class _Silent(http.server.BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path != "/hang":
            self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)
        if self.path == "/hang":
            self.server.release.wait(20)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    encoded(str(tmp_path / "v.ts"))
    _Silent.body = (tmp_path / "v.ts").read_bytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Silent) as http_server:
        http_server.release = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http_server.server_address[1]}"
        http_server.release.set()  # type: ignore[attr-defined]
        http_server.shutdown()


def test_http_stream(server: str) -> None:
    log = open_log(f"{server}/v.ts", live=True)
    assert log.live and log.kind == "live" and (log.width_px, log.height_px) == SIZE  # type: ignore
    frames = list(log)
    assert [f.index for f in frames] == list(range(COUNT)) and log.faults == []
    assert [f.t_ns for f in frames] == [i * 40_000_000 for i in range(COUNT)]
    assert log.nominal_fps == 25 and log.time_source == "the stream's pts"
    light = [float(f.image.mean()) for f in frames]
    assert light[0] == pytest.approx(20, abs=3) and light[-1] == pytest.approx(165, abs=3)
    assert list(log) == []


def test_a_path_made_of_an_address_is_understood(server: str) -> None:
    assert len(list(open_log(Path(f"{server}/v.ts"), live=True, max_frames=2))) == 2


def test_selection_and_going_on_after_a_look(server: str) -> None:
    log = open_log(f"{server}/v.ts", live=True, stop_s=1.0)
    assert [f.index for f in itertools.islice(log, 3)] == [0, 1, 2]
    assert [f.index for f in log] == list(range(3, 25))
    log = open_log(f"{server}/v.ts", live=True, start_s=0.2, every=4, max_frames=3)
    assert [f.index for f in log] == [5, 9, 13] and log.expected_frames == 3


def test_stop_from_another_thread(server: str) -> None:
    log = open_log(f"{server}/v.ts", live=True)
    assert isinstance(log, live.LiveLog)
    seen = 0
    for _ in log:
        seen += 1
        if seen == 4:
            threading.Thread(target=log.stop).start()
            time.sleep(0.1)
    assert seen == 4


def test_the_first_interrupt_ends_the_drive(server: str) -> None:
    log = open_log(f"{server}/v.ts", live=True)
    before = signal.getsignal(signal.SIGINT)
    with live.ends_on_interrupt(log):
        seen = 0
        for _ in log:
            seen += 1
            if seen == 2:
                os.kill(os.getpid(), signal.SIGINT)
    assert seen == 2 and signal.getsignal(signal.SIGINT) is before


def test_udp_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "READ_TIMEOUT_S", 1.5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def send() -> None:
        time.sleep(0.3)
        encoded(f"udp://127.0.0.1:{port}?pkt_size=1316", 0.02, 80)

    sender = threading.Thread(target=send)
    sender.start()
    log = open_log(f"udp://127.0.0.1:{port}", live=True)
    frames = list(log)
    sender.join()
    assert len(frames) > 20
    assert all(a.t_ns < b.t_ns and a.index < b.index for a, b in itertools.pairwise(frames))
    assert any("nothing came for 1.5 s: the end" in fault for fault in log.faults)


def test_a_paced_source_drops_what_is_not_taken(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_PACED", frozenset(("http",)))
    log = open_log(f"{server}/v.ts", live=True)
    time.sleep(0.5)
    frames = list(log)
    assert [f.index for f in frames] == [COUNT - 2, COUNT - 1]
    assert log.faults == [f"{COUNT - 2} frames dropped: they came faster than taken"]


def test_a_silent_stream_times_out(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "OPEN_TIMEOUT_S", 0.7)
    _Silent.body = b""
    began = time.monotonic()
    with pytest.raises(InputError, match=r"cannot be opened \(no answer in 0\.7 s\)"):
        open_log(f"{server}/hang", live=True)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("file:///etc/passwd", "file://etc/passwd: expected http, https, rtmp, rtp"),
        ("concat:/a|b", "expected http, https"),
        ("drive.mp4", "a file is replayed without --live"),
        ("987", "/dev/video987: no such camera; this machine has"),
        ("/dev/video987", "/dev/video987: no such camera"),
        ("http://127.0.0.1:1/x", "cannot be opened (Connection refused)"),
    ],
)
def test_sources_that_cannot_be_opened(source: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        open_log(source, live=True)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_frames_of_a_stream_made_from_damaged_ones_are_told() -> None:
    """K is a keyframe, P is made from those before it, C comes corrupt, E cannot be decoded."""

    def decode(packet: SimpleNamespace | None) -> list[SimpleNamespace]:
        assert packet is not None
        if packet.kind == "E":
            raise av.InvalidDataError(1, "spoilt")
        return [SimpleNamespace(width=8, height=8, is_corrupt=packet.kind == "C",
                                key_frame=packet.kind == "K", number=packet.dts)]  # fmt: skip

    log = live.LiveLog.__new__(live.LiveLog)
    packets = [SimpleNamespace(kind=k, dts=n, size=1) for n, k in enumerate("KPEPPKPCPKP")]
    log.faults = []
    log._container = SimpleNamespace(demux=lambda _: packets)  # type: ignore[assignment]
    log._stream = SimpleNamespace(codec_context=SimpleNamespace(decode=decode))  # type: ignore
    came = {frame.number: damage for frame, damage in log._decode()}  # type: ignore[attr-defined]
    assert list(came) == [0, 1, 3, 4, 5, 6, 8, 9, 10]
    assert [n for n, damage in came.items() if damage] == [3, 4, 8]
