"""Several samples made into one: mosaics, and rare objects pasted where they could stand.

Labels stay what they were: what one of the samples does not label stays unknown in its part.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.taxonomy import CLASSES
from data.types import F32, F64, I64, U8, UNKNOWN, Sample

# Where the horizon of a camera behind a windscreen lies, share of the picture's height. A few
# per cent off only move a pasted object a little nearer or farther than its size says.
HORIZON = 0.46
_MARGIN = 0.08  # of a box's side, cut out around it for the soft edge
_MIN_SIDE_PX = 12.0
_MAX_COVER = 0.15  # of an existing box, or of the pasted one


def _overlap(box: F64, others: F64) -> F64:
    """Share of the smaller of two boxes that the other covers, box (4,) with others (n, 4)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(others[:, 2:] - others[:, :2], axis=1)
    return np.asarray(common / np.maximum(np.minimum(area, np.prod(box[2:] - box[:2])), 1e-6))


@dataclass(frozen=True, eq=False)
class Group:
    """An object to paste with those that overlap it (a rider on a bicycle): one cut-out.

    Attributes:
        xyxy: (4,) float64 px, around all; members: (k,) int64, indices of the boxes.
    """

    xyxy: F64
    members: I64


def find_groups(
    xyxy: F32, class_id: I64, ignore: NDArray[np.bool_], size: tuple[int, int], wanted: int
) -> list[Group]:
    """Objects of class ``wanted`` that can be cut out of a picture of ``size`` (width, height).

    Left out: what the border cuts, what is under 12 px or over half the picture's height, and
    what overlaps ignored areas or objects not ``wanted``, other than a rider with his two-wheeler.
    """
    boxes = xyxy.astype(np.float64)
    width, height = size
    allowed = {wanted}
    ride = {CLASSES.index("person"), CLASSES.index("two_wheeler")}
    if wanted in ride:
        allowed = ride
    groups = []
    sides = boxes[:, 2:] - boxes[:, :2]
    fits = (sides.min(1) >= _MIN_SIDE_PX / 2) & (sides.max(1) >= _MIN_SIDE_PX)
    for i in np.flatnonzero((class_id == wanted) & ~ignore & fits):
        members = np.flatnonzero(_overlap(boxes[i], boxes) > 0.05)
        hull = np.r_[boxes[members, :2].min(0), boxes[members, 2:].max(0)]
        inside = hull[0] > 2 and hull[1] > 2 and hull[2] < width - 2 and hull[3] < height - 2
        closed = np.array_equal(np.flatnonzero(_overlap(hull, boxes) > 0.05), members)
        kinds = {int(class_id[m]) for m in members}
        if not (inside and closed and len(members) <= 3 and kinds <= allowed):
            continue
        if not ignore[members].any() and hull[3] - hull[1] <= height / 2:
            groups.append(Group(hull, members.astype(np.int64)))
    return groups


def _soft_edge(height: int, width: int) -> F32:
    """(h, w) weight of a cut-out: 1 within, 0 at its border, its corners rounded."""
    v = np.abs((np.arange(height, dtype=np.float32)[:, None] + 0.5) / height * 2 - 1)
    u = np.abs((np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1)
    radius = (u**4 + v**4) ** 0.25
    return np.asarray(np.clip((1 - radius) / 0.14, 0, 1), np.float32)


def _blend(window: U8, patch: U8) -> F32 | None:
    """Lay a cut-out over a window of a picture, in place, in the light of its surroundings.

    Returns its weight (h, w); None, with nothing done, where day and night would meet.
    """
    weight = _soft_edge(*patch.shape[:2])
    rim = weight < 0.6
    gain = (window[rim].mean() + 5) / (patch[rim].mean() + 5)
    if not 0.4 < gain < 2.5:
        return None
    mixed = patch * (weight * np.float32(gain))[..., None] + window * (1 - weight)[..., None]
    window[:] = np.clip(mixed, 0, 255)
    return weight


def _place(
    group: Group, base: Sample, donor: Sample, rng: np.random.Generator
) -> tuple[float, F64, F64] | None:
    """Scale and (x, y) offset, base = scale * donor + offset, and the place; None if no room.

    Moving an object nearer or farther on flat ground scales its picture about the horizon, so
    its foot stays on the ground and its size stays right, for lights and signs as well.
    """
    height, width = base.image.shape[:2]
    same = width / donor.image.shape[1]
    for _ in range(6):
        scale = same * float(np.exp(rng.uniform(np.log(0.6), np.log(1.25))))
        low = (HORIZON * height) - scale * (HORIZON * donor.image.shape[0])
        size = scale * (group.xyxy[2:] - group.xyxy[:2])
        top = scale * group.xyxy[1] + low
        margin = _MARGIN * size
        room = width - size[0] - 2 * margin[0]
        if scale > 1.7 or size.max() < _MIN_SIDE_PX or room < 1:
            continue
        if top < margin[1] or top + size[1] + margin[1] > 0.94 * height:  # the bonnet is below
            continue
        left = margin[0] + rng.uniform(0, room)
        box = np.array([left, top, left + size[0], top + size[1]])
        if not len(base.xyxy) or _overlap(box, _objects(base)).max(initial=0) <= _MAX_COVER:
            return scale, np.array([left - scale * group.xyxy[0], low]), box
    return None


def _objects(sample: Sample) -> F64:
    return sample.xyxy[~sample.ignore].astype(np.float64)


def _with_object(
    base: Sample, donor: Sample, group: Group, place: tuple[float, F64, F64], flip: bool
) -> Sample:
    scale, offset, box = place
    margin = _MARGIN * (box[2:] - box[:2])
    x1, y1 = np.floor(box[:2] - margin).astype(int).clip(0)
    x2, y2 = np.ceil(box[2:] + margin).astype(int)
    x2, y2 = min(x2, base.image.shape[1]), min(y2, base.image.shape[0])
    # pixel centres: (u + 0.5) * scale + offset in the base
    shift = (scale - 1) / 2 + offset - (x1, y1)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    near = _near(donor.image, group.xyxy)
    cut = donor.image[near[1] : near[3], near[0] : near[2]]
    matrix[:, 2] += scale * np.array([near[0], near[1]])
    view = (int(x2 - x1), int(y2 - y1))
    patch = np.asarray(cv2.warpAffine(cut, matrix, view, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    xyxy = scale * donor.xyxy[group.members].astype(np.float64) + np.tile(offset, 2)
    if flip:
        patch = patch[:, ::-1]
        xyxy[:, [0, 2]] = x1 + x2 - xyxy[:, [2, 0]]
    weight = _blend(base.image[y1:y2, x1:x2], patch)
    if weight is None:
        return base
    solid = weight > 0.5
    road = 0 if len(group.members) else UNKNOWN
    masks = ((base.drivable, road), (base.lane, UNKNOWN), (base.segmentation, UNKNOWN))
    for mask, value in masks:
        if mask is not None:
            window = mask[y1:y2, x1:x2]
            window[solid & (window != UNKNOWN)] = value
    return dataclasses.replace(
        base,
        xyxy=np.r_[base.xyxy, xyxy.astype(np.float32)],
        class_id=np.r_[base.class_id, donor.class_id[group.members]],
        ignore=np.r_[base.ignore, np.zeros(len(group.members), bool)],
    )


def _near(image: U8, box: F64) -> I64:
    """The part of a picture that a cut-out is sampled from, integer xyxy."""
    margin = _MARGIN * (box[2:] - box[:2]) + 3
    limit = np.array([image.shape[1], image.shape[0]] * 2)
    edges = np.r_[np.floor(box[:2] - margin), np.ceil(box[2:] + margin)]
    return np.asarray(edges.clip(0, limit), np.int64)


def _decoy(like: Group, donor: Sample, rng: np.random.Generator) -> Group | None:
    """A piece of a picture beside a group, as large, in which there is no object."""
    sides = like.xyxy[2:] - like.xyxy[:2]
    boxes = donor.xyxy.astype(np.float64)
    for left in rng.uniform(4, max(5.0, donor.image.shape[1] - sides[0] - 4), 6):
        piece = np.array([left, like.xyxy[1], left + sides[0], like.xyxy[3]])
        if _overlap(piece, boxes).max(initial=0) < 0.02:
            return Group(piece, np.zeros(0, np.int64))
    return None


def paste(base: Sample, donor: Sample, wanted: int, rng: np.random.Generator) -> Sample:
    """Paste up to three objects of class ``wanted`` from ``donor`` into ``base``.

    An object is put at its own distance times 0.8 to 1.7, sideways anywhere, mirrored or not, in
    the light of its new place; existing objects are covered by 15 % at most. Under it the
    drivable area becomes 0 (BDD100K, IDD and CamVid all count objects as background) and lane
    lines unknown (some labels go on under objects, some do not). Half as often, a piece without
    any object is pasted in the same way, so that the edge of a cut-out does not give objects away
    (as in Dwibedi et al. 2017, who varied the blending to this end). ``base`` is not changed; it
    is returned as it is where nothing fits or it does not label a pasted class.
    """
    size = (donor.image.shape[1], donor.image.shape[0])
    groups = find_groups(donor.xyxy, donor.class_id, donor.ignore, size, wanted)
    groups = [g for g in groups if base.labelled_classes[donor.class_id[g.members]].all()]
    if not groups:
        return base
    out = dataclasses.replace(
        base,
        image=base.image.copy(),
        drivable=None if base.drivable is None else base.drivable.copy(),
        lane=None if base.lane is None else base.lane.copy(),
        segmentation=None if base.segmentation is None else base.segmentation.copy(),
    )
    known = (donor.labelled_classes | ~base.labelled_classes).all()
    for k in rng.permutation(len(groups))[: int(rng.integers(1, 4))]:
        decoy = _decoy(groups[k], donor, rng) if known and rng.random() < 0.5 else None
        for group in (groups[k], decoy):
            place = _place(group, out, donor, rng) if group is not None else None
            if group is not None and place is not None:
                out = _with_object(out, donor, group, place, bool(rng.random() < 0.5))
    return out


def join_quarters(quarters: tuple[Sample, Sample, Sample, Sample]) -> Sample:
    """Join top left, top right, bottom left and bottom right into one sample.

    A class that some quarter labels and another does not is ignored over the whole of the other
    quarter; a surface that a quarter does not label is unknown there. So no quarter teaches that
    what it does not label is absent.

    Raises:
        ValueError: the quarters' sizes do not make a rectangle.
    """
    height, width = quarters[0].image.shape[:2]
    right, low = quarters[1].image.shape[1], quarters[2].image.shape[0]
    labelled = np.any([q.labelled_classes for q in quarters], axis=0)
    xyxy, class_id, ignore = [], [], []
    for k, q in enumerate(quarters):
        origin = np.array([width * (k % 2), height * (k // 2)])
        size = np.array([(width, right)[k % 2], (height, low)[k // 2]])
        if q.image.shape[:2] != tuple(size[::-1]):
            raise ValueError(f"quarter {k}: expected {tuple(size[::-1])}, given {q.image.shape}")
        unknown = np.flatnonzero(labelled & ~q.labelled_classes)
        # a pixel short of the next quarter, so that no cell of it is ignored
        area = np.tile(np.r_[origin, origin + size - 1], (len(unknown), 1))
        xyxy += [q.xyxy + np.tile(origin, 2), area]
        class_id += [q.class_id, unknown]
        ignore += [q.ignore, np.ones(len(unknown), bool)]
    return dataclasses.replace(
        quarters[0],
        image=_joined([q.image for q in quarters]),
        xyxy=np.concatenate(xyxy),
        class_id=np.concatenate(class_id),
        ignore=np.concatenate(ignore),
        labelled_classes=labelled,
        drivable=_joined_masks([q.drivable for q in quarters], quarters),
        lane=_joined_masks([q.lane for q in quarters], quarters),
        segmentation=_joined_masks([q.segmentation for q in quarters], quarters),
    )


def _joined(parts: list[U8]) -> U8:
    return np.vstack([np.hstack(parts[:2]), np.hstack(parts[2:])])


def _joined_masks(masks: list[U8 | None], quarters: tuple[Sample, ...]) -> U8 | None:
    if all(m is None for m in masks):
        return None
    return _joined(
        [
            np.full(q.image.shape[:2], UNKNOWN, np.uint8) if m is None else m
            for m, q in zip(masks, quarters, strict=True)
        ]
    )
