"""What a run leaves in its folder, and that no kill at any moment changes it."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("albumentations")

from data.config import load_config  # noqa: E402
from data.datasets import open_dataset  # noqa: E402
from data.errors import InputError  # noqa: E402
from perception.training import loop, report  # noqa: E402
from perception.training.checkpoints import load_weights  # noqa: E402
from tools.train import run_train  # noqa: E402

ROOT = Path(__file__).parents[2]


def contents(out):
    """All that must not depend on how often a run was cut: figures, pictures and weights."""
    found = {p.relative_to(out).as_posix(): p for p in sorted(out.rglob("*")) if p.is_file()}
    values = {}
    for name, path in found.items():
        if name.endswith(".safetensors"):
            net, meta = load_weights(path)
            values[name] = meta, {k: v.numpy().tobytes() for k, v in net.state_dict().items()}
        elif name in ("metrics.csv", "config.json") or name.startswith("samples/"):
            values[name] = path.read_bytes()
        elif name == "state.pt":
            state = torch.load(path, weights_only=True)
            values[name] = {k: v.numpy().tobytes() for k, v in state["net"].items()}
        else:
            values[name] = None
    return values


@pytest.fixture
def quick_picture(monkeypatch):
    """Drawing the curves takes longer than training here."""

    def draw(path, rows):
        with report.whole_file(path) as temporary:
            temporary.write_text(str(len(rows)))

    monkeypatch.setattr(report, "draw_metrics", draw)


def test_a_finished_run_has_all_its_files(tiny_toml, tmp_path):
    out = tmp_path / "run"
    assert run_train(tiny_toml(steps=12), out, ()) == out / "best.safetensors"
    assert set(contents(out)) == {
        "best.safetensors", "config.json", "last.safetensors", "metrics.csv", "metrics.png",
        "state.pt", "versions.json",
        *(f"samples/step_{n:06d}.png" for n in (4, 6, 8, 10, 12)),
    }  # fmt: skip
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert [int(r["step"]) for r in rows] == [2, 4, 6, 8, 10, 12]
    assert [float(r["epoch"]) for r in rows] == [2, 4, 6, 8, 10, 12]  # 4 images a step, 4 there are
    assert {"rate", "loss.heat", "loss.box", "loss.drivable", "loss.lane", "loss.total"} < set(
        rows[0]
    )
    assert {"detection.vehicle.AP50", "drivable.iou", "lane.iou", "fitness"} < set(rows[0])
    assert cv2.imread(str(out / "metrics.png")).shape[1] > 800
    sheet = cv2.imread(str(out / "samples/step_000012.png"))
    assert sheet.shape[:2] == (2 * 480, 2 * 640)
    # the labels' side shows the road in green, which the grey pictures do not have
    assert (np.ptp(sheet[470:478, 100:500].astype(int), axis=2) > 20).mean() > 0.9
    start = json.loads((out / "versions.json").read_text())
    assert [(s["step"], s["processes"], s["torch"]) for s in start] == [(0, 1, torch.__version__)]
    assert json.loads((out / "config.json").read_text())["optimizer"]["steps"] == 12


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_codes_revision_is_known_or_none(monkeypatch, tmp_path):
    def git(*words):
        own = "-c", "user.name=n", "-c", "user.email=n@example.org"
        argv = ["git", "-C", str(tmp_path), *own, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setattr(report, "_ROOT", tmp_path)
    assert report.revision() is None  # not in a repository
    git("init")
    (tmp_path / "code").write_text("1")
    git("add", "code")
    git("commit", "-m", "first")
    assert report.revision() == git("rev-parse", "HEAD")
    (tmp_path / "code").write_text("2")
    assert report.revision() == git("rev-parse", "HEAD") + "-dirty"
    monkeypatch.setenv("GIT_DIR", "/none")  # git refuses, as in a folder of another owner
    assert report.revision() is None


def test_figures_of_two_splits_of_one_set_stand_side_by_side(tiny_toml, tiny_set, tmp_path):
    table = f'[[val]]\npath = "{tiny_set}"\nsplit = "train"\n'
    run_train(tiny_toml(tables=table, steps=2), tmp_path / "run", ())
    (row,) = csv.DictReader((tmp_path / "run/metrics.csv").open())
    names = [f"{tiny_set.name}.{split}.drivable.iou" for split in ("val", "train")]
    assert set(names) < set(row)
    assert float(row["fitness"]) == pytest.approx(
        np.mean([float(row[k]) for k in row if k.endswith(".iou")]), abs=1e-4
    )  # each has under 20 boxes


def test_a_folder_is_kept_for_its_run(tiny_toml, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        run_train(tiny_toml(), tmp_path / "run", ("teacher=none.safetensors",))
    run_train(tiny_toml(), tmp_path / "run", ())  # what never began holds nothing
    before = contents(tmp_path / "run")
    with pytest.raises(InputError, match=r"differs in optimizer\.rate"):
        run_train(tiny_toml(), tmp_path / "run", ("optimizer.rate=0.5",))
    run_train(tiny_toml(), tmp_path / "run", ())  # there is nothing left to do
    assert contents(tmp_path / "run") == before


def test_a_kill_at_any_file_changes_nothing(tiny_toml, tmp_path, monkeypatch, quick_picture):
    """The run stops as each of its files is about to appear, and goes on from there."""
    config = tiny_toml(steps=3)
    run_train(config, tmp_path / "whole", ())
    whole = contents(tmp_path / "whole")
    replace = os.replace

    class Killed(BaseException):
        pass

    def killed_at(number):
        def dying(source, target):
            nonlocal number
            number -= 1
            if number == 0:
                raise Killed
            replace(source, target)

        return dying

    for number in range(1, 100):
        out = tmp_path / str(number)
        with monkeypatch.context() as m:
            m.setattr(os, "replace", killed_at(number))
            try:
                run_train(config, out, ())
                break
            except Killed:
                pass
        run_train(config, out, ())
        assert contents(out) == whole, f"killed at file {number}"
    assert number > 12


def test_a_run_killed_by_the_system_goes_on(tiny_toml, tmp_path):
    """SIGKILL between two saves: the loss sums and the rows of metrics.csv come out alike."""
    config = tiny_toml(steps=4)
    options = ("save_every=3", "val_every=4")
    run_train(config, tmp_path / "whole", options)
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from perception.training.loop import Run\nfrom tools.train import run_train\n"
        "real = Run.train_step\n"
        "def dies(self, batch):\n"
        "    if self.step == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(self, batch)\n"
        "Run.train_step = dies\n"
        f"run_train(Path({str(config)!r}), Path({str(tmp_path / 'cut')!r}), {options!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (tmp_path / "cut/state.pt").is_file() and not (tmp_path / "cut/metrics.csv").exists()
    run_train(config, tmp_path / "cut", options)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    starts = json.loads((tmp_path / "cut/versions.json").read_text())
    assert [s["step"] for s in starts] == [0, 3]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_run_and_keeps_the_batch(
    tiny_toml, tmp_path, monkeypatch, what
):
    real = loop.total_loss

    def spoiled(output, batch, total):
        terms = real(output, batch, total)
        if what == "loss":
            return {**terms, "total": terms["total"] * float("nan")}
        # a finite loss of infinite slope
        return {**terms, "total": terms["total"] + (output.heat * 0).abs().sqrt().sum()}

    monkeypatch.setattr(loop, "total_loss", spoiled)
    with pytest.raises(InputError, match=f"{what} is not finite at step 0"):
        run_train(tiny_toml(), tmp_path / "run", ())
    kept = torch.load(tmp_path / "run/bad_batch.pt", weights_only=True)
    assert kept["step"] == 0 and kept["image"].shape == (4, 64, 96, 3)
    assert all(torch.isfinite(v).all() for v in kept["net"].values())
    assert not (tmp_path / "run/last.safetensors").exists()


@pytest.mark.parametrize("units", [(), ("avx512_bf16",), ("avx512_f",)])
def test_bfloat16_is_taken_where_the_processor_computes_in_it(units, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(units, True))
    assert loop.computes_in_bf16(torch.device("cpu")) == ("avx512_bf16" in units)


@pytest.mark.parametrize("there", [False, True])
def test_the_config_of_a_run_says_what_it_computed_in(
    there, tiny_toml, tmp_path, monkeypatch, quick_picture
):
    monkeypatch.setattr(loop, "computes_in_bf16", lambda device: there)
    config = tiny_toml(steps=1)
    config.write_text(config.read_text().replace("bf16 = false\n", ""))
    run_train(config, tmp_path / "run", ())
    assert json.loads((tmp_path / "run" / "config.json").read_text())["bf16"] is there


def test_a_killed_reader_is_told_in_a_line_and_the_run_goes_on(tiny_toml, tmp_path):
    path = tiny_toml(steps=40)
    config = load_config(loop.TrainConfig, path, ("workers=1", "val_every=40"))
    sets = [open_dataset(s.path, s.split) for s in config.data]
    (tmp_path / "run").mkdir()

    def kill(step, _):
        if step == 2:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(InputError, match=r"reads pictures was killed.*the same command goes on"):
        loop.train(config, sets, [], tmp_path / "run", kill)
    steps = []
    loop.train(config, sets, [], tmp_path / "run", lambda step, _: steps.append(step))
    assert 1 < steps[0] < 40 and steps[-1] == 40  # not from the start
