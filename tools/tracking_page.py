"""The part of ``report.html`` on tracks."""

from __future__ import annotations

import math

from perception.metrics.track_record import COMBINED, TrackRecord
from perception.metrics.tracking import ALPHAS, TrackCounts
from tools.view import page as p
from tools.view.page import Html
from tools.view.svg import COLOURS, Line, line_chart

_CURVES = ("HOTA", "DetA", "AssA", "LocA")
_COLUMNS = {
    "HOTA": "HOTA", "DetA": "DetA", "AssA": "AssA", "LocA": "LocA", "MOTA": "MOTA",
    "MOTP": "MOTP", "IDF1": "IDF1", "switches": "switches", "fragmentations": "fragmentations",
    "misses": "misses", "false_alarms": "false alarms", "ground_truths": "labelled boxes",
}  # fmt: skip


def tracking_part(record: TrackRecord) -> list[Html]:
    """HOTA over its thresholds, and a table of the drives, for each class with labels."""
    totals = record.totals()
    names = [*record.labelled, *([COMBINED] if len(record.labelled) > 1 else [])]
    rows = [[_title(n), *_cells(totals[n]), record.drives_with(n)] for n in names]
    parts = [
        p.heading("Tracking"),
        p.note(
            "HOTA is the geometric mean of detection (DetA) and association (AssA) at each "
            "threshold of localisation, averaged over them (Luiten et al. 2021); MOTA, MOTP, IDF1, "
            "identity switches and fragmentations are at IoU 0.5. Shares are of 1."
        ),
        p.table(["class", *_COLUMNS.values(), "in drives"], rows),
        p.legend(_CURVES),
        p.side_by_side([p.block(_title(n), _chart(totals[n])) for n in names]),
        p.note("Across: how much a box must overlap its label to count as found (IoU)."),
        p.heading("Drive by drive", 3),
    ]
    parts += [p.block(n, _drives(record, n)) for n in record.labelled]
    return parts


def _title(name: str) -> str:
    return "all together" if name == COMBINED else name


def _chart(counts: TrackCounts) -> Html:
    curves = counts.curves()
    lines = [Line(k, ALPHAS, curves[k], COLOURS[i]) for i, k in enumerate(_CURVES)]
    return Html(line_chart(lines, "IoU threshold", "score"))


def _drives(record: TrackRecord, name: str) -> Html:
    own = {d: c for d, c in record.counts[name].items() if c.clear_tp + c.clear_fn + c.clear_fp}
    rows = [[d, *_cells(c)] for d, c in own.items()]
    return p.table(["drive", *_COLUMNS.values()], rows)


def _cells(counts: TrackCounts) -> list[str]:
    scores = counts.scores()
    return [_shown(scores[k], k) for k in _COLUMNS]


def _shown(value: float, key: str) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) and key[0].isupper() else f"{value:.0f}"
