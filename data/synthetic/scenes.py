"""Scenes: a road, what stands beside it and who moves on it, ready to be looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.synthetic.backdrop import Panorama, make_panorama
from data.synthetic.ground import GroundStyle, lit_tones, random_style
from data.synthetic.looks import Look
from data.synthetic.mesh import COLUMNS, DYES, Mesh
from data.synthetic.motion import Motion, standing
from data.synthetic.paint import Rings, ground_rings
from data.synthetic.raster import Placed
from data.synthetic.renderer import View
from data.synthetic.road import Road
from data.synthetic.textures import ATLASES, atlas
from data.taxonomy import CLASS_ID
from data.types import F64, I64

Bgr = tuple[float, float, float]
Place = tuple[float, float, float]
Size = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Thing:
    """One labelled object.

    Attributes:
        object_id: from 1, the track id; class_id: into ``taxonomy.CLASSES``.
        motion: where its footprint's middle is; length_m, width_m, height_m: its size.
        instance: its row of ``Scene.placed``.
    """

    object_id: int
    class_id: int
    motion: Motion
    length_m: float
    width_m: float
    height_m: float
    instance: int


@dataclass(frozen=True, eq=False)
class Part:
    """One labelled object of an actor: its class, the meshes it wears by variant of the motion,
    (length, width, height) m, and its colours and scale."""

    name: str
    meshes: tuple[Mesh, ...]
    size_m: Size
    dye: Sequence[Bgr] = ()
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Actor:
    """Instances (p,) that move together; ``meshes`` (p, v) are what they wear by variant."""

    motion: Motion
    instances: I64
    meshes: I64


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that is there, in the world frame (x along the road at s = 0).

    Attributes:
        road, rings: the ground; placed: all solids, actors as at time 0.
        actors: what moves; things: every labelled object, moving or not.
        look, style, tones, panorama, atlas: how it looks.
    """

    road: Road
    rings: Rings
    placed: Placed
    actors: tuple[Actor, ...]
    things: tuple[Thing, ...]
    look: Look
    style: GroundStyle
    tones: NDArray[np.uint8]
    panorama: Panorama
    atlas: NDArray[np.uint32]

    def view(self, t_s: float) -> View:
        """The scene at a time."""
        pose, which = self.placed.pose.copy(), self.placed.which.copy()
        for actor in self.actors:
            x, y, yaw, variant = actor.motion.at(t_s)
            pose[actor.instances, :3] = x, y, yaw
            which[actor.instances] = actor.meshes[:, variant % actor.meshes.shape[1]]
        placed = self.placed._replace(pose=pose, which=which)
        return View(
            placed, self.rings, self.panorama, self.style, self.tones, self.atlas, self.look,
            len(self.things),
        )  # fmt: skip


def footprint(x: float, y: float, yaw: float, length: float, width: float) -> F64:
    """Corners (4, 2) of a rectangle on the ground."""
    c, s = math.cos(yaw), math.sin(yaw)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [length / 2, width / 2]
    return corners @ np.array([[c, s], [-s, c]]) + [x, y]


class SceneBuilder:
    """Collects what a scene holds; object ids count up in the order things are added."""

    def __init__(self, road: Road, look: Look, rng: np.random.Generator) -> None:
        self.road, self.look, self.rng = road, look, rng
        self.meshes: dict[int, tuple[int, Mesh]] = {}
        self.actors: list[Actor] = []
        self.things: list[Thing] = []
        # a row for each instance: mesh, pose and scale, object, colours, lamps, shadow
        self.rows: list[tuple[int, tuple[float, ...], int, Sequence[Bgr], float, Size]] = []
        self.taken: list[tuple[float, ...]] = []

    def at(self, s_m: float, d_m: float, turn_rad: float = 0.0) -> Place:
        """World x, y, yaw of a place along the road."""
        x, y, yaw = self.road.place(s_m, d_m)
        return x, y, yaw + turn_rad

    def scenery(
        self, mesh: Mesh, place: Place, shadow_m: Size = (0.0, 0.0, 0.0),
        dye: Sequence[Bgr] = (), scale: float = 1.0,
    ) -> None:  # fmt: skip
        """Something unlabelled; ``shadow_m`` is (length, width, height) of its shadow's caster,
        ``dye`` the colours of the mesh's slots from 1 on."""
        self.rows.append((self._mesh(mesh), (*place, scale), 0, dye, 1.0, shadow_m))

    def fixed(
        self, mesh: Mesh, name: str, place: Place, size_m: Size,
        dye: Sequence[Bgr] = (), lamps: float = 1.0,
    ) -> None:  # fmt: skip
        """A labelled object that never moves; size is (length, width, height); ``lamps`` 0 turns
        off what shines."""
        grounded = name in ("vehicle", "person", "two_wheeler")
        shadow = size_m if grounded else (0.0, 0.0, 0.0)
        object_id = self._thing(name, standing(*place), size_m)
        self.rows.append((self._mesh(mesh), (*place, 1.0), object_id, dye, lamps, shadow))

    def moving(self, parts: Sequence[Part], motion: Motion) -> None:
        """An actor of labelled parts on one track; the first throws its shadow."""
        x, y, yaw, variant = motion.at(0.0)
        still, first = len(motion.t_s) == 1, len(self.rows)
        count = max(len(p.meshes) for p in parts)
        variants = [variant % count] if still else list(range(count))
        worn = [[self._mesh(p.meshes[k % len(p.meshes)]) for k in variants] for p in parts]
        for i, part in enumerate(parts):
            object_id = self._thing(part.name, motion, part.size_m)
            shadow = part.size_m if i == 0 else (0.0, 0.0, 0.0)
            pose = (x, y, yaw, part.scale)
            mesh = worn[i][variant % len(variants)]
            self.rows.append((mesh, pose, object_id, part.dye, 1.0, shadow))
        if not still:
            self.actors.append(Actor(motion, np.arange(first, len(self.rows)), np.array(worn)))

    def _mesh(self, mesh: Mesh) -> int:
        known = self.meshes.get(id(mesh))
        if known is None:
            known = self.meshes[id(mesh)] = len(self.meshes), mesh
            if mesh.far is not None:
                self._mesh(mesh.far)
        return known[0]

    def _thing(self, name: str, motion: Motion, size: Size) -> int:
        object_id = len(self.things) + 1
        self.things.append(Thing(object_id, CLASS_ID[name], motion, *size, len(self.rows)))
        x, y, yaw, _ = motion.at(0.0)
        half = size[0] / 2, size[1] / 2
        self.taken.append((x, y, math.cos(yaw), math.sin(yaw), *half))
        return object_id

    def is_free(self, place: Place, margin_m: float) -> bool:
        """Whether no labelled object stands at a place at the start."""
        for x, y, c, s, long, wide in self.taken:
            dx, dy = place[0] - x, place[1] - y
            along, across = dx * c + dy * s, dy * c - dx * s
            if abs(along) < long + margin_m and abs(across) < wide + margin_m * 0.5:
                return False
        return True

    def _placed(self) -> Placed:
        meshes = [mesh for _, mesh in self.meshes.values()]
        tables = [mesh.table for mesh in meshes]
        empty = np.zeros((0, COLUMNS), np.float32)
        first = np.cumsum([0, *(len(t) for t in tables)]).astype(np.int64)
        which, pose, object_id, dyes, lamps, shadow = (
            zip(*self.rows, strict=True) if (self.rows) else ((),) * 6
        )
        dye = np.ones((len(which), DYES, 3), np.float32)
        for i, colours in enumerate(dyes):
            if len(colours):
                dye[i, 1 : 1 + len(colours)] = colours
        return Placed(
            np.concatenate([empty, *tables]), first,
            np.array([m.bounds for m in meshes]).reshape(-1, 10),
            np.array([self._mesh(m.far or m) for m in meshes], np.int64),
            np.array(which, np.int64), np.array(pose, float).reshape(-1, 4),
            np.array(object_id, np.int64), dye, np.array(lamps, np.float32),
            np.array(shadow, float).reshape(-1, 3),
        )  # fmt: skip

    def build(self, panorama_px: int, ahead_only: bool = False) -> Scene:
        """Paint the ground and textures and close the scene; for the last two see
        ``make_panorama``."""
        rings, style = ground_rings(self.road, self.rng), random_style(self.rng)
        return Scene(
            road=self.road,
            rings=rings,
            placed=self._placed(),
            actors=tuple(self.actors),
            things=tuple(self.things),
            look=self.look,
            style=style,
            tones=lit_tones(style, self.look),
            panorama=make_panorama(
                self.look, self.road.layout.kind, self.rng, panorama_px, ahead_only
            ),
            atlas=atlas(int(self.rng.integers(ATLASES))),
        )
