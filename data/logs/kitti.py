"""KITTI drives as logs: raw (Geiger et al. 2013) and the sequences of the tracking benchmark."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from data.camera import Camera
from data.errors import InputError
from data.kitti_calib import load_kitti_calib
from data.logs.images import ImageFolderLog
from data.logs.selection import Selection, add_fault
from data.logs.source import shown
from data.types import EgoMotion, Frame

_CAMERA = re.compile(r"image_0[0-3]")
_FORWARD, _UPWARD_TURN, _FIELDS = 8, 22, 30  # vf, wu and how many numbers a line has
_MAX_BYTES = 1 << 24


@dataclass(frozen=True)
class Drive:
    """Where the parts of a drive lie; ``calib`` and ``oxts`` None where they are not there."""

    images: Path
    camera: str
    calib: Path | None
    oxts: Path | None


def find_drive(path: Path) -> Drive | None:
    """The drive of a folder; None if it is laid out otherwise.

    Given may be a raw drive, its ``image_02`` or ``image_02/data``, or the ``image_02/0000`` of a
    tracking sequence.
    """
    path = path.resolve()
    raw = _raw_images(path)
    if raw is not None:
        drive = raw.parent.parent
        calib = _first(drive / "calib_cam_to_cam.txt", drive.parent / "calib_cam_to_cam.txt")
        oxts = drive / "oxts" / "data"
        return Drive(raw, raw.parent.name, calib, oxts if oxts.is_dir() else None)
    if _CAMERA.fullmatch(path.parent.name) and re.fullmatch(r"\d{4}", path.name):
        root, name = path.parent.parent, f"{path.name}.txt"
        calib, lines = _first(root / "calib" / name), _first(root / "oxts" / name)
        if calib or lines:
            return Drive(path, path.parent.name, calib, lines)
    return None


def _raw_images(path: Path) -> Path | None:
    if path.name == "data" and _CAMERA.fullmatch(path.parent.name):
        return path
    names = [path] if _CAMERA.fullmatch(path.name) else [path / "image_02", path / "image_03"]
    return next((n / "data" for n in names if (n / "data").is_dir()), None)


def _first(*candidates: Path) -> Path | None:
    return next((c for c in candidates if c.is_file()), None)


class KittiLog(ImageFolderLog):
    """The pictures of a drive with camera and own motion; see ``Log`` and ``ImageFolderLog``.

    ``Frame.camera`` is that of the calibration file (left colour camera only), ``Frame.ego`` the
    GPS/IMU's forward speed and turn about the upward axis, by the picture's number.
    """

    def __init__(self, drive: Drive, selection: Selection, fps: float | None = None) -> None:
        super().__init__(drive.images, selection, fps)
        folder = drive.images.parent.parent if drive.images.name == "data" else drive.images
        self.name = folder.name or drive.images.name
        self.kind = "kitti"
        self._camera = self._read_camera(drive)
        self._oxts = _Oxts(drive.oxts) if drive.oxts else None
        self.faults[:] = self._open_faults

    def _read_camera(self, drive: Drive) -> Camera | None:
        if drive.calib is None or drive.camera != "image_02":
            return None
        try:
            return load_kitti_calib(drive.calib, self.width_px, self.height_px)
        except InputError as e:
            self._open_faults.append(f"calibration not used: {e}")
            return None

    def __iter__(self) -> Iterator[Frame]:
        if self._oxts is not None:
            self._oxts.told = False
        for frame in super().__iter__():
            same = frame.image.shape[:2] == (self.height_px, self.width_px)
            ego = self._oxts(Path(frame.name).stem, self.faults) if self._oxts else None
            yield replace(frame, camera=self._camera if same else None, ego=ego)


class _Oxts:
    """GPS/IMU measurements: a file for each picture, or one with a line for each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.told = False
        self._lines: list[str] | None = None
        if path.is_file():
            self._lines = _read(path).splitlines()

    def __call__(self, stem: str, faults: list[str]) -> EgoMotion | None:
        """Own motion of the picture with this name; None, and a fault once, where it is unknown."""
        if self._lines is None:
            text = _read(self._path / f"{stem}.txt")
        else:
            at = int(stem) if stem.isdecimal() and len(stem) < 12 else -1
            text = self._lines[at] if 0 <= at < len(self._lines) else ""
        ego = _parse(text)
        if ego is None and not self.told:
            self.told = True
            add_fault(faults, f"own motion unknown from {shown(stem)} on: no line of oxts for it")
        return ego


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return ""
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _parse(text: str) -> EgoMotion | None:
    try:
        values = [float(v) for v in text.split()]
    except ValueError:
        return None
    if len(values) != _FIELDS:
        return None
    speed, turn = values[_FORWARD], values[_UPWARD_TURN]
    return EgoMotion(speed, turn) if math.isfinite(speed) and math.isfinite(turn) else None
