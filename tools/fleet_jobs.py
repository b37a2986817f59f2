"""Replays of many logs as processes of their own, on this machine or on a Ray cluster."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from data.errors import InputError
from data.logs.extras import need

LOG = "replay.log"
_ROOT = Path(__file__).resolve().parents[1]
_TAIL_BYTES = 4096
_GRACE_S = 20.0
_OWN = {  # options that are not handed on as they are
    "help", "debug", "source", "out", "threads", "resume", "jobs", "ray", "retries", "again",
    "live",
}  # fmt: skip
_THREADS = (
    "OPENCV_FOR_THREADS_NUM",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass
class Job:
    """A log and its folder; ``commands``: Python's arguments, run one after the other, of which
    the first decides."""

    source: Path
    folder: Path
    commands: list[list[str]] = field(default_factory=list)
    attempts: int = 0
    frames: int = 0
    expected: int | None = None

    @property
    def name(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Outcome:
    """Exit code of a replay (below 0: killed by that signal), and why in one line."""

    code: int
    reason: str = ""


def replay_options(a: argparse.Namespace, folder: Path) -> list[str]:
    """The options of a replay into ``folder``, as typed, without those of ``_OWN``.

    Files of ``--rerun`` and ``--mcap`` are written into the folder.
    """
    from tools.options import build_parser

    sub = next(
        x for x in build_parser("")._actions if isinstance(x, argparse._SubParsersAction)
    ).choices["replay"]
    words = []
    for action in sub._actions:
        value = getattr(a, action.dest, action.default)
        if action.dest in _OWN or not action.option_strings or value == action.default:
            continue
        option = action.option_strings[-1]
        if action.nargs == 0:
            words.append(option)
            continue
        if action.dest in ("rerun", "mcap"):
            value = folder / Path(value).name
        for one in value if isinstance(action, argparse._AppendAction) else [value]:
            words.append(f"{option}={_typed(one)}")
    return words


def _typed(value: Any) -> str:
    """A value as it is typed: sizes as WIDTHxHEIGHT, names between commas."""
    sign = "x" if isinstance(value, tuple) else ","
    return sign.join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def thread_environment(threads: int) -> dict[str, str]:
    """Variables that keep the libraries of a replay to its share of the processors."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return {name: str(threads) for name in _THREADS if name not in os.environ} | {
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
    }


def _end_with_parent() -> None:
    """Linux: a killed parent takes this process along."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Child:
    """The commands of one job as processes, one after the other, written to the job's log."""

    def __init__(
        self, commands: Sequence[Sequence[str]], log: Path, environment: dict[str, str], cwd: str
    ) -> None:
        self._commands = [list(c) for c in commands]
        self._log, self._cwd = log, cwd
        self._environment = os.environ | environment
        self._outcome: Outcome | None = None
        log.unlink(missing_ok=True)
        self._process = self._begin()

    def _begin(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as out:
            # a group of its own: Ctrl-C comes to the parent alone, which ends its children once
            return subprocess.Popen(
                [sys.executable, "-P", *self._commands.pop(0)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self._cwd,
                env=self._environment, process_group=0, preexec_fn=_end_with_parent,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> Outcome | None:
        """The outcome of the first command once all are done; None before."""
        code = self._process.poll()
        if code is None:
            return None
        if self._outcome is None:
            self._outcome = Outcome(code, "" if code == 0 else said_last(self._log, code))
        if self._outcome.code == 0 and self._commands:
            self._process = self._begin()
            return None
        return self._outcome

    def stop(self) -> None:
        """Ask it to end; ``wait`` for it after."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self, deadline_s: float) -> None:
        """Wait until ``time.monotonic()`` says ``deadline_s``, then kill it."""
        try:
            self._process.wait(max(deadline_s - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def said_last(log: Path, code: int) -> str:
    """Why a replay failed, in one line: its own words, or what ended it."""
    if code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
        return f"killed by signal {-code}"
    lines = [line.strip() for line in tail(log).splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith("roadstack replay: "):
            return line.removeprefix("roadstack replay: ")
    return lines[-1][:300] if lines else f"ended with exit code {code}"


def tail(path: Path) -> str:
    """The end of a text file, '' if there is none."""
    with suppress(OSError), path.open("rb") as f:
        f.seek(0, os.SEEK_END)
        f.seek(max(f.tell() - _TAIL_BYTES, 0))
        return f.read().decode("utf-8", "replace")
    return ""


class Runner(Protocol):
    """Runs jobs at the same time."""

    def start(self, job: Job) -> None: ...
    def poll(self, job: Job) -> Outcome | None: ...
    def stop(self) -> None: ...


class LocalRunner:
    """Processes of this machine."""

    def __init__(self, threads: int) -> None:
        self._environment = thread_environment(threads)
        self._children: dict[str, Child] = {}

    def start(self, job: Job) -> None:
        self._children[job.name] = Child(
            job.commands, job.folder / LOG, self._environment, os.getcwd()
        )

    def poll(self, job: Job) -> Outcome | None:
        outcome = self._children[job.name].poll()
        if outcome is not None:
            del self._children[job.name]
        return outcome

    def stop(self) -> None:
        children = list(self._children.values())
        for child in children:
            child.stop()
        deadline_s = time.monotonic() + _GRACE_S
        for child in children:
            child.wait(deadline_s)
        self._children.clear()


def run_commands(
    commands: list[list[str]], log: str, environment: dict[str, str], cwd: str
) -> tuple[int, str]:
    """A job from beginning to end, where a Ray worker runs it."""
    _wait_until_free(Path(log).parent)
    child = Child(commands, Path(log), environment, cwd)
    try:
        while (outcome := child.poll()) is None:
            time.sleep(0.2)
        return outcome.code, outcome.reason
    finally:
        child.stop()
        child.wait(time.monotonic() + _GRACE_S)


def _wait_until_free(folder: Path) -> None:
    """Wait for the end of a replay there whose worker was killed just now."""
    deadline_s = time.monotonic() + _GRACE_S
    with suppress(OSError, ImportError):
        import fcntl

        with (folder / ".partial" / "lock").open("a") as lock:
            while time.monotonic() < deadline_s:
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                time.sleep(0.2)


class RayRunner:
    """Tasks of a Ray cluster; its machines see sources and output under the same paths.

    Raises:
        InputError: Ray is missing, or the cluster does not answer.
    """

    def __init__(self, address: str, threads: int) -> None:
        ray: Any = need("ray", "--ray: clusters", "scale")
        self._ray, self._environment = ray, thread_environment(threads)
        self._environment.pop("PYTHONPATH")
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        if address:
            options["address"] = address
        elif "RAY_ADDRESS" not in os.environ:
            options |= {"include_dashboard": False}
        try:
            # workers find this package where it lies here, or installed
            ray.init(runtime_env={"env_vars": {"PYTHONPATH": str(_ROOT)}}, **options)
        except (ConnectionError, ValueError, RuntimeError, OSError) as e:
            line = (str(e).strip().splitlines() or [type(e).__name__])[0]
            raise InputError(f"--ray {address}: no cluster there ({line:.200})") from e
        # not Ray itself begins a lost task again but its caller, who can go on from a checkpoint
        self._task = ray.remote(num_cpus=threads, max_retries=0)(run_commands)
        self._tasks: dict[str, Any] = {}

    def start(self, job: Job) -> None:
        self._tasks[job.name] = self._task.remote(
            job.commands, str(job.folder / LOG), self._environment, os.getcwd()
        )

    def poll(self, job: Job) -> Outcome | None:
        task = self._tasks[job.name]
        done, _ = self._ray.wait([task], timeout=0)
        if not done:
            return None
        del self._tasks[job.name]
        try:
            return Outcome(*self._ray.get(task))
        except self._ray.exceptions.RayError as e:
            line = (str(e).strip().splitlines() or [type(e).__name__])[-1]
            return Outcome(1, f"Ray: {line:.200}")

    def stop(self) -> None:
        for task in self._tasks.values():
            with suppress(Exception):
                self._ray.cancel(task)
        deadline_s = time.monotonic() + _GRACE_S
        while self._tasks and time.monotonic() < deadline_s:
            _, left = self._ray.wait(list(self._tasks.values()), timeout=0.5)
            if not left:
                break
            self._tasks = {n: t for n, t in self._tasks.items() if t in left}
        self._ray.shutdown()


_OF = re.compile(r"replaying (\d+)/(\d+) ")


class FrameCount:
    """How far a job is: the lines of its unfinished record, read once each.

    Attributes:
        begun: lines that were there before it began, where it is ``resumed``.
    """

    def __init__(self, job: Job, resumed: bool) -> None:
        self._record = job.folder / ".partial" / "record.jsonl"
        self._job, self._at = job, 0
        if resumed:
            self.update()
        self.begun = job.frames

    def update(self) -> None:
        """Set the job's ``frames`` and ``expected``."""
        with suppress(OSError), self._record.open("rb") as f:
            if self._at > os.fstat(f.fileno()).st_size:  # begun anew
                self._at, self._job.frames = 0, 0
            f.seek(self._at)
            while block := f.read(1 << 20):
                self._at += len(block)
                self._job.frames += block.count(b"\n")
        found = _OF.findall(tail(self._job.folder / LOG))
        if found:
            self._job.expected = int(found[-1][1])


def frames_of(folder: Path) -> int:
    """Frames of a finished replay, 0 if it has no summary."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return int(json.loads((folder / "summary.json").read_text(encoding="utf-8"))["frames"])
    return 0
