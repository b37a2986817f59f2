"""What is found wrong with a labelled set, one made defect at a time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data.checks import NOTE, SPOILS, WARN, check_split, finding, report_split, verdict
from data.datasets import Dataset, open_dataset
from data.image_checks import Entry, calib_problems, check_image


def test_a_sound_set_gives_nothing_that_spoils(made):
    found = made.examine()
    assert set(found) == {"class_few"}  # two boxes are few
    assert verdict(list(found.values()))[0]


def test_figures_of_a_split(made):
    made.labels["train", "a"].append(made.car(60, 20, 80, 30, "rider"))
    made.mask("train", "b").unlink()
    made.save()
    d = open_dataset(made.root, "train")
    r = report_split(d, [check_image(d, i) for i in range(2)])
    assert (r.images, r.labelled_images, r.unusable_images) == (2, 2, 0)
    assert r.classes["car"] == {"boxes": 2, "ours": "vehicle", "known": True}
    assert (r.ours["vehicle"], r.ours["person"]) == (2, 1)
    assert r.sizes == {"128x72": 2}
    drivable = {"present": 1, "missing": 1, "share_yes": round(32 / 72, 5), "share_unknown": 0.0}
    assert r.masks["drivable"] == drivable


def test_a_labelled_entry_without_its_image(made):
    made.image("train", "b").unlink()
    f = made.examine()["image_missing"]
    assert (f.severity, f.count) == (SPOILS, 1)
    assert "b.jpg" in f.examples[0]


def test_no_image_at_all_of_a_split_can_be_read(made):
    for name in "ab":
        made.image("train", name).write_bytes(b"")
    assert made.examine()["no_images"].severity == SPOILS


def test_an_unknown_class_is_counted_and_its_nearest_name_told(made):
    made.labels["train", "a"] = [made.car(10, 20, 50, 60, "truk"), made.car(60, 20, 90, 60, "truk")]
    f = made.examine()["class_unknown"]
    assert (f.severity, f.count) == (SPOILS, 2)
    assert (
        "'truk' (2 boxes, first in a.jpg): did you mean 'truck'? --class truk=vehicle"
        in (f.examples[0])
    )
    assert "class_unknown" not in made.examine(names=("truk=vehicle",))


def test_a_class_that_is_none_of_ours_is_a_warning(made):
    made.labels["train", "a"].append(made.car(60, 20, 90, 60, "cow"))
    f = made.examine(names=("cow=none",))["class_unmapped"]
    assert (f.severity, f.count, f.examples) == (WARN, 1, ("'cow' (1 boxes)",))


@pytest.mark.parametrize(
    ("box", "kind", "severity"),
    [
        ((50, 20, 10, 60), "box_empty", SPOILS),
        ((10, 20, 10, 60), "box_empty", SPOILS),
        ((120, 20, 180, 60), "box_outside", SPOILS),
        ((300, 20, 340, 60), "box_outside", SPOILS),
        ((100, 20, 140, 60), "box_clipped", WARN),
        ((60, 20, 60.7, 60), "box_tiny", WARN),
        ((10, 20, 50, 60), "box_twice", WARN),
    ],
)
def test_boxes(made, box, kind, severity):
    made.labels["train", "a"].append(made.car(*box))
    f = made.examine()[kind]
    assert (f.severity, f.count, f.split) == (severity, 1, "train")
    assert "a.jpg" in f.examples[0]


def test_a_box_that_counts_pixels_from_one_is_no_fault(made):
    made.labels["train", "a"].append(made.car(100, 20, 128.9, 60))
    assert "box_clipped" not in made.examine()


def test_one_empty_box_among_thousands_is_a_warning(made):
    many = [made.car(10 + k / 100, 20, 50, 60) for k in range(1100)]
    made.labels["train", "a"] = [*many, made.car(5, 5, 5, 5)]
    assert made.examine()["box_empty"].severity == WARN


def test_shares_taken_for_pixels(made):
    made.labels["train", "a"] = [made.car(0.1, 0.2, 0.5, 0.6), made.car(0.6, 0.2, 0.9, 0.6)]
    assert made.examine()["box_scale"].severity == SPOILS


def test_mask_values_without_meaning(made):
    made.write(made.mask("train", "a"), np.full(made.size_px[::-1], 1 + 6, np.uint8))
    f = made.examine()["mask_value"]
    assert (f.severity, f.count) == (SPOILS, 1)
    assert "masks/train/a.png: mask value 7" in f.examples[0]


def test_a_mask_of_another_size(made):
    made.write(made.mask("val", "a"), np.zeros((36, 64), np.uint8))
    for fast in (False, True):
        f = made.examine(fast=fast)["mask_size"]
        assert (f.severity, f.count, f.split) == (SPOILS, 1, "val")


def test_masks_that_mark_nothing(made):
    for name in "ab":
        made.write(made.mask("train", name), np.full(made.size_px[::-1], 2, np.uint8))
    assert made.examine()["mask_blank"].severity == WARN


def test_missing_masks_are_counted(made):
    made.mask("train", "a").unlink()
    f = made.examine()["mask_missing"]
    assert (f.severity, f.count, f.examples) == (WARN, 1, ("a.jpg (drivable)",))


def test_images_without_label_entries(made):
    del made.labels["train", "a"]
    f = made.examine()["labels_missing"]
    assert (f.severity, f.count, f.examples) == (WARN, 1, ("a.jpg",))


def test_a_split_to_train_on_without_labels(made):
    for key in [k for k in made.labels if k[0] == "train"]:
        del made.labels[key]
        made.mask(*key).unlink()
    assert made.examine()["split_unlabelled"].severity == SPOILS


def test_a_held_out_split_without_labels_is_a_note(made):
    for key in [k for k in made.labels if k[0] == "val"]:
        del made.labels[key]
        made.mask(*key).unlink()
    found = made.examine()
    assert found["split_without_labels"].severity == NOTE
    assert verdict(list(found.values()))[0]


def test_a_malformed_entry_is_named(made):
    made.labels["train", "a"].append({"category": "car", "box2d": {"x1": 1}})
    f = made.examine()["label_malformed"]
    assert (f.severity, f.count) == (SPOILS, 1)
    assert "det_train.json" in f.examples[0]


def test_an_image_that_cannot_be_read_is_no_malformed_label_too(tmp_path, scene):
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images/train/a.jpg"), scene(0))
    (tmp_path / "images/train/b.jpg").write_bytes(b"")
    for name in "ab":
        (tmp_path / f"labels/train/{name}.txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [car]\n")
    d = open_dataset(tmp_path, "train")
    found = check_split(d, [check_image(d, i) for i in range(2)])
    assert {f.kind for f in found if f.severity == SPOILS} == {"image_unreadable"}


def test_pictures_of_very_different_shapes(made):
    made.write(made.image("train", "b"), made.scene(1, (72, 128)))
    made.mask("train", "b").unlink()
    assert made.examine()["image_shapes"].severity == WARN
    made.write(made.image("train", "b"), made.scene(1, (130, 72)))
    assert made.examine()["image_sizes"].severity == NOTE


def test_an_even_picture(made):
    made.write(made.image("train", "b"), np.full((72, 128, 3), 40, np.uint8))
    assert made.examine()["image_blank"].count == 1


def test_the_verdict_names_what_spoils():
    warn = finding("box_tiny", "train", 3, [])
    assert verdict([warn])[0]
    fit, text = verdict([warn, finding("leak", "val", 1, [])])
    assert not fit
    assert "leak" in text and "1 warning" in text


REAL = {  # images and boxes of every split, as the sets' README has them
    "bdd100k_subset": {"train": 308, "val": 51, "test": 76},
    "idd_lite": {"train": 1403, "val": 204, "test": 404},
    "camvid": {"train": 367, "val": 101, "test": 233},
    "carla_detection": {"train": 779, "test": 249},
    "kitti_object": {"all": 51},
}


@pytest.mark.parametrize("name", REAL)
def test_real_sets_count_as_their_readme_says_and_are_fit(realdata, name):
    found, entries = [], {}
    names = {}
    for split, images in REAL[name].items():
        d = open_dataset(realdata / name, split)
        entries[split] = [check_image(d, i, fast=True) for i in range(len(d))]
        names[split] = d.names
        r = report_split(d, entries[split])
        assert (r.images, r.unusable_images) == (images, 0)
        found += check_split(d, entries[split])
    fit, text = verdict(found)
    assert fit, text


def test_real_test_frames_without_labels_are_a_note(realdata):
    d = open_dataset(realdata / "idd_lite", "test")
    found = check_split(d, [check_image(d, i, fast=True) for i in range(20)])
    assert [f.kind for f in found] == ["split_without_labels"]


def test_real_labels_without_images_pass_with_a_note(realdata):
    d = open_dataset(realdata / "kitti_tracking", "0000")
    found = check_split(d, [check_image(d, i) for i in range(len(d))])
    assert [f.kind for f in found] == ["labels_alone"]
    assert verdict(found) == (
        True,
        "labels without images: of use to tune a tracker, nothing to train on",
    )


def test_labels_that_cannot_be_read_are_not_told_as_no_objects(made):
    made.labels["train", "a"] = [{"category": "car", "box2d": {"x1": 1}}]
    found = made.examine()
    assert "label_malformed" in found and "images_empty" not in found


def test_a_calibration_file_that_cannot_be_used_is_found(tmp_path, scene):
    images, labels, calib = (tmp_path / f"training/{n}" for n in ("image_2", "label_2", "calib"))
    for folder in (images, labels, calib):
        folder.mkdir(parents=True)
    for name in ("000000", "000001"):
        cv2.imwrite(str(images / f"{name}.png"), scene(int(name), (124, 37)))
        text = "Car 0 0 1.5 10 12 30 33 1.5 1.6 3.7 1 1.7 20 1.5\n"
        (labels / f"{name}.txt").write_text(text)
    good = "P2: 700 0 60 45 0 700 18 0.2 0 0 1 0.003\n"
    (calib / "000000.txt").write_text(good)
    (calib / "000001.txt").write_text(good.replace("700", "nan"))
    d = open_dataset(tmp_path, "train")
    found = check_split(d, [check_image(d, i) for i in range(len(d))])
    bad = [f for f in found if f.kind == "calib_unusable"]
    assert len(bad) == 1 and bad[0].count == 1 and "000001.txt" in bad[0].examples[0]


@pytest.mark.parametrize(
    ("size", "bad"),
    [
        ((1392, 512), []),
        (None, []),
        ((1242, 375), ["calibration of 1392x512 pictures"]),
        ((800, 300), ["is outside a 800x300 picture"]),
    ],
)
def test_a_calibration_file_is_judged_by_the_size_of_its_pictures(tmp_path, size, bad):
    """A raw one states its size; the optical centre lies where 1242x375 pictures have none."""
    path = tmp_path / "calib.txt"
    stated = "" if size == (800, 300) else "S_rect_02: 1392 512\n"
    path.write_text(f"{stated}P_rect_02: 960 0 1300 45 0 960 400 0.2 0 0 1 0.003\n")
    d = Dataset("kitti", tmp_path, "all", ("a", "b"), (), (), calibs=(path, path))
    found = calib_problems(d, [Entry(None), Entry(size)])
    assert len(found) == len(bad) and all(text in str(p) for text, p in zip(bad, found))


def test_without_a_size_a_calibration_file_is_still_judged_by_its_numbers(tmp_path):
    path = tmp_path / "calib.txt"
    path.write_text("P2: 800 0 1300 45 0 nan 400 0.2 0 0 1 0.003\n")
    d = Dataset("kitti", tmp_path, "all", ("a",), (), (), calibs=(path,))
    assert [p.kind for p in calib_problems(d, [Entry(None)])] == ["calib_unusable"]


def test_an_area_to_ignore_of_an_unknown_class_is_counted_once(made):
    made.labels["train", "a"] = [made.car(10, 20, 50, 60, "blob") | {"attributes": {"crowd": True}}]
    made.save()
    d = open_dataset(made.root, "train")
    assert report_split(d, [check_image(d, i) for i in range(len(d))]).ignore_areas == 1
