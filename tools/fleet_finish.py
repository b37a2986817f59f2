"""What a fleet adds to a finished replay's folder: tables, a small picture, the viewer's page.

``python -m tools.fleet_finish FOLDER``, run behind each replay in the same job.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2

from data.errors import InputError
from data.logs import open_log
from tools.clips import OVERLAY
from tools.files import write_png
from tools.frame_table import FRAMES, build_tables, pattern
from tools.view.player import write_page

PAGE, PICTURE = "replay.html", ".thumbnail.png"
_WIDTH_PX = 224


def _moment_s(folder: Path) -> float:
    """Time in the video of the smallest time to collision, else of the middle."""
    import duckdb

    with duckdb.connect(config={"threads": 1}) as db:
        row = db.execute(
            "SELECT coalesce(arg_min(t_s, ttc_s), median(t_s)) - min(t_s) FROM read_parquet(?)",
            [pattern(folder / FRAMES)],
        ).fetchone()
    return float(row[0]) if row and row[0] is not None else 0.0


def write_picture(folder: Path, at_s: float) -> None:
    """A small picture of the overlay at ``at_s``."""
    for frame in open_log(folder / OVERLAY, start_s=max(at_s - 1e-3, 0.0), max_frames=1):
        height = max(1, round(frame.image.shape[0] * _WIDTH_PX / frame.image.shape[1]))
        small = cv2.resize(frame.image, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
        write_png(folder / PICTURE, small)  # type: ignore[arg-type]


def finish(folder: Path) -> None:
    """Add all that can be; what cannot is said on standard error."""
    at_s = 0.0
    try:
        list(build_tables([folder]))
        at_s = _moment_s(folder)
    except InputError as e:
        print(f"note: {e}", file=sys.stderr)
    try:
        if (folder / OVERLAY).is_file():
            write_picture(folder, at_s)
        else:
            (folder / PICTURE).unlink(missing_ok=True)
        if not (folder / PAGE).exists():
            write_page(folder, folder / PAGE, embed_limit_bytes=0)
    except (InputError, OSError, json.JSONDecodeError) as e:
        print(f"note: {e}", file=sys.stderr)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    finish(Path(sys.argv[1]))
