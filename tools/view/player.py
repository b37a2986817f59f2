"""The replay page: one HTML file of a run that plays from disk, without a network.

Its parts are ``player/player.html``, ``player.css`` and the scripts of ``SCRIPTS``, put together
here with the run's data. Everything from the run reaches the page as one block of base64 text and
is shown as text, never as markup; the page's own policy lets no other script run.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from data.errors import InputError
from tools.files import inside, replacing
from tools.view.player_data import read_run, run_name

VIDEO = "overlay.mp4"
EMBED_LIMIT_BYTES = 150_000_000  # browsers hold a page's text in memory, and up to twice
SCRIPTS = (
    "data.js", "scene.js", "timeline.js", "lists.js", "lead.js", "player.js", "controls.js",
)  # fmt: skip
_FOLDER = Path(__file__).with_name("player")
_PART_BYTES = 6_000_000  # a multiple of 3: base64 of parts is then that of the whole


def write_page(run: Path, out: Path, embed_limit_bytes: int = EMBED_LIMIT_BYTES) -> Path:
    """Write the page of the folder ``run`` that replay has written to the file ``out``.

    A video of more than ``embed_limit_bytes`` stays where it is, and the page plays it from there
    by its relative path; see ``page_note``.

    Returns:
        ``out``.

    Raises:
        InputError: ``run`` is no such folder, or ``out`` cannot be written or lies on a file of it.
    """
    run, out = Path(run), Path(out)
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give the name of an HTML file")
    if out.exists() and any(f.samefile(out) for f in run.glob("*") if f.suffix != ".html"):
        raise InputError(f"{out}: is a file of the run; give another name")
    video = _video(run)
    embed = video is not None and video.stat().st_size <= embed_limit_bytes
    link = "" if video is None or embed else _link(video, out)
    parts = page_parts(read_run(run), run, link, video if embed else None)
    try:
        with replacing(out) as file:
            for part in parts:
                file.write(part)
    except OSError as e:
        raise InputError(f"{out}: cannot be written ({e.strerror or e})") from e
    return out


def page_note(run: Path, out: Path) -> str:
    """One line on a page that ``write_page`` has written: its size, and where its video is."""
    size, video = f"{out.stat().st_size / 1e6:.1f} MB", _video(run)
    if video is None:
        return f"{out}: {size}, without video (the run has none)"
    if out.stat().st_size > video.stat().st_size:
        return f"{out}: {size} with the video in it"
    return (
        f"{out}: {size}; the video ({video.stat().st_size / 1e6:.0f} MB) is too large to be in it "
        f"and is played from {os.path.relpath(video, out.resolve().parent)}: keep both together"
    )


def page_parts(
    block: bytes, run: Path, link: str = "", video: Path | None = None
) -> Iterator[bytes]:
    """The page piece by piece.

    Args:
        block: as ``read_run`` gives it.
        link: address of the video, '' for none; video: file to put into the page in its place.
    """
    style, script = _text("player.css"), "\n".join(_text(name) for name in SCRIPTS)
    page = Template(_text("player.html")).substitute(
        policy=escape(policy(script, style), quote=True),
        title=escape(f"{run_name(run)} · Roadstack replay"),
        style=style,
        link=escape(link, quote=True),
        script=script,
    )
    head, tail = page.split("<!-- data -->")
    yield head.encode()
    yield b'<script type="text/plain" id="run-data">' + base64.b64encode(block) + b"</script>\n"
    if video is not None:
        with video.open("rb") as file:
            while part := file.read(_PART_BYTES):
                yield b'<script type="text/plain" class="video-part">'
                yield base64.b64encode(part) + b"</script>\n"
    yield tail.encode()


def policy(script: str, style: str) -> str:
    """Content security policy: this script and this style, and pictures and video of the page."""
    hashes = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (f"\n{script}\n", f"\n{style}\n")
    )
    code, look = hashes
    return (
        f"default-src 'none'; script-src 'sha256-{code}'; style-src 'sha256-{look}'; "
        "img-src data:; media-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
    )


def page_policy() -> str:
    """The policy of the page as a server has to send it."""
    return policy("\n".join(_text(name) for name in SCRIPTS), _text("player.css"))


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8").strip("\n")


def _video(run: Path) -> Path | None:
    """The run's video; one that a link leads out of the folder for is refused."""
    return inside(run, VIDEO) if (run / VIDEO).is_file() else None


def _link(video: Path, out: Path) -> str:
    return quote(Path(os.path.relpath(video, out.resolve().parent)).as_posix())
