"""Augmentation of driving pictures with albumentations; boxes and masks follow the picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from data.types import Sample

UNKNOWN = 255


@dataclass(frozen=True)
class AugmentConfig:
    """How strongly pictures are changed.

    Attributes:
        min_crop: smallest share of the picture's area that a random crop keeps.
        zoom_out: probability of shrinking the picture into grey instead of cropping it.
        photometric: probability of each group of photometric changes.
        weather: probability of synthetic rain, fog or shadow.
    """

    min_crop: float = 0.3
    zoom_out: float = 0.15
    photometric: float = 0.6
    weather: float = 0.06


def _geometry(size: tuple[int, int], config: AugmentConfig) -> list[Any]:
    """Crops, scales and flips; the horizon stays nearly level."""
    import albumentations as A

    width, height = size
    aspect = width / height
    fill = {"fill": 127, "fill_mask": UNKNOWN}
    return [
        A.Affine(
            scale=(0.6, 1.0),
            translate_percent=(-0.1, 0.1),
            keep_ratio=True,
            p=config.zoom_out,
            **fill,
        ),
        A.RandomResizedCrop(
            size=(height, width),
            scale=(config.min_crop, 1.0),
            ratio=(aspect * 0.85, aspect * 1.18),
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            p=1.0,
        ),
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-3, 3), shear=(-3, 3), p=0.25, **fill),
    ]


def _photometric(config: AugmentConfig) -> list[Any]:
    """Light, lens, sensor and weather."""
    import albumentations as A

    p = config.photometric
    light = [A.RandomBrightnessContrast(0.35, 0.35), A.RandomGamma((50, 180)), A.CLAHE((1, 4))]
    lens = [A.MotionBlur((3, 7)), A.GaussianBlur((3, 5)), A.Downscale(scale_range=(0.5, 0.8))]
    sensor = [
        A.GaussNoise(std_range=(0.02, 0.1)),
        A.ISONoise(),
        A.ImageCompression(quality_range=(40, 90)),
    ]
    weather = [A.RandomRain(), A.RandomFog(), A.RandomShadow()]
    return [
        A.OneOf(light, p=p),
        A.HueSaturationValue(12, 40, 25, p=p * 0.7),
        A.RGBShift(20, 20, 20, p=p * 0.25),
        A.ToGray(p=0.03),
        A.OneOf(lens, p=p * 0.25),
        A.OneOf(sensor, p=p * 0.3),
        A.OneOf(weather, p=config.weather),
    ]


def build_augmentation(size: tuple[int, int], config: AugmentConfig) -> Any:
    """Return an albumentations pipeline giving pictures of ``size`` (width, height)."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A

    boxes = A.BboxParams(
        format="pascal_voc",
        label_fields=["class_id", "ignore"],
        min_visibility=0.25,
        min_area=4.0,
        clip=True,
    )
    return A.Compose([*_geometry(size, config), *_photometric(config)], bbox_params=boxes)


def augment(pipeline: Any, sample: Sample, seed: int) -> Sample:
    """Apply the pipeline to a sample; the result depends on the sample and the seed alone."""
    pipeline.set_random_seed(seed)
    height, width = sample.image.shape[:2]
    xyxy = sample.xyxy.copy()
    xyxy[:, 0::2] = xyxy[:, 0::2].clip(0, width)
    xyxy[:, 1::2] = xyxy[:, 1::2].clip(0, height)
    ok = (xyxy[:, 2] - xyxy[:, 0] > 1) & (xyxy[:, 3] - xyxy[:, 1] > 1)
    masks = {k: getattr(sample, k) for k in ("drivable", "lane") if getattr(sample, k) is not None}
    unknown = np.zeros((height, width), np.uint8)
    given = [masks.get("drivable", unknown), masks.get("lane", unknown)]
    out = pipeline(
        image=sample.image,
        masks=given,
        bboxes=xyxy[ok],
        class_id=sample.class_id[ok],
        ignore=sample.ignore[ok],
    )
    return Sample(
        np.ascontiguousarray(out["image"]),
        np.array(out["bboxes"], np.float32).reshape(-1, 4),
        np.array(out["class_id"], np.int64),
        np.array(out["ignore"], bool),
        sample.labelled_classes,
        out["masks"][0] if "drivable" in masks else None,
        out["masks"][1] if "lane" in masks else None,
        sample.name,
    )
