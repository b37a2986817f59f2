"""Labelled data sets in their official layouts, each read as a list of ``Sample``."""

from data.datasets.base import Boxes, Dataset, Labels, Problem, only_tasks, screen, with_names
from data.datasets.layouts import check_names, list_splits, open_dataset, recognise

__all__ = [
    "Boxes",
    "Dataset",
    "Labels",
    "Problem",
    "check_names",
    "list_splits",
    "only_tasks",
    "open_dataset",
    "recognise",
    "screen",
    "with_names",
]
