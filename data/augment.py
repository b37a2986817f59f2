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


def build_augmentation(size: tuple[int, int], config: AugmentConfig) -> Any:
    """Return an albumentations pipeline giving pictures of ``size`` (width, height).

    Geometry keeps the horizon nearly level: flips, crops, scales and at most 3 degrees of roll.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A

    width, height = size
    aspect = width / height
    p = config.photometric
    geometry = [
        A.Affine(
            scale=(0.6, 1.0),
            translate_percent=(-0.1, 0.1),
            keep_ratio=True,
            fill=127,
            fill_mask=UNKNOWN,
            p=config.zoom_out,
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
        A.Affine(rotate=(-3, 3), shear=(-3, 3), fill=127, fill_mask=UNKNOWN, p=0.25),
    ]
    light = [
        A.OneOf(
            [
                A.RandomBrightnessContrast(0.35, 0.35),
                A.RandomGamma((50, 180)),
                A.CLAHE(clip_limit=(1, 4)),
            ],
            p=p,
        ),
        A.HueSaturationValue(12, 40, 25, p=p * 0.7),
        A.RGBShift(20, 20, 20, p=p * 0.25),
        A.ToGray(p=0.03),
    ]
    lens = [
        A.OneOf(
            [A.MotionBlur((3, 7)), A.GaussianBlur((3, 5)), A.Downscale(scale_range=(0.5, 0.8))],
            p=p * 0.25,
        ),
        A.OneOf(
            [
                A.GaussNoise(std_range=(0.02, 0.1)),
                A.ISONoise(),
                A.ImageCompression(quality_range=(40, 90)),
            ],
            p=p * 0.3,
        ),
    ]
    weather = [A.OneOf([A.RandomRain(), A.RandomFog(), A.RandomShadow()], p=config.weather)]
    boxes = A.BboxParams(
        format="pascal_voc",
        label_fields=["class_id", "ignore"],
        min_visibility=0.25,
        min_area=4.0,
        clip=True,
    )
    return A.Compose([*geometry, *light, *lens, *weather], bbox_params=boxes)


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
