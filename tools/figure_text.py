"""Figures as text: their names and values, and the tables on the terminal and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import Any

from perception.metrics.bootstrap import Interval
from perception.metrics.track_record import COMBINED, COUNTED

_NAMES = {
    "iou": "IoU", "boundary_f1": "boundary F1", "point_f1": "point F1", "miou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
}  # fmt: skip


def number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def span(f: Interval) -> str:
    return "" if math.isnan(f.low) else f"{f.low:.3f} to {f.high:.3f}"


def several(count: int, one: str, many: str) -> str:
    """'1 box', '2 boxes'."""
    return f"{count} {one if count == 1 else many}"


def plain(name: str) -> str:
    """A class's name as it is read."""
    return name.replace("_", " ")


def figure_name(key: str) -> str:
    """'vehicle AP50' of 'detection.vehicle.AP50', 'drivable IoU' of 'drivable.iou', 'road IoU' of
    'segmentation.iou.road', 'Car HOTA' of 'tracking.Car.HOTA'."""
    section, *path, last = key.split(".")
    if section == "segmentation":
        return f"{plain(last)} IoU" if path else _NAMES.get(last, last)
    where = "mean over classes" if section == "coco" else plain(" ".join(path) or section)
    where = "all classes'" if section == "tracking" and path == [COMBINED] else where
    return f"{where} {_NAMES.get(last, last)}"


def counted(key: str) -> bool:
    """Whether the figure is a number of events, of which fewer are better, and no share."""
    return key.startswith("tracking.") and key.rpartition(".")[2] in COUNTED


def csv_text(figures: Mapping[str, Interval]) -> str:
    """``figure,value,low,high``; empty where not defined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["figure", "value", "low", "high"])
    for key, f in figures.items():
        cells = [f.value, f.low, f.high]
        writer.writerow([key, *("" if math.isnan(v) else f"{v:.6f}" for v in cells)])
    return text.getvalue()


def bracketed(f: Interval) -> str:
    """'0.468 [0.431, 0.502]', or '-' where not defined."""
    if math.isnan(f.value):
        return "-"
    ends = "" if math.isnan(f.low) else f" [{f.low:.3f}, {f.high:.3f}]"
    return f"{f.value:.3f}{ends}"


def table_lines(result: Mapping[str, Any], figures: Mapping[str, Interval]) -> list[str]:
    """The headline figures with their intervals, a line a class or surface."""
    lines = []
    for name, row in result.get("detection", {}).items():
        cells = [
            f"{k} {bracketed(figures[f'detection.{name}.{k}'])}" for k in ("AP50", "AP", "AR100")
        ]
        lines.append(f"{name:14} {'  '.join(cells)}  ({_boxes(row)})")
    for name, second in (("drivable", "boundary_f1"), ("lane", "point_f1")):
        if name in result:
            iou, f1 = bracketed(figures[f"{name}.iou"]), bracketed(figures[f"{name}.{second}"])
            words = second.replace("_f1", " F1")
            frames = several(result[name]["frames"], "frame", "frames")
            lines.append(f"{name:14} IoU {iou}  {words} {f1}  ({frames})")
    if "segmentation" in result:
        own = {k: f for k, f in figures.items() if k.startswith("segmentation.")}
        lines += [f"{figure_name(k):20} {bracketed(f)}" for k, f in own.items()]
        lines.append(f"{result['segmentation']['frames']} frames with a class for each pixel")
    for name, row in result.get("tracking", {}).items():
        keys = [k for k in ("HOTA", "MOTA", "IDF1") if f"tracking.{name}.{k}" in figures]
        cells = [f"{k} {bracketed(figures[f'tracking.{name}.{k}'])}" for k in keys]
        if cells:
            switches = several(row["switches"], "switch", "switches")
            lines.append(f"{name:14} {'  '.join(cells)}  ({switches}, {_boxes(row)})")
    return lines


def _boxes(row: Mapping[str, Any]) -> str:
    return several(row["ground_truths"], "box", "boxes")
