"""The multi-task network: objects, drivable surface and lane lines from one image.

A feature pyramid (Lin et al. 2017) over EfficientNet-Lite0 ends at stride 4. Objects are peaks
of a centre heat map with box edges regressed at the peak (CenterNet, Zhou et al. 2019; TTFNet,
Liu et al. 2020), so no non-maximum suppression is needed; the edges have a depthwise stage of
their own, as what tells a class does not tell where it ends. Surfaces come out at stride 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.taxonomy import CLASSES
from perception.models.efficientnet_lite import MID, EfficientNetLite0

STRIDE = 4  # of the heat and box maps
MASK_STRIDE = 2
MASKS = ("drivable", "lane")


class Output(NamedTuple):
    """Raw maps: ``heat`` (n, 5, h/4, w/4) logits; ``box`` (n, 4, h/4, w/4) distances from the
    cell's centre to left, top, right, bottom in px of the network's input; ``mask``
    (n, 2, h/2, w/2) logits of drivable and lane."""

    heat: Tensor
    box: Tensor
    mask: Tensor


def conv(
    c_in: int, c_out: int, kernel: int = 3, dilation: int = 1, groups: int = 1, stride: int = 1
) -> nn.Module:
    pad = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, pad, dilation, groups, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
    )


def start_calmly(heat: nn.Conv2d, box: nn.Conv2d) -> None:
    """First weights of the object heads: a rare-object prior, so that the focal loss starts calm
    (RetinaNet, Lin et al. 2017), and boxes of 32 px."""
    heat.bias.data.fill_(-math.log((1 - 0.02) / 0.02))  # type: ignore[union-attr]
    box.weight.data.normal_(std=0.01)
    box.bias.data.fill_(math.log(4.0))  # type: ignore[union-attr]


def finish(heat: Tensor, box: Tensor, mask: Tensor, stride: int = STRIDE) -> Output:
    """What all networks end in: edge distances from their logarithms, and maps finer than the
    ``stride`` of what is given by pixel shuffle."""
    if stride > STRIDE:
        heat, box = (F.pixel_shuffle(m, stride // STRIDE) for m in (heat, box))
    edges = torch.exp(box.clamp(-4.0, 5.2)) * STRIDE
    return Output(heat, edges, F.pixel_shuffle(mask, stride // MASK_STRIDE))


class Context(nn.Module):
    """Wide view at stride 32: dilated branches, depthwise by default, and the image's mean."""

    def __init__(self, c_in: int, c_out: int, groups: int | None = None) -> None:
        super().__init__()
        self.reduce = conv(c_in, c_out, 1)
        groups = c_out if groups is None else groups
        self.branches = nn.ModuleList(conv(c_out, c_out, 3, d, groups) for d in (1, 2, 4))
        self.pool = nn.Conv2d(c_out, c_out, 1)
        self.mix = conv(4 * c_out, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        mean = F.relu(self.pool(x.mean((2, 3), keepdim=True)))
        return self.mix(torch.cat([x, *(b(x) for b in self.branches)], 1)) + mean


class Pyramid(nn.Module):
    """Top-down feature pyramid of ``width`` channels, narrowed at stride 4 to ``fine`` if given."""

    def __init__(self, channels: tuple[int, ...], width: int, fine: int | None = None) -> None:
        super().__init__()
        self.context = Context(channels[-1], width)
        self.lateral = nn.ModuleList(
            nn.Conv2d(c, w, 1)
            for c, w in zip(channels, (fine or width, width, width), strict=False)
        )
        self.narrow = nn.Conv2d(width, fine, 1) if fine else nn.Identity()
        self.smooth = nn.ModuleList(
            [nn.Identity(), conv(width, width), conv(width, width)]  # strides 4, 8, 16
        )

    def forward(self, taps: list[Tensor]) -> Tensor:
        x = self.context(taps[-1])
        for i in (2, 1, 0):
            x = self.narrow(x) if i == 0 else x
            up = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.smooth[i](self.lateral[i](taps[i]) + up)
        return x


@dataclass(frozen=True)
class Widths:
    """Channels of a ``MultiTaskNet``, which ``roadstack slim`` makes fewer.

    Attributes:
        mid: of the depthwise convolution in each block of the backbone.
        pyramid: at strides 4 to 32; fine: at stride 4 in its place, where there is a trunk.
        trunk: of one 3x3 convolution that objects and surfaces share, their own being 1x1; 0
            where each has a 3x3 one.
    """

    mid: tuple[int, ...] = MID
    pyramid: int = 64
    fine: int = 64
    trunk: int = 0


def widths_of(state: Mapping[str, Tensor]) -> Widths:
    """What the weights of a ``MultiTaskNet`` say of its channels; the usual, which are also the
    most, where they say nothing that can be."""
    usual = Widths()

    def channels(name: str, most: int) -> int:
        found = state.get(f"{name}.weight")
        told = 0 if found is None or not found.ndim or not found.numel() else found.shape[0]
        return told if 0 < told <= most else most

    blocks = (f"backbone._blocks.{i}._depthwise_conv" for i in range(len(MID)))
    return Widths(
        tuple(map(channels, blocks, MID)),
        channels("pyramid.lateral.1", usual.pyramid),
        channels("pyramid.lateral.0", usual.fine),
        channels("trunk", usual.fine) if "trunk.weight" in state else 0,
    )


class MultiTaskNet(nn.Module):
    """``base``: EfficientNet-Lite0, a feature pyramid, peak detection and two surfaces."""

    finest = STRIDE  # of what the heads look at

    def __init__(self, widths: Widths = Widths()) -> None:
        super().__init__()
        width, fine = widths.pyramid, widths.fine if widths.trunk else None
        self.width = fine or width
        self.backbone = EfficientNetLite0(widths.mid)
        self.pyramid = Pyramid(self.backbone.channels, width, fine)
        self.trunk: nn.Module = nn.Identity()
        c_in, kernel = width, 3
        if widths.trunk:
            self.trunk = nn.Conv2d(widths.fine, widths.trunk, 3, padding=1, bias=False)
            c_in, kernel = widths.trunk, 1
        self.det_stem = conv(c_in, width, kernel)
        self.box_stem = nn.Sequential(conv(width, width, groups=width), nn.Conv2d(width, width, 1))
        self.heat = nn.Conv2d(width, len(CLASSES), 1)
        self.box = nn.Conv2d(width, 4, 1)
        self.mask_stem = conv(c_in, width // 2, kernel)
        self.mask = nn.Conv2d(width // 2, len(MASKS) * (STRIDE // MASK_STRIDE) ** 2, 1)
        start_calmly(self.heat, self.box)

    def forward(self, image: Tensor) -> Output:
        """``image`` (n, 3, h, w) RGB in [-1, 1]; h and w are multiples of 32."""
        return self.answer(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """What the heads look at: (n, ``width``, h/4, w/4)."""
        return self.pyramid(self.backbone(image))

    def answer(self, x: Tensor) -> Output:
        x = self.trunk(x)
        d = self.det_stem(x)
        edges = self.box(d + self.box_stem(d))  # sharper than what tells the class
        return finish(self.heat(d), edges, self.mask(self.mask_stem(x)))
