"""Which drive a frame is from, by the names of each layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.datasets import Dataset
from tools.drives import frame_drives


def named(layout: str, *names: str) -> Dataset:
    return Dataset(layout, Path(), "test", names, tuple(map(Path, names)), ())


@pytest.mark.parametrize(
    ("layout", "names", "drives"),
    [
        ("bdd100k", ["b1c81faa-3df17267.jpg", "b1c81faa-c80764c5.jpg", "b1d0a191-03dcecc2.jpg"],
         ["b1c81faa", "b1c81faa", "b1d0a191"]),
        ("camvid", ["0001TP_006690.png", "Seq05VD_f02610.jpg"], ["0001TP", "Seq05VD"]),
        ("idd", ["119/903127_image.jpg", "7/1_image.jpg"], ["119", "7"]),
        ("bdd100k", ["b1c81faa-3df17267.jpg", "mine.jpg"], ["", ""]),
        ("idd", ["a_image.jpg"], [""]),
        ("coco", ["a/1.jpg", "b/2.jpg"], ["", ""]),
        ("kitti", ["000000.png"], [""]),
    ],
)  # fmt: skip
def test_drives_by_name(layout, names, drives):
    assert frame_drives(named(layout, *names)) == drives
