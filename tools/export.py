"""``roadstack export``: a checkpoint to an ONNX file that gives the same answers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data.errors import InputError
from data.logs import open_log
from data.synthetic.drive import random_sample
from data.types import U8
from tools.files import make_folder

_RENDERED = 12
_MAX_PICTURES = 64


def _pictures(folder: Path | None) -> list[U8]:
    if folder is None:
        return [random_sample(seed, 1280, 720).image for seed in range(_RENDERED)]
    return [f.image for f in open_log(folder, max_frames=_MAX_PICTURES)]


def run_export(a: argparse.Namespace) -> int:
    """Write ``NAME.onnx`` and ``export.json``; exit code 1 when the file answers differently."""
    from perception.export import export_checked
    from perception.training.checkpoints import load_weights

    net, meta = load_weights(a.checkpoint)
    name = a.name or a.checkpoint.stem
    if Path(name).name != name:
        raise InputError(f"--name '{name}': give a plain name without folders")
    pictures = _pictures(a.check)
    out = make_folder(a.out)
    target = out / f"{name}.onnx"
    parity = export_checked(net, a.size, meta, target, pictures, a.force)
    print(
        f"against the training code on {parity.images} pictures: boxes within "
        f"{parity.box_px:.4f} px (0.5 allowed), scores within {parity.score:.2g} (0.001), "
        f"masks equal in {100 * parity.mask_share:.3f} % (99.9)"
    )
    if not parity.passed:
        print("the file does not answer as the training code does", file=sys.stderr)
        if not a.force:
            print("nothing was written (--force writes it all the same)", file=sys.stderr)
        return 1
    print(f"written: {target} ({target.stat().st_size / 1e6:.1f} MB)")
    return 0
