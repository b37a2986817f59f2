"""How a planned path lies on a picture's drivable surface, labelled or predicted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.types import F64, U8, Plan, Scene

STEP_M = 0.25
_ROAD = 0.5  # probability from which on a pixel is road or a line on it


def labels_along(plan: Plan, camera: Camera, label: U8) -> tuple[F64, U8]:
    """(n, 2) pixels every ``STEP_M`` of the path and the label there; 255 out of the picture."""
    if len(plan.x_m) < 2:
        return np.zeros((0, 2)), np.zeros(0, np.uint8)
    s = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(plan.x_m), np.diff(plan.y_m)))])
    at = np.arange(STEP_M / 2, s[-1], STEP_M)
    xyz = np.column_stack([np.interp(at, s, plan.x_m), np.interp(at, s, plan.y_m), 0 * at])
    pixels = camera.pixels_from_vehicle(xyz)
    height, width = label.shape
    with np.errstate(invalid="ignore"):
        ok = np.all((pixels > -0.5) & (pixels < (width - 0.5, height - 0.5)), axis=1)
    ok = np.asarray(ok)
    index = np.round(np.where(ok[:, None], pixels, 0.0)).astype(int)
    return pixels, np.where(ok, label[index[:, 1], index[:, 0]], 255).astype(np.uint8)


def on_bonnet(pixels: F64, value: U8, label: U8) -> NDArray[np.bool_]:
    """(n,) which places of a path, before it first meets labelled road, have none below them."""
    out = np.zeros(len(value), np.bool_)
    reach = round(0.05 * label.shape[1])
    for i in range(int((value == 1).argmax()) if (value == 1).any() else len(value)):
        if value[i] == 0:
            u, v = round(pixels[i, 0]), round(pixels[i, 1])
            rows: NDArray[np.bool_] = (label[:, max(0, u - reach) : u + reach + 1] == 1).any(axis=1)
            out[i] = rows.any() and not rows[v:].any()
    return out


def predicted_share(plan: Plan, scene: Scene) -> float | None:
    """Share of the path that lies where the network sees drivable area or lane lines.

    It counts what is in the picture, from where the visible road begins (see ``on_bonnet``); None
    where nothing is, or the scene was made without a look at the picture.
    """
    road = (scene.surfaces.drivable > _ROAD) | (scene.surfaces.lane > _ROAD)
    if not road.any():
        return None
    height, width = road.shape
    label = road.astype(np.uint8)
    pixels, value = labels_along(plan, scene.camera.scaled_to(width, height), label)
    off = (value == 0) & ~on_bonnet(pixels, value, label)
    known = int((value == 1).sum() + off.sum())
    return float((value == 1).sum() / known) if known else None
