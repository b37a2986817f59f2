"""``nano``: plain convolutions only, for small processors and for INT8.

Depthwise convolutions move more memory than they compute and lose most when quantised; plain 3x3
ones at channel counts that are multiples of 16 fill vector units. Full resolution is left at once
(stride 4 after two layers), most depth is at strides 16 and 32, where it is cheap. The heads are at
stride 8: twice the channels of stride 4 there cost as much, and know more of small objects.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from data.taxonomy import CLASSES
from perception.models.multitask import (
    MASK_STRIDE,
    MASKS,
    STRIDE,
    Context,
    Output,
    conv,
    finish,
    start_calmly,
)

# (channels, residual blocks) at strides 4, 8, 16 and 32
STAGES = ((32, 0), (64, 1), (96, 2), (128, 3))


class Block(nn.Module):
    """Residual pair of 3x3 convolutions through half the channels (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = conv(channels, channels // 2)
        self.widen = nn.Conv2d(channels // 2, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)  # starts as the identity (Goyal et al. 2017)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.widen(self.narrow(x))))


class NanoNet(nn.Module):
    """A residual net, a ``width``-channel pyramid down to stride 8 and heads that tell four cells
    of stride 4 at a time."""

    finest = 8  # stride of what the heads look at

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.stem = conv(3, 16, stride=2)
        c_in, stages = 16, []
        for channels, blocks in STAGES:
            down = conv(c_in, channels, stride=2)
            stages.append(nn.Sequential(down, *(Block(channels) for _ in range(blocks))))
            c_in = channels
        self.stages = nn.ModuleList(stages)
        self.context = Context(c_in, width, groups=1)
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c, _ in STAGES[1:-1])
        self.smooth = conv(width, width)
        self.det_stem = conv(width, width)
        cells, pixels = (self.finest // STRIDE) ** 2, (self.finest // MASK_STRIDE) ** 2
        self.heat = nn.Conv2d(width, len(CLASSES) * cells, 1)
        self.box = nn.Conv2d(width, 4 * cells, 1)
        self.mask_stem = conv(width, width // 2)
        self.mask = nn.Conv2d(width // 2, len(MASKS) * pixels, 1)
        start_calmly(self.heat, self.box)

    def forward(self, image: Tensor) -> Output:
        """``image`` (n, 3, h, w) RGB in [-1, 1]; h and w are multiples of 32."""
        return self.answer(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """What the heads look at: (n, ``width``, h/8, w/8)."""
        x, taps = self.stem(image), []
        for stage in self.stages:
            taps.append(x := stage(x))
        x = self.smooth(self.lateral[1](taps[2]) + _twice(self.context(x)))
        return self.lateral[0](taps[1]) + _twice(x)

    def answer(self, x: Tensor) -> Output:
        d = self.det_stem(x)
        return finish(self.heat(d), self.box(d), self.mask(self.mask_stem(x)), self.finest)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
