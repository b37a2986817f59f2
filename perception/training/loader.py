"""Batches for training: frames drawn and augmented by position, so that any batch of a run can be
made again from the seed and its number alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Subset, default_collate
from torch.utils.data import Dataset as TorchDataset

from data.augment import AugmentConfig, Others, Pipeline, augment, build_augmentation
from data.datasets import Dataset
from data.datasets.base import SURFACES
from data.frames import find_rare, frame_size, read_frame
from data.taxonomy import CLASS_ID
from data.threads import opencv_on_one_thread
from data.types import Sample
from perception.metrics.surfaces import dilate_lane
from perception.training.distill import VideoSet
from perception.training.targets import make_targets

Key = tuple[int, int]  # (set, index of the frame in it)
RECENT = 4  # frames a worker keeps: what a mosaic takes


def sample_bytes(sample: Sample) -> int:
    """Memory that a sample's arrays take."""
    masks = (sample.drivable, sample.lane, sample.segmentation)
    arrays = (sample.image, *masks, sample.xyxy, sample.class_id)
    return sum(a.nbytes for a in arrays if a is not None)


@dataclass
class Mixture(TorchDataset):
    """Endless draws from several sets, by shares; item ``i`` is one training image.

    An item depends on the fields below, but for ``cache_mb``, and on ``i`` alone: what is held in
    memory changes how fast it comes and nothing else.

    Args:
        sets: the data sets; shares: how often each is drawn, any positive scale.
        size: (width, height) of the network's input.
        seed: of the run; augment: strength.
        length: number of images in the whole run.
        cache_width: frames wider than this are shrunk as they are read (px), by decoding them at
            a half or less where that suffices; by default half as much again as ``size``, so
            that crops stay sharp.
        cache_mb: memory for frames read ahead by ``preload`` (10^6 bytes), held once for all
            workers of a process; frames beyond it are decoded each time they are drawn (each
            worker keeps its last four).
        handed: for each set, whether mirrored pictures leave its drivable area unknown, see
            ``data.augment.augment``.
        weights: for each set, how much its labels count, all 1 by default; a mosaic joins frames
            that count alike.
        targets: what a network learns of an augmented sample whose labels count so much.
    """

    sets: list[Dataset]
    shares: list[float]
    size: tuple[int, int]
    seed: int
    augment: AugmentConfig
    length: int
    cache_width: int | None = None
    cache_mb: float = 2048.0
    handed: Sequence[bool] = ()
    weights: Sequence[float] = ()
    targets: Callable[[Sample, float], Any] = make_targets
    _cache: dict[Key, Sample] = field(default_factory=dict, repr=False)
    _recent: dict[Key, Sample] = field(default_factory=dict, repr=False)
    _rare: list[dict[int, tuple[int, ...]]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._p = np.array(self.shares) / np.sum(self.shares)
        self.pipeline: Pipeline = build_augmentation(self.size, self.augment)
        self._width = self.cache_width or round(1.5 * self.size[0])

    def __len__(self) -> int:
        return self.length

    def read(self, key: Key, boxes_only: bool = False) -> Sample:
        """A frame as it is before augmentation, from memory or anew."""
        held = self._cache.get(key) or self._recent.get(key)
        if held is not None:
            return held
        sample = self._read_anew(key, boxes_only)
        if not boxes_only:
            self._recent[key] = sample
            if len(self._recent) > RECENT:
                del self._recent[next(iter(self._recent))]
        return sample

    def _read_anew(self, key: Key, boxes_only: bool = False) -> Sample:
        dataset = self.sets[key[0]]
        if isinstance(dataset, VideoSet):  # its frames are no image files
            return dataset.shrunk(key[1], frame_size(*dataset.frame_px, self._width))
        return read_frame(dataset, key[1], self._width, boxes_only, dilate_lane)

    def _planned(self) -> list[Key]:
        """The frames to hold, those that are drawn most often first, as far as memory goes."""
        left = self.cache_mb * 1e6
        often = [p / max(1, len(s)) for p, s in zip(self._p, self.sets, strict=True)]
        keys: list[Key] = []
        for which in np.argsort(-np.array(often), kind="stable"):
            dataset = self.sets[which]
            planes = 3 + len(set(SURFACES) & set(dataset.tasks))
            for i in range(len(dataset)):
                given = dataset.size_px(i)
                width, height = frame_size(given[0], given[1], self._width)
                left -= width * height * planes + 40_000  # and its boxes
                if left < 0:
                    return keys
                keys.append((int(which), i))
        return keys

    def preload(self, threads: int = 2) -> int:
        """Read frames ahead, as far as ``cache_mb`` goes, to be shared by worker processes that
        are forked later; returns how many are held."""
        self.rare()
        keys = self._planned()
        with ThreadPoolExecutor(threads) as pool:
            self._cache.update(zip(keys, pool.map(self._read_anew, keys), strict=True))
        return len(self._cache)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read of the frames held, a line each."""
        return tuple(t for s in self._cache.values() for t in s.problems)

    @property
    def held_mb(self) -> float:
        """Memory that frames held take, 10^6 bytes."""
        return sum(map(sample_bytes, self._cache.values())) / 1e6

    def rare(self) -> list[dict[int, tuple[int, ...]]]:
        """For each set: class -> frames with objects to paste; found at the first call."""
        if self._rare is None:
            wanted = self.augment.rare if self.augment.copy_paste > 0 else ()
            ids = tuple(CLASS_ID[c] for c in wanted)
            self._rare = [find_rare(s, ids, self._width) for s in self.sets]
        return self._rare

    def draw(self, position: int) -> tuple[Key, int]:
        """The frame of an item, of a set drawn by its share, and its seed for augmentation."""
        rng = np.random.default_rng((self.seed, position % 2**32))
        which = int(rng.choice(len(self.sets), p=self._p))
        return (which, int(rng.integers(len(self.sets[which])))), int(rng.integers(2**31))

    def is_handed(self, which: int) -> bool:
        return bool(self.handed[which]) if self.handed else False

    def weight(self, which: int) -> float:
        return float(self.weights[which]) if self.weights else 1.0

    def others(self, position: int) -> Others:
        """Where an item gets others from: for mosaics the items before it of its weight, whose
        frames its worker has just read; for objects to paste, a frame of its own set."""
        (which, _), _ = self.draw(position)
        before = itertools.count(position - 1, -1)

        def another(_: np.random.Generator) -> tuple[Sample, bool]:
            keys = (self.draw(p)[0] for p in before)
            key = next(k for k in keys if self.weight(k[0]) == self.weight(which))
            return self.read(key), self.is_handed(key[0])

        def donor(wanted: int, rng: np.random.Generator) -> Sample | None:
            frames = self.rare()[which].get(wanted)
            return self.read((which, int(rng.choice(frames))), True) if frames else None

        return Others(another, donor)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        key, seed = self.draw(position)
        others, handed = self.others(position), self.is_handed(key[0])
        out = augment(self.pipeline, self.read(key), seed, others, handed)
        targets = self.targets(out, self.weight(key[0]))
        return {k: torch.from_numpy(v) for k, v in targets._asdict().items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread for a while, as worker processes do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with opencv_on_one_thread():
            yield
    finally:
        torch.set_num_threads(before)


def quiet_worker(_: int) -> None:
    """A worker process computes on one thread: its fellows use the other processors."""
    if cv2.getNumThreads() != 1:  # a process that was not forked from ``batches``
        cv2.setNumThreads(1)


def collate(items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Stack items to a batch."""
    batch: dict[str, torch.Tensor] = default_collate(list(items))
    return batch


def batches(items: Any, batch: int, workers: int, positions: Sequence[int]) -> DataLoader:
    """Batches of the items at ``positions``, in order, made by ``workers`` processes (0: here).

    With workers, OpenCV computes on one thread in this process as well: its threads do not live
    on in a forked process, which would wait for them for ever.
    """
    if workers:
        cv2.setNumThreads(1)
    rest: Any = Subset(items, positions)
    return DataLoader(
        rest,
        batch_size=batch,
        num_workers=workers,
        worker_init_fn=quiet_worker,
        prefetch_factor=4 if workers else None,
    )
