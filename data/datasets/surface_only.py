"""What IDD and CamVid share: an image, a mask of semantic classes, and no boxes or lanes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.datasets.base import Dataset, class_flags, map_values, read_image, read_mask
from data.types import Sample


def surface_dataset(
    layout: str,
    split: str,
    pairs: list[tuple[Path, Path | None]],
    names: tuple[str, ...],
    table: dict[int, int],
) -> Dataset:
    """Build a set that labels drivable area alone, from (image, mask) paths and a value table."""

    def load(i: int) -> Sample:
        image, mask = pairs[i]
        return Sample(
            read_image(image),
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.int64),
            np.zeros(0, bool),
            class_flags(()),
            map_values(read_mask(mask), table, mask) if mask else None,
            None,
            names[i],
        )

    tasks = ("drivable",) if any(m for _, m in pairs) else ()
    return Dataset(layout, split, names, tuple(p for p, _ in pairs), tasks, load)
