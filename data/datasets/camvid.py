"""CamVid (Brostow et al. 2009) in the 11-class form of SegNet; road as drivable surface."""

from __future__ import annotations

from pathlib import Path

from data.datasets.base import Dataset
from data.datasets.files import folders, list_files
from data.datasets.surface_only import surface_dataset
from data.taxonomy import CAMVID_DRIVABLE, CAMVID_NAMES

LOOKS = "SPLIT with SPLITannot"


def recognises(root: Path) -> bool:
    return bool(splits(root))


def splits(root: Path) -> tuple[str, ...]:
    return tuple(s for s in folders(root) if (root / f"{s}annot").is_dir())


def open_split(root: Path, split: str) -> Dataset:
    """Read ``SPLIT/*.jpg|png`` with ``SPLITannot/*.png``."""
    images = list_files(root / split)
    pairs = [(p, root / f"{split}annot" / f"{p.stem}.png") for p in images]
    names = tuple(p.name for p in images)
    return surface_dataset("camvid", root, split, pairs, names, CAMVID_DRIVABLE, CAMVID_NAMES, 11)
