"""``roadstack slim``: a checkpoint of fewer channels, to be trained on for a while."""

from __future__ import annotations

import argparse

from data.errors import InputError
from perception.models.multitask import MultiTaskNet
from perception.preprocess import letterbox
from perception.training.checkpoints import load_weights, save_weights
from perception.training.slim import slim
from tools.export import training_pictures
from tools.files import make_folder


def run_slim(a: argparse.Namespace) -> int:
    """Write to the file ``a.out`` what ``a.checkpoint`` needs of its channels for ``a.data``."""
    if a.out.is_dir():
        raise InputError(f"--out {a.out}: is a folder; give a file")
    if not 0 < a.most_lost < 1:
        raise InputError(f"--most-lost: expected a share between 0 and 1, given {a.most_lost:g}")
    if a.frames < 1:
        raise InputError(f"--frames: expected one or more, given {a.frames}")
    net, meta = load_weights(a.checkpoint)
    if not isinstance(net, MultiTaskNet):
        raise InputError(
            f"checkpoint {a.checkpoint}: is a '{meta['arch']}' network; only 'base' can be slimmed"
        )
    pictures = training_pictures(a.data, "--data", a.frames)
    print(f"looking at {len(pictures)} pictures; this takes about two minutes", flush=True)
    new = slim(net, [letterbox(p, a.size)[0] for p in pictures], a.most_lost)
    make_folder(a.out.parent)
    kept = {k: meta[k] for k in ("arch",)}
    save_weights(a.out, new.state_dict(), {**kept, "slimmed": a.checkpoint.name})
    before, after = (sum(p.numel() for p in n.parameters()) / 1e6 for n in (net, new))
    print(
        f"written: {a.out}, {after:.2f} million parameters of {before:.2f}; train it on from init="
    )
    return 0
