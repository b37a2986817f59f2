"""``roadstack label`` with a network that gives each pixel a class: CamVid's layout.

``SPLIT/NAME.jpg`` are the pictures, ``SPLITannot/NAME.png`` their classes, 11 where the views of a
picture do not agree. A mask is written behind its picture, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets.files import bare_name
from data.errors import InputError
from data.logs.selection import listed
from data.taxonomy import CAMVID_NAMES
from data.types import U8, UNKNOWN
from perception.segmenter import Segmenter
from perception.selftrain_pixels import AGREEMENT, VIEWS, label_pixels, votes
from tools.files import inside, make_folder, write_json, write_png
from tools.label import WEIGHT, Item, Source, check_settings, place_image
from tools.progress import progress_bar

FORM = "roadstack-pseudo-pixels-1"
_VOID = len(CAMVID_NAMES)


def _check(a: argparse.Namespace, model: Segmenter) -> None:
    if model.classes != CAMVID_NAMES:
        raise InputError(
            f"--model {a.model}: gives each pixel one of {', '.join(model.classes)}; labels are "
            f"written in CamVid's layout, of {', '.join(CAMVID_NAMES)}"
        )
    if a.fit is not None:
        raise InputError(f"--fit: has no use with {a.model}, which gives each pixel a class")


def _settings(a: argparse.Namespace, model: Segmenter, split: str) -> dict[str, Any]:
    return {
        "form": FORM,
        "source": str(a.source),
        "split": split,
        "model": model.name,
        "sha256": model.sha256,
        "views": [v.name for v in VIEWS],
        "agreement": AGREEMENT,
        "min_confidence": a.min_confidence,
    }


def _begin(out: Path, settings: dict[str, Any]) -> None:
    """Write ``label.json``, or see that a run in ``out`` that goes on has the same settings."""
    path, split = out / "label.json", settings["split"]
    if not path.is_file():
        if (out / split).exists() or (out / f"{split}annot").exists():
            raise InputError(f"--out {out}: holds other data; give a new folder")
        make_folder(out)
        write_json(path, settings)
        return
    try:
        check_settings(out, json.loads(path.read_text(encoding="utf-8")), settings)
    except (OSError, ValueError, AttributeError) as e:
        raise InputError(f"{path}: cannot be read ({e}); give a new --out") from e


def _check_names(a: argparse.Namespace, source: Source) -> None:
    """Before anything is written: no two pictures of a folder may share a name. A video's frames
    have names of their own."""
    taken: dict[str, str] = {}
    for item in source.items() if source.log is None else ():
        other = taken.setdefault(bare_name(_flat(item)), item.name)
        if other != item.name:
            raise InputError(f"{a.source}: {other} and {item.name} would share one mask")


def _flat(item: Item) -> str:
    """The layout has no folders below a split."""
    return item.name.replace("/", "_")


def _write(a: argparse.Namespace, split: str, item: Item, image: U8, classes: U8) -> None:
    name = _flat(item)
    place_image(item, image, inside(a.out, f"{split}/{name}"), a.images == "link")
    mask = np.where(classes == UNKNOWN, _VOID, classes).astype(np.uint8)
    write_png(inside(a.out, f"{split}annot/{bare_name(name)}.png"), mask)


def run_label_pixels(a: argparse.Namespace, model: Segmenter, source: Source) -> int:
    """Write pseudo-labels of a source's pixels to ``a.out``.

    Raises:
        InputError: an option is unfit, ``a.out`` holds other labels, two pictures would share a
            name, or in no frame enough pixels were agreed on.
    """
    _check(a, model)
    _check_names(a, source)
    _begin(a.out, _settings(a, model, source.split))
    kept = doubtful = 0
    known: list[float] = []
    with progress_bar("labelling", source.count, "frame") as bar:
        for done, item in enumerate(islice(source.items(), a.max_frames), 1):
            bar(done)
            stem = bare_name(_flat(item))
            if not inside(a.out, f"{source.split}annot/{stem}.png").is_file():
                image = item.image()
                found = label_pixels(votes(image, model, len(model.classes)))
                if found.confidence < a.min_confidence:
                    doubtful += 1
                    continue
                known.append(found.confidence)
                _write(a, source.split, item, image, found.classes)
            kept += 1
    for fault in listed(source.log.faults) if source.log else ():
        print(f"warning: {fault}", file=sys.stderr)
    if not kept:
        raise InputError(
            f"{a.source}: no frame to label: {doubtful} of too little confidence "
            f"(--min-confidence {a.min_confidence:g})"
        )
    share = f", {np.mean(known):.0%} of their pixels" if known else ""
    left = f"; {doubtful} frames of too little confidence left out" if doubtful else ""
    print(f"{kept} frames labelled{share}: {a.out}{left}")
    print(
        f"to train on them: [[data]] path = {json.dumps(str(a.out))}, "
        f'layout = "camvid", split = {json.dumps(source.split)}, weight = {WEIGHT}'
    )
    return 0
