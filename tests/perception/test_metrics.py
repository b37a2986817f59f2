"""Metrics on cases whose answer is known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.types import Detections
from perception.metrics.detection import BoxTruth, evaluate_detections
from perception.metrics.surfaces import Overlap, dilate_lane, lane_view, overlap

pytest.importorskip("faster_coco_eval")
ALL = np.ones(5, bool)


def truth(boxes, ignore=None, labelled=ALL):
    n = len(boxes)
    return BoxTruth(
        "x", 640, 480, np.array(boxes, np.float32).reshape(-1, 4), np.zeros(n, np.int64),
        np.zeros(n, bool) if ignore is None else np.array(ignore), labelled,
    )  # fmt: skip


def found(boxes, scores):
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(xyxy, np.array(scores, np.float32), np.zeros(len(xyxy), np.int64))


A, B = [10, 10, 60, 60], [100, 100, 180, 160]


def test_perfect_detections_score_one():
    row = evaluate_detections([truth([A, B])], [found([A, B], [0.9, 0.8])])["vehicle"]
    assert row["AP50"] == pytest.approx(1)
    assert row["AP"] == pytest.approx(1)
    assert row["ground_truths"] == 2


def test_half_found_scores_about_half():
    row = evaluate_detections([truth([A, B])], [found([A], [0.9])])["vehicle"]
    assert row["AP50"] == pytest.approx(51 / 101)  # recall points 0.00 to 0.50


def test_a_false_alarm_above_the_hit_halves_precision():
    row = evaluate_detections([truth([A])], [found([B, A], [0.9, 0.5])])["vehicle"]
    assert row["AP50"] == pytest.approx(0.5)


def test_ignored_areas_cost_nothing():
    row = evaluate_detections([truth([A, B], [False, True])], [found([A, B], [0.5, 0.9])])
    assert row["vehicle"]["AP50"] == pytest.approx(1)
    assert row["vehicle"]["ground_truths"] == 1


def test_no_detections_score_zero_and_no_truth_is_nan():
    rows = evaluate_detections([truth([A])], [Detections.empty()])
    assert rows["vehicle"]["AP50"] == 0
    assert math.isnan(rows["person"]["AP50"])


def test_unlabelled_classes_are_absent():
    labelled = np.array([True, False, False, False, False])
    rows = evaluate_detections([truth([A], labelled=labelled)], [Detections.empty()])
    assert list(rows) == ["vehicle"]


def test_nan_is_rejected():
    with pytest.raises(ValueError, match="finite"):
        evaluate_detections([truth([A])], [found([A], [np.nan])])


def test_overlap_by_hand_with_unknown_pixels():
    label = np.array([[1, 1, 0, 255]], np.uint8)
    predicted = np.array([[255, 0, 255, 255]], np.uint8)
    total = overlap(label, predicted) + overlap(label, label * (label == 1))
    assert (total.intersection, total.union, total.frames) == (1 + 2, 3 + 2, 2)
    assert math.isnan(Overlap().iou)


def test_lane_protocol_widens_a_line_by_eight_pixels():
    lane = np.zeros((720, 1280), np.uint8)
    lane[:, 640] = 1
    assert (dilate_lane(lane)[300] == 1).sum() == 8
    assert (lane_view(dilate_lane(lane))[150] == 1).sum() == 4


def test_a_widened_line_covers_unknown_pixels_but_leaves_the_others_unknown():
    lane = np.zeros((20, 40), np.uint8)
    lane[:, 20], lane[:, 22:] = 1, 255
    wide = dilate_lane(lane)
    assert wide[10, 23] == 1
    assert wide[10, 35] == 255


def test_an_image_where_a_class_was_not_looked_for_costs_it_nothing():
    unlabelled = truth([], labelled=np.zeros(5, bool))
    rows = evaluate_detections([truth([A]), unlabelled], [found([A], [0.5]), found([B], [0.9])])
    assert rows["vehicle"]["AP50"] == pytest.approx(1)
