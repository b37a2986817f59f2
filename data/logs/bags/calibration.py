"""A bag's calibration as a ``Camera``."""

from __future__ import annotations

import numpy as np

from data.camera import ASSUMED_ANGLE_STD_RAD, ASSUMED_HEIGHT_M, Camera, mounting_pose
from data.errors import InputError
from data.logs.bags.messages import Calibration

_PINHOLE = ("", "plumb_bob", "rational_polynomial")  # whose coefficients are OpenCV's


def camera_of(
    calibration: Calibration, size_px: tuple[int, int], rectified: bool, source: str
) -> Camera:
    """The lens of a calibration on an assumed mounting: 1.4 m up, level, angles not known.

    Args:
        size_px: of the pictures; a calibration of another size but the same aspect is scaled.
        rectified: whether the pictures were undistorted already; their matrix is then P's.
        source: where it comes from, for the record.

    Raises:
        InputError: no calibration, of a fisheye lens, or of another aspect.
    """
    width, height = calibration.width_px or size_px[0], calibration.height_px or size_px[1]
    whole = rectified and len(calibration.projection) == 12 and calibration.projection[0] > 0
    flat = np.array(calibration.projection if whole else calibration.matrix, np.float64)
    if flat.size not in (9, 12) or not (np.isfinite(flat).all() and flat[0] > 0):
        raise InputError("the camera is not calibrated")
    matrix = flat.reshape(3, -1)[:, :3]
    distortion = np.zeros(0) if rectified else np.array(calibration.distortion, np.float64)
    if not distortion.any():
        distortion = np.zeros(0)
    if distortion.size and calibration.model not in _PINHOLE:
        raise InputError(f"the lens model '{calibration.model:.30}' is not known")
    if abs((width / height) / (size_px[0] / size_px[1]) - 1) > 0.01:
        raise InputError(f"it is of {width}x{height}, the pictures are {size_px[0]}x{size_px[1]}")
    matrix[0, 1] = 0.0
    matrix[2] = (0.0, 0.0, 1.0)
    pose = mounting_pose(ASSUMED_HEIGHT_M)
    note = f"{source}, mounting assumed"
    camera = Camera(width, height, matrix, distortion, pose, note, ASSUMED_ANGLE_STD_RAD)
    return camera if (width, height) == size_px else camera.scaled_to(*size_px)
