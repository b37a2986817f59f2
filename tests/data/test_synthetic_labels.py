"""Every label of a rendered frame agrees with the geometry it was made from, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest

from data.camera import Camera, mounting_pose
from data.errors import InputError
from data.synthetic.drive import (
    Simulation,
    SyntheticDrive,
    Truth,
    level_camera,
    random_sample,
    tilted,
)
from data.synthetic.looks import LOOKS, make_look
from data.synthetic.mesh import Mesh, quad
from data.synthetic.motion import EgoState
from data.synthetic.renderer import Rendered
from data.synthetic.road import Road, curved_road, urban
from data.synthetic.scenes import Scene, SceneBuilder
from data.synthetic.stories import ROADS, city_story
from data.synthetic.vehicles import car
from data.taxonomy import CLASS_ID

WIDTH, HEIGHT, FOCAL = 200, 120, 100.0


def street(tilt_rad: float = 0.0) -> Road:
    layout = urban(1, 1, 3.4, 0.0, 2.5, False)
    return curved_road(-25.0, 215.0, [0.0, 0.0], layout, [tilt_rad, tilt_rad])


def board(half_m: float) -> Mesh:
    """An upright square facing the camera, its middle 1.5 m above the ground."""
    y, z = half_m * np.array([1, -1, -1, 1]), 1.5 + half_m * np.array([-1, -1, 1, 1])
    return quad(np.column_stack([np.zeros(4), y, z]), (0.5, 0.5, 0.5))


def look_at(scene: Scene, camera: Camera) -> tuple[Rendered, Truth]:
    simulation = Simulation(scene, EgoState(0.0, 0.0, 0.0, 0.0), camera)
    seen = simulation.render()
    return seen, simulation.truth(seen, 0)


def boards(*places: tuple[float, float, float]) -> tuple[Rendered, Truth]:
    """What a level camera 1.5 m up sees of squares at (x, y, half size)."""
    rng = np.random.default_rng(1)
    build = SceneBuilder(street(), make_look("overcast", rng, 0.0), rng)
    for x, y, half in places:
        build.fixed(board(half), "traffic_sign", (x, y, 0.0), (0.1, 2 * half, 2 * half))
    matrix = np.array([[FOCAL, 0, 99.5], [0, FOCAL, 59.5], [0, 0, 1.0]])
    pose = mounting_pose(1.5, forward_m=0.0)
    return look_at(build.build(256), Camera(WIDTH, HEIGHT, matrix, np.zeros(0), pose, "made"))


def test_a_square_covers_the_pixels_whose_centres_project_into_it():
    seen, truth = boards((10.0, 0.0, 2.0))  # 40 px wide around (99.5, 59.5)
    assert truth.sample.xyxy.tolist() == [[80, 40, 120, 80]]
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[40:80, 80:120] = True
    assert np.array_equal(truth.object_id == 1, inside)
    assert np.allclose(truth.depth_m[inside], 10.0, rtol=1e-6)
    assert seen.area_px[1] == 1600 and truth.visible.tolist() == [1.0]


def test_visible_is_the_share_of_the_pixels_that_nothing_hides():
    _, truth = boards((10.0, 0.0, 2.0), (5.0, 0.5, 0.5))  # the near one hides 20 x 20 px
    assert truth.track_id.tolist() == [1, 2]
    assert truth.visible.tolist() == [(1600 - 400) / 1600, 1.0]
    assert truth.sample.xyxy[1].tolist() == [80, 50, 100, 70]
    assert np.allclose(truth.depth_m[55, 85], 5.0) and np.allclose(truth.depth_m[45, 85], 10.0)


def test_what_is_wholly_hidden_has_no_label():
    seen, truth = boards((10.0, 0.0, 1.0), (5.0, 0.0, 1.0))
    assert truth.track_id.tolist() == [2]
    assert seen.seen[1, 0] == 0


def test_an_object_cut_by_the_picture_is_boxed_within_it():
    _, truth = boards((10.0, 10.0, 2.0))  # its middle at column -0.5
    assert truth.sample.xyxy.tolist() == [[0, 40, 20, 80]]
    assert truth.visible.tolist() == [1.0]


def test_a_square_behind_or_across_the_near_plane_does_no_harm():
    _, truth = boards((-5.0, 0.0, 1.0), (0.1, 0.0, 1.0))
    assert len(truth.track_id) == 0
    assert np.isfinite(truth.depth_m[100]).all()


@pytest.fixture(scope="module", params=[(0, None), (3, "night"), (5, "rain")])
def truths(request: pytest.FixtureRequest) -> list[Truth]:
    seed, look = request.param
    drive = SyntheticDrive(seed, 40, 5.0, 480, 288, look=look)
    return [drive.truth(i) for i in range(0, 40, 8)]


def test_boxes_are_tight_around_the_visible_pixels(truths: list[Truth]) -> None:
    for truth in truths:
        assert len(truth.track_id) > 5
        for box, track_id in zip(truth.sample.xyxy, truth.track_id, strict=True):
            rows, cols = np.nonzero(truth.object_id == track_id)
            tight = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
            assert box.tolist() == tight
        assert ((truth.visible >= 0.25) & (truth.visible <= 1)).all()


def test_surfaces_lie_on_the_ground_and_under_no_object(truths: list[Truth]) -> None:
    for truth in truths:
        drivable, lane = truth.sample.drivable, truth.sample.lane
        assert drivable is not None and lane is not None
        for mask in (drivable, lane):
            assert set(np.unique(mask)) <= {0, 1}
            assert not mask[truth.object_id > 0].any()
            assert not mask[np.isinf(truth.depth_m)].any()
        # where the ground is labelled, the depth is that of the camera's own ground plane
        rows, cols = np.nonzero(drivable)
        pick = slice(None, None, 97)
        pixels = np.column_stack([cols[pick], rows[pick]]).astype(float)
        ground = truth.camera.ground_from_pixels(pixels)
        pose = truth.camera.vehicle_from_camera
        away = np.column_stack([ground, np.zeros(len(ground))]) - pose[:3, 3]
        assert np.allclose(truth.depth_m[rows[pick], cols[pick]], away @ pose[:3, 2], rtol=1e-4)


def test_hiding_one_car_lowers_visible_by_its_pixels() -> None:
    def scene(*places: tuple[float, float]) -> Scene:
        rng = np.random.default_rng(4)
        build = SceneBuilder(street(), make_look("overcast", rng, 0.0), rng)
        vehicle = car("suv", (0.6, 0.6, 0.6))
        for s, d in places:
            build.fixed(vehicle.cruising, "vehicle", build.at(s, d), vehicle.size_m)
        return build.build(256)

    camera = level_camera(480, 288, 0.84, 1.4, 0.47)
    alone, _ = look_at(scene((25.0, 0.0)), camera)
    both, truth = look_at(scene((25.0, 0.0), (15.0, -1.2)), camera)
    left = int((both.object_id == 1).sum())
    assert 0 < left < (alone.object_id == 1).sum()
    assert both.area_px[1] == (alone.object_id == 1).sum()
    assert truth.visible[0] == pytest.approx(left / both.area_px[1])
    assert truth.sample.class_id.tolist() == [CLASS_ID["vehicle"]] * 2


def test_the_camera_follows_the_slope_so_that_the_road_stays_its_ground() -> None:
    rng = np.random.default_rng(2)
    camera = level_camera(480, 288, 0.84, 1.4, 0.47)
    road = street(0.03)
    simulation = Simulation(
        SceneBuilder(road, make_look("overcast", rng, 0.0), rng).build(256),
        EgoState(0.0, -1.7, 0.0, 0.0), camera,
    )  # fmt: skip
    truth = simulation.truth(simulation.render(), 0)
    assert truth.camera.pitch_rad == pytest.approx(camera.pitch_rad + 0.03)
    assert truth.sample.drivable is not None
    for x in (8.0, 15.0, 30.0):
        for y, inside in ((0.0, 1), (3.0, 0), (-3.0, 0)):
            u, v = truth.camera.pixels_from_vehicle(np.array([[x, y, 0.0]]))[0]
            assert truth.sample.drivable[round(v), round(u)] == inside


def test_tilting_keeps_the_cameras_place() -> None:
    camera = level_camera(480, 288, 0.84, 1.4, 0.47, 0.02, 0.01)
    up = tilted(camera, 0.02)
    assert np.allclose(up.vehicle_from_camera[:3, 3], camera.vehicle_from_camera[:3, 3])
    assert up.horizon_row_px < camera.horizon_row_px
    assert np.allclose(np.linalg.det(up.vehicle_from_camera[:3, :3]), 1.0)


def test_the_first_drive_is_level_and_others_have_slopes() -> None:
    level = SyntheticDrive(0, 30, 5.0, 320, 192)
    assert all(level.frame(i).camera is level.camera for i in (0, 15, 29))
    hilly = SyntheticDrive(2, 30, 5.0, 320, 192)
    pitch = [hilly.frame(i).camera.pitch_rad for i in range(0, 30, 5)]  # type: ignore[union-attr]
    assert pitch[0] == pytest.approx(hilly.camera.pitch_rad)
    assert np.ptp(pitch) > 0.002
    assert np.abs(np.array(pitch) - pitch[0]).max() < 0.05


@pytest.mark.parametrize("road", ROADS)
def test_roads_are_what_they_are_called(road: str) -> None:
    scene = city_story(6, 10.0, 256, "clear", road).scene
    turn = np.ptp(scene.road.yaw_at(np.arange(0, 150, 5.0)))
    lights = [t for t in scene.things if t.class_id == CLASS_ID["traffic_light"]]
    assert (scene.road.layout.junction_m is not None) == (road == "junction") == bool(lights)
    if road == "straight":
        assert turn < 1e-9
    if road == "curve":
        assert turn > 0.15


@pytest.mark.parametrize("look", LOOKS)
def test_every_look_can_be_asked_for(look: str) -> None:
    drive = SyntheticDrive(7, 2, 10.0, 160, 96, look=look)
    assert drive.scene.look.name == look
    sample = random_sample(7, 160, 96, look)
    assert not np.array_equal(sample.image, random_sample(8, 160, 96, look).image)
    assert drive.frame(1).image.std() > 3


def test_night_is_darker_than_day() -> None:
    day, night = (random_sample(3, 320, 192, look).image.mean() for look in ("clear", "night"))
    assert night < 0.6 * day


def test_a_frame_and_its_truth_are_one_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    drive = SyntheticDrive(0, 3, 10.0, 160, 96)
    calls: list[int] = []
    render = Simulation.render
    monkeypatch.setattr(
        Simulation, "render", lambda self, seed=0: (calls.append(seed), render(self, seed))[1]
    )
    frame, truth = drive.frame(1), drive.truth(1)
    assert len(calls) == 1
    assert np.array_equal(frame.image, truth.sample.image)
    frame.image[:] = 0  # drawing on a frame leaves the truth as it is
    assert drive.truth(1).sample.image.any()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"look": "fog"}, "clear, cloudy"), ({"road": "loop"}, "straight, curve, junction")],
)
def test_an_unknown_look_or_road_is_named(arguments: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SyntheticDrive(**arguments)  # type: ignore[arg-type]
    if "look" in arguments:
        with pytest.raises(InputError, match=said):
            random_sample(0, 160, 96, arguments["look"])


def test_traffic_lights_stand_at_the_junction() -> None:
    scene = city_story(0, 10.0, 256).scene
    first, last = scene.road.layout.junction_m or (0.0, 0.0)
    lights = [t for t in scene.things if t.class_id == CLASS_ID["traffic_light"]]
    assert len(lights) >= 3
    for light in lights:
        s, _ = scene.road.locate(*light.motion.at(0.0)[:2])
        assert first - 2 < s < last + 2
