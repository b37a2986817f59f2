"""Scenes: a road, what stands beside it and who moves on it, ready to be looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.synthetic.backdrop import Panorama, make_panorama
from data.synthetic.ground import GroundStyle, random_style
from data.synthetic.looks import Look
from data.synthetic.mesh import Mesh, empty, merge
from data.synthetic.motion import Motion, standing
from data.synthetic.paint import PolygonSet, ground_polygons
from data.synthetic.renderer import View
from data.synthetic.road import Road
from data.synthetic.textures import ATLASES, atlas
from data.taxonomy import CLASS_ID

F64 = NDArray[np.float64]
BLOCK_M = 40.0
# class name, mesh variants, (length, width, height) m, share of its outline it covers
Part = tuple[str, tuple[Mesh, ...], tuple[float, float, float], float]


@dataclass(frozen=True, eq=False)
class Thing:
    """One labelled object.

    Attributes:
        object_id: from 1, the track id; class_id: into ``taxonomy.CLASSES``.
        motion: where its footprint's middle is; length_m, width_m: the footprint.
        fill: share of its convex outline in the image that the object itself covers.
    """

    object_id: int
    class_id: int
    motion: Motion
    length_m: float
    width_m: float
    fill: float


@dataclass(frozen=True, eq=False)
class Actor:
    """Meshes that move together: ``variants`` hold the tagged parts by variant of the motion."""

    variants: tuple[Mesh, ...]
    motion: Motion


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that is there, in the world frame (x along the road at s = 0).

    Attributes:
        road, polygons: the ground; static: all that never moves, in blocks of the map.
        actors: what moves; things: every labelled object, moving or not.
        static_shadows: (n, 4, 2) footprints and (n,) heights; actor_size: (a, 3) length, width,
            height of each actor for its shadow.
        look, style, panorama, atlas: how it looks.
    """

    road: Road
    polygons: PolygonSet
    static: tuple[Mesh, ...]
    actors: tuple[Actor, ...]
    things: tuple[Thing, ...]
    static_shadows: tuple[F64, F64]
    actor_size: F64
    look: Look
    style: GroundStyle
    panorama: Panorama
    atlas: NDArray[np.uint8]

    def view(self, t_s: float) -> View:
        """The scene at a time."""
        moving, rings = [empty()], [self.static_shadows[0]]
        for actor, size in zip(self.actors, self.actor_size, strict=True):
            x, y, yaw, variant = actor.motion.at(t_s)
            moving.append(actor.variants[variant % len(actor.variants)].moved(x, y, yaw))
            rings.append(footprint(x, y, yaw, size[0], size[1])[None])
        heights = np.concatenate([self.static_shadows[1], self.actor_size[:, 2]])
        return View(
            self.static, merge(moving), np.concatenate(rings), heights, self.polygons,
            self.panorama, self.style, self.atlas, self.look,
        )  # fmt: skip


def footprint(x: float, y: float, yaw: float, length: float, width: float) -> F64:
    """Corners (4, 2) of a rectangle on the ground."""
    c, s = np.cos(yaw), np.sin(yaw)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [length / 2, width / 2]
    return corners @ np.array([[c, s], [-s, c]]) + [x, y]


def _blocks(mesh: Mesh) -> tuple[Mesh, ...]:
    """Split by squares of the map, so that whole blocks out of sight are skipped at once."""
    square = np.floor(mesh.bounds[0][:, :2] / BLOCK_M).astype(np.int64)
    _, block = np.unique(square, axis=0, return_inverse=True)
    order = np.argsort(block.ravel(), kind="stable")
    cuts = np.cumsum(np.bincount(block.ravel()))[:-1]
    return tuple(mesh.select(part) for part in np.split(order, cuts) if len(part))


class SceneBuilder:
    """Collects what a scene holds; object ids count up in the order things are added."""

    def __init__(self, road: Road, look: Look, rng: np.random.Generator) -> None:
        self.road, self.look, self.rng = road, look, rng
        self.static: list[Mesh] = [empty()]
        self.actors: list[Actor] = []
        self.things: list[Thing] = []
        self.rings: list[F64] = []
        self.heights: list[float] = []
        self.sizes: list[tuple[float, float, float]] = []

    def at(self, s_m: float, d_m: float, turn_rad: float = 0.0) -> tuple[float, float, float]:
        """World x, y, yaw of a place along the road."""
        x, y = self.road.at(s_m, d_m)
        return float(x), float(y), float(self.road.yaw_at(s_m)) + turn_rad

    def scenery(
        self, mesh: Mesh, place: tuple[float, float, float],
        shadow_m: tuple[float, float, float] | None = None,
    ) -> None:  # fmt: skip
        """Something unlabelled; ``shadow_m`` is (length, width, height) of its shadow's caster."""
        self.static.append(mesh.moved(*place))
        if shadow_m:
            self.rings.append(footprint(*place, shadow_m[0], shadow_m[1]))
            self.heights.append(shadow_m[2])

    def fixed(
        self, mesh: Mesh, name: str, place: tuple[float, float, float],
        size_m: tuple[float, float, float], fill: float = 0.9,
    ) -> None:  # fmt: skip
        """A labelled object that never moves; size is (length, width, height)."""
        thing = self._thing(name, standing(*place), size_m, fill)
        self.static.append(mesh.moved(*place).tagged(thing.object_id))
        if name in ("vehicle", "person", "two_wheeler"):
            self.rings.append(footprint(*place, size_m[0], size_m[1]))
            self.heights.append(size_m[2])

    def moving(
        self, parts: list[Part],
        motion: Motion,
    ) -> None:  # fmt: skip
        """An actor of labelled parts (class name, mesh variants, size, fill) on one track."""
        tagged = []
        for name, variants, size, fill in parts:
            thing = self._thing(name, motion, size, fill)
            tagged.append([mesh.tagged(thing.object_id) for mesh in variants])
        count = max(len(t) for t in tagged)
        meshes = tuple(merge([t[i % len(t)] for t in tagged]) for i in range(count))
        self.actors.append(Actor(meshes, motion))
        self.sizes.append(parts[0][2])

    def _thing(
        self, name: str, motion: Motion, size: tuple[float, float, float], fill: float
    ) -> Thing:
        thing = Thing(len(self.things) + 1, CLASS_ID[name], motion, size[0], size[1], fill)
        self.things.append(thing)
        return thing

    def is_free(self, place: tuple[float, float, float], margin_m: float) -> bool:
        """Whether no labelled object stands at a place at the start."""
        for thing in self.things:
            x, y, yaw, _ = thing.motion.at(0.0)
            dx, dy = place[0] - x, place[1] - y
            along = dx * np.cos(yaw) + dy * np.sin(yaw)
            across = dy * np.cos(yaw) - dx * np.sin(yaw)
            if abs(along) < thing.length_m / 2 + margin_m and abs(across) < (
                thing.width_m / 2 + margin_m * 0.5
            ):
                return False
        return True

    def build(self, panorama_px: int) -> Scene:
        """Paint the ground and textures and close the scene."""
        rings = np.array(self.rings).reshape(-1, 4, 2)
        return Scene(
            road=self.road,
            polygons=ground_polygons(self.road, self.rng),
            static=_blocks(merge(self.static)),
            actors=tuple(self.actors),
            things=tuple(self.things),
            static_shadows=(rings, np.array(self.heights, float)),
            actor_size=np.array(self.sizes, float).reshape(-1, 3),
            look=self.look,
            style=random_style(self.rng),
            panorama=make_panorama(self.look, self.road.layout.kind, self.rng, panorama_px),
            atlas=atlas(int(self.rng.integers(ATLASES))),
        )
