"""CamVid (Brostow et al. 2009) in the 11-class form of SegNet; road as drivable surface."""

from __future__ import annotations

from pathlib import Path

from data.datasets.base import Dataset, list_files
from data.datasets.surface_only import surface_dataset
from data.taxonomy import CAMVID_DRIVABLE


def open_split(root: Path, split: str) -> Dataset:
    """Read ``SPLIT/*.jpg|png`` with ``SPLITannot/*.png``."""
    images = list_files(root / split, (".jpg", ".png"))
    pairs: list[tuple[Path, Path | None]] = []
    for image in images:
        mask = root / f"{split}annot" / f"{image.stem}.png"
        pairs.append((image, mask if mask.is_file() else None))
    names = tuple(p.name for p in images)
    return surface_dataset("camvid", split, pairs, names, CAMVID_DRIVABLE)
