"""Two processes on halves of a batch learn what one learns on the whole."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("albumentations")

from data.errors import InputError  # noqa: E402
from perception.models.nano import NanoNet  # noqa: E402
from perception.training import loop  # noqa: E402
from perception.training.checkpoints import save_weights  # noqa: E402
from perception.training.config import DistillConfig, OptimizerConfig, TrainConfig  # noqa: E402
from perception.training.distributed import Group, SharedBatchNorm, alone, join_group  # noqa: E402
from tools.train import run_train  # noqa: E402

ROOT = Path(__file__).parents[2]
SIZE = (96, 64)


def mixed_batch():
    """Four pictures: the first two labelled, the third for drivable area alone, the last not at
    all, so that each half has other shares of everything to divide by."""
    g = torch.Generator().manual_seed(3)
    rows, columns = SIZE[1] // 4, SIZE[0] // 4
    batch = {
        "image": torch.randint(0, 255, (4, SIZE[1], SIZE[0], 3), dtype=torch.uint8, generator=g),
        "heat": torch.zeros(4, 5, rows, columns),
        "heat_weight": torch.zeros(4, 5, rows, columns),
        "box": 1 + 20 * torch.rand(4, 4, rows, columns, generator=g),
        "box_weight": torch.zeros(4, rows, columns),
        "mask": torch.full((4, 2, 2 * rows, 2 * columns), 255, dtype=torch.uint8),
    }
    batch["heat_weight"][:2] = 1
    for k, (y, x) in enumerate(((3, 4), (7, 12), (8, 3))):
        batch["heat"][k % 2, k, y, x] = 1
        batch["box_weight"][k % 2, y, x] = 1
    batch["mask"][:2] = torch.randint(0, 2, (2, 2, 2 * rows, 2 * columns), generator=g).byte()
    batch["mask"][2, 0] = 1
    batch["mask_weight"] = torch.ones(4)
    for key in ("heat_weight", "box_weight", "mask_weight"):
        batch[key][1] *= 0.5  # of a set that counts half
    return batch


def gradients(arch, teacher, out, group):
    """Loss terms, gradients and batch statistics after one backward pass on the own part, in
    double precision: in single precision the order of a sum alone is worth 1e-5 after so many
    batch norms, also within one process."""
    config = TrainConfig(
        arch=arch, teacher=teacher, size=SIZE, bf16=False, threads=1,
        optimizer=OptimizerConfig(batch=4, clip_norm=1e9, frozen_blocks=1),
        distill=DistillConfig(features=2.0 if teacher else 0.0),
    )  # fmt: skip
    loop.make_repeatable(config, group.device)
    torch.set_default_dtype(torch.float64)
    try:
        run = loop.Run(config, out, group)
    finally:
        torch.set_default_dtype(torch.float32)
    for net in (run.model, run.teacher) if teacher else (run.model,):
        net.register_forward_pre_hook(lambda _, args: (args[0].double(),))
    part = 4 // group.world
    batch = {k: v[group.rank * part : (group.rank + 1) * part] for k, v in mixed_batch().items()}
    terms = run.gradients(batch)
    found = {f"gradient {n}": p.grad for n, p in run.net.named_parameters() if p.requires_grad}
    if run.bridge is not None:
        found["gradient bridge"] = run.bridge.weight.grad
    found |= {f"statistics {n}": b for n, b in run.net.named_buffers()}
    shared = any(isinstance(m, SharedBatchNorm) for m in run.net.modules())
    return {"terms": terms, "tensors": found, "shared": shared}


def torchrun(*command, processes=2):
    """Start processes as torchrun does, on a port that is free."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={processes}", *map(str, command)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.parametrize("arch", ["nano", "base"])
def test_two_processes_have_the_gradients_of_one(arch, tmp_path):
    torch.manual_seed(2)
    teacher = None
    if arch == "nano":
        net = NanoNet()
        net.heat.weight.data *= 300  # sure of something, so that boxes are taught
        teacher = tmp_path / "teacher.safetensors"
        save_weights(teacher, net.state_dict(), {"arch": "nano"})
    script = tmp_path / "part.py"
    script.write_text(
        "import sys, torch\nfrom pathlib import Path\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]\n"
        "from test_ddp import gradients, join_group\n"
        "with join_group() as group:\n"
        f"    found = gradients({arch!r}, {teacher and str(teacher)!r}, Path('.'), group)\n"
        f"    torch.save(found, Path({str(tmp_path)!r}) / f'{{group.rank}}.pt')\n"
    )
    done = torchrun(script)
    assert done.returncode == 0, done.stderr
    whole = gradients(arch, teacher, tmp_path, Group(0, 1, torch.device("cpu")))
    assert not whole["shared"]
    assert {k for k, v in whole["terms"].items() if v > 0} == set(whole["terms"])
    for rank in (0, 1):
        half = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert half["shared"]
        assert half["terms"] == pytest.approx(whole["terms"], rel=1e-6)
        for name, tensor in whole["tensors"].items():
            gap = float((half["tensors"][name] - tensor).abs().max())
            assert gap <= 1e-6 * float(tensor.abs().max()) + 1e-9, f"{name} is off by {gap:.1e}"


def test_two_processes_train_as_one_and_resume(tiny_toml, tmp_path):
    """``torchrun -m tools.cli train`` after both processes died in the last step."""
    config = tiny_toml()
    slow = "optimizer.rate=0.0001"  # AdamW makes much of rounding at first
    run_train(config, tmp_path / "one", (slow,))
    script = tmp_path / "dies.py"
    script.write_text(
        f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from perception.training.loop import Run\nfrom tools.train import run_train\n"
        "real = Run.train_step\n"
        "def dies(self, batch):\n"
        "    assert self.step < 3, 'stopped here'\n"
        "    return real(self, batch)\n"
        "Run.train_step = dies\n"
        f"run_train(Path({str(config)!r}), Path({str(tmp_path / 'two')!r}), ({slow!r},))\n"
    )
    assert "stopped here" in torchrun(script).stderr
    done = torchrun("-m", "tools.cli", "train", config, slow, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best checkpoint") == 1  # one process speaks
    names = [sorted(p.name for p in (tmp_path / n).iterdir()) for n in ("one", "two")]
    assert names[0] == names[1]
    starts = json.loads((tmp_path / "two/versions.json").read_text())
    assert [(s["step"], s["processes"]) for s in starts] == [(0, 2), (3, 2)]
    one, two = (list(csv.DictReader((tmp_path / n / "metrics.csv").open())) for n in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        for key in (k for k in a if k.startswith("loss.") or k == "step"):
            assert float(b[key]) == pytest.approx(float(a[key]), rel=1e-3), key


def test_each_process_sees_its_part_of_each_batch():
    c = OptimizerConfig(steps=3, batch=4)
    parts = [loop.own_positions(c, 1, Group(r, 2, torch.device("cpu"))) for r in (0, 1)]
    assert parts == [[4, 5, 8, 9], [6, 7, 10, 11]]
    assert loop.own_positions(c, 1, Group(0, 1, torch.device("cpu"))) == list(range(4, 12))


def test_a_batch_must_be_shared_out_equally():
    config = TrainConfig(optimizer=OptimizerConfig(batch=5))
    loop.check(config, [], Group(0, 1, torch.device("cpu")))
    with pytest.raises(InputError, match="batch 5 cannot be shared out equally among 2"):
        loop.check(config, [], Group(0, 2, torch.device("cpu")))


def test_alone_without_torchrun_and_told_what_is_missing(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with join_group() as group:
        assert (group.rank, group.world, group.leads, group.total) == (0, 1, True, alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="RANK is not set; start with torchrun"), join_group():
        pass
