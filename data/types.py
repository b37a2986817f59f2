"""What flows between the stages: ``Frame -> Scene -> Plan``, small frozen dataclasses of arrays.

Shapes and dtypes are checked once, where an object is built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.taxonomy import CLASSES

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

UNKNOWN = 255  # of a label mask: neither yes (1) nor no (0)
HIDDEN = 254  # of an augmented one: unknown, and no teacher may say what it is


def _array(obj: object, name: str, dtype: type, *shape: int | None) -> int:
    """Cast a field to ``dtype`` and check its shape (None: any length); return its length."""
    value: np.ndarray = np.asarray(getattr(obj, name), dtype=dtype)
    ok = value.ndim == len(shape) and all(
        s is None or s == n for s, n in zip(shape, value.shape, strict=False)
    )
    if not ok:
        want = "(" + ", ".join("n" if s is None else str(s) for s in shape) + ")"
        raise ValueError(f"{type(obj).__name__}.{name}: expected {want}, given {value.shape}")
    object.__setattr__(obj, name, value)
    return int(value.shape[0]) if value.ndim else 0


def _equal_lengths(obj: object, **lengths: int) -> None:
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{type(obj).__name__}: lengths differ: {lengths}")


@dataclass(frozen=True)
class EgoMotion:
    """Own speed and yaw rate (positive to the left) as the log gives them, or estimated.

    What is unknown is NaN. Standard deviations are 0 where the log gives none; those of an
    estimate hold what an assumed camera makes uncertain too, which is the same for long.
    """

    speed_mps: float
    yaw_rate_radps: float
    speed_std_mps: float = 0.0
    yaw_rate_std_radps: float = 0.0
    estimated: bool = False


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a log.

    Attributes:
        image: (h, w, 3) uint8 BGR.
        index: number of the frame in its source, from 0.
        t_ns: time from the log, integer nanoseconds from the source's first frame.
        camera: None until one is known or assumed.
        ego: own motion where the log has it.
        name: file name of an image, '' for video.
        damage: why the picture cannot be trusted though it was decoded, '' where it can.
    """

    image: U8
    index: int
    t_ns: int
    camera: Camera | None = None
    ego: EgoMotion | None = None
    name: str = ""
    damage: str = ""

    def __post_init__(self) -> None:
        _array(self, "image", np.uint8, None, None, 3)


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with labels, and which tasks and classes are labelled at all.

    Attributes:
        image: (h, w, 3) uint8 BGR.
        xyxy: (n, 4) float32 px; class_id: (n,) int64; ignore: (n,) bool, areas not to score.
        drivable, lane: (h, w) uint8, 1 yes, 0 no, 255 unknown; None when not labelled.
        labelled_classes: (5,) bool, classes whose boxes are complete in this image.
        name: unique within its set, e.g. the file name.
        problems: what could not be read of its labels and is left unknown, a line each.
        segmentation: (h, w) uint8, the set's own class of each pixel, 255 unknown; or None.
    """

    image: U8
    xyxy: F32
    class_id: I64
    ignore: NDArray[np.bool_]
    labelled_classes: NDArray[np.bool_]
    drivable: U8 | None
    lane: U8 | None
    name: str
    problems: tuple[str, ...] = ()
    segmentation: U8 | None = None

    def __post_init__(self) -> None:
        _array(self, "image", np.uint8, None, None, 3)
        n = _array(self, "xyxy", np.float32, None, 4)
        k = _array(self, "class_id", np.int64, None)
        i = _array(self, "ignore", np.bool_, None)
        _equal_lengths(self, xyxy=n, class_id=k, ignore=i)
        _array(self, "labelled_classes", np.bool_, len(CLASSES))
        for mask in (self.drivable, self.lane, self.segmentation):
            if mask is not None and mask.shape != self.image.shape[:2]:
                raise ValueError(
                    f"Sample {self.name}: mask {mask.shape} differs from image "
                    f"{self.image.shape[:2]}"
                )


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects of one frame: xyxy (n, 4) float32 px of the original image, score (n,) float32
    in [0, 1], class_id (n,) int64 into ``taxonomy.CLASSES``."""

    xyxy: F32
    score: F32
    class_id: I64

    def __post_init__(self) -> None:
        n = _array(self, "xyxy", np.float32, None, 4)
        s = _array(self, "score", np.float32, None)
        c = _array(self, "class_id", np.int64, None)
        _equal_lengths(self, xyxy=n, score=s, class_id=c)

    def __len__(self) -> int:
        return len(self.score)

    def select(self, keep: NDArray[np.bool_] | I64) -> Detections:
        return Detections(self.xyxy[keep], self.score[keep], self.class_id[keep])

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Drivable and lane-line probability, (h, w) float32 each, covering the whole image.

    ``scale`` is (x, y) map pixels per image pixel: a pixel (u, v) of the original image lies at
    ``(u + 0.5) * scale - 0.5`` of the map.
    """

    drivable: F32
    lane: F32
    scale: tuple[float, float]

    def __post_init__(self) -> None:
        _array(self, "drivable", np.float32, None, None)
        _array(self, "lane", np.float32, *self.drivable.shape)


@dataclass(frozen=True, eq=False)
class Tracks:
    """Confirmed objects over time, parallel arrays of length n.

    Attributes:
        track_id: (n,) int64, never reused within a tracker.
        xyxy: (n, 4) float32 px, filtered box; class_id: (n,) int64; score: (n,) float32.
        age_s: (n,) float64 since the first detection; since_update_s: (n,) float64, 0 when seen
            in this frame.
        position_m: (n, 2) vehicle x, y on the ground of the box's foot; NaN if unknown.
        velocity_mps: (n, 2) relative to the own vehicle; NaN if unknown.
        covariance: (n, 4, 4) of (x, y, vx, vy); NaN if unknown.
    """

    track_id: I64
    xyxy: F32
    class_id: I64
    score: F32
    age_s: F64
    since_update_s: F64
    position_m: F64
    velocity_mps: F64
    covariance: F64

    def __post_init__(self) -> None:
        _equal_lengths(
            self,
            track_id=_array(self, "track_id", np.int64, None),
            xyxy=_array(self, "xyxy", np.float32, None, 4),
            class_id=_array(self, "class_id", np.int64, None),
            score=_array(self, "score", np.float32, None),
            age_s=_array(self, "age_s", np.float64, None),
            since_update_s=_array(self, "since_update_s", np.float64, None),
            position_m=_array(self, "position_m", np.float64, None, 2),
            velocity_mps=_array(self, "velocity_mps", np.float64, None, 2),
            covariance=_array(self, "covariance", np.float64, None, 4, 4),
        )

    def __len__(self) -> int:
        return len(self.track_id)

    @classmethod
    def empty(cls) -> Tracks:
        zero = np.zeros
        return cls(
            zero(0, np.int64), zero((0, 4), np.float32), zero(0, np.int64), zero(0, np.float32),
            zero(0), zero(0), zero((0, 2)), zero((0, 2)), zero((0, 4, 4)),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Scene:
    """What was perceived in one frame, with the camera it was seen by.

    ``ego``: the own motion, the log's where it has one, else estimated, or None.
    """

    t_ns: int
    camera: Camera
    detections: Detections
    surfaces: Surfaces
    tracks: Tracks
    ego: EgoMotion | None = None


@dataclass(frozen=True, eq=False)
class CostGrid:
    """A metric grid ahead of the vehicle, a snapshot at ``t_ns``.

    Attributes:
        cost: (rows, cols) float32; row r, column c has its centre at vehicle
            ``x = origin_m[0] + (r + 0.5) * resolution_m`` (forward) and
            ``y = origin_m[1] + (c + 0.5) * resolution_m`` (left). Finite costs are >= 1 per
            metre; inf cannot be driven.
        kind: (rows, cols) uint8: what a cell is, see ``Cell``.
        clearance_m: (rows, cols) float32, distance to the nearest cell that cannot be driven.
        frames: how many its ground was fused from; 1: its own alone, as wherever the own motion
            since the last one is unknown.
    """

    cost: F32
    kind: U8
    clearance_m: F32
    resolution_m: float
    origin_m: tuple[float, float]
    t_ns: int
    frames: int = 1

    def __post_init__(self) -> None:
        _array(self, "cost", np.float32, None, None)
        _array(self, "kind", np.uint8, *self.cost.shape)
        _array(self, "clearance_m", np.float32, *self.cost.shape)
        if not self.resolution_m > 0:
            raise ValueError(f"CostGrid.resolution_m: expected > 0, given {self.resolution_m}")


class Cell:
    """Values of ``CostGrid.kind``."""

    UNKNOWN = 0
    ROAD = 1
    OFF_ROAD = 2
    LANE_LINE = 3
    OBSTACLE = 4


class PlanStatus(StrEnum):
    """What came of planning; everything but OK comes with a reason."""

    OK = "OK"
    BLOCKED = "BLOCKED"  # an object or the road's end leaves no useful way: the plan stops
    NO_SURFACE = "NO_SURFACE"  # no drivable area seen at the vehicle
    STALE = "STALE"  # the newest scene is too old to plan on
    DEADLINE = "DEADLINE"  # time or bounds ended the search for a way on: the plan stops


@dataclass(frozen=True, eq=False)
class Plan:
    """A trajectory of the rear axle in the vehicle frame at ``t_ns``, (n,) float64 each.

    Empty arrays mean: stay or come to a stop; ``status`` and ``reason`` say why.
    """

    status: PlanStatus
    reason: str
    x_m: F64
    y_m: F64
    yaw_rad: F64
    speed_mps: F64
    curvature_1pm: F64
    t_s: F64

    def __post_init__(self) -> None:
        names = ("x_m", "y_m", "yaw_rad", "speed_mps", "curvature_1pm", "t_s")
        _equal_lengths(self, **{n: _array(self, n, np.float64, None) for n in names})

    @property
    def length_m(self) -> float:
        return float(np.hypot(np.diff(self.x_m), np.diff(self.y_m)).sum())

    @classmethod
    def none(cls, status: PlanStatus, reason: str) -> Plan:
        e = np.zeros(0)
        return cls(status, reason, e, e, e, e, e, e)


@dataclass(frozen=True, eq=False)
class StepRecord:
    """One frame of a replay: outputs, time of every stage, faults."""

    index: int
    t_ns: int
    scene: Scene | None
    plan: Plan
    grid: CostGrid | None
    stage_ms: dict[str, float]
    deadline_missed: bool = False
    faults: tuple[str, ...] = field(default=())
