"""Configuration from TOML and overrides."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from data.config import load_config
from data.errors import InputError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    steps: int = 10


@dataclass(frozen=True)
class Outer:
    name: str = "x"
    size: tuple[int, int] = (4, 2)
    parts: tuple[Inner, ...] = ()
    folder: Path | None = None
    inner: Inner = field(default_factory=Inner)


def test_file_and_dotted_overrides(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("name = 'a'\n[inner]\nsteps = 3\n[[parts]]\nrate = 1\n")
    c = load_config(Outer, path, ("inner.rate=2", "size=[8, 6]", "folder=some/where"))
    assert c == Outer("a", (8, 6), (Inner(1.0, 10),), Path("some/where"), Inner(2.0, 3))


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("inner.stepz=3", "did you mean 'steps'"),
        ("inner.steps=1.5", "expected int"),
        ("inner.steps=true", "expected int"),
        ("size=[1]", "expected 2 values"),
        ("name.sub=1", "expected str"),
        ("novalue", "key=value"),
    ],
)
def test_wrong_overrides_say_what_is_wrong(override, says):
    with pytest.raises(InputError, match=says):
        load_config(Outer, None, (override,))
