"""``roadstack bench loader``: how fast training pictures come, and where the time goes."""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from data.augment import FILL, AugmentConfig, rearrange, relight
from data.datasets import Dataset, only_tasks, open_dataset
from data.datasets.base import subset
from data.errors import InputError
from data.types import UNKNOWN, Sample
from tools.files import make_folder, write_json
from tools.machine import hardware

T = TypeVar("T")

BATCH = 16
FRAMES = 400  # of the set, evenly spread: more would only make the warm regime slower to start
_STAGED = 120  # samples whose stages are timed
_SEED = 0
_REGIMES = {
    "plain": "whole frames decoded each time, stock albumentations (no mosaic, no pasting)",
    "cold": "frames decoded each time, full augmentation",
    "warm": "frames held in memory, full augmentation",
}


def _stock_pipeline(size: tuple[int, int], c: AugmentConfig) -> Any:
    """The same kinds of changes by albumentations alone, as its documentation puts them."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A

    aspect = size[0] / size[1]
    fill = {"fill": FILL, "fill_mask": UNKNOWN}
    p = c.photometric
    light = [A.RandomBrightnessContrast(0.35, 0.35), A.RandomGamma((50, 180)), A.CLAHE((1, 4))]
    lens = [A.MotionBlur((3, 7)), A.GaussianBlur((3, 5)), A.Downscale(scale_range=(0.5, 0.8))]
    sensor = [
        A.GaussNoise(std_range=(0.02, 0.1)),
        A.ISONoise(),
        A.ImageCompression(quality_range=(40, 90)),
    ]
    night = A.RandomBrightnessContrast((-0.7, -0.4), (-0.2, 0.1))
    weather = [night, A.RandomRain(), A.RandomFog(), A.RandomShadow()]
    return A.Compose(
        [
            A.Affine(scale=(0.6, 1.0), translate_percent=(-0.1, 0.1), p=c.zoom_out, **fill),
            A.RandomResizedCrop(
                (size[1], size[0]), (c.min_crop, 1.0), (aspect * 0.92, aspect * 1.08), p=1.0
            ),
            A.HorizontalFlip(p=0.5),
            A.Affine(rotate=(-3, 3), shear=(-3, 3), p=c.tilt, **fill),
            A.OneOf(weather, p=c.weather),
            A.OneOf(light, p=p),
            A.HueSaturationValue(12, 40, 25, p=p * 0.7),
            A.RGBShift(20, 20, 20, p=p * 0.25),
            A.ToGray(p=p * 0.05),
            A.OneOf(lens, p=p * 0.25),
            A.OneOf(sensor, p=p * 0.3),
        ],
        bbox_params=A.BboxParams(
            "pascal_voc", label_fields=["class_id", "ignore"], min_visibility=0.25, clip=True
        ),
    )


@dataclass(frozen=True)
class _Plain:
    """Items made the plain way, by position, as a map-style data set of PyTorch."""

    dataset: Dataset
    pipeline: Any
    length: int

    def __len__(self) -> int:
        return self.length

    def load(self, position: int) -> Sample:
        from perception.metrics.surfaces import dilate_lane

        rng = np.random.default_rng((_SEED, position))
        sample = self.dataset.load(int(rng.integers(len(self.dataset))))
        if sample.lane is None:
            return sample
        return dataclasses.replace(sample, lane=dilate_lane(sample.lane))

    def change(self, sample: Sample, position: int) -> Sample:
        self.pipeline.set_random_seed(position)
        unknown = np.full(sample.image.shape[:2], UNKNOWN, np.uint8)
        masks = [unknown if m is None else m for m in (sample.drivable, sample.lane)]
        out = self.pipeline(
            image=sample.image,
            masks=masks,
            bboxes=sample.xyxy,
            class_id=sample.class_id,
            ignore=sample.ignore,
        )
        return dataclasses.replace(
            sample,
            image=np.ascontiguousarray(out["image"]),
            xyxy=np.array(out["bboxes"], np.float32).reshape(-1, 4),
            class_id=np.array(out["class_id"], np.int64),
            ignore=np.array(out["ignore"], bool),
            drivable=out["masks"][0],
            lane=out["masks"][1],
        )

    def __getitem__(self, position: int) -> dict[str, np.ndarray]:
        from perception.training.targets import make_targets

        return make_targets(self.change(self.load(position), position))._asdict()


class _Watch:
    """CPU time of this process by stage, seconds."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def __call__(self, stage: str, work: Callable[[], T]) -> T:
        """Do some work; time that stages within it take is counted as theirs alone."""
        before, start = sum(self.spent.values()), time.process_time()
        done = work()
        inner = sum(self.spent.values()) - before
        self.spent[stage] = self.spent.get(stage, 0.0) + time.process_time() - start - inner
        return done


def _stages(make: Callable[[int, _Watch], Sample], count: int) -> dict[str, float]:
    """Mean CPU time of each stage (ms a sample), in this process, one thread."""
    from perception.training.loader import collate
    from perception.training.targets import make_targets

    make(0, _Watch())  # first use loads and fills what is made once
    watch, held = _Watch(), []
    for i in range(count):
        sample = make(i, watch)
        held.append(watch("targets", lambda s=sample: make_targets(s)._asdict()))  # type: ignore[misc]
        if len(held) == BATCH:
            watch("collate", lambda h=held: collate(h))  # type: ignore[misc]
            held = []
    return {k: v / count * 1e3 for k, v in watch.spent.items()}


def _mixture_stages(mixture: Any, count: int) -> dict[str, float]:
    """Stages of ``Mixture.__getitem__``; frames that mosaic and pasting read count as decoding."""
    watch, read = _Watch(), mixture.read

    def make(position: int, given: _Watch) -> Sample:
        nonlocal watch
        watch = given
        key, seed = mixture.draw(position)
        rng, sample, others = (
            np.random.default_rng(seed),
            mixture.read(key),
            mixture.others(position),
        )
        out, row = watch("geometry", lambda: rearrange(mixture.pipeline, sample, rng, others))
        image = watch("photometric", lambda: relight(mixture.pipeline, out.image, rng, row))
        return dataclasses.replace(out, image=image)

    mixture.read = lambda *a: watch("decode", lambda: read(*a))
    try:
        return _stages(make, count)
    finally:
        del mixture.read


def _cpu_s() -> float:
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _rate(items: Any, workers: int, count: int) -> dict[str, float]:
    """Draw ``count`` items through worker processes; rates over one-second windows, and the CPU
    time of all processes together."""
    from perception.training.loader import batches

    cpu, arrived, total = _cpu_s(), [], 0
    loader = batches(items, BATCH, workers, range(count))
    for batch in loader:
        total += len(batch["image"])
        arrived.append((time.monotonic(), total))
        del batch
    del loader
    cpu = _cpu_s() - cpu  # the workers have ended, so theirs is in it
    at, done = np.array(arrived).T
    seconds = np.arange(at[0], at[-1], 1.0)
    windows = np.diff(np.interp(seconds, at, done))
    if not len(windows):
        windows = np.array([(done[-1] - done[0]) / max(at[-1] - at[0], 1e-9)])
    return {
        "samples_per_s": float(np.median(windows)),
        "samples_per_s_p5": float(np.percentile(windows, 5)),
        "windows": len(windows),
        "cpu_ms_per_sample": cpu / total * 1e3,
        "samples_per_s_by_cpu": len(os.sched_getaffinity(0)) * total / cpu,
    }


def _measure(items: Any, stages: dict[str, float], workers: int, seconds: float) -> dict[str, Any]:
    each_s = sum(stages.values()) / 1e3 / max(1, min(workers, len(os.sched_getaffinity(0))))
    count = max(4 * max(1, workers), round(seconds / each_s / BATCH)) * BATCH
    return {**_rate(items, workers, count), "samples": count, "stages_ms": stages}


def _all_regimes(
    dataset: Dataset, size: tuple[int, int], workers: int, seconds: float, cache_mb: float
) -> dict[str, Any]:
    from perception.training.loader import Mixture

    config, endless = AugmentConfig(), 10**9
    plain = _Plain(dataset, _stock_pipeline(size, config), endless)
    regimes = {"plain": _measure(plain, _stages(_plain_make(plain), _STAGED), workers, seconds)}
    mixture = Mixture([dataset], [1.0], size, _SEED, config, endless, cache_mb=cache_mb)
    mixture.rare()
    for name in ("cold", "warm"):
        held = mixture.preload() if name == "warm" else 0
        stages = _mixture_stages(mixture, _STAGED)
        regimes[name] = _measure(mixture, stages, workers, seconds)
        regimes[name] |= {"frames_held": held, "held_mb": mixture.held_mb}
    return regimes


def bench_loader(
    root: Path,
    split: str = "train",
    size: tuple[int, int] = (640, 384),
    workers: int = 2,
    seconds: float = 10.0,
    layout: str | None = None,
    cache_mb: float = 2048.0,
) -> dict[str, Any]:
    """Time the training loader on a labelled set, in three regimes, one after the other.

    'plain' is what one would write first: whole frames by ``cv2.imread``, then albumentations
    alone. 'cold' and 'warm' are the loader of ``roadstack train`` with every augmentation at its
    default, without and with frames held in memory. Files come from the operating system's cache
    in all three.

    Returns:
        A table for each regime: ``samples_per_s`` (median of one-second windows),
        ``samples_per_s_p5``, ``cpu_ms_per_sample`` of all processes together,
        ``samples_per_s_by_cpu`` (what this CPU time allows where nothing else runs), and
        ``stages_ms`` (mean CPU time a sample of decode, geometry, photometric, targets and
        collate); beside them hardware, frames' size and settings.

    Raises:
        InputError: no such set or split, or nothing in it.
    """
    from perception.training.loader import one_thread

    whole = open_dataset(root, split, layout)
    dataset = only_tasks(whole, tuple(t for t in whole.tasks if t != "segmentation"))
    if not len(dataset):
        raise InputError(f"{root}: split '{split}' holds no images to time the loader on")
    every = np.linspace(0, len(dataset) - 1, min(FRAMES, len(dataset))).round().astype(int)
    dataset = subset(dataset, every.tolist())
    with one_thread():
        regimes = _all_regimes(dataset, size, workers, seconds, cache_mb)
    sizes = [dataset.size_px(i) for i in range(len(dataset))]
    return {
        "hardware": hardware(),
        "size": list(size),
        "workers": workers,
        "batch": BATCH,
        "frames": len(dataset),
        "frame_size": [int(statistics.median(v)) for v in zip(*sizes, strict=True)],
        "regimes": regimes,
    }


def _plain_make(plain: _Plain) -> Callable[[int, _Watch], Sample]:
    def make(position: int, watch: _Watch) -> Sample:
        sample = watch("decode", lambda: plain.load(position))
        return watch("augment", lambda: plain.change(sample, position))

    return make


def _print(result: dict[str, Any]) -> None:
    frame, size = ("x".join(map(str, result[k])) for k in ("frame_size", "size"))
    print(
        f"loader at {size} from {result['frames']} frames of {frame}, {result['workers']} workers, "
        f"batch {result['batch']}; {result['hardware']}"
    )
    for name, r in result["regimes"].items():
        print(f"\n{name}: {_REGIMES[name]}")
        print(
            f"  {r['samples_per_s']:6.1f} samples/s (5 % of seconds below "
            f"{r['samples_per_s_p5']:.1f}); {r['cpu_ms_per_sample']:.1f} ms CPU a sample, enough "
            f"for {r['samples_per_s_by_cpu']:.0f}/s"
        )
        parts = ", ".join(f"{k} {v:.2f}" for k, v in r["stages_ms"].items())
        print(f"  ms a sample: {parts}")
        if r.get("frames_held"):
            print(f"  memory: {r['held_mb']:.0f} MB for {r['frames_held']} frames, held once")
    cold, warm, plain = (result["regimes"][k]["samples_per_s"] for k in ("cold", "warm", "plain"))
    print(
        f"\nagainst the plain way: cold {cold / plain:.1f}, warm {warm / plain:.1f} times as fast"
    )


def run_bench_loader(a: argparse.Namespace) -> int:
    """Time the loader as the options say, print a table, and write ``loader.json`` to ``a.out``
    if that is given."""
    out = make_folder(a.out) if a.out else None
    result = bench_loader(a.data, a.split, a.size, a.workers, a.seconds, a.layout)
    _print(result)
    if out:
        write_json(out / "loader.json", result)
        print(f"written: {out / 'loader.json'}")
    return 0
