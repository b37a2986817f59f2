"""The state of a running replay as JSON, and back: numbers, arrays and our own small objects.

Reading one never runs code of the file: only the classes named here are made, by setting their
attributes. Floats and arrays come back bit for bit.
"""

from __future__ import annotations

import base64
import importlib
from collections import Counter, deque
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Literal

import numpy as np

# where a class that may stand in a snapshot is defined; nothing else is made
_MODULES = {
    "Camera": "data.camera",
    "Plan": "data.types",
    "PlanStatus": "data.types",
    "Points": "perception.flow",
    "Turn": "perception.own_motion",
    "_Filtered": "perception.own_motion",
    "EgoGuess": "perception.tracking.ego",
    "BoxState": "perception.tracking.motion",
    "GroundState": "perception.tracking.ground",
    "_Table": "perception.tracking.tracker",
    "HorizonConfig": "perception.horizon",
    "VanishingPoint": "perception.horizon",
    "VanishingPointFilter": "perception.horizon",
    "Curve": "planning.smoothing",
    "Fused": "planning.fusion",
    "_Memory": "planning.planner",
    "_Kept": "planning.fallback",
    "Histogram": "tools.tally",
    "Tally": "tools.tally",
}


def encode(value: Any) -> Any:
    """A value as JSON can hold it.

    Raises:
        TypeError: it holds an object of a class that is not known here.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Enum):
        return {"!": "enum", "class": _known(type(value)), "value": value.value}
    if isinstance(value, np.generic):
        return {"!": "scalar", "array": encode(np.asarray(value))}
    if isinstance(value, np.ndarray):
        # sums may depend on how an array lies in memory
        order: Literal["F", "C"] = "F" if value.flags.fnc else "C"
        data = base64.b64encode(value.tobytes(order)).decode("ascii")
        shape = list(value.shape)
        return {
            "!": "array",
            "dtype": value.dtype.str,
            "shape": shape,
            "order": order,
            "data": data,
        }
    if isinstance(value, deque):
        return {"!": "deque", "max": value.maxlen, "items": [encode(v) for v in value]}
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {"!": kind, "items": [encode(v) for v in value]}
    if isinstance(value, dict):
        kind = "counter" if isinstance(value, Counter) else "dict"
        return {"!": kind, "items": [[encode(k), encode(v)] for k, v in value.items()]}
    name = _known(type(value))
    return {"!": "object", "class": name, "fields": {k: encode(v) for k, v in vars(value).items()}}


def _known(cls: type) -> str:
    if _MODULES.get(cls.__name__) != cls.__module__:
        raise TypeError(f"snapshot: {cls.__module__}.{cls.__name__} is not known to it")
    return cls.__name__


def decode(value: Any) -> Any:
    """The value that was encoded.

    Raises:
        ValueError, KeyError, TypeError: it is no such thing, or of a class that is not known.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = value["!"]
    if kind == "array":
        flat = np.frombuffer(base64.b64decode(value["data"]), np.dtype(value["dtype"]))
        return flat.reshape(value["shape"], order=value["order"]).copy("K")
    if kind == "scalar":
        return decode(value["array"])[()]
    if kind == "enum":
        return _class(value["class"])(value["value"])
    if kind == "object":
        return _made(value["class"], {str(k): decode(v) for k, v in value["fields"].items()})
    if kind in ("dict", "counter"):
        items = {decode(k): decode(v) for k, v in value["items"]}
        return Counter(items) if kind == "counter" else items
    items_of = [decode(v) for v in value["items"]]
    if kind == "deque":
        return deque(items_of, maxlen=value["max"])
    return {"tuple": tuple, "list": list}[kind](items_of)


def _made(name: str, values: dict[str, Any]) -> Any:
    cls = _class(name)
    if is_dataclass(cls):
        lacks = {f.name for f in fields(cls)} - set(values)
        if lacks:
            raise ValueError(f"{name} without {min(lacks)}: written by another version")
    made = object.__new__(cls)
    vars(made).update(values)
    return made


def _class(name: str) -> Any:
    return getattr(importlib.import_module(_MODULES[name]), name)
