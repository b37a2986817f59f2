"""Losses, each masked by what a sample labels.

All are ratios of sums over the batch, weighted means: a picture of half the weight counts half as
much beside the others, in what is summed and in what it is divided by. ``total`` adds the sums of
other processes, so that a batch shared out among several costs the same as one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from data.types import HIDDEN, UNKNOWN
from perception.models.multitask import MASKS, Output
from perception.training.distributed import Total, alone

BOX_WEIGHT = 5.0
_TINY = 1e-6  # keeps a ratio without any weight at zero


def heat_loss(logits: Tensor, target: Tensor, weight: Tensor, total: Total = alone) -> Tensor:
    """Penalty-reduced focal loss (CornerNet, Law and Deng 2018), a mean over objects."""
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    positive = (target == 1).float() * weight
    negative = (1 - target).pow(4) * weight * (target < 1)
    loss = -(1 - p).pow(2) * p.log() * positive - p.pow(2) * (1 - p).log() * negative
    cost, objects = total(torch.stack([loss.sum(), positive.sum()]))
    return cost / objects.clamp(min=1.0)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU (Rezatofighi et al. 2019) of boxes sharing a point.

    ``a``, ``b`` (n, 4): positive px to left, top, right, bottom; returns (n,).
    """
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    inter = (low[:, 0] + low[:, 2]) * (low[:, 1] + low[:, 3])
    hull = (high[:, 0] + high[:, 2]) * (high[:, 1] + high[:, 3])
    area = (a[:, 0] + a[:, 2]) * (a[:, 1] + a[:, 3]) + (b[:, 0] + b[:, 2]) * (b[:, 1] + b[:, 3])
    union = area - inter
    return inter / union - (hull - union) / hull


def box_sums(distance: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """(2,): the weighted sum of ``1 - GIoU`` over cells of positive weight, and that of weights.

    ``distance``, ``target`` (n, 4, h, w); ``weight`` (n, h, w).
    """
    where = weight > 0
    p, t = distance.permute(0, 2, 3, 1)[where], target.permute(0, 2, 3, 1)[where]
    return torch.stack([((1 - generalised_iou(p, t)) * weight[where]).sum(), weight.sum()])


def box_loss(distance: Tensor, target: Tensor, weight: Tensor, total: Total = alone) -> Tensor:
    """Weighted mean of ``1 - GIoU``; arguments as in ``box_sums``."""
    cost, weights = total(box_sums(distance, target, weight))
    return cost / weights.clamp(min=_TINY)


def mask_loss(
    logits: Tensor, target: Tensor, total: Total = alone, weight: Tensor | float = 1.0
) -> Tensor:
    """Cross-entropy and Dice (Milletari et al. 2016) of one surface over its known pixels.

    ``logits``, ``target`` (n, h, w) of 1 yes, 0 no, 255 and 254 unknown; ``weight`` of each
    picture (n,), or of all.
    """
    if isinstance(weight, Tensor):
        weight = weight[:, None, None]
    known = (target < HIDDEN).float() * weight
    truth = (target == 1).float()
    cross = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    p = logits.sigmoid() * known
    either = p.sum() + (truth * weight).sum()
    sums = [(cross * known).sum(), known.sum(), (p * truth).sum(), either]
    cost, pixels, both, either = total(torch.stack(sums))
    return cost / pixels.clamp(min=_TINY) + 1 - (2 * both + 1) / (either + 1)


def semantic_loss(
    logits: Tensor, batch: dict[str, Tensor], total: Total = alone
) -> dict[str, Tensor]:
    """Cross-entropy over known pixels, and Dice (Milletari et al. 2016) averaged over the classes
    that are labelled in the batch, which counts a pole as much as the sky.

    ``logits`` (n, k, h/2, w/2), brought to the size of ``batch["segmentation"]`` (n, h, w) of
    class or 255 as the deployed network does: thin things are taught at the width they have.
    """
    target = batch["segmentation"].long()
    logits = F.interpolate(  # contiguous: sums over classes are slow in channels_last
        logits.float().contiguous(), size=target.shape[1:], mode="bilinear", align_corners=False
    )
    weight = batch["mask_weight"][:, None, None] * (target != UNKNOWN)
    target = target.masked_fill(target == UNKNOWN, 0)
    log_p = logits.log_softmax(1)
    right = log_p.gather(1, target[:, None])[:, 0]
    cost, pixels = total(torch.stack([-(right * weight).sum(), weight.sum()]))
    zeros = weight.new_zeros(logits.shape[1])
    both, labelled = (
        zeros.index_add(0, target.flatten(), part.flatten())
        for part in (right.exp() * weight, weight)
    )
    told = (log_p.exp() * weight[:, None]).sum((0, 2, 3))
    both, labelled, told = total(torch.stack([both, labelled, told]))
    dice = 1 - (2 * both + 1) / (labelled + told + 1)
    there = labelled > 0
    terms = {
        "cross": cost / pixels.clamp(min=_TINY),
        "dice": (dice * there).sum() / there.sum().clamp(min=1),
    }
    terms["total"] = terms["cross"] + terms["dice"]
    return terms


def total_loss(out: Output, batch: dict[str, Tensor], total: Total = alone) -> dict[str, Tensor]:
    """All terms in float32; ``total`` is their weighted sum."""
    box = box_loss(out.box.float(), batch["box"], batch["box_weight"], total)
    terms = {
        "heat": heat_loss(out.heat.float(), batch["heat"], batch["heat_weight"], total),
        "box": BOX_WEIGHT * box,
    }
    for i, name in enumerate(MASKS):
        logits, target = out.mask[:, i].float(), batch["mask"][:, i]
        terms[name] = mask_loss(logits, target, total, batch.get("mask_weight", 1.0))
    terms["total"] = torch.stack(list(terms.values())).sum()
    return terms
