"""Gives spoilt files of every kind to the code that reads them, and tells what went wrong.

    python tests/tools/fuzz_inputs.py --count 10000 --seed 0 --minutes 30

Each input must be taken, or be refused with an ``InputError`` of one line, within 10 s of
processor time and 2 GB, and no file may be written beside the output folder. The readers run in a
process of their own, whose death is a finding too. Findings are kept, with their inputs, in
--keep; exit code 1 if any.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from fuzz_bombs import BOMBS  # noqa: E402
from fuzz_mutate import mutated  # noqa: E402
from fuzz_seeds import SEEDS, make_seed  # noqa: E402
from fuzz_targets import TARGETS  # noqa: E402

LIMIT_S = 10.0
LIMIT_BYTES = 2 << 30
_PATIENCE_S = 60.0  # without an answer, until it is looked whether anything goes on
# dear to read, and mostly numbers whose change changes nothing
RARE = {"model checkpoint": 0.4, "drive comma": 0.6, "video hevc": 0.6, "plan": 0.3}


# ---- the worker: one input a line -----------------------------------------------------------


class _Writes:
    """Remembers what was opened to be written outside of a folder."""

    def __init__(self) -> None:
        self.allowed = ""
        self.outside: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.allowed:
            return
        if event == "open":
            path, mode, flags = args
            written = isinstance(mode, str) and set(mode) & set("wax+")
            written = written or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))
            names = [path] if written else []
        elif event in ("os.rename", "os.link", "os.symlink", "os.mkdir", "os.remove", "os.rmdir"):
            names = list(args[1:2] if event in ("os.rename", "os.link", "os.symlink") else args[:1])
        elif event in ("os.system", "subprocess.Popen", "os.exec", "socket.connect"):
            self.outside.append(f"{event} {args[0]!r}")
            return
        else:
            return
        if event in ("os.mkdir", "os.remove", "os.rmdir") and args[-1] != -1:
            names = []  # relative to an open folder, which was found by its name before
        for name in names:
            if isinstance(name, str | bytes):
                full = os.path.realpath(os.fsdecode(name))
                if not full.startswith((self.allowed, "/dev/null")) and "__pycache__" not in full:
                    self.outside.append(full)


def _attempt(kind: str, folder: Path, out: Path, writes: _Writes) -> tuple[str, str]:
    """('ok' | 'refused' | 'finding', what was said)."""
    from data.errors import InputError

    writes.outside, writes.allowed = [], os.path.realpath(out)
    try:
        with redirect_stderr(StringIO()):
            TARGETS[(SEEDS | BOMBS)[kind][0]](folder, out)
        result = "ok", ""
    except InputError as e:
        text = str(e)
        # a line is a line for the eye as well: no control characters
        bad = not text.strip() or not text.isprintable()
        result = ("finding", f"message not of one printable line: {text!r:.300}") if bad else (
            "refused", text)  # fmt: skip
    except BaseException as e:
        where = [f for f in traceback.extract_tb(e.__traceback__) if str(ROOT) in f.filename]
        own = [f for f in where if "/tests/" not in f.filename] or where
        at = f"{Path(own[-1].filename).relative_to(ROOT)}:{own[-1].lineno}" if own else "?"
        result = "finding", f"{type(e).__name__} at {at}: {' '.join(str(e).split())[:200]}"
    writes.allowed = ""
    if writes.outside:
        result = "finding", f"touched outside of the output folder: {writes.outside[:3]}"
    return result


def _memory_kb(key: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{key}:")[1].split()[0])


def worker() -> None:
    """Answers each line {kind, folder, out} with {result, text, seconds, bytes}."""
    import cv2

    import perception.detectors
    import perception.runtime
    import tools.compare
    import tools.score_plans
    import tools.track
    import tools.view.player  # noqa: F401

    with suppress(ImportError):  # training is an extra
        import perception.training.checkpoints  # noqa: F401

    tempfile.gettempdir()  # which is tried out at its first use
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    cv2.setNumThreads(1)
    writes = _Writes()
    limit = (_memory_kb("VmSize") << 10) + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(json.dumps({"result": "ready"}), file=answers, flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
        before = _memory_kb("VmRSS")
        start = time.process_time()
        result, text = _attempt(ask["kind"], Path(ask["folder"]), Path(ask["out"]), writes)
        used = (_memory_kb("VmHWM") - before) << 10
        took = time.process_time() - start  # a busy machine is no fault
        answer = {"result": result, "text": text, "seconds": took, "bytes": used}
        print(json.dumps(answer), file=answers, flush=True)


# ---- the parent -----------------------------------------------------------------------------


def _processor_s(pid: int) -> float:
    """Processor time of a process; a busy machine is no fault of it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Worker:
    """The readers' process; begun anew where it died."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[str] | None = None

    def _begin(self) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
               "NO_ALBUMENTATIONS_UPDATE": "1", "TMPDIR": str(self._home / "tmp"),
               "HOME": str(self._home), "COLUMNS": "100",
               "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", "")}  # fmt: skip
        env = {k: v for k, v in env.items() if v}
        self._errors = (self._home / "worker.log").open("w")
        process = subprocess.Popen(
            [sys.executable, __file__, "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True, bufsize=1, env=env, cwd=self._home / "cwd",
        )  # fmt: skip
        self._process = process
        if not self._answer(process, 120):
            process.kill()
            raise SystemExit(f"the worker did not begin: {self._said()}")
        return process

    def _answer(self, process: subprocess.Popen[str], limit_s: float) -> dict[str, Any]:
        """The next line; {} where it died, or hung: spent that much processor time or none."""
        assert process.stdout is not None
        began_s = before_s = _processor_s(process.pid)
        while True:
            ready, _, _ = select.select([process.stdout], [], [], _PATIENCE_S)
            if ready:
                line = process.stdout.readline()
                return json.loads(line) if line else {}
            now_s = _processor_s(process.pid)
            if now_s - began_s > limit_s or now_s - before_s < 0.2:
                return {}
            before_s = now_s

    def _said(self) -> str:
        return (self._home / "worker.log").read_text(errors="replace")[-400:]

    def __call__(self, kind: str, folder: Path, out: Path, first: bool = False) -> dict[str, Any]:
        """The answer to an input; the first of a kind may compile kernels and take its time."""
        process = self._process or self._begin()
        assert process.stdin is not None
        asked = {"kind": kind, "folder": str(folder), "out": str(out)}
        process.stdin.write(json.dumps(asked) + "\n")
        answer = self._answer(process, 200.0 if first else 2 * LIMIT_S)
        if not answer:
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
            hung = process.poll() is None
            self.end()
            text = "hung" if hung else f"died with {process.returncode}: {self._said()}"
            return {"result": "finding", "text": text, "seconds": 0.0, "bytes": 0}
        if answer["seconds"] > LIMIT_S and not first:
            answer |= {"result": "finding", "text": f"took {answer['seconds']:.1f} s"}
        elif answer["bytes"] > LIMIT_BYTES:
            answer |= {"result": "finding", "text": f"took {answer['bytes'] >> 20} MB"}
        return answer

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _spoil(seed: Path, target: Path, kind: str, number: int, run_seed: int) -> Path:
    """A copy of the seed's folder with one of its files spoilt; the same for the same numbers."""
    r = random.Random(f"{run_seed} {number} {kind}")
    shutil.copytree(seed, target)
    files = sorted(p for p in target.rglob("*") if p.is_file())
    # small text files beside large pictures are as often spoilt
    file = r.choice(files)
    file.write_bytes(mutated(file.read_bytes(), file.suffix, r))
    return file


def _tree(folder: Path) -> set[str]:
    return {str(p) for p in folder.rglob("*")}


def _choose(a: argparse.Namespace) -> tuple[list[str], list[tuple[int, str, bool]]]:
    """The kinds, and what is to be run: (number, kind, spoilt). Each kind comes sound first."""
    kinds = [k for k in SEEDS if (not a.only or any(o in k for o in a.only)) and k not in a.skip]
    if a.number is not None:
        return kinds[:1], [(a.number, kinds[0], True)]
    bombs = [k for k in BOMBS if not a.only or any(o in k for o in a.only)]
    whole = [(n, k, False) for n, k in enumerate([*kinds, *bombs])]
    r = random.Random(a.seed)
    weights = [RARE.get(k, 1.0) for k in kinds]
    spoilt = [(n, r.choices(kinds, weights)[0], True) for n in range(len(whole), a.count)]
    return [*kinds, *bombs], whole + spoilt


def _judge(answer: dict[str, Any], kind: str, spoilt: bool, strays: set[str]) -> dict[str, Any]:
    """The answer, a finding where the input should have had another."""
    text = ""
    if strays:
        text = f"files outside: {sorted(strays)[:3]}"
    elif not spoilt and kind in SEEDS and answer["result"] == "refused":
        text = f"sound, but refused: {answer['text']}"
    return answer | {"result": "finding", "text": text} if text else answer


def run(a: argparse.Namespace) -> int:
    started = time.monotonic()
    kinds, todo = _choose(a)
    counts: dict[str, Counter[str]] = {k: Counter() for k in kinds}
    slowest: dict[str, float] = dict.fromkeys(kinds, 0.0)
    findings = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        home = Path(temporary)
        for name in ("cwd", "tmp", "seeds"):
            (home / name).mkdir()
        for kind in kinds:
            make_seed({**SEEDS, **BOMBS}[kind][1], home / "seeds" / kind)
        ask = Worker(home)
        for number, kind, spoilt in todo:
            if time.monotonic() - started > a.minutes * 60:
                break
            work = home / "work" / kind.split()[-1]  # its name tells the layout
            folder, out = work / "in", home / "work" / "out"
            if spoilt:
                _spoil(home / "seeds" / kind, folder, kind, number, a.seed)
            else:
                shutil.copytree(home / "seeds" / kind, folder)
            out.mkdir()
            kept = _tree(work) | _tree(home / "cwd")
            answer = ask(kind, folder, out, not spoilt and kind in SEEDS)
            strays = (_tree(work) | _tree(home / "cwd")) - kept
            answer = _judge(answer, kind, spoilt, strays)
            counts[kind][answer["result"]] += 1
            slowest[kind] = max(slowest[kind], answer["seconds"])
            if answer["result"] == "finding":
                findings += 1
                print(f"{kind} number {number}: {answer['text']}", flush=True)
                if a.keep:
                    place = a.keep / f"{kind.replace(' ', '-')}-{number}"
                    shutil.copytree(folder, place, dirs_exist_ok=True)
            elif a.show:
                print(f"{kind} {number}: {answer['result']} {answer['text']}", flush=True)
            shutil.rmtree(home / "work")
        ask.end()
    _report(counts, slowest, findings, time.monotonic() - started)
    return 1 if findings else 0


def _report(
    counts: dict[str, Counter[str]], slowest: dict[str, float], findings: int, seconds: float
) -> None:
    print(f"{'':20}{'inputs':>8}{'taken':>8}{'refused':>9}{'findings':>10}{'slowest s':>11}")
    for kind, c in counts.items():
        print(
            f"{kind:20}{c.total():8}{c['ok']:8}{c['refused']:9}{c['finding']:10}{slowest[kind]:11.2f}"
        )
    total = sum(c.total() for c in counts.values())
    print(f"{total} inputs in {seconds:.0f} s, {findings} findings")


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    p.add_argument("--count", type=int, default=10_000)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--minutes", type=float, default=30.0)
    p.add_argument("--only", nargs="+", default=[], help="kinds whose name holds one of these")
    p.add_argument("--skip", nargs="+", default=[], help="kinds of these names")
    p.add_argument("--number", type=int, help="run this input alone, of the kind --only names")
    p.add_argument("--keep", type=Path, help="folder for the inputs of findings")
    p.add_argument("--show", action="store_true", help="print every answer")
    p.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.worker:
        worker()
        return 0
    return run(a)


if __name__ == "__main__":
    raise SystemExit(main())
