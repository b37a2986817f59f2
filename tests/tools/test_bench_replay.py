"""``roadstack bench replay``: every model with and without overlay, peers beside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perception.runtime import find_model
from tools.bench_replay import peer_ms
from tools.cli import main


def test_the_table_has_every_model_without_and_with_overlay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nano = find_model("nano")
    words = ["--model", "nano", "--frames", "3", "--repeats", "1", "--threads", "1"]
    assert main(["bench", "replay", *words, "--peer", str(nano), "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "replay.json").read_text())
    assert [(r["model"], r["overlay"], r["frames"]) for r in result["rows"]] == [
        ("nano", False, 3), ("nano", True, 3),
    ]  # fmt: skip
    assert result["rows"][0]["network_fps"] == result["rows"][1]["network_fps"] > 0
    assert all(r["fps"] > 0 and r["size"] == [1280, 720] for r in result["rows"])
    assert "overlay" not in result["rows"][0]["stage_ms"]
    assert result["peers_ms"] == result["peers"][str(nano)] > 0
    said = capsys.readouterr().out
    assert "peers together" in said and "network alone" in said.splitlines()[1]
    assert len((tmp_path / "replay.csv").read_text().splitlines()) == 3


def test_a_peer_has_a_picture_of_fixed_size_as_input(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(find_model("nano"))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "h"
    onnx.save(model, tmp_path / "open.onnx")
    with pytest.raises(Exception, match="fixed size"):
        peer_ms(tmp_path / "open.onnx", 1)


def test_a_source_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "replay", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "o")]
    assert main(words) == 2
    assert "none.mp4" in capsys.readouterr().err
