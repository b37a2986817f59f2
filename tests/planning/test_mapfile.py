from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from data.errors import InputError
from planning.mapfile import load_map

YAML = """image: m.pgm
resolution: 0.1
origin: [-1.0, 2.0, 0.0]
occupied_thresh: 0.65
free_thresh: 0.196
negate: 0
"""


def write(folder, text=YAML, picture=None, name="m.pgm"):
    if picture is None:
        picture = np.full((4, 6), 254, np.uint8)
    cv2.imwrite(str(folder / name), picture)
    path = folder / "m.yaml"
    path.write_text(text)
    return path


def test_rows_are_turned_so_that_y_goes_up(tmp_path):
    picture = np.full((4, 6), 254, np.uint8)
    picture[0, 1] = 0  # occupied, in the top row: the highest y
    picture[3, 2] = 205  # unknown
    grid = load_map(write(tmp_path, picture=picture))
    assert np.argwhere(grid.occupied).tolist() == [[0, 2], [3, 1]]
    assert grid.cell_m == 0.1
    at = grid.to_grid(np.array([-0.85, 2.35, 0.5]))
    assert at == pytest.approx([0.15, 0.35, 0.5])  # the middle of row 3, column 1


def test_negate_and_png(tmp_path):
    picture = np.zeros((4, 6), np.uint8)
    picture[3, 5] = 255
    text = YAML.replace("negate: 0", "negate: 1").replace("m.pgm", "m.png")
    grid = load_map(write(tmp_path, text, picture, "m.png"))
    assert np.argwhere(grid.occupied).tolist() == [[0, 5]]


def test_transparent_is_unknown(tmp_path):
    picture = np.full((4, 6, 4), 255, np.uint8)
    picture[3, 0, 3] = 0
    grid = load_map(write(tmp_path, YAML.replace("m.pgm", "m.png"), picture, "m.png"))
    assert np.argwhere(grid.occupied).tolist() == [[0, 0]]


def test_turned_origin_there_and_back(tmp_path):
    grid = load_map(write(tmp_path, YAML.replace("2.0, 0.0]", "2.0, 1.5707963]")))
    pose = np.array([-1.0, 2.3, 1.6])
    assert grid.to_grid(pose) == pytest.approx([0.3, 0.0, 1.6 - math.pi / 2], abs=1e-6)
    assert grid.from_grid(grid.to_grid(pose)) == pytest.approx(pose)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("resolution: 0.1", "resolution: 0", "resolution"),
        ("resolution: 0.1", "resolution: 5000", "resolution"),
        ("resolution: 0.1", "resolution: fine", "resolution"),
        ("resolution: 0.1", "resolution: .nan", "resolution"),
        ("resolution: 0.1\n", "", "misses resolution"),
        ("[-1.0, 2.0, 0.0]", "[-1.0]", "origin"),
        ("[-1.0, 2.0, 0.0]", "[a, b, c]", "origin"),
        ("image: m.pgm", "image: other.pgm", "does not exist"),
        ("image: m.pgm", f"image: {'m' * 300}.pgm", "does not exist"),
        ("image: m.pgm", 'image: "m\\n\\0.pgm"', "does not exist"),
        ("image: m.pgm", "image: m.yaml", "cannot be read"),
        ("image: m.pgm", "image: 3", "image"),
        ("free_thresh: 0.196", "free_thresh: 0.9", "free_thresh"),
        ("negate: 0", "negate: perhaps", "negate"),
        ("negate: 0", "mode: raw", "mode"),
        ("image: m.pgm", "image: [", "YAML"),
    ],
)
def test_bad_maps_are_one_line(tmp_path, old, new, said):
    path = write(tmp_path, YAML.replace(old, new))
    with pytest.raises(InputError, match=said) as error:
        load_map(path)
    assert "\n" not in str(error.value)


def test_no_file_and_no_mapping(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_map(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="expected keys"):
        load_map(write(tmp_path, "just text"))
    path = write(tmp_path)
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError):
        load_map(path)
