"""``roadstack slim``: a checkpoint of fewer channels, to be trained on for a while."""

from __future__ import annotations

import argparse

from data.errors import InputError
from perception.models.efficientnet_lite import MID
from perception.models.multitask import MultiTaskNet
from perception.preprocess import check_size, letterbox
from perception.training.checkpoints import load_weights, save_weights
from perception.training.slim import slim
from tools.export import training_pictures
from tools.files import make_folder
from tools.progress import progress_bar


def run_slim(a: argparse.Namespace) -> int:
    """Write to the file ``a.out`` what ``a.checkpoint`` needs of its channels for ``a.data``."""
    if a.out.is_dir():
        raise InputError(f"--out {a.out}: is a folder; give a file")
    if not 0 < a.most_lost < 1:
        raise InputError(f"--most-lost: expected a share between 0 and 1, given {a.most_lost:g}")
    if a.frames < 1:
        raise InputError(f"--frames: expected one or more, given {a.frames}")
    check_size(a.size)
    net, meta = load_weights(a.checkpoint)
    if not isinstance(net, MultiTaskNet):
        raise InputError(
            f"checkpoint {a.checkpoint}: is a '{meta['arch']}' network; only 'base' can be slimmed"
        )
    pictures = training_pictures(a.data, "--data", a.frames)
    canvases = [letterbox(p, a.size)[0] for p in pictures]
    with progress_bar("slimming", len(canvases) + len(MID), "step") as bar:
        new = slim(net, canvases, a.most_lost, bar)
    make_folder(a.out.parent)
    meta = {"arch": meta["arch"], "slimmed": a.checkpoint.name}
    save_weights(a.out, new.state_dict(), meta)
    before, after = (sum(p.numel() for p in n.parameters()) / 1e6 for n in (net, new))
    print(
        f"written: {a.out}, {after:.2f} million parameters of {before:.2f}; train it on from init="
    )
    return 0
