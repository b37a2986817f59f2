"""From a scene and a camera to an image with the object, the depth and the surface of every
pixel, on one core.

Solids are drawn first, keeping for each pixel the nearest face only; surfaces and paint are
filled on the flat ground; then each pixel is shaded once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.compiled import run
from data.synthetic import post
from data.synthetic.backdrop import Panorama
from data.synthetic.flat import SHADE_SCALE, Flat, cast_shadows, lay_ground
from data.synthetic.ground import GroundStyle
from data.synthetic.lighting import RECORD, Light
from data.synthetic.looks import Look
from data.synthetic.paint import Rings
from data.synthetic.raster import SPARE_LAMPS, Eye, Placed, Target, rasterise
from data.synthetic.shade import DECAY_END, DECAY_STEPS, Air, Ground, Picture, shade_rows
from data.types import F32, I64, U8

I32 = NDArray[np.int32]
Pose = tuple[float, float, float]

LANE_WIDEN_PX = 2.6  # a lane label reaches this far around the paint, at 1280 px width
FINE_PX_PER_M = 16.0  # things seen larger than this are drawn in full detail
_DECAY = np.exp(-np.arange(DECAY_STEPS * DECAY_END) / DECAY_STEPS).astype(np.float32)


@dataclass(frozen=True, eq=False)
class View:
    """All that is drawn, in the world frame: solids where they stand at this moment, the ground's
    rings, the textures, the light, and how many labelled objects there are. ``tones``: see
    ``ground.lit_tones``."""

    placed: Placed
    rings: Rings
    panorama: Panorama
    style: GroundStyle
    tones: U8
    atlas: NDArray[np.uint32]
    look: Look
    objects: int


@dataclass(frozen=True, eq=False)
class Rendered:
    """A picture and what is in it.

    Attributes:
        image: (h, w, 3) uint8 BGR.
        object_id: (h, w) uint16, 0 for none; under the own bonnet too.
        depth_m: (h, w) float32 along the optical axis, inf for the sky; under the bonnet that of
            what it hides.
        drivable, lane: (h, w) uint8 1 or 0, where nothing stands before them.
        seen: (n + 1, 5) int64 of each object id: visible pixels, least and greatest column, least
            and greatest row.
        area_px: (n + 1,) int64 pixels it would show with nothing before it, within the image; 0
            if wholly hidden.
        camera: that took it; placed: the solids as they stood.
    """

    image: U8
    object_id: NDArray[np.uint16]
    depth_m: F32
    drivable: U8
    lane: U8
    seen: I64
    area_px: I64
    camera: Camera
    placed: Placed


class Renderer:
    """Renders views of one size; keeps its buffers and the sensor's noise between pictures."""

    def __init__(self, width_px: int, height_px: int, bonnet: float = 0.0) -> None:
        h, w = self.size = height_px, width_px
        small = (h // SHADE_SCALE + 1, w // SHADE_SCALE + 1)
        words = np.empty((h, w), np.uint32)
        self.flat = Flat(
            words.view(np.uint8).reshape(h, w, 4), words, np.empty((h, w), np.uint8),
            np.zeros((h, w), np.uint8), words[:0].view(np.uint8), words[:0].view(np.uint8),
            np.empty(small, np.uint8),
        )  # fmt: skip
        self.inverse = np.empty((h, w), np.float32)
        self.face, self.stamp = np.empty((2, h, w), np.int32)
        self.drawn = np.empty((0, RECORD), np.float32)
        self.lamps = np.empty((SPARE_LAMPS, 8))
        self.spare = np.empty((h, w, 3), np.uint8)
        self.bonnet = post.Bonnet(w, h, bonnet) if bonnet else None
        self.hood = self.bonnet.first_row if self.bonnet else np.full(w, h, np.int64)
        self.noise: post.SensorNoise | None = None
        self.rain: post.Rain | None = None

    def render(self, view: View, camera: Camera, pose: Pose, seed: int = 0) -> Rendered:
        """Draw ``view`` through ``camera`` (without lens distortion) on the vehicle at ``pose``
        (x, y, yaw); ``seed`` is that of the sensor's noise."""
        eye, look = _eye(camera, pose), view.look
        target = self._target(view)
        light = _light(look)
        placed, order = _as_seen(view.placed, eye)
        _, lamps = run(rasterise, placed, order, eye, light, target)
        flat, shade = self._ground(view, eye)
        h, w = self.size
        seen = np.full((view.objects + 1, 5), -1, np.int64)
        seen[:, [0, 1, 3]] = 0, w, h
        picture = Picture(
            np.empty((h, w, 3), np.uint8), np.empty((h, w), np.float32),
            np.empty((h, w), np.uint16), seen, self.hood, int(self.hood.min()),
        )  # fmt: skip
        self._shade(view, eye, pose, target, lamps, flat, shade, picture)
        image = self._develop(picture.image, look, seed)
        return Rendered(
            image, picture.object_id, picture.depth_m, flat.drivable, flat.lane, seen,
            target.area_px, camera, view.placed,
        )  # fmt: skip

    def _target(self, view: View) -> Target:
        """Buffers of the rasteriser, with room for all faces, cut ones twice."""
        placed = view.placed
        room = 2 * int(np.diff(placed.first)[placed.which].sum()) + 1
        if len(self.drawn) < room:
            self.drawn = np.empty((room, RECORD), np.float32)
        area = np.empty(view.objects + 1, np.int64)
        return Target(self.inverse, self.face, self.stamp, area, self.drawn, self.lamps)

    def _ground(self, view: View, eye: Eye) -> tuple[Flat, U8]:
        """Surfaces and labels, and the light that shadows leave (h, w)."""
        h, w = self.size
        look, tones = view.look, view.tones
        drivable, lane = np.empty((h, w), np.uint8), np.empty((h, w), np.uint8)
        flat = self.flat._replace(drivable=drivable, lane=lane)
        words = tones.view(np.uint32).ravel()
        widen = max(round(LANE_WIDEN_PX * w / 1280) - 1, 0) / 2
        rings = view.rings
        run(lay_ground, rings.xy_m, rings.layer, eye, tones, words[:-1], words[-1], widen, flat)
        sun = look.sun_direction
        strong = min(float(np.mean(look.sun)) * 0.75, 0.5)
        along = -sun[:2] / max(float(sun[2]), 0.25)
        run(cast_shadows, view.placed, eye, along, strong, flat.shade)
        soft = cv2.GaussianBlur(flat.shade, (0, 0), max(w / 1280 * 1.6, 0.6))
        k = SHADE_SCALE
        large = cv2.resize(soft, (soft.shape[1] * k, soft.shape[0] * k))
        return flat, np.asarray(large, np.uint8)

    def _shade(
        self, view: View, eye: Eye, pose: Pose, target: Target, lamps: int, flat: Flat,
        shade: U8, out: Picture,
    ) -> None:  # fmt: skip
        """Colour every pixel: what is above the horizon first, since a wet road mirrors it."""
        h, w = self.size
        look, image, top = view.look, out.image, _first_ground_row(eye, self.size)
        air = Air(np.array(look.haze) * 255, 1 / look.visibility_m, _DECAY)
        heading = np.array([pose[0], pose[1], math.cos(pose[2]), math.sin(pose[2])])
        style = view.style
        ground = Ground(
            view.tones[:, :3].astype(np.float32), style.noise, style.road, style.verge,
            shade, np.zeros((1, w, 3), np.uint8), top, 0.0, heading, look.lamps > 0.8,
        )  # fmt: skip
        owners = view.placed.object_id

        def rows(first: int, last: int, on: Ground) -> None:
            run(
                shade_rows, first, last, eye, target, owners, view.atlas, view.panorama.image,
                flat, on, air, out,
            )  # fmt: skip

        rows(0, top, ground)
        glow = post.bloom(target, lamps, float(eye.lens[0]), look) if look.lamps > 0 else None
        if glow is not None:
            cv2.add(image[:top], glow[:top], image[:top])
        if look.wet > 0:
            mirror = post.reflection(image, top)
            ground = ground._replace(mirror=mirror, wet=look.wet * 0.5)
        rows(top, h, ground)
        if glow is not None:
            cv2.add(image[top:], glow[top:], image[top:])

    def _develop(self, image: U8, look: Look, seed: int) -> U8:
        """Bonnet, rain, lens and sensor."""
        h, w = self.size
        rng = np.random.default_rng(seed)
        if self.bonnet:
            self.bonnet.draw(image, look)
        if look.rain > 0:
            if self.rain is None or self.rain.look is not look:
                self.rain = post.Rain(w, h, look)
            self.rain.draw(image, rng)
        if self.noise is None or self.noise.deviation != look.noise:
            self.noise = post.SensorNoise(w, h, look.noise)
        return post.develop(image, self.spare, look, self.noise, rng)


def _as_seen(placed: Placed, eye: Eye) -> tuple[Placed, I64]:
    """The instances with distant ones in their coarse meshes, and their order by the nearest that
    they may come, so that the later ones are often found to be hidden."""
    away = placed.pose[:, :2] - eye.place[:2]
    distance = np.hypot(away[:, 0], away[:, 1])
    coarse = distance * FINE_PX_PER_M > eye.lens[0]
    which = np.where(coarse, placed.far[placed.which], placed.which)
    order = np.argsort(distance - 0.7 * placed.bounds[which, 9])
    return placed._replace(which=which), order


def _eye(camera: Camera, pose: Pose) -> Eye:
    c, s = math.cos(pose[2]), math.sin(pose[2])
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    mount, m = camera.vehicle_from_camera, camera.matrix
    place = turn @ mount[:3, 3] + [pose[0], pose[1], 0]
    return Eye(
        place, np.ascontiguousarray(turn @ mount[:3, :3]),
        np.array([m[0, 0], m[1, 1], m[0, 2], m[1, 2]]),
    )  # fmt: skip


def _light(look: Look) -> Light:
    sky = (np.array(look.sky_low) + np.array(look.sky_top)) / 2
    ambient, sun = np.array(look.ambient, float), np.array(look.sun, float)
    return Light(ambient, sun, sky, look.sun_direction, float(look.lamps))


def _first_ground_row(eye: Eye, size: tuple[int, int]) -> int:
    """First row with a pixel below the horizon; a rolled camera's differ by column."""
    h, w = size
    right, down, ahead = (float(v) for v in eye.axes[2])
    if abs(down) < 1e-9:
        return 0
    ends = ((u - eye.lens[2]) / eye.lens[0] for u in (0, w - 1))
    rows = [eye.lens[3] - eye.lens[1] * (ahead + right * x) / down for x in ends]
    return min(max(math.floor(min(rows)), 0), h)
