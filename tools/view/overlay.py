"""One frame with everything that was seen and planned drawn on it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from data.types import U8, CostGrid, Frame, Plan, Scene, Tracks
from tools.view.birdseye import draw_birdseye
from tools.view.draw import WHITE, Box, class_style, draw_surfaces, text_width_px
from tools.view.marks import Label, outline_boxes, put_labels
from tools.view.ribbon import draw_ribbon
from tools.view.statusbar import bar_height_px, draw_status, text_size_px

_INSET_SHARE, _INSET_MIN_PX, _INSET_MAX_SHARE = 0.28, 175, 0.46
_INSET_ASPECT = 0.72  # width over height
_COASTING_S = 0.05  # a track not seen for longer is drawn dashed


def overlay_size_px(width_px: int, height_px: int) -> tuple[int, int]:
    """Width and height of what ``draw_overlay`` returns for an image of this size."""
    return width_px, height_px + bar_height_px(height_px)


def draw_overlay(
    frame: Frame,
    scene: Scene | None,
    plan: Plan,
    grid: CostGrid | None,
    vehicle_width_m: float,
    status_text: Sequence[str] = (),
    *,
    faults: Sequence[str] = (),
    cruise_mps: float | None = None,
    inset: str = "right",
    canvas: U8 | None = None,
) -> U8:
    """Draw surfaces, lanes, path, objects and a view from above; the frame is left as it is.

    Args:
        scene: what was seen, None if perception failed; grid: for the view from above.
        plan: a ribbon of the vehicle's width, coloured by its speed over ``cruise_mps`` (over
            the plan's own highest speed if None).
        status_text: further short facts for the status strip; faults: shown there in red.
        inset: corner of the view from above, 'right', 'left', or 'none'.
        canvas: an earlier picture that may be drawn over, where it has the right size: new memory
            costs as much as copying the frame.

    Returns:
        (h + strip, w, 3) uint8 BGR, see ``overlay_size_px``: the status strip is added below.
    """
    height, width = frame.image.shape[:2]
    corner = _inset_box(width, height, inset)
    shape = height + bar_height_px(height), width, 3
    out = np.empty(shape, np.uint8) if canvas is None or canvas.shape != shape else canvas
    image = out[:height]
    if scene is None:
        image[:] = frame.image
    else:
        draw_surfaces(np.ascontiguousarray(frame.image), image, scene.surfaces)
        _draw_scene(image, scene, plan, vehicle_width_m, cruise_mps, [corner] if corner else [])
    if corner:
        left, top, right, bottom = corner
        size = right - left, bottom - top
        image[top:bottom, left:right] = draw_birdseye(grid, scene, plan, size, vehicle_width_m)
        cv2.rectangle(image, (left - 1, top - 1), (right, bottom), WHITE, 1)
    draw_status(out[height:], frame, scene, plan, status_text, faults)
    return out


def _draw_scene(
    image: U8, scene: Scene, plan: Plan, width_m: float, cruise_mps: float | None, taken: list[Box]
) -> None:
    camera, size = scene.camera, (image.shape[1], image.shape[0])
    if (camera.width_px, camera.height_px) != size:
        camera = camera.scaled_to(*size)
    draw_ribbon(image, camera, plan, width_m, cruise_mps)
    _draw_tracks(image, scene.tracks, taken)


def _inset_box(width: int, height: int, inset: str) -> Box | None:
    """Where the view from above goes; None where it is not wanted or there is no room."""
    if inset not in ("right", "left", "none"):
        raise ValueError(f"inset: expected 'right', 'left' or 'none', given {inset!r}")
    tall = round(max(_INSET_SHARE * height, min(_INSET_MIN_PX, _INSET_MAX_SHARE * height)))
    wide = round(_INSET_ASPECT * tall)
    margin = max(4, round(0.014 * height))
    if inset == "none" or wide + 2 * margin > 0.5 * width or tall < 60:
        return None
    left = margin if inset == "left" else width - margin - wide
    return left, margin, left + wide, margin + tall


def _draw_tracks(image: U8, tracks: Tracks, taken: list[Box]) -> None:
    """Boxes, far ones first, then labels, near ones first, where they cover no other label."""
    height, width = image.shape[:2]
    boxes = np.where(np.abs(tracks.xyxy) < 1e6, tracks.xyxy, np.nan)
    finite = ~np.isnan(boxes.sum(axis=1))
    limits = np.array([width, height, width, height]) + 50  # what lies outside is not drawn
    boxes = np.clip(np.where(finite[:, None], boxes, -1), -50, limits).round().astype(int)
    x1, y1, x2, y2 = boxes.T
    shown = finite & (x2 > 0) & (y2 > 0) & (x1 < width) & (y1 < height) & (x2 > x1) & (y2 > y1)
    order = np.argsort(y2 + (x2 - x1), kind="stable")
    order = order[shown[order]]
    colours = [class_style(c)[0] for c in tracks.class_id[order].tolist()]
    coasting = tracks.since_update_s[order] > _COASTING_S
    outline_boxes(image, boxes[order], colours, coasting, max(1, round(height / 360)))
    _draw_labels(image, tracks, boxes, order[::-1], taken)


def _draw_labels(
    image: U8, tracks: Tracks, boxes: NDArray[np.int64], order: NDArray[np.intp], taken: list[Box]
) -> None:
    distances = np.hypot(*tracks.position_m.T)[order].tolist()
    ids, classes = tracks.track_id[order].tolist(), tracks.class_id[order].tolist()
    boxes = boxes[order]
    labels = [
        _label(len(image), c, f"#{number}", far, box[2] - box[0], box[3] - box[1])
        for c, number, far, box in zip(classes, ids, distances, boxes.tolist(), strict=True)
    ]
    put_labels(image, labels, boxes, taken)


def _label(
    height: int, class_id: int, number: str, distance_m: float, wide: int, tall: int
) -> Label:
    """A track's label: the longest that is not much wider than its box."""
    small = tall < 0.09 * height
    size = max(11, round((0.78 if small else 0.92) * text_size_px(height)))
    colour, name = class_style(class_id)
    far = f" {distance_m:.0f} m" if math.isfinite(distance_m) else ""
    room = 1.8 * max(wide, round(3.2 * size))
    texts = [f"{name} {number}{far}", f"{number}{far}", number][1 if small else 0 :]
    text = next((t for t in texts if text_width_px(t, size) <= room), number)
    return Label(text, size, colour)
