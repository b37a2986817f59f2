"""Occupancy maps in the form of ROS map_server: a YAML file beside a PGM or PNG picture."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.logs.image_size import image_size_px
from data.yaml_text import load_yaml
from planning.hybrid_astar import MAX_CELL_M, MAX_CELLS, MIN_CELL_M

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

_KEYS = ("image", "resolution", "origin", "occupied_thresh", "free_thresh", "negate")
_MAX_YAML_BYTES = 100_000
_MAX_PICTURE_BYTES = 8 * MAX_CELLS + 100_000  # four channels of 16 bits


@dataclass(frozen=True, eq=False)
class OccupancyMap:
    """Attributes:
    occupied: (rows, cols) bool, True where occupied or unknown; row 0 is the lowest y.
    cell_m: side of a cell.
    origin: x, y (m) and yaw (rad) in the map's frame of the outer corner of cell (0, 0), from
        which columns lead along the turned x axis and rows along the turned y axis.
    """

    occupied: Mask
    cell_m: float
    origin: tuple[float, float, float]

    def to_grid(self, poses: F64) -> F64:
        """Poses (..., 3 or more) of the map's frame, seen from the outer corner of cell (0, 0)."""
        return self._turned(poses - self._shift(poses), -self.origin[2])

    def from_grid(self, poses: F64) -> F64:
        """The inverse of ``to_grid``; yaw in [-pi, pi)."""
        out = self._turned(poses, self.origin[2]) + self._shift(poses)
        out[..., 2] = (out[..., 2] + math.pi) % (2 * math.pi) - math.pi
        return out

    def _shift(self, poses: F64) -> F64:
        out = np.zeros(poses.shape[-1])
        out[:2] = self.origin[:2]
        return out

    @staticmethod
    def _turned(poses: F64, yaw: float) -> F64:
        c, s = math.cos(yaw), math.sin(yaw)
        out = np.array(poses, np.float64)
        x, y = out[..., 0].copy(), out[..., 1].copy()
        out[..., 0], out[..., 1] = c * x - s * y, s * x + c * y
        out[..., 2] += yaw
        return out


def _number(path: Path, key: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(
            f"{path}: {key}: expected a number from {low:g} to {high:g}, given {value!r:.60}"
        )
    return float(value)


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        if path.stat().st_size > _MAX_YAML_BYTES:
            raise InputError(f"{path}: too large for the YAML file of a map")
        content = load_yaml(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror or e})") from e
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as e:
        line = getattr(getattr(e, "problem_mark", None), "line", None)
        where = "" if line is None else f" (line {line + 1})"
        raise InputError(f"{path}: is no valid YAML{where}; expected the form of map_server") from e
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys {', '.join(_KEYS)}, found none")
    missing = [k for k in _KEYS[:3] if k not in content]
    if missing:
        raise InputError(f"{path}: misses {', '.join(missing)}; see the form of map_server")
    mode = content.get("mode", "trinary")
    if mode not in ("trinary", "scale"):
        raise InputError(f"{path}: mode: expected trinary or scale, given {mode!r:.60}")
    return content


def _read_picture(path: Path, name: Any) -> NDArray[np.float64]:
    """Darkness-free brightness 0 to 1, (rows, cols); NaN where transparent."""
    if not isinstance(name, str) or not name:
        raise InputError(f"{path}: image: expected a file name, given {name!r:.60}")
    file = path.parent / name
    if not os.path.isfile(file):  # of a name that is too long, too, on which Path fails
        raise InputError(f"{path}: image {name!r:.60} does not exist")
    size, picture = (0, 0), None
    try:
        content = file.read_bytes() if file.stat().st_size <= _MAX_PICTURE_BYTES else b""
        size = image_size_px(content) or (0, 0)  # looked at before room is made for it
        if 0 < size[0] * size[1] <= MAX_CELLS:
            picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, OSError):
        pass
    if size[0] * size[1] > MAX_CELLS:
        raise InputError(
            f"{path}: image of {size[0]}x{size[1]} cells, at most {MAX_CELLS} are taken"
        )
    if picture is None or picture.size == 0:
        raise InputError(f"{path}: image {file} cannot be read; expected a PGM or PNG file")
    white = 1.0 if picture.dtype.kind == "f" else float(2 ** (8 * picture.itemsize) - 1)
    value = np.asarray(picture, np.float64) / white
    if value.ndim == 2:
        return value
    grey = value[:, :, :3].mean(axis=2) if value.shape[2] >= 3 else value[:, :, 0]
    if value.shape[2] in (2, 4):
        grey[value[:, :, -1] == 0] = np.nan
    return np.asarray(grey)


def load_map(path: Path) -> OccupancyMap:
    """Read a map.

    A cell is free only where its darkness lies below ``free_thresh`` (0.196 where not given,
    ``occupied_thresh`` 0.65); what lies between the two or is transparent is unknown.

    Raises:
        InputError: says what is wrong with the YAML file or its picture.
    """
    content = _read_yaml(path)
    cell_m = _number(path, "resolution", content["resolution"], MIN_CELL_M, MAX_CELL_M)
    origin = content["origin"]
    if not isinstance(origin, list) or len(origin) not in (2, 3):
        raise InputError(f"{path}: origin: expected [x, y, yaw], given {origin!r:.60}")
    x, y, yaw = [_number(path, "origin", v, -1e7, 1e7) for v in [*origin, 0.0][:3]]
    full = _number(path, "occupied_thresh", content.get("occupied_thresh", 0.65), 0.0, 1.0)
    free = _number(path, "free_thresh", content.get("free_thresh", 0.196), 0.0, 1.0)
    if free > full:
        raise InputError(f"{path}: free_thresh {free:g} lies above occupied_thresh {full:g}")
    negate = content.get("negate", 0)
    if negate not in (0, 1, False, True):
        raise InputError(f"{path}: negate: expected 0 or 1, given {negate!r:.60}")
    brightness = _read_picture(path, content["image"])
    darkness = brightness if negate else 1.0 - brightness
    is_free = darkness < free  # False for NaN
    return OccupancyMap(np.ascontiguousarray(~is_free[::-1]), cell_m, (x, y, yaw))
