"""Drawing the ground: painted polygons times tiled noise, shadows and headlamps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.synthetic.looks import Look
from data.synthetic.paint import LAYERS, SUBPIXEL_BITS, fixed_point
from data.synthetic.textures import NEUTRAL, TILE_M, TILE_PX, ground_tile, pyramid

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

HAZE_M = 400.0  # ground beyond this is drawn as if at this distance


@dataclass(frozen=True, eq=False)
class GroundStyle:
    """Noise pyramid of the asphalt, the curve (256,) that makes rougher ground of it, and base
    colours (BGR 0..1 by layer, 'verge' included)."""

    noise: list[U8]
    verge_curve: U8
    colours: dict[str, tuple[float, float, float]]


def random_style(rng: np.random.Generator) -> GroundStyle:
    """Asphalt from dark to pale, verge from grass to dust, paint fresh or worn."""
    grey = float(rng.uniform(0.34, 0.56))
    warm = float(rng.uniform(-0.02, 0.02))
    asphalt = (grey - warm, grey, grey + warm)
    grass = ((0.14, 0.30, 0.22), (0.18, 0.34, 0.32), (0.26, 0.36, 0.42), (0.12, 0.24, 0.16))
    verge = grass[int(rng.integers(4))]
    pave = float(rng.uniform(0.42, 0.62))
    fresh = float(rng.uniform(0.62, 0.95))
    worn = rng.uniform(0.86, 1.05)
    patch = rng.uniform(0.68, 1.08)
    colours = {
        "verge": verge,
        "asphalt": asphalt,
        "worn": _times(asphalt, worn),
        "patch": _times(asphalt, patch),
        "tar": _times(asphalt, 0.55),
        "pavement": (pave * 0.95, pave, pave * 1.02),
        "kerb": (pave * 1.05, pave * 1.08, pave * 1.08),
        "white": (fresh, fresh, fresh * 0.98),
        "yellow": (0.10 * fresh, 0.62 * fresh, 0.86 * fresh),
    }
    grain = float(rng.uniform(0.05, 0.13))
    tile = ground_tile(rng, grain, float(rng.uniform(0.05, 0.09)))
    curve = NEUTRAL + (np.arange(256.0) - NEUTRAL) * rng.uniform(1.8, 3.0)
    return GroundStyle(pyramid(tile), np.clip(curve, 25, 255).astype(np.uint8), colours)


def _times(colour: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


class GroundPainter:
    """Draws the ground of one camera; holds what depends on the camera alone."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        w, h = camera.width_px, camera.height_px
        # rows from the highest point of the horizon down; a rolled camera's differ by column
        ends = camera.ground_from_pixels(np.array([(u, v) for v in range(h) for u in (0, w - 1)]))
        seen = np.isfinite(ends[:, 0]).reshape(h, 2).any(1)
        self.top = int(np.argmax(seen)) if seen.any() else h
        v, u = np.mgrid[self.top : h, 0:w]
        xy = camera.ground_from_pixels(np.column_stack([u.ravel(), v.ravel()]))
        x, y = (xy[:, k].reshape(u.shape).astype(np.float32) for k in (0, 1))
        far = ~(x < HAZE_M)
        self.x_m = np.where(far, np.float32(HAZE_M), x)
        self.y_m = np.where(far, np.float32(0), y)
        self.beam = np.asarray(np.clip(headlamp(self.x_m, self.y_m) * 255, 0, 255), np.uint8)
        self.bands = self._bands()
        pose = camera.vehicle_from_camera
        forward = pose[:3, 2]
        self.depth_m = (
            (self.x_m - pose[0, 3]) * forward[0]
            + (self.y_m - pose[1, 3]) * forward[1]
            - pose[2, 3] * forward[2]
        ).astype(np.float32)

    def _bands(self) -> list[tuple[int, int, int]]:
        """(first row, end row, pyramid level) so that a texel is about a pixel."""
        middle = self.camera.width_px // 2
        x = self.x_m[:, middle].astype(np.float64)
        along = np.abs(np.gradient(x)) if len(x) > 1 else np.ones(len(x))
        across = x / float(self.camera.matrix[0, 0])
        texel = TILE_M / TILE_PX
        want = np.log2(np.maximum(np.sqrt(along * across) / texel, 1e-6)) + 0.4
        level = np.clip(np.ceil(want), 0, 6).astype(int)
        edges = np.flatnonzero(np.diff(level)) + 1
        cuts = [0, *edges.tolist(), len(level)]
        return [(a, b, int(level[a])) for a, b in pairwise(cuts)]

    def noise(self, levels: list[U8], pose: tuple[float, float, float]) -> U8:
        """The tile laid on the world's ground, (rows, w) from ``top`` down."""
        world = self.camera.vehicle_from_camera
        c, s = np.cos(pose[2]), np.sin(pose[2])
        turn = np.array([[c, -s, pose[0]], [s, c, pose[1]], [0, 0, 1]])
        lift = world[:3, 3]
        # a pixel's ray meets z = 0 at (centre * ray_z - height * ray) / ray_z
        rays = world[:3, :3] @ np.linalg.inv(self.camera.matrix)
        hit = np.stack(
            [lift[0] * rays[2] - lift[2] * rays[0], lift[1] * rays[2] - lift[2] * rays[1], rays[2]]
        )
        ground = turn @ hit
        out = np.full(self.x_m.shape, NEUTRAL, np.uint8)
        wide = self.camera.width_px
        for a, b, level in self.bands:
            if level >= 6 or b <= a:
                continue
            tile = levels[level]
            scale = np.diag([len(tile) / TILE_M, len(tile) / TILE_M, 1.0])
            shift = np.array([[1, 0, 0], [0, 1, self.top + a], [0, 0, 1.0]])
            out[a:b] = cv2.warpPerspective(
                tile, scale @ ground @ shift, (wide, b - a),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP,
            )  # fmt: skip
        return out

    def draw(
        self,
        image: U8,
        polygons: dict[str, list[I32]],
        style: GroundStyle,
        look: Look,
        pose: tuple[float, float, float],
        shadows: list[tuple[F64, float]],
    ) -> U8:
        """Fill the image below the horizon; returns the mask of asphalt (h, w), 255 inside."""
        light = np.array(look.ambient) + np.array(look.sun) * np.sin(look.sun_elevation_rad)
        if look.lamps > 0.8:  # the beam map dims the rest
            light = np.array((0.80, 0.92, 1.0)) * (0.75 + 2.5 * light.mean())
        light *= 1 - 0.35 * look.wet
        tone = {k: tuple(255 * np.clip(v * light, 0, 1)) for k, v in style.colours.items()}
        rows = image[self.top :]
        rows[:] = np.array(tone["verge"])
        road = np.zeros(image.shape[:2], np.uint8)
        fill(road, polygons["asphalt"], 255)
        for layer in LAYERS:
            fill(image, polygons[layer], tone[layer], layer in ("white", "yellow", "kerb", "tar"))
        if not len(rows):
            return road
        factor = self.noise(style.noise, pose)
        rough = cv2.LUT(factor, style.verge_curve)
        factor = np.asarray(cv2.copyTo(factor, road[self.top :], rough), np.uint8)
        if look.lamps > 0.8:
            factor = np.asarray(cv2.multiply(factor, self.beam, scale=1 / 255), np.uint8)
        if shadows:
            factor = np.asarray(cv2.multiply(factor, self._shade(shadows), scale=1 / 255), np.uint8)
        cv2.multiply(rows, cv2.merge([factor] * 3), rows, scale=1 / NEUTRAL)
        return road

    def _shade(self, shadows: list[tuple[F64, float]]) -> U8:
        """Light left by the shadows (pixel polygons with their strength), drawn small and soft."""
        k = 4
        h, w = self.x_m.shape
        small = np.full((h // k + 1, w // k + 1), 255, np.uint8)
        for points, strength in shadows:
            ring = fixed_point((points - [0, self.top]) / k)
            cv2.fillConvexPoly(small, ring, 255 * (1 - strength), cv2.LINE_8, SUBPIXEL_BITS)
        sigma = max(self.camera.width_px / 1280 * 1.6, 0.6)
        small = np.asarray(cv2.GaussianBlur(small, (0, 0), sigma), np.uint8)
        big = cv2.resize(small, (small.shape[1] * k, small.shape[0] * k))
        return np.asarray(big[:h, :w], np.uint8)


def fill(image: U8, polygons: list[I32], colour: object, smooth: bool = False) -> None:
    """Fill polygons given in 1/16 px, one by one: in one call their overlaps would stay empty."""
    style = cv2.LINE_AA if smooth else cv2.LINE_8
    for ring in polygons:
        cv2.fillPoly(image, [ring], colour, style, SUBPIXEL_BITS)  # type: ignore[call-overload]


def headlamp(x_m: F32, y_m: F32) -> F32:
    """Share of light at night on the ground at vehicle x, y: own low beam over street light."""
    ahead = np.maximum(x_m - 2.0, 0.5)
    width = np.exp(-((y_m / (0.42 * ahead + 1.0)) ** 2))
    reach = ahead / 5.0 / (1 + (ahead / 9.0) ** 2.1)
    return np.asarray(0.16 + 0.60 * width * np.minimum(reach, 1.0), np.float32)
