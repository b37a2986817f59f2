"""The command that scores a replay's plans."""

from __future__ import annotations

import gzip
import json

import pytest

from tools.cli import main
from tools.score_plans import plain_reason, read_record


def line(index, speed=10.0, gap=None, status="OK", reason="", on=None):
    """A frame that drives straight on; ``gap`` m ahead of the bumper a car stands."""
    points = [[speed * t / 10, 0, 0, speed, 0, t / 10] for t in range(41)] if speed else []
    tracks = []
    if gap is not None:
        tracks = [{
            "id": 7, "class": "vehicle", "position_m": [3.7 + gap, 0], "velocity_mps": [-speed, 0],
            "since_update_s": 0.0,
        }]  # fmt: skip
    plan = {"status": status, "reason": reason, "length_m": 4 * speed, "points": points}
    if on is not None:
        plan["on_drivable"] = on
    return {"schema": "roadstack-record-1", "index": index, "t_ns": index, "faults": [],
            "tracks": tracks, "plan": plan}  # fmt: skip


def written(path, rows):
    path.mkdir(exist_ok=True)
    text = "".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows)
    (path / "record.jsonl").write_text(text)
    return path


def test_scores_of_a_replay(tmp_path, capsys):
    stop = line(3, 0, status="BLOCKED", reason="vehicle 6.5 m ahead: stopping")
    run = written(tmp_path / "run", [line(0), line(1, gap=5), line(2, gap=15), stop])
    assert main(["score-plans", str(run), "--out", str(tmp_path / "s")]) == 0
    s = json.loads((tmp_path / "s/plans.json").read_text())
    assert s["frames"] == 4 and s["with_plan"] == 0.75
    assert s["status"] == {"OK": 3, "BLOCKED": 1}
    assert s["reasons"] == {"vehicle # m ahead: stopping": 1}
    ttc = s["time_to_collision"]
    assert ttc["within_limit"] == pytest.approx(2 / 3)
    assert (ttc["least_s"], ttc["frame"], ttc["track"]) == (pytest.approx(0.5), 1, 7)
    assert s["comfort"] == {"within_limits": 1.0, "crossed": {}}
    assert s["progress"]["way_within_horizon_m"]["median"] == pytest.approx(30)
    assert s["change_m"]["median"] == 0
    rows = (tmp_path / "s/plans.csv").read_text().splitlines()
    assert len(rows) == 5 and rows[2].startswith("1,OK,40.000,30.000,0.5,7,")
    assert "least 0.5 s in frame 1 (track 7)" in capsys.readouterr().out


def test_the_share_on_drivable_area_counts_metres(tmp_path):
    """40 m all on it, 20 m half on it; a frame where nothing was seen takes no part."""
    run = written(tmp_path / "run", [line(0, on=1.0), line(1, 5.0, on=0.5), line(2)])
    assert main(["score-plans", str(run), "--out", str(tmp_path / "s")]) == 0
    s = json.loads((tmp_path / "s/plans.json").read_text())["on_drivable"]
    assert s["share"] == pytest.approx((40 + 10) / 60) and s["plans_from_95"] == 0.5
    cells = [row.split(",")[6] for row in (tmp_path / "s/plans.csv").read_text().splitlines()]
    assert cells == ["on_drivable", "1.000", "0.500", ""]


def test_no_plan_at_all_has_no_scores(tmp_path, capsys):
    run = written(tmp_path / "run", [line(0, 0, status="NO_SURFACE", reason="none")])
    assert main(["score-plans", str(run), "--out", str(tmp_path / "s")]) == 0
    s = json.loads((tmp_path / "s/plans.json").read_text())
    assert s["with_plan"] == 0 and s["time_to_collision"]["within_limit"] is None
    printed = capsys.readouterr().out
    assert "nan" not in printed and printed.count("not known") == 5


@pytest.mark.parametrize(
    "row",
    ["{\n", "[]\n", '{"schema": "other"}\n', '{"schema": "roadstack-record-1"}\n',
     json.dumps({**line(0), "plan": {"points": [[1, 2]]}}) + "\n",
     json.dumps({**line(0), "tracks": [{"class": "vehicle"}]}) + "\n",
     json.dumps({**line(0), "plan": {**line(0)["plan"], "on_drivable": {}}}) + "\n",
     json.dumps(line(0, float("nan"))) + "\n"],
)  # fmt: skip
def test_a_malformed_line_is_named(tmp_path, capfd, row):
    run = written(tmp_path / "run", [line(0), row])
    assert main(["score-plans", str(run)]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and f"{run / 'record.jsonl'}:2:" in lines[0]


def test_a_packed_record_is_read_too(tmp_path, capfd):
    run = written(tmp_path / "run", [line(0), line(1)])
    packed = tmp_path / "rec.jsonl.gz"
    whole = gzip.compress((run / "record.jsonl").read_bytes())
    packed.write_bytes(whole)
    assert read_record(packed) == read_record(run)
    for spoilt in (whole[:-20], b"no gzip", whole[:30] + bytes(30) + whole[60:]):
        packed.write_bytes(spoilt)
        assert main(["score-plans", str(packed)]) == 2
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1 and "rec.jsonl.gz: cannot be read" in lines[0]


def test_what_is_no_replay_is_named(tmp_path, capfd):
    assert main(["score-plans", str(tmp_path)]) == 2
    assert "record.jsonl: missing" in capfd.readouterr().err
    assert main(["score-plans", str(written(tmp_path / "empty", []))]) == 2


def test_reasons_are_told_without_their_numbers():
    assert plain_reason("following vehicle 7 m ahead at 2.2 m/s") == (
        "following vehicle # m ahead at # m/s"
    )
