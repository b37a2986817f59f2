"""Checkpoints: weights as safetensors, the state of an unfinished run beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from data.errors import InputError
from perception.models.architectures import ARCHITECTURES, build

FORMAT = "roadstack-checkpoint-1"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name to write to; the file appears under its own only when it is whole."""
    temporary = path.with_name(path.name + ".part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_weights(path: Path, state: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write weights with their metadata, whose ``arch`` says of which network they are."""
    tensors = {k: v.detach().contiguous().cpu() for k, v in state.items()}
    head = {"format": FORMAT, "meta": json.dumps(meta, sort_keys=True)}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, head)


def load_weights(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a checkpoint into its network in evaluation mode, and its metadata.

    Raises:
        InputError: missing, not a safetensors file, or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"checkpoint {path}: no such file")
    try:
        with safe_open(path, "pt") as f:
            head = f.metadata() or {}
            state = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as e:
        raise InputError(f"checkpoint {path}: not a readable safetensors file ({e})") from e
    if head.get("format") != FORMAT:
        raise InputError(f"checkpoint {path}: not a Roadstack checkpoint ({FORMAT} expected)")
    meta = json.loads(head.get("meta", "{}"))
    arch = meta.setdefault("arch", "base")  # the only one there was at first
    if arch not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise InputError(f"checkpoint {path}: network '{arch}' is unknown; known: {known}")
    net = build(arch, len(meta.get("segmentation_classes", ())))
    try:
        net.load_state_dict(state)
    except RuntimeError as e:
        raise InputError(f"checkpoint {path}: weights do not fit the network ({e})") from e
    return net.eval(), meta


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the resumable state of a run."""
    with whole_file(path) as temporary:
        torch.save(state, temporary)
