"""The choice of a reader by a folder's layout.

Every reader is a module with ``recognises(root)``, ``splits(root)`` and ``open_split(root,
split)``; ``LOOKS`` says in words what gives its layout away, and ``WHOLE``, where it is there,
names a split that joins the others.
"""

from __future__ import annotations

import difflib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from data.datasets import bdd100k, camvid, coco, idd, kitti, kitti_tracking, voc, yolo
from data.datasets.base import Dataset, with_names
from data.datasets.files import choose_split, folders
from data.errors import InputError

_LOOKED_INTO = 20  # folders, for a hint
_LISTED = 20  # class names in a message

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
    if root.is_file():
        raise InputError(f"{root}: is a file; give the folder of the set, {root.absolute().parent}")
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
        why = f"; first: {dataset.problems[0]}" if dataset.problems else ""
        raise InputError(f"{root}: split '{split}' has no images{why}")
    if strict and dataset.problems:
        raise InputError(str(dataset.problems[0]))
    return with_names(replace(dataset, strict=strict), names)


def check_names(dataset: Dataset, pairs: tuple[str, ...]) -> None:
    """Whether the names mapped by hand, each pair ``name=ours``, are classes of the set.

    Args:
        dataset: one split of it; where this does not have a name, the others are looked through.

    Raises:
        InputError: one is no class of the set; names the nearest.
    """
    known = set(dataset.class_names)
    wanted = [name for pair in pairs if (name := pair.rpartition("=")[0].strip()) not in known]
    if not wanted:
        return
    reader = READERS[dataset.layout]
    for split in reader.splits(dataset.root):
        with suppress(InputError):  # said when that split is opened
            known |= set(reader.open_split(dataset.root, split).class_names)
    for name in wanted:
        if name in known or (not known and name.isdigit()):  # numbers stand for missing names
            continue
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        have = ", ".join(sorted(known)[:_LISTED]) or "none named, so their numbers alone"
        raise InputError(f"class '{name}' is none of {dataset.root}; {hint}there is: {have}")
