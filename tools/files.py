"""Writing results so that nothing half-written is ever taken for whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2

from data.errors import InputError
from data.types import U8


def make_folder(out: Path) -> Path:
    """Create an output folder and make sure that it can be written to.

    Raises:
        InputError: it is a file, or cannot be made or written to.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".write-test-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as e:
        raise InputError(f"--out {out}: cannot be written to ({e.strerror or e})") from e
    return out


def inside(folder: Path, relative: str) -> Path:
    """A path below ``folder``; InputError when ``relative`` would leave it."""
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"name '{relative}' would leave the output folder {folder}")
    return path


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, keys in the given order; NaN is written as null."""
    write_text(path, json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value != value:
        return None
    return value


def write_png(path: Path, image: U8) -> None:
    """Write a PNG under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, data = cv2.imencode(".png", image)
    if not ok:
        raise ValueError(f"{path}: picture of shape {image.shape} cannot be encoded")
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data.tobytes())
    os.replace(temporary, path)
