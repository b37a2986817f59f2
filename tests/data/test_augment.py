"""Geometry and light: boxes and masks follow the picture, the horizon stays level."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

pytest.importorskip("albumentations")

from data.augment import (
    FILL,
    AugmentConfig,
    Others,
    augment,
    augmented,
    build_augmentation,
    draw_view,
    warp,
)
from data.config import load_config
from data.datasets import open_dataset
from data.errors import InputError
from data.types import HIDDEN, UNKNOWN, Sample

SIZE = (320, 192)
CALM = AugmentConfig(photometric=0, weather=0, mosaic=0, copy_paste=0, tilt=1)
BOX = (60, 50, 130, 110)


def made(box=BOX, width=400, height=225):
    """A white rectangle on black, which is also the drivable area and the lane."""
    x1, y1, x2, y2 = box
    mask = np.zeros((height, width), np.uint8)
    mask[y1:y2, x1:x2] = 1
    return Sample(
        np.dstack([mask * 255] * 3),
        np.array([box], np.float32),
        np.array([1]),
        np.array([False]),
        np.ones(5, bool),
        mask,
        mask.copy(),
        "made",
    )


def hull(mask):
    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


def test_box_mask_and_picture_agree_wherever_the_object_is_whole():
    pipeline = build_augmentation(SIZE, CALM)
    rng, whole = np.random.default_rng(0), 0
    for seed in range(150):
        x, y = rng.integers(10, 200), rng.integers(10, 120)
        out = augment(pipeline, made((x, y, x + rng.integers(20, 180), y + 60)), seed)
        for box in out.xyxy[~out.ignore]:
            cut = (box[:2] < 1).any() or (box[2:] > np.array(SIZE) - 1).any()
            if not cut:
                whole += 1
                assert np.abs(hull(out.drivable == 1) - box).max() < 1.5
                assert np.abs(hull(out.image[..., 0] > 135) - box).max() < 1.5
                assert (out.drivable == out.lane).all()
    assert whole > 40


def test_an_unchanged_view_changes_nothing():
    s = made()
    out = warp(s, np.array([[1.0, 0, 0], [0, 1, 0]]), (400, 225))
    assert (out.image == s.image).all()
    assert (out.drivable == s.drivable).all()
    assert out.xyxy.tolist() == s.xyxy.tolist()


def test_a_mirrored_picture_is_its_mirror_image_to_the_pixel():
    s = made()
    out = warp(s, np.array([[-1.0, 0, 400], [0, 1, 0]]), (400, 225))
    assert (out.image == s.image[:, ::-1]).all()
    assert (out.lane == s.lane[:, ::-1]).all()
    assert out.xyxy[0].tolist() == [270, 50, 340, 110]


def test_views_stay_level_upright_and_in_shape():
    config = AugmentConfig(tilt=1, stretch=0.08)
    for seed in range(300):
        m = draw_view(np.random.default_rng(seed), config, (1280, 720), (640, 384))[:, :2]
        turned = np.degrees(np.arctan2(m[1, 0], abs(m[0, 0])))
        assert abs(turned) <= 3.2  # 3 degrees, and the stretch of what is turned
        assert m[1, 1] > 0
        aspect = np.hypot(*m[:, 0]) / m[1, 1]
        assert 1 / 1.1 < aspect < 1.1


def test_crops_stay_inside_the_picture_and_keep_their_share():
    config = AugmentConfig(tilt=0, zoom_out=0, min_crop=0.5)
    for seed in range(200):
        m = draw_view(np.random.default_rng(seed), config, (1280, 720), (640, 384))
        corners = np.linalg.solve(m[:, :2], np.array([[0, 640], [0, 384]]) - m[:, 2:])
        x, y = np.sort(corners)
        assert x[0] >= -1e-6 and y[0] >= -1e-6 and x[1] <= 1280 + 1e-6 and y[1] <= 720 + 1e-6
        # less only where the network's aspect does not let so much of the picture in
        assert (x[1] - x[0]) * (y[1] - y[0]) >= 0.5 * 1280 * 720 * 0.99


def test_zooming_out_shows_the_whole_picture_in_grey_with_unknown_surroundings():
    config = dataclasses.replace(CALM, zoom_out=1, tilt=0)
    pipeline, seen = build_augmentation(SIZE, config), 0
    for seed in range(20):
        out = augment(pipeline, made(), seed)
        outside = out.drivable == UNKNOWN
        assert (out.image[cv2.erode(outside.astype(np.uint8), np.ones((3, 3))) == 1] == FILL).all()
        assert len(out.xyxy) == 1 and not out.ignore[0]
        seen += outside.any()
    assert seen == 20


def test_what_is_left_of_an_object_cut_away_is_ignored_not_denied():
    # the window shows the last 8 of the box's 70 columns
    out = warp(made(), np.array([[1.0, 0, -122], [0, 1, 0]]), (200, 200))
    assert out.xyxy.tolist() == [[0, 50, 8, 110]]
    assert out.ignore.tolist() == [True]


def test_an_object_out_of_view_is_gone():
    out = warp(made(), np.array([[1.0, 0, -140], [0, 1, 0]]), (200, 200))
    assert len(out.xyxy) == 0


def test_same_seed_same_bytes_and_another_seed_others():
    pipeline = build_augmentation(SIZE, AugmentConfig(photometric=1, weather=1))
    a, b, c = (augment(pipeline, made(), seed) for seed in (3, 3, 4))
    assert (a.image == b.image).all() and (a.xyxy == b.xyxy).all() and (a.lane == b.lane).all()
    assert not np.array_equal(a.image, c.image)


def test_the_given_sample_is_left_as_it_was():
    s = made()
    before = [v.copy() for v in (s.image, s.drivable, s.lane, s.xyxy)]
    pipeline = build_augmentation(SIZE, AugmentConfig(mosaic=0.5, copy_paste=1, weather=1))
    others = Others(lambda rng: (made(), False), lambda k, rng: made())
    for seed in range(20):
        augment(pipeline, s, seed, others)
    assert all(map(np.array_equal, before, (s.image, s.drivable, s.lane, s.xyxy)))


def test_all_off_leaves_the_colours_alone():
    pipeline = build_augmentation(SIZE, dataclasses.replace(CALM, zoom_out=0, tilt=0))
    s = made((0, 0, 400, 225))
    assert (augment(pipeline, s, 5).image == 255).all()


def test_a_mirrored_picture_of_a_handed_set_leaves_its_drivable_area_unknown():
    pipeline = build_augmentation(SIZE, dataclasses.replace(CALM, tilt=0, zoom_out=0))
    seen = set()
    for seed in range(20):
        free, handed = (augment(pipeline, made(), seed, handed=h) for h in (False, True))
        unknown = bool((handed.drivable == HIDDEN).all())
        assert unknown or (handed.drivable == free.drivable).all()
        assert (handed.lane == free.lane).all()
        seen.add(unknown)
    assert seen == {False, True}


def test_what_is_not_labelled_stays_unlabelled():
    s = dataclasses.replace(made(), drivable=None, labelled_classes=np.array([1, 0, 1, 1, 1], bool))
    out = augment(build_augmentation(SIZE, AugmentConfig()), s, 0)
    assert out.drivable is None and out.lane is not None
    assert out.labelled_classes.tolist() == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("override", "word"),
    [("mosaic=1.5", "mosaic"), ('rare=["cow"]', "rare"), ("min_crop=0.0", "min_crop")],
)
def test_settings_out_of_range_are_named(override, word):
    with pytest.raises(InputError, match=word):
        load_config(AugmentConfig, None, (override,))


def test_augmented_frames_of_a_real_set_have_the_size_and_come_out_alike(realdata):
    dataset = open_dataset(realdata / "bdd100k_subset", "train")
    first, second = (list(augmented(dataset, AugmentConfig(), SIZE, 1, 6)) for _ in range(2))
    assert len(first) == 6
    for a, b in zip(first, second, strict=True):
        assert a.image.shape == (192, 320, 3) and a.image.dtype == np.uint8
        assert (a.image == b.image).all() and (a.xyxy == b.xyxy).all()
        assert a.drivable is not None and set(np.unique(a.drivable)) <= {0, 1, 255}
