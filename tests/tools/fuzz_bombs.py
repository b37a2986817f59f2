"""Small files that claim or unpack to a size that no reader may follow."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz_seeds import make_map, make_voc, write


def _zeros(path: Path, megabytes: int) -> None:
    """A gzip file of so many MB without a line's end."""
    with gzip.open(path, "wb", 1) as f:
        for _ in range(megabytes // 16):
            f.write(bytes(16 << 20))


def _bomb_frames(folder: Path) -> None:
    head = {"descr": "|u1", "fortran_order": False, "shape": (1200 << 20,)}
    with (
        zipfile.ZipFile(folder / "frames.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z,
        z.open("about.npy", "w", force_zip64=True) as f,
    ):
        np.lib.format.write_array_header_1_0(f, head)
        for _ in range(1200 // 16):
            f.write(bytes(16 << 20))


def _bomb_png() -> bytes:
    """A whole picture of 30000 x 30000 px in a megabyte."""
    side, packer = 30_000, zlib.compressobj(1)
    row = bytes(side + 1)
    packed = b"".join(packer.compress(row * 500) for _ in range(side // 500)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )


def _bomb_map(folder: Path) -> None:
    make_map(folder)
    write(folder / "m.yaml", (folder / "m.yaml").read_text().replace(".pgm", ".png"))
    write(folder / "m.png", _bomb_png())


def _laughs(quote: str, begin: str, line: str, end: str) -> str:
    """The billion laughs: each name stands for ten of the one before."""
    lines = [line.format(n=n, ten=quote.format(n=n - 1) * 10) for n in range(1, 12)]
    return begin + "".join(lines) + end


def _bomb_yaml(folder: Path) -> None:
    make_map(folder)
    laughs = _laughs("*a{n},", "a0: &a0 ha\n", "a{n}: &a{n} [{ten}]\n", "")
    write(folder / "m.yaml", laughs + (folder / "m.yaml").read_text().replace("m.pgm", "*a11"))


def _bomb_xml(folder: Path) -> None:
    make_voc(folder)
    begin = '<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a0 "ha">'
    laughs = _laughs("&a{n};", begin, '<!ENTITY a{n} "{ten}">', "]>")
    text = (folder / "Annotations/a.xml").read_text().replace("car", "&a11;")
    write(folder / "Annotations/a.xml", laughs + text)


# What is far larger than it looks: must be refused, or what is too large of it left out.
BOMBS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "bomb record": ("diff", lambda folder: _zeros(folder / "record.jsonl.gz", 512)),
    "bomb frames": ("compare", _bomb_frames),
    "bomb picture": ("log", lambda folder: write(folder / "a.png", _bomb_png())),
    "bomb map": ("map", _bomb_map),
    "bomb yaml": ("map", _bomb_yaml),
    "bomb voc": ("set", _bomb_xml),
}
