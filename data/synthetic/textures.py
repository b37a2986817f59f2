"""Procedural textures: noise for the ground, the atlas for solids, the panorama behind all."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from data.types import F32, U8

U32 = NDArray[np.uint32]

TILE_M = 16.0  # the ground noise repeats after this length
TILE_BITS = 10
TILE_PX = 1 << TILE_BITS
NOISES = 4
NOISE_LEVELS = 6  # of the tile's pyramid; further off it is even
CELL_PX = 256  # the atlas is 4 x 4 cells
SHEET_PX = 4 * CELL_PX
LEVELS = 4  # of the atlas's pyramid; smaller ones would mix the cells
ATLASES = 8
NEUTRAL = 128  # texture value that leaves a colour as it is

# where each level of a pyramid begins
SHEET_STARTS = tuple(sum((SHEET_PX >> k) ** 2 for k in range(n)) for n in range(LEVELS))
TILE_STARTS = tuple(sum((TILE_PX >> k) ** 2 for k in range(n)) for n in range(NOISE_LEVELS))

CELLS: dict[str, int] = {
    "plain": 0, "facade_a": 1, "facade_b": 2, "facade_c": 3, "facade_d": 4, "shop": 5,
    "foliage": 6, "sky_glass": 7, "limit": 8, "warning": 9, "stop": 10, "guide": 11,
    "bark": 12, "plate": 13, "cargo": 14, "brick": 15,
}  # fmt: skip


def cell(name: str, wide: float = 1.0, high: float = 1.0) -> tuple[float, float, float, float]:
    """(u0, v0, u1, v1) of an atlas cell, or of its top left part."""
    row, col = divmod(CELLS[name], 4)
    u, v, inset = col * CELL_PX, row * CELL_PX, 2.0
    return (
        u + inset, v + inset, u + wide * CELL_PX - inset, v + high * CELL_PX - inset,
    )  # fmt: skip


def fractal(rng: np.random.Generator, height: int, width: int, octaves: list[int]) -> F32:
    """Smooth noise that repeats at its borders, mean 0, deviation 1; an octave is the number of
    grid cells over the height."""
    out = np.zeros((height, width), np.float32)
    for k, n in enumerate(octaves):
        m = max(2, round(n * width / height))
        grid = np.pad(rng.standard_normal((n, m)).astype(np.float32), 2, mode="wrap")
        map_x = np.arange(width, dtype=np.float32) * (m / width) + 2
        map_y = np.arange(height, dtype=np.float32) * (n / height) + 2
        layer = cv2.remap(
            grid, np.tile(map_x, (height, 1)), np.tile(map_y[:, None], (1, width)), cv2.INTER_CUBIC
        )
        out += layer * 0.62**k
    return np.asarray((out - out.mean()) / max(float(out.std()), 1e-6), np.float32)


def packed(image: U8) -> U32:
    """(h, w, 3) BGR as (h, w) words, blue in the lowest byte."""
    return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)).view("<u4")[..., 0]


def pyramid(image: U8, levels: int) -> U8:
    """The square image at falling resolution, each half the one before, texels in one row."""
    out = [image]
    for _ in range(levels - 1):
        small = cv2.resize(out[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        out.append(np.asarray(small, np.uint8))
    return np.concatenate([v.reshape(-1, *image.shape[2:]) for v in out])


@lru_cache(maxsize=NOISES)
def ground_noise(variant: int) -> U8:
    """Pyramid of ``NOISE_LEVELS`` of a square tile around ``NEUTRAL``: fine grain plus coarse
    clumps, repeating at its borders; one of ``NOISES``."""
    rng = np.random.default_rng([variant, 4])
    fine = rng.standard_normal((TILE_PX, TILE_PX)).astype(np.float32)
    fine = np.asarray(cv2.blur(np.pad(fine, 1, mode="wrap"), (2, 2)), np.float32)[1:-1, 1:-1] * 2
    small = np.pad(fractal(rng, TILE_PX // 4, TILE_PX // 4, [5, 11, 24, 60, 110]), 2, mode="wrap")
    coarse = np.asarray(cv2.resize(small, None, fx=4, fy=4), np.float32)[8:-8, 8:-8]
    noise = pyramid(_to_u8(NEUTRAL * (1 + 0.09 * fine + 0.07 * coarse)), NOISE_LEVELS)
    noise.setflags(write=False)
    return noise


def _to_u8(values: NDArray[np.floating]) -> U8:
    return np.asarray(np.clip(values, 0, 255), np.uint8)


@lru_cache(maxsize=ATLASES)
def atlas(variant: int) -> U32:
    """Pyramid (n,) of ``LEVELS`` of a texture of 4 x 4 cells, packed; each value a factor of the
    face's colour over 128; one of ``ATLASES`` variants."""
    rng = np.random.default_rng([variant, 3])
    sheet = np.full((SHEET_PX, SHEET_PX, 3), NEUTRAL, np.uint8)
    paints = {
        "facade_a": lambda c: _facade(c, rng, 4, 0.5, 0.55),
        "facade_b": lambda c: _facade(c, rng, 3, 0.62, 0.72),
        "facade_c": lambda c: _facade(c, rng, 5, 0.94, 0.6),
        "facade_d": lambda c: _facade(c, rng, 4, 0.36, 0.62),
        "shop": lambda c: _shop(c, rng),
        "foliage": lambda c: _mottle(c, rng, [8, 20, 50], 0.33),
        "bark": lambda c: _mottle(c, rng, [4, 16, 60], 0.15),
        "brick": lambda c: _mottle(c, rng, [3, 12, 90], 0.1),
        "sky_glass": _glass,
        "limit": _limit_sign,
        "warning": _warning_sign,
        "stop": _stop_sign,
        "guide": _guide_sign,
        "plate": _plate,
        "cargo": _cargo,
    }
    for name, paint in paints.items():
        row, col = divmod(CELLS[name], 4)
        view = sheet[row * CELL_PX : (row + 1) * CELL_PX, col * CELL_PX : (col + 1) * CELL_PX]
        tile = view.copy()
        paint(tile)
        view[:] = tile
    flat = packed(pyramid(sheet, LEVELS)[None])[0]
    flat.setflags(write=False)
    return flat


def _facade(tile: U8, rng: np.random.Generator, bays: int, wide: float, high: float) -> None:
    """A square of windows, 4 floors high."""
    _mottle(tile, rng, [3, 8, 40], 0.05)
    size_x, size_y = CELL_PX / bays, CELL_PX / 4
    for row in range(4):
        for col in range(bays):
            x0 = int((col + 0.5 - wide / 2) * size_x)
            y0 = int((row + 0.5 - high / 2) * size_y)
            x1, y1 = int(x0 + wide * size_x), int(y0 + high * size_y)
            cv2.rectangle(tile, (x0 - 3, y0 - 3), (x1 + 3, y1 + 5), (150, 150, 150), -1)
            shade = int(rng.integers(28, 75))
            cv2.rectangle(tile, (x0, y0), (x1, y1), (shade + 14, shade + 6, shade), -1)
            top = int(y0 + (y1 - y0) * rng.uniform(0.1, 0.8))
            if rng.random() < 0.4:  # a blind
                cv2.rectangle(tile, (x0, y0), (x1, top), (105, 115, 120), -1)
            cv2.line(tile, ((x0 + x1) // 2, y0), ((x0 + x1) // 2, y1), (120, 120, 120), 1)
        cv2.line(tile, (0, int(row * size_y)), (CELL_PX, int(row * size_y)), (104, 104, 104), 2)


def _shop(tile: U8, rng: np.random.Generator) -> None:
    """A ground floor: shop windows, doors and sign boards."""
    for i in range(4):
        x = i * 64
        board = tuple(int(v) for v in 0.6 * rng.integers(40, 230, 3) + rng.integers(10, 80))
        cv2.rectangle(tile, (x + 2, 8), (x + 61, 60), board, -1)
        for k in range(5):
            cv2.line(tile, (x + 9 + 9 * k, 24), (x + 9 + 9 * k, 44), (215, 215, 215), 4)
        cv2.rectangle(tile, (x + 4, 72), (x + 60, 240), (48, 42, 38), -1)
        goods = rng.integers(26, 95, (14, 5, 1)) + rng.integers(-10, 11, (14, 5, 3))
        tile[100:240, x + 8 : x + 56] = cv2.resize(
            goods.astype(np.uint8), (48, 140), interpolation=cv2.INTER_CUBIC
        )
        cv2.line(tile, (x + 32, 72), (x + 32, 240), (120, 120, 120), 3)


def _mottle(tile: U8, rng: np.random.Generator, octaves: list[int], strength: float) -> None:
    noise = fractal(rng, CELL_PX, CELL_PX, octaves)
    tile[:] = _to_u8(NEUTRAL * (1 + strength * noise))[..., None]


def _glass(tile: U8) -> None:
    """Car glass: dark below, the sky mirrored above, a diagonal glint."""
    y, x = np.mgrid[0:CELL_PX, 0:CELL_PX] / CELL_PX
    value = 235 - 150 * np.clip(y * 1.2, 0, 1) + 45 * np.exp(-(((x + y - 0.8) / 0.12) ** 2))
    tile[:] = _to_u8(value)[..., None]


def _limit_sign(tile: U8) -> None:
    tile[:] = 235
    cv2.rectangle(tile, (10, 10), (245, 245), (30, 30, 30), 6)
    cv2.putText(tile, "35", (40, 205), cv2.FONT_HERSHEY_DUPLEX, 4.4, (25, 25, 25), 18)
    for y in (45, 75):
        cv2.line(tile, (60, y), (196, y), (40, 40, 40), 12)


def _warning_sign(tile: U8) -> None:
    tile[:] = (20, 190, 245)
    cv2.arrowedLine(tile, (128, 215), (128, 45), (20, 20, 20), 22, tipLength=0.35)


def _stop_sign(tile: U8) -> None:
    tile[:] = (40, 30, 200)
    cv2.putText(tile, "STOP", (18, 158), cv2.FONT_HERSHEY_DUPLEX, 2.8, (245, 245, 245), 14)


def _guide_sign(tile: U8) -> None:
    tile[:] = (70, 120, 15)
    cv2.rectangle(tile, (8, 8), (247, 247), (225, 225, 225), 5)
    for y, x1 in ((70, 200), (125, 230), (180, 160)):
        cv2.line(tile, (35, y), (x1, y), (235, 235, 235), 22)


def _plate(tile: U8) -> None:
    tile[:] = 225
    for x in range(30, 230, 32):
        cv2.line(tile, (x, 70), (x + 8, 190), (70, 50, 40), 16)


def _cargo(tile: U8) -> None:
    for x in range(0, CELL_PX, 16):
        tile[:, x : x + 3] = 108
    cv2.rectangle(tile, (60, 70), (196, 150), (150, 110, 90), -1)
    cv2.line(tile, (75, 110), (180, 110), (190, 190, 190), 14)
