"""A folder of images as a log."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from data.errors import InputError
from data.logs.image_size import cut_short, image_size_px
from data.logs.selection import MAX_IMAGE_PX, NS_PER_S, Selection, add_fault
from data.logs.source import shown
from data.types import U8, Frame

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
)
ASSUMED_FPS = 10.0
_TIMES_NAME = "timestamps.txt"


class ImageFolderLog:
    """The images of a folder in natural order of their names (2 before 10); see ``Log``.

    A KITTI raw ``timestamps.txt`` in the folder or beside it gives the times if it has a line
    for every image; otherwise they follow from ``fps``. Images turned by EXIF come upright. An
    image that cannot be decoded, or is above 100 megapixels, is left out and noted; one of another
    size is delivered as it is.

    Raises:
        InputError: no image in the folder, none that can be decoded, or a start after the last.
    """

    kind = "images"

    def __init__(self, path: Path, selection: Selection, fps: float | None = None) -> None:
        self.name = path.name or path.resolve().name
        self.faults: list[str] = []
        self._selection = selection
        self._files = [path] if path.is_file() else _list_images(path)
        count = len(self._files)
        times, self._open_faults = _read_times(self._files[0].parent, count)
        self.faults.extend(self._open_faults)
        if times is None or (len(times) > 1 and times[-1] <= times[0]):
            rate = Fraction(str(ASSUMED_FPS if fps is None else fps))
            times = [round(i * NS_PER_S / rate) for i in range(count)]
            how = "assumed" if fps is None else "given"
            self.time_source = f"{how} {float(rate):g} fps: the folder has no times"
            self.nominal_fps = float(rate)
        else:
            self.time_source = _TIMES_NAME
            self.nominal_fps = (count - 1) * NS_PER_S / (times[-1] - times[0]) if count > 1 else 0.0
        self._times_ns = times
        if selection.start_ns > times[-1]:
            raise InputError(
                f"{shown(path)}: --start {selection.start_ns / NS_PER_S:g} s is beyond the last "
                f"image at {times[-1] / NS_PER_S:.3f} s ({self.time_source})"
            )
        self.expected_frames: int | None = selection.expected_at(times)
        self.height_px, self.width_px = _first_size(path, self._files)

    def __iter__(self) -> Iterator[Frame]:
        self.faults[:] = self._open_faults
        chosen = self._selection
        first: int | None = None
        delivered = 0
        for index, (file, t_ns) in enumerate(zip(self._files, self._times_ns, strict=True)):
            if t_ns < chosen.start_ns:
                continue
            first = index if first is None else first
            if (chosen.stop_ns is not None and t_ns >= chosen.stop_ns) or (
                chosen.max_frames is not None and delivered >= chosen.max_frames
            ):
                return
            if (index - first) % chosen.every:
                continue
            image, why = _read_image(file)
            if image is None:
                add_fault(self.faults, f"frame {index} {why}: {shown(file.name)} skipped")
                continue
            if image.shape[:2] != (self.height_px, self.width_px):
                size = f"{image.shape[1]}x{image.shape[0]}"
                add_fault(
                    self.faults,
                    f"frame {index} is {size}, not {self.width_px}x{self.height_px}: "
                    f"{shown(file.name)}",
                )
            delivered += 1
            yield Frame(image, index, t_ns, name=file.name)


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key under which digits count as numbers: frame2 before frame10."""
    parts = re.findall(r"(\d+)|(\D+)", name.lower())
    return [(0, int(d), "") if d else (1, 0, s) for d, s in parts], name


def _list_images(folder: Path) -> list[Path]:
    names = [p for p in folder.iterdir() if not p.name.startswith(".")]
    files = [p for p in names if is_image(p)]
    if files:
        return sorted(files, key=lambda p: natural_key(p.name))
    inner = next((p for p in sorted(names) if _holds_images(p)), None)
    hint = f"; its folder {shown(inner.name)} has some: give {shown(inner)}" if inner else ""
    raise InputError(
        f"{shown(folder)}: no images (jpg, png, bmp, webp, ppm, tif) in this folder{hint}"
    )


def is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return not hidden and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _holds_images(folder: Path) -> bool:
    """Whether to point to this folder: a link may lead back, a locked one could not be read."""
    with suppress(OSError):
        return not folder.is_symlink() and folder.is_dir() and any(map(is_image, folder.iterdir()))
    return False


def _first_size(path: Path, files: list[Path]) -> tuple[int, int]:
    """Height and width of the first image that can be decoded."""
    why = ""
    for file in files:
        image, why = _read_image(file)
        if image is not None:
            return image.shape[0], image.shape[1]
    what = "" if path.is_file() else f": none of its {len(files)} images can be decoded, the last"
    raise InputError(
        f"{shown(path)}{what} {why}; expected jpg, png, bmp, webp, ppm or tif pictures"
    )


def _read_image(file: Path) -> tuple[U8 | None, str]:
    """Decode to (h, w, 3) BGR, or None and what is wrong."""
    try:
        data = file.read_bytes()
    except OSError as e:
        return None, f"cannot be read ({e.strerror or e})"
    return decode_picture(data)


def decode_picture(data: bytes) -> tuple[U8 | None, str]:
    """The bytes of a picture's file as (h, w, 3) BGR, or None and what is wrong.

    A picture above 100 megapixels is not decoded.
    """
    size = image_size_px(data)
    if size is None:
        return None, "is not an image" if data else "is empty"
    if size[0] * size[1] > MAX_IMAGE_PX:
        return None, f"is {size[0]}x{size[1]}, above 100 megapixels"
    if cut_short(data):
        return None, "is cut short"
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    return (None, "is damaged") if image is None else (np.asarray(image, np.uint8), "")


def _read_times(folder: Path, count: int) -> tuple[list[int] | None, list[str]]:
    """Times (ns from the first) of a KITTI raw ``timestamps.txt``, and what was wrong with it."""
    for file in (folder / _TIMES_NAME, folder.parent / _TIMES_NAME):
        try:
            lines = file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            continue
        lines = [line for line in lines if line.strip()]
        if len(lines) != count:
            return None, [f"{_TIMES_NAME} not used: {len(lines)} lines for {count} images"]
        times = [_parse_ns(line.strip()) for line in lines]
        known = [t for t in times if t is not None]
        if len(known) < count:
            return None, [f"{_TIMES_NAME} not used: line {times.index(None) + 1} is not a time"]
        if any(b <= a for a, b in itertools.pairwise(known)):
            return None, [f"{_TIMES_NAME} not used: its times do not increase"]
        return [t - known[0] for t in known], []
    return None, []


def _parse_ns(text: str) -> int | None:
    """'2011-09-26 13:02:25.964389445' to ns since 1970; datetime alone would drop the last 3."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?", text)
    if not found:
        return None
    try:
        whole = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(whole.timestamp()) * NS_PER_S + int((found[2] or "0").ljust(9, "0"))
