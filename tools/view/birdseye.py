"""The grid, objects and path from above."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from data.types import F64, U8, Cell, CostGrid, Plan, Scene, Tracks
from tools.view.draw import (
    DIM,
    INK,
    PATH,
    STOP,
    WHITE,
    Box,
    Colour,
    class_style,
    overlap,
    text_width_px,
)
from tools.view.marks import Text, put_texts

_BEHIND_M = 4.0
_AHEAD_M = 50.0  # without a grid
_MAX_AHEAD_M = 50.0
_REAR_M, _FRONT_M = -0.9, 3.4  # the own vehicle about its rear axle
# length and width drawn, by class
_SIZES_M = ((4.4, 1.8), (0.6, 0.6), (1.8, 0.7), (0.4, 0.4), (0.4, 0.4))
_SHIFT = 4
_PIECE_PX = 4.0  # of the path, at least
_BACKGROUND = (30, 25, 22)
_RING: Colour = (112, 101, 92)
_KINDS = {
    Cell.UNKNOWN: (44, 36, 32),
    Cell.ROAD: (108, 94, 84),
    Cell.OFF_ROAD: (50, 58, 76),
    Cell.LANE_LINE: (60, 208, 240),
    Cell.OBSTACLE: (70, 70, 214),
}
_RANKS = np.ones(256, np.uint8)  # of the cells that share a pixel, which shows
_RANKS[[Cell.ROAD, Cell.OFF_ROAD, Cell.LANE_LINE, Cell.OBSTACLE]] = 2, 3, 4, 5
_COLOURS = np.zeros((256, 3), np.uint8)  # by rank
_COLOURS[_RANKS[list(_KINDS)]] = list(_KINDS.values())


@dataclass(frozen=True)
class _Map:
    """Vehicle metres to pixels: forward is up, left is left."""

    width_px: int
    height_px: int
    scale: float  # px per m

    def pixels(self, points_m: F64) -> F64:
        points = np.asarray(points_m, np.float64).reshape(-1, 2)
        return np.asarray(self.own_px - points[:, ::-1] * self.scale)

    @property
    def own_px(self) -> tuple[float, float]:
        """Where (0, 0) m lies."""
        return (self.width_px - 1) / 2, self.height_px - 1 - _BEHIND_M * self.scale

    def fixed(self, points_m: F64) -> NDArray[np.int32]:
        return _fixed(self.pixels(points_m))


def _fixed(points_px: F64) -> NDArray[np.int32]:
    """As OpenCV takes them, with ``_SHIFT`` bits of fraction."""
    limited = np.minimum(np.maximum(points_px, -30_000), 30_000)
    return (limited * (1 << _SHIFT)).round().astype(np.int32)


def draw_birdseye(
    grid: CostGrid | None,
    scene: Scene | None,
    plan: Plan,
    size_px: tuple[int, int],
    vehicle_width_m: float = 1.8,
) -> U8:
    """Draw the surroundings from above, the own vehicle at the bottom heading up.

    Args:
        grid: coloured by ``kind``; its reach ahead sets the scale (50 m at most, and without one).
        scene: its tracks are drawn with their id and where they will be in a second, relative to
            the own vehicle; those without a position are left out.
        size_px: (width, height) of the picture.

    Returns:
        (height, width, 3) uint8 BGR.
    """
    width, height = size_px
    ahead = _AHEAD_M
    if grid is not None:
        ahead = min(grid.origin_m[0] + grid.cost.shape[0] * grid.resolution_m, _MAX_AHEAD_M)
    ahead = max(ahead, 5.0)
    view = _Map(width, height, (height - 1) / (ahead + _BEHIND_M))
    image = np.empty((height, width, 3), np.uint8)
    cv2.rectangle(image, (0, 0), (width, height), _BACKGROUND, -1)
    if grid is not None:
        _paint_grid(image, view, grid)
    if scene is not None:
        _draw_view_cone(image, view, scene, ahead)
    labels = _draw_rings(image, view, ahead)
    _draw_path(image, view, plan)
    if scene is not None:
        _draw_tracks(image, view, scene.tracks, labels)
    _draw_vehicle(image, view, vehicle_width_m)
    return image


def _text_px(height: int) -> int:
    return min(max(round(height / 18), 9), 22)


def _paint_grid(image: U8, view: _Map, grid: CostGrid) -> None:
    from tools.view.kernels import paint_cells

    far = np.array(grid.origin_m) + np.array(grid.kind.shape) * grid.resolution_m
    left, top = view.pixels(far)[0]  # of the outer corner: pixels' middles are whole numbers
    step = grid.resolution_m * view.scale
    rank = cv2.LUT(grid.kind, _RANKS)
    run(paint_cells, image, rank, _COLOURS, left + 0.5, top + 0.5, step)


def _draw_view_cone(image: U8, view: _Map, scene: Scene, ahead_m: float) -> None:
    camera = scene.camera
    place, yaw = camera.vehicle_from_camera[:2, 3], camera.yaw_rad
    half = math.atan(camera.width_px / 2 / float(camera.matrix[0, 0]))
    reach = 2 * ahead_m
    angles = yaw + half, yaw - half
    rays = np.array([[math.cos(a), math.sin(a)] for a in angles])
    start, *ends = view.fixed(np.stack([place, *(place + reach * rays)])).tolist()
    for end in ends:
        cv2.line(image, start, end, _RING, 1, cv2.LINE_AA, _SHIFT)


def _draw_rings(image: U8, view: _Map, ahead_m: float) -> list[Box]:
    """Rings of equal distance; returns where their labels are."""
    labels: list[Box] = []
    texts: list[Text] = []
    step = 5 if ahead_m <= 15 else 10 if ahead_m <= 40 else 20
    size = _text_px(view.height_px)
    u0, v0 = view.pixels(np.zeros((1, 2)))[0].tolist()
    centre = view.fixed(np.zeros((1, 2)))[0].tolist()
    for radius in range(step, math.ceil(ahead_m), step):
        around = round(radius * view.scale * (1 << _SHIFT))
        cv2.ellipse(image, centre, (around, around), 0, 180, 360, _RING, 1, cv2.LINE_AA, _SHIFT)
        text = f"{radius} m"
        left = view.width_px - text_width_px(text, size) - 4
        # on the ring where it meets the text, or at the ring's side if it does not
        side = min((left - view.width_px / 2) / view.scale, radius * 0.98)
        forward = math.sqrt(radius**2 - side**2)
        u, v = u0 + side * view.scale, v0 - forward * view.scale
        if size < v < view.height_px - size:
            texts.append(Text(text, min(round(u), left), round(v), size, DIM))
            labels.append((left, round(v) - size // 2, view.width_px, round(v) + size // 2))
    put_texts(image, texts)
    return labels


def _draw_path(image: U8, view: _Map, plan: Plan) -> None:
    from tools.view.ribbon_kernels import spaced

    points = np.stack([plan.x_m, plan.y_m], 1)
    points = points[np.isfinite(points).all(1)]
    if len(points) < 2:
        return
    line = [view.fixed(points[run(spaced, points * view.scale, _PIECE_PX)])]
    thin = max(2, round(view.height_px / 90))
    cv2.polylines(image, line, False, INK, thin + 2, cv2.LINE_AA, _SHIFT)
    cv2.polylines(image, line, False, PATH, thin, cv2.LINE_AA, _SHIFT)
    if np.isfinite(plan.speed_mps[-1]) and plan.speed_mps[-1] < 0.3:
        end = view.pixels(points[-1:])[0].round().astype(int).tolist()
        cv2.circle(image, end, thin + 1, STOP, -1, cv2.LINE_AA)


def _draw_tracks(image: U8, view: _Map, tracks: Tracks, taken: list[Box]) -> None:
    """Objects with arrows to where they will be in one second, relative to the own vehicle, then
    their ids, near ones first, where they cover no other."""
    from tools.view.mark_kernels import fill_shapes, from_above

    distance = np.hypot(*tracks.position_m.T)
    order = np.argsort(distance, kind="stable")
    order = order[distance[order] < 200]
    if not len(order):
        return
    classes = tracks.class_id[order].tolist()
    sizes = np.array([_size_m(c) for c in classes])
    shapes, arrows = np.empty((len(order), 4, 2)), np.empty((len(order), 5, 2))
    head = max(5.0, view.height_px / 45)
    moving = run(
        from_above, tracks.position_m[order], sizes, tracks.velocity_mps[order],
        np.array(view.own_px), view.scale, head, shapes, arrows,
    )  # fmt: skip
    arrows = arrows[:moving]
    run(fill_shapes, image, shapes, np.array([class_style(c)[0] for c in classes], np.uint8))
    cv2.polylines(image, list(_fixed(shapes)), True, INK, 1, cv2.LINE_AA, _SHIFT)
    cv2.polylines(image, list(_fixed(arrows[:, :2])), False, WHITE, 1, cv2.LINE_AA, _SHIFT)
    run(fill_shapes, image, arrows[:, 2:].copy(), np.full((moving, 3), WHITE, np.uint8))
    beside = shapes[:, 2:].mean(1).round().astype(int)
    _draw_ids(image, beside, tracks.track_id[order], taken)


def _draw_ids(
    image: U8, places: NDArray[np.int64], ids: NDArray[np.int64], taken: list[Box]
) -> None:
    height, width = image.shape[:2]
    size, texts = _text_px(height), list[Text]()
    for (u, v), number in zip(places.tolist(), ids.tolist(), strict=True):
        text = str(number)
        spot = (u + 2, v - size // 2, u + 4 + text_width_px(text, size), v + size // 2)
        inside = u >= 0 and spot[1] >= 0 and spot[2] < width and spot[3] < height
        if inside and not any(overlap(spot, other) for other in taken):
            texts.append(Text(text, u + 3, v, size, WHITE))
            taken.append(spot)
    put_texts(image, texts)


def _size_m(class_id: int) -> tuple[float, float]:
    return _SIZES_M[class_id] if 0 <= class_id < len(_SIZES_M) else (1.0, 1.0)


def _draw_vehicle(image: U8, view: _Map, width_m: float) -> None:
    half = width_m / 2
    nose = _FRONT_M - 0.8
    outline = np.array(
        [[_REAR_M, half], [nose, half], [_FRONT_M, half * 0.55], [_FRONT_M, -half * 0.55],
         [nose, -half], [_REAR_M, -half]]
    )  # fmt: skip
    shape = view.fixed(outline)
    cv2.fillConvexPoly(image, shape, WHITE, cv2.LINE_AA, _SHIFT)
    cv2.polylines(image, [shape], True, INK, 1, cv2.LINE_AA, _SHIFT)


def compile_kernels() -> None:
    """Compile or load the inner loops."""
    from tools.view.mark_kernels import fill_shapes, from_above

    one, shapes, arrows = np.ones((1, 2)), np.empty((1, 4, 2)), np.empty((1, 5, 2))
    image, colour = np.zeros((8, 8, 3), np.uint8), np.zeros((1, 3), np.uint8)
    run(from_above, one, one, one, one[0], 1.0, 4.0, shapes, arrows)
    run(fill_shapes, image, shapes, colour)
