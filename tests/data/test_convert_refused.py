"""What cannot be converted whole is left out and counted, or refused."""

from __future__ import annotations

import pytest

from data.convert import convert
from data.datasets import Boxes, Dataset, open_dataset
from data.errors import InputError
from data.label_writers import WRITERS, Item
from tests.data.set_maker import PICTURE, as_datasets, box, one_image, read


def test_an_image_whose_labels_cannot_be_read_whole_stays_behind(tmp_path):
    convert(as_datasets(tmp_path, ("car",), {"train": {"a.png": box(), "b.png": box()}}),
            tmp_path / "kitti", "kitti")  # fmt: skip
    with (tmp_path / "kitti/training/label_2/a.txt").open("a") as f:
        f.write("car 1 2 3\n")
    d = open_dataset(tmp_path / "kitti", "train")
    result = convert([d], tmp_path / "out", "coco")
    assert result.images == {"train": 1}
    assert [p.kind for p in result.left_out] == ["label_malformed", "image_left_out"]
    with pytest.raises(InputError, match=r"a\.txt:2"):
        convert(read(tmp_path / "kitti", "kitti", ["train"]), tmp_path / "strict", "coco")


def test_an_image_without_labels_is_not_turned_into_one_without_objects(tmp_path):
    for to, kept in (("coco", 1), ("yolo", 1), ("voc", 2), ("kitti", 2), ("bdd100k", 2)):
        folder = tmp_path / to
        source = as_datasets(folder, ("car",), {"train": {"a.png": box(), "b.png": None}})
        result = convert(source, folder / "out", to)
        assert result.images == {"train": kept}
        back = open_dataset(folder / "out", "train")
        assert len(back) == kept
        assert [back.read_boxes(i) is None for i in range(kept)] == [False, True][:kept]


@pytest.mark.parametrize(
    ("to", "splits", "says"),
    [
        ("yolo", {"train": ("a.png", "a.JPG")}, "would share one label file"),
        ("voc", {"train": ("a.png",), "val": ("a.png",)}, "one split at a time"),
        ("kitti", {"train": ("a.png",), "val": ("a.JPG",)}, "one split at a time"),
    ],
)
def test_images_that_would_share_a_label_file_are_refused(tmp_path, to, splits, says):
    made = {s: {n: box() for n in names} for s, names in splits.items()}
    with pytest.raises(InputError, match=says):
        convert(as_datasets(tmp_path, ("car",), made), tmp_path / "out", to)
    assert convert(as_datasets(tmp_path, ("car",), made), tmp_path / "coco", "coco").boxes == 2


def test_class_names_that_kitti_would_mix_up_are_refused(tmp_path):
    d = one_image(tmp_path, box(), ("car", "a b", "a_b"))
    with pytest.raises(InputError, match="'a b' and 'a_b' are one in KITTI"):
        convert(d, tmp_path / "out", "kitti")


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "b/../../a.png", ".a.png", "a\nb.png"])
def test_names_never_lead_out_of_the_folder(tmp_path, name):
    d = Dataset("made", tmp_path, "train", (name,), (tmp_path / "x.png",), ("detection",),
                read_boxes=lambda i: box(), class_names=("car",))  # fmt: skip
    (tmp_path / "x.png").write_bytes(PICTURE)
    for to in WRITERS:
        with pytest.raises(InputError, match=r"no image can be converted; first: .*left out"):
            convert([d], tmp_path / "out", to)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("split", ["../x", "a/b", "", ".hidden", "names"])
def test_splits_must_be_plain_names(tmp_path, split):
    d = Dataset("made", tmp_path, split, (), (), ("detection",), read_boxes=lambda i: None)
    with pytest.raises(InputError, match="expected a plain name"):
        convert([d], tmp_path / "out", "coco")


def test_labels_made_for_another_size_stay_behind(tmp_path):
    b = box()
    wrong = Boxes(b.xyxy, b.names, b.ignore, size_px=(640, 480))
    d = as_datasets(tmp_path, ("car",), {"train": {"a.png": wrong, "b.png": b}})
    with pytest.raises(InputError, match="labels are for 640x480"):
        convert(d, tmp_path / "out", "yolo")


def test_yolo_needs_the_size_of_images(tmp_path):
    item = Item("a.png", tmp_path / "a.png", None, box(), {})
    with pytest.raises(InputError, match="needs the image's size"):
        WRITERS["yolo"](tmp_path, {"train": [item]}, ["car"])
