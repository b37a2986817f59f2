"""The networks by name, and what each learns."""

from __future__ import annotations

from torch import nn

from perception.models.multitask import MultiTaskNet
from perception.models.nano import NanoNet
from perception.models.semantic import SemanticNet

_MULTITASK = ("detection", "drivable", "lane")
ARCHITECTURES: dict[str, tuple[str, ...]] = {  # name -> tasks
    "base": _MULTITASK,
    "nano": _MULTITASK,
    "semantic": ("segmentation",),
}


def build(arch: str, classes: int = 0) -> nn.Module:
    """A new network of a name above; 'base' and 'nano' give ``multitask.Output``, 'semantic'
    logits of ``classes``."""
    if arch == "semantic":
        return SemanticNet(classes)
    return MultiTaskNet() if arch == "base" else NanoNet()
