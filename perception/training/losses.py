"""Losses, each masked by what a sample labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.models.multitask import MASKS, Output

BOX_WEIGHT = 5.0
UNKNOWN = 255


def heat_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Penalty-reduced focal loss (CornerNet, Law and Deng 2018), a mean over objects."""
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    positive = (target == 1).float() * weight
    negative = (1 - target).pow(4) * weight * (target < 1)
    loss = -(1 - p).pow(2) * p.log() * positive - p.pow(2) * (1 - p).log() * negative
    return loss.sum() / positive.sum().clamp(min=1.0)


def box_loss(distance: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Generalised IoU loss (Rezatofighi et al. 2019) of boxes sharing a point.

    ``distance``, ``target`` (n, 4, h, w): positive px to left, top, right, bottom.
    """
    where = weight > 0
    if not where.any():
        return distance.sum() * 0.0
    p, t = distance.permute(0, 2, 3, 1)[where], target.permute(0, 2, 3, 1)[where]
    w = weight[where]
    low, high = torch.minimum(p, t), torch.maximum(p, t)
    inter = (low[:, 0] + low[:, 2]) * (low[:, 1] + low[:, 3])
    hull = (high[:, 0] + high[:, 2]) * (high[:, 1] + high[:, 3])
    area = (p[:, 0] + p[:, 2]) * (p[:, 1] + p[:, 3]) + (t[:, 0] + t[:, 2]) * (t[:, 1] + t[:, 3])
    union = area - inter
    giou = inter / union - (hull - union) / hull
    return ((1 - giou) * w).sum() / w.sum()


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy and Dice (Milletari et al. 2016) of one surface over its known pixels."""
    known = (target != UNKNOWN).float()
    if known.sum() == 0:
        return logits.sum() * 0.0
    truth = (target == 1).float()
    cross = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    p = logits.sigmoid() * known
    truth = truth * known
    dice = 1 - (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1)
    return (cross * known).sum() / known.sum() + dice


def total_loss(out: Output, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """All terms in float32; ``total`` is their weighted sum."""
    terms = {
        "heat": heat_loss(out.heat.float(), batch["heat"], batch["heat_weight"]),
        "box": BOX_WEIGHT * box_loss(out.box.float(), batch["box"], batch["box_weight"]),
    }
    for i, name in enumerate(MASKS):
        terms[name] = mask_loss(out.mask[:, i].float(), batch["mask"][:, i])
    terms["total"] = torch.stack(list(terms.values())).sum()
    return terms
