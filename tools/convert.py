"""``roadstack convert``: boxes of a labelled set in another format."""

from __future__ import annotations

import argparse
from pathlib import Path

from data.convert import Converted, convert
from data.datasets import check_names, list_splits, open_dataset, recognise
from data.errors import InputError
from data.label_writers import OF_BOXES, PARTS, yolo_keys
from tools.files import make_folder, staging
from tools.progress import progress_bar, report_skipped


def _check_out(source: Path, out: Path) -> None:
    """Nothing is written into the set itself, or among files that are there."""
    if out.resolve().is_relative_to(source.resolve()):
        raise InputError(f"--out {out}: lies in the set that is read; give a folder outside it")
    try:
        entries = list(out.iterdir()) if out.is_dir() else []
    except OSError as e:
        raise InputError(f"--out {out}: cannot be read ({e.strerror})") from e
    if any(not (p.name.startswith(".") and p.name.endswith(".part")) for p in entries):
        raise InputError(f"--out {out}: is not empty; give a new folder")


def _wanted_splits(source: Path, layout: str, given: list[str]) -> list[str]:
    known = list_splits(source, layout)
    if given:
        return list(dict.fromkeys(given))
    whole = {"train", "val"} <= set(known)  # Pascal VOC lists both again as 'trainval'
    return [s for s in known if s != "trainval" or not whole]


def _print_summary(a: argparse.Namespace, layout: str, result: Converted) -> None:
    report_skipped([str(p) for p in result.left_out], str(a.source))
    splits = ", ".join(f"{split} {count}" for split, count in result.images.items())
    print(f"{layout} -> {a.to}: {sum(result.images.values())} images ({splits}), ", end="")
    print(f"{result.boxes} boxes of {len(result.classes)} classes in {a.out}")
    of_boxes = {k.removeprefix(OF_BOXES): n for k, n in result.lost.items() if OF_BOXES in k}
    if of_boxes:
        listed = ", ".join(f"{key} ({count})" for key, count in sorted(of_boxes.items()))
        print(f"{a.to} cannot hold attributes of boxes: {listed}")
    for text, count in sorted(result.lost.items()):
        if OF_BOXES not in text:
            print(f"{a.to} cannot hold {text}: {count}")
    keys = yolo_keys(tuple(result.images)).values()
    missing = [k for k in ("train", "val") if k not in keys] if a.to == "yolo" else []
    if missing:
        what = " and no ".join(missing)
        print(f"data.yaml has no {what}, which Ultralytics needs: name it there")


def run_convert(a: argparse.Namespace) -> int:
    """Convert ``a.source`` to format ``a.to`` in the new folder ``a.out``.

    Everything is written to a hidden folder there and moved when it is whole; the file by which
    the set is recognised comes last.
    """
    if a.names and a.classes == "own":
        raise InputError(f"--class {a.names[0]} has no use without --classes ours")
    layout = recognise(a.source, a.layout)
    _check_out(a.source, a.out)
    datasets = [
        open_dataset(a.source, split, layout, strict=a.strict, names=tuple(a.names))
        for split in _wanted_splits(a.source, layout, a.split)
    ]
    for d in datasets:
        check_names(d, tuple(a.names))
    labelled = [d for d in datasets if "detection" in d.tasks]
    if not a.split and labelled:  # a split without labels (a public test set) has nothing to give
        for d in datasets:
            if d not in labelled:
                what = "box labels" if any(p.is_file() for p in d.images) else "pictures"
                print(f"split {d.split} has no {what}; left out")
        datasets = labelled
    if not datasets:
        raise InputError(f"{a.source}: has no splits")
    surfaces = sorted({t for d in datasets for t in d.tasks if t != "detection"})
    existed = a.out.exists()
    try:
        result = _convert(a, datasets)
    except BaseException:
        if not existed and a.out.is_dir() and not any(a.out.iterdir()):
            a.out.rmdir()
        raise
    _print_summary(a, layout, result)
    if surfaces:
        print(f"masks of {' and '.join(surfaces)} are not converted")
    return 0


def _convert(a: argparse.Namespace, datasets: list) -> Converted:
    out = make_folder(a.out)
    total = sum(len(d) for d in datasets)
    with staging(out, PARTS[a.to]) as folder, progress_bar("converting", total, "image") as bar:
        return convert(
            datasets, folder, a.to, images=a.images, classes=a.classes, report=lambda n: bar(n)
        )
