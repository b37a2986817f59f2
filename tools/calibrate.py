"""``roadstack calibrate``: a camera file from photographs of a chessboard."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data.calibration import FOLDS, MIN_PHOTOS, PARAMETERS, Calibration, Fit, calibrate, folds_over
from data.camera import (
    ASSUMED_FORWARD_M,
    ASSUMED_HEIGHT_M,
    Camera,
    camera_to_toml,
    mounting_pose,
)
from data.chessboard import Board, View, find_board
from data.errors import InputError
from data.logs import open_log
from data.logs.images import IMAGE_SUFFIXES, natural_key
from data.threads import opencv_on_one_thread
from data.types import U8
from tools.files import make_folder, staging, write_json, write_png, write_text
from tools.progress import progress_bar
from tools.view.calibration import bows_px, draw_calibration

REPORT, PICTURE = "calibration.json", "calibration.png"
MAX_RMS_PX = 1.0
_FEW = 10
_FOCAL_STD = 0.01
_HULL, _REACH = 0.6, 0.8
_MOUNTING = ("height", "pitch", "yaw", "roll", "forward", "left")

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Photos:
    """What the photographs gave: views by name, with their files, and why others gave none."""

    files: dict[str, Path]
    views: list[View]
    skipped: dict[str, str]
    size: Size


def run_calibrate(a: argparse.Namespace) -> int:
    """Calibrate from ``a.photos``; writes the camera to ``a.out``, a report and a picture beside.

    Returns 1 where the RMS error is 1 px or more; all is written nevertheless.

    Raises:
        InputError: no pictures, no board or fewer than three in them, or an unfit option.
    """
    board = Board(a.board[0], a.board[1], a.square)
    pose = _mounting(a)
    if a.out.suffix != ".toml" or a.out.is_dir():
        raise InputError(f"--out {a.out}: expected a file to write, such as camera.toml")
    photos = _read_photos(_list_photos(a.photos, a.out.parent / PICTURE), board, a.size)
    with progress_bar("fitting", None, "step") as bar, opencv_on_one_thread():
        steps = count(1)
        found = calibrate(photos.views, photos.size, board, lambda note: bar(next(steps), note))
    photos.skipped.update(found.rejected)
    try:
        camera = Camera(*photos.size, found.fit.matrix, found.distortion, pose, a.out.name)
    except InputError as e:
        text = "the fit gives no usable camera; tilt the board differently in each photograph and"
        raise InputError(f"{text} reach the corners of the picture ({e})") from e
    warnings = _warnings(found, photos.size, a)
    folder = make_folder(a.out.parent)
    with staging(folder, (PICTURE, REPORT, a.out.name), list(photos.files.values())) as stage:
        picture = draw_calibration(found, lambda name: _read(photos.files[name]))
        write_png(stage / PICTURE, picture)
        write_json(stage / REPORT, _report(found, photos, camera, board, warnings, a))
        write_text(stage / a.out.name, camera_to_toml(camera, _comments(found, photos, a)))
    _print(found, photos, camera, a.out)
    for text in warnings:
        print(f"warning: {text}", file=sys.stderr)
    return 1 if found.fit.rms_px >= MAX_RMS_PX else 0


def _mounting(a: argparse.Namespace) -> NDArray[np.float64]:
    given = {k: getattr(a, k) for k in _MOUNTING if getattr(a, k) is not None}
    for key, value in given.items():
        if not math.isfinite(value):
            raise InputError(f"--{key} {value}: expected a finite number")
        if key in ("pitch", "yaw", "roll") and abs(value) >= math.pi / 2:
            raise InputError(f"--{key} {value}: expected radians, below pi / 2")
    if not 0 < given.get("height", 1.0) < 100:
        raise InputError(f"--height {given['height']}: expected metres above the road, below 100")
    return mounting_pose(
        given.get("height", ASSUMED_HEIGHT_M),
        given.get("pitch", 0.0),
        given.get("yaw", 0.0),
        given.get("roll", 0.0),
        given.get("forward", ASSUMED_FORWARD_M),
        given.get("left", 0.0),
    )


def _list_photos(sources: list[Path], own: Path) -> dict[str, Path]:
    """Files by a name that tells them apart: a folder's pictures, or pictures given singly.

    ``own``, the picture that an earlier run wrote, is none of a folder's photographs.
    """
    files: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = [p for p in source.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
            some = [p for p in inside if p.is_file() and not p.name.startswith(".")]
            some = [p for p in some if p.resolve() != own.resolve()]
            if not some:
                raise InputError(f"{source}: no pictures (jpg, png, ...) in this folder")
            files += sorted(some, key=lambda p: natural_key(p.name))
        elif not source.exists():
            raise InputError(f"{source}: no such file or folder")
        elif source.suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(
                f"{source}: is no picture; give photographs of a chessboard or a folder of them"
            )
        else:
            files.append(source)
    files = list(dict.fromkeys(files))
    names = Counter(p.name for p in files)
    return {p.name if names[p.name] == 1 else str(p): p for p in files}


def _read(path: Path) -> U8:
    """A picture (h, w, 3) uint8 BGR, upright; InputError says what is wrong with it."""
    return next(iter(open_log(path))).image


def _read_photos(files: dict[str, Path], board: Board, size: Size | None) -> _Photos:
    """Look for the board in all photographs; those of another size than most are skipped."""
    skipped: dict[str, str] = {}
    sizes: dict[str, Size] = {}
    views: dict[str, View] = {}
    with progress_bar("finding boards", len(files), "photo") as bar:
        for done, (name, path) in enumerate(files.items(), 1):
            try:
                image = _read(path)
            except InputError as e:
                skipped[name] = str(e)
            else:
                view = find_board(name, image, board)
                sizes[name] = image.shape[1], image.shape[0]
                if view is None:
                    skipped[name] = f"no {board.cols}x{board.rows} board or large part of it found"
                else:
                    views[name] = view
            bar(done, f"{len(views)} boards")
    if not sizes:
        raise InputError(
            f"none of {len(files)} photographs can be read: {skipped[next(iter(skipped))]}"
        )
    chosen = _chosen_size(sizes, views, size)
    for name in [n for n in views if sizes[n] != chosen]:
        given = "--size" if size else "most photographs"
        skipped[name] = (
            f"is {sizes[name][0]}x{sizes[name][1]}, not {chosen[0]}x{chosen[1]} as {given}"
        )
        del views[name]
    if len(views) < MIN_PHOTOS:
        why = next((f" ({name}: {reason})" for name, reason in skipped.items()), "")
        raise InputError(
            f"{len(views)} of {len(files)} photographs show a {board.cols}x{board.rows} chessboard"
            f"{why}; at least {MIN_PHOTOS} are needed, 10 to 20 are good. "
            "--board counts inner corners (a board of 10x7 squares is 9x6)"
        )
    return _Photos(files, list(views.values()), skipped, chosen)


def _chosen_size(sizes: dict[str, Size], views: dict[str, View], size: Size | None) -> Size:
    counts = Counter(sizes[n] for n in (views or sizes))
    if size is None:
        return counts.most_common(1)[0][0]
    if size not in sizes.values():
        have = ", ".join(f"{w}x{h}" for w, h in sorted(set(sizes.values())))
        raise InputError(f"--size {size[0]}x{size[1]}: no photograph of it; they are {have}")
    return size


def coverage(found: Calibration, size: Size) -> dict[str, float]:
    """How much of the picture the corners cover, as shares.

    ``hull_share``: area within the outermost corners. ``cells_share``: cells of an 8x6 grid with
    a corner. ``reach_share``: the farthest corner from the middle, of the picture's half diagonal.
    """
    corners = np.concatenate([v.corners_px.reshape(-1, 2) for v in found.views])
    hull = cv2.convexHull(corners.astype(np.float32))
    cells = np.floor(corners / np.array(size) * np.array([8, 6])).astype(int)
    reach = np.hypot(*(corners - (np.array(size) - 1) / 2).T).max()
    return {
        "hull_share": float(cv2.contourArea(hull)) / (size[0] * size[1]),
        "cells_share": len(set(map(tuple, cells.tolist()))) / 48,
        "reach_share": float(reach) / (math.hypot(*size) / 2),
    }


def _bow_squares(found: Calibration) -> float:
    """How far the board's shape departs from its best plane, in squares."""
    points = found.fit.board_points.reshape(-1, 3)
    centred = points - points.mean(axis=0)
    normal = np.linalg.svd(centred, full_matrices=False)[2][2]
    return float(np.abs(centred @ normal).max())


def _warnings(found: Calibration, size: Size, a: argparse.Namespace) -> list[str]:
    out = []
    if found.fit.rms_px >= MAX_RMS_PX:
        out.append(
            f"RMS error {found.fit.rms_px:.2f} px, expected below {MAX_RMS_PX:g}: check --board, "
            "lay the board flat, avoid blur and zoom"
        )
    if not found.chosen_px < 2 * max(found.fit.rms_px, 0.25):
        out.append(
            f"error on held-out photographs {found.chosen_px:.2f} px, far above the "
            f"{found.fit.rms_px:.2f} px of the fit: too few photographs, or too alike"
        )
    if len(found.views) < _FEW:
        out.append(f"{len(found.views)} photographs used; 10 to 20 are good")
    if found.fit.std[0] > _FOCAL_STD * found.fit.matrix[0, 0]:
        out.append("the focal length is uncertain by more than 1 %: take tilted views of the board")
    share = coverage(found, size)
    if share["hull_share"] < _HULL or share["reach_share"] < _REACH:
        out.append(
            f"the boards cover {share['hull_share']:.0%} of the picture and reach "
            f"{share['reach_share']:.0%} of the way to its corners: the rest is guessed"
        )
    if folds_over(found.fit, size):
        out.append("the distortion folds the picture near its border: take photographs there")
    if a.height is None:
        out.append(
            f"the mounting is assumed ({ASSUMED_HEIGHT_M} m above the road); measure and give "
            "--height, without which distances are wrong"
        )
    return out


def _photo_rows(found: Calibration, photos: _Photos) -> list[dict[str, Any]]:
    fitted = {v.name: (v, e) for v, e in zip(found.views, found.fit.errors_px, strict=True)}
    rows: list[dict[str, Any]] = []
    for name in photos.files:
        if name in fitted:
            view, errors = fitted[name]
            size = np.linalg.norm(errors, axis=-1)
            rows.append({
                "photo": name, "used": True, "corners": [view.shape[1], view.shape[0]],
                "rms_px": float(np.sqrt((size**2).mean())), "largest_px": float(size.max()),
            })  # fmt: skip
        else:
            rows.append({"photo": name, "used": False, "reason": photos.skipped[name]})
    return rows


def _report(
    found: Calibration,
    photos: _Photos,
    camera: Camera,
    board: Board,
    warnings: list[str],
    a: argparse.Namespace,
) -> dict[str, Any]:
    fit = found.fit
    lines = {"photographed": bows_px(found, False), "undistorted": bows_px(found, True)}
    return {
        "camera": a.out.name,
        "size_px": list(photos.size),
        "rms_px": fit.rms_px,
        "held_out_rms_px": found.chosen_px,
        "held_out_rms_px_by_model": found.held_out_px,
        "held_out": f"{min(FOLDS, len(found.views))} folds; of held-out photographs only the "
        "pose is fitted; null: a fold allowed no fit, or one that folds the picture over itself",
        "distortion_model": found.model,
        "intrinsics": _intrinsics(fit),
        "field_of_view_deg": _field_of_view(camera),
        "board": {
            "inner_corners": [board.cols, board.rows],
            "square_m": board.square_m,
            "shape_fitted": found.bent,
            "bow_m": _bow_squares(found) * board.square_m,
        },
        "coverage": coverage(found, photos.size),
        "bow_of_rows_px": {
            k: {"median": float(np.median(v)), "largest": float(v.max())} for k, v in lines.items()
        },
        "mounting_assumed": a.height is None,
        "photos": _photo_rows(found, photos),
        "warnings": warnings,
    }


def _intrinsics(fit: Fit) -> dict[str, dict[str, float]]:
    m = fit.matrix
    values = [m[0, 0], m[1, 1], m[0, 2], m[1, 2], *fit.distortion]
    return {
        name: {"value": float(v), "std": float(s)}
        for name, v, s in zip(PARAMETERS, values, fit.std, strict=True)
    }


def _field_of_view(camera: Camera) -> dict[str, float]:
    """Angles between rays through the middles of the picture's opposite borders."""
    w, h = camera.width_px - 0.5, camera.height_px - 0.5
    ends = np.array([[-0.5, h / 2], [w, h / 2], [w / 2, -0.5], [w / 2, h]])
    ray = np.asarray(cv2.undistortPoints(
        ends[:, None], camera.matrix, camera.distortion if camera.distortion.size else None
    )).reshape(-1, 2)  # fmt: skip
    angle = np.degrees(np.arctan(ray))
    return {
        "horizontal": float(angle[1, 0] - angle[0, 0]),
        "vertical": float(angle[3, 1] - angle[2, 1]),
    }


def _comments(found: Calibration, photos: _Photos, a: argparse.Namespace) -> tuple[str, ...]:
    first = (
        f"Calibrated from {len(found.views)} photographs: RMS error {found.fit.rms_px:.3f} px, "
        f"held out {found.chosen_px:.3f} px, distortion {found.model}."
    )
    if a.height is None:
        return first, "The mounting (height_m, angles) is assumed: measure it."
    return (first,)


def _print(found: Calibration, photos: _Photos, camera: Camera, out: Path) -> None:
    fit = found.fit
    for name, reason in photos.skipped.items():
        print(f"skipped {name}: {reason}")
    m, s = fit.matrix, fit.std
    print(
        f"RMS error {fit.rms_px:.3f} px ({found.chosen_px:.3f} px held out), "
        f"{len(found.views)} of {len(photos.files)} photographs"
    )
    print(
        f"fx {m[0, 0]:.1f} ± {s[0]:.1f}  fy {m[1, 1]:.1f} ± {s[1]:.1f}  "
        f"cx {m[0, 2]:.1f} ± {s[2]:.1f}  cy {m[1, 2]:.1f} ± {s[3]:.1f} px, "
        f"distortion {found.model}" + (", board's shape fitted" if found.bent else "")
    )
    print(f"camera of {camera.width_px}x{camera.height_px}: {out}")
