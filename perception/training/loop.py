"""The training loop: what a run does from its first step to its last, and how it resumes.

A run is exact: batch, augmentation and arithmetic depend on the configuration and the step alone.
``state.pt`` holds all else there is, and is written last: whatever a run wrote after it is written
again, alike, by the run that resumes.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
import os
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from data.datasets import Dataset
from data.errors import InputError
from perception.models.architectures import ARCHITECTURES, build
from perception.models.deploy import RGB_FROM_BGR, normalise
from perception.models.efficientnet_lite import EfficientNetLite0, load_imagenet
from perception.training import report as folder
from perception.training.checkpoints import (
    load_parts,
    load_state,
    load_weights,
    save_state,
    save_weights,
)
from perception.training.config import OptimizerConfig, TrainConfig
from perception.training.distill import Bridged, teacher_loss
from perception.training.distributed import Group, join_group, share_batch_norms
from perception.training.loader import Mixture, batches
from perception.training.losses import semantic_loss, total_loss
from perception.training.targets import make_semantic_targets, make_targets
from perception.training.teacher import Teacher, ready_teacher
from perception.training.validate import validate

Report = Callable[[int, dict[str, float]], None]


def _backbone(net: nn.Module) -> EfficientNetLite0 | None:
    """The pretrained part of a network that has one."""
    found = getattr(net, "backbone", None)
    return found if isinstance(found, EfficientNetLite0) else None


def build_network(config: TrainConfig, classes: tuple[str, ...] = ()) -> nn.Module:
    """The run's network: from ``init``, or new; a backbone of it starts from ImageNet.

    Args:
        classes: names of the pixel classes that 'semantic' learns.

    Raises:
        InputError: ``init`` is no checkpoint or one of another network or other classes, or lacks
            what ``init_parts`` names.
    """
    if config.init is not None and not config.init_parts:
        net, meta = load_weights(config.init)
        if meta["arch"] != config.arch:
            raise InputError(
                f"init {config.init}: is a '{meta['arch']}' network, but arch is '{config.arch}'"
            )
        given = tuple(meta.get("segmentation_classes", ()))
        if given != classes:
            raise InputError(
                f"init {config.init}: knows the pixel classes {', '.join(given)}, but the data "
                f"has {', '.join(classes)}"
            )
        return net
    net = build(config.arch, len(classes))
    backbone = _backbone(net)
    if backbone is not None:
        load_imagenet(backbone)
    if config.init is not None:
        load_parts(config.init, net, config.init_parts)
    return net


def set_train_mode(net: nn.Module, frozen_blocks: int, only: tuple[str, ...] = ()) -> None:
    """Training mode. A backbone's batch statistics stay those of ImageNet (small batches), and
    its stem with ``frozen_blocks`` blocks gets no gradient; nor does anything but ``only``.

    Raises:
        InputError: no part's name begins as one of ``only``.
    """
    net.train()
    backbone = _backbone(net)
    if backbone is not None:
        backbone.eval()
        stem = [backbone._conv_stem, backbone._bn0]
        for module in [*stem, *backbone._blocks[:frozen_blocks]]:
            module.requires_grad_(False)
    names = [name for name, _ in net.named_parameters()]
    for part in only:
        if not any(name.startswith(part) for name in names):
            parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
            raise InputError(f"optimizer.only: no part is named '{part}'; expected some of {parts}")
    if only:
        for name, p in net.named_parameters():
            p.requires_grad_(p.requires_grad and name.startswith(only))
        for name, module in net.named_modules():
            module.training = module.training and name.startswith(only)


def build_optimizer(
    net: nn.Module, c: OptimizerConfig, bridge: nn.Module | None = None
) -> torch.optim.AdamW:
    """AdamW; no weight decay on norms and biases, a lower rate for a pretrained backbone."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    more = () if bridge is None else bridge.named_parameters()
    for name, p in itertools.chain(net.named_parameters(), more):
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


def make_repeatable(config: TrainConfig, device: torch.device) -> None:
    """Seed PyTorch and bar its kernels whose sums run in any order."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether a device has units for bfloat16; False where its kind cannot be told."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def own_positions(c: OptimizerConfig, first: int, group: Group) -> list[int]:
    """Numbers of the images that this process sees from step ``first`` on: an equal part of
    each batch."""
    part = c.batch // group.world
    places = range(first * c.batch, c.steps * c.batch)
    return [i for i in places if i % c.batch // part == group.rank]


class Run:
    """Networks, optimizer and step of a run in progress, in one of its processes."""

    def __init__(
        self, config: TrainConfig, out: Path, group: Group, classes: tuple[str, ...] = ()
    ) -> None:
        self.config, self.out, self.group, self.classes = config, out, group, classes
        self.loss: Callable[..., dict[str, Tensor]] = total_loss
        if config.arch == "semantic":
            self.loss = semantic_loss
        self.step, self.best = 0, -1.0
        self.sums: dict[str, float] = {}  # of the loss terms since the last validation
        self.net = self._on_device(build_network(config, classes))
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        set_train_mode(self.net, config.optimizer.frozen_blocks, config.optimizer.only)
        self.model = self.net
        self.teacher: Teacher | None = None
        self.bridge: nn.Module | None = None
        if config.teacher is not None:
            told, _ = load_weights(config.teacher)
            self.teacher = ready_teacher(told, group.device, bool(config.bf16))
            if config.distill.features:
                bridged = Bridged(self.net, told)
                self.bridge = bridged.bridge
                self.model = self._on_device(bridged)
        if group.world > 1:
            share_batch_norms(self.net)
            ids = [group.device] if group.device.type == "cuda" else None
            self.model = DistributedDataParallel(self.model, ids)
        self.optimizer = build_optimizer(self.net, config.optimizer, self.bridge)

    def _on_device(self, net: nn.Module) -> nn.Module:
        moved: nn.Module = net.to(self.group.device)
        return moved.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _parts(self) -> dict[str, Any]:
        parts = {"net": self.net, "average": self.average, "optimizer": self.optimizer}
        return parts if self.bridge is None else {**parts, "bridge": self.bridge}

    def save(self) -> None:
        """Write ``state.pt``: all that ``resume`` needs."""
        state = {k: part.state_dict() for k, part in self._parts().items()}
        state |= {"step": self.step, "best": self.best, "sums": self.sums}
        save_state(self.out / "state.pt", state)

    def resume(self) -> None:
        """Go on from ``state.pt`` where there is one."""
        path = self.out / "state.pt"
        if path.is_file():
            state = load_state(path, self.group.device)
            for k, part in self._parts().items():
                part.load_state_dict(state[k])
            self.step, self.best = int(state["step"]), float(state["best"])
            self.sums = dict(state["sums"])

    def gradients(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Fill the parameters' gradients with those of the whole batch, of which ``batch`` is
        this process's part; returns the loss terms, of the whole batch too.

        Raises:
            InputError: a loss or gradient is not finite; the batch is kept in the folder.
        """
        batch = {k: v.to(self.group.device, non_blocking=True) for k, v in batch.items()}
        rgb = normalise(batch["image"], torch.tensor(RGB_FROM_BGR, device=self.group.device))
        rgb = rgb.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=bool(self.config.bf16)):
            output = self.model(rgb)
            with torch.no_grad():
                taught = None if self.teacher is None else self.teacher(rgb)
        output, own = (output, None) if self.bridge is None else output
        terms = self.loss(output, batch, self.group.total)
        if taught is not None:
            features = None if own is None else (own, taught.features)
            more = teacher_loss(
                output, taught.answer, batch, self.config.distill, self.group.total, features,
                self.config.class_weights,
            )  # fmt: skip
            terms |= {**more, "total": terms["total"] + torch.stack(list(more.values())).sum()}
        self.optimizer.zero_grad(set_to_none=True)
        if not torch.isfinite(terms["total"]):
            raise self._not_finite("loss", batch)
        terms["total"].backward()
        limit = self.config.optimizer.clip_norm
        if not torch.isfinite(nn.utils.clip_grad_norm_(self.model.parameters(), limit)):
            raise self._not_finite("gradient", batch)
        return {k: float(v.detach()) for k, v in terms.items()}

    def _not_finite(self, what: str, batch: dict[str, Tensor]) -> InputError:
        name = "bad_batch.pt" if self.group.leads else f"bad_batch_{self.group.rank}.pt"
        save_state(self.out / name, {"step": self.step, "net": self.net.state_dict(), **batch})
        return InputError(
            f"{what} is not finite at step {self.step}; the batch and the weights are kept in "
            f"{self.out / name}; try a lower optimizer.rate"
        )

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One optimizer step; returns the loss terms."""
        c = self.config.optimizer
        factor = rate_factor(self.step, c)
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("peak", group["lr"]) * factor
        terms = self.gradients(batch)
        self.optimizer.step()
        # early averages follow closely, so that short runs are not held to the first weights
        update_average(self.average, self.net, min(c.ema, (1 + self.step) / (10 + self.step)))
        self.step += 1
        for k, v in terms.items():
            self.sums[k] = self.sums.get(k, 0.0) + v
        return terms


def provenance(config: TrainConfig, classes: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a checkpoint says of its making; folders by name alone, for files are handed on."""

    def plain(value: Any) -> Any:
        return value.name if isinstance(value, Path) else str(value)

    return {
        "arch": config.arch,
        **({"segmentation_classes": list(classes)} if classes else {}),
        "config": json.loads(json.dumps(dataclasses.asdict(config), default=plain)),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def judge(run: Run, rows: list[folder.Row], images: int, sets: list[Dataset]) -> None:
    """Validate the averaged weights, and write them with metrics and pictures.

    Args:
        rows: of ``metrics.csv``, to which one is added; images: in the training sets.
        sets: to validate on, none is allowed.
    """
    config, out, c = run.config, run.out, run.config.optimizer
    count = (run.step - 1) % config.val_every + 1
    row = {"step": float(run.step), "epoch": run.step * c.batch / images}
    row["rate"] = c.rate * rate_factor(run.step - 1, c)
    row |= {f"loss.{k}": v / count for k, v in run.sums.items()}
    run.sums = {}
    average = run.average.cpu()
    scores = validate(average, sets, config.val_size) if sets else {}
    rows.append({**row, **scores})
    folder.write_metrics(out / "metrics.csv", rows)
    folder.draw_metrics(out / "metrics.png", rows)
    if sets:
        picture = folder.draw_samples(average, sets, config.val_size)
        folder.write_samples(out / "samples", run.step, picture)
    meta = {**provenance(config, run.classes), "step": run.step, "val": scores}
    save_weights(out / "last.safetensors", average.state_dict(), meta)
    # a fitness that is not a number (nothing labelled to judge by) never holds a save back
    if not sets or not scores["fitness"] <= run.best:
        run.best = scores.get("fitness", -1.0)
        save_weights(out / "best.safetensors", average.state_dict(), meta)
    run.average.to(run.group.device)


def check(config: TrainConfig, sets: list[Dataset], group: Group) -> None:
    """Raise InputError where the run cannot be shared out or a set teaches nothing."""
    if config.optimizer.batch % group.world:
        raise InputError(
            f"optimizer.batch {config.optimizer.batch} cannot be shared out equally among "
            f"{group.world} processes; choose a multiple of {group.world}"
        )
    learns = ARCHITECTURES[config.arch]
    for dataset in sets:
        if set(learns) & set(dataset.tasks):
            continue
        have = f"no labels for {' or '.join(learns)}, which '{config.arch}' learns"
        if dataset.layout != "images":  # one that is to have labels, and they were not found
            looked = f" (looked for {dataset.looked_for})" if dataset.looked_for else ""
            raise InputError(
                f"{dataset.root}: split '{dataset.split}' has {have}{looked}; "
                "run roadstack doctor on it"
            )
        if config.teacher is None:
            raise InputError(f"{dataset.root}: has {have}; leave it out, or name a teacher")


def pixel_classes(config: TrainConfig, sets: list[Dataset]) -> tuple[str, ...]:
    """Names of the classes that 'semantic' learns, the same in all sets; () for other networks."""
    if config.arch != "semantic":
        return ()
    found = {s.segmentation_names for s in sets if "segmentation" in s.tasks}
    if len(found) > 1:
        lists = " and ".join(f"({', '.join(names)})" for names in sorted(found))
        raise InputError(f"the sets have other pixel classes than each other: {lists}")
    return found.pop() if found else ()


def train(
    config: TrainConfig, sets: list[Dataset], val: list[Dataset], out: Path, report: Report
) -> Path:
    """Run or resume a training in the folder ``out``; returns the best checkpoint's path.

    Under ``torchrun`` the processes share each batch; the first alone writes and reports.

    Args:
        sets: opened ``config.data``; val: opened ``config.val``.
        report: called after each step with the step's number and its loss terms.

    Raises:
        InputError: ``out`` holds another run, a loss is not finite, a checkpoint cannot be read, or
            a process that reads pictures was killed.
    """
    with join_group() as group:
        check(config, sets, group)
        if config.bf16 is None:
            config = dataclasses.replace(config, bf16=computes_in_bf16(group.device))
        make_repeatable(config, group.device)
        if group.leads:
            folder.claim_folder(out, config)
        run = Run(config, out, group, pixel_classes(config, [*sets, *val]))
        run.resume()
        if group.leads:
            folder.note_start(out, run.step, group.device, group.world)
        try:
            _steps(run, sets, val, report)
        except RuntimeError as e:
            if not str(e).startswith("DataLoader worker"):
                raise
            raise InputError(
                "a process that reads pictures was killed, for want of memory or by a signal; the "
                "same command goes on from the last save"
            ) from e
    return out / "best.safetensors"


def _steps(run: Run, sets: list[Dataset], val: list[Dataset], report: Report) -> None:
    config, c = run.config, run.config.optimizer
    mixture = Mixture(
        sets, [s.share for s in config.data], config.size, config.seed, config.augment,
        c.steps * c.batch, config.cache_width, config.cache_mb, [s.handed for s in config.data],
        [s.weight for s in config.data],
        make_semantic_targets if config.arch == "semantic"
        else partial(make_targets, class_weights=config.class_weights),
    )  # fmt: skip
    mixture.preload()
    if run.group.leads:
        folder.note_skipped(run.out, mixture.problems)
    part = c.batch // run.group.world
    loader = batches(mixture, part, config.workers, own_positions(c, run.step, run.group))
    rows = folder.read_metrics(run.out / "metrics.csv", run.step)
    images = sum(len(s) for s in sets)
    for batch in loader:
        terms = run.train_step(batch)
        last = run.step == c.steps
        if not run.group.leads:
            run.sums = {}
            continue
        report(run.step, terms)
        judged = last or run.step % config.val_every == 0
        if judged:
            judge(run, rows, images, val)
        if judged or run.step % config.save_every == 0:
            run.save()
