"""``compare.html``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from data.types import U8
from perception.metrics.track_record import TrackRecord
from perception.metrics.tracking import TrackCounts
from tools.comparison import Changed, Difference, Run
from tools.figure_text import figure_name, number
from tools.view import page as p
from tools.view.judged import draw_judged
from tools.view.page import Html
from tools.view.svg import interval_bar
from tools.worst_frames import draw_found


def _picture(run: Run, i: int) -> U8 | None:
    path = Path(str(run.record.image[i]))
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    same = image is not None and image.shape[1::-1] == tuple(run.record.size_px[i])
    return np.asarray(image, np.uint8) if same else None


def _figures_table(rows: Mapping[str, Difference]) -> Html:
    few = {k for k, d in rows.items() if _of_few_boxes(k, d)}
    drawn = [d.change for k, d in rows.items() if not d.fewer_is_better and k not in few]
    ends = [abs(v) for c in drawn for v in (c.value, c.low, c.high)]
    most = max([v for v in ends if math.isfinite(v)], default=0.0) or 0.01
    cells = []
    for key, d in rows.items():
        c = d.change
        count = d.fewer_is_better
        span = "" if math.isnan(c.low) else f"{signed(c.low, count)} to {signed(c.high, count)}"
        bare = count or key in few
        bar = Html("" if bare else interval_bar(c.value, c.low, c.high, (-most, most)))
        verdict = Html(f'<span class="{d.verdict}">{d.verdict}</span>') if d.verdict else Html("")
        change = "-" if math.isnan(c.value) else signed(c.value, count)
        note = "few boxes: not judged" if key in few else ""
        both = [f"{v:.0f}" if count else number(v) for v in (d.a, d.b)]
        cells.append([figure_name(key), *both, change, verdict, span, bar, note])
    scale = p.ends(f"{-most:.2g}", f"+{most:.2g}")
    return p.table(["figure", "A", "B", "B - A", "", "95 % interval", scale, ""], cells)


def _of_few_boxes(key: str, d: Difference) -> bool:
    """Whether a figure is not judged for that; its wide interval would hide the others'."""
    return not (d.judged or d.fewer_is_better or key.startswith("coco."))


def signed(value: float, whole: bool) -> str:
    """A difference with its sign; ``whole`` of numbers of events."""
    return f"{value:+.0f}" if whole else f"{value:+.3f}"


def _drives_part(a: TrackRecord, b: TrackRecord) -> list[Html]:
    """HOTA of each drive, all classes together."""
    rows = []
    for drive in a.drives:
        totals = [
            sum((r.counts[n][drive] for n in r.labelled), TrackCounts()).scores() for r in (a, b)
        ]
        one, two = (float(t["HOTA"]) for t in totals)
        change = "" if math.isnan(two - one) else f"{two - one:+.3f}"
        switches = (f"{t['switches']:.0f}" for t in totals)
        rows.append([drive, number(one), number(two), change, *switches])
    head = ["drive", "HOTA in A", "in B", "B - A", "switches in A", "in B"]
    return [
        p.heading("Drive by drive"),
        p.note("All labelled classes together."),
        p.table(head, rows),
    ]


def _frames_part(a: Run, b: Run, frames: Sequence[Changed]) -> list[Html]:
    tasks = list(frames[0].shares) if frames else []
    objects = bool(a.record.classes)
    rows = []
    for f in frames:
        changes = ("" if math.isnan(f.shares[t]) else f"{f.shares[t]:+.3f}" for t in tasks)
        wrong = [f.wrong_a, f.wrong_b] if objects else []
        rows.append([str(a.record.name[f.frame]), *wrong, *changes])
    head = ["wrong objects in A", "in B"] if objects else []
    out = [p.table(["frame", *head, *(f"{t}, B - A" for t in tasks)], rows)]
    for f in frames:
        image = _picture(a, f.frame) if f.wrong_a != f.wrong_b else None
        if image is not None:
            boxes = [draw_found(r.record, r.errors, r.kept, f.frame, True) for r in (a, b)]
            pair = [draw_judged(image, d, None, None, t) for d, t in zip(boxes, "AB")]
            name = str(a.record.name[f.frame])
            text = f"{name}: {f.wrong_a} false or missed in A, {f.wrong_b} in B"
            out.append(p.figure(pair, text, f"{name}, objects of both runs"))
    return out


def build_page(
    a: Run, b: Run, rows: Mapping[str, Difference], frames: Sequence[Changed], drawn: str
) -> str:
    """``compare.html``."""
    about = a.record.about.get("data", {})
    size = f"{len(a.record)} frames" if len(a.record) else f"{len(a.tracks or [])} drives"
    parts = [
        Html(f"<h1>{p.shown(b.name)} beside {p.shown(a.name)}</h1>"),
        p.note(f"A is {a.folder}, B is {b.folder}; {size} of "
               f"{about.get('layout', '')}, {about.get('split', '')}."),
        p.heading("Figures"),
        p.note(
            f"B - A with 95 % intervals by a paired bootstrap over {drawn}; 'better' and 'worse' "
            "stand where the interval leaves out 0. With many figures one in twenty does so by "
            "chance."
        ),
        _figures_table(rows),
    ]  # fmt: skip
    if a.tracks and b.tracks:
        parts += _drives_part(a.tracks, b.tracks)
    if len(a.record):
        text = (
            "Objects at each run's own scores of best F1: green right at IoU 0.5, red false, "
            "dashed missed."
        )
        text = text if a.record.classes else ""
        parts += [p.heading("Frames that changed most"), p.note(text), *_frames_part(a, b, frames)]
    return p.page("Comparison", parts)
