"""COCO's figures: by hand, against faster-coco-eval, and under resampling of the frames."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from perception.metrics.coco import (
    STATISTICS,
    Found,
    Labels,
    by_score,
    match,
    twelve_statistics,
    weighted_ap,
)
from perception.metrics.reference import coco_form, reference_statistics


def random_scene(seed, frames=30, classes=3, crowds=True, rounded=False):
    """Labels of all sizes and detections near them, some doubled, misnamed or of nothing."""
    rng = np.random.default_rng(seed)
    n = 8 * frames
    wh = np.exp(rng.uniform(np.log(4), np.log(250), (n, 2)))
    xywh = np.hstack([rng.uniform(0, 500, (n, 2)), wh])
    kind = rng.integers(0, classes, n)
    labels = Labels(
        rng.integers(0, frames, n), kind, xywh, (rng.random(n) < 0.1) & np.full(n, crowds)
    )
    near = rng.integers(0, n, 4 * n)
    shaken = xywh[near] + rng.normal(0, 0.12, (4 * n, 4)) * np.tile(wh[near], 2)
    shaken[:, 2:] = np.maximum(shaken[:, 2:], 0.5)
    score = rng.random(4 * n).astype(np.float32)
    found = Found(
        np.where(rng.random(4 * n) < 0.8, labels.frame[near], rng.integers(0, frames, 4 * n)),
        np.where(rng.random(4 * n) < 0.8, kind[near], rng.integers(0, classes, 4 * n)),
        shaken, score.round(1) if rounded else score,
    )  # fmt: skip
    return labels, found


def labels_of(boxes, frame=0, kind=0, ignore=False):
    n = len(boxes)
    box = np.array(boxes, float).reshape(-1, 4)
    return Labels(np.full(n, frame), np.full(n, kind), box, np.full(n, ignore))


def found_of(boxes, scores, frame=0, kind=0):
    n = len(boxes)
    box = np.array(boxes, float).reshape(-1, 4)
    return Found(np.full(n, frame), np.full(n, kind), box, np.array(scores, np.float32))


def joined(a, b):
    return type(a)(*(np.concatenate([x, y]) for x, y in zip(vars(a).values(), vars(b).values())))


def figures(labels, found):
    return twelve_statistics(labels, match(labels, found))


BOX, FAR = [10.0, 10, 50, 50], [200.0, 200, 50, 50]


def test_no_detections_score_zero():
    stats = figures(labels_of([BOX]), found_of([], []))
    assert stats["AP"] == stats["AR100"] == 0
    assert math.isnan(stats["APs"]) and stats["APm"] == 0


def test_no_labels_give_no_figure():
    stats = figures(labels_of([]), found_of([BOX], [0.9]))
    assert all(math.isnan(v) for v in stats.values())


def test_a_class_without_labels_does_not_enter_the_mean():
    found = joined(found_of([BOX], [0.9]), found_of([FAR], [0.9], kind=1))
    assert figures(labels_of([BOX]), found)["AP"] == pytest.approx(1)


def test_a_class_without_detections_halves_the_mean():
    labels = joined(labels_of([BOX]), labels_of([FAR], kind=1))
    assert figures(labels, found_of([BOX], [0.9]))["AP"] == pytest.approx(0.5)


def test_equal_scores_keep_their_order():
    labels = labels_of([BOX])
    first = figures(labels, found_of([BOX, FAR], [0.5, 0.5]))["AP50"]
    last = figures(labels, found_of([FAR, BOX], [0.5, 0.5]))["AP50"]
    assert (first, last) == (pytest.approx(1), pytest.approx(0.5))


def test_boxes_on_the_border_and_without_a_size():
    edge = [0.0, 0, 30, 20]
    assert figures(labels_of([edge]), found_of([edge], [0.9]))["AP"] == pytest.approx(1)
    flat = figures(labels_of([edge]), found_of([[0.0, 0, 0, 20], edge], [0.9, 0.8]))
    assert flat["AP50"] == pytest.approx(0.5)


def test_a_box_that_touches_its_label_by_half_exactly_is_right():
    stats = figures(labels_of([[0, 0, 10, 10]]), found_of([[0, 0, 10, 5]], [0.9]))
    assert stats["AP50"] == pytest.approx(1)
    assert stats["AP75"] == 0


def test_the_hundred_best_of_an_image_and_class_count():
    labels = labels_of([BOX])
    many = [FAR] * 100 + [BOX]
    scores = [0.9] * 100 + [0.5]
    assert figures(labels, found_of(many, scores))["AR100"] == 0
    assert figures(labels, found_of(many[1:], scores[1:]))["AR100"] == 1


def test_detections_on_a_crowd_cost_nothing():
    labels = joined(labels_of([BOX]), labels_of([FAR], ignore=True))
    found = found_of([FAR, FAR, BOX], [0.9, 0.8, 0.7])
    assert figures(labels, found)["AP"] == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rounded", [False, True])
def test_all_twelve_equal_faster_coco_eval(seed, rounded):
    pytest.importorskip("faster_coco_eval")
    labels, found = random_scene(seed, rounded=rounded)
    ours, theirs = figures(labels, found), reference_statistics(labels, found, 30, 3)
    assert 0.02 < ours["AP"] < 0.9
    for name in STATISTICS:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9), name


@pytest.mark.parametrize("seed", range(5))
def test_a_weighted_sample_is_what_the_reference_says_of_frames_taken_that_often(seed):
    pytest.importorskip("faster_coco_eval")
    labels, found = random_scene(seed, frames=12, classes=1)
    picks = np.sort(np.random.default_rng(seed).integers(0, 12, 12))
    matched = match(labels, found)
    order = by_score(matched.found.score)
    positives = np.bincount(labels.frame[~labels.ignore], minlength=12)
    weights = np.bincount(picks, minlength=12).astype(np.int32)[None]
    ap, recall = weighted_ap(
        matched.found.frame[order], matched.hit[0, order], matched.out[0, order], weights, positives
    )

    def taken(rows):
        parts = []
        for new, old in enumerate(picks):
            own = rows.frame == old
            values = [v[own] for v in vars(rows).values()]
            parts.append(type(rows)(np.full(own.sum(), new), *values[1:]))
        return type(rows)(*(np.concatenate(v) for v in zip(*(vars(p).values() for p in parts))))

    theirs = reference_statistics(taken(labels), taken(found), 12, 1)
    assert ap[0, 0] == pytest.approx(theirs["AP50"], abs=1e-9)
    assert ap.mean() == pytest.approx(theirs["AP"], abs=1e-9)
    assert recall.mean() == pytest.approx(theirs["AR100"], abs=1e-9)


def test_a_sample_without_labels_has_no_figure():
    labels, found = labels_of([BOX]), found_of([BOX], [0.9])
    m = match(labels, found)
    weights = np.array([[0, 1]], np.int32)
    ap, _ = weighted_ap(m.found.frame, m.hit[0], m.out[0], weights, np.array([1, 0]))
    assert np.isnan(ap).all()


# what the reference is asked in its own environment
_REFERENCE = """
import contextlib, io, json, sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
out = []
for truth, results in json.load(open(sys.argv[1])):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(); coco.dataset = truth; coco.createIndex()
        run = COCOeval(coco, coco.loadRes(results), "bbox")
        run.evaluate(); run.accumulate(); run.summarize()
    out.append([float(v) for v in run.stats])
print(json.dumps(out))
"""


def reference_python():
    """The interpreter that has pycocotools; the test is skipped without one."""
    if python := os.environ.get("ROADSTACK_PYCOCOTOOLS_PYTHON"):
        return python
    try:
        import pycocotools  # noqa: F401
    except ImportError:
        pytest.skip("ROADSTACK_PYCOCOTOOLS_PYTHON names no interpreter with pycocotools")
    return sys.executable


def test_all_twelve_equal_pycocotools(tmp_path):
    scenes = [random_scene(s, 40, 4, crowds=s % 2 == 0, rounded=s % 3 == 0) for s in range(6)]
    lone = joined(labels_of([BOX], frame=3), labels_of([FAR], kind=2))
    scenes.append((lone, found_of([BOX, BOX], [0.5, 0.5], frame=3)))
    path = tmp_path / "scenes.json"
    path.write_text(json.dumps([coco_form(a, b, 40, 4) for a, b in scenes]))
    done = subprocess.run(
        [reference_python(), "-c", _REFERENCE, path], capture_output=True, text=True, check=True
    )
    for (labels, found), theirs in zip(scenes, json.loads(done.stdout), strict=True):
        for (name, ours), value in zip(figures(labels, found).items(), theirs, strict=True):
            assert (-1 if math.isnan(ours) else ours) == pytest.approx(value, abs=1e-9), name
