"""Checks of a source's name, and how names are written in messages."""

from __future__ import annotations

import re
from pathlib import Path

from data.errors import InputError


def shown(name: Path | str) -> str:
    """A file's name for a message of one line: what cannot be printed becomes '?'."""
    return "".join(c if c.isprintable() else "?" for c in str(name))


def address_of(source: Path | str) -> str | None:
    """The address (rtsp://..., http://...) that a source is; None if it is a path."""
    text = str(source)
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        return None
    return re.sub(":/+", "://", text, count=1)  # a Path joins repeated slashes


def check_exists(path: Path) -> None:
    """Check that a source is there.

    Raises:
        InputError: it is not; says so for addresses, '-' and '~' too, which are not read.
    """
    if path.exists():
        return
    text = shown(path)
    if text == "-":
        raise InputError(f"{text}: standard input is not read; give a video or a folder of images")
    address = address_of(text)
    if address is not None and address.startswith("file://"):
        raise InputError(f"{text}: give the path alone, without file:")
    if address is not None:
        raise InputError(
            f"{address}: only files and folders are read, no addresses; save the video first"
            ", or give --live"
        )
    hint = " (~ was not expanded: write $HOME)" if text.startswith("~") else ""
    raise InputError(f"{text}: no such file or folder{hint}; give a video or a folder of images")


def check_readable_file(path: Path) -> None:
    """Check that a source is a file with something in it.

    Raises:
        InputError: it is not.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{shown(path)}: neither a file nor a folder; give a video or a folder")
    with path.open("rb") as file:
        if not file.read(1):
            raise InputError(f"{shown(path)}: the file is empty; expected a video")
