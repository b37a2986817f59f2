"""Faults put into a log: what they make of its frames, and files that are wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from data.errors import InputError
from data.synthetic.drive import SyntheticDrive
from tools.cli import main
from tools.faults import codes, of_log
from tools.feed import feed
from tools.inject import KINDS, Injected, InjectedLog, load_faults
from tools.sources import LoopedLog

_FRAMES = list(SyntheticDrive(frames=18, width_px=640, height_px=360))


class Drive:
    """Frames in memory as a log."""

    name, kind, time_source = "drive", "synthetic", "clock"
    width_px, height_px, nominal_fps = 640, 360, 20.0

    def __init__(self, frames: int = 12) -> None:
        self.faults: list[str] = []
        self.expected_frames = frames

    def __iter__(self):
        self.faults.clear()
        return iter(_FRAMES[: self.expected_frames])


def fed(*faults: Injected, frames: int = 12):
    return list(feed(InjectedLog(Drive(frames), faults)))


def seen(*faults: Injected, frames: int = 12) -> dict[int, list[str]]:
    """Frame index -> codes, of frames with faults."""
    items = fed(*faults, frames=frames)
    return {f.frame.index: codes(f.faults) for f in items if f.frame and f.faults}


def test_pictures_made_from_damaged_ones_are_named_and_not_used():
    class Smeared(Drive):
        def __iter__(self):
            for f in super().__iter__():
                yield replace(f, damage="made from others" if 3 <= f.index < 6 else "")

    items = [f for f in feed(Smeared()) if f.frame]
    told = {f.frame.index: (f.faults, f.unusable) for f in items if f.faults or f.unusable}
    text = "damaged: made from others"
    assert told == dict.fromkeys((3, 4, 5), ((text,), text))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("3 corrupt frames at 1.20 s skipped", "corrupt"),
        ("frame 7 is damaged: a.png skipped", "corrupt"),
        ("frame 7 is cut short: a.png skipped", "corrupt"),
        ("frame 7 is 60000x60000, above 100 megapixels: a.png skipped", "corrupt"),
        ("frame 2 is malformed: skipped", "corrupt"),
        ("video cut short: 3 of 9 frames decoded (0.12 of 0.36 s)", "cut-short"),
        ("frame 7 is 64x48, not 60x48: a.png", "size"),
        ("timestamps.txt not used: 3 lines for 4 images", "source"),
    ],
)
def test_what_logs_say_has_a_code(text, code):
    assert of_log(text) == f"{code}: {text}"


def test_without_faults_nothing_is_found():
    assert seen() == {}


def test_each_kind_is_found_where_it_was_put_and_nowhere_else():
    """Four frames apart, in one drive."""
    kinds = ["black", "white", "blurred", "damaged", "covered", "resized", "reshaped"]
    faults = [Injected(k, start_frame=4 + 2 * i, frames=1) for i, k in enumerate(kinds)]
    found = seen(*faults, frames=4 + 2 * len(kinds))
    names = {"resized": "size", "reshaped": "size"}
    assert found == {4 + 2 * i: [names.get(k, k)] for i, k in enumerate(kinds)}


def test_frozen_by_time():
    found = seen(Injected("frozen", start_s=0.2, duration_s=0.4), frames=14)
    assert found == {i: ["repeated" if i < 9 else "frozen"] for i in range(4, 12)}


def test_frozen_from_the_first_frame_on_shows_that_one():
    found = seen(Injected("frozen", start_frame=0, frames=9))
    assert found == {i: ["repeated" if i < 6 else "frozen"] for i in range(1, 9)}


def test_missing_frames_and_times():
    assert seen(Injected("drop", start_frame=6, frames=2)) == {8: ["gap"]}
    assert seen(Injected("corrupt", start_frame=6, frames=1)) == {7: ["corrupt", "gap"]}
    assert seen(Injected("time-jump", start_frame=6)) == {6: ["time-jump"]}
    items = fed(Injected("time-jump", start_frame=6, frames=2, amount=3))
    assert [f.frame.t_ns for f in items if f.frame][-1] == 11 * 50_000_000 + 3_000_000_000
    back = fed(Injected("time-back", start_frame=6, frames=1))
    assert back[6].frame.t_ns == 0


def test_frames_of_another_size_come_in_the_first_ones():
    for kind in ("resized", "reshaped"):
        sizes = {f.frame.image.shape for f in fed(Injected(kind, start_frame=2), frames=4)[:-1]}
        assert sizes == {(360, 640, 3)}


@pytest.mark.parametrize("width", [1, 2, 3, 40])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_narrow_picture_keeps_a_column(width, share):
    class Narrow(Drive):
        def __iter__(self):
            return (replace(f, image=f.image[:, :width], camera=None) for f in super().__iter__())

    (frame,) = InjectedLog(Narrow(1), (Injected("reshaped", start_frame=0, amount=share),))
    assert 1 <= frame.image.shape[1] <= max(2, width * (share + 0.1))


def test_the_same_seed_gives_the_same_faults():
    def hit(seed: int) -> list[int]:
        fault = Injected("black", start_frame=0, share=0.5, seed=seed)
        return [f.frame.index for f in fed(fault)[:-1] if f.unusable]

    assert hit(1) == hit(1) != hit(2)
    assert 1 < len(hit(1)) < 11


def test_all_kinds_run():
    for kind in KINDS:
        assert sum(f.frame is not None for f in fed(Injected(kind, start_frame=1), frames=3)) > 0


def test_a_looped_log_goes_on_in_time():
    log = LoopedLog(Drive(4), 3)
    frames = list(log)
    assert [f.index for f in frames] == list(range(12))
    assert [f.t_ns for f in frames] == [i * 50_000_000 for i in range(12)]
    assert log.expected_frames == 12
    assert Counter(f.image.tobytes()[:3000] for f in frames).most_common(1)[0][1] == 3


def test_a_looped_log_tells_the_faults_of_every_pass():
    class Broken(Drive):
        """Its first and last pictures are none."""

        def __init__(self) -> None:
            super().__init__(4)
            self.faults.append("times not used")

        def __iter__(self):
            self.faults[:] = ["times not used", "frame 0 is empty: a.png skipped"]
            yield from _FRAMES[1:3]
            self.faults.append("frame 3 is empty: d.png skipped")

    log = LoopedLog(Broken(), 3)
    for _ in range(2):  # on every pass over it
        told = [codes(f.faults) for f in feed(log)]
        both = ["corrupt", "corrupt"]
        assert told == [["source", "corrupt"], [], both, [], both, [], ["corrupt"]]
    assert len(log.faults) == 7


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no fault"),
        ("[[fault]]\nkind = 'blak'\nstart_s = 1", "kind 'blak' is unknown"),
        ("[[fault]]\nkind = 'black'", "start_s and start_frame"),
        ("[[fault]]\nkind = 'black'\nstart_s = 1\nstart_frame = 2", "start_s and start_frame"),
        ("[[fault]]\nkind = 'black'\nstart_s = 1\nlength = 2", "unknown key 'length'"),
        ("[[fault]]\nkind = 'black'\nstart_s = '1'", "start_s: expected float"),
        ("[[fault]]\nkind = 'black'\nstart_s = -1", "it begins at -1"),
        ("[[fault]]\nkind = 'black'\nstart_s = nan", "it begins at nan"),
        ("[[fault]]\nkind = 'time-back'\nstart_frame = 0", "only behind the first frame"),
        ("[[fault]]\nkind = 'black'\nstart_s = 0\nduration_s = 0", "it lasts 0"),
        ("[[fault]]\nkind = 'black'\nstart_s = 0\nshare = 1.5", "share = 1.5"),
        ("[[fault]]\nkind = 'black'\nstart_s = 0\namount = 1", "takes no amount"),
        ("[[fault]]\nkind = 'tilted'\nstart_s = 0\namount = 95", "expected -30 to 30"),
        ("[fault]\nkind = 'black'", "expected a list"),
        ("kind = ", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, text, says):
    path = tmp_path / "faults.toml"
    path.write_text(text)
    with pytest.raises(InputError, match="faults file") as e:
        load_faults(path)
    assert says in str(e.value)
    assert "\n" not in str(e.value)


def test_the_help_names_every_kind(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main(["replay", "--help"])
    assert f"kind ({', '.join(KINDS)})" in capsys.readouterr().out


def test_a_fault_that_is_never_reached_is_known():
    late, here = Injected("black", start_s=50), Injected("black", start_frame=1)
    log = InjectedLog(Drive(4), (late, here))
    assert len(list(log)) == 4 and log.unreached == (0,)
