"""Ways to spoil a file: as bytes, as text, as JSON, and by what its headers claim."""

from __future__ import annotations

import json
import random
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

HUGE = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
NUMBERS = (
    "nan", "NaN", "inf", "-Infinity", "1e308", "-1e308", "1e-320", "-1", "0", "-0.0", "0.5",
    "65535", "99999999999", str(2**31), str(2**63), str(-(2**63)), "1" + "0" * 400, "9" * 5000,
    "1e999", "0x10", "true", "null", "", "[]", '""',
)  # fmt: skip
NAMES = (
    "../../x", "../" * 12 + "tmp/fuzz-escaped", "/etc/passwd", "/dev/zero", "/proc/self/mem", "..",
    ".", "", "a\x00b", "a\nb", "\x1b[31m", "\u202ename", "\ud83d\ude97", "\ufeff", "~", "-", "*",
    "con:", "x" * 5000, "%s%n", "<script>alert(1)</script>", "{0}", "NaN",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 1e308, -1e308, float("nan"), float("inf"), 2**31, 2**63,
    -(2**63), 10**400, [], {}, [[]], [1, 2, 3, 4], {"a": 1}, [None], *NAMES,
)  # fmt: skip
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")


def mutated(data: bytes, suffix: str, r: random.Random) -> bytes:
    """``data`` spoilt in one to three ways that suit its kind."""
    text = not _BINARY.search(data[:4096]) and bool(data)
    ways: list[Callable[[bytes, random.Random], bytes]] = list(BYTES)
    if text:
        ways = [*TEXT, *TEXT, *BYTES]
        if suffix in (".json", ".jsonl"):
            ways += [_json] * 16
    elif suffix in (".png", ".jpg", ".bmp", ".webp", ".tiff", ".npy", ".npz"):
        ways += [_claims] * 8
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        data = r.choice(ways)(data, r)
    return data


def _flips(data: bytes, r: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(r.choice((1, 1, 2, 8, 32)) if out else 0):
        out[_place(len(out), r)] ^= 1 << r.randrange(8)
    return bytes(out)


def _place(size: int, r: random.Random) -> int:
    """Headers, which stand at either end, are met more often than what they head."""
    near = min(size, r.choice((16, 64, 512, size)))
    return r.randrange(near) if r.random() < 0.7 else size - 1 - r.randrange(near)


def _cut(data: bytes, r: random.Random) -> bytes:
    return data[: r.choice((0, 1, r.randrange(len(data) + 1), max(0, len(data) - 1)))]


def _chunk(size: int, r: random.Random) -> tuple[int, int]:
    start = r.randrange(size + 1)
    return start, min(size, start + r.choice((1, 4, 16, 100, 1000)))


def _swap(data: bytes, r: random.Random) -> bytes:
    a, b = _chunk(len(data), r)
    c, d = _chunk(len(data), r)
    if b > c:
        return data[:a] + data[c:d] + data[b:]
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _twice(data: bytes, r: random.Random) -> bytes:
    a, b = _chunk(len(data), r)
    return data[:b] + data[a:b] * r.choice((1, 2, 50)) + data[b:]


def _without(data: bytes, r: random.Random) -> bytes:
    a, b = _chunk(len(data), r)
    return data[:a] + data[b:]


def _even(data: bytes, r: random.Random) -> bytes:
    a, b = _chunk(len(data), r)
    return data[:a] + r.choice((b"\0", b"\xff", b"A")) * (b - a) + data[b:]


def _noise(data: bytes, r: random.Random) -> bytes:
    a, b = _chunk(len(data), r)
    return data[:a] + r.randbytes(b - a) + data[b:]


def _length(data: bytes, r: random.Random) -> bytes:
    """A number of 1, 2, 4 or 8 bytes in a header becomes a huge or odd one."""
    if not data:
        return data
    at, code = _place(len(data), r), r.choice("BHIQ")
    size = struct.calcsize(code)
    value = struct.pack(r.choice("<>") + code, r.choice(HUGE) & (256**size - 1))
    return data[:at] + value + data[at + size :]


BYTES = (_flips, _flips, _cut, _swap, _twice, _without, _even, _noise, _length, _length, _length)


def _token(data: bytes, r: random.Random) -> bytes:
    """A number or word becomes another."""
    found = list(re.finditer(rb"[-+.\w/]+", data[:200_000]))
    if not found:
        return data
    m = r.choice(found)
    number = m[0][:1] in b"-+.0123456789"
    new = r.choice(NUMBERS if number == (r.random() < 0.8) else NAMES)
    return data[: m.start()] + new.encode("utf-8", "surrogatepass") + data[m.end() :]


def _lines(data: bytes, r: random.Random) -> bytes:
    lines = data.splitlines(True)
    if len(lines) < 2:
        return data * 2
    a, b = r.randrange(len(lines)), r.randrange(len(lines))
    how = r.randrange(4)
    if how == 0:
        del lines[a]
    elif how == 1:
        lines.insert(b, lines[a])
    elif how == 2:
        lines[a], lines[b] = lines[b], lines[a]
    else:
        lines[a] = lines[a][: r.randrange(len(lines[a]))] + b"\n"
    return b"".join(lines)


def _deep(data: bytes, r: random.Random) -> bytes:
    a, _ = _chunk(len(data), r)
    opened = r.choice((b"[", b'{"a":', b"(", b"<a>", b"- ", b"a.", b"&a [*a,"))
    return data[:a] + opened * r.choice((3, 200, 5000, 100_000)) + data[a:]


def _marks(data: bytes, r: random.Random) -> bytes:
    a, _ = _chunk(len(data), r)
    marks = [b"\0", b"\x1b[2J", b"\r", b"\xff\xfe", b"\xed\xa0\x80", "\u202e".encode(), b"\t"]
    marks += [
        b"\xef\xbb\xbf",
        b"\x0c",
        b"'",
        b'"',
        b"#",
        b",",
        b":",
        b"=",
        b"!!python/object:os.x y",
    ]
    return data[:a] + r.choice(marks) * r.choice((1, 1, 300)) + data[a:]


TEXT = (_token, _token, _token, _token, _lines, _lines, _deep, _marks)


def _json(data: bytes, r: random.Random) -> bytes:
    """A value anywhere in one of the lines' JSON (or the whole file's) becomes another."""
    lines = data.split(b"\n")
    whole = data.lstrip()[:1] in b"[{" and not _parsed(lines[0])
    at = 0 if whole else r.randrange(len(lines))
    found = _parsed(data if whole else lines[at])
    if not found:
        return data
    root = [found[0]]
    parent: Any = root
    key: Any = 0
    for _ in range(r.randrange(8)):
        inner = parent[key]
        if not isinstance(inner, list | dict) or not inner:
            break
        parent, key = inner, r.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
    how = r.random()
    if how < 0.15:
        del parent[key]
    elif how < 0.25 and isinstance(parent, list):
        parent.extend([parent[key]] * r.choice((1, 3, 1000)))
    elif how < 0.3 and isinstance(parent, dict):
        parent[r.choice(NAMES)] = parent.pop(key)
    else:
        parent[key] = r.choice(VALUES)
    if not root:
        return b""
    new = json.dumps(root[0]).encode()
    return new if whole else b"\n".join([*lines[:at], new, *lines[at + 1 :]])


def _parsed(data: bytes) -> list[Any]:
    try:
        return [json.loads(data)]
    except (ValueError, RecursionError):
        return []


def _claims(data: bytes, r: random.Random) -> bytes:
    """A picture's or an array's header that claims another size, its checksum right."""
    size = r.choice(((65535, 65535), (30000, 30000), (20000, 8), (0, 0), (1, 1), (2**31 - 1, 1)))
    if data[:4] == b"\x89PNG" and len(data) > 33:
        head = b"IHDR" + struct.pack(">II", *size) + data[24:29]
        return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    width, height = (min(v, 65535) for v in size)
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    if data[:2] == b"\xff\xd8" and frame > 0:
        return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]
    if data[:2] == b"BM":
        return data[:18] + struct.pack("<II", *size) + data[26:]
    at = data.find(b"'shape': (")
    if at >= 0:
        end = data.find(b")", at)
        new = r.choice((b"9999999999,", b"-1,", b"70000, 70000", b"2**40,", b"1e9,", b""))
        claim = b"'shape': (" + new
        return data[:at] + claim + data[end:] if r.random() < 0.3 else data[:at] + (
            claim + b")" + b" " * 40)[: end - at + 1] + data[end + 1 :]  # fmt: skip
    return _length(data, r)
