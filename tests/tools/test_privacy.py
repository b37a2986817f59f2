"""What ``--blur`` makes unreadable, and that nothing else changes by it."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace

import numpy as np
import pytest

from data.camera import Camera
from data.errors import InputError
from data.types import (
    Detections,
    Frame,
    Plan,
    PlanStatus,
    Scene,
    StepRecord,
    Surfaces,
    Tracks,
)
from perception.runtime import Model
from tools.option_parts import add_blur_options
from tools.privacy import (
    KINDS,
    Watch,
    WatchedModel,
    note,
    over,
    pixelated,
    regions,
    summary,
    watched,
)

WIDTH, HEIGHT = 320, 180
VEHICLE, PERSON, TWO_WHEELER, LIGHT = range(4)
STEP_NS = 100_000_000


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def found(*rows):
    """Detections of rows (x1, y1, x2, y2, score, class)."""
    r = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(r[:, :4], r[:, 4], r[:, 5].astype(np.int64))


def tracks(*rows):
    """Tracks of rows (id, x1, y1, x2, y2, class)."""
    r = np.array(rows, np.float64).reshape(-1, 6)
    n = len(r)
    nothing = np.full((n, 2), np.nan)
    return Tracks(
        r[:, 0].astype(np.int64), r[:, 1:5].astype(np.float32), r[:, 5].astype(np.int64),
        np.ones(n, np.float32), np.ones(n), np.zeros(n), nothing, nothing,
        np.full((n, 4, 4), np.nan),
    )  # fmt: skip


def record(index, tracks_=None, seen=None):
    t_ns = index * STEP_NS
    camera = Camera.assumed(WIDTH, HEIGHT)
    empty = np.zeros((18, 32), np.float32)
    scene = Scene(
        t_ns, camera, seen or found(), Surfaces(empty, empty, (0.1, 0.1)), tracks_ or tracks()
    )
    return StepRecord(index, t_ns, scene, Plan.none(PlanStatus.NO_SURFACE, ""), None, {})


def frame(index, image):
    values = {"image": image, "index": index, "t_ns": index * STEP_NS}
    rest = {f.name: None for f in fields(Frame) if f.name not in values}
    return Frame(**values, **rest)


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self):
        self.frames = []

    def write(self, frame, record):
        self.frames.append(frame)

    def cut(self):
        pass

    def resume(self, frames):
        pass

    def close(self):
        pass


def changed(before, after):
    return (before != after).any(axis=2)


@pytest.fixture
def blurring(tmp_path):
    """(sink, sinks, watch) behind a blur of both kinds."""

    def make(kinds=KINDS, finer=None, sink=None):
        sink, watch = sink or Kept(), Watch(kinds, finer)
        model = WatchedModel("m", "", (64, 48), {}, None, watch=watch)
        return sink, over([sink], model, tmp_path), watch

    return make


def test_parts_of_each_class_by_kind():
    boxes = np.array([[100, 50, 140, 150]] * 4, np.float32)
    ids = np.arange(4)
    assert regions(boxes, ids, ("faces",)).tolist() == [[80, 20, 160, 100]]
    plates = regions(boxes, ids, ("plates",))
    assert plates == pytest.approx(np.array([[98, 70, 142, 155], [96, 40, 144, 160]]))
    assert len(regions(boxes, ids, KINDS)) == 3
    assert regions(boxes[:0], ids[:0], KINDS).shape == (0, 4)


def test_an_area_has_no_more_than_six_by_six_colours_left():
    image = picture()
    out = pixelated(image, np.array([[60, 30, 240, 150]], np.float32))
    part = out[30:150, 60:240].astype(np.float64)
    # what is finer than a block of 30 px is gone: noise had a step of 85 from pixel to pixel
    assert np.abs(np.diff(part, axis=1)).mean() < 3
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[30:150, 60:240] = False
    assert not changed(image, out)[outside].any()
    again = picture(1)
    again[30:150, 60:240] = image[30:150, 60:240]
    assert (pixelated(again, np.array([[60, 30, 240, 150]]))[30:150, 60:240] == part).all()


def test_the_picture_itself_is_left_as_it_is_and_odd_areas_do_no_harm():
    image = picture()
    kept = image.copy()
    odd = [[np.nan, 0, 5, 5], [50, 50, 40, 40], [-90, -90, -5, -5], [-50, -50, 20, 20],
           [300, 170, 9e9, 9e9]]  # fmt: skip
    out = pixelated(image, np.array(odd, np.float32))
    assert (image == kept).all()
    where = changed(image, out)
    assert where[:20, :20].mean() > 0.9 and where[170:, 300:].mean() > 0.9
    assert not where[30:160, 30:290].any()


def test_a_small_area_inside_a_large_one_shows_nothing_more():
    large, small = [60, 30, 240, 150], [100, 60, 112, 72]
    alone = pixelated(picture(), np.array([large], np.float32))
    for areas in ([large, small], [small, large]):
        assert (pixelated(picture(), np.array(areas, np.float32)) == alone).all()


def test_faint_objects_are_blurred_and_the_answer_stays_the_same(monkeypatch):
    rows = [(10, 10, 60, 60, 0.9, VEHICLE), (100, 50, 140, 150, 0.06, PERSON)]
    asked = []

    def answer(self, image, min_score):
        asked.append(min_score)
        all_ = found(*rows)
        return all_.select(all_.score >= min_score), None

    monkeypatch.setattr(Model, "__call__", answer)
    model = WatchedModel("m", "", (64, 48), {}, None, watch=Watch(KINDS))
    image = picture()
    given, _ = model(image, 0.12)
    assert given.score.tolist() == pytest.approx([0.9])
    assert asked == [0.05]
    seen = model.watch.seen(image)
    assert seen is not None and len(seen) == 2
    assert model.watch.seen(image.copy()) is None


def test_sinks_get_blurred_frames_by_detections_and_tracks(blurring):
    sink, sinks, watch = blurring()
    image = picture()
    watch.keep(image, found((100, 50, 140, 150, 0.06, PERSON)))
    given = frame(0, image)
    sinks.write(given, record(0, tracks((7, 200, 20, 300, 120, VEHICLE))))
    where = changed(given.image, sink.frames[0].image)
    assert where[20:100, 80:160].mean() > 0.9  # the person's upper half and around it
    assert where[40:125, 195:305].mean() > 0.9  # the vehicle below its roof
    assert not where[101:, :190].any() and not where[:38, 200:].any()
    assert (given.image == picture()).all() and sink.frames[0].index == 0


def test_a_track_that_is_gone_is_blurred_for_half_a_second_more(blurring):
    sink, sinks, watch = blurring()
    for i in range(9):
        image = picture(i)
        watch.keep(image, found())
        sinks.write(
            frame(i, image), record(i, tracks((1, 100, 20, 200, 120, 0)) if not i else None)
        )
    blurred = [
        changed(picture(i), f.image)[60:100, 110:190].any() for i, f in enumerate(sink.frames)
    ]
    assert blurred == [True] * 6 + [False] * 3


def test_where_nobody_looked_the_last_areas_are_kept_and_then_all_is_blurred(blurring):
    sink, sinks, watch = blurring()
    sinks.write(frame(0, picture()), record(0))
    assert changed(picture(), sink.frames[0].image).mean() > 0.9
    image = picture(1)
    watch.keep(image, found((100, 50, 140, 150, 0.5, PERSON)))
    for i in range(1, 9):
        sinks.write(frame(i, image if i == 1 else picture(i)), record(i))
    share = [changed(picture(i), f.image).mean() for i, f in enumerate(sink.frames)]
    assert max(share[1:7]) < 0.2 and min(share[1:7]) > 0.05
    assert min(share[7:]) > 0.9


def test_a_resumed_replay_blurs_as_an_unbroken_one(blurring):
    def play(sinks, watch, indices):
        for i in indices:
            image = picture(i)
            watch.keep(image, found())
            sinks.write(
                frame(i, image), record(i, tracks((1, 90, 20, 190, 99, 0)) if not i else None)
            )

    whole, sinks, watch = blurring()
    play(sinks, watch, range(2))
    sinks.cut()
    play(sinks, watch, range(2, 4))
    sinks.cut()  # killed before its checkpoint was written
    play(sinks, watch, range(4, 8))
    rest, sinks, watch = blurring()
    sinks.resume(2)
    play(sinks, watch, range(2, 8))
    for a, b in zip(whole.frames[2:], rest.frames, strict=True):
        assert (a.image == b.image).all()


def test_a_finer_detector_is_used_instead(blurring):
    sink, sinks, _ = blurring(finer=lambda image, score: found((100, 50, 120, 70, score, PERSON)))
    image = picture()
    sinks.write(frame(0, image), record(0, tracks((7, 200, 20, 300, 120, VEHICLE))))
    where = changed(image, sink.frames[0].image)
    assert where[48:72, 98:122].mean() > 0.9
    assert not where[:, 130:].any()


def options(*words):
    p = argparse.ArgumentParser(exit_on_error=False)
    add_blur_options(p)
    return argparse.Namespace(**vars(p.parse_args(words)), threads=1)


def test_without_the_option_nothing_is_watched(tmp_path):
    model = Model("m", "", (64, 48), {}, None)
    assert watched(model, options()) is model
    assert summary(model) == {}
    sink, image = Kept(), picture()
    given = frame(0, image)
    over([sink], model, tmp_path).write(given, record(0))
    assert sink.frames == [given]


def test_the_summary_says_what_was_blurred_and_what_was_not():
    model = watched(Model("m", "", (64, 48), {}, None), options("--blur", "plates,faces"))
    said = summary(model)
    assert said["blur"] == ["faces", "plates"]
    assert "upper half of persons" in said["blur_note"] and "inside vehicles" in said["blur_note"]
    assert "persons" not in note(("plates",)) and "every box of x" in note(KINDS, "x")


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--blur-decoder", "yolox"], "need --blur"),
     (["--blur", "faces", "--blur-detector", "none.onnx"], "--blur-decoder"),
     (["--blur", "faces", "--blur-detector", "none.onnx", "--blur-decoder", "yolox"], "no such")],
)  # fmt: skip
def test_wrong_options_are_one_line(words, says):
    with pytest.raises(InputError, match=says):
        watched(Model("m", "", (64, 48), {}, None), options(*words))


@pytest.mark.parametrize("text", ["", "face", "faces,"])
def test_kinds_are_checked(text):
    if text == "faces,":
        assert options("--blur", text).blur == ["faces"]
        return
    with pytest.raises(argparse.ArgumentError):
        options("--blur", text)


def test_a_copied_model_keeps_its_watch():
    model = watched(Model("m", "", (64, 48), {}, None), options("--blur", "faces"))
    assert replace(model, name="n").watch is model.watch
