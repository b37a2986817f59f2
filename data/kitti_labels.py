"""KITTI's labels with places in space (Geiger et al. 2012), of the object and tracking sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.datasets.files import read_text
from data.datasets.kitti import parse_numbers
from data.errors import InputError
from data.types import F64


@dataclass(frozen=True, eq=False)
class SpaceLabels:
    """Labelled objects of one file, n rows.

    Attributes:
        kind: (n,) str, KITTI's types ('Car', 'DontCare', ...).
        truncated: (n,) share outside the picture (object set) or 0, 1, 2 (tracking set).
        occluded: (n,) 0 visible, 1 partly, 2 largely hidden, 3 unknown.
        xyxy: (n, 4) px.
        size_m: (n, 3) height, width, length.
        location_m: (n, 3) middle of the box's bottom in rectified camera 0: right, down, ahead.
        turn_rad: (n,) rotation about the camera's downward axis; 0 faces right.
    """

    kind: NDArray[np.str_]
    truncated: F64
    occluded: F64
    xyxy: F64
    size_m: F64
    location_m: F64
    turn_rad: F64

    def __len__(self) -> int:
        return len(self.kind)

    def select(self, keep: NDArray[np.bool_]) -> SpaceLabels:
        return SpaceLabels(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    def footprint_m(self) -> F64:
        """(n, 4, 2) corners of the boxes' bottoms: right and ahead of rectified camera 0."""
        along = self.size_m[:, 2:] / 2 * np.array([1, 1, -1, -1])
        across = self.size_m[:, 1:2] / 2 * np.array([1, -1, -1, 1])
        c, s = np.cos(self.turn_rad)[:, None], np.sin(self.turn_rad)[:, None]
        right = self.location_m[:, :1] + c * along + s * across
        ahead = self.location_m[:, 2:] - s * along + c * across
        return np.stack([right, ahead], axis=-1)


def read_space_labels(path: Path, tracking: bool) -> SpaceLabels:
    """Read a label file; a tracking one has frame and identity before the type.

    Raises:
        InputError: unreadable or malformed, naming file and line.
    """
    kinds: list[str] = []
    rows: list[list[float]] = []
    for n, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            kind, numbers = parse_numbers(line, 2 if tracking else 0)
        except ValueError as e:
            before = "frame, identity, " if tracking else ""
            raise InputError(
                f"{path}:{n}: expected {before}a KITTI type and 14 numbers, given '{line:.60}'"
            ) from e
        kinds.append(kind)
        rows.append(numbers)
    r = np.array(rows, np.float64).reshape(-1, 14)
    return SpaceLabels(
        np.array(kinds, np.str_), r[:, 0], r[:, 1], r[:, 3:7], r[:, 7:10], r[:, 10:13], r[:, 13]
    )
