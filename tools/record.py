"""The record of a replay: one JSON line a frame, the same bytes for the same input.

Schema ``roadstack-record-1``, one object a line:

- ``schema``, ``index`` (number of the frame in its source), ``t_ns`` (from the source's first
  frame), ``faults`` (list of texts, each a stable code, a colon and words: the codes stand in
  ``tools.faults``);
- ``camera``: ``source``, ``focal_px``, ``horizon_row_px``, ``height_m``, ``pitch_rad`` and
  ``yaw_rad`` with ``pitch_std_rad`` and ``yaw_std_rad`` (null where they are given);
- ``detections``: list of ``class``, ``score``, ``xyxy`` (px of the original image);
- ``tracks``: list of ``id``, ``class``, ``score``, ``xyxy`` (filtered, may reach over the border a
  little), ``age_s``, ``since_update_s``,
  ``position_m`` and ``velocity_mps`` ([forward, left] of the rear axle, relative; null when the
  ground point is unknown), ``position_std_m``;
- ``own_motion``: ``source`` ('log', or 'pictures' where it is estimated), ``speed_mps`` and
  ``yaw_rate_radps`` (positive to the left) with ``speed_std_mps`` and ``yaw_rate_std_radps`` (null
  each where it is unknown); null where neither is known, and left out by earlier releases;
- ``surfaces``: ``drivable_share`` and ``lane_share`` of the picture above one half;
- ``plan``: ``status``, ``reason``, ``length_m``, ``on_drivable``: share of the path in the picture
  that lies where the network sees drivable area or lane lines, beyond the own bonnet (null: none is
  seen), ``points``: list of ``[x_m, y_m, yaw_rad, speed_mps, curvature_1pm, t_s]``.

What differs from run to run stands in ``timings.jsonl``, one object a line: ``index``,
``stage_ms`` and ``deadline_missed`` (the stages up to the plan took longer than the time to the
next frame at the source's rate; with --realtime: the plan came after its deadline), and with
--realtime ``skipped``, the frames before it that were never looked at, where there are any.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.taxonomy import CLASSES
from data.types import Detections, EgoMotion, Plan, StepRecord, Surfaces, Tracks
from tools.json_numbers import json_rows, rounded
from tools.path_on_road import predicted_share

SCHEMA = "roadstack-record-1"


def _pairs(values: NDArray) -> list[str]:
    """JSON of the rows of an array (n, 2); null for one in which not all is finite."""
    return ["null" if "null" in row else f"[{row}]" for row in json_rows(values, 2)]


def _detections(d: Detections) -> str:
    rows = zip(d.class_id.tolist(), json_rows(d.score[:, None], 4), json_rows(d.xyxy, 1),
               strict=True)  # fmt: skip
    return ",".join(
        f'{{"class":"{CLASSES[c]}","score":{score},"xyxy":[{box}]}}' for c, score, box in rows
    )


def _tracks(t: Tracks) -> str:
    variance = np.diagonal(t.covariance, axis1=1, axis2=2)[:, :2]
    times = np.column_stack([t.age_s, t.since_update_s])
    rows = zip(
        t.track_id.tolist(), t.class_id.tolist(), json_rows(t.score[:, None], 4),
        json_rows(t.xyxy, 1), json_rows(times, 3), _pairs(t.position_m),
        _pairs(np.sqrt(np.maximum(variance, 0))), _pairs(t.velocity_mps), strict=True,
    )  # fmt: skip
    return ",".join(
        f'{{"id":{n},"class":"{CLASSES[c]}","score":{score},"xyxy":[{box}],"age_s":'
        + time.replace(",", ',"since_update_s":')
        + f',"position_m":{place},"position_std_m":{spread},"velocity_mps":{velocity}}}'
        for n, c, score, box, time, place, spread, velocity in rows
    )


def _plan(p: Plan, on_drivable: float | None) -> str:
    points = np.column_stack([p.x_m, p.y_m, p.yaw_rad, p.speed_mps, p.curvature_1pm, p.t_s])
    about = {
        "status": str(p.status),
        "reason": p.reason,
        "length_m": rounded(p.length_m, 2),
        "on_drivable": None if on_drivable is None else rounded(on_drivable, 3),
    }
    return f'{_open(about)},"points":[{",".join(f"[{r}]" for r in json_rows(points, 3))}]}}'


def _own_motion(e: EgoMotion) -> dict[str, Any]:
    # a log gives 0 as the deviation of what it does not know too
    speed, turn = rounded(e.speed_mps, 2), rounded(e.yaw_rate_radps, 4)
    return {
        "source": "pictures" if e.estimated else "log",
        "speed_mps": speed,
        "speed_std_mps": None if speed is None else rounded(e.speed_std_mps, 2),
        "yaw_rate_radps": turn,
        "yaw_rate_std_radps": None if turn is None else rounded(e.yaw_rate_std_radps, 4),
    }


def _camera(c: Camera) -> dict[str, Any]:
    std = c.angle_std_rad
    return {
        "source": c.source,
        "focal_px": rounded(float(c.matrix[0, 0]), 1),
        "horizon_row_px": rounded(c.horizon_row_px, 1),
        "height_m": rounded(c.height_m, 3),
        "pitch_rad": rounded(c.pitch_rad, 4),
        "yaw_rad": rounded(c.yaw_rad, 4),
        "pitch_std_rad": None if std is None else rounded(std[0], 4),
        "yaw_std_rad": None if std is None else rounded(std[1], 4),
    }


def _surfaces(s: Surfaces) -> dict[str, float | None]:
    both = {"drivable_share": s.drivable, "lane_share": s.lane}
    return {k: rounded(np.count_nonzero(v > 0.5) / v.size, 4) for k, v in both.items()}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _open(row: dict[str, Any]) -> str:
    """JSON of an object that more is added to."""
    return _json(row)[:-1]


def record_line(r: StepRecord) -> str:
    """One line of ``record.jsonl``, without the line's end."""
    head = {"schema": SCHEMA, "index": r.index, "t_ns": r.t_ns, "faults": list(r.faults)}
    if r.scene is None:
        return f'{_open(head)},"plan":{_plan(r.plan, None)}}}'
    s, own = r.scene, None if r.scene.ego is None else _own_motion(r.scene.ego)
    return (
        f'{_open({**head, "camera": _camera(s.camera)})},"detections":[{_detections(s.detections)}]'
        f',"tracks":[{_tracks(s.tracks)}],"own_motion":{_json(own)},"surfaces":'
        f'{_json(_surfaces(s.surfaces))},"plan":{_plan(r.plan, predicted_share(r.plan, s))}}}'
    )


def timing_line(r: StepRecord, skipped: int = 0) -> str:
    """One line of ``timings.jsonl``, without the line's end."""
    row: dict[str, Any] = {
        "index": r.index,
        "stage_ms": {k: round(v, 3) for k, v in r.stage_ms.items()},
        "deadline_missed": r.deadline_missed,
        **({"skipped": skipped} if skipped else {}),
    }
    return _json(row)
