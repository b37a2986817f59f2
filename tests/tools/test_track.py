"""``track``, ``score-tracks`` and ``calibrate-scores`` on made-up and real drives."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import InputError
from perception.metrics.track_record import COMBINED
from tools.calibrate_scores import run_calibrate_scores
from tools.score_tracks import label_files, run_score_tracks, score_files
from tools.track import run_track


def options(**given: Any) -> argparse.Namespace:
    base = {"layout": "kitti", "fps": 10.0, "stride": 1, "calibration": None, "size": None}
    return argparse.Namespace(**{**base, "calib": None, **given})


def made_up_drive(folder: Path, frames: int = 40) -> tuple[Path, Path]:
    """A car and a person going right, with labels and detections in probabilities."""
    found, labels = folder / "found", folder / "labels"
    found.mkdir()
    labels.mkdir()
    csv, truth = [], []
    for f in range(frames):
        for i, kind, code, (x, w, h) in (
            (0, "Car", 2, (100 + 8 * f, 90, 60)), (1, "Pedestrian", 1, (700 + 3 * f, 30, 80)),
        ):  # fmt: skip
            box = f"{x} 150 {x + w} {150 + h}"
            truth.append(f"{f} {i} {kind} 0 0 0 {box} 1 1 1 0 0 9 0")
            if f % 10 != 7:
                csv.append(f"{f},{code},{box.replace(' ', ',')},0.9")
    (found / "0001.txt").write_text("\n".join(csv))
    (labels / "0001.txt").write_text("\n".join(truth))
    return found, labels


def rows(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


def test_tracks_are_written_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, labels = made_up_drive(tmp_path)
    out = tmp_path / "out"
    assert run_track(options(detections=found, out=out)) == 0
    table = rows(out / "0001.txt")
    assert all(len(r) == 18 for r in table)
    assert {(r[1], r[2]) for r in table} == {("1", "Car"), ("2", "Pedestrian")}
    assert [p.name for p in out.iterdir()] == ["0001.txt"]
    a = argparse.Namespace(
        labels=labels,
        tracks=out,
        layout="kitti",
        stride=1,
        out=tmp_path / "scores",
        bootstrap=20,
        seed=0,
    )
    assert run_score_tracks(a) == 0
    printed = capsys.readouterr().out
    assert "HOTA" in printed and "Pedestrian" in printed
    scores = json.loads((tmp_path / "scores" / "tracking.json").read_text())["tracking"]
    assert scores["Car"]["switches"] == 0
    assert scores["Car"]["ground_truths"] == 40
    assert scores["Car"]["HOTA"] > 0.8
    assert scores["Cyclist"]["HOTA"] is None
    assert scores[COMBINED]["ground_truths"] == 80
    lines = (tmp_path / "scores" / "tracking.csv").read_text().splitlines()
    assert lines[0].startswith("class,drive,HOTA") and len(lines) == 1 + 3 * 2 + 1


def test_stride_sees_and_writes_each_nth_frame(tmp_path: Path) -> None:
    found, labels = made_up_drive(tmp_path)
    out = tmp_path / "out"
    run_track(options(detections=found, out=out, stride=4))
    frames = {int(r[0]) for r in rows(out / "0001.txt")}
    assert frames and all(f % 4 == 0 for f in frames)
    scores = score_files(label_files(labels, "kitti"), out, stride=4).totals()
    assert scores["Car"].scores()["switches"] == 0
    assert scores["Car"].scores()["ground_truths"] == 10


def test_the_time_scale_is_the_frame_rates(tmp_path: Path) -> None:
    """Every second frame at 20 per second is every frame at 10 per second."""
    found, _ = made_up_drive(tmp_path)
    doubled = tmp_path / "doubled"
    doubled.mkdir()
    text = [r.split(",", 1) for r in (found / "0001.txt").read_text().splitlines()]
    (doubled / "0001.txt").write_text("\n".join(f"{2 * int(f)},{rest}" for f, rest in text))
    run_track(options(detections=found, out=tmp_path / "one"))
    run_track(options(detections=doubled, out=tmp_path / "two", fps=20.0, stride=2))
    one, two = (rows(tmp_path / name / "0001.txt") for name in ("one", "two"))
    assert [[2 * int(r[0]), *r[1:]] for r in one] == [[int(r[0]), *r[1:]] for r in two]


def test_boxes_that_are_none_are_dropped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = made_up_drive(tmp_path)
    clean = tmp_path / "clean"
    run_track(options(detections=found, out=clean))
    bad = ["nan,1,9,9", "9,9,5,20", "9,9,9,9", "inf,0,9,9", "-90,5,-20,50"]
    text = "\n".join(f"0,2,{b},0.9" for b in bad) + "\n" + (found / "0001.txt").read_text()
    (found / "0001.txt").write_text(text)
    capsys.readouterr()
    run_track(options(detections=found, out=tmp_path / "out"))
    told = capsys.readouterr().err
    assert "0001: 4 boxes dropped" in told and "1 boxes outside" in told
    assert (tmp_path / "out" / "0001.txt").read_text() == (clean / "0001.txt").read_text()


def test_ten_thousand_detections_in_a_frame_are_bounded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    at = rng.uniform(0, 1000, (10_000, 2))
    lines = [
        f"{f},2,{x:.1f},{y:.1f},{x + 40:.1f},{y + 40:.1f},0.9" for f in (0, 1, 2) for x, y in at
    ]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    run_track(options(detections=tmp_path / "a.txt", out=tmp_path / "out"))
    assert "27000 of the least sure boxes beyond 1000 a frame" in capsys.readouterr().err


def test_raw_scores_need_a_map(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0,2,10,10,60,60,7.5")
    with pytest.raises(InputError, match="calibrate-scores"):
        run_track(options(detections=tmp_path / "a.txt", out=tmp_path / "out"))
    own = tmp_path / "pointrcnn_Car"
    own.mkdir()
    (own / "a.txt").write_text("0,2,10,10,60,60,7.5")
    assert run_track(options(detections=tmp_path / "pointrcnn_Car", out=tmp_path / "o")) == 0
    assert rows(tmp_path / "o" / "a.txt")[0][2] == "Car"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"fps": 0.0}, "--fps"), ({"fps": float("nan")}, "--fps"), ({"stride": 0}, "--stride")],
)
def test_bad_options(tmp_path: Path, given: dict[str, Any], expected: str) -> None:
    found, _ = made_up_drive(tmp_path)
    with pytest.raises(InputError, match=expected):
        run_track(options(detections=found, out=tmp_path / "out", **given))


def test_the_detections_are_not_overwritten(tmp_path: Path) -> None:
    found, _ = made_up_drive(tmp_path)
    before = (found / "0001.txt").read_text()
    with pytest.raises(InputError, match="overwrite"):
        run_track(options(detections=found, out=found))
    assert (found / "0001.txt").read_text() == before


def test_a_drive_without_tracks_is_named(tmp_path: Path) -> None:
    _, labels = made_up_drive(tmp_path)
    with pytest.raises(InputError, match="file of drive 0001"):
        score_files(label_files(labels, "kitti"), tmp_path)


def test_real_drives_and_their_calibration(realdata: Path, tmp_path: Path) -> None:
    """Figures of the README are near these; the thresholds are the best peers' on these drives."""
    base = realdata / "kitti_tracking"
    a = argparse.Namespace(
        detections=base / "detections", labels=base / "training" / "label_02", layout="kitti",
        out=tmp_path / "fit.json", detector="pointrcnn", run=None,
    )  # fmt: skip
    assert run_calibrate_scores(a) == 0
    fitted = json.loads((tmp_path / "fit.json").read_text())["classes"]
    assert fitted["Car"]["slope"] > 0.5
    assert fitted["Car"]["log_loss_left_out"] < fitted["Car"]["log_loss_of_base_rate"] / 2
    for stride, car, person in ((1, 0.73, 0.50), (4, 0.68, 0.47)):
        out = tmp_path / f"out{stride}"
        run_track(
            options(
                detections=base / "detections", out=out, stride=stride,
                calibration=str(tmp_path / "fit.json"),
            )
        )  # fmt: skip
        labels = label_files(base / "training" / "label_02", "kitti")
        scores = score_files(labels, out, stride=stride).totals()
        assert scores["Car"].scores()["HOTA"] > car
        assert scores["Pedestrian"].scores()["HOTA"] > person
