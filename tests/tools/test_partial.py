"""What an unfinished replay is gone on with, and what tells that it is another."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from data.errors import InputError
from perception.runtime import find_model
from tools.options import build_parser
from tools.partial import files_sha256, identity, partial_run
from tools.replay import _header, _resumable

NAMES = ("record.jsonl", "summary.json")


def options(*argv: str) -> argparse.Namespace:
    a = build_parser("").parse_args(["replay", *argv])
    a.source = a.source[0] if a.source else None
    return a


def header(*argv: str) -> dict:
    return _header(options(*argv), SimpleNamespace(sha256="0" * 64))


def killed(out: Path, argv: list[str], *files: str) -> None:
    """A replay that ends by force, with files in its folder."""
    with pytest.raises(KeyboardInterrupt), partial_run(out, NAMES, header(*argv), False) as p:
        assert p is not None
        for name in ("checkpoint.json", *files):
            (p.path / name).write_text("{}")
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--realtime"], "has --realtime True, this one False"),
        (["--realtime", "--deadline-ms=50"], "has --deadline-ms 50.0, this one none"),
        (["--blur=faces,plates"], "has --blur ['faces', 'plates'], this one none"),
        (["--detector-size=64x32"], "has --detector-size [64, 32], this one none"),
    ],
)
def test_what_was_begun_in_another_way_is_not_gone_on_with(tmp_path, more, says):
    killed(tmp_path, more)
    with (
        pytest.raises(InputError) as e,
        partial_run(tmp_path, NAMES, header(), True),
    ):
        pass
    assert says in str(e.value)


def test_options_of_several_values_are_the_same_when_they_come_back(tmp_path):
    more = ["--blur=faces,plates", "--detector-size=64x32"]
    killed(tmp_path, more, "done", *NAMES)
    with partial_run(tmp_path, NAMES, header(*more), True) as p:
        assert p is None  # all was written but for the moving


def test_what_was_done_of_another_source_is_not_published(tmp_path, monkeypatch):
    a, b, out = tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "out"
    out.mkdir()
    for path in (a, b):
        path.touch()
    killed(out, [str(a)], "done", *NAMES)

    def resume(source: Path) -> None:
        with partial_run(out, NAMES, header(str(source)), True) as p:
            assert p is None

    with pytest.raises(InputError, match=r"--resume: the unfinished replay in .* has source"):
        resume(b)
    assert not (out / "summary.json").exists()
    with monkeypatch.context() as m:
        m.setattr("shutil.rmtree", lambda *_: 1 / 0)  # killed behind the moving
        with pytest.raises(ZeroDivisionError):
            resume(a)
    with pytest.raises(InputError, match="has source"):
        resume(b)
    resume(a)
    assert {p.name for p in out.iterdir()} == set(NAMES)


def test_a_folder_is_the_same_whatever_is_written_into_it(tmp_path):
    (tmp_path / "a.jpg").touch()
    out = tmp_path / "runs" / "out"
    before = identity(tmp_path, out)
    out.mkdir(parents=True)
    for name in ("frame.png", ".hidden.png", "../record.jsonl", "../../.thumbnail.png"):
        (out / name).touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "b.jpg").touch()
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert identity(tmp_path, out) == before
    assert identity(tmp_path, tmp_path) != identity(tmp_path, out)  # the source itself is read


def test_a_folder_is_another_when_pictures_below_it_are(tmp_path):
    data, out = tmp_path / "image_02" / "data", tmp_path / "out"
    data.mkdir(parents=True)
    seen = [identity(tmp_path, out)]
    for change in (
        (data / "0.png").touch, lambda: (data / "0.png").write_bytes(b"x"),
        (data / "1.png").touch, (data / "1.png").unlink, (tmp_path / "timestamps.txt").touch,
        lambda: os.utime(data / "0.png", (0, 0)), (data / "value").touch,
    ):  # fmt: skip
        change()
        seen.append(identity(tmp_path, out))
    assert len(set(seen)) == len(seen) - 1 and seen[4] == seen[2]


def test_files_that_options_name_are_told_by_what_they_hold(tmp_path):
    model = tmp_path / "m.onnx"
    shutil.copyfile(find_model("nano"), model)
    files = {n: tmp_path / f"{n}.txt" for n in ("camera", "inject", "blur_detector", "blur_names")}
    argv = [f"--{n.replace('_', '-')}={p}" for n, p in files.items()]
    a = options("--model", str(model), *argv)
    found = [files_sha256(a)]
    for path in (*files.values(), tmp_path / "m.scores.json"):
        path.write_text("x")
        found.append(files_sha256(a))
    assert len({str(f) for f in found}) == 6


def test_a_replay_that_cannot_be_gone_on_with_says_so_before_it_begins(tmp_path):
    assert _resumable(options("--html"))
    for more in (["--mcap", "x.mcap"], ["--rerun", "x.rrd"], ["--realtime"]):
        assert not _resumable(options(*more))
        with pytest.raises(InputError, match=f"{more[0]}: goes with no --resume"):
            _resumable(options(*more, "--resume"))
