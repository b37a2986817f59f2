"""Files for other viewers, read back with the formats' own libraries."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data.camera import Camera
from data.errors import InputError
from data.logs import open_log
from data.types import (
    Cell,
    CostGrid,
    Detections,
    Frame,
    Plan,
    PlanStatus,
    Scene,
    StepRecord,
    Surfaces,
    Tracks,
)
from tools.outputs import add_output_options, open_outputs
from tools.outputs.part import class_map, grid_rgba, placed

WIDTH, HEIGHT, COUNT, STEP_NS = 96, 64, 5, 100_000_000
CAMERA = Camera.assumed(WIDTH, HEIGHT)


def tracks() -> Tracks:
    """A car 20 m ahead, 2 m to the left, and a person whose place is not known."""
    return Tracks(
        np.array([3, 8]), np.array([[10, 20, 30, 40], [50, 20, 60, 45]]), np.array([0, 1]),
        np.array([0.9, 0.5]), np.ones(2), np.zeros(2), np.array([[20.0, 2.0], [np.nan, np.nan]]),
        np.zeros((2, 2)), np.zeros((2, 4, 4)),
    )  # fmt: skip


def scene(t_ns: int) -> Scene:
    drivable = np.zeros((16, 24), np.float32)
    drivable[8:] = 0.9
    lane = np.zeros((16, 24), np.float32)
    lane[8:, 12] = 0.9
    found = Detections(np.array([[10, 20, 30, 40.0]]), np.array([0.8]), np.array([0]))
    return Scene(t_ns, CAMERA, found, Surfaces(drivable, lane, (0.25, 0.25)), tracks())


def grid(t_ns: int) -> CostGrid:
    """6 cells ahead, 4 across; the one furthest ahead to the left is an obstacle."""
    cost, kind = np.ones((6, 4), np.float32), np.full((6, 4), Cell.ROAD, np.uint8)
    cost[5, 3], kind[5, 3] = np.inf, Cell.OBSTACLE
    return CostGrid(cost, kind, np.ones((6, 4), np.float32), 0.5, (1.0, -1.0), t_ns)


def step(i: int) -> tuple[Frame, StepRecord]:
    """The second frame has a fault, the third saw nothing and stops."""
    t_ns = i * STEP_NS
    image = np.full((HEIGHT, WIDTH, 3), 40 * i, np.uint8)
    x = np.linspace(0, 5, 6)
    z = np.zeros(6)
    plan = Plan(PlanStatus.OK, "", x, z + 0.5, z, z + 7, z, x / 7)
    seen: Scene | None = scene(t_ns)
    if i == 2:
        seen, plan = None, Plan.none(PlanStatus.NO_SURFACE, "no surface seen")
    faults = ("a made-up fault",) if i == 1 else ()
    times = {"network": 10.0 + i, "plan": 2.0}
    made = grid(t_ns) if i != 2 else None
    return Frame(image, i, t_ns), StepRecord(i, t_ns, seen, plan, made, times, faults=faults)


def options(**given: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_output_options(parser)
    parser.add_argument("--source", type=Path)
    words = [w for k, v in given.items() for w in (f"--{k}", str(v))]
    return parser.parse_args(words)


def write(path: Path, count: int = COUNT) -> Path:
    (output,) = open_outputs(options(**{"rerun" if path.suffix == ".rrd" else "mcap": path}), "t")
    for i in range(count):
        output.write(*step(i))
    output.close()
    return path


def packages(suffix: str) -> None:
    name = "rerun" if suffix == ".rrd" else "foxglove"
    pytest.importorskip(name, reason=f"{name} is not installed")


def read_mcap(path: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Time and bytes of all messages, by topic."""
    reader = pytest.importorskip("mcap.reader", reason="mcap is not installed")
    found: dict[str, list[tuple[int, bytes]]] = {}
    with path.open("rb") as file:
        for schema, channel, message in reader.make_reader(
            file, validate_crcs=True
        ).iter_messages():
            assert schema is not None and schema.data
            kind = f"{channel.topic} {schema.name}"
            found.setdefault(kind, []).append((message.log_time, message.data))
    return found


def test_mcap_holds_every_frame(tmp_path: Path) -> None:
    packages(".mcap")
    found = read_mcap(write(tmp_path / "r.mcap"))
    assert {k: len(v) for k, v in found.items()} == {
        "/camera/image foxglove.CompressedImage": 5,
        "/camera/calibration foxglove.CameraCalibration": 1,
        "/tf foxglove.FrameTransform": 1,
        "/camera/annotations foxglove.ImageAnnotations": 5,
        "/scene foxglove.SceneUpdate": 5,
        "/plan/path foxglove.PosesInFrame": 5,
        "/plan/grid foxglove.Grid": 4,
        "/plan/state roadstack.PlanState": 5,
        "/stage_ms roadstack.StageTimes": 5,
        "/log foxglove.Log": 4,
    }
    times = [t for t, _ in found["/camera/image foxglove.CompressedImage"]]
    assert times == [i * STEP_NS for i in range(COUNT)]
    states = [json.loads(d) for _, d in found["/plan/state roadstack.PlanState"]]
    assert states[2] == {"frame": 2, "status": "NO_SURFACE", "reason": "no surface seen",
                         "length_m": 0.0, "speed_mps": None}  # fmt: skip
    assert states[0]["speed_mps"] == 7 and states[0]["length_m"] == pytest.approx(5)
    log = b"".join(d for _, d in found["/log foxglove.Log"])
    for text in (b"plan OK", b"a made-up fault", b"plan NO_SURFACE: no surface seen"):
        assert text in log


def test_mcap_is_a_log_of_its_own_with_the_same_camera(tmp_path: Path) -> None:
    packages(".mcap")
    log = open_log(write(tmp_path / "r.mcap"))
    frames = list(log)
    assert [f.t_ns for f in frames] == [i * STEP_NS for i in range(COUNT)]
    assert [round(float(f.image.mean())) for f in frames] == [40 * i for i in range(COUNT)]
    assert frames[0].camera is not None
    np.testing.assert_allclose(frames[0].camera.matrix, CAMERA.matrix)


def parsed(path: Path, topic: str) -> list[Any]:
    """Messages of a topic by the schema that the file itself holds."""
    pytest.importorskip("mcap", reason="mcap is not installed")
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from mcap.reader import make_reader

    found = []
    with path.open("rb") as file:
        for schema, _, message in make_reader(file).iter_messages(topics=[topic]):
            assert schema is not None
            pool = descriptor_pool.DescriptorPool()
            for part in descriptor_pb2.FileDescriptorSet.FromString(schema.data).file:
                pool.Add(part)
            kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(schema.name))
            found.append(kind.FromString(message.data))
    return found


def test_mcap_objects_path_and_grid_lie_where_they_were_seen(tmp_path: Path) -> None:
    packages(".mcap")
    path = write(tmp_path / "r.mcap")
    objects, line = parsed(path, "/scene")[0].entities
    assert (objects.id, objects.frame_id, len(objects.cubes)) == ("objects", "vehicle", 1)
    place = objects.cubes[0].pose.position
    assert (place.x, place.y, place.z) == (22.2, 2.0, 0.75)  # its near side is at 20 m
    assert objects.texts[0].text == "vehicle #3"
    assert [p.x for p in line.lines[0].points] == [0, 1, 2, 3, 4, 5]
    unseen = parsed(path, "/scene")[2]
    assert [d.id for d in unseen.deletions] == ["objects"] and not unseen.entities[0].lines
    g = parsed(path, "/plan/grid")[0]
    assert (g.column_count, g.cell_size.x, g.pose.position.x, g.pose.position.y) == (6, 0.5, 1, -1)
    cells = np.frombuffer(g.data, np.uint8).reshape(-1, g.column_count, g.cell_stride)
    assert g.row_stride == 6 * g.cell_stride and {f.name: f.offset for f in g.fields}["kind"] == 4
    assert cells[..., 4].tolist() == grid(0).kind.T.tolist()
    assert np.isinf(cells[3, 5, :4].copy().view("<f4")[0])
    marks = parsed(path, "/camera/annotations")[0]
    assert len(marks.points) == 3 and [t.text for t in marks.texts] == ["vehicle #3", "person #8"]
    assert [(p.x, p.y) for p in marks.points[0].points] == [(10, 20), (30, 20), (30, 40), (10, 40)]
    tf = parsed(path, "/tf")[0]
    assert (tf.parent_frame_id, tf.child_frame_id) == ("vehicle", "camera")
    q = tf.rotation
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    np.testing.assert_allclose(turn, CAMERA.vehicle_from_camera[:3, :3], atol=1e-9)


def test_mcap_is_the_same_each_time(tmp_path: Path) -> None:
    packages(".mcap")
    a, b = (write(tmp_path / name).read_bytes() for name in ("a.mcap", "b.mcap"))
    assert a == b


def test_rerun_holds_every_frame(tmp_path: Path) -> None:
    packages(".rrd")
    path = write(tmp_path / "r.rrd")
    assert path.read_bytes()[:4] == b"RRF2"
    chunk = pytest.importorskip("rerun.chunk", reason="this Rerun cannot read files back")
    reader = chunk.RrdReader(path)
    assert [e.application_id for e in reader.recordings()] == ["roadstack"]
    assert len(reader.blueprints()) == 1
    rows: Counter[str] = Counter()
    for part in reader.stream():
        rows[part.entity_path] += part.num_rows
    static = 1  # the legend of classes
    expected = {
        "/vehicle/camera/image": COUNT,
        "/vehicle/camera/surfaces": COUNT + static,
        "/vehicle/camera/detections": COUNT + static,
        "/vehicle/camera/tracks": COUNT + static,
        "/vehicle/tracks": COUNT,
        "/vehicle/path": COUNT,
        "/vehicle/grid": COUNT,
        "/plan/length_m": COUNT,
        "/plan/speed_mps": COUNT - 1,
        "/stage_ms/network": COUNT,
        "/stage_ms/plan": COUNT,
        "/log": 4,
    }
    assert {k: rows[k] for k in expected} == expected
    schema = str(reader.store().schema())
    assert "timeline:frame" in schema and "timeline:time" in schema
    assert "log_time" not in schema and "log_tick" not in schema


@pytest.mark.parametrize("suffix", [".rrd", ".mcap"])
def test_nothing_half_written_takes_the_name(tmp_path: Path, suffix: str) -> None:
    packages(suffix)
    path = tmp_path / f"r{suffix}"
    path.write_bytes(b"earlier")
    write(path, count=0)
    assert path.read_bytes() == b"earlier" and list(tmp_path.iterdir()) == [path]
    given = {"rerun" if suffix == ".rrd" else "mcap": path}
    (output,) = open_outputs(options(**given))
    output.write(*step(0))
    assert path.read_bytes() == b"earlier"
    output.discard()
    assert path.read_bytes() == b"earlier" and list(tmp_path.iterdir()) == [path]
    write(path)
    assert path.read_bytes() != b"earlier" and list(tmp_path.iterdir()) == [path]


def test_both_at_once_and_none(tmp_path: Path) -> None:
    packages(".rrd"), packages(".mcap")
    assert open_outputs(options()) == []
    outputs = open_outputs(options(rerun=tmp_path / "a/r.rrd", mcap=tmp_path / "b/r.mcap"))
    for output in outputs:
        output.write(*step(0))
        output.close()
    assert (tmp_path / "a/r.rrd").stat().st_size and (tmp_path / "b/r.mcap").stat().st_size


def test_bad_names_and_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.rrd").mkdir()
    (tmp_path / "file").write_text("")
    source = tmp_path / "in.mcap"
    source.write_text("")
    for given, says in (
        ({"rerun": tmp_path / "x.mcap"}, "expected a name that ends in .rrd"),
        ({"rerun": tmp_path / "folder.rrd"}, "is a folder; give a file"),
        ({"mcap": tmp_path / "file" / "x.mcap"}, "cannot be written"),
        ({"mcap": source, "source": source}, "would overwrite the source"),
    ):
        with pytest.raises(InputError, match=says):
            open_outputs(options(**given))
    for module, option, name, extra in (
        ("rerun", "rerun", "x.rrd", "view"),
        ("foxglove", "mcap", "x.mcap", "logs"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(InputError, match=rf"pip install 'roadstack\[{extra}\]'"):
            open_outputs(options(**{option: tmp_path / name}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.rrd", "in.mcap"]


def test_the_options_load_nothing_heavy() -> None:
    code = (
        "import argparse, sys, tools.outputs as o; o.add_output_options(argparse.ArgumentParser());"
        "bad = {'numpy', 'cv2', 'rerun', 'foxglove'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_shapes() -> None:
    classes = class_map(scene(0).surfaces, WIDTH, HEIGHT)
    assert classes.shape == (HEIGHT, WIDTH)
    assert classes[10, 10] == 0 and classes[50, 10] == 1 and classes[50, 50] == 2
    assert (classes == 2).sum() == 32 * 4
    rows, centres, sizes = placed(tracks())
    assert rows.tolist() == [0] and centres.shape == sizes.shape == (1, 3)
    assert placed(Tracks.empty())[1].shape == (0, 3)
    assert grid_rgba(grid(0))[5, 3].tolist() == [214, 70, 70, 255]


def test_jpeg_keeps_the_picture(tmp_path: Path) -> None:
    packages(".mcap")
    data = parsed(write(tmp_path / "r.mcap"), "/camera/image")[3].data
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(np.asarray(image, int) - 120).max() < 3
