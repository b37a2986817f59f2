"""``roadstack view`` as a server: what it serves, to whom, and what it refuses."""

from __future__ import annotations

import http.client
import json
import socket
import threading

import pytest

from data.errors import InputError
from tools.cli import main
from tools.view.serve import byte_range, known_host, make_server

VIDEO = bytes(range(256)) * 40


def record(index):
    return {
        "schema": "roadstack-record-1",
        "index": index,
        "t_ns": index * 50_000_000,
        "faults": [],
        "plan": {"status": "STALE", "reason": "no frame", "length_m": 0.0, "points": []},
    }


@pytest.fixture
def run(tmp_path):
    """A run of three frames beside a file that is none of its own."""
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "record.jsonl").write_text("".join(json.dumps(record(i)) + "\n" for i in range(3)))
    (folder / "summary.json").write_text(json.dumps({"width_px": 64, "height_px": 48}))
    return folder


@pytest.fixture
def ask(run, monkeypatch):
    """Asks the server of ``run``: (status, headers, body)."""
    # the content of the video plays no part here
    monkeypatch.setattr("tools.view.player_data._video_times", lambda _, t: (t / 1e3, [64, 48]))
    (run / "overlay.mp4").write_bytes(VIDEO)
    server = make_server(run, port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def request(path="/overlay.mp4", method="GET", **headers):
        link = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
        link.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = link.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        link.close()
        return found

    yield request
    server.shutdown()
    server.server_close()


def test_the_page_is_served_with_its_policy_and_the_video_by_its_name(ask):
    status, headers, body = ask("/")
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    rules = headers["Content-Security-Policy"]
    assert "default-src 'none'" in rules and "unsafe" not in rules
    assert "frame-ancestors 'none'" in rules
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert b'data-src="overlay.mp4"' in body and b"video-part" not in body.split(b"<script")[1]
    assert ask("/?x=1")[0] == 200
    status, headers, body = ask("/overlay.mp4")
    assert (status, body) == (200, VIDEO)
    assert headers["Accept-Ranges"] == "bytes" and headers["Content-Type"] == "video/mp4"


@pytest.mark.parametrize(
    ("header", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=10200-", 10200, 10240),
        ("bytes=-40", 10200, 10240),
        ("bytes=-99999", 0, 10240),
        ("bytes=10000-99999", 10000, 10240),
    ],
)
def test_a_part_of_the_video_is_served(ask, header, begin, end):
    status, headers, body = ask(Range=header)
    assert (status, body) == (206, VIDEO[begin:end])
    assert headers["Content-Range"] == f"bytes {begin}-{end - 1}/10240"
    assert headers["Content-Length"] == str(end - begin)


def test_a_range_beyond_the_end_is_refused_and_a_strange_one_is_ignored(ask):
    status, headers, _ = ask(Range="bytes=10240-")
    assert status == 416 and headers["Content-Range"] == "bytes */10240"
    assert ask(Range="bytes=-0")[0] == 416
    for header in ("bytes=0-1,5-6", "lines=0-1", "bytes=-", "bytes=9-3", "bytes=a-b"):
        assert ask(Range=header)[::2] == (200, VIDEO)


def test_a_part_of_a_changed_video_is_not_mixed_with_the_old(ask):
    tag = ask()[1]["ETag"]
    assert ask(Range="bytes=0-1", If_Range=tag)[0] == 206
    assert ask(Range="bytes=0-1", If_Range='"other"')[::2] == (200, VIDEO)


def test_ranges_of_an_empty_file():
    assert byte_range(None, 0) is None and byte_range("bytes=-", 5) is None
    for header in ("bytes=0-", "bytes=-5"):
        with pytest.raises(ValueError, match=r"bytes|end"):
            byte_range(header, 0)


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt", "/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "//etc/passwd",
        "/overlay.mp4/../../secret.txt", "/overlay.mp4/", "/record.jsonl", "/summary.json",
        "/..\\secret.txt", "../secret.txt", "/overlay.mp4%00", "http://127.0.0.1/secret.txt", "*",
    ],
)  # fmt: skip
def test_nothing_else_is_served(ask, path):
    status, _, body = ask(path)
    assert status == 404 and b"secret\n" not in body and b"root:" not in body


def test_a_video_that_a_link_leads_out_of_the_folder_for_is_not_served(ask, run):
    (run / "overlay.mp4").unlink()
    (run / "overlay.mp4").symlink_to(run.parent / "secret.txt")
    status, _, body = ask()
    assert status == 404 and b"secret" not in body
    (run / "overlay.mp4").unlink()
    assert ask()[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_reading_is_allowed(ask, method):
    status, headers, _ = ask("/", method)
    assert status == 405 and headers["Allow"] == "GET, HEAD"


def test_head_has_the_headers_alone(ask):
    for path in ("/", "/overlay.mp4"):
        status, headers, body = ask(path, "HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) == len(ask(path)[2])
    assert ask("/overlay.mp4", "HEAD", Range="bytes=0-9")[1]["Content-Length"] == "10"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "",
                                  "127.0.0.1.evil.example", "a@localhost", "[::1"])  # fmt: skip
def test_a_foreign_host_name_is_refused(ask, host):
    assert ask("/", Host=host)[0] == 403
    assert ask("/overlay.mp4", Host=host)[0] == 403


def test_known_hosts():
    for host in ("localhost", "LOCALHOST:8765", "127.0.0.1:1", "[::1]:8765", "192.168.1.7", "box"):
        assert known_host(host, "box"), host
    for host in (None, "box2", "box.evil", "localhost:x", "::1", "http://localhost"):
        assert not known_host(host, "box"), host


def test_a_request_without_a_host_is_refused(run):
    with make_server(run, port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with socket.create_connection(server.server_address[:2], timeout=20) as link:
            link.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b" 403 " in link.recv(100)
        server.shutdown()


def test_it_listens_on_this_machine_alone_unless_told(run):
    with make_server(run, port=0) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_a_taken_default_port_gives_way_and_a_given_one_does_not(run, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("tools.view.serve.DEFAULT_PORT", port)
        with make_server(run) as server:
            assert server.server_address[1] not in (0, port)
        with pytest.raises(InputError, match=f"--port {port}"):
            make_server(run, port=port)


def test_a_run_that_changed_is_shown_anew(ask, run):
    before = ask("/")[2]
    with (run / "record.jsonl").open("a") as file:
        file.write(json.dumps(record(3)) + "\n")
    assert ask("/")[2] != before
    (run / "record.jsonl").write_text("nonsense\n")
    status, _, body = ask("/")
    assert status == 503 and b"record.jsonl:1" in body


@pytest.mark.parametrize("options", [("--port", "99999"), ("--port", "x"), ("--host", "nowhere.x")])
def test_wrong_options_are_one_line(run, capfd, options):
    try:
        code = main(["view", str(run), *options])
    except SystemExit as stop:
        code = int(stop.code)
    lines = capfd.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1 and options[0] in lines[0]
