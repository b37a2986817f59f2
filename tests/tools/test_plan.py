from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import InputError
from planning.hybrid_astar import PathStatus
from tools.bench_plan import OURS, bench_plan
from tools.bench_plan_check import as_driven, judge
from tools.bench_plan_maps import CELL_M, VEHICLE, make_cases
from tools.cli import main
from tools.plan import load_vehicle, parse_pose, run_plan


@pytest.fixture
def world(tmp_path):
    """A map of 40 m x 20 m with a wall, its lower left corner at (-10, -5)."""
    picture = np.full((80, 160), 254, np.uint8)
    picture[30:, 80:84] = 0  # from the lower border up to y = 7.5
    cv2.imwrite(str(tmp_path / "m.pgm"), picture)
    (tmp_path / "m.yaml").write_text(
        "image: m.pgm\nresolution: 0.25\norigin: [-10, -5, 0]\n"
        "occupied_thresh: 0.65\nfree_thresh: 0.196\nnegate: 0\n"
    )
    return tmp_path


def options(world, **more):
    values = {
        "map": world / "m.yaml", "start": "-5,0,0", "goal": "25,0,0", "vehicle": None,
        "out": world / "path.json", "png": None, "reverse": False, "deadline_ms": 20_000.0,
    }  # fmt: skip
    return argparse.Namespace(**{**values, **more})


def test_writes_a_path_in_the_frame_of_the_map(world):
    assert run_plan(options(world, png=world / "p.png")) == 0
    got = json.loads((world / "path.json").read_text())
    assert (got["status"], got["reason"]) == ("OK", "")
    poses = np.array(got["poses"])
    assert poses[0] == pytest.approx([-5, 0, 0, 1])
    assert poses[-1] == pytest.approx([25, 0, 0, 1], abs=1e-6)
    assert len(got["curvature_1pm"]) == len(poses)
    steps = np.hypot(*np.diff(poses[:, :2], axis=0).T)
    assert steps.max() <= 0.25
    assert got["length_m"] == pytest.approx(steps.sum(), abs=1e-3)
    over = poses[np.abs(poses[:, 0] - 10.5) < 1.0]
    assert (over[:, 1] > 7.5 + 1.0).all()  # round the wall's upper end
    assert 0.02 < got["min_clearance_m"] < 3
    assert got["search_ms"] > 0
    assert cv2.imread(str(world / "p.png")).shape[0] >= 80


def refused(world, capfd, *more):
    """The one line that the command says to options of this map; it has written nothing."""
    before = {p: p.read_bytes() for p in world.iterdir() if p.is_file()}
    given = ["--start=-5,0,0", "--goal=25,0,0", "--vehicle", str(world / "v.toml"), *map(str, more)]
    assert main(["plan", str(world / "m.yaml"), *given]) == 2
    assert {p: p.read_bytes() for p in world.iterdir() if p.is_file()} == before
    (line,) = capfd.readouterr().err.splitlines()
    return line


def test_inputs_are_never_overwritten(world, capfd):
    (world / "v.toml").write_text("width_m = 1.8\n")
    (world / "link").symlink_to("m.pgm")
    for name in ("m.yaml", "m.pgm", "v.toml", "link"):
        says = refused(world, capfd, "--out", world / name)
        assert "--out" in says and "would overwrite the input" in says
        says = refused(world, capfd, "--out", world / "path.json", "--png", world / name)
        assert "--png" in says and "would overwrite the input" in says
    same = world / "x" / ".." / "path.json"
    says = refused(world, capfd, "--out", world / "path.json", "--png", same)
    assert "is the file of --out" in says


def test_what_cannot_be_written_is_said_before_anything_is(world, capfd):
    (world / "v.toml").write_text("")
    (world / "folder").mkdir()
    out = world / "path.json"
    assert "--out" in refused(world, capfd, "--out", world / "folder")
    says = refused(world, capfd, "--out", out, "--png", world / "folder")
    assert f"--png {world / 'folder'}: is a folder" in says
    says = refused(world, capfd, "--out", out, "--png", world / "m.pgm" / "p.png")
    assert "--png" in says and "cannot be written to" in says


def test_a_link_is_followed_and_stays(world):
    (world / "out").mkdir()
    link, target = world / "link.json", world / "out" / "path.json"
    link.symlink_to("out/path.json")
    for _ in range(2):  # one that leads nowhere, and one to a file
        run_plan(options(world, goal="10.5,-2,0", out=link))
        assert link.is_symlink() and json.loads(target.read_text())["status"] == "GOAL_BLOCKED"
        target.write_text("old")
    assert [p.name for p in target.parent.iterdir()] == ["path.json"]


def test_a_pipe_is_written_to_and_stays(world):
    pipe = world / "pipe"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for out in (pipe, Path(f"/proc/self/fd/{end}"), Path(f"/dev/fd/{end}")):
        run_plan(options(world, goal="10.5,-2,0", out=out, png=None))
        assert json.loads(os.read(end, 1 << 16))["status"] == "GOAL_BLOCKED"
        run_plan(options(world, goal="10.5,-2,0", png=out))
        assert os.read(end, 1 << 16).startswith(b"\x89PNG")
    os.close(end)
    assert pipe.is_fifo()


def test_a_status_where_there_is_no_way(world):
    assert run_plan(options(world, goal="10.5,-2,0")) == 0
    got = json.loads((world / "path.json").read_text())
    assert got["status"] == PathStatus.GOAL_BLOCKED
    assert got["reason"].startswith("the vehicle at the goal touches")
    assert got["poses"] == [] and got["min_clearance_m"] is None
    run_plan(options(world, start="500,0,0"))
    assert json.loads((world / "path.json").read_text())["status"] == PathStatus.START_BLOCKED


@pytest.mark.parametrize("text", ["1,2", "1,2,x", "nan,0,0", "1,inf,0", "", "1;2;3"])
def test_bad_poses(text):
    with pytest.raises(InputError, match="--start"):
        parse_pose("--start", text)


def test_vehicle_file(tmp_path):
    path = tmp_path / "v.toml"
    path.write_text("width_m = 1.5\nwheelbase_m = 2.0\n")
    assert (load_vehicle(path).width_m, load_vehicle(path).front_m) == (1.5, 3.3)
    path.write_text("[vehicle]\nwidth_m = 1.5\n")
    assert load_vehicle(path).width_m == 1.5
    for bad in ("wide = 2", "width_m = 'x'", "width_m = -1", "width_m =", "vehicle = 3"):
        path.write_text(bad)
        with pytest.raises(InputError):
            load_vehicle(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_vehicle(tmp_path / "none.toml")


def test_bad_deadline(world):
    with pytest.raises(InputError, match="deadline"):
        run_plan(options(world, deadline_ms=math.nan))


@pytest.mark.parametrize("family", ["road", "parking", "maze", "narrow gap", "dead end"])
def test_cases_are_seeded_and_start_free(family):
    a, b = make_cases(family, 2, 40), make_cases(family, 2, 40)
    for one, two in zip(a, b):
        assert (one.occupied == two.occupied).all()
        assert one.start == two.start and one.goal == two.goal
        ends = np.array([[*one.start, 1.0], [*one.goal, 1.0]])
        assert [judge(one.occupied, CELL_M, e[None], VEHICLE).hits for e in ends] == [0, 0]
    assert not (a[0].occupied == a[1].occupied).all()


def test_judge_finds_hits_and_sharp_turns():
    occupied = np.zeros((80, 160), bool)
    corner = np.array([[5.0, 10.0], [20.0, 10.0], [20.0, 16.0]])
    seen = judge(occupied, 0.25, as_driven(corner), VEHICLE)
    assert seen.hits == 0 and seen.tight_share > 0
    occupied[40, 60] = True
    assert judge(occupied, 0.25, as_driven(corner), VEHICLE).hits > 0
    assert judge(occupied, 0.25, as_driven(corner), VEHICLE).clearance_m == 0


def test_benchmark_writes_table_and_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    rows = bench_plan(tmp_path, count=2, families=("road", "dead end"))
    ours = [r for r in rows if r["planner"] == OURS]
    assert [(r["family"], r["right"], r["hit"], r["too tight"]) for r in ours] == [
        ("road", 2, 0, 0),
        ("dead end", 2, 0, 0),
    ]
    for name in ("table.csv", "table.md", "plot.png", "sheet_road.png", "sheet_dead_end.png"):
        assert (tmp_path / name).stat().st_size > 0


def test_share_of_a_path_on_labelled_road():
    from data.camera import Camera
    from data.types import Detections, Plan, PlanStatus, Scene, Surfaces, Tracks
    from tools.bench_plan_frames import share_on_road, summarise
    from tools.path_on_road import predicted_share

    camera = Camera.assumed(1280, 720, horizon_row_px=340)
    x = np.arange(0.0, 40.5, 0.5)
    zero = np.zeros_like(x)
    plan = Plan(PlanStatus.OK, "", x, zero, zero, zero + 5, zero, x / 5)
    label = np.zeros((720, 1280), np.uint8)
    far, near = (
        round(float(camera.pixels_from_vehicle(np.array([[d, 0.0, 0.0]]))[0, 1])) for d in (30, 10)
    )
    label[far:near] = 1  # road from 10 m to 30 m; below it the bonnet, beyond it none
    row = share_on_road("a", plan, camera, label)
    assert row.on_m == pytest.approx(20, abs=1.5)
    assert row.off_m == pytest.approx(10, abs=1.5)
    assert 2 < row.bonnet_m < 10
    result = summarise([row, row])
    assert result["share_on"] == pytest.approx(2 / 3, abs=0.05)
    seen = label[::2, ::2].astype(np.float32)  # a map of half the size, and lines on the road
    seen[:, 300:340] = 0
    line = label[::2, ::2].astype(np.float32) - seen
    scene = Scene(0, camera, Detections.empty(), Surfaces(seen, line, (0.5, 0.5)), Tracks.empty())
    assert predicted_share(plan, scene) == pytest.approx(2 / 3, abs=0.05)
    blind = replace(scene, surfaces=Surfaces(0 * seen, 0 * line, (0.5, 0.5)))
    assert predicted_share(plan, blind) is None
    assert result["share_planned"] == 1
