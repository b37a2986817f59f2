"""The page of an evaluation: ``report.html``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data.taxonomy import CLASSES
from data.types import I64, Sample
from perception.metrics.bootstrap import Interval
from perception.metrics.breakdown import (
    ERRORS,
    Best,
    Errors,
    Reliability,
    Share,
    precision_recall,
)
from perception.metrics.frames import FrameRecord
from perception.metrics.score import Prediction
from tools.view import page as p
from tools.view.judged import IGNORED, RIGHT, WRONG, Drawn, class_word, draw_judged
from tools.view.page import Html
from tools.view.svg import COLOURS, Line, Mark, interval_bar, line_chart, mark_chart

Again = Callable[[str], tuple[Sample, Prediction]]
_CURVE_POINTS = 200
_NAMES = {
    "iou": "IoU", "boundary_f1": "boundary F1", "point_f1": "point F1",
}  # fmt: skip
_MEANING = {
    "localisation": "right class, but overlaps its label by only 0.1 to 0.5",
    "class": "well placed, but of another class",
    "duplicate": "on a label that is taken already",
    "background": "overlaps no label by more than 0.1",
    "both": "wrong class and badly placed",
    "missed": "a label that nothing is about",
}


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that the page shows, as ``tools.evaluation`` computes it.

    Attributes:
        figures: headline figures by key; best: by class number.
        errors: of the detections kept at their class's best score; costs: class -> kind -> AP50.
        confusion: (c + 1, c + 1) as ``confusion_matrix`` gives it.
        by_height, by_distance: class -> bins; the latter empty without a calibration.
        groups: attribute -> value -> (frames, figures).
        reliability: class -> its curve.
    """

    figures: Mapping[str, Interval]
    best: Mapping[int, Best]
    errors: Errors
    costs: Mapping[str, Mapping[str, float]]
    confusion: I64
    by_height: Mapping[str, Sequence[Share]]
    by_distance: Mapping[str, Sequence[Share]]
    groups: Mapping[str, Mapping[str, tuple[int, Mapping[str, Interval]]]]
    reliability: Mapping[str, Reliability]


def number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def ends(f: Interval) -> str:
    return "" if math.isnan(f.low) else f"{f.low:.3f} to {f.high:.3f}"


def plain(name: str) -> str:
    """A class's name as it is read."""
    return name.replace("_", " ")


def figure_name(key: str) -> str:
    """'vehicle AP50' of 'detection.vehicle.AP50', 'drivable IoU' of 'drivable.iou'."""
    *path, last = key.removeprefix("detection.").split(".")
    where = "mean over classes" if path == ["coco"] else plain(" ".join(path))
    return f"{where} {_NAMES.get(last, last)}"


def _headline(result: Mapping[str, Any], found: Findings) -> Html:
    rows = []
    for key, f in found.figures.items():
        section, name = key.split(".")[0], key.split(".")[1]
        if section == "detection":
            count = f"{result['detection'][name]['ground_truths']} boxes"
        else:
            frames = result.get(section, {}).get("frames")
            count = f"{frames} frames" if frames else ""
        bar = Html(interval_bar(f.value, f.low, f.high))
        rows.append([figure_name(key), number(f.value), ends(f), bar, count])
    return p.table(["figure", "value", "95 % interval", "0 to 1", "on"], rows)


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(x) <= _CURVE_POINTS:
        return x, y
    at = np.unique(np.linspace(0, len(x) - 1, _CURVE_POINTS).round().astype(int))
    return x[at], y[at]


def _curves(record: FrameRecord, found: Findings) -> list[Html]:
    names = [plain(CLASSES[k]) for k in record.classes]
    pr, scores = [], []
    for i, k in enumerate(record.classes):
        precision, recall, _ = precision_recall(record.table(k))
        x, y = _thinned(recall, precision)
        pr.append(Line(CLASSES[k], x, y, COLOURS[i % len(COLOURS)]))
        r = found.reliability[CLASSES[k]]
        size = 2 + 5 * np.sqrt(r.count / max(int(r.count.max()), 1))
        scores.append(Line(CLASSES[k], r.score, r.right, COLOURS[i % len(COLOURS)], size))
    gaps = ", ".join(f"{plain(n)} {r.error:.3f}" for n, r in found.reliability.items())
    return [
        p.heading("Precision, recall and scores"),
        p.legend(names),
        p.side_by_side(
            [
                p.block(
                    "Precision and recall at IoU 0.5",
                    Html(line_chart(pr, "recall", "precision")),
                ),
                p.block(
                    "How often a score is right",
                    Html(line_chart(scores, "score", "share right at IoU 0.5", diagonal=True)),
                ),
            ]
        ),
        p.note(
            "On the dashed line a score is the probability of being right. Points are tenths of "
            "the score, the larger the more detections of the class are in it. Mean gap (expected "
            f"calibration error): {gaps}."
        ),
    ]


def _confusion(record: FrameRecord, found: Findings) -> list[Html]:
    names = [plain(CLASSES[k]) for k in record.classes]
    rows = []
    for i, row in enumerate(found.confusion):
        whole = max(int(row.sum()), 1)
        cells = [
            p.shaded("" if i == j == len(names) else int(v), v / whole if i < len(names) else 0)
            for j, v in enumerate(row)
        ]
        rows.append([names[i] if i < len(names) else "false alarm", *cells])
    points = "; ".join(
        f"{plain(CLASSES[k])} {b.score:.2f} (F1 {b.f1:.3f}, precision {b.precision:.3f}, recall "
        f"{b.recall:.3f})"
        for k, b in found.best.items()
        if math.isfinite(b.score)
    )
    return [
        p.heading("Confusion matrix"),
        p.note(
            "Rows are labels, columns what was detected, at IoU 0.5 and at each class's score of "
            f"best F1: {points or 'no class has a right detection'}."
        ),
        p.table(["label", *names, "missed"], rows),
    ]


def error_counts(record: FrameRecord, errors: Errors) -> dict[str, dict[str, int]]:
    """Class name -> kind -> how many, of the detections kept."""
    out: dict[str, dict[str, int]] = {}
    for k in record.classes:
        own = errors.kind[record.found_kind == k]
        counts = {name: int((own == i).sum()) for i, name in enumerate(ERRORS[:-1])}
        counts["missed"] = int((errors.missed & (record.label_kind == k)).sum())
        out[CLASSES[k]] = counts
    return out


def _breakdown(record: FrameRecord, found: Findings) -> list[Html]:
    counts = error_counts(record, found.errors)
    top = max((v for row in counts.values() for v in row.values()), default=1) or 1
    costs = [v for row in found.costs.values() for v in row.values() if not math.isnan(v)]
    most = max([*costs, 1e-9])
    numbers = [
        [plain(name), *(p.shaded(row[e], 0.6 * row[e] / top) for e in ERRORS)]
        for name, row in counts.items()
    ]
    gains = [
        [plain(name), *(p.shaded(f"{row[e]:+.3f}", 0.6 * row[e] / most) for e in ERRORS)]
        for name, row in found.costs.items()
    ]
    meaning = "; ".join(f"{k}: {v}" for k, v in _MEANING.items())
    return [
        p.heading("What goes wrong"),
        p.note(f"Kinds of errors after TIDE (Bolya et al. 2020). {meaning}."),
        p.block("How many, at each class's score of best F1", p.table(["class", *ERRORS], numbers)),
        p.block("What AP50 would gain if they were mended", p.table(["class", *ERRORS], gains)),
    ]


def _bin_name(s: Share, unit: str) -> str:
    end = f"{s.low:g} and more" if math.isinf(s.high) else f"{s.low:g} to {s.high:g}"
    return f"{end} {unit}"


def _recall(shares: Mapping[str, Sequence[Share]], what: str, unit: str) -> Html:
    names = [n for n, row in shares.items() if any(s.labels for s in row)]
    first = next(iter(shares.values()))
    places = [_bin_name(s, "").strip() for s in first]
    marks = [
        Mark(i, j, s.recall.value, s.recall.low, s.recall.high)
        for i, n in enumerate(names)
        for j, s in enumerate(shares[n])
    ]
    chart = Html(mark_chart(places, len(names), marks, f"{what}, {unit}", "recall"))
    rows = [
        [plain(n), *(f"{number(s.recall.value)} ({s.labels})" for s in shares[n])] for n in names
    ]
    parts = [
        p.legend([plain(n) for n in names]),
        chart,
        p.table(["recall (labels)", *places], rows),
    ]
    return p.block(f"By {what}", *parts)


def _sizes(found: Findings) -> list[Html]:
    parts = [_recall(found.by_height, "height of the labelled box", "px")]
    if found.by_distance:
        parts.append(_recall(found.by_distance, "estimated distance", "m"))
        text = (
            "Distance is the depth of the ground under the labelled box by the camera's "
            "calibration; boxes cut by the lower border or above the horizon have none."
        )
    else:
        text = "No distances: the data has no calibration and no --camera was given."
    text = f"At IoU 0.5 and each class's score of best F1; bars are 95 % intervals. {text}"
    return [p.heading("How small and how far"), p.note(text), p.side_by_side(parts)]


def _groups(found: Findings) -> list[Html]:
    kinds = [k for k in found.figures if k.split(".")[-1] in ("AP50", "iou")]
    keys = [k for k in kinds if not k.startswith("coco.")]  # means over other classes in each
    out = [p.heading("By light and weather")] if found.groups else []
    for attribute, values in found.groups.items():
        rows = [
            [figure_name(k), *(_with_ends(figures.get(k)) for _, figures in values.values())]
            for k in keys
        ]
        heads = [f"{value}: {count} frames" for value, (count, _) in values.items()]
        out.append(p.table([attribute, *heads], rows))
    return out


def _with_ends(f: Interval | None) -> Html:
    if f is None or math.isnan(f.low):
        return Html("-" if f is None else number(f.value))
    return Html(f'{f.value:.3f} <span class="note">({f.low:.3f} to {f.high:.3f})</span>')


def worst_frames(record: FrameRecord, errors: Errors, count: int) -> list[tuple[int, str]]:
    """Frames and why: half those with most wrong and missed objects, the rest those of lowest
    drivable and lane IoU in turn."""
    frames = len(record)
    wrong = np.bincount(record.found_frame[errors.kind >= 0], minlength=frames)
    free = ~errors.found & ~record.label_ignore
    missed = np.bincount(record.label_frame[free], minlength=frames)
    lists = [
        [
            (int(i), f"{missed[i]} missed, {wrong[i]} false")
            for i in np.argsort(-(wrong + missed), kind="stable")
            if wrong[i] + missed[i]
        ]
    ]
    for name, counts in record.surfaces.items():
        own = np.flatnonzero(counts[:, 1] > 0)
        iou = counts[own, 0] / np.maximum(counts[own, 1], 1)
        order = np.argsort(iou, kind="stable")
        lists.append([(int(own[i]), f"{name} IoU {iou[i]:.2f}") for i in order])
    turns = [lists[0], lists[1], lists[0], lists[2]]
    chosen: dict[int, str] = {}
    while len(chosen) < min(count, frames) and any(turns):
        for row in turns:
            while row and row[0][0] in chosen:
                row.pop(0)
            if row and len(chosen) < count:
                chosen.setdefault(*row.pop(0))
    return list(chosen.items())


def draw_labels(record: FrameRecord, errors: Errors, i: int) -> list[Drawn]:
    """The labels of frame ``i``, found, missed or ignored."""
    boxes = []
    for n in np.flatnonzero(record.label_frame == i):
        ignored = bool(record.label_ignore[n])
        colour = IGNORED if ignored else RIGHT if errors.found[n] else WRONG
        text = "" if ignored or errors.found[n] else class_word(int(record.label_kind[n]))
        boxes.append(Drawn(record.label_xyxy[n], colour, text, dashed=ignored))
    return boxes


def draw_found(
    record: FrameRecord, errors: Errors, kept: np.ndarray, i: int, missed: bool = False
) -> list[Drawn]:
    """The detections of frame ``i`` among ``kept`` (d,), with what is wrong of them; with the
    ``missed`` labels dashed."""
    labels = draw_labels(record, errors, i) if missed else []
    boxes = [replace(b, dashed=True, text=f"missed: {b.text}") for b in labels if b.text]
    for d in np.flatnonzero(kept & (record.found_frame == i)):
        kind = int(errors.kind[d])
        colour = RIGHT if kind == -1 else IGNORED if kind == -2 else WRONG
        word = f"{class_word(int(record.found_kind[d]))} {record.found_score[d]:.2f}"
        text = f"{ERRORS[kind]}: {word}" if kind >= 0 else ""
        boxes.append(Drawn(record.found_xyxy[d], colour, text, dashed=kind == -2))
    return boxes


def _pictures(
    record: FrameRecord, found: Findings, kept: np.ndarray, count: int, again: Again
) -> list[Html]:
    out = []
    for i, why in worst_frames(record, found.errors, count):
        sample, predicted = again(str(record.name[i]))
        truth = [
            None if m is None else (m == 1).astype(np.uint8) for m in (sample.drivable, sample.lane)
        ]
        masks = [
            None if t is None else m for t, m in zip(truth, (predicted.drivable, predicted.lane))
        ]
        labels = draw_labels(record, found.errors, i)
        objects = draw_found(record, found.errors, kept, i)
        pair = [
            draw_judged(sample.image, labels, truth[0], truth[1], "labels"),
            draw_judged(sample.image, objects, masks[0], masks[1], "prediction"),
        ]
        name = str(record.name[i])
        out.append(p.figure(pair, f"{name}: {why}", f"{name}, labels and prediction"))
    if out:
        text = (
            "Left what is labelled, right what was predicted at each class's score of best F1. "
            "Green boxes agree at IoU 0.5, red ones do not (left: missed), grey dashed ones are "
            "ignored; drivable area is green, lane lines are yellow. Half of the frames have the "
            "most wrong objects, the others the lowest IoU of a surface."
        )
        out = [p.heading("The worst frames"), p.note(text), *out]
    return out


def _opening(result: Mapping[str, Any]) -> list[Html]:
    data, model = result["data"], result["model"]
    name = model.get("name") or model.get("predictions")
    if "detector" in model:
        name = f"{model['detector']['name']} with the surfaces of {name}"
    lines = [
        p.Html(f"<h1>{p.shown(name)} on {p.shown(data['layout'])}, {p.shown(data['split'])}</h1>"),
        p.note(
            f"{data['images']} images scored, {data['skipped_images']} skipped. Intervals: 95 %, "
            "by resampling the frames."
        ),
    ]
    if result.get("not_predicted"):
        lines.append(p.note(f"Not predicted: {', '.join(result['not_predicted'])}."))
    return lines


def _closing(result: Mapping[str, Any]) -> list[Html]:
    model = result["model"]
    facts = {**result["protocol"], "model": ", ".join(f"{k} {v}" for k, v in model.items())}
    if result.get("coco", {}).get("checked_by"):
        facts["checked by"] = f"{result['coco']['checked_by']}: all twelve COCO figures agree"
    rows = [[k, p.wrapped(v)] for k, v in facts.items()]
    return [p.heading("How it was measured"), p.table(["", ""], rows)]


def build_page(
    result: Mapping[str, Any], record: FrameRecord, found: Findings, kept: np.ndarray, worst: int,
    again: Again,
) -> str:  # fmt: skip
    """The whole page; ``kept`` (d,) are the detections at their class's score of best F1."""
    parts = [*_opening(result), p.heading("Headline figures"), _headline(result, found)]
    if record.classes:
        parts += [
            *_curves(record, found), *_confusion(record, found), *_breakdown(record, found),
            *_sizes(found),
        ]  # fmt: skip
    parts += [*_groups(found), *_pictures(record, found, kept, worst, again), *_closing(result)]
    return p.page("Evaluation", parts)
