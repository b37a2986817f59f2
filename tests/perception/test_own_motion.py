"""The own motion from pictures of a made world: a plane of known texture and a far panorama."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from data.camera import Camera, mounting_pose
from data.types import Detections, EgoMotion, Surfaces
from perception.flow import follow, small_grey
from perception.own_motion import OwnMotion
from perception.pair_fit import Geometry, PairConfig, PairFit, _too_near
from tools.snapshot import decode, encode

WIDTH, HEIGHT, DT_S = 640, 360, 0.05
FOCAL = 540.0
MATRIX = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1.0]])
CELL_M, CELL_RAD = 0.06, 0.004
NONE = Detections.empty()


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (1024, 1024)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0, borderType=cv2.BORDER_REFLECT)
    return np.clip((smooth - 127.5) * 4 + 127.5, 0, 255).astype(np.float32)


GROUND, FAR = texture(1), texture(2)


def camera(pitch_rad: float = 0.06, **change: object) -> Camera:
    pose = mounting_pose(1.4, pitch_rad)
    made = Camera(WIDTH, HEIGHT, MATRIX, np.zeros(0), pose, "made")
    return replace(made, **change)  # type: ignore[arg-type]


@dataclass(frozen=True)
class At:
    """Where the rear axle is, and how the camera nods."""

    x_m: float = 0.0
    y_m: float = 0.0
    yaw_rad: float = 0.0
    nod_rad: float = 0.0


def picture(at: At, ground: np.ndarray = GROUND, far: np.ndarray = FAR) -> np.ndarray:
    pose = camera(0.06 + at.nod_rad).vehicle_from_camera
    c, s = math.cos(at.yaw_rad), math.sin(at.yaw_rad)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    ray = np.stack([(u - MATRIX[0, 2]) / FOCAL, (v - MATRIX[1, 2]) / FOCAL, np.ones_like(u)], -1)
    ray = ray @ (turn @ pose[:3, :3]).T
    eye = turn @ pose[:3, 3] + [at.x_m, at.y_m, 0]
    depth = np.where(ray[..., 2] < -0.01, -eye[2] / np.minimum(ray[..., 2], -0.01), 0)
    spot = eye[:2] + ray[..., :2] * depth[..., None]
    around = np.stack([np.arctan2(ray[..., 1], ray[..., 0]), ray[..., 2]], -1) / CELL_RAD
    # a lens shows far texture as its mean, where single looks would make grain of it
    clear = np.exp(-np.square(depth / 12.0))
    on_ground = 127.5 + (look_up(ground, spot / CELL_M) - 127.5) * clear
    grey = np.where(depth > 0, on_ground, look_up(far, around + 500))
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


def look_up(source: np.ndarray, at: np.ndarray) -> np.ndarray:
    xy = np.mod(at, 1000).astype(np.float32)
    return np.asarray(cv2.remap(source, xy[..., 0], xy[..., 1], cv2.INTER_LINEAR))


def road(cam: Camera | None = None) -> Surfaces:
    """All below the horizon, as far as a network tells."""
    rows = np.arange(90)[:, None] * 4 > (cam or camera()).horizon_row_px
    drivable = np.repeat(rows, 160, axis=1).astype(np.float32)
    return Surfaces(drivable, 0 * drivable, (0.25, 0.25))


def driven(speed_mps: float, turn_radps: float, count: int = 12, **nod: float) -> list[At]:
    out, x, y, yaw = [], 0.0, 0.0, 0.0
    for i in range(count):
        sway = nod.get("nod", 0.0) * math.sin(i * 0.9)
        out.append(At(x, y, yaw, sway))
        way, turn = speed_mps * DT_S, turn_radps * DT_S
        x, y = x + way * math.cos(yaw + turn / 2), y + way * math.sin(yaw + turn / 2)
        yaw += turn
    return out


def estimates(
    pictures: list[np.ndarray], cam: Camera | None = None, own: OwnMotion | None = None
) -> list[EgoMotion | None]:
    own, cam = own or OwnMotion(), cam or camera()
    return [
        own.update(image, i * round(DT_S * 1e9), cam, NONE, road(cam))
        for i, image in enumerate(pictures)
    ]


@pytest.mark.parametrize(
    ("speed_mps", "turn_radps"),
    [(10.0, 0.0), (3.0, 0.0), (16.0, 0.0), (8.0, 0.3), (8.0, -0.3), (-2.0, 0.0), (0.0, 0.2)],
)
def test_speed_and_yaw_rate_of_a_made_drive(speed_mps: float, turn_radps: float) -> None:
    found = estimates([picture(at) for at in driven(speed_mps, turn_radps)])[-1]
    assert found is not None and found.estimated
    assert found.speed_mps == pytest.approx(speed_mps, rel=0.02, abs=0.1)
    assert found.yaw_rate_radps == pytest.approx(turn_radps, abs=0.01)
    assert abs(found.speed_mps - speed_mps) < 2 * found.speed_std_mps
    assert abs(found.yaw_rate_radps - turn_radps) < 3 * found.yaw_rate_std_radps


@pytest.mark.parametrize("speed_mps", [25.0, 40.0, 60.0])
def test_what_passes_too_fast_to_follow_is_unknown_and_not_wrong(speed_mps: float) -> None:
    for found in estimates([picture(at) for at in driven(speed_mps, 0.0)])[2:]:
        assert found is not None and abs(found.yaw_rate_radps) < 0.02
        known = math.isfinite(found.speed_mps)
        assert not known or found.speed_mps == pytest.approx(speed_mps, rel=0.03)


def test_the_first_picture_tells_nothing_and_a_pair_is_not_enough() -> None:
    found = estimates([picture(at) for at in driven(10.0, 0.0, 3)])
    assert found[0] is None and found[1] is None and found[2] is not None


def test_standing_is_no_speed_with_a_small_deviation() -> None:
    still = picture(At())
    noise = np.random.default_rng(0)
    grainy = [np.clip(still + noise.normal(0, 3, still.shape), 0, 255).astype(np.uint8)
              for _ in range(8)]  # fmt: skip
    found = estimates(grainy)[-1]
    assert found is not None
    assert abs(found.speed_mps) < 0.1 and found.speed_std_mps < 0.2
    assert abs(found.yaw_rate_radps) < 0.01


def test_a_mirrored_drive_turns_the_other_way() -> None:
    pictures = [picture(at) for at in driven(8.0, 0.25)]
    one = estimates(pictures)[-1]
    other = estimates([np.ascontiguousarray(p[:, ::-1]) for p in pictures])[-1]
    assert one is not None and other is not None
    assert other.yaw_rate_radps == pytest.approx(-one.yaw_rate_radps, abs=0.01)
    assert other.speed_mps == pytest.approx(one.speed_mps, rel=0.02)


def test_nodding_is_seen_as_such_and_leaves_the_speed() -> None:
    own, way = OwnMotion(), driven(10.0, 0.0, 14, nod=0.012)
    found = estimates([picture(at) for at in way], own=own)[-1]
    assert own.turn is not None and found is not None
    nodded = (way[-1].nod_rad - way[-2].nod_rad) / DT_S
    assert abs(nodded) > 0.05
    assert own.turn.pitch_radps == pytest.approx(nodded, abs=0.02)
    assert abs(own.turn.yaw_radps) < 0.01
    assert abs(found.speed_mps - 10.0) < 0.12 * 10.0  # as the road seems tilted by the nod


def test_noise_is_unknown() -> None:
    noise = np.random.default_rng(3)
    pictures = [noise.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(8)]
    assert estimates(pictures) == [None] * 8


def test_a_plain_road_leaves_the_speed_unknown_and_turning_known() -> None:
    plain = np.full_like(GROUND, 90.0)
    found = estimates([picture(at, ground=plain) for at in driven(10.0, 0.2)])[-1]
    assert found is not None
    assert math.isnan(found.speed_mps) and math.isnan(found.speed_std_mps)
    assert found.yaw_rate_radps == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(("std_radps", "known"), [(0.005, True), (0.2, False)])
def test_a_turning_that_two_pictures_hardly_tell_is_unknown(
    std_radps: float, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a wrong speed is tried first: the points that are left fit nearly any turning."""
    cov = np.diag([1.0, (std_radps * DT_S) ** 2, 1e-6, 1e-6])
    fit = PairFit(np.array([0.0, 0.02, 0.0, 0.0]), cov, False, 0.1)
    monkeypatch.setattr("perception.own_motion.fit_pair", lambda *_: fit)
    own = OwnMotion()
    for i, at in enumerate(driven(0.0, 0.0, 4)):
        seen = own.update(picture(at), round(i * DT_S * 1e9), camera(), NONE, road())
    assert (own.turn is not None) == known
    assert (seen is not None) == known


def test_an_even_grey_picture_is_unknown() -> None:
    assert estimates([np.full((HEIGHT, WIDTH, 3), 128, np.uint8)] * 4) == [None] * 4


def test_a_cut_is_unknown_and_then_forgotten() -> None:
    own, before = OwnMotion(), driven(10.0, 0.0, 8)
    other = texture(7), texture(8)
    pictures = [picture(at) for at in before] + [picture(at, *other) for at in driven(4.0, 0.0, 12)]
    found = []
    for i, image in enumerate(pictures):
        found.append(own.update(image, i * round(DT_S * 1e9), camera(), NONE, road()))
        if i == 8:
            assert own.turn is None
    assert found[8] is not None and found[8].speed_mps == pytest.approx(10.0, rel=0.02)
    assert found[8].speed_std_mps > found[7].speed_std_mps  # type: ignore[union-attr]
    assert found[-1] is not None and found[-1].speed_mps == pytest.approx(4.0, rel=0.03)
    assert all(
        f is None or abs(f.speed_mps - v) < 0.3 or math.isnan(f.speed_mps)
        for f, v in zip(found[2:8] + found[13:], [10.0] * 6 + [4.0] * 7, strict=True)
    )


@pytest.mark.parametrize("how", ["gap", "size"])
def test_nothing_is_compared_over_a_gap_or_with_another_size(how: str) -> None:
    own = OwnMotion()
    pictures = [picture(at) for at in driven(10.0, 0.0, 8)]
    assert estimates(pictures[:7], own=own)[-1] is not None
    t_ns = 6 * round(DT_S * 1e9)
    if how == "gap":
        assert own.update(pictures[7], t_ns + 800_000_000, camera(), NONE, road()) is None
    else:
        cut = np.ascontiguousarray(pictures[7][60:])
        cam = camera(height_px=HEIGHT - 60)
        found = own.update(cut, t_ns + 50_000_000, cam, NONE, road())
        assert found is not None and found.speed_mps == pytest.approx(10.0, rel=0.04)
    assert own.turn is None


def test_frames_without_a_picture_are_bridged_for_a_while() -> None:
    own, way = OwnMotion(), driven(10.0, 0.0, 12)
    last = estimates([picture(at) for at in way[:8]], own=own)[-1]
    step = round(DT_S * 1e9)
    coasted = own.coast(8 * step)
    assert last is not None and coasted is not None and own.turn is None
    assert coasted.speed_mps == last.speed_mps
    assert coasted.speed_std_mps > last.speed_std_mps
    after = own.update(picture(way[9]), 9 * step, camera(), NONE, road())
    assert own.turn is not None and after is not None
    assert after.speed_mps == pytest.approx(10.0, rel=0.02)
    assert own.coast(9 * step + 900_000_000) is None


def test_the_same_time_again_changes_nothing() -> None:
    own = OwnMotion()
    pictures = [picture(at) for at in driven(10.0, 0.0, 6)]
    before = estimates(pictures, own=own)[-1]
    assert own.update(pictures[-1], 5 * round(DT_S * 1e9), camera(), NONE, road()) == before


def test_an_assumed_camera_makes_the_speed_less_certain() -> None:
    pictures = [picture(at) for at in driven(10.0, 0.0)]
    sure = estimates(pictures)[-1]
    rough = estimates(pictures, camera(angle_std_rad=(0.02, 0.02)))[-1]
    assert sure is not None and rough is not None
    assert rough.speed_std_mps > 3 * sure.speed_std_mps


def test_points_on_objects_are_not_followed() -> None:
    """Half the road is hidden by a sheet of texture that stands still in the picture."""
    sheet = np.repeat(np.rint(texture(9)[:180, :500]).astype(np.uint8)[..., None], 3, axis=2)
    box = Detections([[70, 180, 570, 360]], [0.9], [0])
    own = OwnMotion()
    for i, at in enumerate(driven(10.0, 0.0)):
        image = picture(at)
        image[180:, 70:570] = sheet
        found = own.update(image, i * round(DT_S * 1e9), camera(), box, road())
    assert found is not None and found.speed_mps == pytest.approx(10.0, rel=0.03)


def test_marks_that_seem_to_stand_are_no_speed_while_the_world_passes() -> None:
    """Reflections on the road stand still in the picture; trees beside it pass by."""
    own, far = OwnMotion(), picture(At(), far=np.full_like(FAR, 200.0))
    for i in range(10):
        image = far.copy()
        growth = 1 + 0.5 * (i + 1) / 10  # a wall of texture on both sides comes nearer
        wall = cv2.warpAffine(
            FAR, np.array([[growth, 0, 320 - 512 * growth], [0, growth, 160 - 512 * growth]]),
            (WIDTH, HEIGHT),
        )  # fmt: skip
        image[:150] = np.rint(wall[:150, :, None]).astype(np.uint8)
        found = own.update(image, i * round(DT_S * 1e9), camera(), NONE, road())
    assert found is None or math.isnan(found.speed_mps)


def test_the_same_bytes_on_any_number_of_threads() -> None:
    pictures, threads = [picture(at) for at in driven(9.0, 0.1, 6)], cv2.getNumThreads()
    try:
        found = []
        for n in (1, 4):
            cv2.setNumThreads(n)
            found.append(estimates(pictures)[-1])
    finally:
        cv2.setNumThreads(threads)
    assert found[0] == found[1] is not None


def test_its_state_is_gone_on_with() -> None:
    pictures = [picture(at) for at in driven(9.0, 0.1, 10)]
    whole, first, second = OwnMotion(), OwnMotion(), OwnMotion()
    expected = estimates(pictures, own=whole)[-1]
    estimates(pictures[:6], own=first)
    state = {k: v for k, v in vars(first).items() if k != "config"}
    vars(second).update(decode(json.loads(json.dumps(encode(state)))))
    for i in range(6, 10):
        found = second.update(pictures[i], i * round(DT_S * 1e9), camera(), NONE, road())
    assert found == expected and vars(second.turn) == vars(whole.turn)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 40, 3), (9, 9, 3), (2000, 12, 3)])
def test_odd_pictures_do_no_harm(shape: tuple[int, int, int]) -> None:
    own, cam = OwnMotion(), Camera.assumed(shape[1], shape[0])
    surfaces = Surfaces(np.ones((2, 2)), np.zeros((2, 2)), (2 / shape[1], 2 / shape[0]))
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 255, shape, np.uint8)
        assert own.update(image, i * 50_000_000, cam, NONE, surfaces) is None


def test_a_known_shift_is_followed() -> None:
    grey = small_grey(picture(At()))
    moved = np.roll(grey, (2, -3), axis=(0, 1))
    xy = np.array([[100, 60], [160, 90], [220, 50]], np.float32)
    found, ok = follow(grey, moved, xy, xy)
    assert ok.all()
    np.testing.assert_allclose(found, xy + [-3, 2], atol=0.1)


def test_a_look_made_ready_ahead_changes_nothing():
    own, ahead = OwnMotion(), OwnMotion()
    for i, at in enumerate(driven(10.0, 0.0, 6)):
        image, rest = picture(at), (i * round(DT_S * 1e9), camera(), NONE, road())
        assert own.update(image, *rest) == ahead.update(own.look_at(image), *rest)
    assert own.update(image, 7 * round(DT_S * 1e9), camera(), NONE, road()) is not None


@pytest.mark.parametrize("size", [(640, 360), (1280, 720), (1920, 1080), (640, 480)])
def test_the_small_picture_lies_where_its_camera_says(size: tuple[int, int]) -> None:
    width, height = size
    v, u = np.mgrid[:height, :width].astype(np.float64)
    blob = 250 * np.exp(-((u - 0.4 * width) ** 2 + (v - 0.6 * height) ** 2) / (width / 20) ** 2)
    look = OwnMotion().look_at(np.repeat(blob[..., None], 3, 2).astype(np.uint8))

    def middle(picture: np.ndarray) -> np.ndarray:
        rows, columns = np.indices(picture.shape)
        return np.array([(columns * picture).sum(), (rows * picture).sum()]) / picture.sum()

    scale = np.array(look.grey.shape[::-1]) / size
    resized = (middle(np.floor(blob)) + 0.5) * scale - 0.5
    assert middle(look.grey.astype(float)) == pytest.approx(resized - look.shift_px, abs=0.02)


def test_drops_on_the_pane_make_no_standing_car_of_one_that_passes_houses() -> None:
    """What stands still on the picture's road must agree with what goes by beside it."""
    rng, g, slack = np.random.default_rng(0), Geometry.of(camera()), 1.5 / FOCAL
    first = np.column_stack([rng.uniform(-0.5, 0.5, 48), rng.uniform(-0.3, 0.0, 48), np.ones(48)])
    depth_m = rng.uniform(8, 40, 48)

    def refused(way_m: float, fitted_m: float, still: int) -> bool:
        point = first * depth_m[:, None] - way_m * g.axes[0]
        second = point / point[:, 2:]
        second[:still] = first[:still]  # drops beside the road as well
        motion = np.array([fitted_m, 0, 0, 0])
        return _too_near(motion, first, second, g, slack, PairConfig())

    assert refused(0.4, 0.03, still=30) and refused(1.0, 0.0, still=30)
    assert not refused(0.4, 0.4, still=30) and not refused(1.0, 1.0, still=0)
    assert not refused(0.0, 0.0, still=0)
