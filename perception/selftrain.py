"""Pseudo-labels: what the network says of a picture, its mirror image and other scales, agreed on.

Boxes of all views are joined by weighted box fusion (Solovyev, Wang and Gabruseva 2021), surfaces
are mean probabilities. What is sure becomes a label, what is doubtful an area to ignore, so that
training learns neither that it is there nor that it is not (two thresholds: Xu et al. 2021,
"Soft Teacher"; Li et al. 2022, "PseCo", for the agreement of scales).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.taxonomy import CLASSES
from data.types import F32, F64, U8, UNKNOWN, Detections, Surfaces
from perception.box_fusion import Fused, fuse, holds
from perception.decode import surface_at_image_size
from perception.metrics.surfaces import LANE_KERNEL

Infer = Callable[[U8, float], tuple[Detections, Surfaces]]  # (picture, lowest score), as ``Model``
FLOOR = 0.05  # scores below it are not looked at
NEVER = 1.01  # a threshold that no score reaches: a class whose boxes are only ever ignored
# Lane labels are widened by ``LANE_KERNEL`` px as they are read for training, at the image's own
# size. In pictures narrower than this the lines would come out far too wide.
MIN_LANE_WIDTH_PX = 960
_GREY = (127, 127, 127)
_CUT = 0.015  # of a window's side: nearer to its border within the picture a box is cut
_FADE = 0.1  # of a window's side: towards such a border its say in the surfaces fades


@dataclass(frozen=True)
class View:
    """A window of the picture as the network is shown it.

    Attributes:
        window: x1, y1, x2, y2 as shares of the picture; beyond 0 to 1 there is grey.
        mirror: left and right change places.
        drivable: it shows enough to judge the drivable area by. In labels that leave out oncoming
            lanes that depends on the side that is driven on, so no mirrored view judges it.
    """

    name: str
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    mirror: bool = False
    drivable: bool = False

    def __post_init__(self) -> None:
        if self.mirror and self.drivable:
            raise ValueError(f"View {self.name}: a mirrored view cannot judge the drivable area")


PLAIN = View("plain", drivable=True)
# The picture, its mirror image, and parts of it at 1.25 and 2 times the scale. Measured on
# bdd100k_subset val: larger scales and the mirror find more at the same precision, a smaller
# scale (0.8) does not; the drivable area gains by the 1.25 alone.
VIEWS: tuple[View, ...] = (
    PLAIN,
    View("mirror", mirror=True),
    View("middle", (0.1, 0.1, 0.9, 0.9), drivable=True),
    View("far left", (0.0, 0.2, 0.5, 0.7)),
    View("far middle", (0.25, 0.2, 0.75, 0.7), mirror=True),
    View("far right", (0.5, 0.2, 1.0, 0.7)),
)


@dataclass(frozen=True)
class Thresholds:
    """Where a label begins and where doubt ends.

    Attributes:
        high: for each class, the score from which a box is a label; ``NEVER`` for none.
        low: the score from which it is an area to ignore.
        agreement: share of the views that must have seen a labelled box.
        drivable, lane: (low, high) probability; a pixel between them is unknown.
    """

    high: tuple[float, ...]
    low: tuple[float, ...]
    agreement: float = 0.5
    drivable: tuple[float, float] = (0.3, 0.7)
    lane: tuple[float, float] = (0.3, 0.6)

    def __post_init__(self) -> None:
        if {len(self.high), len(self.low)} != {len(CLASSES)}:
            raise ValueError(f"Thresholds: expected {len(CLASSES)} of high and of low")
        pairs = [*zip(self.low, self.high, strict=True), self.drivable, self.lane]
        if not all(0 <= low <= high for low, high in pairs):
            raise ValueError(f"Thresholds: expected 0 <= low <= high, given {pairs}")


# For the file of the released 'base' named here, as ``choose_thresholds`` fits them to the 51
# frames of bdd100k_subset val, which chose its checkpoint but did not train it. Share of labels
# that are right there: vehicle 0.81 of 324, person 0.88 of 17, sign 0.85 of 27: few, so take the
# last two with caution. No score makes lights right often enough, and 4 two-wheelers tell nothing.
# A sure drivable pixel is right in 0.90, a sure lane one in 0.60.
THRESHOLDS_OF = "34e6a084d364b2201abab70f97bdcf5b57eb317dc026afdec32a4c1884c1385c"
THRESHOLDS = Thresholds(
    high=(0.256, 0.295, NEVER, NEVER, 0.468),
    low=(0.09, 0.111, 0.1, 0.113, 0.121),
    agreement=0.5,
    drivable=(0.4, 0.86),
    lane=(0.44, 0.55),
)


@dataclass(frozen=True, eq=False)
class Seen:
    """What all views say of one picture.

    ``drivable`` and ``lane`` are (h, w) float32 mean probabilities; their agreement is the sum
    of the lowest probabilities of any view over the sum of the highest, 1 where all agree.
    """

    boxes: Fused
    drivable: F32
    lane: F32
    drivable_agreement: float
    lane_agreement: float


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Labels of one picture.

    Attributes:
        boxes: from the low threshold on, highest score first; ignore: (n,) those in doubt.
        drivable, lane: (h, w) uint8, 1 yes, 0 no, 255 unknown; None if not asked for.
        confidence: of what may be there, the share that surely is, a mean over boxes, drivable
            area and lanes; agreement: of the views, likewise. Both in [0, 1].
    """

    boxes: Fused
    ignore: NDArray[np.bool_]
    drivable: U8 | None
    lane: U8 | None
    confidence: float
    agreement: float


def window_px(view: View, size: tuple[int, int]) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = view.window
    return round(x1 * size[0]), round(y1 * size[1]), round(x2 * size[0]), round(y2 * size[1])


def show(image: U8, view: View) -> U8:
    """The picture (h, w, 3) as a view shows it, at its own scale."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = window_px(view, (width, height))
    part = image[max(y1, 0) : y2, max(x1, 0) : x2]
    pads = (max(-y1, 0), max(y2 - height, 0), max(-x1, 0), max(x2 - width, 0))
    if any(pads):
        part = np.asarray(
            cv2.copyMakeBorder(part, *pads, cv2.BORDER_CONSTANT, value=_GREY), np.uint8
        )
    return np.ascontiguousarray(part[:, ::-1] if view.mirror else part)


def boxes_back(found: Detections, view: View, size: tuple[int, int]) -> Detections:
    """Bring a view's boxes to px of the picture of ``size`` (width, height), without those that
    the window's border cuts."""
    x1, y1, x2, _ = window_px(view, size)
    xyxy = found.xyxy.copy()
    if view.mirror:
        xyxy[:, [0, 2]] = (x2 - x1) - xyxy[:, [2, 0]]
    xyxy = np.clip(xyxy + np.array([x1, y1, x1, y1]), 0, np.array([*size, *size]))
    sides = xyxy[:, 2:] - xyxy[:, :2]
    keep = (sides > 1).all(1) & holds(_clear(view, size), xyxy)
    return Detections(np.asarray(xyxy, np.float32)[keep], found.score[keep], found.class_id[keep])


def _clear(view: View, size: tuple[int, int]) -> F64:
    """The part of the picture (x1, y1, x2, y2 px) in which a view sees whole objects."""
    x1, y1, x2, y2 = window_px(view, size)
    mx, my = _CUT * (x2 - x1), _CUT * (y2 - y1)
    return np.array(
        [
            x1 + mx if x1 > 0 else -np.inf,
            y1 + my if y1 > 0 else -np.inf,
            x2 - mx if x2 < size[0] else np.inf,
            y2 - my if y2 < size[1] else np.inf,
        ]
    )


class _Mean:
    """Mean, lowest and highest probability of each pixel over the views that show it."""

    def __init__(self, size: tuple[int, int]) -> None:
        shape = size[::-1]
        self.sum, self.count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.low, self.high = np.ones(shape, np.float32), np.zeros(shape, np.float32)

    def add(self, at: tuple[slice, slice], p: F32, weight: F32) -> None:
        self.sum[at] += p * weight
        self.count[at] += weight
        sure = weight >= 0.5
        np.minimum(self.low[at], p, out=self.low[at], where=sure)
        np.maximum(self.high[at], p, out=self.high[at], where=sure)

    @property
    def mean(self) -> F32:
        return np.asarray(self.sum / np.maximum(self.count, 1e-6), np.float32)

    @property
    def agreement(self) -> float:
        seen = self.low <= self.high
        either = float(self.high[seen].sum(dtype=np.float64))
        return float(self.low[seen].sum(dtype=np.float64)) / either if either > 0 else 1.0


def say_of(view: View, size: tuple[int, int]) -> F32:
    """Weight of a view at the pixels of the picture that it shows: less towards borders beyond
    which the picture goes on, for there the network sees lines that are none."""
    x1, y1, x2, y2 = window_px(view, size)

    def ramp(first: int, last: int, limit: int) -> F32:
        at = np.arange(max(first, 0), min(last, limit), dtype=np.float32) + np.float32(0.5)
        fade = _FADE * (last - first)
        near = (at - first) / fade if first > 0 else np.ones_like(at)
        far = (last - at) / fade if last < limit else np.ones_like(at)
        return np.asarray(np.clip(np.minimum(near, far), 0, 1), np.float32)

    return ramp(y1, y2, size[1])[:, None] * ramp(x1, x2, size[0])


def _surface_back(p: F32, scale: tuple[float, float], view: View, size: tuple[int, int]) -> F32:
    """A view's probabilities where its window shows the picture, at the picture's scale."""
    x1, y1, x2, y2 = window_px(view, size)
    full = surface_at_image_size(p, scale, x2 - x1, y2 - y1)
    full = full[:, ::-1] if view.mirror else full
    top, left = max(-y1, 0), max(-x1, 0)
    return full[top : min(y2, size[1]) - y1, left : min(x2, size[0]) - x1]


def look(image: U8, infer: Infer, views: Sequence[View] = VIEWS, floor: float = FLOOR) -> Seen:
    """Ask the network about every view of a picture (h, w, 3) uint8 BGR.

    Where no view judges the drivable area its probability is 0.
    """
    size = (image.shape[1], image.shape[0])
    found, drivable, lane = [], _Mean(size), _Mean(size)
    for view in views:
        boxes, maps = infer(show(image, view), floor)
        found.append(boxes_back(boxes, view, size))
        x1, y1, x2, y2 = window_px(view, size)
        at = np.s_[max(y1, 0) : min(y2, size[1]), max(x1, 0) : min(x2, size[0])]
        say = say_of(view, size)
        lane.add(at, _surface_back(maps.lane, maps.scale, view, size), say)
        if view.drivable:
            drivable.add(at, _surface_back(maps.drivable, maps.scale, view, size), say)
    boxes_seen = fuse(found, [_clear(v, size) for v in views])
    return Seen(boxes_seen, drivable.mean, lane.mean, drivable.agreement, lane.agreement)


def surface_labels(probability: F32, low: float, high: float) -> U8:
    """(h, w) uint8: 1 where the probability is above ``high``, 0 below ``low``, else 255."""
    out = np.full(probability.shape, UNKNOWN, np.uint8)
    out[probability > high] = 1
    out[probability < low] = 0
    return out


def thin_lane(mask: U8) -> U8:
    """Undo the widening of lane labels that their reading for training does.

    What remains of a line, widened by ``dilate_lane``, never exceeds the given one; the rest of
    the line becomes unknown.
    """
    k = LANE_KERNEL
    # the anchor's mirror image within an even kernel, so that the line does not move
    anchor = (k - 1 - k // 2, k - 1 - k // 2)
    line = (mask == 1).astype(np.uint8)
    core = cv2.erode(line, np.ones((k, k), np.uint8), anchor=anchor)
    return np.where(core == 1, 1, np.where(mask == 0, 0, UNKNOWN)).astype(np.uint8)


def _sure_boxes(boxes: Fused, t: Thresholds) -> NDArray[np.bool_]:
    high = np.array(t.high)[boxes.class_id]
    return np.asarray((boxes.score >= high) & (boxes.agreement >= t.agreement))


def _hides(boxes: Fused, sure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Boxes that hold the middle of a sure one of their class: as areas to ignore they would
    keep training from the object's peak."""
    middle = (boxes.xyxy[sure, :2] + boxes.xyxy[sure, 2:]) / 2
    inside = (middle >= boxes.xyxy[:, None, :2]) & (middle <= boxes.xyxy[:, None, 2:])
    same = boxes.class_id[sure] == boxes.class_id[:, None]
    return np.asarray((inside.all(-1) & same).any(1))


def label(
    seen: Seen,
    thresholds: Thresholds,
    classes: NDArray[np.bool_] | None = None,
    drivable: bool = True,
    lane: bool = True,
) -> PseudoLabels:
    """Turn what was seen into labels.

    Args:
        classes: (5,) bool, classes whose boxes are wanted, all by default.
        drivable, lane: whether these masks are wanted.
    """
    t = thresholds
    wanted = np.ones(len(CLASSES), bool) if classes is None else np.asarray(classes, bool)
    b = seen.boxes
    sure = _sure_boxes(b, t)
    keep = wanted[b.class_id] & (b.score >= np.array(t.low)[b.class_id])
    keep &= sure | ~_hides(b, sure)
    boxes = Fused(b.xyxy[keep], b.class_id[keep], b.score[keep], b.agreement[keep])
    sure = sure[keep]
    shares, agreements = [], []
    if wanted.any() and len(boxes):
        power = boxes.score.astype(np.float64) ** 2  # or many faint boxes would outweigh the clear
        shares.append(float(power[sure].sum() / power.sum()))
        agreements.append(float(np.average(boxes.agreement, weights=boxes.score)))
    masks: dict[str, U8 | None] = {"drivable": None, "lane": None}
    for name, asked, (low, high) in (("drivable", drivable, t.drivable), ("lane", lane, t.lane)):
        p: F32 = getattr(seen, name)
        possible = float((p >= low).sum())
        if asked:
            masks[name] = surface_labels(p, low, high)
        if asked and possible:
            shares.append(float((p > high).sum()) / possible)
            agreements.append(float(getattr(seen, f"{name}_agreement")))
    return PseudoLabels(
        boxes, ~sure, masks["drivable"], masks["lane"],
        float(np.mean(shares)) if shares else 1.0, float(np.mean(agreements)) if shares else 1.0,
    )  # fmt: skip
