"""The renderer's benchmark times every look and says on what."""

from __future__ import annotations

import json

import pytest

from data.errors import InputError
from data.synthetic.looks import LOOKS
from data.synthetic.stories import ROADS
from tools.bench_render import bench_render


def test_every_look_and_road_is_timed():
    result = bench_render((160, 96), 2, 0)
    assert list(result["drives"]) == list(result["samples"]) == list(LOOKS)
    assert {row["road"] for row in result["drives"].values()} == set(ROADS)
    for row in (*result["drives"].values(), *result["samples"].values()):
        assert 0 < row["ms"]["median"] <= row["ms"]["p95"] <= row["ms"]["p99"]
        assert row["fps"] == pytest.approx(1e3 / row["ms"]["median"], rel=0.05)
    assert result["threads"] == 1 and result["hardware"]
    assert result["drive_fps"] > 0 and result["sample_fps"] > 0
    json.dumps(result)


def test_nothing_to_time_is_an_error():
    with pytest.raises(InputError, match="frames >= 2"):
        bench_render((160, 96), 1, 0)
