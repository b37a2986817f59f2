"""A replay as MCAP with Foxglove's messages (docs.foxglove.dev, message schemas)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from data.camera import Camera
from data.logs.extras import need
from data.types import F32, CostGrid, Frame, Plan, Scene, StepRecord, Tracks
from tools.outputs.part import (
    Part,
    class_colours,
    grid_rgba,
    jpeg,
    path_points,
    placed,
    start_speed_mps,
    track_labels,
)

_VEHICLE, _CAMERA = "vehicle", "camera"
_PATH = (0.18, 0.55, 1.0)
_RGBA = ("red", "green", "blue", "alpha")
_CELL = np.dtype([("cost", "<f4"), ("kind", "u1"), *((name, "u1") for name in _RGBA)])


class McapWriter:
    """Writes an ``.mcap`` file; times are those of the log, from 0.

    Topics: ``/camera/image``, ``/camera/calibration`` and ``/tf`` (when it changes),
    ``/camera/annotations``, ``/scene`` (objects as boxes, the path), ``/plan/path``,
    ``/plan/grid``, ``/plan/state`` and ``/stage_ms`` (JSON, for curves), ``/log``. Frames of
    reference: ``vehicle`` (x forward, y left, z up) and ``camera`` (x right, y down, z forward).

    Raises:
        InputError: the package is missing.
    """

    def __init__(self, part: Part, title: str) -> None:
        foxglove: Any = need("foxglove", "--mcap files")
        self._m: Any = need("foxglove.messages", "--mcap files")
        self._part = part
        self._camera: Camera | None = None
        self._status = ""
        self._frames = 0
        self._context = context = foxglove.Context()  # channels close when it is let go of
        options = need("foxglove.mcap", "--mcap files").MCAPWriteOptions(compression_threads=0)
        self._file = foxglove.open_mcap(
            part.path, allow_overwrite=True, context=context, writer_options=options
        )
        self._file.write_metadata("roadstack", {"title": title})
        channels: Any = need("foxglove.channels", "--mcap files")
        self._channels = {
            topic: getattr(channels, f"{kind}Channel")(topic, context=context)
            for topic, kind in (
                ("/camera/image", "CompressedImage"),
                ("/camera/calibration", "CameraCalibration"),
                ("/camera/annotations", "ImageAnnotations"),
                ("/tf", "FrameTransform"),
                ("/scene", "SceneUpdate"),
                ("/plan/path", "PosesInFrame"),
                ("/plan/grid", "Grid"),
                ("/log", "Log"),
            )
        }
        for topic, name in (("/plan/state", "PlanState"), ("/stage_ms", "StageTimes")):
            schema = foxglove.Schema(
                name=f"roadstack.{name}", encoding="jsonschema", data=b'{"type":"object"}'
            )
            self._channels[topic] = foxglove.Channel(
                topic, schema=schema, message_encoding="json", context=context
            )

    def write(self, frame: Frame, record: StepRecord) -> None:
        m, t_ns = self._m, record.t_ns
        stamp = m.Timestamp(t_ns // 1_000_000_000, t_ns % 1_000_000_000)
        self._now = t_ns, stamp
        picture = m.CompressedImage(
            timestamp=stamp, frame_id=_CAMERA, data=jpeg(frame.image), format="jpeg"
        )
        self._log("/camera/image", picture)
        scene = record.scene
        if scene is not None and scene.camera is not self._camera:
            self._write_camera(scene.camera)
        self._log("/camera/annotations", self._annotations(scene))
        entities = [] if scene is None else [self._objects(scene.tracks)]
        path = path_points(record.plan)
        self._log("/scene", self._scene([*entities, self._path_line(path)], scene is None))
        self._log("/plan/path", self._poses(record.plan))
        if record.grid is not None:
            self._log("/plan/grid", self._grid(record.grid))
        self._write_state(record)
        self._frames += 1

    def _log(self, topic: str, message: Any) -> None:
        self._channels[topic].log(message, log_time=self._now[0])

    def _write_state(self, record: StepRecord) -> None:
        plan, speed = record.plan, start_speed_mps(record.plan)
        state = {"frame": record.index, "status": str(plan.status), "reason": plan.reason,
                 "length_m": plan.length_m, "speed_mps": speed}  # fmt: skip
        self._log("/plan/state", state)
        self._log("/stage_ms", {k: round(v, 3) for k, v in record.stage_ms.items()})
        level = self._m.LogLevel
        if str(plan.status) != self._status:
            self._status = str(plan.status)
            text = f"plan {plan.status}" + (f": {plan.reason}" if plan.reason else "")
            self._say(level.Info if self._status == "OK" else level.Warning, text)
        for fault in record.faults:
            self._say(level.Warning, fault)

    def _say(self, level: Any, text: str) -> None:
        log = self._m.Log(timestamp=self._now[1], level=level, message=text, name="roadstack")
        self._log("/log", log)

    def _write_camera(self, camera: Camera) -> None:
        m, stamp, pose = self._m, self._now[1], camera.vehicle_from_camera
        self._camera = camera
        matrix, d = camera.matrix, camera.distortion
        model = "" if not d.size else "plumb_bob" if d.size <= 5 else "rational_polynomial"
        calibration = m.CameraCalibration(
            timestamp=stamp, frame_id=_CAMERA, width=camera.width_px, height=camera.height_px,
            distortion_model=model, D=d.tolist(), K=matrix.ravel().tolist(),
            R=np.eye(3).ravel().tolist(),
            P=np.column_stack([matrix, np.zeros(3)]).ravel().tolist(),
        )  # fmt: skip
        self._log("/camera/calibration", calibration)
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()
        transform = m.FrameTransform(
            timestamp=stamp, parent_frame_id=_VEHICLE, child_frame_id=_CAMERA,
            translation=self._vector(pose[:3, 3]), rotation=m.Quaternion(x=x, y=y, z=z, w=w),
        )  # fmt: skip
        self._log("/tf", transform)

    def _annotations(self, scene: Scene | None) -> Any:
        """Thin boxes of the detections, thick ones with a label of the tracks."""
        m, stamp = self._m, self._now[1]
        if scene is None:
            return m.ImageAnnotations(timestamp=stamp)
        found, tracks = scene.detections, scene.tracks
        boxes = [
            self._box(corners, colour, thickness)
            for objects, thickness in ((found, 1.0), (tracks, 3.0))
            for corners, colour in zip(
                objects.xyxy, self._colours(objects.class_id), strict=True
            )
        ]  # fmt: skip
        white = m.Color(r=1, g=1, b=1, a=1)
        texts = [
            m.TextAnnotation(
                timestamp=stamp, position=m.Point2(x=float(corners[0]), y=float(corners[1])),
                text=label, font_size=14, text_color=white, background_color=colour,
            )
            for corners, label, colour in zip(
                tracks.xyxy, track_labels(tracks), self._colours(tracks.class_id, 0.6), strict=True
            )
        ]  # fmt: skip
        return m.ImageAnnotations(timestamp=stamp, points=boxes, texts=texts)

    def _box(self, corners: F32, colour: Any, thickness: float) -> Any:
        m = self._m
        x1, y1, x2, y2 = (float(v) for v in corners)
        around = [m.Point2(x=x, y=y) for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
        loop = m.PointsAnnotationType.LineLoop
        return m.PointsAnnotation(
            timestamp=self._now[1], type=loop, points=around, outline_color=colour,
            thickness=thickness,
        )  # fmt: skip

    def _objects(self, tracks: Tracks) -> Any:
        """The tracks whose place is known, as one entity that replaces that of the last frame."""
        m = self._m
        rows, centres, sizes = placed(tracks)
        labels = track_labels(tracks)
        cubes = [
            m.CubePrimitive(pose=self._pose(c), size=self._vector(s), color=colour)
            for c, s, colour in zip(
                centres, sizes, self._colours(tracks.class_id[rows], 0.8), strict=True
            )
        ]  # fmt: skip
        white = m.Color(r=1, g=1, b=1, a=1)
        texts = [
            m.TextPrimitive(
                pose=self._pose(c + (0, 0, s[2])), billboard=True, font_size=12.0,
                scale_invariant=True, color=white, text=labels[i],
            )
            for i, c, s in zip(rows, centres, sizes, strict=True)
        ]  # fmt: skip
        stamp = self._now[1]
        return m.SceneEntity(
            timestamp=stamp, frame_id=_VEHICLE, id="objects", cubes=cubes, texts=texts
        )

    def _path_line(self, points: np.ndarray) -> Any:
        m = self._m
        r, g, b = _PATH
        lines = []
        if len(points) > 1:
            strip = [m.Point3(x=float(x), y=float(y), z=0.05) for x, y, _ in points]
            kind = m.LinePrimitiveLineType.LineStrip
            colour = m.Color(r=r, g=g, b=b, a=1)
            lines = [m.LinePrimitive(type=kind, points=strip, thickness=0.25, color=colour)]
        return m.SceneEntity(
            timestamp=self._now[1], frame_id=_VEHICLE, id="path", lines=lines
        )  # fmt: skip

    def _scene(self, entities: list[Any], unseen: bool) -> Any:
        m = self._m
        gone = []
        if unseen:
            kind = m.SceneEntityDeletionType.MatchingId
            gone = [m.SceneEntityDeletion(timestamp=self._now[1], type=kind, id="objects")]
        return m.SceneUpdate(deletions=gone, entities=entities)

    def _poses(self, plan: Plan) -> Any:
        m = self._m
        poses = [
            m.Pose(
                position=m.Vector3(x=float(x), y=float(y), z=0.0),
                orientation=m.Quaternion(x=0.0, y=0.0, z=np.sin(yaw / 2), w=np.cos(yaw / 2)),
            )
            for x, y, yaw in zip(plan.x_m, plan.y_m, plan.yaw_rad, strict=True)
        ]  # fmt: skip
        return m.PosesInFrame(timestamp=self._now[1], frame_id=_VEHICLE, poses=poses)

    def _grid(self, grid: CostGrid) -> Any:
        """Cost, kind and colour of each cell; the message's columns run ahead, rows to the left."""
        m = self._m
        rows, columns = grid.cost.shape
        cells = np.empty((columns, rows), _CELL)
        cells["cost"], cells["kind"] = grid.cost.T, grid.kind.T
        colours = grid_rgba(grid)
        for i, name in enumerate(_RGBA):
            cells[name] = colours[..., i].T
        types = m.PackedElementFieldNumericType
        fields = [
            m.PackedElementField(
                name=name, offset=int(_CELL.fields[name][1]),  # type: ignore[index]
                type=types.Float32 if name == "cost" else types.Uint8,
            )
            for name in _CELL.names or ()
        ]  # fmt: skip
        size = m.Vector2(x=grid.resolution_m, y=grid.resolution_m)
        corner = np.array([*grid.origin_m, 0.0])
        return m.Grid(
            timestamp=self._now[1], frame_id=_VEHICLE, pose=self._pose(corner), column_count=rows,
            cell_size=size, row_stride=rows * _CELL.itemsize, cell_stride=_CELL.itemsize,
            fields=fields, data=cells.tobytes(),
        )  # fmt: skip

    def _vector(self, values: Any) -> Any:
        x, y, z = (float(v) for v in values)
        return self._m.Vector3(x=x, y=y, z=z)

    def _pose(self, place: Any) -> Any:
        upright = self._m.Quaternion(x=0, y=0, z=0, w=1)
        return self._m.Pose(position=self._vector(place), orientation=upright)

    def _colours(self, class_ids: np.ndarray, alpha: float = 1.0) -> list[Any]:
        colours = (class_colours(class_ids) / 255).tolist()
        return [self._m.Color(r=r, g=g, b=b, a=alpha) for r, g, b in colours]

    def close(self) -> None:
        if self._frames == 0:
            self.discard()
            return
        self._file.close()
        self._part.keep()

    def discard(self) -> None:
        self._file.close()
        self._part.drop()
