"""``roadstack average``: the mean of checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from data.errors import InputError  # noqa: E402
from perception.models.architectures import build  # noqa: E402
from perception.training.checkpoints import (  # noqa: E402
    FORMAT,
    average,
    load_weights,
    save_weights,
)
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


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ('{"arch"q: "nano"}', "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
        ("[]", "no table"),
        ('{"arch": ["nano"]}', "'arch' is no name"),
        ('{"arch": "nano", "segmentation_classes": 7}', "no list of names"),
        (json.dumps({"arch": "base", "segmentation_classes": ["c"] * 10_000}), "no list of names"),
    ],
)
def test_spoilt_metadata_is_refused_in_a_line(tmp_path: Path, meta: str, says: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.zeros(2)}, path, {"format": FORMAT, "meta": meta})
    with pytest.raises(InputError, match=says) as caught:
        load_weights(path)
    assert str(caught.value).isprintable()


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


def test_a_folder_is_no_file_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = checkpoint(tmp_path / "a.safetensors", 1.0)
    assert main(["average", str(a), str(a), "--out", str(tmp_path)]) == 2
    assert f"--out {tmp_path}: is a folder; give a file" in capsys.readouterr().err
