"""Kernels compiled ahead, side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tools import warmup

ROOT = Path(__file__).resolve().parents[2]
ASKED = """
import json
from data.compiled import is_cached
from tools.warmup import PARTS, _kernels
print(json.dumps([p for p in PARTS if all(map(is_cached, _kernels(p)))]))
"""


def test_a_part_compiled_in_one_process_is_there_for_others(tmp_path):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def ready():
        run = subprocess.run(
            [sys.executable, "-c", ASKED], env=env, check=True, capture_output=True, text=True
        )
        return run.stdout.strip()

    assert ready() == "[]"
    subprocess.run([sys.executable, "-m", "tools.warmup", "metrics"], env=env, check=True)
    assert ready() == '["metrics"]'


def test_no_kernel_of_the_grid_waits_for_its_first_frame():
    """In a process of its own: in this one other tests have compiled them."""
    asked = (
        "from tools.stack import compile_planner; from planning import grid_kernels as g; "
        "compile_planner(); "
        "print(*(n for n, k in vars(g).items() if not getattr(k, 'signatures', True)))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", asked], env=env, check=True, capture_output=True, text=True
    )
    parts = {
        "_from_above",
        "_same_until",
        "_along_column",
        "_squares",
        "_beside",
        "_lowest",
        "near_squared",
    }
    assert set(run.stdout.split()) <= parts  # of other kernels


def test_a_replay_compiles_nothing_that_was_not_compiled_ahead(tmp_path):
    """In a process of its own, as above: forms of kernels too, by the kinds of their arguments.

    Another one fills the cache before: what compiles a kernel compiles those that it calls too, and
    what finds it there does not.
    """
    each = "for part in ('renderer', *REPLAY): PARTS[part]()"
    ahead = f"from tools.warmup import PARTS, REPLAY\n{each}"
    asked = (
        "import gc, json, sys; from numba.core.dispatcher import Dispatcher; "
        f"from tools.cli import main; {ahead}\n"
        "def forms(): return {f'{d.py_func.__module__}.{d.__name__}': len(d.signatures)"
        " for d in gc.get_objects() if isinstance(d, Dispatcher)}\n"
        "from tools import warmup; from data.compiled import is_cached\n"
        "for part in ('renderer', *REPLAY):\n"  # or each replay would announce a wait
        "    assert all(map(is_cached, warmup._kernels(part))), part\n"
        "before = forms()\n"
        "assert main(['replay', '--max-frames', '25', '--out', sys.argv[1]]) == 0\n"
        "print(json.dumps([n for n, count in forms().items() if count > before.get(n, 0)]))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", ahead], env=env, check=True)
    run = subprocess.run(
        [sys.executable, "-c", asked, str(tmp_path / "run")],
        env=env, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(run.stdout.splitlines()[-1]) == []


def test_nothing_is_said_where_all_is_ready(monkeypatch, capsys):
    monkeypatch.setattr(warmup, "is_cached", lambda kernel: True)
    monkeypatch.setattr(warmup, "_compile_aside", None)
    warmup.prepare(*warmup.PARTS)
    assert capsys.readouterr() == ("", "")


def test_what_is_missing_is_compiled_side_by_side_once_announced(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(warmup.os, "sched_getaffinity", lambda process: range(4))
    monkeypatch.setattr(warmup, "is_cached", lambda kernel: False)
    monkeypatch.setattr(warmup, "is_kept", lambda kernel: True)
    monkeypatch.setattr(warmup, "_compile_aside", lambda *a: asked.append(a))
    warmup.prepare("tracker", "search")
    assert asked == [(["search", "tracker"], 2)]
    warmup.prepare("tracker")  # one part alone is compiled where it is used
    monkeypatch.setattr(warmup, "is_kept", lambda kernel: False)  # others would not find it
    warmup.prepare("tracker", "search")
    assert len(asked) == 1
    assert capsys.readouterr().err.count("compiling kernels") == 3


def test_the_processes_take_these_sources_not_those_of_the_present_folder(tmp_path, monkeypatch):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/__init__.py").touch()
    (tmp_path / "tools/warmup.py").write_text("open('other', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    warmup._compile_aside(["metrics"], 1)
    assert not (tmp_path / "other").exists()
    assert list((tmp_path / "cache").rglob("*.nbi"))


def test_a_process_that_fails_is_left_to_the_first_use():
    warmup._compile_aside(["no such part", "nor this"], 2)
