"""The metric grid ahead of the vehicle: its size, and indices to metres and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

MAX_CELLS = 4_000_000


def _clipped(cells: float, count: int) -> int:
    return math.floor(min(max(cells, 0.0), count - 1.0))


@dataclass(frozen=True)
class GridSpec:
    """A grid from the rear axle forward, centred on the vehicle's x axis.

    Attributes:
        ahead_m: extent in x, from 0.
        width_m: extent in y, half of it to each side.
        resolution_m: side of a cell.
    """

    ahead_m: float = 60.0
    width_m: float = 40.0
    resolution_m: float = 0.2

    def __post_init__(self) -> None:
        for name in ("ahead_m", "width_m", "resolution_m"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"grid {name}: expected a number above 0, given {value}")
        if min(self.ahead_m, self.width_m) < 8 * self.resolution_m:
            raise InputError(
                f"grid: expected at least 8 cells each way, given {self.ahead_m} x {self.width_m} "
                f"m at {self.resolution_m} m; enlarge it or take a smaller resolution_m"
            )
        if self.rows * self.cols > MAX_CELLS:
            raise InputError(
                f"grid: {self.rows} x {self.cols} cells, expected at most {MAX_CELLS}; "
                f"take a larger resolution_m"
            )

    @property
    def rows(self) -> int:
        return round(self.ahead_m / self.resolution_m)

    @property
    def cols(self) -> int:
        return round(self.width_m / self.resolution_m)

    @property
    def origin_m(self) -> tuple[float, float]:
        """Vehicle x, y of the outer corner of cell (0, 0)."""
        return 0.0, -self.cols * self.resolution_m / 2

    @property
    def x_m(self) -> F64:
        """(rows,) x of the row centres."""
        return np.asarray((np.arange(self.rows) + 0.5) * self.resolution_m)

    @property
    def y_m(self) -> F64:
        """(cols,) y of the column centres."""
        return np.asarray(self.origin_m[1] + (np.arange(self.cols) + 0.5) * self.resolution_m)

    def row_of(self, x_m: float) -> int:
        """Row that holds ``x_m``, clipped to the grid."""
        return _clipped(x_m / self.resolution_m, self.rows)

    def col_of(self, y_m: float) -> int:
        """Column that holds ``y_m``, clipped to the grid."""
        return _clipped((y_m - self.origin_m[1]) / self.resolution_m, self.cols)

    def cells_of(self, xy_m: F64) -> tuple[I64, I64, NDArray[np.bool_]]:
        """Row, column and "lies inside" of (n, 2) points; outside ones are clipped."""
        rc = np.floor((np.asarray(xy_m) - self.origin_m) / self.resolution_m).astype(np.int64)
        inside = np.asarray(((rc >= 0) & (rc < (self.rows, self.cols))).all(axis=1))
        rc = np.clip(rc, 0, (self.rows - 1, self.cols - 1))
        return rc[:, 0], rc[:, 1], inside

    def metres_of(self, row: I64, col: I64) -> F64:
        """(n, 2) x, y of cell centres."""
        return np.asarray((np.column_stack([row, col]) + 0.5) * self.resolution_m + self.origin_m)
