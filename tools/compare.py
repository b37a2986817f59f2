"""``roadstack compare``: is one evaluation better than another, or is it chance?

Both folders were written by ``evaluate`` on the same frames and labels by the same protocol. Every
headline figure's difference B - A gets a 95 % interval by a paired bootstrap: both runs are scored
on the same samples of the frames. Written are ``compare.json``, ``compare.csv`` and
``compare.html``. With ``--fail-if-worse X`` the exit code is 1 when a judged figure of B lies more
than X below A's (or is not defined any more): a gate for CI. Classes of few boxes are shown and
not judged.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.errors import InputError
from data.taxonomy import CLASS_ID
from data.types import F64, I64, U8
from perception.metrics.bootstrap import LEVEL, Interval, figures, interval, sampled
from perception.metrics.breakdown import Errors, best_scores, find_errors, kept_at
from perception.metrics.frames import FrameRecord, load
from tools.evaluate_page import draw_found, figure_name, number
from tools.evaluation import FRAMES
from tools.files import make_folder, staging, write_json, write_text
from tools.view import page as p
from tools.view.judged import draw_judged
from tools.view.page import Html
from tools.view.svg import interval_bar

JSON, CSV, PAGE = "compare.json", "compare.csv", "compare.html"
_LABELS = ("name", "size_px", "label_frame", "label_kind", "label_xyxy", "label_ignore")


@dataclass(frozen=True)
class Difference:
    """A figure of both runs and B - A with its interval; ``judged`` if it may fail the gate."""

    a: float
    b: float
    change: Interval
    judged: bool

    @property
    def verdict(self) -> str:
        """'better', 'worse' or '' where the interval holds 0."""
        if self.change.low > 0:
            return "better"
        return "worse" if self.change.high < 0 else ""

    def fails(self, limit: float) -> bool:
        """Whether B lies more than ``limit`` below A."""
        lost = math.isnan(self.b) and not math.isnan(self.a)
        return self.judged and (lost or self.change.value < -limit)


@dataclass(frozen=True, eq=False)
class Run:
    """A loaded record with what became of its detections at each class's score of best F1."""

    folder: Path
    record: FrameRecord
    kept: np.ndarray
    errors: Errors

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Raises InputError where ``folder`` was not written by evaluate."""
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected one written by evaluate")
        record = load(folder / FRAMES)
        kept = kept_at(record, best_scores(record))
        return cls(folder, record, kept, find_errors(record, kept))

    @property
    def name(self) -> str:
        model = self.record.about.get("model", {})
        return str(model.get("name") or model.get("predictions") or self.folder)

    def wrong(self) -> I64:
        """(frames,) false and missed objects."""
        r, e = self.record, self.errors
        free = ~e.found & ~r.label_ignore
        false = np.bincount(r.found_frame[e.kind >= 0], minlength=len(r))
        return np.asarray(false + np.bincount(r.label_frame[free], minlength=len(r)), np.int64)


def check_comparable(a: Run, b: Run) -> None:
    """Refuse runs on other data or by another protocol.

    Raises:
        InputError: naming what differs.
    """
    where = f"{a.folder} and {b.folder}: cannot be compared"
    one, two = a.record.about.get("protocol", {}), b.record.about.get("protocol", {})
    for key in sorted(set(one) | set(two)):
        if one.get(key) != two.get(key):
            raise InputError(f"{where}: the protocol of '{key}' differs; evaluate both anew")
    if len(a.record) != len(b.record):
        raise InputError(f"{where}: {len(a.record)} frames and {len(b.record)}; expected the same")
    for field in _LABELS:
        if not np.array_equal(getattr(a.record, field), getattr(b.record, field)):
            what = "frames" if field == "name" else "labels"
            raise InputError(f"{where}: they have other {what}; expected the same data and split")
    if not np.array_equal(a.record.labelled, b.record.labelled):
        raise InputError(f"{where}: they score other classes")
    for task, counts in a.record.surfaces.items():
        if not np.array_equal(counts[:, 0] >= 0, b.record.surfaces[task][:, 0] >= 0):
            raise InputError(f"{where}: '{task}' is not scored on the same frames in both")


def differences(
    a: FrameRecord, b: FrameRecord, draws: int, seed: int, min_boxes: int
) -> dict[str, Difference]:
    """Every headline figure of both runs, B - A by a paired bootstrap; key -> difference."""
    once = np.ones((1, len(a)), np.int32)
    whole = [figures(r, once) for r in (a, b)]
    drawn: list[dict[str, F64]] = [sampled(r, draws, seed) if draws else {} for r in (a, b)]
    none = np.zeros(0)
    out = {}
    for key in whole[0]:
        one, two = float(whole[0][key][0]), float(whole[1][key][0])
        change = interval(two - one, drawn[1].get(key, none) - drawn[0].get(key, none))
        out[key] = Difference(one, two, change, _judged(a, key, min_boxes))
    return out


def _judged(record: FrameRecord, key: str, min_boxes: int) -> bool:
    section, name = key.split(".")[:2]
    if section == "coco":  # a mean with classes of few boxes in it
        return False
    if section != "detection":
        return True
    own = (record.label_kind == CLASS_ID[name]) & ~record.label_ignore
    return int(own.sum()) >= max(min_boxes, 1)


@dataclass(frozen=True)
class Changed:
    """A frame's wrong objects in both runs and the change of its surfaces' IoU (NaN: none)."""

    frame: int
    wrong_a: int
    wrong_b: int
    iou: Mapping[str, float]


def changed_frames(a: Run, b: Run, count: int) -> list[Changed]:
    """The frames that changed most: by wrong objects and by each surface's IoU in turn."""
    one, two = a.wrong(), b.wrong()
    iou = {}
    for task, counts in a.record.surfaces.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            x, y = (np.where(c[:, 1] > 0, c[:, 0] / c[:, 1], np.nan)
                    for c in (counts, b.record.surfaces[task]))  # fmt: skip
        iou[task] = y - x
    orders = []
    for size in (np.abs(two - one).astype(float), *(np.abs(v) for v in iou.values())):
        size = np.nan_to_num(size)
        order = np.argsort(-size, kind="stable")
        orders.append(order[size[order] > 0].tolist())
    chosen: dict[int, None] = {}
    while len(chosen) < count and any(orders):
        for order in orders:
            if order and len(chosen) < count:
                chosen.setdefault(order.pop(0))
    return [
        Changed(i, int(one[i]), int(two[i]), {t: float(v[i]) for t, v in iou.items()})
        for i in chosen
    ]


def _picture(run: Run, i: int) -> U8 | None:
    path = Path(str(run.record.image[i]))
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    same = image is not None and image.shape[1::-1] == tuple(run.record.size_px[i])
    return np.asarray(image, np.uint8) if same else None


def _figures_table(rows: Mapping[str, Difference]) -> Html:
    ends = [abs(v) for d in rows.values() for v in (d.change.value, d.change.low, d.change.high)]
    most = max([v for v in ends if math.isfinite(v)], default=0.0) or 0.01
    cells = []
    for key, d in rows.items():
        c = d.change
        span = "" if math.isnan(c.low) else f"{c.low:+.3f} to {c.high:+.3f}"
        bar = Html(interval_bar(c.value, c.low, c.high, (-most, most)))
        verdict = Html(f'<span class="{d.verdict}">{d.verdict}</span>') if d.verdict else Html("")
        change = "-" if math.isnan(c.value) else f"{c.value:+.3f}"
        note = "" if d.judged or key.startswith("coco.") else "few boxes: not judged"
        cells.append([figure_name(key), number(d.a), number(d.b), change, span, bar, verdict, note])
    return p.table(["figure", "A", "B", "B - A", "95 % interval", "", "", ""], cells)


def _frames_part(a: Run, b: Run, frames: Sequence[Changed]) -> list[Html]:
    tasks = list(a.record.surfaces)
    rows = [
        [
            str(a.record.name[f.frame]), f.wrong_a, f.wrong_b,
            *("" if math.isnan(f.iou[t]) else f"{f.iou[t]:+.3f}" for t in tasks),
        ]
        for f in frames
    ]  # fmt: skip
    head = ["frame", "wrong objects in A", "in B", *(f"{t} IoU, B - A" for t in tasks)]
    out = [p.table(head, rows)]
    for f in frames:
        image = _picture(a, f.frame) if f.wrong_a != f.wrong_b else None
        if image is not None:
            boxes = [draw_found(r.record, r.errors, r.kept, f.frame, True) for r in (a, b)]
            pair = [draw_judged(image, d, None, None, t) for d, t in zip(boxes, "AB")]
            name = str(a.record.name[f.frame])
            text = f"{name}: {f.wrong_a} false or missed in A, {f.wrong_b} in B"
            out.append(p.figure(pair, text, f"{name}, objects of both runs"))
    return out


def build_page(a: Run, b: Run, rows: Mapping[str, Difference], frames: Sequence[Changed]) -> str:
    """``compare.html``."""
    about = a.record.about.get("data", {})
    parts = [
        Html(f"<h1>{p.shown(b.name)} beside {p.shown(a.name)}</h1>"),
        p.note(f"A is {a.folder}, B is {b.folder}; {len(a.record)} frames of "
               f"{about.get('layout', '')}, {about.get('split', '')}."),
        p.heading("Figures"),
        p.note(
            "B - A with 95 % intervals by a paired bootstrap over frames; 'better' and 'worse' "
            "stand where the interval leaves out 0. With many figures one in twenty does so by "
            "chance."
        ),
        _figures_table(rows),
        p.heading("Frames that changed most"),
        p.note(
            "Objects at each run's own scores of best F1: green right at IoU 0.5, red false, "
            "dashed missed."
        ),
        *_frames_part(a, b, frames),
    ]  # fmt: skip
    return p.page("Comparison", parts)


def _csv(rows: Mapping[str, Difference]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["figure", "a", "b", "difference", "low", "high", "judged"])
    for key, d in rows.items():
        values = (d.a, d.b, d.change.value, d.change.low, d.change.high)
        cells = ["" if math.isnan(v) else f"{v:.6f}" for v in values]
        writer.writerow([key, *cells, int(d.judged)])
    return text.getvalue()


def _json(
    a: Run, b: Run, rows: Mapping[str, Difference], frames: Sequence[Changed], worse: list[str],
    options: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    return {
        "a": {"folder": str(a.folder), "model": a.record.about.get("model")},
        "b": {"folder": str(b.folder), "model": b.record.about.get("model")},
        "frames": len(a.record),
        "figures": {
            key: {
                "a": d.a, "b": d.b, "difference": d.change.value, "low": d.change.low,
                "high": d.change.high, "judged": d.judged, "verdict": d.verdict,
            }
            for key, d in rows.items()
        },
        "changed": [
            {"name": str(a.record.name[f.frame]), "wrong_a": f.wrong_a, "wrong_b": f.wrong_b,
             "iou_change": dict(f.iou)}
            for f in frames
        ],
        "fail_if_worse": options.fail_if_worse,
        "worse": worse,
        "bootstrap": {"draws": options.bootstrap, "seed": options.seed, "level": LEVEL},
    }  # fmt: skip


def _print(rows: Mapping[str, Difference]) -> None:
    width = max(map(len, rows), default=0) + 2
    print(f"{'':{width}}{'A':>7}{'B':>8}{'B - A':>8}  95 % interval")
    for key, d in rows.items():
        c = d.change
        span = "" if math.isnan(c.low) else f"[{c.low:+.3f}, {c.high:+.3f}]"
        print(f"{key:{width}}{d.a:7.3f}{d.b:8.3f}{c.value:+8.3f}  {span:18} {d.verdict}".rstrip())


def run_compare(a: argparse.Namespace) -> int:
    """Compare ``a.run_a`` and ``a.run_b``; 1 when B is worse than ``a.fail_if_worse`` allows.

    Raises:
        InputError: a folder is no evaluation, or they are of other data or protocol.
    """
    limit = a.fail_if_worse
    if limit is not None and not 0 <= limit < math.inf:
        raise InputError(f"--fail-if-worse {limit}: expected a difference of 0 or more, as 0.01")
    one, two = Run.read(a.run_a), Run.read(a.run_b)
    check_comparable(one, two)
    rows = differences(one.record, two.record, a.bootstrap, a.seed, a.min_boxes)
    worse = [] if limit is None else [key for key, d in rows.items() if d.fails(limit)]
    frames = changed_frames(one, two, a.frames)
    out = make_folder(a.out)
    with staging(out, [CSV, PAGE, JSON]) as folder:
        write_text(folder / CSV, _csv(rows))
        write_text(folder / PAGE, build_page(one, two, rows, frames))
        write_json(folder / JSON, _json(one, two, rows, frames, worse, a))
    _print(rows)
    print(out / PAGE)
    for key in worse:
        print(f"worse by more than {limit:g}: {key} {rows[key].a:.3f} to {rows[key].b:.3f}")
    return 1 if worse else 0
