"""The networks by name, and what each learns."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from perception.models.multitask import MultiTaskNet, widths_of
from perception.models.nano import NanoNet
from perception.models.semantic import SemanticNet

_MULTITASK = ("detection", "drivable", "lane")
ARCHITECTURES: dict[str, tuple[str, ...]] = {  # name -> tasks
    "base": _MULTITASK,
    "nano": _MULTITASK,
    "semantic": ("segmentation",),
}


def build(arch: str, classes: int = 0, state: Mapping[str, Tensor] | None = None) -> nn.Module:
    """A new network of a name above; 'base' and 'nano' give ``multitask.Output``, 'semantic'
    logits of ``classes``. A 'base' has as many channels as the weights ``state`` are for."""
    if arch == "semantic":
        return SemanticNet(classes)
    return MultiTaskNet(widths_of(state or {})) if arch == "base" else NanoNet()
