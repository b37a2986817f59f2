"""The built-in drive with its ground truth, and single random views for training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera, mounting_pose
from data.errors import InputError
from data.synthetic.labels import surface_masks, visible_boxes
from data.synthetic.motion import EgoState, bicycle_step, follow_lane
from data.synthetic.renderer import Rendered, Renderer
from data.synthetic.scenes import Scene, footprint
from data.synthetic.stories import Story, city_story, random_view
from data.taxonomy import CLASSES
from data.types import EgoMotion, Frame, Sample

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

CAMERA_HEIGHT_M = 1.4
FOCAL_PER_WIDTH = 0.84
HORIZON_SHARE = 0.47  # of the height, from the top
PANORAMA_PX = 4096


@dataclass(frozen=True, eq=False)
class Truth:
    """What is really there in one frame; the n objects in the order of ``sample.xyxy``.

    Attributes:
        sample: image, boxes of visible objects, drivable and lane masks.
        track_id: (n,) int64, the same object keeps its number over the drive.
        positions_m: (n, 2) vehicle x, y of the point of its footprint nearest to the camera,
            where the foot of its box stands (for lights and signs: the foot of the post).
        centres_m: (n, 2) vehicle x, y of the footprint's middle; yaw_rad: (n,) of its x axis
            against the vehicle's.
        depth_m: (h, w) float32 along the optical axis, inf for the sky.
        ego: the own vehicle in the world; t_ns: time of the frame.
    """

    sample: Sample
    track_id: I64
    positions_m: F64
    centres_m: F64
    yaw_rad: F64
    depth_m: NDArray[np.float32]
    ego: EgoState
    t_ns: int


class Simulation:
    """A scene with an own vehicle in it, stepped by steering and acceleration."""

    def __init__(self, scene: Scene, ego: EgoState, camera: Camera, bonnet: float = 0.0) -> None:
        self.scene, self.ego = scene, ego
        self.renderer = Renderer(camera, bonnet)
        self.t_s = 0.0

    @property
    def camera(self) -> Camera:
        return self.renderer.camera

    def step(self, steer_rad: float, acceleration_mps2: float, dt_s: float = 0.05) -> EgoState:
        """Drive on for ``dt_s``; the rest of the scene moves with the clock."""
        self.ego = bicycle_step(self.ego, steer_rad, acceleration_mps2, dt_s)
        self.t_s += dt_s
        return self.ego

    def render(self, noise_seed: int = 0, labels: bool = True) -> Rendered:
        """What the camera sees now; without ``labels`` it cannot be given to ``truth``."""
        view = self.scene.view(self.t_s)
        return self.renderer.render(view, self.ego.pose, noise_seed, labels)

    def truth(self, seen: Rendered, t_ns: int, name: str = "") -> Truth:
        """Ground truth of a picture just rendered."""
        return _truth(self.scene, seen, self.ego, self.t_s, t_ns, name)


class SyntheticDrive:
    """A seeded drive of ``frames`` pictures: iterate for ``Frame``, ask ``truth(i)`` for labels.

    Seed 0 is a city street by day: behind a car that slows, past parked and oncoming ones and a
    green light, until a person crosses and the vehicle waits. Other seeds vary the curves, the
    town, the light and the weather of the same story. Frame i's time is i / fps, in whole
    nanoseconds; the same arguments give the same bytes.

    Raises:
        InputError: a count, rate or size out of range.
    """

    def __init__(
        self,
        seed: int = 0,
        frames: int = 120,
        fps: float = 20.0,
        width_px: int = 1280,
        height_px: int = 720,
    ) -> None:
        if frames < 1 or seed < 0:
            raise InputError(
                f"synthetic drive: expected frames >= 1 and seed >= 0, given {frames} and {seed}"
            )
        if not (math.isfinite(fps) and 1 <= fps <= 240):
            raise InputError(f"synthetic drive: expected 1 to 240 frames a second, given {fps}")
        _check_size(width_px, height_px)
        self.seed, self.frames, self.fps = seed, frames, float(fps)
        story = city_story(seed, frames / fps, PANORAMA_PX)
        self.scene = story.scene
        camera = level_camera(width_px, height_px, FOCAL_PER_WIDTH, CAMERA_HEIGHT_M, HORIZON_SHARE)
        self._simulation = Simulation(self.scene, story.start, camera)
        self._states = _drive(story, frames, 1.0 / self.fps)

    @property
    def camera(self) -> Camera:
        return self._simulation.camera

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(i) for i in range(self.frames))

    def t_ns(self, index: int) -> int:
        return round(index * 1_000_000_000 / self.fps)

    def frame(self, index: int) -> Frame:
        """One picture, in any order."""
        seen = self._look(index, labels=False)
        ego = self._states[index]
        motion = EgoMotion(ego.speed_mps, ego.yaw_rate_radps)
        return Frame(seen.image, index, self.t_ns(index), self.camera, motion)

    def truth(self, index: int) -> Truth:
        """Labels of one picture, in any order."""
        seen = self._look(index, labels=True)
        return self._simulation.truth(seen, self.t_ns(index), f"synthetic_{self.seed}_{index:05d}")

    def _look(self, index: int, labels: bool) -> Rendered:
        if not 0 <= index < self.frames:
            raise IndexError(f"frame {index}: the drive has frames 0 to {self.frames - 1}")
        self._simulation.ego = self._states[index]
        self._simulation.t_s = index / self.fps
        return self._simulation.render(self.seed * 1_000_003 + index, labels)


def random_sample(seed: int, width_px: int, height_px: int) -> Sample:
    """One random labelled view: road, traffic, camera, time of day and weather all drawn.

    Every class and both surfaces are labelled. The same arguments give the same bytes.
    """
    _check_size(width_px, height_px)
    rng = np.random.default_rng([seed, 77])
    story = random_view(rng)
    camera = level_camera(
        width_px, height_px, float(rng.uniform(0.55, 1.1)), float(rng.uniform(1.2, 1.8)),
        float(rng.uniform(0.4, 0.6)), float(rng.normal(0, 0.025)), float(rng.normal(0, 0.008)),
    )  # fmt: skip
    bonnet = float(rng.uniform(0.05, 0.2)) if rng.random() < 0.55 else 0.0
    simulation = Simulation(story.scene, story.start, camera, bonnet)
    seen = simulation.render(seed)
    return simulation.truth(seen, 0, f"synthetic_{seed:06d}").sample


def level_camera(
    width_px: int, height_px: int, focal_per_width: float, height_m: float, horizon_share: float,
    yaw_rad: float = 0.0, roll_rad: float = 0.0,
) -> Camera:  # fmt: skip
    """A camera whose horizon lies at a share of the picture's height."""
    focal = focal_per_width * min(width_px, height_px * 16 / 9)
    cx, cy = (width_px - 1) / 2, (height_px - 1) / 2
    pitch = math.atan2(cy - horizon_share * height_px, focal)
    matrix = np.array([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]])
    pose = mounting_pose(height_m, pitch, yaw_rad, roll_rad)
    return Camera(width_px, height_px, matrix, np.zeros(0), pose, "synthetic")


def _check_size(width_px: int, height_px: int) -> None:
    if not (64 <= width_px <= 7680 and 48 <= height_px <= 4320):
        raise InputError(
            f"synthetic picture: expected a size from 64x48 to 7680x4320, "
            f"given {width_px}x{height_px}"
        )


def _drive(story: Story, frames: int, dt_s: float) -> list[EgoState]:
    """Own states at every frame, by a driver who keeps the lane and minds what is ahead."""
    states, ego = [story.start], story.start
    for i in range(frames - 1):
        gap, pace = _ahead(story, ego, i * dt_s)
        target = min(story.cruise_mps, pace)
        steer, acceleration = follow_lane(ego, story.scene.road, story.lane_d_m, target, gap)
        ego = bicycle_step(ego, steer, acceleration, dt_s)
        states.append(ego)
    return states


def _ahead(story: Story, ego: EgoState, t_s: float) -> tuple[float, float]:
    """(way left before something to stop for, speed allowed by the vehicle ahead)."""
    road = story.scene.road
    own_s, _ = road.locate(ego.x_m, ego.y_m)
    front = own_s + 3.8  # the bumper, ahead of the rear axle
    stop, pace = max(road.end_m - 60.0 - front, 0.0), math.inf
    stop = stop if stop < 40 else math.inf
    for thing in story.scene.things:
        if thing.class_id > CLASSES.index("two_wheeler") or len(thing.motion.t_s) < 2:
            continue
        x, y, _, _ = thing.motion.at(t_s)
        x2, y2, _, _ = thing.motion.at(t_s + 1.0)
        (s, d), (s2, d2) = road.locate(x, y), road.locate(x2, y2)
        gap = s - thing.length_m / 2 - front
        near = min(abs(d - story.lane_d_m), abs(d2 - story.lane_d_m))
        if not 0 < gap < 45 or near > 1.9:
            continue
        if abs(d2 - d) > 0.5:  # it crosses: keep 3 m clear
            stop = min(stop, max(gap - 3.0, 0.0))
        else:
            pace = min(pace, max(s2 - s + 0.35 * (gap - 9.0), 0.0))
    return stop, pace


def _truth(scene: Scene, seen: Rendered, ego: EgoState, t_s: float, t_ns: int, name: str) -> Truth:
    boxes = visible_boxes(scene, seen)
    drivable, lane = surface_masks(seen)
    n = len(boxes.object_id)
    sample = Sample(
        seen.image, boxes.xyxy, boxes.class_id, np.zeros(n, bool), np.ones(len(CLASSES), bool),
        drivable, lane, name,
    )  # fmt: skip
    c, s = math.cos(ego.yaw_rad), math.sin(ego.yaw_rad)
    turn = np.array([[c, -s], [s, c]])
    feet, centres, yaws = np.zeros((n, 2)), np.zeros((n, 2)), np.zeros(n)
    for i, object_id in enumerate(boxes.object_id):
        thing = scene.things[object_id - 1]
        x, y, yaw, _ = thing.motion.at(t_s)
        centres[i] = (np.array([x, y]) - [ego.x_m, ego.y_m]) @ turn
        yaws[i] = (yaw - ego.yaw_rad + math.pi) % (2 * math.pi) - math.pi
        feet[i] = _nearest(centres[i], yaws[i], thing.length_m, thing.width_m)
    return Truth(sample, boxes.object_id, feet, centres, yaws, seen.depth_m, ego, t_ns)


def _nearest(centre: F64, yaw: float, length: float, width: float) -> F64:
    """Point of a footprint's outline nearest to the camera's place above the ground."""
    eye = np.array([1.7, 0.0])
    ring = footprint(float(centre[0]), float(centre[1]), yaw, length, width)
    side = np.roll(ring, -1, 0) - ring
    t = ((eye - ring) * side).sum(1) / np.maximum((side**2).sum(1), 1e-9)
    points = ring + side * np.clip(t, 0, 1)[:, None]
    return points[int(np.argmin(np.hypot(*(points - eye).T)))]
