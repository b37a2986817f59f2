"""How long the tracker takes for a frame of made-up objects: a part of ``tools/bench_track.py``."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.types import Detections
from perception.tracking import Tracker, TrackerConfig
from perception.tracking.config import PROBABILITIES

FRAMES = 100
REPEATS = 4  # of which each frame's best counts: what else the machine does only adds
_STEP_S = 0.1
_SIZE_PX = (1920, 1080)
_CONFIGS = {"Roadstack": PROBABILITIES, "Roadstack, places on the ground": TrackerConfig()}


def made_up(objects: int, seed: int = 0) -> tuple[list[Detections], Camera]:
    """Frames of vehicles and persons below the horizon, each seen with noise 19 times of 20."""
    rng = np.random.default_rng([seed, objects])
    width, height = _SIZE_PX
    at = np.column_stack([rng.uniform(0, width, objects), rng.uniform(0.5, 0.9, objects) * height])
    size = rng.uniform(20, 80, (objects, 1)) * (1.3, 1.0)
    speed = rng.normal(0, 30, (objects, 1)) * (1.0, 0.0)
    kind = np.arange(objects) % 2
    out = []
    for i in range(FRAMES):
        centre = at + i * _STEP_S * speed
        xyxy = np.hstack([centre - size / 2, centre + size / 2]) + rng.normal(0, 1, (objects, 4))
        seen = rng.random(objects) < 0.95
        score = rng.uniform(0.4, 0.95, objects)
        found = Detections(xyxy.astype(np.float32), score.astype(np.float32), kind)
        out.append(found.select(seen))
    return out, Camera.assumed(width, height)


def our_times(frames: list[Detections], camera: Camera) -> dict[str, NDArray[np.float64]]:
    """Milliseconds (f,) of every frame by configuration."""
    out = {}
    for name, config in _CONFIGS.items():
        times = np.zeros((REPEATS, len(frames)))
        for own in times:
            tracker = Tracker(config)
            for i, found in enumerate(frames):
                start = time.perf_counter()
                tracker.update(found, round(i * _STEP_S * 1e9), camera)
                own[i] = time.perf_counter() - start
        out[name] = times.min(axis=0) * 1e3
    return out
