"""``roadstack evaluate``: scores of a model, or of written predictions, on labelled data."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.camera import load_camera
from data.datasets import Dataset, Problem, check_names, only_tasks, open_dataset, screen
from data.datasets.base import read_mask
from data.errors import InputError
from data.taxonomy import CLASS_ID, CLASSES
from data.types import U8, Detections, Sample
from perception.decode import surface_mask
from perception.detectors import Detector
from perception.metrics.contours import CLASS_BOUNDARY_PROTOCOL
from perception.metrics.frames import FrameCollector
from perception.metrics.score import MIN_SCORE, PROTOCOL, Prediction, score_dataset
from perception.metrics.segmentation import PROTOCOL as PIXELS
from perception.runtime import Model, scores_beside
from perception.segmenter import Segmenter, load_any
from perception.tracking.calibration import Calibration
from tools.detector import OwnObjects, chosen_detector, describe, side_by_side
from tools.drives import frame_drives
from tools.evaluate_tracks import (
    FOLLOWED,
    Drives,
    Follower,
    given_tracks,
    kind_of_files,
    labelled_drives,
)
from tools.evaluation import PROTOCOL as MORE_PROTOCOL
from tools.evaluation import Observer, finish
from tools.files import inside, make_folder
from tools.progress import progress_bar, report_skipped
from tools.score_tracks import PROTOCOL as TRACKING
from tools.segmentation import PixelClasses, answered_classes, written_classes
from tools.warmup import prepare

BOXES = "detections.json"


def _by_model(
    model: Model, detector: Detector | None, own: OwnObjects
) -> tuple[Callable[[Sample], Prediction], dict[str, Any]]:
    """The model's answers; with a detector its objects, those of the model going to ``own``."""

    def predict(s: Sample) -> Prediction:
        found, maps = model(s.image, MIN_SCORE)
        if detector is not None:
            own.add(s, found)
            found = detector(s.image, MIN_SCORE)
        height, width = s.image.shape[:2]
        masks = (surface_mask(m, maps.scale, width, height) for m in (maps.drivable, maps.lane))
        return Prediction(found, *masks)

    entry: dict[str, Any] = {"name": model.name, "sha256": model.sha256}
    return predict, entry | ({"detector": describe(detector)} if detector else {})


_GREATEST = float(np.finfo(np.float32).max)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_entry(entry: Any, known: set[str]) -> tuple[str, list[float], float, int]:
    """Image, box x1, y1, x2, y2, score and class of an entry; ValueError says what is wrong."""
    try:
        image, category, bbox, score = (entry[k] for k in ("image", "category", "bbox", "score"))
    except (KeyError, TypeError):
        raise ValueError("expected image, category, bbox and score") from None
    if not isinstance(image, str) or not isinstance(category, str):
        raise ValueError("image and category must be texts")
    if image not in known:
        example = f", whose names are such as {min(known)!r}" if known else ""
        raise ValueError(f"image {image!r:.100} is not in the labelled data{example}")
    if category not in CLASS_ID:
        raise ValueError(f"category {category!r:.100} is none of {', '.join(CLASS_ID)}")
    if not (isinstance(bbox, list) and len(bbox) == 4 and all(_number(v) for v in bbox)):
        raise ValueError("bbox must be four numbers [x, y, width, height]")
    if not _number(score) or not 0 <= score <= 1:
        raise ValueError("score must be a number from 0 to 1")
    x, y, w, h = bbox
    try:
        finite = all(abs(v) <= _GREATEST for v in (x, y, w, h, x + w, y + h))
    except OverflowError:  # whole numbers that no float holds
        finite = False
    if not finite:
        raise ValueError("bbox must be finite numbers")
    if w < 0 or h < 0:
        raise ValueError(f"bbox has a width of {w:g} and a height of {h:g}, expected none below 0")
    return image, [x, y, x + w, y + h], float(score), CLASS_ID[category]


def read_detections(path: Path, known: set[str]) -> dict[str, Detections]:
    """Read ``detections.json`` as written by predict, by image name.

    Args:
        path: UTF-8, with or without a byte order mark.
        known: names of the labelled images.

    Raises:
        InputError: malformed, an unknown image or class, or a value out of range; names the entry.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from e
    except RecursionError as e:
        raise InputError(f"{path}: nested too deeply, expected a list of boxes") from e
    except ValueError as e:
        raise InputError(f"{path}: not valid JSON ({e})") from e
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a list of boxes, given {type(entries).__name__}")
    rows: dict[str, list[tuple[list[float], float, int]]] = {}
    for n, entry in enumerate(entries):
        try:
            image, box, score, class_id = _read_entry(entry, known)
        except ValueError as e:
            raise InputError(f"{path}: entry {n}: {e}") from e
        rows.setdefault(image, []).append((box, score, class_id))
    return {
        image: Detections(
            np.array([r[0] for r in mine], np.float32),
            np.array([r[1] for r in mine], np.float32),
            np.array([r[2] for r in mine], np.int64),
        )
        for image, mine in rows.items()
    }


def read_prediction_mask(folder: Path, name: str, shape: tuple[int, int]) -> U8:
    """Read the mask (h, w) uint8, 0 or 255, of image ``name`` at ``folder``/NAME.png.

    Raises:
        InputError: missing, not a mask, of another size or with other values, or ``name`` leads
            out of the folder.
    """
    path = inside(folder, str(Path(name).with_suffix(".png")))
    if not path.is_file():
        raise InputError(
            f"{path}: missing, the mask predicted for {name}; to leave the task out, remove "
            f"the whole folder {folder}"
        )
    mask = read_mask(path)
    if mask.shape != shape:
        raise InputError(f"{path}: {mask.shape}, but the image is {shape}")
    other = mask[(mask != 0) & (mask != 255)]
    if other.size:
        raise InputError(f"{path}: value {other[0]}, expected 0 and 255 alone")
    return mask


def _tell_unlabelled(path: Path, found: Mapping[str, Detections], dataset: Dataset) -> None:
    """Warn of boxes that are not scored, as the data does not label their classes."""
    ids = np.concatenate([np.zeros(0, np.int64), *(d.class_id for d in found.values())])
    counts = np.bincount(ids, minlength=len(CLASSES))
    left = [f"{n} of {c}" for c, n in zip(CLASSES, counts) if n and c not in dataset.labelled]
    if left and "detection" in dataset.tasks:
        text = ", ".join(left)
        print(f"warning: {path}: not labelled in the data, so not scored: {text}", file=sys.stderr)


def _by_files(folder: Path, dataset: Dataset) -> Callable[[Sample], Prediction]:
    """Predictions as written; a surface whose folder is absent is not predicted."""
    if not folder.is_dir():
        raise InputError(f"--predictions {folder}: no such folder; give one written by predict")
    found: dict[str, Detections] = {}
    boxes = folder / BOXES
    if "detection" in dataset.tasks or boxes.exists():
        found = read_detections(boxes, set(dataset.names))
        _tell_unlabelled(boxes, found, dataset)
    have = [k for k in ("drivable", "lane") if (folder / k).is_dir()]
    if not {"detection", *have} & set(dataset.tasks):
        raise InputError(
            f"--predictions {folder}: nothing to score; the data label "
            f"{', '.join(dataset.tasks)}, and there is no such folder in it"
        )

    def predict(s: Sample) -> Prediction:
        height, width = s.image.shape[:2]
        masks = (
            read_prediction_mask(folder / kind, s.name, (height, width))
            if kind in have and getattr(s, kind) is not None
            else None
            for kind in ("drivable", "lane")
        )
        return Prediction(found.get(s.name, Detections.empty()), *masks)

    return predict


def print_table(result: dict[str, Any]) -> None:
    """The headline figures, a line each."""
    for name, row in result.get("detection", {}).items():
        print(
            f"{name:14} AP50 {row['AP50']:.3f}  AP {row['AP']:.3f}  AR100 {row['AR100']:.3f}  "
            f"({row['ground_truths']} boxes)"
        )
    for name in ("drivable", "lane"):
        if name in result:
            print(f"{name:14} IoU {result[name]['iou']:.3f}  ({result[name]['frames']} frames)")


@dataclass(frozen=True, eq=False)
class _Scored:
    """What is scored on a set's frames: ``predict`` gives the answers, ``model`` names them."""

    dataset: Dataset
    unreadable: Sequence[Problem]
    predict: Callable[[Sample], Prediction]
    model: dict[str, Any]
    detector: Detector | None = None
    own: OwnObjects = field(default_factory=OwnObjects)
    scores: Calibration | None = None


def _score_frames(a: argparse.Namespace, given: _Scored, drives: Drives | None) -> None:
    """Score objects, surfaces, pixels and, of ``drives``, tracks; print and write all files."""
    dataset, predict = given.dataset, given.predict
    camera = load_camera(a.camera) if a.camera else None
    pixels = dataset.tasks == ("segmentation",)
    collector = FrameCollector(dataset.segmentation_names if pixels else ())
    seen = Observer(dataset, collector, frame_drives(dataset), predict, camera)
    out = make_folder(a.out)
    files = bool(drives and a.predictions and kind_of_files(a.predictions))
    follower = Follower(dataset, drives, given.scores, camera) if drives and not files else None

    def observe(i: int, s: Sample, p: Prediction) -> None:
        seen(i, s, p)
        if follower:
            follower(i, s, p)

    with progress_bar("evaluating", len(dataset), "image") as bar:

        def report(done: int) -> None:
            bar(done)
            if done == len(dataset) and "detection" in dataset.tasks:
                prepare("metrics")

        result = score_dataset(dataset, predict, report, observe)
    if given.detector:
        result = side_by_side(result, given.detector, given.own)
    if result["not_predicted"]:
        left_out = " and ".join(result["not_predicted"])
        print(f"warning: labelled but not predicted, so not scored: {left_out}", file=sys.stderr)
    skipped = [*map(str, given.unreadable), *result.pop("problems")]
    report_skipped(skipped, str(a.data))
    tracks, text = None, ""
    if drives and follower:
        tracks, text = follower.record(out), FOLLOWED
    elif drives:
        tracks, text = given_tracks(drives, a.predictions, out)
    data = {
        "layout": dataset.layout,
        "split": dataset.split,
        "images": result["images"],
        "skipped_images": len(given.unreadable) + len(dataset) - result["images"],
        "skipped": skipped,
        **({"drives": len(tracks)} if tracks else {}),
    }
    protocol = {**PROTOCOL, **MORE_PROTOCOL}
    if pixels:
        protocol = {
            "segmentation": PIXELS,
            "segmentation.boundary_f1": CLASS_BOUNDARY_PROTOCOL,
            "intervals": MORE_PROTOCOL["intervals"],
        }
    model = given.model
    if drives and tracks:
        protocol["tracking"] = TRACKING[drives.layout]
        model = {**model, "tracks": text}
    about = {"data": data, "model": model, "protocol": protocol}
    finish(out, {**result, **about}, seen, a, tracks)
    if "own_detection" in result:
        print(f"objects of {given.model['name']} on the same frames:")
        print_table({"detection": result["own_detection"]})


def _score_tracks_alone(a: argparse.Namespace, drives: Drives) -> None:
    """Score written tracks, or those of written detections, where there are no pictures."""
    if a.predictions is None:
        raise InputError(
            f"{a.data}: tracks are labelled, but there are no pictures to run a model on; give "
            "--predictions DIR with DRIVE.txt of tracks or detections"
        )
    if not a.predictions.is_dir():
        raise InputError(f"--predictions {a.predictions}: no such folder")
    if not kind_of_files(a.predictions):
        raise InputError(
            f"--predictions {a.predictions}: nothing to score; expected DRIVE.txt of tracks or of "
            "detections, or folders of them for each class"
        )
    out = make_folder(a.out)
    tracks, text = given_tracks(drives, a.predictions, out)
    data = {
        "layout": "kitti_tracking" if drives.layout == "kitti" else drives.layout,
        "split": drives.split, "images": 0, "skipped_images": 0, "skipped": [],
        "drives": len(tracks),
    }  # fmt: skip
    result = {
        "images": 0, "not_predicted": [], "data": data,
        "model": {"predictions": str(a.predictions), "tracks": text},
        "protocol": {
            "intervals": MORE_PROTOCOL["intervals"],
            "tracking": TRACKING[drives.layout],
        },
    }  # fmt: skip
    finish(out, result, None, a, tracks)


def _answers(a: argparse.Namespace, dataset: Dataset, unreadable: Sequence[Problem]) -> _Scored:
    """Of the model, or as written."""
    detector, own = chosen_detector(a), OwnObjects()
    if a.predictions and detector:
        raise InputError("--detector: has no use with --predictions; give one of them")
    loaded = None if a.predictions else load_any(a.model, a.threads)
    if isinstance(loaded, Segmenter) and detector:
        raise InputError(f"--detector: has no use with {a.model}, which gives each pixel a class")
    if isinstance(loaded, Segmenter):
        classes: PixelClasses | None = answered_classes(loaded, dataset)
    else:
        classes = written_classes(a.predictions, dataset) if a.predictions else None
    if classes is not None:
        pixels, none = classes, Detections.empty()
        return _Scored(
            only_tasks(dataset, ("segmentation",)), unreadable,
            lambda s: Prediction(none, None, None, pixels.predict(s)), pixels.about,
        )  # fmt: skip
    if isinstance(loaded, Model):
        predict, model = _by_model(loaded, detector, own)
        scores = scores_beside(a.detector) if detector else loaded.scores
        return _Scored(dataset, unreadable, predict, model, detector, own, scores)
    about = {"predictions": str(a.predictions)}
    return _Scored(dataset, unreadable, _by_files(a.predictions, dataset), about)


def run_evaluate(a: argparse.Namespace) -> int:
    """Score every labelled task of ``a.data`` and write ``metrics.json`` to ``a.out``.

    What of the data could not be read is counted there and on standard error; labelled surfaces
    that ``a.predictions`` does not hold are listed there as not predicted.
    """
    drives = labelled_drives(a.data, a.layout, a.split)
    if drives is not None and drives.layout == "mot":
        _score_tracks_alone(a, drives)
        return 0
    split = a.split or ("test" if drives is None else drives.split)
    opened = open_dataset(a.data, split, a.layout, strict=a.strict, names=tuple(a.names))
    check_names(opened, tuple(a.names))
    if drives is not None and _tracks_alone(opened, a.predictions):
        _score_tracks_alone(a, drives)
        return 0
    dataset, unreadable = screen(opened)
    if not dataset.tasks:
        raise InputError(f"{a.data}: split '{split}' has no labels to score against")
    _score_frames(a, _answers(a, dataset, unreadable), drives)
    return 0


def _tracks_alone(dataset: Dataset, predictions: Path | None) -> bool:
    """Whether there are no pictures, or nothing is said of them but tracks."""
    if (
        predictions is not None
        and not (predictions / BOXES).exists()
        and kind_of_files(predictions)
    ):
        return True
    return not any(map(os.path.isfile, dataset.images))
