"""What a viewer wants to jump to in a replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.types import PlanStatus
from tools.score_plans import plain_reason

CM, UNKNOWN = 0.01, -32768  # step of columns of small whole numbers, and what is not known there
KINDS = ("status", "reason", "fault", "ttc", "late", "track")

Columns = dict[str, NDArray[Any]]
Event = tuple[int, int, int, str]  # first frame, one past the last, kind, text


class _Texts(Protocol):
    number: dict[str, int]

    def add(self, text: str) -> int: ...


def find_events(
    c: Columns, texts: _Texts, names: Sequence[str], limit_s: float, realtime: bool
) -> Columns:
    """Events by frame: what each is (place in ``KINDS``), where it begins and ends, and its text.

    status: it changed; reason: it changed while there is no way ahead (numbers do not count);
    fault: one that the frame before did not have; ttc: the time to collision fell below
    ``limit_s``; late: frames were skipped, or in a replay in ``realtime`` began to take too
    long; track: an object is there for the first time.
    """
    text = list(texts.number)
    found = sorted(
        [
            *_plans(c, text),
            *_faults(c, text),
            *_collisions(c, limit_s),
            *_late(c, realtime),
            *_births(c, names),
        ],
        key=lambda e: (e[0], e[2]),
    )
    return {
        "event_frame": np.array([e[0] for e in found], "<i4"),
        "event_end": np.array([e[1] for e in found], "<i4"),
        "event_kind": np.array([e[2] for e in found], "<u1"),
        "event_text": np.array([texts.add(e[3]) for e in found], "<i4"),
    }


def _runs(flags: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """First and one past the last place of each run of true ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    yield from ((int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))


def _plans(c: Columns, text: list[str]) -> Iterator[Event]:
    status, reason = c["status"], c["reason"]
    plain = {int(r): plain_reason(text[r]) for r in np.unique(reason)}
    ok = str(PlanStatus.OK)
    begun = before = ""
    start, kept = 0, None
    for k in range(len(status)):
        now, why = text[status[k]], plain[int(reason[k])]
        if now == begun and (now == ok or why == before):
            continue
        if kept is not None:
            yield start, k, *kept
        kind = KINDS.index("reason" if now == begun else "status")
        words = f"{now.replace('_', ' ')}: {text[reason[k]]}" if text[reason[k]] else now
        first = k == 0 and now == ok
        kept, start = None if first else (kind, words), k
        begun, before = now, why
    if kept is not None:
        yield start, len(status), *kept


def _faults(c: Columns, text: list[str]) -> Iterator[Event]:
    start, fault = c["fault_start"].tolist(), c["fault"].tolist()
    running: dict[str, tuple[int, str]] = {}
    for k in range(len(start) - 1):
        now = {plain_reason(text[f]): text[f] for f in fault[start[k] : start[k + 1]]}
        for name in [n for n in running if n not in now]:
            first, words = running.pop(name)
            yield first, k, KINDS.index("fault"), words
        for name, words in now.items():
            running.setdefault(name, (k, words))
    for first, words in running.values():
        yield first, len(start) - 1, KINDS.index("fault"), words


def _collisions(c: Columns, limit_s: float) -> Iterator[Event]:
    ttc = c["ttc_s"]
    with np.errstate(invalid="ignore"):
        near = ttc < limit_s
    for a, b in _runs(near):
        words = f"time to collision {ttc[a:b].min():.1f} s, below {limit_s:g} s"
        yield a, b, KINDS.index("ttc"), words


def _late(c: Columns, realtime: bool) -> Iterator[Event]:
    for a, b in _runs(c["skipped"] > 0):
        count = int(c["skipped"][a:b].sum())
        yield a, b, KINDS.index("late"), f"{count} skipped frame{'s' if count > 1 else ''}"
    # without a clock to keep up with, a slow machine is no event of the log
    for a, b in _runs(c["late"] > 0) if realtime else ():
        yield a, b, KINDS.index("late"), f"{b - a} late frame{'s' if b - a > 1 else ''}"


def _births(c: Columns, names: Sequence[str]) -> Iterator[Event]:
    ids, rows = np.unique(c["track_id"], return_index=True)
    frame = np.repeat(np.arange(len(c["t_ms"])), np.diff(c["track_start"]))
    last = np.zeros(len(ids), np.int64)
    np.maximum.at(last, np.searchsorted(ids, c["track_id"]), frame)
    for i, row, end in zip(ids.tolist(), rows.tolist(), last.tolist(), strict=True):
        name = names[int(c["class_id"][row])].replace("_", " ")
        far = float(np.hypot(float(c["ahead"][row]), float(c["left"][row])) * CM)
        where = f" at {far:.0f} m" if c["ahead"][row] != UNKNOWN else ""
        yield int(frame[row]), end + 1, KINDS.index("track"), f"new {name} #{i}{where}"
