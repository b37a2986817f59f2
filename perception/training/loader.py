"""Batches for training: cached frames, drawn and augmented by position, so that any batch of a
run can be made again from the seed and its number alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from data.augment import AugmentConfig, augment, build_augmentation
from data.datasets import Dataset
from data.types import U8, Sample
from perception.metrics.surfaces import dilate_lane
from perception.training.targets import make_targets


def prepare(sample: Sample, max_width: int) -> Sample:
    """Widen the lane labels as the metric does, then shrink the frame for the cache."""
    lane = None if sample.lane is None else dilate_lane(sample.lane)
    height, width = sample.image.shape[:2]
    if width <= max_width:
        size = (width, height)
    else:
        size = (max_width, round(height * max_width / width))
    factor = np.array([size[0] / width, size[1] / height] * 2, np.float32)

    def fit(mask: U8 | None) -> U8 | None:
        if mask is None:
            return None
        return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)

    image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA)
    return Sample(
        np.asarray(image, np.uint8),
        sample.xyxy * factor,
        sample.class_id,
        sample.ignore,
        sample.labelled_classes,
        fit(sample.drivable),
        fit(lane),
        sample.name,
    )


@dataclass
class Mixture(TorchDataset):
    """Endless draws from several sets, by shares; item ``i`` is one training image.

    Args:
        sets: the data sets; shares: how often each is drawn, any positive scale.
        size: (width, height) of the network's input.
        seed: of the run; augment: strength.
        length: number of images in the whole run.
        cache_width: frames wider than this are shrunk when first read.
    """

    sets: list[Dataset]
    shares: list[float]
    size: tuple[int, int]
    seed: int
    augment: AugmentConfig
    length: int
    cache_width: int = 1280
    _cache: dict[tuple[int, int], Sample] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._p = np.array(self.shares) / np.sum(self.shares)
        self._pipeline = build_augmentation(self.size, self.augment)

    def __len__(self) -> int:
        return self.length

    def _sample(self, which: int, index: int) -> Sample:
        key = (which, index)
        if key not in self._cache:
            self._cache[key] = prepare(self.sets[which].load(index), self.cache_width)
        return self._cache[key]

    def preload(self) -> None:
        """Read every frame once; worker processes then share the memory."""
        for which, dataset in enumerate(self.sets):
            for i in range(len(dataset)):
                self._sample(which, i)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng((self.seed, position))
        which = int(rng.choice(len(self.sets), p=self._p))
        sample = self._sample(which, int(rng.integers(len(self.sets[which]))))
        t = make_targets(augment(self._pipeline, sample, int(rng.integers(2**31))))
        return {k: torch.from_numpy(v) for k, v in t._asdict().items()}
