"""The network as it is exported: from a letterboxed uint8 image to final outputs.

Training's own validation runs this module too, so that the exported file and the training code
share every step.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    """uint8 BGR (n, h, w, 3) to the class of every pixel (n, h, w) int32.

    Args:
        net: of pixel classes, its logits at half the picture's size.
        scales: of the picture, e.g. 1, 1.33 and 1.67: the class of the highest mean probability
            over them. The sides are brought to the nearest multiples of 32.
    """

    rgb_from_bgr: Tensor

    def __init__(self, net: nn.Module, scales: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        self.net, self.scales = net, tuple(scales)
        self.register_buffer("rgb_from_bgr", torch.tensor(RGB_FROM_BGR), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        rgb = normalise(image, self.rgb_from_bgr)
        if self.scales == (1.0,):
            best = F.interpolate(
                self.net(rgb), scale_factor=float(MASK_STRIDE), mode="bilinear", align_corners=False
            )
        else:
            best = torch.stack([self._probabilities(rgb, s) for s in self.scales]).sum(0)
        return best.argmax(1).to(torch.int32)

    def _probabilities(self, rgb: Tensor, scale: float) -> Tensor:
        size = [max(32, 32 * round(int(v) * scale / 32)) for v in rgb.shape[2:]]
        logits = _resized(self.net(_resized(rgb, size)), rgb.shape[2:])
        # a softmax along the channels takes ONNX Runtime ten times as long as its parts
        share = torch.exp(logits - logits.amax(1, keepdim=True))
        return share / share.sum(1, keepdim=True)


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=[int(v) for v in size], mode="bilinear", align_corners=False)


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
