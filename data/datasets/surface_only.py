"""What IDD and CamVid share: an image, a mask of semantic classes, and no boxes or lanes."""

from __future__ import annotations

from pathlib import Path

from data.datasets.base import Dataset
from data.types import UNKNOWN


def surface_dataset(
    layout: str,
    root: Path,
    split: str,
    pairs: list[tuple[Path, Path]],
    names: tuple[str, ...],
    table: dict[int, int],
    classes: tuple[str, ...],
    unlabelled: int,
) -> Dataset:
    """Build a set that labels the drivable area and every pixel's class, from (image, mask) paths.

    Args:
        table: value in the mask -> drivable or not; where the mask is missing all is unknown.
        classes: name of each value from 0; unlabelled: the value of no class.
    """
    masks = tuple(m if m.is_file() else None for _, m in pairs)
    tasks = ("drivable", "segmentation") if any(masks) else ()
    values = {v: v for v in range(len(classes))} | {unlabelled: UNKNOWN}
    images = tuple(p for p, _ in pairs)
    return Dataset(
        layout, root, split, names, images, tasks,
        masks={"drivable": masks, "segmentation": masks},
        mask_values={"drivable": table, "segmentation": values}, segmentation_names=classes,
    )  # fmt: skip
