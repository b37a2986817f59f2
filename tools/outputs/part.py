"""What the writers share: a file under a temporary name, and a replay's shapes in metres."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from data.errors import InputError
from data.types import F64, U8, Cell, CostGrid, Frame, Plan, StepRecord, Surfaces, Tracks
from tools.view.draw import CLASS_COLOURS, DRIVABLE, LANE, class_style

JPEG_QUALITY = 80
# Length, width and height drawn, by class id; what a camera sees of an object does not tell them.
_SIZES_M = ((4.4, 1.8, 1.5), (0.6, 0.6, 1.7), (1.8, 0.7, 1.6), (0.4, 0.4, 1.0), (0.4, 0.4, 0.8))
_KIND_BGRA = {
    Cell.UNKNOWN: (44, 36, 32, 90),
    Cell.ROAD: (108, 94, 84, 255),
    Cell.OFF_ROAD: (50, 58, 76, 255),
    Cell.LANE_LINE: (60, 208, 240, 255),
    Cell.OBSTACLE: (70, 70, 214, 255),
}
NOTHING, DRIVABLE_ID, LANE_ID = 0, 1, 2  # of a class map


class Output(Protocol):
    """A sink that writes one file; see ``tools.sinks.Sink``."""

    def write(self, frame: Frame, record: StepRecord) -> None: ...

    def close(self) -> None:
        """Finish the file; without a frame there is none."""

    def discard(self) -> None:
        """Give the file up: nothing of it stays, an earlier one is kept."""


class Part:
    """A file that is written under a temporary name in the same folder.

    Raises:
        InputError: the folder cannot be made or written to, or the name is a folder's.
    """

    def __init__(self, target: Path, option: str) -> None:
        self.target = target
        if target.is_dir():
            raise InputError(f"{option} {target}: is a folder; give a file")
        self.path = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(b"")
            self.path.unlink()
        except OSError as e:
            raise InputError(f"{option} {target}: cannot be written ({e.strerror or e})") from e

    def keep(self) -> None:
        os.replace(self.path, self.target)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)


def jpeg(image: U8) -> bytes:
    """A BGR picture as JPEG."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"picture of shape {image.shape} cannot be encoded")
    return data.tobytes()


def rgb(bgr: tuple[int, int, int]) -> tuple[int, int, int]:
    return bgr[2], bgr[1], bgr[0]


def class_colours(class_ids: np.ndarray) -> U8:
    """(n, 3) uint8 RGB."""
    colours = [rgb(class_style(int(c))[0]) for c in class_ids]
    return np.array(colours, np.uint8).reshape(-1, 3)


def class_legend() -> list[tuple[int, str, tuple[int, ...]]]:
    """Id, name and RGB of the object classes."""
    return [(i, class_style(i)[1], rgb(class_style(i)[0])) for i in range(len(CLASS_COLOURS))]


def surface_legend() -> list[tuple[int, str, tuple[int, ...]]]:
    """Id, name and RGBA of a class map's values; what is neither is not drawn."""
    known = ((DRIVABLE_ID, "drivable", DRIVABLE), (LANE_ID, "lane line", LANE))
    return [(NOTHING, "neither", (0, 0, 0, 0)), *((i, n, (*rgb(c), 255)) for i, n, c in known)]


def class_map(surfaces: Surfaces, width_px: int, height_px: int) -> U8:
    """(height_px, width_px) uint8: what each pixel of the picture is likelier than not."""
    small = (surfaces.drivable > 0.5).astype(np.uint8) * DRIVABLE_ID
    small[surfaces.lane > 0.5] = LANE_ID
    sx, sy = surfaces.scale
    # picture pixel (u, v) lies at (u + 0.5) * scale - 0.5 of the map
    onto_map = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5]])
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    big = cv2.warpAffine(
        small, onto_map, (width_px, height_px), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(big, np.uint8)


def track_labels(tracks: Tracks) -> list[str]:
    return [
        f"{class_style(int(c))[1]} #{i}"
        for i, c in zip(tracks.track_id.tolist(), tracks.class_id, strict=True)
    ]


def placed(tracks: Tracks) -> tuple[np.ndarray, F64, F64]:
    """Rows of the tracks whose place is known, and centres and sizes (n, 3) in vehicle metres."""
    rows = np.flatnonzero(np.isfinite(tracks.position_m).all(axis=1))
    known = tracks.class_id[rows]
    sizes = np.array([_SIZES_M[c if 0 <= c < len(_SIZES_M) else 0] for c in known], np.float64)
    sizes = sizes.reshape(-1, 3)
    # the position is the foot of the box: the near side of the object
    centres = np.column_stack([tracks.position_m[rows], sizes[:, 2] / 2])
    centres[:, 0] += sizes[:, 0] / 2
    return rows, centres, sizes


def path_points(plan: Plan) -> F64:
    """(n, 3) vehicle metres of a plan's path, on the ground."""
    points = np.column_stack([plan.x_m, plan.y_m, np.zeros(len(plan.x_m))])
    return np.asarray(points[np.isfinite(points).all(axis=1)], np.float64)


def grid_rgba(grid: CostGrid) -> U8:
    """(rows, cols, 4) uint8 RGBA by the cells' kind, in the grid's own order."""
    table = np.zeros((256, 4), np.uint8)
    for kind, (b, g, r, a) in _KIND_BGRA.items():
        table[kind] = r, g, b, a
    return table[grid.kind]


def start_speed_mps(plan: Plan) -> float | None:
    return float(plan.speed_mps[0]) if len(plan.speed_mps) else None
