"""A network that gives each pixel a class, at run time: an exported ONNX file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from data.errors import InputError
from data.types import U8
from perception.decode import SEGMENTATION, decode_segmentation
from perception.preprocess import LETTERBOX_RULE, letterbox
from perception.runtime import (
    FORMAT,
    Model,
    as_model,
    check_runtime,
    find_model,
    open_session,
    picture_size,
)


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A loaded network of pixel classes; fields as in ``runtime.Model``.

    Attributes:
        classes: name of each class.
    """

    name: str
    sha256: str
    input_size: tuple[int, int]
    classes: tuple[str, ...]
    meta: dict[str, str]
    session: Any

    def infer(self, canvas: U8) -> dict[str, Any]:
        """Run on a letterboxed picture (h, w, 3) uint8 BGR: ``segmentation`` (1, h, w)."""
        return {SEGMENTATION: self.session.run([SEGMENTATION], {"image": canvas[None]})[0]}

    def __call__(self, image: U8) -> U8:
        """From a BGR picture (h, w, 3) of any size to its pixels' classes (h, w) uint8."""
        canvas, scale = letterbox(image, self.input_size)
        return decode_segmentation(self.infer(canvas), scale, (image.shape[1], image.shape[0]))


def load_any(
    model: str, threads: int | None = None, any_runtime: bool = False
) -> Model | Segmenter:
    """Load a file of either kind; arguments and errors as in ``runtime.load_model``."""
    path = find_model(model)
    content, session = open_session(path, threads, any_runtime=any_runtime)
    meta = dict(session.get_modelmeta().custom_metadata_map)
    classes = meta.get("roadstack.segmentation_classes")
    if meta.get("roadstack.format") != FORMAT or classes is None:
        return as_model(path, content, session, any_runtime)
    if meta.get("roadstack.letterbox") != LETTERBOX_RULE:
        raise InputError(f"model {path}: made for another letterbox rule; export it again")
    size = picture_size(session, {SEGMENTATION}, path)
    if not any_runtime:
        check_runtime(meta, path)
    try:
        names = tuple(map(str, json.loads(classes)))
    except (ValueError, TypeError, RecursionError) as e:
        raise InputError(f"model {path}: its list of classes cannot be read ({e})") from e
    sha256 = hashlib.sha256(content).hexdigest()
    return Segmenter(path.stem, sha256, size, names, meta, session)


def check_classes(model: Segmenter, dataset: Any) -> None:
    """InputError unless ``dataset`` labels every pixel with the classes that ``model`` knows."""
    names = tuple(getattr(dataset, "segmentation_names", ()))
    if "segmentation" not in dataset.tasks or names != model.classes:
        have = f"has {', '.join(names)}" if names else "does not label pixels with classes"
        ours = ", ".join(model.classes)
        raise InputError(f"model {model.name}: gives each pixel one of {ours}; the data {have}")
