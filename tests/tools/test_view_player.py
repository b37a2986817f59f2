"""The replay page: what it holds, that it is self-contained, and how it behaves in a browser."""

from __future__ import annotations

import base64
import gzip
import html.parser
import json
import os
import re
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape

import numpy as np
import pytest

from data.errors import InputError
from planning.scores import Limits
from tests.tools.chromium import Tab
from tools.cli import main
from tools.score_plans import read_record, score_row
from tools.view.player import page_note, write_page
from tools.view.player_data import read_run
from tools.view.video import VideoWriter

WIDTH, HEIGHT, FRAMES = 160, 120, 12
EVIL = "</script><img src=x onerror=\"document.title='owned'\">\u2028&"


def track(number, ahead, speed=-2.0, name="vehicle"):
    return {
        "id": number, "class": name, "score": 0.6, "xyxy": [40.0, 30.5, 80.0, 60.0],
        "age_s": 0.1, "since_update_s": 0.0, "position_m": None if ahead is None else [ahead, 0.5],
        "position_std_m": [1.0, 0.2], "velocity_mps": None if ahead is None else [speed, 0.0],
    }  # fmt: skip


def row(index):
    """A free road; from frame 6 on blocked by a vehicle that comes near. Frame 3 is at fault."""
    points = [[0.5 * i, 0.0, 0.0, 5.0, 0.0, 0.1 * i] for i in range(41)]
    blocked = index >= 6
    plan = {
        "status": "BLOCKED" if blocked else "OK",
        "reason": f"vehicle {index} m ahead {EVIL}" if blocked else "",
        "length_m": 20.0,
        "points": points,
    }
    tracks = [track(1, 30.0), track(2, None, name="traffic_light")]
    if blocked:
        tracks.append(track(7, 5.0 - 0.1 * index, -4.0))
    camera = {
        "source": EVIL, "focal_px": 150.0, "horizon_row_px": 55.0, "height_m": 1.4,
        "pitch_rad": 0.01, "yaw_rad": 0.0, "pitch_std_rad": None, "yaw_std_rad": None,
    }  # fmt: skip
    return {
        "schema": "roadstack-record-1", "index": index + 100, "t_ns": index * 50_000_000,
        "own_motion": {"source": "pictures", "speed_mps": 8.0, "speed_std_mps": 0.5,
                       "yaw_rate_radps": None, "yaw_rate_std_radps": None} if index else None,
        "faults": [EVIL] if index == 3 else [], "camera": camera, "detections": [],
        "tracks": tracks, "surfaces": {"drivable_share": 0.3, "lane_share": 0.02}, "plan": plan,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A run without video whose texts are hostile."""
    folder = tmp_path / "run"
    folder.mkdir()
    rows = [row(i) for i in range(FRAMES)]
    (folder / "record.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    times = [
        {"index": i + 100, "stage_ms": {"decode": 1.0, "network": 20.0 + i, "plan": 3.0},
         "deadline_missed": i > 8, **({"skipped": 2} if i in (5, 6) else {})}
        for i in range(FRAMES)
    ]  # fmt: skip
    (folder / "timings.jsonl").write_text("".join(json.dumps(t) + "\n" for t in times))
    summary = {"source": EVIL, "width_px": WIDTH, "height_px": HEIGHT, "warnings": [EVIL],
               "realtime": {"deadline_ms": 100.0, "frames_skipped": 4}}  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def filmed(run):
    """The run with a video whose frame k has the grey 20 k."""
    with VideoWriter(run / "overlay.mp4", WIDTH, HEIGHT, 20) as video:
        for k in range(FRAMES):
            image = np.full((HEIGHT, WIDTH, 3), 20 * k, np.uint8)
            video.write(image, k * 50_000_000)
    return run


def unpack(block):
    """The text and the columns of a block."""
    raw = gzip.decompress(block)
    (length,) = struct.unpack("<I", raw[:4])
    about = json.loads(raw[4 : 4 + length])
    columns = {
        name: np.frombuffer(raw, f"<{kind}", count, 4 + length + place)
        for name, (kind, place, count) in about["columns"].items()
    }
    return about, columns


def events(run):
    about, c = unpack(read_run(run))
    names = ("status", "reason", "fault", "ttc", "late", "track")
    return [
        (int(frame), names[kind], about["texts"][text])
        for frame, kind, text in zip(c["event_frame"], c["event_kind"], c["event_text"])
    ]


# ---- the data


def test_columns_hold_the_record(run):
    about, c = unpack(read_run(run))
    assert c["index"].tolist() == list(range(100, 112))
    assert c["t_ms"].tolist() == [50.0 * i for i in range(FRAMES)]
    assert about["period_ms"] == 50
    assert c["track_start"].tolist() == [0, 2, 4, 6, 8, 10, 12, 15, 18, 21, 24, 27, 30]
    assert c["track_id"][12:15].tolist() == [1, 2, 7]
    assert (c["x1"][0] * 0.5, c["y1"][0] * 0.5, c["ahead"][0] * 0.01) == (40, 30.5, 30)
    assert c["ahead"][1] == c["vx"][1] == -32768
    assert about["texts"][c["reason"][7]] == f"vehicle 7 m ahead {EVIL}"
    assert about["stages"] == ["network", "plan", "decode"]  # what runs beside comes last
    assert c["stage_0"].tolist() == [20.0 + i for i in range(FRAMES)]
    assert np.isnan(c["own_speed_mps"][0]) and c["own_speed_std_mps"][1:].tolist() == [0.5] * 11
    assert np.isnan(c["own_yaw_rate_radps"]).all()
    assert c["late"].tolist() == [0] * 9 + [1] * 3
    assert np.isnan(c["pitch_std_rad"]).all() and c["target_mps"].tolist() == [5.0] * FRAMES


def test_long_paths_are_thinned_and_keep_their_ends(run):
    _, c = unpack(read_run(run))
    assert c["point_start"][1] == 40
    assert (c["px"][0], c["px"][39]) == (0, 2000)
    assert (c["pv"][:40] == 500).all() and (np.diff(c["px"][:40]) > 0).all()


def test_time_to_collision_is_that_of_score_plans(run):
    _, c = unpack(read_run(run))
    wanted = [score_row(r, Limits()).collision_s for r in read_record(run)]
    assert c["ttc_s"].tolist() == pytest.approx(wanted)
    assert np.isinf(c["ttc_s"][0]) and 0 <= c["ttc_s"][8] < 0.95


def test_events_are_what_changed(run):
    found = events(run)
    assert [e for e in found if e[1] == "track"] == [
        (0, "track", "new vehicle #1 at 30 m"),
        (0, "track", "new traffic light #2"),
        (6, "track", "new vehicle #7 at 4 m"),
    ]
    assert (3, "fault", EVIL) in found and (9, "late", "3 late frames") in found
    assert (5, "late", "4 skipped frames") in found
    assert [e for e in found if e[1] == "status"] == [
        (6, "status", f"BLOCKED: vehicle 6 m ahead {EVIL}")
    ]
    assert not [e for e in found if e[1] == "reason"]  # only its number changed
    assert [e[0] for e in found if e[1] == "ttc"] == [6]


def test_only_a_replay_against_the_clock_has_late_frames(run):
    summary = json.loads((run / "summary.json").read_text())
    del summary["realtime"]
    (run / "summary.json").write_text(json.dumps(summary))
    assert [e for e in events(run) if e[1] == "late"] == [(5, "late", "4 skipped frames")]


def test_the_videos_own_times_are_taken(filmed):
    with VideoWriter(filmed / "overlay.mp4", WIDTH, HEIGHT, 20) as video:
        for k in range(FRAMES):
            video.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8), k * 70_000_000)
    about, c = unpack(read_run(filmed))
    assert c["video_s"].tolist() == pytest.approx([0.07 * k for k in range(FRAMES)])
    assert about["video_px"] == [WIDTH, HEIGHT]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("record.jsonl", "", "no frame"),
        ("record.jsonl", "{}\n", "record.jsonl:1"),
        ("record.jsonl", "\xff[\n", "record.jsonl:1"),
        ("timings.jsonl", '{"index": 100}\n', "timings.jsonl:1"),
        ("timings.jsonl", "[1]\n", "timings.jsonl:1"),
        ("summary.json", "[]", "summary.json"),
        ("summary.json", '{"width_px": -1, "height_px": 2}', "summary.json"),
        ("summary.json", '{"width_px": 1e999, "height_px": 2}', "summary.json"),
        ("overlay.mp4", "no video", "overlay.mp4"),
    ],
)
def test_a_malformed_run_is_one_line(run, tmp_path, capfd, name, text, says):
    (run / name).write_text(text, encoding="utf-8")
    assert main(["view", str(run), "--html", str(tmp_path / "p.html")]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and says in lines[0]
    assert not (tmp_path / "p.html").exists()


def test_what_is_no_run_is_one_line(run, tmp_path, capfd):
    (run / "summary.json").unlink()
    for folder in (run, tmp_path / "none", tmp_path):
        assert main(["view", str(folder)]) == 2
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1 and str(folder) in lines[0] and "replay" in lines[0]


@pytest.mark.parametrize("change", [
    {"tracks": [{**track(1, 3.0), "xyxy": [1]}]}, {"t_ns": "soon"}, {"faults": 3},
    {"tracks": [{**track(1, 3.0), "id": "x"}]}, {"camera": [1]}, {"plan": {"points": [[1]]}},
])  # fmt: skip
def test_a_line_of_another_form_is_named(run, change):
    lines = (run / "record.jsonl").read_text().splitlines()
    lines[4] = json.dumps({**json.loads(lines[4]), **change})
    (run / "record.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"record.jsonl:5: "):
        read_run(run)


# ---- the page


class Loads(html.parser.HTMLParser):
    """Addresses that a page loads."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.found += [v for k, v in attrs if k in ("src", "href", "data", "srcset", "poster")]


def test_the_page_loads_nothing_and_holds_no_text_of_the_run(filmed, tmp_path):
    out = write_page(filmed, tmp_path / "page.html")
    text = out.read_text(encoding="utf-8")
    loads = Loads()
    loads.feed(text)
    assert [v[:5] for v in loads.found] == ["data:"]  # its icon
    assert "img" not in loads.tags and "onerror" not in text
    assert not re.search(r"url\(|@import|\bfetch\(|XMLHttpRequest|innerHTML|\beval\(", text)
    assert "unsafe" not in text and "default-src 'none'" in unescape(text)


def test_the_page_is_the_same_for_the_same_run(filmed, tmp_path):
    a, b = (write_page(filmed, tmp_path / f"{n}.html").read_bytes() for n in "ab")
    assert a == b
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html", "run"]


def test_the_video_is_within_the_page(filmed, tmp_path):
    out = write_page(filmed, tmp_path / "page.html")
    parts = re.findall(r'class="video-part">([^<]*)<', out.read_text())
    assert b"".join(map(base64.b64decode, parts)) == (filmed / "overlay.mp4").read_bytes()
    assert "with the video in it" in page_note(filmed, out)


def test_a_large_video_is_played_from_its_place(filmed, tmp_path):
    out = write_page(filmed, tmp_path / "pages/a page.html", embed_limit_bytes=10)
    assert 'data-src="../run/overlay.mp4"' in out.read_text()
    assert "keep both together" in _large_note(filmed, out)
    assert 'data-src="overlay.mp4"' in write_page(filmed, filmed / "p.html", 10).read_text()


def _large_note(run, out):
    """The note of a page smaller than its video."""
    with (run / "overlay.mp4").open("ab") as file:
        file.write(bytes(out.stat().st_size))
    return page_note(run, out)


def test_the_name_of_the_run_is_escaped(run, tmp_path):
    odd = run.rename(tmp_path / "<b>&run")
    assert "<title>&lt;b&gt;&amp;run" in write_page(odd, tmp_path / "page.html").read_text()


def test_the_page_of_a_run_being_finished_has_the_name_it_will_have(run, tmp_path):
    (tmp_path / "drive").mkdir()
    inner = run.rename(tmp_path / "drive" / ".partial")
    assert "<title>drive ·" in write_page(inner, tmp_path / "page.html").read_text()
    assert unpack(read_run(inner))[0]["name"] == "drive"


def test_a_page_never_replaces_the_run(filmed, tmp_path, capfd):
    for out in (filmed / "record.jsonl", filmed, filmed / "record.jsonl/page.html"):
        assert main(["view", str(filmed), "--html", str(out)]) == 2
        assert str(out) in capfd.readouterr().err
    assert len(read_record(filmed)) == FRAMES


def test_the_command_writes_the_page_and_says_its_size(run, tmp_path, capsys):
    assert main(["view", str(run), "--html", str(tmp_path / "page.html")]) == 0
    assert "page.html: 0.1 MB, without video" in capsys.readouterr().out


def test_a_link_to_a_page_is_followed(filmed, tmp_path, capsys):
    (tmp_path / "pages").mkdir()
    (tmp_path / "link.html").symlink_to("pages/page.html")
    out = write_page(filmed, tmp_path / "link.html", embed_limit_bytes=10)
    assert out.is_symlink() and [p.name for p in (tmp_path / "pages").iterdir()] == ["page.html"]
    assert 'data-src="../run/overlay.mp4"' in out.read_text()
    assert "played from ../run/overlay.mp4" in _large_note(filmed, out)


def test_a_page_goes_into_a_pipe_and_nothing_else_does(run, tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_bytes)
        assert main(["view", str(run), "--html", str(pipe)]) == 0
        assert read.result() == write_page(run, tmp_path / "page.html").read_bytes()
    assert pipe.is_fifo() and capsys.readouterr().out == ""


# ---- in a browser


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    opened = Tab(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


READY = "document.documentElement?.dataset.ready === 'page'"


def test_the_page_shows_a_run_without_video(run, tmp_path, tab):
    tab.log.clear()
    tab.open(write_page(run, tmp_path / "page.html"), READY)
    assert tab.text("#frame") == "100" and tab.text("#status") == "OK"
    shown = "[...document.querySelectorAll('#tracks tbody tr')].filter((r) => !r.hidden).length"
    assert tab.value(shown) == 2
    tab.key("ArrowRight")
    assert (tab.frame(), tab.text("#frame"), tab.text("#time")) == (1, "101", "0:00.050")
    tab.key("n")  # the fault
    assert tab.frame() == 3
    assert tab.text("#faults li") == EVIL
    tab.key("n")  # frames skipped
    tab.key("n")  # blocked
    assert tab.frame() == 6 and tab.value(shown) == 3
    assert tab.text("#status") == "BLOCKED" and "onerror" in tab.text("#reason")
    assert tab.text("#ttc") == tab.value("document.querySelector('#ttc').textContent") != "> 3"
    tab.key("End")
    assert tab.text("#frame") == "111"
    tab.key("ArrowRight", shift=True)
    assert tab.text("#frame") == "111"
    tab.key("Home")
    assert tab.frame() == 0
    assert tab.value("document.title").startswith("run") and tab.log == []


def test_strange_names_do_no_harm(run, tmp_path, tab):
    """Names that every script object has, and a summary whose parts have other types."""
    lines = [json.loads(t) for t in (run / "record.jsonl").read_text().splitlines()]
    lines[0]["tracks"][0]["class"] = "constructor"
    lines[0]["plan"]["status"] = "__proto__"
    (run / "record.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    odd = {"model": "x", "warnings": 3, "versions": None, "plans": [1], "tracks_by_class": "y"}
    size = {"width_px": WIDTH, "height_px": HEIGHT}
    (run / "summary.json").write_text(json.dumps({**odd, **size}))
    tab.log.clear()
    tab.open(write_page(run, tmp_path / "page.html"), READY)
    assert tab.text("#status") == "proto" and tab.text("#frame") == "100"
    tab.value("document.querySelector('#tracks tbody tr').click()")
    tab.key("ArrowRight")
    assert tab.text("#frame") == "101" and tab.log == []


def test_a_video_beside_the_page_is_played(filmed, tmp_path, tab):
    tab.open(write_page(filmed, tmp_path / "page.html", embed_limit_bytes=10), READY)
    width = "document.querySelector('#video').videoWidth"
    tab.wait(f"{width} || !document.querySelector('#notice').hidden")
    if not tab.value(width):
        pytest.skip("this Chromium plays no H.264")
    tab.key("End")
    tab.wait("document.documentElement.dataset.frame === '11'")


def test_a_track_of_the_table_is_followed(run, tmp_path, tab):
    tab.open(write_page(run, tmp_path / "page.html"), READY)
    pixels = (
        "document.querySelector('#bird').toDataURL() + document.querySelector('#boxes').toDataURL()"
    )
    before = tab.value(pixels)
    tab.value("document.querySelector('#tracks tbody tr').click()")
    chosen = "document.querySelector('#tracks tr[aria-selected=true]')"
    assert tab.value(f"{chosen}.children[0].textContent") == "1"
    assert tab.value(pixels) != before
    tab.key("ArrowRight")
    assert tab.value(f"{chosen}.children[0].textContent") == "1"
    tab.key("Escape")
    assert tab.value(chosen) is None


def test_a_run_without_video_plays_by_its_own_clock(run, tmp_path, tab):
    tab.open(write_page(run, tmp_path / "page.html"), READY)
    tab.key(" ")
    tab.wait("document.documentElement.dataset.frame === '11'")
    tab.wait("!document.querySelector('#play').classList.contains('playing')")


GREY = """(() => {
  const c = document.createElement("canvas"), g = c.getContext("2d");
  g.drawImage(document.querySelector("#video"), 0, 0, 8, 8);
  return g.getImageData(4, 4, 1, 1).data[0];
})()"""


def test_the_picture_is_that_of_the_frame_shown(filmed, tmp_path, tab):
    tab.log.clear()
    tab.open(write_page(filmed, tmp_path / "page.html"), READY)
    time.sleep(0.2)
    if not tab.value(
        "document.createElement('video').canPlayType('video/mp4; codecs=avc1.42E01E')"
    ):
        pytest.skip("this Chromium plays no H.264")
    tab.wait("!document.querySelector('#video').hidden && document.documentElement.dataset.frame")
    for k in (0, 7, 3, 11, 10, 1):
        tab.value(f"location.hash = '#frame={100 + k}'")
        tab.wait(f"document.documentElement.dataset.frame === '{k}'")
        tab.wait(f"Math.abs({GREY} - {20 * k}) < 9", 20)
    tab.key("ArrowRight")
    tab.wait(f"document.querySelector('#frame').textContent === '102' && Math.abs({GREY} - 40) < 9")
    tab.key(" ")
    tab.wait("document.documentElement.dataset.frame === '11'")
    assert tab.log == []


def test_a_video_that_cannot_be_played_is_said_so(filmed, tmp_path, tab):
    page = write_page(filmed, tmp_path / "page.html", embed_limit_bytes=10)
    (filmed / "overlay.mp4").unlink()
    tab.open(page, READY)
    tab.wait("!document.querySelector('#notice').hidden")
    tab.key("ArrowRight")
    assert tab.text("#frame") == "101"
