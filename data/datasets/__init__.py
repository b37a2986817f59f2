"""Labelled data sets in their official layouts, each read as a list of ``Sample``."""

from data.datasets.base import Dataset, only_tasks, open_dataset

__all__ = ["Dataset", "only_tasks", "open_dataset"]
