"""``roadstack replay``: the full stack over a recorded drive, with a record of every frame."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from data.camera import load_camera
from data.errors import InputError
from data.logs import Log
from data.logs.live import LiveLog, ends_on_interrupt
from data.logs.selection import listed
from data.threads import opencv_on_one_thread, short_turns, step_back
from data.types import Frame, PlanStatus, StepRecord
from perception.runtime import Model, load_model, threads_wanted
from tools import privacy
from tools.detector import describe, with_detector
from tools.feed import Fed, feed
from tools.files import check_targets, make_folder, write_json
from tools.inject import InjectedLog
from tools.machine import hardware, package_versions
from tools.memory import few_heaps, give_back, settled
from tools.options_replay import DEADLINE_MS
from tools.outputs import open_outputs
from tools.partial import Checkpoint, Partial, files_sha256, identity, partial_run
from tools.pipeline import Consumer, begun, prefetch
from tools.progress import progress_bar
from tools.realtime import Arrival, arriving
from tools.record import SCHEMA, record_line, timing_line
from tools.sinks import OverlaySink, Sink, Sinks
from tools.sources import open_source
from tools.stack import Deadline, Seen, Stack
from tools.tally import Tally
from tools.warmup import REPLAY, compile_around, prepare

OUTPUTS = ("overlay.mp4", "record.jsonl", "timings.jsonl", "replay.html", "summary.json")
_LINES = ("record.jsonl", "timings.jsonl")
_GIVE_BACK_FRAMES = 100
_WAITING = 2  # more pictures ready for the network
_PICTURES = 4  # that the network looks at side by side; more than planning keeps up with


def open_sinks(a: argparse.Namespace, log: Log, stack: Stack, folder: Path) -> list[Sink]:
    """Where the frames go beside the record, opened in ``folder``."""
    sinks: list[Sink] = []
    if not a.no_overlay:
        sinks.append(OverlaySink(folder, log.nominal_fps, stack.vehicle))
    return [*sinks, *open_outputs(a, log.name)]


@dataclass(frozen=True, eq=False)
class _Item:
    """What the writing thread is given: a frame with its record, or a place to resume from."""

    frame: Frame | None = None
    record: StepRecord | None = None
    skipped: int = 0
    state: dict[str, Any] | None = None


class _Writer:
    """Writes one frame's lines and gives it to the sinks; called in the writing thread."""

    def __init__(self, partial: Partial, sinks: Sinks, files: ExitStack) -> None:
        self.tally = Tally()
        self._partial, self._sinks = partial, sinks
        self._began = time.perf_counter()
        if partial.checkpoint is not None:
            self.tally = partial.checkpoint.state["tally"]
            partial.cut_back()
            sinks.resume(self.tally.frames)
        self._before_s = self.tally.seconds
        mode = "a" if partial.checkpoint is not None else "w"
        self._files: dict[str, IO[str]] = {
            name: files.enter_context(
                (partial.path / name).open(mode, 1, encoding="utf-8", newline="\n")
            )
            for name in _LINES
        }

    def __call__(self, item: _Item) -> None:
        if item.state is not None:
            self._save(item.state)
        if item.frame is None or item.record is None:
            return
        r, start = item.record, time.perf_counter()
        if self._sinks:
            self._sinks.write(item.frame, r)
            r = replace(r, stage_ms={**r.stage_ms, "overlay": _ms_since(start)})
        self._files["record.jsonl"].write(record_line(r) + "\n")
        self._files["timings.jsonl"].write(timing_line(r, item.skipped) + "\n")
        self.tally.add(r)
        self.tally.skipped += item.skipped
        if self.tally.frames % _GIVE_BACK_FRAMES == 0:
            give_back()

    def _save(self, state: dict[str, Any]) -> None:
        """A checkpoint behind the frames written so far."""
        self._sinks.cut()
        for f in self._files.values():
            f.flush()
            os.fsync(f.fileno())
        self.stop_clock()
        sizes = {name: f.tell() for name, f in self._files.items()}
        self._partial.save(Checkpoint(self.tally.frames, sizes, {**state, "tally": self.tally}))

    def stop_clock(self) -> None:
        self.tally.seconds = self._before_s + time.perf_counter() - self._began


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1e3


@dataclass(frozen=True)
class Side:
    """Pictures that the network looks at side by side, and its threads for each."""

    pictures: int
    threads: int

    @classmethod
    def shared(cls, threads: int | None, now: bool) -> Side:
        """``threads`` (default the processors, at most 4) shared out: where nobody waits for the
        answer, a thread a picture takes the least processor time."""
        wanted = threads_wanted(threads)
        pictures = 1 if now else min(wanted, _PICTURES)
        return cls(pictures, wanted // pictures)


def _arrivals(
    a: argparse.Namespace, log: Log, stack: Stack, done: int, pictures: int
) -> Iterator[Arrival]:
    """The frames as they are to be taken, without the first ``done``."""
    look_at = stack.own.look_at if stack.own is not None else None
    live = isinstance(log, LiveLog)
    fed: Iterator[Fed] = prefetch(feed(log, look_at), 1 if live else 4)
    if a.realtime:
        yield from arriving(fed)
        return
    with closing(fed):  # type: ignore[type-var]
        new = (f for number, f in enumerate(fed) if number >= done or f.frame is None)
        if live:
            yield from (Arrival(f, time.perf_counter(), 0) for f in new)
            return
        work = begun(new, lambda f: _see(stack, f), pictures, _WAITING, step_back)
        with closing(work) as ahead:  # type: ignore[type-var]
            for f, seen in ahead:
                yield Arrival(f, time.perf_counter(), 0, seen)


def _deadline_ms(a: argparse.Namespace) -> float:
    return DEADLINE_MS if a.deadline_ms is None else float(a.deadline_ms)


def _see(stack: Stack, fed: Fed) -> Seen | None:
    return None if fed.frame is None or fed.unusable else stack.see(fed.frame.image)


def _step(a: argparse.Namespace, stack: Stack, arrival: Arrival, period_ms: float) -> StepRecord:
    """One frame through the stack, with what was known of it before."""
    fed = arrival.fed
    assert fed.frame is not None
    deadline = Deadline(arrival.came_s, _deadline_ms(a) / 1e3) if a.realtime else None
    r = stack.step(fed.frame, fed.unusable, deadline, fed.look, arrival.seen)
    late = sum(r.stage_ms.values()) > period_ms
    faults = (*fed.faults, *r.faults)
    if deadline is not None:
        late = any(f.startswith("deadline:") for f in r.faults)
        if arrival.skipped:
            count = "1 frame" if arrival.skipped == 1 else f"{arrival.skipped} frames"
            faults = (f"skipped: {count} before this one, the stack was busy", *faults)
    return replace(r, stage_ms={**fed.stage_ms, **r.stage_ms}, deadline_missed=late, faults=faults)


def _play(a: argparse.Namespace, log: Log, stack: Stack, writer: _Writer, pictures: int) -> None:
    """Run all frames that are not done yet."""
    period_ms = 1e3 / log.nominal_fps if log.nominal_fps > 0 else float("inf")
    frames = writer.tally.frames
    with (
        progress_bar("replaying", log.expected_frames, "frame") as bar,
        Consumer(writer) as sink,
    ):
        held: _Item | None = None  # the last frame may yet get a fault
        for arrival in _arrivals(a, log, stack, frames, pictures):
            frame = arrival.fed.frame
            if held is not None and held.record is not None:
                more = arrival.fed.faults if frame is None else ()
                sink.put(replace(held, record=_with_faults(held.record, more)))
                held = None
                frames += 1
                bar(frames)
                if frame is not None and frames % a.checkpoint == 0:
                    sink.put(_Item(state=stack.state()))
            if frame is not None:
                held = _Item(frame, _step(a, stack, arrival, period_ms), arrival.skipped)
    writer.stop_clock()


def _with_faults(r: StepRecord, more: tuple[str, ...]) -> StepRecord:
    return replace(r, faults=(*r.faults, *more)) if more else r


def _resumable(a: argparse.Namespace) -> bool:
    """Whether a replay with these options can be gone on with.

    Raises:
        InputError: they exclude each other.
    """
    if a.live and (a.loop > 1 or a.resume or a.inject or a.source is None):
        raise InputError("--live: needs SOURCE, and goes with no --loop, --resume or --inject")
    if a.realtime and a.resume:
        raise InputError("--realtime: goes with no --resume; what is taken depends on the clock")
    whole = [o for o, file in (("--rerun", a.rerun), ("--mcap", a.mcap)) if file is not None]
    if whole and a.resume:
        raise InputError(
            f"{whole[0]}: goes with no --resume, as its file is written from the first frame on; "
            "leave out one of them"
        )
    return not (a.live or a.realtime or whole)


def run_replay(a: argparse.Namespace) -> int:
    """Replay ``a.source`` into ``a.out``; earlier results there are replaced when all is done."""
    once = not _resumable(a)
    log = open_source(a)
    camera = load_camera(a.camera) if a.camera else None
    side = Side.shared(a.threads, a.live or a.realtime)
    model = privacy.watched(with_detector(load_model(a.model, side.threads), a, side.threads), a)
    out = make_folder(a.out)
    model_file = Path(a.model) if Path(a.model).exists() else None
    check_targets(out, OUTPUTS, (a.source, a.camera, a.inject, model_file))
    prepare(*(["renderer"] if a.source is None else []), *REPLAY)
    few_heaps()
    with partial_run(out, OUTPUTS, _header(a, model), a.resume, once) as partial:
        if partial is not None:
            deadline_s = _deadline_ms(a) / 1e3 if a.realtime else None
            stack = Stack(model, camera, deadline_s, not a.no_camera_motion)
            # OpenCV's own threads would only get in the stages' way
            with opencv_on_one_thread(), short_turns():
                summary = _run(a, log, stack, partial, side.pictures)
            partial.finish(OUTPUTS)
            for name, unwanted in (("overlay.mp4", a.no_overlay), ("replay.html", not a.html)):
                if unwanted:  # an earlier replay's
                    (out / name).unlink(missing_ok=True)
    if partial is None:
        print(f"the earlier replay was complete: {out}")
    else:
        _print(summary, out, a.rerun, a.mcap)
    return 0


def _header(a: argparse.Namespace, model: Model) -> dict[str, Any]:
    """What must be the same for a replay to be resumed."""
    return {
        "record": SCHEMA,
        "roadstack": package_versions()["roadstack"],
        "source": str(a.source) if a.live else identity(a.source, a.out),
        "topic": a.topic,
        "model": model.sha256,
        **files_sha256(a),
        "overlay": not a.no_overlay,
        **{
            f"--{name.replace('_', '-')}": getattr(a, name)
            for name in (
                "start", "stop", "every", "max_frames", "fps", "seed", "loop", "checkpoint",
                "no_camera_motion", "live", "realtime", "deadline_ms", "decoder", "detector_size",
                "blur", "blur_decoder",
            )
        },
    }  # fmt: skip


def _run(
    a: argparse.Namespace, log: Log, stack: Stack, partial: Partial, pictures: int
) -> dict[str, Any]:
    """Replay the log into the folder of an unfinished replay; returns the summary."""
    stack.warm_up()
    compile_around(drawing=not a.no_overlay)
    if partial.checkpoint is not None:
        stack.restore(partial.checkpoint.state)
        print(f"resumed after {partial.checkpoint.frames} frames", file=sys.stderr)
    elif not isinstance(log, LiveLog):
        stack.look_ahead(log)
    live = ends_on_interrupt(log) if isinstance(log, LiveLog) else nullcontext()
    with live, settled(), ExitStack() as files:
        opened = open_sinks(a, log, stack, partial.path)
        sinks = files.enter_context(privacy.over(opened, stack.model, partial.path))
        if partial.checkpoint is not None and not sinks.resumable:
            raise InputError("--resume: not with an output that cannot be gone on with")
        writer = _Writer(partial, sinks, files)
        _play(a, log, stack, writer, pictures)
        if not writer.tally.frames:
            raise InputError(
                f"{a.source or log.name}: not one frame to replay: {_why_none(a, log)}"
            )
    if not a.no_overlay:
        OverlaySink.join(partial.path, partial.path / "overlay.mp4")
    summary = _summary(log, writer.tally, stack.model, a)
    write_json(partial.path / "summary.json", summary)
    if a.html:
        from tools.view.player import write_page

        write_page(partial.path, partial.path / "replay.html")
    return summary


def _why_none(a: argparse.Namespace, log: Log) -> str:
    chosen = a.start or a.stop is not None or not a.inject
    none = ["none lies between --start and --stop"] if chosen else []
    none += [f"--inject {a.inject} drops every one"] if a.inject else []
    return "; ".join(listed(log.faults)) or ", or ".join(none)


def _unreached(log: Log) -> list[str]:
    places = log.unreached if isinstance(log, InjectedLog) else ()
    return [f"--inject: fault[{i}] was never reached" for i in places]


def _summary(log: Log, tally: Tally, model: Model, a: argparse.Namespace) -> dict[str, Any]:
    seconds = tally.seconds
    realtime = {"deadline_ms": _deadline_ms(a), "frames_skipped": tally.skipped}
    return {
        "schema": "roadstack-summary-1",
        "source": str(a.source) if a.source else log.name,
        "frames": tally.frames,
        "width_px": log.width_px,
        "height_px": log.height_px,
        "frames_per_second": round(tally.frames / seconds, 2) if seconds > 0 else 0.0,
        "stage_ms": {k: v.percentiles() for k, v in tally.stages.items()},
        "tracks": tally.tracks,
        "tracks_by_class": dict(sorted(tally.classes.items())),
        "plans_ok": tally.plans[str(PlanStatus.OK)],
        "plans": dict(sorted(tally.plans.items())),
        "reasons": dict(tally.reasons.most_common()),
        "frames_with_faults": tally.frame_faults,
        "faults": dict(sorted(tally.faults.items())),
        "deadlines_missed": tally.late,
        **({"realtime": realtime} if a.realtime else {}),
        "warnings": [*listed(log.faults), *_unreached(log)],
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
        **privacy.summary(model),
        "threads": threads_wanted(a.threads),
        "hardware": hardware(),
        "versions": package_versions(),
    }


def _print(s: dict[str, Any], out: Path, *more: Path | None) -> None:
    for warning in s["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"{s['frames']} frames at {s['frames_per_second']} frames/s, {s['tracks']} objects "
        f"tracked, plan OK in {s['plans_ok']}"
    )
    if "blur_note" in s:
        print(s["blur_note"])
    if "realtime" in s:
        missed, skipped = s["deadlines_missed"], s["realtime"]["frames_skipped"]
        print(f"{missed} plans past their deadline, {skipped} frames skipped")
    if s["faults"]:
        counts = ", ".join(f"{code} {n}" for code, n in s["faults"].items())
        print(f"{s['frames_with_faults']} frames with faults: {counts}")
    for reason, count in list(s["reasons"].items())[:5]:
        print(f"  {count:5d} x {reason}")
    files = [n for n in OUTPUTS if (out / n).exists()]
    print(f"written to {out}: {', '.join([*files, *map(str, filter(None, more))])}")
