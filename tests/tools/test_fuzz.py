"""A few hundred spoilt files of every kind, and one test for each fault that more have found.

More: ``python tests/tools/fuzz_inputs.py --count 10000``.
"""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.config import read_toml
from data.datasets import open_dataset
from data.errors import InputError
from data.logs.bags.ros1 import _u64
from data.logs.bags.store import Damaged
from data.logs.comma import _load, _turn_rate
from perception.metrics.frames import load
from perception.runtime import load_model
from perception.tracking.calibration import load_calibration
from perception.tracking.detection_files import read_detections
from planning.mapfile import load_map
from tools.cli import main
from tools.diff import compare_records
from tools.inject import load_faults
from tools.plan import load_vehicle
from tools.track import _lively
from tools.view.player_data import _step

HERE = Path(__file__).parent
MAP = "image: {image}\nresolution: 0.25\norigin: [0, 0, 0]\n"


def test_spoilt_files_are_taken_or_refused_in_one_line(tmp_path):
    for package in ("onnx", "torch", "rosbags", "mcap"):
        pytest.importorskip(package)
    # of a plan, the compiling alone takes longer than all others
    words = ["--count", "300", "--seed", "7", "--skip", "plan", "--keep", str(tmp_path)]
    command = [sys.executable, str(HERE / "fuzz_inputs.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "300 inputs" in done.stdout


def refused(call, *given):
    with pytest.raises(InputError) as caught:
        call(*given)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_message_cannot_play_on_the_terminal():
    assert str(InputError("a\x1b[2Jb\nc\ud83d\u202e")) == "a?[2Jb c??"


def test_a_toml_file_that_the_parser_would_sit_on_for_long(tmp_path):
    for text in (
        "a" + ".a" * 5000 + " = 1",
        "a = " + "[" * 5000,
        "a = " + "9" * 5000,
        "#" * 2_000_000,
    ):
        (tmp_path / "c.toml").write_text(text)
        begun = time.process_time()
        assert "not valid TOML" in refused(read_toml, tmp_path / "c.toml", "config")
        assert time.process_time() - begun < 5


def test_a_setting_too_large_for_a_number(tmp_path):
    (tmp_path / "f.toml").write_text('[[fault]]\nkind = "black"\nstart_s = 1' + "0" * 400)
    assert "expected a number" in refused(load_faults, tmp_path / "f.toml")


@pytest.mark.parametrize("value", ["1" + "0" * 400, "1e-320", "nan", "-1"])
def test_a_vehicle_of_no_possible_size(tmp_path, value):
    (tmp_path / "v.toml").write_text(f"width_m = {value}\n")
    assert "width_m: expected a number" in refused(load_vehicle, tmp_path / "v.toml")


def test_aliases_that_stand_for_more_than_a_memory_holds(tmp_path):
    lines = ["a0: &a0 ha"] + [f"a{n}: &a{n} [{f'*a{n - 1},' * 10}]" for n in range(1, 12)]
    (tmp_path / "m.yaml").write_text("\n".join(lines) + "\n" + MAP.format(image="*a11"))
    assert "no valid YAML" in refused(load_map, tmp_path / "m.yaml")


def test_a_map_is_not_unpacked_before_its_size_is_known(tmp_path, monkeypatch):
    png = bytearray(cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes())
    png[16:24] = struct.pack(">II", 30_000, 30_000)
    (tmp_path / "m.png").write_bytes(png)
    (tmp_path / "m.yaml").write_text(MAP.format(image="m.png"))
    monkeypatch.delattr("planning.mapfile.cv2.imdecode")
    assert "image of 30000x30000 cells" in refused(load_map, tmp_path / "m.yaml")


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"bbox": ' + "9" * 5000 + "}]"])
def test_detections_that_the_json_reader_gives_up_on(tmp_path, text):
    (tmp_path / "0001.json").write_text(text)
    assert "cannot be read" in refused(read_detections, tmp_path, "coco")


@pytest.mark.parametrize("part", ["images", "categories"])
def test_detections_with_odd_tables(tmp_path, part):
    table = {"annotations": [], "images": [], "categories": [], part: [{"id": []}, 3]}
    (tmp_path / "0001.json").write_text(json.dumps(table))
    assert "expected lists of entries" in refused(read_detections, tmp_path, "coco")


@pytest.mark.parametrize("odd", [{"bbox": [10**400, 1, 2, 3]}, {"file_name": 10**30}])
def test_a_box_or_frame_too_large_for_a_number(tmp_path, odd):
    row = {"file_name": "1.png", "category": "car", "bbox": [1, 1, 2, 3], "score": 1, **odd}
    (tmp_path / "0001.json").write_text(json.dumps([row]))
    assert "entry 0" in refused(read_detections, tmp_path, "coco")


def test_frames_that_nothing_was_seen_in_for_long_are_passed_over():
    frames, seen = np.arange(9_000_000), np.array([3, 5_000_000])
    kept = _lively(frames, seen, 10.0)
    assert kept[[0, 1003, 1004, -1]].tolist() == [0, 1003, 5_000_000, 5_001_000]
    assert len(_lively(frames[:900], seen[:0], 10.0)) == 900


def test_a_score_map_too_steep_for_a_number(tmp_path):
    table = {"detector": "x", "scores": "raw", "classes": {"Car": {"slope": 10**400, "offset": 0}}}
    (tmp_path / "c.json").write_text(json.dumps(table))
    assert "no calibration file" in refused(load_calibration, tmp_path / "c.json")


def test_a_model_whose_texts_are_none(tmp_path):
    onnx = pytest.importorskip("onnx")
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Abs", ["x"], ["y"])], "g", [x], [y])
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.helper.set_model_props(model, {"note": "abcdef"})
    raw = model.SerializeToString().replace(b"abcdef", b"abc\xff\xfef")
    (tmp_path / "m.onnx").write_bytes(raw)
    assert "not a usable ONNX file" in refused(load_model, str(tmp_path / "m.onnx"))


@pytest.mark.parametrize("listed", ["a" * 5000, "a/" * 3000])
def test_a_list_of_names_too_long_to_be_any(tmp_path, listed):
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "JPEGImages/a.jpg"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "Annotations/a.xml").write_text("<annotation/>")
    (tmp_path / "ImageSets/Main/train.txt").write_text(f"a\n{listed}\n")
    d = open_dataset(tmp_path, "train", "voc")
    assert "a" in [Path(n).stem for n in d.names]


def test_a_folder_of_a_name_too_long_to_be_any(tmp_path):
    (tmp_path / "data.yaml").write_text(f"train: {'a' * 5000}\nnames: [car]\n")
    refused(open_dataset, tmp_path, "train", "yolo")


def test_a_bag_that_names_a_place_beyond_any_file():
    with pytest.raises(Damaged, match="beyond any file"):
        _u64(b"\xff" * 8)


def test_arrays_of_a_drive_that_are_none(tmp_path):
    faults: list[str] = []
    head = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (3,"
    (tmp_path / "t").write_bytes(head.ljust(128) + bytes(24))
    np.savez(tmp_path / "z.npz", a=np.zeros(3))
    for name in ("t", "z.npz"):
        assert _load(tmp_path / name, 1, faults) is None
    assert len(faults) == 2


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("value", [0.0, 1e308, np.inf, np.nan])
def test_poses_of_a_drive_that_are_none(tmp_path, value):
    (tmp_path / "global_pose").mkdir()
    for name, columns in (("frame_orientations", 4), ("frame_positions", 3)):
        with (tmp_path / "global_pose" / name).open("wb") as f:
            np.save(f, np.full((5, columns), value))
    assert _turn_rate(tmp_path, np.arange(5.0), []) is None


def row(**other):
    plan = {"status": "OK", "reason": "", "length_m": 0.0, "points": []}
    base = {"schema": "roadstack-record-1", "index": 0, "t_ns": 0, "faults": [], "plan": plan}
    return {**base, **other}


ODD = [
    {"faults": 3}, {"plan": []}, {"plan": {}}, {"index": "x"}, {"index": float("nan")},
    {"camera": {}}, {"camera": {}, "detections": [{}], "tracks": [], "surfaces": {}},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_lines_of_a_record_with_other_fields(tmp_path, capfd, odd):
    (tmp_path / "a.jsonl").write_text(json.dumps(row(**odd)) + "\n")
    file = str(tmp_path / "a.jsonl")
    for words in (["diff", file, file], ["score-plans", file]):
        code = main(words)
        errors = capfd.readouterr().err.splitlines()
        # what score-plans does not look at is no fault to it
        assert (code, len(errors)) == (2, 1) or (words[0] != "diff" and (code, errors) == (0, []))


def test_a_length_in_a_record_too_large_for_a_number():
    long = row(plan={**row()["plan"], "length_m": 10**400})
    said = refused(compare_records, iter([row(), row()]), iter([row(), long]), {})
    assert said.startswith("line 2: no line of")


@pytest.mark.parametrize("odd", [{"index": 10**400}, {"tracks": [{"id": 10**400}]}])
def test_a_number_of_a_frame_or_track_too_large_for_the_page(odd):
    with pytest.raises(ValueError, match="too large"):
        _step(row(**odd), [])


def test_packed_records_that_are_damaged_or_without_end(tmp_path, capfd):
    packed = bytearray(gzip.compress((json.dumps(row()) + "\n").encode() * 50))
    packed[20:60] = b"\xff" * 40
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"[" * (40 << 20), 1))
    for name, says in (("a", "cannot be read"), ("b", "line 1 is no line")):
        file = str(tmp_path / f"{name}.jsonl.gz")
        assert main(["diff", file, file]) == 2
        assert says in capfd.readouterr().err


def test_an_archive_of_frames_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr("perception.metrics.frames._MAX_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "frames.npz", a=np.zeros(1 << 20))
    assert "unpacked it would take 8 MB" in refused(load, tmp_path / "frames.npz")
    (tmp_path / "frames.npz").write_bytes(b"PK\x03\x04" + bytes(200))
    assert "not a record" in refused(load, tmp_path / "frames.npz")
