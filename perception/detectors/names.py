"""A detector's own classes and what they are of ours."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.taxonomy import CLASS_ID, CLASSES, common_classes, nearest_name
from data.types import I64
from data.yaml_text import load_yaml

_LONGEST = 200_000  # characters of a list of names, and bytes of a file with one
COCO: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Names:
    """A detector's classes.

    Attributes:
        own: their names, in order.
        to_ours: (n,) int64, into ``taxonomy.CLASSES``; -1 for what is none of ours.
        finds: our classes that it finds whole; 'stop sign' is not all of ``traffic_sign``.
        unknown: names of which nobody has said what they are; their boxes are left out.
    """

    own: tuple[str, ...]
    to_ours: I64
    finds: tuple[str, ...]
    unknown: tuple[str, ...]


def _in_order(table: object, where: str) -> tuple[str, ...]:
    """Names of a list, or of a table by number from 0 on."""
    if isinstance(table, Mapping):
        if sorted(map(str, table)) != sorted(map(str, range(len(table)))):
            raise InputError(f"{where}: names must go by numbers from 0 on, as {{0: 'car'}}")
        table = [v for _, v in sorted(table.items(), key=lambda kv: int(kv[0]))]
    if not isinstance(table, list | tuple) or not all(isinstance(v, str) for v in table):
        raise InputError(f"{where}: expected a list of class names")
    return tuple(" ".join(v.split()) for v in table)


def names_in_metadata(meta: Mapping[str, str], where: str) -> tuple[str, ...] | None:
    """Class names that Ultralytics' exports carry as the text of a dictionary; None without."""
    text = meta.get("names")
    if text is None:
        return None
    try:
        table = ast.literal_eval(text[:_LONGEST])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise InputError(
            f"{where}: its metadata 'names' cannot be read; give --detector-names FILE"
        ) from None
    return _in_order(table, f"{where}: metadata")


def read_names(path: Path) -> tuple[str, ...]:
    """Class names of a file: a line each, or YAML with ``names`` where it ends so.

    Raises:
        InputError: it cannot be read or holds none.
    """
    where = f"--detector-names {path}"
    try:
        content = path.read_bytes()[:_LONGEST]
        text = content.decode("utf-8-sig")
    except OSError as e:
        raise InputError(f"{where}: cannot be read ({e.strerror})") from e
    except ValueError as e:
        raise InputError(f"{where}: expected text in UTF-8, a class name a line") from e
    if path.suffix.lower() in (".yaml", ".yml"):
        import yaml  # type: ignore[import-untyped]

        try:
            table = load_yaml(text)
        except (yaml.YAMLError, ValueError, RecursionError) as e:
            raise InputError(f"{where}: not valid YAML") from e
        if not isinstance(table, dict) or "names" not in table:
            raise InputError(f"{where}: expected 'names:' with the class names")
        names = _in_order(table["names"], where)
    else:
        names = tuple(" ".join(line.split()) for line in text.splitlines() if line.strip())
    if not names:
        raise InputError(f"{where}: empty; expected a class name a line")
    return names


def to_ours(given: tuple[str, ...], where: str) -> Names:
    """What the names are of ours by ``taxonomy.common_classes``; ``NAME=OURS`` or ``NAME=none``
    says it by hand.

    Raises:
        InputError: a pair whose class is not one of ours, or no name that is.
    """
    own = tuple(n.rpartition("=")[0].strip() or n for n in given)
    by_hand = {}
    for name, pair in zip(own, given, strict=True):
        ours = pair.rpartition("=")[2].strip() if "=" in pair else None
        if ours is not None and ours not in (*CLASSES, "none"):
            expected = ", ".join((*CLASSES, "none"))
            raise InputError(f"{where}: class '{pair}': expected NAME=CLASS with one of {expected}")
        if ours is not None:
            by_hand[name] = None if ours == "none" else ours
    table, whole = common_classes([n for n in own if n not in by_hand])
    table |= by_hand
    finds = tuple(c for c in CLASSES if c in whole or c in by_hand.values())
    unknown = tuple(n for n in own if n not in table)
    ids = np.array([CLASS_ID.get(table.get(n) or "", -1) for n in own], np.int64)
    if (ids < 0).all():
        near = nearest_name(unknown[0], ()) if unknown else None
        hint = f" (is '{unknown[0]}' a '{near}'?)" if near else ""
        raise InputError(
            f"{where}: none of its {len(own)} classes is one of ours{hint}; say which are by lines "
            "NAME=OURS in --detector-names FILE"
        )
    return Names(own, ids, finds, unknown)
