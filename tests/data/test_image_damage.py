"""Files of pictures that are damaged or cut short, and sound ones that only look so."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import pytest

from data.checks import SPOILS
from data.datasets.files import image_problem, read_image, read_mask
from data.errors import InputError
from data.image_checks import file_damage
from data.logs import open_log
from data.logs.image_size import cut_short

NOISE = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
SMALL = cv2.imencode(".jpg", NOISE[:30, :40])[1].tobytes()


def jpeg(thumbnail=b"", *options):
    """A picture whose headers may hold a small one, as those of cameras do."""
    data = cv2.imencode(".jpg", NOISE, options)[1].tobytes()
    header = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail if thumbnail else b""
    return data[:2] + header + data[2:]


APPENDED = {
    "nothing": b"",
    "padding": bytes(9000),
    "a small picture": SMALL * 3,
    "a video": b"\0\0\0\x18ftypmp42" + bytes(9000) + b"\xff\xda\xff\xd9\xff\xda" + bytes(9000),
}


def said(data, folder):
    """What the log, the checks of a file's ends and those of all of it say: is it cut short?"""
    path = folder / "a.jpg"
    path.write_bytes(data)
    log = [] if cut_short(data) else [f.name for f in open_log(path)]
    bad = image_problem(path)
    return not log, bad is not None and "cut short" in bad.text, file_damage(data) is not None


@pytest.mark.parametrize("what", APPENDED)
@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_what_a_phone_appends_is_no_damage(tmp_path, what, options):
    for thumbnail in (b"", SMALL):
        data = jpeg(thumbnail, *options) + APPENDED[what]
        assert said(data, tmp_path) == (False, False, False)


@pytest.mark.parametrize("thumbnail", [b"", SMALL])
def test_a_picture_without_its_end_is_cut_short_whatever_its_headers_hold(tmp_path, thumbnail):
    data = jpeg(thumbnail)
    for length in (len(data) - 1, len(data) - 40, len(data) // 2, len(data) - len(jpeg()) + 1000):
        assert said(data[:length], tmp_path) == (True, True, True), length


def test_headers_longer_than_what_is_read_at_once(tmp_path):
    plain = jpeg()
    header = (b"\xff\xe2" + (65002).to_bytes(2, "big") + bytes(65000)) * 5
    data = plain[:2] + header + plain[2:]
    assert said(data, tmp_path) == (False, False, False)
    assert said(data[:-40], tmp_path) == (True, True, True)


def test_a_png_with_more_behind_its_end(tmp_path):
    data = cv2.imencode(".png", NOISE)[1].tobytes()
    assert said(data + bytes(9000), tmp_path) == (False, False, False)
    assert said(data[:-12], tmp_path) == (True, True, True)


def test_a_jpeg_cut_short_is_found_though_it_decodes(made):
    path = made.image("train", "a")
    path.write_bytes(path.read_bytes()[:-40])
    assert cv2.imread(str(path)) is not None
    for fast in (False, True):
        f = made.examine(fast=fast)["image_unreadable"]
        assert (f.severity, f.count, f.split) == (SPOILS, 1, "train")
        assert "train/a.jpg: image is cut short" in f.examples[0]


def test_a_hole_of_zeros_in_a_jpeg_is_found(made):
    path = made.image("train", "a")
    made.write(path, np.random.default_rng(0).integers(0, 255, (400, 600, 3), np.uint8))
    data = bytearray(path.read_bytes())
    data[20000:30000] = bytes(10000)
    path.write_bytes(data)
    assert "hole of zeros" in made.examine()["image_unreadable"].examples[0]


def test_padding_in_the_header_of_a_jpeg_is_no_hole(scene):
    data = cv2.imencode(".jpg", scene(0))[1].tobytes()
    padding = b"\xff\xe1" + (10002).to_bytes(2, "big") + bytes(10000)
    assert file_damage(data[:2] + padding + data[2:] + bytes(9000)) is None


def test_a_flipped_byte_in_a_png_is_found(scene):
    data = bytearray(cv2.imencode(".png", scene(0))[1].tobytes())
    assert file_damage(bytes(data)) is None
    data[len(data) // 2] ^= 1
    assert "damaged" in file_damage(bytes(data))


def test_a_mask_that_is_a_picture_or_cut_short(made):
    made.write(made.mask("train", "a"), made.scene(0))
    path = made.mask("train", "b")
    path.write_bytes(path.read_bytes()[:-20])
    f = made.examine()["mask_unreadable"]
    assert (f.severity, f.count) == (SPOILS, 2)


@pytest.mark.parametrize("side", [30_000, 65_000])
def test_an_image_that_would_fill_the_memory_is_not_decoded(tmp_path, side):
    path = tmp_path / "bomb.png"

    def chunk(kind, content):
        crc = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + crc

    header = side.to_bytes(4, "big") * 2 + bytes((1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""))
    assert "100 megapixels" in str(image_problem(path))
    with pytest.raises(InputError, match="megapixels"):
        read_mask(path)


def test_a_picture_that_opencv_refuses_is_told_as_unreadable(monkeypatch, tmp_path):
    def refuse(*_):
        raise cv2.error("pixels <= CV_IO_MAX_IMAGE_PIXELS")

    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8")
    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(tmp_path / "a.jpg")
