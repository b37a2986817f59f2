"""What IDD and CamVid share: an image, a mask of semantic classes, and no boxes or lanes."""

from __future__ import annotations

from pathlib import Path

from data.datasets.base import Dataset


def surface_dataset(
    layout: str,
    root: Path,
    split: str,
    pairs: list[tuple[Path, Path]],
    names: tuple[str, ...],
    table: dict[int, int],
) -> Dataset:
    """Build a set that labels drivable area alone, from (image, mask) paths and a value table;
    where the mask is missing the area is unknown."""
    masks = tuple(m if m.is_file() else None for _, m in pairs)
    tasks = ("drivable",) if any(masks) else ()
    images = tuple(p for p, _ in pairs)
    return Dataset(
        layout, root, split, names, images, tasks,
        masks={"drivable": masks}, mask_values={"drivable": table},
    )  # fmt: skip
