"""Labelled data sets in their official layouts, each read as a list of ``Sample``."""

from data.datasets.base import Dataset, open_dataset

__all__ = ["Dataset", "open_dataset"]
