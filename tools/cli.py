"""The command line: ``roadstack COMMAND``. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

from data.errors import InputError
from tools.options import build_parser
from tools.streams import outlasting_readers


def package_version() -> str:
    try:
        return version("roadstack")
    except PackageNotFoundError:
        return "unknown"


# command -> (module, function taking the parsed options); imported when it is called
_COMMANDS: dict[str, tuple[str, str]] = {
    "bench evaluate": ("tools.bench_evaluate", "run_bench_evaluate"),
    "bench loader": ("tools.bench_loader", "run_bench_loader"),
    "bench models": ("tools.bench_models", "run_bench_models"),
    "bench replay": ("tools.bench_replay", "run_bench_replay"),
    "bench render": ("tools.bench_render", "run_bench_render"),
    "replay": ("tools.fleet", "run_replay_command"),
    "diff": ("tools.diff", "run_diff"),
    "predict": ("tools.predict", "run_predict"),
    "evaluate": ("tools.evaluate", "run_evaluate"),
    "compare": ("tools.compare", "run_compare"),
    "train": ("tools.train", "run_train_command"),
    "average": ("tools.average", "run_average"),
    "slim": ("tools.slim", "run_slim"),
    "export": ("tools.export", "run_export"),
    "render": ("tools.render", "run_render"),
    "label": ("tools.label", "run_label"),
    "doctor": ("tools.doctor", "run_doctor"),
    "convert": ("tools.convert", "run_convert"),
    "calibrate": ("tools.calibrate", "run_calibrate"),
    "distance": ("tools.distance", "run_distance"),
    "track": ("tools.track", "run_track"),
    "score-plans": ("tools.score_plans", "run_score_plans"),
    "score-tracks": ("tools.score_tracks", "run_score_tracks"),
    "plan": ("tools.plan", "run_plan"),
    "view": ("tools.view.serve", "run_view"),
    "find": ("tools.find", "run_find"),
    "warmup": ("tools.warmup", "run_warmup"),
    "calibrate-scores": ("tools.calibrate_scores", "run_calibrate_scores"),
}


def _dispatch(a: argparse.Namespace) -> int:
    part = f" {a.what}" if a.command == "bench" else ""
    module, function = _COMMANDS[a.command + part]
    return int(getattr(importlib.import_module(module), function)(a))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options; words of ``find``, ``replay`` and ``train`` may stand on both sides of an option,
    which argparse alone refuses."""
    parser = build_parser(package_version())
    args, rest = parser.parse_known_args(argv)
    if args.command == "train":
        args.overrides += [t for t in rest if "=" in t and t[0] != "-"]
        rest = [t for t in rest if t not in args.overrides]
    if all(t.strip() and t[0] != "-" for t in rest):  # else it may be an unknown one's value
        if args.command == "find" and args.condition is None and len(rest) == 1:
            args.condition = rest.pop()
        if args.command == "replay":
            args.source, rest = [*args.source, *map(Path, rest)], []
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def _explain(error: Exception, args: argparse.Namespace) -> tuple[str, int]:
    """One line for the user and the exit code."""
    if isinstance(error, InputError):
        return str(error), 2
    if isinstance(error, ModuleNotFoundError):
        return (
            f"package '{error.name}' is not installed; "
            f"{args.command} needs it: pip install 'roadstack[train]'"
        ), 2
    if isinstance(error, OSError):
        where = error.filename or getattr(args, "out", None) or "output"
        return f"{where}: {error.strerror or error}", 2
    kind, text = type(error).__name__, " ".join(str(error).split())[:200]
    return f"internal error ({kind}: {text}); run again with --debug for the traceback", 1


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does, so that it cleans up after itself."""

    def stop(number: int, _: object) -> NoReturn:
        raise KeyboardInterrupt(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _not_there_yet(args: argparse.Namespace) -> list[Path]:
    """The output folder and those it is to lie in, as far as they do not exist, innermost first."""
    out = getattr(args, "out", None)
    if not isinstance(out, Path):
        return []
    return [p for p in (out, *out.parents) if not os.path.exists(p)]  # False for any odd name


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code (2 for bad input, 130 when interrupted)."""
    with outlasting_readers():
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    args = _parse(argv)
    new = _not_there_yet(args)
    if not args.debug:  # what it cannot read is told in our own words; read when it is imported
        os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        with _ended_by_signals():
            code = _dispatch(args)
            if sys.stdout is not None:
                sys.stdout.flush()  # here, so that a full disk is told as any other error
            return code
    except KeyboardInterrupt as stop:
        print("interrupted", file=sys.stderr)
        return int(stop.args[0]) if stop.args else 130
    except Exception as error:
        if args.debug:
            raise
        text, code = _explain(error, args)
        print(f"roadstack {args.command}: {text}", file=sys.stderr)
        for folder in new:  # left behind only where something is in it
            with suppress(OSError):
                folder.rmdir()
        return code


if __name__ == "__main__":
    raise SystemExit(main())
