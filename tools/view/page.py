"""One self-contained HTML page: no script, no network, everything shown is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from string import Template

import cv2
import numpy as np

from data.types import U8
from tools.view.svg import COLOURS, SERIES

_JPEG_QUALITY = 80
_CENTRED = '<td class="cell"'
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
$series
:root { color-scheme: light dark; --ground: #fff; --ink: #1c2430; --dim: #5a6675;
  --head: #3c4754; --line: #dde2e8; --ideal: #9aa5b1; --zero: #6b7683; --shade: 0 114 178;
  --worse: #a3260b; --better: #0a6b45; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161c; --ink: #e6eaef; --dim: #a3adb9;
  --head: #c3cbd5; --line: #2d3541; --ideal: #667180; --zero: #8b96a3; --shade: 58 150 221;
  --worse: #ff9c87; --better: #4fd39c; } }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink);
  background: var(--ground); max-width: 1220px; margin: 0 auto;
  padding: 24px clamp(14px, 4vw, 28px) 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 40px 0 8px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 18px 0 6px; }
p, .note { margin: 4px 0 10px; max-width: 82ch; }
.note, figcaption { color: var(--dim); font-size: 13.5px; overflow-wrap: anywhere; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; margin: 8px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 11px 4px 0; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: middle; white-space: nowrap; }
th { font-weight: 600; color: var(--head); font-size: 13.5px; }
th:first-child, td:first-child { text-align: left; }
th.cell { text-align: center; padding: 4px 8px; }
td.cell { text-align: center; padding: 6px 14px; border: 1px solid var(--ground); }
td.wrap { white-space: normal; max-width: 76ch; text-align: left; overflow-wrap: anywhere; }
.ends { display: flex; justify-content: space-between; width: 150px; }
.row { display: flex; flex-wrap: wrap; gap: 8px 26px; align-items: flex-start; }
.row > div { max-width: 100%; }
figure { margin: 10px 0 18px; }
figure img { display: block; width: 100%; height: auto; }
.pair { display: grid; gap: 6px;
  grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); }
.key { display: inline-block; margin-right: 16px; font-size: 13.5px; }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 3px;
  margin-right: 5px; vertical-align: -1px; }
.worse { color: var(--worse); font-weight: 600; }
.better { color: var(--better); font-weight: 600; }
svg.chart { display: block; max-width: 100%; height: auto; }
svg.bar { display: block; }
svg text { font-size: 12px; fill: var(--head); }
svg polyline, svg line { stroke-width: 2; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .ideal { stroke: var(--ideal); stroke-dasharray: 5 4; stroke-width: 1.5; }
svg .zero { stroke: var(--zero); stroke-width: 1.5; }
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
</style>
</head>
<body>
$body
</body>
</html>
""")


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def shown(value: object) -> Html:
    """``value`` as it may stand in a page."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def page(title: str, parts: Iterable[Html]) -> str:
    """The whole page."""
    return _PAGE.substitute(title=shown(title), series=SERIES, body="\n".join(parts))


def heading(text: str, level: int = 2) -> Html:
    return Html(f"<h{level}>{shown(text)}</h{level}>")


def note(text: object) -> Html:
    return Html(f'<p class="note">{shown(text)}</p>')


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Html:
    """Rows of cells under ``head``; the first column stands to the left. What is wider than the
    page scrolls by itself."""
    cells = [[_cell(value) for value in row] for row in rows]
    first = cells[0] if cells else [""] * len(head)
    kinds = (' class="cell"' if c.startswith(_CENTRED) else "" for c in first)
    top = "".join(f"<th{kind}>{shown(h)}</th>" for h, kind in zip(head, kinds, strict=True))
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    inner = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return Html(f'<div class="wide"><table>{inner}<tbody>{body}</tbody></table></div>')


def _cell(value: object) -> str:
    if isinstance(value, Html) and value.startswith("<td"):
        return value
    return f"<td>{shown(value)}</td>"


def shaded(value: object, share: float) -> Html:
    """A cell whose ground is the bluer, the larger ``share`` of 0 to 1."""
    blue = f"rgb(var(--shade) / {0.7 * min(max(share, 0.0), 1.0):.3f})"
    return Html(f'{_CENTRED} style="background:{blue}">{shown(value)}</td>')


def ends(low: str, high: str) -> Html:
    """The head of a column of ``interval_bar``: what its two ends mean."""
    return Html(f'<span class="ends"><span>{shown(low)}</span><span>{shown(high)}</span></span>')


def wrapped(value: object) -> Html:
    """A cell of running text."""
    return Html(f'<td class="wrap">{shown(value)}</td>')


def legend(names: Sequence[str]) -> Html:
    """Names with the colours of their series."""
    keys = (
        f'<span class="key"><i style="background:{COLOURS[i % len(COLOURS)]}"></i>{shown(n)}</span>'
        for i, n in enumerate(names)
    )
    return Html(f"<div>{''.join(keys)}</div>")


def side_by_side(parts: Iterable[Html]) -> Html:
    return Html(f'<div class="row">{"".join(parts)}</div>')


def block(title: str, *parts: Html) -> Html:
    """A small heading with what belongs to it."""
    return Html(f"<div>{heading(title, 3)}{''.join(parts)}</div>")


def figure(pictures: Sequence[U8], caption: object, alt: str) -> Html:
    """Pictures (BGR) side by side, as JPEG within the page."""
    images = "".join(
        f'<img alt="{shown(alt)}" src="data:image/jpeg;base64,{_jpeg(p)}">' for p in pictures
    )
    caption = f"<figcaption>{shown(caption)}</figcaption>"
    return Html(f'<figure><div class="pair">{images}</div>{caption}</figure>')


def _jpeg(image: U8) -> str:
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not ok:
        raise ValueError(f"picture of shape {image.shape} cannot be encoded")
    return base64.b64encode(np.asarray(data).tobytes()).decode("ascii")
