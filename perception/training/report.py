"""What a run leaves in its folder beside its weights.

``config.json`` the resolved configuration; ``versions.json`` the software of each start;
``metrics.csv`` and ``metrics.png``; ``samples/step_NNNNNN.png`` labels left, answers right.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import platform
import subprocess
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from data.datasets import Dataset
from data.errors import InputError
from data.palette import tinted
from data.types import U8, UNKNOWN, Detections, Sample
from perception.metrics.surfaces import dilate_lane
from perception.models.semantic import SemanticNet
from perception.training.checkpoints import whole_file
from perception.training.config import TrainConfig
from perception.training.validate import predictor, segmenter

_ROOT = Path(__file__).resolve().parents[2]
_SAMPLES, _SAMPLES_KEPT, _SAMPLE_WIDTH_PX = 4, 5, 640
_SHOWN_SCORE = 0.3
_BGR = ((28, 159, 255), (125, 77, 255), (255, 125, 199), (214, 230, 46), (234, 227, 220))
_DRIVABLE_BGR, _LANE_BGR, _UNKNOWN_BGR = (94, 197, 34), (10, 214, 255), (60, 60, 60)

Row = dict[str, float]


def _write_json(path: Path, value: Any) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, default=str) + "\n", encoding="utf-8")


def note_skipped(out: Path, problems: Sequence[str]) -> None:
    """Write ``skipped.txt``, what of the frames held could not be read, or remove it."""
    path = out / "skipped.txt"
    if not problems:
        path.unlink(missing_ok=True)
        return
    with whole_file(path) as temporary:
        temporary.write_text("".join(f"{text}\n" for text in problems), encoding="utf-8")


def _differing(a: Any, b: Any, key: str = "") -> str | None:
    """Dotted name of the first setting in which two configurations differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for k in sorted(set(a) | set(b)):
            found = _differing(a.get(k), b.get(k), f"{key}.{k}" if key else k)
            if found:
                return found
        return None
    return None if a == b else key


def claim_folder(out: Path, config: TrainConfig) -> None:
    """Write ``config.json``, or make sure that a run to go on with there is the same.

    Raises:
        InputError: the folder holds a run with another configuration.
    """
    resolved = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    kept = out / "config.json"
    if not kept.exists() or not (out / "state.pt").exists():
        _write_json(kept, resolved)
        return
    try:
        other = _differing(json.loads(kept.read_text(encoding="utf-8")), resolved)
    except json.JSONDecodeError as e:
        raise InputError(f"{kept}: not valid JSON ({e}); choose a new --out") from e
    if other:
        raise InputError(
            f"{out} holds a run with another configuration (differs in {other}); choose a new --out"
        )


def revision() -> str | None:
    """The code's git revision, '-dirty' behind it where files differ; None where git has none."""
    if not (_ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _version(package: str, otherwise: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return otherwise


def versions(device: torch.device) -> dict[str, Any]:
    """Software and device that a run computes with."""
    cuda = device.type == "cuda"
    return {
        "roadstack": _version("roadstack", "unknown"),
        "revision": revision(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "albumentations": version("albumentations"),
        "openvino": _version("openvino", "none"),  # runs a teacher
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if cuda else platform.machine(),
    }


def note_start(out: Path, step: int, device: torch.device, world: int) -> None:
    """Add a start or resumption at ``step`` to ``versions.json``; later ones are forgotten."""
    path = out / "versions.json"
    starts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    starts = [s for s in starts if s["step"] < step]
    _write_json(path, [*starts, {"step": step, **versions(device), "processes": world}])


def read_metrics(path: Path, last_step: int) -> list[Row]:
    """Rows of ``metrics.csv`` up to a step; later ones come again in a resumed run."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as f:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(f)]
    return [row for row in rows if row["step"] <= last_step]


def write_metrics(path: Path, rows: Sequence[Row]) -> None:
    """All rows, with six digits."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as f:
        keys = dict.fromkeys(key for row in rows for key in row)
        writer = csv.DictWriter(f, list(keys), restval="nan")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)


def draw_metrics(path: Path, rows: Sequence[Row]) -> None:
    """Losses and validation figures by step, as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [row["step"] for row in rows]
    for key in rows[0]:
        values = [row.get(key, float("nan")) for row in rows]
        bold = key in ("loss.total", "fitness")
        style = {"linewidth": 2.5 if bold else 1.2, "marker": ".", "color": "k" if bold else None}
        if key.startswith("loss."):
            left.plot(steps, values, label=key.removeprefix("loss."), **style)
        elif key not in ("step", "epoch", "rate"):
            name = key.replace("detection.", "").replace(".AP50", " AP50").replace(".iou", " IoU")
            right.plot(steps, values, label=name, **style)
    left.set(title="training loss", xlabel="step", yscale="log")
    right.set(title="validation", xlabel="step", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    with whole_file(path) as temporary:
        FigureCanvasAgg(figure).print_figure(temporary, dpi=110, format="png")


def _tint(image: U8, where: np.ndarray, colour: tuple[int, int, int], share: float) -> None:
    image[where] = (image[where] * (1 - share) + np.array(colour) * share).astype(np.uint8)


def _drawn(image: U8, boxes: Detections, drivable: U8 | None, lane: U8 | None, scale: float) -> U8:
    """A copy at ``scale`` with masks (nonzero yes, 255 in labels unknown) and boxes."""
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    canvas = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    for mask, colour, share in ((drivable, _DRIVABLE_BGR, 0.4), (lane, _LANE_BGR, 0.8)):
        if mask is not None:
            small = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
            _tint(canvas, small == 1, colour, share)
            _tint(canvas, small == UNKNOWN, _UNKNOWN_BGR, 0.5)
    for box, c in zip((boxes.xyxy * scale).round().astype(int), boxes.class_id, strict=True):
        cv2.rectangle(canvas, box[:2].tolist(), box[2:].tolist(), _BGR[c], 1)
    return canvas


def draw_samples(net: nn.Module, sets: Sequence[Dataset], size: tuple[int, int]) -> U8:
    """A sheet of frames spread over the sets: labels on the left, the network's answers right."""
    draw = _draw_classes(net, size) if isinstance(net, SemanticNet) else _draw_tasks(net, size)
    places = [(d, i) for d in sets for i in range(len(d))]
    count = min(_SAMPLES, len(places))
    sheet = []
    for k in range(count):
        dataset, i = places[(2 * k + 1) * len(places) // (2 * count)]
        sheet.append(np.hstack(draw(dataset.load(i))))
    return np.vstack(sheet)


def _draw_tasks(net: nn.Module, size: tuple[int, int]) -> Callable[[Sample], list[U8]]:
    """Labels and answers of a multi-task network on a sample."""
    predict = predictor(net, size)

    def draw(s: Sample) -> list[U8]:
        p = predict(s)
        known = ~s.ignore
        truth = Detections(s.xyxy[known], np.ones(known.sum(), np.float32), s.class_id[known])
        sure = p.detections.select(p.detections.score >= _SHOWN_SCORE)
        masks = [None if m is None else (m > 0).astype(np.uint8) for m in (p.drivable, p.lane)]
        scale = _SAMPLE_WIDTH_PX / s.image.shape[1]
        lane = None if s.lane is None else dilate_lane(s.lane)
        labels = _drawn(s.image, truth, s.drivable, lane, scale)
        return [labels, _drawn(s.image, sure, masks[0], masks[1], scale)]

    return draw


def _draw_classes(net: nn.Module, size: tuple[int, int]) -> Callable[[Sample], list[U8]]:
    """The same of a network that gives each pixel a class."""
    predict = segmenter(net, size)

    def draw(s: Sample) -> list[U8]:
        scale = _SAMPLE_WIDTH_PX / s.image.shape[1]
        shown = (_SAMPLE_WIDTH_PX, round(s.image.shape[0] * scale))
        image = np.asarray(cv2.resize(s.image, shown, interpolation=cv2.INTER_AREA), np.uint8)
        unknown = np.full(s.image.shape[:2], UNKNOWN, np.uint8)
        masks = (unknown if s.segmentation is None else s.segmentation, predict(s))
        small = (cv2.resize(m, shown, interpolation=cv2.INTER_NEAREST) for m in masks)
        return [tinted(image, np.asarray(m, np.uint8)) for m in small]

    return draw


def write_samples(folder: Path, step: int, picture: U8) -> None:
    """Keep the sheet of a step, and those of the last few before."""
    folder.mkdir(exist_ok=True)
    with whole_file(folder / f"step_{step:06d}.png") as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    for old in sorted(folder.glob("step_*.png"))[:-_SAMPLES_KEPT]:
        old.unlink()
