"""The overlay and the view from above: what is drawn where, and that nothing odd breaks them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data.camera import Camera
from data.types import (
    Cell,
    CostGrid,
    Detections,
    Frame,
    Plan,
    PlanStatus,
    Scene,
    Surfaces,
    Tracks,
)
from tools.view import draw_birdseye, draw_overlay, overlay_size_px
from tools.view.draw import AMBER, CLASS_COLOURS, STOP, elided, text_width_px
from tools.view.ribbon import project_ground, ribbon_edges_m

SIZES = [(1242, 375), (960, 540), (1280, 720), (640, 384), (97, 61)]
GREY = 90


def frame_of(width: int = 640, height: int = 384) -> Frame:
    return Frame(np.full((height, width, 3), GREY, np.uint8), 7, 1_400_000_000)


def tracks_of(*rows: tuple[int, float, float, float, float]) -> Tracks:
    """Tracks of (class id, x1, y1, x2, y2), 20 m ahead each."""
    n = len(rows)
    table = np.array(rows, np.float64).reshape(n, 5)
    return Tracks(
        np.arange(1, n + 1), table[:, 1:], table[:, 0], np.ones(n), np.ones(n), np.zeros(n),
        np.tile([20.0, 0.0], (n, 1)), np.zeros((n, 2)), np.full((n, 4, 4), np.nan),
    )  # fmt: skip


def scene_of(
    width: int = 640,
    height: int = 384,
    tracks: Tracks | None = None,
    drivable: np.ndarray | None = None,
    lane: np.ndarray | None = None,
) -> Scene:
    drivable = np.zeros((96, 160)) if drivable is None else drivable
    lane = np.zeros_like(drivable) if lane is None else lane
    scale = (drivable.shape[1] / width, drivable.shape[0] / height)
    camera = Camera.assumed(width, height)
    surfaces = Surfaces(drivable, lane, scale)
    return Scene(0, camera, Detections.empty(), surfaces, tracks or Tracks.empty())


def straight(length_m: float = 30.0, end_mps: float = 10.0) -> Plan:
    x = np.linspace(0, length_m, 31)
    zero = np.zeros(31)
    return Plan(
        PlanStatus.OK, "", x, zero, zero, np.linspace(10.0, end_mps, 31), zero, x / 10
    )  # fmt: skip


def grid_of(kind: np.ndarray, resolution_m: float = 0.5) -> CostGrid:
    rows, columns = kind.shape
    origin = (0.0, -columns * resolution_m / 2)
    ones = np.ones((rows, columns), np.float32)
    return CostGrid(ones, kind, ones, resolution_m, origin, 0)


NO_PLAN = Plan.none(PlanStatus.NO_SURFACE, "no drivable area seen")


def picture(
    frame: Frame, scene: Scene | None, plan: Plan = NO_PLAN, **options: object
) -> np.ndarray:
    options = {"inset": "none"} | options
    out = draw_overlay(frame, scene, plan, None, 1.8, **options)  # type: ignore[arg-type]
    return out[: frame.image.shape[0]]


def is_plain(image: np.ndarray) -> np.ndarray:
    return (image == GREY).all(axis=-1)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_size_strip_and_the_frame_is_left_alone(width: int, height: int) -> None:
    frame = frame_of(width, height)
    grid = grid_of(np.full((100, 60), Cell.ROAD, np.uint8))
    scene = scene_of(width, height, tracks_of((0, 5, 5, 60, 50)))
    out = draw_overlay(frame, scene, straight(), grid, 1.8, ["42 ms"], faults=["dark"])
    assert out.dtype == np.uint8 and out.shape[:2][::-1] == overlay_size_px(width, height)
    assert (frame.image == GREY).all()
    again = draw_overlay(frame, scene, straight(), grid, 1.8, ["42 ms"], faults=["dark"])
    assert np.array_equal(out, again)


def test_an_earlier_picture_is_drawn_over_where_it_has_the_size() -> None:
    frame, other = frame_of(320, 180), frame_of(640, 360)
    tracks, grid = tracks_of((0, 5, 5, 60, 50)), grid_of(np.full((100, 60), Cell.ROAD, np.uint8))
    scene = scene_of(320, 180, tracks)
    fresh = draw_overlay(frame, scene, straight(), grid, 1.8)
    canvas = np.full_like(fresh, 200)
    over = draw_overlay(frame, None, NO_PLAN, None, 1.8, faults=["dark"], canvas=canvas)
    assert over is canvas
    assert draw_overlay(frame, scene, straight(), grid, 1.8, canvas=over) is canvas
    assert np.array_equal(canvas, fresh)
    assert draw_overlay(other, None, NO_PLAN, None, 1.8, canvas=canvas) is not canvas


def test_drivable_area_is_green_where_it_is_likely_and_only_there() -> None:
    drivable = np.zeros((96, 160), np.float32)
    drivable[48:, :80] = 0.9
    drivable[48:, 80:] = 0.4
    image = picture(frame_of(), scene_of(drivable=drivable)).astype(int)
    assert (image[200:380, 4:316, 1] > image[200:380, 4:316, 2] + 20).all()
    assert is_plain(image)[:188].all() and is_plain(image)[:, 324:].all()
    border = np.flatnonzero(image[300, :, 1] > GREY + 5).max()
    assert abs(border - 319) <= 2  # between map columns 79 and 80, four image pixels each


def test_map_scale_is_followed_when_the_map_is_wider_than_the_image() -> None:
    """A map padded at the right: its last quarter lies outside the image."""
    drivable = np.zeros((96, 200), np.float32)
    drivable[:, 80:100] = 1.0
    surfaces = Surfaces(drivable, np.zeros_like(drivable), (0.25, 0.25))
    scene = scene_of()
    scene = Scene(0, scene.camera, scene.detections, surfaces, scene.tracks)
    columns = np.flatnonzero(~is_plain(picture(frame_of(), scene))[100])
    assert abs(columns.min() - 320) <= 2 and abs(columns.max() - 399) <= 2


@pytest.mark.parametrize("width, height", SIZES)
@pytest.mark.parametrize("map_width", [320, 213])
def test_drivable_area_begins_and_ends_where_the_map_says(
    width: int, height: int, map_width: int
) -> None:
    scale = map_width / width
    rows = int(np.ceil(height * scale))
    drivable = np.zeros((rows, map_width), np.float32)
    top, left = int(0.6 * rows), int(0.3 * map_width)
    drivable[top : int(0.9 * rows), left : int(0.55 * map_width)] = 1
    surfaces = Surfaces(drivable, np.zeros_like(drivable), (scale, scale))
    scene = replace(scene_of(width, height), surfaces=surfaces)
    green = np.argwhere(~is_plain(picture(frame_of(width, height), scene)))
    ends = [n / scale for n in (top, left, int(0.9 * rows), int(0.55 * map_width))]
    # half a cell for the interpolation, a line about it
    slack = 0.5 / scale + 2
    np.testing.assert_allclose([*green.min(0), *(green.max(0) + 1)], ends, atol=slack)


def test_lane_lines_are_yellow() -> None:
    lane = np.zeros((96, 160), np.float32)
    lane[50:, 40:43] = 1.0
    blue, green, red = picture(frame_of(), scene_of(lane=lane))[300, 166].astype(int)
    assert min(green, red) > 150 and blue < 60


@pytest.mark.parametrize("class_id", range(5))
def test_box_has_its_class_colour_on_its_edge(class_id: int) -> None:
    image = picture(frame_of(), scene_of(tracks=tracks_of((class_id, 200, 150, 300, 250))))
    for row, column in ((150, 280), (250, 250), (200, 200), (200, 300)):
        assert tuple(image[row, column]) == CLASS_COLOURS[class_id]
    assert is_plain(image)[160:245, 206:295].all()
    label = ~is_plain(image)[:148]
    assert label.any() and not label[:120].any()  # on a chip right above the box


def test_remembered_tracks_are_dashed() -> None:
    tracks = tracks_of((0, 200, 150, 300, 250))
    tracks.since_update_s[:] = 0.3
    edge = (picture(frame_of(), scene_of(tracks=tracks))[150:251, 300] == CLASS_COLOURS[0]).all(-1)
    assert 0.3 < edge.mean() < 0.7


@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, 40, 30),
        (600, 350, 700, 420),
        (0, 0, 640, 384),
        (630, 2, 639, 9),
        (1, 380, 9, 384),
    ],
)
def test_labels_stay_in_the_picture(box: tuple[float, float, float, float]) -> None:
    frame, scene = frame_of(), scene_of(tracks=tracks_of((0, *box)))
    whole = draw_overlay(frame, scene, NO_PLAN, None, 1.8, inset="none")
    strip = draw_overlay(frame, scene_of(), NO_PLAN, None, 1.8, inset="none")
    assert not is_plain(whole[:384]).all()
    assert np.array_equal(whole[384:], strip[384:])


def test_labels_do_not_cover_each_other() -> None:
    """In a heap of boxes some labels are left out; every one drawn is whole."""
    one = picture(frame_of(), scene_of(tracks=tracks_of((1, 300, 200, 330, 260))))
    two = picture(
        frame_of(), scene_of(tracks=tracks_of((0, 302, 201, 329, 259), (1, 300, 200, 330, 260)))
    )
    chip = np.s_[180:198, 300:330]
    assert not is_plain(one[chip]).all()
    near = picture(frame_of(), scene_of(tracks=tracks_of(*[(1, 300, 200, 330, 260)] * 30)))
    assert not is_plain(near[chip]).all() and two.shape == near.shape


@pytest.mark.parametrize(
    "box", [(np.nan, 0, 10, 10), (np.inf, 0, np.inf, 9), (900, 0, 990, 9), (50, 50, 20, 20)]
)
def test_boxes_that_cannot_be_drawn_are_left_out(box: tuple[float, ...]) -> None:
    image = picture(frame_of(), scene_of(tracks=tracks_of((0, *box))))
    assert is_plain(image).all()


def test_huge_box_coordinates_do_not_matter() -> None:
    tracks = tracks_of((0, -9e5, -9e5, 9e5, 9e5), (7, 1e9, 1, 2, 3))
    tracks.since_update_s[:] = 1.0
    picture(frame_of(), scene_of(tracks=tracks))


def test_path_ribbon_lies_where_the_road_is() -> None:
    scene = scene_of()
    image = picture(frame_of(), scene, straight())
    drawn = ~is_plain(image)
    for x_m in (8.0, 12.0, 20.0):
        edges = [[x_m, 0.9, 0.0], [x_m, -0.9, 0.0]]
        (left, row), (right, _) = scene.camera.pixels_from_vehicle(np.array(edges))
        columns = np.flatnonzero(drawn[round(row)])
        assert abs(columns.min() - left) <= 2 and abs(columns.max() - right) <= 2
        assert len(columns) == columns.max() - columns.min() + 1
    end = scene.camera.pixels_from_vehicle(np.array([[30.0, 0.0, 0.0]]))[0, 1]
    assert abs(np.flatnonzero(drawn.any(axis=1)).min() - end) <= 2
    assert drawn[-1].any()  # down to the lower border
    blue, _, red = image[350, 320].astype(int)
    assert blue > red + 60


def test_ribbon_turns_red_and_ends_in_a_stop_line_where_the_plan_stops() -> None:
    scene = scene_of()
    u, v = scene.camera.pixels_from_vehicle(np.array([[30.0, 0.0, 0.0]]))[0].round().astype(int)
    stopping = picture(frame_of(), scene, straight(end_mps=0.0))
    assert tuple(stopping[v, u]) == STOP
    assert tuple(picture(frame_of(), scene, straight())[v, u]) != STOP
    blue, _, red = stopping[v + 4, u].astype(int)
    assert red > blue


def test_ribbon_of_a_scaled_image_follows_the_camera() -> None:
    """A camera of another size than the frame is scaled to it."""
    small = picture(frame_of(320, 192), scene_of(640, 384), straight())
    columns = np.flatnonzero(~is_plain(small)[150])
    large = np.flatnonzero(~is_plain(picture(frame_of(), scene_of(), straight()))[300])
    assert abs(columns.min() - large.min() / 2) <= 2 and abs(columns.max() - large.max() / 2) <= 2


def test_ribbon_in_a_tight_curve_has_no_holes() -> None:
    """The inner edge of a curve tighter than half the width runs backwards."""
    angle = np.linspace(0, 1.2, 80)
    x, y, still = 6 + 0.7 * np.sin(angle) * 4, 0.7 * (1 - np.cos(angle)) * 4, np.zeros(80)
    plan = Plan(PlanStatus.OK, "", x, y, angle, still + 3, still, still)
    drawn = (~is_plain(picture(frame_of(), scene_of(), plan))).astype(np.uint8)
    outside = cv2.floodFill(np.pad(drawn, 1), None, (0, 0), 2)[1]
    assert drawn.any() and not (outside[1:-1, 1:-1] == 0).any()


def test_ribbon_edges_are_half_a_width_from_the_path() -> None:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 200)
    still = np.zeros(200)
    x, y = 20 * np.cos(angle), 20 * np.sin(angle)
    plan = Plan(PlanStatus.OK, "", x, y, angle + np.pi / 2, still + 5, still, still)
    edges = ribbon_edges_m(plan, 2.0)
    left, right, speed = edges[:, :2], edges[:, 2:4], edges[:, 4]
    assert np.allclose(np.hypot(*left.T), 19, atol=0.01)  # turning left: the inner edge
    assert np.allclose(np.hypot(*right.T), 21, atol=0.01)
    assert len(speed) == len(left) <= 241 and np.allclose(speed, 5)


def test_points_beyond_a_distorted_view_are_not_projected() -> None:
    camera = Camera.assumed(640, 384)
    bent = Camera(
        640, 384, camera.matrix, np.array([-0.3, 0.05, 0, 0]), camera.vehicle_from_camera, "test"
    )
    uv = project_ground(bent, np.array([[10.0, 0.0], [2.0, 8.0], [-5.0, 0.0]]))
    assert np.isfinite(uv[0]).all() and np.isnan(uv[1:]).all()


@pytest.mark.parametrize(
    "plan",
    [
        NO_PLAN,
        Plan(PlanStatus.OK, "", *[np.zeros(1)] * 6),
        Plan(PlanStatus.OK, "", *[np.zeros(5)] * 6),
        Plan(PlanStatus.OK, "", *[np.full(4, np.nan)] * 6),
        Plan(PlanStatus.OK, "", np.linspace(0, -30, 9), *[np.zeros(9)] * 5),
        Plan(PlanStatus.OK, "", np.linspace(0, 1e7, 9), *[np.zeros(9)] * 5),
    ],
    ids=["none", "one point", "standing", "NaN", "backwards", "far"],
)
def test_odd_plans_and_positions_do_not_raise(plan: Plan) -> None:
    tracks = tracks_of((0, 200, 150, 300, 250), (1, 20, 20, 60, 70), (9, 90, 90, 120, 130))
    tracks.position_m[0] = np.nan
    tracks.velocity_mps[1] = np.nan
    tracks.velocity_mps[2] = 1e12
    tracks.position_m[2] = (1e9, -1e9)
    for scene in (scene_of(tracks=tracks), scene_of(), None):
        for grid in (None, grid_of(np.zeros((10, 10), np.uint8))):
            draw_overlay(frame_of(), scene, plan, grid, 1.8, faults=["a" * 300, "b"])


def test_surfaces_with_nan_count_as_unknown() -> None:
    bad = np.full((96, 160), np.nan, np.float32)
    assert is_plain(picture(frame_of(), scene_of(drivable=bad, lane=bad))).all()


def test_status_strip_shows_the_status_colour_and_faults() -> None:
    def strip(plan: Plan, faults: list[str]) -> np.ndarray:
        return draw_overlay(frame_of(), scene_of(), plan, None, 1.8, faults=faults)[384:]

    blocked = Plan.none(PlanStatus.BLOCKED, "a vehicle stands 12 m ahead")
    assert (strip(blocked, [])[0] == AMBER).all() and (strip(NO_PLAN, [])[0] == STOP).all()
    red = strip(straight(), ["camera covered"]).astype(int)
    plain = strip(straight(), [])
    changed = (red != plain).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert changed.any() and columns.min() > 320 and rows.min() > len(plain) // 2
    letters = red[changed & (red.max(axis=-1) > 150)]
    assert len(letters) > 50 and (letters[:, 2] > letters[:, 0] + 30).all()


def test_inset_corner() -> None:
    frame, scene = frame_of(), scene_of()
    for inset, half in (("right", np.s_[:, :320]), ("left", np.s_[:, 320:])):
        image = draw_overlay(frame, scene, NO_PLAN, None, 1.8, inset=inset)[:384]
        assert is_plain(image[half]).all() and not is_plain(image).all()
    with pytest.raises(ValueError, match="inset"):
        draw_overlay(frame, scene, NO_PLAN, None, 1.8, inset="middle")


def test_birdseye_puts_road_left_and_obstacles_where_they_are() -> None:
    kind = np.full((100, 60), Cell.OFF_ROAD, np.uint8)  # 50 m ahead, 15 m to each side
    kind[:, 30:] = Cell.ROAD  # the left half
    kind[60:64, 40:44] = Cell.OBSTACLE  # 31 m ahead, 6 m to the left
    image = draw_birdseye(grid_of(kind), None, NO_PLAN, (216, 300))
    assert image.shape == (300, 216, 3)
    scale = 299 / 54.0

    def at(x_m: float, y_m: float) -> np.ndarray:
        return image[round(299 - (x_m + 4) * scale), round(107.5 - y_m * scale)].astype(int)

    road, verge, obstacle = at(25, 6), at(25, -6), at(31, 6)
    assert tuple(road) != tuple(verge)
    assert obstacle[2] > 150 and obstacle[2] > obstacle[1] + 80
    assert at(1, 0).min() > 200  # the own vehicle is white
    assert tuple(at(-3, 6)) == tuple(at(-3, -6))  # behind lies nothing


def test_birdseye_shows_tracks_path_and_a_coarse_grid() -> None:
    tracks = tracks_of((0, 0, 0, 9, 9))
    tracks.position_m[0] = (20.0, -6.0)
    scene = scene_of(tracks=tracks)
    coarse = grid_of(np.full((10, 8), Cell.ROAD, np.uint8), resolution_m=5.0)
    image = draw_birdseye(coarse, scene, straight(), (216, 300))
    scale = 299 / 54.0
    row, column = round(299 - (22.2 + 4) * scale), round(107.5 + 6 * scale)
    assert np.abs(image[row, column].astype(int) - CLASS_COLOURS[0]).max() < 60
    blue, _, red = image[round(299 - 14 * scale), 107].astype(int)
    assert blue > 200 and red < 120


@pytest.mark.parametrize("width", [0, 5, 40, 80, 400])
def test_elided_text_fits(width: int) -> None:
    text = "vehicle #9 stands 28 m ahead on the path"
    short = elided(text, 14, width)
    assert text_width_px(short, 14) <= width or not short
    assert short == text or short == "" or short.endswith("…")
