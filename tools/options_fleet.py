"""Options of ``replay`` for many logs, and of ``find``. Nothing heavy is imported here."""

from __future__ import annotations

import argparse

from tools.option_parts import path


def _at_least(lowest: int) -> type[int]:
    def number(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() else -1
        if value < lowest:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {lowest} on, given '{text}'"
            )
        return value

    return number  # type: ignore[return-value]


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e6:
        raise argparse.ArgumentTypeError(f"expected seconds of 0 or more, given '{text}'")
    return value


def add_fleet_options(p: argparse.ArgumentParser) -> None:
    """How several logs are replayed; any of these options makes a folder for each log."""
    g = p.add_argument_group("many logs", "several SOURCEs, or one with wildcards in quotes")
    g.add_argument(
        "--jobs", type=_at_least(1), metavar="N",
        help="logs replayed at once, each in a process of its own; they share the processors "
        "(one for each processor)",
    )  # fmt: skip
    g.add_argument(
        "--ray", nargs="?", const="", metavar="ADDRESS",
        help="replay on a Ray cluster whose machines share SOURCEs and --out; without ADDRESS on "
        "that of RAY_ADDRESS, else on this machine",
    )  # fmt: skip
    g.add_argument(
        "--retries", type=_at_least(0), metavar="N",
        help="times that a log is begun again, or gone on with, after a crash (1)",
    )  # fmt: skip
    g.add_argument("--again", action="store_true", help="also logs that are done already")


def add_find(sub: argparse._SubParsersAction) -> None:
    """``roadstack find``."""
    p = sub.add_parser(
        "find",
        help="search the records of replays for moments",
        description="Find the moments in all runs in and below DIR in which a condition holds, "
        "e.g. \"ttc_s < 2 and class == 'person'\". Columns of frames and of objects can be used "
        "together; --columns lists them.",
    )
    p.add_argument("runs", type=path, metavar="DIR", help="folder with runs of replay")
    p.add_argument("condition", nargs="?", metavar="CONDITION", help="in quotes")
    p.add_argument(
        "--gap", type=_seconds, default=0.5, metavar="S",
        help="frames at most this far apart belong to one moment (%(default)g)",
    )  # fmt: skip
    p.add_argument("--out", type=path, metavar="FILE", help="moments as .json or .csv")
    p.add_argument("--clips", type=path, metavar="FOLDER", help="cut each moment from its overlay")
    p.add_argument(
        "--margin", type=_seconds, default=1.0, metavar="S",
        help="seconds kept before and after a clip's moment (%(default)g)",
    )  # fmt: skip
    p.add_argument("--columns", action="store_true", help="list the columns and end")
