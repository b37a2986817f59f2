"""The page over all logs of a fleet: one HTML file, no network, everything shown is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np

from planning.scores import Limits
from tools.clips import OVERLAY
from tools.files import write_text
from tools.fleet_figures import Distribution, FleetFigures, RunFigures, fleet_figures
from tools.fleet_finish import PAGE, PICTURE

_PICTURES = 400  # more of them would make the page heavy
_JPEG_QUALITY = 72
_STYLE = """
:root { color-scheme: light dark; --ground: #f3f5f8; --card: #fff; --line: #dfe4ea;
  --soft: #eef1f5; --ink: #17202b; --dim: #5b6775; --faint: #8b96a3; --accent: #1668dc;
  --ok: #1f9d5b; --blocked: #d98200; --bad: #d8352f; --fault: #c2281f; --bar: #2f7df0; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f1318; --card: #181d24; --line: #2a313b;
  --soft: #212832; --ink: #e9edf2; --dim: #a0abb8; --faint: #77828f; --accent: #4c9bff;
  --ok: #2fbf71; --blocked: #ffb020; --bad: #f5524c; --fault: #ff7b74; --bar: #4c9bff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 14px/1.45 system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1500px; margin: 0 auto; padding: 14px 20px 40px; display: grid; gap: 12px;
  grid-template-columns: minmax(0, 1fr); }
h1 { font-size: 17px; margin: 0; } h2 { font-size: 13px; margin: 0; font-weight: 650; }
.top { display: flex; gap: 10px; align-items: center; }
.top svg { width: 24px; height: 24px; } .top rect { fill: #2f7df0; } .top path { fill: #fff; }
.dim { color: var(--dim); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)); gap: 12px; }
.tile { padding: 10px 14px; } .tile span { color: var(--dim); font-size: 12.5px; display: block; }
.tile b { font-size: 22px; font-weight: 650; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums; } .tile i { font-style: normal; color: var(--dim); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(218px, 1fr)); gap: 12px; }
.plot { padding: 9px 12px 6px; } .plot svg { width: 100%; height: auto; display: block; }
.plot p { margin: 0; color: var(--dim); font-size: 12px; }
svg text { font: 10px system-ui, "DejaVu Sans", sans-serif; fill: var(--dim); }
.bar { fill: var(--bar); } .bar.over { fill: var(--bad); } .axis { stroke: var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 9px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
th { font-size: 12.5px; font-weight: 600; color: var(--dim); position: sticky; top: 0; z-index: 1;
  background: var(--card); }
th button { all: unset; cursor: pointer; } th button:hover { color: var(--ink); }
th button:focus-visible { outline: 2px solid var(--accent); border-radius: 3px; }
th[aria-sort=ascending] button::after { content: " \\25B4"; }
th[aria-sort=descending] button::after { content: " \\25BE"; }
.left { text-align: left; } tbody tr:hover { background: var(--soft); }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
.log { display: flex; gap: 12px; align-items: center; }
.log img { width: 112px; border-radius: 5px; display: block; background: #0b0e12; }
.log b { font-weight: 620; display: block; max-width: 30ch; overflow: hidden;
  text-overflow: ellipsis; } .log span { color: var(--dim); font-size: 12px; display: block;
  max-width: 28ch; overflow: hidden; text-overflow: ellipsis; }
.low { color: var(--fault); font-weight: 650; }
.ribbon { width: 200px; height: 26px; display: block; border-radius: 3px; }
.s0 { fill: var(--ok); opacity: .8; } .s1 { fill: var(--blocked); } .s2 { fill: var(--bad); }
.near { fill: var(--ink); } .hurt { fill: var(--fault); }
.head { display: flex; gap: 16px; align-items: baseline; padding: 10px 12px 2px; flex-wrap: wrap; }
.failed { border-color: var(--fault); padding: 10px 14px; } .failed table { width: auto; }
.failed td { white-space: normal; padding: 5px 18px 5px 0; }
@media print { body { background: #fff; } .card { break-inside: avoid; } }
"""
_SCRIPT = """
const table = document.querySelector("table.sortable");
const value = (row, k) => row.cells[k].dataset.v ?? row.cells[k].textContent.trim();
table?.querySelectorAll("th").forEach((th, k) => th.firstElementChild?.addEventListener("click",
  () => {
    const up = th.ariaSort === "ascending" ? -1 : 1;
    table.querySelectorAll("th").forEach((other) => { other.ariaSort = null; });
    th.ariaSort = up > 0 ? "ascending" : "descending";
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [value(a, k), value(b, k)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const number = Number(x) - Number(y);
      return up * (Number.isNaN(number) ? x.localeCompare(y) : number);
    });
    table.tBodies[0].append(...rows);
  }));
"""
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<div class="top"><svg viewBox="0 0 24 24" aria-hidden="true"><rect width="24" height="24" rx="6"/>
<path d="M10.6 5h2.8l4.6 14h-3.4L12 8.6 9.4 19H6z"/></svg>
<h1>$title</h1><span class="dim">$about</span></div>
$body
</main>
<script>$script</script>
</body>
</html>
""")


def write_fleet_page(
    out: Path, runs: Sequence[Path], failed: Sequence[tuple[str, str]], tables: bool
) -> None:
    """Write ``out/index.html``.

    Args:
        runs: finished ones, folders in ``out``; failed: (source, reason) of the others.
        tables: the runs' tables are there.

    Raises:
        InputError: the tables cannot be read.
    """
    figures = fleet_figures(out, runs, tables)
    models = sorted({str(_model(r.summary)) for r in figures.runs})
    body = [_tiles(figures, failed)]
    if failed:
        body.append(_failures(failed))
    if figures.distributions:
        plots = "".join(_histogram(d) for d in figures.distributions)
        body.append(f'<div class="plots">{plots}</div>')
    if figures.runs:
        body.append(_table(out, figures.runs))
    text = _PAGE.substitute(
        policy=escape(_policy(), quote=True),
        title=escape(f"{out.resolve().name} · Roadstack replays"),
        about=escape(f"model {', '.join(models)}" if models else ""),
        style=_STYLE,
        script=_SCRIPT,
        body="\n".join(body),
    )
    write_text(out / "index.html", text)


def _policy() -> str:
    code, look = (
        base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (_SCRIPT, _STYLE)
    )
    return (
        f"default-src 'none'; script-src 'sha256-{code}'; style-src 'sha256-{look}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _model(summary: dict[str, Any]) -> str:
    model = summary.get("model")
    return str(model.get("name", "?")) if isinstance(model, dict) else "?"


def _tiles(f: FleetFigures, failed: Sequence[object]) -> str:
    frames = sum(r.number("frames") for r in f.runs)
    seconds = [r.seconds for r in f.runs if r.seconds is not None]
    path = sum(r.number("plans_ok") for r in f.runs)
    faults = sum(r.number("frames_with_faults") for r in f.runs)
    least = min((r.ttc_s for r in f.runs if r.ttc_s is not None), default=None)
    tiles: list[tuple[str, str, str]] = [
        ("Logs", f"{len(f.runs)}", f"{len(failed)} failed" if failed else ""),
        ("Frames", f"{frames:,.0f}".replace(",", "\u202f"), ""),
    ]
    if seconds:
        tiles.append(("Drive", *_span(sum(seconds))))
    tiles += [
        ("With a path", f"{100 * path / frames:.1f}" if frames else "-", "%"),
        ("With faults", f"{faults:.0f}", "frames"),
        ("Objects tracked", f"{sum(r.number('tracks') for r in f.runs):.0f}", ""),
    ]
    if seconds:
        tiles += [
            ("Events", f"{sum(r.events or 0 for r in f.runs)}", ""),
            (
                "Smallest TTC",
                "-" if least is None else f"{least:.1f}",
                "" if least is None else "s",
            ),
        ]
    return '<div class="tiles">' + "".join(
        f'<div class="tile card"><span>{escape(name)}</span><b>{escape(value)}</b> '
        f"<i>{escape(unit)}</i></div>"
        for name, value, unit in tiles
    ) + "</div>"  # fmt: skip


def _span(seconds: float) -> tuple[str, str]:
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f}", unit
    return f"{seconds:.1f}", "s"


def _failures(failed: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><td class="left">{escape(name)}</td>'
        f'<td class="left">{escape(reason.removeprefix(f"{name}: "))}</td></tr>'
        for name, reason in failed
    )
    return f'<div class="card failed"><h2>Failed</h2><table>{rows}</table></div>'


def _histogram(d: Distribution) -> str:
    """Bars of one distribution; frames too near a collision in another colour."""
    width, height, base = 240.0, 92.0, 76.0
    step = width / len(d.counts)
    most = max(d.counts)
    limit = Limits().collision_s if d.title.startswith("Time to collision") else -1.0
    bars = []
    for i, count in enumerate(d.counts):
        tall = max(count / most * (base - 6), 1.0 if count else 0.0)
        near = d.low + i * d.step < limit - 1e-9
        begin = d.low + i * d.step
        end = "more" if i == len(d.counts) - 1 else f"{begin + d.step:g}"
        bars.append(
            f'<rect class="bar{" over" if near else ""}" x="{i * step + 0.75:.1f}" '
            f'y="{base - tall:.1f}" width="{step - 1.5:.1f}" height="{tall:.1f}">'
            f"<title>{begin:g} to {end} {d.unit}: {count} frames</title></rect>"
        )
    ticks = "".join(
        f'<text x="{min(max(i * step, 1), width - 1):.1f}" y="{base + 12:.0f}" '
        f'text-anchor="{"start" if i == 0 else "middle"}">{d.low + i * d.step:g}</text>'
        for i in range(0, len(d.counts), 5)
    )
    unit = f" ({escape(d.unit)})" if d.unit else ""
    return (
        f'<div class="plot card"><h2>{escape(d.title)}<span class="dim">{unit}</span></h2>'
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(d.title)}">'
        f'<line class="axis" x1="0" x2="{width:g}" y1="{base:g}" y2="{base:g}"/>'
        f"{''.join(bars)}{ticks}</svg><p>{sum(d.counts)} frames</p></div>"
    )


def _ribbon(r: RunFigures) -> str:
    """The run from left to right: status of the plan, below it where a collision is near, above
    it where there are faults."""
    if not r.ribbon:
        return ""
    limit_s, step = Limits().collision_s, 240 / len(r.ribbon)
    parts = []
    for i, (status, ttc_s, fault) in enumerate(r.ribbon):
        x, wide = f"{i * step:.2f}", f"{step + 0.05:.2f}"
        parts.append(f'<rect class="s{status}" x="{x}" y="5" width="{wide}" height="13"/>')
        if fault:
            parts.append(f'<rect class="hurt" x="{x}" y="0" width="{wide}" height="4"/>')
        if ttc_s is not None:
            tall = 7 if ttc_s < limit_s else max(1.0, 5 * (1 - ttc_s / Limits().horizon_s))
            kind = "hurt" if ttc_s < limit_s else "near"
            parts.append(
                f'<rect class="{kind}" x="{x}" y="19" width="{wide}" height="{tall:.1f}"/>'
            )
    return (
        f'<svg class="ribbon" viewBox="0 0 240 26" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(r.name)} over time">{"".join(parts)}</svg>'
    )


def _picture(folder: Path) -> str:
    with suppress(OSError, cv2.error):
        coded = np.frombuffer((folder / PICTURE).read_bytes(), np.uint8)
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        if image is not None:
            ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            if ok:
                code = base64.b64encode(data.tobytes()).decode("ascii")
                return f'<img alt="" src="data:image/jpeg;base64,{code}">'
    return ""


def _cell(shown: str, value: float | None = None, low: bool = False) -> str:
    data = "" if value is None else f"{value:.6g}"
    mark = ' class="low"' if low else ""
    return f'<td data-v="{data}"{mark}>{escape(shown)}</td>'


def _table(out: Path, runs: Sequence[RunFigures]) -> str:
    heads = ("Log", "Over time", "Frames", "Frames/s", "Tracks", "With a path", "Faults",
             "Smallest TTC", "Nearest", "Events")  # fmt: skip
    top = "".join(
        f'<th class="left">{h}</th>' if h == "Over time"
        else f'<th{" class=left" if h == "Log" else ""}><button>{h}</button></th>' for h in heads
    )  # fmt: skip
    body = "".join(_row(out, r, number < _PICTURES) for number, r in enumerate(runs))
    key = (
        '<div class="head"><h2>Logs</h2><span class="dim key">'
        '<svg width="10" height="10"><rect class="s0" width="10" '
        'height="10" rx="3"/></svg> path &nbsp; <svg width="10" height="10"><rect class="s1" '
        'width="10" height="10" rx="3"/></svg> blocked &nbsp; <svg width="10" height="10"><rect '
        'class="s2" width="10" height="10" rx="3"/></svg> no path &nbsp; <svg width="10" '
        'height="10"><rect class="hurt" width="10" height="4"/></svg> above: faults, below: time '
        f"to collision, red under {Limits().collision_s:g} s</span></div>"
    )
    return (
        f'<div class="card">{key}<div class="wide"><table class="sortable"><thead><tr>{top}</tr>'
        f"</thead><tbody>{body}</tbody></table></div></div>"
    )


def _row(out: Path, r: RunFigures, picture: bool) -> str:
    folder = out / r.name
    frames = r.number("frames")
    share = r.number("plans_ok") / frames if frames else 0.0
    links = [
        f'<a href="{escape(quote(f"{r.name}/{name}"), quote=True)}">{word}</a>'
        for name, word in ((PAGE, "open"), (OVERLAY, "video"), ("record.jsonl", "record"))
        if (folder / name).is_file()
    ]
    source = str(r.summary.get("source", ""))
    near = r.ttc_s is not None and r.ttc_s < Limits().collision_s
    at = "" if r.ttc_at_s is None else f" at {r.ttc_at_s:.1f} s"
    log = (
        f'<td class="left" data-v="{escape(r.name, quote=True)}"><div class="log">'
        f"{_picture(folder) if picture else ''}<div>"
        f'<b title="{escape(r.name, quote=True)}">{escape(r.name)}</b>'
        f'<span title="{escape(source, quote=True)}">{escape(source)}</span>'
        f"<span>{' · '.join(links)}</span></div></div></td>"
    )
    faults = r.number("frames_with_faults")
    return "<tr>" + log + f'<td class="left">{_ribbon(r)}</td>' + "".join(
        (
            _cell(f"{frames:.0f}", frames),
            _cell(f"{r.number('frames_per_second'):.1f}", r.number("frames_per_second")),
            _cell(f"{r.number('tracks'):.0f}", r.number("tracks")),
            _cell(f"{100 * share:.1f} %", share),
            _cell(f"{faults:.0f}", faults, low=faults > 0),
            _cell("-" if r.ttc_s is None else f"{r.ttc_s:.1f} s{at}", r.ttc_s, low=near),
            _cell("-" if r.nearest_m is None else f"{r.nearest_m:.1f} m", r.nearest_m),
            _cell("-" if r.events is None else f"{r.events}", r.events),
        )
    ) + "</tr>"  # fmt: skip
