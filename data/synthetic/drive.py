"""The built-in drive with its ground truth, and single random views for training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera, mounting_pose
from data.errors import InputError
from data.synthetic.labels import visible_boxes
from data.synthetic.looks import LOOKS
from data.synthetic.motion import EgoState, bicycle_step, follow_lane
from data.synthetic.renderer import Rendered, Renderer
from data.synthetic.scenes import Scene
from data.synthetic.stories import ROADS, Story, city_story, random_view
from data.taxonomy import CLASSES
from data.types import F64, I64, EgoMotion, Frame, Sample

CAMERA_HEIGHT_M = 1.4
FOCAL_PER_WIDTH = 0.84
HORIZON_SHARE = 0.47  # of the height, from the top
PANORAMA_PX = 1024


@dataclass(frozen=True, eq=False)
class Truth:
    """What is really there in one frame; the n objects in the order of ``sample.xyxy``.

    Attributes:
        sample: image, boxes of visible objects, drivable and lane masks.
        track_id: (n,) int64, the same object keeps its number over the drive.
        visible: (n,) share of the object's pixels within the picture that nothing hides; 1 minus
            its occlusion.
        positions_m: (n, 2) vehicle x, y of the point of its footprint nearest to the camera,
            where the foot of its box stands (for lights and signs: the foot of the post).
        centres_m: (n, 2) vehicle x, y of the footprint's middle; yaw_rad: (n,) of its x axis
            against the vehicle's.
        depth_m: (h, w) float32 along the optical axis, inf for the sky.
        object_id: (h, w) uint16, the track id of what each pixel shows, 0 for no labelled object.
        ego: the own vehicle in the world; t_ns: time of the frame; camera: that took it.
    """

    sample: Sample
    track_id: I64
    visible: F64
    positions_m: F64
    centres_m: F64
    yaw_rad: F64
    depth_m: NDArray[np.float32]
    object_id: NDArray[np.uint16]
    ego: EgoState
    t_ns: int
    camera: Camera


class Simulation:
    """A scene with an own vehicle in it, stepped by steering and acceleration.

    ``mounted`` is the camera as on level ground. Where the road slopes, the plane that it lies
    in ahead is tilted against the vehicle: ``camera`` is turned by as much, so that the ground
    stays its plane z = 0.
    """

    def __init__(self, scene: Scene, ego: EgoState, camera: Camera, bonnet: float = 0.0) -> None:
        self.scene, self.ego, self.mounted = scene, ego, camera
        self.renderer = Renderer(camera.width_px, camera.height_px, bonnet)
        self.t_s = 0.0

    @property
    def camera(self) -> Camera:
        road = self.scene.road
        tilt = float(road.tilt_at(road.locate(self.ego.x_m, self.ego.y_m)[0]))
        return tilted(self.mounted, tilt) if tilt else self.mounted

    def step(self, steer_rad: float, acceleration_mps2: float, dt_s: float = 0.05) -> EgoState:
        """Drive on for ``dt_s``; the rest of the scene moves with the clock."""
        self.ego = bicycle_step(self.ego, steer_rad, acceleration_mps2, dt_s)
        self.t_s += dt_s
        return self.ego

    def render(self, noise_seed: int = 0) -> Rendered:
        """What the camera sees now."""
        view = self.scene.view(self.t_s)
        return self.renderer.render(view, self.camera, self.ego.pose, noise_seed)

    def truth(self, seen: Rendered, t_ns: int, name: str = "") -> Truth:
        """Ground truth of a picture just rendered."""
        return _truth(self.scene, seen, self.ego, t_ns, name)


class SyntheticDrive:
    """A seeded drive of ``frames`` pictures: iterate for ``Frame``, ask ``truth(i)`` for labels.

    Seed 0 is a level city street by day: behind a car that slows, past parked and oncoming ones
    and a green light, until a person crosses and the vehicle waits. Other seeds vary the road
    and its slopes, the town, the light and the weather of the same story; ``look`` (one of
    ``LOOKS``) and ``road`` (one of ``ROADS``) choose instead. Frame i's time is i / fps, in whole
    nanoseconds; the same arguments give the same bytes. A frame and its truth are one rendering.

    Raises:
        InputError: a count, rate or size out of range, or an unknown look or road.
    """

    def __init__(
        self,
        seed: int = 0,
        frames: int = 120,
        fps: float = 20.0,
        width_px: int = 1280,
        height_px: int = 720,
        look: str | None = None,
        road: str | None = None,
    ) -> None:
        if frames < 1 or seed < 0:
            raise InputError(
                f"synthetic drive: expected frames >= 1 and seed >= 0, given {frames} and {seed}"
            )
        if not (math.isfinite(fps) and 1 <= fps <= 240):
            raise InputError(f"synthetic drive: expected 1 to 240 frames a second, given {fps}")
        _check_size(width_px, height_px)
        _check_name("look", look, LOOKS)
        _check_name("road", road, ROADS)
        self.seed, self.frames, self.fps = seed, frames, float(fps)
        story = city_story(seed, frames / fps, PANORAMA_PX, look, road)
        self.scene = story.scene
        camera = level_camera(width_px, height_px, FOCAL_PER_WIDTH, CAMERA_HEIGHT_M, HORIZON_SHARE)
        self._simulation = Simulation(self.scene, story.start, camera)
        self._states = _drive(story, frames, 1.0 / self.fps)
        self._last: tuple[int, Rendered] | None = None

    @property
    def camera(self) -> Camera:
        """The camera as on level ground; each frame has its own where the road slopes."""
        return self._simulation.mounted

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(i) for i in range(self.frames))

    def t_ns(self, index: int) -> int:
        return round(index * 1_000_000_000 / self.fps)

    def frame(self, index: int) -> Frame:
        """One picture, in any order."""
        seen = self._look(index)
        ego = self._states[index]
        motion = EgoMotion(ego.speed_mps, ego.yaw_rate_radps)
        return Frame(seen.image.copy(), index, self.t_ns(index), seen.camera, motion)

    def truth(self, index: int) -> Truth:
        """Labels of one picture, in any order."""
        seen = self._look(index)
        seen = replace(seen, image=seen.image.copy())
        return self._simulation.truth(seen, self.t_ns(index), f"synthetic_{self.seed}_{index:05d}")

    def _look(self, index: int) -> Rendered:
        """The picture, rendered unless it was the last one asked for."""
        if not 0 <= index < self.frames:
            raise IndexError(f"frame {index}: the drive has frames 0 to {self.frames - 1}")
        self._simulation.ego = self._states[index]
        self._simulation.t_s = index / self.fps
        if self._last is None or self._last[0] != index:
            seen = self._simulation.render(self.seed * 1_000_003 + index)
            self._last = index, seen
        return self._last[1]


def random_sample(seed: int, width_px: int, height_px: int, look: str | None = None) -> Sample:
    """One random labelled view: road, traffic, camera, time of day and weather all drawn.

    Every class and both surfaces are labelled. The same arguments give the same bytes. ``look``,
    one of ``LOOKS``, chooses time of day and weather.

    Raises:
        InputError: a size out of range, or an unknown look.
    """
    _check_size(width_px, height_px)
    _check_name("look", look, LOOKS)
    rng = np.random.default_rng([seed, 77])
    story = random_view(rng, min(max(width_px, 320), PANORAMA_PX), look)
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


def tilted(camera: Camera, rise_rad: float) -> Camera:
    """The camera over ground that rises ahead by an angle against the vehicle's plane, written in
    the ground's frame: nose down by as much, where it is."""
    c, s = math.cos(rise_rad), math.sin(rise_rad)
    pose = camera.vehicle_from_camera.copy()
    pose[:3, :3] = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]) @ pose[:3, :3]
    return replace(camera, vehicle_from_camera=pose)


def _check_name(what: str, given: str | None, known: tuple[str, ...]) -> None:
    if given is not None and given not in known:
        raise InputError(f"synthetic {what}: expected one of {', '.join(known)}, given '{given}'")


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


def _truth(scene: Scene, seen: Rendered, ego: EgoState, t_ns: int, name: str) -> Truth:
    boxes = visible_boxes(seen)
    things = [scene.things[i - 1] for i in boxes.object_id.tolist()]
    n = len(things)
    class_id = np.array([thing.class_id for thing in things], np.int64)
    sample = Sample(
        seen.image, boxes.xyxy, class_id, np.zeros(n, bool), np.ones(len(CLASSES), bool),
        seen.drivable, seen.lane, name,
    )  # fmt: skip
    place = seen.placed.pose[[thing.instance for thing in things], :3].reshape(-1, 3)
    c, s = math.cos(ego.yaw_rad), math.sin(ego.yaw_rad)
    centres = (place[:, :2] - [ego.x_m, ego.y_m]) @ np.array([[c, -s], [s, c]])
    yaws = (place[:, 2] - ego.yaw_rad + math.pi) % (2 * math.pi) - math.pi
    size = np.array([(thing.length_m, thing.width_m) for thing in things]).reshape(-1, 2)
    feet = _nearest(centres, yaws, size)
    return Truth(
        sample, boxes.object_id, boxes.visible, feet, centres, yaws, seen.depth_m, seen.object_id,
        ego, t_ns, seen.camera,
    )  # fmt: skip


def _nearest(centre: F64, yaw: F64, size: F64) -> F64:
    """Points (n, 2) of footprints' outlines nearest to the camera's place above the ground."""
    along, across = (
        np.stack([np.cos(yaw), np.sin(yaw)], 1),
        np.stack([-np.sin(yaw), np.cos(yaw)], 1),
    )
    eye = np.array([1.7, 0.0])
    away = eye - centre
    local = np.stack([(away * along).sum(1), (away * across).sum(1)], 1)
    near = np.clip(local, -size / 2, size / 2)
    # from within, straight out to the nearest side
    inside = (near == local).all(1)
    side = np.argmin(size / 2 - np.abs(local), 1)
    rows = np.flatnonzero(inside)
    near[rows, side[rows]] = np.copysign(size[rows, side[rows]] / 2, local[rows, side[rows]])
    return centre + near[:, :1] * along + near[:, 1:] * across
