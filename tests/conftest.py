"""Shared by all tests: where the real data lies, if it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[1].parent / "shared" / "realdata"


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of real labelled data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("ROADSTACK_REALDATA", _DEFAULT))
    if not folder.is_dir():
        pytest.skip("real data is not here (set ROADSTACK_REALDATA to its folder)")
    return folder
