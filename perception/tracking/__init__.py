"""Objects over time: boxes of single frames to tracks with identity, place and velocity."""

from perception.tracking.config import TrackerConfig
from perception.tracking.tracker import Tracker, compile_kernels

__all__ = ["Tracker", "TrackerConfig", "compile_kernels"]
