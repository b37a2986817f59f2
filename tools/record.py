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
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.taxonomy import CLASSES
from data.types import Detections, EgoMotion, Plan, Scene, StepRecord, Tracks
from tools.path_on_road import predicted_share

SCHEMA = "roadstack-record-1"


def _number(value: float, digits: int) -> float | None:
    """Rounded; None for what is not finite. Minus zero becomes zero."""
    return round(float(value), digits) + 0.0 if math.isfinite(value) else None


def _rows(values: NDArray, digits: int) -> list[list[float | None]]:
    """Rows of an array (n, k), each number as ``_number`` gives it."""
    rows = values.astype(np.float64).tolist()
    if np.isfinite(values).all():
        return [[round(v, digits) + 0.0 for v in row] for row in rows]
    return [[_number(v, digits) for v in row] for row in rows]


def _pairs(values: NDArray) -> list[list[float | None] | None]:
    """Rows of an array (n, 2); None for one in which not all is finite."""
    return [None if None in row else row for row in _rows(values, 2)]


def _detections(d: Detections) -> list[dict[str, Any]]:
    rows = zip(_rows(d.xyxy, 1), d.score.tolist(), d.class_id.tolist(), strict=True)
    return [{"class": CLASSES[c], "score": _number(s, 4), "xyxy": b} for b, s, c in rows]


def _tracks(t: Tracks) -> list[dict[str, Any]]:
    variance = np.diagonal(t.covariance, axis1=1, axis2=2)[:, :2]
    xyxy, position, velocity = _rows(t.xyxy, 1), _pairs(t.position_m), _pairs(t.velocity_mps)
    spread = _pairs(np.sqrt(np.maximum(variance, 0)))
    return [
        {
            "id": int(t.track_id[i]),
            "class": CLASSES[int(t.class_id[i])],
            "score": _number(float(t.score[i]), 4),
            "xyxy": xyxy[i],
            "age_s": _number(float(t.age_s[i]), 3),
            "since_update_s": _number(float(t.since_update_s[i]), 3),
            "position_m": position[i],
            "position_std_m": spread[i],
            "velocity_mps": velocity[i],
        }
        for i in range(len(t))
    ]


def _plan(p: Plan, on_drivable: float | None) -> dict[str, Any]:
    points = np.column_stack([p.x_m, p.y_m, p.yaw_rad, p.speed_mps, p.curvature_1pm, p.t_s])
    return {
        "status": str(p.status),
        "reason": p.reason,
        "length_m": _number(p.length_m, 2),
        "on_drivable": None if on_drivable is None else _number(on_drivable, 3),
        "points": _rows(points, 3),
    }


def _own_motion(e: EgoMotion) -> dict[str, Any]:
    return {
        "source": "pictures" if e.estimated else "log",
        "speed_mps": _number(e.speed_mps, 2),
        "speed_std_mps": _number(e.speed_std_mps, 2),
        "yaw_rate_radps": _number(e.yaw_rate_radps, 4),
        "yaw_rate_std_radps": _number(e.yaw_rate_std_radps, 4),
    }


def _scene(s: Scene) -> dict[str, Any]:
    camera, std = s.camera, s.camera.angle_std_rad
    return {
        "camera": {
            "source": camera.source,
            "focal_px": _number(float(camera.matrix[0, 0]), 1),
            "horizon_row_px": _number(camera.horizon_row_px, 1),
            "height_m": _number(camera.height_m, 3),
            "pitch_rad": _number(camera.pitch_rad, 4),
            "yaw_rad": _number(camera.yaw_rad, 4),
            "pitch_std_rad": None if std is None else _number(std[0], 4),
            "yaw_std_rad": None if std is None else _number(std[1], 4),
        },
        "detections": _detections(s.detections),
        "tracks": _tracks(s.tracks),
        "own_motion": None if s.ego is None else _own_motion(s.ego),
        "surfaces": {
            "drivable_share": _number(float((s.surfaces.drivable > 0.5).mean()), 4),
            "lane_share": _number(float((s.surfaces.lane > 0.5).mean()), 4),
        },
    }


def record_line(r: StepRecord) -> str:
    """One line of ``record.jsonl``, without the line's end."""
    row: dict[str, Any] = {
        "schema": SCHEMA,
        "index": r.index,
        "t_ns": r.t_ns,
        "faults": list(r.faults),
        **(_scene(r.scene) if r.scene is not None else {}),
        "plan": _plan(r.plan, predicted_share(r.plan, r.scene) if r.scene else None),
    }
    return json.dumps(row, separators=(",", ":"), allow_nan=False)


def timing_line(r: StepRecord, skipped: int = 0) -> str:
    """One line of ``timings.jsonl``, without the line's end."""
    row: dict[str, Any] = {
        "index": r.index,
        "stage_ms": {k: round(v, 3) for k, v in r.stage_ms.items()},
        "deadline_missed": r.deadline_missed,
        **({"skipped": skipped} if skipped else {}),
    }
    return json.dumps(row, separators=(",", ":"))
