"""KITTI object and tracking, and Pascal VOC, whole and damaged."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data.datasets import list_splits, open_dataset, screen
from data.errors import InputError

PICTURE = cv2.imencode(".png", np.zeros((37, 124, 3), np.uint8))[1].tobytes()
CAR = "Car 0.25 1 1.5 10 12 30 33 1.5 1.6 3.7 1 1.7 20 1.5"


def build(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def kitti(root, text, **more):
    files = {"training/image_2/000000.png": PICTURE, "training/label_2/000000.txt": text}
    return build(root, files | more)


def test_kitti_attributes_leave_out_what_is_not_said(tmp_path):
    void = "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10"
    boxes = open_dataset(kitti(tmp_path, f"{CAR}\n{void}\n"), "x").read_boxes(0)
    assert boxes.attributes[0]["occluded"] == 1 and boxes.attributes[0]["z_m"] == 20
    assert boxes.attributes[1] == {}
    assert boxes.ignore.tolist() == [False, True]


@pytest.mark.parametrize("line", ["Car 0 0", "Car 0 0 x 1 2 3 4 5 6 7 8 9 10 11", CAR[:20] + "nan"])
def test_a_bad_kitti_line_is_named_and_the_rest_read(tmp_path, line):
    d = open_dataset(kitti(tmp_path, f"{CAR}\n{line}\n"), "x")
    s = d.load(0)
    assert len(s.xyxy) == 1 and not s.labelled_classes.any()
    assert "000000.txt:2: " in s.problems[0]
    with pytest.raises(InputError, match=r"000000\.txt:2"):
        open_dataset(tmp_path, "x", strict=True).load(0)


def test_kitti_calibration_files_are_found(tmp_path):
    root = kitti(tmp_path, CAR, **{"training/calib/000000.txt": "P2: 1\n"})
    assert open_dataset(root, "x").calibs == (root / "training/calib/000000.txt",)
    (root / "training/calib/000000.txt").unlink()
    assert open_dataset(root, "x").calibs == (None,)


def test_kittis_unlabelled_test_frames_are_not_taken_for_training_frames(tmp_path):
    lists = {"ImageSets/train.txt": "000000\n", "ImageSets/test.txt": "000000\n"}
    root = kitti(tmp_path, CAR, **lists, **{"testing/image_2/000000.png": PICTURE})
    assert open_dataset(root, "train").tasks == ("detection",)
    test = open_dataset(root, "test")
    assert test.tasks == () and "testing" in test.images[0].parts


def test_other_names_in_kittis_layout_label_what_they_say(tmp_path):
    d = open_dataset(kitti(tmp_path, CAR + "\n" + CAR.replace("Car", "traffic_light")), "x")
    assert d.labelled == ("vehicle", "traffic_light")


def tracking(root, text, images=("000000.png", "000001.png")):
    return build(
        root,
        {
            "training/label_02/0004.txt": text,
            "training/calib/0004.txt": "P2: 1\n",
            **{f"training/image_02/0004/{n}": PICTURE for n in images},
        },
    )


def test_tracking_gives_boxes_with_identities_frame_by_frame(tmp_path):
    root = tracking(tmp_path, f"0 7 {CAR}\n1 7 {CAR}\n1 -1 DontCare {CAR[4:]}\n")
    d = open_dataset(root, "0004", strict=True)
    assert d.names == ("0004/000000.png", "0004/000001.png")
    assert [len(d.read_boxes(i)) for i in range(2)] == [1, 2]
    assert [a.get("track_id") for a in d.read_boxes(1).attributes] == [7, None]
    assert d.frame_attributes(1) == {"drive": "0004", "frame": 1}
    assert d.calibs[0].name == "0004.txt"
    assert d.load(1).ignore.tolist() == [False] + [True] * 5


def test_tracking_without_images_is_its_labels(tmp_path):
    d = open_dataset(tracking(tmp_path, f"0 7 {CAR}\n3 7 {CAR}\n", images=()), "all")
    assert len(d) == 4 and not len(d.read_boxes(2))
    with pytest.raises(InputError, match="image missing; its labels alone can be used"):
        d.load(0)
    with pytest.raises(InputError, match="no label states its size"):
        d.size_px(0)
    assert d.labels(0, (124, 37)).xyxy.tolist() == [[10, 12, 30, 33]]


def test_bad_tracking_lines_are_named_and_never_make_a_million_frames(tmp_path):
    text = f"99999999999 1 {CAR}\nx 1 {CAR}\n0 1 Car 1\n1 7 {CAR}\n5 7 {CAR}\n"
    d = open_dataset(tracking(tmp_path, text), "0004")
    assert len(d) == 2
    assert [str(p).split(": ")[0].rpartition("/")[2] for p in d.problems] == [
        "0004.txt:1", "0004.txt:2", "0004.txt",
    ]  # fmt: skip
    assert "frame 5" in str(d.problems[2])
    assert "0004.txt:3" in d.load(0).problems[0]


def test_real_tracking_labels_agree_with_their_files(realdata):
    root = realdata / "kitti_tracking"
    drives = list_splits(root)
    whole = open_dataset(root, "all", strict=True)
    assert whole.labelled == ("vehicle", "person")
    total = 0
    for drive in drives:
        d = open_dataset(root, drive, strict=True)
        lines = (root / f"training/label_02/{drive}.txt").read_text().splitlines()
        assert sum(len(d.read_boxes(i)) for i in range(len(d))) == len(lines)
        total += len(d)
        assert d.calibs[0].is_file()
    assert len(whole) == total
    first = open_dataset(root, "0004").read_boxes(0)
    assert np.allclose(first.xyxy[0], [70.366122, 182.845934, 271.944034, 250.692143])
    assert first.attributes[0]["track_id"] == 0


XML = """<annotation><source><database>{database}</database></source>
<size><width>{width}</width><height>37</height><depth>3</depth></size>
<object><name> Car </name><pose>Left</pose>
<truncated>1</truncated><difficult>{difficult}</difficult>
<bndbox><xmin>{xmin}</xmin><ymin>2</ymin><xmax>30</xmax><ymax>35</ymax></bndbox>
<part><name>wheel</name><bndbox><xmin>1</xmin></bndbox></part></object></annotation>"""


def xml(database="Unknown", width=124, difficult=0, xmin=1):
    return XML.format(database=database, width=width, difficult=difficult, xmin=xmin)


def voc(root, text, **more):
    files = {
        "JPEGImages/a.png": PICTURE, "JPEGImages/my b.png": PICTURE, "Annotations/a.xml": text,
        "ImageSets/Main/train.txt": "my b\r\na\n", "ImageSets/Main/car_train.txt": "a  1\n",
    }  # fmt: skip
    return build(root, files | more)


def test_voc_edges_are_taken_as_they_stand_but_pascals_own_count_from_one(tmp_path):
    d = open_dataset(voc(tmp_path / "own", xml()), "train", strict=True)
    assert d.names == ("my b.png", "a.png")  # in the order of the list
    assert d.read_boxes(1).xyxy.tolist() == [[1, 2, 30, 35]]
    assert d.read_boxes(1).attributes == ({"truncated": True, "difficult": False, "pose": "Left"},)
    assert d.class_names == ("Car",)
    pascal = open_dataset(voc(tmp_path / "p", xml("The VOC2007 Database")), "train")
    assert pascal.read_boxes(1).xyxy.tolist() == [[0, 1, 30, 35]]


def test_voc_lists_of_a_class_are_no_splits_and_an_image_without_xml_is_unlabelled(tmp_path):
    root = voc(tmp_path, xml())
    assert list_splits(root) == ("train",)
    d = open_dataset(root, "train")
    assert d.read_boxes(0) is None and not d.load(0).labelled_classes.any()


def test_voc_difficult_objects_are_ignored(tmp_path):
    assert open_dataset(voc(tmp_path, xml(difficult=1)), "train").load(1).ignore.all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<annotation><object>", "not readable as XML"),
        (xml(xmin="left"), "four numbers"),
        (xml(xmin="inf"), "four numbers"),
        (xml().replace("<name> Car </name>", ""), "needs a name"),
        (xml(width=640), "labels are for 640x37, the image is 124x37"),
        (xml(xmin=60), "without a size"),
    ],
)
def test_a_bad_annotation_file_is_named(tmp_path, text, says):
    root = voc(tmp_path, text)
    s = open_dataset(root, "train").load(1)
    assert len(s.problems) == 1 and says in s.problems[0] and "a.xml" in s.problems[0]
    with pytest.raises(InputError, match=says):
        open_dataset(root, "train", strict=True).load(1)


def test_a_list_must_not_lead_out_of_the_set(tmp_path):
    root = voc(tmp_path, xml(), **{"ImageSets/Main/train.txt": "../../secret\na\n"})
    d = open_dataset(root, "train")
    assert d.names == ("a.png",) and "secret" in str(d.problems[0])


def test_xml_without_an_image_and_a_listed_image_that_is_missing_are_counted(tmp_path):
    root = voc(tmp_path, xml(), **{"ImageSets/Main/train.txt": "a\ngone\n"})
    assert [p.kind for p in screen(open_dataset(root, "train"))[1]] == ["image_missing"]
    flat = build(tmp_path / "flat", {"a.png": PICTURE, "a.xml": xml(), "b.xml": xml()})
    assert [p.kind for p in open_dataset(flat, "x").problems] == ["image_missing"]


@pytest.mark.parametrize(
    ("word", "hard"),
    [("Unspecified", False), ("no", False), ("0", False), ("1", True), ("True", True)],
)
def test_voc_flags_are_set_by_yes_alone(tmp_path, word, hard):
    d = open_dataset(voc(tmp_path, xml(difficult=word)), "train")
    assert d.read_boxes(1).ignore.tolist() == [hard]


def test_voc_parts_are_counted_and_cvats_attributes_kept(tmp_path):
    said = "".join(
        f"<attribute><name>{k}</name><value>{v}</value></attribute>"
        for k, v in (("rotation", "0.0"), ("difficult", "true"))
    )
    text = xml().replace("<part>", f"<attributes>{said}</attributes><part>")
    boxes = open_dataset(voc(tmp_path, text), "train").read_boxes(1)
    assert boxes.others == 1 and not boxes.ignore.any()
    assert boxes.attributes[0].items() >= {"rotation": "0.0", "difficult": False}.items()


def test_kittis_score_is_kept(tmp_path):
    for text, said in ((f"{CAR} 0.87", {"score": 0.87}), (f"{CAR} x", {}), (CAR, {})):
        d = open_dataset(kitti(tmp_path / text[-1], f"{text}\n"), "train")
        more = d.read_boxes(0).attributes[0]
        assert {k: more[k] for k in more if k == "score"} == said
