"""Synthetic scenes: road and lines given in metres, drawn as a camera would see them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

from data.camera import Camera
from data.taxonomy import CLASS_ID
from data.types import Detections, EgoMotion, Scene, Surfaces, Tracks

MAP_W, MAP_H = 320, 180
CAMERA = Camera.assumed(1280, 720, horizon_row_px=340)

Curve = Callable[[np.ndarray], np.ndarray]
NAN2 = (float("nan"), float("nan"))


@dataclass
class Thing:
    """An object whose near side's middle stands at (x, y); velocity relative to the vehicle."""

    x: float
    y: float
    velocity: tuple[float, float] = NAN2
    kind: str = "vehicle"
    width: float = 1.8
    height: float = 1.5
    position: tuple[float, float] | None = None  # what the tracker says, if it differs


@dataclass
class Road:
    """A road along ``middle(x)`` from ``start`` to ``end``; lines at offsets from the middle."""

    left: float = 1.75
    right: float = 1.75
    lines: Sequence[float] = (1.75, -1.75)
    middle: Curve = field(default=lambda x: np.zeros_like(x))
    start: float = 3.5
    end: float = 80.0

    def across(self, offset: float) -> np.ndarray:
        """Map pixels of the curve at ``offset`` to the left of the middle."""
        x = np.arange(self.start, self.end, 0.25)
        xyz = np.column_stack([x, self.middle(x) + offset, np.zeros_like(x)])
        uv = CAMERA.pixels_from_vehicle(xyz)
        return (uv + 0.5) * (MAP_W / 1280, MAP_H / 720) - 0.5


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(np.clip(points, -4000, 4000) * 16).astype(np.int32)


def _surfaces(road: Road | None, noise: float, seed: int) -> Surfaces:
    drivable = np.zeros((MAP_H, MAP_W), np.uint8)
    lane = np.zeros((MAP_H, MAP_W), np.uint8)
    if road is not None:
        outline = np.vstack([road.across(road.left), road.across(-road.right)[::-1]])
        cv2.fillPoly(drivable, [_fixed(outline)], 1, shift=4)
        for offset in road.lines:
            cv2.polylines(lane, [_fixed(road.across(offset))], False, 1, 2, shift=4)
    d, ln = drivable.astype(np.float32), lane.astype(np.float32)
    if noise:
        rng = np.random.default_rng(seed)
        holes = cv2.resize(rng.random((60, 107), np.float32), (MAP_W, MAP_H))
        d = np.where(holes < noise, 0.2, d * 0.9 + 0.05).astype(np.float32)
        ln = np.where(rng.random(ln.shape) < 3 * noise, 0.1, ln * 0.8).astype(np.float32)
    return Surfaces(d, ln, (MAP_W / 1280, MAP_H / 720))


def _box(thing: Thing) -> list[float]:
    half, x, y = thing.width / 2, thing.x, thing.y
    length = 4.5 if thing.kind == "vehicle" else 0.5
    corners = [
        (x + dx, y + dy, z) for dx in (0, length) for dy in (-half, half) for z in (0, thing.height)
    ]
    uv = CAMERA.pixels_from_vehicle(np.array(corners))
    low, high = uv.min(axis=0).clip(0, None), uv.max(axis=0).clip(None, (1279, 719))
    return [*low, *high]


def _tracks(things: Sequence[Thing]) -> Tracks:
    n = len(things)
    if not n:
        return Tracks.empty()
    return Tracks(
        track_id=np.arange(n),
        xyxy=np.array([_box(t) for t in things], np.float32),
        class_id=np.array([CLASS_ID[t.kind] for t in things]),
        score=np.ones(n, np.float32),
        age_s=np.full(n, 2.0),
        since_update_s=np.zeros(n),
        position_m=np.array([t.position or (t.x, t.y) for t in things], float),
        velocity_mps=np.array([t.velocity for t in things], float),
        covariance=np.tile(np.diag([0.2, 0.02, 0.2, 0.1]), (n, 1, 1)),
    )


def _hide(surfaces: Surfaces, tracks: Tracks) -> Surfaces:
    """No surface is seen where an object's box is."""
    d, lane = surfaces.drivable.copy(), surfaces.lane.copy()
    solid = tracks.class_id <= CLASS_ID["two_wheeler"]
    for x0, y0, x1, y1 in np.nan_to_num(tracks.xyxy[solid]) * 0.25:
        d[int(y0) : int(y1), int(x0) : int(x1) + 1] = 0
        lane[int(y0) : int(y1), int(x0) : int(x1) + 1] = 0
    return Surfaces(d, lane, surfaces.scale)


def scene_of(
    road: Road | None,
    things: Sequence[Thing] = (),
    t_ns: int = 0,
    noise: float = 0.0,
    seed: int = 0,
    ego: float | None = None,
    turning: float = math.nan,
) -> Scene:
    """``ego`` is the own speed in m/s, ``turning`` the own yaw rate in rad/s."""
    tracks = _tracks(things)
    surfaces = _hide(_surfaces(road, noise, seed), tracks)
    own = None if ego is None else EgoMotion(ego, turning)
    return Scene(t_ns, CAMERA, Detections.empty(), surfaces, tracks, own)


@dataclass(frozen=True)
class World:
    """What the tests draw with; handed out as a fixture, since test folders are no packages."""

    Road = Road
    Thing = Thing
    camera = CAMERA

    @staticmethod
    def scene(road: Road | None, things: Sequence[Thing] = (), **more: object) -> Scene:
        return scene_of(road, things, **more)  # type: ignore[arg-type]


@pytest.fixture
def world() -> World:
    return World()
