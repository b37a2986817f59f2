"""The record's lines: what a stage gave is what stands there."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from data.camera import Camera
from data.types import Detections, EgoMotion, Plan, PlanStatus, Scene, StepRecord, Surfaces, Tracks
from tools.record import SCHEMA, record_line, timing_line


def one_track() -> Tracks:
    return Tracks(
        track_id=[7],
        xyxy=[[1.04, 2, 3, 4]],
        class_id=[1],
        score=[0.5],
        age_s=[1.25],
        since_update_s=[0],
        position_m=[[12.345, -1]],
        velocity_mps=[[np.nan, np.nan]],
        covariance=[np.diag([4.0, 1.0, 1.0, 1.0])],
    )


def record(plan: Plan) -> StepRecord:
    half = np.zeros((10, 20), np.float32)
    half[5:] = 0.9
    surfaces = Surfaces(half, np.zeros((10, 20), np.float32), (0.5, 0.5))
    found = Detections([[0, 0, 5, 5]], [0.75], [0])
    scene = Scene(40, Camera.assumed(40, 20), found, surfaces, one_track())
    return StepRecord(3, 40, scene, plan, None, {"network": 12.3456}, faults=("late",))


def test_a_line_holds_what_was_seen_and_planned():
    n = np.array([0.0, 1.0])
    row = json.loads(record_line(record(Plan(PlanStatus.OK, "", n, n, n, n, n, n))))
    assert (row["schema"], row["index"], row["t_ns"]) == (SCHEMA, 3, 40)
    assert row["detections"] == [{"class": "vehicle", "score": 0.75, "xyxy": [0, 0, 5, 5]}]
    track = row["tracks"][0]
    assert (track["id"], track["class"], track["position_m"]) == (7, "person", [12.35, -1])
    assert track["velocity_mps"] is None
    assert track["position_std_m"] == [2, 1]
    assert row["surfaces"] == {"drivable_share": 0.5, "lane_share": 0.0}
    assert row["plan"]["points"] == [[0] * 6, [1] * 6]
    assert row["plan"]["length_m"] == 1.41
    assert (row["camera"]["pitch_std_rad"], row["camera"]["yaw_std_rad"]) == (0.0873, 0.0698)
    assert row["faults"] == ["late"]


def test_a_plan_without_a_path_says_why():
    row = json.loads(record_line(record(Plan.none(PlanStatus.BLOCKED, "vehicle ahead"))))
    assert row["plan"] == {
        "status": "BLOCKED", "reason": "vehicle ahead", "length_m": 0, "on_drivable": None,
        "points": [],
    }  # fmt: skip


def test_times_stand_apart_from_the_record():
    r = record(Plan.none(PlanStatus.NO_SURFACE, "none"))
    assert "network" not in record_line(r)
    assert json.loads(timing_line(r)) == {
        "index": 3, "stage_ms": {"network": 12.346}, "deadline_missed": False,
    }  # fmt: skip


def test_the_deviation_of_what_is_not_known_is_null():
    plain = record(Plan.none(PlanStatus.BLOCKED, "vehicle ahead"))
    for ego, known in ((EgoMotion(3.0, np.nan), (0, None)), (EgoMotion(np.nan, 0.1), (None, 0))):
        scene = replace(plain.scene, ego=ego)
        motion = json.loads(record_line(replace(plain, scene=scene)))["own_motion"]
        assert (motion["speed_std_mps"], motion["yaw_rate_std_radps"]) == known
