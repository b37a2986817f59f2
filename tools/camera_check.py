"""Whether a given camera agrees with what the lane lines say about where the road vanishes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import numpy as np

from data.camera import Camera
from data.types import Surfaces
from perception.horizon import HorizonConfig, estimate

_EVERY = 5  # frames
_LOOKS = 30  # the median is taken over
_MIN_LOOKS = 12
LIMIT_RAD = math.radians(2.5)  # hills and loads make up to about 2 degrees
YAW_LIMIT_RAD = math.radians(5.0)  # long curves make up to about 4
_MAX_SPREAD_RAD = math.radians(1.5)


class CameraCheck:
    """Compares where the road vanishes over the frames of one drive; cheap, as it looks at few."""

    def __init__(self) -> None:
        self._calls = 0
        self._pitch_off_rad: deque[float] = deque(maxlen=_LOOKS)
        self._yaw_off_rad: deque[float] = deque(maxlen=_LOOKS)
        self._fault = ""

    def update(self, camera: Camera, surfaces: Surfaces) -> str:
        """The fault, or '' if the two agree or the lane lines do not tell.

        It is one when the median of the last 30 looks (12 at least, each fifth frame) differs in
        pitch by more than ``LIMIT_RAD``, or in yaw by more than ``YAW_LIMIT_RAD``, and the looks
        agree among themselves.
        """
        self._calls += 1
        if self._calls % _EVERY == 1:
            size = camera.width_px, camera.height_px
            found = estimate(surfaces, size, HorizonConfig())
            if found is not None:
                seen = camera.with_vanishing_point(found[0], found[1], camera.source)
                self._pitch_off_rad.append(camera.pitch_rad - seen.pitch_rad)
                self._yaw_off_rad.append(camera.yaw_rad - seen.yaw_rad)
                self._fault = self._judged(camera)
        return self._fault

    def _judged(self, camera: Camera) -> str:
        ways = (
            (self._pitch_off_rad, LIMIT_RAD, "down", "up"),
            (self._yaw_off_rad, YAW_LIMIT_RAD, "to the left", "to the right"),
        )
        for offs, limit_rad, positive, negative in ways:
            off_rad = _agreed(offs)
            if abs(off_rad) > limit_rad:
                way = positive if off_rad > 0 else negative
                text = f"camera: {camera.source} looks {abs(math.degrees(off_rad)):.1f} degrees"
                return f"{text} further {way} than the lane lines say; calibrate it again"
        return ""


def _agreed(looks_rad: Iterable[float]) -> float:
    """The median of looks; 0 where they are too few or disagree."""
    off = np.array(list(looks_rad))
    if len(off) < _MIN_LOOKS:
        return 0.0
    middle = float(np.median(off))
    spread = 1.48 * float(np.median(np.abs(off - middle)))
    return middle if spread <= _MAX_SPREAD_RAD else 0.0
