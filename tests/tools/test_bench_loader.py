"""The loader's benchmark runs, says what it measured, and compares with the plain way."""

from __future__ import annotations

import argparse
import json

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("albumentations")

from data.errors import InputError
from tools.bench_loader import bench_loader, run_bench_loader


@pytest.fixture
def small_set(tmp_path):
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"train/{i}.jpg"), np.full((90, 160, 3), 80 * i, np.uint8))
        cv2.imwrite(str(tmp_path / f"trainannot/{i}.png"), np.full((90, 160), 3, np.uint8))
    return tmp_path


def test_each_regime_has_its_rate_and_its_stages(small_set, tmp_path, capsys):
    options = argparse.Namespace(
        data=small_set, split="train", size=(96, 64), workers=0, seconds=0.01, layout=None,
        out=tmp_path / "out",
    )  # fmt: skip
    assert run_bench_loader(options) == 0
    result = json.loads((tmp_path / "out/loader.json").read_text())
    assert result["frame_size"] == [160, 90] and result["frames"] == 3
    assert list(result["regimes"]) == ["plain", "cold", "warm"]
    for name, r in result["regimes"].items():
        assert r["samples_per_s"] >= r["samples_per_s_p5"] > 0
        assert r["cpu_ms_per_sample"] > 0
        changes = {"augment"} if name == "plain" else {"geometry", "photometric"}
        assert set(r["stages_ms"]) == changes | {"decode", "targets", "collate"}
    assert result["regimes"]["cold"]["frames_held"] == 0
    assert result["regimes"]["warm"]["frames_held"] == 3
    shown = capsys.readouterr().out
    assert "samples/s" in shown and "times as fast" in shown and "held once" in shown


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        bench_loader(tmp_path / "nowhere", "train")
