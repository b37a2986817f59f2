"""The choice of a reader by a folder's layout.

Every reader is a module with ``recognises(root)``, ``splits(root)`` and ``open_split(root,
split)``; ``LOOKS`` says in words what gives its layout away, and ``WHOLE``, where it is there,
names a split that joins the others.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from data.datasets import bdd100k, camvid, coco, idd, kitti, kitti_tracking, voc, yolo
from data.datasets.base import Dataset, with_names
from data.datasets.files import choose_split, folders
from data.errors import InputError

_LOOKED_INTO = 20  # folders, for a hint

# first match wins
READERS: dict[str, ModuleType] = {
    "bdd100k": bdd100k,
    "idd": idd,
    "camvid": camvid,
    "kitti_tracking": kitti_tracking,
    "kitti": kitti,
    "voc": voc,
    "coco": coco,
    "yolo": yolo,
}


def recognise(root: Path, layout: str | None = None) -> str:
    """Name of the layout of ``root``; a given ``layout`` is only checked to be known.

    Raises:
        InputError: no such folder or layout, or none that is recognised.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected the folder of a labelled set")
    if layout is not None:
        if layout not in READERS:
            raise InputError(f"format '{layout}' is unknown; expected one of {', '.join(READERS)}")
        return layout
    for name, reader in READERS.items():
        if reader.recognises(root):
            return name
    looks = "; ".join(f"{n}: {r.LOOKS}" for n, r in READERS.items())
    raise InputError(
        f"{root}: layout not recognised{_inner(root)}; looked for {looks}; --format names one"
    )


def _inner(root: Path) -> str:
    """A hint at a folder below that is a set, as archives often hold one; '' without."""
    for path in (root / name for name in folders(root)[:_LOOKED_INTO]):
        with suppress(OSError):  # one that may not be looked into is none
            if any(reader.recognises(path) for reader in READERS.values()):
                return f", but its folder {path.name} is a set: give {path}"
    return ""


def list_splits(root: Path, layout: str | None = None) -> tuple[str, ...]:
    """Splits of a set in the order of its folders or lists; ('all',) where it has but one, which
    answers to any name."""
    return tuple(READERS[recognise(root, layout)].splits(Path(root)))


def open_dataset(
    root: Path,
    split: str,
    layout: str | None = None,
    *,
    strict: bool = False,
    names: tuple[str, ...] = (),
) -> Dataset:
    """Open one split of a labelled set, recognising its layout by its folders.

    Args:
        root: folder of the set; split: as the set names it, any name where it has but one.
        layout: reader to use instead of the recognised one.
        strict: a malformed label is an InputError instead of an unknown area.
        names: class names mapped by hand, each ``name=ours`` or ``name=none``.

    Raises:
        InputError: no such folder, layout or split; the message names what was looked for.
    """
    root = Path(root)
    reader = READERS[recognise(root, layout)]
    known = tuple(reader.splits(root))
    if known == ("all",):  # a set with one unnamed split answers to any name
        dataset: Dataset = replace(reader.open_split(root, "all"), split=split)
    else:
        joined = bool(known) and split == getattr(reader, "WHOLE", None)
        dataset = reader.open_split(root, split if joined else choose_split(root, split, known))
    if not len(dataset):
        raise InputError(f"{root}: split '{split}' has no images")
    if strict and dataset.problems:
        raise InputError(str(dataset.problems[0]))
    return with_names(replace(dataset, strict=strict), names)
