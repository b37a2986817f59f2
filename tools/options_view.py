"""Options of ``roadstack view``. Nothing heavy is imported here."""

from __future__ import annotations

import argparse

from tools.option_parts import path


def _port(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, given '{text}'")
    return value


def add_view(sub: argparse._SubParsersAction) -> None:
    """``roadstack view``."""
    p = sub.add_parser(
        "view",
        help="look at a replay in the browser",
        description="Serve the page of a folder that replay has written, to this machine alone: "
        "its video with what was seen, planned and timed in every frame. With --html the page is "
        "written to one file that needs no server and no network.",
    )
    p.add_argument("run", type=path, metavar="RUN", help="folder written by replay")
    p.add_argument("--html", type=path, metavar="FILE", help="write the page and serve nothing")
    p.add_argument("--open", action="store_true", help="open it in the browser")
    p.add_argument("--host", default="127.0.0.1", help="address to serve on (%(default)s)")
    p.add_argument("--port", type=_port, help="0 for any free one (8765, or any if taken)")
