"""Augmentation of driving pictures: boxes and masks follow the picture, the horizon stays level.

A sample goes through three steps. *Mixing*: a mosaic of four samples, or rare objects of another
sample pasted in (``data.mixing``). *Geometry*: crop or zoom out, mirror and tilt as ONE affine map
of picture, masks and boxes; nothing turns more than 3 degrees, nothing is put upside down, and
crops keep the network's aspect but for a small stretch. *Light*: weather and night
(``data.weather``), then albumentations for light, lens and sensor. Albumentations' own geometry,
noise, fog and CLAHE are not used: they take 5 to 30 times as long.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from data.datasets import Dataset
from data.frames import find_rare, read_frame
from data.mixing import HORIZON, join_quarters, paste
from data.taxonomy import CLASS_ID, CLASSES
from data.types import F32, F64, HIDDEN, U8, UNKNOWN, Sample
from data.weather import EFFECTS, local_contrast, noise

FILL = 127  # grey outside the picture, as letterboxing pads it
TILT_DEG = 3.0
_MIN_VISIBLE = 0.25  # share of a box that is left in view; less of it is an area to ignore
_MIN_AREA_PX2 = 4.0


@dataclass(frozen=True)
class AugmentConfig:
    """How strongly pictures are changed; a probability of 0 switches its change off.

    Attributes:
        min_crop: smallest share of the picture's area that a random crop keeps.
        zoom_out: probability of shrinking the picture into grey instead of cropping it.
        stretch: largest change of a crop's aspect, as a share.
        tilt: probability of turning and shearing the picture, by 3 degrees at most.
        photometric: probability of each group of photometric changes.
        weather: probability of night, rain, fog or shadows.
        mosaic: probability of joining the sample with three others; it breaks the horizon, and
            with it the surfaces' shape, so keep it low where surfaces are taught.
        copy_paste: probability of pasting one to three objects of a class of ``rare`` from
            another picture of the same set.
        rare: classes with few boxes, each as likely to be pasted as the others.
    """

    min_crop: float = 0.3
    zoom_out: float = 0.15
    stretch: float = 0.08
    tilt: float = 0.25
    photometric: float = 0.6
    weather: float = 0.12
    mosaic: float = 0.1
    copy_paste: float = 0.3
    rare: tuple[str, ...] = ("person", "two_wheeler", "traffic_light")

    def __post_init__(self) -> None:
        for name in ("zoom_out", "tilt", "photometric", "weather", "mosaic", "copy_paste"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 to 1, given {getattr(self, name)}")
        if not 0 < self.min_crop <= 1 or not 0 <= self.stretch < 0.5:
            raise ValueError(
                f"expected 0 < min_crop <= 1 and 0 <= stretch < 0.5, given {self.min_crop} and "
                f"{self.stretch}"
            )
        if set(self.rare) - set(CLASSES):
            raise ValueError(f"rare: expected some of {CLASSES}, given {self.rare}")


@dataclass(frozen=True)
class Others:
    """Where further samples come from; both depend on the generator's state alone.

    Attributes:
        another: any sample, for a mosaic, and whether it is ``handed`` (see ``augment``).
        donor: (class, generator) -> a sample that holds objects of the class, or None; only its
            image and boxes are used.
    """

    another: Callable[[np.random.Generator], tuple[Sample, bool]]
    donor: Callable[[int, np.random.Generator], Sample | None]


@dataclass(frozen=True, eq=False)
class Pipeline:
    """What ``build_augmentation`` prepares: output size (width, height), strength, and the
    albumentations pipeline of the last step."""

    size: tuple[int, int]
    config: AugmentConfig
    photometric: Any


def _own(effect: Callable[..., U8]) -> Any:
    """One of our effects as an albumentations transform."""
    import albumentations as A

    class Own(A.ImageOnlyTransform):
        def apply(self, img: U8, **_: Any) -> U8:
            return effect(img, self.random_generator)

    return Own(p=0.5)


def build_augmentation(size: tuple[int, int], config: AugmentConfig) -> Pipeline:
    """Prepare the augmentation to pictures of ``size`` (width, height)."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A

    p = config.photometric
    light = [
        A.RandomBrightnessContrast(0.35, 0.35),
        A.RandomGamma((50, 180)),
        _own(local_contrast),
    ]
    lens = [A.MotionBlur((3, 7)), A.GaussianBlur((3, 5)), A.Downscale(scale_range=(0.5, 0.8))]
    sensor = [_own(noise), _own(noise), A.ImageCompression(quality_range=(40, 90))]
    photometric = [
        A.OneOf(light, p=p),
        A.HueSaturationValue(12, 40, 25, p=p * 0.7),
        A.RGBShift(20, 20, 20, p=p * 0.25),
        A.ToGray(p=p * 0.05),
        A.OneOf(lens, p=p * 0.25),
        A.OneOf(sensor, p=p * 0.3),
    ]
    return Pipeline(size, config, A.Compose(photometric))


def draw_view(
    rng: np.random.Generator, config: AugmentConfig, given: tuple[int, int], size: tuple[int, int]
) -> F64:
    """Draw the affine map (2, 3) from a picture of size ``given`` to one of ``size`` (width,
    height), in px with the origin at the corner of the top left pixel."""
    (width, height), aspect = given, size[0] / size[1]
    if rng.random() < config.zoom_out:
        # the smallest window around all of the picture is what letterboxing shows
        w = max(width, height * aspect) * rng.uniform(1.0, 1 / 0.6)
        h = w / aspect
    else:
        aspect *= (1 + config.stretch) ** rng.uniform(-1, 1)
        w = np.sqrt(rng.uniform(config.min_crop, 1.0) * width * height * aspect)
        w = min(w, width, height * aspect)
        h = w / aspect
    # centre of the window: it stays inside the picture, or the picture inside of it
    cx = width / 2 + rng.uniform(-1, 1) * abs(width - w) / 2
    cy = height / 2 + rng.uniform(-1, 1) * abs(height - h) / 2
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    turn, lean = 0.0, 0.0
    if rng.random() < config.tilt:
        turn, lean = np.deg2rad(rng.uniform(-TILT_DEG, TILT_DEG, 2))
    c, s = np.cos(turn), np.sin(turn)
    tilt = np.array([[c, -s], [s, c]]) @ np.array([[1, np.tan(lean)], [0, 1]])
    linear = np.diag([mirror * size[0] / w, size[1] / h]) @ tilt
    offset = np.array([size[0] / 2, size[1] / 2]) - linear @ (cx, cy)
    return np.c_[linear, offset]


def _move_boxes(sample: Sample, matrix: F64, size: tuple[int, int]) -> tuple[F32, Any, Any]:
    """Hull of each box's corners after the map, cut at the borders, with class and ignore flag.

    A box of which too little is left becomes an area to ignore: it is neither an object to be
    found whole nor nothing.
    """
    height, width = sample.image.shape[:2]
    x1, y1, x2, y2 = sample.xyxy.T.astype(np.float64)
    x1, x2, y1, y2 = x1.clip(0, width), x2.clip(0, width), y1.clip(0, height), y2.clip(0, height)
    corners = np.stack([[x1, x2, x2, x1], [y1, y1, y2, y2], np.ones((4, len(x1)))])
    moved = np.einsum("ij,jkn->ikn", matrix, corners)
    hull = np.stack([*moved.min(1), *moved.max(1)], 1)
    seen = hull.copy()
    seen[:, 0::2] = seen[:, 0::2].clip(0, size[0])
    seen[:, 1::2] = seen[:, 1::2].clip(0, size[1])
    area = np.prod(seen[:, 2:] - seen[:, :2], axis=1)
    whole = np.prod(hull[:, 2:] - hull[:, :2], axis=1)
    poor = (area < _MIN_VISIBLE * whole) | (area < _MIN_AREA_PX2)
    keep = (area > 0) & (x2 - x1 > 1) & (y2 - y1 > 1)
    return (
        np.asarray(seen[keep], np.float32),
        sample.class_id[keep],
        (sample.ignore | poor)[keep],
    )


def warp(sample: Sample, matrix: F64, size: tuple[int, int]) -> Sample:
    """Apply an affine map (as ``draw_view`` gives it) to image, masks and boxes at once; outside
    the picture the image is grey and the masks are unknown."""
    pixel = matrix.copy()  # the same map between indices of pixels, whose centres are at + 0.5
    pixel[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5

    def mask(given: U8 | None) -> U8 | None:
        if given is None:
            return None
        moved = cv2.warpAffine(given, pixel, size, flags=cv2.INTER_NEAREST, borderValue=UNKNOWN)
        return np.asarray(moved, np.uint8)

    image = cv2.warpAffine(sample.image, pixel, size, borderValue=(FILL, FILL, FILL))
    xyxy, class_id, ignore = _move_boxes(sample, matrix, size)
    return dataclasses.replace(
        sample,
        image=np.asarray(image, np.uint8),
        xyxy=xyxy,
        class_id=class_id,
        ignore=ignore,
        drivable=mask(sample.drivable),
        lane=mask(sample.lane),
        segmentation=mask(sample.segmentation),
    )


def _viewed(
    sample: Sample, handed: bool, rng: np.random.Generator, config: AugmentConfig,
    size: tuple[int, int],
) -> tuple[Sample, float]:  # fmt: skip
    height, width = sample.image.shape[:2]
    matrix = draw_view(rng, config, (width, height), size)
    horizon_px = float(matrix[1] @ (width / 2, HORIZON * height, 1))
    out = warp(sample, matrix, size)
    if handed and matrix[0, 0] < 0:
        hidden = np.full(out.image.shape[:2], HIDDEN, np.uint8)
        out = dataclasses.replace(out, drivable=hidden)
    return out, horizon_px


def _mosaic(
    first: tuple[Sample, bool], rng: np.random.Generator, pipeline: Pipeline, others: Others
) -> Sample:
    width, height = pipeline.size
    config = dataclasses.replace(pipeline.config, min_crop=max(0.5, pipeline.config.min_crop))
    # on whole cells of the targets
    x, y = (int(rng.uniform(0.35, 0.65) * v / 8) * 8 for v in (width, height))
    sizes = ((x, y), (width - x, y), (x, height - y), (width - x, height - y))
    given = [first, *(others.another(rng) for _ in range(3))]
    a, b, c, d = (
        _viewed(given[k][0], given[k][1], rng, config, sizes[i])[0]
        for i, k in enumerate(rng.permutation(4))
    )
    return dataclasses.replace(join_quarters((a, b, c, d)), name=first[0].name)


def rearrange(
    pipeline: Pipeline,
    sample: Sample,
    rng: np.random.Generator,
    others: Others | None = None,
    handed: bool = False,
) -> tuple[Sample, float]:
    """Mixing and geometry; returns the sample at the pipeline's size and the horizon's row."""
    config = pipeline.config
    if others is not None and rng.random() < config.mosaic:
        return _mosaic((sample, handed), rng, pipeline, others), HORIZON * pipeline.size[1]
    if others is not None and rng.random() < config.copy_paste:
        wanted = [k for k in map(CLASS_ID.__getitem__, config.rare) if sample.labelled_classes[k]]
        for k in rng.permutation(wanted):
            donor = others.donor(int(k), rng)
            if donor is not None:
                sample = paste(sample, donor, int(k), rng)
                break
    return _viewed(sample, handed, rng, config, pipeline.size)


def relight(pipeline: Pipeline, image: U8, rng: np.random.Generator, horizon_px: float) -> U8:
    """Weather, then light, lens and sensor, on a picture (h, w, 3) uint8 BGR."""
    if rng.random() < pipeline.config.weather:
        image = EFFECTS[int(rng.integers(len(EFFECTS)))](image, rng, horizon_px)
    pipeline.photometric.set_random_seed(int(rng.integers(2**31)))
    return np.ascontiguousarray(pipeline.photometric(image=image)["image"])


def augment(
    pipeline: Pipeline,
    sample: Sample,
    seed: int,
    others: Others | None = None,
    handed: bool = False,
) -> Sample:
    """Change a sample at random, to the pipeline's size.

    The result depends on the sample, the seed and what ``others`` answers alone; without
    ``others`` there is neither mosaic nor pasting. The given sample is not changed. ``handed``
    says that its drivable area leaves out oncoming lanes, so that a mirrored picture, in which
    they lie on the other side, hides the drivable area (``data.types.HIDDEN``).
    """
    rng = np.random.default_rng(seed)
    out, horizon_px = rearrange(pipeline, sample, rng, others, handed)
    return dataclasses.replace(out, image=relight(pipeline, out.image, rng, horizon_px))


def augmented(
    dataset: Dataset, config: AugmentConfig, size: tuple[int, int], seed: int, count: int
) -> Iterator[Sample]:
    """Yield ``count`` augmented samples of a set, as training on it alone would see them, to be
    looked at; each has the given size (width, height)."""
    pipeline = build_augmentation(size, config)
    widest = round(1.5 * size[0])
    rare = find_rare(dataset, tuple(CLASS_ID[c] for c in config.rare), widest)

    def another(rng: np.random.Generator) -> tuple[Sample, bool]:
        return read_frame(dataset, int(rng.integers(len(dataset))), widest), False

    def donor(wanted: int, rng: np.random.Generator) -> Sample | None:
        frames = rare.get(wanted)
        return read_frame(dataset, int(rng.choice(frames)), widest, True) if frames else None

    for position in range(count):
        rng = np.random.default_rng((seed, position))
        sample, _ = another(rng)
        yield augment(pipeline, sample, int(rng.integers(2**31)), Others(another, donor))
