"""The one set of object classes, and every data set's map onto it.

A name that maps to ``None`` is known but not one of our objects (skipped); a name that is
missing from a table is unknown, and the readers say so.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache

CLASSES: tuple[str, ...] = ("vehicle", "person", "two_wheeler", "traffic_light", "traffic_sign")
CLASS_ID: dict[str, int] = {name: i for i, name in enumerate(CLASSES)}

TASKS: tuple[str, ...] = ("detection", "drivable", "lane", "segmentation")

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

# The ten classes of det_20 in their order.
BDD100K_NAMES: tuple[str, ...] = (
    "pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    "traffic light", "traffic sign",
)  # fmt: skip
# The same as the releases of 2018 call them.
BDD100K_2018_NAMES: tuple[str, ...] = (
    "person", "rider", "car", "truck", "bus", "train", "motor", "bike",
    "traffic light", "traffic sign",
)  # fmt: skip
# Objects that the annotators could not name; the benchmark ignores their areas.
BDD100K_UNSURE: tuple[str, ...] = ("other person", "other vehicle", "trailer")

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

# Names met in COCO, YOLO and VOC sets of people's own, compared by ``plain_name``.
_COMMON_OURS: dict[str, tuple[str, ...]] = {
    "vehicle": (
        "vehicle", "car", "cars", "truck", "bus", "train", "van", "suv", "lorry", "pickup",
        "trailer", "caravan", "tram", "taxi", "minibus", "auto", "autorickshaw", "tractor",
        "other vehicle", "ambulance", "police car", "fire truck", "motor vehicle", "large vehicle",
        "vehicle fallback",
    ),
    "person": (
        "person", "people", "pedestrian", "pedestrians", "rider", "cyclist", "bicyclist",
        "motorcyclist", "person sitting", "other person", "child", "adult", "man", "woman",
    ),
    "two_wheeler": (
        "two wheeler", "bicycle", "bike", "motorcycle", "motorbike", "motor", "motobike", "scooter",
        "moped",
    ),
    "traffic_light": ("traffic light", "traffic lights", "trafficlight", "traffic signal"),
    "traffic_sign": ("traffic sign", "traffic signs", "trafficsign", "road sign"),
}  # fmt: skip
COMMON: dict[str, str | None] = {n: ours for ours, names in _COMMON_OURS.items() for n in names}
# One kind of sign or light among many: its boxes are kept, but the class does not count as
# labelled by it, since the other kinds are not.
PARTIAL: dict[str, str] = {
    "stop sign": "traffic_sign",
    "speed limit": "traffic_sign",
    "yield sign": "traffic_sign",
    "red light": "traffic_light",
    "green light": "traffic_light",
}
# Known, and none of our objects: COCO's and Pascal VOC's other names.
COMMON |= dict.fromkeys(
    (
        "airplane", "aeroplane", "boat", "fire hydrant", "parking meter", "bench", "bird", "cat",
        "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack",
        "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball",
        "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket",
        "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
        "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair",
        "couch", "sofa", "potted plant", "pottedplant", "bed", "dining table", "diningtable",
        "toilet", "tv", "tvmonitor", "laptop", "mouse", "remote", "keyboard", "cell phone",
        "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
        "scissors", "teddy bear", "hair drier", "toothbrush", "building", "tree", "pole", "road",
        "sky", "animal", "misc", "dontcare", "dont care", "ignore", "ignored", "void",
    )
)  # fmt: skip


def plain_name(name: str) -> str:
    """A class name without case, '_' and '-': 'Traffic_Light' is 'traffic light'."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def common_classes(names: Iterable[str]) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Map a set's own class names onto ours.

    Returns the map of those that are known, and our classes that the names label completely.
    """
    table: dict[str, str | None] = {}
    for name in names:
        plain = plain_name(name)
        if plain in COMMON or plain in PARTIAL:
            table[name] = PARTIAL.get(plain, COMMON.get(plain))
    whole = {ours for n, ours in table.items() if plain_name(n) not in PARTIAL}
    return table, tuple(c for c in CLASSES if c in whole)


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known class name most like ``name``, of the set's own or the common ones."""
    return _nearest(name, tuple(known))


@lru_cache(maxsize=1024)  # a set may hold a million boxes of one unknown class
def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    table = {plain_name(k): k for k in (*COMMON, *PARTIAL, *known)}
    near = difflib.get_close_matches(plain_name(name), table, 1, 0.7)
    return table[near[0]] if near else None


# Mask values: 1 belongs to the surface, 0 does not, 255 is unknown.
IDD_LITE_DRIVABLE: dict[int, int] = {0: 1, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 255: 255}
IDD_LITE_NAMES: tuple[str, ...] = (
    "drivable", "non-drivable", "living thing", "vehicle", "roadside object", "far object", "sky",
)  # fmt: skip
CAMVID_NAMES: tuple[str, ...] = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
CAMVID_DRIVABLE: dict[int, int] = {i: int(n == "road") for i, n in enumerate(CAMVID_NAMES)} | {
    11: 255
}
