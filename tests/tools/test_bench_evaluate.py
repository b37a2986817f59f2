"""The benchmark of detection scoring: what it tells of each tool."""

from __future__ import annotations

import json

import pytest

from tools.bench_evaluate import OURS, bench_evaluate
from tools.cli import main


def test_tools_that_are_there_give_the_same_figures(tmp_path, capsys):
    pytest.importorskip("faster_coco_eval")
    argv = ["--images", "20", "--classes", "3", "--detections", "500", "--out", str(tmp_path)]
    assert main(["bench", "evaluate", *argv]) == 0
    found = json.loads((tmp_path / "evaluate.json").read_text())
    rows = found["tools"]
    assert rows[OURS]["seconds"] > 0 and rows[OURS]["peak_mib"] > 10
    assert rows["faster-coco-eval"]["equal"] is True
    assert 0.02 < rows[OURS]["stats"][0] < 0.95
    assert "faster-coco-eval" in capsys.readouterr().out


def test_a_tool_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr("tools.bench_evaluate._THEIRS", "raise ImportError('no such tool')\n")
    rows = bench_evaluate(5, 1, 20)["tools"]
    assert rows["pycocotools"] == {"missing": "ImportError: no such tool"}
    assert "stats" in rows[OURS]


def test_nothing_to_score_and_no_interpreter_are_refused(capfd):
    assert main(["bench", "evaluate", "--images", "0"]) == 2
    small = ["--images", "5", "--classes", "1", "--detections", "20"]
    assert main(["bench", "evaluate", *small, "--pycocotools", "/nowhere/python"]) == 2
    assert "/nowhere/python" in capfd.readouterr().err.splitlines()[-1]
