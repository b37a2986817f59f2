"""The one set of object classes, and every data set's map onto it.

A name that maps to ``None`` is known but not one of our objects (skipped); a name that is
missing from a table is unknown, and the readers say so.
"""

from __future__ import annotations

CLASSES: tuple[str, ...] = ("vehicle", "person", "two_wheeler", "traffic_light", "traffic_sign")
CLASS_ID: dict[str, int] = {name: i for i, name in enumerate(CLASSES)}

TASKS: tuple[str, ...] = ("detection", "drivable", "lane")

BDD100K: dict[str, str | None] = {
    "car": "vehicle",
    "truck": "vehicle",
    "bus": "vehicle",
    "train": "vehicle",
    "trailer": "vehicle",
    "other vehicle": "vehicle",
    "pedestrian": "person",
    "person": "person",
    "other person": "person",
    "rider": "person",
    "bicycle": "two_wheeler",
    "bike": "two_wheeler",
    "motorcycle": "two_wheeler",
    "motor": "two_wheeler",
    "traffic light": "traffic_light",
    "traffic sign": "traffic_sign",
}

CARLA: dict[str, str | None] = {
    "vehicle": "vehicle",
    "bike": "two_wheeler",
    "motobike": "two_wheeler",
    "traffic_light": "traffic_light",
    "traffic_sign": "traffic_sign",
}
# Persons walk through the CARLA frames without labels, so the class is unknown there.
CARLA_LABELLED: tuple[str, ...] = ("vehicle", "two_wheeler", "traffic_light", "traffic_sign")

KITTI: dict[str, str | None] = {
    "Car": "vehicle",
    "Van": "vehicle",
    "Truck": "vehicle",
    "Tram": "vehicle",
    "Pedestrian": "person",
    "Person": "person",
    "Person_sitting": "person",
    "Cyclist": "person",
    "Misc": None,
    "DontCare": None,
}
# A KITTI 'Cyclist' box spans rider and bicycle; lights and signs are not labelled.
KITTI_LABELLED: tuple[str, ...] = ("vehicle", "person")

# Mask values: 1 belongs to the surface, 0 does not, 255 is unknown.
IDD_LITE_DRIVABLE: dict[int, int] = {0: 1, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 255: 255}
CAMVID_NAMES: tuple[str, ...] = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
CAMVID_DRIVABLE: dict[int, int] = {i: int(n == "road") for i, n in enumerate(CAMVID_NAMES)} | {
    11: 255
}
