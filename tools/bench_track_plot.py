"""The plot of ``tools/bench_track.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars of HOTA by condition and tracker: filled with fitted boxes, outlined with raw ones."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    classes = list(dict.fromkeys(r["class"] for r in rows))
    trackers = list(dict.fromkeys(r["tracker"] for r in rows))
    conditions = list(dict.fromkeys(r["condition"] for r in rows))
    figure, axes = pyplot.subplots(len(classes), 1, figsize=(10, 6.5), layout="constrained")
    colours = ["#0b6e4f", "#c8553d", "#e0a458", "#6c757d", "#4a6fa5"]
    for axis, name in zip(axes, classes):
        for k, tracker in enumerate(trackers):
            own = [r for r in rows if r["tracker"] == tracker and r["class"] == name]
            x = np.arange(len(conditions)) + (k - (len(trackers) - 1) / 2) * 0.16
            for boxes, style in (("fitted", {"alpha": 0.55}), ("raw", {})):
                y = [float(r["HOTA"]) for r in own if r["boxes"] == boxes]
                label = tracker if boxes == "raw" else None
                axis.bar(x, y, 0.15, color=colours[k % len(colours)], label=label, **style)
        axis.set_xticks(np.arange(len(conditions)), conditions)
        axis.set_ylabel(f"{name}: HOTA")
        values = [float(r["HOTA"]) for r in rows if r["class"] == name]
        axis.set_ylim(max(0, min(values) - 8), max(values) + 3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(ncols=len(trackers), frameon=False, loc="upper right")
    axes[0].set_title("Full colour: boxes as detected. Pale: with the fitted width", fontsize=10)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
