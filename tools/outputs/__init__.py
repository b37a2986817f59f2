"""Files for other people's viewers: ``--rerun FILE.rrd`` and ``--mcap FILE.mcap``.

Nothing heavy is imported here, so that the options can be shown without it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError

if TYPE_CHECKING:
    from tools.outputs.part import Output, Part


def add_output_options(parser: argparse.ArgumentParser, path: Callable[[str], Path] = Path) -> None:
    """Add ``--rerun`` and ``--mcap``; ``path`` makes a path of what was typed."""
    parser.add_argument(
        "--rerun", type=path, metavar="FILE.rrd",
        help="also write what was seen and planned for the Rerun viewer",
    )  # fmt: skip
    parser.add_argument(
        "--mcap", type=path, metavar="FILE.mcap",
        help="also write it for Foxglove, Lichtblick and others that read MCAP",
    )  # fmt: skip


def open_outputs(args: argparse.Namespace, title: str = "replay") -> list[Output]:
    """The outputs that ``args.rerun`` and ``args.mcap`` ask for, as sinks of a replay.

    Args:
        title: of the recording, e.g. the log's name.

    Raises:
        InputError: a package is missing, or a file cannot be written.
    """
    from tools.outputs.part import Part

    wanted = [
        (args.rerun, "--rerun", ".rrd", _open_rerun),
        (args.mcap, "--mcap", ".mcap", _open_mcap),
    ]
    source = Path(args.source) if getattr(args, "source", None) else None
    opened: list[Output] = []
    try:
        for file, option, suffix, make in wanted:
            if file is None:
                continue
            if file.suffix.lower() != suffix:
                raise InputError(f"{option} {file}: expected a name that ends in {suffix}")
            if source and file.exists() and source.exists() and file.samefile(source):
                raise InputError(f"{option} {file}: would overwrite the source; give another name")
            opened.append(make(Part(file, option), title))
    except BaseException:
        for output in opened:
            output.discard()
        raise
    return opened


def _open_rerun(part: Part, title: str) -> Output:
    from tools.outputs.rerun_writer import RerunWriter

    return RerunWriter(part, title)


def _open_mcap(part: Part, title: str) -> Output:
    from tools.outputs.mcap_writer import McapWriter

    return McapWriter(part, title)
