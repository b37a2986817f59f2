"""Tracks in ``evaluate`` and ``compare``: whose are scored, by what keys, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import InputError
from data.synthetic.drive import SyntheticDrive
from data.taxonomy import CLASSES
from perception.metrics import track_record
from perception.metrics.track_record import FIGURES, TrackRecord
from tools.cli import main
from tools.evaluate_tracks import kind_of_files
from tools.score_tracks import label_files, score_files

NAMES = {"vehicle": "Car", "person": "Pedestrian"}
REST = "-1 -1 -1 -1000 -1000 -1000 -10"


def run(*argv: object) -> int:
    return main([str(a) for a in argv])


def evaluate(data: Path, out: Path, *more: object) -> dict:
    assert run("evaluate", "--data", data, "--out", out, "--bootstrap", 100, *more) == 0
    return json.loads((out / "metrics.json").read_text())


def write_drive(folder: Path, drive: int, frames: int = 30) -> None:
    """Labels of a car, and in even drives of a person, going right."""
    rows = []
    for f in range(frames):
        for i, kind, (x, w, h) in ((0, "Car", (100 + 8 * f, 90, 60)),
                                   (1, "Pedestrian", (700 + 3 * f, 30, 80))):  # fmt: skip
            if kind == "Car" or drive % 2 == 0:
                rows.append(f"{f} {i} {kind} 0 0 0 {x} 150 {x + w} {150 + h} 1 1 1 0 0 9 0")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{drive:04d}.txt").write_text("\n".join(rows) + "\n")


def as_tracks(labels: Path, out: Path, lost: int = 0) -> Path:
    """The labels as tracks; cars are lost in the last ``lost`` frames of each ten, and then found
    under another id."""
    out.mkdir()
    for file in labels.glob("*.txt"):
        rows = []
        for row in file.read_text().splitlines():
            frame, number, kind, *_, x1, y1, x2, y2 = row.split()[:10]
            if kind == "Pedestrian" or int(frame) % 10 < 10 - lost:
                if lost and kind == "Car":
                    number = str(100 * (int(frame) // 10))
                rows.append(f"{frame} {number} {kind} -1 -1 -10 {x1} {y1} {x2} {y2} {REST} 0.9")
        (out / file.name).write_text("\n".join(rows) + "\n")
    return out


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    """Six labelled drives without pictures."""
    for drive in range(6):
        write_drive(tmp_path / "kitti/training/label_02", drive)
    return tmp_path / "kitti"


@pytest.fixture
def labels(kitti: Path) -> Path:
    return kitti / "training/label_02"


def test_track_files_give_every_figure_under_stable_keys(kitti, labels, tmp_path, capsys):
    m = evaluate(kitti, tmp_path / "m", "--predictions", as_tracks(labels, tmp_path / "p", lost=2))
    car = m["tracking"]["Car"]
    assert {*FIGURES} <= set(car) and car["ground_truths"] == 180
    # as in the reference, a frame in which nothing of the class is found interrupts no track
    assert car["switches"] == 12 and car["fragmentations"] == 0
    assert car["drives_with_labels"] == 6 and len(car["drives"]) == 6
    assert car["MOTA"] == pytest.approx((180 - 36 - 12) / 180)
    assert car["HOTA_low"] == pytest.approx(car["HOTA"]) == car["HOTA_high"]  # all drives alike
    assert m["tracking"]["all"]["HOTA_low"] < m["tracking"]["all"]["HOTA_high"]
    person = m["tracking"]["Pedestrian"]  # in three drives only, too few for an interval
    assert person["drives_with_labels"] == 3 and person["HOTA_low"] is None
    assert m["tracking"]["Cyclist"]["HOTA"] is None and "Cyclist" not in capsys.readouterr().out
    assert m["tracking"]["all"]["ground_truths"] == 270
    assert m["bootstrap"]["drawn_of_tracks"] == "drives (6)" and m["data"]["drives"] == 6
    with (tmp_path / "m/metrics.csv").open() as f:
        rows = {r["figure"]: float(r["value"]) for r in csv.DictReader(f)}
    assert rows["tracking.Car.IDF1"] == pytest.approx(car["IDF1"], abs=1e-6)
    lines = (tmp_path / "m/tracking.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * 7 + 1
    page = (tmp_path / "m/report.html").read_text()
    assert "Drive by drive" in page and "0005" in page and "<script" not in page


def test_labels_as_tracks_are_perfect(kitti, labels, tmp_path):
    m = evaluate(kitti, tmp_path / "m", "--predictions", as_tracks(labels, tmp_path / "p"))
    for name in ("Car", "Pedestrian", "all"):
        row = m["tracking"][name]
        assert [row[k] for k in ("HOTA", "MOTA", "IDF1", "switches")] == [1, 1, 1, 0]


def test_no_tracks_at_all_are_all_misses(kitti, labels, tmp_path):
    (tmp_path / "p").mkdir()
    for file in labels.glob("*.txt"):
        (tmp_path / "p" / file.name).write_text("")
    row = evaluate(kitti, tmp_path / "m", "--predictions", tmp_path / "p")["tracking"]["Car"]
    assert (row["HOTA"], row["MOTA"], row["misses"]) == (0, 0, 180)


def test_a_drive_is_a_split(kitti, labels, tmp_path, capfd):
    found = as_tracks(labels, tmp_path / "p")
    m = evaluate(kitti, tmp_path / "m", "--predictions", found, "--split", "0003")
    assert list(m["tracking"]["Car"]["drives"]) == ["0003"]
    assert "no intervals" in m["bootstrap"]["drawn_of_tracks"]
    assert m["tracking"]["Car"]["HOTA_low"] is None
    capfd.readouterr()
    argv = ("--data", kitti, "--predictions", found, "--out", tmp_path / "n", "--split", "3")
    assert run("evaluate", *argv) == 2
    assert "no split '3'" in capfd.readouterr().err


def test_detections_are_tracked_as_by_track_and_the_files_score_the_same(kitti, labels, tmp_path):
    found = tmp_path / "found"
    found.mkdir()
    for file in labels.glob("*.txt"):
        rows = [r.split() for r in file.read_text().splitlines()]
        code = {"Car": 2, "Pedestrian": 1}
        lines = [f"{r[0]},{code[r[2]]},{','.join(r[6:10])},0.9,1,1,1,0,0,9,0,0" for r in rows]
        (found / file.name).write_text("\n".join(lines))
    m = evaluate(kitti, tmp_path / "m", "--predictions", found)
    assert m["tracking"]["Car"]["HOTA"] > 0.9 and "by Roadstack's tracker" in m["model"]["tracks"]
    argv = ("--detections", found, "--format", "kitti", "--out", tmp_path / "t")
    assert run("track", *argv) == 0
    again = score_files(label_files(labels, "kitti"), tmp_path / "t").totals()["Car"].scores()
    assert again["HOTA"] == m["tracking"]["Car"]["HOTA"]
    assert (tmp_path / "m/tracks/0002.txt").read_text() == (tmp_path / "t/0002.txt").read_text()


def test_what_the_files_of_a_folder_hold(labels, tmp_path):
    tracks = as_tracks(labels, tmp_path / "tracks")
    assert kind_of_files(tracks) == "tracks"
    (tmp_path / "a").mkdir()
    assert kind_of_files(tmp_path / "a") == ""
    (tmp_path / "a/1.txt").write_text("")
    assert kind_of_files(tmp_path / "a") == "tracks"
    text = (tracks / "0001.txt").read_text().splitlines()[0].split()
    (tmp_path / "a/1.txt").write_text(" ".join([text[0], "-1", *text[2:]]))
    assert kind_of_files(tmp_path / "a") == "detections"


def one_line(capfd: pytest.CaptureFixture[str]) -> str:
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def spoilt(name: str, old: str, new: str):
    def change(p: Path) -> None:
        (p / name).write_text((p / name).read_text().replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: (p / "0009.txt").write_text(""), "drive '0009' is not in the labelled data"),
        (lambda p: (p / "0002.txt").unlink(), "expected a file of drive 0002"),
        (
            spoilt("0002.txt", "Car", "Spaceship"),
            "0002.txt:1: class 'Spaceship' is none of KITTI's",
        ),
        (spoilt("0002.txt", "Car", "car"), "did you mean 'Car'?"),
        (spoilt("0002.txt", "100 150", "nan 150"), "0002.txt:1: expected finite numbers"),
        (spoilt("0002.txt", "100 150", "x 150"), "0002.txt:1: expected numbers"),
        (spoilt("0002.txt", "100 150 ", ""), "0002.txt:1: expected 17 or 18 fields"),
        (spoilt("0002.txt", "1 1 Ped", "1 0 Ped"), "class"),
    ],
)
def test_bad_tracks_are_named_with_one_line(kitti, labels, tmp_path, capfd, change, says):
    found = as_tracks(labels, tmp_path / "p")
    change(found)
    argv = ("--data", kitti, "--predictions", found, "--out", tmp_path / "m")
    code = run("evaluate", *argv)
    if says == "class":  # the same id for two classes is no fault
        assert code == 0
        return
    assert code == 2 and says in one_line(capfd)
    assert not (tmp_path / "m/metrics.json").exists()


def test_what_cannot_be_scored_is_said(kitti, tmp_path, capfd):
    argv = ("evaluate", "--data", kitti, "--out", tmp_path / "m")
    assert run(*argv) == 2
    assert "no pictures to run a model on" in one_line(capfd)
    assert run(*argv, "--predictions", tmp_path / "none") == 2
    assert "no such folder" in one_line(capfd)
    (tmp_path / "empty").mkdir()
    assert run(*argv, "--predictions", tmp_path / "empty") == 2
    assert "nothing to score" in one_line(capfd)


def test_mot_sequences(tmp_path, capfd):
    found = tmp_path / "p"
    found.mkdir()
    for k in range(5):
        folder = tmp_path / f"mot/M{k}/gt"
        folder.mkdir(parents=True)
        rows = [f"{f},1,{10 + 5 * f},20,30,60" for f in range(1, 21)]
        (folder / "gt.txt").write_text("\n".join(f"{r},1,1,1" for r in rows))
        (found / f"M{k}.txt").write_text("\n".join(f"{r},0.9,-1,-1,-1" for r in rows[k:]))
    m = evaluate(tmp_path / "mot", tmp_path / "m", "--predictions", found)
    person = m["tracking"]["Pedestrian"]
    assert person["misses"] == 10 and person["MOTA_low"] < person["MOTA"] < person["MOTA_high"]
    assert m["data"]["layout"] == "mot"
    (found / "M1.txt").write_text("1,-1,10,20,30,60,0.9,-1,-1,-1")
    for k in (0, 2, 3, 4):
        (found / f"M{k}.txt").unlink()
    argv = ("--data", tmp_path / "mot", "--predictions", found, "--out", tmp_path / "n")
    capfd.readouterr()
    assert run("evaluate", *argv) == 2
    assert "with ids" in one_line(capfd)


SIZE = (640, 384)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> Path:
    """A rendered drive with its pictures, in KITTI's layout, and ``found`` with what is seen."""
    root = tmp_path_factory.mktemp("filmed")
    drive = SyntheticDrive(0, 20, 10.0, *SIZE)
    pictures = root / "training/image_02/0000"
    pictures.mkdir(parents=True)
    rows, entries = [], []
    for i in range(len(drive)):
        t = drive.truth(i)
        cv2.imwrite(str(pictures / f"{i:06d}.png"), t.sample.image)
        for box, kind, number in zip(t.sample.xyxy.tolist(), t.sample.class_id, t.track_id):
            ours = CLASSES[kind]
            if ours in NAMES:
                text = " ".join(f"{v:.2f}" for v in box)
                rows.append(f"{i} {number} {NAMES[ours]} 0 0 0 {text} 1 1 1 0 0 9 0")
                x1, y1, x2, y2 = box
                entries.append({
                    "image": f"0000/{i:06d}.png", "category": ours, "score": 0.9,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                })  # fmt: skip
    (root / "training/label_02").mkdir()
    (root / "training/label_02/0000.txt").write_text("\n".join(rows) + "\n")
    (root / "found").mkdir()
    (root / "found/detections.json").write_text(json.dumps(entries))
    return root


def test_pictures_with_detections_give_objects_and_tracks(filmed, tmp_path):
    m = evaluate(filmed, tmp_path / "m", "--predictions", filmed / "found")
    assert m["images"] == 20 and m["detection"]["vehicle"]["AP50"] > 0.99
    car = m["tracking"]["Car"]
    assert car["HOTA"] > 0.8 and car["switches"] < 4
    assert {"detection", "tracking"} <= set(m["protocol"])
    assert m["bootstrap"]["resample"] == "frame" and "of one drive" in m["bootstrap"]["drawn"]
    given = label_files(filmed / "training/label_02", "kitti")
    again = score_files(given, tmp_path / "m/tracks").totals()["Car"].scores()
    assert again["HOTA"] == car["HOTA"]


def test_labels_of_pictures_that_are_missing_do_not_count(filmed, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(filmed, root)
    whole = evaluate(root, tmp_path / "a", "--predictions", root / "found")["tracking"]["Car"]
    for i in (0, 1, 18, 19):
        (root / f"training/image_02/0000/{i:06d}.png").unlink()
    entries = json.loads((root / "found/detections.json").read_text())
    kept = [e for e in entries if 2 <= int(e["image"][5:11]) < 18]
    (root / "found/detections.json").write_text(json.dumps(kept))
    less = evaluate(root, tmp_path / "b", "--predictions", root / "found")["tracking"]["Car"]
    assert less["ground_truths"] < whole["ground_truths"] and less["MOTA"] > 0.5


def test_a_track_in_a_frame_without_labels_data_is_refused(filmed, tmp_path):
    shutil.copytree(filmed / "training", tmp_path / "training")
    found = as_tracks(tmp_path / "training/label_02", tmp_path / "p")
    text = (found / "0000.txt").read_text().splitlines()
    (found / "0000.txt").write_text("\n".join([*text, "99 " + text[-1].split(" ", 1)[1]]))
    frames = {"0000": np.arange(20)}
    labels = label_files(tmp_path / "training/label_02", "kitti")
    with pytest.raises(InputError, match=r"0000\.txt:\d+: frame 99 is not in the labelled data"):
        score_files(labels, found, frames=frames)


def test_a_model_is_followed_over_the_pictures(filmed, tmp_path):
    m = evaluate(filmed, tmp_path / "m", "--model", "nano", "--threads", 1, "--worst", 1)
    assert m["images"] == 20 and "vehicle taken as Car" in m["model"]["tracks"]
    assert (tmp_path / "m/tracks/0000.txt").is_file()
    assert 0 <= m["tracking"]["Car"]["HOTA"] <= 1


@pytest.fixture
def two_runs(kitti, labels, tmp_path) -> Path:
    evaluate(kitti, tmp_path / "a", "--predictions", as_tracks(labels, tmp_path / "pa"))
    evaluate(kitti, tmp_path / "b", "--predictions", as_tracks(labels, tmp_path / "pb", lost=2))
    return tmp_path


def compare(base: Path, a: str, b: str, *more: object) -> int:
    argv = ("compare", base / a, base / b, "--out", base / "c", "--bootstrap", 100)
    return run(*argv, *more)


def test_runs_of_tracks_are_compared_drive_by_drive(two_runs, capsys):
    assert compare(two_runs, "a", "b", "--fail-if-worse", 0.01) == 1
    c = json.loads((two_runs / "c/compare.json").read_text())
    car = c["figures"]["tracking.Car.MOTA"]
    assert car["difference"] == pytest.approx(-48 / 180) and car["verdict"] == "worse"
    switches = c["figures"]["tracking.Car.switches"]
    assert (switches["difference"], switches["verdict"], switches["judged"]) == (12, "worse", False)
    assert c["figures"]["tracking.Pedestrian.HOTA"]["low"] is None  # three drives
    assert "tracking.Car.HOTA" in c["worse"] and c["bootstrap"]["drawn"] == "drives (6)"
    assert "Drive by drive" in (two_runs / "c/compare.html").read_text()
    assert compare(two_runs, "b", "a", "--fail-if-worse", 0.01) == 0
    assert compare(two_runs, "a", "a", "--fail-if-worse", 0) == 0


def test_tracks_of_other_labels_are_not_compared(two_runs, kitti, labels, capfd):
    write_drive(labels, 3, frames=31)
    shutil.rmtree(two_runs / "pb")
    found = as_tracks(labels, two_runs / "pb")
    evaluate(kitti, two_runs / "b", "--predictions", found)
    capfd.readouterr()
    assert compare(two_runs, "a", "b") == 2
    assert "of other drives or labels" in one_line(capfd)


def record(labels: Path, tracks: Path) -> TrackRecord:
    return score_files(label_files(labels, "kitti"), tracks)


def test_a_record_comes_back_from_its_file(labels, tmp_path):
    one = record(labels, as_tracks(labels, tmp_path / "p", lost=3))
    track_record.save(one, tmp_path / "a.npz")
    again = track_record.load(tmp_path / "a.npz")
    track_record.save(again, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    for name, counts in one.totals().items():
        assert repr(again.totals()[name].scores()) == repr(counts.scores())
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04" + bytes(99))
    with pytest.raises(InputError, match="not a record written by evaluate"):
        track_record.load(tmp_path / "a.npz")


def test_a_drive_counted_twice_is_two_drives(labels, tmp_path):
    """Weights stand for drives repeated: the sums, and not the means, of their counts."""
    as_tracks(labels, tmp_path / "p", lost=2)
    text = (tmp_path / "p/0001.txt").read_text().splitlines()
    (tmp_path / "p/0001.txt").write_text("\n".join(text[:7]))
    one = record(labels, tmp_path / "p")
    drawn = track_record.sampled(one, np.array([[2, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]], np.int32))
    first, second = (one.counts["Car"][d] for d in ("0000", "0001"))
    for k in FIGURES:
        assert drawn[f"tracking.Car.{k}"][0] == pytest.approx((first + first + second).scores()[k])
        assert drawn[f"tracking.Car.{k}"][1] == pytest.approx(one.totals()["Car"].scores()[k])
