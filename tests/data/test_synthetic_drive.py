"""The built-in drive and random views: repeatable, and their truth agrees with projection."""

from __future__ import annotations

import numpy as np
import pytest

from data.camera import Camera
from data.errors import InputError
from data.synthetic.drive import Simulation, SyntheticDrive, Truth, random_sample
from data.synthetic.looks import make_look
from data.synthetic.motion import EgoState, standing
from data.synthetic.road import Road, curved_road, urban
from data.synthetic.scenes import Scene, SceneBuilder
from data.synthetic.vehicles import car
from data.taxonomy import CLASS_ID, CLASSES

WIDTH, HEIGHT = 640, 360


@pytest.fixture(scope="module")
def drive() -> SyntheticDrive:
    return SyntheticDrive(width_px=WIDTH, height_px=HEIGHT)


@pytest.fixture(scope="module")
def truths(drive: SyntheticDrive) -> list[Truth]:
    return [drive.truth(i) for i in range(0, 120, 8)]


def empty_road(lanes: int = 1) -> Road:
    layout = urban(lanes, 1, 3.4, 0.0, 2.5, False)
    return curved_road(-25.0, 215.0, [0.002, 0.002], layout)


def scene_with(*places: tuple[float, float, float]) -> Scene:
    """An empty street with one sedan per (s, d, turn)."""
    rng = np.random.default_rng(4)
    build = SceneBuilder(empty_road(), make_look("overcast", rng, 0.0), rng)
    sedan = car("sedan", (0.7, 0.7, 0.7))
    size = (sedan.length_m, sedan.width_m, sedan.height_m)
    for place in places:
        build.fixed(sedan.cruising, "vehicle", build.at(*place), size)
    return build.build(1024)


def look_at(scene: Scene, camera: Camera) -> Truth:
    x, y = scene.road.at(0.0, -1.7)
    ego = EgoState(float(x), float(y), float(scene.road.yaw_at(0.0)), 0.0)
    simulation = Simulation(scene, ego, camera)
    return simulation.truth(simulation.render(), 0)


def test_same_seed_gives_the_same_bytes_in_any_order(drive: SyntheticDrive) -> None:
    again = SyntheticDrive(width_px=WIDTH, height_px=HEIGHT)
    for index in (37, 3):
        assert np.array_equal(drive.frame(index).image, again.frame(index).image)
    a, b = drive.truth(37), again.truth(37)
    assert np.array_equal(a.sample.image, drive.frame(37).image)
    assert np.array_equal(a.sample.xyxy, b.sample.xyxy)
    assert a.sample.lane is not None and b.sample.lane is not None
    assert np.array_equal(a.sample.lane, b.sample.lane)
    assert np.array_equal(a.depth_m, b.depth_m)


def test_other_seeds_give_other_drives(drive: SyntheticDrive) -> None:
    other = SyntheticDrive(seed=3, frames=2, width_px=WIDTH, height_px=HEIGHT)
    assert not np.array_equal(drive.frame(0).image, other.frame(0).image)


def test_the_start_does_not_depend_on_the_length() -> None:
    short = SyntheticDrive(frames=20, width_px=320, height_px=180)
    long = SyntheticDrive(frames=60, width_px=320, height_px=180)
    assert np.array_equal(short.frame(19).image, long.frame(19).image)


def test_frames_carry_time_camera_and_motion(drive: SyntheticDrive) -> None:
    frames = [drive.frame(i) for i in (0, 1, 119)]
    assert [f.t_ns for f in frames] == [0, 50_000_000, 119 * 50_000_000]
    assert all(isinstance(f.t_ns, int) for f in frames)
    assert [f.index for f in frames] == [0, 1, 119]
    assert frames[0].image.shape == (HEIGHT, WIDTH, 3)
    camera, ego = frames[0].camera, frames[0].ego
    assert camera is not None and ego is not None
    assert camera.source == "synthetic"
    assert (camera.width_px, camera.height_px) == (WIDTH, HEIGHT)
    assert ego.speed_mps == pytest.approx(10.0)
    assert len(drive) == 120
    assert SyntheticDrive(0, 3, 29.97, 320, 180).t_ns(2) == round(2e9 / 29.97)


def test_ego_motion_matches_the_poses(drive: SyntheticDrive) -> None:
    for i in (10, 50, 100):
        before, now = (drive.truth(k).ego for k in (i - 1, i))
        way = np.hypot(now.x_m - before.x_m, now.y_m - before.y_m)
        assert way / 0.05 == pytest.approx((now.speed_mps + before.speed_mps) / 2, rel=0.01)
        turn = now.yaw_rad - before.yaw_rad
        assert turn / 0.05 == pytest.approx(now.yaw_rate_radps, abs=0.02)


def test_every_class_and_surface_appears(truths: list[Truth]) -> None:
    seen = np.concatenate([t.sample.class_id for t in truths])
    assert set(seen.tolist()) == set(range(len(CLASSES)))
    for t in truths:
        assert t.sample.labelled_classes.all()
        assert t.sample.drivable is not None and t.sample.lane is not None
        assert set(np.unique(t.sample.drivable)) == {0, 1}
        assert 0.05 < t.sample.drivable.mean() < 0.5
        assert 0.003 < t.sample.lane.mean() < 0.15


def test_the_vehicle_slows_for_the_person_and_never_touches_anyone(truths: list[Truth]) -> None:
    assert truths[-1].ego.speed_mps < 5.5 < 9.0 < truths[5].ego.speed_mps
    for t in truths:
        inside = (t.positions_m[:, 0] > -1.0) & (t.positions_m[:, 0] < 3.9)
        inside &= np.abs(t.positions_m[:, 1]) < 0.95
        assert not inside.any()


def test_tracks_keep_their_identity_and_move_smoothly(drive: SyntheticDrive) -> None:
    a, b = drive.truth(60), drive.truth(61)
    assert len(set(a.track_id.tolist())) == len(a.track_id)
    shared, i, j = np.intersect1d(a.track_id, b.track_id, return_indices=True)
    assert len(shared) > 10
    assert np.array_equal(a.sample.class_id[i], b.sample.class_id[j])
    moved = np.hypot(*(a.centres_m[i] - b.centres_m[j]).T)
    assert moved.max() < 30 * 0.05  # closing speed of oncoming traffic


@pytest.mark.parametrize("turn_rad", [0.0, 0.5, np.pi])
@pytest.mark.parametrize("s_m", [9.0, 20.0, 45.0])
def test_a_known_place_projects_to_the_foot_of_the_box(
    drive: SyntheticDrive, s_m: float, turn_rad: float
) -> None:
    truth = look_at(scene_with((s_m, -1.7, turn_rad)), drive.camera)
    assert truth.sample.class_id.tolist() == [CLASS_ID["vehicle"]]
    x0, y0, x1, y1 = truth.sample.xyxy[0]
    foot = np.append(truth.positions_m[0], 0.0)
    u, v = drive.camera.pixels_from_vehicle(foot[None])[0]
    # the lowest thing seen is a tyre, up to a metre behind the bumper above the given place
    near = truth.positions_m[0, 0] - 1.7
    overhang = (
        float(drive.camera.matrix[1, 1]) * drive.camera.height_m * (1 / near - 1 / (near + 1))
    )
    assert -1.5 < v - y1 < 1.5 + overhang
    assert x0 - 1.5 <= u <= x1 + 1.5
    depth = truth.depth_m[int((y0 + y1) / 2), int((x0 + x1) / 2)]
    assert depth == pytest.approx(truth.positions_m[0, 0] - 1.7, abs=2.5)


def test_box_width_is_that_of_the_vehicle(drive: SyntheticDrive) -> None:
    truth = look_at(scene_with((40.0, -1.7, 0.0)), drive.camera)
    x0, y0, x1, y1 = truth.sample.xyxy[0]
    scale = float(drive.camera.matrix[0, 0]) / (truth.positions_m[0, 0] - 1.7)
    assert x1 - x0 == pytest.approx(1.84 * scale, abs=0.2 * scale + 2)
    assert y1 - y0 == pytest.approx(1.46 * scale, abs=0.1 * scale + 2)


def test_a_vehicle_hides_what_is_right_behind_it(drive: SyntheticDrive) -> None:
    truth = look_at(scene_with((12.0, -1.7, 0.0), (40.0, -1.7, 0.0)), drive.camera)
    assert truth.track_id.tolist() == [1]
    apart = look_at(scene_with((12.0, -1.7, 0.0), (40.0, 1.7, 0.0)), drive.camera)
    assert apart.track_id.tolist() == [1, 2]
    u, v = (int(k) for k in drive.camera.pixels_from_vehicle(np.array([[11.5, 0.0, 0.5]]))[0])
    assert truth.sample.drivable is not None
    assert truth.sample.drivable[v, u] == 0


def test_masks_lie_where_the_road_projects(drive: SyntheticDrive) -> None:
    scene = scene_with()
    truth = look_at(scene, drive.camera)
    drivable, lane = truth.sample.drivable, truth.sample.lane
    assert drivable is not None and lane is not None
    ego = truth.ego

    def pixel(s: float, d: float) -> tuple[int, int]:
        turn = np.array(
            [[np.cos(ego.yaw_rad), -np.sin(ego.yaw_rad)],
             [np.sin(ego.yaw_rad), np.cos(ego.yaw_rad)]]
        )  # fmt: skip
        xy = (scene.road.at(s, d) - [ego.x_m, ego.y_m]) @ turn
        u, v = drive.camera.pixels_from_vehicle(np.array([[*xy, 0.0]]))[0]
        return round(v), round(u)

    for s in (9.0, 11.0, 15.0, 22.0, 30.0):
        assert drivable[pixel(s, -1.7)] == 1, "own lane"
        assert drivable[pixel(s, 1.7)] == 0, "oncoming lane"
        assert drivable[pixel(s, -4.4)] == 0, "pavement"
        assert lane[pixel(s, 0.0)] == 1, "middle line, also in the gaps between its dashes"
        assert lane[pixel(s, -3.4)] == 1, "kerb"
        assert lane[pixel(s, -1.7)] == 0
    top = int(drive.camera.horizon_row_px) - 2
    assert not drivable[:top].any() and not lane[:top].any()


def test_depth_of_the_ground_is_that_of_the_plane(drive: SyntheticDrive) -> None:
    truth = look_at(scene_with(), drive.camera)
    u, v = 330, 300
    x, y = drive.camera.ground_from_pixels(np.array([[u, v]]))[0]
    pose = drive.camera.vehicle_from_camera
    want = (np.array([x, y, 0.0]) - pose[:3, 3]) @ pose[:3, 2]
    assert truth.depth_m[v, u] == pytest.approx(want, rel=1e-4)
    assert np.isinf(truth.depth_m[5, 300])


def test_simulation_steps_the_vehicle_and_the_clock(drive: SyntheticDrive) -> None:
    simulation = Simulation(scene_with(), EgoState(0.0, -1.7, 0.0, 5.0), drive.camera)
    first = simulation.render().image
    for _ in range(10):
        simulation.step(0.0, 1.0, 0.1)
    assert simulation.t_s == pytest.approx(1.0)
    assert simulation.ego.x_m == pytest.approx(5.5)
    assert simulation.ego.speed_mps == pytest.approx(6.0)
    assert not np.array_equal(first, simulation.render().image)


def test_random_samples_repeat_and_differ() -> None:
    a, b, c = (random_sample(seed, 320, 192) for seed in (5, 5, 6))
    assert np.array_equal(a.image, b.image) and np.array_equal(a.xyxy, b.xyxy)
    assert a.image.shape != c.image.shape or not np.array_equal(a.image, c.image)
    assert a.name != c.name


@pytest.mark.parametrize("seed", range(8))
def test_random_samples_are_well_formed(seed: int) -> None:
    sample = random_sample(seed, 480, 288)
    assert sample.image.shape == (288, 480, 3)
    assert sample.image.std() > 5
    assert sample.labelled_classes.all() and not sample.ignore.any()
    assert sample.drivable is not None and sample.lane is not None
    assert sample.drivable.any()
    x0, y0, x1, y1 = sample.xyxy.T
    assert (x0 >= 0).all() and (y0 >= 0).all() and (x1 <= 480).all() and (y1 <= 288).all()
    assert (x1 > x0).all() and (y1 > y0).all()


def test_a_standing_thing_has_one_place() -> None:
    assert standing(1.0, 2.0, 0.3).at(17.0) == (1.0, 2.0, 0.3, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"frames": 0}, "frames >= 1"),
        ({"fps": 0.0}, "frames a second"),
        ({"width_px": 10}, "size"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SyntheticDrive(**arguments)


def test_a_frame_past_the_end_is_an_index_error(drive: SyntheticDrive) -> None:
    with pytest.raises(IndexError):
        drive.frame(120)


def test_drawing_into_a_truths_picture_leaves_the_frame_as_it_is():
    drive = SyntheticDrive(0, 2, 10, 160, 96)
    before = drive.frame(0).image
    drive.truth(0).sample.image[:] = 0
    assert (drive.frame(0).image == before).all()
