"""IDD-Lite (Varma et al. 2019): Indian roads; drivable surface from its level-1 classes."""

from __future__ import annotations

from pathlib import Path

from data.datasets.base import Dataset
from data.datasets.files import folders, visible
from data.datasets.surface_only import surface_dataset
from data.errors import InputError
from data.taxonomy import IDD_LITE_DRIVABLE, IDD_LITE_NAMES

LOOKS = "leftImg8bit/SPLIT/DRIVE/*_image.* with gtFine/SPLIT"


def recognises(root: Path) -> bool:
    if not (root / "gtFine").is_dir():
        return False
    return any(
        visible((root / "leftImg8bit").glob("*/*/*_image.*"))
    )  # Cityscapes has the same folders


def splits(root: Path) -> tuple[str, ...]:
    return folders(root / "leftImg8bit")


def open_split(root: Path, split: str) -> Dataset:
    """Read ``leftImg8bit/SPLIT/DRIVE/*_image.jpg`` with ``gtFine/SPLIT/DRIVE/*_label.png``.

    Images are named ``DRIVE/FILE``, their path below ``leftImg8bit/SPLIT``.
    """
    images = sorted(visible((root / "leftImg8bit" / split).glob("*/*_image.*")))
    if not images:
        raise InputError(f"{root}: no images leftImg8bit/{split}/DRIVE/*_image.jpg found")
    labels = root / "gtFine" / split
    pairs = [
        (p, labels / p.parent.name / f"{p.name.rsplit('_image', 1)[0]}_label.png") for p in images
    ]
    names = tuple(f"{p.parent.name}/{p.name}" for p in images)  # file names repeat over drives
    return surface_dataset("idd", root, split, pairs, names, IDD_LITE_DRIVABLE, IDD_LITE_NAMES, 255)
