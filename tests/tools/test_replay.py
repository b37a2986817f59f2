"""The joined path on the built-in drive and on made and real videos."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from data.synthetic.drive import SyntheticDrive
from tools.cli import main


def replay(out: Path, *argv: str) -> tuple[dict, list[dict]]:
    assert main(["replay", "--out", str(out), *argv]) == 0
    summary = json.loads((out / "summary.json").read_text())
    lines = (out / "record.jsonl").read_text().splitlines()
    return summary, [json.loads(x) for x in lines]


def video_frames(path: Path) -> int:
    with av.open(str(path)) as f:
        return sum(1 for _ in f.decode(video=0))


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """The built-in drive, every third frame."""
    out = tmp_path_factory.mktemp("drive")
    return out, *replay(out, "--every", "3")


def test_every_frame_has_a_record_and_a_picture(drive):
    out, summary, rows = drive
    assert summary["frames"] == len(rows) == 40
    assert video_frames(out / "overlay.mp4") == 40
    assert [r["index"] for r in rows] == list(range(0, 120, 3))
    assert all(r["schema"] == "roadstack-record-1" for r in rows)
    assert not list(out.glob("*.part"))


def test_summary_holds_what_is_promised(drive):
    _, summary, _ = drive
    for key in ("source", "frames", "frames_per_second", "stage_ms", "tracks", "plans_ok"):
        assert key in summary
    for stage in ("decode", "network", "track", "plan", "overlay"):
        assert set(summary["stage_ms"][stage]) == {"p50", "p95", "p99"}
    assert summary["model"]["name"] == "base"
    assert summary["versions"]["numpy"] == np.__version__


def test_the_lead_vehicle_is_seen_where_it_is(drive):
    """In most frames a vehicle track covers the lead's true box, about its true distance away."""
    _, _, rows = drive
    truth = SyntheticDrive()
    hits, near, frames = 0, [], 0
    for row in rows:
        t = truth.truth(row["index"])
        ahead = [
            i for i, c in enumerate(t.sample.class_id)
            if c == 0 and 4 < t.positions_m[i, 0] < 40 and abs(t.positions_m[i, 1]) < 1.8
        ]  # fmt: skip
        if not ahead:
            continue
        frames += 1
        x1, y1, x2, y2 = t.sample.xyxy[min(ahead, key=lambda i: t.positions_m[i, 0])]
        for track in row["tracks"]:
            a1, b1, a2, b2 = track["xyxy"]
            w, h = min(x2, a2) - max(x1, a1), min(y2, b2) - max(y1, b1)
            union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - max(w, 0) * max(h, 0)
            if w > 0 and h > 0 and w * h / union > 0.5 and track["class"] == "vehicle":
                hits += 1
                if track["position_m"]:
                    true_m = min(t.positions_m[i, 0] for i in ahead)
                    near.append(abs(track["position_m"][0] - true_m) / true_m)
                break
    assert frames > 15
    assert hits / frames > 0.6
    assert np.median(near) < 0.25


def test_the_planned_path_stays_on_the_true_road(drive):
    """Nine tenths of all path points lie on road that the renderer calls drivable."""
    _, _, rows = drive
    truth = SyntheticDrive()
    frames = {f.index: f for f in truth}
    on, total = 0, 0
    for row in rows:
        points = np.array(row["plan"]["points"])
        if len(points) < 2:
            continue
        camera = frames[row["index"]].camera
        uv = camera.pixels_from_vehicle(np.column_stack([points[:, :2], np.zeros(len(points))]))
        mask = truth.truth(row["index"]).sample.drivable
        height, width = mask.shape
        inside = (uv[:, 0] >= 0) & (uv[:, 0] < width) & (uv[:, 1] >= 0) & (uv[:, 1] < height)
        u, v = uv[inside].astype(int).T
        on += int((mask[v, u] == 1).sum())
        total += len(u)
    assert total > 200
    assert on / total > 0.9


def test_two_replays_give_the_same_bytes(drive, tmp_path):
    out, *_ = drive
    replay(tmp_path, "--every", "3", "--no-overlay")
    assert (tmp_path / "record.jsonl").read_bytes() == (out / "record.jsonl").read_bytes()
    assert not (tmp_path / "overlay.mp4").exists()


def test_a_video_cut_short_is_replayed_to_the_cut(tmp_path):
    whole = tmp_path / "whole.mp4"
    with av.open(str(whole), "w", options={"movflags": "+faststart"}) as f:
        stream = f.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 640, 384, "yuv420p"
        for frame in SyntheticDrive(seed=1, frames=30, width_px=640, height_px=384):
            f.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, "bgr24")))
        f.mux(stream.encode())
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(len(data) * 0.6)])
    summary, rows = replay(tmp_path / "out", str(cut))
    assert 3 < summary["frames"] < 30
    assert len(rows) == summary["frames"] == video_frames(tmp_path / "out/overlay.mp4")
    assert any("cut short" in w for w in summary["warnings"])
    assert any("cut short" in fault for fault in rows[-1]["faults"])


def test_a_failed_replay_leaves_earlier_results_alone(tmp_path, monkeypatch):
    replay(tmp_path, "--max-frames", "2", "--no-overlay")
    before = (tmp_path / "record.jsonl").read_bytes()
    import tools.stack

    def fails(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(tools.stack.Stack, "step", fails)
    assert main(["replay", "--max-frames", "2", "--out", str(tmp_path)]) == 1
    assert (tmp_path / "record.jsonl").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("source", "frames"),
    [
        ("solidWhiteRight.mp4", 221),
        ("test_video.mp4", 38),
        ("kitti_2011_09_26_approach", 78),
    ],
)
def test_real_clips(realdata, tmp_path, source, frames):
    summary, rows = replay(tmp_path, str(realdata / "clips" / source), "--no-overlay")
    assert summary["frames"] == len(rows) == frames
    assert summary["tracks_by_class"]["vehicle"] >= 2
    if source.startswith("kitti"):  # it ends behind a standing queue
        last = rows[-1]["plan"]
        assert last["status"] == "BLOCKED"
        assert "vehicle" in last["reason"]
    else:
        assert summary["plans_ok"] > 0.9 * frames
        # settled before the first frame is judged, and steady from there on
        assert "horizon from lane lines" in rows[0]["camera"]["source"]
        assert rows[0]["plan"]["length_m"] > 25
        horizons = [r["camera"]["horizon_row_px"] for r in rows]
        assert max(horizons) - min(horizons) < 0.04 * summary["height_px"]
