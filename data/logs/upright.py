"""A decoded frame as an upright BGR picture."""

from __future__ import annotations

import struct
from typing import cast

import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame

from data.errors import InputError
from data.logs.selection import MAX_IMAGE_PX
from data.types import U8

_TOLERANCE = 0.01  # of an axis, by which a display matrix may miss a quarter turn


def to_bgr(frame: VideoFrame) -> tuple[U8, str]:
    """(h, w, 3) uint8 BGR, upright, by the frame's own colour matrix and range; and what is wrong.

    A display matrix that is no quarter turn or mirroring is not applied, and that is said.

    Raises:
        InputError: more than 100 megapixels.
    """
    if frame.width * frame.height > MAX_IMAGE_PX:
        raise InputError(f"a frame of {frame.width}x{frame.height} is above 100 megapixels")
    image = np.asarray(frame.to_ndarray(format="bgr24", threads=1), np.uint8)
    try:
        # PyAV's stub calls this a TypedDict
        matrix = bytes(cast(SideDataContainer, frame.side_data)[Type.DISPLAYMATRIX])
    except KeyError:
        return image, ""
    turned = apply_display_matrix(image, matrix)
    if turned is None:
        return image, "the display matrix is no quarter turn or mirroring: it is not applied"
    return turned, ""


def apply_display_matrix(image: U8, matrix: bytes) -> U8 | None:
    """Turn and mirror a picture as its file asks; None where that takes more than both.

    Args:
        image: (h, w, 3) as stored.
        matrix: nine little-endian int32 a b u, c d v, x y w: the stored (p, q), rightwards and
            downwards, is shown at (a p + c q, b p + d q); shifts and scales are left out
            (ISO/IEC 14496-12, track header).
    """
    if len(matrix) < 36:
        return None
    a, b, _, c, d = struct.unpack_from("<5i", matrix)
    straight, crossed = min(abs(a), abs(d)), min(abs(b), abs(c))
    if max(abs(b), abs(c)) < _TOLERANCE * straight:
        right, down = a, d
    elif max(abs(a), abs(d)) < _TOLERANCE * crossed:
        image, right, down = np.asarray(cv2.transpose(image), np.uint8), c, b
    else:
        return None
    image = image[:: 1 if down > 0 else -1, :: 1 if right > 0 else -1]
    return np.ascontiguousarray(image)
