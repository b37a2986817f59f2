"""TensorRT engines from exported files: the command line for each JetPack, or built here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from data.errors import InputError

GPU_PRECISIONS = ("fp16", "int8-gpu")
_FLOAT_OPS = ("Add", "Clip", "Exp", "Mul", "Sigmoid", "Sub")  # whose rounding moves boxes or scores
_TRTEXEC = "/usr/src/tensorrt/bin/trtexec"


def float_layers(content: bytes) -> list[str]:
    """Layers behind the heads that FP16 would spoil: TensorRT 8 must be told to keep them."""
    import onnx

    from perception.onnx_graph import after_heads

    model = onnx.load_from_string(content)
    behind = set(after_heads(model))
    return [n.name for n in model.graph.node if n.op_type in _FLOAT_OPS and n.name in behind]


def trtexec_lines(
    path: Path,
    precision: str,
    layers: list[str],
    size: tuple[int, int],
    dynamic_batch: bool = False,
) -> dict[str, str]:
    """JetPack generation -> the command that builds ``path``'s engine there and times it.

    Older versions choose number formats themselves within what the flags allow, so the
    post-processing is pinned to fp32; a strongly typed network follows the file.

    Args:
        precision: 'fp16' or 'int8-gpu'; layers: by ``float_layers``.
        size: (width, height) px of the input.
    """
    flags = "--fp16" if precision == "fp16" else "--int8 --fp16"
    common = f"{_TRTEXEC} --onnx={path.name} --saveEngine={path.stem}.engine --warmUp=500"
    shape = f" --shapes=image:1x{size[1]}x{size[0]}x3" if dynamic_batch else ""
    pinned = ",".join(f"{name}:fp32" for name in layers)
    old = f"{common} {flags} --precisionConstraints=obey --layerPrecisions={pinned}"
    typed, memory = f"{common} --stronglyTyped", "--memPoolSize=workspace:1024"
    if precision == "fp16":
        names = "JetPack 5 and 6.0 (TensorRT 8.5, 8.6)", "JetPack 6.1, 6.2 and 7 (TensorRT 10)"
    else:  # layers that are not in INT8 would run in fp32 in a strongly typed network
        names = "JetPack 5 and 6 (TensorRT 8.5 to 10.3)", "JetPack 7 (TensorRT 10.13)"
    return {names[0]: f"{old} {memory}{shape}", names[1]: f"{typed} {memory}{shape}"}


def build_engine(path: Path) -> dict[str, Any]:
    """Build ``path``'s engine beside it with ``tensorrt`` and say how long that took.

    Raises:
        InputError: ``tensorrt`` is not installed, or refuses the file.
    """
    try:
        import tensorrt as trt
    except ImportError:
        raise InputError(
            "--engine: package 'tensorrt' is not installed here; run the printed trtexec line on "
            "the device itself (an engine fits only the GPU it was built on)"
        ) from None
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    kinds = trt.NetworkDefinitionCreationFlag
    bits = [getattr(kinds, k) for k in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if hasattr(kinds, k)]
    network = builder.create_network(sum(1 << int(b) for b in bits))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(path.read_bytes()):
        raise InputError(f"--engine: TensorRT {trt.__version__} refuses {path.name}: "
                         f"{parser.get_error(0)}")  # fmt: skip
    config = builder.create_builder_config()
    if not hasattr(kinds, "STRONGLY_TYPED"):
        config.set_flag(trt.BuilderFlag.FP16)
        if "int8" in path.name:
            config.set_flag(trt.BuilderFlag.INT8)
    start = time.monotonic()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise InputError(f"--engine: TensorRT {trt.__version__} could not build {path.name}")
    target = path.with_suffix(".engine")
    target.write_bytes(bytes(engine))
    return {"engine": target.name, "build_s": time.monotonic() - start, "tensorrt": trt.__version__}
