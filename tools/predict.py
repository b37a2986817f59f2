"""``roadstack predict``: objects and masks in a form that any metric tool can score."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.logs import Log, open_log
from data.logs.images import IMAGE_SUFFIXES
from data.taxonomy import CLASSES
from data.types import Detections, Frame
from perception.decode import surface_mask
from perception.runtime import load_model
from tools.files import inside, make_folder, write_json, write_png
from tools.progress import progress_bar


def coco_rows(name: str, d: Detections) -> list[dict[str, Any]]:
    """One row a box: image, category, bbox [x, y, w, h] in px of the original image, score."""
    rows = []
    for (x1, y1, x2, y2), score, c in zip(d.xyxy.tolist(), d.score, d.class_id, strict=True):
        bbox = [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)]
        rows.append(
            {
                "image": name,
                "category": CLASSES[int(c)],
                "bbox": bbox,
                "score": round(float(score), 5),
            }
        )
    return rows


def _folders(source: Path) -> list[tuple[str, Path]]:
    """(prefix of names, log) for a source; a folder without images gives its sub-folders."""

    def has_images(p: Path) -> bool:
        return any(f.suffix.lower() in IMAGE_SUFFIXES for f in p.iterdir() if f.is_file())

    if not source.is_dir() or has_images(source):
        return [("", source)]
    below = sorted(p for p in source.rglob("*") if p.is_dir() and has_images(p))
    return [(f"{p.relative_to(source).as_posix()}/", p) for p in below] or [("", source)]


def _frames(log: Log, prefix: str, stem: str) -> Iterator[tuple[str, Frame]]:
    for frame in log:
        name = prefix + frame.name if frame.name else f"{stem}_{frame.index:06d}.png"
        yield name, frame


def run_predict(a: argparse.Namespace) -> int:
    """Write ``detections.json``, ``drivable/NAME.png`` and ``lane/NAME.png`` to ``a.out``."""
    options = {
        "start_s": a.start, "stop_s": a.stop, "every": a.every, "max_frames": a.max_frames,
        "fps": a.fps,
    }  # fmt: skip
    if not 0 <= a.min_score <= 1:
        raise InputError(f"--min-score {a.min_score}: expected a probability from 0 to 1")
    logs = [(prefix, open_log(path, **options)) for prefix, path in _folders(a.source)]
    model = load_model(a.model, a.threads)
    out = make_folder(a.out)
    total = sum(log.expected_frames or 0 for _, log in logs) or None
    rows: list[dict[str, Any]] = []
    written: dict[str, str] = {}
    with progress_bar("predicting", total, "frame") as bar:
        for prefix, log in logs:
            for name, frame in _frames(log, prefix, a.source.stem):
                found, maps = model(frame.image, a.min_score)
                rows += coco_rows(name, found)
                mask_name = str(Path(name).with_suffix(".png"))
                if mask_name in written:
                    raise InputError(
                        f"{name} and {written[mask_name]} would both write {mask_name}; "
                        "put them in folders of their own"
                    )
                written[mask_name] = name
                height, width = frame.image.shape[:2]
                for kind in ("drivable", "lane"):
                    mask = surface_mask(getattr(maps, kind), maps.scale, width, height)
                    write_png(inside(out / kind, mask_name), mask)
                bar(len(written))
    write_json(out / "detections.json", rows)
    for _, log in logs:
        for fault in log.faults:
            print(f"warning: {fault}", file=sys.stderr)
    print(f"{len(written)} frames, {len(rows)} objects: {out}")
    return 0
