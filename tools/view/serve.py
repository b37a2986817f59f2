"""``roadstack view``: a run of replay in the browser, served from this machine.

Two things are served, to GET and HEAD alone: the page under ``/`` and the run's video. No request
names a file, so none can leave the folder. Requests for a foreign host name are refused, since a
name that a stranger controls may be made to lead here (DNS rebinding).
"""

from __future__ import annotations

import argparse
import ipaddress
import re
import socket
import sys
import threading
import webbrowser
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from data.errors import InputError
from tools.view.player import VIDEO, page_note, page_parts, page_policy, write_page
from tools.view.player_data import read_run

DEFAULT_PORT = 8765
_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class RunPages:
    """The page of a run, made anew when the run has changed.

    Raises:
        InputError: (``page``) not a folder written by replay, or malformed.
    """

    def __init__(self, run: Path) -> None:
        self.run = Path(run)
        self._lock = threading.Lock()
        self._state: object = None
        self._page = b""
        self.page()

    def page(self) -> bytes:
        with self._lock:
            names = ("record.jsonl", "timings.jsonl", "summary.json", VIDEO)
            state = [_state(self.run / name) for name in names]
            if state != self._state:
                link = VIDEO if self.video() is not None else ""
                self._page = b"".join(page_parts(read_run(self.run), self.run, link))
                self._state = state
            return self._page

    def video(self) -> Path | None:
        """The video, unless a link leads out of the folder for it."""
        path = (self.run / VIDEO).resolve()
        return path if path.is_file() and path.parent == self.run.resolve() else None


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and one past the last byte that a Range header asks for; None for the whole.

    What cannot be understood, or asks for several ranges, gives the whole, as RFC 9110 allows.

    Raises:
        ValueError: the range lies beyond the end.
    """
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        if not int(last) or not size:
            raise ValueError("no bytes asked for")
        return max(size - int(last), 0), size
    begin, end = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < begin:
        return None
    if begin >= size:
        raise ValueError("range beyond the end")
    return begin, end


def known_host(header: str | None, host: str) -> bool:
    """Whether a Host header names this server: an address, 'localhost' or the name given to it.

    An address cannot be rebound; any other name could lead here by a stranger's doing.
    """
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+)(:\d{1,5})?", header or "")
    if match is None:
        return False
    name = match[1].strip("[]").rstrip(".").lower()
    if name in ("localhost", host.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "roadstack", ""
    timeout = 60

    def __init__(self, pages: RunPages, host: str, *args: Any) -> None:
        self.pages, self.host = pages, host
        super().__init__(*args)

    def do_GET(self) -> None:
        if not known_host(self.headers.get("Host"), self.host):
            return self._refuse(HTTPStatus.FORBIDDEN, "unknown host name")
        where = self.path.partition("?")[0]
        if where == "/":
            return self._send_page()
        if where == f"/{VIDEO}":
            return self._send_video()
        return self._refuse(HTTPStatus.NOT_FOUND, "not found")

    do_HEAD = do_GET

    def _other(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "read only", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _other

    def _send_page(self) -> None:
        try:
            page = self.pages.page()
        except InputError as e:  # the run is just being written anew
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(e))
        self._begin(HTTPStatus.OK, "text/html; charset=utf-8", len(page))
        if self.command == "GET":
            self.wfile.write(page)

    def _send_video(self) -> None:
        path = self.pages.video()
        if path is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "the run has no video")
        with path.open("rb") as file:
            size = path.stat().st_size
            tag = f'"{path.stat().st_mtime_ns:x}-{size:x}"'
            wanted = self.headers.get("Range")
            if self.headers.get("If-Range", tag) != tag:
                wanted = None
            try:
                span = byte_range(wanted, size)
            except ValueError as e:
                code = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                return self._refuse(code, str(e), {"Content-Range": f"bytes */{size}"})
            begin, end = span or (0, size)
            more = {"Accept-Ranges": "bytes", "ETag": tag}
            if span:
                more["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
            code = HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK
            self._begin(code, "video/mp4", end - begin, more)
            if self.command == "GET":
                file.seek(begin)
                self._copy(file, end - begin)

    def _copy(self, file: BinaryIO, count: int) -> None:
        while count > 0 and (part := file.read(min(_CHUNK, count))):
            self.wfile.write(part)
            count -= len(part)
        self.close_connection |= count > 0  # the file became shorter

    def _refuse(self, code: HTTPStatus, why: str, more: dict[str, str] | None = None) -> None:
        text = f"{code.value} {code.phrase}: {why}\n".encode()
        self.close_connection = True
        self._begin(code, "text/plain; charset=utf-8", len(text), more)
        if self.command != "HEAD":
            self.wfile.write(text)

    def _begin(
        self, code: HTTPStatus, kind: str, size: int, more: dict[str, str] | None = None
    ) -> None:
        self.send_response(code)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(size),
            "Content-Security-Policy": f"{page_policy()}; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-cache",
            **({"Connection": "close"} if self.close_connection else {}),
            **(more or {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing: what a browser fetches is no news."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # browsers hang up when they seek
            super().handle_error(request, client_address)


def make_server(run: Path, host: str = "127.0.0.1", port: int | None = None) -> ThreadingHTTPServer:
    """A server of the run's page, not yet serving; ``server_address`` tells where.

    Args:
        port: 0 for any free one; None for ``DEFAULT_PORT``, or any where that one is taken.

    Raises:
        InputError: not a run, or the address cannot be listened on.
    """
    handler = partial(_Handler, RunPages(run), host)
    kind = type("_Server6", (_Server,), {"address_family": socket.AF_INET6})
    kind = kind if ":" in host else _Server
    try:
        if port is None:
            try:
                return kind((host, DEFAULT_PORT), handler)
            except OSError:
                port = 0
        return kind((host, port), handler)
    except (OSError, OverflowError) as e:
        why = getattr(e, "strerror", None) or e
        raise InputError(f"--host {host} --port {port}: cannot be listened on ({why})") from e


def run_view(a: argparse.Namespace) -> int:
    """Serve the run ``a.run`` until interrupted, or write its page to ``a.html``.

    Raises:
        InputError: not a run, or the page or the address cannot be had.
    """
    if a.html is not None:
        if write_page(a.run, a.html).is_file():  # else standard output may be what was written to
            print(page_note(a.run, a.html))
        return 0
    with make_server(a.run, a.host, a.port) as server:
        host = f"[{a.host}]" if ":" in a.host else a.host
        address = f"http://{host}:{server.server_address[1]}/"
        print(f"{a.run}: {address} (Ctrl-C to end)", flush=True)
        if a.open:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt as stop:
            if stop.args:  # a signal; Ctrl-C is the ordinary end
                raise
            print()
    return 0
