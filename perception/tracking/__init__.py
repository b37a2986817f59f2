"""Objects over time: boxes of single frames to tracks with identity, place and velocity."""

from perception.tracking.tracker import Tracker, TrackerConfig

__all__ = ["Tracker", "TrackerConfig"]
