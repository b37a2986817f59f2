"""``roadstack train``: train the network on labelled sets."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from data.config import load_config
from data.datasets import Dataset, only_tasks, open_dataset
from data.errors import InputError
from tools.files import make_folder, write_text
from tools.progress import progress_bar


def _open(sets: tuple) -> list[Dataset]:
    opened = [(s, open_dataset(s.path, s.split, s.layout)) for s in sets]
    return [only_tasks(d, s.tasks) if s.tasks else d for s, d in opened]


def run_train(config_path: Path | None, out: Path, overrides: tuple[str, ...]) -> Path:
    """Train as ``config_path`` and ``overrides`` say; an unfinished run in ``out`` goes on.

    Raises:
        InputError: bad configuration or data, or an ``out`` that holds another run.
    """
    from perception.training.config import TrainConfig
    from perception.training.loop import train

    config = load_config(TrainConfig, config_path, overrides)
    if not config.data:
        raise InputError("nothing to train on: the config needs at least one [[data]] with a path")
    sets, val = _open(config.data), _open(config.val)
    make_folder(out)
    resolved = json.dumps(dataclasses.asdict(config), default=str, indent=2) + "\n"
    kept = out / "config.json"
    if kept.exists() and kept.read_text() != resolved:
        raise InputError(f"{out} holds a run with another configuration; choose a new --out")
    write_text(kept, resolved)
    with progress_bar("training", config.optimizer.steps) as bar:
        last = time.monotonic()

        def report(step: int, terms: dict[str, float]) -> None:
            nonlocal last
            note = " ".join(f"{k} {v:.3f}" for k, v in terms.items())
            bar(step, note, force=time.monotonic() - last > 30)
            last = time.monotonic() if time.monotonic() - last > 30 else last

        return train(config, sets, val, out, report)
