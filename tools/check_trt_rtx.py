"""Does NVIDIA's parser take these files? Runs in an environment of its own, without a GPU.

    python -m venv trt && trt/bin/pip install tensorrt-rtx
    trt/bin/python tools/check_trt_rtx.py NAME.onnx NAME.fp16.onnx NAME.int8-gpu.onnx

Each file is parsed and an engine is built from it ahead of time. Imports nothing of ours: that
environment holds ``tensorrt-rtx`` alone. Exit code 1 when a file is refused.
"""

from __future__ import annotations

import sys
from pathlib import Path


def check(path: Path) -> tuple[bool, str]:
    """Whether the parser and the builder take ``path``, and what was made or what was wrong."""
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)  # strongly typed: the file's own number formats
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(path.read_bytes()):
        errors = [str(parser.get_error(i)).strip() for i in range(parser.num_errors)]
        return False, " ".join("; ".join(errors).split())[:300]
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        image = network.get_input(i)
        shape = tuple(1 if n < 0 else n for n in image.shape)
        profile.set_shape(image.name, shape, shape, shape)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        return False, f"{network.num_layers} layers parsed, but no engine could be built"
    return True, f"{network.num_layers} layers, engine of {engine.nbytes / 1e6:.1f} MB"


def main(paths: list[str]) -> int:
    """Print a line a file; 0 when all are accepted, 1 when one is not, 2 for a wrong call."""
    if not paths:
        print("usage: check_trt_rtx.py FILE.onnx ...", file=sys.stderr)
        return 2
    try:
        import tensorrt_rtx as trt
    except ImportError:
        print("package 'tensorrt-rtx' is not installed in this environment", file=sys.stderr)
        return 2
    refused = 0
    for name in paths:
        path = Path(name)
        ok, text = check(path) if path.is_file() else (False, "no such file")
        refused += not ok
        print(f"{'accepted' if ok else 'REFUSED'}: {path.name}: {text}")
    print(f"TensorRT-RTX {trt.__version__}: {len(paths) - refused} of {len(paths)} accepted")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
