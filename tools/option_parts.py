"""Options that several commands share, and those of ``roadstack bench``. Nothing heavy is imported
here."""

from __future__ import annotations

import argparse
from pathlib import Path

DECODERS = ("yolox", "yolov8", "nanodet")  # as in perception.detectors
BLURRED = ("faces", "plates")  # as in tools.privacy


def path(text: str) -> Path:
    """A path; empty text (an unset variable of a script) would mean the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, given nothing")
    return Path(text)


def size(text: str) -> tuple[int, int]:
    """Width and height of WIDTHxHEIGHT."""
    try:
        width, height = (int(v) for v in text.lower().split("x"))
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, given '{text}'") from e
    return width, height


def names(text: str) -> list[str]:
    """Names between commas."""
    return [t.strip() for t in text.split(",") if t.strip()]


def numbers(text: str) -> list[float]:
    """Numbers between commas."""
    try:
        return [float(t) for t in names(text)]
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"expected numbers between commas, given '{text}'") from e


def add_detector_options(p: argparse.ArgumentParser) -> None:
    """Options that put a detector of another project in place of our network's objects."""
    p.add_argument(
        "--detector", type=path, metavar="FILE.onnx",
        help="take the objects from this detector, the surfaces from --model",
    )  # fmt: skip
    p.add_argument("--decoder", choices=DECODERS, help="family of --detector")
    p.add_argument(
        "--detector-names", type=path, metavar="FILE",
        help="its classes, NAME or NAME=OURS a line, or YAML with 'names' (the file's own, COCO's)",
    )  # fmt: skip
    p.add_argument("--detector-size", type=size, metavar="WxH", help="where its input size is open")


def _blurred(text: str) -> list[str]:
    given = names(text)
    if not given or set(given) - set(BLURRED):
        expected = ", ".join(BLURRED)
        raise argparse.ArgumentTypeError(f"expected one or more of {expected}, given '{text}'")
    return sorted(set(given))


def add_blur_options(p: argparse.ArgumentParser) -> None:
    """Options that keep persons and number plates out of what is written."""
    p.add_argument(
        "--blur", type=_blurred, metavar="KIND[,KIND]",
        help="make faces, plates or both unreadable in all pictures written: without a detector "
        "of them, the upper half of persons and vehicles below the roof, as far as they are found. "
        "About one in ten is not: look through the pictures before you pass them on",
    )  # fmt: skip
    p.add_argument(
        "--blur-detector", type=path, metavar="FILE.onnx",
        help="blur every box of this detector instead, whatever its class",
    )  # fmt: skip
    p.add_argument("--blur-decoder", choices=DECODERS, help="family of --blur-detector")
    p.add_argument(
        "--blur-names", type=path, metavar="FILE",
        help="its classes, each given one of ours: face=person, plate=vehicle",
    )  # fmt: skip


def add_bench(sub: argparse._SubParsersAction) -> None:
    """``bench loader``, ``bench models`` and ``bench render``."""
    p = sub.add_parser("bench", help="time a part of the stack on this machine")
    what = p.add_subparsers(dest="what", required=True, metavar="PART")
    q = what.add_parser("loader", help="how fast training pictures come")
    q.add_argument("--data", type=path, required=True, help="folder of a labelled set")
    q.add_argument("--split", default="train", help="(%(default)s)")
    q.add_argument("--format", dest="layout", help="layout of the set (recognised)")
    q.add_argument("--size", type=size, default=(640, 384), help="(640x384)")
    q.add_argument("--workers", type=int, default=2, help="(%(default)s)")
    q.add_argument("--seconds", type=float, default=10.0, help="for each regime (%(default)s)")
    q.add_argument("--out", type=path, help="folder for loader.json")
    q = what.add_parser("models", help="how fast, how large and how costly networks are")
    q.add_argument("models", nargs="+", metavar="MODEL", help="released name or ONNX file")
    add_detector_options(q)
    q.add_argument(
        "--runtime", type=names, metavar="R[,R...]",
        help="some of onnxruntime, openvino, cuda (onnxruntime, and cuda where it is there)",
    )  # fmt: skip
    q.add_argument("--threads", type=int, default=2, help="of the network (%(default)s)")
    q.add_argument("--frames", type=int, default=100, help="timed, a model (%(default)s)")
    q.add_argument("--out", type=path, default=Path("runs/bench"), help="folder (%(default)s)")
    q = what.add_parser("replay", help="frames a second of the whole stack, overlay off and on")
    q.add_argument("source", nargs="?", type=path, help="video (the built-in drive as one)")
    q.add_argument(
        "--model", type=names, default=["base", "nano"], metavar="M[,M...]",
        help="released names or ONNX files (base,nano)",
    )  # fmt: skip
    q.add_argument("--frames", type=int, help="of the source (all)")
    q.add_argument("--repeats", type=int, default=3, help="(%(default)s)")
    q.add_argument("--threads", type=int, help="of the network (all processors, at most 4)")
    q.add_argument(
        "--peer", type=path, action="append", default=[], metavar="FILE.onnx",
        help="a network of another project to time beside; repeatable, their times add up",
    )  # fmt: skip
    q.add_argument("--out", type=path, default=Path("runs/bench"), help="folder (%(default)s)")
    q = what.add_parser("render", help="how fast rendered frames come, on one core")
    q.add_argument("--size", type=size, default=(640, 384), help="(640x384)")
    q.add_argument("--frames", type=int, default=60, help="of each look (%(default)s)")
    q.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    q.add_argument("--out", type=path, help="folder for render.json")
    q = what.add_parser("evaluate", help="how fast detections are scored, beside its peers")
    for name, count in (("images", 5000), ("classes", 80), ("detections", 500_000)):
        q.add_argument(f"--{name}", type=int, default=count, help="(%(default)s)")
    q.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    q.add_argument("--pycocotools", metavar="PYTHON", help="interpreter that has it (this one)")
    q.add_argument("--out", type=path, help="folder for evaluate.json")
