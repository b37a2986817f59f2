"""A score map beside a model: found, refused when malformed, and used by the stack alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.synthetic.drive import SyntheticDrive
from perception.runtime import find_model, load_model
from tools.stack import PROBABLE, RAW, Stack

MAP = {
    "detector": "mine",
    "scores": "log_odds",
    "classes": {"vehicle": {"slope": 2.0, "offset": 1.0}},
}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copy(find_model("base"), tmp_path / "mine.onnx")
    return tmp_path / "mine.onnx"


def test_a_model_without_a_map_gives_the_tracker_its_raw_scores(copied: Path) -> None:
    model = load_model(str(copied), 1)
    assert model.scores is None and Stack(model).tracker.config == RAW


def test_with_a_map_the_stack_works_on_probabilities(copied: Path) -> None:
    copied.with_suffix(".scores.json").write_text(json.dumps(MAP))
    model = load_model(str(copied), 1)
    stack = Stack(model)
    assert stack.tracker.config == PROBABLE
    frame = SyntheticDrive(seed=0).frame(0)
    raw, _ = model(frame.image, 0.05)
    r = stack.step(frame)
    assert r.scene is not None
    got = r.scene.detections
    odds = np.log(raw.score / (1 - raw.score))
    vehicle = raw.class_id == 0
    want = np.where(vehicle, 1 / (1 + np.exp(-(2 * odds + 1))), raw.score)
    keep = want >= PROBABLE.low_score
    assert vehicle[keep].any()
    np.testing.assert_allclose(got.score, want[keep], atol=1e-5)
    np.testing.assert_array_equal(got.xyxy, raw.xyxy[keep])


def test_a_malformed_map_is_refused(copied: Path) -> None:
    copied.with_suffix(".scores.json").write_text("{}")
    with pytest.raises(InputError, match=r"mine\.scores\.json: no calibration file"):
        load_model(str(copied), 1)


def test_a_camera_given_wins_over_the_logs_own() -> None:
    """The drive's frames bring their calibration; a given one is used in its place."""
    frame = SyntheticDrive(seed=0).frame(0)
    assert frame.camera is not None
    given = replace(frame.camera, source="given")
    stack = Stack(load_model("base", 1), given)
    r = stack.step(frame)
    assert r.scene is not None and r.scene.camera.source == "given"


def test_a_log_that_knows_the_lens_alone_has_its_camera_turned() -> None:
    frame = SyntheticDrive(seed=0).frame(0)
    assert frame.camera is not None
    lens = replace(frame.camera, source="bag", angle_std_rad=(0.1, 0.1))
    stack = Stack(load_model("base", 1))
    stack.look_ahead([replace(f, camera=lens) for f in [frame] * 12])
    r = stack.step(replace(frame, camera=lens))
    assert r.scene is not None
    camera = r.scene.camera
    assert camera.source == "bag, horizon from lane lines"
    assert camera.matrix[0, 0] == frame.camera.matrix[0, 0]
    assert abs(camera.horizon_row_px - frame.camera.horizon_row_px) < 25
