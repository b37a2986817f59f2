"""How much of the planned path lies on labelled road, over labelled frames.

    python -m tools.bench_plan_frames --data camvid --split val --clip-fps 15
    python -m tools.bench_plan_frames --data bdd100k_subset --split test

Each plan is projected into its picture and compared with the label of the drivable surface, every
quarter of a metre of the rear axle's way:

- ``share_on``: of the metres whose label is known, those on the labelled surface, over all frames
  together. It counts from where the picture's visible road begins: the beginning of a path, before
  it first meets labelled road and where no labelled road lies below it in the picture, is the own
  bonnet or hidden by it. ``share_on_with_bonnet`` counts that beginning as off the road.
- ``share_planned``: frames with a path of 3 m and more that is a way to drive (OK or BLOCKED); the
  path of a stop for want of a new one (NO_SURFACE, STALE, DEADLINE) does not count.
- ``share_with_path``: the same of 1 m and more: a stop close behind something counts.
- ``share_planned_or_standing``: and frames that stand still, or creep, behind an object whose box
  overlaps a labelled one by half: in a queue there is no way to drive.

A set that is a clip is replayed in order; of single frames each is shown three times, so that
objects are confirmed, with nothing kept from frame to frame.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.camera import Camera
from data.datasets import open_dataset
from data.taxonomy import CLASS_ID
from data.types import U8, Frame, Plan, PlanStatus, Sample, Scene, StepRecord
from perception.boxes import iou
from perception.runtime import load_model
from tools.files import write_json, write_png
from tools.path_on_road import STEP_M, labels_along, on_bonnet
from tools.stack import Stack

_SHOWN = 3  # times a single frame is shown
_PLANNED_M = 3.0 - 1e-6  # and more is a path; lengths are sums of steps
_SOME_M = 1.0 - 1e-6  # and more is some path
_SAME_IOU = 0.5
_WORST = 9  # frames drawn
_ON, _OFF, _UNSEEN = (0, 200, 0), (0, 0, 255), (255, 255, 0)


@dataclass(frozen=True)
class OnRoad:
    """Of one frame's plan.

    Attributes:
        name: of the frame; status, reason: of the plan.
        length_m: of the plan; on_m: of its part on the labelled surface; off_m: off it, before
            the bonnet; bonnet_m: off it, on the bonnet.
        stands: it is BLOCKED by an object that the labels know.
    """

    name: str
    status: str
    reason: str
    length_m: float
    on_m: float
    off_m: float
    bonnet_m: float
    stands: bool = False

    def planned(self, least_m: float = _PLANNED_M) -> bool:
        drives = self.status in (PlanStatus.OK, PlanStatus.BLOCKED)
        return drives and self.length_m >= least_m


def share_on_road(name: str, plan: Plan, camera: Camera, label: U8) -> OnRoad:
    """Measure one plan against a label of 1 road, 0 none, 255 unknown."""
    pixels, value = labels_along(plan, camera, label)
    bonnet = on_bonnet(pixels, value, label)
    counts = (value == 1, (value == 0) & ~bonnet, bonnet)
    on, off, hidden = (float(c.sum()) * STEP_M for c in counts)
    return OnRoad(name, str(plan.status), plan.reason, plan.length_m, on, off, hidden)


def stands_behind(plan: Plan, scene: Scene, sample: Sample, x_m: float = 15.0) -> bool:
    """Whether a BLOCKED plan names an object ahead, and the labels have one there.

    The nearest track of the named class within ``x_m`` has to overlap a labelled box of its class.
    """
    words = plan.reason.replace("-", "_").split()
    if plan.status != PlanStatus.BLOCKED or not words or words[0] not in CLASS_ID:
        return False
    tracks, wanted = scene.tracks, CLASS_ID[words[0]]
    told = float(words[1]) if len(words) > 1 and words[1].isdigit() else x_m
    near = (tracks.class_id == wanted) & (np.abs(tracks.position_m[:, 0] - told) < 1.5)
    boxes = sample.xyxy[(sample.class_id == wanted) & ~sample.ignore]
    return told <= x_m and bool((iou(tracks.xyxy[near][:, None], boxes[None]) >= _SAME_IOU).any())


def replayed(
    samples: Sequence[Sample], model: Any, clip_fps: float | None
) -> Iterator[tuple[Sample, StepRecord]]:
    """Run the stack over samples, as a clip or one by one."""
    stack = Stack(model)
    if clip_fps:
        frames = [Frame(s.image, i, round(i * 1e9 / clip_fps)) for i, s in enumerate(samples)]
        stack.look_ahead(frames)
        for sample, frame in zip(samples, frames):
            yield sample, stack.step(frame)
        return
    for sample in samples:
        stack = Stack(model, camera_motion=False)  # the same picture again is no standing still
        frame = Frame(sample.image, 0, 0)
        stack.look_ahead([frame])
        for i in range(_SHOWN):
            record = stack.step(replace(frame, index=i, t_ns=i * 33_000_000))
        yield sample, record


def draw(sample: Sample, record: StepRecord, row: OnRoad) -> U8:
    """The picture with the labelled surface tinted and the path: green on it, red off it."""
    image = sample.image.copy()
    if sample.drivable is not None:
        on = sample.drivable == 1
        image[on] = (0.75 * image[on] + (0, 50, 0)).astype(np.uint8)
    if record.scene is not None and sample.drivable is not None:
        pixels, value = labels_along(record.plan, record.scene.camera, sample.drivable)
        for (u, v), label in zip(pixels[value != 255], value[value != 255]):
            cv2.circle(image, (round(u), round(v)), 3, _ON if label == 1 else _OFF, -1, cv2.LINE_AA)
    note = f"{row.name} {row.status} {row.on_m:.1f} m on, {row.off_m:.1f} m off"
    image = np.asarray(cv2.resize(image, (640, round(640 * image.shape[0] / image.shape[1]))))
    cv2.putText(image, note, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _UNSEEN, 1, cv2.LINE_AA)
    return image


def bench_plan_frames(
    data: Path, split: str, clip_fps: float | None, out: Path | None, model: str = "base"
) -> dict[str, Any]:
    """Share of path length on the labelled surface and of frames with a plan, with bounds.

    Returns:
        The shares (see the module), counts, and an interval of each: bootstrap over frames,
        95 %.
    """
    dataset = open_dataset(data, split)
    samples = [dataset.load(i) for i in range(len(dataset))]
    samples = [s for s in samples if s.drivable is not None]
    loaded = load_model(model)
    rows, tiles = [], []
    for sample, record in replayed(samples, loaded, clip_fps):
        assert sample.drivable is not None and record.scene is not None
        row = share_on_road(sample.name, record.plan, record.scene.camera, sample.drivable)
        row = replace(row, stands=stands_behind(record.plan, record.scene, sample))
        rows.append(row)
        if out is not None:
            tiles.append((row.off_m, draw(sample, record, row)))
    result = summarise(rows)
    if out is not None:
        write_json(out / "frames.json", {**result, "frames": [vars(r) for r in rows]})
        worst = [image for _, image in sorted(tiles, key=lambda t: -t[0])[:_WORST]]
        height = max(i.shape[0] for i in worst)
        worst = [np.pad(i, ((0, height - i.shape[0]), (0, 0), (0, 0))) for i in worst]
        worst += [np.zeros_like(worst[0])] * (-len(worst) % 3)
        sheet = np.vstack([np.hstack(worst[k : k + 3]) for k in range(0, len(worst), 3)])
        write_png(out / "worst.png", np.asarray(sheet, dtype=np.uint8))
    return result


def summarise(rows: Sequence[OnRoad], seed: int = 0) -> dict[str, Any]:
    """Totals over frames, with 95 % bootstrap intervals."""
    on = np.array([r.on_m for r in rows])
    seen = on + np.array([r.off_m for r in rows])
    whole = seen + np.array([r.bonnet_m for r in rows])
    planned = np.array([r.planned() for r in rows])
    standing = np.array([r.planned() or r.stands for r in rows])
    pick = np.random.default_rng(seed).integers(0, len(rows), (2000, len(rows)))
    shares = on[pick].sum(axis=1) / np.maximum(seen[pick].sum(axis=1), 1e-9)
    return {
        "frames": len(rows),
        "share_on": float(on.sum() / max(seen.sum(), 1e-9)),
        "share_on_interval": np.percentile(shares, (2.5, 97.5)).tolist(),
        "share_on_with_bonnet": float(on.sum() / max(whole.sum(), 1e-9)),
        "share_planned": float(planned.mean()),
        "share_planned_interval": np.percentile(planned[pick].mean(axis=1), (2.5, 97.5)).tolist(),
        "share_with_path": float(np.mean([r.planned(_SOME_M) for r in rows])),
        "share_planned_or_standing": float(standing.mean()),
        "metres_seen": float(seen.sum()),
        "median_length_m": float(np.median([r.length_m for r in rows])),
        "statuses": {s: sum(r.status == s for r in rows) for s in sorted({r.status for r in rows})},
    }


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("--data", type=Path, required=True, help="folder of a labelled set")
    p.add_argument("--split", default="test")
    p.add_argument("--clip-fps", type=float, help="the split is a clip of that rate")
    p.add_argument("--model", default="base")
    p.add_argument("--out", type=Path, help="folder for frames.json and worst.png")
    a = p.parse_args()
    cv2.setNumThreads(1)
    if a.out is not None:
        a.out.mkdir(parents=True, exist_ok=True)
    result = bench_plan_frames(a.data, a.split, a.clip_fps, a.out, a.model)
    for key, value in result.items():
        print(f"{key}: {value}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
