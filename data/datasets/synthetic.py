"""Rendered frames with exact labels as a data set."""

from __future__ import annotations

from pathlib import Path

from data.datasets.base import Dataset
from data.synthetic.drive import random_sample
from data.taxonomy import TASKS

_SIZE = (960, 540)


def open_split(count: int, first_seed: int = 1_000_000) -> Dataset:
    """``count`` independent views, rendered when loaded; seeds start at ``first_seed``."""
    names = tuple(f"synthetic_{first_seed + i}" for i in range(count))
    return Dataset(
        "synthetic",
        "train",
        names,
        tuple(Path(n) for n in names),
        TASKS,
        lambda i: random_sample(first_seed + i, *_SIZE),
    )
