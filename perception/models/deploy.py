"""The network as it is exported: from a letterboxed uint8 image to final outputs.

Training's own validation runs this module too, so that the exported file and the training code
share every step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perception.models.multitask import MASK_STRIDE, STRIDE, Output

MAX_OBJECTS = 100
RGB_FROM_BGR = (2, 1, 0)


def peaks(out: Output, k: int = MAX_OBJECTS) -> tuple[Tensor, Tensor, Tensor]:
    """Pick the k best local maxima: boxes (n, k, 4) input px, scores (n, k), classes (n, k)."""
    heat = out.heat.sigmoid()
    n, c, h, w = heat.shape
    heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
    scores, index = heat.reshape(n, c * h * w).topk(k, dim=1)
    classes = index // (h * w)
    cell = index % (h * w)
    x = (cell % w).to(heat.dtype) * STRIDE + STRIDE / 2
    y = (cell // w).to(heat.dtype) * STRIDE + STRIDE / 2
    d = out.box.reshape(n, 4, h * w).gather(2, cell[:, None].expand(n, 4, k))
    boxes = torch.stack([x - d[:, 0], y - d[:, 1], x + d[:, 2], y + d[:, 3]], 2)
    return boxes, scores, classes.to(torch.int32)


def normalise(image: Tensor, rgb_from_bgr: Tensor) -> Tensor:
    """uint8 BGR (n, h, w, 3) to float RGB (n, 3, h, w) in [-1, 1], for training and export."""
    rgb = image.permute(0, 3, 1, 2).float().index_select(1, rgb_from_bgr)
    return rgb / 127.5 - 1.0


class DeploySemantic(nn.Module):
    """uint8 BGR (n, h, w, 3) to the class of every pixel (n, h, w) int32."""

    rgb_from_bgr: Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("rgb_from_bgr", torch.tensor(RGB_FROM_BGR), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        logits = self.net(normalise(image, self.rgb_from_bgr))
        full = F.interpolate(
            logits, scale_factor=float(MASK_STRIDE), mode="bilinear", align_corners=False
        )
        return full.argmax(1).to(torch.int32)


class DeployNet(nn.Module):
    """uint8 BGR (n, h, w, 3) to ``boxes, scores, classes, drivable, lane`` (see decode.py)."""

    rgb_from_bgr: Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("rgb_from_bgr", torch.tensor(RGB_FROM_BGR), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        out = self.net(normalise(image, self.rgb_from_bgr))
        boxes, scores, classes = peaks(out)
        mask = out.mask.sigmoid()
        return boxes, scores, classes, mask[:, 0], mask[:, 1]
