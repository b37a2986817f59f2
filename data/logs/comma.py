"""Segments of comma2k19 (Schafer et al. 2018) and openpilot routes: raw HEVC with times beside it.

A segment is a folder with ``video.hevc`` or ``fcamera.hevc``; a route is a folder of segments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from data.camera import ASSUMED_ANGLE_STD_RAD, ASSUMED_FORWARD_M, Camera, mounting_pose
from data.errors import InputError
from data.logs.images import natural_key
from data.logs.selection import NS_PER_S, Picked, Selection, add_fault
from data.logs.source import shown
from data.logs.video import VideoLog
from data.types import F64, EgoMotion, Frame

VIDEOS = ("video.hevc", "fcamera.hevc")
FPS = 20.0
_MAX_VALUES = 1 << 22
_NEAR_S = 0.25  # a measurement further from a frame than this says nothing about it
# The EON's road camera: size and focal length as published with comma2k19, behind the windscreen.
_WIDTH_PX, _HEIGHT_PX, _FOCAL_PX, _MOUNTED_M = 1164, 874, 910.0, 1.22


def find_segments(path: Path) -> list[Path]:
    """The videos of a segment or of a route's segments, in order; none for another folder."""
    own = _video_in(path)
    if own:
        return [own]
    folders = sorted((p for p in path.iterdir() if p.is_dir()), key=lambda p: natural_key(p.name))
    return [v for v in map(_video_in, folders) if v]


def _video_in(folder: Path) -> Path | None:
    with suppress(OSError):  # a folder that may not be looked into has none
        return next((folder / n for n in VIDEOS if (folder / n).is_file()), None)
    return None


@dataclass(frozen=True)
class _Beside:
    """What lies beside a segment's video: times of its frames and own motion at them (NaN where
    unknown), all (n,) float64; or None."""

    times_s: F64 | None
    speed_mps: F64 | None
    turn_radps: F64 | None

    def time_s(self, k: int) -> float | None:
        return None if self.times_s is None or k >= len(self.times_s) else float(self.times_s[k])

    def ego(self, k: int) -> EgoMotion | None:
        if self.speed_mps is None or k >= len(self.speed_mps):
            return None
        speed = float(self.speed_mps[k])
        turn = math.nan if self.turn_radps is None else float(self.turn_radps[k])
        return EgoMotion(speed, turn) if math.isfinite(speed) else None


class CommaLog:
    """The frames of one segment or of all of a route, see ``Log``.

    Times are those of ``global_pose/frame_times`` where it is there, else of 20 frames a second.
    ``Frame.ego`` has the car's own speed (``processed_log/CAN/speed`` or ``car_speed``) and, from
    the poses, its yaw rate, NaN where there are none. The camera is that of an EON if the pictures
    have its size, its angles unknown.

    Raises:
        InputError: no frame can be decoded, or a start after the end.
    """

    kind = "video"

    def __init__(
        self, path: Path, videos: list[Path], selection: Selection, fps: float | None = None
    ) -> None:
        self._path, self._videos, self._selection = path, videos, selection
        self._fps = FPS if fps is None else fps
        self.name = path.name or path.resolve().name
        first = VideoLog(videos[0], Selection(), self._fps)
        self.width_px, self.height_px = first.width_px, first.height_px
        self.faults: list[str] = []
        beside = _read_beside(videos[0].parent, [])
        times = beside.times_s
        if times is None or len(times) < 2:
            self.nominal_fps, self.time_source = self._fps, f"{self._fps:g} fps: no frame_times"
        else:
            self.nominal_fps = (len(times) - 1) / float(times[-1] - times[0])
            self.time_source = "frame_times"
        self.expected_frames: int | None = None
        if len(videos) == 1 and times is not None:
            at = [round((float(t) - float(times[0])) * NS_PER_S) for t in times]
            self.expected_frames = selection.expected_at(at)
        self._camera = _eon(self.width_px, self.height_px)

    def __iter__(self) -> Iterator[Frame]:
        self.faults.clear()
        picked = Picked(self._selection)
        for frame in self._all():
            wanted = picked.wants(frame.index, frame.t_ns)
            if wanted is None:
                return
            if wanted:
                yield frame
                if picked.took():
                    return
        picked.check_started(shown(self._path), "the last frame")

    def _all(self) -> Iterator[Frame]:
        """The frames of all segments, with times that increase."""
        count, last_ns, origin_s = 0, -1, None
        step_ns = round(NS_PER_S / self.nominal_fps)
        for video in self._videos:
            beside = _read_beside(video.parent, self.faults)
            try:
                log = VideoLog(video, Selection(), self._fps)
            except InputError as e:
                add_fault(self.faults, f"segment skipped: {e}")
                continue
            told = len(log.faults)
            start = count
            for frame in log:
                for fault in log.faults[told:]:
                    add_fault(self.faults, f"{shown(video.parent.name)}: {fault}")
                told = len(log.faults)
                time_s = beside.time_s(frame.index)
                t_ns = last_ns + step_ns if last_ns >= 0 else 0
                if time_s is not None:
                    origin_s = time_s - t_ns / NS_PER_S if origin_s is None else origin_s
                    t_ns = max(round((time_s - origin_s) * NS_PER_S), last_ns + 1)
                elif beside.times_s is not None and frame.index == len(beside.times_s):
                    add_fault(self.faults, f"frame {count} and on: more frames than frame_times")
                index, last_ns = start + frame.index, t_ns
                count = index + 1
                ego = beside.ego(frame.index)
                yield Frame(frame.image, index, t_ns, self._camera, ego, damage=frame.damage)


def _read_beside(folder: Path, faults: list[str]) -> _Beside:
    times = _load(folder / "global_pose" / "frame_times", 1, faults)
    if times is None:
        return _Beside(None, None, None)
    if not (len(times) and np.isfinite(times).all() and (np.diff(times) > 0).all()):
        add_fault(faults, f"{shown(folder.name)}: frame_times not used: they do not increase")
        return _Beside(None, None, None)
    measured = folder / "processed_log" / "CAN"
    measured /= "speed" if (measured / "speed").is_dir() else "car_speed"
    speed, at = _load(measured / "value", 1, faults), _load(measured / "t", 1, faults)
    known = None
    if speed is not None and at is not None and len(speed) == len(at) > 0:
        known = _at_times(times, at, speed)
    return _Beside(times, known, _turn_rate(folder, times, faults))


def _at_times(times_s: F64, at_s: F64, values: F64) -> F64:
    """Values between measurements, NaN where none is near."""
    good = np.isfinite(at_s) & np.isfinite(values)
    at_s, values = at_s[good], values[good]
    if not len(at_s):
        return np.full(len(times_s), np.nan)
    order = np.argsort(at_s, kind="stable")
    at_s, values = at_s[order], values[order]
    right = np.clip(np.searchsorted(at_s, times_s), 0, len(at_s) - 1)
    left = np.maximum(right - 1, 0)
    near = np.minimum(np.abs(at_s[right] - times_s), np.abs(at_s[left] - times_s))
    return np.where(near <= _NEAR_S, np.interp(times_s, at_s, values), np.nan)


def _turn_rate(folder: Path, times_s: F64, faults: list[str]) -> F64 | None:
    """Turn about the local upward axis (rad/s), of the poses of the frames around each one."""
    quaternions = _load(folder / "global_pose" / "frame_orientations", 2, faults)
    positions = _load(folder / "global_pose" / "frame_positions", 2, faults)
    n = len(times_s)
    if quaternions is None or positions is None or n < 3:
        return None
    if quaternions.shape != (n, 4) or positions.shape != (n, 3):
        add_fault(faults, f"{shown(folder.name)}: poses not used: not one for each frame")
        return None
    lengths, radii = np.linalg.norm(quaternions, axis=1), np.linalg.norm(positions, axis=1)
    # unit quaternions, places near the Earth; false for NaN too
    if not ((lengths > 0.5) & (lengths < 2) & (radii > 1) & (radii < 1e9)).all():
        return None
    # w first; earth from vehicle. Two frames either side, as single steps are noisy.
    earth = Rotation.from_quat(quaternions[:, [1, 2, 3, 0]])
    before, after = np.maximum(np.arange(n) - 2, 0), np.minimum(np.arange(n) + 2, n - 1)
    turned = (earth[after] * earth[before].inv()).as_rotvec()
    up = positions / radii[:, None]
    return np.asarray((turned * up).sum(axis=1) / (times_s[after] - times_s[before]), np.float64)


def _load(path: Path, dimensions: int, faults: list[str]) -> F64 | None:
    """An array of numbers of a NumPy file (without suffix); None where there is none of use."""
    if not path.is_file():
        return None
    try:
        # mapped: a header that claims more than the file holds is refused, nothing is allocated
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if mapped.size > _MAX_VALUES or mapped.dtype.kind not in "fiu":
            raise ValueError("not an array of numbers of this size")
        values = np.array(mapped, np.float64)
    except Exception:  # of the array's own and of Python's, whose parser reads its header
        add_fault(faults, f"{shown(path.parent.name)}/{shown(path.name)} not used: no NumPy array")
        return None
    return values.reshape(-1) if dimensions == 1 else values


def _eon(width_px: int, height_px: int) -> Camera | None:
    if (width_px, height_px) != (_WIDTH_PX, _HEIGHT_PX):
        return None
    matrix = np.array([[_FOCAL_PX, 0, width_px / 2], [0, _FOCAL_PX, height_px / 2], [0, 0, 1]])
    pose = mounting_pose(_MOUNTED_M, forward_m=ASSUMED_FORWARD_M)
    note, std = "nominal, comma EON, angles assumed", ASSUMED_ANGLE_STD_RAD
    return Camera(width_px, height_px, matrix, np.zeros(0), pose, note, std)
