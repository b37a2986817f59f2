"""The training loop: what a run does from its first step to its last, and how it resumes."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import math
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from data.datasets import Dataset
from data.errors import InputError
from perception.models.deploy import RGB_FROM_BGR, normalise
from perception.models.efficientnet_lite import load_imagenet
from perception.models.multitask import MultiTaskNet
from perception.training.checkpoints import load_weights, save_state, save_weights
from perception.training.config import OptimizerConfig, TrainConfig
from perception.training.loader import Mixture
from perception.training.losses import total_loss
from perception.training.validate import validate

Report = Callable[[int, dict[str, float]], None]


def build_network(config: TrainConfig) -> MultiTaskNet:
    """A network from the run's ``init`` checkpoint, or with an ImageNet backbone."""
    if config.init is not None:
        return load_weights(config.init)[0]
    net = MultiTaskNet()
    load_imagenet(net.backbone)
    return net


def set_train_mode(net: MultiTaskNet, frozen_blocks: int) -> None:
    """Training mode; the backbone's batch statistics stay those of ImageNet (small batches),
    and the stem with ``frozen_blocks`` blocks gets no gradient."""
    net.train()
    net.backbone.eval()
    stem = [net.backbone._conv_stem, net.backbone._bn0]
    for module in [*stem, *net.backbone._blocks[:frozen_blocks]]:
        module.requires_grad_(False)


def build_optimizer(net: MultiTaskNet, c: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW; no weight decay on norms and biases, a lower rate for the backbone."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, p in net.named_parameters():
        if p.requires_grad:
            groups.setdefault((name.startswith("backbone"), p.ndim > 1), []).append(p)
    return torch.optim.AdamW(
        [
            {
                "params": params,
                "lr": c.rate * (c.backbone_factor if backbone else 1.0),
                "weight_decay": c.weight_decay if decay else 0.0,
            }
            for (backbone, decay), params in sorted(groups.items())
        ]
    )


def rate_factor(step: int, c: OptimizerConfig) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine."""
    if step < c.warmup_steps:
        return (step + 1) / c.warmup_steps
    progress = (step - c.warmup_steps) / max(1, c.steps - c.warmup_steps)
    return c.final_factor + (1 - c.final_factor) * 0.5 * (1 + math.cos(math.pi * progress))


def update_average(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Exponential moving average of weights; batch statistics are copied."""
    for a, p in zip(average.parameters(), net.parameters(), strict=True):
        a.data.lerp_(p.data, 1 - decay)
    for mean, now in zip(average.buffers(), net.buffers(), strict=True):
        mean.copy_(now)


def _loader(mixture: Mixture, config: TrainConfig, first: int) -> DataLoader:
    def quiet(_: int) -> None:
        import cv2

        cv2.setNumThreads(1)
        torch.set_num_threads(1)

    rest: Any = Subset(mixture, range(first, len(mixture)))
    return DataLoader(
        rest,
        batch_size=config.optimizer.batch,
        num_workers=config.workers,
        worker_init_fn=quiet,
        prefetch_factor=4 if config.workers else None,
    )


class _Run:
    """Network, average, optimizer and step of a run in progress."""

    def __init__(self, config: TrainConfig, out: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.out, self.step, self.best = config, out, 0, -1.0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        net = build_network(config).to(self.device)
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        set_train_mode(self.net, config.optimizer.frozen_blocks)
        self.optimizer = build_optimizer(self.net, config.optimizer)

    def state(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
        }

    def resume(self) -> None:
        path = self.out / "state.pt"
        if path.is_file():
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.best = int(state["step"]), float(state["best"])

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        c = self.config.optimizer
        factor = rate_factor(self.step, c)
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("peak", group["lr"]) * factor
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        rgb = normalise(batch["image"], torch.tensor(RGB_FROM_BGR, device=self.device))
        rgb = rgb.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            output = self.net(rgb)
        terms = total_loss(output, batch)
        if not torch.isfinite(terms["total"]):
            save_state(self.out / "bad_batch.pt", {"step": self.step, **batch})
            raise InputError(
                f"loss is not finite at step {self.step}; the batch is kept in "
                f"{self.out / 'bad_batch.pt'}; try a lower optimizer.rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), c.clip_norm)
        self.optimizer.step()
        # early averages follow closely, so that short runs are not held to the first weights
        update_average(self.average, self.net, min(c.ema, (1 + self.step) / (10 + self.step)))
        self.step += 1
        return {k: float(v.detach()) for k, v in terms.items()}


def _append_csv(path: Path, row: dict[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, row.keys())
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" for k, v in row.items()})


def provenance(config: TrainConfig) -> dict[str, Any]:
    """What a checkpoint says of its making; folders by name alone, for files are handed on."""

    def plain(value: Any) -> Any:
        return value.name if isinstance(value, Path) else str(value)

    return {
        "arch": "base",
        "config": json.loads(json.dumps(dataclasses.asdict(config), default=plain)),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def train(
    config: TrainConfig, sets: list[Dataset], val: list[Dataset], out: Path, report: Report
) -> Path:
    """Run or resume a training in the folder ``out``; returns the best checkpoint's path.

    Args:
        sets: opened ``config.data``; val: opened ``config.val``.
        report: called after each step with the step's number and its loss terms.
    """
    torch.set_num_threads(config.threads)
    run = _Run(config, out)
    run.resume()
    c = config.optimizer
    mixture = Mixture(
        sets, [s.share for s in config.data], config.size, config.seed, config.augment,
        c.steps * c.batch,
    )  # fmt: skip
    mixture.preload()
    meta = provenance(config)
    sums: dict[str, float] = {}
    for batch in _loader(mixture, config, run.step * c.batch):
        terms = run.train_step(batch)
        for k, v in terms.items():
            sums[k] = sums.get(k, 0.0) + v
        report(run.step, terms)
        if run.step % config.val_every == 0 or run.step == c.steps:
            count = (run.step - 1) % config.val_every + 1
            row = {"step": float(run.step), **{f"loss.{k}": v / count for k, v in sums.items()}}
            sums = {}
            scores = validate(run.average.cpu(), val, config.val_size) if val else {}
            run.average.to(run.device)
            _append_csv(out / "metrics.csv", {**row, **scores})
            meta["step"], meta["val"] = run.step, scores
            save_weights(out / "last.safetensors", run.average.state_dict(), meta)
            # a fitness that is not a number (nothing labelled to judge by) never holds a save back
            if not val or not scores["fitness"] <= run.best:
                run.best = scores.get("fitness", -1.0)
                save_weights(out / "best.safetensors", run.average.state_dict(), meta)
            save_state(out / "state.pt", run.state())
    return out / "best.safetensors"
