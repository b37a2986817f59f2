"""``roadstack doctor``: is a labelled set fit to train on, and what should be done to it?"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.checks import (
    KINDS,
    SEVERITIES,
    SPOILS,
    Finding,
    Pair,
    SplitReport,
    check_leaks,
    check_split,
    find_pairs,
    finding,
    is_training,
    report_split,
    verdict,
)
from data.datasets import (
    Dataset,
    check_names,
    list_splits,
    open_dataset,
    recognise,
    with_names,
)
from data.datasets.base import SURFACES, subset
from data.datasets.files import choose_split
from data.errors import InputError
from data.image_checks import NETWORK_SIZE_PX, Entry, check_image
from tools.files import make_folder, staging, write_json, write_png
from tools.progress import progress_bar

_COLOURS = {"spoils": "bold red", "warn": "yellow", "note": "cyan"}
_OURS = re.compile(r"(sheet_[\w.-]+|leaks|augmented)\.png")  # what a run writes beside doctor.json
_SHOWN = {"spoils": 4, "warn": 2, "note": 1}  # examples on the terminal
_PAIRS_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Examined:
    """A split and what was found about each of its images."""

    dataset: Dataset
    entries: tuple[Entry, ...]


def run_doctor(a: argparse.Namespace) -> int:
    """Examine the set in ``a.path``; 1 when something would spoil training, else 0.

    Writes ``doctor.json``, ``sheet_SPLIT.png``, ``leaks.png`` where splits share pictures, and
    ``augmented.png`` with ``a.augment``, to ``a.out``.
    """
    if a.sheet < 0:
        raise InputError(f"--sheet {a.sheet}: expected the number of frames to draw, 0 for none")
    if a.augment and importlib.util.find_spec("albumentations") is None:
        raise ModuleNotFoundError("albumentations", name="albumentations")
    layout = recognise(a.path, a.layout)
    splits = _chosen_splits(a.path, layout, a.split)
    out = make_folder(a.out)
    opened, findings = _open_splits(a, layout, splits)
    start = time.monotonic()
    examined = {s: Examined(d, _examine(d, a.fast, a.strict)) for s, d in opened.items()}
    reports = {s: report_split(e.dataset, e.entries) for s, e in examined.items()}
    for split, one in examined.items():
        findings += check_split(one.dataset, one.entries, reports[split])
    entries = {s: e.entries for s, e in examined.items()}
    pairs = find_pairs(entries)
    findings += check_leaks(pairs, entries, {s: d.names for s, d in opened.items()})
    if not examined and not findings:
        findings.append(finding("no_images", "", 0, [str(a.path)]))
    seconds = time.monotonic() - start
    findings.sort(key=lambda f: SEVERITIES.index(f.severity))
    files = _write(a, out, layout, examined, pairs, reports, findings)
    print_result(a.path, layout, reports, findings)
    images = sum(r.images for r in reports.values())
    print(f"\n{images} images in {seconds:.1f} s ({images / max(seconds, 1e-3):.0f} images/s)")
    if a.fast:
        print("--fast: headers and boxes alone; no decoding, no mask values, no duplicates")
    print(f"written to {out}: {', '.join(files)}")
    fit, text = verdict(findings)
    print(f"verdict: {text}")
    return 0 if fit else 1


def _chosen_splits(root: Path, layout: str, wanted: Sequence[str] | None) -> tuple[str, ...]:
    known = list_splits(root, layout)
    if not wanted or known == ("all",):
        order = ("train", "val", "test")
        return tuple(sorted(known, key=lambda s: order.index(s) if s in order else 9))
    return tuple(dict.fromkeys(choose_split(root, s, known) for s in wanted))


def _open_splits(
    a: argparse.Namespace, layout: str, splits: Sequence[str]
) -> tuple[dict[str, Dataset], list[Finding]]:
    """Open every split; one that cannot be opened is a finding, or ends a strict run."""
    opened: dict[str, Dataset] = {}
    findings = []
    for split in splits:
        try:
            dataset = open_dataset(a.path, split, layout)
        except InputError as e:
            if a.strict:
                raise
            findings.append(finding("split_unreadable", split, 1, [str(e)]))
            continue
        if a.strict and dataset.problems:
            raise InputError(str(dataset.problems[0]))
        opened[split] = with_names(dataset, tuple(a.names))
        check_names(dataset, tuple(a.names))
    return opened, findings


def _examine(dataset: Dataset, fast: bool, strict: bool) -> tuple[Entry, ...]:
    """Look at all images of a split on all processors.

    Raises:
        InputError: ``strict``, and something that spoils training was met.
    """
    entries: list[Entry] = []
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        with progress_bar(f"examining {dataset.split}", len(dataset), "image") as bar:
            for e in pool.map(lambda i: check_image(dataset, i, fast), range(len(dataset))):
                bad = [p for p in e.problems if KINDS.get(p.kind, ("",))[0] == SPOILS]
                if strict and bad:
                    raise InputError(str(bad[0]))
                entries.append(e)
                bar(len(entries))
    finally:
        pool.shutdown(cancel_futures=True)
    return tuple(entries)


def _write(
    a: argparse.Namespace,
    out: Path,
    layout: str,
    examined: Mapping[str, Examined],
    pairs: Sequence[Pair],
    reports: Mapping[str, SplitReport],
    findings: Sequence[Finding],
) -> list[str]:
    """Write all files; returns their names. Sheets of an earlier run are removed."""
    fit, text = verdict(findings)
    leaks = [p for p in pairs if p.first[0] != p.second[0]]
    shown = {s: e for s, e in examined.items() if any(x.size_px for x in e.entries) and a.sheet}
    sheets = {s: f"sheet_{re.sub(r'[^A-Za-z0-9_.-]+', '_', s)}.png" for s in shown}
    drawn = [*sheets.values(), *(["leaks.png"] if leaks and a.sheet else [])]
    drawn += ["augmented.png"] if a.augment and _to_augment(examined) else []
    files = [*drawn, "doctor.json"]
    earlier = _earlier_files(out)
    with staging(out, files) as folder:
        for s, name in sheets.items():
            _draw_split(folder / name, layout, examined[s], a.sheet)
        if "leaks.png" in drawn:
            _draw_leaks(folder / "leaks.png", layout, examined, leaks)
        if "augmented.png" in drawn:
            _draw_augmented(folder / "augmented.png", layout, examined, a.sheet or 24)
        result: dict[str, Any] = {
            "layout": layout,
            "root": str(a.path),
            "fast": bool(a.fast),
            "splits": {s: asdict(r) for s, r in reports.items()},
            "findings": [asdict(f) for f in findings],
            "verdict": {"fit": fit, "text": text},
            "files": files,
        }
        write_json(folder / "doctor.json", result)
    for name in earlier - set(files):
        (out / name).unlink(missing_ok=True)
    return files


def _earlier_files(out: Path) -> set[str]:
    """Pictures that an earlier run says it wrote to ``out``."""
    try:
        files = json.loads((out / "doctor.json").read_text(encoding="utf-8"))["files"]
        return {f for f in files if _OURS.fullmatch(f)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _draw_split(path: Path, layout: str, one: Examined, count: int) -> None:
    from tools.view.sheet import choose_frames, draw_sheet, picture_of_entry

    chosen = choose_frames(one.entries, count)
    pictures = [picture_of_entry(one.dataset, i, one.entries[i]) for i in chosen]
    title = f"{one.dataset.root.name} ({layout}), split {one.dataset.split}: {len(pictures)} of "
    sheet = draw_sheet(
        f"{title}{len(one.entries)} images", pictures, classes=one.dataset.segmentation_names
    )
    write_png(path, sheet)


def _draw_leaks(
    path: Path, layout: str, examined: Mapping[str, Examined], pairs: Sequence[Pair]
) -> None:
    """Pairs of like pictures of different splits, side by side, two pairs a row."""
    from tools.view.sheet import draw_sheet, picture_of_entry

    pictures = []
    for pair in pairs[:_PAIRS_SHOWN]:
        for split, i in (pair.first, pair.second):
            one = examined[split]
            name = f"{split}/{one.dataset.names[i]}"
            pictures.append(picture_of_entry(one.dataset, i, one.entries[i], name))
    title = f"{layout}: pictures alike in different splits, pair by pair: "
    write_png(path, draw_sheet(f"{title}{len(pairs)} found", pictures, columns=4))


def _to_augment(examined: Mapping[str, Examined]) -> Examined | None:
    """The split whose augmented frames are of use to see, with the images that can be read."""
    order = sorted(examined, key=lambda s: not is_training(s))
    for one in (examined[s] for s in order):
        good = [i for i, e in enumerate(one.entries) if e.size_px is not None]
        if good and one.dataset.tasks:
            return Examined(subset(one.dataset, good), tuple(one.entries[i] for i in good))
    return None


def _draw_augmented(path: Path, layout: str, examined: Mapping[str, Examined], count: int) -> None:
    from data.augment import AugmentConfig, augmented
    from tools.view.sheet import draw_sheet, picture_of_sample

    one = _to_augment(examined)
    if one is None:
        return
    samples = augmented(one.dataset, AugmentConfig(), NETWORK_SIZE_PX, 0, count)
    pictures = [picture_of_sample(s) for s in samples]
    title = f"{layout} {one.dataset.split}: {len(pictures)} frames as training sees them"
    names = one.dataset.segmentation_names
    write_png(path, draw_sheet(title, pictures, classes=names))


def print_result(
    root: Path, layout: str, reports: Mapping[str, SplitReport], findings: Sequence[Finding]
) -> None:
    """Figures by split and by class, then the findings, the worst first."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=110)
    console.print(Text(f"{root}: layout {layout}", style="bold"))
    console.print(_split_table(reports))
    if any(r.classes for r in reports.values()):
        console.print(_class_table(reports))
    for severity, kind in dict.fromkeys((f.severity, f.kind) for f in findings):
        same = [f for f in findings if (f.severity, f.kind) == (severity, kind)]
        where = ", ".join(f"{f.split} {f.count}" if f.split else f"{f.count}" for f in same)
        line = Text(f"{severity:6} ", style=_COLOURS[severity])
        line.append(kind, style="bold").append(f" ({where}): {same[0].advice}", style="default")
        console.print(line)
        examples = [e.replace(f"{root}/", "") for f in same for e in f.examples]
        by_subject = {e.split(" (")[0]: e for e in reversed(examples)}  # a class is told once
        for example in list(reversed(by_subject.values()))[: _SHOWN[severity]]:
            console.print(Text(f"       {example}", style="dim"))


def _split_table(reports: Mapping[str, SplitReport]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("split", "images", "unusable", "labelled", "boxes", "ignored"):
        table.add_column(name, justify="left" if name == "split" else "right")
    for name in (*SURFACES, "sizes"):
        table.add_column(name)
    for split, r in reports.items():
        boxes = sum(c["boxes"] for c in r.classes.values()) if "detection" in r.tasks else "-"
        sizes = list(r.sizes)
        more = f" and {len(sizes) - 1} more" if len(sizes) > 1 else ""
        cells = [split, r.images, r.unusable_images or "-", r.labelled_images, boxes]
        cells += [r.ignore_areas or "-", *(_mask_text(r, t) for t in SURFACES)]
        table.add_row(*(Text(str(c)) for c in (*cells, f"{sizes[0]}{more}" if sizes else "-")))
    return table


def _mask_text(report: SplitReport, task: str) -> str:
    row = report.masks.get(task)
    if row is None:
        return "-"
    if "shares" in row:
        return f"{row['present']} masks of {len(row['shares'])} classes"
    if row.get("share_yes") is None:
        return f"{row['present']} masks"
    return f"{row['present']} masks, {100 * row['share_yes']:.1f} % yes"


def _class_table(reports: Mapping[str, SplitReport]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("class of the set")
    table.add_column("ours")
    for split in reports:
        table.add_column(f"{split}", justify="right")
    rows: dict[str, str] = {}
    for r in reports.values():
        for name, c in r.classes.items():
            rows[name] = (c["ours"] or "-") if c["known"] else "unknown"
    for name, ours in rows.items():
        counts = (r.classes.get(name, {}).get("boxes", 0) for r in reports.values())
        style = _COLOURS[SPOILS] if ours == "unknown" else ""
        table.add_row(Text(name), Text(ours, style=style), *(str(n) for n in counts))
    return table
