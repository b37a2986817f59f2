"""The model cards, the README's table and what evaluate gives are the same figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tools.cli import main

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("base", "nano")
CLASSES = {
    "vehicle": "vehicle", "person": "person", "two-wheeler": "two_wheeler",
    "traffic light": "traffic_light", "traffic sign": "traffic_sign",
}  # fmt: skip
_SPAN = r"(\S+) \((\S+) to (\S+)\)"
# row of the README's table, where the same figure stands in a card
ROWS = {
    "vehicle AP50, `bdd100k_subset`, 76 frames": r"^\| vehicle \| (\S+)",
    "person AP50": r"^\| person \| (\S+)",
    "traffic light AP50": r"^\| traffic light \| (\S+)",
    "traffic sign AP50": r"^\| traffic sign \| (\S+)",
    "drivable IoU": r"^\| drivable area \| `bdd100k_subset`, test \| 76 \| (\S+)",
    "lane IoU": r"^\| lane lines \| `bdd100k_subset`, test \| 75 \| (\S+)",
    "vehicle AP50, `kitti_object`, 51 frames, never trained on": r": vehicle AP50 (\S+) \(",
    "person AP50, `kitti_object`": r" boxes; person (\S+) \(",
    "road IoU, `idd_lite` val, 204 frames": r"^\| road surface \| `idd_lite`, .*\| 204 \| (\S+)",
    "road IoU, `camvid`, 233 frames": r"^\| road \| `camvid`, test \| 233 \| (\S+)",
}


def card(model):
    return (ROOT / f"perception/weights/{model}.md").read_text()


@pytest.mark.parametrize("name", ROWS)
def test_the_readme_and_the_cards_say_the_same(name):
    line = re.search(rf"^\| {re.escape(name)} \|(.*)$", (ROOT / "README.md").read_text(), re.M)
    assert line, f"the README's table has no row {name}"
    told = [cell.strip() for cell in line[1].split("|")[:2]]
    assert told == [re.search(ROWS[name], card(m), re.M)[1] for m in MODELS]


def spans(text, rows):
    """Row of a card -> value and ends of its interval."""
    found = {n: re.search(rf"^\| {re.escape(n)} \| {_SPAN}", text, re.M) for n in rows}
    return {n: [float(v) for v in f.groups()] for n, f in found.items()}


@pytest.mark.parametrize("model", MODELS)
def test_evaluate_gives_the_cards_figures(realdata, tmp_path, model):
    argv = ["--data", str(realdata / "bdd100k_subset"), "--split", "test", "--model", model]
    assert main(["evaluate", *argv, "--worst", "0", "--out", str(tmp_path)]) == 0
    given = json.loads((tmp_path / "metrics.json").read_text())
    surfaces = {
        "drivable area | `bdd100k_subset`, test | 76": "drivable",
        "lane lines | `bdd100k_subset`, test | 75": "lane",
    }
    told = spans(card(model), [*CLASSES, *surfaces])
    for row, numbers in told.items():
        figures = given[surfaces[row]] if row in surfaces else given["detection"][CLASSES[row]]
        key = "iou" if row in surfaces else "AP50"
        ours = [figures[key + end] for end in ("", "_low", "_high")]
        assert ours[0] == pytest.approx(numbers[0], abs=1e-3), row
        assert ours[1:] == pytest.approx(numbers[1:], abs=5e-3), row
