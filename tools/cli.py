"""The command line: ``roadstack COMMAND``. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

from data.errors import InputError


def package_version() -> str:
    try:
        return version("roadstack")
    except PackageNotFoundError:
        return "unknown"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A wrong option: one line and exit code 2."""
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def _path(text: str) -> Path:
    """A path; empty text (an unset variable of a script) would mean the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, given nothing")
    return Path(text)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(v) for v in text.lower().split("x"))
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, given '{text}'") from e
    return width, height


def _add_log_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--start", type=float, default=0.0, metavar="S", help="first second (0)")
    p.add_argument("--stop", type=float, metavar="S", help="last second (the end)")
    p.add_argument("--every", type=int, default=1, metavar="N", help="take each Nth frame (1)")
    p.add_argument("--max-frames", type=int, metavar="N", help="stop after N frames")
    p.add_argument("--fps", type=float, help="frame rate of a folder of images (10)")
    p.add_argument(
        "--model", default="base", help="released model's name or an ONNX file (%(default)s)"
    )
    p.add_argument("--threads", type=int, help="threads of the network (all processors)")


def _add_replay(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "replay",
        help="run the full stack over a recorded drive",
        description="Run perception, tracking and planning over a video or a folder of images "
        "and write overlay.mp4, record.jsonl, timings.jsonl and summary.json. Without SOURCE a "
        "built-in synthetic drive is replayed.",
    )
    p.add_argument("source", nargs="?", type=_path, help="video file or folder of images")
    p.add_argument("--out", type=_path, default=Path("runs/replay"), help="folder (%(default)s)")
    _add_log_options(p)
    p.add_argument("--camera", type=_path, metavar="FILE.toml", help="calibration of the camera")
    p.add_argument("--seed", type=int, default=0, help="of the built-in drive (0)")
    p.add_argument("--no-overlay", action="store_true", help="do not write overlay.mp4")


def _add_predict(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "predict",
        help="write objects and masks for pictures or a video",
        description="Write detections.json (COCO boxes with our class names) and masks "
        "drivable/NAME.png and lane/NAME.png at the pictures' own size.",
    )
    p.add_argument("source", type=_path, help="image, folder of images, or video file")
    p.add_argument("--out", type=_path, required=True, help="folder to write to")
    _add_log_options(p)
    p.add_argument("--min-score", type=float, default=0.01, help="lowest score (%(default)s)")


def _add_evaluate(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "evaluate",
        help="score a model or written predictions on labelled data",
        description="Score every task that the data labels; writes metrics.json.",
    )
    p.add_argument("--data", type=_path, required=True, help="folder of a labelled set")
    p.add_argument("--split", default="test", help="(%(default)s)")
    p.add_argument("--layout", help="bdd100k, idd, camvid, kitti or voc (recognised)")
    p.add_argument("--model", default="base", help="model to score (%(default)s)")
    p.add_argument("--predictions", type=_path, help="folder written by predict, in its place")
    p.add_argument("--out", type=_path, required=True, help="folder for metrics.json")
    p.add_argument("--threads", type=int, help="threads of the network (all processors)")


def _add_train(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "train",
        help="train the network on labelled data",
        description="Train as CONFIG.toml says; key=value overrides it, e.g. "
        "optimizer.steps=500. An unfinished run in --out is resumed.",
    )
    p.add_argument("config", type=_path, help="TOML file")
    p.add_argument("overrides", nargs="*", metavar="key=value")
    p.add_argument("--out", type=_path, default=Path("runs/train"), help="folder (%(default)s)")


def _add_export(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "export",
        help="turn a checkpoint into an ONNX file that answers alike",
        description="Write NAME.onnx and export.json; the file is kept only if it gives the "
        "training code's answers on --check pictures.",
    )
    p.add_argument("checkpoint", type=_path, help=".safetensors file of a training run")
    p.add_argument("--out", type=_path, required=True, help="folder to write to")
    p.add_argument("--name", help="of the file (the checkpoint's)")
    p.add_argument("--size", type=_size, default=(640, 384), help="input size (640x384)")
    p.add_argument("--check", type=_path, help="folder of pictures (rendered frames)")
    p.add_argument("--force", action="store_true", help="keep a file that fails the check")


def _add_render(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "render",
        help="render synthetic frames with exact labels",
        description="Write rendered road scenes with boxes, drivable area and lane lines in "
        "BDD100K's layout, to train on.",
    )
    p.add_argument("--out", type=_path, required=True, help="folder to write to")
    p.add_argument("--count", type=int, default=100, help="frames (%(default)s)")
    p.add_argument("--size", type=_size, default=(960, 540), help="of the frames (960x540)")
    p.add_argument("--seed", type=int, default=0, help="of the first frame (%(default)s)")


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="roadstack", description="Camera-only perception and planning.")
    parser.add_argument("--version", action="version", version=f"roadstack {package_version()}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_replay, _add_predict, _add_evaluate, _add_train, _add_export, _add_render):
        add(sub)
    for p in sub.choices.values():
        p.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="")
    return parser


def _dispatch(a: argparse.Namespace) -> int:
    if a.command == "replay":
        from tools.replay import run_replay

        return run_replay(a)
    if a.command == "predict":
        from tools.predict import run_predict

        return run_predict(a)
    if a.command == "evaluate":
        from tools.evaluate import run_evaluate

        return run_evaluate(a)
    if a.command == "train":
        from tools.train import run_train

        best = run_train(a.config, a.out, tuple(a.overrides))
        print(f"best checkpoint: {best}")
        return 0
    if a.command == "render":
        from tools.render import run_render

        return run_render(a)
    from tools.export import run_export

    return run_export(a)


def _explain(error: Exception, args: argparse.Namespace) -> tuple[str, int]:
    """One line for the user and the exit code."""
    if isinstance(error, InputError):
        return str(error), 2
    if isinstance(error, ModuleNotFoundError):
        return (
            f"package '{error.name}' is not installed; "
            "train, export and evaluate need: pip install 'roadstack[train]'"
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code (2 for bad input, 130 when interrupted)."""
    args = build_parser().parse_args(argv)
    try:
        with _ended_by_signals():
            return _dispatch(args)
    except KeyboardInterrupt as stop:
        print("interrupted", file=sys.stderr)
        return int(stop.args[0]) if stop.args else 130
    except BrokenPipeError:  # whoever read our messages has gone; the results are written
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 0
    except Exception as error:
        if args.debug:
            raise
        text, code = _explain(error, args)
        print(f"roadstack {args.command}: {text}", file=sys.stderr)
        return code


if __name__ == "__main__":
    raise SystemExit(main())
