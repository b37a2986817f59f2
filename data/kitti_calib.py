"""KITTI calibration files (Geiger et al. 2012, 2013) as a ``Camera``: the left colour camera.

All KITTI pictures are rectified, so there is no distortion. The mounting follows the recording
car's drawing (Geiger et al. 2013, figure 3): cameras level, 1.65 m above the road; the GPS/IMU
0.05 m behind the rear axle and 0.32 m left of the middle of the car. A file's
``Tr_imu_to_velo`` therefore places the camera over the rear axle; without it the drawing does.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from data.camera import Camera, mounting_pose
from data.datasets.files import read_text
from data.errors import InputError
from data.types import F64

HEIGHT_M = 1.65
IMU_FORWARD_M = -0.05  # of the rear axle
IMU_LEFT_M = 0.32  # of the middle of the car
# From the drawing too: the cameras are 0.27 m ahead of the laser scanner, that 0.81 m ahead of
# the IMU: 1.03 m ahead of the rear axle (and 1.68 m behind the front one, of a 2.71 m wheelbase).
CAMERA_FORWARD_M = IMU_FORWARD_M + 0.81 + 0.27
_REFERENCE_LEFT_M = 0.0  # camera 0, above the middle; camera 2 stands 0.06 m left of it

# Each recording day had a calibration and a picture size of its own, so that either tells the
# other: day, width, height, focal length, centre u, v (px) of the rectified left colour camera.
DAYS: tuple[tuple[str, int, int, float, float, float], ...] = (
    ("2011_09_26", 1242, 375, 721.5377, 609.5593, 172.8540),
    ("2011_09_28", 1224, 370, 707.0493, 604.0814, 180.5066),
    ("2011_09_29", 1238, 374, 718.3351, 600.3891, 181.5122),
    ("2011_09_30", 1226, 370, 707.0912, 601.8873, 183.1104),
    ("2011_10_03", 1241, 376, 718.8560, 607.1928, 185.2157),
)
_CAMERA_2_LEFT_M = 0.06

# what is used -> (names it goes by, how many numbers)
_KEYS: dict[str, tuple[tuple[str, ...], int]] = {
    "projection": (("P2", "P_rect_02"), 12),
    "size": (("S_rect_02",), 2),
    "rectify": (("R0_rect", "R_rect"), 9),
    "camera_from_velo": (("Tr_velo_to_cam", "Tr_velo_cam"), 12),
    "velo_from_imu": (("Tr_imu_to_velo", "Tr_imu_velo"), 12),
}


def load_kitti_calib(
    path: Path, width_px: int | None = None, height_px: int | None = None
) -> Camera:
    """Read an object, tracking or raw (``calib_cam_to_cam.txt``) calibration file.

    Args:
        path: the text file, lines ``NAME: numbers`` (the colon may be missing).
        width_px, height_px: size of the pictures. Without them it is the file's own (raw), or
            that of the recording day whose focal length the file has.

    Raises:
        InputError: unreadable or malformed, naming file and line; or the size is not known or
            does not fit.
    """
    found, p, line, pose = _read_whole(path)
    width, height = _size(path, found, p, width_px, height_px)
    if not (0 < p[0, 2] < width and 0 < p[1, 2] < height):
        raise InputError(
            f"{path}:{line}: the optical centre {p[0, 2]:.0f}, {p[1, 2]:.0f} is outside a "
            f"{width}x{height} picture; give the calibration of these pictures"
        )
    return Camera(width, height, p[:, :3], np.zeros(0), pose, Path(path).name)


def check_kitti_calib(path: Path, size_px: tuple[int, int] | None) -> None:
    """Raise what ``load_kitti_calib`` does, but without a size nothing for the want of one."""
    if size_px is None:
        _read_whole(path)
    else:
        load_kitti_calib(path, *size_px)


def _read_whole(path: Path) -> tuple[dict[str, tuple[F64, int]], F64, int, F64]:
    """What does not depend on the pictures' size: all numbers, the projection matrix (3, 4) and
    its line, and the pose of the camera."""
    found = _read(path)
    if "projection" not in found:
        raise InputError(
            f"{path}: no line P2 (object, tracking) or P_rect_02 (raw); expected a KITTI "
            "calibration file with the left colour camera, e.g. training/calib/000000.txt"
        )
    projection, line = found["projection"]
    p = projection.reshape(3, 4)
    if not (min(p[0, 0], p[1, 1]) > 0 and abs(p[0, 1]) < 1e-6 and np.allclose(p[2, :3], (0, 0, 1))):
        raise InputError(
            f"{path}:{line}: expected a rectified projection matrix (fx 0 cx . 0 fy cy . 0 0 1 .)"
        )
    centre = np.asarray(
        -np.linalg.solve(p[:, :3], p[:, 3]), np.float64
    )  # of camera 2, in rectified camera 0
    forward, left = _place(path, found, centre)
    return found, p, line, mounting_pose(HEIGHT_M, forward_m=forward, left_m=left)


def nominal_camera(width_px: int, height_px: int) -> Camera | None:
    """The camera of the recording day with pictures of this size; None for any other size."""
    for day, width, height, focal, cx, cy in DAYS:
        if (width, height) == (width_px, height_px):
            matrix = np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])
            pose = mounting_pose(HEIGHT_M, forward_m=CAMERA_FORWARD_M, left_m=_CAMERA_2_LEFT_M)
            return Camera(width, height, matrix, np.zeros(0), pose, f"nominal, KITTI {day}")
    return None


def _read(path: Path) -> dict[str, tuple[F64, int]]:
    """What ``_KEYS`` names: numbers and line."""
    names = {name: key for key, (known, _) in _KEYS.items() for name in known}
    found: dict[str, tuple[F64, int]] = {}
    for n, text in enumerate(read_text(Path(path)).splitlines(), 1):
        name, *rest = text.replace(":", " ", 1).split() or [""]
        key = names.get(name)
        if key is None:
            continue
        count = _KEYS[key][1]
        try:
            values = np.array([float(v) for v in rest])
        except ValueError:
            values = np.zeros(0)
        if len(values) != count or not np.isfinite(values).all():
            raise InputError(
                f"{path}:{n}: {name}: expected {count} finite numbers, given '{' '.join(rest):.60}'"
                "; take the file from the official download again"
            )
        if key in found:
            raise InputError(f"{path}:{n}: {name} stands in line {found[key][1]} already")
        found[key] = values, n
    return found


def _size(
    path: Path, found: dict[str, tuple[F64, int]], p: F64, width: int | None, height: int | None
) -> tuple[int, int]:
    own = None
    if "size" in found:
        (w, h), line = found["size"]
        own = round(w), round(h)
        if width and height and own != (width, height):
            raise InputError(
                f"{path}:{line}: calibration of {own[0]}x{own[1]} pictures, given "
                f"{width}x{height}; give that of these pictures"
            )
    else:
        near = [d for d in DAYS if math.isclose(d[3], p[0, 0], abs_tol=0.02)]
        own = (near[0][1], near[0][2]) if near else None
    if width and height:
        return width, height
    if own is None:
        raise InputError(
            f"{path}: the focal length {p[0, 0]:.2f} px is of no known KITTI day, so the size of "
            "the pictures is unknown; put the pictures beside the labels"
        )
    return own


def _place(path: Path, found: dict[str, tuple[F64, int]], centre: F64) -> tuple[float, float]:
    """(forward, left) metres of the rear axle for a point of rectified camera 0."""
    if not {"rectify", "camera_from_velo", "velo_from_imu"} <= set(found):
        return CAMERA_FORWARD_M + float(centre[2]), _REFERENCE_LEFT_M - float(centre[0])
    rectify = np.eye(4)
    rectify[:3, :3] = found["rectify"][0].reshape(3, 3)
    chain = rectify @ _rigid(found["camera_from_velo"][0]) @ _rigid(found["velo_from_imu"][0])
    for key in ("rectify", "camera_from_velo", "velo_from_imu"):
        values, line = found[key]
        turn = values.reshape(3, -1)[:, :3]
        if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3):
            raise InputError(f"{path}:{line}: expected a rotation, the matrix is none")
    in_imu = np.linalg.solve(chain, np.append(centre, 1.0))
    return IMU_FORWARD_M + float(in_imu[0]), IMU_LEFT_M + float(in_imu[1])


def _rigid(values: F64) -> F64:
    return np.vstack([values.reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
