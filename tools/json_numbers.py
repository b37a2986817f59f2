"""JSON text of many rounded numbers at once: what ``json.dumps`` writes, in a tenth of the time.

Python rounds and prints a number in one to two microseconds, under the interpreter's lock, and
a frame's record has some seven hundred.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled, run

MOST_DIGITS = 4  # Python prints what is smaller than 0.0001 with an exponent
_LARGEST = 1e11  # times 10 ** MOST_DIGITS, still exact: 15 digits
_WIDEST = 18  # characters: sign, eleven digits, point, four digits, comma


@compiled
def _write_rows(values: NDArray[Any], digits: int, out: NDArray[Any]) -> int:
    """Write rows (n, k) float64 as ``[a,b],[c,d]`` to ``out``, uint8.

    Returns its length, or -1 where a number is too large, or so close to the middle of two texts
    that a product cannot tell which is nearer.
    """
    scale, at = 10**digits, 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            out[at] = 44 if j else 91  # , or [
            at += 1
            value = values[i, j]
            if not np.isfinite(value):
                for c in (110, 117, 108, 108):  # null
                    out[at] = c
                    at += 1
                continue
            if abs(value) >= _LARGEST:
                return -1
            scaled = abs(value) * scale
            whole = int(scaled)
            rest = scaled - whole
            if abs(rest - 0.5) <= 1e-15 * scaled:
                return -1
            number = whole + (1 if rest > 0.5 else 0)
            if value < 0 and number:
                out[at] = 45  # -
                at += 1
            at = _write_number(number, digits, out, at)
        out[at], out[at + 1] = 93, 44  # ],
        at += 2
    return at - 1


@compiled
def _write_number(number: int, digits: int, out: NDArray[Any], at: int) -> int:
    """Write ``number`` / 10 ** ``digits`` with one decimal or more; where its text ends."""
    scale = 10**digits
    whole, part = number // scale, number % scale
    count = 1
    while whole >= 10**count:
        count += 1
    for k in range(count):
        out[at + count - 1 - k] = 48 + whole % 10
        whole //= 10
    at += count
    out[at] = 46  # .
    last = at + 1  # the first decimal stays, a zero too
    for k in range(digits):
        part *= 10
        out[at + 1 + k] = 48 + part // scale
        if part // scale:
            last = at + 1 + k
        part %= scale
    return last + 1


def json_rows(values: NDArray[Any], digits: int) -> list[str]:
    """JSON text of each row of ``values``, (n, k), without its brackets.

    Numbers are rounded as ``round(v, digits)`` does, of 1 to ``MOST_DIGITS`` digits; what is not
    finite becomes ``null``, and minus zero zero.
    """
    rows = np.ascontiguousarray(values, np.float64)
    if not rows.size:
        return [""] * len(rows)
    out = np.empty(rows.size * _WIDEST + 2 * len(rows), np.uint8)
    length = run(_write_rows, rows, digits, out)
    if length < 0:
        return [",".join(json.dumps(rounded(v, digits)) for v in row) for row in rows.tolist()]
    return out[1 : length - 1].tobytes().decode("ascii").split("],[")


def rounded(value: float, digits: int) -> float | None:
    """One number, None where it is not finite; minus zero becomes zero."""
    return round(float(value), digits) + 0.0 if math.isfinite(value) else None


def compile_kernels() -> None:
    """Compile or load the kernel."""
    json_rows(np.zeros((1, 1)), 1)
