"""Writing results so that nothing half-written is ever taken for whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

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


def check_targets(out: Path, names: Sequence[str], inputs: Sequence[Path | None]) -> None:
    """Whether files ``names`` may be written in ``out``.

    Raises:
        InputError: a name is taken by a folder, or one of ``inputs`` would be overwritten.
    """
    for name in names:
        target = out / name
        if target.exists() and not target.is_file():
            what = "a folder" if target.is_dir() else "no ordinary file"
            raise InputError(f"--out {out}: {name} is {what} there; give another --out")
        if given := _same_as(target, inputs):
            raise InputError(f"--out {out}: would overwrite the input {given}; give another")


def check_file(option: str, target: Path, inputs: Sequence[Path | None]) -> None:
    """Whether a single file may be written, before anything is.

    Raises:
        InputError: it is a folder or one of ``inputs``, or cannot be made where it is to lie.
    """
    if target.is_dir():
        raise InputError(f"{option} {target}: is a folder; give the name of a file")
    if given := _same_as(target, inputs):
        raise InputError(f"{option} {target}: would overwrite the input {given}; give another")
    if target.exists() and not target.is_file():
        place = target
    else:
        place = next(p for p in Path(os.path.realpath(target)).parents if p.exists())
    if place.is_file() or not os.access(place, os.W_OK):
        raise InputError(f"{option} {target}: cannot be written to; give another")


def _same_as(target: Path, others: Sequence[Path | None]) -> Path | None:
    """Which of the others is the same file, if any; none of what is no ordinary file."""
    there = [p for p in others if p is not None and p.exists()] if target.is_file() else []
    return next((p for p in there if p.samefile(target)), None)


@contextmanager
def staging(out: Path, names: Sequence[str], inputs: Sequence[Path | None] = ()) -> Iterator[Path]:
    """A hidden folder in ``out`` whose files ``names`` move to ``out`` when the block ends well.

    They move in the given order; an earlier run's file of the last name is removed first, so that
    the last name always stands for a whole set. Of a block that fails nothing stays.

    Raises:
        InputError: a name is taken by a folder, or one of ``inputs`` would be overwritten.
    """
    check_targets(out, names, inputs)
    folder = out / f".{os.getpid()}.part"
    folder.mkdir()
    try:
        yield folder
        (out / names[-1]).unlink(missing_ok=True)
        for name in names:
            if (folder / name).exists():
                os.replace(folder / name, out / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def inside(folder: Path, relative: str) -> Path:
    """A path below ``folder``; InputError when ``relative`` would leave it."""
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"name '{relative}' would leave the output folder {folder}")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` when the block ends well.

    A link is followed, and stays. What is there and no ordinary file, a device or a pipe, is
    written to as it stands.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it; see ``replacing``."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


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
    """Write a PNG under a temporary name, then rename it; see ``replacing``."""
    ok, data = cv2.imencode(".png", image)
    if not ok:
        raise ValueError(f"{path}: picture of shape {image.shape} cannot be encoded")
    with replacing(path) as file:
        file.write(data.tobytes())
