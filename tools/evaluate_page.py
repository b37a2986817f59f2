"""The page of an evaluation: ``report.html``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.taxonomy import CLASSES
from data.types import I64
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
from perception.metrics.track_record import TrackRecord
from tools.figure_text import counted, figure_name, number, plain, several, span
from tools.pixel_page import pixel_confusion, pixel_pictures
from tools.tracking_page import tracking_part
from tools.view import page as p
from tools.view.page import Html
from tools.view.svg import COLOURS, Line, Mark, interval_bar, line_chart, mark_chart
from tools.worst_frames import Again, worst_pictures

_CURVE_POINTS = 200
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
        tracks: of the labelled drives, where there are any.
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
    tracks: TrackRecord | None = None


def _headline(result: Mapping[str, Any], found: Findings) -> Html:
    rows = []
    for key, f in found.figures.items():
        section, name = key.split(".")[0], key.split(".")[1]
        if section in ("detection", "tracking"):
            count = several(result[section][name]["ground_truths"], "box", "boxes")
        elif section == "coco":
            labelled = sum(row["ground_truths"] > 0 for row in result["detection"].values())
            count = several(labelled, "class", "classes")
        else:
            count = several(result[section]["frames"], "frame", "frames")
        if counted(key):
            whole = "" if math.isnan(f.low) else f"{f.low:.0f} to {f.high:.0f}"
            rows.append([figure_name(key), f"{f.value:.0f}", whole, "", count])
            continue
        bar = Html(interval_bar(f.value, f.low, f.high))
        rows.append([figure_name(key), number(f.value), span(f), bar, count])
    return p.table(["figure", "value", "95 % interval", p.ends("0", "1"), "on"], rows)


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
    gaps = ", ".join(f"{plain(n)} {number(r.error)}" for n, r in found.reliability.items())
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
    points = [
        [plain(CLASSES[k]), f"{b.score:.2f}", *map(number, (b.f1, b.precision, b.recall))]
        for k, b in found.best.items()
        if math.isfinite(b.score)
    ]
    best = p.table(["class", "score", "F1", "precision", "recall"], points)
    return [
        p.heading("Confusion matrix"),
        p.note(
            "Rows are labels, columns what was detected, at IoU 0.5 and at each class's score of "
            "best F1. A missed label overlaps no free detection of any class by as much, a false "
            "alarm no free label."
        ),
        p.table(["label", *names, "missed"], rows),
        p.block("Each class at its score of best F1", best)
        if points
        else p.note("No class has a right detection."),
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


def _gain(value: float, most: float) -> Html:
    known = not math.isnan(value)
    return p.shaded(f"{value:+.3f}" if known else "-", 0.6 * value / most if known else 0.0)


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
        [plain(name), *(_gain(row[e], most) for e in ERRORS)] for name, row in found.costs.items()
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
    if not names:
        return p.block(f"By {what}", p.note("No labels."))
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
    kinds = [k for k in found.figures if k.split(".")[-1] in ("AP50", "iou", "miou")]
    keys = [k for k in kinds if not k.startswith("coco.")]  # means over other classes in each
    out = [p.heading("By light and weather")] if found.groups else []
    for attribute, values in found.groups.items():
        if len(values) == 1:  # the headline figures once more
            (value, (count, _)) = next(iter(values.items()))
            out.append(p.note(f"{attribute}: {value} in all {several(count, 'frame', 'frames')}."))
            continue
        rows = [
            [figure_name(k), *(_with_ends(figures.get(k)) for _, figures in values.values())]
            for k in keys
        ]
        heads = [f"{v}: {several(count, 'frame', 'frames')}" for v, (count, _) in values.items()]
        out.append(p.table([attribute, *heads], rows))
    return out


def _with_ends(f: Interval | None) -> Html:
    if f is None or math.isnan(f.low):
        return Html("-" if f is None else number(f.value))
    return Html(f'{f.value:.3f} <span class="note">({f.low:.3f} to {f.high:.3f})</span>')


def drawn_text(drawn: Mapping[str, Any]) -> str:
    """What the intervals were drawn from, of metrics.json's entry 'bootstrap'."""
    own, tracks = drawn.get("drawn"), drawn.get("drawn_of_tracks")
    return f"{own}; of tracks {tracks}" if own and tracks else str(own or tracks)


def _opening(result: Mapping[str, Any]) -> list[Html]:
    data, model = result["data"], result["model"]
    name = model.get("name") or model.get("predictions")
    if "detector" in model:
        name = f"{model['detector']['name']} with the surfaces of {name}"
    texts = []
    if data["images"] or data["skipped_images"]:
        images = several(data["images"], "image", "images")
        texts.append(f"{images} scored, {data['skipped_images']} skipped.")
    if "drives" in data:
        texts.append(f"Tracks of {several(data['drives'], 'drive', 'drives')} scored.")
    if result["bootstrap"]["draws"]:
        texts.append(f"Intervals: 95 %, by drawing {drawn_text(result['bootstrap'])}.")
    lines = [
        p.Html(f"<h1>{p.shown(name)} on {p.shown(data['layout'])}, {p.shown(data['split'])}</h1>"),
        p.note(" ".join(texts)),
    ]
    if result.get("not_predicted"):
        lines.append(p.note(f"Not predicted: {', '.join(result['not_predicted'])}."))
    return lines


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{k}: {_listed(v)}" if isinstance(v, Mapping) else f"{k} {v}" for k, v in facts.items()
    )


def _closing(result: Mapping[str, Any]) -> list[Html]:
    model = result["model"]
    general = ("intervals", "distance")
    facts = {
        **{k: v for k, v in result["protocol"].items() if k.split(".")[0] in (*result, *general)},
        "model": _listed(model),
        "versions": _listed(result["versions"]),
    }
    if result.get("coco", {}).get("checked_by"):
        facts["checked by"] = f"{result['coco']['checked_by']}: all twelve COCO figures agree"
    rows = [[k, p.wrapped(v)] for k, v in facts.items()]
    return [p.heading("How it was measured"), p.table(["", ""], rows)]


def build_page(
    result: Mapping[str, Any], record: FrameRecord, found: Findings, kept: np.ndarray, worst: int,
    again: Again | None,
) -> str:  # fmt: skip
    """The whole page; ``kept`` (d,) are the detections at their class's score of best F1; without
    ``again`` no pictures are drawn."""
    parts = [*_opening(result), p.heading("Headline figures"), _headline(result, found)]
    if record.classes:
        parts += [
            *_curves(record, found), *_confusion(record, found), *_breakdown(record, found),
            *_sizes(found),
        ]  # fmt: skip
    if found.tracks is not None:
        parts += tracking_part(found.tracks)
    parts += _groups(found)
    if record.pixels.any():
        parts += pixel_confusion(record)
    if again is not None:
        pixels = record.pixels.any()
        parts += (
            pixel_pictures(record, worst, again)
            if pixels
            else worst_pictures(record, found.errors, kept, worst, again)
        )
    parts += _closing(result)
    return p.page("Evaluation", parts)
