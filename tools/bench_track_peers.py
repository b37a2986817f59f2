"""The benchmark's part that runs in the peers' own environment: roboflow's ``trackers``.

    python bench_track_peers.py IN.npz OUT.npz PART PARTS

Does each PARTS-th job from the PART-th on. Called by ``tools/bench_track.py``. IN holds ``jobs``
(JSON: a list of {key, tracker, options, min_score, frame_rate, timed}) and for each key
``key/rows`` (frame, x1, y1, x2, y2, score) and
``key/frames`` (frame, time in s). OUT holds for job i ``i/tracks`` (frame, id, x1, y1, x2, y2) and
``i/ms`` (milliseconds of every frame).
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

import numpy as np


def run_job(job: dict[str, Any], rows: np.ndarray, frames: np.ndarray) -> tuple[Any, Any]:
    """Tracks (k, 6) and milliseconds (f,) of one tracker on one drive and class."""
    import supervision
    import trackers

    tracker = getattr(trackers, job["tracker"])(frame_rate=job["frame_rate"], **job["options"])
    rows = rows[rows[:, 5] >= job["min_score"]]
    out, times = [np.zeros((0, 6))], []
    for frame, seconds in frames:
        now = rows[rows[:, 0] == frame]
        seen = supervision.Detections(
            xyxy=now[:, 1:5].copy(), confidence=now[:, 5].copy(), class_id=np.zeros(len(now), int)
        )
        when = {"timestamp": float(seconds)} if job["timed"] else {}
        start = time.perf_counter()
        found = tracker.update(seen, **when)
        times.append(time.perf_counter() - start)
        if found.tracker_id is not None and len(found):
            own = found.tracker_id >= 0
            ids = found.tracker_id[own, None]
            out.append(np.hstack([np.full(ids.shape, frame), ids, found.xyxy[own]]))
    return np.concatenate(out), np.array(times) * 1e3


def main() -> None:
    warnings.simplefilter("ignore")
    given = np.load(sys.argv[1])
    results = {}
    part, parts = map(int, sys.argv[3:5])
    for i, job in list(enumerate(json.loads(str(given["jobs"]))))[part::parts]:
        key = job["key"]
        tracks, ms = run_job(job, given[f"{key}/rows"], given[f"{key}/frames"])
        results[f"{i}/tracks"], results[f"{i}/ms"] = tracks, ms
    np.savez(sys.argv[2], **results)


if __name__ == "__main__":
    main()
