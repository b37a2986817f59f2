"""Shared by the tests of ``label``: its options as the command line gives them, and pictures."""

from __future__ import annotations

import argparse

import cv2
import pytest

from tools.options import build_parser


@pytest.fixture
def options():
    """Make the options of ``label SOURCE --out OUT``, with some changed."""

    def make(source, out, **changes):
        given = build_parser("").parse_args(["label", str(source), "--out", str(out)])
        return argparse.Namespace(**{**vars(given), **changes})

    return make


@pytest.fixture
def two_pictures(tmp_path):
    """Write a picture twice, once in a folder below; returns the folder."""

    def write(image):
        folder = tmp_path / "in"
        (folder / "drive").mkdir(parents=True)
        for name in ("a.png", "drive/b.png"):
            cv2.imwrite(str(folder / name), image)
        return folder

    return write
