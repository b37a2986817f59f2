"""Checkpoints: weights as safetensors, the state of an unfinished run beside them."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from data.errors import InputError
from perception.models.architectures import ARCHITECTURES, build

FORMAT = "roadstack-checkpoint-1"
_MOST_CLASSES = 255  # a pixel of a mask holds a byte


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
        temporary.write_bytes(save(tensors, head))  # save_file would let nobody else read it


def load_weights(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a checkpoint into its network in evaluation mode, and its metadata.

    Raises:
        InputError: missing, not a safetensors file, or not one of ours.
    """
    state, meta = _read(Path(path))
    net = build(meta["arch"], len(meta.get("segmentation_classes", ())), state)
    own = net.state_dict()
    wrong = _unlike(own, state)
    if wrong:
        raise InputError(
            f"checkpoint {path}: weights do not fit the network '{meta['arch']}' as it is now "
            f"({wrong[0]} and {len(wrong) - 1} others); to train from the parts that do, name them "
            "in init_parts"
        )
    net.load_state_dict(state)
    return net.eval(), meta


def load_parts(path: Path, net: nn.Module, parts: tuple[str, ...]) -> None:
    """Give ``net`` those weights of a checkpoint whose names begin with one of ``parts``, such as
    'stages', whatever network the checkpoint is of.

    Raises:
        InputError: unreadable, ``net`` has no such part, or its weights do not fit.
    """
    state, _ = _read(Path(path))
    own = net.state_dict()
    for part in parts:
        if not any(name.startswith(part) for name in own):
            known = ", ".join(dict.fromkeys(name.split(".")[0] for name in own))
            raise InputError(f"init_parts: no part is named '{part}'; expected some of {known}")
    wanted = {k: v for k, v in own.items() if k.startswith(parts)}
    given = {k: v for k, v in state.items() if k in wanted}
    for name in _unlike(wanted, given)[:1]:
        found = list(given[name].shape) if name in given else "nothing"
        raise InputError(
            f"checkpoint {path}: has {found} for '{name}', expected {list(wanted[name].shape)}; "
            "leave its part out of init_parts"
        )
    net.load_state_dict(given, strict=False)


def _unlike(own: dict[str, Tensor], given: dict[str, Tensor]) -> list[str]:
    """Names that one of two sets of weights lacks, or that are of another shape there."""
    shapes = [{k: v.shape for k, v in some.items()} for some in (own, given)]
    return [k for k in {**own, **given} if shapes[0].get(k) != shapes[1].get(k)]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A checkpoint's weights and its metadata, of a known network."""
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
    meta = _metadata(head.get("meta", "{}"), path)
    arch = meta["arch"]
    if arch not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise InputError(f"checkpoint {path}: network '{arch}' is unknown; known: {known}")
    return state, meta


def _metadata(text: str, path: Path) -> dict[str, Any]:
    """The metadata of a checkpoint; its network and pixel classes are of their types."""
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise InputError(f"checkpoint {path}: metadata is not readable JSON ({e})") from e
    if not isinstance(meta, dict):
        raise InputError(f"checkpoint {path}: metadata is no table")
    if not isinstance(meta.setdefault("arch", "base"), str):  # 'base' was the only one at first
        raise InputError(f"checkpoint {path}: its metadata's 'arch' is no name")
    classes = meta.get("segmentation_classes", [])
    named = isinstance(classes, list) and all(isinstance(c, str) for c in classes)
    if not named or len(classes) > _MOST_CLASSES:
        raise InputError(
            f"checkpoint {path}: its metadata's 'segmentation_classes' are no list of names, at "
            f"most {_MOST_CLASSES}"
        )
    return meta


def average(paths: list[Path]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The mean of the checkpoints' weights ("Model soups", Wortsman et al. 2022), and metadata of
    what they share.

    Whole-number entries (counts of batches) are the first one's.

    Raises:
        InputError: fewer than two, unreadable, or of different networks, widths or pixel classes.
    """
    if len(paths) < 2:
        raise InputError(f"expected two checkpoints or more, given {len(paths)}")
    nets = [load_weights(p) for p in paths]
    shared = [{k: m.get(k) for k in ("arch", "segmentation_classes")} for _, m in nets]
    for path, meta in zip(paths[1:], shared[1:], strict=True):
        if meta != shared[0]:
            raise InputError(
                f"checkpoint {path}: of network '{meta['arch']}' or other pixel classes; expected "
                f"those of {paths[0]} ('{shared[0]['arch']}')"
            )
    states = [net.state_dict() for net, _ in nets]
    for path, state in zip(paths[1:], states[1:], strict=True):
        if _unlike(states[0], state):
            raise InputError(
                f"checkpoint {path}: has other channels than {paths[0]}; was one of them slimmed?"
            )
    mean = {
        k: torch.stack([s[k] for s in states]).mean(0) if v.is_floating_point() else v
        for k, v in states[0].items()
    }
    meta = {k: v for k, v in shared[0].items() if v is not None}
    return mean, {**meta, "mean_of": [p.name for p in paths]}


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the resumable state of a run."""
    with whole_file(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what ``save_state`` wrote.

    Raises:
        InputError: the file is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError) as e:
        raise InputError(
            f"{path}: cannot be read, so the run cannot go on; choose a new --out, with init= "
            "last.safetensors of this one to keep what it learnt"
        ) from e
    return state
