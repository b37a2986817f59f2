"""``label``: what it writes is a labelled set that training reads."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from data.datasets import open_dataset
from data.errors import InputError
from data.taxonomy import CLASS_ID
from data.types import Detections, Surfaces
from perception.selftrain import NEVER, Thresholds
from tools import label as label_module
from tools.label import run_label

SIZE = (960, 540)
CAR = [300, 200, 400, 280]


LEVELS = Thresholds((0.3, 0.3, NEVER, 0.4, 0.5), (0.1,) * 5, 0.5, (0.4, 0.8), (0.4, 0.7))


class FakeModel:
    """Red is a vehicle of score 0.9, orange one of 0.2, blue a sign of 0.9; the lower half is
    drivable, white a lane line."""

    name, sha256 = "fake", "0" * 64

    def __init__(self):
        self.calls = 0

    def __call__(self, image, min_score):
        self.calls += 1
        b, g, r = (image[..., k].astype(int) for k in range(3))
        rows = []
        kinds = (
            ((r > 200) & (g < 60), 0.9, 0), ((r > 200) & (g > 90) & (b < 60), 0.2, 0),
            ((b > 200) & (r < 60), 0.9, 4),
        )  # fmt: skip
        for mask, score, c in kinds:
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
            rows += [(x, y, x + w, y + h, score, c) for x, y, w, h, n in stats[1:] if n > 50]
        t = np.array(rows, float).reshape(-1, 6)
        white = (image.min(2) > 200).astype(np.float32)
        road = (np.abs(image.astype(int) - 90).max(2) < 20).astype(np.float32)
        return Detections(t[:, :4], t[:, 4], t[:, 5]), Surfaces(road, white, (1.0, 1.0))


@pytest.fixture
def model(monkeypatch):
    fake = FakeModel()
    monkeypatch.setattr(label_module, "load_any", lambda *_: fake)
    monkeypatch.setattr(label_module, "THRESHOLDS", LEVELS)
    return fake


def picture(size=SIZE):
    image = np.full((size[1], size[0], 3), 180, np.uint8)
    image[size[1] // 2 :] = 90
    image[400:500, 500:530] = 255
    x1, y1, x2, y2 = CAR
    image[y1:y2, x1:x2] = (0, 0, 255)
    image[150:180, 700:760] = (0, 128, 255)
    image[100:130, 450:480] = (255, 0, 0)
    return image


@pytest.fixture
def pictures(two_pictures):
    return two_pictures(picture())


def test_labels_are_read_back_as_they_were_meant(options, pictures, tmp_path, model, capfd):
    out = tmp_path / "out"
    assert run_label(options(pictures, out)) == 0
    assert "2 frames labelled" in capfd.readouterr().out
    d = open_dataset(out, "train", strict=True)
    assert d.names == ("a.png", "drive/b.png")
    s = d.load(1)
    assert (s.image == picture()).all()
    got = {(int(c), bool(i)): b.tolist() for b, c, i in zip(s.xyxy, s.class_id, s.ignore)}
    assert got[CLASS_ID["vehicle"], False] == pytest.approx(CAR, abs=0.5)
    assert got[CLASS_ID["vehicle"], True] == pytest.approx([700, 150, 760, 180], abs=0.5)
    assert got[CLASS_ID["traffic_sign"], False] == pytest.approx([450, 100, 480, 130], abs=0.5)
    # two-wheelers have no threshold that was measured: unlabelled, not absent
    assert s.labelled_classes.tolist() == [True, True, False, True, True]
    assert s.drivable[530, 100] == 1 and s.drivable[100, 100] == 0
    assert s.lane[450, 515] == 1 and s.lane[450, 100] == 0 and s.lane[450, 501] == 255
    boxes = d.read_boxes(1)
    sure = boxes.attributes[int(np.flatnonzero(~boxes.ignore)[0])]
    assert sure["confidence"] == pytest.approx(0.9) and sure["agreement"] == 1
    frame = d.frame_attributes(1)
    assert frame["pseudo"] is True and 0.3 < frame["confidence"] <= 1
    assert frame["model_sha256"] == "0" * 64
    assert json.loads((out / "label.json").read_text())["thresholds"]["agreement"] == 0.5


def test_a_run_goes_on_where_it_stopped(options, pictures, tmp_path, model):
    whole, out = tmp_path / "whole", tmp_path / "out"
    run_label(options(pictures, whole))
    per_frame = model.calls // 2
    run_label(options(pictures, out, max_frames=1))
    model.calls = 0
    run_label(options(pictures, out))
    assert model.calls == per_frame
    run_label(options(pictures, out))
    assert model.calls == per_frame  # nothing left to do
    files = [p.relative_to(whole) for p in sorted(whole.rglob("*")) if p.is_file()]
    assert files == [p.relative_to(out) for p in sorted(out.rglob("*")) if p.is_file()]
    assert all((whole / f).read_bytes() == (out / f).read_bytes() for f in files)
    with pytest.raises(InputError, match="labelled with another min_confidence"):
        run_label(options(pictures, out, min_confidence=0.1))
    (out / "label.json").write_text("{}")
    with pytest.raises(InputError, match=r"label\.json: cannot be read"):
        run_label(options(pictures, out))
    (out / "label.json").unlink()
    with pytest.raises(InputError, match="holds other data"):
        run_label(options(pictures, out))


def labelled_set(root):
    """Two pictures: vehicles labelled in both, the drivable area of the first alone."""
    for name in "ab":
        path = root / f"images/100k/val/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture())
    mask = root / "labels/drivable/masks/val/a.png"
    mask.parent.mkdir(parents=True)
    cv2.imwrite(str(mask), np.full(SIZE[::-1], 2, np.uint8))
    x1, y1, x2, y2 = CAR
    box = {"category": "car", "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2}}
    frames = [{"name": f"{n}.png", "labels": [box]} for n in "ab"]
    path = root / "labels/det_20/det_val.json"
    path.parent.mkdir(parents=True)
    table = {"config": {"categories": [{"name": "car"}]}, "frames": frames}
    path.write_text(json.dumps(table))
    return table, path


def test_what_a_set_labels_itself_is_left_to_it(options, tmp_path, model):
    table, path = labelled_set(tmp_path / "in")
    out = tmp_path / "out"
    run_label(options(tmp_path / "in", out, split="val"))
    d = open_dataset(out, "val", strict=True)
    a, b = d.load(0), d.load(1)
    assert a.drivable is None and b.drivable is not None
    assert a.labelled_classes.tolist() == [False, True, False, True, True]
    assert a.class_id.tolist() == [CLASS_ID["traffic_sign"]]
    # boxes for one frame alone: in the other, the class is ignored everywhere
    del table["frames"][1]
    path.write_text(json.dumps(table))
    run_label(options(tmp_path / "in", tmp_path / "more", split="val"))
    a, b = (open_dataset(tmp_path / "more", "val", strict=True).load(i) for i in range(2))
    vehicle = CLASS_ID["vehicle"]
    assert a.xyxy[a.class_id == vehicle].tolist() == [[0, 0, *SIZE]]
    assert a.ignore[a.class_id == vehicle].all()
    assert (~b.ignore[b.class_id == vehicle]).sum() == 1


def test_small_pictures_get_no_lanes_and_unsure_ones_nothing(options, tmp_path, model, capfd):
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "small.png"), cv2.resize(picture(), (480, 270)))
    run_label(options(folder, tmp_path / "out"))
    assert "lanes: none written" in capfd.readouterr().out
    assert open_dataset(tmp_path / "out", "train").tasks == ("detection", "drivable")
    with pytest.raises(InputError, match="no frame to label: 1 of too little confidence"):
        run_label(options(folder, tmp_path / "none", min_confidence=1.0))
    assert not (tmp_path / "none/images").exists()


def test_bad_options_and_sources_are_told(options, pictures, tmp_path, model):
    out = tmp_path / "out"
    for changes, message in (
        ({"min_confidence": 2.0}, "--min-confidence 2: expected a number from 0 to 1"),
        ({"every": 0}, "--every 0: expected"),
        ({"max_frames": 0}, "--max-frames 0: expected"),
        ({"source": tmp_path / "absent"}, "no such file or folder"),
        ({"out": pictures}, "is the source itself"),
    ):
        with pytest.raises(InputError, match=message):
            run_label(options(**{"source": pictures, "out": out, **changes}))
    cv2.imwrite(str(pictures / "a.jpg"), picture())
    with pytest.raises(InputError, match=r"a\.jpg and a\.png would share one mask"):
        run_label(options(pictures, out))
    assert not out.exists()


def test_thresholds_of_another_model_are_not_used_in_silence(
    options, pictures, tmp_path, model, monkeypatch, capfd
):
    run_label(options(pictures, tmp_path / "a"))
    assert "not for 'fake' as it is; fit them with --fit SET" in capfd.readouterr().err
    monkeypatch.setattr(label_module, "THRESHOLDS_OF", model.sha256)
    run_label(options(pictures, tmp_path / "b"))
    assert "warning" not in capfd.readouterr().err


def test_thresholds_are_fitted_to_a_labelled_set_once(options, pictures, tmp_path, model):
    labelled_set(tmp_path / "val")
    out = tmp_path / "out"
    given = options(pictures, out, fit=tmp_path / "val", min_confidence=0.0)
    run_label(given)
    high = json.loads((out / "label.json").read_text())["thresholds"]["high"]
    assert high == [1.01] * 5  # two cars are no ground for a threshold
    assert open_dataset(out, "train").tasks == ("drivable", "lane")
    model.calls = 0
    run_label(given)
    assert model.calls == 0
    fits = SimpleNamespace(**{**vars(given), "precision": 0.9})
    with pytest.raises(InputError, match="another fit"):
        run_label(fits)


def test_frames_of_a_video(options, realdata: Path, tmp_path, model):
    out = tmp_path / "out"
    clip = realdata / "clips/test_video.mp4"
    run_label(options(clip, out, every=10, max_frames=2, min_confidence=0.0))
    d = open_dataset(out, "train", strict=True)
    assert d.names == ("test_video_000000.jpg", "test_video_000010.jpg")
    assert d.load(0).image.shape == (720, 1280, 3)
