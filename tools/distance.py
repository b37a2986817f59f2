"""``roadstack distance``: distances cast to the ground, checked against KITTI's labels.

What is compared. The foot of a box is its lowest row: where the object's nearest point meets the
ground. A level camera over flat ground turns that row into a depth (distance along the optical
axis), whatever the column. The label gives the middle of the object's bottom, metres further
away. So the reference is the smallest depth among the four corners of the labelled 3D box's
bottom: its lowest corner in the picture. It projects onto the labelled boxes' lower border to
within a pixel. The measured depth is that of the ground point under the middle of the lower
border (``Camera.ground_from_pixels``).

Two estimators are scored: 'foot', the bare cast, and 'first sight', what the tracker takes an
object's place to be after one frame, when a loose prior of its height steadies the foot. A third
part is a check and no estimator: 'height known' casts the foot to a level plane at the labelled
height of the object's own ground. What it leaves is the error of intrinsics and boxes (little:
KITTI's boxes are drawn close around its 3D ones); what the foot has beyond it is the road's slope
and the car's pitching, which a flat road ahead cannot show.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera, load_camera
from data.errors import InputError
from data.kitti_calib import DAYS, load_kitti_calib, nominal_camera
from data.kitti_labels import SpaceLabels, read_space_labels
from data.logs.image_size import image_size_px
from data.taxonomy import CLASS_ID, KITTI
from perception.tracking.ground import GroundConfig, start
from tools.files import make_folder, write_json

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

BANDS_M = ((0, 10), (10, 20), (20, 30), (30, 50), (50, 80))
MAX_OCCLUDED = 1
_BORDER_PX = 2.0  # a foot nearer to the picture's lower border is cut off by it
_NEAREST_M = 1.0

Estimator = Callable[[F64, I64, Camera], F64]


@dataclass(frozen=True)
class _Source:
    """A label file with what belongs to it."""

    labels: Path
    calib: Path
    picture: Path | None
    tracking: bool


@dataclass(frozen=True, eq=False)
class _Scored:
    """Objects of all files: type, reference and estimated depths (m, NaN for none)."""

    kind: NDArray[np.str_]
    reference_m: F64
    estimated_m: dict[str, F64]


def foot_depth_m(xyxy: F64, class_id: I64, camera: Camera) -> F64:
    """Depth (n,) of the ground under the lower borders of boxes (n, 4) px; NaN for none."""
    foot = np.column_stack([(xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 3]])
    return camera.ground_from_pixels(foot)[:, 0] - float(camera.vehicle_from_camera[0, 3])


def first_sight_depth_m(xyxy: F64, class_id: I64, camera: Camera) -> F64:
    """Depth (n,) at which the tracker places objects (n, 4) px that it sees for the first time."""
    state = start(xyxy, class_id, camera, GroundConfig())
    return state.mean[:, 0] - float(camera.vehicle_from_camera[0, 3])


def known_height_depth_m(labels: SpaceLabels, camera: Camera) -> F64:
    """Depth (n,) of the feet at the labelled heights of the objects' ground; NaN for none.

    It takes the pictures as rectified and uses the intrinsics alone, no mounting.
    """
    below_px = labels.xyxy[:, 3] - camera.matrix[1, 2]
    below_px = np.where(np.abs(below_px) < 1, np.nan, below_px)
    return np.asarray(camera.matrix[1, 1] * labels.location_m[:, 1] / below_px, np.float64)


ESTIMATORS: dict[str, Estimator] = {"foot": foot_depth_m, "first sight": first_sight_depth_m}
CHECK = "height known"


def nearest_depth_m(labels: SpaceLabels) -> F64:
    """Depth (n,) of the nearest corner of each labelled box's bottom: the reference."""
    return labels.footprint_m()[..., 1].min(axis=1)


def _sources(root: Path) -> list[_Source]:
    training = root / "training"
    for folder, tracking in (("label_2", False), ("label_02", True)):
        files = sorted((training / folder).glob("*.txt"))
        if files:
            return [
                _Source(
                    f, training / "calib" / f.name, _picture(training, f.stem, tracking), tracking
                )
                for f in files
            ]
    raise InputError(
        f"{root}: no KITTI labels; expected training/label_2/*.txt (object set) or "
        "training/label_02/*.txt (tracking set) in the folder given by --data"
    )


def _picture(training: Path, name: str, tracking: bool) -> Path | None:
    pattern = f"image_02/{name}/*" if tracking else f"image_2/{name}.*"
    return next(iter(sorted(training.glob(pattern))), None)


def _size_of(picture: Path) -> tuple[int, int]:
    size = image_size_px(picture.read_bytes())
    if size is None:
        raise InputError(f"{picture}: is not an image; its size tells the camera")
    return size


def _camera_of(source: _Source, given: Camera | None) -> Camera | None:
    """The camera of a file; None where a given one is of another size."""
    size = _size_of(source.picture) if source.picture else None
    if given is not None:
        return given if size in (None, (given.width_px, given.height_px)) else None
    if source.calib.is_file():
        return load_kitti_calib(source.calib, *(size or (None, None)))
    camera = nominal_camera(*size) if size else None
    if camera is None:
        sizes = ", ".join(f"{d[1]}x{d[2]}" for d in DAYS)
        have = f"its picture is {size[0]}x{size[1]}" if size else "it has no picture"
        raise InputError(
            f"{source.labels}: no {source.calib} and {have}, not one of KITTI's ({sizes}), so its "
            "camera is unknown; add the calib folder or give --camera"
        )
    return camera


def _chosen(labels: SpaceLabels, camera: Camera, left_out: Counter[str]) -> SpaceLabels:
    """Objects that can be compared; counts the others by the first reason."""
    objects = np.array([KITTI.get(k) is not None for k in labels.kind.tolist()], bool)
    near = nearest_depth_m(labels)
    reasons = {
        "no object class (DontCare, Misc)": ~objects,
        "truncated": labels.truncated > 0,
        f"occluded above {MAX_OCCLUDED}": labels.occluded > MAX_OCCLUDED,
        "foot cut by the border": labels.xyxy[:, 3] >= camera.height_px - 1 - _BORDER_PX,
        f"outside {_NEAREST_M:g} to {BANDS_M[-1][1]} m": (near < _NEAREST_M)
        | (near >= BANDS_M[-1][1]),
    }
    keep = np.ones(len(labels), bool)
    for reason, bad in reasons.items():
        left_out[reason] += int((keep & bad).sum())
        keep &= ~bad
    return labels.select(keep)


def _score(
    sources: list[_Source], given: Camera | None, cameras: Counter[str], left_out: Counter[str]
) -> Iterator[_Scored]:
    for source in sources:
        camera = _camera_of(source, given)
        if camera is None:
            left_out["pictures of another size than --camera"] += 1
            continue
        named = camera.source.startswith("nominal") or given is not None
        cameras[camera.source if named else "calib file of each picture or drive"] += 1
        labels = _chosen(read_space_labels(source.labels, source.tracking), camera, left_out)
        ids = np.array([CLASS_ID[str(KITTI[k])] for k in labels.kind.tolist()], np.int64)
        found = {name: f(labels.xyxy, ids, camera) for name, f in ESTIMATORS.items()}
        found[CHECK] = known_height_depth_m(labels, camera)
        yield _Scored(labels.kind, nearest_depth_m(labels), found)


def statistics(estimated_m: F64, reference_m: F64) -> dict[str, Any]:
    """Relative errors of depths (n,): median and 90th percentile of their size, signed median.

    NaN estimates are counted as ``without`` and take no part in the rest.
    """
    known = np.isfinite(estimated_m)
    error = estimated_m[known] / reference_m[known] - 1
    some = len(error) > 0
    return {
        "objects": len(reference_m),
        "without": int((~known).sum()),
        "median_relative_error": float(np.median(np.abs(error))) if some else float("nan"),
        "p90_relative_error": float(np.quantile(np.abs(error), 0.9)) if some else float("nan"),
        "bias": float(np.median(error)) if some else float("nan"),
        "median_error_m": float(np.median(np.abs(error * reference_m[known])))
        if some
        else float("nan"),
    }


def _tables(scored: _Scored) -> dict[str, Any]:
    out: dict[str, Any] = {}
    ref = scored.reference_m
    for name, est in scored.estimated_m.items():
        bands = {f"{a}-{b} m": (ref >= a) & (ref < b) for a, b in BANDS_M}
        kinds = {k: scored.kind == k for k in sorted(set(scored.kind.tolist()))}
        groups = {"all": np.ones(len(ref), bool)}
        out[name] = {
            part: {row: statistics(est[m], ref[m]) for row, m in rows.items()}
            for part, rows in (("overall", groups), ("by distance", bands), ("by class", kinds))
        }
    return out


def _print(tables: dict[str, Any]) -> None:
    for name, parts in tables.items():
        print(f"{name:14}{'objects':>8}{'median':>9}{'p90':>9}{'bias':>9}{'median':>9}{'none':>6}")
        for rows in parts.values():
            for row, s in rows.items():
                print(
                    f"  {row:12}{s['objects']:8}{s['median_relative_error']:9.1%}"
                    f"{s['p90_relative_error']:9.1%}{s['bias']:+9.1%}"
                    f"{s['median_error_m']:7.2f} m{s['without']:6}"
                )


def run_distance(a: argparse.Namespace) -> int:
    """Compare depths with the labels of ``a.data``; writes ``distance.json`` to ``a.out``.

    Raises:
        InputError: no labels, malformed ones, an unknown camera, or nothing to compare.
    """
    sources = _sources(a.data)
    given = load_camera(a.camera) if a.camera else None
    cameras: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    parts = list(_score(sources, given, cameras, left_out))
    if not sum(len(p.kind) for p in parts):
        why = ", ".join(f"{reason}: {n}" for reason, n in left_out.items() if n)
        raise InputError(f"{a.data}: no labelled object can be compared ({why or 'none there'})")
    scored = _Scored(
        np.concatenate([p.kind for p in parts]),
        np.concatenate([p.reference_m for p in parts]),
        {n: np.concatenate([p.estimated_m[n] for p in parts]) for n in (*ESTIMATORS, CHECK)},
    )
    tables = _tables(scored)
    out = make_folder(a.out)
    result = {
        "data": str(a.data),
        "camera": dict(cameras),
        "reference": "depth of the nearest corner of the labelled 3D box's bottom",
        "left_out": dict(left_out),
        "estimators": tables,
    }
    write_json(out / "distance.json", result)
    print("camera: " + "; ".join(f"{name} ({n})" for name, n in cameras.items()))
    _print(tables)
    print(f"{len(scored.kind)} objects: {out / 'distance.json'}")
    return 0
