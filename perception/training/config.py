"""Settings of a training run, read from TOML by ``data.config.load_config``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data.augment import AugmentConfig


@dataclass(frozen=True)
class SetConfig:
    """One labelled set: its folder, its split, its layout (recognised if None), how often it is
    drawn (``share`` has any positive scale), and which of its labels to teach (all if empty)."""

    path: Path
    split: str = "train"
    share: float = 1.0
    layout: str | None = None
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (Loshchilov and Hutter 2019) with warm-up and a cosine schedule.

    Attributes:
        steps: optimizer steps of the whole run; batch: images a step.
        rate: peak learning rate of pyramid and heads; backbone_factor: share of it for the
            pretrained backbone.
        warmup_steps: linear warm-up; final_factor: last rate as a share of the peak.
        clip_norm: gradient norm limit; ema: decay of the weights' moving average.
        frozen_blocks: the stem and so many backbone blocks stay as pretrained.
    """

    steps: int = 2000
    batch: int = 16
    rate: float = 1.5e-3
    backbone_factor: float = 0.2
    weight_decay: float = 0.02
    warmup_steps: int = 100
    final_factor: float = 0.02
    clip_norm: float = 10.0
    ema: float = 0.998
    frozen_blocks: int = 3


@dataclass(frozen=True)
class TrainConfig:
    """A run.

    Attributes:
        data: labelled sets to train on; val: sets for choosing the best checkpoint.
        size: (width, height) of training pictures; val_size: of validation (the exported size).
        init: safetensors checkpoint to start from, else ImageNet weights of the backbone.
        bf16: bfloat16 autocast in forward and backward.
        val_every: steps between validations; workers: loader processes; threads: of PyTorch.
    """

    data: tuple[SetConfig, ...] = ()
    val: tuple[SetConfig, ...] = ()
    size: tuple[int, int] = (512, 288)
    val_size: tuple[int, int] = (640, 384)
    init: Path | None = None
    seed: int = 0
    bf16: bool = True
    val_every: int = 250
    workers: int = 1
    threads: int = 2
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        for name in ("size", "val_size"):
            if any(v <= 0 or v % 32 for v in getattr(self, name)):
                raise ValueError(f"{name}: expected multiples of 32, given {getattr(self, name)}")
        if self.optimizer.steps < 1 or self.optimizer.batch < 1:
            raise ValueError("optimizer.steps and optimizer.batch must be at least 1")
