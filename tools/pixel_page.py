"""The parts of ``report.html`` on networks that give each pixel a class."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from data.palette import palette, tinted
from data.types import F64, U8, UNKNOWN, Sample
from perception.metrics.frames import FrameRecord
from perception.metrics.score import Prediction
from tools.view import page as p
from tools.view.page import Html

_WIDTH_PX = 480


def pixel_accuracy(record: FrameRecord) -> F64:
    """(f,) share of each frame's labelled pixels that are right; NaN without any."""
    right = np.trace(record.pixels, axis1=1, axis2=2).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(right / record.pixels.sum(axis=(1, 2)), np.float64)


def pixel_confusion(record: FrameRecord) -> list[Html]:
    """Where the pixels of each labelled class went."""
    counts, names = record.pixels.sum(axis=0), record.pixel_classes
    rows = []
    for name, row in zip(names, counts):
        share = row / max(int(row.sum()), 1)
        cells = [p.shaded(f"{v:.3f}" if v >= 0.0005 else "", v) for v in share]
        rows.append([name, *cells, f"{row.sum() / max(int(counts.sum()), 1):.3f}"])
    return [
        p.heading("Where the pixels went"),
        p.note("Rows are labels, columns what was predicted, as shares of the label's pixels."),
        p.table(["label", *names, "of all pixels"], rows),
    ]


def pixel_pictures(
    record: FrameRecord, count: int, again: Callable[[str], tuple[Sample, Prediction]]
) -> list[Html]:
    """The frames of the lowest pixel accuracy."""
    accuracy = pixel_accuracy(record)
    order = [i for i in np.argsort(accuracy, kind="stable") if np.isfinite(accuracy[i])]
    out = []
    for i in order[:count]:
        name = str(record.name[i])
        sample, predicted = again(name)
        assert sample.segmentation is not None and predicted.classes is not None
        told = np.where(sample.segmentation == UNKNOWN, UNKNOWN, predicted.classes)
        pair = [_drawn(sample.image, m) for m in (sample.segmentation, told.astype(np.uint8))]
        out.append(p.figure(pair, f"{name}: {accuracy[i]:.3f} of the pixels right", name))
    if out:
        text = "Left what is labelled, right what was predicted; what is not labelled is dark grey."
        out = [p.heading("The worst frames"), p.note(text), _key(record.pixel_classes), *out]
    return out


def _drawn(image: U8, classes: U8) -> U8:
    size = (_WIDTH_PX, max(1, round(image.shape[0] * _WIDTH_PX / image.shape[1])))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = np.asarray(cv2.resize(classes, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    return tinted(small, mask)


def _key(names: list[str]) -> Html:
    """Names with the colours that their pixels have."""
    colours = [tuple(int(v) for v in palette()[k][::-1]) for k in range(len(names))]
    keys = (
        f'<span class="key"><i style="background:rgb{c}"></i>{p.shown(n)}</span>'
        for n, c in zip(names, colours)
    )
    return Html(f"<div>{''.join(keys)}</div>")
