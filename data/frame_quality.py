"""Whether a picture can be looked at at all: exposure, blur, noise, freezing, obstruction, damage.

Measured on about 160 x 90 pixels picked from the picture and on a few of its rows, in well under
a millisecond. The thresholds are set so that a fault means a camera or a decoder that failed, not
a hard scene: the extremes of real frames (two driving clips, CamVid, BDD100K by day and night)
are given with each, and lie on the good side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.compiled import run
from data.types import U8

_COLUMNS, _ROWS = 160, 90  # pixels picked from a picture
_BLOCK = 10  # of picked pixels, a side
_SHARP_WIDTH_PX = 1280  # blur is judged as on a picture of about this width
_SHARP_ROWS = 40
_SPAN = 8  # px between the two pixels whose difference is the contrast


@dataclass(frozen=True)
class QualityConfig:
    """Attributes:
    black_level: 99.5 % of the pixels are at most this bright, brightest channel of 0 to 255
        (real frames, night without street lights among them: never below 54).
    white_level: 95 % of the pixels have all channels above this (never above 93).
    grey_share: share of pixels that are the neutral grey of a decoder without data, within
        ``grey_slack`` of 128, in flat blocks (never above 0.08).
    flat_share: share of blocks without any texture from which on something covers the lens
        (0.70 by night); ``flat_std`` is what counts as no texture, an even slope aside.
    blur: mean difference of neighbours over that of pixels 8 columns apart, at a width of
        1280 px. 1/8 is no detail at all, a Gaussian of 4 px gives 0.134, real frames 0.152 and
        more.
    blur_contrast: mean difference of pixels 8 apart below which blur cannot be judged.
    noise: the measure of blur from which on a picture is noise, where neighbours differ by
        ``noise_level`` or more (never above 0.55; noise of a standard deviation of 10: 0.75).
    same_level: greatest mean difference in any block of two pictures that are the same one
        (frames of a waiting vehicle: 6 and more; a freeze that was encoded again: below 1).
    frozen_s: a picture that stays the same for longer is frozen, before that repeated.
    """

    black_level: float = 30.0
    white_level: float = 225.0
    grey_share: float = 0.2
    grey_slack: int = 4
    flat_share: float = 0.95
    flat_std: float = 2.5
    blur: float = 0.142
    blur_contrast: float = 2.0
    noise: float = 0.7
    noise_level: float = 6.0
    same_level: float = 0.5
    frozen_s: float = 0.25


@dataclass(frozen=True)
class Quality:
    """``fault``: what is wrong, a code, a colon and a text, or ''. ``usable``: whether objects
    and surfaces can be taken from the picture all the same."""

    fault: str = ""
    usable: bool = True


class FrameWatch:
    """Judges the pictures of one drive in their order; keeps the last one, small."""

    def __init__(self, config: QualityConfig | None = None) -> None:
        self.config = config or QualityConfig()
        self._last: U8 | None = None
        self._since_ns = 0  # when the present picture was first seen

    def judge(self, image: U8, t_ns: int) -> Quality:
        """What is wrong with the next picture, (h, w, 3) uint8 BGR of any size.

        Codes, in the order they are looked for: ``black``, ``white``, ``damaged`` (grey where a
        decoder had no data), ``covered``, ``repeated`` and ``frozen`` (the picture of the frame
        before) - none of them usable - and ``blurred`` and ``noisy``, which are.
        """
        small = _picked(image)
        last, self._last = self._last, small
        same = last is not None and self._same(last, small)
        if not same:
            self._since_ns = t_ns
        fault = self._exposure(small) or self._texture(small)
        if fault:
            return Quality(fault, False)
        if same:
            held_s = (t_ns - self._since_ns) / 1e9
            if held_s > self.config.frozen_s:
                return Quality(f"frozen: the same picture for {held_s:.2f} s", False)
            return Quality("repeated: the picture of the frame before", False)
        return self._detail(image)

    def _same(self, last: U8, small: U8) -> bool:
        from data.frame_kernels import changed

        if last.shape != small.shape:
            return False
        return not run(changed, last, small, _BLOCK, self.config.same_level)

    def _exposure(self, small: U8) -> str:
        from data.frame_kernels import exposure

        dark, light = run(exposure, small, self.config.black_level, self.config.white_level)
        if dark >= 0.995:
            return f"black: {100 * dark:.1f} % of the picture is black"
        if light >= 0.95:
            return f"white: {100 * light:.1f} % of the picture is white"
        return ""

    def _texture(self, small: U8) -> str:
        from data.frame_kernels import texture

        c = self.config
        lost, flat = run(texture, small, _BLOCK, c.flat_std, c.grey_slack)
        if lost >= c.grey_share:
            return f"damaged: {100 * lost:.0f} % of the picture is the grey of lost data"
        if flat >= c.flat_share:
            return f"covered: {100 * flat:.0f} % of the picture has no texture"
        return ""

    def _detail(self, image: U8) -> Quality:
        from data.frame_kernels import contrasts

        c, (height, width) = self.config, image.shape[:2]
        step = max(1, round(width / _SHARP_WIDTH_PX))
        if -(-width // step) <= 2 * _SPAN:
            return Quality()
        every = max(1, height // (2 * _SHARP_ROWS))
        contrast, detail = run(contrasts, image, height // 3, every, _SHARP_ROWS, step, _SPAN)
        if detail >= max(c.noise * contrast, c.noise_level):
            return Quality(f"noisy: neighbouring pixels differ by {detail:.0f} of 255")
        if contrast < c.blur_contrast or detail >= c.blur * contrast:
            return Quality()
        share = 100 * _SPAN * detail / contrast - 100  # of 0 for no detail at all
        return Quality(f"blurred: {max(share, 0.0):.0f} % of fine detail")


def compile_kernels() -> None:
    """Compile or load the inner loops."""
    watch = FrameWatch()
    noise = np.random.default_rng(0).integers(0, 256, (_ROWS, _COLUMNS, 3), np.uint8)
    for t_ns in (0, 1):
        watch.judge(noise, t_ns)


def _picked(image: U8) -> U8:
    """About 160 x 90 of the picture's pixels, (h, w, 3) uint8."""
    from data.frame_kernels import pick

    down, across = max(1, image.shape[0] // _ROWS), max(1, image.shape[1] // _COLUMNS)
    shape = (
        (image.shape[0] - down // 2 - 1) // down + 1,
        (image.shape[1] - across // 2 - 1) // across + 1,
    )
    small = np.empty((*shape, 3), np.uint8)
    run(pick, image, down, across, small)
    return small
