"""Which drive each frame of a labelled set is from, as far as its layout or file names say."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from data.datasets import Dataset

_OF_NAME = {
    # BDD100K: clips of one ride share the first half of their names
    "bdd100k": re.compile(r"([0-9a-f]{8})-[0-9a-f]{8}\."),
    # CamVid: 0001TP_006690, Seq05VD_f00000
    "camvid": re.compile(r"([0-9A-Za-z]+)_f?\d+\."),
}


def frame_drives(dataset: Dataset) -> list[str]:
    """The drive of every frame by name, '' where it is not known; all '' where any is unknown.

    KITTI tracking says it itself; IDD has a folder for each; BDD100K and CamVid name rides and
    sequences in their files. A folder of frames of another layout may hold anything.
    """
    names = [_drive_of(dataset, i) for i in range(len(dataset))]
    return names if all(names) else [""] * len(names)


def _drive_of(dataset: Dataset, i: int) -> str:
    path = PurePosixPath(dataset.names[i])
    if dataset.layout == "kitti_tracking" and dataset.frame_attributes:
        return str(dataset.frame_attributes(i)["drive"])
    if dataset.layout == "idd":
        return str(path.parent) if path.parent.name else ""
    pattern = _OF_NAME.get(dataset.layout)
    found = pattern.match(path.name) if pattern else None
    return found.group(1) if found else ""
