"""A detector of another project, as the command line names it, in place of our network's."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field, replace
from typing import Any

from data.errors import InputError
from data.taxonomy import CLASSES
from data.types import Detections, Sample
from perception.detectors import Detector, load_detector
from perception.metrics.detection import BoxTruth, evaluate_detections
from perception.runtime import Model, scores_beside

_NAMED = 5  # classes in a warning


def chosen_detector(a: argparse.Namespace, threads: int | None = None) -> Detector | None:
    """The detector that the options name, or None; ``threads`` in place of ``--threads``.

    Raises:
        InputError: an option is missing or has no use, or the file is not such a detector.
    """
    if a.detector is None:
        for option in ("decoder", "detector_names", "detector_size"):
            if getattr(a, option) is not None:
                said = "--" + option.replace("_", "-")
                raise InputError(f"{said}: is of use with --detector FILE.onnx alone")
        return None
    if a.decoder is None:
        raise InputError(f"--detector {a.detector}: say its family by --decoder")
    found = load_detector(
        a.detector, a.decoder, a.detector_names, a.detector_size, threads or a.threads
    )
    if found.names.unknown:
        some = ", ".join(found.names.unknown[:_NAMED])
        more = len(found.names.unknown) - _NAMED
        some += f" and {more} more" if more > 0 else ""
        print(
            f"warning: {a.detector}: classes left out, since it is not known what they are: {some} "
            "(NAME=OURS in --detector-names says so)",
            file=sys.stderr,
        )
    return found


def with_detector(model: Model, a: argparse.Namespace, threads: int | None = None) -> Model:
    """The model, its objects from ``--detector`` where that is given."""
    detector = chosen_detector(a, threads)
    if detector is None:
        return model
    return replace(model, detector=detector, scores=scores_beside(a.detector))


def describe(d: Detector) -> dict[str, Any]:
    """The entry of a record: which detector it was and what it can find."""
    return {
        "name": d.name,
        "sha256": d.sha256,
        "decoder": d.family.decoder,
        "size": list(d.input_size),
        "precision": d.precision,
        "finds": list(d.names.finds),
        "does_not_find": [c for c in CLASSES if c not in d.names.finds],
    }


@dataclass
class OwnObjects:
    """What our network finds on the frames that a detector is scored on."""

    truths: list[BoxTruth] = field(default_factory=list)
    found: list[Detections] = field(default_factory=list)

    def add(self, sample: Sample, found: Detections) -> None:
        self.truths.append(BoxTruth.of(sample))
        self.found.append(found)


def side_by_side(result: dict[str, Any], detector: Detector, own: OwnObjects) -> dict[str, Any]:
    """Scores of ``score_dataset`` for a detector, with those of our network's objects beside them.

    A class that the detector does not know is left out of its scores instead of counted as missed;
    ``own_detection`` has all.
    """
    if "detection" not in result:
        return result
    rows = {c: row for c, row in result["detection"].items() if c in detector.names.finds}
    ours = evaluate_detections(own.truths, own.found)
    return {**result, "detection": rows, "own_detection": ours}
