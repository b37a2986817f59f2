"""The score map fitted on evaluated frames, and the command that writes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.taxonomy import CLASS_ID, CLASSES
from data.types import Detections, Sample
from perception.metrics.frame_calibration import fit_frames
from perception.metrics.frames import FrameCollector, FrameRecord, save
from perception.metrics.score import Prediction
from perception.tracking.calibration import load_calibration
from tools.cli import main

VEHICLE, PERSON = CLASS_ID["vehicle"], CLASS_ID["person"]


def record(frames: int, seed: int = 0) -> FrameRecord:
    """Frames of 20 vehicles whose boxes are right as often as sigmoid(2 x + 1) of their score's
    log-odds x says, and one person each, found in every tenth frame."""
    rng, seen = np.random.default_rng(seed), FrameCollector()
    for i in range(frames):
        corner = np.stack([np.arange(20) * 30.0, np.full(20, 50.0)], 1)
        label = np.hstack([corner, corner + 20]).astype(np.float32)
        x = rng.normal(-1, 1, 20)
        wrong = rng.random(20) > 1 / (1 + np.exp(-(2 * x + 1)))
        found = label + np.where(wrong, 200, 0)[:, None].astype(np.float32)
        person = np.float32([[10, 400, 30, 440]])
        boxes, kind = [found], [VEHICLE] * 20
        score = list(1 / (1 + np.exp(-x)))
        if i % 10 == 0:
            boxes, kind, score = [*boxes, person], [*kind, PERSON], [*score, 0.6]
        d = Detections(np.concatenate(boxes), np.float32(score), np.array(kind))
        image = np.zeros((480, 640, 3), np.uint8)
        every = np.concatenate([label, person])
        sample = Sample(
            image, every, np.array([VEHICLE] * 20 + [PERSON]), np.zeros(21, bool),
            np.ones(len(CLASSES), bool), None, None, f"{i:03d}",
        )  # fmt: skip
        seen.add(sample, Prediction(d, None, None))
    about = {"data": {"layout": "made", "split": "val"}, "model": {"name": "mine"}}
    return seen.record(about)


def test_the_map_that_made_the_frames_is_found() -> None:
    calibration, figures = fit_frames(record(300), "mine")
    m = calibration.classes["vehicle"]
    assert m.slope == pytest.approx(2, abs=0.15) and m.offset == pytest.approx(1, abs=0.15)
    f = figures["vehicle"]
    assert f["log_loss"] <= f["log_loss_left_out"] < f["log_loss_of_scores"]
    assert f["log_loss_left_out"] < f["log_loss_of_base_rate"]
    assert calibration.note == "fitted on 300 frames, made val"


def test_a_class_never_wrong_takes_the_map_of_all() -> None:
    calibration, figures = fit_frames(record(300), "mine")
    assert figures["person"] == {"detections": 30, "right": 30, "of_all_classes": 1}
    assert calibration.classes["person"].slope == pytest.approx(2, abs=0.2)


def test_unlikely_scores_take_no_part() -> None:
    _, all_of_them = fit_frames(record(50), "mine", 0.0)
    _, likely = fit_frames(record(50), "mine", 0.5)
    assert 0 < likely["vehicle"]["detections"] < all_of_them["vehicle"]["detections"] == 1000


def test_the_command_writes_a_file_that_is_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(record(60), tmp_path / "frames.npz")
    out = tmp_path / "mine.scores.json"
    assert main(["calibrate-scores", "--run", str(tmp_path), "--out", str(out)]) == 0
    assert "vehicle: " in capsys.readouterr().out
    assert load_calibration(out).detector == "mine"
    assert set(json.loads(out.read_text())["classes"]) == set(CLASSES)


def test_an_empty_evaluation_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.json"
    assert main(["calibrate-scores", "--run", str(tmp_path), "--out", str(out)]) == 2
    assert "frames.npz" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--labels", "nosuch"], "--labels goes with --detections"),
        (["--format", "mot"], "--format goes with --detections"),
        (["--out", "."], "--out .: is a folder; give a file"),
    ],
)
def test_options_without_use_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    save(record(60), tmp_path / "frames.npz")
    out = tmp_path / "x.json"
    argv = ["calibrate-scores", "--run", str(tmp_path), "--out", str(out), *more]
    assert main(argv) == 2
    assert says in capsys.readouterr().err and not out.exists()
