"""What is far away: a panorama of sky, clouds, hills and skyline by azimuth and elevation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.synthetic.looks import Look
from data.synthetic.textures import fractal

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

LOW_RAD, HIGH_RAD = -0.05, 0.62


@dataclass(frozen=True, eq=False)
class Panorama:
    """image (h, w, 3) uint8 BGR: columns run clockwise (to the right) over a full circle."""

    image: U8

    @property
    def px_per_rad(self) -> float:
        return self.image.shape[1] / (2 * np.pi)


def make_panorama(look: Look, kind: str, rng: np.random.Generator, width_px: int) -> Panorama:
    """Paint the backdrop of a road of ``kind`` (see ``Layout``) under a look."""
    high = round(width_px / (2 * np.pi) * (HIGH_RAD - LOW_RAD))
    elevation = np.linspace(HIGH_RAD, LOW_RAD, high, dtype=np.float32)[:, None]
    t = np.clip(elevation / 0.45, 0, 1) ** 0.7
    sky = (1 - t)[..., None] * np.array(look.sky_low) + t[..., None] * np.array(look.sky_top)
    sky = np.repeat(sky.astype(np.float32), width_px, 1)
    _clouds(sky, look, elevation, rng)
    for distance, amount in ((0.75, 0.028), (0.45, 0.02)):
        ridge = _ridge(rng, width_px, [9, 23, 60, 150]) * amount + 0.004
        land = np.array((0.22, 0.24, 0.20)) * (np.array(look.ambient) + np.array(look.sun) * 0.5)
        _silhouette(sky, elevation, ridge, land, look, distance)
    if kind != "rural":
        _skyline(sky, look, rng)
    trees = _ridge(rng, width_px, [40, 110, 260, 600]) * 0.016
    leaf = np.array((0.10, 0.20, 0.14)) * (np.array(look.ambient) + np.array(look.sun) * 0.5)
    _silhouette(sky, elevation, trees + (0.004 if kind == "urban" else 0.014), leaf, look, 0.3)
    return Panorama(np.asarray(np.clip(sky * 255, 0, 255), np.uint8))


def _ridge(rng: np.random.Generator, width_px: int, cells: list[int]) -> F32:
    """A ragged line (width,) of mean 0.5 that closes around the circle."""
    out = np.zeros(width_px)
    for k, n in enumerate(cells):
        height = rng.random(n)
        at = np.arange(width_px) * n / width_px
        out += 0.55**k * np.interp(at, np.arange(n + 1), np.append(height, height[0]))
    return np.asarray(out / sum(0.55**k for k in range(len(cells))), np.float32)


def _clouds(sky: F32, look: Look, elevation: F32, rng: np.random.Generator) -> None:
    high, wide = sky.shape[:2]
    noise = fractal(rng, 96, 96 * 6, [3, 6, 13, 28, 48])
    noise = np.asarray(cv2.resize(noise, (wide, high), interpolation=cv2.INTER_CUBIC), np.float32)
    edge = 1.5 - 2.6 * look.cloud
    cover = np.clip((noise - edge) * 0.9, 0, 1) * np.clip(elevation / 0.06, 0, 1)
    shade = 1 - 0.16 * np.clip(noise - edge - 0.6, 0, 1.5)
    cloud = shade[..., None] * np.array(look.cloud_bgr, np.float32)
    sky += cover[..., None] * (cloud - sky)


def _silhouette(
    sky: F32, elevation: F32, ridge: F32, colour: NDArray[np.float64], look: Look, haze: float
) -> None:
    """Fill below a ridge line (w,) in rad with a colour dimmed by haze."""
    slope = elevation[0, 0] - elevation[1, 0]
    cover = np.clip((ridge[None] - elevation) / slope, 0, 1)[..., None]
    tone = np.asarray(colour * (1 - haze) + np.array(look.haze) * haze, np.float32)
    rows = int(np.argmax((cover > 0).any(1)[:, 0]))
    sky[rows:] += cover[rows:] * (tone - sky[rows:])


def _skyline(sky: F32, look: Look, rng: np.random.Generator) -> None:
    """Distant blocks with dots of windows."""
    high, wide = sky.shape[:2]
    per_rad = wide / (2 * np.pi)
    base = high + LOW_RAD * per_rad
    light = np.array(look.ambient) + np.array(look.sun) * 0.5
    for _ in range(90):
        x, w = rng.uniform(0, wide), rng.uniform(0.02, 0.07) * per_rad
        h = min(rng.gamma(2.0, 0.012), 0.06) * per_rad
        haze = rng.uniform(0.5, 0.85)
        wall = rng.uniform(0.2, 0.6) * np.array((0.95, 1.0, 1.05)) * light
        tone = wall * (1 - haze) + np.array(look.haze) * haze
        x0, x1, y0 = int(x), int(x + w), int(base - h)
        block = sky[y0:, x0:x1]
        block[:] = tone
        step = max(2, int(per_rad * 0.006))
        block[step::step, 1::2] *= 0.86
        if look.lamps > 0.3 and block.size:
            lit = rng.random(block.shape[:2]) < 0.05 * look.lamps
            block[lit] = (0.35, 0.62, 0.8)


@dataclass(frozen=True, eq=False)
class SkyMaps:
    """Where each pixel of the rows down to the horizon looks: azimuth to the right and elevation
    (rows, w) float32 rad relative to the vehicle."""

    right_rad: F32
    elevation_rad: F32

    @property
    def rows(self) -> int:
        return self.right_rad.shape[0]


def sky_maps(camera: Camera, rows: int) -> SkyMaps:
    v, u = np.mgrid[0:rows, 0 : camera.width_px].astype(np.float64)
    m = camera.matrix
    rays = np.stack([(u - m[0, 2]) / m[0, 0], (v - m[1, 2]) / m[1, 1], np.ones_like(u)], -1)
    rays = rays @ camera.vehicle_from_camera[:3, :3].T
    right = np.arctan2(-rays[..., 1], rays[..., 0])
    up = np.arctan2(rays[..., 2], np.hypot(rays[..., 0], rays[..., 1]))
    return SkyMaps(right.astype(np.float32), up.astype(np.float32))


def draw_backdrop(image: U8, panorama: Panorama, maps: SkyMaps, yaw_rad: float) -> None:
    """Fill the image's upper rows, as seen at heading ``yaw_rad``."""
    k = panorama.px_per_rad
    wide = panorama.image.shape[1]
    start = (-yaw_rad * k) % wide
    map_u = maps.right_rad * np.float32(k) + np.float32(start)
    map_v = (np.float32(HIGH_RAD) - maps.elevation_rad) * np.float32(k)
    top = cv2.remap(panorama.image, map_u, map_v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    image[: maps.rows] = top
