from __future__ import annotations

import json

import numpy as np
import pytest

from data.camera import Camera
from data.errors import InputError
from data.types import Detections, Plan, PlanStatus, Sample, Scene, Surfaces, Tracks
from tools.bench_plan_frames import OnRoad, stands_behind
from tools.bench_plan_steady import lateral_changes, steadiness


def path(y: float, end: float = 30.0) -> np.ndarray:
    x = np.arange(0.0, end + 0.1, 0.5)
    return np.column_stack([x, y * x / 10])


def test_changes_are_between_neighbours_that_both_reach_so_far():
    paths = [path(0.0), path(0.1), path(0.1, end=5.0), path(0.4), path(0.2), np.zeros((0, 2))]
    assert lateral_changes(paths, 10.0) == pytest.approx([0.1, 0.2])


def test_figures_of_a_replay(tmp_path):
    def record(y: float) -> str:
        points = [[float(x), float(v), 0, 5, 0, float(x) / 5] for x, v in path(y, 20.0)]
        return json.dumps({"plan": {"status": "OK", "points": points}})

    (tmp_path / "record.jsonl").write_text("\n".join(map(record, (0.0, 0.1, 0.2))))
    lines = [json.dumps({"stage_ms": {"plan": ms}}) for ms in (1.0, 2.0, 3.0)]
    (tmp_path / "timings.jsonl").write_text("\n".join(lines))
    out = steadiness(tmp_path)
    assert out["at 10 m"] == "mean 0.100, p95 0.100, max 0.100 m (2)"
    assert "at 30 m" not in out
    assert out["plan ms p50, p95, p99"].startswith("2.0")
    assert out["statuses"] == {"OK": 3}


def test_a_folder_without_a_replay_is_named(tmp_path):
    with pytest.raises(InputError, match=r"record\.jsonl"):
        steadiness(tmp_path)


def test_standing_behind_something_has_to_be_known_to_the_labels():
    box = np.array([[300.0, 200.0, 420.0, 300.0]], np.float32)
    one, flat = np.ones(1), np.zeros((8, 8), np.float32)
    tracks = Tracks(one, box, 0 * one, one, one, 0 * one, np.array([[9.3, 0.1]]),
                    np.zeros((1, 2)), np.zeros((1, 4, 4)))  # fmt: skip
    camera, surfaces = Camera.assumed(640, 360), Surfaces(flat, flat, (0.1, 0.1))
    scene = Scene(0, camera, Detections.empty(), surfaces, tracks)

    def stands(reason: str, labelled: np.ndarray, status=PlanStatus.BLOCKED) -> bool:
        n = len(labelled)
        image = np.zeros((360, 640, 3), np.uint8)
        sample = Sample(image, labelled, np.zeros(n), np.zeros(n, bool), np.ones(5, bool), None,
                        None, "a")  # fmt: skip
        return stands_behind(Plan.none(status, reason), scene, sample)

    reason = "vehicle 9 m ahead in the corridor: stopping"
    assert stands(reason, box + 5)
    assert not stands(reason, box + 100)
    assert not stands(reason, box[:0])
    assert not stands(reason, box, PlanStatus.OK)
    assert not stands("person 9 m ahead in the corridor: stopping", box)
    assert not stands("vehicle 13 m ahead in the corridor: stopping", box)
    assert not stands("drivable area ends 7 m ahead: stopping", box)


def test_a_stop_for_want_of_a_way_is_no_plan():
    assert OnRoad("a", "BLOCKED", "", 3.5, 3.5, 0, 0).planned()
    assert not OnRoad("a", "OK", "", 2.5, 2.5, 0, 0).planned()
    assert not OnRoad("a", "NO_SURFACE", "", 12.0, 12.0, 0, 0).planned()
