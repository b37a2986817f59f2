"""Tracking metrics: cases worked out by hand, the ignore rules, and the reference tool."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from perception.metrics.tracking import ALPHAS, Boxes, TrackCounts, Truth, score_drive
from perception.metrics.tracking_files import (
    kitti_truth,
    mot_truth,
    read_kitti,
    read_mot,
    score_kitti,
    score_mot,
)
from tools.bench_score_tracks import CLASSES, figures, greatest_difference, trackeval_scores
from tools.bench_score_tracks import main as compare_speed

A, B = (0.0, 0.0, 100.0, 100.0), (300.0, 0.0, 400.0, 100.0)


def boxes(*rows: tuple[int, int, tuple[float, ...]]) -> Boxes:
    rows = tuple(sorted(rows, key=lambda r: r[0]))
    return Boxes(
        np.array([r[0] for r in rows], np.int64),
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], np.float64).reshape(-1, 4),
    )


def truth(*rows: tuple[int, int, tuple[float, ...]]) -> Truth:
    b = boxes(*rows)
    return Truth(b, np.ones(len(b), np.bool_), np.zeros(len(b), np.bool_))


def test_perfect_tracks_score_one() -> None:
    rows = [(t, i, box) for t in range(5) for i, box in ((1, A), (2, B))]
    s = score_drive(truth(*rows), boxes(*rows)).scores()
    for name in ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1"):
        assert s[name] == pytest.approx(1)
    assert (s["switches"], s["fragmentations"], s["mostly_tracked"]) == (0, 0, 2)


def test_a_track_that_changes_its_id_half_way() -> None:
    """Four frames, ids 7 7 8 8: each id shares 2 of 4 + 2 - 2 frames, so AssA is 1/2."""
    counts = score_drive(
        truth(*[(t, 1, A) for t in range(4)]), boxes(*[(t, 7 + (t > 1), A) for t in range(4)])
    )
    s = counts.scores()
    assert s["DetA"] == pytest.approx(1)
    assert s["AssA"] == pytest.approx(0.5)
    assert s["HOTA"] == pytest.approx(math.sqrt(0.5))
    assert s["AssPr"] == pytest.approx(1)
    assert s["AssRe"] == pytest.approx(0.5)
    assert (s["switches"], s["MOTA"]) == (1, 0.75)
    assert s["IDF1"] == pytest.approx(2 * 2 / (4 + 4))


def test_a_gap_is_a_fragmentation_and_no_switch() -> None:
    """Found in frames 0, 1, 3, 4 of five; another object is found in all of them."""
    labels = [(t, i, box) for t in range(5) for i, box in ((1, A), (2, B))]
    found = [r for r in labels if r[:2] != (2, 1)]
    s = score_drive(truth(*labels), boxes(*found)).scores()
    assert (s["fragmentations"], s["switches"], s["misses"], s["false_alarms"]) == (1, 0, 1, 0)
    assert s["MOTA"] == pytest.approx(9 / 10)
    assert s["DetA"] == pytest.approx(9 / 10)
    assert s["AssA"] == pytest.approx((4 * 4 / 5 + 5) / 9)
    assert s["IDF1"] == pytest.approx(2 * 9 / (10 + 9))


def test_localisation_counts_threshold_by_threshold() -> None:
    """A box of IoU 0.6 matches at 12 of the 19 thresholds (0.05 ... 0.60)."""
    found = (0.0, 0.0, 60.0, 100.0)
    counts = score_drive(truth((0, 1, A)), boxes((0, 1, found)))
    curves = counts.curves()
    assert (ALPHAS <= 0.6 + 1e-9).sum() == 12
    np.testing.assert_allclose(curves["DetA"], np.arange(19) < 12)
    np.testing.assert_allclose(curves["LocA"], np.where(np.arange(19) < 12, 0.6, 1.0))
    assert counts.scores()["HOTA"] == pytest.approx(12 / 19)
    assert counts.scores()["MOTP"] == pytest.approx(0.6)


def test_false_alarms_and_misses() -> None:
    s = score_drive(truth((0, 1, A), (1, 1, A)), boxes((0, 5, A), (0, 6, B), (1, 6, B))).scores()
    assert (s["misses"], s["false_alarms"]) == (1, 2)
    assert s["MOTA"] == pytest.approx((1 - 2) / 2)
    assert s["DetA"] == pytest.approx(1 / 4)


def test_clear_keeps_last_frames_partner_though_another_overlaps_more() -> None:
    near = (10.0, 0.0, 110.0, 100.0)
    found = boxes((0, 1, A), (1, 1, near), (1, 2, A))
    assert score_drive(truth((0, 1, A), (1, 1, A)), found).scores()["switches"] == 0
    gone = boxes((0, 1, A), (2, 1, near), (2, 2, A))
    labels = truth((0, 1, A), (1, 1, A), (1, 9, B), (2, 1, A))
    # frame 1 has labels only and is passed over; found ids 1 and 2 then meet in frame 2
    assert score_drive(labels, gone).scores()["switches"] == 0


def test_counts_add_over_drives() -> None:
    one = score_drive(truth((0, 1, A)), boxes((0, 1, A)))
    two = score_drive(truth((0, 1, A), (1, 1, A)), boxes())
    s = (one + two).scores()
    assert s["DetA"] == pytest.approx(1 / 3)
    assert (s["ground_truths"], s["mostly_lost"]) == (3, 1)


def test_nothing_labelled_is_no_score() -> None:
    s = score_drive(truth(), boxes((0, 1, A))).scores()
    assert math.isnan(s["HOTA"]) and math.isnan(s["MOTA"])
    assert s["false_alarms"] == 1
    empty = TrackCounts().scores()
    assert empty["ground_truths"] == 0 and math.isnan(empty["IDF1"])


LABEL = "{f} {i} {kind} {cut} {hidden} 0 {x1} {y1} {x2} {y2} 1 1 1 0 0 9 0"


def label(kind: str, i: int, box: tuple[float, ...], hidden: int = 0, cut: int = 0) -> str:
    x1, y1, x2, y2 = box
    return LABEL.format(f=0, i=i, kind=kind, cut=cut, hidden=hidden, x1=x1, y1=y1, x2=x2, y2=y2)


def kitti(tmp_path: Path, labels: list[str], found: list[str], name: str = "Car") -> dict:
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    (tmp_path / "found.txt").write_text("\n".join(f + " 0.9" for f in found))
    pair = read_kitti(tmp_path / "labels.txt"), read_kitti(tmp_path / "found.txt")
    return score_kitti(*pair, name).scores()


@pytest.mark.parametrize(
    ("labels", "false_alarms"),
    [
        ([label("Van", 2, B)], 0),
        ([label("Truck", 2, B)], 1),
        ([label("Car", 2, B, hidden=3)], 0),
        ([label("Car", 2, B, cut=1)], 0),
        ([label("DontCare", -1, (290, 0, 360, 100))], 0),
        ([label("DontCare", -1, (290, 0, 340, 100))], 1),
        ([], 1),
    ],
    ids=["van", "truck", "hidden", "cut", "in area", "too little in area", "nothing there"],
)
def test_kitti_ignores(tmp_path: Path, labels: list[str], false_alarms: int) -> None:
    s = kitti(tmp_path, [label("Car", 1, A), *labels], [label("Car", 1, A), label("Car", 2, B)])
    assert (s["false_alarms"], s["misses"], s["ground_truths"]) == (false_alarms, 0, 1)


def test_kitti_drops_low_boxes_only_where_unmatched(tmp_path: Path) -> None:
    low = (500.0, 0.0, 560.0, 20.0)
    s = kitti(tmp_path, [label("Car", 1, A)], [label("Car", 1, A), label("Car", 2, low)])
    assert s["false_alarms"] == 0
    s = kitti(tmp_path, [label("Car", 1, low)], [label("Car", 1, low)])
    assert s["DetA"] == pytest.approx(1)


def test_kitti_seated_persons_beside_pedestrians(tmp_path: Path) -> None:
    for kind in ("Person", "Person_sitting"):
        labels = [label("Pedestrian", 1, A), label(kind, 2, B)]
        found = [label("Pedestrian", 1, A), label("Pedestrian", 2, B)]
        assert kitti(tmp_path, labels, found, "Pedestrian")["false_alarms"] == 0


def test_mot_files_and_distractors(tmp_path: Path) -> None:
    gt = ["1,1,0,0,100,100,1,1,1", "1,2,300,0,100,100,1,8,1", "1,3,600,0,100,100,0,1,1"]
    found = [f"1,{i},{x},0,100,100,0.9,-1,-1,-1" for i, x in ((5, 0), (6, 300), (7, 600))]
    (tmp_path / "gt.txt").write_text("\n".join(gt))
    (tmp_path / "found.txt").write_text("\n".join(found))
    labels = read_mot(tmp_path / "gt.txt")
    assert labels.frame.tolist() == [0, 0, 0]
    assert labels.xyxy[1].tolist() == [300, 0, 400, 100]
    s = score_mot(labels, read_mot(tmp_path / "found.txt")).scores()
    # the distractor's match is dropped; the one not to be counted leaves a false alarm
    assert (s["ground_truths"], s["misses"], s["false_alarms"]) == (1, 0, 1)
    assert mot_truth(labels).counted.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 1 Car 0 0\n", r"labels\.txt:1: expected 17 or 18 fields"),
        (
            label("Car", 1, A) + "\n" + label("Car", 2, A).replace("100.0", "x"),
            r":2: expected numb",
        ),
        (label("Car", 1, A).replace("100.0", "nan"), r":1: expected finite numbers"),
        (label("Car", 1, A) + "\n" + label("Car", 1, B), r":2: id 1 is in frame 0 twice"),
        ("-" + label("Car", 1, A).replace("0 1", "1 1", 1), r":1: expected whole frame and id"),
    ],
)
def test_malformed_files_are_named_with_their_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(InputError, match=expected):
        kitti_truth(read_kitti(tmp_path / "labels.txt"), "Car")


def shaken(source: Path, target: Path, rng: np.random.Generator) -> None:
    """Tracks made of labels: boxes shaken, some lost, some with another's id, some of nothing."""
    lines = []
    for row in source.read_text().splitlines():
        f = row.split()
        if f[2] not in ("Car", "Pedestrian", "Van", "Person") or rng.random() < 0.1:
            continue
        kind = {"Van": "Car", "Person": "Pedestrian"}.get(f[2], f[2])
        box = np.array(f[6:10], float)
        size = (box[2:] - box[:2])[[0, 1, 0, 1]]
        box += size * rng.normal(0, 0.08, 4)
        i = int(f[1]) + 1000 * int(int(f[0]) % 40 > 20)
        text = " ".join(f"{v:.3f}" for v in box)
        lines.append(f"{f[0]} {i} {kind} -1 -1 -10 {text} -1 -1 -1 -1000 -1000 -1000 -10 0.9")
        if rng.random() < 0.05:
            text = " ".join(f"{v:.3f}" for v in box + size * 0.3)
            lines.append(
                f"{f[0]} {i + 5000} {kind} -1 -1 -10 {text} -1 -1 -1 -1000 -1000 -1000 -10 0.5"
            )
    target.write_text("\n".join(lines) + "\n")


@pytest.mark.skipif(
    "ROADSTACK_TRACKEVAL_PYTHON" not in os.environ,
    reason="ROADSTACK_TRACKEVAL_PYTHON names no interpreter with trackeval",
)
def test_equal_to_the_reference_on_real_labels(realdata: Path, tmp_path: Path) -> None:
    labels = realdata / "kitti_tracking" / "training" / "label_02"
    found = tmp_path / "found"
    found.mkdir()
    rng = np.random.default_rng(0)
    for file in sorted(labels.glob("*.txt")):
        shaken(file, found / file.name, rng)
    theirs = trackeval_scores(os.environ["ROADSTACK_TRACKEVAL_PYTHON"], labels, found)["scores"]
    ours = {}
    for name in CLASSES:
        counts = TrackCounts()
        for file in sorted(labels.glob("*.txt")):
            counts += score_kitti(read_kitti(file), read_kitti(found / file.name), name)
        scores = counts.scores()
        assert scores["switches"] > 20 and 0.4 < scores["HOTA"] < 0.9
        ours[name] = figures(counts)
    assert set(ours) == set(theirs)
    assert greatest_difference(ours, theirs) <= 1e-9


# what the reference is asked on MOT sequences, in its own environment
_MOT_REFERENCE = """
import contextlib, io, json, sys
from pathlib import Path
import trackeval
work, lengths = Path(sys.argv[1]), json.loads(sys.argv[2])
with contextlib.redirect_stdout(io.StringIO()):
    data = trackeval.datasets.MotChallenge2DBox(dict(
        GT_FOLDER=str(work / "gt"), TRACKERS_FOLDER=str(work / "tr"), TRACKERS_TO_EVAL=["ours"],
        BENCHMARK="MOT17", SKIP_SPLIT_FOL=True, SEQ_INFO=lengths, PRINT_CONFIG=False,
        GT_LOC_FORMAT="{gt_folder}/{seq}/gt/gt.txt"))
    metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(dict(PRINT_CONFIG=False)),
               trackeval.metrics.Identity(dict(PRINT_CONFIG=False))]
    parts = {}
    for drive in data.seq_list:
        raw = data.get_raw_seq_data("ours", drive)
        d = data.get_preprocessed_seq_data(raw, "pedestrian")
        for m in metrics:
            parts.setdefault(m.get_name(), {})[drive] = m.eval_sequence(d)
    out = {k: v for m in metrics for k, v in m.combine_sequences(parts[m.get_name()]).items()}
print(json.dumps(out, default=lambda a: a.tolist()))
"""


def mot_sequence(rng: np.random.Generator, frames: int) -> tuple[str, str]:
    """Labels of walking persons and of everything that MOT does not judge, and tracks of them."""
    labels, found = [], []
    for i in range(1, 25):
        kind = int(rng.choice([1, 1, 1, 1, 2, 3, 7, 8, 12]))
        at, step = rng.uniform(0, 600, 2), rng.normal(0, 3, 2)
        size = rng.uniform(20, 90) * np.array([1.0, 2.2])
        shown = int(rng.random() < 0.9)  # 0: not judged
        for f in range(int(rng.integers(1, 10)), int(rng.integers(frames // 2, frames + 1))):
            box = [*(at + f * step), *size]
            text = ",".join(f"{v:.2f}" for v in box)
            labels.append(f"{f},{i},{text},{shown},{kind},1")
            if rng.random() < 0.85:
                near = np.array(box) + rng.normal(0, 0.07, 4) * np.tile(size, 2)
                text = ",".join(f"{v:.2f}" for v in near)
                found.append(f"{f},{i + 100 * (f > frames / 2 and i % 3 == 0)},{text},0.8,-1,-1,-1")
    for f in range(1, frames, 3):
        found.append(f"{f},{900 + f},{rng.uniform(0, 600):.2f},50.00,30.00,60.00,0.4,-1,-1,-1")
    return "\n".join(labels) + "\n", "\n".join(found) + "\n"


@pytest.mark.skipif(
    "ROADSTACK_TRACKEVAL_PYTHON" not in os.environ,
    reason="ROADSTACK_TRACKEVAL_PYTHON names no interpreter with trackeval",
)
def test_mot_equals_the_reference(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    lengths, counts = {f"M{k}": 40 + 7 * k for k in range(4)}, TrackCounts()
    (tmp_path / "tr/ours/data").mkdir(parents=True)
    for name, frames in lengths.items():
        labels, tracks = tmp_path / f"gt/{name}/gt/gt.txt", tmp_path / f"tr/ours/data/{name}.txt"
        labels.parent.mkdir(parents=True)
        for path, text in zip((labels, tracks), mot_sequence(rng, frames), strict=True):
            path.write_text(text)
        counts += score_mot(read_mot(labels), read_mot(tracks))
    python = os.environ["ROADSTACK_TRACKEVAL_PYTHON"]
    done = subprocess.run(
        [python, "-c", _MOT_REFERENCE, tmp_path, json.dumps(lengths)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours, theirs = figures(counts), json.loads(done.stdout.splitlines()[-1])
    assert 0.3 < counts.scores()["HOTA"] < 0.95 and ours["IDSW"] > 5
    assert greatest_difference({"": ours}, {"": theirs}) <= 1e-9


def test_a_difference_is_found_and_never_hidden_by_nan() -> None:
    ours = {"Car": {"MOTA": 0.5, "HOTA": [0.1, 0.2]}}
    assert greatest_difference(ours, ours) == 0
    other = {"Car": {"MOTA": 0.5, "HOTA": [0.1, 0.3]}}
    assert greatest_difference(ours, other) == pytest.approx(0.1)
    assert math.isnan(greatest_difference(ours, {"Car": {"MOTA": math.nan, "HOTA": [0.1, 0.2]}}))


def test_the_comparison_refuses_what_it_cannot_score(tmp_path: Path, capsys) -> None:
    (tmp_path / "0000.txt").write_text("")
    argv = ["--labels", str(tmp_path), "--tracks", str(tmp_path), "--trackeval", "/nowhere/python"]
    assert compare_speed(argv) == 2
    assert "--trackeval /nowhere/python: cannot score" in capsys.readouterr().err
    assert compare_speed(["--labels", str(tmp_path), "--tracks", "/nowhere", *argv[4:]]) == 2
    assert "expected the tracks of each drive" in capsys.readouterr().err


@pytest.mark.parametrize(("drive", "false_alarms"), [("MOT17-02", 1), ("MOT20-01", 0), ("", 1)])
def test_mot20_does_not_judge_vehicles_without_a_motor(
    tmp_path: Path, drive: str, false_alarms: int
) -> None:
    (tmp_path / "gt.txt").write_text("1,1,0,0,100,100,1,1,1\n1,2,300,0,100,100,1,6,1")
    (tmp_path / "found.txt").write_text("1,5,0,0,100,100,1,-1,-1,-1\n1,6,300,0,100,100,1,-1,-1,-1")
    found = read_mot(tmp_path / "found.txt")
    s = score_mot(read_mot(tmp_path / "gt.txt"), found, drive).scores()
    assert (s["ground_truths"], s["false_alarms"]) == (1, false_alarms)
