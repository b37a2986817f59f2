"""Tracked objects as footprints on the ground."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.taxonomy import CLASS_ID, CLASSES
from data.types import Tracks
from planning.vehicle import Vehicle

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Size along and across the road in m: length, least width, greatest width.
_SIZE_M = {"vehicle": (4.5, 1.6, 2.6), "person": (0.6, 0.5, 0.8), "two_wheeler": (1.8, 0.6, 1.0)}
_OBSTACLE = np.array([name in _SIZE_M for name in CLASSES])
_SIDE_VIEW_M = 3.2  # a vehicle's box wider than this shows its side
MAX_COASTING_S = 1.0
_SETTLED_S = 0.4
_BORDER = 0.01  # of the picture's width
_NO_CLUE_MPS = 100.0


@dataclass(frozen=True, eq=False)
class Footprints:
    """Upright rectangles in the vehicle frame, (n,) each.

    Attributes:
        x0_m, x1_m, y0_m, y1_m: extents, position uncertainty included.
        vx_mps, vy_mps: relative to the own vehicle; NaN if unknown.
        vy_std_mps: standard deviation of ``vy_mps``; NaN if unknown.
        class_id, track_id: (n,) int64.
        settled: (n,) bool, seen for long enough that the velocity means something.
    """

    x0_m: F64
    x1_m: F64
    y0_m: F64
    y1_m: F64
    vx_mps: F64
    vy_mps: F64
    vy_std_mps: F64
    class_id: I64
    track_id: I64
    settled: Mask

    def __len__(self) -> int:
        return len(self.x0_m)

    def name(self, i: int) -> str:
        """Class in plain words."""
        return CLASSES[self.class_id[i]].replace("_", "-")


def is_obstacle(class_id: I64) -> Mask:
    """Lights and signs stand beside or above the road."""
    return np.asarray(_OBSTACLE[class_id])


def _lateral_extent(
    tracks: Tracks, keep: I64, camera: Camera, length_m: F64, least_m: F64, most_m: F64
) -> tuple[F64, F64]:
    """Right and left edge (y) of each object, from the box's width at its foot's distance.

    The box of a vehicle to one side also shows its flank: the box's inner edge is then the far
    end of the flank, ``length_m`` further away, and is put back where the flank stands. Else
    every parked car would reach into the lane.
    """
    depth = np.maximum(tracks.position_m[keep, 0] - camera.vehicle_from_camera[0, 3], 1.0)
    middle = tracks.position_m[keep, 1]
    box = tracks.xyxy[keep].astype(np.float64)
    half = 0.5 * (box[:, 2] - box[:, 0]) / float(camera.matrix[0, 0]) * depth
    low, high = middle - half, middle + half
    stretch = (depth + length_m) / depth
    low = np.where(low > 0, np.minimum(low * stretch, high), low)
    high = np.where(high < 0, np.maximum(high * stretch, low), high)
    seen = high - low
    most_m = np.where(seen > _SIDE_VIEW_M, length_m + 1.0, most_m)
    width = np.clip(seen, least_m, most_m)
    # Size is corrected on the side away from the own way: there a box may be cut by the
    # picture's border, and the near side is the one that matters.
    centre = (low + high) / 2
    centre = np.where(low > 0, low + width / 2, np.where(high < 0, high - width / 2, centre))
    return centre - width / 2, centre + width / 2


def without_own_turning(tracks: Tracks, yaw_rate_radps: float) -> Tracks:
    """The same tracks with velocities in axes that do not turn with the own vehicle.

    In the turning frame a standing object moves sideways by the yaw rate times its distance.
    """
    x, y = tracks.position_m.T
    turning = yaw_rate_radps * np.column_stack([-y, x])
    return replace(tracks, velocity_mps=tracks.velocity_mps + turning)


def _aside_std_mps(tracks: Tracks, keep: I64, camera: Camera) -> F64:
    """Standard deviation of each object's sideways speed; NaN if unknown.

    What is left in the picture of a vehicle that leaves it to one side seems to move inwards: its
    sideways speed says nothing then.
    """
    with np.errstate(invalid="ignore"):
        std = np.sqrt(tracks.covariance[keep, 3, 3])
    box, margin = tracks.xyxy[keep], _BORDER * camera.width_px
    cut = (box[:, 0] < margin) | (box[:, 2] > camera.width_px - margin)
    cut &= tracks.class_id[keep] == CLASS_ID["vehicle"]
    return np.where(cut, _NO_CLUE_MPS, std)


def footprints(tracks: Tracks, camera: Camera, vehicle: Vehicle) -> Footprints:
    """Objects ahead that can be run into; those without a finite ground position are left out.

    Rectangles grow with the position's standard deviation (with distance where no covariance is
    known), within bounds: a doubtful distance must not close the whole road.
    """
    t = tracks
    ok = is_obstacle(t.class_id) & np.isfinite(t.position_m).all(axis=1)
    ok &= np.isfinite(t.xyxy).all(axis=1) & (t.since_update_s <= MAX_COASTING_S)
    keep = np.flatnonzero(ok)
    size = np.array([_SIZE_M[CLASSES[c]] for c in t.class_id[keep]]).reshape(-1, 3)
    position = t.position_m[keep]
    y0, y1 = _lateral_extent(t, keep, camera, size[:, 0], size[:, 1], size[:, 2])
    with np.errstate(invalid="ignore"):
        std = np.sqrt(np.diagonal(t.covariance[keep], axis1=1, axis2=2))
    distance = np.abs(position[:, 0])
    grow_x = np.where(np.isfinite(std[:, 0]), std[:, 0], 0.05 * distance).clip(0.0, 1.5)
    grow_y = np.where(np.isfinite(std[:, 1]), std[:, 1], 0.02 * distance).clip(0.0, 0.3)
    length = np.where(y1 - y0 > _SIDE_VIEW_M, 2.0, size[:, 0])
    # A rough camera may put an object into the own bonnet: it stands before the bumper.
    x_near = np.maximum(position[:, 0] - grow_x, vehicle.front_m + 0.2)
    return Footprints(
        x_near,
        np.maximum(position[:, 0], x_near) + length + grow_x,
        y0 - grow_y,
        y1 + grow_y,
        t.velocity_mps[keep, 0],
        t.velocity_mps[keep, 1],
        _aside_std_mps(t, keep, camera),
        t.class_id[keep],
        t.track_id[keep],
        (t.age_s[keep] >= _SETTLED_S) & np.isfinite(t.velocity_mps[keep]).all(axis=1),
    )
