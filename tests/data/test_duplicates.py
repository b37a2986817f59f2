"""Pictures that show the same, within a split and between splits."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data import duplicates
from data.checks import SPOILS, WARN, Pair, check_leaks, find_pairs
from data.datasets import open_dataset
from data.duplicates import Alike, find_alike, perceptual_hash, thumbnail
from data.image_checks import Entry, check_image

SPLITS = ((0, "train"), (1, "val"))


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
    made.write(made.image("val", "b"), changed(made.scene(0), how), [cv2.IMWRITE_JPEG_QUALITY, 60])
    made.mask("val", "b").unlink()
    f = made.examine()["leak"]
    assert (f.severity, f.split, f.count) == (SPOILS, "val", 1)
    assert f.examples[0].startswith("val/b.jpg = train/a.jpg")


def test_pictures_of_different_scenes_are_no_leak(made):
    for n in range(60):
        made.write(made.image("train" if n % 2 else "val", f"x{n}"), made.scene(100 + n))
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
    entries = {s: [Entry((128, 72), digest=bytes([k, i])) for i in range(2)] for k, s in SPLITS}
    pairs = [
        Pair(("train", 0), ("val", 0), Alike(0, 2, 0, 1.0, True)),
        Pair(("train", 1), ("val", 0), Alike(1, 2, 12, 0.95, False)),
        Pair(("train", 1), ("val", 1), Alike(1, 3, 12, 0.95, False)),
    ]
    found = check_leaks(pairs, entries, {s: ("a", "b") for _, s in SPLITS})
    assert [(f.kind, f.count, f.split) for f in found] == [
        ("leak", 1, "val"),
        ("leak_near", 1, "val"),
    ]
    assert found[1].examples == ("val/b = train/b (correlation 0.950)",)


def test_pictures_that_share_half_of_what_they_show_are_not_alike(scene):
    half = [cv2.addWeighted(scene(1), 0.5, scene(k), 0.5, 0)[..., 0] for k in (2, 3, 4)]
    assert not find_alike(np.array([thumbnail(h) for h in half]), np.arange(3))


def test_every_picture_with_a_like_one_is_in_a_pair(monkeypatch, scene):
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


def test_the_hash_keeps_to_the_picture(scene):
    assert perceptual_hash(thumbnail(scene(1)[..., 0])) == perceptual_hash(
        thumbnail(cv2.resize(scene(1)[..., 0], (256, 144), interpolation=cv2.INTER_CUBIC))
    )
    far = perceptual_hash(thumbnail(scene(1)[..., 0])) ^ perceptual_hash(
        thumbnail(scene(2)[..., 0])
    )
    assert far.bit_count() > 16


def test_real_neighbours_across_a_split_are_found(realdata):
    """CamVid cuts a drive between frames that are a second apart."""
    sets = {s: open_dataset(realdata / "camvid", s) for s in ("train", "test")}
    keep = {s: [i for i, n in enumerate(d.names) if "0001TP" in n] for s, d in sets.items()}
    entries = {s: [check_image(d, i) for i in keep[s]] for s, d in sets.items()}
    names = {s: [d.names[i] for i in keep[s]] for s, d in sets.items()}
    found = {f.kind: f for f in check_leaks(find_pairs(entries), entries, names)}
    assert "leak" not in found
    assert found["leak_near"].examples[0].startswith("test/0001TP_008550.jpg = train/0001TP_008520")


def test_a_like_hash_alone_does_not_make_pictures_near(scene):
    thumb = thumbnail(cv2.cvtColor(scene(4), cv2.COLOR_BGR2GRAY)).astype(np.float32)
    grain = np.random.default_rng(0).normal(0, 1, thumb.shape)  # which the hash does not see

    def pair(share):
        other = np.clip(thumb + share * thumb.std() * grain, 0, 255).round()
        return find_alike(np.stack([thumb, other]).astype(np.uint8), np.array([0, 1]))

    (near,) = pair(0.3)
    assert not near.same and 0.93 <= near.correlation < 0.97
    assert near.bits <= duplicates.NEAR_BITS and pair(0.6) == []
