"""A progress bar with rate and time left; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str, total: int | None, unit: str = "it") -> Iterator[Callable[..., None]]:
    """Yield ``update(done, note='', force=False)``.

    On a terminal a bar is drawn with rich; otherwise a line is printed every ten seconds or
    where ``force`` asks for it.
    """
    start = time.monotonic()
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
            task = bar.add_task(title, total=total, rate="", note="")

            def update(done: int, note: str = "", force: bool = False) -> None:
                rate = f"{done / max(time.monotonic() - start, 1e-6):.1f} {unit}/s"
                bar.update(task, completed=done, rate=rate, note=note)

            yield update
        return
    last = start

    def plain(done: int, note: str = "", force: bool = False) -> None:
        nonlocal last
        now = time.monotonic()
        if not force and now - last < 10 and done != total:
            return
        last = now
        rate = done / max(now - start, 1e-6)
        left = f", {(total - done) / rate:.0f} s left" if total and rate > 0 else ""
        of = f"/{total}" if total else ""
        line = f"{title} {done}{of} ({rate:.1f} {unit}/s{left}) {note}"
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
