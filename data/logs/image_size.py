"""What the bytes of a picture's file tell without decoding it: its size, and if its end is lost."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*")
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274  # TIFF's tags, which EXIF shares


def image_size_px(data: bytes) -> tuple[int, int] | None:
    """Width and height as stored (before any EXIF turn) of a JPEG, PNG, BMP, WebP, PNM or TIFF.

    Returns None where the header is not understood; nothing is raised on damaged data.
    """
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        if data[:8] == _PNG:
            return struct.unpack(">II", data[16:24])
        if data[:2] == b"BM":
            width, height = struct.unpack("<ii", data[18:26])
            return abs(width), abs(height)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:1] == b"P" and data[1:2] in b"123456":
            return _pnm(data)
        if data[:4] in _TIFF:
            found = _tags(data)
            return (found[_WIDTH], found[_HEIGHT])
    except (struct.error, ValueError, LookupError):
        return None
    return None


def upright_size_px(data: bytes) -> tuple[int, int] | None:
    """Width and height as decoded, turned where EXIF asks for it; see ``image_size_px``.

    PNG and WebP may have their EXIF, and TIFF its size, behind the picture: give whole files.
    """
    size = image_size_px(data)
    try:
        turned = size is not None and _tags(_exif(data)).get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except (struct.error, IndexError):
        turned = False
    return size[::-1] if size and turned else size


def cut_short(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end: decoders fill what is missing with grey and say OK."""
    if data[:2] == b"\xff\xd8":
        return data.rfind(b"\xff\xd9", jpeg_scan_start(data)) < 0
    return data[:4] == b"\x89PNG" and data.rfind(b"IEND") < 0


def jpeg_scan_start(data: bytes) -> int:
    """Where the coded picture of a JPEG begins: behind its headers, which may hold a small one."""
    return max((end for _, _, end in _segments(data)), default=2)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each header of a JPEG, up to that of its first scan."""
    at, marker = 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF and marker != 0xDA:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte before a marker
            at += 1
            continue
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        yield marker, at, end
        at = end


def _exif(data: bytes) -> bytes:
    """The EXIF block of a picture, laid out as a TIFF file is; empty where there is none."""
    if data[:2] == b"\xff\xd8":
        blocks = (data[start + 4 : end] for m, start, end in _segments(data) if m == 0xE1)
        return next((b[6:] for b in blocks if b[:6] == b"Exif\0\0"), b"")
    if data[:8] == _PNG:
        return _chunk(data, 8, b"eXIf")
    if data[8:16] == b"WEBPVP8X" and data[20] & 8:  # the flag that there is EXIF
        return _chunk(data, 12, b"EXIF")
    return data if data[:4] in _TIFF else b""


def _chunk(data: bytes, at: int, kind: bytes) -> bytes:
    """Content of the first chunk of a kind in a PNG or WebP, whose chunks begin at ``at``."""
    png = data[:8] == _PNG
    while at + 8 <= len(data):
        if png:
            size, found = struct.unpack(">I4s", data[at : at + 8])
        else:
            found, size = struct.unpack("<4sI", data[at : at + 8])
        if found == kind:
            return data[at + 8 : at + 8 + size]
        at += 12 + size if png else 8 + size + size % 2  # a checksum, or even lengths
    return b""


def _jpeg(data: bytes) -> tuple[int, int] | None:
    for marker, start, _ in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[start + 5 : start + 9])
            return width, height
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return (
            1 + int.from_bytes(data[24:27], "little"),
            1 + int.from_bytes(data[27:30], "little"),
        )
    if kind == b"VP8L":
        bits = struct.unpack("<I", data[21:25])[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _pnm(data: bytes) -> tuple[int, int]:
    lines = (line.split(b"#")[0] for line in data[2:2000].splitlines())
    width, height = b" ".join(lines).split()[:2]
    return int(width), int(height)


def _tags(data: bytes) -> dict[int, int]:
    """Width, height and orientation as a TIFF or EXIF states them."""
    order = "<" if data[:2] == b"II" else ">"
    at = struct.unpack(order + "I", data[4:8])[0]
    found: dict[int, int] = {}
    for i in range(struct.unpack(order + "H", data[at : at + 2])[0]):
        entry = data[at + 2 + 12 * i : at + 14 + 12 * i]
        tag, kind = struct.unpack(order + "HH", entry[:4])
        if tag in (_WIDTH, _HEIGHT, _ORIENTATION):
            size = 2 if kind == 3 or tag == _ORIENTATION else 4  # sizes may be short or long
            found[tag] = struct.unpack(order + ("H" if size == 2 else "I"), entry[8 : 8 + size])[0]
    return found
