"""Detectors of other projects in our stack: pre-processing, decoding and classes by family."""

from perception.detectors.families import DECODERS
from perception.detectors.load import Detector, load_detector

__all__ = ["DECODERS", "Detector", "load_detector"]
