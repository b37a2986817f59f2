"""What gives each pixel a class in ``evaluate``: a network, or masks written by ``predict``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.datasets import Dataset
from data.datasets.base import read_mask
from data.errors import InputError
from data.types import U8, Sample
from perception.decode import SEGMENTATION
from perception.segmenter import Segmenter, check_classes
from tools.files import inside


@dataclass(frozen=True, eq=False)
class PixelClasses:
    """What says the class of every pixel: a function of samples, and its entry in the record."""

    predict: Callable[[Sample], U8]
    about: dict[str, Any]


def written_classes(folder: Path, dataset: Dataset) -> PixelClasses | None:
    """What ``predict`` wrote of a network of pixel classes; None where it was of another kind."""
    if "segmentation" not in dataset.tasks or not (folder / SEGMENTATION).is_dir():
        return None
    return PixelClasses(_by_files(folder / SEGMENTATION, dataset), {"predictions": str(folder)})


def answered_classes(model: Segmenter, dataset: Dataset) -> PixelClasses:
    """What a network of pixel classes says of the data; InputError where those are not its own."""
    check_classes(model, dataset)
    about = {"name": model.name, "sha256": model.sha256, "input_size": model.input_size}
    return PixelClasses(lambda s: model(s.image), about)


def _by_files(folder: Path, dataset: Dataset) -> Callable[[Sample], U8]:
    """Predictions as written, ``NAME.png`` of class numbers."""
    count = len(dataset.segmentation_names)

    def predict(s: Sample) -> U8:
        path = inside(folder, str(Path(s.name).with_suffix(".png")))
        if not path.is_file():
            raise InputError(f"{path}: missing, the classes predicted for {s.name}")
        mask = read_mask(path)
        if mask.shape != s.image.shape[:2]:
            raise InputError(f"{path}: {mask.shape}, but the image is {s.image.shape[:2]}")
        if mask.max(initial=0) >= count:
            raise InputError(f"{path}: value {mask.max()}, expected classes from 0 to {count - 1}")
        return mask

    return predict
