"""Pictures of the planning benchmark: a sheet of paths, and times against hits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.bench_plan_maps import CELL_M, VEHICLE, Case, corners

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

_SCALE, _SHOWN = 3, 8  # pixels a cell, cases on a sheet
_SHIFT = 4
_COLORS = {
    "roadstack": (60, 130, 0),
    "pyastar2d": (0, 140, 255),
    "scikit-image": (200, 0, 200),
    "OMPL BITstar, Reeds-Shepp": (220, 120, 0),
}
_REVERSE, _BODY = (30, 30, 210), (170, 210, 160)


def _pixels(xy: F64, rows: int) -> NDArray[np.int32]:
    p = xy / CELL_M * _SCALE
    p = np.column_stack([p[:, 0], rows * _SCALE - p[:, 1]]) - 0.5
    return np.round(p * 2**_SHIFT).astype(np.int32)


def draw_case(case: Case, paths: dict[str, F64 | None], note: str) -> U8:
    """Map, our swept body and way (reverse red), the others' ways, start and goal."""
    rows = len(case.occupied)
    grey = np.where(case.occupied[::-1], 80, 250).astype(np.uint8)
    image = cv2.cvtColor(grey.repeat(_SCALE, 0).repeat(_SCALE, 1), cv2.COLOR_GRAY2BGR)
    ours = paths.get("roadstack")
    if ours is not None:
        for pose in ours[::6]:
            box = corners(pose[:3], VEHICLE.front_m, VEHICLE.rear_m, VEHICLE.half_width_m)
            cv2.polylines(image, [_pixels(box, rows)], True, _BODY, 1, cv2.LINE_AA, _SHIFT)
    for name, color in _COLORS.items():
        poses = paths.get(name)
        if poses is None:
            continue
        p = _pixels(poses[:, :2], rows)
        for a, b, way in zip(p[:-1], p[1:], poses[1:, 3]):
            shade = _REVERSE if way < 0 and name == "roadstack" else color
            wide = 2 if name == "roadstack" else 1
            cv2.line(image, a.tolist(), b.tolist(), shade, wide, cv2.LINE_AA, _SHIFT)
    for pose, color in ((case.start, (0, 150, 0)), (case.goal, (0, 0, 200))):
        box = corners(np.array(pose), VEHICLE.front_m, VEHICLE.rear_m, VEHICLE.half_width_m)
        cv2.polylines(image, [_pixels(box, rows)], True, color, 2, cv2.LINE_AA, _SHIFT)
    cv2.putText(image, note, (8, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 255), 1, cv2.LINE_AA)
    return np.asarray(image)


def draw_sheet(cases: list[Case], paths: dict[str, list[F64 | None]]) -> U8:
    """The first cases, two a row, with a legend below."""
    tiles = []
    for i, case in enumerate(cases[:_SHOWN]):
        here = {name: given[i] for name, given in paths.items()}
        found = "a way" if here.get("roadstack") is not None else "no way"
        tiles.append(draw_case(case, here, f"{case.family} {case.seed}: {found}"))
    if len(tiles) % 2:
        tiles.append(np.full_like(tiles[0], 255))
    sheet = np.vstack([np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)])
    legend = np.full((28, sheet.shape[1], 3), 255, np.uint8)
    x = 10
    for name, color in _COLORS.items():
        if name in paths:
            cv2.putText(
                legend, name, (x, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, color, 1, cv2.LINE_AA
            )
            x += 30 + 11 * len(name)
    return np.vstack([sheet, legend])


def draw_plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Median time of every planner by family, and the share of its paths that hit something."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    families = list(dict.fromkeys(r["family"] for r in rows))
    planners = list(dict.fromkeys(r["planner"] for r in rows))
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2))
    width = 0.8 / len(planners)
    colors = plt.get_cmap("tab20").colors  # type: ignore[attr-defined]
    for k, planner in enumerate(planners):
        mine = {r["family"]: r for r in rows if r["planner"] == planner}
        x = np.arange(len(families)) + (k - (len(planners) - 1) / 2) * width
        ms = [mine[f]["ms median"] for f in families]
        right = [100 * mine[f]["right"] / mine[f]["cases"] for f in families]
        hit = [100 * mine[f]["hit"] / max(mine[f]["paths"], 1) for f in families]
        for axis, values in zip(axes, (ms, right, hit)):
            axis.bar(x, values, width, label=planner, color=colors[k % len(colors)])
    titles = ("median time, ms", "answers that are right, %", "paths that hit something, %")
    for axis, title in zip(axes, titles):
        axis.set_xticks(range(len(families)), families)
        axis.set_title(title)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_yscale("log")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="lower center", ncols=6)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
