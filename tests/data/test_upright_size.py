"""The size of pictures that EXIF turns is, by the header, the one they are decoded to."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from data.datasets import open_dataset
from data.datasets.files import image_problem, image_size
from data.logs.image_size import image_size_px, upright_size_px

PICTURE = np.zeros((30, 40, 3), np.uint8)
COMMENT = b"\xff\xfe\x00\x66" + bytes(100)
XMP = b"\xff\xe1\x00\x20http://ns.adobe.com/xap/1.0/\0\0"


def encoded(suffix, *options):
    return cv2.imencode(suffix, PICTURE, *options)[1].tobytes()


def exif(turn, order=">"):
    """A TIFF block with nothing but an orientation."""
    mark = b"MM\0*" if order == ">" else b"II*\0"
    return mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 274, 3, 1, turn, 0, 0)


def jpeg(turn, before=b"", order=">"):
    plain, block = encoded(".jpg"), b"Exif\0\0" + exif(turn, order)
    segment = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    return plain[:2] + before + segment + plain[2:]


def png(turn, behind=False):
    plain, block = encoded(".png"), b"eXIf" + exif(turn)
    at = len(plain) - 12 if behind else 33
    crc = zlib.crc32(block).to_bytes(4, "big")
    return plain[:at] + (len(block) - 4).to_bytes(4, "big") + block + crc + plain[at:]


def tiff(turn):
    """With a directory of its own behind the picture, the orientation first in it."""
    plain = encoded(".tif")
    at = int.from_bytes(plain[4:8], "little")
    count = int.from_bytes(plain[at : at + 2], "little")
    entries = [plain[at + 2 + 12 * k : at + 14 + 12 * k] for k in range(count)]
    entries = sorted([*entries, struct.pack("<HHIHH", 274, 3, 1, turn, 0)], key=lambda e: e[1::-1])
    table = (count + 1).to_bytes(2, "little") + b"".join(entries) + bytes(4)
    return plain[:4] + len(plain).to_bytes(4, "little") + plain[8:] + table


def webp(turn):
    block = exif(turn)
    head = b"VP8X" + struct.pack("<IBxxx", 10, 8) + b"\x27\0\0\x1d\0\0"  # 40 - 1 and 30 - 1
    body = b"WEBP" + head + encoded(".webp", [cv2.IMWRITE_WEBP_QUALITY, 50])[12:]
    body += b"EXIF" + struct.pack("<I", len(block)) + block
    return b"RIFF" + struct.pack("<I", len(body)) + body


def decoded_size(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[1::-1]


@pytest.mark.parametrize("turn", range(10))
def test_every_turn_of_every_format(turn):
    made = [jpeg(turn), jpeg(turn, order="<"), jpeg(turn, COMMENT), jpeg(turn, XMP)]
    made += [png(turn), png(turn, behind=True), webp(turn), *([tiff(turn)] if turn else [])]
    for data in made:
        assert image_size_px(data) == (40, 30)
        assert upright_size_px(data) == decoded_size(data)
        assert upright_size_px(data) == ((30, 40) if 5 <= turn <= 8 else (40, 30))


def test_the_first_of_two_exif_blocks_counts():
    first = jpeg(6)[2:]
    data = jpeg(1, first[: 2 + int.from_bytes(first[2:4], "big")])
    assert upright_size_px(data) == decoded_size(data)


@pytest.mark.parametrize("make", [jpeg, png, tiff, webp])
def test_a_header_cut_anywhere_never_raises(make):
    data = make(6)
    for length in range(len(data)):
        upright_size_px(data[:length])


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.jpg", jpeg(6, COMMENT)), ("a.png", png(6, behind=True)), ("a.tif", tiff(6))],
)
def test_a_set_is_told_the_size_that_decoding_gives(tmp_path, name, data):
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / name).write_bytes(data)
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    d = open_dataset(tmp_path, "all")
    assert d.size_px(0) == d.load(0).image.shape[1::-1] == (30, 40)
    np.testing.assert_allclose(d.read_boxes(0).xyxy, [[12, 16, 18, 24]])


def test_the_end_of_a_large_png_tells_how_it_is_turned(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    plain = cv2.imencode(".png", noise)[1].tobytes()
    small = png(6, behind=True)
    chunk = small[small.index(b"eXIf") - 4 : -12]
    path = tmp_path / "a.png"
    path.write_bytes(plain[:-12] + chunk + plain[-12:])
    assert path.stat().st_size > 1 << 18
    assert image_size(path) == cv2.imread(str(path)).shape[1::-1] == (300, 400)


def test_a_turned_picture_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch, tmp_path):
    data = bytearray(jpeg(6))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = (20_000).to_bytes(2, "big") * 2
    (tmp_path / "a.jpg").write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", None)
    assert "100 megapixels" in image_problem(tmp_path / "a.jpg").text
