"""One self-contained HTML page: no script, no network, everything shown is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from string import Template

import cv2
import numpy as np

from data.types import U8
from tools.view.svg import COLOURS

_JPEG_QUALITY = 80
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1c2430;
  background: #fff; max-width: 1220px; margin: 0 auto; padding: 24px 28px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 8px; padding-top: 14px; border-top: 1px solid #dde2e8; }
h3 { font-size: 15px; margin: 18px 0 6px; }
p, .note { margin: 4px 0 10px; max-width: 82ch; }
.note, figcaption { color: #5a6675; font-size: 13.5px; }
table { border-collapse: collapse; margin: 8px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 11px 4px 0; text-align: right; border-bottom: 1px solid #e8ebef;
  vertical-align: middle; white-space: nowrap; }
th { font-weight: 600; color: #3c4754; font-size: 13.5px; }
th:first-child, td:first-child { text-align: left; }
td.cell { text-align: center; padding: 6px 14px; border: 1px solid #fff; }
td.wrap { white-space: normal; max-width: 76ch; text-align: left; }
.row { display: flex; flex-wrap: wrap; gap: 8px 26px; align-items: flex-start; }
figure { margin: 10px 0 18px; }
figure img { display: block; width: 100%; height: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 6px; }
.key { display: inline-block; margin-right: 16px; font-size: 13.5px; }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 3px;
  margin-right: 5px; vertical-align: -1px; }
.worse { color: #a3260b; font-weight: 600; } .better { color: #0a6b45; font-weight: 600; }
svg { max-width: 100%; }
svg text { font-size: 12px; fill: #3c4754; }
svg polyline, svg line { stroke-width: 2; }
svg .grid { stroke: #e3e7ec; stroke-width: 1; }
svg .ideal { stroke: #9aa5b1; stroke-dasharray: 5 4; stroke-width: 1.5; }
svg .zero { stroke: #6b7683; stroke-width: 1.5; }
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
    return _PAGE.substitute(title=shown(title), body="\n".join(parts))


def heading(text: str, level: int = 2) -> Html:
    return Html(f"<h{level}>{shown(text)}</h{level}>")


def note(text: object) -> Html:
    return Html(f'<p class="note">{shown(text)}</p>')


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Html:
    """Rows of cells under ``head``; the first column stands to the left."""
    top = "".join(f"<th>{shown(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return Html(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>")


def _cell(value: object) -> str:
    if isinstance(value, Html) and value.startswith("<td"):
        return value
    return f"<td>{shown(value)}</td>"


def shaded(value: object, share: float) -> Html:
    """A cell whose ground is the darker, the larger ``share`` of 0 to 1."""
    blue = f"rgba(0, 114, 178, {0.75 * min(max(share, 0.0), 1.0):.3f})"
    ink = "#fff" if share > 0.7 else "inherit"
    return Html(f'<td class="cell" style="background:{blue};color:{ink}">{shown(value)}</td>')


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
