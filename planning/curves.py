"""Shortest curves of a car-like vehicle between two poses: Dubins and Reeds-Shepp words.

Lengths are in turning radii: the start is (0, 0, 0), the goal (x, y, phi). A word is up to five
parts, each a steering (1 left, 0 straight, -1 right) and a signed length, negative in reverse.

Dubins 1957 (forward only); Reeds and Shepp 1990, formulas 8.1 to 8.11 with the usual
corrections, each in its four symmetries: driven as it is, in reverse, mirrored, and both.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

F64 = NDArray[np.float64]

DUBINS_WORDS = 6
REEDS_SHEPP_WORDS = 44
PARTS = 5
_PI, _TURN = math.pi, 2 * math.pi
_ZERO = 1e-9


@compiled
def _wrapped(angle: float) -> float:
    """Into [-pi, pi)."""
    return angle - _TURN * math.floor((angle + _PI) / _TURN)


@compiled
def _positive(angle: float) -> float:
    """Into [0, 2 pi); a full turn less a rounding error is none at all."""
    a = angle - _TURN * math.floor(angle / _TURN)
    return 0.0 if a > _TURN - 1e-9 else a


@compiled
def dubins_word(k: int, x: float, y: float, phi: float, out: F64) -> float:
    """Length of the ``k``-th Dubins word, inf where it does not exist; its parts in ``out``.

    Args:
        k: 0 to 5: LSL, LSR, LRL and their mirror images.
        out: (5, 2) written with steering and length of each part.
    """
    side = 1.0
    if k >= 3:
        side, y, phi = -1.0, -y, -phi
    out[:] = 0.0
    sin, cos = math.sin(phi), math.cos(phi)
    if k % 3 == 1:
        dx, dy = x + sin, y - 1.0 - cos
        u2 = dx * dx + dy * dy - 4.0
        if u2 < 0:
            return math.inf
        u = math.sqrt(u2)
        t = _positive(math.atan2(dy, dx) + math.atan2(2.0, u))
        v = _positive(t - phi)
        out[1, 0], out[1, 1] = 0.0, u
        out[2, 0], out[2, 1] = -side, v
    else:
        dx, dy = x - sin, y - 1.0 + cos
        u, angle = math.hypot(dx, dy), math.atan2(dy, dx)
        if k % 3 == 0:
            t = _positive(angle)
            v = _positive(phi - t)
            out[1, 0], out[1, 1] = 0.0, u
        else:
            if u > 4.0:
                return math.inf
            half = math.asin(u / 4.0)
            u = _TURN - 2 * half
            t = _positive(angle - half + _PI)
            v = _positive(phi - t + u)
            out[1, 0], out[1, 1] = -side, u
        out[2, 0], out[2, 1] = side, v
    out[0, 0], out[0, 1] = side, t
    return t + u + v


@compiled
def _tau_omega(u: float, v: float, xi: float, eta: float, phi: float) -> tuple[float, float]:
    delta = _wrapped(u - v)
    a = math.sin(u) - math.sin(delta)
    b = math.cos(u) - math.cos(delta) - 1.0
    t1 = math.atan2(eta * a - xi * b, xi * a + eta * b)
    t2 = 2.0 * (math.cos(delta) - math.cos(v) - math.cos(u)) + 3.0
    tau = _wrapped(t1 + _PI) if t2 < 0 else _wrapped(t1)
    return tau, _wrapped(tau - u + v - phi)


@compiled
def _straight_words(base: int, x: float, y: float, phi: float, out: F64) -> bool:
    """CSC, 8.1 and 8.2."""
    if base == 0:
        dx, dy = x - math.sin(phi), y - 1.0 + math.cos(phi)
        u, t = math.hypot(dx, dy), math.atan2(dy, dx)
        v = _wrapped(phi - t)
    else:
        dx, dy = x + math.sin(phi), y - 1.0 - math.cos(phi)
        u2 = dx * dx + dy * dy - 4.0
        if u2 < 0:
            return False
        u = math.sqrt(u2)
        t = _wrapped(math.atan2(dy, dx) + math.atan2(2.0, u))
        v = _wrapped(t - phi)
    out[0, 0], out[0, 1] = 1.0, t
    out[1, 0], out[1, 1] = 0.0, u
    out[2, 0], out[2, 1] = 1.0 if base == 0 else -1.0, v
    return t >= -_ZERO and v >= -_ZERO


@compiled
def _three_arcs(base: int, x: float, y: float, phi: float, out: F64) -> bool:
    """CCC, 8.3 and 8.4."""
    dx, dy = x - math.sin(phi), y - 1.0 + math.cos(phi)
    far = math.hypot(dx, dy)
    if far > 4.0:
        return False
    u = -2.0 * math.asin(far / 4.0)
    t = _wrapped(math.atan2(dy, dx) + u / 2 + _PI)
    v = _wrapped(phi - t + u)
    out[0, 0], out[0, 1] = 1.0, t if base == 2 else v
    out[1, 0], out[1, 1] = -1.0, u
    out[2, 0], out[2, 1] = 1.0, v if base == 2 else t
    return t >= -_ZERO and u <= _ZERO


@compiled
def _four_arcs(base: int, x: float, y: float, phi: float, out: F64) -> bool:
    """CCCC, 8.7 and 8.8."""
    xi, eta = x + math.sin(phi), y - 1.0 - math.cos(phi)
    square = xi * xi + eta * eta
    rho = (2.0 + math.sqrt(square)) / 4.0 if base == 4 else (20.0 - square) / 16.0
    if not 0.0 <= rho <= 1.0:
        return False
    u = math.acos(rho) if base == 4 else -math.acos(rho)
    second = -u if base == 4 else u
    t, v = _tau_omega(u, second, xi, eta, phi)
    out[0, 0], out[0, 1] = 1.0, t
    out[1, 0], out[1, 1] = -1.0, u
    out[2, 0], out[2, 1] = 1.0, second
    out[3, 0], out[3, 1] = -1.0, v
    if base == 4:
        return t >= -_ZERO and v <= _ZERO
    return u >= -_PI / 2 and t >= -_ZERO and v >= -_ZERO


@compiled
def _arcs_and_straight(base: int, x: float, y: float, phi: float, out: F64) -> bool:
    """CCSC, 8.9 (base 6, and 8 from the end) and 8.10 (7, and 9 from the end)."""
    if base % 2 == 0:
        dx, dy = x - math.sin(phi), y - 1.0 + math.cos(phi)
        rho, theta = math.hypot(dx, dy), math.atan2(dy, dx)
        if rho < 2.0:
            return False
        r = math.sqrt(rho * rho - 4.0)
        u = 2.0 - r
        t = _wrapped(theta + math.atan2(r, -2.0))
        v = _wrapped(phi - _PI / 2 - t)
    else:
        xi, eta = x + math.sin(phi), y - 1.0 - math.cos(phi)
        rho, t = math.hypot(xi, eta), math.atan2(xi, -eta)
        if rho < 2.0:
            return False
        u = 2.0 - rho
        v = _wrapped(t + _PI / 2 - phi)
    last = 1.0 if base % 2 == 0 else -1.0
    if base < 8:
        out[0, 0], out[0, 1] = 1.0, t
        out[1, 0], out[1, 1] = -1.0, -_PI / 2
        out[2, 0], out[2, 1] = 0.0, u
        out[3, 0], out[3, 1] = last, v
    else:
        out[0, 0], out[0, 1] = last, v
        out[1, 0], out[1, 1] = 0.0, u
        out[2, 0], out[2, 1] = -1.0, -_PI / 2
        out[3, 0], out[3, 1] = 1.0, t
    return t >= -_ZERO and u <= _ZERO and v <= _ZERO


@compiled
def _five_parts(x: float, y: float, phi: float, out: F64) -> bool:
    """CCSCC, 8.11."""
    xi, eta = x + math.sin(phi), y - 1.0 - math.cos(phi)
    rho = math.hypot(xi, eta)
    if rho < 2.0:
        return False
    u = 4.0 - math.sqrt(rho * rho - 4.0)
    t = _wrapped(math.atan2((4.0 - u) * xi - 2.0 * eta, -2.0 * xi + (u - 4.0) * eta))
    v = _wrapped(t - phi)
    out[0, 0], out[0, 1] = 1.0, t
    out[1, 0], out[1, 1] = -1.0, -_PI / 2
    out[2, 0], out[2, 1] = 0.0, u
    out[3, 0], out[3, 1] = 1.0, -_PI / 2
    out[4, 0], out[4, 1] = -1.0, v
    return u <= _ZERO and t >= -_ZERO and v >= -_ZERO


@compiled
def reeds_shepp_word(k: int, x: float, y: float, phi: float, out: F64) -> float:
    """Length of the ``k``-th of 44 Reeds-Shepp words, inf where it does not exist.

    Its parts are written to ``out`` (5, 2) as by ``dubins_word``.
    """
    base, symmetry = k // 4, k % 4
    way = -1.0 if symmetry & 1 else 1.0
    side = -1.0 if symmetry & 2 else 1.0
    x, y, phi = way * x, side * y, way * side * phi
    if base in (3, 8, 9):  # the word from its end
        sin, cos = math.sin(phi), math.cos(phi)
        x, y = x * cos + y * sin, x * sin - y * cos
    out[:] = 0.0
    if base < 2:
        ok = _straight_words(base, x, y, phi, out)
    elif base < 4:
        ok = _three_arcs(base, x, y, phi, out)
    elif base < 6:
        ok = _four_arcs(base, x, y, phi, out)
    elif base < 10:
        ok = _arcs_and_straight(base, x, y, phi, out)
    else:
        ok = _five_parts(x, y, phi, out)
    if not ok:
        return math.inf
    total = 0.0
    for i in range(PARTS):
        out[i, 0] *= side
        out[i, 1] *= way
        total += abs(out[i, 1])
    return total


@compiled
def word(k: int, reverse: bool, x: float, y: float, phi: float, out: F64) -> float:
    """The ``k``-th word of the kind: Reeds-Shepp where ``reverse`` is allowed, else Dubins."""
    if reverse:
        return reeds_shepp_word(k, x, y, phi, out)  # type: ignore[no-any-return]
    return dubins_word(k, x, y, phi, out)  # type: ignore[no-any-return]


@compiled
def shortest(reverse: bool, x: float, y: float, phi: float, out: F64) -> float:
    """Length of the shortest word; ``out`` is scratch."""
    best = math.inf
    for k in range(REEDS_SHEPP_WORDS if reverse else DUBINS_WORDS):
        best = min(best, word(k, reverse, x, y, phi, out))
    return best
