"""What ``evaluate`` writes beside the figures, its page in a browser, and ``compare``."""

from __future__ import annotations

import csv
import html.parser
import json
import shutil
import subprocess
from functools import partial

import cv2
import numpy as np
import pytest

from data.camera import Camera
from data.types import Sample
from tools.cli import main
from tools.evaluation import brightness, label_distances
from tools.view import page as p
from tools.view.svg import Line, Mark, line_chart, mark_chart

WIDTH, HEIGHT = 160, 120
EVIL = "<script>alert(1)</script>"


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Ten frames of BDD100K's layout with two cars, drivable area and a line; half at night; the
    weather is a hostile text."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    entries = []
    for i in range(10):
        image = rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        drivable = np.full((HEIGHT, WIDTH), 2, np.uint8)
        drivable[60:] = 0
        lane = np.zeros((HEIGHT, WIDTH), np.uint8)
        lane[60:, 78:82] = 255
        write(root / f"images/100k/test/f{i}.jpg", image)
        write(root / f"labels/drivable/masks/test/f{i}.png", drivable)
        write(root / f"labels/lane/binary/test/f{i}.png", lane)
        boxes = [
            {"x1": 10, "y1": 40, "x2": 50, "y2": 70},
            {"x1": 100, "y1": 50, "x2": 120, "y2": 64},
        ]
        entries.append({
            "name": f"f{i}.jpg",
            "attributes": {"timeofday": "night" if i % 2 else "daytime", "weather": EVIL},
            "labels": [{"id": str(k), "category": "car", "box2d": b} for k, b in enumerate(boxes)],
        })  # fmt: skip
    path = root / "labels/det_20/det_test.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(entries))
    return root


def predicted(folder, found=(0, 1), false=0, rows=60, near=0):
    """Predictions of the cars ``found``, shifted by ``near``, and some false ones."""
    boxes = [[10, 40, 40, 30], [100, 50, 20, 14]]
    entries = []
    for i in range(10):
        for k in found:
            x, y, w, h = boxes[k]
            box = [x + near, y, w, h]
            score = 0.5 + 0.04 * i
            entries.append(
                {"image": f"f{i}.jpg", "category": "vehicle", "bbox": box, "score": score}
            )
        for k in range(false):
            box = [60, 5 + 10 * k, 20, 9]
            entries.append({"image": f"f{i}.jpg", "category": "person", "bbox": box, "score": 0.6})
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[rows + i :] = 255
        write(folder / f"drivable/f{i}.png", mask)
        line = np.zeros((HEIGHT, WIDTH), np.uint8)
        line[60:, 78:82] = 255
        write(folder / f"lane/f{i}.png", line)
    (folder / "detections.json").write_text(json.dumps(entries))
    return folder


def run(*argv):
    return main([str(a) for a in argv])


@pytest.fixture(scope="module")
def runs(labelled, tmp_path_factory):
    """Folders of a good run and of one that misses a car and sees persons that are none."""
    base = tmp_path_factory.mktemp("runs")
    common = ("evaluate", "--data", labelled, "--bootstrap", 200, "--worst", 3)
    good, poor = predicted(base / "pg"), predicted(base / "pp", found=(0,), false=1, rows=64)
    assert run(*common, "--predictions", good, "--out", base / "good") == 0
    assert run(*common, "--predictions", poor, "--out", base / "poor") == 0
    return base


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_every_headline_figure_has_its_interval_under_stable_keys(runs):
    m = metrics(runs / "poor")
    vehicle = m["detection"]["vehicle"]
    assert set(vehicle) == {
        "ground_truths", *(k + e for k in ("AP50", "AP", "AR100") for e in ("", "_low", "_high"))
    }  # fmt: skip
    assert vehicle["AP50"] == pytest.approx(51 / 101)
    for section, keys in (("drivable", ("iou", "boundary_f1")), ("lane", ("iou", "point_f1"))):
        for key in keys:
            assert m[section][f"{key}_low"] <= m[section][key] <= m[section][f"{key}_high"]
    assert m["drivable"]["iou_low"] < m["drivable"]["iou"] < m["drivable"]["iou_high"]
    assert m["detection"]["person"]["AP50"] is None
    assert m["images"] == 10 and m["bootstrap"]["draws"] == 200
    assert m["bootstrap"]["resample"] == "frame" and "not known" in m["bootstrap"]["drawn"]
    assert {"detection", "drivable", "lane", "intervals"} <= set(m["protocol"])
    assert m["versions"]["numpy"] == np.__version__ and m["versions"]["roadstack"]


def test_the_table_holds_the_same_figures(runs):
    m = metrics(runs / "poor")
    with (runs / "poor/metrics.csv").open() as f:
        rows = {r["figure"]: r for r in csv.DictReader(f)}
    assert float(rows["drivable.iou"]["low"]) == pytest.approx(m["drivable"]["iou_low"], abs=1e-6)
    assert rows["detection.person.AP50"]["value"] == ""


def test_breakdowns(runs):
    b = metrics(runs / "poor")["breakdown"]
    matrix = np.array(b["confusion"]["counts"])
    names = b["confusion"]["classes"]
    assert matrix[names.index("vehicle")].tolist()[0] == 10
    assert matrix[names.index("vehicle"), -1] == 10  # missed
    assert b["errors"]["vehicle"]["missed"] == 10
    heights = {r["from_px"]: r for r in b["recall_by_height"]["vehicle"]}
    assert heights[0]["recall"] == 0 and heights[16]["recall"] == 1
    assert b["by"]["timeofday"]["night"]["frames"] == 5
    day = b["by"]["timeofday"]["daytime"]["drivable"]["iou"]
    assert b["by"]["timeofday"]["night"]["drivable"]["iou"] < day  # each further frame is worse


CAMERA = """width_px = {width}
height_px = 120
fx_px = 140.0
fy_px = 140.0
cx_px = 79.5
cy_px = 20.0
height_m = 1.5
"""


def test_recall_by_distance_with_a_given_camera(runs, labelled, tmp_path, capfd):
    """The cars' feet, at rows 70 and 64, lie 1.5 m x 140 px / 50 px = 4.2 m and 4.8 m away."""
    (tmp_path / "camera.toml").write_text(CAMERA.format(width=WIDTH))
    argv = ("--data", labelled, "--predictions", runs / "pp", "--bootstrap", 50, "--worst", 0)
    camera = ("--camera", tmp_path / "camera.toml", "--out", tmp_path / "m")
    assert run("evaluate", *argv, *camera) == 0
    m = metrics(tmp_path / "m")
    row = m["breakdown"]["recall_by_distance"]["vehicle"][0]
    assert (row["from_m"], row["to_m"], row["labels"], row["recall"]) == (0, 10, 20, 0.5)
    assert m["protocol"]["distance"] == "by camera.toml"
    (tmp_path / "camera.toml").write_text(CAMERA.format(width=300))
    assert run("evaluate", *argv, *camera) == 2
    assert "another shape" in capfd.readouterr().err


def test_distance_of_a_labels_foot():
    camera = Camera.assumed(WIDTH, HEIGHT)
    boxes = np.array([[70, 40, 90, 100], [70, 10, 90, 40], [70, 40, 90, HEIGHT]], np.float32)
    s = Sample(
        np.zeros((HEIGHT, WIDTH, 3), np.uint8), boxes, np.zeros(3, np.int64), np.zeros(3, bool),
        np.ones(5, bool), None, None, "x",
    )  # fmt: skip
    near, above, cut = label_distances(s, camera)
    focal = float(camera.matrix[1, 1])
    assert near == pytest.approx(1.4 * focal / (100 - 59.5))
    assert np.isnan([above, cut]).all()
    assert label_distances(s, None) is None


def test_dark_and_bright_pictures_are_told_apart():
    assert brightness(np.full((9, 9, 3), 59, np.uint8)).startswith("dark")
    assert brightness(np.full((9, 9, 3), 60, np.uint8)) == "bright"


class Checker(html.parser.HTMLParser):
    """Collects tags, and what they would load."""

    def __init__(self):
        super().__init__()
        self.tags, self.loads = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action")]


@pytest.mark.parametrize("name", ["good", "poor"])
def test_the_page_is_self_contained_and_escaped(runs, name):
    text = (runs / name / "report.html").read_text()
    checker = Checker()
    checker.feed(text)
    assert "script" not in checker.tags and "link" not in checker.tags
    assert checker.loads and all(v.startswith("data:image/jpeg;base64,") for v in checker.loads)
    assert EVIL not in text and "&lt;script&gt;" in text
    assert "url(" not in text and "http://" not in text and "https://" not in text
    assert len(text) < 10e6
    for part in (
        "Headline figures",
        "Confusion matrix",
        "What goes wrong",
        "worst frames",
        "Drivable area is green, lane lines are yellow.",
    ):
        assert part in text


def test_the_same_run_gives_the_same_bytes(runs, labelled, tmp_path):
    argv = ("--data", labelled, "--predictions", runs / "pp", "--bootstrap", 200, "--worst", 3)
    assert run("evaluate", *argv, "--out", tmp_path / "m") == 0
    for name in ("metrics.json", "metrics.csv", "frames.npz", "report.html"):
        assert (tmp_path / "m" / name).read_bytes() == (runs / "poor" / name).read_bytes(), name


def test_text_is_escaped_once_and_markup_kept():
    assert p.shown("a<b & c") == "a&lt;b &amp; c"
    assert p.shown(p.shown("a<b")) == "a&lt;b"
    assert "<td>&lt;i&gt;</td>" in p.table(["h"], [["<i>"]])
    assert EVIL not in p.page(EVIL, [p.heading(EVIL), p.note(EVIL), p.legend([EVIL])])


def test_a_table_names_its_scale_and_scrolls_where_it_is_wide():
    text = p.table(["figure", p.ends("-0.1", "+0.1")], [["<a>", p.shaded(3, 2.0)]])
    assert text.startswith('<div class="wide"><table>')
    assert '<th class="cell"><span class="ends"><span>-0.1</span><span>+0.1</span>' in text
    assert "/ 0.700)" in text  # no ground is darker, so that the text stays readable
    assert "<thead>" not in p.table(["", ""], [["model", "base"]])


def test_charts_leave_out_what_is_not_defined():
    nan = float("nan")
    line = Line("a", np.array([0, nan, 1]), np.array([0, 0.5, 1]), "#000")
    chart = line_chart([line], "<x>", "y")
    assert "nan" not in chart and "&lt;x&gt;" in chart
    chart = mark_chart(["p"], 1, [Mark(0, 0, nan, nan, nan), Mark(0, 0, 0.5, nan, nan)], "x", "y")
    assert "nan" not in chart and chart.count("<circle") == 1


def browser():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((b for b in map(shutil.which, names) if b), None)


@pytest.mark.skipif(browser() is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1240, 520])
@pytest.mark.parametrize("name", ["evaluation", "comparison"])
def test_the_page_in_a_browser(runs, tmp_path, name, width):
    page = runs / "poor/report.html"
    if name == "comparison":
        assert run("compare", runs / "good", runs / "poor", "--out", tmp_path / "c") == 0
        page = tmp_path / "c/compare.html"
    shot = tmp_path / "shot.png"
    argv = [
        browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},5000",
        f"--screenshot={shot}", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert shot.is_file(), done.stderr[-500:]
    assert "Refused to" not in done.stderr  # its own policy blocks nothing that it needs
    image = cv2.imread(str(shot))
    assert image.shape == (5000, width, 3)
    inked = (image < 200).any(axis=2)
    assert inked[:200].any() and inked.mean() > 0.004
    assert (image[:, :20] > 250).all() and (image[:, -20:] > 250).all()  # nothing runs out


# ---- compare


def compare(runs, a, b, out, *more):
    return run("compare", runs / a, runs / b, "--out", out, "--bootstrap", 200, *more)


def test_a_run_beside_itself_does_not_differ(runs, tmp_path):
    assert compare(runs, "poor", "poor", tmp_path / "c", "--fail-if-worse", 0) == 0
    found = json.loads((tmp_path / "c/compare.json").read_text())
    known = [f for f in found["figures"].values() if f["difference"] is not None]
    assert known and all(f["difference"] == f["low"] == f["high"] == 0 for f in known)
    assert found["changed"] == [] and found["worse"] == []


def test_a_worse_run_is_told_and_fails_the_gate(runs, tmp_path, capsys):
    assert compare(runs, "good", "poor", tmp_path / "c", "--fail-if-worse", 0.01) == 1
    assert "worse by more than 0.01: detection.vehicle.AP50" in capsys.readouterr().out
    found = json.loads((tmp_path / "c/compare.json").read_text())
    vehicle = found["figures"]["detection.vehicle.AP50"]
    assert vehicle["difference"] == pytest.approx(51 / 101 - 1)
    assert vehicle["high"] < 0 and vehicle["verdict"] == "worse"
    assert "drivable.iou" in found["worse"] and "lane.iou" not in found["worse"]
    assert found["changed"][0]["wrong_b"] > found["changed"][0]["wrong_a"]
    assert compare(runs, "poor", "good", tmp_path / "d", "--fail-if-worse", 0.01) == 0
    assert compare(runs, "good", "poor", tmp_path / "e") == 0


def test_a_paired_difference_is_surer_than_the_figures(runs, tmp_path):
    compare(runs, "good", "poor", tmp_path / "c")
    d = json.loads((tmp_path / "c/compare.json").read_text())["figures"]["drivable.iou"]
    one = metrics(runs / "good")["drivable"]
    assert d["high"] - d["low"] < (one["iou_high"] - one["iou_low"]) / 2


def test_classes_of_few_boxes_are_not_judged(runs, tmp_path):
    more = ("--fail-if-worse", 0.01, "--min-boxes", 21)
    assert compare(runs, "good", "poor", tmp_path / "c", *more) == 1
    found = json.loads((tmp_path / "c/compare.json").read_text())
    assert found["worse"] == ["drivable.iou", "drivable.boundary_f1"]


def edited(runs, target, **fields):
    """The poor run with other arrays in its record."""
    shutil.copytree(runs / "poor", target)
    with np.load(target / "frames.npz") as archive:
        arrays = {k: archive[k] for k in archive.files}
    for key, change in fields.items():
        arrays[key] = change(arrays[key])
    np.savez_compressed(target / "frames.npz", **arrays)
    return target


def other_protocol(about):
    found = json.loads(str(about))
    found["protocol"]["lane"] = "another"
    return np.array(json.dumps(found))


def moved(boxes):
    return boxes + np.float32(1)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"about": other_protocol}, "protocol of 'lane'"),
        ({"name": lambda n: n[::-1]}, "other frames"),
        ({"label_xyxy": moved}, "other labels"),
        ({"lane": lambda c: np.full_like(c, -1)}, "'lane' is not scored"),
        ({"labelled": partial(np.logical_and, False)}, "other classes"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(runs, tmp_path, capfd, fields, says):
    other = edited(runs, tmp_path / "other", **fields)
    assert run("compare", runs / "good", other, "--out", tmp_path / "c") == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and says in lines[0] and str(other) in lines[0]
    assert not (tmp_path / "c").exists()


def test_what_is_no_run_is_named(runs, tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "none"):
        assert run("compare", runs / "good", tmp_path / folder, "--out", tmp_path / "c") == 2
        assert str(tmp_path / folder) in capfd.readouterr().err
    assert compare(runs, "good", "poor", tmp_path / "c", "--fail-if-worse", -1) == 2
    assert compare(runs, "good", "poor", tmp_path / "c", "--fail-if-worse", "nan") == 2
