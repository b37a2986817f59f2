"""``roadstack replay``: the full stack over a recorded drive, with a record of every frame."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.camera import load_camera
from data.errors import InputError
from data.logs import Log, Selection, open_log
from data.taxonomy import CLASSES
from data.types import Frame, PlanStatus, StepRecord
from perception.runtime import Model, load_model
from tools.detector import describe, with_detector
from tools.files import make_folder, staging, write_json
from tools.machine import hardware
from tools.pipeline import Consumer, prefetch
from tools.progress import progress_bar
from tools.record import SCHEMA, record_line, timing_line
from tools.stack import Stack
from tools.warmup import announce_replay

if TYPE_CHECKING:
    from tools.view.video import VideoWriter

OUTPUTS = ("overlay.mp4", "record.jsonl", "timings.jsonl", "summary.json")


class BuiltInDrive:
    """The rendered drive as a log; see ``data.logs.Log``."""

    kind = "synthetic"
    time_source = "the renderer's clock"

    def __init__(self, seed: int, selection: Selection) -> None:
        from data.synthetic.drive import SyntheticDrive

        if seed < 0:
            raise InputError(f"--seed {seed}: expected a whole number from 0 on")
        self._drive = SyntheticDrive(seed=seed)
        self._selection = selection
        last_ns = self._drive.t_ns(len(self._drive) - 1)
        if selection.start_ns > last_ns:
            raise InputError(
                f"--start {selection.start_ns / 1e9:g}: the built-in drive ends at "
                f"{last_ns / 1e9:g} s"
            )
        self.name = f"built-in drive, seed {seed}"
        camera = self._drive.camera
        self.width_px, self.height_px = camera.width_px, camera.height_px
        self.nominal_fps = float(self._drive.fps)
        rate = Fraction(self.nominal_fps)
        self.expected_frames: int | None = selection.expected(len(self._drive), rate)
        self.faults: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        chosen, wanted, given = self._selection, 0, 0
        for frame in self._drive:
            if frame.t_ns < chosen.start_ns:
                continue
            if chosen.stop_ns is not None and frame.t_ns >= chosen.stop_ns:
                return
            if wanted % chosen.every == 0:
                if chosen.max_frames is not None and given >= chosen.max_frames:
                    return
                given += 1
                yield frame
            wanted += 1


@dataclass
class Tally:
    """What a summary needs of all frames."""

    frames: int = 0
    plans: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    track_ids: set[int] = field(default_factory=set)
    classes: Counter[str] = field(default_factory=Counter)
    stage_ms: dict[str, list[float]] = field(default_factory=dict)
    frame_faults: int = 0
    late: int = 0
    camera: str = ""

    def add(self, r: StepRecord) -> None:
        self.frames += 1
        self.plans[str(r.plan.status)] += 1
        if r.plan.reason:
            # numbers out, so that like reasons are counted together
            text = re.sub(r"\d+(\.\d+)?", "#", r.plan.reason)
            self.reasons[f"{r.plan.status}: {text}"] += 1
        self.frame_faults += bool(r.faults)
        self.late += r.deadline_missed
        if r.scene is not None:
            tracks = r.scene.tracks
            for i, c in zip(tracks.track_id.tolist(), tracks.class_id.tolist(), strict=True):
                if i not in self.track_ids:
                    self.track_ids.add(i)
                    self.classes[CLASSES[c]] += 1
            self.camera = r.scene.camera.source

    def add_times(self, stage_ms: dict[str, float]) -> None:
        for stage, ms in stage_ms.items():
            self.stage_ms.setdefault(stage, []).append(ms)


def percentiles(values: list[float]) -> dict[str, float]:
    p = np.percentile(values, [50, 95, 99])
    return {k: round(float(v), 3) for k, v in zip(("p50", "p95", "p99"), p, strict=True)}


def _versions() -> dict[str, str]:
    from tools.cli import package_version

    names = ("numpy", "opencv-python-headless", "onnxruntime", "av", "scipy", "numba")
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # e.g. opencv-python in place of the headless one
            found[name] = "unknown"
    return {"roadstack": package_version(), "python": platform.python_version(), **found}


def _summary(
    log: Log, tally: Tally, model: Model, seconds: float, a: argparse.Namespace
) -> dict[str, Any]:
    return {
        "schema": "roadstack-summary-1",
        "source": str(a.source) if a.source else log.name,
        "frames": tally.frames,
        "width_px": log.width_px,
        "height_px": log.height_px,
        "frames_per_second": round(tally.frames / seconds, 2) if seconds > 0 else 0.0,
        "stage_ms": {k: percentiles(v) for k, v in tally.stage_ms.items()},
        "tracks": len(tally.track_ids),
        "tracks_by_class": dict(sorted(tally.classes.items())),
        "plans_ok": tally.plans[str(PlanStatus.OK)],
        "plans": dict(sorted(tally.plans.items())),
        "reasons": dict(tally.reasons.most_common()),
        "frames_with_faults": tally.frame_faults,
        "deadlines_missed": tally.late,
        "warnings": list(log.faults),
        "times": log.time_source,
        "camera": tally.camera,
        "seed": a.seed,
        "record": SCHEMA,
        "model": {
            "name": model.name,
            "sha256": model.sha256,
            "size": list(model.input_size),
            "precision": model.meta.get("roadstack.precision", ""),
        },
        **({"detector": describe(model.detector)} if model.detector else {}),
        "threads": a.threads or len(os.sched_getaffinity(0)),
        "hardware": hardware(),
        "versions": _versions(),
    }


def _decoded(log: Log) -> Iterator[tuple[Frame | None, float, tuple[str, ...]]]:
    """Frames with the milliseconds that decoding took and what was wrong with the source on the
    way to each; the last item has no frame, only what came to light at the end."""
    start, told = time.perf_counter(), 0
    for frame in log:
        faults = tuple(log.faults[told:])
        told += len(faults)
        yield frame, _ms_since(start), faults
        start = time.perf_counter()
    yield None, 0.0, tuple(log.faults[told:])


class _Writer:
    """Writes one frame's lines and picture; called in the writing thread, in order."""

    def __init__(self, out: Path, log: Log, stack: Stack, overlay: bool, files: ExitStack) -> None:
        self.record, self.timings = (
            files.enter_context((out / name).open("w", encoding="utf-8", newline="\n"))
            for name in ("record.jsonl", "timings.jsonl")
        )
        self.tally = Tally()
        self.log, self.out, self.files = log, out, files
        self.vehicle = stack.vehicle
        self.video: VideoWriter | None = None
        self.overlay = overlay

    def __call__(self, item: tuple[Frame, StepRecord]) -> None:
        frame, r = item
        if self.overlay:
            start = time.perf_counter()
            self._draw(frame, r)
            r = replace(r, stage_ms={**r.stage_ms, "overlay": _ms_since(start)})
        self.record.write(record_line(r) + "\n")
        self.timings.write(timing_line(r) + "\n")
        self.tally.add_times(r.stage_ms)

    def _draw(self, frame: Frame, r: StepRecord) -> None:
        from tools.view.overlay import draw_overlay
        from tools.view.video import VideoWriter

        picture = draw_overlay(
            frame,
            r.scene,
            r.plan,
            r.grid,
            self.vehicle.width_m,
            faults=r.faults,
            cruise_mps=self.vehicle.cruise_mps,
        )
        if self.video is None:
            height, width = picture.shape[:2]
            self.video = self.files.enter_context(
                VideoWriter(self.out / "overlay.mp4", width, height, self.log.nominal_fps)
            )
        self.video.write(picture, frame.t_ns)


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1e3


def _play(log: Log, stack: Stack, writer: _Writer) -> float:
    """Run all frames; returns the seconds it took."""
    period_ms = 1e3 / log.nominal_fps if log.nominal_fps > 0 else float("inf")
    with (
        progress_bar("replaying", log.expected_frames, "frame") as bar,
        Consumer(writer) as sink,
    ):
        start = time.perf_counter()
        held: tuple[Frame, StepRecord] | None = None  # the last frame may yet get a fault
        for frame, decode_ms, faults in prefetch(_decoded(log)):
            if held is not None:
                f, r = held
                held = None
                r = r if frame is not None else replace(r, faults=(*r.faults, *faults))
                writer.tally.add(r)
                sink.put((f, r))
                bar(writer.tally.frames)
            if frame is not None:
                r = stack.step(frame)
                stages = {"decode": decode_ms, **r.stage_ms}
                late = sum(r.stage_ms.values()) > period_ms
                faults = (*faults, *r.faults)
                held = frame, replace(r, stage_ms=stages, deadline_missed=late, faults=faults)
    return time.perf_counter() - start


def _open(a: argparse.Namespace) -> Log:
    if a.source is None:
        return BuiltInDrive(a.seed, Selection.checked(a.start, a.stop, a.every, a.max_frames))
    return open_log(
        a.source, start_s=a.start, stop_s=a.stop, every=a.every, max_frames=a.max_frames, fps=a.fps
    )


def run_replay(a: argparse.Namespace) -> int:
    """Replay ``a.source`` into ``a.out``; earlier results there are replaced when all is done."""
    log = _open(a)
    camera = load_camera(a.camera) if a.camera else None
    model = with_detector(load_model(a.model, a.threads), a)
    out = make_folder(a.out)
    announce_replay(a.source is None)
    model_file = Path(a.model) if Path(a.model).exists() else None
    with staging(out, OUTPUTS, (a.source, a.camera, model_file)) as folder:
        summary = _run(a, log, Stack(model, camera), folder)
        if a.no_overlay:
            (out / "overlay.mp4").unlink(missing_ok=True)
    _print(summary, out)
    return 0


def _run(a: argparse.Namespace, log: Log, stack: Stack, folder: Path) -> dict[str, Any]:
    """Replay the log into an empty folder; returns the summary."""
    stack.warm_up()
    stack.look_ahead(log)
    with ExitStack() as files:
        writer = _Writer(folder, log, stack, not a.no_overlay, files)
        seconds = _play(log, stack, writer)
        if not writer.tally.frames:
            why = "; ".join(log.faults) or "none lies between --start and --stop"
            raise InputError(f"{a.source or log.name}: not one frame to replay: {why}")
    summary = _summary(log, writer.tally, stack.model, seconds, a)
    write_json(folder / "summary.json", summary)
    return summary


def _print(s: dict[str, Any], out: Path) -> None:
    for warning in s["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"{s['frames']} frames at {s['frames_per_second']} frames/s, {s['tracks']} objects "
        f"tracked, {s['plans_ok']} frames with a path ahead"
    )
    for reason, count in list(s["reasons"].items())[:5]:
        print(f"  {count:5d} x {reason}")
    print(f"written to {out}: {', '.join(n for n in OUTPUTS if (out / n).exists())}")
