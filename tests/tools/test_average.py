"""``roadstack average``: the mean of checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from data.errors import InputError  # noqa: E402
from perception.models.architectures import build  # noqa: E402
from perception.training.checkpoints import average, load_weights, save_weights  # noqa: E402
from tools.cli import main  # noqa: E402


def checkpoint(path: Path, value: float, arch: str = "nano") -> Path:
    state = build(arch).state_dict()
    for v in state.values():
        v.fill_(value)
    save_weights(path, state, {"arch": arch})
    return path


def test_the_mean_of_two_lies_between_them(tmp_path: Path) -> None:
    a, b = checkpoint(tmp_path / "a.safetensors", 1.0), checkpoint(tmp_path / "b.safetensors", 4.0)
    assert main(["average", str(a), str(b), "--out", str(tmp_path / "new" / "c.safetensors")]) == 0
    net, meta = load_weights(tmp_path / "new" / "c.safetensors")
    for name, v in net.state_dict().items():
        assert v.unique().tolist() == ([2.5] if v.is_floating_point() else [1]), name
    assert meta["arch"] == "nano" and meta["mean_of"] == ["a.safetensors", "b.safetensors"]


def test_other_networks_and_single_ones_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = checkpoint(tmp_path / "a.safetensors", 1.0)
    with pytest.raises(InputError, match="two checkpoints or more"):
        average([a])
    b = checkpoint(tmp_path / "b.safetensors", 1.0, "base")
    assert main(["average", str(a), str(b), "--out", str(tmp_path / "c.safetensors")]) == 2
    assert "b.safetensors: of network 'base'" in capsys.readouterr().err
    assert not (tmp_path / "c.safetensors").exists()
