"""A detector's own scores and boxes as probabilities and boxes that labels would agree with.

Scores: Platt's map, probability = 1 / (1 + exp(-(slope x + offset))), by class, of the raw score x
or of its log-odds where scores lie in [0, 1] (Platt, "Probabilistic Outputs for Support Vector
Machines", 1999). Boxes: where a detector's boxes are wider or narrower than the labels' own, as
boxes about a walking person's solid are, the logarithm of the width is corrected by a line over
the box's log aspect; the centre stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

SHIPPED = Path(__file__).with_name("calibrations")
_ODDS_LIMIT = 1e-6
_BORDER_PX = 1.0


@dataclass(frozen=True)
class ClassMap:
    """The map of one class.

    Attributes:
        slope, offset: of the log-odds over the score, or over its log-odds.
        width_offset, width_slope: of the correction of log width over log(width / height).
    """

    slope: float = 1.0
    offset: float = 0.0
    width_offset: float = 0.0
    width_slope: float = 0.0

    def boxes(self, xyxy: F64, width_px: float = np.inf) -> F64:
        """(n, 4) corrected boxes; an edge at the left or right border of the picture stays."""
        if self.width_offset == 0 and self.width_slope == 0:
            return xyxy
        x1, y1, x2, y2 = xyxy.T
        with np.errstate(divide="ignore", invalid="ignore"):
            aspect = np.log((x2 - x1) / (y2 - y1))
            grow = np.expm1(self.width_offset + self.width_slope * aspect) * (x2 - x1) / 2
        grow = np.where(np.isfinite(grow), grow, 0.0)
        left = np.where(x1 > _BORDER_PX, x1 - grow, x1)
        right = np.where(x2 < width_px - _BORDER_PX, x2 + grow, x2)
        return np.stack([left, y1, right, y2], axis=1)


@dataclass(frozen=True)
class Calibration:
    """The maps of a detector by class name.

    Attributes:
        detector: its name.
        unit_scores: scores lie in [0, 1] and their log-odds are mapped.
        classes: class name -> map; scores and boxes of other classes stay as they are, which
            for them must be probabilities.
        note: what it was fitted on.
    """

    detector: str = "none"
    unit_scores: bool = True
    classes: Mapping[str, ClassMap] = field(default_factory=dict)
    note: str = ""

    def probability(self, kind: NDArray[np.str_], score: F64) -> F64:
        """(n,) probabilities of detections of classes ``kind`` (n,); NaN stays NaN."""
        names, place = np.unique(kind, return_inverse=True)
        return self.probability_by_id(names.tolist(), place, score)

    def probability_by_id(self, names: Sequence[str], class_id: I64, score: F64) -> F64:
        """``probability`` of detections whose classes (n,) are places in ``names``."""
        maps = [self.classes.get(name) for name in names]
        lines = np.array([(np.nan, np.nan) if m is None else (m.slope, m.offset) for m in maps])
        slope, offset = lines.reshape(-1, 2)[class_id].T
        odds = slope * (log_odds(score) if self.unit_scores else score) + offset
        likely = 1 / (1 + np.exp(-np.minimum(np.maximum(odds, -50), 50)))
        mapped = np.array([m is not None for m in maps], np.bool_)[class_id]
        return np.asarray(np.where(mapped, likely, score), np.float64)

    def boxes(self, kind: NDArray[np.str_], xyxy: F64, width_px: float = np.inf) -> F64:
        """(n, 4) corrected boxes of detections of classes ``kind`` (n,)."""
        out = xyxy.copy()
        for name, m in self.classes.items():
            out[kind == name] = m.boxes(xyxy[kind == name], width_px)
        return out


def log_odds(score: F64 | float, limit: float = _ODDS_LIMIT) -> F64:
    """Logarithm of the odds of a probability, taken to lie ``limit`` or more from 0 and 1."""
    p = np.minimum(np.maximum(score, limit), 1 - limit)  # faster than np.clip
    return np.asarray(np.log(p / (1 - p)), np.float64)


def to_json(calibration: Calibration, figures: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a calibration file holds; ``figures`` by class are kept beside and not read."""
    classes = {
        name: {**asdict(m), **(figures or {}).get(name, {})}
        for name, m in calibration.classes.items()
    }
    return {
        "detector": calibration.detector,
        "scores": "log_odds" if calibration.unit_scores else "raw",
        "note": calibration.note,
        "classes": classes,
    }


def load_calibration(name: str | Path) -> Calibration:
    """Read a calibration file, or a shipped one by its detector's name.

    Raises:
        InputError: there is none, or it is malformed.
    """
    path = SHIPPED / f"{name}.json"
    if not (str(name).isidentifier() and path.is_file()):
        path = Path(name)
    if not path.is_file():
        known = ", ".join(shipped())
        raise InputError(f"{name}: no calibration file, and none of the shipped ones: {known}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fields = ClassMap.__dataclass_fields__
        classes = {
            str(kind): ClassMap(**{f: float(v[f]) for f in fields if f in v})
            for kind, v in content["classes"].items()
        }
        unit = {"log_odds": True, "raw": False}[content["scores"]]
        out = Calibration(str(content["detector"]), unit, classes, str(content.get("note", "")))
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: no JSON ({e})") from e
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as e:
        raise InputError(
            f"{path}: no calibration file (expected detector, scores and classes with slope and "
            f"offset; {type(e).__name__} {e})"
        ) from e
    if not all(np.isfinite(list(asdict(m).values())).all() for m in classes.values()):
        raise InputError(f"{path}: expected finite numbers")
    return out


def shipped() -> list[str]:
    """Names of the detectors whose calibration comes with the package."""
    return sorted(p.stem for p in SHIPPED.glob("*.json"))
