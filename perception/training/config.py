"""Settings of a training run, read from TOML by ``data.config.load_config``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from data.augment import AugmentConfig
from data.taxonomy import CLASSES
from perception.models.architectures import ARCHITECTURES


def _expect(
    config: object, names: str, low: float, high: float = math.inf, above: bool = False
) -> None:
    """ValueError unless each of the fields that is given is a number from ``low``, or above it, to
    ``high``."""
    for name in names.split():
        value = getattr(config, name)
        if value is None:
            continue
        if not low <= value <= high or value == math.inf or (above and value == low):
            most = f" and at most {high}" if high < math.inf else ""
            least = "above" if above else "at least"
            raise ValueError(f"{name}: expected {least} {low}{most}, given {value}")


@dataclass(frozen=True)
class SetConfig:
    """One labelled set.

    Attributes:
        path: folder; split: as the set names it; layout: recognised if None; 'images' takes a
            folder of pictures or a video without labels, for a teacher to label.
        share: how often it is drawn, on any scale, above 0.
        tasks: which of its labels to teach, all if empty.
        names: class names mapped by hand, each ``name=ours`` or ``name=none``.
        handed: its drivable area leaves out oncoming lanes, so that a mirrored picture must not
            teach it.
        weight: how much its labels count beside those of weight 1, above 0 and at most 1; lower
            it for labels that are not to be trusted fully, such as pseudo-labels.
    """

    path: Path
    split: str = "train"
    share: float = 1.0
    layout: str | None = None
    tasks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    handed: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        _expect(self, "share", 0, above=True)
        _expect(self, "weight", 0, 1, above=True)


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (Loshchilov and Hutter 2019) with warm-up and a cosine schedule.

    Attributes:
        steps: optimizer steps of the whole run; batch: images a step.
        rate: peak learning rate of pyramid and heads; backbone_factor: share of it for the
            pretrained backbone.
        warmup_steps: linear warm-up; final_factor: last rate as a share of the peak.
        clip_norm: gradient norm limit; ema: decay of the weights' moving average.
        frozen_blocks: the stem and so many backbone blocks stay as they start ('nano' has none).
        only: parts that learn, by what their parameters' names begin with, such as 'box'; all
            others stay as they start, batch statistics too. All parts learn if empty.
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
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _expect(self, "steps batch", 1)
        _expect(self, "rate clip_norm", 0, above=True)
        _expect(self, "backbone_factor weight_decay warmup_steps frozen_blocks", 0)
        _expect(self, "final_factor ema", 0, 1)


@dataclass(frozen=True)
class DistillConfig:
    """How a teacher's answers count beside the labels; see ``distill.teacher_loss``.

    Attributes:
        unlabelled: weight of the teacher's terms at pixels without a label of their kind.
        labelled: the same at pixels that have one.
        heat, box, mask: weights of the teacher's terms, beside those of the labels' own.
        features: weight of the likeness of what the heads of both look at.
    """

    unlabelled: float = 1.0
    labelled: float = 0.5
    heat: float = 1.0
    box: float = 1.0
    mask: float = 1.0
    features: float = 0.0

    def __post_init__(self) -> None:
        _expect(self, "unlabelled labelled heat box mask features", 0)


@dataclass(frozen=True)
class TrainConfig:
    """A run.

    Attributes:
        arch: 'base' or 'nano' for objects, drivable area and lanes; 'semantic' for the class of
            every pixel, of as many classes as the data's segmentation masks have.
        data: labelled sets to train on; val: sets for choosing the best checkpoint.
        size: (width, height) of training pictures; val_size: of validation (the exported size).
        init: safetensors checkpoint to start from, else ImageNet weights of the backbone of
            'base' and 'semantic', and random ones of 'nano'.
        init_parts: take no more of ``init`` than the parts named so, such as 'stages'; the others
            start as without it. All if empty.
        teacher: safetensors checkpoint of a trained network to learn from as well.
        class_weights: how much objects of each class count beside the others, in the taxonomy's
            order, such as more for rare ones that a small network leaves out; alike if empty.
        bf16: bfloat16 autocast in forward and backward; None: where the processor computes in it,
            as others take twice as long as in float32.
        strict: stop at a malformed label or image instead of leaving it out.
        val_every: steps between validations; save_every: between saves of the state that a
            killed run goes on from.
        cache_width: frames are kept no wider than this (px), 1.5 times ``size`` if None;
            cache_mb: memory for them (10^6 bytes); what does not fit is read again each time.
        workers: loader processes; threads: of PyTorch, both for each process of the run.
    """

    arch: str = "base"
    data: tuple[SetConfig, ...] = ()
    val: tuple[SetConfig, ...] = ()
    size: tuple[int, int] = (512, 288)
    val_size: tuple[int, int] = (640, 384)
    init: Path | None = None
    init_parts: tuple[str, ...] = ()
    teacher: Path | None = None
    class_weights: tuple[float, ...] = ()
    seed: int = 0
    bf16: bool | None = None
    strict: bool = False
    val_every: int = 250
    save_every: int = 50
    cache_width: int | None = None
    cache_mb: int = 2048
    workers: int = 1
    threads: int = 2
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        for name in ("size", "val_size"):
            if any(v <= 0 or v % 32 for v in getattr(self, name)):
                raise ValueError(f"{name}: expected multiples of 32, given {getattr(self, name)}")
        _expect(self, "seed cache_mb workers", 0, 2**31 - 1)
        _expect(self, "val_every save_every threads cache_width", 1)
        if self.arch not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ValueError(f"arch: expected one of {known}, given '{self.arch}'")
        if self.class_weights:
            names = ", ".join(CLASSES)
            given = self.class_weights
            if len(given) != len(CLASSES) or not all(0 < w < math.inf for w in given):
                raise ValueError(f"class_weights: expected one above 0 for each of {names}")
            if self.arch == "semantic":
                raise ValueError("arch 'semantic' knows no objects: leave out class_weights")
        if self.init_parts and self.init is None:
            raise ValueError("init_parts: of which checkpoint? give init too")
        if self.arch == "semantic" and self.teacher is not None:
            raise ValueError("arch 'semantic' learns from labels alone: leave out teacher")
