"""The kernels that ``evaluate`` and ``compare`` score with."""

from perception.metrics.coco import KERNELS, compile_kernels

__all__ = ["KERNELS", "compile_kernels"]
