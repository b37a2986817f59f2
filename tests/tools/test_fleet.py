"""Many logs: which they are, where they go, who runs them, and what is said of them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.errors import InputError
from tools import fleet as fleets
from tools.cli import main
from tools.fleet import Fleet, Progress, expand, folder_for, run_jobs, share_processors
from tools.fleet_jobs import (
    Child,
    FrameCount,
    LocalRunner,
    Outcome,
    RayRunner,
    replay_options,
    said_last,
)
from tools.fleet_page import write_fleet_page
from tools.options import build_parser
from tools.view.video import VideoWriter

ROOT = Path(__file__).resolve().parents[2]


def options(*argv: str) -> argparse.Namespace:
    return build_parser("").parse_args(["replay", *argv])


def test_one_source_is_replayed_as_ever(monkeypatch):
    seen = []
    monkeypatch.setattr("tools.replay.run_replay", lambda a: seen.append(a.source) or 0)
    monkeypatch.setattr(fleets, "run_fleet", lambda a: 7)
    assert main(["replay"]) == 0
    assert main(["replay", "a.mp4"]) == 0
    assert seen == [None, Path("a.mp4")]
    for many in (["a.mp4", "b.mp4"], ["*.mp4"], ["a.mp4", "--jobs", "1"], ["a", "--again"]):
        assert main(["replay", *many]) == 7
    assert len(seen) == 2


def test_a_single_replay_imports_nothing_of_a_fleet():
    heavy = ["duckdb", "ray", "cv2", "numpy", "tools.fleet_jobs", "tools.frame_table"]
    code = f"import sys, tools.cli, tools.fleet; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_wildcards_are_expanded_and_each_log_is_taken_once(tmp_path):
    for name in ("b.mp4", "a.mp4", "we[i]rd.mp4"):
        (tmp_path / name).touch()
    given = [tmp_path / "*.mp4", tmp_path / "a.mp4", tmp_path / "we[i]rd.mp4"]
    assert [p.name for p in expand(given)] == ["a.mp4", "b.mp4", "we[i]rd.mp4"]
    with pytest.raises(InputError, match="matches no file"):
        expand([tmp_path / "*.mkv"])
    with pytest.raises(InputError, match="give the logs"):
        expand([])


def test_folders_are_safe_unique_and_stay_a_sources_own(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    taken: set[str] = set()
    sources = [tmp_path / t for t in ("a/x.mp4", "b/x.mp4", "b/X.MKV", "a/ö ; rm.mp4", "a/....")]
    folders = [folder_for(out, s, taken) for s in sources]
    assert all(f.parent == out for f in folders)
    assert len({f.name.lower() for f in folders}) == len(folders)
    assert folders[0].name == "x" and folders[1].name.startswith("x-")
    assert folders[3].name == "rm"
    folders[1].mkdir()
    (folders[1] / "fleet.json").write_text(json.dumps({"path": str(sources[1].resolve())}))
    (out / "x").mkdir()
    (out / "x" / "mine.txt").touch()  # somebody's: left alone
    assert folder_for(out, sources[1], set()) == folders[1]
    assert folder_for(out, sources[0], set()).name.startswith("x-")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "x").symlink_to(tmp_path)
    assert folder_for(out, tmp_path / "x.mp4", set()).name.startswith("x-")


@pytest.mark.parametrize(
    ("jobs", "threads", "logs", "processors", "shared"),
    [
        (None, None, 9, 8, (8, 1)), (None, None, 2, 8, (2, 4)), (3, None, 9, 8, (3, 2)),
        (16, None, 99, 8, (8, 1)), (None, 4, 9, 8, (2, 4)), (4, 4, 9, 8, (4, 2)),
        (None, 16, 9, 8, (1, 8)), (1, None, 1, 1, (1, 1)),
    ],
)  # fmt: skip
def test_jobs_and_threads_share_the_processors(jobs, threads, logs, processors, shared):
    assert share_processors(jobs, threads, logs, processors) == shared


def test_options_are_handed_on_as_they_were_typed(tmp_path):
    typed = ["a", "b", "--jobs=2", "--start=1.5", "--every=3", "--no-overlay", "--realtime",
             "--detector-size=640x384", "--camera=c d.toml", "--mcap=x/drive.mcap", "--again",
             "--max-frames=7", "--threads=1"]  # fmt: skip
    words = replay_options(options(*typed), tmp_path)
    assert f"--mcap={tmp_path}/drive.mcap" in words
    again, before = vars(options(*words)), vars(options(*typed))
    for name in ("start", "every", "no_overlay", "realtime", "detector_size", "camera"):
        assert again[name] == before[name]
    assert again["jobs"] is None and again["source"] == [] and again["threads"] is None


def test_every_option_comes_back_as_it_was_given(tmp_path):
    replay = next(x for x in build_parser("")._actions if x.dest == "command").choices["replay"]
    special = {"blur": "plates,faces", "detector_size": "640x384", "mcap": "d.mcap"}
    own = {"help", "debug", "source", "out", "threads", "resume", "jobs", "ray", "retries",
           "again", "live"}  # fmt: skip
    typed = []
    for action in (x for x in replay._actions if x.dest not in own):
        value = special.get(action.dest) or (action.choices[-1] if action.choices else "7")
        typed.append(action.option_strings[0] + (f"={value}" if action.nargs != 0 else ""))
    given, again = options(*typed), options(*replay_options(options(*typed), tmp_path))
    given.mcap, given.rerun = tmp_path / "d.mcap", tmp_path / "7"
    assert again == given
    assert again.blur == ["faces", "plates"]


def python(code: str) -> list[str]:
    return ["-c", code]


def stub_fleet(tmp_path: Path, monkeypatch, codes: dict[str, str], **more: object) -> Fleet:
    """A fleet whose replays are these Python programs, by the logs' names."""
    sources = []
    for name in codes:
        sources.append(tmp_path / f"{name}.mp4")
        sources[-1].touch()
    a = options(*map(str, sources))
    vars(a).update(more)
    monkeypatch.setattr(fleets, "_same_for_all", lambda a: {"model": "m"})
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    made = Fleet(a, out, 1)

    def prepare(job, resume):
        job.commands = [python(codes[job.name]) + (["--resume"] if resume else [])]

    monkeypatch.setattr(made, "_prepare", prepare)
    for job in made.waiting:
        prepare(job, False)
    return made


def test_a_killed_process_costs_only_its_own_log(tmp_path, monkeypatch, capfd):
    count = "import os, pathlib, signal, sys; p = pathlib.Path(r'%s'); n = len(p.read_text()) if " \
            "p.exists() else 0; p.write_text('x' * (n + 1)); "  # fmt: skip
    kill = "n or os.kill(os.getpid(), signal.SIGKILL); sys.exit('--resume' not in sys.argv)"
    made = stub_fleet(tmp_path, monkeypatch, {
        "killed": count % (tmp_path / "k") + kill,
        "well": count % (tmp_path / "w"),
    })  # fmt: skip
    run_jobs(made, LocalRunner(1), 2)
    assert {j.name: j.attempts for j in made.done} == {"killed": 2, "well": 1}
    assert (tmp_path / "k").read_text() == "xx" and (tmp_path / "w").read_text() == "x"
    assert "killed by SIGKILL; begun again" in capfd.readouterr().err
    marks = [json.loads((j.folder / "fleet.json").read_text()) for j in made.done]
    assert all(m["finished"] for m in marks)


def test_retries_end_and_bad_input_gets_none(tmp_path, monkeypatch):
    crash = "import sys; print('roadstack replay: it broke', file=sys.stderr); sys.exit(1)"
    bad = "import sys; print('note\\nroadstack replay: x: no video', file=sys.stderr); sys.exit(2)"
    made = stub_fleet(tmp_path, monkeypatch, {"crash": crash, "bad": bad}, retries=2)
    run_jobs(made, LocalRunner(1), 1)
    assert {j.name: (j.attempts, o.reason) for j, o in made.failed} == {
        "crash": (3, "it broke"), "bad": (1, "x: no video"),
    }  # fmt: skip
    rows = made.report()["logs"]
    assert [(r["run"], r["state"]) for r in rows] == [("bad", "failed"), ("crash", "failed")]


def test_what_cannot_be_resumed_is_begun_anew(tmp_path, monkeypatch):
    code = "import sys; r = '--resume' in sys.argv; " \
           "r and print('roadstack replay: --resume: other options', file=sys.stderr); " \
           "sys.exit(2 * r)"  # fmt: skip
    made = stub_fleet(tmp_path, monkeypatch, {"a": code})
    made._prepare(made.waiting[0], True)
    run_jobs(made, LocalRunner(1), 1)
    assert [(j.name, j.attempts) for j in made.done] == [("a", 1)]


def test_an_interrupted_fleet_ends_its_processes(tmp_path, monkeypatch):
    sleep = "import time; time.sleep(60)"
    made = stub_fleet(tmp_path, monkeypatch, {"a": sleep, "b": sleep})
    runner, pids = LocalRunner(1), []

    def interrupt(self):
        pids.extend(c.pid for c in runner._children.values())
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "update", interrupt)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs(made, runner, 2)
    assert len(pids) == 2 and time.monotonic() - began < 30
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_ends_with_its_parent(tmp_path):
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; "
        "from tools.fleet_jobs import Child; c = Child([['-c', 'import time; time.sleep(60)']], "
        f"Path({str(tmp_path / 'log')!r}), {{}}, '.'); print(c.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0]
        if state == "Z":  # ended, not yet collected by whoever adopted it
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_the_commands_of_a_job_follow_each_other(tmp_path):
    child = Child([python("print('one')"), python("print('two')")], tmp_path / "log", {}, ".")
    while (outcome := child.poll()) is None:
        time.sleep(0.02)
    assert outcome == Outcome(0)
    assert (tmp_path / "log").read_text().split() == ["one", "two"]


def test_the_reason_is_one_line(tmp_path):
    log = tmp_path / "log"
    log.write_text("x\nroadstack replay: a: no video\nwhat was done so far is kept\n")
    assert said_last(log, 2) == "a: no video"
    assert said_last(log, -signal.SIGKILL) == "killed by SIGKILL"
    log.write_text("Traceback\n  ...\nMemoryError\n")
    assert said_last(log, 1) == "MemoryError"
    assert said_last(tmp_path / "none", 3) == "ended with exit code 3"


def test_progress_over_all_logs(tmp_path, monkeypatch):
    made = stub_fleet(tmp_path, monkeypatch, {"a": "", "b": "", "c": ""})
    assert Progress(made).line(1.0) == "0/3 logs, 0 frames"
    job = made.waiting.popleft()
    job.frames = job.expected = 100
    made.done.append(job)
    assert (
        Progress(made).line(10.0) == "1/3 logs, 100 of about 300 frames, 10.0 frames/s, 20 s left"
    )


def test_frames_count_from_where_a_log_was_gone_on_with(tmp_path, monkeypatch):
    made = stub_fleet(tmp_path, monkeypatch, {"a": ""})
    job = made.waiting[0]
    record = job.folder / ".partial" / "record.jsonl"
    record.parent.mkdir(parents=True)
    record.write_text("{}\n" * 40)
    for resumed, done in ((True, 10), (False, 50)):
        job.frames = 0
        count = FrameCount(job, resumed)
        record.write_text("{}\n" * 50)
        count.update()
        assert job.frames - count.begun == done
        record.write_text("{}\n" * 40)


def test_a_missing_ray_is_said_in_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "a.mp4").touch()
    argv = ["replay", str(tmp_path / "a.mp4"), "--out", str(tmp_path / "o"), "--ray"]
    assert main(argv) == 2
    assert "pip install 'roadstack[scale]'" in capfd.readouterr().err.splitlines()[-1]


class FakeRay:
    """As much of Ray as is used; the first task is lost with its worker."""

    class exceptions:
        class RayError(Exception):
            pass

    def __init__(self) -> None:
        self.calls: list[str] = []

    def init(self, **options: object) -> None:
        self.calls.append("init")

    def remote(self, **options: object) -> object:
        class Task:
            def __init__(self, run: object) -> None:
                self.remote = lambda *a: (run, a)

        return Task

    def wait(self, tasks: list, timeout: float) -> tuple[list, list]:
        return tasks, []

    def get(self, task: tuple) -> tuple[int, str]:
        self.calls.append("get")
        if self.calls.count("get") == 1:
            raise self.exceptions.RayError("details\nthe worker died")
        return task[0](*task[1])

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def test_a_task_that_ray_loses_is_gone_on_with(tmp_path, monkeypatch, capfd):
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    code = "import sys; sys.exit('--resume' not in sys.argv)"
    made = stub_fleet(tmp_path, monkeypatch, {"a": code})
    run_jobs(made, RayRunner("", 1), 5)
    assert [(j.name, j.attempts) for j in made.done] == [("a", 2)]
    assert "Ray: the worker died; begun again" in capfd.readouterr().err
    assert ray.calls == ["init", "get", "get", "shutdown"]


@pytest.fixture(scope="module")
def fleet_run(tmp_path_factory):
    """A short video and two sources that are none, replayed by processes of their own."""
    import numpy as np

    folder = tmp_path_factory.mktemp("fleet")
    with VideoWriter(folder / "a <b>.mp4", 160, 96, 10.0) as video:
        for n in range(3):
            image = np.full((96, 160, 3), 90, np.uint8)
            image[40:60, 10 * n : 10 * n + 30] = 255
            video.write(image, n * 100_000_000)
    (folder / "<i>bad.mp4").write_bytes(b"no video")
    argv = [str(folder / "*.mp4"), str(folder / "missing.mp4"), "--out", str(folder / "out")]
    code = main(["replay", *argv, "--jobs", "2"])
    return folder / "out", argv, code


def test_a_name_that_plays_on_the_terminal_is_printed_without_effect(tmp_path, capsys):
    (tmp_path / "bad\x1b[31m.mp4").write_bytes(b"no video")
    argv = [str(tmp_path / "*.mp4"), str(tmp_path / "no.mp4"), "--out", str(tmp_path / "out")]
    assert main(["replay", *argv, "--jobs", "1"]) == 2
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err and "bad?[31m.mp4: " in said.err


def test_a_fleet_writes_a_folder_for_each_log_and_a_page(fleet_run):
    out, _, code = fleet_run
    assert code == 1
    assert json.loads((out / "a_b" / "summary.json").read_text())["frames"] == 3
    states = {r["run"]: r["state"] for r in json.loads((out / "fleet.json").read_text())["logs"]}
    assert states == {"a_b": "done", "i_bad": "failed", "missing": "failed"}
    page = (out / "index.html").read_text()
    assert "a_b/overlay.mp4" in page and "&lt;i&gt;bad.mp4" in page
    assert "<i>bad" not in page and "a <b>" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_tables_hold_all_logs(fleet_run):
    duckdb = pytest.importorskip("duckdb")
    out, _, _ = fleet_run
    rows = duckdb.sql(
        f"SELECT run, log, count(*), max(frame) FROM '{out}/frames.parquet' GROUP BY ALL ORDER BY 1"
    ).fetchall()
    assert rows == [("a_b", "a <b>.mp4", 3, 2)]


def test_a_name_that_is_no_unicode_is_spelt_out(fleet_run, tmp_path, capfd):
    pytest.importorskip("duckdb")
    ignore = shutil.ignore_patterns("*.parquet")
    run = shutil.copytree(fleet_run[0] / "a_b", tmp_path / "run", ignore=ignore)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"source": "/logs/v\udcff.mp4"}))
    assert main(["find", str(run), "log == 'v\\udcff.mp4'", "--out", str(tmp_path / "m.csv")]) == 0
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 2

    write_fleet_page(tmp_path, [run], [], tables=True)
    assert "/logs/v\\udcff.mp4" in (tmp_path / "index.html").read_text()


def test_what_is_done_already_is_left_as_it_is(fleet_run, capfd):
    out, argv, _ = fleet_run
    before = (out / "a_b" / "record.jsonl").stat().st_mtime_ns
    log = Path(argv[0]).parent / "a <b>.mp4"
    argv = [str(log), *argv[2:]]
    assert main(["replay", *argv, "--retries", "1"]) == 0
    assert "1 done already" in capfd.readouterr().out
    assert (out / "a_b" / "record.jsonl").stat().st_mtime_ns == before

    def waiting(*more: str) -> list[str]:
        return [j.name for j in Fleet(options(*argv, *more), out, 1).waiting]

    assert waiting() == waiting("--threads", "1", "--jobs", "1") == []
    assert waiting("--every", "2") == waiting("--again") == ["a_b"]
    os.utime(log)
    assert waiting() == ["a_b"]


def test_a_log_is_done_anew_with_another_score_map(tmp_path):
    model = tmp_path / "m.onnx"
    model.touch()
    (tmp_path / "blur.onnx").touch()
    a = options("a.mp4", "--model", str(model), "--blur-detector", str(tmp_path / "blur.onnx"))
    marks = [fleets._same_for_all(a)]
    for name in ("m.scores.json", "blur.onnx"):
        (tmp_path / name).write_text("{}")
        marks.append(fleets._same_for_all(a))
    assert marks[0] != marks[1] != marks[2]


def test_a_folder_with_its_own_replay_in_it_is_the_same_log(tmp_path):
    (tmp_path / "0.jpg").touch()
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    out = tmp_path / "out"

    def mark() -> dict:
        (job,) = (made := Fleet(options(str(tmp_path)), out, 1)).waiting
        return made.marks[job.name]

    before = mark()
    (out / "x").mkdir(parents=True)
    (out / "x" / "frame.jpg").touch()
    assert mark() == before


def test_none_that_can_be_read_gives_two(tmp_path, capfd):
    argv = ["replay", str(tmp_path / "x.mp4"), str(tmp_path / "y.mp4"), "--out"]
    assert main([*argv, str(tmp_path / "o")]) == 2
    said = capfd.readouterr().err
    assert said.count("failed: ") == 2 and "no such file" in said
    assert main(["replay", str(tmp_path / "*.mp4")]) == 2
    assert "matches no file" in capfd.readouterr().err
