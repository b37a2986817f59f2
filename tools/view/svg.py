"""Small charts as inline SVG: lines, and points with their intervals. All text is escaped.

Series have the colours ``COLOURS``, which ``SERIES`` defines for light and dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
# told apart also by readers who see fewer colours (after Okabe and Ito)
_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a6a00", "#56b4e9", "#444444")
_DARK = ("#4ba3e3", "#ff8a3d", "#2cc598", "#e59fc5", "#cdb83a", "#9ad8ff", "#b9c1ca")
COLOURS = tuple(f"var(--series-{i})" for i in range(len(_LIGHT)))


def _series(colours: Sequence[str]) -> str:
    return " ".join(f"--series-{i}: {c};" for i, c in enumerate(colours))


SERIES = (
    f":root {{ {_series(_LIGHT)} }}\n"
    f"@media (prefers-color-scheme: dark) {{ :root {{ {_series(_DARK)} }} }}"
)
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 40
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, eq=False)
class Line:
    """A curve of the unit square; ``size`` (n,) radii in px of its points, None for no points."""

    name: str
    x: F64
    y: F64
    colour: str
    size: F64 | None = None


@dataclass(frozen=True)
class Mark:
    """A value in [0, 1] with the ends of its interval (NaN for none) at a place of a series."""

    series: int
    place: int
    value: float
    low: float
    high: float


def _text(x: float, y: float, text: str, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(text)}</text>'


def _frame(width: int, height: int, y_label: str, body: Sequence[str], label: str) -> str:
    """The axes of a chart with a y axis from 0 to 1."""
    rows = []
    for tick in _TICKS:
        y = _at_y(tick, height)
        rows.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y}" y2="{y}"/>')
        rows.append(_text(_LEFT - 6, y + 4, f"{tick:.1f}", "end"))
    middle = (_TOP + height - _BOTTOM) / 2
    rows.append(_text(12, middle, y_label, "middle", f'transform="rotate(-90 12 {middle})"'))
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(label)}">{"".join([*rows, *body])}</svg>'
    )


def _at_y(value: float, height: int) -> float:
    return round(height - _BOTTOM - value * (height - _TOP - _BOTTOM), 1)


def line_chart(
    lines: Sequence[Line], x_label: str, y_label: str, diagonal: bool = False,
    width: int = 430, height: int = 320,
) -> str:  # fmt: skip
    """Curves in the unit square, NaN left out; ``diagonal`` draws y = x."""
    span = width - _LEFT - _RIGHT
    body = []
    for tick in _TICKS:
        body.append(_text(_LEFT + tick * span, height - _BOTTOM + 16, f"{tick:.1f}"))
    body.append(_text(_LEFT + span / 2, height - 6, x_label))
    if diagonal:
        body.append(
            f'<line class="ideal" x1="{_LEFT}" y1="{_at_y(0, height)}" x2="{_LEFT + span}" '
            f'y2="{_at_y(1, height)}"/>'
        )
    for line in lines:
        known = np.isfinite(line.x) & np.isfinite(line.y)
        xs, ys = line.x[known], line.y[known]
        points = " ".join(f"{_LEFT + x * span:.1f},{_at_y(y, height)}" for x, y in zip(xs, ys))
        body.append(f'<polyline points="{points}" fill="none" style="stroke:{line.colour}"/>')
        if line.size is not None:
            body += [
                f'<circle cx="{_LEFT + x * span:.1f}" cy="{_at_y(y, height)}" r="{r:.1f}" '
                f'style="fill:{line.colour}"/>'
                for x, y, r in zip(xs, ys, line.size[known])
            ]
    return _frame(width, height, y_label, body, f"{y_label} over {x_label}")


def mark_chart(
    places: Sequence[str], series: int, marks: Sequence[Mark], x_label: str, y_label: str,
    width: int = 540, height: int = 300,
) -> str:  # fmt: skip
    """Points with intervals: series beside each other at each named place."""
    span = (width - _LEFT - _RIGHT) / max(len(places), 1)
    body = [
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _BOTTOM + 5}"/>'
        for x in (_LEFT + i * span for i in range(len(places) + 1))
    ]
    for i, name in enumerate(places):
        body.append(_text(_LEFT + (i + 0.5) * span, height - _BOTTOM + 16, name))
    body.append(_text((_LEFT + width - _RIGHT) / 2, height - 6, x_label))
    for m in marks:
        if math.isnan(m.value):
            continue
        x = _LEFT + span * (m.place + (m.series + 1) / (series + 1))
        colour = COLOURS[m.series % len(COLOURS)]
        if not math.isnan(m.low):
            ends = f'y1="{_at_y(m.low, height)}" y2="{_at_y(m.high, height)}"'
            body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" {ends} style="stroke:{colour}"/>')
        dot = f'cx="{x:.1f}" cy="{_at_y(m.value, height)}" r="4"'
        body.append(f'<circle {dot} style="fill:{colour}"/>')
    return _frame(width, height, y_label, body, f"{y_label} by {x_label}")


def interval_bar(
    value: float, low: float, high: float, limits: tuple[float, float] = (0.0, 1.0),
    colour: str = COLOURS[0],
) -> str:  # fmt: skip
    """A value and its interval on a short scale; a tick at 0 where the scale crosses it."""
    width, height = 150, 16
    scale = (width - 8) / (limits[1] - limits[0])

    def at(v: float) -> float:
        return 4 + (min(max(v, limits[0]), limits[1]) - limits[0]) * scale

    body = [f'<line class="grid" x1="4" x2="{width - 4}" y1="8" y2="8"/>']
    if limits[0] < 0 < limits[1]:
        body.append(f'<line class="zero" x1="{at(0):.1f}" x2="{at(0):.1f}" y1="1" y2="15"/>')
    if not math.isnan(low):
        ends = f'x1="{at(low):.1f}" x2="{at(high):.1f}"'
        body.append(f'<line {ends} y1="8" y2="8" style="stroke:{colour};stroke-width:3"/>')
    if not math.isnan(value):
        body.append(f'<circle cx="{at(value):.1f}" cy="8" r="4.5" style="fill:{colour}"/>')
    head = f'class="bar" width="{width}" height="{height}" aria-hidden="true"'
    return f"<svg {head}>{''.join(body)}</svg>"
