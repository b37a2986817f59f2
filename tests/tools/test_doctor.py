"""The doctor command: exit codes, files and sheets."""

from __future__ import annotations

import json
from argparse import Namespace

import cv2
import numpy as np
import pytest

from data.datasets import open_dataset
from data.errors import InputError
from data.image_checks import check_image
from tools.doctor import run_doctor
from tools.view.draw import CLASS_COLOURS, DRIVABLE
from tools.view.sheet import Mark, Picture, choose_frames, draw_sheet

SIZE = (160, 90)
OPTIONS = dict(layout=None, split=None, names=[], sheet=6, augment=False, strict=False, fast=False)


def run(path, out, **options):
    return run_doctor(Namespace(**{**OPTIONS, "path": path, "out": out, **options}))


def scene(seed):
    patches = np.random.default_rng(seed).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(patches, SIZE, interpolation=cv2.INTER_CUBIC)


def voc(name, *box):
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


@pytest.fixture
def folder(tmp_path):
    """A set in the VOC layout: eight frames to train on, two to score on."""
    root = tmp_path / "set"
    for split, count in (("train", 8), ("test", 2)):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for k in range(count):
            cv2.imwrite(str(root / f"images/{split}/{k}.jpg"), scene(100 * (split == "test") + k))
            objects = "".join(voc("vehicle", 10 + 5 * j, 20, 40 + 5 * j, 60) for j in range(4))
            path = root / f"labels/{split}/{k}.xml"
            path.write_text(f"<annotation>{objects}</annotation>")
    return root


def label(folder, text, name="train/3"):
    (folder / f"labels/{name}.xml").write_text(f"<annotation>{text}</annotation>")


def test_a_sound_set_passes_with_figures_and_sheets(folder, tmp_path, capfd):
    out = tmp_path / "out"
    assert run(folder, out) == 0
    r = json.loads((out / "doctor.json").read_text())
    assert list(r) == ["layout", "root", "fast", "splits", "findings", "verdict", "files"]
    assert r["layout"] == "voc"
    assert {s: v["images"] for s, v in r["splits"].items()} == {"train": 8, "test": 2}
    assert r["splits"]["train"]["classes"]["vehicle"]["boxes"] == 32
    assert r["splits"]["train"]["ours"]["vehicle"] == 32
    assert r["splits"]["train"]["sizes"] == {"160x90": 8}
    assert r["verdict"]["fit"]
    assert sorted(p.name for p in out.iterdir()) == sorted(r["files"])
    for name in ("sheet_train.png", "sheet_test.png"):
        assert cv2.imread(str(out / name)).shape[1] == 1600
    assert capfd.readouterr().out.splitlines()[-1].startswith("verdict: nothing found")


def test_an_unknown_class_ends_with_1_and_mapping_it_with_0(folder, tmp_path, capfd):
    label(folder, voc("vehicl", 10, 20, 40, 60))
    assert run(folder, tmp_path / "out") == 1
    text = capfd.readouterr().out
    assert "did you mean 'vehicle'? --class vehicl=vehicle" in " ".join(text.split())
    assert text.splitlines()[-1].startswith("verdict: NOT fit to train on as it is: class_unknown")
    assert run(folder, tmp_path / "out", names=["vehicl=vehicle"]) == 0


def test_a_malformed_label_goes_on_and_is_counted_or_stops_when_strict(folder, tmp_path):
    label(folder, "<object><name>vehicle</name></object>" + voc("vehicle", 10, 20, 40, 60))
    out = tmp_path / "out"
    assert run(folder, out) == 1
    found = json.loads((out / "doctor.json").read_text())["findings"]
    bad = next(f for f in found if f["kind"] == "label_malformed")
    assert (bad["count"], bad["split"], bad["severity"]) == (1, "train", "spoils")
    assert "3.xml" in bad["examples"][0]
    with pytest.raises(InputError, match=r"3\.xml"):
        run(folder, tmp_path / "strict", strict=True)


def test_a_leak_is_shown_side_by_side_and_its_sheet_goes_when_mended(folder, tmp_path):
    out = tmp_path / "out"
    stolen = cv2.resize(scene(2), (320, 180))
    cv2.imwrite(str(folder / "images/test/0.jpg"), stolen)
    label(folder, voc("vehicle", 10, 20, 40, 60), "test/0")
    assert run(folder, out) == 1
    found = json.loads((out / "doctor.json").read_text())["findings"]
    leak = next(f for f in found if f["kind"] == "leak")
    assert leak["examples"][0].startswith("test/0.jpg = train/2.jpg")
    assert (out / "leaks.png").is_file()
    cv2.imwrite(str(folder / "images/test/0.jpg"), scene(500))
    (out / "mine.png").write_bytes(b"kept")
    assert run(folder, out) == 0
    assert not (out / "leaks.png").exists()
    assert (out / "mine.png").exists()


def test_fast_decodes_nothing_and_says_so(folder, tmp_path, capfd):
    (folder / "images/test/0.jpg").write_bytes((folder / "images/train/2.jpg").read_bytes())
    assert run(folder, tmp_path / "out", fast=True, sheet=0) == 0
    assert "--fast: headers and boxes alone" in capfd.readouterr().out
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["doctor.json"]


def test_one_split_alone_and_one_that_is_not_there(folder, tmp_path):
    out = tmp_path / "out"
    assert run(folder, out, split=["test"]) == 0
    assert list(json.loads((out / "doctor.json").read_text())["splits"]) == ["test"]
    with pytest.raises(InputError, match="did you mean 'test'"):
        run(folder, out, split=["tset"])


def test_a_split_that_cannot_be_opened_is_a_finding(folder, tmp_path, capfd):
    for path in (folder / "images/test").iterdir():
        path.unlink()
    assert run(folder, tmp_path / "out") == 1
    assert "split_unreadable" in capfd.readouterr().out


def test_an_unreadable_image_is_drawn_as_such(folder, tmp_path):
    path = folder / "images/train/5.jpg"
    path.write_bytes(path.read_bytes()[:200])
    out = tmp_path / "out"
    assert run(folder, out) == 1
    assert (out / "sheet_train.png").is_file()
    assert json.loads((out / "doctor.json").read_text())["splits"]["train"]["unusable_images"] == 1


def test_the_same_set_gives_the_same_files(folder, tmp_path):
    for k in "ab":
        run(folder, tmp_path / k)
    for name in ("doctor.json", "sheet_train.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_augmented_frames_are_drawn(folder, tmp_path):
    pytest.importorskip("albumentations")
    assert run(folder, tmp_path / "out", augment=True) == 0
    assert cv2.imread(str(tmp_path / "out/augmented.png")).shape[1] == 1600


def test_names_with_brackets_are_not_taken_for_markup(folder, tmp_path, capfd):
    label(folder, voc("[red]x[/]", 10, 20, 40, 60))
    assert run(folder, tmp_path / "out") == 1
    assert "'[red]x[/]'" in capfd.readouterr().out


def test_frames_with_trouble_come_first_and_every_class_is_shown(folder):
    label(folder, voc("vehicle", 10, 20, 10, 60), "train/6")
    label(folder, voc("bike", 10, 20, 40, 60), "train/4")
    d = open_dataset(folder, "train")
    entries = [check_image(d, i) for i in range(len(d))]
    chosen = choose_frames(entries, 4)
    assert chosen[0] == 6
    assert 4 in chosen
    assert len(set(chosen)) == 4
    assert sorted(choose_frames(entries, 100)) == list(range(8))


def test_a_sheet_shows_boxes_and_surface_in_their_colours():
    image = np.full((90, 160, 3), 60, np.uint8)
    drivable = np.zeros((90, 160), np.uint8)
    drivable[60:] = 1
    marks = (Mark((20, 10, 80, 50), "car", CLASS_COLOURS[0]),)
    sheet = draw_sheet("x", [Picture(image, "a", marks, drivable)], columns=1)
    assert (sheet == np.array(CLASS_COLOURS[0], np.uint8)).all(axis=2)[68:].sum() > 1000
    tinted = np.round(60 * 0.65 + 0.35 * np.array(DRIVABLE)).astype(int)
    near = np.abs(sheet.astype(int) - tinted).max(axis=2) <= 1
    assert near[700:940, 100:1500].all()  # the lower third of the picture, and no more
    assert not near[90:600].any()
    plain = draw_sheet("x", [Picture(None, "a", notes="cannot be read")])
    assert plain.shape[1] == 1600


def test_a_class_mapped_by_hand_must_be_one_of_the_set(folder, tmp_path):
    with pytest.raises(InputError, match="class 'tuktuk' is none of"):
        run(folder, tmp_path / "out", names=["tuktuk=two_wheeler"])
