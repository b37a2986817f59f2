"""``roadstack diff``: what it calls the same, what it does not, and where it says so."""

from __future__ import annotations

import copy
import json

import pytest

from tools.cli import main
from tools.diff import TOLERANCES, compare_records, tolerances, verdict

TRACK = {
    "id": 1, "class": "vehicle", "score": 0.8, "xyxy": [10.0, 10.0, 50.0, 40.0], "age_s": 1.0,
    "since_update_s": 0.0, "position_m": [20.0, 1.0], "position_std_m": [1.0, 0.2],
    "velocity_mps": [0.5, 0.0],
}  # fmt: skip


def row(index: int) -> dict:
    return {
        "schema": "roadstack-record-1",
        "index": index,
        "t_ns": index * 50_000_000,
        "faults": [],
        "camera": {"source": "assumed", "focal_px": 800.0, "horizon_row_px": 350.0},
        "detections": [{"class": "vehicle", "score": 0.8, "xyxy": [10.0, 10.0, 50.0, 40.0]}],
        "tracks": [copy.deepcopy(TRACK)],
        "surfaces": {"drivable_share": 0.3, "lane_share": 0.05},
        "plan": {
            "status": "OK", "reason": "following vehicle 20 m ahead", "length_m": 10.0,
            "points": [[0.5 * i, 0.0, 0.0, 8.0, 0.0, 0.1 * i] for i in range(5)],
        },
    }  # fmt: skip


def diff(change=None, at: int = 2, **given: float):
    a, b = [row(i) for i in range(5)], [row(i) for i in range(5)]
    if change is not None:
        change(b[at])
    return compare_records(iter(a), iter(b), tolerances(list(given.items())))


def only(result) -> tuple[str, int | None, int]:
    [(name, entry)] = [(n, f) for n, f in result.fields.items() if f.first is not None]
    return name, entry.first, entry.frames


def test_equal_records_are_the_same():
    result = diff()
    assert result.same
    assert result.fields == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda r: r.update(t_ns=1), "t_ns"),
        (lambda r: r["faults"].append("black: 100 %"), "faults"),
        (lambda r: r["camera"].update(horizon_row_px=352.0), "camera.horizon_row_px"),
        (lambda r: r["camera"].update(source="camera.toml"), "camera.source"),
        (lambda r: r["detections"].clear(), "detections.missing"),
        (lambda r: r["detections"][0].update(score=0.7), "detections.score"),
        (lambda r: r["tracks"].clear(), "tracks.missing"),
        (lambda r: r["tracks"][0].update(position_m=[20.0, 1.4]), "tracks.position_m"),
        (lambda r: r["tracks"][0].update(velocity_mps=None), "tracks.velocity_mps"),
        (lambda r: r["tracks"][0].update({"class": "person"}), "tracks.class"),
        (lambda r: r["plan"].update(status="BLOCKED"), "plan.status"),
        (lambda r: r["plan"].update(reason="person ahead"), "plan.reason"),
        (lambda r: r["plan"]["points"][4].__setitem__(1, 0.5), "plan.position_m"),
        (lambda r: r["plan"]["points"][4].__setitem__(3, 9.0), "plan.speed_mps"),
    ],
)
def test_each_field_that_changes_is_named_with_its_frame(change, field):
    result = diff(change)
    assert only(result) == (field, 2, 1)
    assert result.first == 2
    assert result.differing == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["detections"].reverse(),
        lambda r: r["detections"].append(
            {"class": "person", "score": 0.13, "xyxy": [0.0, 0.0, 5.0, 9.0]}
        ),
        lambda r: r["detections"][0].update(score=0.79, xyxy=[10.5, 10.0, 50.0, 40.0]),
        lambda r: r["tracks"][0].update(position_m=[20.2, 1.0]),
        lambda r: r["plan"].update(reason="following vehicle 21 m ahead"),
        lambda r: r["faults"].clear(),
    ],
)
def test_rounding_and_the_edge_of_detection_are_no_difference(change):
    assert diff(change).same


def test_tolerances_are_given_by_whole_name_or_last_part():
    def moved(r):
        r["tracks"][0]["position_m"] = [20.2, 1.0]

    assert diff(moved).same
    assert only(diff(moved, position_m=0.05))[0] == "tracks.position_m"
    assert diff(moved, **{"plan.position_m": 0.05}).same
    assert set(tolerances([], exact=True).values()) == {0.0}
    assert tolerances([("score", 1.0)])["detections.score"] == 1.0
    assert TOLERANCES["tracks.score"] == 0.02  # the defaults stay


def test_of_a_list_the_table_names_the_place_that_differs_most():
    def moved(r):
        r["tracks"][0]["position_m"] = [20.0, 3.5]

    assert "#1: [1] 1.0 against 3.5" in verdict(diff(moved), tolerances([]))

    def unknown(r):
        r["tracks"][0]["position_m"] = None

    text = verdict(diff(unknown), tolerances([]))
    assert "#1: [20.0, 1.0] against None" in text and " - " in text.splitlines()[-1]


def test_a_record_that_ends_early_differs_from_there():
    a, b = [row(i) for i in range(5)], [row(i) for i in range(3)]
    result = compare_records(iter(a), iter(b), tolerances([]))
    assert only(result) == ("frame", 3, 2)


def written(folder, rows) -> str:
    folder.mkdir()
    text = "".join(json.dumps(r) + "\n" for r in rows)
    (folder / "record.jsonl").write_text(text)
    return str(folder)


def test_the_command_says_it_and_ends_with_its_code(tmp_path, capsys):
    a = written(tmp_path / "a", [row(i) for i in range(3)])
    rows = [row(i) for i in range(3)]
    rows[1]["plan"]["status"] = "BLOCKED"
    b = written(tmp_path / "b", rows)
    assert main(["diff", a, a]) == 0
    assert "3 frames: the same" in capsys.readouterr().out
    assert main(["diff", a, f"{b}/record.jsonl"]) == 1
    out = capsys.readouterr().out
    assert "1 of 3 frames differ, frame 1 first" in out
    assert "OK against BLOCKED" in out
    assert main(["diff", a, str(tmp_path)]) == 2
    assert main(["diff", a, b, "--tolerance", "speling=1"]) == 2
    assert "known: camera.focal_px" in capsys.readouterr().err
    (tmp_path / "b" / "record.jsonl").write_text(json.dumps(row(0)) + "\n{\n")
    assert main(["diff", a, b]) == 2
    assert "line 2" in capsys.readouterr().err


def cut(r):
    """A plan cut short whose length says nothing of it."""
    del r["plan"]["points"][2:]


def without_own_motion(r):
    r["own_motion"] = None


@pytest.mark.parametrize(
    ("change", "field"), [(cut, "plan.points"), (without_own_motion, "own_motion")]
)
def test_what_only_one_record_has_is_a_difference(change, field):
    assert only(diff(change)) == (field, 2, 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda r: r["plan"].update(reason="following vehicle 90 m ahead"), "plan.reason"),
        (lambda r: r["faults"].__setitem__(0, "black: 3 % of it"), "faults"),
        (lambda r: r["detections"].reverse(), "other"),
        (lambda r: r["plan"]["points"].pop(), "plan.points"),
    ],
)
def test_what_counts_as_the_same_is_not_called_equal(change, field):
    rows = [row(0), row(0)]
    for r in rows:
        r["faults"] = ["black: 100 % of it"]
        r["detections"].append({"class": "person", "score": 0.5, "xyxy": [90.0, 0.0, 95.0, 9.0]})
    change(rows[1])
    result = compare_records(iter(rows[:1]), iter(rows[1:]), tolerances([]))
    assert list(result.fields) == [field]
    assert verdict(result, tolerances([])) == "1 frames: the same (within the tolerances)"
    exact = compare_records(iter(rows[:1]), iter(rows[1:]), tolerances([], exact=True), exact=True)
    assert only(exact) == (field, 0, 1)
