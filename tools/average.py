"""``roadstack average``: one checkpoint with the mean weights of several.

Fine-tuned descendants of one network lie in one valley of the loss, and their mean is often better
than each ("Model soups", Wortsman et al. 2022); it costs nothing at run time.
"""

from __future__ import annotations

import argparse

from data.errors import InputError
from perception.training.checkpoints import average, save_weights
from tools.files import make_folder


def run_average(a: argparse.Namespace) -> int:
    """Write the mean of ``a.checkpoints`` to the file ``a.out``."""
    if a.out.is_dir():
        raise InputError(f"--out {a.out}: is a folder; give a file")
    state, meta = average(a.checkpoints)
    make_folder(a.out.parent)
    save_weights(a.out, state, meta)
    print(f"written: {a.out}, the mean of {len(a.checkpoints)} checkpoints")
    return 0
