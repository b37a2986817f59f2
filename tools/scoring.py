"""The kernels that ``evaluate`` and ``compare`` score with."""

from __future__ import annotations

from perception.metrics.coco import KERNELS, compile_kernels
from tools.warmup import announce_compiling

__all__ = ["KERNELS", "announce_scoring", "compile_kernels"]


def announce_scoring() -> None:
    """Tell the user that there is a wait, where one of them has to be compiled now."""
    announce_compiling(*KERNELS)
