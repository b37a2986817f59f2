"""The light on the faces of solids, and which of them shine themselves. Compiled."""

from __future__ import annotations

import math
from typing import NamedTuple

from data.compiled import compiled
from data.synthetic.mesh import COLOUR, GLOSS, GLOW, NORMAL
from data.types import F32, F64

SHINING = 0.8  # glow from which on a face is a lamp

# columns of ``Target.drawn``: texture coordinates over depth as planes around a pixel, the lit
# colour (0..255), the texture's level (-1 for none), glow, and the instance
X0, Y0, U0, UX, UY, V0, VX, VY, BLUE, GREEN, RED, LEVEL, GLOWS, OWNER = range(14)
RECORD = 16


class Light(NamedTuple):
    """ambient, sun, sky (3,) BGR, towards_sun (3,) in the world; lamps: 0 by day, 1 by night."""

    ambient: F64
    sun: F64
    sky: F64
    towards_sun: F64
    lamps: float


@compiled
def headlamp(ahead_m: float, left_m: float) -> float:
    """Share of light at night at vehicle x, y: own low beam over street light."""
    ahead = max(ahead_m - 2.0, 0.5)
    side = left_m / (0.42 * ahead + 1.0)
    q = ahead / 9.0
    reach = ahead / 5.0 / (1.0 + q * q)
    return 0.16 + 0.60 * math.exp(-side * side) * min(reach, 1.0)


@compiled
def _middle(cam: F64) -> tuple[float, float, float]:
    return (
        (cam[0, 0] + cam[1, 0] + cam[2, 0]) / 3,
        (cam[0, 1] + cam[1, 1] + cam[2, 1]) / 3,
        (cam[0, 2] + cam[1, 2] + cam[2, 2]) / 3,
    )


@compiled
def colour(
    face: F32, dye: F32, lamps: float, t: F64, facing: float, cam: F64, light: Light, row: F32
) -> None:
    """Light on a face, into its record."""
    n0, n1, n2 = face[NORMAL] * facing, face[NORMAL + 1] * facing, face[NORMAL + 2] * facing
    sun = max(n0 * t[15] + n1 * t[16] + n2 * t[17], 0.0)
    beam = 0.0
    if light.lamps > 0.8:
        x, y, z = _middle(cam)
        m0 = t[0] * n0 + t[1] * n1 + t[2] * n2
        m1 = t[3] * n0 + t[4] * n1 + t[5] * n2
        m2 = t[6] * n0 + t[7] * n1 + t[8] * n2
        size = math.sqrt((m0 * m0 + m1 * m1 + m2 * m2) * (x * x + y * y + z * z))
        toward = abs(m0 * x + m1 * y + m2 * z) / max(size, 1e-9)
        beam = headlamp(z + 1.7, -x) * min(max(1.6 + 0.35 * y, 0.2), 1.2)
        beam *= 0.75 * (0.25 + 0.75 * toward)
    mirror = 0.45 * (0.5 + 0.5 * n2) * face[GLOSS]
    glow = face[GLOW] * lamps
    shine = min(max(glow * (0.25 + 0.75 * light.lamps), 0.0), 1.0)
    if glow >= 1.9:
        shine = 1.0
    elif glow < 1.0 and light.lamps < 0.3:
        shine = 0.0
    for k in range(3):
        base = face[COLOUR + k] * dye[k]
        lit = light.ambient[k] * (0.66 + 0.34 * n2) + light.sun[k] * sun
        lit += beam * (0.8 if k == 0 else 0.95 if k == 1 else 1.0)
        value = (base * lit + mirror * light.sky[k]) * (1 - shine) + base * shine
        row[BLUE + k] = min(max(value * 255.0, 0.0), 255.0)
    row[GLOWS] = glow


@compiled
def lamp(face: F32, dye: F32, lamps: float, i: int, cam: F64, lens: F64, row: F64) -> None:
    """Note where a shining face is."""
    x, y, z = _middle(cam)
    z = max(z, 0.1)
    row[0], row[1], row[2] = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3], z
    for k in range(3):
        row[3 + k] = face[COLOUR + k] * dye[k]
    row[6], row[7] = face[GLOW] * lamps, i
