"""What is far away: sky, clouds, hills and skyline, painted on the four sides of a box."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled, run
from data.synthetic.looks import Look
from data.synthetic.textures import fractal
from data.types import F32, F64, I64, U8

U32 = NDArray[np.uint32]

LOW, HIGH = -0.06, 0.75  # height over distance of the box's lower and upper rim
SKY_ROWS = 192  # of the cloud noise, up to ``SKY_TOP_RAD``
SKY_TOP_RAD = 0.66
CLOUDS = RIDGES = 4
RIDGE_SAMPLES = 4096
BLOCKS = 90


@dataclass(frozen=True, eq=False)
class Panorama:
    """image (h, 4 * side) packed BGR (see ``textures.packed``): the sides ahead (+x of the world),
    to the right, behind and to the left, each over a quarter circle; a side's columns are even in
    the tangent of the angle from its middle, its rows in height over distance to the side, from
    ``HIGH`` to ``LOW``."""

    image: U32


def make_panorama(
    look: Look, kind: str, rng: np.random.Generator, side_px: int, ahead_only: bool = False
) -> Panorama:
    """Paint the backdrop of a road of ``kind`` (see ``Layout``) under a look; ``ahead_only``
    leaves out what a camera looking along +x of the world with 90 degrees cannot see."""
    k = 4 if ahead_only else 2  # the sky is smooth: painted smaller by this
    side = side_px // (8 * k) * 8
    high = round((HIGH - LOW) * side / 2)
    image = np.zeros((k * high, 4 * k * side, 4), np.uint8)
    small = np.zeros((high, 4 * side, 4), np.uint8)
    noise, shift = clouds(int(rng.integers(CLOUDS))), int(rng.integers(6 * SKY_ROWS))
    land = _land(look, kind, rng, 4 * k * side)
    wide = side // 8
    ahead = (0, side + wide), (4 * side - wide, 4 * side)
    for a, b in ahead if ahead_only else ((0, 4 * side),):
        run(_paint_sky, small, a, b, noise, shift, _gradient(look), _cover(look))
        sky = cv2.resize(small[:, a:b], None, fx=k, fy=k, interpolation=cv2.INTER_CUBIC)
        image[:, k * a : k * b] = sky
        run(_paint_land, image, k * a, k * b, *land)
    return Panorama(image.view("<u4")[..., 0])


@lru_cache(maxsize=CLOUDS)
def clouds(variant: int) -> F32:
    """(SKY_ROWS, 6 * SKY_ROWS) noise, rows by elevation from the top, columns round the circle."""
    rng = np.random.default_rng([variant, 5])
    return fractal(rng, SKY_ROWS, 6 * SKY_ROWS, [3, 6, 13, 28, 48, 90])


@lru_cache(maxsize=2 * RIDGES)
def ridge(variant: int) -> F32:
    """A ragged line round the circle, mean 0.5: of hills, or with an odd number of trees."""
    rng = np.random.default_rng([variant, 6])
    cells = [40, 110, 260, 600] if variant % 2 else [9, 23, 60, 150]
    out = np.zeros(RIDGE_SAMPLES)
    for k, n in enumerate(cells):
        height = rng.random(n)
        at = np.arange(RIDGE_SAMPLES) * n / RIDGE_SAMPLES
        out += 0.55**k * np.interp(at, np.arange(n + 1), np.append(height, height[0]))
    return np.asarray(out / sum(0.55**k for k in range(len(cells))), np.float32)


def _gradient(look: Look) -> F32:
    """(256, 3) colour of the clear sky by elevation up to ``SKY_TOP_RAD``, 0..255."""
    t = np.clip(np.linspace(0, SKY_TOP_RAD, 256) / 0.45, 0, 1)[:, None] ** 0.7
    return np.asarray(255 * ((1 - t) * look.sky_low + t * look.sky_top), np.float32)


def _cover(look: Look) -> F64:
    """Noise above which there is cloud, and the clouds' colour 0..255."""
    return np.array([1.5 - 2.6 * look.cloud, *(255 * v for v in look.cloud_bgr)])


@compiled
def _paint_sky(
    image: U8, first: int, last: int, noise: F32, shift: int, clear: F32, cover: F64
) -> None:
    """Sky and clouds on the columns from ``first`` to ``last``."""
    high, side = image.shape[0], image.shape[1] // 4
    rows, columns = noise.shape
    for x in range(first, last):
        face = x // side
        across = 2 * (x - face * side + 0.5) / side - 1
        turn = (face / 4 + math.atan(across) / (2 * math.pi)) * columns + shift + columns
        c = int(turn)
        fx, c0, c1 = turn - c, c % columns, (c + 1) % columns
        stretch = 1 / math.sqrt(1 + across * across)
        for y in range(high):
            tangent = (HIGH - (y + 0.5) * 2 / side) * stretch
            up = min(max(tangent - tangent * tangent * tangent * 0.28, 0.0) / SKY_TOP_RAD, 0.999)
            v = (1 - up) * (rows - 1.001)
            r = int(v)
            a = noise[r, c0] + (noise[r, c1] - noise[r, c0]) * fx
            b = noise[r + 1, c0] + (noise[r + 1, c1] - noise[r + 1, c0]) * fx
            thick = a + (b - a) * (v - r) - cover[0]
            share = min(max(thick * 0.9, 0.0), 1.0) * min(up * (SKY_TOP_RAD / 0.06), 1.0)
            tone = 1 - 0.16 * min(max(thick - 0.6, 0.0), 1.5)
            for k in range(3):
                sky = clear[int(up * 255), k]
                image[y, x, k] = np.uint8(sky + share * (tone * cover[1 + k] - sky) + 0.5)


def _land(look: Look, kind: str, rng: np.random.Generator, wide: int) -> tuple[F32, F32, I64, F32]:
    """Heights (4, wide) of far hills, near hills, blocks and trees over their distance; their
    colours (3, 3) 0..255 (blocks have their own); each column's block (wide,), -1 for none; and
    the blocks (n, 5): BGR, first column, chance of a lit window."""
    heights = np.zeros((4, wide), np.float32)
    side = wide // 4
    face, x = np.divmod(np.arange(wide), side)
    angle = face / 4 + np.arctan(2 * (x + 0.5) / side - 1) / (2 * np.pi)
    grow = ((0.028, 0.004, 0), (0.02, 0.004, 0), (0.016, 0.004 if kind == "urban" else 0.014, 1))
    for row, (amount, base, odd) in zip((0, 1, 3), grow, strict=True):
        line = ridge(2 * int(rng.integers(RIDGES)) + odd)
        at = ((angle + rng.random()) * RIDGE_SAMPLES).astype(np.int64) % RIDGE_SAMPLES
        heights[row] = line[at] * amount + base
    light = np.array(look.ambient) + np.array(look.sun) * 0.5
    hill, leaf, air = np.array((0.22, 0.24, 0.20)), np.array((0.10, 0.20, 0.14)), look.haze
    mix = ((hill, 0.75), (hill, 0.45), (leaf, 0.3))
    tones = [(base * light) * (1 - k) + np.array(air) * k for base, k in mix]
    block = np.full(wide, -1, np.int64)
    blocks = _skyline(look, rng, light, heights[2], block) if kind != "rural" else np.zeros((0, 5))
    table = np.asarray(blocks, np.float32).reshape(-1, 5)
    return heights, np.asarray(np.array(tones) * 255, np.float32), block, table


def _skyline(
    look: Look, rng: np.random.Generator, light: F64, height: F32, block: I64
) -> NDArray[np.float64]:
    """Distant blocks; fills each column's height and block, returns the blocks."""
    wide = len(block)
    left = rng.integers(0, wide, BLOCKS)
    width = (rng.uniform(0.01, 0.04, BLOCKS) * wide / 4).astype(np.int64) + 1
    top = np.minimum(rng.gamma(2.0, 0.012, BLOCKS), 0.06)
    haze = rng.uniform(0.5, 0.85, (BLOCKS, 1))
    wall = rng.uniform(0.2, 0.6, (BLOCKS, 1)) * np.array((0.95, 1.0, 1.05)) * light
    for i in range(BLOCKS):
        height[left[i] : left[i] + width[i]] = top[i]
        block[left[i] : left[i] + width[i]] = i
    tone = 255 * (wall * (1 - haze) + np.array(look.haze) * haze)
    lit = np.full((BLOCKS, 1), 0.05 * look.lamps if look.lamps > 0.3 else 0.0)
    return np.concatenate([tone, left[:, None], lit], 1)


@compiled
def _cover_with(image: U8, y: int, x: int, share: float, tone: F32) -> None:
    if share > 0:
        for k in range(3):
            old = float(image[y, x, k])
            image[y, x, k] = np.uint8(old + (tone[k] - old) * min(share, 1.0) + 0.5)


@compiled
def _paint_land(
    image: U8, first: int, last: int, heights: F32, tones: F32, block: I64, blocks: F32
) -> None:
    """Hills, blocks and trees on the columns from ``first`` to ``last``."""
    high, side = image.shape[0], image.shape[1] // 4
    pixel, window = 2 / side, max(2, round(side * 0.003))
    shine, black = np.array([89.0, 158.0, 204.0], np.float32), np.zeros(3, np.float32)
    for x in range(first, last):
        across = 2 * (x - x // side * side + 0.5) / side - 1
        stretch = math.sqrt(1 + across * across)
        tallest = max(heights[0, x], heights[1, x], heights[2, x], heights[3, x]) * stretch
        top = max(int((HIGH - tallest) / pixel) - 1, 0)
        for y in range(top, high):
            up = HIGH - (y + 0.5) * pixel
            for layer in range(2):
                share = (heights[layer, x] * stretch - up) / pixel + 0.5
                _cover_with(image, y, x, share, tones[layer])
            own = block[x]
            if own >= 0:
                floor = int((heights[2, x] - up) / (pixel * window))
                _cover_with(image, y, x, (heights[2, x] - up) / pixel + 0.5, blocks[own, :3])
                if heights[2, x] > up and (x - int(blocks[own, 3])) % 2 == 1:
                    draw = (x * 7919 + floor * 104729 + own * 31) % 1000 / 1000
                    if draw < blocks[own, 4]:
                        _cover_with(image, y, x, 1.0, shine)
                    elif y % window == 0:
                        _cover_with(image, y, x, 0.14, black)
            _cover_with(image, y, x, (heights[3, x] * stretch - up) / pixel + 0.5, tones[2])
