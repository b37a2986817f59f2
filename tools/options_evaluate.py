"""Options of ``roadstack evaluate`` beyond what to score, and of ``compare``. Nothing heavy is
imported here."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.option_parts import path


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, given '{text}'")
    return value


def add_samples(p: argparse.ArgumentParser, what: str) -> None:
    """How many samples the intervals are made of."""
    p.add_argument(
        "--bootstrap", type=_count, default=1000, metavar="N",
        help=f"samples of the {what} for the intervals, 0 for none (%(default)s)",
    )  # fmt: skip
    p.add_argument("--seed", type=_count, default=0, help="of these samples (%(default)s)")


def _add_resample(p: argparse.ArgumentParser) -> None:
    add_samples(p, "drives or frames")
    p.add_argument(
        "--resample", choices=("auto", "frame", "drive"), default="auto",
        help="draw whole drives, whose frames are alike, or single frames (drives where five or "
        "more are known; of tracks always drives)",
    )  # fmt: skip


def add_report_options(p: argparse.ArgumentParser) -> None:
    """Options on intervals and the page."""
    _add_resample(p)
    p.add_argument("--worst", type=_count, default=8, metavar="N", help="frames drawn (8)")
    p.add_argument(
        "--camera", type=path, metavar="FILE.toml",
        help="calibration for recall by distance, where the data has none",
    )  # fmt: skip


def add_compare(sub: argparse._SubParsersAction) -> None:
    """``roadstack compare``."""
    p = sub.add_parser(
        "compare",
        help="tell whether one evaluation is better than another",
        description="Compare two folders that evaluate wrote on the same data: every figure's "
        "difference B - A with its 95 %% interval by a paired bootstrap, the frames that changed "
        "most, and a page.",
    )
    p.add_argument("run_a", type=path, metavar="RUN_A", help="folder written by evaluate")
    p.add_argument("run_b", type=path, metavar="RUN_B", help="the other one")
    p.add_argument("--out", type=path, default=Path("runs/compare"), help="folder (%(default)s)")
    p.add_argument(
        "--fail-if-worse", type=float, metavar="X",
        help="exit code 1 when a headline figure of B lies more than X below A's",
    )  # fmt: skip
    p.add_argument(
        "--min-boxes", type=_count, default=20, metavar="N",
        help="judge only classes with at least N labelled boxes (%(default)s)",
    )  # fmt: skip
    _add_resample(p)
    p.add_argument("--frames", type=_count, default=8, metavar="N", help="frames drawn (8)")


def add_score_plans(sub: argparse._SubParsersAction) -> None:
    """``roadstack score-plans``."""
    p = sub.add_parser(
        "score-plans",
        help="time to collision, comfort and progress of a replay's plans",
        description="Score the plans in a replay's record.jsonl by nuPlan's limits, and count the "
        "reasons where there is none.",
    )
    p.add_argument("run", type=path, metavar="RUN", help="folder written by replay, or its record")
    p.add_argument("--out", type=path, help="folder for plans.json and plans.csv")
