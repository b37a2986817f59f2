"""The vehicle the paths are planned for: its size, its steering and the comfort it keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from data.errors import InputError

_LEAST, _LARGEST = 0.01, 1e6  # m, rad, m/s or m/s^2


@dataclass(frozen=True)
class Vehicle:
    """A car-like vehicle; lengths are measured from the rear axle, the frame's origin.

    Attributes:
        wheelbase_m: rear axle to front axle.
        width_m: over everything, mirrors folded.
        front_m: rear axle to the front bumper; rear_m: rear axle to the rear bumper.
        max_steer_rad: of the front wheels.
        max_lateral_mps2: comfort limit in curves.
        max_accel_mps2, max_brake_mps2: comfort limits along the path.
        hard_brake_mps2: what the brakes give when comfort does not matter.
        cruise_mps: speed on a free straight road.
    """

    wheelbase_m: float = 2.7
    width_m: float = 1.9
    front_m: float = 3.7
    rear_m: float = 1.0
    max_steer_rad: float = 0.55
    max_lateral_mps2: float = 2.0
    max_accel_mps2: float = 1.5
    max_brake_mps2: float = 2.5
    hard_brake_mps2: float = 6.0
    cruise_mps: float = 13.9

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not _LEAST <= value <= _LARGEST:  # false for NaN too
                raise InputError(
                    f"vehicle {f.name}: expected a number above 0, from {_LEAST:g} to "
                    f"{_LARGEST:g}, given {value!s:.60}"
                )
        if self.max_steer_rad >= math.pi / 2:
            raise InputError(
                f"vehicle max_steer_rad: expected below {math.pi / 2:.2f} (radians, not degrees), "
                f"given {self.max_steer_rad}"
            )
        if self.hard_brake_mps2 < self.max_brake_mps2:
            raise InputError(
                f"vehicle hard_brake_mps2: expected at least max_brake_mps2 "
                f"({self.max_brake_mps2}), given {self.hard_brake_mps2}"
            )

    @property
    def half_width_m(self) -> float:
        return self.width_m / 2

    @property
    def max_curvature_1pm(self) -> float:
        """Of the rear axle's path, by the kinematic single-track model: tan(steer)/wheelbase."""
        return math.tan(self.max_steer_rad) / self.wheelbase_m
