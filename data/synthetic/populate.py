"""Filling a scene: roadsides by kind of road, parked cars, traffic and people."""

from __future__ import annotations

import math

import numpy as np

from data.synthetic import people, roadside, vehicles
from data.synthetic.motion import Motion, driving, pedalled, standing, walking
from data.synthetic.scenes import Part, SceneBuilder

RIGHT, LEFT = -1, 1


def _in_junction(build: SceneBuilder, s: float, margin: float) -> bool:
    span = build.road.layout.junction_m
    return span is not None and span[0] - margin < s < span[1] + margin


def _side(build: SceneBuilder, side: int, out_m: float) -> float:
    """d at ``out_m`` beyond the road's edge on a side (the far carriageway counts as road)."""
    right, left = build.road.layout.edge_m
    if side == RIGHT:
        return right - out_m
    far = build.road.layout.far_side_m
    return (far[1] if far else left) + out_m


def roadsides(build: SceneBuilder, density: float = 1.0) -> None:
    """Buildings, trees, lamps and clutter that fit the road's kind."""
    kind = build.road.layout.kind
    for side in (RIGHT, LEFT):
        if kind == "urban":
            _buildings(build, side)
            _row_of_trees(build, side, 0.9, 11.0, 0.45 * density)
            _clutter(build, side)
        else:
            _woods(build, side, density)
        if kind == "motorway" or (kind == "rural" and build.rng.random() < 0.3):
            _rails(build, _side(build, side, 0.7))
    if kind == "motorway":
        _rails(build, 2.1)
    if kind != "rural":
        _lamps(build)


def _buildings(build: SceneBuilder, side: int) -> None:
    rng, lay = build.rng, build.road.layout
    s = build.road.start_m + rng.uniform(0, 8)
    turn = math.pi if side == RIGHT else 0.0
    while s < build.road.end_m - 12:
        block = roadside.building(int(rng.integers(roadside.BUILDINGS)))
        middle = s + block.wide_m / 2
        s += block.wide_m + (0.3, 0.3, 0.3, 0.3, 0.6, 0.6, 0.6, 5.0, 5.0, 12.0)[rng.integers(10)]
        if _in_junction(build, middle, block.wide_m / 2 + 3):
            continue
        set_back = lay.pavement_m + (0.2, 0.2, 0.2, 1.0, 1.0, 4.0)[rng.integers(6)]
        d = _side(build, side, set_back + block.deep_m / 2)
        size = (block.wide_m, block.deep_m, block.height_m)
        place = build.at(middle, d, turn)
        build.scenery(block.mesh, place, size, (roadside.wall_colour(rng),))


def _tree(build: SceneBuilder, s: float, d: float) -> None:
    rng = build.rng
    mesh = roadside.tree(int(rng.integers(roadside.TREES)))
    place, scale = build.at(s, d, float(rng.uniform(-3, 3))), float(rng.uniform(0.75, 1.2))
    build.scenery(mesh, place, (3.0, 3.0, 6.0), (roadside.leaf_colour(rng),), scale)


def _row_of_trees(build: SceneBuilder, side: int, out_m: float, gap_m: float, share: float) -> None:
    rng = build.rng
    for s in np.arange(build.road.start_m, build.road.end_m - 2, gap_m).tolist():
        if rng.random() > share or _in_junction(build, s, 5):
            continue
        _tree(build, s + rng.uniform(-2, 2), _side(build, side, out_m + rng.uniform(0, 0.8)))


def _woods(build: SceneBuilder, side: int, density: float) -> None:
    rng = build.rng
    thick = float(rng.uniform(0.2, 1.0)) * density
    for s in np.arange(build.road.start_m, build.road.end_m - 2, 5.0).tolist():
        if rng.random() < thick:
            _tree(build, s + rng.uniform(-2, 2), _side(build, side, rng.uniform(3.5, 22)))
        if rng.random() < thick * 0.3:
            where = build.at(s, _side(build, side, rng.uniform(2.5, 6)))
            mesh = roadside.bush(int(rng.integers(roadside.BUSHES)))
            build.scenery(mesh, where, dye=(roadside.leaf_colour(rng),))
        if rng.random() < 0.02:
            block = roadside.building(3 * int(rng.integers(roadside.BUILDINGS // 3)))
            turn = math.pi if side == RIGHT else 0.0
            where = build.at(s, _side(build, side, rng.uniform(16, 30)), turn)
            build.scenery(block.mesh, where, dye=(roadside.wall_colour(rng),))


def _rails(build: SceneBuilder, d_m: float) -> None:
    mesh = roadside.rail(8.0)
    for s in np.arange(build.road.start_m + 4, build.road.end_m - 4, 8.0).tolist():
        build.scenery(mesh, build.at(s, d_m))


def _lamps(build: SceneBuilder) -> None:
    mesh = roadside.street_lamp(2.2)
    start = build.rng.uniform(0, 25)
    places = np.arange(build.road.start_m + start, build.road.end_m - 2, 27.0).tolist()
    for i, s in enumerate(places):
        if _in_junction(build, s, 1):
            continue
        side = RIGHT if i % 2 else LEFT
        turn = 0.0 if side == RIGHT else math.pi
        build.scenery(mesh, build.at(s, _side(build, side, 0.6), turn))


def _clutter(build: SceneBuilder, side: int) -> None:
    rng = build.rng
    for s in np.arange(build.road.start_m, build.road.end_m - 2, 9.0).tolist():
        if rng.random() < 0.3 and not _in_junction(build, s, 3):
            where = build.at(s + rng.uniform(-3, 3), _side(build, side, rng.uniform(0.4, 2.0)))
            build.scenery(roadside.clutter(int(rng.integers(3))), where)


def add_sign(build: SceneBuilder, kind: str, s_m: float, d_m: float, size_m: float = 0.75) -> None:
    """A sign facing the own traffic."""
    post, plate = roadside.traffic_sign(kind, size_m, 2.1 if size_m < 1.2 else 4.6)
    where = build.at(s_m, d_m)
    build.scenery(post, where)
    build.fixed(plate, "traffic_sign", where, (0.2, size_m, size_m))


def random_signs(build: SceneBuilder, first_m: float, gap_m: float) -> None:
    rng = build.rng
    s = first_m + rng.uniform(0, gap_m)
    while s < build.road.end_m - 10:
        kind = ("limit", "warning", "guide", "yield", "stop")[rng.integers(5)]
        if build.road.layout.kind == "motorway":
            kind = ("guide", "limit", "guide")[rng.integers(3)]
        big = kind == "guide" and build.road.layout.kind == "motorway"
        size = 2.4 if big else 0.6 + 0.05 * int(rng.integers(7))
        side = RIGHT if rng.random() < 0.8 else LEFT
        if not _in_junction(build, s, 1):
            add_sign(build, kind, s, _side(build, side, rng.uniform(0.4, 1.5)), size)
        s += rng.uniform(0.4, 1.6) * gap_m


def add_traffic_lights(build: SceneBuilder, state: str) -> None:
    """Lights at the junction's far side on the right and near side over the road."""
    span, lay = build.road.layout.junction_m, build.road.layout
    if span is None:
        return
    reach = 3.4 + int(build.rng.integers(1 + max(int(-lay.edge_m[0] - 3.4), 0)))
    places = [(span[1] + 1.0, _side(build, RIGHT, 0.7), reach),
              (span[0] - 1.0, _side(build, RIGHT, 0.7), 0.0),
              (span[1] + 1.0, _side(build, LEFT, 0.7), 0.0)]  # fmt: skip
    for s, d, arm in places:
        pole, housings = roadside.traffic_light(state, arm)
        where = build.at(s, d)
        build.scenery(pole, where)
        for mesh in housings:
            build.fixed(mesh, "traffic_light", where, (0.3, 0.4, 1.0))


def add_vehicle(build: SceneBuilder, vehicle: vehicles.Vehicle, motion: Motion) -> None:
    meshes = vehicle.cruising, vehicle.braking
    build.moving([Part("vehicle", meshes, vehicle.size_m, vehicle.dye)], motion)


def parked_cars(build: SceneBuilder, side: int, share: float) -> None:
    """Cars along the kerb, some bays empty."""
    rng, lay = build.rng, build.road.layout
    d = _side(build, side, -min(lay.parking_m, 2.3) / 2)
    s = build.road.start_m + 4
    while s < build.road.end_m - 6:
        vehicle = vehicles.random_vehicle(rng, 0.03)
        s += vehicle.length_m / 2
        if rng.random() < share and not _in_junction(build, s, 9):
            turn = (0.0 if side == RIGHT else math.pi) + rng.normal(0, 0.02)
            where = build.at(s, d + rng.normal(0, 0.08), turn)
            mesh, size = vehicle.cruising, vehicle.size_m
            build.fixed(mesh, "vehicle", where, size, vehicle.dye, lamps=0.0)
        s += vehicle.length_m / 2 + rng.uniform(0.6, 1.8)


def lane_traffic(
    build: SceneBuilder, lane: int, first_m: float, gap_m: float, speed_mps: float,
    duration_s: float, d_m: float | None = None,
) -> None:  # fmt: skip
    """Vehicles one behind the other in a lane (negative lanes or a positive d_m: oncoming)."""
    rng = build.rng
    d = build.road.layout.lane_centre_m(lane) if d_m is None else d_m
    s = first_m
    while s < build.road.end_m - 8:
        vehicle = vehicles.random_vehicle(rng)
        s += vehicle.length_m / 2
        knots, speeds = [0.0, 1.0], [speed_mps, speed_mps]
        if rng.random() < 0.3:
            speeds = [speed_mps + 2, speed_mps]  # it brakes
        motion = driving(build.road, s, d + rng.normal(0, 0.15), knots, speeds, duration_s, d > 0)
        add_vehicle(build, vehicle, motion)
        s += vehicle.length_m / 2 + gap_m * rng.uniform(0.35, 2.4)


def add_pedestrian(build: SceneBuilder, motion: Motion) -> None:
    """A person whose motion has the walking variants (see ``motion.walking``)."""
    outfit = people.random_outfit(build.rng)
    meshes = tuple(people.pedestrian(step) for step in range(people.WALK_PHASES + 1))
    size = (0.5, 0.5, outfit.height_m)
    build.moving([Part("person", meshes, size, outfit.dye, outfit.scale)], motion)


def stroll(build: SceneBuilder, s_m: float, d_m: float, back: bool, speed_mps: float) -> Motion:
    """Walking along the pavement."""
    end = s_m + (-40.0 if back else 40.0)
    return walking(
        build.road.at(s_m, d_m), build.road.at(end, d_m), speed_mps, -3.0,
        people.WALK_PHASES, people.STRIDE_M,
    )  # fmt: skip


def crossing(
    build: SceneBuilder, s_m: float, from_d_m: float, to_d_m: float, speed_mps: float,
    begin_s: float,
) -> Motion:  # fmt: skip
    """Walking across the road."""
    return walking(
        build.road.at(s_m, from_d_m), build.road.at(s_m, to_d_m), speed_mps, begin_s,
        people.WALK_PHASES, people.STRIDE_M,
    )  # fmt: skip


def random_people(build: SceneBuilder, number: int) -> None:
    """On the pavements (or the verge), now and then on the road; caught in mid-step."""
    rng, lay = build.rng, build.road.layout
    for _ in range(number):
        s = float(build.road.start_m + 25 + rng.gamma(2.0, 14.0))
        variant = int(rng.integers(people.WALK_PHASES + 1))
        turn = math.pi * int(rng.integers(2)) + float(rng.normal(0, 0.2))
        if rng.random() < 0.25:
            s += 6.0  # not right before the bonnet
            d = float(rng.uniform(*lay.edge_m))
            turn += math.pi / 2
        else:
            side = RIGHT if rng.random() < 0.6 else LEFT
            d = _side(build, side, float(rng.uniform(0.4, max(lay.pavement_m - 0.3, 1.2))))
        if variant == people.WALK_PHASES:
            turn = float(rng.uniform(-math.pi, math.pi))
        place = build.at(s, d, turn)
        if build.is_free(place, 0.5):
            add_pedestrian(build, standing(*place, variant))


def add_two_wheeler(build: SceneBuilder, motion: Motion, motor: bool, ridden: bool = True) -> None:
    """A bicycle or motorcycle, usually with its rider as a person of its own."""
    rng = build.rng
    colour = vehicles.PAINTS[int(rng.integers(len(vehicles.PAINTS)))]
    mesh = people.motorcycle() if motor else people.bicycle()
    size = (2.1 if motor else 1.75, 0.7, 1.6)
    parts = [Part("two_wheeler", (mesh,), size, (colour,))]
    if ridden:
        outfit = people.random_outfit(rng)
        helmet, start = motor or rng.random() < 0.5, int(rng.integers(people.PEDALS))
        turns = [start] if motor else [(start + k) % people.PEDALS for k in range(people.PEDALS)]
        bodies = tuple(people.rider(helmet, k) for k in turns)
        parts.append(Part("person", bodies, (0.7, 0.6, 1.75), outfit.dye))
    build.moving(parts, motion if motor else pedalled(motion, people.PEDALS, people.TURN_M))
