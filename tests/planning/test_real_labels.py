"""The planner on labelled dashcam frames: masks as a perfect network would give them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.camera import Camera
from data.taxonomy import BDD100K, CLASS_ID
from data.types import Detections, PlanStatus, Scene, Surfaces, Tracks
from planning.planner import Planner

ROOT = Path(__file__).resolve().parents[2]
SET = Path(os.environ.get("ROADSTACK_REALDATA", ROOT / "../shared/realdata")) / "bdd100k_subset"


def boxes_of(entry: dict) -> tuple[np.ndarray, np.ndarray]:
    xyxy, class_id = [], []
    for obj in entry.get("labels") or []:
        name = BDD100K.get(obj["category"])
        if name and obj.get("box2d"):
            xyxy.append([obj["box2d"][k] for k in ("x1", "y1", "x2", "y2")])
            class_id.append(CLASS_ID[name])
    return np.array(xyxy, np.float32).reshape(-1, 4), np.array(class_id, np.int64)


def scene_of(entry: dict) -> Scene | None:
    stem = Path(entry["name"]).stem
    drivable = cv2.imread(str(SET / f"labels/drivable/masks/test/{stem}.png"), 0)
    lane_file = SET / f"labels/lane/binary/test/{stem}.png"
    if drivable is None or not lane_file.exists():
        return None
    lane = cv2.dilate((cv2.imread(str(lane_file), 0) == 255).astype(np.uint8), np.ones((8, 8)))
    xyxy, class_id = boxes_of(entry)
    # Cars are about 1.5 m high: their boxes tell where the horizon of this dashcam lies.
    cars = xyxy[(class_id == CLASS_ID["vehicle"]) & (xyxy[:, 3] - xyxy[:, 1] > 25)]
    rows = cars[:, 3] - 0.9 * (cars[:, 3] - cars[:, 1])
    camera = Camera.assumed(1280, 720, float(np.median(rows)) if len(rows) else 350.0)
    feet = np.column_stack([xyxy[:, [0, 2]].mean(axis=1), xyxy[:, 3]])
    n = len(xyxy)
    tracks = Tracks(
        np.arange(n), xyxy, class_id, np.ones(n), np.ones(n), np.zeros(n),
        camera.ground_from_pixels(feet), np.zeros((n, 2)), np.full((n, 4, 4), np.nan),
    )  # fmt: skip
    small = [
        cv2.resize(m.astype(np.float32), (320, 180), interpolation=cv2.INTER_AREA)
        for m in (drivable == 0, lane)
    ]
    return Scene(0, camera, Detections.empty(), Surfaces(*small, (0.25, 0.25)), tracks)


@pytest.mark.skipif(not SET.is_dir(), reason=f"no real data at {SET}")
def test_most_labelled_frames_get_a_calm_path_on_the_road():
    entries = json.loads((SET / "labels/det_20/det_test.json").read_text())
    scenes = [s for s in map(scene_of, entries[::3]) if s is not None]
    plans = [Planner().plan(s)[0] for s in scenes]
    ok = [p for p in plans if p.status == PlanStatus.OK]
    assert len(scenes) > 15
    assert len(ok) >= 0.8 * len(scenes)
    assert all(p.reason for p in plans if p.status != PlanStatus.OK)
    bent = [np.abs(p.curvature_1pm).max() for p in ok]
    assert np.median(bent) < 0.03
    assert np.median([p.length_m for p in ok]) > 12
