"""The joined stack: one ``Frame`` in, one ``StepRecord`` out."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from data.camera import Camera
from data.errors import InputError
from data.taxonomy import CLASSES
from data.types import (
    U8,
    CostGrid,
    Detections,
    Frame,
    Plan,
    Scene,
    StepRecord,
    Surfaces,
    Tracks,
)
from perception.flow import Look
from perception.horizon import VanishingPointFilter
from perception.horizon import compile_kernels as compile_horizon
from perception.own_motion import OwnMotion
from perception.pair_fit import compile_kernels as compile_motion
from perception.runtime import Model, blank_input
from perception.tracking import Tracker, TrackerConfig
from perception.tracking import compile_kernels as compile_tracking
from perception.tracking.calibration import Calibration
from planning.fallback import LastPlan
from planning.hybrid_astar import compile_kernels as compile_search
from planning.planner import Planner, PlannerConfig
from planning.vehicle import Vehicle
from tools.camera_check import CameraCheck

# For raw scores: on bdd100k_subset val `base`'s F1 is best near 0.3, and nine of ten vehicles
# scored 0.5 or more are right.
RAW = TrackerConfig(
    high_score=0.25,
    low_score=0.12,
    birth_score=0.34,
    sure_score=0.6,
    duplicate_iou=0.4,
    double_iou=0.5,
)
# The same thresholds of `base`'s vehicles as probabilities, for models with a score map.
PROBABLE = TrackerConfig(
    high_score=0.14,
    low_score=0.014,
    birth_score=0.35,
    sure_score=0.91,
    report_score=0.245,
    keep_score=0.008,
    fade_odds_ps=55.0,
    duplicate_iou=0.4,
    double_iou=0.5,
)
_LEAST_SCORE = 0.05  # of what is mapped: the maps are fitted above it
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
    _note: str = ""
    fault: str = ""  # found by the last ``refined``

    def of(self, frame: Frame) -> Camera:
        """The camera of a frame: that given, the log's own, or one assumed and turned so far.

        Raises:
            InputError: the given calibration is of another aspect.
        """
        height, width = frame.image.shape[:2]
        if self.given is None and self._is_whole(frame.camera):
            assert frame.camera is not None
            return frame.camera
        return self._for_size(width, height, frame.camera)

    def turns(self, frame: Frame) -> bool:
        """Whether the lane lines turn this frame's camera."""
        return self.given is None and not self._is_whole(frame.camera)

    @staticmethod
    def _is_whole(camera: Camera | None) -> bool:
        """Calibrated, its angles too; a log may know no more than the lens."""
        return camera is not None and camera.angle_std_rad is None

    def _for_size(self, width_px: int, height_px: int, lens: Camera | None) -> Camera:
        now = self._current
        if now is not None and (now.width_px, now.height_px) == (width_px, height_px):
            return now
        if self.given is None:
            self._filter = VanishingPointFilter(width_px, height_px)
            self._current = lens or Camera.assumed(width_px, height_px)
            self._note = "assumed lens" if lens is None else lens.source
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
        self.fault = ""
        if self._filter is None:
            return camera
        vp = self._filter.update(surfaces)
        if up_deg := self._filter.turned_deg:
            way = "up" if up_deg > 0 else "down"
            self.fault = (
                f"camera: it has turned {abs(up_deg):.1f} degrees {way}, the lane lines say; its "
                "horizon is estimated anew"
            )
        moved = max(abs(vp.u_px - self._at[0]), abs(vp.v_px - self._at[1]))
        if vp.confident and moved > _CAMERA_STEP * camera.height_px:
            self._at = (vp.u_px, vp.v_px)
            note = f"{self._note}, horizon from lane lines"
            turned = camera.with_vanishing_point(vp.u_px, vp.v_px, note)
            fx, fy = float(camera.matrix[0, 0]), float(camera.matrix[1, 1])
            self._current = replace(turned, angle_std_rad=(vp.std_v_px / fy, vp.std_u_px / fx))
            return self._current
        return camera


@dataclass(frozen=True, eq=False)
class Seen:
    """What the network finds in a picture, objects with probabilities where the model has a map to
    them, and how long it took."""

    detections: Detections
    surfaces: Surfaces
    ms: float


def probable(found: Detections, scores: Calibration, least: float) -> Detections:
    """Objects with probabilities for scores, those of ``least`` and more; see ``PROBABLE``."""
    found = found.select(found.score >= _LEAST_SCORE)
    score = found.score.astype(np.float64)
    likely = scores.probability_by_id(CLASSES, found.class_id, score).astype(np.float32)
    return replace(found, score=likely).select(likely >= least)


def compile_planner() -> None:
    """Compile or load the kernels of planning but for its search for a way round things."""
    road = np.ones((90, 160), np.float32)
    surfaces, camera = Surfaces(road, 0 * road, (0.25, 0.25)), Camera.assumed(640, 360)
    one = np.zeros((1, 2))
    tracks = Tracks(  # an object that hides some ground
        np.zeros(1, np.int64), np.array([[300, 190, 340, 220]], np.float32), np.zeros(1, np.int64),
        np.ones(1, np.float32), np.ones(1), np.zeros(1), one + (20.0, 0.0), one,
        np.zeros((1, 4, 4)),
    )  # fmt: skip
    planner = Planner()
    for t_ns in (0, 50_000_000):  # the second plan minds the first
        planner.plan(Scene(t_ns, camera, Detections.empty(), surfaces, tracks))


def compile_tracker() -> None:
    """Compile or load the kernels of tracking, of the own motion and of the horizon."""
    compile_horizon()
    compile_motion()
    compile_tracking()


class Stack:
    """Perception, tracking and planning over one log; keeps the tracker's and planner's state.

    Args:
        deadline_s: of one frame's searches for a way, see ``PlannerConfig``.
        camera_motion: estimate the own motion from the pictures, and let the tracker know how the
            camera turned.
    """

    def __init__(
        self,
        model: Model,
        camera: Camera | None = None,
        deadline_s: float | None = None,
        camera_motion: bool = True,
    ) -> None:
        self.model = model
        self.own = OwnMotion() if camera_motion else None
        self.tracker = Tracker(RAW if model.scores is None else PROBABLE)
        self._least_score = self.tracker.config.low_score
        self.planner = Planner(config=PlannerConfig(deadline_s=deadline_s))
        self.vehicle: Vehicle = self.planner.vehicle
        self.camera = CameraSource(camera)
        self.camera_check = CameraCheck()
        config = self.planner.config
        self.last_plan = LastPlan(self.vehicle, config.max_age_s, config.route.step_m)
        self._last_t_ns: int | None = None

    def warm_up(self) -> None:
        """Run the network once and compile all kernels, so that frames are timed."""
        self.see(blank_input(self.model.input_size))
        compile_search()
        compile_planner()
        compile_tracker()

    def see(self, image: U8) -> Seen:
        """What the network finds in a picture; hangs on nothing else, so that it may be asked
        ahead and in other threads."""
        start = time.perf_counter()
        least, scores = self._least_score, self.model.scores
        found, surfaces = self.model(image, least if scores is None else _LEAST_SCORE)
        if scores is not None:
            found = probable(found, scores, least)
        return Seen(found, surfaces, (time.perf_counter() - start) * 1e3)

    def look_ahead(self, frames: Iterable[Frame]) -> None:
        """Settle an assumed camera on the first frames of a recorded drive, before any is judged.

        Nothing else is kept of them; with a calibrated camera they are not even read.
        """
        if self.camera.given is not None:
            return
        for frame in islice(frames, _LOOK_AHEAD):
            if not self.camera.turns(frame):
                return
            self.camera.refined(self.camera.of(frame), self.see(frame.image).surfaces)

    def state(self) -> dict[str, Any]:
        """All that the next frames depend on, as ``tools.snapshot`` can write it."""
        held = {
            "tracker": (self.tracker, {"config"}),
            "camera": (self.camera, {"given"}),
            "camera_check": (self.camera_check, set()),
            "last_plan": (self.last_plan, {"_vehicle"}),
            **({"own": (self.own, {"config"})} if self.own is not None else {}),
        }
        parts: dict[str, Any] = {
            name: {k: v for k, v in vars(part).items() if k not in constant}
            for name, (part, constant) in held.items()
        }
        # copied, as the writing thread reads it while the stack goes on
        plan, ground = self.planner.memory
        return copy.deepcopy({**parts, "plan": plan, "ground": ground, "t_ns": self._last_t_ns})

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a ``state``."""
        for name in ("tracker", "camera", "camera_check", "last_plan", "own"):
            if name in state:
                vars(getattr(self, name)).update(state[name])
        self.planner.memory = state["plan"], state["ground"]
        self._last_t_ns = state["t_ns"]

    def step(
        self,
        frame: Frame,
        unusable: str = "",
        deadline: Deadline | None = None,
        look: Look | None = None,
        seen: Future[Seen | None] | None = None,
    ) -> StepRecord:
        """Run every stage on the next frame; ``stage_ms`` holds the time of each.

        Args:
            unusable: why nothing can be taken from the picture, '' if it can: tracks then coast
                and the last plan is gone on with. The same is done where a stage fails.
            deadline: a plan made later than this is left to the next frames, and the last one
                gone on with in its place; None: plans are never late.
            look: at the picture, where it was made ready ahead (``OwnMotion.look_at``).
            seen: what ``see`` finds in the picture, where it was asked ahead.
        """
        clock, faults = _Clock(), []
        if self._last_t_ns is not None and frame.t_ns < self._last_t_ns:
            late_ms = (self._last_t_ns - frame.t_ns) / 1e6
            faults.append(f"time-back: {late_ms:.1f} ms: taken as the last frame's time")
            frame = replace(frame, t_ns=self._last_t_ns)
        self._last_t_ns = frame.t_ns
        scene = None
        if not unusable:
            try:
                scene = self._perceive(frame, clock, faults, look, seen)
            except InputError:
                raise
            except Exception as e:  # one frame's failure is no end of the drive
                unusable = f"perception-failed: {_one_line(e)}"
                faults.append(unusable)
        if scene is None:
            scene, grid = self._coast(frame), None
            clock.mark("track")
            cause = unusable.partition(":")[0]
            plan = self.last_plan.at(frame.t_ns, _CAUSES.get(cause, cause), _ego_mps(scene))
        else:
            plan, grid = self._plan(frame, scene, deadline, faults)
        clock.mark("plan")
        return StepRecord(
            frame.index, frame.t_ns, scene, plan, grid, clock.stage_ms, faults=tuple(faults)
        )

    def _perceive(
        self, frame: Frame, clock: _Clock, faults: list[str], look: Look | None,
        ahead: Future[Seen | None] | None,
    ) -> Scene:  # fmt: skip
        camera = self.camera.of(frame)
        found = (ahead.result() if ahead is not None else None) or self.see(frame.image)
        detections, surfaces = found.detections, found.surfaces
        clock.mark("network", found.ms)
        if not self.camera.turns(frame):
            fault = self.camera_check.update(camera, surfaces)
            faults += [fault] if fault else []
        else:
            refined = self.camera.refined(camera, surfaces)
            faults += [self.camera.fault] if self.camera.fault else []
            if refined is not camera:
                self.tracker.turn_camera(camera, refined)
                camera = refined
        clock.mark("camera")
        ego, turn = frame.ego, None
        if self.own is not None:
            seen = self.own.update(look or frame.image, frame.t_ns, camera, detections, surfaces)
            ego, turn = frame.ego or seen, self.own.turn
            clock.mark("motion")
        tracks = self.tracker.update(detections, frame.t_ns, camera, turn)
        clock.mark("track")
        return Scene(frame.t_ns, camera, detections, surfaces, tracks, ego)

    def _coast(self, frame: Frame) -> Scene:
        """A scene without a look at the picture: tracks where they should be by now."""
        height, width = frame.image.shape[:2]
        camera = self.camera.of(frame)
        config = self.tracker.config
        # nothing was looked at: that nothing was seen makes no object less likely
        self.tracker.config = replace(config, fade_odds_ps=0.0)
        tracks = self.tracker.update(Detections.empty(), frame.t_ns, camera)
        self.tracker.config = config
        nothing = np.zeros((height // 8 or 1, width // 8 or 1), np.float32)
        scale = nothing.shape[1] / width, nothing.shape[0] / height
        ego = frame.ego or (self.own.coast(frame.t_ns) if self.own is not None else None)
        return Scene(
            frame.t_ns, camera, Detections.empty(), Surfaces(nothing, nothing, scale), tracks, ego
        )

    def _plan(
        self, frame: Frame, scene: Scene, deadline: Deadline | None, faults: list[str]
    ) -> tuple[Plan, CostGrid | None]:
        """The scene's plan; where it fails or comes too late, what is left of the last one."""
        try:
            plan, grid = self.planner.plan(scene)
        except Exception as e:  # as above
            faults.append(f"plan-failed: {_one_line(e)}")
            return self.last_plan.at(frame.t_ns, "planning failed", _ego_mps(scene)), None
        late_s = deadline.passed_s() if deadline is not None else 0.0
        used = plan
        if deadline is not None and late_s > 0:
            took, allowed = (late_s + deadline.allowed_s) * 1e3, deadline.allowed_s * 1e3
            faults.append(f"deadline: plan {took:.0f} ms after its frame, {allowed:.0f} ms allowed")
            cause = f"no plan within {allowed:.0f} ms"
            used = self.last_plan.at(frame.t_ns, cause, _ego_mps(scene), late=True, keep=False)
        self.last_plan.made(plan, frame.t_ns)
        return used, grid


@dataclass(frozen=True)
class Deadline:
    """When a frame came, on the clock of ``time.perf_counter``, and how long its plan may take."""

    came_s: float
    allowed_s: float

    def passed_s(self) -> float:
        """How long ago it was; negative before it."""
        return time.perf_counter() - self.came_s - self.allowed_s


# what an unusable picture is called in a plan's reason
_CAUSES = {
    "black": "picture black",
    "white": "picture white",
    "damaged": "picture damaged",
    "covered": "camera covered",
    "repeated": "picture repeated",
    "frozen": "picture frozen",
    "perception-failed": "perception failed",
}


def _ego_mps(scene: Scene) -> float | None:
    """The log's own speed."""
    return scene.ego.speed_mps if scene.ego and not scene.ego.estimated else None


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


class _Clock:
    """Milliseconds between marks."""

    def __init__(self) -> None:
        self.stage_ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, stage: str, took_ms: float | None = None) -> None:
        """A stage ends here; ``took_ms`` where it was measured elsewhere."""
        now = time.perf_counter()
        self.stage_ms[stage] = (now - self._last) * 1e3 if took_ms is None else took_ms
        self._last = now
