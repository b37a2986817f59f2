"""What predict writes is what evaluate and any metric tool read."""

from __future__ import annotations

import json

import cv2
import pytest

from data.synthetic.drive import SyntheticDrive
from data.taxonomy import CLASSES
from tools.cli import main


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
    for name, row in model["detection"].items():
        assert files["detection"][name]["AP50"] == pytest.approx(row["AP50"], abs=2e-3)
