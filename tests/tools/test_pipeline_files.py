"""Threads keep order and pass errors on; files appear whole or not at all."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest

from data.errors import InputError
from tools.files import inside, make_folder, write_json, write_png
from tools.pipeline import Consumer, begun, prefetch


def counted(read: list[int]):
    """0 to 19, each noted when it is asked for."""
    for i in range(20):
        read.append(i)
        yield i


def test_prefetch_keeps_order_and_reads_ahead():
    read = []
    items = prefetch(counted(read), depth=4)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(read) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 5 <= len(read) <= 6  # bounded: a slow consumer does not fill the memory
    assert list(items) == list(range(1, 20))


def test_an_error_of_the_source_comes_out_after_what_came_before_it():
    def source():
        yield 1
        raise InputError("broken")

    items = prefetch(source())
    assert next(items) == 1
    with pytest.raises(InputError, match="broken"):
        next(items)


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    items = prefetch(iter(range(10**9)))
    next(items)
    items.close()
    assert threading.active_count() == before


def test_work_is_begun_ahead_side_by_side_and_given_in_order():
    together = threading.Barrier(3, timeout=10)

    def work(i):
        together.wait()  # passes only where three are at it
        return i * i

    assert [(i, f.result()) for i, f in begun(range(9), work, 3)] == [(i, i * i) for i in range(9)]


def test_work_is_begun_for_no_more_than_the_next_items():
    asked = []
    items = begun(counted(asked), str, 2)
    assert next(items)[0] == 0
    assert asked == [0, 1, 2]
    assert [f.result() for _, f in items] == [str(i) for i in range(1, 20)]
    asked.clear()
    assert next(begun(counted(asked), str, 2, 2))[0] == 0
    assert asked == [0, 1, 2, 3, 4]


def test_failed_work_is_raised_where_its_result_is_asked_for():
    def work(i):
        if i == 1:
            raise ValueError("no")
        return i

    (_, first), (_, second), (_, third) = begun(range(3), work, 2)
    assert first.result() == 0 and third.result() == 2
    with pytest.raises(ValueError, match="no"):
        second.result()


def test_an_error_of_the_source_comes_out_after_what_was_begun_before_it():
    def source():
        yield from (1, 2, 3)
        raise InputError("broken")

    items = begun(source(), str, 2)
    assert [next(items)[1].result() for _ in range(3)] == ["1", "2", "3"]
    with pytest.raises(InputError, match="broken"):
        next(items)


def test_leaving_early_ends_the_threads_of_the_work():
    before = threading.active_count()
    items = begun(iter(range(10**9)), str, 2)
    next(items)
    items.close()
    assert threading.active_count() == before


def test_consumer_handles_all_items_in_order():
    got = []
    with Consumer(got.append, depth=2) as sink:
        for i in range(50):
            sink.put(i)
    assert got == list(range(50))


def test_an_error_of_the_consumer_reaches_the_producer():
    def fails(_):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Consumer(fails) as sink:
        for i in range(100):
            sink.put(i)


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png"])
def test_no_file_outside_the_output_folder(tmp_path, name):
    with pytest.raises(InputError, match="leave the output folder"):
        inside(tmp_path / "out", name)


def test_nan_is_written_as_null(tmp_path):
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [1.5, (2,)]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [1.5, [2]]}


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "x.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"new": object()})
    assert json.loads((tmp_path / "x.json").read_text()) == {"old": 1}


def test_png_and_folder(tmp_path):
    out = make_folder(tmp_path / "a" / "b")
    write_png(out / "deep" / "x.png", np.zeros((4, 5), np.uint8))
    assert [p.name for p in (out / "deep").iterdir()] == ["x.png"]
