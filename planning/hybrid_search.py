"""Hybrid A* from both ends: arrays, budgets and turns of the kernels in ``lattice``.

A way to the goal driven forward is a way from the goal, turned round, of a vehicle whose ends
are swapped. So one search serves both directions; the two take turns with growing budgets. The
one from the goal gets out of a tight slot where the other one hardly gets in, and where either
has looked at all it can reach, there is no way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from planning.cost_to_go import cost_to_go, estimate
from planning.curves import PARTS
from planning.footprint import Body, Field, field_of
from planning.lattice import (
    EXHAUSTED,
    FOUND,
    FULL,
    RUNNING,
    Moves,
    Nodes,
    Rules,
    expand,
    fill_table,
)

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

_NODES = 1 << 15  # room for nodes at first; grows with the search
_FIRST, _GROWTH = 250, 2  # expansions of the first turn, and how turns grow
_ASK = 2000  # length of the turn before which it is asked whether there is hope
_CUT, _MAX_CUT_CELLS = 4, 8_000_000
_CHUNK = 1000  # expansions between looks at the clock
_STEERINGS = (0.0, 0.5, -0.5, 1.0, -1.0)


@dataclass
class Search:
    """One search under way, in the frame of its own vehicle (turned round when ``backward``)."""

    body: Body
    start: F64
    goal: F64
    to_go: F64
    rules: Rules
    moves: Moves
    table: I32
    shape: tuple[int, int]
    nodes: Nodes
    backward: bool
    code: int = RUNNING
    state: I64 = field(default_factory=lambda: np.array([1, 1, 0, 0, 0, -1, 0]))
    score: F64 = field(default_factory=lambda: np.array([math.inf, math.inf, 0.0]))
    tail: F64 = field(default_factory=lambda: np.zeros((PARTS, 2)))

    @property
    def expanded(self) -> int:
        return int(self.state[2])

    def way(self) -> F64:
        """Arcs from the start: to the goal where found, else to the node nearest to it."""
        node = int(self.state[5] if self.state[5] >= 0 else self.state[4])
        arcs: list[tuple[float, float]] = []
        nodes, moves = self.nodes, self.moves
        while nodes.before[node] >= 0:
            m = nodes.move[node]
            arcs.append((moves.curvature[m], moves.length[m]))
            node = nodes.before[node]
        way = np.array(arcs[::-1], np.float64).reshape(-1, 2)
        if self.state[5] >= 0:
            way = np.vstack([way, self.tail[self.tail[:, 1] != 0]])
        return backwards(way) if self.backward else way


def moves_of(rules: Rules, length_m: float) -> Moves:
    """Arcs of five steerings, forward and, where allowed, in reverse."""
    ways = (1.0, -1.0) if rules.reverse else (1.0,)
    length = np.repeat(ways, len(_STEERINGS)) * length_m
    curvature = np.tile(_STEERINGS, len(ways)) * rules.curvature
    k = max(1, math.ceil(length_m / rules.check_m - 1e-9))
    s = length[:, None] * (np.arange(1, k + 1) / k)
    turn = s * curvature[:, None]
    chord = np.sinc(turn / 2 / np.pi) * s
    steps = [chord * np.cos(turn / 2), chord * np.sin(turn / 2), np.cos(turn), np.sin(turn)]
    return Moves(length, curvature, np.stack(steps, axis=2))


def _nodes(n: int) -> Nodes:
    return Nodes(
        np.empty((n, 3)), np.empty(n, np.int64), np.empty(n), np.empty(n, np.int32),
        np.empty(n, np.int8), np.empty(n, np.bool_), np.empty(n + 1), np.empty(n + 1, np.int32),
    )  # fmt: skip


def _grown(nodes: Nodes) -> Nodes:
    """Twice the room; the last node, which stands for the goal, stays the last."""
    n = len(nodes.cost)
    new = _nodes(2 * n)
    for name in Nodes._fields:
        old_array = getattr(nodes, name)
        getattr(new, name)[: len(old_array)] = old_array
    new.item[: n + 1][nodes.item == n - 1] = 2 * n - 1
    new.done[-1] = False
    return new


def _table(nodes: Nodes, count: int) -> I32:
    """Bins of the first ``count`` nodes, with room for all; see ``lattice.slot_of``."""
    table = np.zeros(2 * len(nodes.cost), np.int32)
    run(fill_table, table, nodes.bin, count)
    return table


def backwards(way: F64) -> F64:
    """Arcs from the other end, of the vehicle turned round."""
    return np.asarray(way[::-1] * (-1.0, 1.0))


def turned(pose: F64) -> F64:
    """A pose turned round."""
    return pose + (0.0, 0.0, math.pi)


def make_search(
    area: Field, body: Body, start: F64, goal: F64, to_go: F64, rules: Rules, backward: bool
) -> Search:
    """A search that has looked at nothing yet."""
    rows, cols = area.near_m.shape
    shape = int(rows * area.cell_m / rules.bin_m) + 1, int(cols * area.cell_m / rules.bin_m) + 1
    if backward:
        start, goal = turned(goal), turned(start)
        body = body._replace(middle_m=-body.middle_m)
    nodes = _nodes(_NODES)
    nodes.pose[0], nodes.cost[0], nodes.before[0], nodes.move[0] = start, 0.0, -1, -1
    nodes.bin[0] = -1  # the start's may be left and come back to
    hope = run(estimate, to_go, rules.block_m, start[0], start[1])
    nodes.done[0], nodes.key[0], nodes.item[0] = False, rules.greed * hope, 0
    nodes.done[-1] = False
    moves = moves_of(rules, 1.5 * rules.bin_m)
    table = _table(nodes, 0)
    return Search(body, start, goal, to_go, rules, moves, table, shape, nodes, backward)


def advance(search: Search, area: Field, budget: int, late: Callable[[], bool]) -> None:
    """Go on for ``budget`` expansions or until ``late``."""
    s, until = search, search.expanded + budget
    while s.code == RUNNING and s.expanded < until and not late():
        s.code = run(
            expand, area, s.body, s.rules, s.moves, s.to_go, s.table, s.shape, s.nodes, s.state,
            s.score, s.goal, s.tail, min(_CHUNK, until - s.expanded),
        )  # fmt: skip
        if s.code == FULL:
            s.nodes, s.code = _grown(s.nodes), RUNNING
            s.table = _table(s.nodes, int(s.state[0]))


def reaches(to_go: F64, rules: Rules, pose: F64) -> bool:
    return math.isfinite(run(estimate, to_go, rules.block_m, pose[0], pose[1]))


def costs_to(area: Field, rules: Rules, disc_m: float, pose: F64, only: F64 | None = None) -> F64:
    """``cost_to_go`` of a pose's place: from everywhere, or from the pose ``only``."""
    block = round(rules.block_m / area.cell_m)
    x, y = (math.nan, math.nan) if only is None else (float(only[0]), float(only[1]))
    args = (area, block, disc_m, rules.soft_m, rules.soft_weight, pose[0], pose[1], x, y)
    return np.asarray(run(cost_to_go, *args))


def tight_gap(area: Field, rules: Rules, disc_m: float, start: F64, goal: F64) -> bool:
    """Whether no disc of that radius gets from start to goal, told on cells cut in four by four.

    On the cells as they are a gap up to one and a half cells too narrow may look passable.
    """
    if area.near_m.size * _CUT**2 > _MAX_CUT_CELLS:
        return False
    occupied = np.repeat(np.repeat(area.near_m == 0, _CUT, axis=0), _CUT, axis=1)
    fine = field_of(occupied, area.cell_m / _CUT)
    return not reaches(costs_to(fine, rules, disc_m, goal), rules, start)


def search_both_ways(
    forward: Search, area: Field, from_start: Callable[[], F64], limit: int,
    late: Callable[[], bool], hopeless: Callable[[], bool],
) -> tuple[Search, int]:  # fmt: skip
    """Let a search and its counterpart from the goal take turns.

    Args:
        from_start: costs to go to the start, for the counterpart.
        limit: of each one's expansions.
        hopeless: whether there is no way at all; asked when the search grows long.

    Returns:
        The search that ended (or the forward one), and what both expanded.
    """
    budget = min(_FIRST, limit)
    sides = [forward]
    advance(forward, area, budget, late)
    while not late() and all(s.code == RUNNING for s in sides) and forward.expanded < limit:
        if len(sides) == 1:
            body = forward.body
            args = (area, body, forward.start, forward.goal, from_start(), forward.rules, True)
            sides.append(make_search(*args))
        budget *= _GROWTH
        if budget == _ASK and hopeless():
            forward.code = EXHAUSTED
            break
        for side in (sides[1], forward):
            advance(side, area, min(budget, limit - side.expanded), late)
            if side.code != RUNNING:
                break
    expanded = sum(s.expanded for s in sides)
    for code in (FOUND, EXHAUSTED):
        for s in sides:
            if s.code == code:
                return s, expanded
    for s in sides:  # late, but with some way at hand
        if s.state[5] >= 0:
            s.code = FOUND
            return s, expanded
    return forward, expanded
