"""What is found wrong with a labelled set, one made defect at a time."""

from __future__ import annotations

import json
import zlib

import cv2
import numpy as np
import pytest

from data import duplicates
from data.checks import (
    NOTE,
    SPOILS,
    WARN,
    Pair,
    check_leaks,
    check_split,
    find_pairs,
    finding,
    report_split,
    verdict,
)
from data.datasets import open_dataset, with_names
from data.datasets.files import image_problem, read_image, read_mask
from data.duplicates import Alike, find_alike, perceptual_hash, thumbnail
from data.errors import InputError
from data.image_checks import Entry, check_image, file_damage

SIZE = (128, 72)
NAMED = ((0, "train"), (1, "val"))


def scene(seed, size=SIZE):
    """A picture of smooth random patches, unlike any of another seed."""
    patches = np.random.default_rng(seed).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(patches, size, interpolation=cv2.INTER_CUBIC)


def write(path, image, *options):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image, *options)


def car(x1, y1, x2, y2, category="car"):
    return {"category": category, "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2}}


class Made:
    """A set in BDD100K's layout: two frames a split with a box and a drivable mask each."""

    def __init__(self, root):
        self.root = root
        self.labels = {}
        for n, split in enumerate(("train", "val")):
            for k, name in enumerate("ab"):
                write(self.image(split, name), scene(10 * n + k))
                mask = np.full(SIZE[::-1], 2, np.uint8)
                mask[40:] = 0
                write(self.mask(split, name), mask)
                self.labels[split, name] = [car(10, 20, 50, 60)]

    def image(self, split, name):
        return self.root / f"images/100k/{split}/{name}.jpg"

    def mask(self, split, name):
        return self.root / f"labels/drivable/masks/{split}/{name}.png"

    def save(self):
        for split in ("train", "val"):
            entries = [
                {"name": f"{name}.jpg", "labels": labels}
                for (s, name), labels in self.labels.items()
                if s == split
            ]
            path = self.root / f"labels/det_20/det_{split}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(entries))

    def examine(self, names=(), fast=False):
        """All findings by kind."""
        self.save()
        sets = {s: with_names(open_dataset(self.root, s), names) for s in ("train", "val")}
        entries = {s: [check_image(d, i, fast) for i in range(len(d))] for s, d in sets.items()}
        found = [f for s, d in sets.items() for f in check_split(d, entries[s])]
        pairs = find_pairs(entries)
        found += check_leaks(pairs, entries, {s: d.names for s, d in sets.items()})
        return {f.kind: f for f in found}


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def test_a_sound_set_gives_nothing_that_spoils(made):
    found = made.examine()
    assert set(found) == {"class_few"}  # two boxes are few
    assert verdict(list(found.values()))[0]


def test_figures_of_a_split(made):
    made.labels["train", "a"].append(car(60, 20, 80, 30, "rider"))
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


def test_a_jpeg_cut_short_is_found_though_it_decodes(made):
    path = made.image("train", "a")
    path.write_bytes(path.read_bytes()[:-40])
    assert cv2.imread(str(path)) is not None
    for fast in (False, True):
        f = made.examine(fast=fast)["image_unreadable"]
        assert (f.severity, f.count, f.split) == (SPOILS, 1, "train")
        assert "train/a.jpg: image is cut short" in f.examples[0]


def test_a_hole_of_zeros_in_a_jpeg_is_found(made):
    path = made.image("train", "a")
    write(path, np.random.default_rng(0).integers(0, 255, (400, 600, 3), np.uint8))
    data = bytearray(path.read_bytes())
    data[20000:30000] = bytes(10000)
    path.write_bytes(data)
    assert "hole of zeros" in made.examine()["image_unreadable"].examples[0]


def test_padding_in_the_header_of_a_jpeg_is_no_hole():
    data = cv2.imencode(".jpg", scene(0))[1].tobytes()
    padding = b"\xff\xe1" + (10002).to_bytes(2, "big") + bytes(10000)
    assert file_damage(data[:2] + padding + data[2:] + bytes(9000)) is None


def test_a_flipped_byte_in_a_png_is_found():
    data = bytearray(cv2.imencode(".png", scene(0))[1].tobytes())
    assert file_damage(bytes(data)) is None
    data[len(data) // 2] ^= 1
    assert "damaged" in file_damage(bytes(data))


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
    made.labels["train", "a"] = [car(10, 20, 50, 60, "truk"), car(60, 20, 90, 60, "truk")]
    f = made.examine()["class_unknown"]
    assert (f.severity, f.count) == (SPOILS, 2)
    assert (
        "'truk' (2 boxes, first in a.jpg): did you mean 'truck'? --class truk=vehicle"
        in (f.examples[0])
    )
    assert "class_unknown" not in made.examine(names=("truk=vehicle",))


def test_a_class_that_is_none_of_ours_is_a_warning(made):
    made.labels["train", "a"].append(car(60, 20, 90, 60, "cow"))
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
    made.labels["train", "a"].append(car(*box))
    f = made.examine()[kind]
    assert (f.severity, f.count, f.split) == (severity, 1, "train")
    assert "a.jpg" in f.examples[0]


def test_a_box_that_counts_pixels_from_one_is_no_fault(made):
    made.labels["train", "a"].append(car(100, 20, 128.9, 60))
    assert "box_clipped" not in made.examine()


def test_one_empty_box_among_thousands_is_a_warning(made):
    many = [car(10 + k / 100, 20, 50, 60) for k in range(1100)]
    made.labels["train", "a"] = [*many, car(5, 5, 5, 5)]
    assert made.examine()["box_empty"].severity == WARN


def test_shares_taken_for_pixels(made):
    made.labels["train", "a"] = [car(0.1, 0.2, 0.5, 0.6), car(0.6, 0.2, 0.9, 0.6)]
    assert made.examine()["box_scale"].severity == SPOILS


def test_mask_values_without_meaning(made):
    write(made.mask("train", "a"), np.full(SIZE[::-1], 1 + 6, np.uint8))
    f = made.examine()["mask_value"]
    assert (f.severity, f.count) == (SPOILS, 1)
    assert "masks/train/a.png: mask value 7" in f.examples[0]


def test_a_mask_of_another_size(made):
    write(made.mask("val", "a"), np.zeros((36, 64), np.uint8))
    for fast in (False, True):
        f = made.examine(fast=fast)["mask_size"]
        assert (f.severity, f.count, f.split) == (SPOILS, 1, "val")


def test_a_mask_that_is_a_picture_or_cut_short(made):
    write(made.mask("train", "a"), scene(0))
    path = made.mask("train", "b")
    path.write_bytes(path.read_bytes()[:-20])
    f = made.examine()["mask_unreadable"]
    assert (f.severity, f.count) == (SPOILS, 2)


def test_masks_that_mark_nothing(made):
    for name in "ab":
        write(made.mask("train", name), np.full(SIZE[::-1], 2, np.uint8))
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


def test_an_image_that_cannot_be_read_is_no_malformed_label_too(tmp_path):
    write(tmp_path / "images/train/a.jpg", scene(0))
    (tmp_path / "images/train/b.jpg").write_bytes(b"")
    (tmp_path / "labels/train").mkdir(parents=True)
    for name in "ab":
        (tmp_path / f"labels/train/{name}.txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [car]\n")
    d = open_dataset(tmp_path, "train")
    found = check_split(d, [check_image(d, i) for i in range(2)])
    assert {f.kind for f in found if f.severity == SPOILS} == {"image_unreadable"}


def test_pictures_of_very_different_shapes(made):
    write(made.image("train", "b"), scene(1, (72, 128)))
    made.mask("train", "b").unlink()
    assert made.examine()["image_shapes"].severity == WARN
    write(made.image("train", "b"), scene(1, (130, 72)))
    assert made.examine()["image_sizes"].severity == NOTE


def test_an_even_picture(made):
    write(made.image("train", "b"), np.full((72, 128, 3), 40, np.uint8))
    assert made.examine()["image_blank"].count == 1


def test_the_same_file_twice_in_a_split(made):
    made.image("train", "b").write_bytes(made.image("train", "a").read_bytes())
    f = made.examine()["duplicate_files"]
    assert (f.severity, f.examples) == (WARN, ("b.jpg = a.jpg",))


def changed(image, how):
    height, width = image.shape[:2]
    if how == "another size":
        return cv2.resize(image, (96, 54), interpolation=cv2.INTER_AREA)
    if how == "brighter":
        return cv2.convertScaleAbs(image, alpha=0.9, beta=30)
    if how == "a narrow crop":
        return image[1 : height - 1, 1 : width - 1]
    return image


@pytest.mark.parametrize("how", ["a copy", "another size", "brighter", "a narrow crop"])
def test_a_picture_trained_on_and_scored_on_is_a_leak(made, how):
    write(made.image("val", "b"), changed(scene(0), how), [cv2.IMWRITE_JPEG_QUALITY, 60])
    made.mask("val", "b").unlink()
    f = made.examine()["leak"]
    assert (f.severity, f.split, f.count) == (SPOILS, "val", 1)
    assert f.examples[0].startswith("val/b.jpg = train/a.jpg")


def test_pictures_of_different_scenes_are_no_leak(made):
    for n in range(60):
        write(made.image("train" if n % 2 else "val", f"x{n}"), scene(100 + n))
    assert not {"leak", "leak_near", "alike"} & set(made.examine())


def test_the_same_picture_in_two_held_out_splits_is_a_warning(made):
    made.image("train", "a").parent.rename(made.root / "images/100k/test")
    (made.root / "images/100k/test/b.jpg").write_bytes(made.image("val", "b").read_bytes())
    sets = {s: open_dataset(made.root, s) for s in ("test", "val")}
    entries = {s: [check_image(d, i) for i in range(len(d))] for s, d in sets.items()}
    found = check_leaks(find_pairs(entries), entries, {s: d.names for s, d in sets.items()})
    assert [(f.kind, f.severity) for f in found] == [("leak_held_out", WARN)]


def examine_renamed(made, names):
    """What sharing pictures means when the splits of ``made`` go by other names."""
    made.save()
    sets = {new: open_dataset(made.root, old) for old, new in names.items()}
    entries = {s: [check_image(d, i) for i in range(len(d))] for s, d in sets.items()}
    return check_leaks(find_pairs(entries), entries, {s: d.names for s, d in sets.items()})


def test_a_split_that_joins_others_shares_pictures_by_design(made):
    (made.root / "images/100k/val/c.jpg").write_bytes(made.image("train", "a").read_bytes())
    (made.root / "images/100k/val/d.jpg").write_bytes(made.image("train", "b").read_bytes())
    found = examine_renamed(made, {"train": "test", "val": "trainval"})
    assert [f.kind for f in found] == ["not_compared"]


def test_a_split_named_trainval_is_trained_on(made):
    made.image("val", "a").write_bytes(made.image("train", "a").read_bytes())
    found = examine_renamed(made, {"train": "trainval", "val": "test"})
    assert [(f.kind, f.split) for f in found] == [("leak", "test")]


def test_a_leak_is_told_once_and_not_as_a_near_one_too():
    entries = {s: [Entry(SIZE, digest=bytes([k, i])) for i in range(2)] for k, s in NAMED}
    pairs = [
        Pair(("train", 0), ("val", 0), Alike(0, 2, 0, 1.0, True)),
        Pair(("train", 1), ("val", 0), Alike(1, 2, 12, 0.95, False)),
        Pair(("train", 1), ("val", 1), Alike(1, 3, 12, 0.95, False)),
    ]
    found = check_leaks(pairs, entries, {s: ("a", "b") for _, s in NAMED})
    assert [(f.kind, f.count, f.split) for f in found] == [
        ("leak", 1, "val"),
        ("leak_near", 1, "val"),
    ]
    assert found[1].examples == ("val/b = train/b (correlation 0.950)",)


def test_pictures_that_share_half_of_what_they_show_are_not_alike():
    half = [cv2.addWeighted(scene(1), 0.5, scene(k), 0.5, 0)[..., 0] for k in (2, 3, 4)]
    assert not find_alike(np.array([thumbnail(h) for h in half]), np.arange(3))


def test_every_picture_with_a_like_one_is_in_a_pair(monkeypatch):
    """The search drops pairs that say nothing new, but no picture."""
    monkeypatch.setattr(duplicates, "_BATCH", 16)
    monkeypatch.setattr(duplicates, "_ROWS", 8)
    monkeypatch.setattr(duplicates, "_COLUMNS", 32)
    rng = np.random.default_rng(0)
    base = [thumbnail(scene(k)[..., 0]) for k in range(12)]
    noise = rng.normal(0, 2, (300, 32, 32))
    thumbs = np.clip(np.array([base[k % 12] for k in range(300)]) + noise, 0, 255)
    group = rng.integers(0, 3, 300)
    pairs = find_alike(thumbs.astype(np.uint8), group)
    found = {(p.first, group[p.second]) for p in pairs} | {
        (p.second, group[p.first]) for p in pairs
    }
    scenes = np.arange(300) % 12
    for i in range(300):
        like = (scenes == scenes[i]) & (np.arange(300) != i)
        assert {g for j, g in found if j == i} == set(group[like].tolist())
    assert all(scenes[p.first] == scenes[p.second] for p in pairs)
    assert len(pairs) < 1000


def test_the_hash_keeps_to_the_picture():
    assert perceptual_hash(thumbnail(scene(1)[..., 0])) == perceptual_hash(
        thumbnail(cv2.resize(scene(1)[..., 0], (256, 144), interpolation=cv2.INTER_CUBIC))
    )
    far = perceptual_hash(thumbnail(scene(1)[..., 0])) ^ perceptual_hash(
        thumbnail(scene(2)[..., 0])
    )
    assert far.bit_count() > 16


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


def test_real_neighbours_across_a_split_are_found(realdata):
    """CamVid cuts a drive between frames that are a second apart."""
    sets = {s: open_dataset(realdata / "camvid", s) for s in ("train", "test")}
    keep = {s: [i for i, n in enumerate(d.names) if "0001TP" in n] for s, d in sets.items()}
    entries = {s: [check_image(d, i) for i in keep[s]] for s, d in sets.items()}
    names = {s: [d.names[i] for i in keep[s]] for s, d in sets.items()}
    found = {f.kind: f for f in check_leaks(find_pairs(entries), entries, names)}
    assert "leak" not in found
    assert found["leak_near"].examples[0].startswith("test/0001TP_008550.jpg = train/0001TP_008520")


def test_real_labels_without_images_pass_with_a_note(realdata):
    d = open_dataset(realdata / "kitti_tracking", "0000")
    found = check_split(d, [check_image(d, i) for i in range(len(d))])
    assert [f.kind for f in found] == ["labels_alone"]
    assert verdict(found) == (
        True,
        "labels without images: of use to tune a tracker, nothing to train on",
    )


@pytest.mark.parametrize("side", [30_000, 65_000])
def test_an_image_that_would_fill_the_memory_is_not_decoded(tmp_path, side):
    path = tmp_path / "bomb.png"

    def chunk(kind, content):
        crc = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + crc

    header = side.to_bytes(4, "big") * 2 + bytes((1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""))
    assert "100 megapixels" in str(image_problem(path))
    with pytest.raises(InputError, match="megapixels"):
        read_mask(path)


def test_a_picture_that_opencv_refuses_is_told_as_unreadable(monkeypatch, tmp_path):
    def refuse(*_):
        raise cv2.error("pixels <= CV_IO_MAX_IMAGE_PIXELS")

    monkeypatch.setattr(cv2, "imread", refuse)
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(tmp_path / "a.jpg")


def test_labels_that_cannot_be_read_are_not_told_as_no_objects(made):
    made.labels["train", "a"] = [{"category": "car", "box2d": {"x1": 1}}]
    found = made.examine()
    assert "label_malformed" in found and "images_empty" not in found


def test_a_calibration_file_that_cannot_be_used_is_found(tmp_path):
    for name in ("000000", "000001"):
        write(tmp_path / f"training/image_2/{name}.png", scene(int(name), (124, 37)))
        labels = tmp_path / f"training/label_2/{name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("Car 0 0 1.5 10 12 30 33 1.5 1.6 3.7 1 1.7 20 1.5\n")
    calib = tmp_path / "training/calib"
    calib.mkdir()
    good = "P2: 700 0 60 45 0 700 18 0.2 0 0 1 0.003\n"
    (calib / "000000.txt").write_text(good)
    (calib / "000001.txt").write_text(good.replace("700", "nan"))
    d = open_dataset(tmp_path, "train")
    found = check_split(d, [check_image(d, i) for i in range(len(d))])
    bad = [f for f in found if f.kind == "calib_unusable"]
    assert len(bad) == 1 and bad[0].count == 1 and "000001.txt" in bad[0].examples[0]
