"""What predict writes is what evaluate and any metric tool read."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from data.synthetic.drive import SyntheticDrive
from data.taxonomy import CLASSES
from data.types import Detections, Surfaces
from tools import predict as predict_module
from tools.cli import main
from tools.evaluate import read_detections
from tools.predict import coco_rows


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for frame in SyntheticDrive(frames=2, width_px=640, height_px=360):
        cv2.imwrite(str(folder / f"p{frame.index}.png"), frame.image)
    return folder


def test_boxes_and_masks(pictures, tmp_path):
    assert main(["predict", str(pictures), "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "detections.json").read_text())
    assert {r["image"] for r in rows} <= {"p0.png", "p1.png"}
    for r in rows:
        x, y, w, h = r["bbox"]
        assert r["category"] in CLASSES
        assert 0 <= r["score"] <= 1
        assert 0 <= x <= x + w <= 640.01
        assert 0 <= y <= y + h <= 360.01
    for kind in ("drivable", "lane"):
        for name in ("p0.png", "p1.png"):
            mask = cv2.imread(str(tmp_path / kind / name), cv2.IMREAD_UNCHANGED)
            assert mask.shape == (360, 640)
            assert set(mask.ravel().tolist()) <= {0, 255}


def test_what_is_written_is_read_again_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(5)
    near = rng.uniform(0, 1300, (500, 2)) * rng.choice([1, 0.01, 1e-4], (500, 1))
    xyxy = np.hstack([near, near + rng.uniform(0.001, 900, (500, 2))]).astype(np.float32)
    given = Detections(xyxy, rng.random(500).astype(np.float32), np.zeros(500, np.int64))
    rows = coco_rows("a.jpg", given)
    (tmp_path / "detections.json").write_text(json.dumps(rows))
    read = read_detections(tmp_path / "detections.json", {"a.jpg"})["a.jpg"]
    assert np.array_equal(read.xyxy, given.xyxy) and np.array_equal(read.score, given.score)
    simple = Detections(np.array([[1, 2, 3.5, 4]], np.float32), np.array([0.5], np.float32),
                        np.zeros(1, np.int64))  # fmt: skip
    assert coco_rows("a.jpg", simple)[0]["bbox"] == [1.0, 2.0, 2.5, 2.0]


def test_pictures_in_sub_folders_keep_their_folders(pictures, tmp_path):
    nested = tmp_path / "in"
    (nested / "a").mkdir(parents=True)
    (nested / "b").mkdir()
    for sub in "ab":
        (nested / sub / "p0.png").write_bytes((pictures / "p0.png").read_bytes())
    assert main(["predict", str(nested), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/drivable/a/p0.png").is_file()
    assert (tmp_path / "out/drivable/b/p0.png").is_file()


def test_two_pictures_for_one_mask_are_refused(pictures, tmp_path, capfd):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.png").write_bytes((pictures / "p0.png").read_bytes())
    cv2.imwrite(str(folder / "x.jpg"), cv2.imread(str(pictures / "p0.png")))
    assert main(["predict", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "x.png" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()  # found before any work


@pytest.fixture
def quick(monkeypatch):
    """In place of the network: no objects, no surface; a dark picture is an interrupt."""

    def model(image, min_score):
        if not image.any():
            raise KeyboardInterrupt
        nothing = np.zeros((8, 8), np.float32)
        scale = (8 / image.shape[1], 8 / image.shape[0])
        return Detections.empty(), Surfaces(nothing, nothing, scale)

    monkeypatch.setattr(predict_module, "load_any", lambda name, threads: model)


def picture(path, value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((32, 48, 3), value, np.uint8))


def run(source, out, *more):
    return main(["predict", str(source), "--out", str(out), *more])


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_an_interrupt_leaves_earlier_results_as_they_were(quick, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    picture(source / "a.png")
    assert run(source, out) == 0
    (out / "drivable/a.png").write_bytes(b"earlier")
    before = files(out)
    picture(source / "b.png", 0)
    assert run(source, out) == 130
    assert files(out) == before == ["detections.json", "drivable/a.png", "lane/a.png"]
    assert (out / "drivable/a.png").read_bytes() == b"earlier"
    assert not list(out.glob(".*"))


def test_an_earlier_run_is_replaced_as_a_whole(quick, tmp_path):
    picture(tmp_path / "one/a.png")
    picture(tmp_path / "two/b.png")
    out = tmp_path / "out"
    assert run(tmp_path / "one", out) == run(tmp_path / "two", out) == 0
    assert files(out) == ["detections.json", "drivable/b.png", "lane/b.png"]


def test_masks_that_predict_did_not_write_are_kept(quick, tmp_path):
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "out/drivable/mine.png")
    assert run(tmp_path / "in", tmp_path / "out") == 0
    assert "drivable/mine.png" in files(tmp_path / "out")


def test_its_own_masks_are_no_pictures(quick, tmp_path, capfd):
    nest = tmp_path / "nest"
    picture(nest / "a/x.png")
    for _ in range(2):
        assert run(nest, nest / "out") == 0
        assert "1 frames" in capfd.readouterr().out
    for _ in range(2):
        assert run(nest / "a", nest) == 0  # masks lie beside the folder of pictures
        assert "1 frames" in capfd.readouterr().out
    for source in (nest, nest / "drivable"):
        assert run(source, nest) == 2


def test_max_frames_counts_over_all_folders(quick, tmp_path, capfd):
    for sub in "abc":
        for name in "xy":
            picture(tmp_path / f"in/{sub}/{name}.png")
    assert run(tmp_path / "in", tmp_path / "out", "--max-frames", "3") == 0
    assert "3 frames" in capfd.readouterr().out
    assert files(tmp_path / "out/lane") == ["a/x.png", "a/y.png", "b/x.png"]


def test_one_bad_folder_does_not_refuse_the_others(quick, tmp_path, capfd):
    bad = tmp_path / "in/a/x.png"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"no picture")
    assert run(tmp_path / "in", tmp_path / "out") == 2
    assert len(capfd.readouterr().err.splitlines()) == 1
    picture(tmp_path / "in/b/x.png")
    assert run(tmp_path / "in", tmp_path / "out") == 0
    captured = capfd.readouterr()
    assert "1 frames" in captured.out
    assert "warning" in captured.err and "none of its 1 images" in captured.err


def test_a_selection_without_frames_is_refused(quick, tmp_path, capfd):
    for name in "abc":
        picture(tmp_path / f"in/{name}.png")
    select = ["--fps", "1", "--start", "0.2", "--stop", "0.8"]
    assert run(tmp_path / "in", tmp_path / "out", *select) == 2
    assert "no frame between --start 0.2 and --stop 0.8" in capfd.readouterr().err
    assert files(tmp_path / "out") == []


def test_an_output_that_could_not_be_put_is_found_at_once(quick, tmp_path, capfd):
    picture(tmp_path / "in/a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/lane").write_text("a file")
    assert run(tmp_path / "in", tmp_path / "out") == 2
    assert "lane is a file" in capfd.readouterr().err
    assert files(tmp_path / "out") == ["lane"]


def test_written_predictions_score_as_the_model_does(realdata, tmp_path):
    pytest.importorskip("faster_coco_eval")
    data = ["--data", str(realdata / "bdd100k_subset"), "--split", "val"]
    assert main(["evaluate", *data, "--out", str(tmp_path / "m")]) == 0
    images = realdata / "bdd100k_subset/images/100k/val"
    assert main(["predict", str(images), "--out", str(tmp_path / "p")]) == 0
    by_files = ["--predictions", str(tmp_path / "p"), "--out", str(tmp_path / "f")]
    assert main(["evaluate", *data, *by_files]) == 0
    model, files = (json.loads((tmp_path / k / "metrics.json").read_text()) for k in "mf")
    assert files["drivable"] == model["drivable"]
    assert files["lane"] == model["lane"]
    assert files["detection"] == model["detection"]
    assert files["breakdown"] == model["breakdown"]
