"""Fitting a network's score map on evaluated frames: Platt's map of every class.

Only detections that a tracker would look at are fitted: thousands of boxes scored near nothing
would bend the map where it matters. A class with few right boxes takes the map of all classes.
"""

from __future__ import annotations

import numpy as np

from data.types import F64
from perception.metrics.calibration import fit_platt, log_loss
from perception.metrics.detection import ClassTable
from perception.metrics.frames import FrameRecord
from perception.tracking.calibration import Calibration, ClassMap, log_odds

MIN_SCORE = 0.05
MIN_RIGHT = 20  # right boxes that a map of its own needs
_PARTS = 5
_JUDGED = np.uint16(1)  # bit of IoU 0.5


def _judged(table: ClassTable, min_score: float) -> tuple[F64, F64, F64]:
    """(n,) frame, log-odds of the score, and 1 where right at IoU 0.5, of what is one or other."""
    keep = ((table.out & _JUDGED) == 0) & (table.score >= min_score)
    right = (table.hit[keep] & _JUDGED).astype(np.float64)
    return table.frame[keep].astype(np.float64), log_odds(table.score[keep].astype(float)), right


def _left_out(frame: F64, x: F64, right: F64, line: tuple[float, float]) -> float:
    """Log loss of each fifth of the frames under the map of the others."""
    part = (frame * _PARTS // (frame.max() + 1)).astype(int)
    odds = np.zeros(len(x))
    for p in np.unique(part):
        own = part == p
        try:
            slope, offset = fit_platt(x[~own], right[~own] > 0)
        except ValueError:
            slope, offset = line
        odds[own] = slope * x[own] + offset
    return log_loss(odds, right)


def fit_frames(
    record: FrameRecord, detector: str, min_score: float = MIN_SCORE
) -> tuple[Calibration, dict[str, dict[str, float | int]]]:
    """Fit the classes that the frames label; what is right overlaps its label by IoU 0.5.

    Returns:
        The calibration by ``taxonomy`` name, and each class's counts and log losses, also on the
        fifths of the frames left out.

    Raises:
        ValueError: there is no right or no wrong detection at all.
    """
    judged = {name: _judged(t, min_score) for name, t in record.tables().items()}
    every = tuple(np.concatenate(p) for p in zip(*judged.values())) if judged else ()
    if not every or not len(every[1]):
        raise ValueError("expected right and wrong detections, given none")
    pooled = fit_platt(every[1], every[2] > 0)
    maps: dict[str, ClassMap] = {}
    figures: dict[str, dict[str, float | int]] = {}
    for name, (frame, x, right) in judged.items():
        yes = int(right.sum())
        own = yes >= MIN_RIGHT and yes < len(right)
        line = fit_platt(x, right > 0) if own else pooled
        maps[name] = ClassMap(*line)
        figures[name] = {"detections": len(x), "right": yes, "of_all_classes": int(not own)}
        if own:
            rate = np.log(right.mean() / (1 - right.mean()))
            figures[name] |= {
                "log_loss": log_loss(line[0] * x + line[1], right),
                "log_loss_left_out": _left_out(frame, x, right, line),
                "log_loss_of_scores": log_loss(x, right),
                "log_loss_of_base_rate": log_loss(np.full(len(x), rate), right),
            }
    data = record.about.get("data", {})
    what = f"{data.get('layout', 'labelled')} {data.get('split', '')}".strip()
    return Calibration(detector, True, maps, f"fitted on {len(record)} frames, {what}"), figures
