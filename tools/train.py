"""``roadstack train``: train a network on labelled sets, alone or under ``torchrun``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any

from data.config import load_config
from data.datasets import Dataset, check_names, list_splits, only_tasks, open_dataset, screen
from data.errors import InputError
from tools.files import make_folder
from tools.memory import keep
from tools.progress import progress_bar, report_skipped

# of a fine-tuning on own labels
_BATCH, _TIMES = 8, 40  # pictures a step; how often each is shown
_LEAST_STEPS, _MOST_STEPS = 100, 400


def _leads() -> bool:
    """Whether this is the process that speaks, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _open_one(s: Any, strict: bool, learns: tuple[str, ...]) -> Dataset:
    """Open a set with the labels that the network learns, without the images that cannot be
    read, which are counted on standard error."""
    from perception.training.distill import VideoSet, unlabelled

    if s.layout == "images":
        if s.tasks or s.names or s.handed:
            raise InputError(f"{s.path}: layout 'images' has no labels; leave out tasks and names")
        whole = unlabelled(s.path)
    else:
        whole = open_dataset(s.path, s.split, s.layout, strict=strict, names=s.names)
        check_names(whole, s.names)
    dataset, unreadable = (whole, ()) if isinstance(whole, VideoSet) else screen(whole)
    if _leads():
        report_skipped([str(p) for p in unreadable], f"{s.path} {whole.split}")
    if s.tasks:
        return only_tasks(dataset, s.tasks)
    return only_tasks(dataset, tuple(t for t in dataset.tasks if t in learns))


def _reporter(stack: ExitStack, steps: int) -> Callable[[int, dict[str, float]], None]:
    """Shows progress; rate and time left are of what is done after the first step here."""
    bar: Callable[..., None] | None = None

    def report(step: int, terms: dict[str, float]) -> None:
        nonlocal bar
        bar = bar or stack.enter_context(progress_bar("training", steps, "step", step))
        bar(step, " ".join(f"{k} {v:.3f}" for k, v in terms.items()))

    return report


def run_train(config_path: Path | None, out: Path, overrides: tuple[str, ...]) -> Path:
    """Train as ``config_path`` and ``overrides`` say; an unfinished run in ``out`` goes on.

    Raises:
        InputError: bad configuration or data, or an ``out`` that holds another run.
    """
    from perception.models.architectures import ARCHITECTURES
    from perception.training.config import TrainConfig
    from perception.training.loop import train

    config = load_config(TrainConfig, config_path, overrides)
    if not config.data:
        raise InputError("nothing to train on: give --data FOLDER, or a CONFIG.toml with [[data]]")
    learns = ARCHITECTURES[config.arch]
    sets = [_open_one(s, config.strict, learns) for s in config.data]
    val = [_open_one(s, config.strict, learns) for s in config.val]
    for dataset in val:
        if not set(dataset.tasks) & set(learns) and _leads():
            print(f"warning: {dataset.root}: split '{dataset.split}' has no labels to choose the "
                  "best by; run roadstack doctor on it", file=sys.stderr)  # fmt: skip
    make_folder(out)
    keep()
    steps_here = 0
    with ExitStack() as stack:
        show = _reporter(stack, config.optimizer.steps)

        def report(step: int, terms: dict[str, float]) -> None:
            nonlocal steps_here
            steps_here += 1
            show(step, terms)

        best = train(config, sets, val, out, report)
    if not steps_here and _leads():
        print(f"{out}: was trained to the end before; for another run give a new --out",
              file=sys.stderr)  # fmt: skip
    return best


def own_splits(folder: Path, splits: tuple[str, ...]) -> tuple[str, str | None]:
    """The splits of a folder to train on and to choose the best by: the shortest names that begin
    with 'train' ('train' before 'trainval', 'train2017') and 'val', or the only one there is.

    Raises:
        InputError: there are several, and none to train on.
    """
    train, val = (
        sorted((s for s in splits if s.lower().startswith(k)), key=len) for k in ("train", "val")
    )
    if len(splits) > 1 and not train:
        raise InputError(
            f"{folder}: expected a split named 'train' among {', '.join(splits)}; rename the one "
            "to train on"
        )
    return (train or splits)[0], val[0] if train and val else None


def own_steps(pictures: int) -> int:
    """Steps of a fine-tuning: each picture 40 times, within bounds."""
    return min(max(_TIMES * pictures // _BATCH, _LEAST_STEPS), _MOST_STEPS)


def _arch(overrides: list[str]) -> str:
    """The network that settings name, or the usual one."""
    from perception.training.config import TrainConfig

    named = tuple(o for o in overrides if o.partition("=")[0].strip() == "arch")
    return load_config(TrainConfig, None, named).arch


def _released(arch: str) -> list[str]:
    """Settings that start from the released network, with the released ``base`` as its teacher;
    none for a network of other tasks, or where nothing is released."""
    weights = Path(str(resources.files("perception"))) / "weights"
    init, teacher = weights / f"{arch}.safetensors", weights / "base.safetensors"
    if arch not in ("base", "nano") or not (init.is_file() and teacher.is_file()):
        return []
    return [f"init={json.dumps(str(init))}", f"teacher={json.dumps(str(teacher))}"]


def _own_data(folder: Path, layout: str | None, names: tuple[str, ...], arch: str) -> list[str]:
    """Settings that fine-tune the released network on one folder of labels.

    What the labels do not teach is held by the released ``base`` as teacher, so that it is not
    forgotten (learning without forgetting, Li and Hoiem 2017). Few pictures are not shown too
    often, for the same reason.
    """
    train, val = own_splits(folder, list_splits(folder, layout))
    steps = own_steps(len(open_dataset(folder, train, layout)))

    def table(split: str) -> str:
        given = {"path": str(folder), "split": split, "layout": layout, "names": list(names)}
        pairs = (f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in given.items() if v)
        return "[{ " + ", ".join(pairs) + " }]"

    chosen = f"split '{val}' chooses the best" if val else "no val split, so the last step counts"
    if _leads():
        print(f"{folder}: training on split '{train}'; {chosen}", file=sys.stderr)
    settings = [f"data={table(train)}", *([f"val={table(val)}"] if val else [])]
    return [
        *settings,
        *_released(arch),
        "distill.labelled=0.0",
        "val_every=100",
        f"optimizer.steps={steps}",
        f"optimizer.batch={_BATCH}",
        "optimizer.rate=4e-4",
        "optimizer.warmup_steps=20",
    ]


def run_train_command(a: argparse.Namespace) -> int:
    """Train and say where the best checkpoint lies."""
    config, overrides = a.config, list(a.overrides)
    if config is not None and "=" in str(config) and not config.exists():
        config, overrides = None, [str(config), *overrides]
    if a.data is not None:
        if config is not None:
            raise InputError("train takes a CONFIG.toml or --data FOLDER, not both")
        overrides = _own_data(a.data, a.layout, tuple(a.names), _arch(overrides)) + overrides
    elif a.names or a.layout:
        given, key = ("--class", 'names = ["NAME=OURS"]') if a.names else ("--format", "layout")
        raise InputError(f"{given} goes with --data; else write {key} in a table [[data]]")
    overrides += ["strict=true"] if a.strict else []
    best = run_train(config, a.out, tuple(overrides))
    if _leads():
        skipped = a.out / "skipped.txt"
        lines = skipped.read_text(encoding="utf-8").splitlines() if skipped.is_file() else []
        report_skipped(lines, f"labels of the training, listed in {skipped}")
        print(f"best checkpoint: {best}")
    return 0
