"""The tracker benchmark: what is done to the drives, and whose options are chosen on what."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception.metrics.tracking_files import read_kitti
from perception.tracking.detection_files import DriveDetections, read_detections
from tools.bench_track import Condition, Drive, chosen_by_halves, conditioned, main


def made_up(folder: Path, drives: int = 4, frames: int = 60) -> tuple[Path, Path]:
    """A car and a person with labels; sure detections of both and unsure ones beside them."""
    rng = np.random.default_rng(0)
    found, labels = folder / "found", folder / "labels"
    found.mkdir()
    labels.mkdir()
    for d in range(drives):
        seen, truth = [], []
        for f in range(frames):
            for i, (kind, code, w, h) in enumerate((("Car", 2, 90, 60), ("Pedestrian", 1, 30, 80))):
                x, y = 100 + 400 * i + 3 * f + 7 * d, 150
                box = f"{x} {y} {x + w} {y + h}"
                truth.append(f"{f} {i} {kind} 0 0 0 {box} 1 1 1 0 0 9 0")
                score = np.round(rng.uniform(0.5, 1), 3)
                seen.append(f"{f},{code},{box.replace(' ', ',')},{score}")
                false = f"{x + 150},{y},{x + 150 + w},{y + h}"
                seen.append(f"{f},{code},{false},{np.round(rng.uniform(0.05, 0.55), 3)}")
        (found / f"{d:04d}.txt").write_text("\n".join(seen))
        (labels / f"{d:04d}.txt").write_text("\n".join(truth))
    return found, labels


def a_drive(folder: Path, condition: Condition, seed: int = 0) -> tuple[DriveDetections, Drive]:
    found, labels = made_up(folder, drives=1)
    whole = read_detections(found, "kitti")[0]
    return whole, conditioned(whole, read_kitti(labels / "0000.txt"), condition, seed)


def test_a_stride_leaves_detections_and_labels_of_the_same_frames(tmp_path: Path) -> None:
    _, drive = a_drive(tmp_path, Condition("", stride=4))
    assert drive.frames.tolist() == list(range(0, 60, 4))
    assert (
        set(drive.found.frame.tolist()) == set(drive.labels.frame.tolist()) == set(range(0, 60, 4))
    )


def test_lost_frames_are_lost_to_detections_and_labels_alike(tmp_path: Path) -> None:
    _, drive = a_drive(tmp_path, Condition("", lost=0.3))
    assert 30 <= len(drive.frames) <= 54
    assert set(drive.found.frame.tolist()) == set(drive.frames.tolist())
    assert set(drive.labels.frame.tolist()) == set(drive.frames.tolist())


def test_noise_is_a_share_of_the_size_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, one = a_drive(tmp_path / "a", Condition("", noise=0.05))
    _, two = a_drive(tmp_path / "b", Condition("", noise=0.05))
    np.testing.assert_array_equal(one.found.xyxy, two.found.xyxy)
    off = one.found.xyxy - whole.xyxy
    size = whole.xyxy[:, 2:] - whole.xyxy[:, :2]
    assert (off[:, 0] / size[:, 0]).std() == pytest.approx(0.05, rel=0.2)
    assert (off[:, 3] / size[:, 1]).std() == pytest.approx(0.05, rel=0.2)


def test_options_are_chosen_on_the_other_half(tmp_path: Path) -> None:
    """'near' follows drive 0 exactly, 'far' drive 1; each is scored where it is the worse one."""
    found, labels = made_up(tmp_path, drives=2)
    drives = [
        conditioned(d, read_kitti(labels / f"{d.name}.txt"), Condition(""), 0)
        for d in read_detections(found, "kitti")
    ]
    jobs: list[dict[str, Any]] = []
    results: dict[str, Any] = {}
    for option, good in (("near", 0), ("far", 1)):
        for d, drive in enumerate(drives):
            own = drive.labels.kind == "Car"
            rows = np.column_stack([drive.labels.frame, drive.labels.track_id, drive.labels.xyxy])
            results[f"{len(jobs)}/tracks"] = rows[own] if d == good else rows[own][:3]
            jobs.append({
                "tracker": "SORTTracker", "class": "Car", "drive": d, "options": {"o": option},
                "min_score": 0.1,
            })  # fmt: skip
    result = chosen_by_halves(jobs, results, drives, [0, 1], ["Car"])["SORT"]["Car"]
    assert [c.scores()["HOTA"] < 0.5 for c in result] == [True, True]


def test_table_and_plot_without_peers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found, labels = made_up(tmp_path)
    out = tmp_path / "out"
    assert main(["--detections", str(found), "--labels", str(labels), "--out", str(out)]) == 0
    with (out / "tracking.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert {r["tracker"] for r in rows} == {"Roadstack"}
    assert len({r["condition"] for r in rows}) == 5
    clean = [float(r["HOTA"]) for r in rows if r["condition"] == "10 Hz"]
    assert min(clean) > 90
    assert (out / "tracking.png").stat().st_size > 1000
    assert "300" in (out / "tracking_speed.csv").read_text()


def test_peers_that_cannot_be_run_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, labels = made_up(tmp_path)
    given = ["--detections", str(found), "--labels", str(labels), "--out", str(tmp_path / "o")]
    assert main([*given, "--peers", str(tmp_path / "none")]) == 2
    assert "cannot be run" in capsys.readouterr().err
    assert list((tmp_path / "o").iterdir()) == []


def test_times_alone_leave_the_table_of_before(tmp_path: Path) -> None:
    (tmp_path / "tracking.png").write_bytes(b"kept")
    assert main(["--out", str(tmp_path)]) == 0
    with (tmp_path / "tracking_speed.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert {int(r["objects"]) for r in rows} == {30, 300}
    assert all(0 < float(r["median_ms_a_frame"]) <= float(r["p99_ms_a_frame"]) for r in rows)
    assert (tmp_path / "tracking.png").read_bytes() == b"kept"
    assert not (tmp_path / "tracking.csv").exists()


def test_detections_need_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--detections", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "--labels" in capsys.readouterr().err
