"""Mosaics and pasted objects: labels stay true, and nothing is claimed that is not labelled."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data.mixing import HORIZON, find_groups, join_quarters, paste
from data.types import UNKNOWN, Sample

PERSON, TWO_WHEELER = 1, 2


def made(boxes=(), classes=(), shade=100, labelled=(1, 1, 1, 1, 1), surfaces=True, w=640, h=360):
    image = np.full((h, w, 3), shade, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = (0, 0, 250)
    return Sample(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.zeros(len(classes), bool),
        np.array(labelled, bool),
        np.ones((h, w), np.uint8) if surfaces else None,
        np.ones((h, w), np.uint8) if surfaces else None,
        f"shade{shade}",
    )


PEDESTRIAN = made([(100, 150, 124, 230)], [PERSON])


def pastes(base, donor, wanted=PERSON, count=60):
    """Results that have something pasted in."""
    outs = [paste(base, donor, wanted, np.random.default_rng(k)) for k in range(count)]
    return [o for o in outs if len(o.xyxy) > len(base.xyxy)]


def test_pasted_persons_are_where_their_boxes_say_and_labelled():
    outs = pastes(made(), PEDESTRIAN)
    assert len(outs) > 40
    for o in outs:
        y, x = np.nonzero((o.image[..., 2] > 170) & (o.image[..., 0] < 60))
        seen = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        assert np.abs(seen - o.xyxy[0]).max() < 2
        assert o.class_id.tolist() == [PERSON] and not o.ignore[0]


def test_a_pasted_person_stands_as_far_below_the_horizon_as_his_size_says():
    outs = pastes(made(), PEDESTRIAN)
    assert outs
    for o in outs:
        height, foot = o.xyxy[0, 3] - o.xyxy[0, 1], o.xyxy[0, 3]
        scale = height / 80
        assert foot == pytest.approx(HORIZON * 360 + scale * (230 - HORIZON * 360), abs=0.1)
        assert 0.59 < scale < 1.26


def test_under_a_pasted_object_the_road_is_background_and_lanes_are_unknown():
    outs = pastes(made(), PEDESTRIAN)
    assert outs
    for o in outs:
        x, y = (o.xyxy[0, :2] + o.xyxy[0, 2:]).astype(int) // 2
        assert (o.drivable[y, x], o.lane[y, x]) == (0, UNKNOWN)
        assert 0.8 < (o.drivable == 0).sum() / np.prod(o.xyxy[0, 2:] - o.xyxy[0, :2]) < 1.2


def test_a_pasted_object_lies_in_its_box_to_a_fraction_of_a_pixel():
    off = []
    for o in pastes(made(shade=60), made([(100, 150, 140, 230)], [PERSON], shade=60), count=120):
        height = o.xyxy[0, 3] - o.xyxy[0, 1]
        red = np.clip(o.image[..., 2].astype(float) - 100, 0, None).sum(axis=1)
        if height < 0.75 * 80 and (o.drivable == UNKNOWN).sum() == 0:  # no piece beside it
            centre = (red * (np.arange(360) + 0.5)).sum() / red.sum()
            off.append(centre - (o.xyxy[0, 1] + o.xyxy[0, 3]) / 2)
    assert len(off) > 5 and abs(np.mean(off)) < 0.06


def test_the_boxes_of_a_mirrored_group_stay_with_its_parts():
    donor = made([(105, 130, 135, 215), (100, 170, 190, 230)], [PERSON, TWO_WHEELER])
    donor.image[130:215, 105:135] = (0, 250, 0)  # the rider sits over one end of his bicycle
    sides = set()
    for o in pastes(made(), donor):
        x = np.nonzero((o.image[..., 1] > 170) & (o.image[..., 2] < 60))[1]
        person = o.xyxy[o.class_id == PERSON]
        bicycle = o.xyxy[o.class_id == TWO_WHEELER]
        if len(person) == 1:
            assert abs(x.min() - person[0, 0]) < 3 and abs(x.max() + 1 - person[0, 2]) < 3
            sides.add(bool(person[0, [0, 2]].mean() > bicycle[0, [0, 2]].mean()))
    assert sides == {False, True}


def test_pieces_without_an_object_are_pasted_too_and_claim_nothing():
    donor = made([(100, 150, 124, 230)], [PERSON], shade=140)
    with_decoy = 0
    for o in pastes(made(), donor):
        x1, y1, x2, y2 = o.xyxy[0].astype(int)
        elsewhere = np.ones((360, 640), bool)
        elsewhere[y1 - 10 : y2 + 10, max(x1 - 10, 0) : x2 + 10] = False
        changed = (o.image != 100).any(2) & elsewhere
        with_decoy += (o.drivable[elsewhere] == UNKNOWN).any()
        assert (o.drivable[elsewhere] != 0).all()
        # nothing red beside the box: no unlabelled person
        assert not (changed & (o.image[..., 2] > 180)).any()
    assert with_decoy > 8


def test_existing_objects_are_not_covered():
    cars = made([(0, 170, 300, 300), (340, 170, 640, 300)], [0, 0])
    outs = pastes(cars, PEDESTRIAN)
    assert outs
    for o in outs:
        p = o.xyxy[2]
        for car in o.xyxy[:2]:
            common = np.prod(
                np.clip(np.minimum(p[2:], car[2:]) - np.maximum(p[:2], car[:2]), 0, 9e9)
            )
            assert common <= 0.15 * np.prod(p[2:] - p[:2]) + 1e-3


def test_nothing_is_pasted_where_its_class_is_not_labelled():
    base = made(labelled=(1, 0, 1, 1, 1))
    assert paste(base, PEDESTRIAN, PERSON, np.random.default_rng(0)) is base


def test_day_is_not_pasted_into_night():
    assert not pastes(made(shade=4), made([(100, 150, 124, 230)], [PERSON], shade=200))


def test_a_rider_and_his_bicycle_are_pasted_together():
    donor = made([(100, 140, 130, 210), (95, 170, 135, 230)], [PERSON, TWO_WHEELER])
    outs = pastes(made(), donor, TWO_WHEELER)
    assert outs
    assert all(sorted(o.class_id.tolist()) == [PERSON, TWO_WHEELER] for o in outs)
    # unless persons are not labelled in the picture that they would be pasted into
    assert not pastes(made(labelled=(1, 0, 1, 1, 1)), donor, TWO_WHEELER)


@pytest.mark.parametrize(
    ("boxes", "classes", "why"),
    [
        ([(0, 150, 24, 230)], [1], "cut by the border"),
        ([(100, 150, 104, 158)], [1], "too small"),
        ([(100, 150, 124, 230), (90, 180, 160, 230)], [1, 0], "half behind a car"),
        ([(100, 20, 190, 330)], [1], "too large"),
    ],
)
def test_objects_that_cannot_be_cut_out_are_left(boxes, classes, why):
    s = made(boxes, classes)
    assert find_groups(s.xyxy, s.class_id, s.ignore, (640, 360), PERSON) == [], why


def test_quarters_lie_where_they_belong_with_their_boxes():
    a, b, c, d = (made([(10, 20, 30, 40)], [k], k * 20, w=100, h=60) for k in range(4))
    out = join_quarters((a, b, c, d))
    assert out.image.shape == (120, 200, 3)
    assert [int(out.image[y, x, 1]) for y in (0, 119) for x in (0, 199)] == [0, 20, 40, 60]
    assert out.xyxy.tolist() == [
        [10, 20, 30, 40], [110, 20, 130, 40], [10, 80, 30, 100], [110, 80, 130, 100],
    ]  # fmt: skip
    assert out.class_id.tolist() == [0, 1, 2, 3] and not out.ignore.any()


def test_a_quarter_without_labels_is_unknown_not_empty():
    whole, blind = made(w=100, h=60), made(labelled=(1, 0, 1, 1, 1), surfaces=False, w=100, h=60)
    out = join_quarters((whole, blind, whole, dataclasses.replace(whole, lane=None)))
    assert out.labelled_classes.all()
    assert out.xyxy.tolist() == [[100, 0, 199, 59]]
    assert out.ignore.all() and out.class_id.tolist() == [PERSON]
    assert (out.drivable[:60, 100:] == UNKNOWN).all() and (out.drivable[60:] == 1).all()
    assert (out.lane[60:, 100:] == UNKNOWN).all() and (out.lane[:, :100] == 1).all()


def test_a_class_that_no_quarter_labels_stays_unlabelled():
    blind = made(labelled=(1, 0, 1, 1, 1), surfaces=False, w=100, h=60)
    out = join_quarters((blind,) * 4)
    assert not out.labelled_classes[PERSON] and len(out.xyxy) == 0
    assert out.drivable is None and out.lane is None
