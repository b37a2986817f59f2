"""What evaluation keeps of each frame, the intervals from it, and the breakdowns, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from data.errors import InputError
from data.types import Detections, Sample
from perception.metrics import breakdown, contours
from perception.metrics.bootstrap import (
    class_boundary_f1,
    draw_weights,
    figures,
    interval,
    intervals,
    resampling,
    sampled,
)
from perception.metrics.detection import BoxTruth, evaluate_detections
from perception.metrics.frames import FrameCollector, load, save
from perception.metrics.score import Prediction

H, W = 60, 120
ALL = np.ones(5, bool)


def sample(name, boxes=(), kinds=(), ignore=None, drivable=None, lane=None):
    n = len(boxes)
    return Sample(
        np.zeros((H, W, 3), np.uint8), np.array(boxes, np.float32).reshape(-1, 4),
        np.array(kinds, np.int64), np.zeros(n, bool) if ignore is None else np.array(ignore), ALL,
        drivable, lane, name,
    )  # fmt: skip


def said(boxes=(), kinds=(), scores=(), drivable=None, lane=None):
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    d = Detections(xyxy, np.array(scores, np.float32), np.array(kinds, np.int64))
    return Prediction(d, drivable, lane)


def collected(*frames, **about):
    collector = FrameCollector()
    for n, (s, p) in enumerate(frames):
        collector.add(s, p, f"{s.name}.jpg", {"timeofday": "night" if n % 2 else "daytime"})
    return collector.record(about)


A, B, C = [10, 10, 30, 30], [50, 10, 70, 30], [90, 10, 110, 30]


@pytest.fixture
def record():
    """Twelve frames, each second vehicle found, one person taken for a vehicle in each third."""
    rng = np.random.default_rng(0)
    frames = []
    for i in range(12):
        boxes, scores = [A] if i % 2 else [], [0.9] if i % 2 else []
        if i % 3 == 0:
            boxes, scores = [*boxes, B], [*scores, float(rng.uniform(0.3, 0.6))]
        road = np.zeros((H, W), np.uint8)
        road[30:] = 1
        mask = np.zeros((H, W), np.uint8)
        mask[30 + i :] = 255
        truth = sample(f"f{i}", [A, B], [0, 1], drivable=road)
        frames.append((truth, said(boxes, [0] * len(boxes), scores, drivable=mask)))
    return collected(*frames)


def test_figures_of_all_frames_are_those_of_the_whole_set(record):
    truths = [
        BoxTruth(n, W, H, record.label_xyxy[record.label_frame == i],
                 record.label_kind[record.label_frame == i], np.zeros(2, bool), ALL)
        for i, n in enumerate(record.name)
    ]  # fmt: skip
    found = []
    for i in range(12):
        own = record.found_frame == i
        found.append(
            Detections(record.found_xyxy[own], record.found_score[own], record.found_kind[own])
        )
    whole = evaluate_detections(truths, found)
    ours = figures(record, np.ones((1, 12), np.int32))
    for name in ("vehicle", "person"):
        for figure in ("AP50", "AP", "AR100"):
            assert ours[f"detection.{name}.{figure}"][0] == whole[name][figure]
    lost = sum(range(12)) * W
    assert ours["drivable.iou"][0] == pytest.approx(1 - lost / (12 * 30 * W))


def test_intervals_hold_the_value_and_are_the_same_for_the_same_seed(record):
    one, again, other = (intervals(record, 200, seed) for seed in (3, 3, 4))
    assert repr(one) == repr(again)  # NaN is not equal to itself
    assert one["drivable.iou"] != other["drivable.iou"]
    for key in ("detection.vehicle.AP50", "drivable.iou", "drivable.boundary_f1"):
        f = one[key]
        assert f.low < f.value < f.high, key
    assert math.isnan(one["detection.two_wheeler.AP50"].value)
    assert "lane.iou" not in one


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = 0
    for trial in range(120):
        values = rng.random(80) < 0.3
        weights = next(draw_weights(80, 300, trial))
        f = interval(float(values.mean()), (weights @ values) / 80)
        held += f.low <= 0.3 <= f.high
    assert 0.88 <= held / 120 <= 1


def test_a_figure_that_most_samples_do_not_have_has_no_interval():
    values = np.full(100, np.nan)
    values[:40] = 0.5
    assert math.isnan(interval(0.5, values).low)
    values[:60] = 0.5
    assert interval(0.5, values).low == 0.5


def test_each_draw_takes_as_many_frames_as_there_are():
    weights = np.concatenate(list(draw_weights(7, 50, 0)))
    assert weights.shape == (50, 7) and (weights.sum(axis=1) == 7).all()
    assert weights.max() > 1


def test_a_chunked_sample_equals_one_in_one_go(record, monkeypatch):
    whole = sampled(record, 30, 0)
    monkeypatch.setattr("perception.metrics.bootstrap._CHUNK_BYTES", 12 * 4 * 7)
    parts = sampled(record, 30, 0)
    for key, values in whole.items():
        np.testing.assert_array_equal(values, parts[key], err_msg=key)


def test_a_record_comes_back_from_its_file_and_is_written_the_same(record, tmp_path):
    save(record, tmp_path / "a.npz")
    again = load(tmp_path / "a.npz")
    save(again, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    once = np.ones((1, 12), np.int32)
    for key, values in figures(record, once).items():
        np.testing.assert_array_equal(figures(again, once)[key], values, err_msg=key)
    assert again.attributes["timeofday"].tolist() == ["daytime", "night"] * 6


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04"])
def test_a_file_that_is_no_record_is_named(tmp_path, content):
    path = tmp_path / "frames.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"frames\.npz") as e:
        load(path)
    assert "\n" not in str(e.value)
    with pytest.raises(InputError, match="missing"):
        load(tmp_path / "none.npz")


def test_some_frames_alone_keep_their_boxes_and_partners(record):
    part = record.select(np.array([1, 3, 6]))
    assert part.name.tolist() == ["f1", "f3", "f6"]
    assert len(part.label_frame) == 6
    right = (part.found_hit & 1) > 0
    assert (part.label_frame[part.found_partner[right]] == part.found_frame[right]).all()
    alone = figures(part, np.ones((1, 3), np.int32))["detection.vehicle.AP50"][0]
    weights = np.zeros((1, 12), np.int32)
    weights[0, [1, 3, 6]] = 1
    assert figures(record, weights)["detection.vehicle.AP50"][0] == alone


# ---- errors


def test_every_kind_of_error_is_told_apart():
    near = [18, 10, 38, 30]  # IoU 0.43 with A
    boxes = [B, B, near, C, [0, 40, 20, 58], [98, 10, 118, 30]]
    kinds = [0, 0, 0, 0, 0, 0]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    truth = sample("x", [A, B, C], [0, 0, 1])
    record = collected((truth, said(boxes, kinds, scores)))
    errors = breakdown.find_errors(record, np.ones(6, bool))
    names = ["right" if k == -1 else breakdown.ERRORS[k] for k in errors.kind]
    assert names == ["right", "duplicate", "localisation", "class", "background", "both"]
    assert not errors.missed.any()  # A has its localisation error, C its class error
    assert errors.found.tolist() == [False, True, False]


def test_a_label_that_nothing_is_about_is_missed():
    record = collected((sample("x", [A, B], [0, 0]), said([A], [0], [0.9])))
    errors = breakdown.find_errors(record, np.ones(1, bool))
    assert errors.missed.tolist() == [False, True]


def test_what_mending_would_gain():
    near = [18, 10, 38, 30]
    truth = sample("x", [A, B], [0, 0])
    record = collected((truth, said([near, B, [0, 40, 20, 58]], [0, 0, 0], [0.9, 0.8, 0.7])))
    costs = breakdown.error_costs(record)["vehicle"]
    before = figures(record, np.ones((1, 1), np.int32))["detection.vehicle.AP50"][0]
    assert before == pytest.approx(51 / 101 / 2)
    assert costs["localisation"] == pytest.approx(1 - before)
    assert costs["background"] == pytest.approx(0)
    assert costs["missed"] == pytest.approx(0)


def test_the_confusion_matrix_counts_misses_and_false_alarms():
    truth = sample("x", [A, B, C, [0, 40, 20, 58]], [0, 1, 0, 0], [False, False, False, True])
    p = said([A, B, [60, 40, 80, 58], [0, 40, 20, 58]], [0, 0, 0, 0], [0.9, 0.8, 0.7, 0.6])
    record = collected((truth, p))
    m = breakdown.confusion_matrix(record, np.ones(4, bool))
    assert m[0].tolist() == [1, 0, 0, 0, 0, 1]  # A right, C missed
    assert m[1].tolist() == [1, 0, 0, 0, 0, 0]  # B, a person, taken for a vehicle
    assert m[-1].tolist() == [1, 0, 0, 0, 0, 0]  # one of nothing; the ignored area costs nothing


def test_the_best_score_is_the_last_that_pays():
    frames = [(sample("x", [A, B], [0, 0]), said([A, C, B], [0, 0, 0], [0.9, 0.6, 0.5]))]
    best = breakdown.best_f1(collected(*frames).table(0))
    assert best.score == pytest.approx(0.5)
    assert (best.precision, best.recall) == (pytest.approx(2 / 3), 1)
    nothing = breakdown.best_f1(collected((sample("x", [A], [0]), said())).table(0))
    assert math.isinf(nothing.score) and nothing.f1 == 0


def test_equal_scores_are_taken_together():
    table = collected((sample("x", [A], [0]), said([C, A], [0, 0], [0.5, 0.5]))).table(0)
    precision, recall, score = breakdown.precision_recall(table)
    assert (precision.tolist(), recall.tolist(), score.tolist()) == ([0.5], [1], [0.5])


def test_recall_by_height(record):
    best = breakdown.best_scores(record)
    errors = breakdown.find_errors(record, breakdown.kept_at(record, best))
    height = np.full(len(record.label_frame), 20.0)
    row = breakdown.recall_by(record, errors.found, height, (0, 16, 32), 100)["vehicle"]
    assert [s.labels for s in row] == [0, 12]
    assert row[1].recall.value == 0.5
    assert row[1].recall.low < 0.5 < row[1].recall.high
    assert math.isnan(row[0].recall.value)


def test_a_score_that_is_right_as_often_as_it_says_has_no_gap():
    frames = []
    for i in range(10):
        box = A if i < 8 else C
        frames.append((sample(f"f{i}", [A], [0]), said([box], [0], [0.8])))
    r = breakdown.reliability(collected(*frames).table(0))
    assert r.count[8] == 10 and r.right[8] == pytest.approx(0.8)
    assert r.error == pytest.approx(0, abs=1e-6)


# ---- boundaries and lane points


def test_a_boundary_within_the_tolerance_is_right():
    truth = np.zeros((720, 1280), np.uint8)
    truth[400:] = 1
    limit = 0.0075 * math.hypot(720, 1280)
    assert 11 < limit < 12
    for shift, right in ((11, 1280), (13, 0)):
        mask = np.zeros_like(truth)
        mask[400 + shift :] = 255
        assert contours.boundary_counts(truth, mask) == (1280, right, 1280, right)


def test_the_pictures_edge_and_unknown_pixels_are_no_boundary():
    truth = np.zeros((H, W), np.uint8)
    truth[30:] = 1
    truth[:, 40:] = 255
    mask = np.full((H, W), 255, np.uint8)
    assert contours.boundary_counts(truth, mask) == (0, 0, 40, 0)


def test_the_boundary_f1_of_classes_is_a_mean_over_those_of_each_image():
    truth = np.zeros((H, W), np.uint8)
    truth[30:] = 1
    truth[:, 40:] = 255
    other = truth.copy()
    other[:5, :5] = 2  # which is not labelled there
    counts = np.array([contours.class_boundary_counts(truth, m, 4) for m in (truth, other)])
    assert counts[0, :, 0].tolist() == [40, 40, 0, 0]
    assert counts[1, 2].tolist() == [9, 0, 0, 0]
    assert counts[0, 0].tolist() == [40] * 4
    # class 0 borders on it, too: 10 pixels found that are not labelled
    wrong = 2 * 40 / (counts[1, 0, 0] + 40)
    assert class_boundary_f1(counts, np.eye(2, dtype=np.int32)).tolist() == pytest.approx(
        [1.0, (wrong + 1 + 0) / 3]
    )
    both = class_boundary_f1(counts, np.ones((1, 2), np.int32))
    assert both.tolist() == pytest.approx([(1 + (wrong + 1) / 3) / 2])
    assert np.isnan(class_boundary_f1(np.zeros((1, 4, 4), np.int64), np.ones((1, 1), np.int32)))


def test_a_record_without_edges_has_no_boundary_f1_and_the_other_figures():
    truth = np.zeros((H, W), np.uint8)
    truth[30:] = 1
    collector = FrameCollector(("a", "b"))
    given = replace(sample("f0"), segmentation=truth)
    collector.add(given, Prediction(Detections.empty(), None, None, truth))
    record, once = collector.record(), np.ones((1, 1), np.int32)
    with_edges = figures(record, once)
    without = figures(replace(record, edges=np.zeros((0, 0, 0), np.int64)), once)
    assert list(with_edges) == list(without)
    assert with_edges["segmentation.boundary_f1"] == without["segmentation.miou"] == 1
    assert np.isnan(without["segmentation.boundary_f1"])


def test_points_pair_one_to_one():
    assert contours.paired(np.array([0.0, 5]), np.array([3.0]), 10) == 1
    assert contours.paired(np.array([0.0, 9]), np.array([8.0, 17]), 10) == 2
    assert contours.paired(np.array([0.0]), np.array([11.0]), 10) == 0


def test_points_are_the_middles_of_runs():
    row = np.array([1, 1, 1, 0, 0, 1, 0, 1, 1], bool)
    assert contours.row_points(row).tolist() == [1, 5, 7.5]
    assert len(contours.row_points(np.zeros(4, bool))) == 0


@pytest.mark.parametrize(("shift", "f1"), [(0, 1), (16, 1), (30, 0)])
def test_lane_points_of_a_shifted_line(shift, f1):
    lane, mask = np.zeros((720, 1280), np.uint8), np.zeros((720, 1280), np.uint8)
    lane[:, 640:644] = 1
    mask[:, 640 + shift : 644 + shift] = 255
    record = collected((sample_of(lane), said(lane=mask)))
    once = np.ones((1, 1), np.int32)
    assert figures(record, once)["lane.point_f1"][0] == f1


def sample_of(lane):
    image = np.zeros((*lane.shape, 3), np.uint8)
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool)
    return Sample(image, *none, np.zeros(5, bool), None, lane, "lane")


def test_a_point_on_an_unknown_pixel_costs_nothing():
    lane, mask = np.zeros((360, 640), np.uint8), np.zeros((360, 640), np.uint8)
    lane[:, 400:] = 255
    mask[:, 500:504] = 255
    assert contours.point_counts(lane, mask) == (0, 0, 0, 0)


def test_arrays_that_do_not_fit_together_are_refused(record, tmp_path):
    path = tmp_path / "frames.npz"
    save(record, path)
    with np.load(path) as archive:
        arrays = {k: archive[k] for k in archive.files}
    for key, value in (
        ("found_frame", arrays["found_frame"] + 99),
        ("found_kind", arrays["found_kind"] - 9),
        ("found_score", arrays["found_score"][1:]),
        ("found_partner", arrays["found_partner"] + 99),
        ("label_xyxy", arrays["label_xyxy"][:, :3]),
        ("size_px", arrays["size_px"][1:]),
        ("drivable", arrays["drivable"][:, 1:]),
    ):
        np.savez_compressed(path, **{**arrays, key: value})
        with pytest.raises(InputError, match="not a record"):
            load(path)


def of_drives(record, names):
    return replace(record, attributes={**record.attributes, "drive": np.array(names, np.str_)})


def test_drives_are_drawn_where_there_are_enough_of_them(record):
    own = of_drives(record, [f"d{i // 2}" for i in range(12)])
    by = resampling(own)
    assert (by.by, by.drives, by.text) == ("drive", 6, "drives (6)")
    assert resampling(own, "frame").text == "frames, of 6 drives: intervals are too narrow"
    two = of_drives(record, ["a", "b"] * 6)
    assert resampling(two).by == "frame" and "too few to draw from" in resampling(two).text
    assert "no intervals" in resampling(two, "drive").text
    each = of_drives(record, [str(i) for i in range(12)])
    assert resampling(each, "frame").text == "frames, of 12 drives"
    assert resampling(record).by == "frame" and "not known" in resampling(record).text
    with pytest.raises(InputError, match="--resample drive"):
        resampling(record, "drive")


def test_a_drive_is_drawn_as_a_whole():
    drive = np.array([3, 3, 0, 1, 1, 1, 4, 5])
    weights = np.concatenate(list(draw_weights(8, 200, 0, drive)))
    assert weights.shape == (200, 8)
    for d in (3, 1):
        assert (np.ptp(weights[:, drive == d], axis=1) == 0).all()
    assert (weights[:, [0, 2, 3, 6, 7]].sum(axis=1) == 5).all()  # five drives, with repeats
    assert not list(draw_weights(8, 200, 0, drive % 4))  # of four nothing is drawn


def test_a_drive_a_frame_is_the_same_as_frames(record):
    one, other = sampled(record, 40, 5), sampled(record, 40, 5, np.arange(12))
    for key, values in one.items():
        np.testing.assert_array_equal(values, other[key], err_msg=key)


def test_drives_of_like_frames_need_wider_intervals():
    """Ten frames a drive that are all right or all wrong: single frames as samples hold the truth
    far too seldom."""
    rng = np.random.default_rng(2)
    drive = np.repeat(np.arange(20), 10)
    held = {"frame": 0, "drive": 0}
    for trial in range(100):
        values = (rng.random(20) < 0.4)[drive].astype(float)
        for name, of in (("frame", None), ("drive", drive)):
            weights = next(draw_weights(200, 200, trial, of))
            f = interval(values.mean(), (weights @ values) / weights.sum(axis=1))
            held[name] += f.low <= 0.4 <= f.high
    assert held["drive"] >= 85 and held["frame"] < 65


def test_intervals_by_drive_are_those_of_its_frames_together(record):
    drive = np.arange(12) // 2
    wide = intervals(record, 200, 0, drive)
    assert wide["drivable.iou"].value == intervals(record, 0)["drivable.iou"].value
    assert wide["drivable.iou"].low < wide["drivable.iou"].value < wide["drivable.iou"].high
    assert math.isnan(intervals(record, 200, 0, drive // 2)["drivable.iou"].low)  # of three
