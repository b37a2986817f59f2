"""Items of a training run: made again from their number alone, within a stated memory."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("albumentations")

from data.augment import AugmentConfig  # noqa: E402
from data.datasets import open_dataset  # noqa: E402
from data.errors import InputError  # noqa: E402
from data.frames import read_frame  # noqa: E402
from data.mixing import join_quarters  # noqa: E402
from data.types import HIDDEN, Sample  # noqa: E402
from perception.training.loader import Mixture, batches  # noqa: E402
from perception.training.targets import make_targets  # noqa: E402

SIZE = (320, 192)
FULL = AugmentConfig(mosaic=0.3, copy_paste=0.6, weather=0.3)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Four pictures of 640 x 360 with a car and a bicycle each, and three without boxes."""
    boxed, surfaces = tmp_path_factory.mktemp("voc"), tmp_path_factory.mktemp("camvid")
    for folder in (
        boxed / "images/train", boxed / "labels/train", surfaces / "train", surfaces / "trainannot",
    ):  # fmt: skip
        folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    kinds = (("vehicle", (40, 150, 200, 260)), ("bike", (400, 150, 460, 240)))
    for i in range(4):
        picture = cv2.resize(rng.integers(0, 255, (9, 16, 3)).astype(np.uint8), (640, 360))
        cv2.imwrite(str(boxed / f"images/train/{i}.jpg"), picture)
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
            f"<ymax>{d}</ymax></bndbox></object>"
            for name, (a, b, c, d) in kinds
        )
        (boxed / f"labels/train/{i}.xml").write_text(f"<annotation>{objects}</annotation>")
        if i < 3:
            cv2.imwrite(str(surfaces / f"train/{i}.jpg"), picture[:, :480])
            mask = np.full((360, 480), 3, np.uint8)
            cv2.imwrite(str(surfaces / f"trainannot/{i}.png"), mask)
    return [open_dataset(boxed, "train", "voc"), open_dataset(surfaces, "train", "camvid")]


def mixture(sets, **changes):
    return Mixture(sets, [0.7, 0.3], SIZE, 5, FULL, 64, **changes)


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def test_an_item_is_the_same_held_in_memory_or_read_anew_in_any_order(sets):
    cold, warm = mixture(sets, cache_mb=0), mixture(sets)
    assert cold.preload() == 0
    assert warm.preload() == 7
    first = [cold[i] for i in range(24)]
    assert all(same(first[i], warm[i]) for i in reversed(range(24)))
    assert not same(first[0], first[1])


def test_worker_processes_make_the_same_items_and_do_not_hang(sets):
    cv2.setNumThreads(2)
    cv2.blur(np.zeros((2000, 2000, 3), np.uint8), (9, 9))  # OpenCV's threads are running
    made = mixture(sets)
    made.preload()
    got = [b["image"] for b in batches(made, 4, 2, range(4, 12))]
    want = torch.stack([made[i]["image"] for i in range(4, 12)])
    assert torch.equal(torch.cat(got), want)


@pytest.mark.parametrize("limit_mb", [0.3, 1.5, 3.0])
def test_memory_stays_within_its_limit(sets, limit_mb):
    made = mixture(sets, cache_mb=limit_mb)
    held = made.preload()
    assert made.held_mb <= limit_mb
    assert held == len(made._cache) < 7
    for i in range(20):
        made[i]
    assert len(made._cache) == held
    assert (held > 0) == (limit_mb > 1)


def test_frames_drawn_most_often_are_held_first(sets):
    made = Mixture(sets, [0.1, 0.9], SIZE, 5, FULL, 64, cache_mb=2.3)
    made.preload()
    assert {which for which, _ in made._cache} == {1}


def test_frames_are_held_no_wider_than_asked_for(sets):
    assert mixture(sets).read((0, 0)).image.shape == (270, 480, 3)
    assert mixture(sets, cache_width=320).read((0, 0)).image.shape == (180, 320, 3)


def test_labels_shrink_to_where_they_lie(tmp_path):
    for name in ("train", "trainannot"):
        (tmp_path / name).mkdir()
    y, x = np.mgrid[:360, :480]
    label = np.where(x + y > 400, 3, 0).astype(np.uint8)  # road behind a slanting edge
    cv2.imwrite(str(tmp_path / "train/a.png"), cv2.merge([label] * 3))
    cv2.imwrite(str(tmp_path / "trainannot/a.png"), label)
    small = read_frame(open_dataset(tmp_path, "train", "camvid"), 0, 320).drivable
    edges = [480 * float((m == 0).mean()) for m in (label, small)]  # its mean column
    assert small.shape == (240, 320)
    assert edges[1] == pytest.approx(edges[0], abs=0.5)


def test_handed_sets_teach_no_mirrored_drivable_area(sets):
    plain = Mixture(sets[1:], [1.0], SIZE, 0, AugmentConfig(mosaic=0, zoom_out=0, tilt=0), 64)
    handed = Mixture(plain.sets, [1.0], SIZE, 0, plain.augment, 64, handed=[True])
    known = [[bool((m[i]["mask"][0] < HIDDEN).any()) for i in range(16)] for m in (plain, handed)]
    assert all(known[0])
    assert 2 < sum(known[1]) < 14


def test_an_item_does_not_depend_on_the_items_made_before_it(sets):
    """A run that goes on in its middle makes the same mosaics, from frames that it never read."""
    mosaics = AugmentConfig(mosaic=1.0, weather=0)
    a, b = (Mixture(sets, [0.7, 0.3], SIZE, 5, mosaics, 64, cache_mb=0) for _ in range(2))
    for i in range(9):
        a[i]
    assert len(a._recent) == 4
    assert same(a[9], b[9])
    assert same(b[0], a[0])


def test_objects_are_pasted_from_the_same_set(sets):
    made = mixture(sets)
    assert made.rare() == [{2: (0, 1, 2, 3)}, {}]
    off = Mixture(sets, [1, 1], SIZE, 0, AugmentConfig(copy_paste=0), 8)
    assert off.rare() == [{}, {}]


def quarter(labelled, surfaces=True):
    mask = np.ones((96, 160), np.uint8) if surfaces else None
    return Sample(
        np.zeros((96, 160, 3), np.uint8), np.array([[40, 30, 80, 60]], np.float32), np.array([0]),
        np.array([False]), np.array(labelled, bool), mask, mask, "q",
    )  # fmt: skip


def test_a_mosaic_quarter_without_persons_labelled_teaches_nothing_of_persons():
    whole, blind = quarter([1, 1, 1, 1, 1]), quarter([1, 0, 1, 1, 1], surfaces=False)
    t = make_targets(join_quarters((whole, blind, whole, whole)))
    assert (t.heat_weight[1, :24, 40:] == 0).all()
    assert (t.heat_weight[1, :, :40] == 1).all() and (t.heat_weight[1, 24:] == 1).all()
    assert (t.heat_weight[0] == 1).all()
    assert [int((h == 1).sum()) for h in t.heat] == [4, 0, 0, 0, 0]
    assert (t.mask[:, :48, 80:] == 255).all() and (t.mask[:, 48:] == 1).all()


@pytest.mark.parametrize("box", [(40, 30, 120, 90), (-10, -8, 60, 50), (250, 170, 319, 191)])
def test_a_peak_is_the_gaussian_of_its_box_cut_by_the_border(box):
    s = Sample(
        np.zeros((192, 320, 3), np.uint8), np.array([box], np.float32), np.array([3]),
        np.array([False]), np.ones(5, bool), None, None, "one",
    )  # fmt: skip
    t = make_targets(s)
    x1, y1, x2, y2 = box
    cx, cy = int((x1 + x2) / 2 / 4), int((y1 + y2) / 2 / 4)
    rx, ry = int((x2 - x1) / 8 * 0.54), int((y2 - y1) / 8 * 0.54)
    want = np.zeros((48, 80))
    for y in range(max(cy - ry, 0), min(cy + ry, 47) + 1):
        for x in range(max(cx - rx, 0), min(cx + rx, 79) + 1):
            sx, sy = (2 * rx + 1) / 6, (2 * ry + 1) / 6
            want[y, x] = np.exp(-((x - cx) ** 2) / 2 / sx**2 - (y - cy) ** 2 / 2 / sy**2)
    assert t.heat[3] == pytest.approx(want, abs=1e-6)
    assert t.box_weight == pytest.approx(want / want.sum(), abs=1e-6)
    assert t.box[:, cy, cx] == pytest.approx(
        [cx * 4 + 2 - x1, cy * 4 + 2 - y1, x2 - cx * 4 - 2, y2 - cy * 4 - 2]
    )


def test_objects_count_as_much_as_their_class():
    sample = Sample(
        np.zeros((96, 160, 3), np.uint8),
        np.array([[40, 30, 80, 60], [100, 10, 130, 70], [10, 60, 30, 90]], np.float32),
        np.array([0, 1, 1]), np.array([False, False, True]), np.array([1, 1, 1, 1, 0], bool),
        None, None, "two",
    )  # fmt: skip
    alike, t = (make_targets(sample, 0.5, w) for w in ((), (1.0, 3.0, 2.0, 0.5, 9.0)))
    for name in ("image", "heat", "box", "mask", "mask_weight"):
        assert (getattr(alike, name) == getattr(t, name)).all()
    times = np.array([1, 3, 2, 0.5, 9])[:, None, None]
    assert (t.heat_weight == alike.heat_weight * times).all()
    assert (t.heat_weight[1, 15:22, 3:7] == 0).all() and (t.heat_weight[4] == 0).all()
    assert t.box_weight[:, :25].sum() == pytest.approx(0.5)
    assert t.box_weight[:, 25:].sum() == pytest.approx(1.5)


def test_an_image_damaged_in_the_middle_teaches_nothing_and_is_named(tmp_path):
    """Header and end are whole, so that only decoding tells."""
    folder = tmp_path / "images/100k/train"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    assert cv2.imwrite(str(folder / "a.png"), noise)
    data = bytearray((folder / "a.png").read_bytes())
    data[200:-200] = bytes(len(data) - 400)
    (folder / "a.png").write_bytes(data)
    box = {"x1": 10, "y1": 20, "x2": 50, "y2": 60}
    entry = {"name": "a.png", "labels": [{"category": "car", "box2d": box}]}
    labels = tmp_path / "labels/det_20/det_train.json"
    labels.parent.mkdir(parents=True)
    labels.write_text(json.dumps([entry]))
    made = Mixture([open_dataset(tmp_path, "train")], [1.0], (128, 96), 0, AugmentConfig(), 2)
    made.preload()
    assert len(made.problems) == 1 and "a.png" in made.problems[0]
    assert float(made[0]["heat_weight"].sum()) == 0
    strict = Mixture(
        [open_dataset(tmp_path, "train", strict=True)], [1.0], (128, 96), 0, AugmentConfig(), 2
    )
    with pytest.raises(InputError, match=r"a\.png"):
        strict.preload()
