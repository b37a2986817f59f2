"""Whatever stands in a label file, a reader answers with labels, problems or one clear line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.datasets import open_dataset
from data.errors import InputError

PICTURE = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()

_keys = st.sampled_from(
    ["images", "annotations", "categories", "id", "file_name", "image_id", "category_id", "bbox",
     "name", "labels", "category", "box2d", "x1", "y1", "x2", "y2", "attributes", "frames",
     "config", "segmentation", "iscrowd", "width", "height"]
)  # fmt: skip
_values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["a.png", "car", 1, [1, 2, 3, 4], 10**400])
)  # fmt: skip
anything = st.recursive(
    _values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=6),
    max_leaves=20,
)
_image = st.fixed_dictionaries(
    {}, optional={"id": _values, "file_name": _values, "width": _values, "height": _values}
)
_fields = ("id", "image_id", "category_id", "bbox", "category", "box2d", "segmentation",
           "attributes", "iscrowd")  # fmt: skip
_label = st.fixed_dictionaries({}, optional=dict.fromkeys(_fields, _values | anything))
coco = st.fixed_dictionaries(
    {"images": st.lists(_image | _values, max_size=3)},
    optional={
        "annotations": st.lists(_label | _values, max_size=4) | _values,
        "categories": st.lists(_label | _values, max_size=3) | _values,
    },
)
bdd = st.lists(
    st.fixed_dictionaries(
        {"name": st.just("a.png") | _values},
        optional={"labels": st.lists(_label, max_size=4) | anything, "attributes": anything},
    )
    | _values,
    max_size=3,
)
_word = st.sampled_from(["0", "1", "-1", "Car", "0.5", "nan", "1e999", "1.5", "99999999999", ""])
lines = st.lists(st.lists(_word | st.text(max_size=4), max_size=18).map(" ".join), max_size=4).map(
    "\n".join
)
xml = st.lists(
    st.sampled_from(
        ["<object>", "</object>", "<name>car</name>", "<bndbox>", "</bndbox>", "<xmin>1</xmin>",
         "<ymin>x</ymin>", "<xmax>30</xmax>", "<ymax>40</ymax>", "<ymin>2</ymin>", "<size>",
         "</size>", "<width>64</width>", "<height>1e999</height>", "<!", "&", "</annotation>"]
    ),
    max_size=14,
).map(lambda parts: "<annotation>" + "".join(parts) + "</annotation>")  # fmt: skip
yaml = st.lists(
    st.sampled_from(
        ["train: images/train", "names: [car]", "names: {0: car}", "names: {x: y}", "path: ..",
         "train: [images/train, 3]", "names:", "- a", "  b: &c", "nc: 1", "kpt_shape: 3", "{", "%",
         "val: x", "path: 3", "train: ''", "? [a]", "1: images/train"]
    ),
    max_size=5,
).map("\n".join)  # fmt: skip

CASES = {
    "coco": (coco.map(json.dumps), "annotations/instances_train.json", "images/train/a.png"),
    "coco of anything": (
        anything.map(json.dumps), "annotations/instances_train.json", "train/a.png",
    ),
    "bdd100k": (bdd.map(json.dumps), "labels/det_20/det_train.json", "images/100k/train/a.png"),
    "bdd100k of anything": (
        anything.map(json.dumps), "labels/det_20/det_train.json", "images/100k/train/a.png",
    ),
    "kitti": (lines, "training/label_2/a.txt", "training/image_2/a.png"),
    "kitti_tracking": (lines, "training/label_02/train.txt", "training/image_02/train/000000.png"),
    "yolo": (lines, "labels/train/a.txt", "images/train/a.png"),
    "yolo with yaml": (yaml, "data.yaml", "images/train/a.png"),
    "voc": (xml, "Annotations/a.xml", "JPEGImages/a.png"),
    "voc of anything": (st.binary(max_size=40), "Annotations/a.xml", "JPEGImages/a.png"),
}  # fmt: skip


@pytest.mark.parametrize("which", CASES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_reader_falls_over_a_bad_file(which, data):
    contents, label, image = CASES[which]
    content = data.draw(contents)
    with tempfile.TemporaryDirectory() as folder:
        for name, value in ((label, content), (image, PICTURE)):
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
            path.write_bytes(raw)
        try:
            d = open_dataset(folder, "train", which.split()[0])
            for i in range(len(d)):
                labels = d.labels(i, (64, 48))
                assert np.isfinite(labels.xyxy).all()
                assert all("\n" not in str(p) for p in (*labels.problems, *d.problems))
                d.frame_attributes and d.frame_attributes(i)
        except InputError as e:
            assert "\n" not in str(e)
