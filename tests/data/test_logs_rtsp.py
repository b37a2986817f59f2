"""A camera that speaks RTSP: a small server here, whose H.264 in RTP is FFmpeg's own."""

from __future__ import annotations

import io
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data.errors import InputError
from data.logs import live, open_log

COUNT, SIZE = 40, (64, 48)
_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
    "a=control:track\r\n"
)


class Camera:
    """Takes one client. Its path says what it is: ``/cut`` falls silent and closes after half of
    the frames, ``/udp`` refuses to send over the connection, ``/mute`` never answers."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"rtsp://127.0.0.1:{self._listening.getsockname()[1]}"
        self.asked: list[str] = []
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.over.set()
        self._listening.close()
        self._thread.join(10)

    def _serve(self) -> None:
        try:
            client, _ = self._listening.accept()
        except OSError:
            return
        with client, client.makefile("rwb") as talk:
            send: Callable[[bytes], object] | None = None
            while request := _request(talk):
                method, path, number, transport = request
                self.asked.append(method)
                if path.startswith("/mute"):
                    self.over.wait(20)
                    return
                code, headers, body = "200 OK", "Session: 1", ""
                if method == "DESCRIBE":
                    headers, body = "Content-Type: application/sdp", _SDP
                elif method == "SETUP" and path.startswith("/udp") and "TCP" in transport:
                    code = "461 Unsupported Transport"
                elif method == "SETUP":
                    send, extra = _way(client, transport)
                    headers += f"\r\nTransport: {transport}{extra}"
                length = f"\r\nContent-Length: {len(body)}" if body else ""
                head = f"RTSP/1.0 {code}\r\nCSeq: {number}\r\n{headers}{length}"
                talk.write(f"{head}\r\n\r\n{body}".encode())
                talk.flush()
                if method == "PLAY" and send is not None:
                    _stream(send, COUNT // 2 if path.startswith("/cut") else COUNT, self.over)
                    return


def _request(talk: io.BufferedRWPair) -> tuple[str, str, str, str] | None:
    """Method, path, number and transport of the next request; None at the end."""
    lines = list(iter(lambda: talk.readline().decode().strip(), ""))
    if not lines:
        return None
    text = "\n".join(lines)
    method, url, _ = lines[0].split()
    found = {k.lower(): v for k, v in re.findall(r"(?m)^(\S+): *(.*)$", text)}
    return method, re.sub(r"^rtsp://[^/]*", "", url), found["cseq"], found.get("transport", "")


def _way(client: socket.socket, transport: str) -> tuple[Callable[[bytes], object], str]:
    """How packets go to the client, and what the answer says beside what was asked."""
    if "TCP" in transport:
        return lambda p: client.sendall(b"$\0" + len(p).to_bytes(2, "big") + p), ""
    ports = re.search(r"client_port=(\d+)", transport)
    assert ports is not None
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.bind(("127.0.0.1", 0))
    own = out.getsockname()[1]
    return lambda p: out.sendto(p, ("127.0.0.1", int(ports[1]))), f";server_port={own}-{own + 1}"


def _stream(send: Callable[[bytes], object], count: int, over: threading.Event) -> None:
    """Encode frames that grow brighter, as RTP packets handed to ``send``, at 25 a second."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as box:
        box.bind(("127.0.0.1", 0))
        box.settimeout(0.02)
        with av.open(f"rtp://127.0.0.1:{box.getsockname()[1]}", "w", format="rtp") as out:
            stream = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            stream.options = {"tune": "zerolatency", "g": "5"}
            for i in range(count):
                image = np.full((SIZE[1], SIZE[0], 3), 20 + 5 * i, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="bgr24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                out.mux(stream.encode(frame))
                until = time.monotonic() + 0.04
                while time.monotonic() < until and not over.is_set():
                    try:
                        send(box.recv(65536))
                    except TimeoutError:
                        continue
                    except OSError:
                        return


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = Camera()
    yield made
    made.close()


@pytest.mark.parametrize("path", ["/tcp", "/udp"])
def test_a_camera(camera: Camera, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "READ_TIMEOUT_S", 2.0)
    log = open_log(f"{camera.address}{path}", live=True)
    assert (log.width_px, log.height_px) == SIZE
    frames = list(log)
    assert log.time_source == "the stream's pts"
    assert camera.asked.count("SETUP") == (2 if path == "/udp" else 1)  # refused, then taken
    # those that came while it was opened are dropped but for the newest
    dropped = sum(int(f.split()[0]) for f in log.faults if "dropped" in f)
    assert len(frames) >= 2 and COUNT - 8 <= len(frames) + dropped <= COUNT
    assert all(a.t_ns < b.t_ns and a.index < b.index for a, b in itertools.pairwise(frames))
    steps = [(b.t_ns - a.t_ns) / (b.index - a.index) for a, b in itertools.pairwise(frames)]
    assert np.median(steps) == pytest.approx(40e6, rel=0.01)
    light = [float(f.image.mean()) for f in frames]
    assert light == sorted(light) and light[-1] > light[0] + 5


def test_a_camera_that_goes_away(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "READ_TIMEOUT_S", 2.0)
    log = open_log(f"{camera.address}/cut", live=True)
    began = time.monotonic()
    frames = list(log)
    assert 1 <= len(frames) <= COUNT // 2
    assert time.monotonic() - began < 15


def test_one_that_does_not_answer(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "OPEN_TIMEOUT_S", 0.7)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"rtsp:.* cannot be opened \(no answer in 0\.7 s\)"):
        open_log(f"{camera.address}/mute", live=True)
    assert time.monotonic() - began < 10


def test_one_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"cannot be opened \(Connection refused\)"):
        open_log(Path("rtsp://127.0.0.1:1/stream"), live=True)
