"""A pinhole camera on a vehicle: intrinsics, mounting, and projection both ways.

Frames of reference: image u right, v down (pixel centres at whole numbers); camera x right,
y down, z forward (OpenCV); vehicle x forward, y left, z up (ISO 8855), origin on the ground
under the rear axle. The ground is the plane z = 0 of the vehicle frame.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.config import read_toml
from data.errors import InputError

Array = NDArray[np.float64]

# camera axes (right, down, forward) written in vehicle axes (forward, left, up)
_VEHICLE_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

ASSUMED_FOCAL_PER_WIDTH = 0.87  # a 60 degree lens, common for dashcams and phones
ASSUMED_HEIGHT_M = 1.4
ASSUMED_ANGLE_STD_RAD = (math.radians(5.0), math.radians(4.0))  # of pitch and yaw
_MAX_PX = 100_000
ASSUMED_FORWARD_M = 1.7  # windscreen ahead of the rear axle
_UNDISTORT_UNTIL = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 20, 1e-9)
_WITHIN_PX = 1.0  # a pixel that its ray does not meet again to within this has none


def mounting_pose(
    height_m: float,
    pitch_rad: float = 0.0,
    yaw_rad: float = 0.0,
    roll_rad: float = 0.0,
    forward_m: float = ASSUMED_FORWARD_M,
    left_m: float = 0.0,
) -> Array:
    """Return ``vehicle_from_camera`` (4, 4).

    ``pitch_rad`` is positive nose-down, ``yaw_rad`` positive to the left, ``roll_rad`` positive
    when the camera's right side drops: rotations about the vehicle's y, z and x axes.
    """
    cy, sy = math.cos(yaw_rad), math.sin(yaw_rad)
    cp, sp = math.cos(pitch_rad), math.sin(pitch_rad)
    cr, sr = math.cos(roll_rad), math.sin(roll_rad)
    yaw = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
    pitch = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
    roll = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
    pose = np.eye(4)
    pose[:3, :3] = yaw @ pitch @ roll @ _VEHICLE_FROM_OPTICAL
    pose[:3, 3] = (forward_m, left_m, height_m)
    return pose


@dataclass(frozen=True, eq=False)
class Camera:
    """Pinhole camera with its mounting.

    Attributes:
        width_px, height_px: size of the images it makes.
        matrix: (3, 3) float64 intrinsics in px, no skew.
        distortion: (k,) OpenCV coefficients, empty for none.
        vehicle_from_camera: (4, 4) pose.
        source: where the figures come from, for the record ('assumed', a file's name, ...).
        angle_std_rad: standard deviations of pitch and yaw where they are estimated, else None.
    """

    width_px: int
    height_px: int
    matrix: Array
    distortion: Array
    vehicle_from_camera: Array
    source: str
    angle_std_rad: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, shape in (("matrix", (3, 3)), ("vehicle_from_camera", (4, 4))):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise InputError(f"camera {name}: expected finite {shape}, given {value.shape}")
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "distortion", np.array(self.distortion, np.float64).ravel())
        focal = self.matrix[0, 0], self.matrix[1, 1]
        if not (0 < self.width_px <= _MAX_PX and 0 < self.height_px <= _MAX_PX and min(focal) > 0):
            raise InputError("camera: image size and focal length must be positive, sizes sane")
        if not (np.abs(self.matrix[:2]) <= 100 * _MAX_PX).all():
            raise InputError("camera: focal length or centre are far outside any picture")
        if not (np.isfinite(self.distortion) & (np.abs(self.distortion) < 1e3)).all():
            raise InputError("camera distortion: expected finite coefficients below 1000")
        if not 0 < self.height_m < 100:
            raise InputError(f"camera height_m: expected above 0, below 100, given {self.height_m}")
        if self.distortion.size not in (0, 4, 5, 8, 12, 14):
            raise InputError(
                f"camera distortion: expected 0, 4, 5, 8, 12 or 14 coefficients, "
                f"given {self.distortion.size}"
            )

    @classmethod
    def assumed(cls, width_px: int, height_px: int, horizon_row_px: float | None = None) -> Camera:
        """An unknown dashcam: 60 degree lens, 1.4 m up, 1.7 m ahead of the rear axle.

        The focal length follows the width, but of no more than a 16:9 picture, since wider
        pictures are usually cropped ones. The horizon is taken at the middle row unless given.
        """
        focal = ASSUMED_FOCAL_PER_WIDTH * min(width_px, height_px * 16 / 9)
        cx, cy = (width_px - 1) / 2, (height_px - 1) / 2
        row = cy if horizon_row_px is None else horizon_row_px
        pitch = math.atan2(cy - row, focal)
        matrix = np.array([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]])
        pose = mounting_pose(ASSUMED_HEIGHT_M, pitch)
        std = ASSUMED_ANGLE_STD_RAD
        return cls(width_px, height_px, matrix, np.zeros(0), pose, "assumed", std)

    @property
    def height_m(self) -> float:
        return float(self.vehicle_from_camera[2, 3])

    @property
    def pitch_rad(self) -> float:
        """Angle of the optical axis below the horizontal."""
        return -math.asin(float(np.clip(self.vehicle_from_camera[2, 2], -1.0, 1.0)))

    @property
    def yaw_rad(self) -> float:
        """Angle of the optical axis to the left of the vehicle's x axis."""
        return math.atan2(self.vehicle_from_camera[1, 2], self.vehicle_from_camera[0, 2])

    @property
    def roll_rad(self) -> float:
        """Turn about the optical axis, positive when the camera's right side drops."""
        turn = self.vehicle_from_camera[:3, :3] @ _VEHICLE_FROM_OPTICAL.T
        return math.atan2(turn[2, 1], turn[2, 2])

    @property
    def horizon_row_px(self) -> float:
        """Row of the horizon straight ahead of the camera (its centre column)."""
        focal, cy = float(self.matrix[1, 1]), float(self.matrix[1, 2])
        return cy - focal * math.tan(self.pitch_rad)

    def with_vanishing_point(self, u_px: float, v_px: float, source: str) -> Camera:
        """The same camera, turned so that the vehicle's x axis vanishes at (u_px, v_px).

        Roll is taken as zero; position is kept.
        """
        x, y = (float(v) for v in self._rays(np.array([[u_px, v_px]]))[0])
        if not math.isfinite(x):  # a place that the lens does not reach: as without distortion
            x, y = (np.array([u_px, v_px]) - self.matrix[:2, 2]) / self.matrix[[0, 1], [0, 1]]
        pitch = math.atan(-y)  # the row of the horizon
        yaw = math.atan2(x * math.cos(pitch), 1.0)
        forward, left, height = self.vehicle_from_camera[:3, 3]
        pose = mounting_pose(float(height), pitch, yaw, 0.0, float(forward), float(left))
        return replace(self, vehicle_from_camera=pose, source=source)

    def scaled_to(self, width_px: int, height_px: int) -> Camera:
        """The same camera giving images of another size (the whole picture resized)."""
        sx, sy = width_px / self.width_px, height_px / self.height_px
        m = self.matrix.copy()
        m[0] *= sx
        m[1] *= sy
        m[0, 2] = (self.matrix[0, 2] + 0.5) * sx - 0.5
        m[1, 2] = (self.matrix[1, 2] + 0.5) * sy - 0.5
        return replace(self, width_px=width_px, height_px=height_px, matrix=m)

    def shifted(self, up_left_px: float) -> Camera:
        """The same camera where all lies so many pixels further up and left in its images."""
        m = self.matrix.copy()
        m[:2, 2] -= up_left_px
        return replace(self, matrix=m)

    @cached_property
    def _reach(self) -> float:
        """Tangent of the angle from the axis up to which the lens keeps directions apart: beyond
        it the distortion's polynomials lead back into the picture; inf where they never do."""
        k1, k2, _, _, k3, k4, k5, k6 = np.r_[self.distortion, np.zeros(8)][:8]
        r = np.tan(np.radians(np.linspace(0.0, 89.0, 891)))
        q = r**2
        grown = (1 + q * (k1 + q * (k2 + q * k3))) / (1 + q * (k4 + q * (k5 + q * k6)))
        falls = np.flatnonzero(np.diff(r * grown) <= 0)
        return float(r[falls[0]]) if len(falls) else math.inf

    def _rays(self, pixels: Array) -> Array:
        """Directions of pixels (n, 2): right and down for each unit ahead of the camera; NaN where
        the lens shows none."""
        if not (self.distortion.size and len(pixels)):
            return (pixels - self.matrix[:2, 2]) / self.matrix[[0, 1], [0, 1]]
        lens = self.matrix, self.distortion
        found = cv2.undistortPoints(pixels[:, None], *lens, criteria=_UNDISTORT_UNTIL)
        rays = np.asarray(found, np.float64).reshape(-1, 2)
        ahead = np.column_stack([rays, np.ones(len(rays))])
        back, _ = cv2.projectPoints(ahead, np.zeros(3), np.zeros(3), *lens)
        off = np.abs(np.asarray(back).reshape(-1, 2) - pixels).max(axis=1)
        met = (off < _WITHIN_PX) & (np.hypot(*rays.T) <= self._reach)
        return np.where(met[:, None], rays, np.nan)

    def pixels_from_vehicle(self, points_m: Array) -> Array:
        """Project (n, 3) vehicle points to (n, 2) pixels; NaN where a point is not in front, or so
        far to the side that the lens does not show it."""
        points = np.asarray(points_m, np.float64).reshape(-1, 3)
        pose = self.vehicle_from_camera
        # a coordinate after the other: a fraction of the time of a point after the other
        cam = pose[:3, :3].T @ np.subtract(points.T, pose[:3, 3:], order="C")
        front = cam[2] > 0.05
        if self.distortion.size:
            front &= np.hypot(cam[0], cam[1]) <= self._reach * np.maximum(cam[2], 1e-9)
            out = np.full((len(points), 2), np.nan)
            if front.any():
                uv, _ = cv2.projectPoints(
                    cam.T[front], np.zeros(3), np.zeros(3), self.matrix, self.distortion
                )
                out[front] = uv.reshape(-1, 2)
            return out
        uvw = self.matrix @ cam
        seen = np.full((2, len(points)), np.nan)
        np.divide(uvw[:2], uvw[2], out=seen, where=front)
        return seen.T

    def ground_from_pixels(self, pixels: Array) -> Array:
        """Cast (n, 2) pixels to the ground plane: (n, 2) vehicle x, y in m.

        NaN at or above the horizon, where no ray meets the ground ahead, and where the lens shows
        nothing.
        """
        uv = np.asarray(pixels, np.float64).reshape(-1, 2)
        rays = (
            np.column_stack([self._rays(uv), np.ones(len(uv))]) @ self.vehicle_from_camera[:3, :3].T
        )
        centre = self.vehicle_from_camera[:3, 3]
        down = rays[:, 2] < -1e-6
        out = np.full((len(uv), 2), np.nan)
        scale = -centre[2] / rays[down, 2]
        out[down] = centre[:2] + rays[down, :2] * scale[:, None]
        return out


def load_camera(path: Path) -> Camera:
    """Read a camera TOML file.

    Keys: ``width_px height_px fx_px fy_px cx_px cy_px height_m`` and, optional, ``distortion``
    (list), ``pitch_rad yaw_rad roll_rad forward_m left_m``.

    Raises:
        InputError: the file is missing or malformed, naming the key.
    """
    raw = read_toml(path, "camera file")
    need = ("width_px", "height_px", "fx_px", "fy_px", "cx_px", "cy_px", "height_m")
    pose_keys = ("pitch_rad", "yaw_rad", "roll_rad", "forward_m", "left_m")
    unknown = sorted(set(raw) - {*need, *pose_keys, "distortion"})
    missing = [k for k in need if k not in raw]
    if unknown or missing:
        what = f"missing {', '.join(missing)}" if missing else f"unknown key {unknown[0]}"
        known = f"{', '.join(need)}; optional are distortion, {', '.join(pose_keys)}"
        raise InputError(f"camera file {path}: {what}; expected {known}")
    given = raw.get("distortion", [])
    if not isinstance(given, list):
        raise InputError(f"camera file {path}: distortion is a list of numbers, not {given!r:.60}")
    num = {k: raw[k] for k in (*need, *pose_keys) if k in raw}
    for key, value in {**num, **{f"distortion[{i}]": v for i, v in enumerate(given)}}.items():
        bad = isinstance(value, bool) or not isinstance(value, int | float)
        if bad or not abs(value) <= sys.float_info.max:  # which whole numbers may exceed
            raise InputError(
                f"camera file {path}: {key} must be a finite number, given {value!r:.60}"
            )
        if key.endswith("_rad") and abs(value) >= math.pi / 2:
            raise InputError(f"camera file {path}: {key} = {value} is in radians, below pi / 2")
    for key, side in (("cx_px", "width_px"), ("cy_px", "height_px")):
        if not -num[side] <= num[key] <= 2 * num[side]:
            raise InputError(
                f"camera file {path}: {key} = {num[key]:.6g} lies far outside of a picture with "
                f"{side} = {num[side]:.6g}; expected the place of the lens's axis in it"
            )
    distortion = np.array(given, np.float64)
    matrix = np.array(
        [[num["fx_px"], 0, num["cx_px"]], [0, num["fy_px"], num["cy_px"]], [0, 0, 1.0]]
    )
    pose = mounting_pose(num["height_m"], **{k: num[k] for k in pose_keys if k in num})
    size = int(num["width_px"]), int(num["height_px"])
    try:
        return Camera(*size, matrix, distortion, pose, Path(path).name)
    except InputError as e:
        raise InputError(f"camera file {path}: {e}") from e


def camera_to_toml(camera: Camera, comments: tuple[str, ...] = ()) -> str:
    """A camera file's text, as ``load_camera`` reads it; ``comments`` are its first lines."""
    matrix = camera.matrix
    forward, left, height = (float(v) for v in camera.vehicle_from_camera[:3, 3])
    values = {
        "fx_px": matrix[0, 0], "fy_px": matrix[1, 1], "cx_px": matrix[0, 2], "cy_px": matrix[1, 2],
        "height_m": height, "pitch_rad": camera.pitch_rad, "yaw_rad": camera.yaw_rad,
        "roll_rad": camera.roll_rad, "forward_m": forward, "left_m": left,
    }  # fmt: skip
    lines = [f"# {' '.join(c.split())}" for c in comments]
    lines += [f"width_px = {camera.width_px}", f"height_px = {camera.height_px}"]
    # an integral value is written as an integer, which TOML and the reader take for the number
    lines += [f"{key} = {float(value) + 0.0:.10g}" for key, value in values.items()]
    if camera.distortion.size:
        lines.append(f"distortion = [{', '.join(f'{v:.10g}' for v in camera.distortion)}]")
    return "\n".join(lines) + "\n"
