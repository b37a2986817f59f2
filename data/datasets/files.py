"""Files of labelled sets: pictures, masks, JSON and text, and what is wrong with one."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from data.errors import InputError
from data.logs.image_size import cut_short, image_size_px, upright_size_px
from data.logs.selection import MAX_IMAGE_PX
from data.types import U8

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
_NAME_LENGTH = 200
_HEAD = 1 << 18  # bytes that hold a JPEG's headers, and whole pictures of common size
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]+")


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file of a set, in words for its owner.

    Attributes:
        kind: a key of ``data.checks.KINDS``, which says how bad it is and what to do about it;
            or 'image_left_out', of ``data.convert`` alone.
        where: file and place in it; text: what is wrong and how to mend it.
    """

    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return _UNPRINTABLE.sub(" ", f"{self.where}: {self.text}")  # one line, whatever names hold


def read_text(path: Path) -> str:
    """A UTF-8 file, with or without a byte order mark.

    Raises:
        InputError: it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from e
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: byte {e.start} is not UTF-8; save the file as UTF-8") from e


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        InputError: it cannot be read or is no JSON; names line and column.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as e:
        where = f"{path}: line {e.lineno} column {e.colno}"
        raise InputError(f"{where}: not valid JSON ({e.msg}); mend or export it again") from e
    except (RecursionError, ValueError) as e:
        raise InputError(f"{path}: not usable JSON ({e}); export it again") from e


def clean_name(name: object) -> str:
    """A class name on one line: control characters and runs of spaces become one space, and what
    is far too long for a name is cut."""
    return " ".join(_UNPRINTABLE.sub(" ", str(name)[: 4 * _NAME_LENGTH]).split())[:_NAME_LENGTH]


def is_true(flag: object) -> bool:
    """Whether a flag is set; of words only '1', 'true' and 'yes' set one."""
    return (
        flag.strip().lower() in ("1", "1.0", "true", "yes") if isinstance(flag, str) else bool(flag)
    )


def numbers(values: Iterable[Any], count: int) -> list[float]:
    """``count`` finite numbers of JSON; ValueError says what was given in their place."""
    row = list(values) if isinstance(values, list | tuple) else None
    if row is None or len(row) != count:
        raise ValueError(f"expected {count} numbers, given {values!r:.80}")
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in row):
        raise ValueError(f"expected {count} numbers, given {values!r:.80}")
    try:
        found = [float(v) for v in row]
    except OverflowError:
        raise ValueError("a number is too large") from None
    if not all(map(math.isfinite, found)):
        raise ValueError(f"expected finite numbers, given {values!r:.80}")
    return found


def is_inside(name: str) -> bool:
    """Whether a relative POSIX path stays below the folder it is taken in."""
    path = PurePosixPath(name)
    return bool(name.strip()) and not path.is_absolute() and ".." not in path.parts


def folders(path: Path) -> tuple[str, ...]:
    """Names of the folders in ``path`` in order; empty where it is none."""
    if not path.is_dir():
        return ()
    return tuple(sorted(p.name for p in path.iterdir() if p.is_dir() and p.name[0] != "."))


def visible(paths: Iterable[Path]) -> Iterator[Path]:
    """Those that are not hidden; a Mac leaves a ``._NAME`` beside every file that it copies."""
    return (p for p in paths if p.name[0] != ".")


def list_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Files of a folder by name, hidden ones left out; InputError when there are none."""
    files = sorted(p for p in visible(folder.glob("*")) if p.suffix.lower() in suffixes)
    if not files:
        raise InputError(f"{folder}: no files ending in {', '.join(suffixes)} found")
    return files


def list_images(folder: Path) -> list[str]:
    """Pictures in a folder and those below it, as relative POSIX paths in order.

    Raises:
        InputError: there are none.
    """
    names = []
    for at, below, files in os.walk(folder):
        below[:] = [b for b in below if b[0] != "." and b != "__MACOSX"]
        base = Path(at).relative_to(folder)
        names += [
            (base / f).as_posix()
            for f in files
            if f[0] != "." and Path(f).suffix.lower() in IMAGE_SUFFIXES
        ]
    if not names:
        raise InputError(f"{folder}: no pictures found ({', '.join(IMAGE_SUFFIXES)})")
    return sorted(names)


def has_images(folder: Path) -> bool:
    """Whether a picture lies directly in a folder."""
    if not folder.is_dir():
        return False
    return any(p.suffix.lower() in IMAGE_SUFFIXES for p in visible(folder.iterdir()))


def split_folders(images: Path) -> tuple[str, ...]:
    """Folders in ``images`` that are splits; with pictures beside them only if a name says so."""
    found = folders(images)
    named = any(f.lower().startswith(("train", "val", "test")) for f in found)
    return found if named or not has_images(images) else ()


def find_image(folder: Path, stem: str) -> Path | None:
    """The picture ``folder/STEM.jpg``, or with another ending; None where there is none."""
    for suffix in (*IMAGE_SUFFIXES, *(s.upper() for s in IMAGE_SUFFIXES)):
        path = folder / f"{stem}{suffix}"
        if os.path.isfile(path):  # a list may hold names that are too long, on which Path fails
            return path
    return None


def read_lines(path: Path) -> list[str]:
    """Lines of a list of names, empty ones left out.

    Lines end at line feeds alone: file names may hold what else Python takes for a line's end.
    """
    lines = (line.removesuffix("\r") for line in read_text(path).split("\n"))
    return [line for line in lines if line.strip()]


def read_classes(root: Path) -> tuple[str, ...]:
    """Class names of ``classes.txt``, one a line; empty where there is no such file."""
    path = root / "classes.txt"
    return tuple(clean_name(line) for line in read_lines(path)) if path.is_file() else ()


def bare_name(name: str) -> str:
    """A picture's name without its ending."""
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in IMAGE_SUFFIXES else name


def label_path(folder: Path, name: str, suffix: str = ".txt") -> Path:
    """The label file of a picture, named as it but for the ending."""
    return folder / f"{bare_name(name)}{suffix}"


def choose_split(root: Path, split: str, known: tuple[str, ...]) -> str:
    """``split`` if the set has it; InputError names the nearest and all there are."""
    if split in known:
        return split
    near = difflib.get_close_matches(split, known, 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    have = ", ".join(known) or "none"
    raise InputError(f"{root}: no split '{split}'; {hint}there is: {have}")


def image_problem(path: Path) -> Problem | None:
    """What is wrong with an image file as far as its first and last bytes tell."""
    if not os.path.isfile(path):  # False also for a name longer than a file can have
        return Problem("image_missing", str(path), "image missing; its labels are left out")
    try:
        with path.open("rb") as f:
            data = f.read(_HEAD)
            f.seek(max(len(data), path.stat().st_size - 4096))
            data += f.read()
    except OSError as e:
        return Problem("image_unreadable", str(path), f"cannot be read ({e.strerror or e})")
    if not data:
        return Problem("image_unreadable", str(path), "image file is empty")
    # an end that is not there may lie before what a phone appends: a video, a map of depths
    if cut_short(data) and cut_short(path.read_bytes()):
        return Problem("image_unreadable", str(path), "image is cut short; copy it again")
    size = header_size(path)
    if size is None:
        try:
            read_image(path)
        except InputError:
            return Problem("image_unreadable", str(path), "cannot be read as an image")
    elif size[0] * size[1] > MAX_IMAGE_PX:
        text = f"image of {size[0]}x{size[1]} is above the limit of 100 megapixels; scale it down"
        return Problem("image_unreadable", str(path), text)
    return None


def header_size(path: Path) -> tuple[int, int] | None:
    """Width and height as decoded, by the header; None where it is not understood."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return None
    try:
        with path.open("rb") as f:
            data = f.read(_HEAD)
            if data[:2] != b"\xff\xd8" or image_size_px(data) is None:
                data += f.read()  # other formats may say behind the picture how it is turned
    except OSError:
        return None
    return upright_size_px(data)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture; InputError where it cannot be read."""
    size = header_size(path)
    if size is None:
        if not os.path.isfile(path):
            raise InputError(f"{path}: image missing")
        height, width = read_image(path).shape[:2]
        return width, height
    return size


def decoded(path: Path, flags: int) -> cv2.typing.MatLike | None:
    """The picture of a file, None where it is none or has more pixels than OpenCV decodes."""
    try:  # from memory, as OpenCV 5.0 fails on files of TIFF pictures that it has to turn
        return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    except (OSError, cv2.error):
        return None


def read_image(path: Path) -> U8:
    """Read (h, w, 3) uint8 BGR; InputError names a file that is missing or no image."""
    image = decoded(path, cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path}: cannot be read as an image (missing, truncated or not one)")
    return np.asarray(image, np.uint8)


def read_mask(path: Path) -> U8:
    """Read (h, w) uint8 label values, unchanged."""
    size = header_size(path)
    if size is not None and size[0] * size[1] > MAX_IMAGE_PX:
        raise InputError(f"{path}: mask of {size[0]}x{size[1]} is above 100 megapixels")
    mask = decoded(path, cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise InputError(f"{path}: cannot be read as a label mask (missing or truncated)")
    if mask.ndim != 2 or mask.dtype != np.uint8:
        given = f"{1 if mask.ndim == 2 else mask.shape[2]} of {mask.dtype}"
        raise InputError(
            f"{path}: a label mask has one channel of uint8, given {given}; save the numbers of "
            "the classes, without a palette"
        )
    return np.asarray(mask, np.uint8)
