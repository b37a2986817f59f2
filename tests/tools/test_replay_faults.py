"""A replay that meets faults, falls behind, or is killed; and the golden one."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from data.synthetic.drive import SyntheticDrive
from data.types import Frame, PlanStatus
from perception.runtime import load_model
from tests.perception.test_horizon import camera as road_camera
from tests.perception.test_horizon import lane_map
from tools.cli import main
from tools.stack import CameraSource, Stack

FRAMES = 22


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A short small video of the built-in drive."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as f:
        stream = f.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for frame in SyntheticDrive(seed=0, frames=FRAMES, width_px=640, height_px=360):
            f.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, "bgr24")))
        f.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def whole(clip, tmp_path_factory) -> Path:
    """An unbroken replay of it."""
    out = tmp_path_factory.mktemp("whole")
    assert main(replay(clip, out)) == 0
    return out


def replay(clip: Path, out: Path, *more: str) -> list[str]:
    return ["replay", str(clip), "--out", str(out), "--checkpoint", "5", *more]


def rows(out: Path) -> list[dict]:
    return [json.loads(x) for x in (out / "record.jsonl").read_text().splitlines()]


def video_times(path: Path) -> list[float]:
    with av.open(str(path)) as f:
        return [float(x.time) for x in f.decode(video=0)]


def killed_after(command: list[str], lines: int, record: Path) -> None:
    """Run a command and kill it as soon as its record has so many lines."""
    code = "import sys; from tools.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(60_000):
        if process.poll() is not None:
            break
        if record.exists() and record.read_bytes().count(b"\n") >= lines:
            process.kill()
            break
        time.sleep(0.002)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"


def test_a_killed_replay_is_resumed_to_the_same_bytes(clip, whole, tmp_path, capsys):
    record = tmp_path / ".partial" / "record.jsonl"
    killed_after(replay(clip, tmp_path), 7, record)
    good = (whole / "record.jsonl").read_bytes()
    kept = record.read_bytes()
    assert good.startswith(kept[: kept.rindex(b"\n") + 1])  # readable to its last whole line
    assert not (tmp_path / "summary.json").exists()
    assert main(replay(clip, tmp_path, "--resume", "--every", "2")) == 2
    assert "has --every 1, this one 2" in capsys.readouterr().err
    assert main(replay(clip, tmp_path, "--resume", "--model", "nano")) == 2
    assert "was begun with another model; give the same" in capsys.readouterr().err
    killed_after(replay(clip, tmp_path, "--resume"), 16, record)
    assert main(replay(clip, tmp_path, "--resume")) == 0
    assert "resumed after" in capsys.readouterr().err
    for name in ("record.jsonl", "overlay.mp4"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name
    a, b = (json.loads((p / "summary.json").read_text()) for p in (tmp_path, whole))
    for key in ("frames", "plans", "tracks_by_class", "reasons", "faults"):
        assert a[key] == b[key]
    assert len((tmp_path / "timings.jsonl").read_text().splitlines()) == FRAMES
    assert not (tmp_path / ".partial").exists()


def test_a_replay_killed_behind_its_last_frame_is_resumed_to_the_same_bytes(
    clip, whole, tmp_path, monkeypatch
):
    def killed(*_: object) -> None:
        raise RuntimeError

    for place in ("tools.sinks.join_videos", "tools.replay._summary", "shutil.rmtree"):
        out = tmp_path / place
        with monkeypatch.context() as m:
            m.setattr(place, killed)
            assert main(replay(clip, out)) == 1
        assert main(replay(clip, out, "--resume")) == 0
        assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir())
        for name in ("record.jsonl", "overlay.mp4"):
            assert (out / name).read_bytes() == (whole / name).read_bytes(), (place, name)


def test_joined_segments_are_one_video_in_time(whole):
    times = video_times(whole / "overlay.mp4")
    assert times == pytest.approx([i / 20 for i in range(FRAMES)], abs=1e-4)


def test_threads_do_not_change_the_record(clip, whole, tmp_path):
    assert main(replay(clip, tmp_path, "--threads", "1", "--no-overlay")) == 0
    one = (tmp_path / "record.jsonl").read_bytes()
    assert main(replay(clip, tmp_path, "--threads", "3", "--no-overlay")) == 0
    assert (tmp_path / "record.jsonl").read_bytes() == one
    assert (whole / "record.jsonl").read_bytes() == one


def test_faults_are_named_survived_and_counted(clip, tmp_path):
    faults = tmp_path / "faults.toml"
    faults.write_text(
        '[[fault]]\nkind = "black"\nstart_frame = 4\nframes = 2\n'
        '[[fault]]\nkind = "white"\nstart_s = 0.4\nduration_s = 0.6\n'
    )
    assert main(replay(clip, tmp_path, "--inject", str(faults), "--no-overlay")) == 0
    found = rows(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["faults"] == {"black": 2, "white": 12}
    assert summary["frames_with_faults"] == 14
    assert found[4]["faults"][0].startswith("black: ")
    # the tracks of the frame before are still there, older, and the plan goes on
    assert {t["id"] for t in found[5]["tracks"]} == {t["id"] for t in found[3]["tracks"]}
    assert all(t["since_update_s"] >= 0.1 for t in found[5]["tracks"])
    assert found[5]["plan"]["reason"].startswith("picture black: last plan, 0.10 s old")
    assert found[5]["plan"]["length_m"] < found[3]["plan"]["length_m"]
    assert "last plan" not in found[6]["plan"]["reason"]
    assert {t["id"] for t in found[6]["tracks"]} >= {t["id"] for t in found[3]["tracks"]}
    # and is stopped when it is half a second old
    states = [r["plan"]["status"] for r in found]
    assert states[8:17] == [found[7]["plan"]["status"]] * 9
    assert states[18:20] == ["STALE", "STALE"]
    speeds = [p[3] for p in found[19]["plan"]["points"]]
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[-1] < 0.5 * speeds[0]
    assert states[20] == "OK"


def test_a_camera_that_disagrees_with_the_lane_lines_is_named(clip, tmp_path):
    camera = SyntheticDrive(frames=1, width_px=640, height_px=360).camera
    m = camera.matrix
    said = {
        (0.0, 0.0): set(), (0.12, 0.0): {"down"}, (-0.12, 0.0): {"up"},
        (0.0, 0.14): {"to the left"}, (0.0, -0.14): {"to the right"}, (0.0, 0.05): set(),
    }  # fmt: skip
    for (down, left), expected in said.items():
        pitch = camera.pitch_rad + down
        path = tmp_path / "camera.toml"
        path.write_text(
            f"width_px = 640\nheight_px = 360\nfx_px = {m[0, 0]}\nfy_px = {m[1, 1]}\n"
            f"cx_px = {m[0, 2]}\ncy_px = {m[1, 2]}\nheight_m = 1.4\npitch_rad = {pitch}\n"
            f"yaw_rad = {camera.yaw_rad + left}\n"
        )
        options = ("--camera", str(path), "--loop", "3", "--no-overlay")
        assert main(replay(clip, tmp_path, *options)) == 0
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert set(summary["faults"]) == ({"camera"} if expected else set())
        faults = {f for row in rows(tmp_path) for f in row["faults"]}
        ways = {re.search(r"degrees further (.*) than the lane lines", f)[1] for f in faults}
        assert ways == expected


def test_realtime_skips_frames_and_falls_back(clip, tmp_path, monkeypatch):
    """A stack that needs 120 ms for frames that come each 50 ms."""
    real = Stack.step

    def slow(self, *given):
        time.sleep(0.12)
        return real(self, *given)

    monkeypatch.setattr(Stack, "step", slow)
    options = ("--realtime", "--deadline-ms", "60", "--no-overlay")
    assert main(replay(clip, tmp_path, *options)) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    found = rows(tmp_path)
    assert summary["frames"] + summary["realtime"]["frames_skipped"] == FRAMES
    assert summary["realtime"]["frames_skipped"] >= 5
    assert summary["deadlines_missed"] == len(found)
    assert [r["index"] for r in found] == sorted({r["index"] for r in found})
    assert {r["plan"]["status"] for r in found} == {"DEADLINE"}
    assert found[0]["plan"]["points"] == []
    # the last one stands in, or on a busy machine is stopped along
    assert any("last plan" in r["plan"]["reason"] and r["plan"]["points"] for r in found[1:])


def test_a_stage_that_fails_is_a_fault_of_its_frame(monkeypatch):
    frames = list(SyntheticDrive(frames=4, width_px=640, height_px=360))
    stack = Stack(load_model("base"))
    first = stack.step(frames[0])

    def fails(*_, **__):
        raise ValueError("no\nway")

    with monkeypatch.context() as m:
        m.setattr(stack.planner, "plan", fails)
        r = stack.step(frames[1])
    assert r.faults == ("plan-failed: ValueError: no way",)
    assert r.plan.reason.startswith("planning failed: last plan, 0.05 s old")
    assert len(r.plan.x_m) and r.plan.status is first.plan.status
    with monkeypatch.context() as m:
        m.setattr(stack.tracker, "turn_camera", fails)
        m.setattr("tools.stack.CameraCheck.update", fails)
        r = stack.step(frames[2])
    assert r.faults == ("perception-failed: ValueError: no way",)
    assert r.plan.status in (PlanStatus.OK, PlanStatus.BLOCKED)
    assert stack.step(frames[3]).faults == ()


def test_a_picture_that_the_network_fails_on_is_a_fault_of_its_frame(clip, tmp_path, monkeypatch):
    real, asked = Stack.see, []

    def see(self, image):
        asked.append(image.shape)
        if len(asked) == 20:  # of the warm-up, twelve of the look ahead, then the frames
            raise ValueError("no way")
        return real(self, image)

    monkeypatch.setattr(Stack, "see", see)
    assert main(replay(clip, tmp_path, "--no-overlay", "--threads", "1")) == 0
    faults = [r["faults"] for r in rows(tmp_path)]
    assert [f for f in faults if f] == [["perception-failed: ValueError: no way"]]
    assert faults[6] and len(asked) == 1 + 12 + FRAMES


def test_another_replay_into_the_same_folder_is_refused(clip, tmp_path, capsys):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / ".partial").mkdir()
    with (tmp_path / ".partial" / "lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        assert main(replay(clip, tmp_path)) == 2
    assert "another replay is writing there" in capsys.readouterr().err


def test_golden_replay(tmp_path):
    from tools import golden

    result, text = golden.compared(golden.replayed(tmp_path))
    assert result.same, (
        f"{text}\nThe built-in drive is replayed otherwise than before. Where that is meant, renew "
        "the record with: python -m tools.golden (it prints the difference)"
    )


def test_an_assumed_camera_that_turns_is_named_once_and_estimated_anew():
    source, named = CameraSource(), {}
    frame = Frame(np.zeros((720, 1280, 3), np.uint8), 0, 0)
    for n in range(420):
        lanes = lane_map(road_camera(1.0 if n < 300 else 6.0, 1.0))
        now = source.refined(source.of(frame), lanes)
        if source.fault:
            named[n] = source.fault
    assert len(named) == 1 and 300 < min(named) < 380
    assert "camera: it has turned 5.0 degrees down" in named[min(named)]
    assert math.degrees(now.pitch_rad) == pytest.approx(6.0, abs=0.4)
