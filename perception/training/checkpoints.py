"""Checkpoints: weights as safetensors, the state of an unfinished run beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from data.errors import InputError
from perception.models.multitask import MultiTaskNet

FORMAT = "roadstack-checkpoint-1"


def save_weights(path: Path, state: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write weights with their metadata; the file appears only when it is whole."""
    temporary = path.with_name(path.name + ".part")
    tensors = {k: v.detach().contiguous().cpu() for k, v in state.items()}
    save_file(tensors, temporary, {"format": FORMAT, "meta": json.dumps(meta, sort_keys=True)})
    os.replace(temporary, path)


def load_weights(path: Path) -> tuple[MultiTaskNet, dict[str, Any]]:
    """Read a checkpoint into a network in evaluation mode, and its metadata.

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
    net = MultiTaskNet()
    try:
        net.load_state_dict(state)
    except RuntimeError as e:
        raise InputError(f"checkpoint {path}: weights do not fit the network ({e})") from e
    return net.eval(), json.loads(head.get("meta", "{}"))


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the resumable state of a run; the file appears only when it is whole."""
    temporary = path.with_name(path.name + ".part")
    torch.save(state, temporary)
    os.replace(temporary, path)
