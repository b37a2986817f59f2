"""Score to probability and width to width: what is fitted is what made the data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from perception.metrics.calibration import fit_class, fit_platt, fit_width, judged
from perception.metrics.tracking import Boxes, Truth
from perception.tracking.calibration import (
    Calibration,
    ClassMap,
    load_calibration,
    shipped,
    to_json,
)


def test_platt_finds_the_map_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 3, 20000)
    right = rng.random(20000) < 1 / (1 + np.exp(-(0.8 * x - 2)))
    slope, offset = fit_platt(x, right)
    assert slope == pytest.approx(0.8, abs=0.05)
    assert offset == pytest.approx(-2, abs=0.1)


def test_platt_stays_finite_where_scores_part_right_from_wrong() -> None:
    x = np.array([-2.0, -1.0, 1.0, 2.0])
    slope, offset = fit_platt(x, x > 0)
    assert 0 < slope < 50 and abs(offset) < 1


def test_platt_refuses_one_kind_only() -> None:
    with pytest.raises(ValueError, match="right and wrong"):
        fit_platt(np.arange(3.0), np.ones(3, bool))


def drive(rng: np.random.Generator, wide: float) -> tuple[Truth, Boxes, np.ndarray]:
    """200 frames with one person found ``wide`` times too wide, and one false alarm."""
    n = 200
    w, h = rng.uniform(20, 40, n), rng.uniform(60, 90, n)
    u, v = rng.uniform(200, 800, n), rng.uniform(100, 200, n)
    frame = np.arange(n)
    labels = Boxes(frame, np.ones(n, int), np.stack([u - w / 2, v, u + w / 2, v + h], 1))
    found = np.stack([u - wide * w / 2, v, u + wide * w / 2, v + h], 1)
    false = found + (0, 300, 0, 300)
    both = Boxes(np.repeat(frame, 2), np.arange(2 * n), np.stack([found, false], 1).reshape(-1, 4))
    score = np.stack([rng.normal(3, 1, n), rng.normal(0, 1, n)], 1).reshape(-1)
    return Truth(labels, np.ones(n, bool), np.zeros(n, bool)), both, score


def test_a_width_that_is_wrong_everywhere_is_mended() -> None:
    rng = np.random.default_rng(1)
    drives = [drive(rng, 2.2) for _ in range(3)]
    offset, slope = fit_width(judged(drives, 0.3), 1242)
    assert offset == pytest.approx(-np.log(2.2), abs=0.01)
    assert slope == pytest.approx(0, abs=0.02)
    # so wide that no box is right as it stands; all of the first kind are with the width mended
    fitted, figures = fit_class(drives, False, 1242)
    assert figures["right"] == 600
    assert fitted.slope > 1
    assert figures["log_loss_left_out"] < figures["log_loss_of_base_rate"] / 2


def test_a_width_that_is_right_is_left_alone() -> None:
    rng = np.random.default_rng(1)
    assert fit_width(judged([drive(rng, 1.0) for _ in range(3)], 0.3), 1242) == (0.0, 0.0)


def test_maps_apply_to_their_class_alone() -> None:
    c = Calibration("d", False, {"Car": ClassMap(1.0, 1.0, -np.log(2.0), 0.0)})
    kind = np.array(["Car", "Tram", "Car"])
    p = c.probability(kind, np.array([-1.0, 0.3, np.nan]))
    assert p[0] == pytest.approx(0.5) and p[1] == 0.3 and np.isnan(p[2])
    xyxy = np.array([[100, 0, 140, 50], [100, 0, 140, 50], [0, 0, 40, 50]], float)
    out = c.boxes(kind, xyxy)
    assert out[0].tolist() == pytest.approx([110, 0, 130, 50])
    assert out[1].tolist() == [100, 0, 140, 50]
    assert out[2].tolist() == pytest.approx([0, 0, 30, 50])  # the picture's border stays


def test_unit_scores_are_mapped_by_their_log_odds() -> None:
    c = Calibration("d", True, {"Car": ClassMap(1.0, 0.0)})
    score = np.array([0.1, 0.5, 0.99])
    np.testing.assert_allclose(c.probability(np.array(["Car"] * 3), score), score)


@pytest.mark.parametrize("unit", [True, False])
def test_classes_by_name_and_by_place_are_mapped_alike(unit: bool) -> None:
    maps = {"car": ClassMap(0.7, -0.4), "sign": ClassMap(1.3, 0.2)}
    c, names = Calibration("d", unit, maps), ("car", "person", "sign")
    rng = np.random.default_rng(0)
    ids, score = rng.integers(0, 3, 200), rng.random(200)
    score[:3] = (0.0, 1.0, np.nan)
    want = c.probability(np.array(names)[ids], score)
    np.testing.assert_array_equal(c.probability_by_id(names, ids, score), want)
    assert (want[ids == 1] == score[ids == 1]).any()


def test_files_hold_what_was_fitted(tmp_path: Path) -> None:
    c = Calibration("mine", False, {"Car": ClassMap(0.5, -1.0, 0.1, 0.2)}, "two drives")
    path = tmp_path / "c.json"
    path.write_text(json.dumps(to_json(c, {"Car": {"right": 7}})))
    assert load_calibration(path) == c


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "no JSON"),
        ("{}", "no calibration file"),
        ('{"detector": "a", "scores": "other", "classes": {}}', "no calibration file"),
        ('{"detector": "a", "scores": "raw", "classes": {"Car": {"slope": NaN}}}', "finite"),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        load_calibration(path)


def test_shipped_ones_are_known_by_name() -> None:
    assert "pointrcnn" in shipped()
    assert load_calibration("pointrcnn").classes["Pedestrian"].width_offset < -0.3
    with pytest.raises(InputError, match=r"shipped ones: .*pointrcnn"):
        load_calibration("nobody")
