"""Pseudo-labels: views brought back, boxes fused, thresholds, labels that count half."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from data.taxonomy import CLASSES
from data.types import Detections, Sample, Surfaces
from perception.box_fusion import Fused, fuse
from perception.metrics.surfaces import dilate_lane
from perception.runtime import find_model
from perception.selftrain import (
    NEVER,
    PLAIN,
    THRESHOLDS_OF,
    VIEWS,
    Seen,
    Thresholds,
    View,
    boxes_back,
    label,
    look,
    show,
    surface_labels,
    thin_lane,
)
from perception.selftrain_fit import Judged, fit, fit_boxes, fit_surface, judge, match

SIZE = (320, 180)
EVERYWHERE = np.array([-np.inf, -np.inf, np.inf, np.inf])


def picture(*boxes):
    """A grey picture with red boxes, green below the middle."""
    image = np.full((SIZE[1], SIZE[0], 3), 127, np.uint8)
    image[100:] = (0, 255, 0)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = (0, 0, 255)
    return image


def finds_red(image, min_score):
    """In place of the network: red is a vehicle of score 0.9, green is drivable, lanes are none."""
    red = ((image[..., 2] > 200) & (image[..., 1] < 60)).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(red)
    xyxy = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:]]
    n = len(xyxy)
    green = ((image[..., 1] > 200) & (image[..., 0] < 60)).astype(np.float32)
    found = Detections(np.reshape(xyxy, (-1, 4)), np.full(n, 0.9), np.zeros(n))
    return found, Surfaces(green, np.zeros_like(green), (1.0, 1.0))


def detections(*rows):
    """Rows of (x1, y1, x2, y2, score, class)."""
    table = np.array(rows, float).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5])


def fused(*rows):
    """Rows of (x1, y1, x2, y2, score, class, agreement)."""
    t = np.array(rows, np.float32).reshape(-1, 7)
    return Fused(t[:, :4], t[:, 5].astype(np.int64), t[:, 4], t[:, 6])


def seen(boxes, drivable=0.0, lane=0.0):
    p = [np.full((4, 4), v, np.float32) for v in (drivable, lane)]
    return Seen(boxes, p[0], p[1], 1.0, 1.0)


LEVELS = Thresholds((0.5,) * 5, (0.2,) * 5, 0.5, (0.3, 0.7), (0.3, 0.7))


@pytest.mark.parametrize("view", [*VIEWS, View("smaller", (-0.1, -0.2, 1.1, 1.3), mirror=True)])
def test_each_view_brings_an_object_back_to_where_it_is(view):
    box = (150, 60, 180, 90)
    found, _ = finds_red(show(picture(box), view), 0.05)
    back = boxes_back(found, view, SIZE)
    if view.name in ("far left", "far right"):  # their windows cut it or do not show it
        assert len(back) == 0
    else:
        assert back.xyxy == pytest.approx(np.array([box]))


def test_all_views_agree_on_an_object_that_all_see():
    whole = look(picture((150, 60, 180, 90)), finds_red)
    assert len(whole.boxes) == 1
    assert whole.boxes.xyxy[0] == pytest.approx([150, 60, 180, 90], abs=0.01)
    assert whole.boxes.score[0] == pytest.approx(0.9)
    assert whole.boxes.agreement[0] == 1
    assert whole.drivable_agreement == 1
    truth = np.zeros(SIZE[::-1], np.float32)
    truth[100:] = 1
    assert np.array_equal(whole.drivable, truth)


def test_what_a_windows_border_cuts_is_no_object_of_that_view():
    left = View("left", (0.0, 0.0, 0.5, 1.0))
    found, _ = finds_red(show(picture((140, 60, 200, 90), (0, 60, 30, 90)), left), 0.05)
    assert boxes_back(found, left, SIZE).xyxy.tolist() == [[0, 60, 30, 90]]
    both = look(picture((140, 60, 200, 90)), finds_red, (PLAIN, left))
    assert both.boxes.agreement.tolist() == [1]  # the left view could not have seen it


def test_mirrored_views_have_no_say_in_the_drivable_area():
    def keeps_right(image, min_score):
        p = np.zeros(image.shape[:2], np.float32)
        p[:, p.shape[1] // 2 :] = 1
        return Detections.empty(), Surfaces(p, p, (1.0, 1.0))

    found = look(picture(), keeps_right, (PLAIN, View("mirror", mirror=True)))
    assert found.drivable[0, 10] == 0 and found.drivable[0, -10] == 1
    assert (found.lane == 0.5).all()
    assert found.lane_agreement == 0
    with pytest.raises(ValueError, match="mirrored view"):
        View("wrong", mirror=True, drivable=True)


def test_a_border_within_the_picture_has_no_say_and_leaves_no_seam():
    def sees_lines_at_borders(image, min_score):
        p = np.zeros(image.shape[:2], np.float32)
        p[-2:] = 1
        return Detections.empty(), Surfaces(p, p, (1.0, 1.0))

    upper = View("upper", (0.0, 0.0, 1.0, 0.5))
    found = look(picture(), sees_lines_at_borders, (PLAIN, upper))
    assert found.lane[: SIZE[1] // 2].max() < 0.2
    assert found.lane[-1].min() == 1


def test_fused_boxes_by_hand():
    views = [
        detections((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.4, 1)),
        detections((0, 0, 13, 10, 0.3, 0)),
    ]
    got = fuse(views, [EVERYWHERE, EVERYWHERE])
    assert got.class_id.tolist() == [0, 1]
    assert got.xyxy[0] == pytest.approx([0, 0, 10.75, 10])  # weighted 3 to 1
    assert got.score == pytest.approx([0.6, 0.2])  # what one of two did not see counts half
    assert got.agreement.tolist() == [1, 0.5]
    # a view whose window does not hold the box is not asked
    blind = np.array([-np.inf, -np.inf, 40, 40])
    assert fuse(views, [EVERYWHERE, blind]).score == pytest.approx([0.6, 0.4])


def test_fusing_keeps_neighbours_apart_and_drops_what_is_said_twice():
    cars = [(0, 0, 10, 10, 0.9, 0), (12, 0, 22, 10, 0.8, 0)]
    part, other = (2, 2, 8, 8, 0.5, 0), (2, 2, 8, 8, 0.5, 4)
    got = fuse([detections(*cars, part, other)], [EVERYWHERE])
    assert sorted(zip(got.class_id.tolist(), got.xyxy[:, 0].tolist())) == [(0, 0), (0, 12), (4, 2)]
    assert len(fuse([detections()], [EVERYWHERE])) == 0


def test_sure_doubtful_and_faint_boxes():
    boxes = fused(
        (0, 0, 10, 10, 0.8, 0, 1.0), (20, 0, 30, 10, 0.7, 0, 0.3), (40, 0, 50, 10, 0.4, 0, 1.0),
        (60, 0, 70, 10, 0.1, 0, 1.0), (80, 0, 90, 10, 0.8, 1, 1.0),
    )  # fmt: skip
    got = label(seen(boxes), LEVELS, np.array([1, 0, 1, 1, 1], bool), drivable=False, lane=False)
    assert got.boxes.xyxy[:, 0].tolist() == [0, 20, 40]
    assert got.ignore.tolist() == [False, True, True]  # too few views, too low a score
    assert got.drivable is None and got.lane is None
    assert got.confidence == pytest.approx(0.64 / (0.64 + 0.49 + 0.16))


def test_a_doubtful_box_does_not_take_a_sure_one_away():
    boxes = fused((0, 0, 40, 40, 0.8, 0, 1.0), (10, 10, 60, 60, 0.4, 0, 1.0))
    assert label(seen(boxes), LEVELS).ignore.tolist() == [False]
    other = fused((0, 0, 40, 40, 0.8, 0, 1.0), (10, 10, 60, 60, 0.4, 4, 1.0))
    assert label(seen(other), LEVELS).ignore.tolist() == [False, True]


def test_surfaces_are_known_where_the_mean_is_far_from_the_middle():
    p = np.array([[0.1, 0.3, 0.5, 0.7, 0.9]], np.float32)
    assert surface_labels(p, 0.25, 0.75).tolist() == [[0, 255, 255, 255, 1]]
    got = label(seen(fused(), 0.5, 0.9), LEVELS)
    assert (got.drivable == 255).all() and (got.lane == 1).all()
    assert got.confidence == 0.5  # of a possible road nothing is sure, of the lines all


def test_thinned_lines_come_out_as_they_were_when_they_are_widened():
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 30:42] = 1
    mask[5:8] = 1  # thinner than the widening: it cannot be given back
    mask[50:] = 255
    back = dilate_lane(thin_lane(mask))
    assert (back[20:40, 30:42] == 1).all()
    assert (back == 1).sum() == 20 * 12
    assert (back[5:8] == 255).all() and (back[50:] == 255).all()


def truth(boxes=(), classes=(), ignore=(), labelled=(1, 1, 1, 1, 1)):
    return Sample(
        np.zeros((4, 4, 3), np.uint8), np.reshape(boxes, (-1, 4)), np.array(classes),
        np.array(ignore), np.array(labelled, bool), np.full((4, 4), 1, np.uint8), None, "t",
    )  # fmt: skip


def test_boxes_are_judged_right_wrong_or_not_at_all():
    t = truth(
        [[0, 0, 10, 10], [50, 0, 90, 40]], [0, 0], [False, True], (1, 0, 1, 1, 1)
    )  # fmt: skip
    boxes = fused(
        (0, 0, 10, 11, 0.9, 0, 1), (0, 0, 11, 10, 0.8, 0, 1), (60, 10, 70, 20, 0.7, 0, 1),
        (0, 0, 5, 5, 0.6, 1, 1),
    )  # fmt: skip
    # found, found twice, in an ignored area, of a class without labels
    assert match(boxes, t).tolist() == [1, 0, -1, -1]
    j = judge([(seen(boxes, 0.95), t)])
    assert j.score == pytest.approx([0.9, 0.8])
    assert j.objects.tolist() == [1, 0, 0, 0, 0]
    assert j.pixels["drivable"][95].tolist() == [0, 16]
    assert j.pixels["lane"].sum() == 0


def test_the_default_thresholds_are_of_the_released_file():
    """Where this fails, fit them to the new file: ``label --fit bdd100k_subset`` writes them."""
    assert hashlib.sha256(find_model("base").read_bytes()).hexdigest() == THRESHOLDS_OF


def judged(score, right, agreement=1.0, objects=50):
    n = len(score)
    pixels = {k: np.zeros((100, 2), np.int64) for k in ("drivable", "lane")}
    return Judged(
        np.zeros(n, np.int64), np.array(score, np.float32), np.full(n, agreement, np.float32),
        np.array(right, bool), np.array([objects, 0, 0, 0, 0]), pixels,
    )  # fmt: skip


def test_thresholds_by_hand():
    score = np.arange(13, 0, -1) / 20
    right = [1] * 8 + [0, 0, 1, 0, 0]
    low, high = fit_boxes(judged(score, right), 0, 0.8, 0.5)
    assert high == pytest.approx(0.3)  # eight of eight and the two that are taken to be wrong
    assert low == pytest.approx(0.1)  # one of four and those two; with the last one of seven
    assert fit_boxes(judged(score, right, agreement=0.2), 0, 0.8, 0.5)[1] == NEVER
    assert fit_boxes(judged(score, right, objects=4), 0, 0.8, 0.5)[1] == NEVER
    t = fit(judged(score, right), 0.8)
    assert t.high == (0.3, NEVER, NEVER, NEVER, NEVER)
    counts = np.zeros((100, 2), np.int64)
    counts[10], counts[50], counts[95] = (98, 2), (50, 50), (5, 95)
    assert fit_surface(counts, 0.9, 0.95) == (0.5, 0.51)
    with pytest.raises(ValueError, match="low <= high"):
        Thresholds((0.1,) * 5, (0.2,) * 5)


def test_labels_of_half_the_weight_count_half():
    torch = pytest.importorskip("torch")
    from perception.models.multitask import Output
    from perception.training.losses import total_loss
    from perception.training.targets import make_targets

    def one(x, weight=1.0):
        mask = np.zeros((192, 320), np.uint8)
        mask[:, x : x + 120] = 1
        s = Sample(
            np.zeros((192, 320, 3), np.uint8), [[x, 60, x + 80, 140]], [0], [False],
            np.ones(len(CLASSES), bool), mask, mask, "made",
        )  # fmt: skip
        return make_targets(s, weight)._asdict()

    def batch(*items):
        return {k: torch.stack([torch.from_numpy(i[k]) for i in items]) for k in items[0]}

    g = torch.Generator().manual_seed(0)
    answers = [
        Output(
            torch.randn(5, 48, 80, generator=g), 1 + 40 * torch.rand(4, 48, 80, generator=g),
            torch.randn(2, 96, 160, generator=g),
        )
        for _ in range(2)
    ]  # fmt: skip

    def cost(which, items):
        out = Output(*(torch.stack([answers[i][k] for i in which]) for k in range(3)))
        return {k: float(v) for k, v in total_loss(out, batch(*items)).items()}

    half = cost((0, 1), (one(40), one(160, 0.5)))
    assert half == pytest.approx(cost((0, 0, 1), (one(40), one(40), one(160))), rel=2e-4)
    assert half != pytest.approx(cost((0, 1), (one(40), one(160))), rel=1e-3)
    assert float(one(40, 0.5)["heat_weight"].max()) == 0.5
    assert one(40, 0.5)["box_weight"].sum() == pytest.approx(0.5)


def test_a_mixture_weighs_its_sets_and_joins_like_with_like(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("albumentations")
    from data.augment import AugmentConfig
    from data.datasets.base import Dataset
    from perception.training.config import SetConfig
    from perception.training.loader import Mixture

    sets = []
    for name, shade in (("dark", 20), ("light", 220)):
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), np.full((192, 320, 3), shade, np.uint8))
        cv2.imwrite(str(tmp_path / f"{name}_mask.png"), np.ones((192, 320), np.uint8))
        sets.append(
            Dataset(
                "made", tmp_path, "train", (name,), (path,), ("drivable",),
                masks={"drivable": (tmp_path / f"{name}_mask.png",)},
                mask_values={"drivable": {1: 1}},
            )
        )  # fmt: skip
    plain = AugmentConfig(
        mosaic=1.0, photometric=0.0, weather=0.0, zoom_out=0.0, copy_paste=0.0, tilt=0.0
    )
    m = Mixture(sets, [0.5, 0.5], (320, 192), 0, plain, 12, weights=[1.0, 0.25])
    met = set()
    for i in range(12):
        item = m[i]
        shades = {int(v) for v in torch.unique(item["image"])}
        assert len(shades) == 1  # all quarters of a mosaic are of one set
        met.add((shades.pop(), float(item["mask_weight"]), float(item["heat_weight"].max())))
    assert met == {(20, 1.0, 0.0), (220, 0.25, 0.0)}
    for wrong in (0.0, -1.0, 1.5):
        with pytest.raises(ValueError, match="weight: expected above 0 and at most 1"):
            SetConfig(tmp_path, weight=wrong)
