"""What happens: the story of the built-in drive, and single random views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.synthetic import populate, vehicles
from data.synthetic.looks import LOOKS, make_look, random_look
from data.synthetic.motion import EgoState, driving
from data.synthetic.road import Layout, Road, curved_road, motorway, rural, urban
from data.synthetic.scenes import Scene, SceneBuilder

RIGHT, LEFT = populate.RIGHT, populate.LEFT
ROADS: tuple[str, ...] = ("straight", "curve", "junction")
SLOPE_RAD = 0.009


@dataclass(frozen=True, eq=False)
class Story:
    """A scene, where the own vehicle starts, its lane's middle (d) and the speed it would like."""

    scene: Scene
    start: EgoState
    lane_d_m: float
    cruise_mps: float


def city_story(
    seed: int, duration_s: float, panorama_px: int, look: str | None = None,
    road: str | None = None,
) -> Story:  # fmt: skip
    """Behind a slowing car, past parked and oncoming ones, up to a crossing person.

    Seed 0 is by day, through a gentle S and a junction; others draw the look (one of ``LOOKS``),
    the road (one of ``ROADS``) and its slopes, where these are not given.
    """
    rng = np.random.default_rng([seed, 11])
    drawn, kind = str(rng.choice(LOOKS)), str(rng.choice(ROADS, p=(0.2, 0.2, 0.6)))
    name = look or ("clear" if seed == 0 else drawn)
    ground = _city_road(seed, rng, duration_s, road or ("junction" if seed == 0 else kind))
    build = SceneBuilder(ground, make_look(name, rng, 0.0 if seed == 0 else 0.7), rng)
    populate.roadsides(build, 0.8)
    populate.parked_cars(build, RIGHT, 0.62)
    populate.parked_cars(build, LEFT, 0.6)
    populate.add_traffic_lights(build, "green")
    _city_signs(build)
    lane = ground.layout.lane_centre_m(0)
    _city_traffic(build, duration_s)
    _city_people(build)
    x, y, yaw = build.at(0.0, lane)
    return Story(build.build(panorama_px), EgoState(x, y, yaw, 10.0), lane, 11.0)


def _city_road(seed: int, rng: np.random.Generator, duration_s: float, kind: str) -> Road:
    """Two own lanes and an oncoming one; with a junction, in curves, or neither."""
    length = 190.0 + 12.0 * max(duration_s, 13.0)  # so that short drives share one town
    junction = (84.0, 96.0) if kind == "junction" else None
    layout = urban(2, 1, 3.4, 2.2, 3.2, True, junction, zebra=True)
    most = {"straight": 0.0, "curve": 0.012, "junction": 0.006}[kind]
    bend = 0.0045 if seed == 0 and kind == "junction" else _signed(rng, 0.4 * most, most)
    knots = np.linspace(-30.0, length, 40)
    curvature = bend * np.sin((knots + 10) / 130 * 2 * np.pi)
    # slopes: knots every 25 m or so; none where the drive begins, and none in the first drive
    tilt = np.clip(rng.normal(0, SLOPE_RAD, 64), -2 * SLOPE_RAD, 2 * SLOPE_RAD)
    tilt = tilt[: round((length + 30) / 25)] * (seed != 0)
    tilt[:3] = 0.0
    return curved_road(-30.0, length, curvature, layout, tilt)


def _signed(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high)) * (1 if rng.random() < 0.5 else -1)


def _city_signs(build: SceneBuilder) -> None:
    right, left = build.road.layout.edge_m
    for kind, s, d in (
        ("limit", 24.0, right - 0.6), ("warning", 46.0, right - 0.6), ("guide", 72.0, right - 0.9),
        ("yield", 38.0, left + 0.7), ("limit", 118.0, right - 0.6), ("stop", 78.0, left + 0.7),
    ):  # fmt: skip
        populate.add_sign(build, kind, s, d, 0.8)
    populate.random_signs(build, 140.0, 45.0)


def _city_traffic(build: SceneBuilder, duration_s: float) -> None:
    road, lay = build.road, build.road.layout
    lead = vehicles.car("suv", vehicles.PAINTS[0])
    knots, speeds = [0.0, 0.8, 2.6, 3.6, 5.5, 12.0], [10.5, 10.5, 7.0, 7.0, 11.0, 13.0]
    motion = driving(road, 24.0, lay.lane_centre_m(0), knots, speeds, duration_s)
    populate.add_vehicle(build, lead, motion)
    right = lay.lane_centre_m(1)
    for s, kind, paint, v in ((41.0, "hatch", 7, 9.0), (66.0, "van", 1, 10.0)):
        car = vehicles.car(kind, vehicles.PAINTS[paint])
        motion = driving(road, s, right, [0.0, 20.0], [v, v + 3], duration_s)
        populate.add_vehicle(build, car, motion)
    motion = driving(road, 15.0, right - 0.7, [0.0, 6.0], [5.2, 5.6], duration_s)
    populate.add_two_wheeler(build, motion, motor=False)
    populate.lane_traffic(build, -1, 48.0, 26.0, 9.5, duration_s)
    motion = driving(road, 32.0, lay.lane_centre_m(-1), [0.0, 1.0], [10.0, 10.0], duration_s, True)
    populate.add_two_wheeler(build, motion, motor=True)


def _city_people(build: SceneBuilder) -> None:
    right, left = build.road.layout.edge_m
    # the one who makes the drive interesting: out between parked cars, across all lanes
    motion = populate.crossing(build, 62.0, right - 1.0, left + 1.2, 1.7, 1.6)
    populate.add_pedestrian(build, motion)
    for s, out, back in ((20, 1.4, False), (33, 2.0, True), (52, 1.2, True), (90, 1.6, False)):
        populate.add_pedestrian(build, populate.stroll(build, s, right - out, back, 1.3))
    for s, out, back in ((27, 1.5, False), (58, 2.2, True), (75, 1.0, True)):
        populate.add_pedestrian(build, populate.stroll(build, s, left + out, back, 1.2))


def random_layout(rng: np.random.Generator) -> Layout:
    """A cross-section: streets mostly, then motorways, then country roads."""
    pick = rng.random()
    yellow = bool(rng.random() < 0.6)
    if pick < 0.58:
        span = None
        if rng.random() < 0.6:
            start = float(rng.uniform(14, 75))
            span = (start, start + float(rng.uniform(8, 18)))
        return urban(
            int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15])),
            int(rng.choice([0, 1, 2], p=[0.2, 0.55, 0.25])),
            float(rng.uniform(2.9, 3.7)), float(rng.choice([0.0, 2.2, 2.4], p=[0.3, 0.4, 0.3])),
            float(rng.uniform(1.6, 4.5)), yellow, span, bool(rng.random() < 0.6),
            bool(rng.random() < 0.9),
        )  # fmt: skip
    if pick < 0.84:
        lanes = int(rng.choice([2, 3, 4, 5], p=[0.3, 0.35, 0.25, 0.1]))
        return motorway(lanes, float(rng.uniform(3.4, 3.8)), float(rng.uniform(0.6, 3.2)), yellow)
    return rural(float(rng.uniform(2.9, 3.7)), float(rng.uniform(0.2, 1.5)), yellow,
                 bool(rng.random() < 0.5))  # fmt: skip


def _random_road(rng: np.random.Generator, layout: Layout) -> Road:
    sharp = {"urban": 0.006, "rural": 0.012, "motorway": 0.003}[layout.kind]
    straight = layout.kind == "urban" and rng.random() < 0.6
    knots = np.cumsum(rng.normal(0, 0.35, 8)) * sharp
    knots = np.clip(knots, -1.6 * sharp, 1.6 * sharp)
    return curved_road(-25.0, 190.0, knots * (0.1 if straight else 1.0), layout)


def random_view(rng: np.random.Generator, panorama_px: int, look: str | None = None) -> Story:
    """One random scene with the own vehicle somewhere in one of its lanes; ``look`` is one of
    ``LOOKS``, drawn with about the shares of a real data set if not given."""
    layout = random_layout(rng)
    road = _random_road(rng, layout)
    drawn = random_look(rng)
    build = SceneBuilder(road, drawn if look is None else make_look(look, rng), rng)
    populate.roadsides(build, float(rng.uniform(0.3, 1.0)))
    if layout.parking_m:
        for side in (RIGHT, LEFT):
            populate.parked_cars(build, side, float(rng.choice([0.3, 0.6, 0.9])))
    if layout.junction_m and rng.random() < 0.85:
        populate.add_traffic_lights(build, str(rng.choice(["red", "green", "green", "amber"])))
    populate.random_signs(build, 8.0, 30.0)
    own = int(rng.integers(layout.own_lanes))
    _random_traffic(build, own)
    busy = {"urban": 7.0, "rural": 0.6, "motorway": 0.1}[layout.kind]
    populate.random_people(build, int(rng.poisson(busy)))
    _random_two_wheelers(build, {"urban": 2.6, "rural": 0.6, "motorway": 0.4}[layout.kind])
    lane = layout.lane_centre_m(own)
    x, y, yaw = build.at(0.0, lane + float(rng.normal(0, 0.3)), float(rng.normal(0, 0.02)))
    scene = build.build(panorama_px, ahead_only=True)
    return Story(scene, EgoState(x, y, yaw, 10.0), lane, 10.0)


def _random_traffic(build: SceneBuilder, own: int) -> None:
    rng, lay = build.rng, build.road.layout
    gap = float(rng.choice([4.0, 14.0, 30.0, 70.0], p=[0.15, 0.3, 0.35, 0.2]))
    for lane in range(-lay.oncoming_lanes, lay.own_lanes):
        first = float(rng.uniform(8.0, 10.0 + gap)) if lane == own else float(rng.uniform(-6, gap))
        populate.lane_traffic(build, lane, first, gap, 9.0, 0.0)
    if lay.far_side_m:
        near, far = lay.far_side_m
        for d in np.arange(near + 1.2 + lay.lane_width_m / 2, far - 1, lay.lane_width_m):
            populate.lane_traffic(build, -1, float(rng.uniform(0, 30)), gap, 25.0, 0.0, float(d))


def _random_two_wheelers(build: SceneBuilder, mean: float) -> None:
    rng, lay = build.rng, build.road.layout
    for _ in range(int(rng.poisson(mean))):
        s = float(6 + rng.gamma(2.0, 12.0))
        oncoming = bool(lay.oncoming_lanes and rng.random() < 0.35)
        edge = lay.oncoming_lanes * lay.lane_width_m if oncoming else lay.own_m[0]
        d = edge + (-0.7 if oncoming else 0.7)
        if not build.is_free(build.at(s, d), 1.2):
            continue
        motion = driving(build.road, s, d, [0.0, 1.0], [6.0, 6.0], 0.0, oncoming)
        populate.add_two_wheeler(build, motion, bool(rng.random() < 0.5), rng.random() < 0.9)
