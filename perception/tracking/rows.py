"""Text files of one row a box, read so that a fault names its file and line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """The rows of a file that are not empty: their fields and line numbers from 1."""

    path: Path
    fields: list[list[str]]
    numbers: list[int]

    def length(self, lengths: Sequence[int], form: str) -> int:
        """Number of fields of every row.

        Raises:
            InputError: rows differ, or have another number than one of ``lengths``.
        """
        if not self.fields:
            return lengths[0]
        first = len(self.fields[0])
        for row, number in zip(self.fields, self.numbers):
            if len(row) != first or first not in lengths:
                want = " or ".join(map(str, lengths))
                raise InputError(
                    f"{self.path}:{number}: expected {want} fields ({form}), alike in all rows, "
                    f"given {len(row)}"
                )
        return first

    def columns(self, first: int, last: int) -> F64:
        """(n, last - first) float64 of fields; NaN and infinities pass.

        Raises:
            InputError: a field is no number.
        """
        out = np.empty((len(self.fields), last - first))
        try:
            for k in range(first, last):
                numbers = map(float, map(itemgetter(k), self.fields))
                out[:, k - first] = np.fromiter(numbers, np.float64, len(self.fields))
        except ValueError:
            for row, number in zip(self.fields, self.numbers):
                if not all(map(_is_number, row[first:last])):
                    text = " ".join(row[first:last])
                    raise InputError(
                        f"{self.path}:{number}: expected numbers, given '{text[:80]}'"
                    ) from None
            raise
        return out

    def refuse(self, bad: NDArray[np.bool_], expected: str) -> None:
        """InputError at the first row that is ``bad`` (n,)."""
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            text = " ".join(self.fields[row])
            raise InputError(
                f"{self.path}:{self.numbers[row]}: expected {expected}, given '{text[:80]}'"
            )


def read_rows(path: Path) -> Rows:
    """Read a text file, fields parted by commas or else by blanks.

    Raises:
        InputError: there is no such file, or it is no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as e:
        raise InputError(f"{path}: no such file") from e
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: expected a text file in UTF-8") from e
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror or e})") from e
    numbers = [i for i, text in enumerate(lines, 1) if text.strip()]
    kept = [lines[i - 1] for i in numbers]
    if kept and "," in kept[0]:
        return Rows(path, [[f.strip() for f in text.split(",")] for text in kept], numbers)
    return Rows(path, [text.split() for text in kept], numbers)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
