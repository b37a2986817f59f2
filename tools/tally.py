"""What a summary needs of all frames, in memory that does not grow with their number."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from data.taxonomy import CLASSES
from data.types import I64, StepRecord
from tools.faults import codes

_RATIO = math.log(1.005)  # bins half a percent wide
_LOWEST_MS = 1e-3
_BINS = math.ceil(math.log(1e7 / _LOWEST_MS) / _RATIO)
_MAX_REASONS = 500
_FORGET_FRAMES = 10_000  # a tracker forgets an object unseen for some seconds


def _no_counts() -> I64:
    return np.zeros(_BINS, np.int64)


@dataclass(eq=False)
class Histogram:
    """Counts of times on a logarithmic scale; percentiles are right within half a percent."""

    counts: I64 = field(default_factory=_no_counts)

    def add(self, ms: float) -> None:
        at = math.log(max(ms, _LOWEST_MS) / _LOWEST_MS) / _RATIO
        self.counts[min(int(at), _BINS - 1)] += 1

    def percentiles(self) -> dict[str, float]:
        """The middle, and what 95 % and 99 % do not exceed, in ms."""
        below = np.cumsum(self.counts)
        out = {}
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            at = int(np.searchsorted(below, share * int(below[-1])))
            out[name] = round(_LOWEST_MS * math.exp((at + 0.5) * _RATIO), 3)
        return out


@dataclass
class Tally:
    """Counts over all frames of a replay."""

    frames: int = 0
    plans: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    tracks: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    stages: dict[str, Histogram] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    frame_faults: int = 0
    late: int = 0
    skipped: int = 0
    camera: str = ""
    seconds: float = 0.0
    last_seen: dict[int, int] = field(default_factory=dict)  # track -> frame

    def add(self, r: StepRecord) -> None:
        self.frames += 1
        self.plans[str(r.plan.status)] += 1
        if r.plan.reason:
            # numbers out, so that like reasons are counted together
            text = f"{r.plan.status}: " + re.sub(r"\d+(\.\d+)?", "#", r.plan.reason)
            full = len(self.reasons) >= _MAX_REASONS and text not in self.reasons
            self.reasons["other reasons" if full else text] += 1
        self.frame_faults += bool(r.faults)
        self.faults.update(set(codes(r.faults)))
        self.late += r.deadline_missed
        if r.scene is not None:
            tracks = r.scene.tracks
            for i, c in zip(tracks.track_id.tolist(), tracks.class_id.tolist(), strict=True):
                if i not in self.last_seen:
                    self.tracks += 1
                    self.classes[CLASSES[c]] += 1
                self.last_seen[i] = self.frames
            self.camera = r.scene.camera.source
        if self.frames % _FORGET_FRAMES == 0:
            oldest = self.frames - _FORGET_FRAMES
            self.last_seen = {i: n for i, n in self.last_seen.items() if n > oldest}
        for stage, ms in r.stage_ms.items():
            self.stages.setdefault(stage, Histogram()).add(ms)
