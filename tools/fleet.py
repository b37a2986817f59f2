"""``roadstack replay`` of many logs: a process and a folder for each, and one page over all.

``OUT/NAME/`` holds a log's replay, with ``fleet.json`` (of which source, model and options it is,
and whether it was finished) and ``replay.log`` (what its process said); ``OUT/`` holds
``fleet.json`` (all logs of the last call), ``index.html``, ``frames.parquet`` and
``objects.parquet``. A log that is done already is left as it is.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError, printable

if TYPE_CHECKING:
    from tools.fleet_jobs import FrameCount, Job, Outcome, Runner

MARK = "fleet.json"
_WILD = re.compile(r"[*?[]")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_RESERVED = {"frames.parquet", "objects.parquet", "index.html", MARK}
_POLL_S, _SAY_S = 0.25, 10.0


def run_replay_command(a: argparse.Namespace) -> int:
    """``replay``: one log as ever, or many of them."""
    sources = list(a.source)
    wild = any(_WILD.search(str(s)) and not s.exists() for s in sources)
    fleet = a.jobs is not None or a.ray is not None or a.retries is not None or a.again
    if a.deadline_ms is not None and not a.realtime:
        raise InputError("--deadline-ms: only with --realtime; without, no plan is ever late")
    live = getattr(a, "live", False) or any(_ADDRESS.match(str(s)) for s in sources)
    if len(sources) > 1 or fleet or (wild and not live):
        if live:
            raise InputError("--live: takes one SOURCE, and none of the options for many logs")
        return run_fleet(a)
    from tools.replay import run_replay

    a.source = sources[0] if sources else None
    return run_replay(a)


def expand(sources: Iterable[Path]) -> list[Path]:
    """Paths with wildcards as what they match, in order of names; each path once.

    Raises:
        InputError: nothing matches, or there is no source at all.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        text = str(source)
        if _WILD.search(text) and not source.exists():
            hits = [Path(p) for p in sorted(glob.glob(text, recursive=True))]
            if not hits:
                raise InputError(f"{text}: matches no file or folder")
        else:
            hits = [source]
        for hit in hits:
            found.setdefault(hit.resolve(), hit)
    if not found:
        raise InputError("--jobs, --ray, --retries and --again: give the logs to replay")
    return list(found.values())


def folder_for(out: Path, source: Path, taken: set[str]) -> Path:
    """A folder of ``out`` for a source: a safe name made of its own.

    Another source's folder, or one that no fleet has made, is not taken: its name then ends in a
    hash of the source's path.
    """
    name = source.name if source.name.strip(".") else source.resolve().name
    stem = name if source.is_dir() else (Path(name).stem or name)
    safe = re.sub(r"[^\w.-]+", "_", stem, flags=re.ASCII).strip("._-")[:80] or "log"
    code = hashlib.sha256(str(source.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    for one in (safe, f"{safe}-{code[:8]}", f"{safe}-{code}"):
        folder = out / one
        if one.lower() in taken or one.lower() in _RESERVED or folder.is_symlink():
            continue
        own = _mark(folder).get("path") == str(source.resolve())
        if own or not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            taken.add(one.lower())
            return folder
    raise InputError(f"--out {out}: holds no free name for {source}; give another folder")


def _mark(folder: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def share_processors(
    jobs: int | None, threads: int | None, logs: int, processors: int
) -> tuple[int, int]:
    """(jobs, threads of each) that together need no more than the processors."""
    if jobs is None:
        jobs = max(1, processors // threads) if threads else processors
    jobs = max(1, min(jobs, processors, logs))
    most = max(1, processors // jobs)
    return jobs, min(threads, most) if threads else most


class Fleet:
    """All logs of a call, and what became of each."""

    def __init__(self, a: argparse.Namespace, out: Path, threads: int) -> None:
        self.a, self.out, self.threads = a, out, threads
        self.retries = 1 if a.retries is None else a.retries
        self.waiting: deque[Job] = deque()
        self.running: dict[str, tuple[Job, FrameCount]] = {}
        self.done: list[Job] = []
        self.skipped: list[Job] = []
        self.failed: list[tuple[Job, Outcome]] = []
        self.marks: dict[str, dict[str, Any]] = {}
        self._same = _same_for_all(a)
        taken: set[str] = set()
        for source in expand(a.source):
            self._add(source, folder_for(out, source, taken))

    def _add(self, source: Path, folder: Path) -> None:
        from tools.fleet_jobs import Job, Outcome, frames_of, replay_options
        from tools.partial import identity

        job = Job(source, folder, expected=self.a.max_frames)
        try:
            now = identity(source, self.out)
        except OSError as e:
            why = "no such file or folder" if isinstance(e, FileNotFoundError) else e.strerror
            self.failed.append((job, Outcome(2, f"{source}: {why}")))
            return
        mark = {"path": str(source.resolve()), "source": now, **self._same,
                "options": replay_options(self.a, Path())}  # fmt: skip
        before = _mark(folder)
        same = {k: before.get(k) for k in mark} == mark
        if same and before.get("finished") and _model_of(folder) == mark["model"]:
            job.frames = job.expected = frames_of(folder)
            if not self.a.again:
                self.skipped.append(job)
                return
        self.marks[job.name] = mark
        # a record that was begun in the same way is gone on with
        self._prepare(job, resume=same and not self.a.again)
        self.waiting.append(job)

    def _prepare(self, job: Job, resume: bool) -> None:
        from tools.fleet_jobs import replay_options

        begun = resume and (job.folder / ".partial" / "checkpoint.json").exists()
        job.frames = 0
        words = replay_options(self.a, job.folder)
        job.commands = [
            ["-m", "tools.cli", "replay", *words, f"--out={job.folder}",
             f"--threads={self.threads}", *(["--resume"] if begun else []), "--", str(job.source)],
            ["-m", "tools.fleet_finish", str(job.folder)],
        ]  # fmt: skip

    def start(self, runner: Runner) -> None:
        """Begin the next log."""
        from tools.files import write_json
        from tools.fleet_jobs import FrameCount

        job = self.waiting.popleft()
        job.folder.mkdir(parents=True, exist_ok=True)
        write_json(job.folder / MARK, {**self.marks[job.name], "finished": False})
        job.attempts += 1
        self.running[job.name] = (job, FrameCount(job, "--resume" in job.commands[0]))
        runner.start(job)

    def end(self, job: Job, outcome: Outcome) -> None:
        """Take note of a log's end: done, to be begun again, or failed."""
        from tools.files import write_json
        from tools.fleet_jobs import frames_of

        del self.running[job.name]
        resumed = "--resume" in job.commands[0]
        if outcome.code == 0:
            write_json(job.folder / MARK, {**self.marks[job.name], "finished": True})
            job.frames = job.expected = frames_of(job.folder)
            self.done.append(job)
        elif outcome.code == 2 and resumed and "--resume" in outcome.reason:
            self._prepare(job, resume=False)
            job.attempts -= 1
            self.waiting.append(job)
        elif outcome.code != 2 and job.attempts <= self.retries:
            say(f"{printable(str(job.source))}: {outcome.reason}; begun again")
            self._prepare(job, resume=True)
            self.waiting.append(job)
        else:
            self.failed.append((job, outcome))

    def report(self) -> dict[str, Any]:
        """What ``OUT/fleet.json`` holds."""
        states = {
            "done": self.done, "skipped": self.skipped, "failed": [j for j, _ in self.failed],
        }  # fmt: skip
        reasons = {j.name: o.reason for j, o in self.failed}
        rows = [
            {"log": str(j.source), "run": j.name, "state": state, "frames": j.frames,
             "attempts": j.attempts, **({"reason": reasons[j.name]} if state == "failed" else {})}
            for state, jobs in states.items() for j in jobs
        ]  # fmt: skip
        return {"schema": "roadstack-fleet-1", "logs": sorted(rows, key=lambda r: str(r["run"]))}


def _same_for_all(a: argparse.Namespace) -> dict[str, Any]:
    """What besides source and options a finished replay depends on."""
    from perception.runtime import find_model
    from tools.cli import package_version
    from tools.partial import file_sha256, files_sha256
    from tools.record import SCHEMA

    return {
        "model": file_sha256(find_model(a.model)),
        "files": files_sha256(a),
        "roadstack": package_version(),
        "record": SCHEMA,
    }


def _model_of(folder: Path) -> str | None:
    """The model's hash in a finished replay's summary."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        return str(summary["model"]["sha256"]) if (folder / "record.jsonl").exists() else None
    return None


def say(line: str) -> None:
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


class Progress:
    """One line over all logs: drawn over itself on a terminal, else printed every ten seconds."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._began = fleet, time.monotonic()
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._last = self._began

    def update(self) -> None:
        now = time.monotonic()
        if now - self._last < (1.0 if self._terminal else _SAY_S):
            return
        self._last = now
        for _, count in self._fleet.running.values():
            count.update()
        line = self.line(now - self._began)
        if self._terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            say(line)

    def close(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        """Logs and frames done, and the time left if all logs are as long as those known."""
        f = self._fleet
        jobs = [*f.waiting, *(j for j, _ in f.running.values()), *f.done]
        done = sum(j.frames for j in jobs)
        earlier = sum(c.begun for _, c in f.running.values())
        known = [j.expected for j in [*jobs, *f.skipped] if j.expected]
        parts = [
            f"{len(f.done) + len(f.skipped)}/{len(jobs) + len(f.skipped) + len(f.failed)} logs"
        ]
        rate = max(done - earlier, 0) / max(seconds, 1e-6)
        if known and done:
            mean = sum(known) / len(known)
            total = max(sum(j.expected or mean for j in jobs), done)
            about = "" if all(j.expected for j in jobs) else "about "
            parts.append(f"{done} of {about}{total:.0f} frames, {rate:.1f} frames/s")
            if rate > 0:
                parts.append(f"{_span(int((total - done) / rate))} left")
        else:
            parts.append(f"{done} frames")
        return ", ".join([*parts, *([f"{len(f.failed)} failed"] if f.failed else [])])


def _span(seconds: int) -> str:
    if seconds < 90:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def run_jobs(fleet: Fleet, runner: Runner, jobs: int) -> None:
    """Run all logs, ``jobs`` at once; ends what runs when interrupted."""
    progress = Progress(fleet)
    try:
        while fleet.waiting or fleet.running:
            while fleet.waiting and len(fleet.running) < jobs:
                fleet.start(runner)
            for job, _ in list(fleet.running.values()):
                outcome = runner.poll(job)
                if outcome is not None:
                    progress.close()
                    fleet.end(job, outcome)
            progress.update()
            time.sleep(_POLL_S)
    finally:
        progress.close()
        runner.stop()


def run_fleet(a: argparse.Namespace) -> int:
    """Replay all of ``a.source`` below ``a.out``.

    Returns:
        0; 1 if some logs failed, 2 if none could be read.

    Raises:
        InputError: an option is wrong, nothing matches, or the folder cannot be written to.
    """
    from tools.files import make_folder, write_json
    from tools.fleet_jobs import LocalRunner, RayRunner
    from tools.warmup import REPLAY, prepare

    out = make_folder(a.out)
    logs, processors = len(expand(a.source)), len(os.sched_getaffinity(0))
    runner: Runner
    if a.ray is None:
        jobs, threads = share_processors(a.jobs, a.threads, logs, processors)
        fleet, runner = Fleet(a, out, threads), LocalRunner(threads)
    else:
        jobs, threads = a.jobs or logs, a.threads or 1
        fleet = Fleet(a, out, threads)
        runner = RayRunner(a.ray, threads)
    if fleet.waiting:
        each = f"{threads} thread{'' if threads == 1 else 's'} each"
        say(f"{logs} log{'' if logs == 1 else 's'}, {jobs} at once with {each}"
            + (f"; {len(fleet.skipped)} done already" if fleet.skipped else ""))  # fmt: skip
        prepare(*REPLAY)  # or each log's process would compile for itself
    run_jobs(fleet, runner, jobs)
    write_json(out / MARK, fleet.report())
    written = _write_overview(out, fleet)
    _print(fleet, out, written)
    if not fleet.failed:
        return 0
    unreadable = all(outcome.code == 2 for _, outcome in fleet.failed)
    return 2 if unreadable and not fleet.done and not fleet.skipped else 1


def _write_overview(out: Path, fleet: Fleet) -> list[str]:
    """Tables and page over all finished runs of ``out``, those of earlier calls too."""
    from tools.fleet_page import write_fleet_page
    from tools.frame_table import FRAMES, OBJECTS, build_tables, join_tables

    runs = sorted(
        p for p in out.iterdir()
        if p.is_dir() and not p.is_symlink() and _mark(p).get("finished")
    )  # fmt: skip
    tables = bool(runs)
    try:
        join_tables(out, list(build_tables(runs)))
    except InputError as e:
        say(f"note: no tables over all logs: {e}")
        tables = False
    write_fleet_page(out, runs, [(str(j.source), o.reason) for j, o in fleet.failed], tables)
    return ["index.html", MARK, *([FRAMES, OBJECTS] if tables else [])]


def _print(fleet: Fleet, out: Path, written: Sequence[str]) -> None:
    frames = sum(j.frames for j in fleet.done)
    done = len(fleet.done)
    counts = [f"{done} log{'' if done == 1 else 's'} replayed ({frames} frames)"]
    if fleet.skipped:
        counts.append(f"{len(fleet.skipped)} done already (--again to redo)")
    if fleet.failed:
        counts.append(f"{len(fleet.failed)} failed")
    print(", ".join(counts))
    for job, outcome in fleet.failed:
        more = f" ({job.attempts} attempts)" if job.attempts > 1 else ""
        name = printable(str(job.source))
        print(f"failed: {name}: {outcome.reason.removeprefix(f'{name}: ')}{more}",
              file=sys.stderr)  # fmt: skip
    print(f"written to {out}: {', '.join(written)}")
