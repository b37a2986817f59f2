"""A message's pixels as a BGR picture."""

from __future__ import annotations

from contextlib import suppress

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext

from data.logs.bags.messages import Picture
from data.logs.decoding import Wake
from data.logs.images import decode_picture
from data.logs.selection import MAX_IMAGE_PX
from data.logs.upright import to_bgr
from data.types import U8

# name -> bytes a pixel, OpenCV's conversion (None: BGR already). Bayer is named after the first
# four pixels, as in ROS.
_RAW: dict[str, tuple[int, int | None]] = {
    "bgr8": (3, None),
    "8uc3": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "8uc4": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
    "mono8": (1, cv2.COLOR_GRAY2BGR),
    "8uc1": (1, cv2.COLOR_GRAY2BGR),
    "mono16": (2, cv2.COLOR_GRAY2BGR),
    "bayer_rggb8": (1, cv2.COLOR_BayerRGGB2BGR),
    "bayer_bggr8": (1, cv2.COLOR_BayerBGGR2BGR),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGBRG2BGR),
    "bayer_grbg8": (1, cv2.COLOR_BayerGRBG2BGR),
    "yuv422": (2, cv2.COLOR_YUV2BGR_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2BGR_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2BGR_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2BGR_YUY2),
}
_CODECS = {"h264": "h264", "h265": "hevc", "hevc": "hevc", "vp9": "vp9", "av1": "av1"}
ENCODINGS = tuple(_RAW)


class PictureDecoder:
    """Decodes the pictures of one topic in turn; a video's frames need those before them."""

    def __init__(self) -> None:
        self._video: VideoCodecContext | None = None
        self._wake, self._missing = Wake(), 0

    def __call__(self, picture: Picture) -> tuple[U8 | None, str]:
        """(h, w, 3) uint8 BGR and '', or None and what is wrong with the picture."""
        if picture.kind == "raw":
            return raw_to_bgr(picture)
        if picture.kind == "file":
            return decode_picture(bytes(picture.data))
        return self._next_of_video(picture)

    def _next_of_video(self, picture: Picture) -> tuple[U8 | None, str]:
        codec = _CODECS.get(picture.encoding.lower())
        if codec is None:
            known = ", ".join(_CODECS)
            return None, f"is video of the format '{picture.encoding:.20}', not one of {known}"
        if self._video is None:
            context = av.CodecContext.create(codec, "r")
            assert isinstance(context, VideoCodecContext)
            context.thread_count = 1  # threads would hold frames back
            context.options = {"max_pixels": str(MAX_IMAGE_PX)}
            self._video = context
        frames = []
        with suppress(av.FFmpegError):
            frames = self._video.decode(av.Packet(bytes(picture.data)))
        if not frames or frames[-1].is_corrupt:
            self._missing += 1
            return None, "cannot be decoded, or waits for a keyframe"
        damage = self._wake.of(frames[-1], self._missing)
        self._missing = 0
        if damage:
            return None, f"is {damage}"
        if frames[-1].width * frames[-1].height > MAX_IMAGE_PX:
            return None, "is above 100 megapixels"
        return to_bgr(frames[-1])[0], ""


def raw_to_bgr(picture: Picture) -> tuple[U8 | None, str]:
    """Decode raw pixels; None and what is wrong where they are not what the message says.

    Nothing is allocated before the size is held against the bytes that are there.
    """
    width, height, encoding = picture.width_px, picture.height_px, picture.encoding.lower()
    if encoding not in _RAW:
        return None, f"is of the encoding '{encoding:.30}', not one of {', '.join(_RAW)}"
    size, conversion = _RAW[encoding]
    if not (width > 0 and height > 0):
        return None, f"has the size {width}x{height}"
    if width * height > MAX_IMAGE_PX:
        return None, f"claims {width}x{height}, above 100 megapixels"
    row = width * size
    step = picture.step_bytes or row
    if step < row or len(picture.data) < step * (height - 1) + row:
        return None, f"holds {len(picture.data)} bytes, too few for {width}x{height} {encoding}"
    flat = np.frombuffer(picture.data, np.uint8)
    rows = np.lib.stride_tricks.as_strided(flat, (height, row), (step, 1), writeable=False)
    if encoding == "mono16":
        rows = rows[:, 0 if picture.big_endian else 1 :: 2]  # the upper byte
        size = 1
    pixels = np.ascontiguousarray(rows.reshape(height, width, size))
    if conversion is None:
        return pixels, ""
    odd = width % 2 or ("bayer" in encoding and (height % 2 or min(width, height) < 4))
    if odd and ("bayer" in encoding or "yu" in encoding):
        return None, f"has the odd size {width}x{height}, which {encoding} cannot have"
    return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8), ""
