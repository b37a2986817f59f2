"""Searching records: the condition's language, the tables behind it, moments and clips."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.logs import open_log
from planning.scores import Limits
from tools.cli import main
from tools.find import Match, merge
from tools.find_condition import parse_condition
from tools.score_plans import score_row
from tools.view.video import VideoWriter, join_videos

COLUMNS = {"ttc_s": 'f."ttc_s"', "class": 'o."class"', "t_s": 'f."t_s"', "has_path": "f.p"}


def sql(text: str) -> str:
    return parse_condition(text, COLUMNS).sql


def refused(text: str) -> str:
    with pytest.raises(InputError) as e:
        parse_condition(text, COLUMNS)
    assert "\n" not in str(e.value)
    return str(e.value)


def test_a_condition_is_written_anew_as_sql():
    assert sql("ttc_s < 2 and class == 'person'") == (
        '((f."ttc_s" < CAST(2 AS DOUBLE)) AND (o."class" = \'person\'))'
    )
    assert sql('not class in ("a", "b")') == "(NOT (o.\"class\" IN ('a', 'b')))"
    assert sql("has_path") == "f.p"
    found = parse_condition("t_s > 1 or ttc_s is not null", COLUMNS)
    assert found.columns == ("t_s", "ttc_s")


def test_a_quote_in_a_text_stays_in_it():
    assert sql("class = 'a'' or 1=1 --'") == "(o.\"class\" = 'a'' or 1=1 --')"
    assert sql('class = "it\'s"') == "(o.\"class\" = 'it''s')"


@pytest.mark.parametrize(
    "text",
    [
        "ttc_s < 2; drop table frames", "ttc_s < 2 -- x", "ttc_s < (select 1)", "1 = 1) or (1 = 1",
        "ttc_s in (select t_s)", "read_text('/etc/passwd') = 'x'", "class like", "ttc_s < 2 2",
        "exists (1)", "f.ttc_s < 1", "ttc_s < $1", "ttc_s::int < 1", "", "ttc_s", "'a'",
        "(" * 500 + "1", "-" * 500 + "1 < 2", "ttc_s < 1e", "class = 'open", "/* */ ttc_s < 1",
        "sqrt(" * 40 + "t_s" + ")" * 40 + " < 2",
    ],
)  # fmt: skip
def test_what_is_no_boolean_expression_is_refused(text):
    refused(text)


def test_an_unknown_column_names_the_nearest():
    assert "did you mean 'ttc_s'" in refused("ttc < 2")
    assert "quotes: 'person'" in refused("class == person")
    columns = {name: f'f."{name}"' for name in ("own_speed_mps", "plan_speed_mps", "skipped")}
    with pytest.raises(InputError, match="mean 'own_speed_mps' or 'plan_speed_mps'"):
        parse_condition("speed > 3", columns)


def test_what_a_column_never_holds_is_refused():
    values = {"class": ("person", "vehicle")}
    for text in ("class == 'persn'", "t_s > 1 and class in ('person', 'car')", 'class != "bus"'):
        with pytest.raises(InputError, match=r"no class is .*; expected one of person, vehicle"):
            parse_condition(text, COLUMNS, values)
    for text in ("class == 'person'", "class in ('person', 'vehicle')", "class like 'pers%'"):
        assert parse_condition(text, COLUMNS, values).sql == sql(text)


def track(number: int, kind: str, x: float, vx: float = 0.0) -> dict:
    return {
        "id": number, "class": kind, "score": 0.9, "xyxy": [1, 2, 30, 40], "age_s": 1.0,
        "since_update_s": 0.0, "position_m": [x, 0.0], "position_std_m": [1.0, 1.0],
        "velocity_mps": [vx, 0.0],
    }  # fmt: skip


def write_run(folder: Path, tracks: dict[int, list[dict]], frames: int = 30) -> Path:
    """A run at 10 frames a second, driving straight on at 10 m/s, with its overlay: frame n is a
    picture of grey 8 n."""
    folder.mkdir(parents=True)
    points = [[float(x), 0.0, 0.0, 10.0, 0.0, x / 10] for x in range(0, 41, 5)]
    records, times = [], []
    for n in range(frames):
        faults = ["black: nothing to see"] if n == 4 else []
        records.append(
            {"schema": "roadstack-record-1", "index": 100 + n, "t_ns": n * 100_000_000 + 5,
             "own_motion": {"source": "pictures", "speed_mps": float(n)} if n else None,
             "faults": faults, "tracks": tracks.get(n, []), "detections": [],
             "plan": {"status": "OK", "reason": "it's \"free\"", "length_m": 40.0,
                      "points": points}}
        )  # fmt: skip
        times.append({"index": 100 + n, "stage_ms": {"decode": 5.0, "plan": 2.0 + n},
                      "deadline_missed": False})  # fmt: skip
    for name, rows in (("record.jsonl", records), ("timings.jsonl", times)):
        (folder / name).write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "summary.json").write_text(json.dumps({"source": "/x/a log.mp4"}))
    with VideoWriter(folder / "overlay.mp4", 64, 32, 10.0) as video:
        for n in range(frames):
            video.write(np.full((32, 64, 3), 8 * n, np.uint8), n * 100_000_000)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, one in a folder with a difficult name; a person 8 m ahead in frames 10 to 14."""
    pytest.importorskip("duckdb")
    root = tmp_path_factory.mktemp("runs")
    near = [track(7, "person", 8.0, -10.0), track(8, "vehicle", 30.0)]
    write_run(root / "one", dict.fromkeys([*range(10, 15), 20], near))
    write_run(root / "sub" / "it's [2]*", {3: [track(1, "vehicle", 30.0, 5.0)]})
    return root


def find(root: Path, condition: str, tmp_path: Path, *more: str) -> list[dict]:
    out = tmp_path / "m.json"
    assert main(["find", str(root), condition, "--out", str(out), *more]) == 0
    return json.loads(out.read_text())["moments"]


def test_frames_close_together_are_one_moment(runs, tmp_path):
    found = find(runs, "ttc_s < 1 and class == 'person'", tmp_path, "--gap", "0.5")
    assert [(m["run"], m["first"], m["last"], m["frames"]) for m in found] == [
        ("one", 10, 14, 5), ("one", 20, 20, 1),
    ]  # fmt: skip
    assert found[0]["objects"] == [7] and found[0]["log"] == "a log.mp4"
    assert found[0]["first_index"] == 110 and found[0]["from_s"] == pytest.approx(1.0, abs=1e-6)
    line = (runs / "one" / "record.jsonl").read_text().splitlines()[10]
    assert found[0]["values"]["ttc_s"] == [score_row(json.loads(line), Limits()).collision_s]
    together = find(runs, "ttc_s < 1 and class == 'person'", tmp_path, "--gap", "0.6")
    assert [(m["first"], m["last"], m["frames"]) for m in together] == [(10, 20, 6)]


def test_frames_without_objects_are_found_too(runs, tmp_path):
    found = find(runs, "class == 'person' or faults like '%black%'", tmp_path, "--gap", "0.1")
    assert [(m["run"], m["first"]) for m in found] == [
        ("one", 4), ("one", 10), ("one", 20), ("sub/it's [2]*", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "nothing",
    [
        "sqrt(-1)",
        "sqrt(t_s - 9)",
        "0 / 0",
        "t_s / (t_s - t_s)",
        "1 / 0",
        "1 % 0",
        "frame % (t_s * 0)",
    ],
)
def test_what_is_no_number_is_greater_than_none(runs, tmp_path, nothing):
    for condition in (
        f"{nothing} > 0",
        f"{nothing} < 0",
        f"0 <> {nothing}",
        f"greatest({nothing}, -1) > 0",
    ):
        assert find(runs, condition, tmp_path) == []
    (one, two) = find(runs, f"{nothing} is null", tmp_path)
    assert (one["frames"], two["frames"]) == (30, 30)


def test_roots_quotients_and_rests(runs, tmp_path):
    def frames(condition: str) -> list[tuple[int, int]]:
        return [
            (m["first"], m["last"]) for m in find(runs, f"({condition}) and run = 'one'", tmp_path)
        ]

    assert frames("sqrt(t_s) >= 1") == [(10, 29)]
    assert frames("10 / frame > 2") == [(1, 4)]  # frame 0 has no quotient
    assert frames("frame % 10 = 9") == [(9, 9), (19, 19), (29, 29)]
    assert frames("200 / frame / 2 < 4") == [(26, 29)]


def test_columns_of_frames_and_objects(runs, tmp_path):
    cases = {
        "n_person = 1 and n_objects = 2 and nearest_class = 'person' and nearest_m = 8": 6,
        "plan_ms between 2 and 3.5": 4,
        "frame_ms = plan_ms and decode_ms = 5": 60,
        "reason = 'it''s \"free\"' and speed_target_mps = 10": 60,
        "class = 'vehicle' and vx_mps > 1 and object_ttc_s is null": 1,
        "index >= 125 and has_path and not run = 'one'": 5,
        "id = 7 and object_ttc_s < 1 and distance_m = hypot(x_m, y_m)": 6,
    }
    for condition, frames in cases.items():
        found = find(runs, condition, tmp_path)
        assert sum(m["frames"] for m in found) == frames, condition


def test_a_changed_record_is_read_anew(tmp_path):
    pytest.importorskip("duckdb")
    run = write_run(tmp_path / "r", {}, frames=3)
    assert len(find(run, "n_vehicle > 0", tmp_path)) == 0
    before = (run / "frames.parquet").stat().st_mtime_ns
    assert len(find(run, "t_s >= 0", tmp_path)) == 1
    assert (run / "frames.parquet").stat().st_mtime_ns == before
    lines = (run / "record.jsonl").read_text().replace(
        '"tracks": []', f'"tracks": [{json.dumps(track(1, "vehicle", 9.0))}]'
    )  # fmt: skip
    (run / "record.jsonl").write_text(lines)
    found = find(run, "n_vehicle > 0", tmp_path)
    assert [(m["run"], m["frames"]) for m in found] == [("r", 3)]
    assert not [p for p in os.listdir(run) if p.endswith(".part")]


def test_clips_hold_the_moment_and_its_margin_to_the_frame(runs, tmp_path):
    found = find(runs, "frame between 10 and 14", tmp_path, "--clips", str(tmp_path / "c"),
                 "--margin", "0.2")  # fmt: skip
    assert [m["clip"] for m in found] == ["one_1.00-1.40.mp4", "sub_it_s_2_1.00-1.40.mp4"]
    frames = list(open_log(tmp_path / "c" / found[0]["clip"]))
    whole = np.array([f.image.mean() for f in open_log(runs / "one" / "overlay.mp4")])
    nearest = [int(np.abs(whole - f.image.mean()).argmin()) for f in frames]
    assert nearest == list(range(8, 17))
    assert [f.t_ns for f in frames] == [n * 100_000_000 for n in range(9)]


def test_clips_behind_a_clock_that_was_set_hold_the_moment_too(tmp_path):
    """Of the overlay's pauses only a second is left."""
    pytest.importorskip("duckdb")
    run, parts = write_run(tmp_path / "runs" / "set", {}), []
    rows = [json.loads(x) for x in (run / "record.jsonl").read_text().splitlines()]
    for row in rows[12:]:
        row["t_ns"] += 10**15
    (run / "record.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for first, end in ((0, 12), (12, 30)):
        path = tmp_path / f"{first}.mp4"
        with VideoWriter(path, 64, 32, 10.0, plain=True) as video:
            for n in range(first, end):
                video.write(np.full((32, 64, 3), 8 * n, np.uint8), rows[n]["t_ns"])
        parts.append((path, rows[first]["t_ns"]))
    join_videos(parts, run / "overlay.mp4")
    for frame in (4, 20):
        clips = tmp_path / f"c{frame}"
        (m,) = find(run, f"frame = {frame}", tmp_path, "--clips", str(clips), "--margin", "0.1")
        grey = [f.image.mean() for f in open_log(clips / m["clip"])]
        assert grey == pytest.approx([8 * n for n in range(frame - 1, frame + 2)], abs=3)


def test_a_clip_of_a_moment_across_a_clock_that_was_set_ends_with_it(tmp_path, monkeypatch):
    pytest.importorskip("duckdb")
    run, asked = write_run(tmp_path / "set", {}), []
    rows = [json.loads(x) for x in (run / "record.jsonl").read_text().splitlines()]
    for row in rows[12:]:
        row["t_ns"] += 10**12
    (run / "record.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    monkeypatch.setattr("tools.clips.cut_clip", lambda _, __, *times: asked.append(times))
    more = ("--gap", "2000", "--clips", str(tmp_path / "c"), "--margin", "0")
    (m,) = find(run, "frame >= 10", tmp_path, *more)
    assert (m["video_s"], m["video_to_s"]) == pytest.approx((1.0, 1.1 + 1.0 + 1.7), abs=1e-6)
    assert asked == [(m["video_s"], m["video_to_s"])]


def test_a_run_below_one_of_the_same_name_is_another(tmp_path):
    pytest.importorskip("duckdb")
    outer = write_run(tmp_path / "week", {1: [track(7, "person", 8.0)]}, frames=3)
    write_run(outer / "week", {1: [track(8, "vehicle", 8.0)]}, frames=6)
    (outer / "week" / "overlay.mp4").unlink()
    found = find(outer, "n_objects = 1", tmp_path, "--clips", str(tmp_path / "c"))
    assert [(m["run"], m["frames"], m.get("clip")) for m in found] == [
        (".", 1, "week_0.10-0.10.mp4"), ("week", 1, None),
    ]  # fmt: skip
    both = find(outer, "id = 7 or id = 8", tmp_path)
    assert [(m["run"], m["objects"]) for m in both] == [(".", [7]), ("week", [8])]


def test_a_clip_at_the_beginning_is_not_longer_than_the_video(runs, tmp_path):
    find(runs, "frame < 2 and run = 'one'", tmp_path, "--clips", str(tmp_path / "c"))
    (clip,) = (tmp_path / "c").iterdir()
    assert len(list(open_log(clip))) == 12


def test_moments_as_csv(runs, tmp_path):
    out = tmp_path / "m.csv"
    assert main(["find", str(runs), "class = 'person'", "--out", str(out)]) == 0
    with out.open() as f:
        rows = list(csv.DictReader(f))
    assert rows[0]["run"] == "one" and rows[0]["objects"] == "7"
    assert rows[0]["class_least"] == "person" and rows[0]["frames"] == "5"


def test_merging_does_not_cross_runs_or_go_back_in_time():
    def match(run: str, frame: int, t_s: float) -> Match:
        return Match(run, run, frame, frame, t_s, t_s, [], {"x": [frame], "s": ["b", "a"]})

    found = list(merge([match("a", 0, 0), match("a", 1, 0.1), match("b", 0, 0.2),
                        match("b", 1, 0.1)], 0.5))  # fmt: skip
    assert [(m.run, m.frames) for m in found] == [("a", 2), ("b", 1), ("b", 1)]
    assert found[0].values == {"x": [0, 1], "s": ["a", "b"]}


def wrong(capfd: pytest.CaptureFixture, *argv: str) -> str:
    assert main(["find", *argv]) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert "Traceback" not in said[-1]
    return said[-1]


def test_wrong_input_gets_one_line(runs, tmp_path, capfd):
    assert "no such folder" in wrong(capfd, str(tmp_path / "no"), "t_s < 1")
    assert "no record.jsonl" in wrong(capfd, str(tmp_path), "t_s < 1")
    assert "did you mean 'distance_m'" in wrong(capfd, str(runs), "distanc_m < 1")
    assert "cannot be evaluated" in wrong(capfd, str(runs), "class < 3")
    assert ".json or .csv" in wrong(capfd, str(runs), "t_s < 1", "--out", str(tmp_path / "m"))
    assert "CONDITION" in wrong(capfd, str(runs))
    for clips in (tmp_path / "file", runs / "one" / "record.jsonl"):
        clips.touch()
        line = wrong(capfd, str(runs), "t_s < 1", "--clips", str(clips))
        assert f"--clips {clips}: is a file; give a folder" in line
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "record.jsonl").write_text('{"schema": "roadstack-record-1"}\n')
    assert "line 1" in wrong(capfd, str(tmp_path), "t_s < 1")


@pytest.mark.parametrize(
    ("old", "new"),
    [('"score": 0.9', '"score": 1e999'), ('[8.0, 0.0]', f'[{"9" * 400}, 0.0]'),
     ('"status"', '"on_drivable": {}, "status"')],
)  # fmt: skip
def test_a_spoilt_record_gets_one_line(tmp_path, capfd, old, new):
    pytest.importorskip("duckdb")
    run = write_run(tmp_path / "run", {0: [track(1, "person", 8.0)]}, 3)
    record = (run / "record.jsonl").read_text()
    (run / "record.jsonl").write_text(record.replace(old, new, 1))
    assert "record.jsonl:1: not a line written by replay" in wrong(capfd, str(run), "t_s < 1")


@pytest.mark.parametrize("name", ["summary.json", "timings.jsonl"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "no JSON", "[]"])
def test_what_stands_beside_a_record_may_be_spoilt(tmp_path, name, text):
    pytest.importorskip("duckdb")
    run = write_run(tmp_path / "run", {0: [track(1, "person", 8.0)]}, 3)
    (run / name).write_text(text)
    out = tmp_path / "moments.csv"
    assert main(["find", str(run), "class == 'person'", "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 2


def test_no_file_of_a_run_is_written_over(tmp_path, capfd):
    pytest.importorskip("duckdb")
    run = write_run(tmp_path / "fleet" / "run", {}, frames=3)
    (tmp_path / "fleet" / "fleet.json").write_text("{}")
    (tmp_path / "m.csv").symlink_to(run / "record.jsonl")
    before = {p: p.read_bytes() for p in (tmp_path / "fleet").rglob("*.json*")}
    for out in (run / "summary.json", tmp_path / "fleet" / "fleet.json", tmp_path / "m.csv"):
        line = wrong(capfd, str(tmp_path / "fleet"), "t_s >= 0", "--out", str(out))
        assert f"--out {out}: would overwrite" in line
    assert {p: p.read_bytes() for p in before} == before
    for _ in range(2):  # its own of an earlier call is replaced
        assert main(["find", str(run), "t_s >= 0", "--out", str(run / "moments.json")]) == 0


def test_columns_are_listed(runs, capfd):
    assert main(["find", str(runs), "--columns"]) == 0
    said = capfd.readouterr().out
    assert "ttc_s" in said and "plan_ms" in said and "object_ttc_s" in said


def test_the_own_motion_is_a_column_where_it_is_known(runs, tmp_path):
    found = find(runs, "own_speed_mps < 3 and own_source = 'pictures'", tmp_path)
    assert {(m["first"], m["last"]) for m in found} == {(1, 2)}
    assert all(m["first"] == 0 for m in find(runs, "own_speed_mps is null", tmp_path))


def test_the_database_reads_no_other_file(runs, tmp_path):
    from tools.find import Tables

    (tmp_path / "secret").write_text("x")
    with Tables(runs) as tables:
        for sql in (f"SELECT * FROM read_text('{tmp_path}/secret')",
                    f"COPY (SELECT 1) TO '{tmp_path}/new'", "SET enable_external_access = true",
                    f"ATTACH '{tmp_path}/new.db'"):  # fmt: skip
            with pytest.raises(InputError):
                list(tables.query(sql))
    assert os.listdir(tmp_path) == ["secret"]
