"""A progress bar with rate and time left; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


def _rate(per_second: float, unit: str) -> str:
    slow = 0 < per_second < 1
    return f"{1 / per_second:.1f} s/{unit}" if slow else f"{per_second:.1f} {unit}/s"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 180 else f"{seconds / 60:.0f} min"


@contextmanager
def progress_bar(
    title: str, total: int | None, unit: str = "it", first: int = 0
) -> Iterator[Callable[..., None]]:
    """Yield ``update(done, note='')``.

    On a terminal a bar is drawn with rich; otherwise a line is printed every ten seconds. What was
    ``first`` done already has no part in the rate.
    """
    start = time.monotonic()

    def per_second(done: int) -> float:
        return (done - first) / max(time.monotonic() - start, 1e-6)

    if sys.stderr is not None and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[rate]} {task.fields[note]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total, completed=first, rate="", note="")

            def update(done: int, note: str = "") -> None:
                rate = _rate(per_second(done), unit)
                bar.update(task, completed=done, rate=rate, note=note)

            yield update
        return
    last = start

    def plain(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < 10 and done != total:
            return
        last = now
        rate = per_second(done)
        left = f", {_time((total - done) / rate)} left" if total and rate > 0 else ""
        of = f"/{total}" if total else ""
        line = f"{title} {done}{of} ({_rate(rate, unit)}{left}) {note}"
        if sys.stderr is not None:
            print(line.rstrip(), file=sys.stderr, flush=True)

    yield plain


def report_skipped(lines: Sequence[str], what: str, shown: int = 5) -> None:
    """Say on standard error how many entries of ``what`` were skipped, and the first of them."""
    for line in lines[:shown]:
        print(f"skipped: {line}", file=sys.stderr)
    if lines:
        more = f", of which {shown} are shown" if len(lines) > shown else ""
        count = "1 entry" if len(lines) == 1 else f"{len(lines)} entries"
        print(f"warning: {what}: {count} skipped{more}", file=sys.stderr)
