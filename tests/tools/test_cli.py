"""The command line as a user meets it: wrong input gives one line and exit code 2."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tools.cli import _parse, main

ROOT = Path(__file__).resolve().parents[2]


def make_video(path: Path, frames: int = 12) -> Path:
    with av.open(str(path), "w") as f:
        stream = f.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for i in range(frames):
            image = np.full((192, 320, 3), 10 * i, np.uint8)
            f.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        f.mux(stream.encode())
    return path


def wrong(capfd, *argv: str) -> str:
    """Run a command that must fail; returns its one line, behind the notice of a first run."""
    try:
        code = main(argv)
    except SystemExit as e:
        code = e.code
    captured = capfd.readouterr()
    assert code == 2, captured.err
    assert "Traceback" not in captured.err
    lines = [x for x in captured.err.splitlines() if x and not x.startswith("compiling kernels ")]
    assert len(lines) == 1, captured.err
    return lines[0]


def test_missing_source(capfd, tmp_path):
    line = wrong(capfd, "replay", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "o"))
    assert "none.mp4" in line and "no such file" in line
    assert not (tmp_path / "o").exists()


def test_text_file_named_mp4(capfd, tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("this is no video\n" * 50)
    assert "text.mp4" in wrong(capfd, "replay", str(path), "--out", str(tmp_path / "o"))


def test_empty_file(capfd, tmp_path):
    path = tmp_path / "empty.mp4"
    path.touch()
    assert "empty" in wrong(capfd, "replay", str(path), "--out", str(tmp_path / "o"))


def test_video_cut_before_its_index(capfd, tmp_path):
    path = make_video(tmp_path / "cut.mp4")
    path.write_bytes(path.read_bytes()[:2000])
    assert "cut.mp4" in wrong(capfd, "replay", str(path), "--out", str(tmp_path / "o"))
    assert not (tmp_path / "o").exists()


def test_folder_without_images(capfd, tmp_path):
    (tmp_path / "folder").mkdir()
    wrong(capfd, "replay", str(tmp_path / "folder"), "--out", str(tmp_path / "o"))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"not onnx at all", "not a usable ONNX file"), (b"", "not a usable ONNX file")],
)
def test_file_that_is_no_model(capfd, tmp_path, content, says):
    model = tmp_path / "m.onnx"
    model.write_bytes(content)
    line = wrong(capfd, "replay", "--model", str(model), "--out", str(tmp_path / "o"))
    assert says in line and "m.onnx" in line


def test_onnx_file_that_is_not_ours(capfd, tmp_path):
    onnx = pytest.importorskip("onnx")
    h = onnx.helper
    value = [h.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in ("x", "y")]
    graph = h.make_graph([h.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)])
    model.ir_version = 9
    path = tmp_path / "other.onnx"
    onnx.save(model, path)
    line = wrong(capfd, "replay", "--model", str(path), "--out", str(tmp_path / "o"))
    assert "not a Roadstack model" in line


def test_unknown_model_names_the_released_ones(capfd, tmp_path):
    line = wrong(capfd, "replay", "--model", "huge", "--out", str(tmp_path / "o"))
    assert "'huge'" in line and "base" in line


@pytest.mark.parametrize(
    "options",
    [
        ["--every", "0"],
        ["--every", "x"],
        ["--max-frames", "-3"],
        ["--start", "-1"],
        ["--start", "5", "--stop", "4"],
        ["--colour", "red"],
        ["--camera", "nowhere.toml"],
        ["--threads", "0"],
        ["--seed", "-1"],
        ["--start", "1e300"],
        ["--start", "1000"],
        ["--model", "."],
        ["--camera", ""],
        ["--deadline-ms", "50"],
    ],
)
def test_wrong_options(capfd, tmp_path, options):
    wrong(capfd, "replay", "--out", str(tmp_path / "o" / "p"), *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "name", "words"),
    [
        (["replay", "a.mp4", "--model", "nano", "b.mp4"], "source", [Path("a.mp4"), Path("b.mp4")]),
        (
            ["replay", "a", "--every", "2", "b", "--no-overlay", "c"],
            "source",
            list(map(Path, "abc")),
        ),
        (["find", "runs", "--gap", "1", "frame >= 3"], "condition", "frame >= 3"),
        (["find", "--gap", "1", "runs", "frame >= 3"], "condition", "frame >= 3"),
    ],
)
def test_an_option_may_stand_between_words(argv, name, words):
    assert getattr(_parse(argv), name) == words


@pytest.mark.parametrize(
    "argv",
    [
        ["replay", "a.mp4", "--bogus", "b.mp4"],
        ["replay", "a.mp4", "--every", "2", ""],
        ["find", "runs", "--gap", "1", "frame", ">=", "3"],
        ["find", "runs", "frame >= 3", "--gap", "1", "frame < 9"],
        ["plan", "m.yaml", "more", "--start", "0,0,0", "--goal", "1,1,0", "--out", "o.json"],
    ],
)
def test_words_that_belong_nowhere_are_named(capfd, argv):
    assert "unrecognized arguments" in wrong(capfd, *argv)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--fps", "5"], "--fps 5.0: the built-in drive takes none"),
        (["--topic", "/camera"], "--topic /camera: the built-in drive takes none"),
        (["SOURCE", "--seed", "3"], "--seed 3: is of the built-in drive"),
        (["SOURCE", "--mcap", "r.mcap", "--resume"], "--mcap: goes with no --resume"),
        (["SOURCE", "--rerun", "r.rrd", "--resume"], "--rerun: goes with no --resume"),
    ],
)
def test_options_that_have_no_use_are_refused(capfd, tmp_path, options, says):
    source = str(make_video(tmp_path / "a.mp4"))
    words = [source if o == "SOURCE" else o for o in options]
    assert says in wrong(capfd, "replay", "--out", str(tmp_path / "o"), *words)
    assert not (tmp_path / "o").exists()


def test_faults_that_leave_no_frame_are_named(capfd, tmp_path):
    source, faults = make_video(tmp_path / "a.mp4", 3), tmp_path / "faults.toml"
    faults.write_text('[[fault]]\nkind = "drop"\nstart_frame = 0\n')
    argv = ["replay", str(source), "--inject", str(faults), "--out", str(tmp_path / "o")]
    line = wrong(capfd, *argv, "--model", "nano", "--no-overlay")
    assert line.endswith(f"a.mp4: not one frame to replay: --inject {faults} drops every one")


def test_out_is_a_file(capfd, tmp_path):
    (tmp_path / "o").write_text("mine")
    wrong(capfd, "replay", "--max-frames", "1", "--out", str(tmp_path / "o"))
    assert (tmp_path / "o").read_text() == "mine"


def test_a_deadline_of_many_logs_needs_realtime_too(capfd, tmp_path):
    sources = [str(make_video(tmp_path / f"{i}.mp4")) for i in range(2)]
    line = wrong(capfd, "replay", *sources, "--deadline-ms", "9", "--out", str(tmp_path / "o"))
    assert "only with --realtime" in line


def test_out_cannot_be_made(capfd):
    line = wrong(capfd, "replay", "--max-frames", "1", "--out", "/proc/none/o")
    assert "/proc/none/o" in line


@pytest.mark.parametrize("name", ["o" * 300, "a/" * 3000])
def test_out_has_a_name_that_no_folder_can_have(capfd, tmp_path, name):
    assert "name too long" in wrong(capfd, "replay", "--out", str(tmp_path / name)).lower()
    assert not list(tmp_path.iterdir())


def test_empty_out_is_not_the_current_folder(capfd):
    assert "--out" in wrong(capfd, "replay", "--out", "")


@pytest.mark.parametrize("option", [[], ["--no-overlay"]])
def test_a_source_that_would_be_overwritten_is_refused(capfd, tmp_path, option):
    path = make_video(tmp_path / "overlay.mp4")
    before = path.read_bytes()
    line = wrong(capfd, "replay", str(path), "--out", str(tmp_path), *option)
    assert "overwrite the input" in line
    assert path.read_bytes() == before


def test_an_output_name_taken_by_a_folder_is_refused_at_once(capfd, tmp_path):
    (tmp_path / "summary.json").mkdir()
    assert "summary.json is a folder" in wrong(capfd, "replay", "--out", str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_nothing_between_start_and_stop(capfd, tmp_path):
    path = make_video(tmp_path / "v.mp4")
    out = tmp_path / "o"
    line = wrong(capfd, "replay", str(path), "--start", "0.01", "--stop", "0.02", "--out", str(out))
    assert "between --start and --stop" in line
    assert not out.exists()
    out.mkdir()  # one that was there stays
    wrong(capfd, "replay", str(path), "--start", "0.01", "--stop", "0.02", "--out", str(out))
    assert out.exists() and not list(out.iterdir())


def test_start_beyond_the_end(capfd, tmp_path):
    path = make_video(tmp_path / "v.mp4")
    argv = ("replay", str(path), "--out", str(tmp_path / "o"), "--start")
    assert "beyond the end of the video at 0.600 s" in wrong(capfd, *argv, "100")
    assert "beyond its last frame at 0.550 s" in wrong(capfd, *argv, "0.56")


def test_camera_of_another_aspect(capfd, tmp_path):
    path = make_video(tmp_path / "v.mp4")
    camera = tmp_path / "c.toml"
    camera.write_text(
        "width_px=100\nheight_px=100\nfx_px=90\nfy_px=90\ncx_px=50\ncy_px=50\nheight_m=1.4\n"
    )
    line = wrong(capfd, "replay", str(path), "--camera", str(camera), "--out", str(tmp_path / "o"))
    assert "100x100" in line and "320x192" in line
    assert not list((tmp_path / "o").glob("*"))


def test_predict_needs_a_readable_image(capfd, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no png")
    wrong(capfd, "predict", str(tmp_path / "a.png"), "--out", str(tmp_path / "o"))


def test_evaluate_names_an_unknown_image(capfd, tmp_path):
    image = np.zeros((20, 30, 3), np.uint8)
    for folder in ("train", "trainannot"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "set/train/a.png"), image)
    cv2.imwrite(str(tmp_path / "set/trainannot/a.png"), image[..., 0])
    (tmp_path / "p").mkdir()
    (tmp_path / "p/detections.json").write_text(
        '[{"image": "b.png", "category": "vehicle", "bbox": [1, 2, 3, 4], "score": 0.5}]'
    )
    line = wrong(
        capfd, "evaluate", "--data", str(tmp_path / "set"), "--split", "train",
        "--predictions", str(tmp_path / "p"), "--out", str(tmp_path / "o"),
    )  # fmt: skip
    assert "b.png" in line and "entry 0" in line


def test_train_names_the_nearest_key(capfd, tmp_path):
    pytest.importorskip("torch")
    config = tmp_path / "c.toml"
    config.write_text("[optimizer]\nstepz = 3\n")
    assert "steps" in wrong(capfd, "train", str(config), "--out", str(tmp_path / "o"))


def test_export_of_a_file_that_is_no_checkpoint(capfd, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "x.safetensors"
    path.write_text("no tensors")
    wrong(capfd, "export", str(path), "--out", str(tmp_path / "o"))


def test_a_terminated_replay_cleans_up_and_keeps_earlier_results(tmp_path):
    out = tmp_path / "o"
    out.mkdir()
    (out / "record.jsonl").write_text("earlier\n")
    command = [sys.executable, "-m", "tools.cli", "replay", "--out", str(out)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 60
        while not list(out.glob(".partial/record.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGTERM
    assert "interrupted" in said and "Traceback" not in said
    assert [p.name for p in out.iterdir()] == ["record.jsonl"]
    assert (out / "record.jsonl").read_text() == "earlier\n"


def test_no_traceback_reaches_the_user_of_a_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", "replay", "nowhere.mp4"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_libraries_add_no_lines_of_their_own(tmp_path):
    """OpenCV writes warnings of what it cannot decode, by the environment it was imported in."""
    for i in range(2):
        image = np.full((192, 320, 3), 0.5 + i / 9, np.float32)
        assert cv2.imwrite(str(tmp_path / f"{i}.tiff"), image)
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", "replay", str(tmp_path), "--out", str(tmp_path / "o")],
        cwd=ROOT, capture_output=True, text=True, check=False,
        # commands run in this process have silenced OpenCV for those begun from it
        env={k: v for k, v in os.environ.items() if k != "OPENCV_LOG_LEVEL"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "can be decoded" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def unheard(*argv: str) -> int:
    """The exit code of a command of which nobody reads what it says."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tools.cli", *argv]
    with open(writer, "wb") as closed:
        return subprocess.run(
            command, cwd=ROOT, stdout=closed, stderr=closed, check=False
        ).returncode


def test_work_goes_on_when_nobody_reads_its_messages(tmp_path):
    video, out = make_video(tmp_path / "v.mp4"), tmp_path / "o"
    assert unheard("replay", str(video), "--model", "nano", "--out", str(out)) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "overlay.mp4", "record.jsonl", "summary.json", "timings.jsonl",
    ]  # fmt: skip
    shorter = ("--model", "nano", "--stop", "0.3", "--out", str(tmp_path / "b"))
    assert unheard("replay", str(video), *shorter) == 0
    assert unheard("diff", str(out), str(tmp_path / "b")) == 1
    assert unheard("replay", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "p")) == 2

    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tools.cli", "diff", str(out), str(out)],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "No space left" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_terminal_that_cannot_spell_a_name_is_no_error(tmp_path):
    video, out = make_video(tmp_path / "v.mp4"), tmp_path / "straße"
    command = ["replay", str(video), "--model", "nano", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", *command],
        cwd=ROOT, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"stra\\xdfe: overlay.mp4" in done.stdout
