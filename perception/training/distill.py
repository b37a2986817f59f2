"""Learning from a teacher network's answers, on labelled pictures and on those without labels.

The student sees the teacher's answer to the same augmented picture: the heat as soft labels of
the quality focal loss (Li et al. 2020), boxes where the teacher is sure of an object (the
valuable regions of localisation distillation, Zheng et al. 2022), surfaces as probabilities. It
may learn the teacher's features too, by how they correlate (PKD, Cao et al. 2022), half of the
weight lying on objects (as in FGD, Yang et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.datasets.base import Dataset
from data.datasets.files import IMAGE_SUFFIXES
from data.errors import InputError
from data.logs import open_log
from data.types import HIDDEN, Sample
from perception.models.multitask import MASKS, Output
from perception.training.config import DistillConfig
from perception.training.distributed import Total, alone
from perception.training.losses import BOX_WEIGHT, box_sums

_SURE = 0.3  # teacher's heat above which its boxes are taught
_EVERY_S = 0.5  # frames of a video nearer in time say the same
_MAX_WIDTH_PX = 1280
_FLAT = 1e-6  # variance of a feature below which it says nothing


def heat_loss(logits: Tensor, taught: Tensor, weight: Tensor, total: Total = alone) -> Tensor:
    """Quality focal loss to the teacher's probabilities, a mean over the objects it sees.

    ``logits``, ``taught`` (logits), ``weight`` (n, c, h, w). Objects are counted by the heights
    of the peaks above 0.3.
    """
    q = taught.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, q, reduction="none")
    cost = ((q - logits.sigmoid()).square() * cross * weight).sum()
    peak = (q == F.max_pool2d(q, 3, 1, 1)) & (q > _SURE)
    cost, objects = total(torch.stack([cost, (q * peak).sum()]))
    return cost / objects.clamp(min=1.0)


def box_loss(out: Output, taught: Output, weight: Tensor, total: Total = alone) -> Tensor:
    """Mean of ``1 - GIoU`` to the teacher's boxes, weighted by its heat where it is sure."""
    q = taught.heat.sigmoid()
    sure = (q * (q > _SURE)).amax(1)
    weight = sure * weight.gather(1, q.argmax(1, keepdim=True))[:, 0]
    cost, _ = box_sums(out.box, taught.box, weight)
    cost, cells = total(torch.stack([cost, sure.sum()]))
    return cost / cells.clamp(min=1.0)


def mask_loss(logits: Tensor, taught: Tensor, weight: Tensor, total: Total = alone) -> Tensor:
    """Kullback-Leibler divergence and squared Dice (Milletari et al. 2016) to the teacher's
    probabilities of one surface, a mean over all pixels; 0 where both agree. ``logits``,
    ``taught`` (logits), ``weight`` (n, h, w)."""
    q, p = taught.sigmoid(), logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, q, reduction="none")
    least = F.binary_cross_entropy_with_logits(taught, q, reduction="none")
    apart, either = weight * (p - q).square(), p.square() + q.square()
    pixels = torch.ones_like(weight)
    sums = [((cross - least) * weight).sum(), pixels.sum(), apart.sum(), either.sum()]
    cost, count, gap, both = total(torch.stack(sums))
    return cost / count + gap / (both + 1)


def _gaze(taught: Output) -> Tensor:
    """(n, 1, h, w) weights that sum to one a picture: half over all cells alike, half over those
    that the teacher sees objects at or beside."""
    q = F.avg_pool2d(taught.heat.sigmoid().amax(1, keepdim=True), 3, 1, 1)
    cells = q.shape[2] * q.shape[3]
    return 0.5 / cells + 0.5 * (q + 1e-6) / (q + 1e-6).sum((2, 3), keepdim=True)


def feature_loss(own: Tensor, taught: Tensor, gaze: Tensor, total: Total = alone) -> Tensor:
    """Mean over pictures and channels of ``1 - r``, r being the correlation of two maps; half of
    the cells are looked at, a chessboard's black fields, as this takes half of the time.

    ``own``, ``taught`` (n, c, h, w); ``gaze`` (n, 1, h, w), weights that sum to one a picture.
    """

    def rows(f: Tensor) -> Tensor:  # (n, cells, c)
        half = torch.cat([f[..., 0::2, 0::2], f[..., 1::2, 1::2]], 3)
        return half.permute(0, 2, 3, 1).flatten(1, 2).float()

    x, y, w = rows(own), rows(taught), rows(gaze).transpose(1, 2)
    w = w / w.sum(2, keepdim=True)

    def mean(v: Tensor) -> Tensor:
        return torch.bmm(w, v)[:, 0]

    mx, my = mean(x), mean(y)
    spread = (mean(x * x) - mx * mx).clamp(min=0), (mean(y * y) - my * my).clamp(min=0)
    r = (mean(x * y) - mx * my) * ((spread[0] + _FLAT) * (spread[1] + _FLAT)).rsqrt()
    cost, count = total(torch.stack([(1 - r).sum(), torch.ones_like(r).sum()]))
    return cost / count


class Bridged(nn.Module):
    """A student that shows its features as well, brought to as many channels as its ``teacher``'s
    and as fine: (n, 3, h, w) RGB in [-1, 1] to its answer and to features as the teacher's."""

    def __init__(self, net: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.net = net
        own, given = int(net.finest), int(teacher.finest)  # type: ignore[arg-type]
        self.finer, self.coarser = max(1, own // given), max(1, given // own)
        channels = int(teacher.width) * self.finer**2  # type: ignore[arg-type]
        self.bridge = nn.Conv2d(int(net.width), channels, 1)  # type: ignore[arg-type]

    def forward(self, rgb: Tensor) -> tuple[Output, Tensor]:
        x = self.net.features(rgb)  # type: ignore[operator]
        own = F.pixel_shuffle(self.bridge(x), self.finer)
        own = own if self.coarser == 1 else F.avg_pool2d(own, self.coarser)
        return self.net.answer(x), own  # type: ignore[operator]


def teacher_loss(
    out: Output, taught: Output, batch: dict[str, Tensor], c: DistillConfig, total: Total = alone,
    features: tuple[Tensor, Tensor] | None = None, class_weights: tuple[float, ...] = (),
) -> dict[str, Tensor]:  # fmt: skip
    """Terms ``teacher.heat``, ``teacher.box``, ``teacher.drivable`` and ``teacher.lane``, and
    ``teacher.features`` where those are given, the student's and the teacher's.

    Each pixel counts ``c.labelled`` where ``batch`` labels it and ``c.unlabelled`` elsewhere, but
    nothing where a label is hidden: the teacher's answer to a mirrored picture is wrong there.
    Objects count as much as their class among ``class_weights`` besides, alike if it is empty.
    Features are of all tasks at once and count everywhere.
    """
    out, taught = (Output(*(m.float() for m in o)) for o in (out, taught))

    def share(labelled: Tensor) -> Tensor:
        return torch.where(labelled, c.labelled, c.unlabelled).float()

    weight = share(batch["heat_weight"] > 0)
    if class_weights:
        weight = weight * weight.new_tensor(class_weights)[:, None, None]
    terms = {
        "teacher.heat": c.heat * heat_loss(out.heat, taught.heat, weight, total),
        "teacher.box": c.box * BOX_WEIGHT * box_loss(out, taught, weight, total),
    }
    for i, name in enumerate(MASKS):
        label = batch["mask"][:, i]
        known = share(label < HIDDEN) * (label != HIDDEN)
        loss = mask_loss(out.mask[:, i], taught.mask[:, i], known, total)
        terms[f"teacher.{name}"] = c.mask * loss
    if features is not None:
        times = taught.heat.shape[3] // features[1].shape[3]
        gaze = F.avg_pool2d(_gaze(taught), times, divisor_override=1)  # sums, to one as before
        terms["teacher.features"] = c.features * feature_loss(*features, gaze, total)
    return terms


@dataclass(frozen=True, eq=False)
class VideoSet(Dataset):
    """Frames of a video without labels, at most 1280 px wide.

    Attributes:
        start_s: time of each frame; frame_px: (width, height) of all.
    """

    start_s: tuple[float, ...] = ()
    frame_px: tuple[int, int] = (0, 0)

    def size_px(self, i: int) -> tuple[int, int]:
        return self.frame_px

    def load(self, i: int) -> Sample:
        """The first frame at or after ``start_s[i]``; InputError where none can be decoded."""
        return self.shrunk(i, self.frame_px)

    def shrunk(self, i: int, size_px: tuple[int, int]) -> Sample:
        """The same at a size (width, height)."""
        labels = self.labels(i, size_px)
        for frame in open_log(self.images[i], start_s=self.start_s[i], max_frames=1):
            image = cv2.resize(frame.image, size_px, interpolation=cv2.INTER_AREA)
            return Sample(
                np.asarray(image, np.uint8), labels.xyxy, labels.class_id, labels.ignore,
                labels.labelled_classes, None, None, self.names[i],
            )  # fmt: skip
        raise InputError(f"{self.images[i]}: no frame at {self.start_s[i]:g} s can be decoded")


def unlabelled(path: Path, every_s: float = _EVERY_S) -> Dataset:
    """Pictures without labels: all in a folder and the folders in it, or frames of a video.

    Args:
        path: folder or video file; every_s: time between the frames taken of a video.

    Raises:
        InputError: nothing there, or no picture in it.
    """
    path = Path(path)
    if path.is_dir():
        files = tuple(p for p in sorted(path.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise InputError(f"{path}: no pictures ({', '.join(IMAGE_SUFFIXES)}) in it")
        names = tuple(p.relative_to(path).as_posix() for p in files)
        return Dataset("images", path, "all", names, files, ())
    log = open_log(path)
    if log.kind != "video" or not log.expected_frames:
        raise InputError(f"{path}: expected a folder of pictures or a video of known length")
    times = np.arange(0, (log.expected_frames - 0.5) / log.nominal_fps, every_s).round(6).tolist()
    width = min(_MAX_WIDTH_PX, log.width_px)
    return VideoSet(
        "images", path.parent, "all", tuple(f"{path.name}@{t:.2f}s" for t in times),
        (path,) * len(times), (), start_s=tuple(times),
        frame_px=(width, round(log.height_px * width / log.width_px)),
    )  # fmt: skip
