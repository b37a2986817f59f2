"""A detector of another project as one of ours: a picture in, ``Detections`` out."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.types import F32, U8, Detections
from perception.boxes import clip_to, suppress
from perception.detectors.decoders import (
    Layout,
    decode,
    expected,
    find_layout,
    is_decoded,
    scores_of,
)
from perception.detectors.families import DECODERS, FAMILIES, Family, Placement, prepare
from perception.detectors.names import COCO, Names, names_in_metadata, read_names, to_ours
from perception.runtime import open_session

_CANDIDATES = 1000  # best boxes that go into suppression
_MOST = 300  # and that come out of it
_LARGEST_PX = 8192
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True, eq=False)
class Detector:
    """A loaded detector.

    Attributes:
        name: file stem; sha256: of the file's bytes.
        input_size: (width, height) px; layout: of its output; names: its classes and ours.
        precision: of its input, 'fp32' or 'fp16'.
    """

    name: str
    sha256: str
    input_size: tuple[int, int]
    layout: Layout
    names: Names
    precision: str
    session: Any

    @property
    def family(self) -> Family:
        return self.layout.family

    def prepare(self, image: U8) -> tuple[NDArray, Placement]:
        """A BGR picture (h, w, 3) uint8 as the network's input, and where it lies in that."""
        planes, at = prepare(image, self.family, self.input_size)
        return (planes.astype(np.float16) if self.precision == "fp16" else planes), at

    def infer(self, planes: NDArray) -> F32:
        """Run on a prepared picture; the output (1, ., .)."""
        source = self.session.get_inputs()[0].name
        return np.asarray(self.session.run(None, {source: planes})[0], np.float32)

    def decode(
        self, out: F32, at: Placement, image_size: tuple[int, int], min_score: float
    ) -> Detections:
        """Objects of our classes in px of the picture, best first, without doubles.

        Suppression is class-wise in our classes, after mapping: a lorry found as 'truck' and as
        'car' is one vehicle.
        """
        c = decode(out, self.layout, self.input_size, max(min_score, 1e-6))
        inside = (c.own_class >= 0) & (c.own_class < len(self.names.own))
        ours = np.where(inside, self.names.to_ours[np.where(inside, c.own_class, 0)], -1)
        xyxy, keep = clip_to(at.to_image(c.xyxy), image_size)
        rows = np.flatnonzero(keep & (ours >= 0) & np.isfinite(c.score))
        rows = rows[np.argsort(-c.score[rows], kind="stable")[:_CANDIDATES]]
        kept = suppress(xyxy[rows], c.score[rows], ours[rows], self.family.nms_iou)[:_MOST]
        rows = rows[kept]
        return Detections(xyxy[rows], np.minimum(c.score[rows], 1.0), ours[rows])

    def __call__(self, image: U8, min_score: float) -> Detections:
        """From a BGR picture of any size to objects in its own pixels."""
        planes, at = self.prepare(image)
        return self.decode(self.infer(planes), at, (image.shape[1], image.shape[0]), min_score)


def _size_in_metadata(meta: Mapping[str, str]) -> tuple[int, int] | None:
    """(width, height) of Ultralytics' ``imgsz``, '[height, width]'."""
    try:
        height, width = ast.literal_eval(meta["imgsz"][:100])
        return int(width), int(height)
    except (KeyError, ValueError, TypeError, SyntaxError):
        return None


def _input_size(
    where: str, session: Any, wish: tuple[int, int] | None, usual: tuple[int, int]
) -> tuple[int, int]:
    """(width, height) of the file's input, or what is asked for where it is open.

    Raises:
        InputError: the input is no picture (1, 3, height, width) of floats, or of another size.
    """
    inputs = session.get_inputs()
    shape, kind = inputs[0].shape, inputs[0].type
    if (
        len(inputs) != 1
        or len(shape) != 4
        or kind not in _FLOATS
        or (isinstance(shape[1], int) and shape[1] != 3)
    ):
        said = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise InputError(
            f"{where}: input {said}, expected one picture 1 x 3 x height x width of floats"
        )
    if isinstance(shape[0], int) and shape[0] != 1:
        raise InputError(f"{where}: made for batches of {shape[0]}; export it with a batch of 1")
    fixed = [n if isinstance(n, int) else None for n in (shape[3], shape[2])]
    width, height = (n or (wish or usual)[k] for k, n in enumerate(fixed))
    if wish is not None and wish != (width, height):
        raise InputError(
            f"{where}: takes {width}x{height} alone, --detector-size {wish[0]}x{wish[1]} was given"
        )
    if not all(32 <= n <= _LARGEST_PX for n in (width, height)):
        raise InputError(f"{where}: input of {width}x{height} px, expected 32 to {_LARGEST_PX}")
    return width, height


def _run(where: str, session: Any, size: tuple[int, int]) -> list[NDArray]:
    """All outputs on a grey picture: shows shapes that the file leaves open."""
    source = session.get_inputs()[0]
    grey = np.full((1, 3, size[1], size[0]), 0.45, _FLOATS[source.type])
    try:
        return [np.asarray(o) for o in session.run(None, {source.name: grey})]
    except Exception as e:  # ONNX Runtime raises its own classes
        reason = str(e).splitlines()[0][:120]
        raise InputError(
            f"{where}: cannot be run on a picture of {size[0]}x{size[1]} ({reason})"
        ) from e


def _layout(
    where: str, decoder: str, outputs: list[NDArray], size: tuple[int, int], classes: int | None
) -> Layout:
    """What the file's one output holds.

    Raises:
        InputError: it does not fit the decoder; says which one it fits.
    """
    shapes = " and ".join(" x ".join(map(str, o.shape)) or "a number" for o in outputs)
    layout = None
    if len(outputs) == 1:
        layout = find_layout(decoder, outputs[0].shape, size, classes)
    if layout is None:
        fits = [d for d in DECODERS if len(outputs) == 1 and d != decoder
                and find_layout(d, outputs[0].shape, size, classes)]  # fmt: skip
        hint = f"; it fits --decoder {fits[0]}" if fits else ""
        raise InputError(f"{where}: output {shapes} for an input of {size[0]}x{size[1]} is not "
                         f"that of {decoder} ({expected(decoder, size)}){hint}")  # fmt: skip
    out = np.asarray(outputs[0], np.float32)
    scores = scores_of(out, layout)
    if not np.isfinite(scores).all() or scores.min() < -1e-3 or scores.max() > 1 + 1e-3:
        raise InputError(f"{where}: its scores reach from {scores.min():.3g} to {scores.max():.3g} "
                         f"read as {decoder}, expected probabilities from 0 to 1")  # fmt: skip
    if decoder == "yolox":
        layout = replace(layout, decoded=is_decoded(out, size))
    return layout


def _names(where: str, given: tuple[str, ...] | None, layout: Layout) -> Names:
    """The classes, with COCO's names where nothing names them and there are 80.

    Raises:
        InputError: nothing names them, or there are more or fewer of them.
    """
    if given is None and layout.classes == len(COCO):
        given = COCO
    if given is None:
        count = "an unknown number of" if layout.classes is None else layout.classes
        raise InputError(
            f"{where}: {count} classes without names; give --detector-names FILE, a name a line"
        )
    if layout.classes is not None and layout.classes != len(given):
        raise InputError(f"{where}: {layout.classes} classes but {len(given)} names; is it another "
                         "decoder's, or the wrong --detector-names?")  # fmt: skip
    return to_ours(given, where)


def load_detector(
    path: Path,
    decoder: str,
    names: Path | None = None,
    size: tuple[int, int] | None = None,
    threads: int | None = None,
) -> Detector:
    """Load an ONNX detector of a common family.

    Args:
        decoder: one of ``DECODERS``.
        names: file of its classes; default the file's own metadata, or COCO's where there are 80.
        size: (width, height) px, where the file leaves its input open; default its metadata's, or
            the family's usual one.
        threads: of ONNX Runtime, default the processors at hand (at most 4).

    Raises:
        InputError: not there, not ONNX, not a detector of this family, or classes without names.
    """
    where = f"--detector {path}"
    family = next((f for f in FAMILIES if f.decoder == decoder), None)
    if family is None:
        raise InputError(f"--decoder '{decoder}': expected one of {', '.join(DECODERS)}")
    if not path.is_file():
        raise InputError(f"{where}: no such file; give an ONNX file")
    given = read_names(names) if names else None
    try:
        content, session = open_session(path, threads)
    except InputError as e:
        raise InputError(str(e).replace(f"model {path}", where, 1)) from e
    meta = dict(session.get_modelmeta().custom_metadata_map)
    if "roadstack.format" in meta:
        raise InputError(f"{where}: is a Roadstack model; give it by --model")
    if meta.get("task", "detect") != "detect":
        raise InputError(f"{where}: made for '{meta['task']}', expected a detector")
    usual = _size_in_metadata(meta) or family.size
    input_size = _input_size(where, session, size, usual)
    given = given or names_in_metadata(meta, where)
    outputs = _run(where, session, input_size)
    layout = _layout(where, decoder, outputs, input_size, len(given) if given else None)
    precision = "fp16" if session.get_inputs()[0].type == "tensor(float16)" else "fp32"
    return Detector(
        path.stem, hashlib.sha256(content).hexdigest(), input_size, layout,
        _names(where, given, layout), precision, session,
    )  # fmt: skip
