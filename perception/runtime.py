"""The network at run time: a released or exported ONNX file on ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.taxonomy import CLASSES
from data.types import U8, Detections, Surfaces
from perception.decode import OUTPUTS, decode_detections, decode_surfaces
from perception.preprocess import LETTERBOX_RULE, letterbox
from perception.tracking.calibration import Calibration, load_calibration

if TYPE_CHECKING:
    from perception.detectors import Detector

FORMAT = "roadstack-onnx-1"
DEFAULT_MODEL = "base"
RUNTIMES = {  # precision of a file -> what it is made for
    "fp32": "any",
    "fp16": "TensorRT and other GPU runtimes; on a CPU it answers alike, but slowly",
    "int8-cpu": "ONNX Runtime and OpenVINO on a CPU",
    "int8-gpu": "TensorRT",
}
# ONNX Runtime's CPU part rounds fp32 weights between rounded tensors; what a file for another
# runtime keeps in fp32 is fp32 there, and so it is where its answers are checked
AS_WRITTEN = ("WeightBiasQuantization",)


def released_models() -> dict[str, Path]:
    """Names and files of the models that come with the package."""
    folder = Path(str(resources.files("perception"))) / "weights"
    return {p.stem: p for p in sorted(folder.glob("*.onnx"))}


def find_model(model: str) -> Path:
    """Resolve a released model's name or an ONNX file's path.

    Raises:
        InputError: neither; names what is there.
    """
    released = released_models()
    if model in released:
        return released[model]
    path = Path(model)
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(f"--model {model}: is a folder; give the ONNX file in it")
    names = ", ".join(released) or "none"
    raise InputError(f"--model '{model}': no such file, and no released model ({names})")


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded network.

    Attributes:
        name: file stem; sha256: of the file's bytes, for records.
        input_size: (width, height) of the letterboxed input.
        meta: the file's own metadata.
        detector: of another project, whose objects are taken in place of the network's own.
        scores: map from scores to probabilities, read from ``NAME.scores.json`` beside the file;
            ``roadstack calibrate-scores`` fits one. The model's own scores stay as they are.
    """

    name: str
    sha256: str
    input_size: tuple[int, int]
    meta: dict[str, str]
    session: Any
    detector: Detector | None = None
    scores: Calibration | None = None

    @property
    def precision(self) -> str:
        """'fp32', 'fp16', 'int8-cpu' or 'int8-gpu'."""
        return self.meta.get("roadstack.precision", "fp32")

    def infer(self, canvas: U8) -> dict[str, NDArray]:
        """Run on a letterboxed picture (h, w, 3) uint8 BGR; outputs as in ``decode``.

        Raises:
            InputError: they are of other shapes.
        """
        answers = self.session.run(list(OUTPUTS), {"image": canvas[None]})
        out = dict(zip(OUTPUTS, answers, strict=True))
        shapes = {name: value.shape for name, value in out.items()}
        k, h, w = (*shapes["scores"][1:2], *shapes["drivable"][1:], 0, 0, 0)[:3]
        if list(shapes.values()) != [(1, k, 4), (1, k), (1, k), (1, h, w), (1, h, w)]:
            told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise InputError(f"model {self.name}: its outputs are of other shapes ({told})")
        return out

    def __call__(self, image: U8, min_score: float) -> tuple[Detections, Surfaces]:
        """From a BGR picture of any size to objects and surfaces in its own pixels."""
        canvas, scale = letterbox(image, self.input_size)
        out = self.infer(canvas)
        size = (image.shape[1], image.shape[0])
        if self.detector is not None:
            found = self.detector(image, min_score)
        else:
            found = decode_detections(out, scale, size, min_score)
        return found, decode_surfaces(out, scale, size, self.input_size)


def _check(meta: dict[str, str], session: Any, path: Path) -> tuple[int, int]:
    if meta.get("roadstack.format") != FORMAT:
        raise InputError(
            f"model {path}: not a Roadstack model (its metadata lacks '{FORMAT}'); "
            "make one with: roadstack export"
        )
    if "roadstack.segmentation_classes" in meta:
        raise InputError(
            f"model {path}: gives each pixel a class, and no objects or lanes; only evaluate and "
            "predict take it"
        )
    if meta.get("roadstack.classes") != json.dumps(list(CLASSES)):
        raise InputError(f"model {path}: its classes are not {', '.join(CLASSES)}")
    if meta.get("roadstack.letterbox") != LETTERBOX_RULE:
        raise InputError(f"model {path}: made for another letterbox rule; export it again")
    return picture_size(session, set(OUTPUTS), path)


def picture_size(session: Any, outputs: set[str], path: Path) -> tuple[int, int]:
    """(width, height) of a file's one input, a picture.

    Raises:
        InputError: it takes something else, or lacks some of ``outputs``.
    """
    inputs = [(i.name, i.type, i.shape) for i in session.get_inputs()]
    names = {o.name for o in session.get_outputs()}
    shape = inputs[0][2] if inputs else []
    fits = len(shape) == 4 and [i[:2] for i in inputs] == [("image", "tensor(uint8)")]
    fits = fits and all(isinstance(n, int) for n in shape[1:]) and shape[3] == 3
    fits = fits and (shape[0] == 1 or isinstance(shape[0], str))  # a name: the batch is open
    if not fits or not outputs <= names:
        raise InputError(
            f"model {path}: inputs {inputs} or outputs {sorted(names)} do not fit; expected one "
            f"uint8 'image' 1 x height x width x 3, and {', '.join(sorted(outputs))}"
        )
    return shape[2], shape[1]


def check_runtime(meta: dict[str, str], path: Path) -> None:
    """A file made for TensorRT is right on a CPU, but twice as slow there as fp32."""
    precision = meta.get("roadstack.precision", "fp32")
    if precision == "int8-gpu":
        raise InputError(
            f"model {path}: is {precision}, made for TensorRT, and this is ONNX Runtime on a CPU; "
            "use the fp32 or int8-cpu file"
        )


def threads_wanted(threads: int | None) -> int:
    """The number given, by default the processors at hand, at most 4.

    Raises:
        InputError: not from 1 to 256.
    """
    if threads is not None and not 1 <= threads <= 256:
        raise InputError(f"--threads {threads}: expected a number from 1 to 256")
    return threads or min(4, len(os.sched_getaffinity(0)))


def open_session(
    path: Path, threads: int | None = None,
    providers: Sequence[str] = ("CPUExecutionProvider",), any_runtime: bool = False,
) -> tuple[bytes, Any]:  # fmt: skip
    """A file's bytes, and its session on ONNX Runtime.

    Args:
        threads: default the processors at hand (at most 4).
        any_runtime: compute it as it is written, as the runtime that it is made for would.

    Raises:
        InputError: the file cannot be read or is not ONNX, or a number of threads out of range.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime as ort

    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads_wanted(threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # idle threads sleep: the other stages need the processors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        content = path.read_bytes()
        left_out = {"disabled_optimizers": AS_WRITTEN} if any_runtime else {}
        session = ort.InferenceSession(content, options, providers=list(providers), **left_out)
        for part in (*session.get_inputs(), *session.get_outputs()):
            part.name, part.shape  # noqa: B018  their text, as the metadata's, may be none
        dict(session.get_modelmeta().custom_metadata_map)
        return content, session
    except OSError as e:
        raise InputError(f"model {path}: cannot be read ({e.strerror})") from e
    except Exception as e:  # ONNX Runtime raises its own classes, all meaning a bad file here
        reason = str(e).splitlines()[0][:120]
        raise InputError(f"model {path}: not a usable ONNX file ({reason})") from e


def load_model(
    model: str = DEFAULT_MODEL, threads: int | None = None, any_runtime: bool = False
) -> Model:
    """Load a model by name or path.

    Args:
        threads: of ONNX Runtime, default the processors at hand (at most 4).
        any_runtime: load a file that is made for another runtime too, to check its answers.

    Raises:
        InputError: missing file, not ONNX, not one of ours, or made for another runtime.
    """
    path = find_model(model)
    opened = open_session(path, threads, any_runtime=any_runtime)
    found = as_model(path, *opened, any_runtime)
    return replace(found, scores=scores_beside(path))


def scores_beside(path: Path) -> Calibration | None:
    """The score map ``NAME.scores.json`` beside ``NAME.onnx``, where there is one.

    Raises:
        InputError: it is malformed.
    """
    file = path.with_suffix(".scores.json")
    return load_calibration(file) if file.is_file() else None


def as_model(path: Path, content: bytes, session: Any, any_runtime: bool = False) -> Model:
    """The model of an opened file; errors as in ``load_model``."""
    meta = dict(session.get_modelmeta().custom_metadata_map)
    size = _check(meta, session, path)
    if not any_runtime:
        check_runtime(meta, path)
    return Model(path.stem, hashlib.sha256(content).hexdigest(), size, meta, session)


def blank_input(size: tuple[int, int]) -> U8:
    """A grey canvas of the input's size, for warming up."""
    return np.full((size[1], size[0], 3), 127, np.uint8)
