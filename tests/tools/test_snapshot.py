"""The state of a replay as JSON: bit for bit, and never a class that is not expected."""

from __future__ import annotations

import json
from collections import Counter, deque
from pathlib import Path

import numpy as np
import pytest

from data.camera import Camera
from data.types import Detections, Plan, PlanStatus
from perception.tracking import Tracker
from tools.snapshot import decode, encode
from tools.tally import Histogram, Tally


def through(value):
    return decode(json.loads(json.dumps(encode(value))))


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -0.1, float("inf"), "text", (1, (2.0, None)), [1, "a"], {"a": 1, 2: "b"},
        Counter({"x": 3}), deque([1, 2], maxlen=2), PlanStatus.STALE,
    ],
)  # fmt: skip
def test_plain_values_come_back(value):
    back = through(value)
    assert back == value
    assert type(back) is type(value)


def test_arrays_come_back_bit_for_bit():
    for array in (
        np.array([np.nan, -0.0, 1 / 3]), np.zeros((0, 4), np.float32), np.array(5, np.int64),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array([True, False]),
    ):  # fmt: skip
        back = through(array)
        assert back.tobytes() == array.tobytes()
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert back.flags.f_contiguous == array.flags.f_contiguous


def test_a_tracker_goes_on_as_if_nothing_had_been():
    random, camera = np.random.default_rng(0), Camera.assumed(640, 360)

    def found(i: int) -> Detections:
        xyxy = np.array([[100 + 3 * i, 150, 160 + 4 * i, 200], [400, 160, 430, 180]], np.float64)
        return Detections(xyxy + random.normal(0, 1, xyxy.shape), [0.9, 0.7], [0, 0])

    frames = [found(i) for i in range(12)]
    whole, first, second = Tracker(), Tracker(), Tracker()
    for i in range(6):
        first.update(frames[i], i * 50_000_000, camera)
        whole.update(frames[i], i * 50_000_000, camera)
    vars(second).update(through({k: v for k, v in vars(first).items() if k != "config"}))
    for i in range(6, 12):
        a = whole.update(frames[i], i * 50_000_000, camera)
        b = second.update(frames[i], i * 50_000_000, camera)
        assert len(a) == 2
        for name, value in vars(a).items():
            assert getattr(b, name).tobytes() == value.tobytes()


def test_other_classes_are_neither_written_nor_made():
    with pytest.raises(TypeError, match="not known"):
        encode(Path("x"))
    with pytest.raises(KeyError):
        decode({"!": "object", "class": "Popen", "fields": {}})


def test_what_another_version_wrote_is_refused_where_something_is_missing():
    plan = encode(Plan.none(PlanStatus.STALE, "late"))
    assert decode(json.loads(json.dumps(plan))).reason == "late"
    del plan["fields"]["reason"]
    with pytest.raises(ValueError, match="Plan without reason: written by another version"):
        decode(plan)


def test_a_histogram_is_right_within_half_a_percent():
    h = Histogram()
    for i in range(1, 1001):
        h.add(i / 10)
    for name, exact in (("p50", 50.0), ("p95", 95.0), ("p99", 99.0)):
        assert h.percentiles()[name] == pytest.approx(exact, rel=0.006)
    size = h.counts.nbytes
    h.add(0.0)
    h.add(1e12)
    assert h.counts.nbytes == size


def test_a_tally_does_not_grow_with_the_frames():
    tally = Tally()
    tally.last_seen = {i: i for i in range(5000)}
    tally.frames = 19_999
    from data.types import Plan, StepRecord

    tally.add(StepRecord(0, 0, None, Plan.none(PlanStatus.STALE, "no 1.5"), None, {"plan": 1.0}))
    assert tally.last_seen == {}
    assert tally.reasons == {"STALE: no #": 1}
