"""Pictures of the frames that went worst: objects and surfaces, labels beside predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data.types import Sample
from perception.metrics.breakdown import ERRORS, Errors
from perception.metrics.frames import FrameRecord
from perception.metrics.score import Prediction
from tools.view import page as p
from tools.view.judged import IGNORED, RIGHT, WRONG, Drawn, class_word, draw_judged
from tools.view.page import Html

Again = Callable[[str], tuple[Sample, Prediction]]


def worst_frames(record: FrameRecord, errors: Errors, count: int) -> list[tuple[int, str]]:
    """Frames and why: half those with most wrong and missed objects, the rest those of lowest
    drivable and lane IoU in turn."""
    frames = len(record)
    wrong = np.bincount(record.found_frame[errors.kind >= 0], minlength=frames)
    free = ~errors.found & ~record.label_ignore
    missed = np.bincount(record.label_frame[free], minlength=frames)
    lists = [
        [
            (int(i), f"{missed[i]} missed, {wrong[i]} false")
            for i in np.argsort(-(wrong + missed), kind="stable")
            if wrong[i] + missed[i]
        ]
    ]
    for name, counts in record.surfaces.items():
        own = np.flatnonzero(counts[:, 1] > 0)
        iou = counts[own, 0] / np.maximum(counts[own, 1], 1)
        order = np.argsort(iou, kind="stable")
        lists.append([(int(own[i]), f"{name} IoU {iou[i]:.2f}") for i in order])
    turns = [lists[0], lists[1], lists[0], lists[2]]
    chosen: dict[int, str] = {}
    while len(chosen) < min(count, frames) and any(turns):
        for row in turns:
            while row and row[0][0] in chosen:
                row.pop(0)
            if row and len(chosen) < count:
                chosen.setdefault(*row.pop(0))
    return list(chosen.items())


def draw_labels(record: FrameRecord, errors: Errors, i: int) -> list[Drawn]:
    """The labels of frame ``i``, found, missed or ignored."""
    boxes = []
    for n in np.flatnonzero(record.label_frame == i):
        ignored = bool(record.label_ignore[n])
        colour = IGNORED if ignored else RIGHT if errors.found[n] else WRONG
        text = "" if ignored or errors.found[n] else class_word(int(record.label_kind[n]))
        boxes.append(Drawn(record.label_xyxy[n], colour, text, dashed=ignored))
    return boxes


def draw_found(
    record: FrameRecord, errors: Errors, kept: np.ndarray, i: int, missed: bool = False
) -> list[Drawn]:
    """The detections of frame ``i`` among ``kept`` (d,), with what is wrong of them; with the
    ``missed`` labels dashed."""
    labels = draw_labels(record, errors, i) if missed else []
    boxes = [replace(b, dashed=True, text=f"missed: {b.text}") for b in labels if b.text]
    for d in np.flatnonzero(kept & (record.found_frame == i)):
        kind = int(errors.kind[d])
        colour = RIGHT if kind == -1 else IGNORED if kind == -2 else WRONG
        word = f"{class_word(int(record.found_kind[d]))} {record.found_score[d]:.2f}"
        text = f"{ERRORS[kind]}: {word}" if kind >= 0 else ""
        boxes.append(Drawn(record.found_xyxy[d], colour, text, dashed=kind == -2))
    return boxes


def worst_pictures(
    record: FrameRecord, errors: Errors, kept: np.ndarray, count: int, again: Again
) -> list[Html]:
    """Labels and predictions of the worst frames, side by side."""
    out = []
    for i, why in worst_frames(record, errors, count):
        sample, predicted = again(str(record.name[i]))
        truth = [
            None if m is None else (m == 1).astype(np.uint8) for m in (sample.drivable, sample.lane)
        ]
        masks = [
            None if t is None else m for t, m in zip(truth, (predicted.drivable, predicted.lane))
        ]
        labels = draw_labels(record, errors, i)
        objects = draw_found(record, errors, kept, i)
        pair = [
            draw_judged(sample.image, labels, truth[0], truth[1], "labels"),
            draw_judged(sample.image, objects, masks[0], masks[1], "prediction"),
        ]
        name = str(record.name[i])
        out.append(p.figure(pair, f"{name}: {why}", f"{name}, labels and prediction"))
    return [p.heading("The worst frames"), p.note(_key(record)), *out] if out else []


def _key(record: FrameRecord) -> str:
    """What the pictures show, and why these."""
    objects = bool(record.classes)
    looks = {"drivable": "drivable area is green", "lane": "lane lines are yellow"}
    surfaces = [looks[k] for k, counts in record.surfaces.items() if (counts[:, 0] >= 0).any()]
    parts = ["Left what is labelled, right what was predicted."]
    if objects:
        parts.append(
            "Of the objects, those at each class's score of best F1: green boxes agree at IoU 0.5, "
            "red ones do not (left: missed), grey dashed ones are ignored."
        )
    if surfaces:
        parts.append(f"{', '.join(surfaces).capitalize()}.")
    if objects and surfaces:
        parts.append(
            "Half of the frames have the most wrong objects, the others the lowest IoU of a "
            "surface."
        )
    return " ".join(parts)
