"""A replay as a Rerun recording (rerun.io): picture, objects, surfaces, path, grid, times."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from data.camera import Camera
from data.logs.extras import need
from data.types import CostGrid, Frame, Plan, Scene, StepRecord
from tools.outputs.part import (
    Part,
    class_colours,
    class_legend,
    class_map,
    grid_rgba,
    jpeg,
    path_points,
    placed,
    start_speed_mps,
    surface_legend,
    track_labels,
)

_CAMERA = "vehicle/camera"
_PATH_RGB = (47, 141, 255)


class RerunWriter:
    """Writes a ``.rrd`` file; timelines ``frame`` (its number) and ``time`` (since the first).

    Entities: ``vehicle/camera`` (pose and pinhole) with ``image``, ``surfaces``, ``detections``
    and ``tracks``; ``vehicle/tracks``, ``vehicle/path`` and ``vehicle/grid`` in vehicle metres
    (x forward, y left, z up); ``plan/*`` and ``stage_ms/*`` as curves; ``log``.

    Raises:
        InputError: the package is missing.
    """

    def __init__(self, part: Part, title: str) -> None:
        self._rr: Any = need("rerun", "--rerun files", "view")
        self._part = part
        self._camera: Camera | None = None
        self._status = ""
        self._frames = 0
        rr = self._rr
        number = hashlib.sha256(title.encode()).hexdigest()[:32]
        self._stream = rr.RecordingStream("roadstack", recording_id=number, send_properties=False)
        self._stream.set_log_time_enabled(False)
        self._stream.set_log_tick_enabled(False)
        self._stream.save(part.path, default_blueprint=_blueprint())
        self._stream.send_recording_name(title)
        self._static()

    def write(self, frame: Frame, record: StepRecord) -> None:
        rr, stream = self._rr, self._stream
        stream.set_time("frame", sequence=record.index)
        stream.set_time("time", duration=np.timedelta64(record.t_ns, "ns"))
        picture = rr.EncodedImage(contents=jpeg(frame.image), media_type="image/jpeg")
        stream.log(f"{_CAMERA}/image", picture)
        if record.scene is None:
            for name in ("surfaces", "detections", "tracks"):
                stream.log(f"{_CAMERA}/{name}", rr.Clear(recursive=False))
            stream.log("vehicle/tracks", rr.Clear(recursive=False))
        else:
            self._write_scene(frame, record.scene)
        self._write_grid(record.grid)
        self._write_plan(record.plan)
        for stage, ms in record.stage_ms.items():
            stream.log(f"stage_ms/{stage}", rr.Scalars(ms))
        for fault in record.faults:
            stream.log("log", rr.TextLog(fault, level="WARN"))
        self._frames += 1

    def _static(self) -> None:
        rr, stream = self._rr, self._stream
        stream.log("vehicle", rr.ViewCoordinates.FLU, static=True)
        for name, legend in (("surfaces", surface_legend()), ("detections", class_legend()),
                             ("tracks", class_legend())):  # fmt: skip
            context = [rr.AnnotationInfo(i, text, colour) for i, text, colour in legend]
            stream.log(f"{_CAMERA}/{name}", rr.AnnotationContext(context), static=True)

    def _write_scene(self, frame: Frame, scene: Scene) -> None:
        rr, stream = self._rr, self._stream
        height, width = frame.image.shape[:2]
        if scene.camera is not self._camera:
            self._write_camera(scene.camera)
        surfaces = rr.SegmentationImage(class_map(scene.surfaces, width, height), opacity=0.35)
        stream.log(f"{_CAMERA}/surfaces", surfaces)
        found, tracks = scene.detections, scene.tracks
        stream.log(
            f"{_CAMERA}/detections",
            rr.Boxes2D(
                array=found.xyxy, array_format=rr.Box2DFormat.XYXY, class_ids=found.class_id,
                radii=0.5, show_labels=False, labels=[f"{s:.2f}" for s in found.score],
            ),
        )  # fmt: skip
        labels = track_labels(tracks)
        stream.log(
            f"{_CAMERA}/tracks",
            rr.Boxes2D(
                array=tracks.xyxy, array_format=rr.Box2DFormat.XYXY, class_ids=tracks.class_id,
                labels=labels, radii=1.5,
            ),
        )  # fmt: skip
        rows, centres, sizes = placed(tracks)
        stream.log(
            "vehicle/tracks",
            rr.Boxes3D(
                centers=centres, sizes=sizes, colors=class_colours(tracks.class_id[rows]),
                labels=[labels[i] for i in rows],
            ),
        )  # fmt: skip

    def _write_camera(self, camera: Camera) -> None:
        rr, pose = self._rr, camera.vehicle_from_camera
        self._camera = camera
        self._stream.log(
            _CAMERA,
            rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]),
            rr.Pinhole(
                image_from_camera=camera.matrix, resolution=[camera.width_px, camera.height_px],
                camera_xyz=rr.ViewCoordinates.RDF, image_plane_distance=4.0,
            ),
        )  # fmt: skip

    def _write_grid(self, grid: CostGrid | None) -> None:
        rr, stream = self._rr, self._stream
        if not hasattr(rr, "GridMap"):  # of an older Rerun
            return
        if grid is None:
            stream.log("vehicle/grid", rr.Clear(recursive=False))
            return
        # a picture whose right is forward and whose top is left, its lower left corner the origin
        cells = np.ascontiguousarray(grid_rgba(grid).transpose(1, 0, 2)[::-1])
        height, width = cells.shape[:2]
        size = rr.components.ImageFormat(
            width=width, height=height, color_model="RGBA", channel_datatype="U8"
        )
        stream.log(
            "vehicle/grid",
            rr.GridMap(
                data=cells.tobytes(), format=size, cell_size=grid.resolution_m, opacity=0.6,
                translation=[*grid.origin_m, 0.0],
            ),
        )  # fmt: skip

    def _write_plan(self, plan: Plan) -> None:
        rr, stream = self._rr, self._stream
        points = path_points(plan)
        lift = np.array([0.0, 0.0, 0.05])  # above the grid
        strips = [points + lift] if len(points) > 1 else []
        stream.log("vehicle/path", rr.LineStrips3D(strips, colors=_PATH_RGB, radii=0.12))
        speed = start_speed_mps(plan)
        if speed is not None:
            stream.log("plan/speed_mps", rr.Scalars(speed))
        stream.log("plan/length_m", rr.Scalars(plan.length_m))
        status = f"{plan.status}: {plan.reason}" if plan.reason else str(plan.status)
        if str(plan.status) != self._status:
            self._status = str(plan.status)
            level = "INFO" if self._status == "OK" else "WARN"
            stream.log("log", rr.TextLog(f"plan {status}", level=level))

    def close(self) -> None:
        if self._frames == 0:
            self.discard()
            return
        self._stream.flush()
        self._stream.disconnect()
        self._part.keep()

    def discard(self) -> None:
        self._stream.disconnect()
        self._part.drop()


def _blueprint() -> Any:
    """Picture and view from above, curves and log below."""
    rrb = need("rerun.blueprint", "--rerun files", "view")
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(
                rrb.Spatial2DView(origin=_CAMERA, name="Camera"),
                rrb.Spatial3DView(origin="vehicle", name="Vehicle"),
                column_shares=[3, 2],
            ),
            rrb.Horizontal(
                rrb.TimeSeriesView(origin="stage_ms", name="Stages (ms)"),
                rrb.TimeSeriesView(origin="plan", name="Plan"),
                rrb.TextLogView(origin="log", name="Log"),
            ),
            row_shares=[3, 1],
        ),
        rrb.TimePanel(timeline="time", state="collapsed"),
        collapse_panels=True,
    )
