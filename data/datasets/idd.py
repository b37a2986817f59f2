"""IDD-Lite (Varma et al. 2019): Indian roads; drivable surface from its level-1 classes."""

from __future__ import annotations

from pathlib import Path

from data.datasets.base import Dataset
from data.datasets.surface_only import surface_dataset
from data.errors import InputError
from data.taxonomy import IDD_LITE_DRIVABLE


def open_split(root: Path, split: str) -> Dataset:
    """Read ``leftImg8bit/SPLIT/DRIVE/*_image.jpg`` with ``gtFine/SPLIT/DRIVE/*_label.png``.

    Images are named ``DRIVE/FILE``, their path below ``leftImg8bit/SPLIT``.
    """
    images = sorted((root / "leftImg8bit" / split).glob("*/*_image.*"))
    if not images:
        raise InputError(f"{root}: no images leftImg8bit/{split}/DRIVE/*_image.jpg found")
    pairs: list[tuple[Path, Path | None]] = []
    for image in images:
        stem = image.name.rsplit("_image", 1)[0]
        mask = root / "gtFine" / split / image.parent.name / f"{stem}_label.png"
        pairs.append((image, mask if mask.is_file() else None))
    names = tuple(f"{p.parent.name}/{p.name}" for p in images)  # file names repeat over drives
    return surface_dataset("idd", split, pairs, names, IDD_LITE_DRIVABLE)
