"""Whether a given camera agrees with what the lane lines say about where the road vanishes."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from data.camera import Camera
from data.types import Surfaces
from perception.horizon import HorizonConfig, estimate

_EVERY = 5  # frames
_LOOKS = 30  # the median is taken over
_MIN_LOOKS = 12
LIMIT_RAD = math.radians(2.5)  # hills and loads make up to about 2 degrees
_MAX_SPREAD_RAD = math.radians(1.5)


class CameraCheck:
    """Compares horizons over the frames of one drive; cheap, since it looks at few of them."""

    def __init__(self) -> None:
        self._calls = 0
        self._off_rad: deque[float] = deque(maxlen=_LOOKS)
        self._fault = ""

    def update(self, camera: Camera, surfaces: Surfaces) -> str:
        """The fault, or '' if the two agree or the lane lines do not tell.

        It is one when the median of the last 30 looks (12 at least, each fifth frame) differs in
        pitch by more than ``LIMIT_RAD`` and the looks agree among themselves.
        """
        self._calls += 1
        if self._calls % _EVERY == 1:
            size = camera.width_px, camera.height_px
            found = estimate(surfaces, size, HorizonConfig())
            if found is not None:
                focal = float(camera.matrix[1, 1])
                centre = float(camera.matrix[1, 2])
                pitch = math.atan2(centre - found[1], focal)
                self._off_rad.append(camera.pitch_rad - pitch)
                self._fault = self._judged(camera)
        return self._fault

    def _judged(self, camera: Camera) -> str:
        if len(self._off_rad) < _MIN_LOOKS:
            return ""
        off = np.array(self._off_rad)
        middle = float(np.median(off))
        spread = 1.48 * float(np.median(np.abs(off - middle)))
        if abs(middle) <= LIMIT_RAD or spread > _MAX_SPREAD_RAD:
            return ""
        way = "down" if middle > 0 else "up"
        text = f"camera: {camera.source} looks {abs(math.degrees(middle)):.1f} degrees further"
        return f"{text} {way} than the lane lines say; calibrate it again"
