"""The search of hybrid A*: kernels that expand poses, and join them to the goal by a curve.

Dolgov, Thrun, Montemerlo and Diebel 2008. A node keeps its exact pose; of all poses within a bin
of place and heading the cheapest is kept.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from planning.cost_to_go import estimate, penalty
from planning.curves import DUBINS_WORDS, PARTS, REEDS_SHEPP_WORDS, shortest, word
from planning.footprint import Body, Field, arc_room, corner_hits, far_enough, room
from planning.kernels import pop, push

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

RUNNING, FOUND, EXHAUSTED, FULL = 0, 1, 2, 3
_MORE = 200  # expansions for a better way after one much dearer than estimated
_NEAR = 6.0  # turning radii from the goal within which steering is estimated
_TRIES = 4  # words tried for a curve to the goal, the cheapest first


class Rules(NamedTuple):
    """Numbers of a search.

    Attributes:
        curvature: greatest, 1/m.
        reverse: whether it may be driven.
        soft_m, soft_weight: see ``cost_to_go.penalty``.
        reverse_weight: cost of a metre in reverse; gear_m: of a change of direction.
        steer_m: cost of turning the wheel from straight to its limit.
        greed: weight of the estimate.
        check_m: greatest distance between poses that are checked.
        bin_m, headings: size of a bin, headings of a turn.
        block_m: side of the blocks of ``cost_to_go``.
    """

    curvature: float
    reverse: bool
    soft_m: float
    soft_weight: float
    reverse_weight: float
    gear_m: float
    steer_m: float
    greed: float
    check_m: float
    bin_m: float
    headings: int
    block_m: float


class Moves(NamedTuple):
    """Arcs to drive from a node, (m,) each: signed length, curvature; and ``way`` (m, k, 4):
    ahead, left, cos and sin of the heading at k places, the last at the end."""

    length: F64
    curvature: F64
    way: F64


class Nodes(NamedTuple):
    """Poses, (n, 3), and the bin of each; cost from the start; node before; move that led here;
    done with or not; and the queue."""

    pose: F64
    bin: I64
    cost: F64
    before: NDArray[np.int32]
    move: NDArray[np.int8]
    done: NDArray[np.bool_]
    key: F64
    item: NDArray[np.int32]


@compiled
def _word_cost(parts: F64, rules: Rules) -> float:
    """Cost of a word of ``curves``, obstacles aside."""
    total, way = 0.0, 0.0
    for i in range(PARTS):
        length = parts[i, 1]
        if abs(length) < 1e-9:
            continue
        total += abs(length) / rules.curvature * (rules.reverse_weight if length < 0 else 1.0)
        if way * length < 0:
            total += rules.gear_m
        way = length
    return total


@compiled
def join(field: Field, body: Body, rules: Rules, start: F64, goal: F64, limit: float,
         out: F64) -> float:  # fmt: skip
    """Cheapest curve from a pose to another that touches nothing: its cost, inf for none and where
    obstacles make it as dear as ``limit``.

    ``out`` (5, 2) gets the curvature and signed length (m) of each part; words dearer than
    ``limit`` are not tried.
    """
    k = rules.curvature
    cos, sin = math.cos(start[2]), math.sin(start[2])
    dx, dy = goal[0] - start[0], goal[1] - start[1]
    x, y, phi = k * (dx * cos + dy * sin), k * (dy * cos - dx * sin), goal[2] - start[2]
    n = REEDS_SHEPP_WORDS if rules.reverse else DUBINS_WORDS
    costs = np.empty(n)
    for i in range(n):
        costs[i] = math.inf
        if word(i, rules.reverse, x, y, phi, out) < math.inf:
            costs[i] = _word_cost(out, rules)
    pose = np.empty(3)
    for _ in range(_TRIES):
        i = int(costs.argmin())
        if not costs[i] < limit:
            return math.inf
        word(i, rules.reverse, x, y, phi, out)
        for a in range(3):
            pose[a] = start[a]
        total = costs[i]
        for p in range(PARTS):
            out[p, 0], out[p, 1] = out[p, 0] * k, out[p, 1] / k
            if out[p, 1] == 0.0:
                continue
            cost = _checked(field, body, rules, pose, out[p, 0], out[p, 1], limit - total)
            if cost < 0:
                total = math.inf
                break
            total += cost
            if total >= limit:
                return math.inf
        if total < math.inf:
            return total
        costs[i] = math.inf
    return math.inf


@compiled
def _checked(field: Field, body: Body, rules: Rules, pose: F64, curvature: float,
             length: float, most: float) -> float:  # fmt: skip
    """Cost that obstacles add along an arc, -1 where it touches one; moves ``pose`` to its end.
    Not looked at further where that is ``most`` or more."""
    total, left = 0.0, length
    while left != 0.0 and total < most:
        piece = max(min(left, 1.0), -1.0)
        left -= piece
        near = arc_room(field, body, pose, curvature, piece, rules.check_m)
        if near < 0:
            return -1.0
        clear = near - 0.5 * field.cell_m - body.half_width_m
        extra = field.extra[int(pose[1] / field.cell_m), int(pose[0] / field.cell_m)]
        total += abs(piece) * (penalty(clear, rules.soft_m, rules.soft_weight) + extra)
    return total


@compiled
def _bin(rules: Rules, shape: tuple[int, int], x: float, y: float, yaw: float) -> int:
    turn = yaw / (2 * math.pi)
    turn -= math.floor(turn)
    heading = int(turn * rules.headings + 0.5) % rules.headings
    row, col = int(y / rules.bin_m), int(x / rules.bin_m)
    return (row * shape[1] + col) * rules.headings + heading


@compiled
def slot_of(table: I32, bins: I64, where: int) -> int:
    """Index of a hash table, of 2^k node numbers + 1, at which a bin's node stands or is to stand.

    Multiplicative hashing (Knuth, "The Art of Computer Programming" 3, 6.4) and linear probing:
    a search sees so few of a map's bins that an array of all takes longer to clear than to use.
    """
    last = len(table) - 1
    i = (where * 0x9E3779B1 >> 16) & last
    while table[i] != 0 and bins[table[i] - 1] != where:
        i = (i + 1) & last
    return i


@compiled
def fill_table(table: I32, bins: I64, count: int) -> None:
    """Enter the first nodes, in place; of those of one bin the last."""
    for n in range(count):
        table[slot_of(table, bins, bins[n])] = n + 1


@compiled
def _remaining(rules: Rules, to_go: F64, x: float, y: float, yaw: float, goal: F64,
               scratch: F64) -> float:  # fmt: skip
    """Estimate of the cost to the goal: round obstacles, or by steering where it is near."""
    h = estimate(to_go, rules.block_m, x, y)
    k = rules.curvature
    dx, dy = (goal[0] - x) * k, (goal[1] - y) * k
    # Where it may reverse, steering says little that the curves to the goal do not find out:
    # on parking maps the search was four times longer with it.
    if not rules.reverse and h < math.inf and dx * dx + dy * dy < _NEAR * _NEAR:
        cos, sin = math.cos(yaw), math.sin(yaw)
        steered = shortest(False, dx * cos + dy * sin, dy * cos - dx * sin, goal[2] - yaw, scratch)
        h = max(h, steered / k)
    return h


@compiled
def _move_cost(field: Field, body: Body, rules: Rules, way: F64, length: float,
               curvature: float, x: float, y: float, cos: float, sin: float) -> float:  # fmt: skip
    """Cost of a move with what obstacles add, -1 where it touches one."""
    near, far = 1e9, far_enough(field, body)
    px, py, pcos, psin = x, y, cos, sin
    for j in range(len(way)):
        ahead, left, c, s = way[j]
        qx, qy = x + ahead * cos - left * sin, y + ahead * sin + left * cos
        qcos, qsin = cos * c - sin * s, sin * c + cos * s
        here = room(field, body, qx, qy, qcos, qsin)
        if here < 0:
            return -1.0
        if here < far and curvature != 0.0:
            args = (px, py, pcos, psin, qx, qy, qcos, qsin, curvature)
            if corner_hits(field, body, *args):
                return -1.0
        px, py, pcos, psin = qx, qy, qcos, qsin
        near = min(near, here)
    clear = near - 0.5 * field.cell_m - body.half_width_m
    more = field.extra[int(py / field.cell_m), int(px / field.cell_m)]
    more += penalty(clear, rules.soft_m, rules.soft_weight)
    return abs(length) * ((rules.reverse_weight if length < 0 else 1.0) + more)


@compiled
def expand(field: Field, body: Body, rules: Rules, moves: Moves, to_go: F64, table: I32,
           shape: tuple[int, int], nodes: Nodes, state: I64, score: F64, goal: F64, tail: F64,
           budget: int) -> int:  # fmt: skip
    """Go on with a search for up to ``budget`` expansions.

    Args:
        table: see ``slot_of``; ``shape``: rows and columns of bins.
        state: nodes, length of the queue, expanded, expanded at the last try of a curve, node
            nearest to the goal, node the curve ``tail`` to the goal starts from (-1: none yet),
            expanded when the first was found.
        score: least estimate of a node expanded, cost of the best way found, estimate at the
            start.
        goal: (3,) pose.
        tail: (5, 2) curvature and length of the curve that ends the way.

    Returns:
        RUNNING, FOUND, EXHAUSTED, or FULL where no more nodes can be kept.
    """
    curve, scratch = np.empty((PARTS, 2)), np.empty((PARTS, 2))
    end = len(nodes.cost) - 1  # the last node stands for the goal
    for _ in range(budget):
        if state[1] == 0:
            return FOUND if state[5] >= 0 else EXHAUSTED
        if state[0] + len(moves.length) >= end:  # before a node is taken that could not be kept
            return FOUND if state[5] >= 0 else FULL
        f = nodes.key[0]
        at = pop(nodes.key, nodes.item, state[1])
        state[1] -= 1
        if at == end:
            return FOUND
        if nodes.done[at]:
            continue
        nodes.done[at] = True
        state[2] += 1
        if state[2] == 1:
            score[2] = (f - nodes.cost[at]) / rules.greed
        if state[5] >= 0 and (
            score[1] <= rules.greed * score[2] or state[2] > state[6] + state[6] // 8 + _MORE
        ):
            return FOUND  # good, or a cheaper way would hardly be so late
        x, y, yaw = nodes.pose[at]
        g = nodes.cost[at]
        h = (f - g) / rules.greed
        if h < score[0]:
            score[0], state[4] = h, at
        if state[2] - state[3] >= 1 + int(0.1 * h / rules.bin_m) or state[2] == 1:
            state[3] = state[2]
            total = join(field, body, rules, nodes.pose[at], goal, score[1] - g, curve)
            if g + total < score[1]:
                for p in range(len(curve)):
                    tail[p, 0], tail[p, 1] = curve[p, 0], curve[p, 1]
                if state[5] < 0:
                    state[6] = state[2]
                score[1], state[5] = g + total, at
                push(nodes.key, nodes.item, state[1], g + total, end)
                state[1] += 1
        cos, sin = math.cos(yaw), math.sin(yaw)
        last = nodes.move[at]
        for m in range(len(moves.length)):
            way = moves.way[m]
            ahead, left = way[-1, 0], way[-1, 1]
            px, py = x + ahead * cos - left * sin, y + ahead * sin + left * cos
            if not (0 < px < shape[1] * rules.bin_m and 0 < py < shape[0] * rules.bin_m):
                continue
            turned = yaw + moves.curvature[m] * moves.length[m]
            where = _bin(rules, shape, px, py, turned)
            slot = slot_of(table, nodes.bin, where)
            old = table[slot] - 1
            if old >= 0 and (nodes.done[old] or nodes.cost[old] <= g):
                continue
            cost = _move_cost(
                field, body, rules, way, moves.length[m], moves.curvature[m], x, y, cos, sin
            )
            if cost < 0:
                continue
            new = g + cost
            if last >= 0:
                change = abs(moves.curvature[m] - moves.curvature[last])
                new += rules.steer_m * change / rules.curvature
                if moves.length[m] * moves.length[last] < 0:
                    new += rules.gear_m
            if old >= 0 and nodes.cost[old] <= new:
                continue
            h = _remaining(rules, to_go, px, py, turned, goal, scratch)
            if h == math.inf:
                continue
            if old >= 0:
                nodes.done[old] = True
            n = state[0]
            nodes.pose[n, 0], nodes.pose[n, 1], nodes.pose[n, 2] = px, py, turned
            nodes.cost[n], nodes.before[n], nodes.move[n], nodes.done[n] = new, at, m, False
            nodes.bin[n], table[slot] = where, n + 1
            push(nodes.key, nodes.item, state[1], new + rules.greed * h, n)
            state[0] += 1
            state[1] += 1
    return RUNNING
