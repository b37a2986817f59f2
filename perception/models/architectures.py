"""The networks by name; all take and give the same, see ``multitask.Output``."""

from __future__ import annotations

from torch import nn

from perception.models.multitask import MultiTaskNet
from perception.models.nano import NanoNet

ARCHITECTURES: dict[str, type[nn.Module]] = {"base": MultiTaskNet, "nano": NanoNet}
