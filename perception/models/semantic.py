"""``semantic``: one class for every pixel, on the backbone and pyramid of ``base``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from perception.models.efficientnet_lite import EfficientNetLite0
from perception.models.multitask import MASK_STRIDE, STRIDE, Pyramid, conv


class SemanticNet(nn.Module):
    """EfficientNet-Lite0, a ``width``-channel pyramid and logits of ``classes`` at stride 2."""

    def __init__(self, classes: int, width: int = 96) -> None:
        super().__init__()
        self.backbone = EfficientNetLite0()
        self.pyramid = Pyramid(self.backbone.channels, width)
        self.stem = conv(width, width)
        self.logits = nn.Conv2d(width, classes * (STRIDE // MASK_STRIDE) ** 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """``image`` (n, 3, h, w) RGB in [-1, 1], h and w multiples of 32, to (n, classes, h/2,
        w/2)."""
        x = self.stem(self.pyramid(self.backbone(image)))
        return F.pixel_shuffle(self.logits(x), STRIDE // MASK_STRIDE)
