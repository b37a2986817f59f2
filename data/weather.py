"""Weather, darkness and sensor noise painted into pictures: cheap stand-ins that work on bytes.

Every effect takes a BGR picture (h, w, 3) uint8, a random generator and the row of the horizon
in px (it may lie outside the picture), and returns a new picture of the same shape. A picture
of 640 x 384 takes 0.2 to 2 ms, where the general-purpose versions take up to 50.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from data.types import F32, U8

Effect = Callable[[U8, np.random.Generator, float], U8]

_NOISE_SIGMAS = (4, 7, 11, 16, 22)  # grey levels


def _bytes(field: F32 | np.ndarray) -> U8:
    return np.asarray(np.clip(field, 0, 255), np.uint8)


def _full(field: U8, image: U8, filter_: int = cv2.INTER_LINEAR) -> U8:
    """A small field stretched over the picture, with three channels."""
    height, width = image.shape[:2]
    large = cv2.resize(field, (width, height), interpolation=filter_)
    return np.asarray(large if large.ndim == 3 else cv2.merge([large] * 3), np.uint8)


def _dim(image: U8, share: U8) -> U8:
    """The picture times ``share`` / 255, both (h, w, 3)."""
    return np.asarray(cv2.multiply(image, share, scale=1 / 255), np.uint8)


@lru_cache(maxsize=32)
def _noise_tile(sigma: int, coloured: bool, height: int, width: int) -> np.ndarray:
    """A constant piece of Gaussian noise to cut from: drawing it anew is what takes the time."""
    rng = np.random.default_rng(sigma)
    noise = rng.standard_normal((height, width, 3 if coloured else 1), np.float32)
    if coloured:  # a Bayer sensor's colours are smoothed over neighbours
        noise = 1.8 * np.asarray(cv2.blur(noise, (2, 2)))
    return np.ascontiguousarray(
        np.broadcast_to(np.clip(np.rint(noise * sigma), -127, 127), (height, width, 3)), np.int8
    )


def noise(image: U8, rng: np.random.Generator, horizon_px: float = 0.0, strongest: int = 22) -> U8:
    """Sensor noise, grey or coloured, of 4 to ``strongest`` grey levels (22 at most)."""
    height, width = image.shape[:2]
    sigma = int(rng.choice([v for v in _NOISE_SIGMAS if v <= strongest]))
    tile = _noise_tile(sigma, bool(rng.random() < 0.5), height + 64, width + 64)
    y, x = rng.integers(65, size=2)
    return np.asarray(
        cv2.add(image, tile[y : y + height, x : x + width], dtype=cv2.CV_8U), np.uint8
    )


def local_contrast(image: U8, rng: np.random.Generator, horizon_px: float = 0.0) -> U8:
    """Histogram equalisation by tiles (CLAHE) of the brightness alone."""
    planes = list(cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)))
    planes[0] = cv2.createCLAHE(float(rng.uniform(1, 4)), (8, 8)).apply(planes[0])
    return np.asarray(cv2.cvtColor(cv2.merge(planes), cv2.COLOR_YCrCb2BGR), np.uint8)


def shadow(image: U8, rng: np.random.Generator, horizon_px: float) -> U8:
    """One to three soft-edged shadows cast on the ground from the sides."""
    height, width = image.shape[:2]
    rows, cols = height // 4, width // 4
    share = np.full((rows, cols), 255, np.uint8)
    top = float(np.clip(horizon_px / 4, 0, rows * 0.8))
    for _ in range(int(rng.integers(1, 4))):
        far, near = np.sort(rng.uniform(top, rows * 1.1, 2))
        near = max(near, far + 0.12 * rows)
        reach = cols * rng.uniform(0.3, 1.1)
        slant, narrow = rng.uniform(-0.2, 0.2, 2) * rows
        corners = np.array(
            [[-2, far], [reach, far + slant], [reach * 0.8, near + slant + narrow], [-2, near]]
        )
        if rng.random() < 0.5:
            corners[:, 0] = cols - corners[:, 0]
        corners[:, 1] = np.maximum(corners[:, 1], top)
        cv2.fillPoly(share, [corners.astype(np.int32)], float(rng.uniform(90, 170)))
    return _dim(image, _full(np.asarray(cv2.blur(share, (3, 3)), np.uint8), image))


def fog(image: U8, rng: np.random.Generator, horizon_px: float) -> U8:
    """Fog by distance: on flat ground, depth goes with one over the rows below the horizon.

    The picture fades to the colour of the air as exp(-depth / visibility) (Koschmieder 1924);
    at and above the horizon as at its thickest. By night the air is dark.
    """
    height = image.shape[0]
    rows, cols = height // 4, 40
    below = (np.arange(rows, dtype=np.float32) + 0.5) / rows - horizon_px / height
    depth = 2 / (below + np.sqrt(below**2 + 0.05**2))  # 1 / below, but smooth at the horizon
    clear = np.exp(-depth * rng.uniform(0.04, 0.14))
    clear = np.maximum(clear, rng.uniform(0.15, 0.4))  # what is labelled can still be seen
    patches = rng.uniform(-0.06, 0.06, (3, 4)).astype(np.float32)
    patches = np.asarray(cv2.resize(patches, (cols, rows), interpolation=cv2.INTER_CUBIC))
    share = _full(_bytes((clear[:, None] + patches) * 255), image)
    air = min(225.0, rng.uniform(0.9, 1.3) * (_mean(image) + 50)) + rng.uniform(-6, 6, 3)
    veil = np.asarray(cv2.LUT(share, _bytes(air * (255 - np.arange(256)[:, None]) / 255)[:, None]))
    return np.asarray(cv2.add(_dim(image, share), veil), np.uint8)


def _mean(image: U8) -> float:
    return float(image[::8, ::8].mean())


def _streaks(image: U8, rng: np.random.Generator) -> U8:
    """(h, w, 3) uint8 light of falling drops: near ones long and few, far ones short."""
    height, width = image.shape[:2]
    light = np.zeros((height, width), np.uint8)
    slant = rng.uniform(-0.35, 0.35)
    shine = min(1.0, (_mean(image) + 30) / 130)
    for count, length, thick, shade in ((180, 0.025, 1, 40), (90, 0.05, 1, 60), (25, 0.1, 2, 60)):
        n = int(count * rng.uniform(0.3, 1.4))
        start = rng.uniform((-0.1, -0.1), (1.1, 1.0), (n, 2)) * (width, height)
        fall = height * length * rng.uniform(0.5, 1.5, (n, 1))
        lines = np.stack([start, start + fall * (slant, 1)], 1)
        cv2.polylines(light, list(lines.astype(np.int32)), False, shade * shine, thick)
    return np.asarray(cv2.merge([cv2.blur(light, (2, 7))] * 3), np.uint8)


def _wet(image: U8, rng: np.random.Generator, horizon_px: float) -> None:
    """Mirror what stands above the horizon in the ground below it, in place, fading away."""
    height = image.shape[0]
    row = int(np.clip(horizon_px, 0, height))
    n = min(row, height - row)
    if n > 8:
        mirrored = np.asarray(cv2.blur(image[row - n : row][::-1], (5, 31)), np.uint8)
        fade = 255 * np.linspace(1, 0, n, dtype=np.float32) ** 0.7
        gloss = _full(_bytes(fade * rng.uniform(0.2, 0.45))[:, None], mirrored)
        ground = image[row : row + n]
        ground[:] = cv2.add(_dim(ground, 255 - gloss), _dim(mirrored, gloss))


def _drops(image: U8, rng: np.random.Generator) -> U8:
    """Drops on the windscreen: round spots through which all is blurred."""
    height, width = image.shape[:2]
    soft = cv2.resize(image, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
    drops = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(8, 40))):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(drops, centre, int(rng.uniform(0.003, 0.014) * width) + 1, 255, -1)
    share = _full(np.asarray(cv2.blur(drops, (5, 5)), np.uint8), image)
    blurred = _full(np.asarray(soft, np.uint8), image)
    return np.asarray(cv2.add(_dim(image, 255 - share), _dim(blurred, share)), np.uint8)


def rain(image: U8, rng: np.random.Generator, horizon_px: float) -> U8:
    """Falling streaks under a dull sky, a wet road that mirrors, drops on the windscreen."""
    levels = np.arange(256)[:, None] * rng.uniform(0.6, 0.85) + rng.uniform(5, 25)
    out = np.asarray(cv2.LUT(image, _bytes(levels * (1.03, 1.0, 0.97))[:, None]), np.uint8)
    _wet(out, rng, horizon_px)
    out = np.asarray(cv2.add(out, _streaks(out, rng)), np.uint8)
    return _drops(out, rng) if rng.random() < 0.6 else out


def _headlights(image: U8, rng: np.random.Generator, horizon_px: float) -> U8:
    """Light that falls on the scene, share of 255: a warm pool ahead of the vehicle, faint
    street light, a dark sky."""
    rows, cols = 48, 80
    y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) / rows - horizon_px / image.shape[0]
    x = (np.arange(cols, dtype=np.float32) + 0.5) / cols - rng.uniform(0.4, 0.6)
    ahead = np.exp(-((x / (0.16 + 0.5 * np.maximum(y, 0))) ** 2))
    pool = (
        ahead
        / (1 + np.exp(np.minimum((0.04 - y) / 0.03, 50)))
        * np.exp(-np.maximum(y - 0.3, 0) * 2)
    )
    street = rng.uniform(0.2, 0.45) * np.where(y > 0, 1.0, np.exp(y / 0.4))
    lamp = np.array([0.72, 0.88, 1.0]) * rng.uniform(0.4, 0.7)
    ambient = rng.uniform((0.8, 0.8, 0.8), (1.25, 1.0, 1.2))  # blue dusk to sodium yellow
    light = np.broadcast_to(street, pool.shape)[..., None] * ambient + pool[..., None] * lamp
    return _full(_bytes(light * 255), image, cv2.INTER_CUBIC)


def night(image: U8, rng: np.random.Generator, horizon_px: float) -> U8:
    """Day turned into night: own headlights below the horizon; lamps and signs keep shining.

    What shines by itself or throws light back is taken to be what is bright and strongly red,
    yellow or green. A picture that is dark already only gets the noise of a dark one.
    """
    if _mean(image) < 75:
        return noise(image, rng, 0.0, 11)
    blue, green, red = cv2.split(image)
    warm = cv2.max(green, red)
    strong = cv2.threshold(cv2.subtract(warm, blue), 80, 255, cv2.THRESH_BINARY)[1]
    bright = cv2.threshold(warm, 150, 200, cv2.THRESH_BINARY)[1]
    shining = cv2.bitwise_and(strong, bright)
    shining = cv2.morphologyEx(shining, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    shining = cv2.blur(shining, (3, 3))
    curve = 255 * (np.arange(256) / 255) ** rng.uniform(1.1, 1.4) * rng.uniform(0.85, 1.1)
    light = cv2.max(_headlights(image, rng, horizon_px), cv2.merge([shining] * 3))
    dark = _dim(np.asarray(cv2.LUT(image, _bytes(curve)), np.uint8), np.asarray(light, np.uint8))
    return noise(dark, rng, 0.0, 11)


EFFECTS: tuple[Effect, ...] = (night, rain, fog, shadow)
