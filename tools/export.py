"""``roadstack export``: a checkpoint to ONNX files that give the same answers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.datasets import Dataset, open_dataset, screen
from data.datasets.base import subset
from data.errors import InputError
from data.logs import open_log
from data.synthetic.drive import random_sample
from data.types import U8, Sample
from perception.preprocess import letterbox
from tools.files import make_folder
from tools.trtexec import GPU_PRECISIONS, build_engine, float_layers, trtexec_lines

if TYPE_CHECKING:
    from perception.export import Exported, GateData

_RENDERED, _RENDERED_PX = 50, (960, 540)
_MAX_PICTURES = 64  # to hold the fp32 file against the training code on


@dataclass(frozen=True)
class RenderedSet:
    """Rendered frames with exact labels, for export without data at hand."""

    count: int = _RENDERED
    tasks: tuple[str, ...] = ("detection", "drivable", "lane")
    strict: bool = False

    def __len__(self) -> int:
        return self.count

    @cached_property
    def _samples(self) -> list[Sample]:
        return [random_sample(seed, *_RENDERED_PX) for seed in range(self.count)]

    def load(self, i: int) -> Sample:
        return self._samples[i]


def _spread(dataset: Dataset, most: int) -> list[U8]:
    """Up to ``most`` pictures of a set, evenly spread over it."""
    count = min(most, len(dataset))
    every = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    few = subset(dataset, every.tolist())
    return [few.load(i).image for i in range(len(few))]


def _labelled(folder: Path, split: str) -> Dataset:
    dataset, _ = screen(open_dataset(folder, split, None))
    if not dataset.tasks:
        raise InputError(f"--evaluate {folder}: split '{split}' has no labels to score against")
    return dataset


def training_pictures(folder: Path, option: str, most: int) -> list[U8]:
    """Up to ``most`` pictures of a labelled set's training split, else of a folder or a video."""
    if not folder.exists():
        raise InputError(f"{option} {folder}: no such folder; give a labelled set or pictures")
    try:
        dataset, _ = screen(open_dataset(folder, "train", None))
    except InputError:
        return [f.image for f in open_log(folder, max_frames=most)]
    return _spread(dataset, most)


def _gate_data(a: argparse.Namespace) -> GateData:
    """What the options name; rendered frames where they name nothing."""
    from perception.export import CALIBRATION, GateData

    rendered = RenderedSet()
    labelled: Any = _labelled(a.evaluate, a.split) if a.evaluate else rendered
    if a.check:
        pictures = training_pictures(a.check, "--check", _MAX_PICTURES)
    elif a.evaluate:
        pictures = _spread(labelled, _MAX_PICTURES)
    else:
        pictures = [rendered.load(i).image for i in range(len(rendered))]
    source: Sequence[U8] = (
        training_pictures(a.calibrate, "--calibrate", CALIBRATION) if a.calibrate else ()
    )
    if not a.calibrate:  # frames of seeds that are not judged by
        seeds = range(1000, 1024) if any(p.startswith("int8") for p in a.precision) else ()
        source = [random_sample(seed, *_RENDERED_PX).image for seed in seeds]
    return GateData(pictures, labelled, [letterbox(p, a.size)[0] for p in source])


def print_table(files: Sequence[Exported]) -> None:
    """What the gate found of each file, every figure beside what is allowed."""
    from perception.gate import BOX_PX, MASK_SHARE, SCORE, Accuracy

    for e in files:
        g = e.gate
        verdict = "passed" if g.passed else "FAILED"
        print(f"\n{e.file}  {len(e.content) / 1e6:.1f} MB  {verdict} on {g.images} pictures")
        if not isinstance(g, Accuracy):
            print(f"  {'against the training code':28} {'largest':>10} {'allowed':>10}")
            print(f"  {'boxes, px':28} {g.box_px:10.4f} {BOX_PX:10.4f}")
            print(f"  {'scores':28} {g.score:10.2g} {SCORE:10.2g}")
            print(f"  {'equal mask pixels, least':28} {g.mask_share:10.5f} {MASK_SHARE:10.5f}")
            continue
        print(f"  {'against the fp32 file':28} {'fp32':>8} {e.precision:>8} {'change':>8}  allowed")
        for name, value in g.file.items():
            before = g.fp32[name]
            print(f"  {name:28} {before:8.4f} {value:8.4f} {value - before:+8.4f}  {g.limit}")
        if max((v for k, v in g.fp32.items() if k.startswith("AP50")), default=1.0) < 0.05:
            print("  the network finds next to nothing here, so that this says little of its boxes")
        if e.precision.startswith("int8") or e.left_float:
            kept = ", ".join(n.strip("/").removesuffix("/Conv") for n in e.left_float) or "none"
            print(f"  convolutions left in fp32, besides the heads' last: {kept}")


def _after(a: argparse.Namespace, files: Sequence[Exported], out: Path) -> None:
    """The way to an engine for each GPU file that was written."""
    for e in files:
        if not e.written or e.precision not in GPU_PRECISIONS:
            continue
        layers = float_layers(e.content)
        if e.precision == "fp16":
            layers = [*layers, *e.left_float]
        lines = trtexec_lines(Path(e.file), e.precision, layers, a.size, a.dynamic_batch)
        print(f"\n{e.file} to a TensorRT engine, on the device itself:")
        for jetpack, line in lines.items():
            print(f"  # {jetpack}\n  {line}")
        if a.engine:
            made = build_engine(out / e.file)
            print(f"built {made['engine']} in {made['build_s']:.0f} s "
                  f"with TensorRT {made['tensorrt']}")  # fmt: skip


def run_export(a: argparse.Namespace) -> int:
    """Write a file a precision and ``export.json``; exit code 1 when one fails the gate."""
    from perception.export import ExportOptions, export_files
    from perception.training.checkpoints import load_weights
    from perception.training.report import revision

    net, meta = load_weights(a.checkpoint)
    name = a.name or a.checkpoint.stem
    if Path(name).name != name:
        raise InputError(f"--name '{name}': give a plain name without folders")
    options = ExportOptions(
        name, a.size, tuple(a.precision), a.dynamic_batch, a.force, a.terms or "", revision() or "",
        tuple(a.scales),
    )  # fmt: skip
    options.check()
    if options.scales != (1.0,) and meta["arch"] != "semantic":
        raise InputError(f"--scales: is for networks of pixel classes, not for '{meta['arch']}'")
    data = _gate_data(a)
    out = make_folder(a.out)
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    files = export_files(net, meta, out, options, data, say)
    print_table(files)
    print()
    for e in files:
        if e.written:
            print(f"written: {out / e.file}")
        else:
            asked = e.precision in options.precisions
            why = "--force writes it all the same" if asked else "it was not asked for"
            print(f"not written: {e.file} ({why})", file=sys.stderr)
    try:
        _after(a, files, out)
    except InputError as e:  # no engine; the files themselves are there
        print(e, file=sys.stderr)
        return 1
    return 0 if all(e.gate.passed and e.written for e in files) else 1
