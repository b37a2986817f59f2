"""The joined stack: one ``Frame`` in, one ``StepRecord`` out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from data.camera import Camera
from data.errors import InputError
from data.types import Detections, Frame, Scene, StepRecord, Surfaces, Tracks
from perception.horizon import VanishingPointFilter
from perception.runtime import Model, blank_input
from perception.tracking import Tracker, TrackerConfig
from planning.planner import Planner
from planning.vehicle import Vehicle

# Raw scores of `base`: on bdd100k_subset val F1 is best near 0.3, and nine of ten vehicles
# scored 0.5 or more are right.
TRACKING = TrackerConfig(
    high_score=0.25,
    low_score=0.12,
    birth_score=0.34,
    sure_score=0.6,
    duplicate_iou=0.4,
    double_iou=0.5,
)
MIN_SCORE = TRACKING.low_score
# the ground look-up is made anew only when the horizon has moved by more than this
_CAMERA_STEP = 0.004  # of the picture's height
_LOOK_AHEAD = 12  # frames


@dataclass
class CameraSource:
    """The calibrated camera, or an assumed one turned after the lane lines' vanishing point."""

    given: Camera | None = None
    _filter: VanishingPointFilter | None = None
    _current: Camera | None = None
    _at: tuple[float, float] = (0.0, 0.0)

    def for_size(self, width_px: int, height_px: int) -> Camera:
        """The camera for pictures of this size.

        Raises:
            InputError: the given calibration is of another aspect.
        """
        now = self._current
        if now is not None and (now.width_px, now.height_px) == (width_px, height_px):
            return now
        if self.given is None:
            self._filter = VanishingPointFilter(width_px, height_px)
            self._current = Camera.assumed(width_px, height_px)
            self._at = (self._current.matrix[0, 2], self._current.horizon_row_px)
            return self._current
        own, theirs = self.given.width_px / self.given.height_px, width_px / height_px
        if abs(own / theirs - 1) > 0.01:
            raise InputError(
                f"camera {self.given.source}: made for {self.given.width_px}x"
                f"{self.given.height_px}, the pictures are {width_px}x{height_px}"
            )
        self._current = self.given.scaled_to(width_px, height_px)
        return self._current

    def refined(self, camera: Camera, surfaces: Surfaces) -> Camera:
        """An assumed camera, turned after what the lane lines say; a given one as it is."""
        if self._filter is None:
            return camera
        vp = self._filter.update(surfaces)
        moved = max(abs(vp.u_px - self._at[0]), abs(vp.v_px - self._at[1]))
        if vp.confident and moved > _CAMERA_STEP * camera.height_px:
            self._at = (vp.u_px, vp.v_px)
            note = "assumed lens, horizon from lane lines"
            turned = camera.with_vanishing_point(vp.u_px, vp.v_px, note)
            fx, fy = float(camera.matrix[0, 0]), float(camera.matrix[1, 1])
            self._current = replace(turned, angle_std_rad=(vp.std_v_px / fy, vp.std_u_px / fx))
            return self._current
        return camera


class Stack:
    """Perception, tracking and planning over one log; keeps the tracker's and planner's state."""

    def __init__(self, model: Model, camera: Camera | None = None) -> None:
        self.model = model
        self.tracker = Tracker(TRACKING)
        self.planner = Planner()
        self.vehicle: Vehicle = self.planner.vehicle
        self.camera = CameraSource(camera)
        self._last_t_ns: int | None = None

    def warm_up(self) -> None:
        """Run the network once and compile the planner's kernels, so that frames are timed."""
        canvas = blank_input(self.model.input_size)
        _, surfaces = self.model(canvas, MIN_SCORE)
        height, width = canvas.shape[:2]
        road = Surfaces(np.ones_like(surfaces.drivable), surfaces.lane, surfaces.scale)
        camera = Camera.assumed(width, height)
        Planner().plan(Scene(0, camera, Detections.empty(), road, Tracks.empty()))

    def look_ahead(self, frames: Iterable[Frame]) -> None:
        """Settle an assumed camera on the first frames of a recorded drive, before any is judged.

        Nothing else is kept of them; with a calibrated camera they are not even read.
        """
        if self.camera.given is not None:
            return
        for frame in islice(frames, _LOOK_AHEAD):
            if frame.camera is not None:
                return
            height, width = frame.image.shape[:2]
            _, surfaces = self.model(frame.image, MIN_SCORE)
            self.camera.refined(self.camera.for_size(width, height), surfaces)

    def step(self, frame: Frame) -> StepRecord:
        """Run every stage on the next frame; ``stage_ms`` holds the time of each."""
        times: dict[str, float] = {}
        faults: list[str] = []
        clock = _Clock(times)
        if self._last_t_ns is not None and frame.t_ns < self._last_t_ns:
            late_ms = (self._last_t_ns - frame.t_ns) / 1e6
            faults.append(f"time goes back by {late_ms:.1f} ms: taken as the last frame's time")
            frame = replace(frame, t_ns=self._last_t_ns)
        self._last_t_ns = frame.t_ns
        height, width = frame.image.shape[:2]
        camera = frame.camera or self.camera.for_size(width, height)
        detections, surfaces = self.model(frame.image, MIN_SCORE)
        clock.mark("network")
        if frame.camera is None:
            refined = self.camera.refined(camera, surfaces)
            if refined is not camera:
                self.tracker.turn_camera(refined)
                camera = refined
        clock.mark("camera")
        tracks = self.tracker.update(detections, frame.t_ns, camera)
        clock.mark("track")
        scene = Scene(frame.t_ns, camera, detections, surfaces, tracks)
        ego = frame.ego
        plan, grid = self.planner.plan(
            scene,
            ego.speed_mps if ego else None,
            yaw_rate_radps=ego.yaw_rate_radps if ego else None,
        )
        clock.mark("plan")
        return StepRecord(frame.index, frame.t_ns, scene, plan, grid, times, faults=tuple(faults))


class _Clock:
    """Milliseconds between marks."""

    def __init__(self, times: dict[str, float]) -> None:
        self._times, self._last = times, time.perf_counter()

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self._times[stage] = (now - self._last) * 1e3
        self._last = now
