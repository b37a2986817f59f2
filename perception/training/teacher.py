"""The teacher's network at the speed that a training has to wait for."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from perception.models.multitask import Output


class Told(NamedTuple):
    """A teacher's answer, as ``Output``, and ``features`` (n, c, h, w), what its heads look at."""

    heat: Tensor
    box: Tensor
    mask: Tensor
    features: Tensor

    @property
    def answer(self) -> Output:
        return Output(self.heat, self.box, self.mask)


Teacher = Callable[[Tensor], Told]
_EXAMPLE_PX = 64


def ready_teacher(net: nn.Module, device: torch.device, bf16: bool = False) -> Teacher:
    """A network that answers alone and learns nothing, of pictures (n, 3, h, w) RGB in [-1, 1].

    Norms are folded into the convolutions. In float32 on a CPU ONNX Runtime runs it, in less than
    half of PyTorch's time for a network of depthwise convolutions; where OpenVINO is installed and
    ``bf16`` allowed it does, in less than half of that.
    """
    folded: nn.Module = fuse(_Telling(net).eval()).requires_grad_(False)
    if device.type == "cpu" and next(folded.parameters()).dtype == torch.float32:
        if bf16 and find_spec("openvino") is not None:
            return _through_openvino(folded)
        return _through_onnxruntime(folded)
    on_device: nn.Module = folded.to(device)
    return on_device.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class _Telling(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, rgb: Tensor) -> Told:
        x = self.net.features(rgb)  # type: ignore[operator]
        answer: Output = self.net.answer(x)  # type: ignore[operator]
        return Told(answer.heat, answer.box, answer.mask, x)


def _exported(net: nn.Module) -> bytes:
    """The network as an ONNX file for pictures of any number and size."""
    axes = {k: {0: "n", 2: "h", 3: "w"} for k in ("image", *Told._fields)}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "teacher.onnx"
        torch.onnx.export(
            net, (torch.zeros(1, 3, _EXAMPLE_PX, _EXAMPLE_PX),), str(path), input_names=["image"],
            output_names=list(Told._fields), opset_version=17, dynamo=False, dynamic_axes=axes,
        )  # fmt: skip
        return path.read_bytes()


def _through_onnxruntime(net: nn.Module) -> Teacher:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # threads that wait busily would take the cores from the student's
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        _exported(net), options, providers=["CPUExecutionProvider"]
    )

    def answer(rgb: Tensor) -> Told:
        found = session.run(Told._fields, {"image": rgb.contiguous().numpy()})
        return Told(*map(torch.from_numpy, found))

    return answer


def _through_openvino(net: nn.Module) -> Teacher:
    """In bfloat16; made ready anew for pictures of another number or size than the last."""
    import openvino

    core, content = openvino.Core(), _exported(net)
    ready: dict[tuple[int, ...], Any] = {}
    options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "bf16"}

    def answer(rgb: Tensor) -> Told:
        shape = tuple(rgb.shape)
        if shape not in ready:
            ready.clear()
            model = core.read_model(content)
            model.reshape(list(shape))
            ready[shape] = core.compile_model(model, "CPU", options)
        found = ready[shape]({"image": rgb.contiguous().numpy()})
        return Told(*(torch.from_numpy(found[k].copy()) for k in range(len(Told._fields))))

    return answer
