"""What the air, the rain, the lens and the sensor do to the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.synthetic.looks import Look

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
BLOOM_SCALE = 4


@dataclass(frozen=True, eq=False)
class Lamp:
    """A light seen at pixel (x, y), about ``size_px`` in radius; bgr (3,) 0..1, strength >= 0."""

    x_px: int
    y_px: int
    size_px: float
    bgr: F64
    strength: float


def haze(image: U8, depth_m: F32, look: Look) -> None:
    """Blend towards the haze colour with distance (in place); depth 0 stays clear."""
    keep = np.asarray(cv2.exp(depth_m * np.float32(-1 / look.visibility_m)), np.float32)
    veil = np.empty_like(image)
    veil[:] = np.array(look.haze) * 255
    image[:] = cv2.blendLinear(image, veil, keep, 1 - keep)


def bloom(image: U8, lamps: list[Lamp], look: Look) -> None:
    """Add the halo of every lamp (in place)."""
    h, w = image.shape[:2]
    k = BLOOM_SCALE
    layer = np.zeros((h // k + 1, w // k + 1, 3), np.float32)
    for lamp in lamps:
        reach = min(lamp.size_px * (0.7 + 0.4 * lamp.strength), 14 * w / 1280) / k
        centre = (round(lamp.x_px / k * 8), round(lamp.y_px / k * 8))
        bgr = lamp.bgr * 255 * look.lamps * (0.35 + 0.3 * lamp.strength)
        cv2.circle(layer, centre, max(round(reach * 8), 6), bgr.tolist(), -1, cv2.LINE_AA, 3)
    scale = w / 1280 / k
    halo = cv2.GaussianBlur(layer, (0, 0), 5.0 * scale) * 0.75
    halo += cv2.GaussianBlur(layer, (0, 0), 22.0 * scale) * 0.55
    small = np.asarray(np.clip(halo, 0, 255), np.uint8)
    wide = cv2.resize(small, (small.shape[1] * k, small.shape[0] * k))
    cv2.add(image, wide[:h, :w], image)


def wet_road(image: U8, road: U8, solid: NDArray[np.bool_], top: int, look: Look) -> None:
    """Mirror what stands above the horizon in the road, smeared downwards (in place)."""
    h, w = image.shape[:2]
    rows = min(h - top, top)
    if rows < 8:
        return
    mirror = np.ascontiguousarray(image[top - rows : top][::-1])
    small = cv2.resize(mirror, (w // 4, rows // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigmaX=w / 1280, sigmaY=9 * w / 1280)
    mirror = np.asarray(cv2.resize(small, (w, rows)), np.uint8)
    mask = road[top : top + rows].astype(np.float32) * np.float32(look.wet * 0.5 / 255)
    mask[solid[top : top + rows]] = 0
    mask *= np.linspace(1.0, 0.0, rows, dtype=np.float32)[:, None]
    part = image[top : top + rows]
    part[:] = cv2.blendLinear(part, mirror, 1 - mask, mask)


class Bonnet:
    """The own car's bonnet or dashboard at the bottom; ``share`` of the height it covers."""

    def __init__(self, width_px: int, height_px: int, share: float) -> None:
        u = np.linspace(-1, 1, width_px)
        edge = height_px * (1 - share * (1 - 0.35 * u**2 - 0.25 * u**8))
        row = np.arange(height_px)[:, None]
        self.mask: NDArray[np.bool_] = row > edge
        self.first = int(np.ceil(edge.min()))
        self.deep = np.clip((row - edge) / max(height_px * share, 1), 0, 1)[self.first :]
        self.deep = self.deep.astype(np.float32)

    def draw(self, image: U8, look: Look) -> None:
        """A dark lacquer that mirrors the scene above it faintly (in place)."""
        rows = image.shape[0] - self.first
        if rows < 2:
            return
        above = image[max(self.first - 4 * rows, 0) : self.first][::-1]
        mirror = cv2.resize(above, (image.shape[1], rows), interpolation=cv2.INTER_AREA)
        mirror = cv2.GaussianBlur(mirror, (0, 0), 2.5).astype(np.float32)
        weight = (0.34 * (1 - self.deep) ** 2 + 0.04)[..., None]
        tone = 255 * 0.09 * float(np.mean(look.ambient)) * (1 + self.deep[..., None])
        part = image[self.first :]
        value = np.clip(mirror * weight + tone, 0, 255).astype(np.uint8)
        mask = self.mask[self.first :].astype(np.uint8)
        cv2.copyTo(value, mask, part)


class SensorNoise:
    """Noise drawn once, larger than the picture, and laid on it at a random offset each time."""

    ROOM = 64

    def __init__(self, width_px: int, height_px: int, deviation: float) -> None:
        self.deviation = deviation
        rng, side = np.random.default_rng(5), 192
        tile = rng.standard_normal((side, side, 3)).astype(np.float32) * np.float32(deviation)
        tile += tile.mean(2, keepdims=True)
        times = ((height_px + self.ROOM) // side + 1, (width_px + self.ROOM) // side + 1, 1)
        self.more, self.less = (
            np.tile(np.clip(sign * tile, 0, 255).astype(np.uint8), times) for sign in (1, -1)
        )

    def add(self, image: U8, rng: np.random.Generator) -> U8:
        h, w = image.shape[:2]
        r, c = (int(v) for v in rng.integers(0, self.ROOM, 2))
        image = np.asarray(cv2.add(image, self.more[r : r + h, c : c + w]), np.uint8)
        return np.asarray(cv2.subtract(image, self.less[r : r + h, c : c + w]), np.uint8)


def develop(image: U8, look: Look, noise: SensorNoise, rng: np.random.Generator) -> U8:
    """Rain on the glass, lens blur, exposure and sensor noise."""
    if look.rain > 0:
        _rain(image, look, rng)
    sigma = look.blur_px * image.shape[1] / 1280
    if sigma > 0.2:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.42)), np.uint8)
    ramp = np.arange(256) / 255
    curve = np.clip((ramp[:, None] * look.gain * np.array(look.tint)) ** look.gamma, 0, 1)
    image = np.asarray(cv2.LUT(image, np.round(curve[None] * 255).astype(np.uint8)), np.uint8)
    return noise.add(image, rng)


def _rain(image: U8, look: Look, rng: np.random.Generator) -> None:
    """Faint streaks in the air and blurred drops on the windscreen (in place)."""
    h, w = image.shape[:2]
    streaks = np.zeros((h, w), np.uint8)
    for _ in range(int(110 * look.rain)):
        x, y, long = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.02, 0.06) * h
        end = (int(x + long * 0.15), int(y + long))
        cv2.line(streaks, (int(x), int(y)), end, int(rng.uniform(10, 34)), 1, cv2.LINE_AA)
    cv2.add(image, cv2.merge([streaks] * 3), image)
    drops = np.zeros((h, w), np.float32)
    for _ in range(int(46 * look.rain)):
        at = (int(rng.uniform(0, w)), int(rng.uniform(0, h)))
        size = float(rng.uniform(2.5, 9)) * w / 1280
        axes = (max(int(size), 1), max(int(size * rng.uniform(1, 1.6)), 1))
        cv2.ellipse(drops, at, axes, 0, 0, 360, float(rng.uniform(0.3, 0.8)), -1, cv2.LINE_AA)
    k = 8
    soft = cv2.resize(image, (w // k, h // k), interpolation=cv2.INTER_AREA)
    soft = np.asarray(cv2.resize(cv2.flip(soft, 0), (w, h)), np.uint8)
    soft = np.asarray(cv2.addWeighted(soft, 0.5, cv2.blur(image, (15, 15)), 0.5, 0), np.uint8)
    image[:] = cv2.blendLinear(image, soft, 1 - drops, drops)
