"""Boxes go from format to format and back, and come home as they were."""

from __future__ import annotations

import itertools
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.convert import convert
from data.datasets import Boxes, open_dataset
from data.datasets.files import clean_name
from data.errors import InputError
from data.label_writers import WRITERS
from tests.data.set_maker import PICTURE, as_datasets, box, one_image, read

SIZE = (64, 48)
PAIRS = list(itertools.product(WRITERS, WRITERS))
EXACT_PX = {"yolo": 1e-6, "coco": 1e-13}  # x + width may round in the last bit; 0 for others
VOID = ("Misc", "DontCare", "other person", "other vehicle", "trailer")  # ignored by name

_letters = st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\ufeff")
_parts = st.text(_letters, min_size=1, max_size=6).filter(lambda t: t.strip() and t[0] != ".")
file_names = st.builds(
    lambda parts, suffix: "/".join(parts) + suffix,
    st.lists(_parts | st.sampled_from(["a b", "ü", "ndx.jpg", "日本 1", "x\\y", "-1"]), min_size=1,
             max_size=2),
    st.sampled_from([".png", ".JPG"]),
)  # fmt: skip
class_names = (
    st.sampled_from(["car", "traffic light", "Ampel (rot)", "no", "007", "行人", "a,b: c", "<&>"])
    | st.text(min_size=1, max_size=8).map(clean_name)
).filter(lambda n: n and n not in VOID)
shares = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1 / 3, 0.1])


@st.composite
def boxes(draw, classes):
    rows, names, ignore, attributes = [], [], [], []
    for _ in range(draw(st.integers(0, 4))):
        x1, x2 = sorted((draw(shares), draw(shares)))
        y1, y2 = sorted((draw(shares), draw(shares)))
        if x2 - x1 > 1e-3 and y2 - y1 > 1e-3:
            rows.append([x1 * SIZE[0], y1 * SIZE[1], x2 * SIZE[0], y2 * SIZE[1]])
            names.append(draw(st.sampled_from(classes)))
            ignore.append(draw(st.booleans()))
            flags = {"occluded": draw(st.booleans()), "truncated": draw(st.booleans())}
            attributes.append(flags if draw(st.booleans()) else {})
    return Boxes(np.array(rows), tuple(names), np.array(ignore, bool), tuple(attributes))


@st.composite
def sets(draw):
    """Class names, and by split the boxes by image name; label files are never shared."""
    classes = draw(
        st.lists(class_names, min_size=1, max_size=4, unique_by=lambda n: n.replace(" ", "_"))
    )
    names = draw(
        st.lists(file_names, min_size=1, max_size=4, unique_by=lambda n: n.rpartition(".")[0])
    )
    names = [n for n in names if not any(m.startswith(f"{n}/") for m in names)]
    cut = draw(st.integers(0, len(names)))
    split = {"train": names[:cut], "val part": names[cut:]}
    return tuple(classes), {
        s: {n: draw(boxes(classes)) for n in mine} for s, mine in split.items() if mine
    }


def compare(got, expected, through):
    """Images, boxes, classes and flags agree, as far as the formats gone through hold them."""
    for d, e in zip(got, expected, strict=True):
        assert sorted(d.names) == sorted(e.names)
        assert tuple(c for c in d.class_names if c in e.class_names) == e.class_names
        for i, name in enumerate(e.names):
            a, b = e.read_boxes(i), d.read_boxes(d.names.index(name))
            keep = ~a.ignore if "yolo" in through else np.ones(len(a), bool)
            off_px = max(EXACT_PX.get(t, 0) for t in through)
            np.testing.assert_allclose(b.xyxy, a.xyxy[keep], rtol=0, atol=off_px)
            np.testing.assert_array_equal(b.ignore, a.ignore[keep] & ("yolo" not in through))
            for k, j in enumerate(np.flatnonzero(keep)):
                if "kitti" not in through or not a.ignore[j]:
                    assert b.names[k] == a.names[j]
                if "yolo" not in through:
                    kept = {f: a.attributes[j][f] for f in ("occluded", "truncated")
                            if f in a.attributes[j]}  # fmt: skip
                    assert kept.items() <= b.attributes[k].items()


@pytest.mark.parametrize(("one", "other"), PAIRS)
@settings(max_examples=12, deadline=None, report_multiple_bugs=False)
@given(made=sets())
@example(
    made=(("b a", "b"), {"train": {"a b.png": Boxes(np.array([[0, 0, 64, 48]]), ("b",), [0])}})
)
def test_there_and_back(one, other, made):
    classes, splits = made
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        source = as_datasets(folder, classes, splits)
        convert(source, folder / "one", one)
        first = read(folder / "one", one, splits)
        compare(first, source, {one})
        convert(first, folder / "two", other)
        second = read(folder / "two", other, splits)
        compare(second, first, {other})
        convert(second, folder / "home", one)
        compare(read(folder / "home", one, splits), first, {one, other})


@pytest.mark.parametrize("to", WRITERS)
def test_pictures_come_along(tmp_path, to):
    source = as_datasets(tmp_path, ("car",), {"train": {"my dir/a b.png": box()}})
    for mode in ("link", "copy", "none"):
        out = tmp_path / mode
        convert(source, out, to, images=mode)
        found = [p for p in out.rglob("*") if p.suffix == ".png"]
        if mode == "none":
            assert not found
            continue
        assert found[0].read_bytes() == PICTURE
        assert found[0].samefile(source[0].images[0]) == (mode == "link")


def test_what_a_format_cannot_hold_is_counted(tmp_path):
    def lost(to, boxes):
        folder = tmp_path / f"{to}{len(list(tmp_path.iterdir()))}"
        return convert(one_image(folder, boxes), folder / "out", to).lost

    assert lost("yolo", box(ignore=True)) == {"areas to ignore": 1}
    assert lost("yolo", box((-5, 2, 30, 40))) == {"parts of boxes outside the image": 1}
    assert lost("yolo", box(occluded=True)) == {"attribute of boxes: occluded": 1}
    assert lost("kitti", box(ignore=True)) == {"the class of areas to ignore": 1}
    assert lost("kitti", box(pose="Left", occluded=2)) == {"attribute of boxes: pose": 1}
    assert lost("kitti", box(name="Misc")) == {
        "that 'Misc' counts: it is an area to ignore there": 1
    }
    assert lost("bdd100k", box(name="trailer")) == {
        "that 'trailer' counts: it is an area to ignore there": 1
    }
    assert lost("voc", box(truncated=0.3)) == {"degrees of 'truncated' (yes or no is kept)": 1}
    assert lost("voc", box(track_id=7)) == {"attribute of boxes: track_id": 1}
    for to in ("coco", "bdd100k"):
        assert lost(to, box(truncated=0.3, track_id=7, pose="Left")) == {}


def test_kitti_places_in_space_survive_coco_and_bdd100k(tmp_path):
    said = {"truncated": 0.25, "occluded": 2, "alpha": -1.57, "height_m": 1.5, "width_m": 1.6,
            "length_m": 3.7, "x_m": -2.5, "y_m": 1.7, "z_m": 20.125, "rotation_y": 1.5}  # fmt: skip
    d = one_image(tmp_path, box(name="Car", **said), ("Car",))
    for n, to in enumerate(("kitti", "coco", "bdd100k", "kitti")):
        convert(d, tmp_path / str(n), to)
        d = read(tmp_path / str(n), to, ["train"])
        assert d[0].read_boxes(0).attributes[0].items() >= said.items()


def test_coco_numbers_and_polygons_survive_bdd100k(tmp_path):
    polygon = [[1, 2, 30, 2, 30, 40]]
    table = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48, "license": 4}],
        "annotations": [{"id": 77, "image_id": 1, "category_id": 5, "bbox": [0.1, 0.2, 0.3, 0.7],
                         "area": 12.5, "iscrowd": 0, "segmentation": polygon}],
        "categories": [{"id": 5, "name": "car"}],
    }  # fmt: skip
    (tmp_path / "set/images").mkdir(parents=True)
    (tmp_path / "set/images/a.png").write_bytes(PICTURE)
    (tmp_path / "set/annotations.json").write_text(json.dumps(table))
    convert(read(tmp_path / "set", "coco", ["train"]), tmp_path / "bdd", "bdd100k")
    convert(read(tmp_path / "bdd", "bdd100k", ["train"]), tmp_path / "home", "coco")
    home = json.loads((tmp_path / "home/annotations/instances_train.json").read_text())
    assert home["annotations"][0] == table["annotations"][0] | {"category_id": 1}
    assert home["images"] == table["images"]


def test_our_classes_leave_out_what_is_none_of_them(tmp_path):
    d = one_image(
        tmp_path,
        Boxes(np.array([[1, 2, 30, 40]] * 3), ("Car", "dog", "stop sign"), np.zeros(3, bool)),
    )[0]
    mapped = {"Car": "vehicle", "dog": None, "stop sign": "traffic_sign"}
    d = replace(d, class_map=mapped, labelled=("vehicle", "person"), class_names=tuple(mapped))
    result = convert([d], tmp_path / "out", "coco", classes="ours")
    assert result.classes == ("vehicle", "person")
    back = open_dataset(tmp_path / "out", "train")
    assert back.read_boxes(0).names == ("vehicle",)
    assert back.labelled == ("vehicle", "person")
    assert len(result.lost) == 2


@pytest.mark.parametrize("to", WRITERS)
def test_areas_to_ignore_stay_so_in_our_classes(tmp_path, to):
    names = ("Car", "DontCare", "spaceship", "Pedestrian", "dog")
    rows = np.array([[1, 2, 30, 40], [5, 6, 20, 30], [30, 2, 60, 20], [2, 2, 9, 40], [1, 1, 9, 9]])
    boxes = Boxes(rows, names, np.array([0, 1, 0, 1, 0], bool))
    none = Boxes(rows[4:], names[4:], np.zeros(1, bool))
    d = as_datasets(tmp_path, names, {"train": {"a.png": boxes, "b.png": none}})[0]
    mapped = {"Car": "vehicle", "DontCare": None, "Pedestrian": "person", "dog": None}
    d = replace(d, class_map=mapped, labelled=("vehicle", "person"), strict=False)
    result = convert([d], tmp_path / "out", to, classes="ours")
    assert result.classes == ("vehicle", "person") and result.boxes == 4
    unknown = "class 'spaceship', unknown: an area to ignore (--class 'spaceship=CLASS' maps it)"
    lost = {unknown: 1, "class 'dog', none of ours (--class 'dog=CLASS' maps it)": 2}
    lost |= {"yolo": {"areas to ignore": 3}, "kitti": {"the class of areas to ignore": 1}}.get(
        to, {}
    )
    assert result.lost == lost

    def taught(dataset):
        n = dataset.labels(0, SIZE)
        rows = zip(n.xyxy.round(3).tolist(), n.class_id.tolist(), n.ignore.tolist(), strict=True)
        return {(*box, k, ignore) for box, k, ignore in rows if k < 2}  # vehicles and persons

    back, expected = taught(open_dataset(tmp_path / "out", "train", to)), taught(d)
    if to == "yolo":
        assert back == {row for row in expected if not row[-1]}
    elif to == "kitti":  # whose areas to ignore have no class
        assert back == expected | {(*row[:4], 0, True) for row in expected if row[-1]}
    else:
        assert back == expected


@pytest.mark.parametrize("to", WRITERS)
def test_real_boxes_come_out_the_same(realdata, tmp_path, to):
    source = open_dataset(realdata / "bdd100k_subset", "val", strict=True)
    result = convert([source], tmp_path, to)
    assert (result.images, result.boxes) == ({"val": 51}, 979)
    back = open_dataset(tmp_path, "val", strict=True)
    assert (back.layout, back.class_names, back.labelled) == (
        to, source.class_names, source.labelled,
    )  # fmt: skip
    for i, name in enumerate(source.names):
        a, b = source.read_boxes(i), back.read_boxes(back.names.index(name))
        np.testing.assert_allclose(b.xyxy, a.xyxy, rtol=0, atol=1e-6 if to == "yolo" else 0)
        assert b.names == a.names


@pytest.mark.parametrize("to", ["coco", "bdd100k"])
def test_real_kitti_labels_come_home_the_same(realdata, tmp_path, to):
    source = open_dataset(realdata / "kitti_object", "test", strict=True)
    convert([source], tmp_path / "there", to)
    convert([open_dataset(tmp_path / "there", "test", strict=True)], tmp_path / "home", "kitti")
    back = open_dataset(tmp_path / "home", "test", strict=True)
    for i, name in enumerate(source.names):
        a, b = source.read_boxes(i), back.read_boxes(back.names.index(name))
        np.testing.assert_array_equal(b.xyxy, a.xyxy)
        assert b.names == a.names
        assert b.attributes == a.attributes


def test_coco_numbers_its_annotations_from_1_and_keeps_the_ids_of_others(tmp_path):
    rows = np.array([[1, 2, 30, 40]] * 3)
    ids = ({"id": "0"}, {"id": "7"}, {"id": "7"})
    d = one_image(tmp_path, Boxes(rows, ("car",) * 3, np.zeros(3, bool), ids))
    convert(d, tmp_path / "out", "coco")
    table = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert [a["id"] for a in table["annotations"]] == [8, 7, 9]
    convert(read(tmp_path / "out", "coco", ["train"]), tmp_path / "home", "bdd100k")
    back = open_dataset(tmp_path / "home", "train").read_boxes(0)
    assert [a["id"] for a in back.attributes] == ["0", "7", "7"]


@pytest.mark.parametrize(
    ("name", "written"),
    [("images/x.png", "x.png"), ("images/images/x.png", "x.png"), ("a/images/b/x.png", None)],
)
def test_yolo_labels_of_pictures_in_a_folder_named_images_are_found(tmp_path, name, written):
    convert(one_image(tmp_path, box(), name=name), tmp_path / "out", "yolo")
    back = open_dataset(tmp_path / "out", "train", strict=True)
    assert back.names == (written or "a/pictures/b/x.png",)
    assert back.read_boxes(0).names == ("car",) and back.images[0].is_file()
    by_rule = str(back.images[0]).rpartition("images/")  # the last 'images' becomes 'labels'
    assert Path(f"{by_rule[0]}labels/{by_rule[2]}").with_suffix(".txt").is_file()
    two = {"train": {"x.png": box(), "images/x.png": box()}}
    with pytest.raises(InputError, match="would share one label file"):
        convert(as_datasets(tmp_path / "two", ("car",), two), tmp_path / "both", "yolo")


@pytest.mark.parametrize(
    ("splits", "keys"),
    [
        (("train2017", "val2017"), ("train", "val")),
        (("train", "valid", "testing"), ("train", "val", "test")),
        (("trainval", "train", "train_2"), ("trainval", "train", "train_2")),
        (("all", "default"), ("all", "default")),
    ],
)
def test_data_yaml_has_the_keys_that_ultralytics_reads(tmp_path, splits, keys):
    made = {s: {f"{s}.png": box()} for s in splits}
    convert(as_datasets(tmp_path, ("car",), made), tmp_path / "out", "yolo")
    lines = (tmp_path / "out/data.yaml").read_text().splitlines()
    assert lines[: len(splits)] == [f"{k}: images/{s}" for k, s in zip(keys, splits)]
    for key, split in zip(keys, splits):
        assert open_dataset(tmp_path / "out", key, strict=True).names == (f"{split}.png",)


def test_coco_keeps_the_numbers_of_images_and_classes(tmp_path):
    table = {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 64, "height": 48} for k in (91, 7)],
        "annotations": [{"id": 5, "image_id": 91, "category_id": 13, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 13, "name": "stop sign"}, {"id": 3, "name": "car"}],
    }
    (tmp_path / "set/images").mkdir(parents=True)
    for k in (91, 7):
        (tmp_path / f"set/images/{k}.png").write_bytes(PICTURE)

    def again(classes="own"):
        (tmp_path / "set/annotations.json").write_text(json.dumps(table))
        out = tmp_path / f"out {len(list(tmp_path.iterdir()))}"
        d = open_dataset(tmp_path / "set", "train")
        convert([replace(d, labelled=("vehicle",))], out, "coco", classes=classes)
        found = json.loads((out / "annotations/instances_train.json").read_text())
        return [i["id"] for i in found["images"]], found["categories"], found["annotations"]

    images, categories, (annotation,) = again()
    assert images == [91, 7] and categories == table["categories"]
    assert (annotation["image_id"], annotation["category_id"]) == (91, 13)
    assert again("ours")[1] == [{"id": 1, "name": "vehicle"}]
    table["images"][1]["id"] = "7"
    assert again()[0] == [1, 2]


def test_labels_that_are_no_boxes_are_counted(tmp_path):
    d = one_image(tmp_path, replace(box(), others=3))
    lost = convert(d, tmp_path / "out", "coco").lost
    assert lost == {"labels that are no objects' boxes (lines, areas, parts)": 3}


def test_scores_survive_kitti_and_frames_survive_bdd100k(tmp_path):
    d = one_image(tmp_path, box(score=0.25))
    convert(d, tmp_path / "kitti", "kitti")
    back = read(tmp_path / "kitti", "kitti", ["train"])[0]
    assert back.read_boxes(0).attributes[0] == {"score": 0.25}
    said = {"videoName": "v", "frameIndex": 4, "timestamp": 400, "url": "u", "weather": "rainy"}
    convert([replace(d[0], frame_attributes=lambda i: said)], tmp_path / "bdd", "bdd100k")
    assert read(tmp_path / "bdd", "bdd100k", ["train"])[0].frame_attributes(0) == said
    content = json.loads((tmp_path / "bdd/labels/det_20/det_train.json").read_text())
    (frame,) = content["frames"]
    assert frame["videoName"] == "v" and frame["attributes"] == {"weather": "rainy"}
