"""What is wrong with a labelled set, found before a training run wastes its time on it.

``check_image`` looks at each image; ``check_split`` and ``check_leaks`` judge what came of all of
them. Every result is a ``Finding`` with advice; nothing is printed or written here.
"""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.datasets.base import Dataset
from data.duplicates import Alike, find_alike
from data.image_checks import Entry, calib_problems
from data.taxonomy import CLASSES, COMMON, nearest_name, plain_name

SPOILS, WARN, NOTE = "spoils", "warn", "note"
SEVERITIES = (SPOILS, WARN, NOTE)
FEW_BOXES = 20
EXAMPLES = 4
LABELS_ALONE = ("kitti_tracking",)  # of use without images: to tune and score a tracker
_RARE = 0.001  # a share of bad boxes so small that training does not notice
_SHAPES = 1.15  # ratio of aspects within a split that still counts as one shape
_UNIONS = ("all", "trainval")  # splits that hold other splits by design

# kind -> severity and what to do about it
KINDS: dict[str, tuple[str, str]] = {
    "split_unreadable": (SPOILS, "mend what the line says; the split was not looked at"),
    "no_images": (SPOILS, "put the images where the layout expects them"),
    "labels_alone": (NOTE, "labels without images: of use to tune a tracker, not to train"),
    "image_missing": (SPOILS, "copy the images again or remove their labels"),
    "image_unreadable": (SPOILS, "copy the files again or remove them with their labels"),
    "image_twice": (WARN, "listed more than once; the first is taken"),
    "image_name": (SPOILS, "entries of no image that can be named; export the labels again"),
    "image_blank": (WARN, "one even tone: a covered lens or a broken export; remove"),
    "label_malformed": (SPOILS, "mend the entry or export the labels again"),
    "size_differs": (SPOILS, "labels made for another image size: scale them or the images"),
    "names_missing": (SPOILS, "give the class names where the layout expects them"),
    "class_unknown": (SPOILS, "mend the spelling or map each by --class NAME=OURS (or =none)"),
    "class_unmapped": (WARN, "known, but none of our objects: left out (else --class NAME=OURS)"),
    "class_few": (WARN, "too few boxes to learn the class from; add data or leave it out"),
    "box_empty": (SPOILS, "corners swapped, or width and height read as a corner; export again"),
    "box_outside": (SPOILS, "labels of another image size, or width and height read as a corner"),
    "box_clipped": (WARN, "parts beyond the image are cut off; export clipped boxes"),
    "box_tiny": (WARN, "under 4 px at 640x384: cannot be learnt, costs recall in scores"),
    "box_scale": (SPOILS, "most boxes are under 2 px: shares of the image instead of pixels?"),
    "box_twice": (WARN, "same class and place twice in an image; remove one"),
    "split_unlabelled": (SPOILS, "a split to train on needs labels: compare file names, folders"),
    "split_without_labels": (NOTE, "no labels: for prediction only"),
    "labels_missing": (WARN, "no box labels: objects there are taken as unknown"),
    "images_empty": (NOTE, "labelled to show no objects; right if they show none"),
    "calib_unusable": (WARN, "distances cannot be had there; copy the calibration files again"),
    "mask_missing": (WARN, "no mask: the surface there is taken as unknown"),
    "mask_unreadable": (SPOILS, "copy again; a mask is one 8-bit channel of class values"),
    "mask_size": (SPOILS, "export masks at the size of their images"),
    "mask_value": (SPOILS, "taken as unknown; export masks with the values of the layout"),
    "mask_blank": (WARN, "no mask of the split marks anything; are its values as expected?"),
    "image_sizes": (NOTE, "a few sizes of nearly one shape; nothing to do"),
    "image_shapes": (WARN, "shapes differ: borders will take part of the network's input"),
    "duplicate_files": (WARN, "the same file again in a split counts double; remove"),
    "alike": (NOTE, "hardly differ from another picture of the split (a drive that stands still?)"),
    "leak": (SPOILS, "pictures to score on are trained on: move or remove them"),
    "leak_near": (WARN, "neighbours in other splits flatter scores; split by drive, not by frame"),
    "leak_held_out": (WARN, "the same picture in two held-out splits; remove one"),
    "not_compared": (NOTE, "one split holds the other by design; not compared with each other"),
}


@dataclass(frozen=True)
class Finding:
    """One kind of trouble in one split.

    Attributes:
        kind: a key of ``KINDS``; severity: 'spoils', 'warn' or 'note'; split: '' for the set.
        count: how many cases; examples: the first few, with file and place; advice: what to do.
    """

    kind: str
    severity: str
    split: str
    count: int
    examples: tuple[str, ...]
    advice: str


@dataclass(frozen=True)
class SplitReport:
    """The figures of one split.

    Attributes:
        images: listed; unusable_images: of those, missing or unreadable; labelled_images: with
            boxes (or a label that says there are none) or a mask.
        classes: the set's name -> {'boxes': n, 'ours': our class or None, 'known': whether the
            name has a meaning}; ours: our class -> boxes that can be used; ignore_areas: not to
            be scored, boxes of unknown classes among them.
        sizes: 'WIDTHxHEIGHT' -> images; masks: task -> {'present', 'missing', 'share_yes',
            'share_unknown'}, shares of all pixels or None where none was decoded; for
            'segmentation' the 'shares' of its classes.
    """

    images: int
    unusable_images: int
    labelled_images: int
    tasks: tuple[str, ...]
    classes: dict[str, dict[str, Any]]
    ours: dict[str, int]
    ignore_areas: int
    sizes: dict[str, int]
    masks: dict[str, dict[str, Any]]


def finding(
    kind: str, split: str, count: int, examples: Iterable[str], severity: str = ""
) -> Finding:
    """A finding with its kind's advice and, where none is given, severity."""
    usual, advice = KINDS.get(kind, (WARN, "see the examples"))
    return Finding(kind, severity or usual, split, count, tuple(examples)[:EXAMPLES], advice)


def is_training(split: str) -> bool:
    """Whether a split is to be trained on, by its name."""
    return split.lower().startswith("train") or split == "all"


def is_labelled(entry: Entry) -> bool:
    return entry.boxes is not None or bool(entry.masks)


def report_split(dataset: Dataset, entries: Sequence[Entry]) -> SplitReport:
    """Count images, boxes by class, and masks of a split."""
    names: Counter[str] = Counter()
    ours = dict.fromkeys(CLASSES, 0)
    ignored = 0
    for e in entries:
        for c, n in e.ours.items():
            ours[c] += n
        if e.boxes is not None:
            names.update(e.boxes.names)
            marked = zip(e.boxes.names, e.boxes.ignore.tolist())
            ignored += sum(ignore or name not in dataset.class_map for name, ignore in marked)
    sizes = Counter(f"{e.size_px[0]}x{e.size_px[1]}" for e in entries if e.size_px)
    known = dataset.class_map
    table = {
        n: {"boxes": k, "ours": known.get(n), "known": n in known} for n, k in names.most_common()
    }
    return SplitReport(
        len(entries),
        sum(e.size_px is None for e in entries),
        sum(map(is_labelled, entries)),
        tuple(dataset.tasks),
        table,
        ours if names else {},
        ignored,
        dict(sizes.most_common()),
        {t: _mask_figures(t, dataset, entries) for t in dataset.masks if t in dataset.tasks},
    )


def _mask_figures(task: str, dataset: Dataset, entries: Sequence[Entry]) -> dict[str, Any]:
    present = [e.masks[task] for e in entries if task in e.masks]
    known = [m for m in present if m is not None]
    pixels = sum(m.all for m in known)
    figures: dict[str, Any] = {"present": len(present), "missing": len(entries) - len(present)}
    if task != "segmentation":
        figures["share_yes"] = round(sum(m.yes for m in known) / pixels, 5) if pixels else None
    elif pixels:
        counts = np.sum([m.classes for m in known], axis=0)
        shares = (round(int(n) / pixels, 5) for n in counts)
        figures["shares"] = dict(zip(dataset.segmentation_names, shares))
    figures["share_unknown"] = round(sum(m.unknown for m in known) / pixels, 5) if pixels else None
    return figures


def check_split(
    dataset: Dataset, entries: Sequence[Entry], report: SplitReport | None = None
) -> list[Finding]:
    """Judge one split by what was found about its images, and its report if there is one yet."""
    split = dataset.split
    report = report or report_split(dataset, entries)
    if not entries or report.unusable_images == len(entries):
        first = (str(p) for e in entries for p in e.problems if p.kind.startswith("image_"))
        if dataset.layout in LABELS_ALONE and report.labelled_images:
            return [
                finding("labels_alone", split, len(entries), first),
                *_problem_findings(dataset, entries, report, without_images=True),
                *_class_findings(dataset, entries, report),
            ]
        return [finding("no_images", split, len(entries), first)]
    return [
        *_problem_findings(dataset, entries, report),
        *_class_findings(dataset, entries, report),
        *_label_findings(dataset, entries, report),
        *_size_findings(split, report),
        *_duplicate_files(dataset, entries),
    ]


def _problem_findings(
    dataset: Dataset, entries: Sequence[Entry], report: SplitReport, without_images: bool = False
) -> list[Finding]:
    """What was met on opening the split and image by image, gathered by kind."""
    by_kind: dict[str, list[str]] = defaultdict(list)
    seen = (p for e in entries for p in e.problems)
    for p in (*dataset.problems, *calib_problems(dataset, entries), *seen):
        by_kind[p.kind].append(str(p))
    by_kind.pop("class_unknown", None)  # told by class
    if without_images:
        by_kind.pop("image_missing", None)
    boxes = sum(c["boxes"] for c in report.classes.values())
    found = []
    for kind, lines in by_kind.items():
        rare = kind in ("box_empty", "box_outside") and len(lines) <= _RARE * boxes
        found.append(finding(kind, dataset.split, len(lines), lines, WARN if rare else ""))
    sides = [(e.boxes.xyxy[:, 2:] - e.boxes.xyxy[:, :2]).max(axis=1) for e in entries if e.boxes]
    longest = np.concatenate([np.zeros(0), *sides])
    if len(longest) and float((longest < 2).mean()) > 0.5:
        text = f"the median box is {float(np.median(longest)):.3g} px long"
        found.append(finding("box_scale", dataset.split, int((longest < 2).sum()), [text]))
    return found


def _class_findings(
    dataset: Dataset, entries: Sequence[Entry], report: SplitReport
) -> list[Finding]:
    """Names without meaning or without use, and classes too rare to learn."""
    unknown = [n for n in report.classes if n not in dataset.class_map]
    found = []
    if unknown:
        lines = [_about_name(n, dataset, entries, report) for n in unknown]
        boxes = sum(report.classes[n]["boxes"] for n in unknown)
        found.append(finding("class_unknown", dataset.split, boxes, lines))
    unmapped: Counter[str] = Counter()
    for e in entries:
        for name, ignore in zip(e.boxes.names, e.boxes.ignore) if e.boxes else ():
            if not ignore and dataset.class_map.get(name, "") is None:
                unmapped[name] += 1
    if unmapped:
        lines = [f"'{n}' ({k} boxes)" for n, k in unmapped.most_common()]
        found.append(finding("class_unmapped", dataset.split, unmapped.total(), lines))
    few = [c for c in dataset.labelled if report.ours.get(c, FEW_BOXES) < FEW_BOXES]
    if few and is_training(dataset.split):
        lines = [f"{c}: {report.ours[c]} boxes" for c in few]
        found.append(finding("class_few", dataset.split, len(few), lines))
    return found


def _about_name(name: str, dataset: Dataset, entries: Sequence[Entry], report: SplitReport) -> str:
    """An unknown class name: how often, where first, and which known name is near."""
    first = next(i for i, e in enumerate(entries) if e.boxes and name in e.boxes.names)
    text = f"'{name}' ({report.classes[name]['boxes']} boxes, first in {dataset.names[first]})"
    near = nearest_name(name, dataset.class_map)
    if near is None:
        return text
    ours = dataset.class_map.get(near) or COMMON.get(plain_name(near)) or "none"
    return f"{text}: did you mean '{near}'? --class {shlex.quote(f'{name}={ours}')}"


def _label_findings(
    dataset: Dataset, entries: Sequence[Entry], report: SplitReport
) -> list[Finding]:
    """Labels that are not there, or say nothing."""
    split, names = dataset.split, dataset.names
    if not report.labelled_images:
        kind = "split_unlabelled" if is_training(split) else "split_without_labels"
        return [finding(kind, split, len(entries), [f"{len(entries)} images"])]
    found = []
    if "detection" in dataset.tasks:
        bare = [names[i] for i, e in enumerate(entries) if e.boxes is None]
        if bare:
            found.append(finding("labels_missing", split, len(bare), bare))
        empty = [
            names[i]
            for i, e in enumerate(entries)
            if e.boxes is not None and not e.boxes and not e.boxes.problems
        ]
        if empty:
            most = WARN if 2 * len(empty) > len(entries) else ""
            found.append(finding("images_empty", split, len(empty), empty, most))
    for task, row in report.masks.items():
        bare = [f"{names[i]} ({task})" for i, e in enumerate(entries) if task not in e.masks]
        if bare:
            found.append(finding("mask_missing", split, len(bare), bare))
        if row.get("share_yes") == 0:
            found.append(finding("mask_blank", split, row["present"], [task]))
    return found


def _size_findings(split: str, report: SplitReport) -> list[Finding]:
    if len(report.sizes) < 2:
        return []
    sizes = [tuple(map(int, s.split("x"))) for s in report.sizes]
    aspects = [w / h for w, h in sizes]
    kind = "image_shapes" if max(aspects) > _SHAPES * min(aspects) else "image_sizes"
    lines = [f"{s} ({n})" for s, n in report.sizes.items()]
    return [finding(kind, split, len(sizes), lines)]


def _duplicate_files(dataset: Dataset, entries: Sequence[Entry]) -> list[Finding]:
    first: dict[bytes, str] = {}
    lines = []
    for name, e in zip(dataset.names, entries):
        if e.digest and first.setdefault(e.digest, name) != name:
            lines.append(f"{name} = {first[e.digest]}")
    return [finding("duplicate_files", dataset.split, len(lines), lines)] if lines else []


@dataclass(frozen=True)
class Pair:
    """Two pictures of a set that look alike, each by split and index in it."""

    first: tuple[str, int]
    second: tuple[str, int]
    alike: Alike


def find_pairs(splits: Mapping[str, Sequence[Entry]]) -> list[Pair]:
    """Pictures that look alike, within and between splits; see ``duplicates.find_alike``."""
    where = [(s, i) for s, es in splits.items() for i, e in enumerate(es) if e.thumb is not None]
    if len(where) < 2:
        return []
    order = list(splits)
    thumbs = np.stack([np.asarray(splits[s][i].thumb) for s, i in where])
    group = np.array([order.index(s) for s, _ in where], np.int64)
    return [Pair(where[a.first], where[a.second], a) for a in find_alike(thumbs, group)]


def check_leaks(
    pairs: Sequence[Pair], splits: Mapping[str, Sequence[Entry]], names: Mapping[str, Sequence[str]]
) -> list[Finding]:
    """Judge pictures that look alike: between splits they make scores worthless.

    Counted are the pictures to score on; of two splits to train on, or within one, all pictures.
    """
    held = _held(splits)
    lines: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for pair in pairs:
        kind, (split, i), (other, j) = _kind_of(pair)
        if {split, other} in held:
            continue
        if kind:
            same_file = splits[split][i].digest == splits[other][j].digest
            how = "byte for byte" if same_file else f"correlation {pair.alike.correlation:.3f}"
            text = f"{split}/{names[split][i]} = {other}/{names[other][j]} ({how})"
            lines[kind, split].setdefault(i, text)
            if kind == "alike":
                lines[kind, other].setdefault(j, text)
    for (kind, split), found in lines.items():
        if kind == "leak_near":  # a leak is told once
            for i in lines.get(("leak", split), ()):
                found.pop(i, None)
    return [
        *(finding(k, s, len(found), found.values()) for (k, s), found in lines.items() if found),
        *(finding("not_compared", "", 1, [" and ".join(sorted(pair))]) for pair in held),
    ]


def _held(splits: Mapping[str, Sequence[Entry]]) -> list[set[str]]:
    """Pairs of splits of which one, by its name and by its files, is the other and more."""
    files = {s: {e.digest for e in entries if e.digest} for s, entries in splits.items()}
    return [
        {whole, part}
        for whole in splits
        for part in splits
        if whole in _UNIONS and whole != part and files[part] and files[part] <= files[whole]
    ]


def _kind_of(pair: Pair) -> tuple[str, tuple[str, int], tuple[str, int]]:
    """What a pair stands for, '' for nothing, with the picture it tells against first."""
    a, b = pair.first, pair.second
    if a[0] == b[0] or (is_training(a[0]) and is_training(b[0])):
        return "alike" if pair.alike.same else "", a, b
    if not pair.alike.same:
        return "leak_near", *((b, a) if is_training(a[0]) else (a, b))
    if is_training(a[0]):
        return "leak", b, a
    return ("leak", a, b) if is_training(b[0]) else ("leak_held_out", a, b)


def verdict(findings: Sequence[Finding]) -> tuple[bool, str]:
    """Whether a set is fit to train on, and a line that says so."""
    counts = Counter(severity for severity, _ in {(f.severity, f.kind) for f in findings})
    rest = f"{_number(counts[WARN], 'warning')}, {_number(counts[NOTE], 'note')}"
    bad = [f for f in findings if f.severity == SPOILS]
    if bad:
        kinds = ", ".join(dict.fromkeys(f.kind for f in bad))
        return False, f"NOT fit to train on as it is: {kinds} ({rest})"
    if counts and all(f.kind == "labels_alone" for f in findings):
        return True, "labels without images: of use to tune a tracker, nothing to train on"
    return True, f"nothing found that would spoil training ({rest})"


def _number(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
