"""What lamps, the wet road, the rain, the bonnet, the lens and the sensor do to the picture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from data.compiled import compiled, run
from data.synthetic.lighting import GLOWS, OWNER, SHINING
from data.synthetic.looks import Look
from data.synthetic.raster import Target
from data.types import F32, I64, U8

BLOOM_SCALE = 4
MIRROR_SCALE = 4
DROP_SCALE = 8


@compiled
def _lamp_seen(target: Target, x: int, y: int, owner: float) -> bool:
    """Whether a shining face of the instance is at a pixel or beside it."""
    high, wide = target.face.shape
    for v in range(max(y - 1, 0), min(y + 2, high)):
        for u in range(max(x - 1, 0), min(x + 2, wide)):
            row = target.drawn[target.face[v, u]]
            if target.face[v, u] > 0 and row[OWNER] == owner and row[GLOWS] >= SHINING:
                return True
    return False


@compiled
def _light_up(
    layer: F32, target: Target, lamps: int, focal: float, most: float, strength: float
) -> int:
    """Draw a soft disc for every lamp that is seen into the small picture; how many."""
    layer[:] = 0
    high, wide = layer.shape[:2]
    count = 0
    for i in range(lamps):
        u, v, z, b, g, r, glow, owner = target.lamps[i]
        if z < 1.5 or not -1 < u < 1e5 or not -1 < v < 1e5:
            continue
        if not _lamp_seen(target, round(u), round(v), owner):
            continue
        count += 1
        radius = max(min(focal * 0.12 / z * (0.7 + 0.4 * glow), most) / BLOOM_SCALE, 0.75)
        x, y = (u + 0.5) / BLOOM_SCALE - 0.5, (v + 0.5) / BLOOM_SCALE - 0.5
        power = 255 * strength * (0.35 + 0.3 * glow)
        for row in range(max(int(y - radius), 0), min(int(y + radius) + 2, high)):
            for col in range(max(int(x - radius), 0), min(int(x + radius) + 2, wide)):
                away = ((col - x) ** 2 + (row - y) ** 2) ** 0.5
                share = np.float32(min(max(radius + 0.5 - away, 0.0), 1.0) * power)
                layer[row, col, 0] = max(layer[row, col, 0], share * b)
                layer[row, col, 1] = max(layer[row, col, 1], share * g)
                layer[row, col, 2] = max(layer[row, col, 2], share * r)
    return count


def bloom(target: Target, lamps: int, focal_px: float, look: Look) -> U8 | None:
    """(h, w, 3) uint8 light to add around the lamps seen, or None where there is none."""
    h, w = target.face.shape
    k = BLOOM_SCALE
    layer = np.empty((h // k + 1, w // k + 1, 3), np.float32)
    if not run(_light_up, layer, target, lamps, focal_px, 14 * w / 1280, look.lamps):
        return None
    scale = w / 1280 / k
    halo = cv2.GaussianBlur(layer, (0, 0), 5.0 * scale) * 0.75
    halo += cv2.GaussianBlur(layer, (0, 0), 22.0 * scale) * 0.55
    small = np.asarray(np.minimum(halo, 255), np.uint8)
    wide = cv2.resize(small, (small.shape[1] * k, small.shape[0] * k))
    return np.asarray(wide, np.uint8)[:h, :w]


def reflection(image: U8, top: int) -> U8:
    """(rows, w, 3) what a wet road shows from row ``top`` on: the rows above, upside down and
    smeared downwards; one black row where there is too little of them."""
    h, w = image.shape[:2]
    rows, k = min(h - top, top), MIRROR_SCALE
    if rows < 2 * k:
        return np.zeros((1, w, 3), np.uint8)
    upper = cv2.resize(image[top - rows : top], (w // k, rows // k), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(cv2.flip(upper, 0), (0, 0), sigmaX=w / 1280, sigmaY=9 * w / 1280)
    return np.asarray(cv2.resize(small, (w, rows)), np.uint8)


class Bonnet:
    """The own car's bonnet or dashboard at the bottom; ``share`` of the height it covers.

    ``first_row`` (w,) is the first row it hides in each column.
    """

    def __init__(self, width_px: int, height_px: int, share: float) -> None:
        u = np.linspace(-1, 1, width_px)
        edge = height_px * (1 - share * (1 - 0.35 * u**2 - 0.25 * u**8))
        self.first_row: I64 = np.floor(edge).astype(np.int64) + 1
        self.top = min(int(self.first_row.min()), height_px)
        row = np.arange(self.top, height_px)[:, None]
        self.mask = (row > edge).astype(np.uint8)
        deep = np.clip((row - edge) / max(height_px * share, 1), 0, 1).astype(np.float32)
        self.weight = np.asarray(0.34 * (1 - deep) ** 2 + 0.04, np.float32)
        self.tone = np.asarray(255 * 0.09 * (1 + deep), np.float32)

    def draw(self, image: U8, look: Look) -> None:
        """A dark lacquer that mirrors the scene above it faintly (in place)."""
        rows = image.shape[0] - self.top
        if rows < 2:
            return
        above = image[max(self.top - 4 * rows, 0) : self.top]
        mirror = cv2.resize(above, (image.shape[1], rows), interpolation=cv2.INTER_AREA)
        mirror = cv2.GaussianBlur(cv2.flip(mirror, 0), (0, 0), 2.5)
        value = np.asarray(mirror, np.float32) * self.weight[..., None]
        value += (self.tone * np.float32(np.mean(look.ambient)))[..., None]
        value = np.minimum(value, 255).astype(np.uint8)
        cv2.copyTo(value, self.mask, image[self.top :])


NOISE_ROOM, NOISE_UNIT = 64, 16.0


@lru_cache(maxsize=2)
def _unit_noise(width_px: int, height_px: int) -> tuple[U8, U8]:
    """What noise of deviation ``NOISE_UNIT`` adds and takes away, larger than the picture."""
    rng, side = np.random.default_rng(5), 192
    tile = rng.standard_normal((side, side, 3)).astype(np.float32)
    tile += tile.mean(2, keepdims=True)
    rows, cols = (height_px + NOISE_ROOM) // side + 1, (width_px + NOISE_ROOM) // side + 1
    parts = (np.clip(sign * NOISE_UNIT * tile + 0.5, 0, 255) for sign in (1, -1))
    high, wide = height_px + NOISE_ROOM, width_px + NOISE_ROOM
    more, less = (
        np.ascontiguousarray(np.tile(part.astype(np.uint8), (rows, cols, 1))[:high, :wide])
        for part in parts
    )
    return more, less


class SensorNoise:
    """Noise drawn once and laid on the picture at a random offset each time."""

    def __init__(self, width_px: int, height_px: int, deviation: float) -> None:
        self.deviation = deviation
        more, less = _unit_noise(width_px, height_px)
        scale = deviation / NOISE_UNIT
        self.more, self.less = (cv2.convertScaleAbs(v, alpha=scale) for v in (more, less))

    def add(self, image: U8, rng: np.random.Generator) -> U8:
        h, w = image.shape[:2]
        r, c = (int(v) for v in rng.integers(0, NOISE_ROOM, 2))
        cv2.add(image, self.more[r : r + h, c : c + w], image)
        cv2.subtract(image, self.less[r : r + h, c : c + w], image)
        return image


RAIN_ROOM, STREAKS, STREAK_STEP = 96, 110, 10


@lru_cache(maxsize=16)
def _streaks(width_px: int, height_px: int, count: int) -> U8:
    """Light (h, w, 3) of falling drops, ``count`` in each picture, on more than a picture."""
    rng = np.random.default_rng([count, 8])
    h, w = height_px + RAIN_ROOM, width_px + RAIN_ROOM
    out = np.zeros((h, w), np.uint8)
    n = count * h * w // (height_px * width_px)
    x, y, tone = rng.uniform(0, w, n), rng.uniform(0, h, n), rng.integers(10, 34, n)
    long = rng.uniform(0.02, 0.06, n) * height_px
    for line in np.column_stack([x, y, x + long * 0.15, y + long, tone]).astype(int).tolist():
        cv2.line(out, tuple(line[:2]), tuple(line[2:4]), line[4], 1, cv2.LINE_AA)
    return np.asarray(cv2.merge([out] * 3), np.uint8)


class Rain:
    """Streaks in the air, which change from picture to picture, and drops on the windscreen,
    which stay."""

    def __init__(self, width_px: int, height_px: int, look: Look) -> None:
        self.look = look
        rng = np.random.default_rng([look.seed, 8])
        count = max(round(STREAKS * look.rain / STREAK_STEP), 1) * STREAK_STEP
        self.streaks = _streaks(width_px, height_px, count)
        drops = np.zeros((height_px, width_px), np.float32)
        for _ in range(int(46 * look.rain)):
            at = (int(rng.uniform(0, width_px)), int(rng.uniform(0, height_px)))
            size = float(rng.uniform(2.5, 9)) * width_px / 1280
            axes = (max(int(size), 1), max(int(size * rng.uniform(1, 1.6)), 1))
            share = float(rng.uniform(0.3, 0.8))
            cv2.ellipse(drops, at, axes, 0, 0, 360, share, -1, cv2.LINE_AA)
        self.rows, self.cols = np.nonzero(drops)
        self.share = drops[self.rows, self.cols]

    def draw(self, image: U8, rng: np.random.Generator) -> None:
        """Add both (in place): through a drop the world is blurred and upside down."""
        h, w = image.shape[:2]
        r, c = (int(v) for v in rng.integers(0, RAIN_ROOM, 2))
        cv2.add(image, self.streaks[r : r + h, c : c + w], image)
        k = DROP_SCALE
        small = cv2.resize(image, (w // k + 1, h // k + 1), interpolation=cv2.INTER_AREA)
        run(_through_drops, image, np.asarray(small), self.rows, self.cols, self.share)


@compiled
def _through_drops(image: U8, small: U8, rows: I64, cols: I64, share: F32) -> None:
    high, wide = small.shape[:2]
    for i in range(len(rows)):
        y, x = rows[i], cols[i]
        v, u = min(y // DROP_SCALE, high - 1), min(x // DROP_SCALE, wide - 1)
        for k in range(3):
            soft = 0.5 * small[high - 1 - v, u, k] + 0.5 * small[v, u, k]
            old = float(image[y, x, k])
            image[y, x, k] = np.uint8(old + (soft - old) * share[i] + 0.5)


def develop(
    image: U8, spare: U8, look: Look, noise: SensorNoise, rng: np.random.Generator
) -> U8:  # fmt: skip
    """Lens blur, exposure and sensor noise, in place; ``spare`` is a buffer of the same shape."""
    sigma = look.blur_px * image.shape[1] / 1280
    blurred = cv2.GaussianBlur(image, (0, 0), max(sigma, 0.42), spare) if sigma > 0.2 else image
    ramp = np.arange(256) / 255
    curve = np.clip((ramp[:, None] * look.gain * np.array(look.tint)) ** look.gamma, 0, 1)
    cv2.LUT(blurred, np.round(curve[None] * 255).astype(np.uint8), image)
    return noise.add(image, rng)
