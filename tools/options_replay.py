"""Options of ``roadstack replay`` beyond its source, and of ``diff``. Nothing heavy is imported
here."""

from __future__ import annotations

import argparse

from tools.option_parts import add_blur_options, path
from tools.outputs import add_output_options

DEADLINE_MS = 100.0


def _from_one(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, given '{text}'")
    return value


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"expected milliseconds above 0, given '{text}'")
    return value


def _tolerance(text: str) -> tuple[str, float]:
    name, sep, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not sep or not name or not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected FIELD=NUMBER of 0 or more, given '{text}'")
    return name, number


def add_replay_options(p: argparse.ArgumentParser) -> None:
    """How a replay is run: against the clock, with faults, over and over, or gone on with."""
    p.add_argument(
        "--topic", metavar="NAME", help="of a bag: the topic with the pictures (that with most)"
    )
    p.add_argument(
        "--live", action="store_true",
        help="SOURCE is a camera's number, /dev/videoN or a stream's address; Ctrl-C ends it",
    )  # fmt: skip
    p.add_argument("--html", action="store_true", help="also write replay.html, the viewer's page")
    add_output_options(p, path)
    add_blur_options(p)
    p.add_argument(
        "--realtime", action="store_true",
        help="frames come at the log's times; of those that came meanwhile the newest is taken "
        "next. Not the same from run to run",
    )  # fmt: skip
    p.add_argument(
        "--deadline-ms", type=_milliseconds, metavar="MS",
        help="with --realtime: a plan later than this after its frame is replaced by the last "
        f"one, which is stopped along when it is too old ({DEADLINE_MS:g})",
    )  # fmt: skip
    p.add_argument(
        "--no-camera-motion", action="store_true",
        help="estimate no own motion from the pictures; the tracker guesses turning from boxes",
    )  # fmt: skip
    p.add_argument(
        "--inject", type=path, metavar="FAULTS.toml",
        help="put faults into the source: tables [[fault]] with kind (black, white, frozen, "
        "blurred, damaged, covered, noise, drop, corrupt, time-jump, time-back, resized, "
        "reshaped, tilted), start_s or start_frame, duration_s or frames, share, seed, amount",
    )  # fmt: skip
    p.add_argument(
        "--loop", type=_from_one, default=1, metavar="N",
        help="play the source N times, time going on; --start, --stop, --every and --max-frames "
        "hold in each pass (%(default)s)",
    )  # fmt: skip
    p.add_argument(
        "--resume", action="store_true",
        help="go on with a replay that was killed, from its last checkpoint, to the same record. "
        "Frames before it are decoded again, those after it computed again",
    )  # fmt: skip
    p.add_argument(
        "--checkpoint", type=_from_one, default=100, metavar="N",
        help="frames between two checkpoints (%(default)s); the overlay is cut there, so that its "
        "bytes depend on it",
    )  # fmt: skip


def add_diff(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "diff",
        help="compare the records of two replays",
        description="Compare two runs frame by frame, each field within its tolerance; says the "
        "first frame that differs and prints a table. Exit code 0 when they are the same, 1 when "
        "they differ.",
    )
    p.add_argument("run_a", type=path, metavar="RUN_A", help="folder of a replay, or a record")
    p.add_argument("run_b", type=path, metavar="RUN_B", help="another")
    p.add_argument(
        "--tolerance", type=_tolerance, action="append", default=[], metavar="FIELD=VALUE",
        help="e.g. position_m=0.05 or tracks.position_m=0.05; repeatable. --list shows all",
    )  # fmt: skip
    p.add_argument(
        "--exact", action="store_true",
        help="all tolerances 0 but those given, texts letter by letter",
    )  # fmt: skip
    p.add_argument("--list", action="store_true", help="print the tolerances too")
