"""``roadstack render``: rendered frames with exact labels as a data set to train on."""

from __future__ import annotations

import argparse

from data.errors import InputError
from data.synthetic.dataset import write_bdd100k
from tools.files import make_folder
from tools.progress import progress_bar


def run_render(a: argparse.Namespace) -> int:
    """Write ``a.count`` views in BDD100K's layout to ``a.out``."""
    if a.count < 1 or a.seed < 0:
        raise InputError(f"--count {a.count} --seed {a.seed}: expected at least 1 and 0")
    out = make_folder(a.out)
    with progress_bar("rendering", a.count, "frame") as bar:
        write_bdd100k(out, a.count, a.seed, a.size, bar)
    print(f"{a.count} frames with boxes, drivable area and lanes: {out}")
    return 0
